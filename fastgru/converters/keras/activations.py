"""Keras activation names, functions and layers: activations of the graph, or formulas where it has none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...errors import ConvertError
from ...graph import SOFTMAX, Activate, Activation, Op
from ...graph.activations import ACTIVATIONS
from ..program import formulas
from ..program.reductions import centred, reduced
from ..program.values import Tensor
from . import custom as keras_custom
from .draft import Draft, axes_in
from .rows import axes_of, one, take
from .values import AcrossTime, Array, Context, Layer, Value, Version, as_layer, shortened

# Names that mean the same in every Keras, where activations have no arguments: name -> (formula, numbers).
NAMES: dict[str, tuple[str, dict[str, float]]] = {
    **{
        name: (name, {})
        for name in (
            "linear", "sigmoid", "tanh", "relu", "softmax", "softsign", "softplus", "elu", "relu6",
            "selu", "silu", "gelu", "mish", "log_softmax", "log_sigmoid", "hard_silu", "hard_tanh", "tanh_shrink",
            "hard_shrink", "soft_shrink", "squareplus", "sparse_plus", "glu",
        )
    },
    "sparse_sigmoid": ("hard_sigmoid", {"alpha": 0.5, "beta": 0.5}),
    "celu": ("elu", {}), "swish": ("silu", {}), "hard_swish": ("hard_silu", {}), "exponential": ("exp", {}),
    "leaky_relu": ("leaky_relu", {"alpha": 0.2}),  # keras/src/activations/activations.py: negative_slope=0.2
}  # fmt: skip
# clip(0.2 x + 0.5) until Keras 2, relu6(x + 3) / 6 since Keras 3.
HARD_SIGMOID_SLOPE = {2: 0.2, 3: 1 / 6}

Function = Callable[[Draft, Value], Tensor]
Resolved = Activation | Function


def resolved(name: str, **numbers: float) -> Resolved:
    """A formula as the graph's own activation where it has that one, else as a function."""
    if name in ACTIVATIONS or name == SOFTMAX:
        return Activation(name, **numbers)
    if name in OF_FEATURES:
        return lambda b, x: OF_FEATURES[name](b, b.read(_with_features(x)), x.rank - 1)
    return lambda b, x: formulas.apply(b, b.read(x), name, **numbers)


def _with_features(x: Value) -> Value:
    if not x.frame:
        raise AcrossTime("activation must be over features, got a value that has only time")
    return x


OF_FEATURES: dict[str, Callable[[Draft, Tensor, int], Tensor]] = {
    "log_softmax": partial(formulas.softmax, log=True), "glu": formulas.glu,
}  # fmt: skip


def relu(layer: Layer, version: Version) -> Resolved:
    """`keras.layers.ReLU`: x above threshold, at most max_value, and negative_slope * (x - threshold) below it."""
    slope, threshold = layer.number("negative_slope", default=0.0), layer.number("threshold", default=0.0)
    largest = None if layer.config.get("max_value") is None else layer.number("max_value")
    if largest is None and not (slope and threshold):
        if slope:
            return Activation("leaky_relu", alpha=slope)
        return Activation("thresholded_relu", alpha=threshold) if threshold else Activation("relu")

    def formula(b: Draft, value: Value) -> Tensor:
        x = b.read(value)
        y = b.activate(x.value, "thresholded_relu", alpha=threshold) if threshold else b.activate(x.value, "relu")
        y = y if largest is None else b.binary("min", y, largest)
        below = b.affine(b.activate(b.affine(x.value, -1.0, threshold), "relu"), -slope) if slope else None
        return b.like(x, y if below is None else b.plus(y, below))

    return formula


def leaky_relu(layer: Layer, version: Version) -> Resolved:
    """`keras.layers.LeakyReLU`: its slope was called alpha until Keras 2."""
    key = "negative_slope" if "negative_slope" in layer.config else "alpha"
    return Activation("leaky_relu", alpha=layer.number(key))


def _softmax(layer: Layer, version: Version) -> Resolved:
    axis = layer.get("axis", default=-1)
    return Activation(SOFTMAX) if axis in (-1, [-1]) else partial(softmax, layer, axis)


def softmax(layer: Layer, axis: Any, b: Draft, value: Value) -> Tensor:
    """exp(x) over its sum along one axis or several."""
    x, axes = b.read(value), axes_in(value, axes_of(layer, value, axis))
    if len(axes) == 1:
        return formulas.softmax(b, x, axes[0])
    return formulas.apply(b, centred(b, x, reduced(b, x, axes, "log_sum_exp", True)), "exp")


# Class of an activation layer -> its activation.
LAYERS: dict[str, Callable[[Layer, Version], Resolved]] = {
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "ELU": lambda layer, version: Activation("elu", alpha=layer.number("alpha")),
    "ThresholdedReLU": lambda layer, version: Activation("thresholded_relu", alpha=layer.number("theta")),
    "Softmax": _softmax,
    "Activation": lambda layer, version: named(layer, "activation", version),
}


def named(layer: Layer, key: str, version: Version, custom: Any = ()) -> Resolved:
    """The activation that a layer's config holds under `key`: a name, a function, or a layer.

    Raises
    ------
    ConvertError
        When it is not one that the graph can express.
    """
    if key not in layer.config:
        raise ConvertError(f"{layer} must have {key!r} in its config, got none")
    value = layer.config[key]
    if isinstance(value, dict) and str(value.get("class_name")) in LAYERS:
        inner = as_layer(value, where=f"{key} of {layer}")
        return LAYERS[inner.class_name](inner, version)
    name = _what(value)
    if name is None:
        return Activation("linear")
    if name == "hard_sigmoid":
        return Activation("hard_sigmoid", alpha=HARD_SIGMOID_SLOPE[3 if version.major >= 3 else 2], beta=0.5)
    if isinstance(value, str) and name in NAMES:
        own, numbers = NAMES[name]
        return resolved(own, **numbers)
    known = ", ".join([*NAMES, "hard_sigmoid", *(n for n in LAYERS if n != "Activation")])
    raise ConvertError(f"{key} of {layer} must be one of {known}, got {shortened(name)}")


def _what(value: Any) -> Any:
    """The name of an activation, its class or its function."""
    if not isinstance(value, dict):
        return value
    return value.get("config") if isinstance(value.get("config"), str) else value.get("class_name", value)


def gate(layer: Layer, key: str, version: Version) -> Activation:
    """The activation of a recurrent layer, which must be one of the graph's own."""
    found = named(layer, key, version)
    if isinstance(found, Activation) and found.name != SOFTMAX:
        return found
    own = [name for name, row in NAMES.items() if isinstance(resolved(row[0], **row[1]), Activation)]
    known = ", ".join(n for n in (*own, "hard_sigmoid", *LAYERS) if n not in (SOFTMAX, "Softmax", "Activation"))
    raise ConvertError(f"{key} of {layer} must be one of {known}, got {shortened(_what(layer.config[key]))}")


def fits(layer: Layer, ctx: Context) -> bool:
    """Whether the layer's activation is one that ops have as their own, element by element."""
    if keras_custom.hook(ctx, str(_what(layer.config.get("activation")))) is not None:
        return False
    found = named(layer, "activation", ctx.version)
    return isinstance(found, Activation) and found.name != SOFTMAX


def finish(op: Op, x: Value, layer: Layer, ctx: Context, *, mask: Value | None = None) -> Value:
    """Add an op followed by the layer's activation, which becomes part of the op where it can."""
    if fits(layer, ctx):
        return ctx.add(op.replace(activation=named(layer, "activation", ctx.version)), x, name=layer.name, mask=mask)
    return apply(layer, ctx.add(op, x, name=f"{layer.name}.{op.kind}"), ctx, mask=mask)


def apply(layer: Layer, x: Value, ctx: Context, *, mask: Value | None = None) -> Value:
    """The layer's activation of `x`, as a node of the layer's name."""
    what = str(_what(layer.config.get("activation")))
    if keras_custom.hook(ctx, what) is not None:
        return keras_custom.activation(layer, what, x, ctx).masked(mask)
    return _applied(named(layer, "activation", ctx.version), layer, x, ctx, mask)


def _applied(found: Resolved, layer: Layer, x: Value, ctx: Context, mask: Value | None) -> Value:
    b = Draft(layer.name, ctx)
    if not isinstance(found, Activation):
        return b.finish(found(b, x), mask)
    if found.name == SOFTMAX and not x.frame:
        return b.finish(formulas.softmax(b, b.read(x), 1), mask)
    return ctx.add(Activate(found), x, name=layer.name, mask=mask)


def activate(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Layers that are an activation function."""
    x = one(layer, inputs)
    take(layer, arrays)
    if layer.class_name == "Activation":
        return [apply(layer, x, ctx, mask=x.mask)]
    if layer.class_name == "Softmax" and x.mask is not None:
        raise ConvertError(f"{layer} must have no mask on its input, got one: Keras adds it to the logits")
    return [_applied(LAYERS[layer.class_name](layer, ctx.version), layer, x, ctx, x.mask)]


def prelu(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """PReLU: relu(x) - alpha * relu(-x); alpha has the shape of a row, with 1 along shared axes."""
    x = one(layer, inputs)
    (alpha,) = take(layer, arrays, "alpha")
    if alpha.ndim != x.rank - 1:
        raise ConvertError(f"alpha of {layer} must have {x.rank - 1} axes, got shape {alpha.shape}")
    if x.timed and alpha.shape[0] != 1:
        raise AcrossTime(f"alpha of {layer} must be shared along time, got shape {alpha.shape}")
    slope = alpha.reshape(alpha.shape[x.timed :])
    sizes: list[tuple[int, int]] = list(zip(slope.shape, x.frame, strict=True))
    if any(size not in (1, wanted) for size, wanted in sizes):
        raise ConvertError(f"alpha of {layer} must fit {x.spec}, got shape {alpha.shape}")
    b = Draft(layer.name, ctx)
    return [b.finish(formulas.prelu(b, b.read(x), slope, axes_in(x, range(len(x.frame)))), x.mask)]
