"""Keras's normalization layers."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import BatchNorm, LayerNorm, Transpose
from .formulas import Formula, add, affine, back, binary, emit, mul, reduce, reshape, to_last, unary
from .rows import Row, axes_of, frame_axes, frame_axis, one, shaped, take
from .values import AcrossTime, Array, Context, Layer, Value, filled

UNIT_EPSILON = 1e-12  # keras/src/layers/normalization/unit_normalization.py
SMALLEST_DEVIATION = 1e-7  # keras/src/backend/config.py: epsilon()


def _scale_and_shift(
    layer: Layer, arrays: list[Array], shape: tuple[int, ...], *more: str
) -> tuple[Array | None, Array | None, list[Array]]:
    """gamma and beta, where the config has them, and the arrays after those."""
    present = [n for n, key in (("gamma", "scale"), ("beta", "center")) if layer.flag(key, default=True)]
    names = [*present, *more]
    own = {n: shaped(layer, a, n, shape) for n, a in zip(names, take(layer, arrays, *names), strict=True)}
    return own.get("gamma"), own.get("beta"), [own[n] for n in more]


def batch_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """BatchNormalization along one axis: gamma, beta, moving_mean, moving_variance (F,)."""
    x = one(layer, inputs)
    axis, rank = frame_axis(layer, x, layer.get("axis", default=-1)), len(x.frame)
    gamma, beta, (mean, variance) = _scale_and_shift(layer, arrays, (x.frame[axis],), "moving_mean", "moving_variance")
    op = BatchNorm(mean, variance, scale=gamma, shift=beta, eps=layer.number("epsilon"))
    formula = Formula(op, (x,)) if axis == rank - 1 else back(Formula(op, (to_last(x, axis, rank),)), axis, rank)
    return [emit(formula, ctx, layer.name, x.mask)]


def layer_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """LayerNormalization over one or more axes: gamma, beta of their shape."""
    x = one(layer, inputs)
    axes = frame_axes(layer, x, layer.get("axis", default=-1))
    shape = tuple(x.frame[axis] for axis in axes)
    if layer.flag("rms_scaling", default=False):
        return [_by_deviation(layer, arrays, x, axes, ctx)]
    gamma, beta, _ = _scale_and_shift(layer, arrays, shape)
    size = prod(shape)
    scale = filled(layer, (size,), 1.0) if gamma is None else gamma.reshape(size)
    op = LayerNorm(scale, None if beta is None else beta.reshape(size), eps=layer.number("epsilon"))
    return [emit(_over(op, x, axes), ctx, layer.name, x.mask)]


def _over(op: LayerNorm, x: Value, axes: tuple[int, ...]) -> Formula:
    """A norm of the last axis over several axes of any place."""
    rank = len(x.frame)
    if axes == (rank - 1,):
        return Formula(op, (x,))
    order = (*(i for i in range(rank) if i not in axes), *axes)
    moved = tuple(x.frame[i] for i in order)
    kept = rank - len(axes)
    y: Any = x if order == tuple(range(rank)) else Formula(Transpose(order), (x,))
    y = y if len(axes) == 1 else reshape(y, (*moved[:kept], prod(moved[kept:])))
    y = Formula(op, (y,))
    y = y if len(axes) == 1 else reshape(y, moved)
    inverse = tuple(int(i) for i in np.argsort(order))
    return y if order == tuple(range(rank)) else Formula(Transpose(inverse), (y,))


def _along(array: Array, x: Value, axes: tuple[int, ...]) -> Array:
    """An array of the shape of `axes`, with axes of 1 for the others of the frame."""
    return array.reshape(tuple(n if i in axes else 1 for i, n in enumerate(x.frame)))


def _by_deviation(layer: Layer, arrays: list[Array], x: Value, axes: tuple[int, ...], ctx: Context) -> Value:
    """What LayerNormalization calls rms_scaling: x / sqrt(variance + epsilon) * gamma."""
    (gamma,) = take(layer, arrays, "gamma")
    shaped(layer, gamma, "gamma", tuple(x.frame[axis] for axis in axes))
    centred = binary("sub", x, reduce("mean", x, axes, keepdims=True))
    variance = reduce("mean", mul(centred, centred), axes, keepdims=True)
    deviation = unary("sqrt", affine(variance, 1.0, layer.number("epsilon")))
    scale = ctx.constant(_along(gamma, x, axes), name=f"{layer.name}.gamma")
    return emit(mul(binary("div", x, deviation), scale), ctx, layer.name, x.mask)


def rms_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """RMSNormalization: x / sqrt(mean(x^2) + epsilon) * scale."""
    x = one(layer, inputs)
    axes = frame_axes(layer, x, layer.get("axis", default=-1))
    (scale,) = take(layer, arrays, "scale")
    shaped(layer, scale, "scale", tuple(x.frame[axis] for axis in axes))
    mean = reduce("mean", mul(x, x), axes, keepdims=True)
    root = unary("sqrt", affine(mean, 1.0, layer.number("epsilon")))
    factor = ctx.constant(_along(scale, x, axes), name=f"{layer.name}.scale")
    return [emit(mul(binary("div", x, root), factor), ctx, layer.name)]


def unit_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """UnitNormalization: x / max(|x|, 1e-12), over axes of the frame or over time."""
    x = one(layer, inputs)
    take(layer, arrays)
    axes = axes_of(layer, x, layer.get("axis", default=-1))
    return [emit(unit(x, axes, UNIT_EPSILON), ctx, layer.name, x.mask)]


def unit(x: Any, axes: tuple[int, ...], smallest: float) -> Formula:
    """x over its length along `axes`, which counts as `smallest` at least."""
    return binary("div", x, binary("max", reduce("l2", x, axes, keepdims=True), smallest))


def group_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """GroupNormalization: mean and variance over all axes, group by group of the channels, time included."""
    x = one(layer, inputs)
    axis, rank = frame_axis(layer, x, layer.get("axis", default=-1)), len(x.frame)
    channels, wanted = x.frame[axis], layer.get("groups", default=32)
    groups = channels if wanted == -1 else wanted
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or channels % groups:
        raise ConvertError(f"groups of {layer} must divide its {channels} channels, got {wanted!r}")
    gamma, beta, _ = _scale_and_shift(layer, arrays, (channels,))
    split = reshape(x, (*x.frame[:axis], groups, channels // groups, *x.frame[axis + 1 :]))
    axes = (*[-1] * x.timed, *(i for i in range(rank + 1) if i != axis))
    centred = binary("sub", split, reduce("mean", split, axes, keepdims=True))
    variance = reduce("mean", mul(centred, centred), axes, keepdims=True)
    y: Any = binary("div", centred, unary("sqrt", affine(variance, 1.0, layer.number("epsilon"))))
    y = reshape(y, x.frame)
    for what, array, join in (("gamma", gamma, mul), ("beta", beta, add)):
        if array is not None:
            y = join(y, ctx.constant(_along(array, x, (axis,)), name=f"{layer.name}.{what}"))
    return [emit(y, ctx, layer.name, x.mask)]


def normalization(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Normalization: (x - mean) / max(sqrt(variance), 1e-7) with what `adapt` found, or the other way."""
    x = one(layer, inputs)
    axis = layer.config.get("axis", -1)
    axes = () if axis in (None, [], ()) else axes_of(layer, x, axis)
    if -1 in axes:
        raise AcrossTime(f"axis of {layer} must not be the time axis, got {axis!r}")
    shape = tuple(x.frame[i] for i in axes)
    if layer.config.get("mean") is None:
        names = ("mean", "variance", "count")[: max(2, len(arrays))]  # count is only of newer files
        own = zip(take(layer, arrays, *names)[:2], names[:2], strict=True)
        mean, variance = (shaped(layer, array, name, shape) for array, name in own)
    else:
        take(layer, arrays)
        mean, variance = (_broadcast(layer, key, shape) for key in ("mean", "variance"))
    if not (variance >= 0).all():
        raise ConvertError(f"variance of {layer} must not be negative, got {variance.min()}")
    deviation = np.maximum(np.sqrt(variance.astype(np.float64)), SMALLEST_DEVIATION)
    if layer.flag("invert", default=False):
        factor, offset = deviation, mean.astype(np.float64)
    else:
        factor, offset = 1.0 / deviation, -mean.astype(np.float64) / deviation
    scaled = mul(x, ctx.constant(_along(factor, x, axes), name=f"{layer.name}.scale"))
    shift = ctx.constant(_along(offset, x, axes), name=f"{layer.name}.shift")
    return [emit(add(scaled, shift), ctx, layer.name, x.mask)]


def _broadcast(layer: Layer, key: str, shape: tuple[int, ...]) -> Array:
    """Numbers of the config, given for the last axes alone or as one for all."""
    array = numbers(layer, key)
    try:
        return np.broadcast_to(array, shape)
    except ValueError as error:
        raise ConvertError(f"{key} of {layer} must fit shape {shape}, got {array.shape}") from error


def numbers(layer: Layer, key: str) -> Array:
    """A number of the config, or nested lists of them."""
    value = layer.get(key)
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        value = value["config"].get("value")
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConvertError(f"{key} of {layer} must be numbers, got {value!r:.80}") from error
    if not np.isfinite(array).all():
        raise ConvertError(f"{key} of {layer} must be finite, got {value!r:.80}")
    return array


def rescaling(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Rescaling: x * scale + offset, numbers or one for each feature."""
    x = one(layer, inputs)
    take(layer, arrays)
    scale, offset = numbers(layer, "scale"), numbers(layer, "offset")
    if scale.size == offset.size == 1:
        return [emit(affine(x, float(scale.reshape(())), float(offset.reshape(()))), ctx, layer.name, x.mask)]
    if scale.shape not in ((), x.frame[-1:]) or offset.shape not in ((), x.frame[-1:]):
        got = f"{scale.shape} and {offset.shape}"
        raise ConvertError(f"scale and offset of {layer} must be a number or one per feature, got {got}")
    return [emit(add(mul(x, scale), offset), ctx, layer.name, x.mask)]


AXIS = "axis epsilon scale center"
RENORM = {"renorm": (False,), "virtual_batch_size": (None,), "adjustment": (None,)}
ROWS = {
    "LayerNormalization": Row(layer_norm, f"{AXIS} rms_scaling", rowwise=True),
    "BatchNormalization": Row(
        batch_norm, AXIS, "momentum fused synchronized renorm_clipping renorm_momentum", RENORM, rowwise=True
    ),
    "UnitNormalization": Row(unit_norm, "axis", rowwise=True),
    "GroupNormalization": Row(group_norm, f"{AXIS} groups"),
    "RMSNormalization": Row(rms_norm, "axis epsilon", rowwise=True),
    "Normalization": Row(normalization, "axis mean variance invert"),
    "Rescaling": Row(rescaling, "scale offset", rowwise=True),
}
