"""Tensors side by side along an axis, and the parts of one."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ...errors import ConvertError
from ...graph import Concat, Gather, TimePad
from .builder import Builder
from .padding import pad
from .time import retimed
from .values import NeedsSequenceLength, Tensor
from .views import align, canonical, sliced, with_ones


def joined(b: Builder, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Return tensors of one rank side by side along an axis of fixed size; beside steps of time only one number."""
    if len(tensors) == 1:
        return tensors[0]
    if any(x.rank != tensors[0].rank for x in tensors):
        raise ConvertError(f"inputs must have one number of axes, got {' and '.join(map(str, tensors))}")
    if any(x.is_time(axis) for x in tensors):
        return _beside_steps(b, tensors, axis)
    last = tensors[0].rank - 1
    tensors = [x if x.is_frame(axis) else canonical(b, x) for x in tensors]
    moved = [x.permuted([*(i for i in range(x.rank) if i != axis), axis]) for x in tensors]
    values, axes = align(b, moved, tail=1)
    frames = [b.shape(v)[:-1] for v in values]
    if len(set(frames)) > 1:
        raise ConvertError(f"inputs must have one shape but for axis {axis}, got {' and '.join(map(str, tensors))}")
    rank = len(frames[0])
    # The joined axis goes where the first input has it, so that this one need not be moved.
    place = min(tensors[0].frame_axis(axis), rank)
    perm = [*range(place), rank, *range(place, rank)]
    y = b.add(Concat(axis=place), *(b.transpose(v, perm) for v in values))
    shifted = [tuple(a + 1 if isinstance(a, int) and a >= place else a for a in atoms) for atoms in axes]
    result = [*shifted, (place,)]
    back = [*range(axis), last, *range(axis, last)]
    return b.result(y, [result[i] for i in back], tensors[0].elem)


def _beside_steps(b: Builder, parts: Sequence[Tensor], axis: int) -> Tensor:
    """Return a sequence with steps before and after it that do not come from another one.

    Raises
    ------
    NeedsSequenceLength
        When others are over time.
    """
    (at, *more) = [i for i, x in enumerate(parts) if x.is_time(axis)]
    if more:
        raise NeedsSequenceLength(f"at most one input must be over time to be joined along it, got {1 + len(more)}")
    x, others = parts[at], [part for i, part in enumerate(parts) if i != at]
    sizes = [int(part.size(axis)) if i != at else 0 for i, part in enumerate(parts)]
    before, after = sum(sizes[:at]), sum(sizes[at:])
    known = [b.emit.fixed(part.value) for part in others]
    numbers = {float(n) for array in known if array is not None for n in (array.min(), array.max())}
    if len(numbers) == 1 and not any(array is None for array in known):
        return pad(b, x, {axis: (before, after)}, fill=numbers.pop())
    x = canonical(b, x)
    rows = [_rows(b, x, part, axis) for part in others]
    table = rows[0] if len(rows) == 1 else b.add(Concat(0), *rows)
    # Beside the elements of every step a one, which steps that are added have not.
    flat = b.reshape(b.timed(b.like(x, b.cast(x.value, "float"))).value, (prod(x.spec.shape),))
    wide = b.add(TimePad(before, after), b.add(Concat(0), flat, b.constant(np.ones(1))))
    step = b.reshape(b.cut(wide, 0, 0, -1), x.spec.shape)
    own = b.reshape(b.cut(wide, 0, -1, None), ())
    if before + after > 1:  # how many were added so far
        count = b.state(np.zeros(()), f"{b.name}.added")
        total = b.plus(count, b.affine(own, -1.0, 1.0))
        b.feed(count, total)
        row = b.add(Gather(0), table, b.cast(b.activate(b.affine(total, 1.0, -1.0), "relu"), "int"))
    else:
        row = b.reshape(table, x.spec.shape)
    y = b.cast(b.where(b.cast(own, "bool"), step, row), x.spec.dtype)
    return b.result(y, retimed(b, x.axes, axis, x.steps(axis) + (before + after)), x.elem)


def _rows(b: Builder, x: Tensor, part: Tensor, axis: int) -> str:
    """Return steps that are no sequence as rows, each of which has the frame of a step of `x`."""
    rest = [i for i in range(x.rank) if i != axis]
    own = canonical(b, part.permuted([axis, *rest]))
    if own.spec.time or own.axes[0] != (0,) or own.sizes()[1:] != tuple(x.size(i) for i in rest):
        raise NeedsSequenceLength(f"steps joined to {x} must be of its batch and features alone, got {part}")
    return b.cast(own.value, "float")


def stacked(b: Builder, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Return tensors side by side along a new axis."""
    return joined(b, [with_ones(b, x, [axis]) for x in tensors], axis)


def split(b: Builder, x: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:
    """Return consecutive parts of an axis of fixed size."""
    x = x if x.is_frame(axis) else canonical(b, x)
    whole = x.spec.shape[x.frame_axis(axis)]
    if sum(sizes) != whole or any(n < 1 for n in sizes):
        raise ConvertError(f"split must have sizes of at least 1 whose sum is {whole}, got {list(sizes)}")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [sliced(b, x, axis, end - n, end) for n, end in zip(sizes, ends, strict=True)]


def parts_of(whole: int, size: int) -> list[int]:
    """Return the sizes of parts of so many elements, the last of which may have fewer."""
    if size < 1:
        raise ConvertError(f"split must be at least 1, got {size}")
    return [min(size, whole - i) for i in range(0, whole, size)]
