"""Normalisations of any axes: by stored statistics, by means and variances, by lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ConvertError
from ...graph import Add, BatchNorm, Binary, Dense, LayerNorm, Multiply
from .builder import Builder
from .reductions import centred, reduced, variance
from .sizes import Size
from .values import Array, Tensor, room
from .views import joint, renumbered, reshaped

Weight = Array | Tensor | None  # numbers, a computed value, or none


def batch_norm(
    b: Builder, x: Tensor, axis: int, mean: Array, spread: Array, scale: Array | None, shift: Array | None, eps: float
) -> Tensor:
    """Apply (x - mean) / sqrt(spread + eps) * scale + shift to the channels of an axis, given arrays (C,)."""
    frame, op = x.frame_axis(axis), BatchNorm(mean, spread, scale, shift, eps=eps)
    if op.mean.shape[0] != x.spec.shape[frame]:
        raise ConvertError(f"mean must have one number for each of {x.spec.shape[frame]} channels, got {mean.shape}")
    if frame == len(x.spec.shape) - 1:
        return b.like(x, b.add(op, x.value))
    factor = (1.0 if op.scale is None else op.scale) / np.sqrt(op.variance.astype(np.float64) + eps)
    offset = (0.0 if op.shift is None else op.shift) - op.mean * factor
    kind = np.result_type(mean.dtype, np.float32)
    return scaled(b, x, [axis], factor.astype(kind), offset.astype(kind))


def scaled(b: Builder, x: Tensor, axes: Sequence[int], scale: Weight, shift: Weight) -> Tensor:
    """Return scale * x + shift, each of the shape of `axes` in ascending order, or none."""
    for op, weight in ((Multiply(), scale), (Add(), shift)):
        if weight is not None:
            x = joint(b, op, x, _along(b, weight, x.rank, axes))
    return x


def _along(b: Builder, weight: Array | Tensor, rank: int, axes: Sequence[int]) -> Tensor:
    """Return a weight of some axes as one that broadcasts with all axes."""
    sizes = weight.sizes() if isinstance(weight, Tensor) else weight.shape
    if len(sizes) != len(axes):  # as in ONNX, whose weights may be of any shape that broadcasts with the last axes
        return b.lift(weight)
    places = dict(zip(axes, sizes, strict=True))
    wide = [places.get(a, 1) for a in range(min(axes, default=0), rank)]
    return reshaped(b, weight, wide) if isinstance(weight, Tensor) else b.lift(weight.reshape(wide))


def layer_norm(b: Builder, x: Tensor, axes: Sequence[int], scale: Weight, shift: Weight, eps: float) -> Tensor:
    """Subtract the mean over some axes, divide by sqrt(variance + eps), then scale and shift, arrays of these axes."""
    axes = sorted(axes)
    sizes = tuple(x.size(a) for a in axes)
    if isinstance(scale, Tensor) or isinstance(shift, Tensor) or not all(map(x.is_frame, axes)):
        return scaled(b, standardised(b, x, axes, eps)[0], axes, scale, shift)
    factor = _broadcast(np.ones((), np.float32) if scale is None else scale, sizes)
    offset = None if shift is None else _broadcast(shift, sizes)
    frames = [x.frame_axis(a) for a in axes]
    order = [*(i for i in range(len(x.spec.shape)) if i not in frames), *frames]
    value = b.transpose(x.value, order)
    shape = b.shape(value)
    flat = b.reshape(value, (*shape[: len(order) - len(axes)], factor.size))
    y = b.reshape(b.add(LayerNorm(factor, offset, eps=eps), flat), shape)
    return b.result(y, renumbered(x.axes, order), x.elem)


def _broadcast(weight: Array, sizes: Sequence[Size]) -> Array:
    """Return a weight for each element of some axes, flat."""
    try:
        return np.broadcast_to(weight, [int(n) for n in sizes]).reshape(-1)
    except ValueError as error:
        raise ConvertError(f"scale and shift must be of shape {tuple(sizes)}, got {weight.shape}") from error


def standardised(b: Builder, x: Tensor, axes: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (x - mean) / root, the mean and the root, which is sqrt(variance + eps), over axes of frames or time."""
    mean = reduced(b, x, axes, "mean", True)
    root = _root(b, variance(b, x, axes, 0, True), eps)
    return joint(b, Binary("div"), centred(b, x, mean), root), mean, root


def _root(b: Builder, square: Tensor, eps: float) -> Tensor:
    return b.like(square, b.unary("sqrt", b.affine(square.value, 1.0, eps)))


def over_deviation(b: Builder, x: Tensor, axes: Sequence[int], eps: float) -> Tensor:
    """Return x / sqrt(variance + eps), of axes of frames or time."""
    return joint(b, Binary("div"), x, _root(b, variance(b, x, axes, 0, True), eps))


def rms_norm(b: Builder, x: Tensor, axes: Sequence[int], scale: Weight, eps: float) -> Tensor:
    """Return x / sqrt(mean(x^2) + eps) * scale, of axes of frames or time."""
    square = reduced(b, b.like(x, b.times(x.value, x.value)), axes, "mean", True)
    return scaled(b, joint(b, Binary("div"), x, _root(b, square, eps)), sorted(axes), scale, None)


def group_norm(
    b: Builder, x: Tensor, groups: int, scale: Weight, shift: Weight, eps: float, *, axis: int = 1
) -> Tensor:
    """Standardise groups of channels, each with all axes but the first; then scale and shift by channel.

    Parameters
    ----------
    axis : int
        That of the channels.

    Raises
    ------
    ConvertError
        When the channels are not a multiple of the groups.
    """
    channels = x.spec.shape[x.frame_axis(axis)]
    if groups < 1 or channels % groups:
        raise ConvertError(f"groups must divide the {channels} channels, got {groups}")
    sizes = x.sizes()
    parted: list[Size] = [*sizes[:axis], groups, channels // groups, *sizes[axis + 1 :]]
    within = [a for a in range(1, x.rank + 1) if a != axis]
    y = layer_norm(b, reshaped(b, x, parted), within, None, None, eps)
    return scaled(b, reshaped(b, y, sizes), [axis], scale, shift)


def unit(b: Builder, x: Tensor, axes: Sequence[int], order: int, smallest: float | None) -> Tensor:
    """Return x over its 1- or 2-norm, which counts as `smallest` at least; zeros stay zeros where that is None."""
    if order not in (1, 2):
        raise ConvertError(f"order of a norm must be 1 or 2, got {order}")
    length = reduced(b, x, axes, f"l{order}", True)
    value = length.value
    if smallest is None:
        value = b.where(b.binary("equal", value, 0.0), b.number(1.0, like=value), value)
    else:
        value = b.binary("max", value, smallest)
    return joint(b, Binary("div"), x, b.like(length, value))


def response_norm(b: Builder, x: Tensor, axis: int, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """Return x / (bias + alpha / size * sum(x^2)) ** beta, of `size` channels around each."""
    frame, before = x.frame_axis(axis), (size - 1) // 2
    channels = x.spec.shape[frame]
    room(channels, channels)
    offset = np.arange(channels) - np.arange(channels)[:, None]  # of column and row
    near = ((offset >= -before) & (offset <= size - 1 - before)).astype(np.float32)
    order = [*(i for i in range(len(x.spec.shape)) if i != frame), frame]
    moved = b.result(b.transpose(x.value, order), renumbered(x.axes, order), x.elem)
    sums = b.add(Dense(near), b.times(moved.value, moved.value))
    scale = b.binary("pow", b.affine(sums, alpha / size, bias), beta)
    return b.like(moved, b.binary("div", moved.value, scale))
