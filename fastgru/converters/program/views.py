"""Labelled values as ops want them: in a given order, aligned for broadcasting, reshaped through batch and time."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from ...errors import ConvertError
from ...graph import Op
from .builder import Builder
from .sizes import BATCH, Atom, Dim, Size, product, quotient
from .steps import Length
from .values import Axis, NeedsSequenceLength, Tensor, describe, frames_of, is_time


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


def canonical(b: Builder, x: Tensor) -> Tensor:
    """`x` with its frame axes in the order of its axes, and no two of them side by side within one axis."""
    x = in_order(b, x)
    shape: list[int] = []
    axes: list[Axis] = []
    for axis in x.axes:
        merged: list[Atom] = []
        for atom in axis:
            if isinstance(atom, int) and merged and isinstance(merged[-1], int):
                shape[-1] *= x.spec.shape[atom]
            elif isinstance(atom, int):
                shape.append(x.spec.shape[atom])
                merged.append(len(shape) - 1)
            else:
                merged.append(atom)
        axes.append(tuple(merged))
    return b.result(b.reshape(x.value, shape), axes, x.elem)


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
    own_axes = [[(x, axes[i]) for x, axes in zip(tensors, padded, strict=True) if i >= len(axes) - x.rank]
                for i in range(rank)]  # fmt: skip
    layouts = [agreed(f"axis {i}", axes) for i, axes in enumerate(own_axes)]
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


def joint(call: Builder, op: Op, *tensors: Tensor) -> Tensor:
    """An op of tensors that broadcast."""
    values, axes = align(call, tensors)
    return call.result(call.add(op, *values), axes, tensors[0].elem)


def agreed(what: str, axes: Sequence[tuple[Tensor, Axis]]) -> Axis:
    """Return the atoms that axes which broadcast have in common; those of size 1 give way."""
    kinds: dict[tuple[object, ...], Axis] = {}
    for x, axis in axes:
        sizes = tuple(x.spec.shape[a] if isinstance(a, int) else a for a in axis)
        if sizes != (1,):
            kinds[sizes] = axis
    kinds = _one_time(kinds)
    if len(kinds) > 1:
        kind = NeedsSequenceLength if any(is_time(a) for axis in kinds.values() for a in axis) else ConvertError
        raise kind(f"inputs must agree in {what}, got {' and '.join(_shown(k) for k in kinds)}")
    return next(iter(kinds.values()), (0,))


def _one_time(kinds: dict[tuple[object, ...], Axis]) -> dict[tuple[object, ...], Axis]:
    """The simplest of several numbers of steps, which are those of values that meet: they must be equal."""
    steps = [axis[0] for axis in kinds.values() if len(axis) == 1 and isinstance(axis[0], Length)]
    if 1 < len(steps) == len(kinds) and all(steps[0].may_be(other) for other in steps[1:]):
        simplest = min(steps, key=lambda length: len(str(length)))
        return {(simplest,): (simplest,)}
    return kinds


def _shown(atoms: tuple[object, ...]) -> str:
    return "*".join(map(str, atoms)) or "1"


def expanded(call: Builder, x: Tensor, target: Sequence[Size]) -> Tensor:
    """Return `x` broadcast with a shape; along batch and time an axis of size 1 only takes their label."""
    x = with_ones(call, x, range(max(0, len(target) - x.rank)))
    wanted: list[Size] = [*[1] * (x.rank - len(target)), *target]
    slots: list[int | None] = []
    frame: list[int] = []
    axes: list[Axis] = []
    for i, n in enumerate(wanted):
        own = x.size(i)
        if n in (1, own):
            slots += [a for a in x.axes[i] if isinstance(a, int)]
            axes.append(tuple(len(frame) if isinstance(a, int) else a for a in x.axes[i]))
            frame += [x.spec.shape[a] for a in x.axes[i] if isinstance(a, int)]
        elif own != 1:
            raise ConvertError(f"shape must be one that {x} broadcasts with, got ({', '.join(map(str, target))})")
        elif isinstance(n, Dim):
            axes.append(_labels(n, len(frame)))
            slots += [None] * (n.factor != 1)
            frame += [n.factor] * (n.factor != 1)
        else:
            slots.append(None)
            axes.append((len(frame),))
            frame.append(n)
    return call.result(call.expand(view(call, x, slots), frame), axes, x.elem)


def _labels(size: Dim, frame: int) -> Axis:
    """The axis of a symbolic size: batch before time, and both before a fixed factor."""
    symbols = sorted(size.symbols, key=lambda s: s != BATCH)
    if sum(map(is_time, symbols)) > 1 or symbols.count(BATCH) > 1:
        raise ConvertError(f"size must have batch and time once at most, got {size}")
    return (*symbols, *([frame] if size.factor != 1 else []))


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
    source: list[Atom] = []
    for atom in (a for axis in x.axes for a in axis):
        if not isinstance(atom, int):
            source.append(atom)
        elif source and isinstance(source[-1], int):
            source[-1] *= x.spec.shape[atom]
        else:
            source.append(x.spec.shape[atom])
    frame: list[int] = []
    axes = [_consume(size, source, frame, f"({', '.join(map(str, wanted))})", x) for size in wanted]
    return call.result(call.reshape(x.value, frame), axes, x.elem)


def _consume(size: Size, source: list[Atom], frame: list[int], shape: str, x: Tensor) -> Axis:
    """The atoms of one target axis, taken from the front of `source`; its fixed sizes are appended to `frame`."""
    factor, symbols = (size.factor, list(size.symbols)) if isinstance(size, Dim) else (size, [])
    atoms: list[Atom] = []
    while factor != 1 or symbols:
        while source and source[0] == 1:
            source.pop(0)
        head = source[0] if source else 1
        part = gcd(head, factor) if isinstance(head, int) else 1
        if not isinstance(head, int):
            times, symbol = head.parted() if isinstance(head, Length) else (1, head)
            if symbol in symbols and factor % times == 0:
                factor //= times
                symbols.remove(symbol)
                atoms.append(head)
                source.pop(0)
                continue
        if not isinstance(head, int) or part == 1:
            raise ConvertError(f"reshape of {x} to {shape} must keep batch and time whole")
        factor //= part
        source[0] = head // part
        frame.append(part)
        atoms.append(len(frame) - 1)
    if not atoms:
        frame.append(1)
        atoms.append(len(frame) - 1)
    return tuple(atoms)
