"""Values written into a copy of another one at constant places: caches are kept so."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Binary, Concat, Multiply, OneHot, Op, Reduce, Where
from .builder import Builder
from .gathers import at, fixed_shape, from_front
from .values import Array, Tensor, elements, room
from .views import in_order, joint, reshaped

REDUCTIONS: dict[str, Op] = {"add": Add(), "mul": Multiply(), "max": Binary("max"), "min": Binary("min")}
MOST_ROUNDS = 64  # updates of one place, for each of which an op is there once


def nd_places(shape: tuple[int, ...], ids: Array) -> Array:
    """Return the places, in C order, of the blocks that indices along the last axis of `ids` name."""
    depth = ids.shape[-1]
    if depth > len(shape):
        raise ConvertError(f"indices must be for at most {len(shape)} axes, got {depth}")
    block = elements(shape[depth:])
    ids = from_front(ids.reshape(-1, depth), shape[:depth])
    first = np.ravel_multi_index(tuple(ids.T), shape[:depth]) if depth else np.zeros(len(ids), np.int64)
    room(len(first), block)
    found: Array = (first[:, None] * block + np.arange(block)).reshape(-1)
    return found


def element_places(shape: tuple[int, ...], ids: Array, axis: int) -> Array:
    """Return the place, in C order, of each element whose index along an axis `ids` gives."""
    grid: list[Array] = list(np.indices(ids.shape))
    grid[axis] = from_front(ids, shape[axis])
    found: Array = np.ravel_multi_index(tuple(grid), shape).reshape(-1)
    return found


def written(b: Builder, data: Tensor, places: Array, updates: Tensor, reduction: str = "none") -> Tensor:
    """Return data of fixed shape with updates, in C order, at these places of its own C order; else as `along`."""
    shape = fixed_shape(data)
    if elements(fixed_shape(updates)) != len(places):
        raise ConvertError(f"updates must have {len(places)} elements, got {updates}")
    (origin, *more) = _rounds(elements(shape), places, reduction) or [np.full(elements(shape), -1)]
    box = _box(origin.reshape(shape)) if reduction == "none" and not more else None
    if box is not None:
        y = _boxed(b, in_order(b, data).value, in_order(b, updates).value, box, shape)
        return b.result(y, [(i,) for i in range(len(shape))], data.elem)
    flat, new = (reshaped(b, x, (elements(fixed_shape(x)),)) for x in (data, updates))
    return reshaped(b, along(b, flat, 0, places, new, reduction), shape)


def along(b: Builder, data: Tensor, axis: int, places: Array, updates: Tensor, reduction: str = "none") -> Tensor:
    """Return data with updates at places along an axis of fixed size.

    Parameters
    ----------
    reduction : str
        ``"none"``: the last of several updates of one place stays; else ``"add"``, ``"mul"``, ``"max"`` or ``"min"``
        of what was there and all updates.
    """
    for origin in _rounds(data.spec.shape[data.frame_axis(axis)], places, reduction):
        chosen = at(b, updates, np.maximum(origin, 0), axis)
        new = chosen if reduction == "none" else joint(b, REDUCTIONS[reduction], data, chosen)
        mask = (origin >= 0).reshape(-1, *[1] * (data.rank - 1 - axis))
        y = new if mask.all() else joint(b, Where(), b.lift(mask), new, data)
        data = b.result(y.value, y.axes, data.elem)
    return data


def at_computed(b: Builder, data: Tensor, ids: Tensor, updates: Tensor) -> Tensor:
    """Return data of one axis with updates at places that are computed, each another."""
    data, ids, updates = (in_order(b, x) for x in (data, ids, updates))
    (depth,), (count,) = fixed_shape(data), fixed_shape(updates)
    chosen = b.add(OneHot(depth, 1, 1.0, 0.0), ids.value)
    new = b.times(b.reshape(b.cast(updates.value, "float"), (count, 1)), chosen)
    total, some = (b.add(Reduce("sum", (0,), keepdims=False), v) for v in (new, chosen))
    return b.like(data, b.where(b.cast(some, "bool"), b.cast(total, data.spec.dtype), data.value))


def _rounds(total: int, places: Array, reduction: str) -> list[Array]:
    """Return, for rounds in which no place gets two updates, which of them each place gets; -1 for none."""
    if reduction not in ("none", *REDUCTIONS):
        raise ConvertError(f"reduction must be 'none' or one of {', '.join(REDUCTIONS)}, got {reduction!r}")
    order = np.argsort(places, kind="stable")
    turn = np.zeros(len(places), np.int64)
    if reduction != "none":
        turn[order] = np.arange(len(places)) - np.searchsorted(places[order], places[order])
    count = int(turn.max(initial=-1)) + 1
    if count > MOST_ROUNDS:
        raise ConvertError(f"updates of one place must be at most {MOST_ROUNDS}, got {count}")
    rounds = []
    for i in range(count):
        origin = np.full(total, -1, dtype=np.int64)
        origin[places[turn == i]] = np.nonzero(turn == i)[0]
        rounds.append(origin)
    return rounds


def _box(origin: Array) -> list[tuple[int, int]] | None:
    """Return the box that is written in order, as a range per axis; None when it is none."""
    written = np.nonzero(origin >= 0)
    if not len(written[0]):
        return None
    box = [(int(axis.min()), int(axis.max()) + 1) for axis in written]
    inside = origin[tuple(slice(*r) for r in box)]
    whole = inside.size == int((origin >= 0).sum())
    return box if whole and np.array_equal(inside.reshape(-1), np.arange(inside.size)) else None


def _boxed(b: Builder, source: str, new: str, box: list[tuple[int, int]], shape: tuple[int, ...]) -> str:
    """Write a box into `source`, joined axis by axis from the last to the first that it does not fill."""
    value = b.reshape(new, [end - start for start, end in box])
    for axis in reversed(range(len(shape))):
        start, end = box[axis]
        if (start, end) == (0, shape[axis]):
            continue
        around = source
        for outer in range(axis):
            around = b.cut(around, outer, *box[outer])
        parts = [b.cut(around, axis, 0, start)] if start else []
        parts.append(value)
        parts += [b.cut(around, axis, end, shape[axis])] if end < shape[axis] else []
        value = b.add(Concat(axis=axis), *parts)
    return value
