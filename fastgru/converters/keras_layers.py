"""The table of Keras layers: class name to what it becomes in the graph, and which config keys it may have."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..errors import ConvertError
from ..graph import MERGE_OPS, Activate, ApplyMask, BatchNorm, Dense, Dropout, Embedding, LayerNorm, Mask, Op
from . import keras_activations, keras_recurrent
from .keras_recurrent import MASK_SPEC
from .keras_values import Array, Context, Layer, Row, Value, as_layer, last_axis, one, take


def dense(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Dense: kernel (I, O), bias (O,)."""
    x = one(layer, inputs)
    names = ["kernel", "bias"] if layer.flag("use_bias") else ["kernel"]
    kernel, bias = [*take(layer, arrays, *names), None][:2]
    if kernel is None or kernel.ndim != 2 or kernel.shape[1] != layer.number("units"):
        shape = None if kernel is None else kernel.shape
        raise ConvertError(f"kernel of {layer} must have {layer.get('units')} columns, got shape {shape}")
    activation = keras_activations.named(layer, "activation", ctx.version)
    return [ctx.add(Dense(kernel.T, bias, activation=activation), x, name=layer.name, mask=x.mask)]


def mask_of(x: Value, value: float, ctx: Context, *, stem: str) -> str:
    """The value of the mask "differs from `value`" of `x`: one node, however many layers ask for it."""
    key = (x.name, value)
    if key not in ctx.masks:
        ctx.masks[key] = ctx.add(Mask(value), x, name=f"{stem}.mask").name
    return ctx.masks[key]


def embedding(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Embedding: embeddings (V, E); with mask_zero the id 0 is a step to skip."""
    x = one(layer, inputs)
    (table,) = take(layer, arrays, "embeddings")
    if table.shape != (layer.number("input_dim"), layer.number("output_dim")):
        expected = (layer.get("input_dim"), layer.get("output_dim"))
        raise ConvertError(f"embeddings of {layer} must have shape {expected}, got {table.shape}")
    y = ctx.add(Embedding(table), x, name=layer.name)
    mask = mask_of(x, 0.0, ctx, stem=layer.name) if layer.flag("mask_zero", default=False) else None
    return [Value(y.name, y.spec, mask)]


def masking(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Masking: steps whose features all equal mask_value are zeroed and skipped by what follows."""
    x = one(layer, inputs)
    mask = mask_of(x, layer.number("mask_value"), ctx, stem=layer.name)
    return [ctx.add(ApplyMask(), x, Value(mask, MASK_SPEC), name=layer.name, mask=mask)]


def layer_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """LayerNormalization over the features: gamma, beta (F,)."""
    x = one(layer, inputs)
    last_axis(layer, x)
    scale, center = layer.flag("scale"), layer.flag("center")
    own = iter(take(layer, arrays, *["gamma"] * scale, *["beta"] * center))
    gamma: Any = next(own) if scale else np.ones(x.spec.shape)
    op = LayerNorm(gamma, next(own) if center else None, eps=layer.number("epsilon"))
    return [ctx.add(op, x, name=layer.name, mask=x.mask)]


def batch_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """BatchNormalization of the features: gamma, beta, moving_mean, moving_variance (F,)."""
    x = one(layer, inputs)
    last_axis(layer, x)
    scale, center = layer.flag("scale"), layer.flag("center")
    own = iter(take(layer, arrays, *["gamma"] * scale, *["beta"] * center, "moving_mean", "moving_variance"))
    gamma, beta = (next(own) if there else None for there in (scale, center))
    op = BatchNorm(next(own), next(own), scale=gamma, shift=beta, eps=layer.number("epsilon"))
    return [ctx.add(op, x, name=layer.name, mask=x.mask)]


def no_op(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Layers that act only while training."""
    x = one(layer, inputs)
    op = Dropout(rate=layer.number("rate", default=0.0) if "rate" in layer.config else 0.0)
    return [ctx.add(op, x, name=layer.name, mask=x.mask)]


def activate(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Layers that are an activation function."""
    x = one(layer, inputs)
    if layer.class_name == "Softmax" and x.mask is not None:
        raise ConvertError(f"{layer} must have no mask on its input, got one: Keras adds it to the logits")
    activation = keras_activations.LAYERS[layer.class_name](layer, ctx.version)
    return [ctx.add(Activate(activation), x, name=layer.name, mask=x.mask)]


def merged_mask(layer: Layer, masks: list[str | None], ctx: Context) -> str | None:
    """The mask that leaves a merging layer.

    Keras 3 joins masks by OR, and no mask counts as all true for Concatenate and removes the mask of
    the others (`keras/src/layers/merging/base_merge.py`); Keras 2 joins those that are there by AND.

    Raises
    ------
    ConvertError
        When two different masks meet, which the graph cannot join.
    """
    distinct = {m for m in masks if m is not None}
    if ctx.version.major >= 3 and None in masks:
        return None
    if len(distinct) > 1:
        raise ConvertError(f"inputs of {layer} must share one mask, got {len(distinct)} different ones")
    return distinct.pop() if distinct else None


def merge(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context, *, op: type[Op]) -> list[Value]:
    """Concatenate over the features, Add, Multiply, Average."""
    if layer.class_name == "Concatenate" and inputs:
        last_axis(layer, inputs[0])
    mask = merged_mask(layer, [x.mask for x in inputs], ctx)
    return [ctx.add(op(), *inputs, name=layer.name, mask=mask)]


def time_distributed(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """TimeDistributed around a layer that works on every step alone anyway."""
    x = one(layer, inputs)
    if not x.spec.time:
        raise ConvertError(f"input of {layer} must have a time axis, got {x.spec}")
    inner = as_layer(layer.get("layer"), where=f"layer of {layer}")
    row = LAYERS[inner.class_name]
    axis = inner.config.get("axis")
    # The inner layer counts its axes without the time axis.
    if "axis" in row.handled.split() and axis not in (-1, [-1]):
        if axis not in (1, [1]):
            raise ConvertError(f"axis of {inner} in {layer} must be the last (-1), got {axis!r}")
        inner = inner._replace(config={**inner.config, "axis": -1})
    return row.convert(inner._replace(name=layer.name), arrays, inputs, ctx)


def _time_distributed_problems(layer: Layer) -> list[str]:
    inner = as_layer(layer.get("layer"), where=f"layer of {layer}")
    row = LAYERS.get(inner.class_name)
    if row is None or not row.rowwise:
        names = ", ".join(n for n, r in LAYERS.items() if r.rowwise)
        return [f"layer of {layer} must be one of {names}, got {inner.class_name}"]
    return row.problems(inner)


NO_OP = Row(no_op, "rate", "noise_shape data_format stddev l1 l2", rowwise=True)
PLAIN = {"quantization_config": (None,), "lora_rank": (None,)}
LAYERS: dict[str, Row] = {
    **keras_recurrent.RECURRENT,
    "Bidirectional": keras_recurrent.BIDIRECTIONAL,
    "TimeDistributed": Row(time_distributed, "layer"),
    "Dense": Row(dense, "units activation use_bias", "input_dim", PLAIN, rowwise=True),
    "Embedding": Row(embedding, "input_dim output_dim mask_zero", "input_length", {**PLAIN, "sparse": (False,)}),
    "LayerNormalization": Row(
        layer_norm, "axis epsilon scale center", "", {"rms_scaling": (False,)}, rowwise=True
    ),
    "BatchNormalization": Row(
        batch_norm, "axis epsilon scale center",
        "momentum fused synchronized renorm_clipping renorm_momentum",
        {"renorm": (False,), "virtual_batch_size": (None,), "adjustment": (None,)}, rowwise=True,
    ),
    "Masking": Row(masking, "mask_value"),
    "Activation": Row(activate, "activation", rowwise=True),
    "ReLU": Row(activate, "max_value negative_slope threshold", rowwise=True),
    "LeakyReLU": Row(activate, "alpha negative_slope", rowwise=True),
    "ELU": Row(activate, "alpha", rowwise=True),
    "ThresholdedReLU": Row(activate, "theta", rowwise=True),
    "Softmax": Row(activate, "axis", rowwise=True),
    "Concatenate": Row(partial(merge, op=MERGE_OPS["concat"]), "axis"),
    "Add": Row(partial(merge, op=MERGE_OPS["sum"])),
    "Multiply": Row(partial(merge, op=MERGE_OPS["mul"])),
    "Average": Row(partial(merge, op=MERGE_OPS["ave"])),
    **dict.fromkeys(
        ("Dropout", "SpatialDropout1D", "AlphaDropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization"),
        NO_OP,
    ),
}  # fmt: skip
INNER_PROBLEMS: dict[str, Callable[[Layer], list[str]]] = {
    **dict.fromkeys(keras_recurrent.RECURRENT, keras_recurrent.problems),
    "Bidirectional": keras_recurrent.bidirectional_problems,
    "TimeDistributed": _time_distributed_problems,
}


def layer_problems(layer: Layer) -> list[str]:
    """Everything about a layer's class and config that stops its import, as messages."""
    row = LAYERS.get(layer.class_name)
    own = layer.module is None or layer.module.split(".")[0] in ("keras", "tf_keras", "tensorflow")
    if row is None or not own:
        what = layer.class_name if own else f"{layer.class_name} of {layer.module}"
        return [f"class of layer {layer.name!r} must be a supported one, got {what}"]
    try:
        inner = INNER_PROBLEMS.get(layer.class_name)
        return row.problems(layer) + (inner(layer) if inner else [])
    except ConvertError as error:
        return [str(error)]
