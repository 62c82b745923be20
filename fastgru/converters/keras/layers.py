"""The table of Keras layers: class name to what it becomes in the graph, and which config keys it may have."""

from __future__ import annotations

from ...errors import ConvertError
from ...graph import Dense, Dropout
from . import (
    activations,
    attention,
    convolutions,
    einsum,
    masking,
    merging,
    norms,
    pooling,
    recurrent,
    reshaping,
)
from . import custom as keras_custom
from .rows import LORA, Row, one, shaped, take
from .values import Array, Context, Later, Layer, Value, as_layer

KERAS = ("keras", "tf_keras", "tensorflow")  # modules of the framework's own classes


def dense(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Dense along the last axis: kernel (I, O), bias (O,)."""
    x = one(layer, inputs)
    names = ["kernel", "bias"] if layer.flag("use_bias") else ["kernel"]
    kernel, bias = [*take(layer, arrays, *names), None][:2]
    if kernel is None or kernel.ndim != 2 or kernel.shape[1] != layer.number("units"):
        shape = None if kernel is None else kernel.shape
        raise ConvertError(f"kernel of {layer} must have {layer.get('units')} columns, got shape {shape}")
    if bias is not None:
        shaped(layer, bias, "bias", kernel.shape[1:])
    op = Dense(kernel.T, bias)
    if layer.config.get("activation") == "softmax":
        return [ctx.add(op.replace(activation="softmax"), x, name=layer.name, mask=x.mask)]
    return [activations.finish(op, x, layer, ctx, mask=x.mask)]


def no_op(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Layers that act only while training."""
    x = one(layer, inputs)
    op = Dropout(rate=layer.number("rate", default=0.0) if "rate" in layer.config else 0.0)
    return [ctx.add(op, x, name=layer.name, mask=x.mask)]


def time_distributed(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """TimeDistributed around one layer, which sees one step alone."""
    x = one(layer, inputs)
    inner = inner_layer(layer)._replace(name=layer.name)
    own = keras_custom.hook(ctx, *keras_custom.names_of(inner_layer(layer))) is not None
    convert = keras_custom.convert if own else LAYERS[inner.class_name].convert
    values = [v.make() if isinstance(v, Later) else v for v in convert(inner, arrays, [x.inside()], ctx)]
    return [v.outside(x, ctx) for v in values]


def inner_layer(layer: Layer) -> Layer:
    """The layer inside of TimeDistributed."""
    return as_layer(layer.get("layer"), where=f"layer of {layer}")


def unwrapped(layer: Layer) -> Layer:
    """The layer that is called at every step, or the layer itself where it is no TimeDistributed."""
    while layer.class_name == "TimeDistributed":
        layer = inner_layer(layer)
    return layer


def _time_distributed_problems(layer: Layer) -> list[str]:
    return layer_problems(inner_layer(layer))


NO_OP = Row(no_op, "rate", "noise_shape data_format stddev l1 l2")
ACTIVATE = activations.activate
LAYERS: dict[str, Row] = {
    **recurrent.ROWS,
    "TimeDistributed": Row(time_distributed, "layer", inner=_time_distributed_problems),
    "Dense": Row(dense, "units activation use_bias", "input_dim", LORA),
    "Embedding": Row(
        masking.embedding, "input_dim output_dim mask_zero", "input_length", {**LORA, "sparse": (False,)},
    ),
    "Masking": Row(masking.masking, "mask_value"),
    **norms.ROWS,
    **convolutions.ROWS,
    **pooling.ROWS,
    **reshaping.ROWS,
    **merging.ROWS,
    **attention.ROWS,
    **einsum.ROWS,
    "Activation": Row(ACTIVATE, "activation"),
    "ReLU": Row(ACTIVATE, "max_value negative_slope threshold"),
    "LeakyReLU": Row(ACTIVATE, "alpha negative_slope"),
    "ELU": Row(ACTIVATE, "alpha"),
    "ThresholdedReLU": Row(ACTIVATE, "theta"),
    "Softmax": Row(ACTIVATE, "axis"),
    "PReLU": Row(activations.prelu, "shared_axes"),
    **dict.fromkeys(
        (
            "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout", "GaussianDropout",
            "GaussianNoise", "ActivityRegularization", "Identity",
        ),
        NO_OP,
    ),
}  # fmt: skip


def layer_problems(layer: Layer) -> list[str]:
    """Everything about a layer's class and config that stops its import, as messages."""
    row = LAYERS.get(layer.class_name)
    own = layer.module is None or layer.module.split(".")[0] in KERAS
    if row is None or not own:
        what = layer.class_name if own else f"{layer.class_name} of {layer.module}"
        return [f"class of layer {layer.name!r} must be a supported one, got {what}"]
    try:
        return row.problems(layer) + (row.inner(layer) if row.inner else [])
    except ConvertError as error:
        return [str(error)]
