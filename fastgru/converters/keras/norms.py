"""Keras's normalization layers."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ..program import norms
from .draft import Draft, axes_in
from .rows import Row, axes_of, frame_axes, frame_axis, one, shaped, take
from .values import AcrossTime, Array, Context, Layer, Value

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
    x, b = one(layer, inputs), Draft(layer.name, ctx)
    axis = frame_axis(layer, x, layer.get("axis", default=-1))
    gamma, beta, (mean, variance) = _scale_and_shift(layer, arrays, (x.frame[axis],), "moving_mean", "moving_variance")
    (at,) = axes_in(x, [axis])
    y = norms.batch_norm(b, b.read(x), at, mean, variance, gamma, beta, layer.number("epsilon"))
    return [b.finish(y, x.mask)]


def layer_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """LayerNormalization over one or more axes: gamma, beta of their shape.

    What it calls rms_scaling is x / sqrt(variance + epsilon) * gamma.
    """
    x, b = one(layer, inputs), Draft(layer.name, ctx)
    axes = frame_axes(layer, x, layer.get("axis", default=-1))
    shape, at, eps = tuple(x.frame[axis] for axis in axes), axes_in(x, axes), layer.number("epsilon")
    if layer.flag("rms_scaling", default=False):
        (gamma,) = take(layer, arrays, "gamma")
        y = norms.over_deviation(b, b.read(x), at, eps)
        return [b.finish(norms.scaled(b, y, at, shaped(layer, gamma, "gamma", shape), None), x.mask)]
    scale, shift, _ = _scale_and_shift(layer, arrays, shape)
    return [b.finish(norms.layer_norm(b, b.read(x), at, scale, shift, eps), x.mask)]


def rms_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """RMSNormalization: x / sqrt(mean(x^2) + epsilon) * scale."""
    x, b = one(layer, inputs), Draft(layer.name, ctx)
    axes = frame_axes(layer, x, layer.get("axis", default=-1))
    (scale,) = take(layer, arrays, "scale")
    shaped(layer, scale, "scale", tuple(x.frame[axis] for axis in axes))
    return [b.finish(norms.rms_norm(b, b.read(x), axes_in(x, axes), scale, layer.number("epsilon")))]


def unit_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """UnitNormalization: x / max(|x|, 1e-12), over axes of the frame or over time."""
    x = one(layer, inputs)
    take(layer, arrays)
    axes = axes_of(layer, x, layer.get("axis", default=-1))
    b = Draft(layer.name, ctx)
    return [b.finish(norms.unit(b, b.read(x), axes_in(x, axes), 2, UNIT_EPSILON), x.mask)]


def group_norm(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """GroupNormalization: mean and variance over all axes, group by group of the channels, time included."""
    x, b = one(layer, inputs), Draft(layer.name, ctx)
    axis = frame_axis(layer, x, layer.get("axis", default=-1))
    channels, wanted = x.frame[axis], layer.get("groups", default=32)
    groups = channels if wanted == -1 else wanted
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or channels % groups:
        raise ConvertError(f"groups of {layer} must divide its {channels} channels, got {wanted!r}")
    gamma, beta, _ = _scale_and_shift(layer, arrays, (channels,))
    (at,) = axes_in(x, [axis])
    return [b.finish(norms.group_norm(b, b.read(x), groups, gamma, beta, layer.number("epsilon"), axis=at), x.mask)]


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
    b = Draft(layer.name, ctx)
    return [b.finish(norms.scaled(b, b.read(x), axes_in(x, axes), factor, offset), x.mask)]


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
    b = Draft(layer.name, ctx)
    y = b.read(x)
    if scale.size == offset.size == 1:
        return [b.finish(b.like(y, b.affine(y.value, float(scale.item()), float(offset.item()))), x.mask)]
    if scale.shape not in ((), x.frame[-1:]) or offset.shape not in ((), x.frame[-1:]):
        got = f"{scale.shape} and {offset.shape}"
        raise ConvertError(f"scale and offset of {layer} must be a number or one per feature, got {got}")
    return [b.finish(norms.scaled(b, y, [y.rank - 1], scale, offset), x.mask)]


AXIS = "axis epsilon scale center"
RENORM = {"renorm": (False,), "virtual_batch_size": (None,), "adjustment": (None,)}
ROWS = {
    "LayerNormalization": Row(layer_norm, f"{AXIS} rms_scaling"),
    "BatchNormalization": Row(batch_norm, AXIS, "momentum fused synchronized renorm_clipping renorm_momentum", RENORM),
    "UnitNormalization": Row(unit_norm, "axis"),
    "GroupNormalization": Row(group_norm, f"{AXIS} groups"),
    "RMSNormalization": Row(rms_norm, "axis epsilon"),
    "Normalization": Row(normalization, "axis mean variance invert"),
    "Rescaling": Row(rescaling, "scale offset"),
}
