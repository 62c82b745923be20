"""Labelled values as ops want them: in a given order, aligned for broadcasting, reshaped through batch and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import gcd
from typing import Protocol

from ..._hints import option
from ...errors import ConvertError
from ...graph import Concat, Op
from .steps import may_agree, parted
from .values import Atom, Axis, Dim, Size, Tensor, describe, elements, frames_of, is_time, product, quotient


class Builder(Protocol):
    """What adds to a graph: the call that is being translated."""

    def add(self, op: Op, *values: str) -> str:
        """Add a node with one output."""

    def shape(self, value: str) -> tuple[int, ...]:
        """The frame of a value."""

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Another frame of the same elements."""

    def transpose(self, value: str, perm: Sequence[int]) -> str:
        """The frame's axes in another order."""

    def cut(self, value: str, axis: int, start: int | None, stop: int | None, step: int = 1) -> str:
        """A slice of one frame axis."""

    def result(self, value: str, axes: Sequence[Axis], elem: int) -> Tensor:
        """A value of the graph with labels."""


def view(call: Builder, x: Tensor, slots: Sequence[int | None]) -> str:
    """`x` with its frame axes in the order of `slots`, an axis of size 1 for None; those left out must be of size 1."""
    present = [s for s in slots if s is not None]
    rest = [i for i in range(len(x.spec.shape)) if i not in present]
    value = call.transpose(x.value, [*rest, *present])
    return call.reshape(value, [1 if s is None else x.spec.shape[s] for s in slots])


def ordered(call: Builder, x: Tensor, axes: Sequence[int]) -> str:
    """`x` with these ONNX axes as its frame, in this order; the others must be batch, time, or of size 1."""
    slots = [x.frame_axis(a) for a in axes]
    for axis in range(x.rank):
        if axis not in axes and any(isinstance(a, int) and x.spec.shape[a] != 1 for a in x.axes[axis]):
            raise ConvertError(f"axis {axis} must be batch, time or of size 1, got {describe(x, axis)}")
    return view(call, x, slots)


def in_order(call: Builder, x: Tensor) -> Tensor:
    """The same tensor with its frame axes in the order of its ONNX axes."""
    order = frames_of(x.axes)
    return call.result(call.transpose(x.value, order), renumbered(x.axes, order), x.elem)


def renumbered(axes: Sequence[Axis], kept: Sequence[int]) -> tuple[Axis, ...]:
    """`axes` after a move that left the frame axes `kept`, in this order."""
    place = {old: new for new, old in enumerate(kept)}
    return tuple(tuple(place[a] if isinstance(a, int) else a for a in axis) for axis in axes)


def without(call: Builder, x: Tensor, axes: Sequence[int]) -> Tensor:
    """`x` without some ONNX axes of size 1."""
    for axis in axes:
        if x.size(axis) != 1:
            raise ConvertError(f"axis {axis} must be of size 1 to be squeezed, got {describe(x, axis)}")
    kept = [axis for i, axis in enumerate(x.axes) if i not in axes]
    order = sorted(frames_of(kept))
    return call.result(view(call, x, order), renumbered(kept, order), x.elem)


def with_ones(call: Builder, x: Tensor, places: Sequence[int]) -> Tensor:
    """`x` with axes of size 1 at these places of the result."""
    slots: list[int | None] = list(range(len(x.spec.shape)))
    axes: list[Axis] = list(x.axes)
    for place in sorted(places):
        following = frames_of(axes[place:])
        slot = following[0] if following else len(slots)
        axes = [tuple(a + 1 if isinstance(a, int) and a >= slot else a for a in axis) for axis in axes]
        axes.insert(place, (slot,))
        slots.insert(slot, None)
    return call.result(view(call, x, slots), axes, x.elem)


def sliced(call: Builder, x: Tensor, axis: int, start: int | None, stop: int | None, step: int = 1) -> Tensor:
    """`x` cut along an axis of fixed size."""
    return call.result(call.cut(x.value, x.frame_axis(axis), start, stop, step), x.axes, x.elem)


# Broadcasting ------------------------------------------------------------------------------------


def align(call: Builder, tensors: Sequence[Tensor], *, tail: int = 0) -> tuple[list[str], tuple[Axis, ...]]:
    """Values whose frames broadcast as the ONNX tensors do, and the axes of what an elementwise op makes of them.

    The last `tail` axes of each take no part: they are put behind the others as they are, and are not in what is
    returned.
    """
    rank = max(x.rank for x in tensors) - tail
    padded = [[()] * (rank + tail - x.rank) + list(x.axes) for x in tensors]
    layouts = [_joint(i, tensors, [axes[i] for axes in padded], rank + tail) for i in range(rank)]
    count = sum(isinstance(a, int) for layout in layouts for a in layout)
    # For each tensor and each frame axis of the result, its own frame axis; None where it has one element.
    slots: list[list[int | None]] = [[] for _ in tensors]
    for i, layout in enumerate(layouts):
        width = sum(isinstance(a, int) for a in layout)
        for own, axes in zip(slots, padded, strict=True):
            frames = [a for a in axes[i] if isinstance(a, int)]
            own += frames if len(axes[i]) == len(layout) and len(frames) == width else [None] * width
    whole = next((own for own in slots if None not in own), None)
    order = sorted(range(count), key=whole.__getitem__) if whole else list(range(count))  # type: ignore[arg-type]
    values = []
    for x, own in zip(tensors, slots, strict=True):
        wanted = [own[k] for k in order]
        while wanted and wanted[0] is None and len(x.spec.shape) < len(wanted) + tail:
            wanted.pop(0)
        values.append(view(call, x, [*wanted, *(x.frame_axis(x.rank - i) for i in range(tail, 0, -1))]))
    place = {k: position for position, k in enumerate(order)}
    numbers = iter(range(count))
    return values, tuple(tuple(place[next(numbers)] if isinstance(a, int) else a for a in layout) for layout in layouts)


def _joint(index: int, tensors: Sequence[Tensor], axes: Sequence[Axis], rank: int) -> Axis:
    """The atoms of one axis of the result; those of size 1 give way."""
    kinds: dict[tuple[object, ...], Axis] = {}
    for x, axis in zip(tensors, axes, strict=True):
        sizes = tuple(x.spec.shape[a] if isinstance(a, int) else a for a in axis)
        if index >= rank - x.rank and sizes != (1,):
            kinds[sizes] = axis
    kinds = _one_time(kinds)
    if len(kinds) > 1:
        raise ConvertError(f"inputs must agree in axis {index}, got {' and '.join(_shown(k) for k in kinds)}")
    return next(iter(kinds.values()), (0,))


def _one_time(kinds: dict[tuple[object, ...], Axis]) -> dict[tuple[object, ...], Axis]:
    """The shortest of several names of a number of steps, which are those of values that meet: they must be equal."""
    names = [str(sizes[0]) for sizes, axis in kinds.items() if len(axis) == 1 and is_time(axis[0])]
    if 1 < len(names) == len(kinds) and all(may_agree(names[0], name) for name in names[1:]):
        shortest = min(names, key=len)
        return {(shortest,): (shortest,)}
    return kinds


def _shown(atoms: tuple[object, ...]) -> str:
    return "*".join(map(str, atoms)) or "1"


# Rows ----------------------------------------------------------------------------------------------

MOST_ROWS = 64  # of a fixed batch, for each of which an op is there once


def over_rows(call: Builder, x: Tensor, axes: Sequence[int], apply: Callable[[str], str]) -> Tensor:
    """`apply` for values whose frame is these ONNX axes of `x`, in this order; it must keep their number.

    The other axes are rows: batch and time go through, and of a fixed batch each row is taken by itself.
    """
    rows = [a for i, axis in enumerate(x.axes) if i not in axes for a in axis if isinstance(a, int)]
    sizes = [x.spec.shape[a] for a in rows]
    value = view(call, x, [*rows, *(x.frame_axis(a) for a in axes)])
    frame, count = call.shape(value)[len(rows) :], elements(sizes)
    if count > MOST_ROWS:
        raise ConvertError(
            f"rows of a fixed batch must be at most {MOST_ROWS}, got {count}: tell it by {option('axes')} as 'B'"
        )
    value = call.reshape(value, (count, *frame))
    parts = [apply(call.reshape(call.cut(value, 0, i, i + 1), frame)) for i in range(count)]
    parts = [call.reshape(part, (1, *call.shape(part))) for part in parts]
    y = call.add(Concat(axis=0), *parts) if count > 1 else parts[0]
    y = call.reshape(y, (*sizes, *call.shape(y)[1:]))
    place = {a: i for i, a in enumerate(rows)}
    labels = [
        (len(rows) + list(axes).index(i),) if i in axes else tuple(place[a] if isinstance(a, int) else a for a in axis)
        for i, axis in enumerate(x.axes)
    ]
    return call.result(y, labels, x.elem)


# Reshaping ---------------------------------------------------------------------------------------


def reshaped(call: Builder, x: Tensor, target: Sequence[Size]) -> Tensor:
    """`x` in another ONNX shape, through which batch and time must stay whole."""
    wanted, total = list(target), product(x.sizes())
    if -1 in wanted:
        rest = product(n for n in wanted if n != -1)
        wanted[wanted.index(-1)] = quotient(total, rest)
    if product(wanted) != total:
        raise ConvertError(f"shape must have as many elements as {x}, got ({', '.join(map(str, wanted))})")
    x = in_order(call, x)
    # What is left of x: runs of frame axes as one size each, and symbols between them.
    source: list[int | str] = []
    for atom in (a for axis in x.axes for a in axis):
        if isinstance(atom, str):
            source.append(atom)
        elif source and isinstance(source[-1], int):
            source[-1] *= x.spec.shape[atom]
        else:
            source.append(x.spec.shape[atom])
    frame: list[int] = []
    axes = [_consume(size, source, frame, f"({', '.join(map(str, wanted))})", x) for size in wanted]
    return call.result(call.reshape(x.value, frame), axes, x.elem)


def _consume(size: Size, source: list[int | str], frame: list[int], shape: str, x: Tensor) -> Axis:
    """The atoms of one target axis, taken from the front of `source`; its fixed sizes are appended to `frame`."""
    left = size if isinstance(size, Dim) else Dim(size, ())
    factor, symbols = left.factor, list(left.symbols)
    atoms: list[Atom] = []
    while factor != 1 or symbols:
        while source and source[0] == 1:
            source.pop(0)
        head = source[0] if source else 1
        part = 1 if isinstance(head, str) else gcd(head, factor)
        if isinstance(head, str):
            times, symbol = parted(head)
            if symbol in symbols and factor % times == 0:
                factor //= times
                symbols.remove(symbol)
                atoms.append(head)
                source.pop(0)
                continue
        if isinstance(head, str) or part == 1:
            raise ConvertError(f"reshape of {x} to {shape} must keep batch and time whole")
        factor //= part
        source[0] = head // part
        frame.append(part)
        atoms.append(len(frame) - 1)
    if not atoms:
        frame.append(1)
        atoms.append(len(frame) - 1)
    return tuple(atoms)
