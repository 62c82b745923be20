"""ATen's convolutions: over fixed axes, over time, or both."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Conv, ConvTranspose, Framing, Gather, TimeConv
from ...graph.convolution import extent
from ..tensors.steps import overlapped
from ..tensors.transposed import Along, over_time
from ..tensors.values import Array, Axis, Tensor, describe, frames_of
from ..tensors.views import renumbered, view
from .call import Call, Handler
from .time import pad_of, unfolded
from .views import canonical, squeeze, unsqueeze

Pair = tuple[int, int]


class Windows(NamedTuple):
    """What windows along each axis behind the channels are."""

    size: list[int]
    stride: list[int]
    dilation: list[int]
    sides: list[Pair]

    def without(self, axis: int) -> Windows:
        """Of the other axes."""
        return Windows(*([n for i, n in enumerate(field) if i != axis] for field in self))  # type: ignore[arg-type]

    def at(self, axis: int) -> tuple[int, int, int, Pair]:
        """Of one axis."""
        return self.size[axis], self.stride[axis], self.dilation[axis], self.sides[axis]


class Layout(NamedTuple):
    """An input (N, C, \\*spatial) as ops want it: frame (C, \\*rows, \\*fixed spatial axes), rows being part of N."""

    value: str
    rows: int  # frame axes between channels and spatial ones
    time: int | None  # which spatial axis is time
    axes: tuple[Axis, ...]  # of the input, for a frame of that order


def wide(value: Any, count: int, default: int = 0) -> list[int]:
    """One number for every axis."""
    numbers = [value] if isinstance(value, int) else list(value or [default])
    if any(not isinstance(n, int) for n in numbers):
        raise ConvertError(f"windows must be of fixed size, got {numbers}")
    return numbers * count if len(numbers) == 1 else numbers


def laid_out(call: Call, x: Tensor) -> Layout:
    """An input, turned as ops want it."""
    x = canonical(call, x)
    if not x.is_frame(1):
        raise ConvertError(f"axis 1 (channels) must be of fixed size, got {describe(x, 1)}")
    time = [i - 2 for i in range(2, x.rank) if x.is_time(i)]
    fixed = [x.frame_axis(i) for i in range(2, x.rank) if i - 2 not in time]
    if len(time) > 1:
        raise ConvertError(f"at most one axis must be time, got {len(time)}")
    rows = frames_of(x.axes[:1])
    order = [x.frame_axis(1), *rows, *fixed]
    value = view(call, x, order)
    return Layout(call.cast(value, "float"), len(rows), time[0] if time else None, renumbered(x.axes, order))


def placed(call: Call, value: str, layout: Layout, steps: str | None) -> Tensor:
    """What an op made of it, with the axes of the module."""
    axes = list(layout.axes)
    if steps is not None and layout.time is not None:
        axes[2 + layout.time] = (steps,)
    return call.result(value, axes)


def steps_of(call: Call, layout: Layout, windows: Windows) -> str | None:
    """The atom of the steps that windows over time leave."""
    if layout.time is None:
        return None
    size, stride, dilation, sides = windows.at(layout.time)
    own = str(layout.axes[2 + layout.time][0])
    reach = dilation * (size - 1) + 1 - sum(sides)
    if (reach, stride) == (1, 1):
        return own
    return call.steps(2 + layout.time, f"(({own}-{reach})//{stride}+1)")


# Convolutions ------------------------------------------------------------------------------------


def convolve(call: Call, x: Any, weight: Any, bias: Any, windows: Windows, groups: int) -> Tensor:
    """A convolution with constant weights; one over time and fixed axes sees its steps as channels."""
    x, weight = call.tensor(x), call.array(weight, "weight")
    if x.rank == weight.ndim - 1:
        return squeeze(call, convolve(call, unsqueeze(call, x, 0), weight, bias, windows, groups), 0)
    bias = call.optional(bias, "bias")
    layout = laid_out(call, x)
    value, steps = layout.value, steps_of(call, layout, windows)
    if layout.time is not None:
        size, stride, dilation, sides = windows.at(layout.time)
        value = call.timed(call.result(value, layout.axes)).value
        if len(call.shape(value)) == 1:
            inner, before, after = pad_of(call, value)
            alone = TimeConv(weight, bias, stride, dilation, sides[0] + before, sides[1] + after, groups)
            return placed(call, call.add(alone, inner), layout, steps)
        if (size, stride, sides) != (1, 1, (0, 0)):
            value = unfolded(call, value, size, stride, dilation, sides)
        weight = np.moveaxis(weight, 2 + layout.time, 2)
        weight = weight.reshape(weight.shape[0], -1, *weight.shape[3:])
        windows = windows.without(layout.time)
    weight = weight.reshape(*weight.shape[:2], *[1] * layout.rows, *weight.shape[2:])
    ones, none = [1] * layout.rows, [(0, 0)] * layout.rows
    window: dict[str, Any] = {
        "strides": [*ones, *windows.stride], "dilations": [*ones, *windows.dilation],
        "before": [s[0] for s in [*none, *windows.sides]], "after": [s[1] for s in [*none, *windows.sides]],
    }  # fmt: skip
    op = Conv(weight, bias, **window, groups=groups)
    return placed(call, call.add(op, value), layout, steps)


def _convolution(
    call: Call, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    weight = call.array(weight, "weight")
    size = list(weight.shape[2:])
    count = len(size)
    dilation = wide(dilation, count, 1)
    sides: list[Pair]
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
        sides = [(r // 2, r - r // 2) for r in reach] if padding == "same" else [(0, 0)] * count
    else:
        sides = [(p, p) for p in wide(padding, count)]
    return convolve(call, x, weight, bias, Windows(size, wide(stride, count, 1), dilation, sides), groups)


def transposed(
    call: Call, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """The transpose of a convolution, over time, fixed axes, or both."""
    x, weight = call.tensor(x), call.array(weight, "weight")
    count = weight.ndim - 2
    if x.rank == count + 1:
        batch = unsqueeze(call, x, 0)
        return squeeze(
            call, transposed(call, batch, weight, bias, stride, padding, output_padding, groups, dilation), 0
        )
    alongs = [
        Along(*fields)
        for fields in zip(
            wide(stride, count, 1), wide(dilation, count, 1), *[wide(padding, count)] * 2, wide(output_padding, count),
            strict=True,
        )
    ]  # fmt: skip
    layout = laid_out(call, x)
    value, bias, time = layout.value, call.optional(bias, "bias"), layout.time
    if time is not None and (weight.shape[2 + time], alongs[time]._replace(dilation=1)) != (1, Along(1)):
        return _overlapping(call, layout, weight, bias, alongs, groups)
    if time is not None:
        weight, alongs = weight.squeeze(2 + time), alongs[:time] + alongs[time + 1 :]
    flat = not alongs and not layout.rows  # nothing is left but channels
    rows = layout.rows + flat
    weight = weight.reshape(*weight.shape[:2], *[1] * rows, *weight.shape[2:])
    value = call.reshape(value, (*call.shape(value), 1)) if flat else value
    strides, dilations, before, after, extra = zip(*[Along(1)] * rows, *alongs, strict=True)
    value = call.add(ConvTranspose(weight, bias, strides, dilations, before, after, extra, groups), value)
    return placed(call, call.reshape(value, call.shape(value)[:1]) if flat else value, layout, None)


def _overlapping(
    call: Call, layout: Layout, weight: Array, bias: Array | None, alongs: list[Along], groups: int
) -> Tensor:
    """A transposed convolution over time, and over fixed axes besides."""
    time = layout.time
    assert time is not None
    along, rest = alongs[time], [*[Along(1)] * layout.rows, *alongs[:time], *alongs[time + 1 :]]
    weight = np.moveaxis(weight, 2 + time, 2)
    more = extent(weight.shape[2], along.dilation) - along.stride - along.before - along.after + along.extra
    weight = weight.reshape(*weight.shape[:3], *[1] * layout.rows, *weight.shape[3:])
    value = call.timed(call.result(layout.value, layout.axes)).value
    for op in over_time(weight, along, rest, groups, call.shape(value)):
        value = call.add(op, value)
    if bias is not None:
        value = call.add(Add(), value, call.constant(bias.reshape(-1, *[1] * len(rest))))
    steps = overlapped(str(layout.axes[2 + time][0]), along.stride, more)
    return placed(call, value, layout, call.steps(2 + time, steps))


def _general(
    call: Call, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, is_transposed: bool,
    output_padding: Any, groups: int, *_: Any,
) -> Tensor:  # fmt: skip
    if is_transposed:
        return transposed(call, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _convolution(call, x, weight, bias, stride, padding, dilation, groups)


def unfold(call: Call, x: Any, dim: int, size: int, step: int) -> Tensor:
    """Windows of an axis, their elements on a last axis of their own."""
    own = canonical(call, call.tensor(x))
    dim = call.axis(dim, own.rank)
    frame = own.spec.shape
    if not own.is_time(dim):
        axis = own.frame_axis(dim)
        starts = np.arange(0, frame[axis] - size + 1, step)
        ids = call.constant(starts[:, None] + np.arange(size), "int")
        value = call.add(Gather(axis), own.value, ids)
        order = [i for i in range(len(frame) + 1) if i != axis + 1]
        return call.result(call.transpose(value, [*order, axis + 1]), [*own.axes, (len(frame),)])
    steps = call.steps(dim, f"(({own.axes[dim][0]}-{size})//{step}+1)")
    value = call.timed(own).value
    if prod(frame) == 1:
        value = call.add(Framing(size, step), call.reshape(value, ()))
    else:
        rows = unfolded(call, call.reshape(value, (prod(frame),)), size, step, 1, (0, 0))
        value = call.reshape(rows, (*frame, size))
    axes = [(steps,) if i == dim else axis for i, axis in enumerate(own.axes)]
    return call.result(call.reshape(value, (*frame, size)), [*axes, (len(frame),)])


TABLE: dict[str, Handler] = {
    "unfold": unfold,
    **{f"conv{n}d": _convolution for n in (1, 2, 3)}, "convolution": _general, "_convolution": _general,
    "conv_transpose1d": transposed, "conv_transpose2d.input": transposed, "conv_transpose3d.input": transposed,
}  # fmt: skip
