"""Convolutions and their transposes, with constant weights: over axes of frames, over time, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np

from ...errors import ConvertError
from ...graph import (
    Activate,
    Activation,
    Add,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Framing,
    Op,
    OverlapAdd,
    Reshape,
    TimeConv,
    TimePad,
    Transpose,
)
from ...graph.convolution import MAX_SPATIAL
from .builder import Builder
from .steps import overlapped, windowed
from .time import unfolded
from .values import Array, Tensor, room
from .windows import Laid, Window, but, laid_out

MOST_ROWS = 64  # for each of which an op is there once, where rows cannot be an axis of it
LINEAR = Activation("linear")


def convolve(
    b: Builder, x: Tensor, weight: Array, bias: Array | None, windows: Sequence[Window], axes: Sequence[int], *,
    channels: int = 1, groups: int = 1, activation: Activation = LINEAR,
) -> Tensor:  # fmt: skip
    """Convolve the spatial axes of a tensor; axes that are neither these nor the channels are rows.

    Parameters
    ----------
    weight : (O, C / groups, \\*kernel) array
    bias : (O,) array or None
    windows : sequence of Window
        One for each of `axes`.
    axes : sequence of int
        The spatial axes, one of which may be time.
    channels : int
        The axis of channels.
    """
    laid = laid_out(b, x, axes, [channels])
    i, value, steps = laid.time, laid.merged(b), None
    if i is not None and windows[i].trivial:
        weight = weight.squeeze(2 + i)
    elif i is not None:
        value, before, after = unpadded(b, laid.timed(b, value))
        size, stride, dilation, *_ = windows[i]
        before, after = windows[i].before + before, windows[i].after + after
        steps = windowed(laid.steps(), windows[i].extent, stride, windows[i].before + windows[i].after)
        if len(b.shape(value)) == 1:
            value = b.add(TimeConv(weight, bias, stride, dilation, before, after, groups, activation), value)
            return laid.placed(b, value, steps)
        value = unfolded(b, value, Framing(size, stride, dilation, before, after))
        weight = np.moveaxis(weight, 2 + i, 2)
        weight = weight.reshape(weight.shape[0], -1, *weight.shape[3:])
    inner = [w._replace(size=n) for w, n in zip(but(windows, i), weight.shape[2:], strict=True)]

    def build(weight: Array, inner: Sequence[Window]) -> Op:
        _, stride, dilation, before, after, _ = zip(*inner, strict=True)
        return Conv(weight, bias, stride, dilation, before, after, groups, activation)

    dense = Dense(weight, bias, activation) if weight.ndim == 2 and groups == 1 else None
    return laid.placed(b, _on_frames(b, laid, value, weight, inner, dense, build), steps)


def _on_frames(
    b: Builder, laid: Laid, value: str, weight: Array, windows: Sequence[Window], dense: Dense | None,
    build: Callable[[Array, Sequence[Window]], Op],
) -> str:  # fmt: skip
    """Apply an op to frames (C, \\*rows, \\*spatial): rows are an axis of it with a kernel of one element."""
    shape, rows = b.shape(value), prod(laid.rows)
    if dense is not None and len(shape) == 1:
        return b.add(dense, value)
    if rows > 1 and len(windows) == MAX_SPATIAL:
        if rows > MOST_ROWS:
            raise ConvertError(f"rows beside {MAX_SPATIAL} spatial axes must be at most {MOST_ROWS}, got {rows}")
        parts = [b.reshape(b.cut(value, 1, r, r + 1), (shape[0], *shape[2:])) for r in range(rows)]
        made = [b.add(build(weight, windows), part) for part in parts]
        return b.add(Concat(1), *(b.reshape(y, (b.shape(y)[0], 1, *b.shape(y)[1:])) for y in made))
    if rows > 1 or not windows:
        windows = [Window(1), *windows]
        weight = weight.reshape(*weight.shape[:2], 1, *weight.shape[2:])
    y = b.add(build(weight, windows), value if len(shape) > 1 else b.reshape(value, (*shape, 1)))
    return y if len(shape) > 1 else b.reshape(y, b.shape(y)[:1])


def unpadded(b: Builder, value: str) -> tuple[str, int, int]:
    """Return what a value is with zeros around it in time, and how many; the value itself where it is not padded."""
    node = b.emit.producers.get(value)
    op: Op | None = node.op if node else None
    if node and isinstance(op, TimePad) and (op.value, op.outside) == (0, "value"):
        return node.inputs[0], op.before, op.after
    return value, 0, 0


# Transposed ----------------------------------------------------------------------------------------


def transposed(
    b: Builder, x: Tensor, weight: Array, bias: Array | None, windows: Sequence[Window], axes: Sequence[int], *,
    channels: int = 1, groups: int = 1, activation: Activation = LINEAR,
) -> Tensor:  # fmt: skip
    """Apply the transpose of a convolution, whose weight is (C, O / groups, \\*kernel)."""
    laid = laid_out(b, x, axes, [channels])
    i, value = laid.time, laid.merged(b)
    if i is None or windows[i].trivial:
        weight = weight if i is None else weight.squeeze(2 + i)
        dense = Dense(weight.T, bias, activation) if weight.ndim == 2 and groups == 1 else None

        def build(weight: Array, inner: Sequence[Window]) -> Op:
            _, stride, dilation, before, after, extra = zip(*inner, strict=True)
            return ConvTranspose(weight, bias, stride, dilation, before, after, extra, groups, activation)

        return laid.placed(b, _on_frames(b, laid, value, weight, but(windows, i), dense, build))
    along, rest, weight = windows[i], but(windows, i), np.moveaxis(weight, 2 + i, 2)
    if prod(laid.rows) > 1:
        rest, weight = [Window(1), *rest], weight.reshape(*weight.shape[:3], 1, *weight.shape[3:])
    value = laid.timed(b, value)
    for op in _over_time(weight, along, rest, groups, b.shape(value)):
        value = b.add(op, value)
    if bias is not None:
        value = b.add(Add(), value, b.constant(bias.reshape(-1, *[1] * len(rest))))
    value = value if activation == LINEAR else b.add(Activate(activation), value)
    more = along.extent - along.stride - along.before - along.after + along.extra
    return laid.placed(b, value, overlapped(laid.steps(), along.stride, more))


def _over_time(weight: Array, along: Window, rest: Sequence[Window], groups: int, frame: Sequence[int]) -> Iterator[Op]:
    """Yield the ops, each on the output of the one before: a product for each step, laid over those of the others.

    The first spatial axis of the weight is the one along time, `rest` are the others; the frame is (C, \\*spatial).
    """
    channels, each = weight.shape[:2]
    size = along.extent
    if not rest and (along.stride, along.extra) == (1, 0) and max(along.before, along.after) < size:
        yield _turned(weight, along, groups)
        return
    if along.dilation > 1:  # steps that no tap reaches get zeros
        room(channels, each, size, *weight.shape[3:])
        spread = np.zeros((channels, each, size, *weight.shape[3:]), dtype=weight.dtype)
        spread[:, :, :: along.dilation] = weight
        weight = spread
    weight = np.moveaxis(weight, 2, 1)  # (C, size, O / groups, *kernel): the steps of a frame as channels
    units = size * each
    spatial: tuple[int, ...] = ()
    if not rest and groups == 1:
        yield Dense(weight.reshape(channels, units).T)
    else:
        if not rest:
            yield Reshape((channels, 1))
        kernel = weight.shape[3:] or (1,)
        _, stride, dilation, before, after, extra = zip(*(rest or [Window(1)]), strict=True)
        weight = weight.reshape(channels, units, *kernel)
        yield ConvTranspose(weight, None, stride, dilation, before, after, extra, groups)
        spatial = tuple(
            (n - 1) * w.stride + w.extent - w.before - w.after + w.extra for n, w in zip(frame[1:], rest, strict=True)
        )
    if groups > 1:
        yield Reshape((groups, size, each, *spatial))
        yield Transpose((1, 0, 2, *range(3, 3 + len(spatial))))
    yield Reshape((size, groups * each, *spatial))
    yield OverlapAdd(size, along.stride, along.before, size - along.stride - along.after + along.extra)


def _turned(weight: Array, along: Window, groups: int) -> TimeConv:
    """Of stride 1: a convolution whose kernel is turned round."""
    channels, each, taps = weight.shape
    blocks = weight.reshape(groups, channels // groups, each, taps).swapaxes(1, 2)[..., ::-1]
    reach = along.extent - 1
    turned = blocks.reshape(groups * each, channels // groups, taps)
    return TimeConv(turned, None, 1, along.dilation, reach - along.before, reach - along.after, groups)
