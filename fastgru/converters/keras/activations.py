"""Keras activation names, functions and layers: activations of the graph, or formulas where it has none."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

from ...errors import ConvertError
from ...graph import SOFTMAX, Activate, Activation, Op, Reduce, Slice, Softmax, Unary
from . import custom as keras_custom
from .formulas import Formula, act, add, affine, binary, emit, mul, softmax, unary, where
from .rows import axes_of, frame_axes, one, take
from .values import AcrossTime, Array, Context, Layer, Value, Version, as_layer, shortened

# Names that mean the same in every Keras: name -> (activation, alpha, beta).
PLAIN: dict[str, tuple[str, float | None, float | None]] = {
    "linear": ("linear", None, None),
    "sigmoid": ("sigmoid", None, None),
    "tanh": ("tanh", None, None),
    "relu": ("relu", None, None),
    "softmax": ("softmax", None, None),
    "softsign": ("softsign", None, None),
    "softplus": ("softplus", None, None),
    "elu": ("elu", 1.0, None),
    "celu": ("elu", 1.0, None),
    "leaky_relu": ("leaky_relu", 0.2, None),  # keras/src/activations/activations.py: negative_slope=0.2
    "sparse_sigmoid": ("hard_sigmoid", 0.5, 0.5),
}
# clip(0.2 x + 0.5) until Keras 2, relu6(x + 3) / 6 since Keras 3.
HARD_SIGMOID_SLOPE = {2: 0.2, 3: 1 / 6}
SELU = 1.0507009873554805, 1.6732632423543772  # scale and alpha, arXiv:1706.02515
SHRINK = 0.5  # keras/src/activations/activations.py: the default of both thresholds

Function = Callable[[Value], Formula]
Resolved = Activation | Function


def _silu(x: Any) -> Formula:
    return mul(x, act("sigmoid", x))


def _gelu(x: Any) -> Formula:
    return mul(affine(x, 0.5), affine(unary("erf", affine(x, 1 / sqrt(2))), 1.0, 1.0))


def _gelu_tanh(x: Any) -> Formula:
    inner = affine(add(x, affine(mul(x, x, x), 0.044715)), sqrt(2 / pi))
    return mul(affine(x, 0.5), affine(act("tanh", inner), 1.0, 1.0))


def _log_softmax(x: Value) -> Formula:
    if not x.frame:
        raise AcrossTime("log_softmax must be over features, got a value that has only time")
    return Formula(Softmax(len(x.frame) - 1, log=True), (x,))


def _glu(x: Value) -> Formula:
    *outer, last = x.frame or (1,)
    if last % 2:
        raise ConvertError(f"features for glu must be even, got {last}")
    starts, stops = (0,) * len(outer), tuple(outer)
    a, b = (
        Formula(Slice((*starts, start), (*stops, start + last // 2), (1,) * len(x.frame)), (x,))
        for start in (0, last // 2)
    )
    return mul(a, act("sigmoid", b))


def _sparse_plus(x: Any) -> Formula:
    middle = affine(mul(affine(x, 1.0, 1.0), affine(x, 1.0, 1.0)), 0.25)
    return where(binary("greater", x, -1.0), where(binary("less", x, 1.0), middle, x), 0.0)


def _soft_shrink(x: Any) -> Formula:
    above, below = act("relu", affine(x, 1.0, -SHRINK)), act("relu", affine(x, -1.0, -SHRINK))
    return add(above, affine(below, -1.0))


def clip(x: Any, low: float, high: float) -> Formula:
    """x between two bounds."""
    return binary("min", binary("max", x, low), high)


COMPOSED: dict[str, Function] = {
    "relu6": lambda x: binary("min", act("relu", x), 6.0),
    "selu": lambda x: affine(act("elu", x, SELU[1]), SELU[0]),
    "silu": _silu,
    "swish": _silu,
    "gelu": _gelu,
    "mish": lambda x: mul(x, act("tanh", act("softplus", x))),
    "exponential": lambda x: unary("exp", x),
    "log_softmax": _log_softmax,
    "log_sigmoid": lambda x: affine(act("softplus", affine(x, -1.0)), -1.0),
    "hard_silu": lambda x: mul(x, act("hard_sigmoid", x, 1 / 6, 0.5)),
    "hard_swish": lambda x: mul(x, act("hard_sigmoid", x, 1 / 6, 0.5)),
    "hard_tanh": lambda x: clip(x, -1.0, 1.0),
    "tanh_shrink": lambda x: binary("sub", x, act("tanh", x)),
    "hard_shrink": lambda x: where(binary("greater", unary("abs", x), SHRINK), x, 0.0),
    "soft_shrink": _soft_shrink,
    "squareplus": lambda x: affine(add(x, unary("sqrt", affine(mul(x, x), 1.0, 4.0))), 0.5),
    "sparse_plus": _sparse_plus,
    "glu": _glu,
}  # fmt: skip


def relu(layer: Layer, version: Version) -> Resolved:
    """`keras.layers.ReLU`: x above threshold, at most max_value, and negative_slope * (x - threshold) below it."""
    slope, threshold = layer.number("negative_slope", default=0.0), layer.number("threshold", default=0.0)
    largest = None if layer.config.get("max_value") is None else layer.number("max_value")
    if largest is None and not (slope and threshold):
        if slope:
            return Activation("leaky_relu", alpha=slope)
        return Activation("thresholded_relu", alpha=threshold) if threshold else Activation("relu")

    def formula(x: Value) -> Formula:
        y = act("thresholded_relu", x, threshold) if threshold else act("relu", x)
        y = y if largest is None else binary("min", y, largest)
        return add(y, affine(act("relu", affine(x, -1.0, threshold)), -slope)) if slope else y

    return formula


def leaky_relu(layer: Layer, version: Version) -> Resolved:
    """`keras.layers.LeakyReLU`: its slope was called alpha until Keras 2."""
    key = "negative_slope" if "negative_slope" in layer.config else "alpha"
    return Activation("leaky_relu", alpha=layer.number(key))


def _softmax(layer: Layer, version: Version) -> Resolved:
    axis = layer.get("axis", default=-1)

    def formula(x: Value) -> Formula:
        axes = axes_of(layer, x, axis)
        if len(axes) == 1:
            return softmax(x, axes[0])
        axes = frame_axes(layer, x, axis)
        return Formula(Unary("exp"), (binary("sub", x, Formula(Reduce("log_sum_exp", axes), (x,))),))

    return Activation(SOFTMAX) if axis in (-1, [-1]) else formula


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
    if isinstance(value, str) and name in PLAIN:
        plain, alpha, beta = PLAIN[name]
        return Activation(plain, alpha=alpha, beta=beta)
    if isinstance(value, str) and name in COMPOSED:
        return COMPOSED[name]
    known = ", ".join([*PLAIN, "hard_sigmoid", *COMPOSED, *(n for n in LAYERS if n != "Activation")])
    raise ConvertError(f"{key} of {layer} must be one of {known}, got {shortened(name)}")


def _what(value: Any) -> Any:
    """The name of an activation, its class or its function."""
    if not isinstance(value, dict):
        return value
    return value.get("config") if isinstance(value.get("config"), str) else value.get("class_name", value)


def gate(layer: Layer, key: str, version: Version) -> Activation:
    """The activation of a recurrent layer, which must be one of the graph's own."""
    found = named(layer, key, version)
    if isinstance(found, Activation):
        return found
    known = ", ".join(n for n in (*PLAIN, "hard_sigmoid", *LAYERS) if n not in (SOFTMAX, "Softmax", "Activation"))
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
    if isinstance(found, Activation):
        if found.name == SOFTMAX and not x.frame:
            return emit(softmax(x, -1), ctx, layer.name, mask)
        return ctx.add(Activate(found), x, name=layer.name, mask=mask)
    return emit(found(x), ctx, layer.name, mask)


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
    below = mul(ctx.constant(slope, name=f"{layer.name}.alpha"), binary("min", x, 0.0))
    return [emit(add(act("relu", x), below), ctx, layer.name, x.mask)]
