"""Windows along axes of frames and along time: their padding, pools, and the windows themselves."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...errors import ConvertError
from ...graph import Framing, Gather, Pad, Pool, Reduce, TimePad, TimePool
from ...graph.convolution import extent
from .builder import Builder
from .reductions import FINITE
from .steps import Length, windowed
from .time import framed, ones
from .values import NeedsSequenceLength, Tensor
from .views import canonical, renumbered


class Window(NamedTuple):
    """The size, spacing and padding of windows along one axis.

    Attributes
    ----------
    size, stride, dilation : int
    before, after : int
        Padding; of a transposed convolution what is cut off.
    extra : int
        Elements that a transposed convolution adds behind.
    """

    size: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    extra: int = 0

    @property
    def extent(self) -> int:
        """Elements that a window reaches over."""
        return extent(self.size, self.dilation)

    @property
    def trivial(self) -> bool:
        """True if every element is a window."""
        return self._replace(dilation=1) == Window(1)

    def reaching(self) -> Window:
        """Return windows of which the last may reach beyond the padding, if it begins before that behind."""
        return self._replace(after=max(self.after, min(self.after + self.stride, self.extent) - 1))


def same(window: Window, length: int | None, *, lower: bool = False) -> Window:
    """Pad so that there are ceil(length / stride) windows, an odd element behind, or before if `lower`.

    Raises
    ------
    NeedsSequenceLength
        When `length` is None, and windows begin elsewhere for lengths of different remainders by the stride.
    """
    beyond = [length] if length is not None else range(window.stride, 0, -1)
    missing = [max((-(-n // window.stride) - 1) * window.stride + window.extent - n, 0) for n in beyond]
    before = {(n + lower) // 2 for n in missing}
    if len(before) > 1:
        raise NeedsSequenceLength(
            f"SAME padding of time by windows of {window.extent} with stride {window.stride} must know the number of "
            "steps, got any"
        )
    left = before.pop()
    return window._replace(before=left, after=missing[-1] - left)


class Laid(NamedTuple):
    """An input turned so that its frames are (\\*channels, \\*rows, \\*spatial), as ops over spatial axes want it.

    Attributes
    ----------
    x : Tensor
    channels : int
        Axes of channels: one, or none of a pool, for which channels are rows too.
    rows : tuple of int
        Sizes of the axes that are neither channels nor spatial.
    axes : sequence of int
        The spatial axes of `x`.
    time : int or None
        Which of these is time.
    """

    x: Tensor
    channels: int
    rows: tuple[int, ...]
    axes: Sequence[int]
    time: int | None

    def merged(self, b: Builder) -> str:
        """Return frames (\\*channels, rows, \\*spatial); beside channels one row is no axis."""
        shape, at = self.x.spec.shape, self.channels + len(self.rows)
        rows = [prod(self.rows)] if prod(self.rows) > 1 or not self.channels else []
        return b.reshape(self.x.value, (*shape[: self.channels], *rows, *shape[at:]))

    def timed(self, b: Builder, value: str) -> str:
        """Return a value of these steps, with time."""
        assert self.time is not None
        return b.timed(b.result(value, [self.x.axes[self.axes[self.time]]])).value

    def placed(self, b: Builder, value: str, steps: Length | None = None) -> Tensor:
        """Label what became of the value; `steps` is the number of its steps, where that is another."""
        shape, spatial = b.shape(value), len(self.axes) - (self.time is not None)
        value = b.reshape(value, (*shape[: self.channels], *self.rows, *shape[len(shape) - spatial :]))
        labels = list(self.x.axes)
        if self.time is not None and steps is not None:
            labels[self.axes[self.time]] = (b.steps(self.axes[self.time], steps),)
        return b.result(value, labels, self.x.elem)

    def steps(self) -> Length:
        """Return the number of steps."""
        assert self.time is not None
        return self.x.steps(self.axes[self.time])


def laid_out(b: Builder, x: Tensor, axes: Sequence[int], channels: Sequence[int] = ()) -> Laid:
    """Turn a tensor for ops over its spatial axes, one of which may be time; of `channels` there is one or none."""
    if any(len(x.axes[a]) > 1 for a in (*channels, *axes)):
        x = canonical(b, x)
    time = [i for i, a in enumerate(axes) if x.is_time(a)]
    if len(time) > 1:
        raise ConvertError(f"at most one axis must be time, got {len(time)}")
    first = [x.frame_axis(a) for a in channels]
    last = [x.frame_axis(a) for i, a in enumerate(axes) if i not in time]
    rows = [i for i in range(len(x.spec.shape)) if i not in (*first, *last)]
    order = [*first, *rows, *last]
    value = b.cast(b.transpose(x.value, order), "float")
    turned = b.result(value, renumbered(x.axes, order), x.elem)
    return Laid(turned, len(first), tuple(x.spec.shape[i] for i in rows), axes, time[0] if time else None)


def but(items: Sequence[Any], place: int | None) -> list[Any]:
    """Return all items but one."""
    return [item for i, item in enumerate(items) if i != place]


# Pools ---------------------------------------------------------------------------------------------


def pool(
    b: Builder, x: Tensor, mode: str, windows: Sequence[Window], axes: Sequence[int], *, count_padding: bool = True,
    ceil: bool = False,
) -> Tensor:  # fmt: skip
    """Return the largest or the mean element of windows: over frame axes, then over time, as windows are rectangles.

    Parameters
    ----------
    mode : {"max", "average"}
    windows : sequence of Window
        One for each of `axes`.
    count_padding : bool
        True if a mean counts padding as zeros.
    ceil : bool
        True if a last window may reach beyond the padding, where nothing counts, if it begins before it.
    """
    laid = laid_out(b, x, axes)
    value, pads = laid.x.value, [(0, 0)] * len(windows)
    if ceil:
        whole, windows = windows, [w.reaching() for w in windows]
        if count_padding and mode == "average":  # of elements that count, unlike those beyond
            pads, count_padding = [(w.before, w.after) for w in whole], False
            windows = [w._replace(before=0, after=w.after - n) for w, (_, n) in zip(windows, pads, strict=True)]
    if not all(w.trivial for w in but(windows, laid.time)):
        before, after = zip((0, 0), *but(pads, laid.time), strict=True)
        value = laid.merged(b)
        value = b.add(Pad(before, after), value) if any(before + after) else value
        size, stride, dilation, before, after, _ = zip(*but(windows, laid.time), strict=True)
        value = b.add(Pool(mode, size, stride, dilation, before, after, count_padding), value)
    if laid.time is None or (windows[laid.time].trivial and pads[laid.time] == (0, 0)):
        return _kind(b, laid.placed(b, value), x)
    along, sides = windows[laid.time], pads[laid.time]
    value = laid.timed(b, value)
    value = b.add(TimePad(*sides), value) if any(sides) else value
    padding = along.before + along.after + sum(sides)
    value = _pooled_steps(b, value, mode, along, count_padding)
    return _kind(b, laid.placed(b, value, windowed(laid.steps(), along.extent, along.stride, padding)), x)


def _kind(b: Builder, y: Tensor, x: Tensor) -> Tensor:
    """Return `y` as the kind of number that `x` is."""
    return b.like(y, b.cast(y.value, x.spec.dtype))


def _pooled_steps(b: Builder, value: str, mode: str, along: Window, count_padding: bool) -> str:
    size, stride, dilation, before, after, _ = along
    if dilation == 1:
        return b.add(TimePool(mode, size, stride, before, after, count_padding), value)
    if mode == "max":
        value = b.add(TimePad(before, after, -FINITE), value) if before or after else value
        return b.add(Reduce("max", (0,)), framed(b, value, Framing(size, stride, dilation)))
    windows = Framing(size, stride, dilation, before, after)
    y = b.add(Reduce("mean", (0,)), framed(b, value, windows))
    if count_padding or not (before or after):
        return y
    return b.binary("div", y, b.add(Reduce("mean", (0,)), framed(b, ones(b, value), windows)))


def unfold(b: Builder, x: Tensor, axis: int, size: int, step: int) -> Tensor:
    """Return windows of an axis, their elements on a last axis of their own."""
    if len(x.axes[axis]) > 1:
        x = canonical(b, x)
    frame = x.spec.shape
    if not x.is_time(axis):
        own = x.frame_axis(axis)
        if frame[own] < size:
            raise ConvertError(f"axis {axis} must have the {size} elements of a window at least, got {frame[own]}")
        starts = np.arange(0, frame[own] - size + 1, step)
        value = b.add(Gather(own), x.value, b.constant(starts[:, None] + np.arange(size), "int"))
        order = [i for i in range(len(frame) + 1) if i != own + 1]
        return b.result(b.transpose(value, [*order, own + 1]), [*x.axes, (len(frame),)], x.elem)
    steps = b.steps(axis, windowed(x.steps(axis), size, step, 0))
    value = framed(b, b.timed(x).value, Framing(size, step))
    value = b.transpose(value, [*range(1, len(frame) + 1), 0])
    return b.result(value, [*[(steps,) if i == axis else a for i, a in enumerate(x.axes)], (len(frame),)], x.elem)
