"""Elements added around axes or cut off there, and elements repeated: along axes of frames and along time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import ConvertError
from ...graph import OverlapAdd, Pad, Tile, TimePad
from .builder import Builder
from .time import ones, retimed, without_ends
from .values import NeedsSequenceLength, Tensor
from .views import canonical, sliced, with_ones

# What is outside of a sequence, by the names that are those of the outside of frames too.
OUTSIDE = {"constant": "value", "reflect": "reflect", "edge": "edge"}
MODES = (*OUTSIDE, "wrap")


def pad(
    b: Builder, x: Tensor, sides: Mapping[int, tuple[int, int]], mode: str = "constant", fill: float | Tensor = 0.0
) -> Tensor:
    """Add elements before and after axes; negative numbers of them are cut off.

    Parameters
    ----------
    sides : mapping of int to (int, int)
        For each axis how many before and after it.
    mode : {"constant", "reflect", "edge", "wrap"}
        `fill`; the outermost elements mirrored at, or repeated; or those of the other end.
    fill : float or Tensor
        A number, also an infinite one, or a computed value of one element.

    Raises
    ------
    NeedsSequenceLength
        When time would be padded by its other end.
    """
    sides = {axis: pair for axis, pair in sides.items() if pair != (0, 0)}
    if any(len(x.axes[axis]) > 1 for axis in sides):
        x = canonical(b, x)
    before, after = [0] * len(x.spec.shape), [0] * len(x.spec.shape)
    for axis, pair in sides.items():
        left, right = (max(n, 0) for n in pair)
        first, last = (max(-n, 0) for n in pair)
        if x.is_time(axis):
            x = without_ends(b, x, axis, first, last)
            x = _padded_steps(b, x, axis, left, right, mode, fill) if left or right else x
            continue
        frame = x.frame_axis(axis)
        x = sliced(b, x, axis, first, x.spec.shape[frame] - last)
        before[frame], after[frame] = left, right
    if not any(before + after):
        return x
    kind, number = x.spec.dtype, _number(mode, fill)
    source = b.cast(x.value, "int") if kind == "bool" else x.value
    y = b.add(Pad(tuple(before), tuple(after), mode, number or 0.0), source)
    if number is None:
        inside = np.pad(np.ones(x.spec.shape, bool), list(zip(before, after, strict=True)))
        y = b.where(b.constant(inside, "bool"), y, _filling(b, fill, y))
    return b.like(x, b.cast(y, kind))


def _number(mode: str, fill: float | Tensor) -> float | None:
    """Return the number that the graph's own padding adds; None if it cannot."""
    if mode != "constant":
        return 0.0
    return None if isinstance(fill, Tensor) or not np.isfinite(fill) else fill


def _filling(b: Builder, fill: float | Tensor, like: str) -> str:
    """Return the value of one element that is outside."""
    if not isinstance(fill, Tensor):
        return b.number(fill, like=like)
    return b.cast(b.reshape(fill.value, ()), b.emit.specs[like].dtype)


def _padded_steps(b: Builder, x: Tensor, axis: int, before: int, after: int, mode: str, fill: float | Tensor) -> Tensor:
    if mode not in OUTSIDE:
        raise NeedsSequenceLength("padding of time must be constant, reflect or edge (replicate), got wrap (circular)")
    kind, number = x.spec.dtype, _number(mode, fill)
    value = b.timed(b.like(x, b.cast(x.value, "float"))).value
    y = b.add(TimePad(before, after, number or 0.0, OUTSIDE[mode]), value)
    if number is None:
        inside = b.cast(b.add(TimePad(before, after), ones(b, value)), "bool")
        y = b.where(inside, y, _filling(b, fill, y))
    axes = retimed(b, x.axes, axis, x.steps(axis) + (before + after))
    return b.result(b.cast(y, kind), axes, x.elem)


def tiled(b: Builder, x: Tensor, counts: Sequence[int]) -> Tensor:
    """Return copies of a tensor side by side along its axes, as many as `counts` says for each."""
    if any(n != 1 and len(x.axes[axis]) > 1 for axis, n in enumerate(counts)):
        x = canonical(b, x)
    repeats = [1] * len(x.spec.shape)
    for axis, n in enumerate(counts):
        if n != 1:
            repeats[x.frame_axis(axis)] = n
    return x if set(repeats) <= {1} else b.like(x, b.add(Tile(tuple(repeats)), x.value))


def repeat(b: Builder, x: Tensor, axis: int, count: int) -> Tensor:
    """Return every element of an axis several times, one behind the other."""
    if count < 1:
        raise ConvertError(f"elements must be repeated a positive number of times, got {count}")
    if count == 1:
        return x
    if x.is_time(axis):
        value = b.timed(b.like(x, b.cast(x.value, "float"))).value
        copies = b.expand(b.reshape(value, (1, *x.spec.shape)), (count, *x.spec.shape))
        y = b.cast(b.add(OverlapAdd(count, count, tail=0), copies), x.spec.dtype)
        return b.result(y, retimed(b, x.axes, axis, x.steps(axis) * count), x.elem)
    wide = with_ones(b, x, [axis + 1])
    (new,), shape = wide.axes[axis + 1], list(wide.spec.shape)
    shape[wide.frame_axis(axis + 1)] = count
    axes = [*wide.axes[:axis], (*wide.axes[axis], new), *wide.axes[axis + 2 :]]
    return canonical(b, b.result(b.expand(wide.value, shape), axes, x.elem))
