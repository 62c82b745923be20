"""Operators that write into a copy of a value, at places that are constant: caches are kept so."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ...graph import Concat, Gather
from ..tensors.values import Array, Tensor, elements, room
from ..tensors.views import in_order
from .call import Call, Translator
from .gathers import _fixed


def scatter_nd(call: Call) -> Tensor:
    """ScatterND."""
    data, ids, updates = call.tensor(0), call.array(1, "indices"), call.tensor(2)
    shape = _fixed(data)
    depth = ids.shape[-1]
    if depth > len(shape):
        raise ConvertError(f"indices must be for at most {len(shape)} axes, got {depth}")
    block = elements(shape[depth:])
    ids = _within(ids.reshape(-1, depth), shape[:depth])
    first = np.ravel_multi_index(tuple(ids.T), shape[:depth]) if depth else np.zeros(len(ids), np.int64)
    room(len(first), block)
    places = (first[:, None] * block + np.arange(block)).reshape(-1)
    return _written(call, data, places, updates)


def scatter_elements(call: Call) -> Tensor:
    """ScatterElements."""
    data, ids, updates = call.tensor(0), call.array(1, "indices"), call.tensor(2)
    shape = _fixed(data)
    axis = call.axis(call.attr("axis", 0), len(shape))
    grid: list[Array] = list(np.indices(ids.shape))
    grid[axis] = _within(ids.reshape(-1, 1), shape[axis : axis + 1]).reshape(ids.shape)
    return _written(call, data, np.ravel_multi_index(tuple(grid), shape).reshape(-1), updates)


def _within(ids: Array, shape: tuple[int, ...]) -> Array:
    """Indices counted from the front, each within its axis."""
    sizes = np.array(shape, dtype=np.int64)
    if ((ids < -sizes) | (ids >= sizes)).any():
        raise ConvertError(f"indices must be within the axes of {shape}, got {ids.tolist()[:8]}")
    return np.where(ids < 0, ids + sizes, ids)


def _written(call: Call, data: Tensor, places: Array, updates: Tensor) -> Tensor:
    """`data` with `updates`, in C order, at these places of its own C order; the last of several at one place wins."""
    reduction = call.attr("reduction", "none")
    if reduction != "none":
        raise ConvertError(f"reduction must be 'none', got {reduction!r}")
    shape = _fixed(data)
    total = elements(shape)
    if elements(_fixed(updates)) != len(places):
        raise ConvertError(f"updates must have {len(places)} elements, got {updates}")
    origin = np.full(total, -1, dtype=np.int64)
    origin[places] = np.arange(len(places))
    source, new = in_order(call, data).value, in_order(call, updates).value
    box = _box(origin.reshape(shape))
    if box is not None:
        y = _boxed(call, source, new, box, shape)
    else:
        ids = np.where(origin >= 0, origin + total, np.arange(total)).reshape(shape)
        both = call.add(Concat(axis=0), call.reshape(source, (total,)), call.reshape(new, (len(places),)))
        y = call.add(Gather(0), both, call.constant(ids, "int"))
    return call.result(y, [(i,) for i in range(len(shape))], data.elem)


def _box(origin: Array) -> list[tuple[int, int]] | None:
    """The box that is written in order, as a range per axis; None when it is none."""
    written = np.nonzero(origin >= 0)
    if not len(written[0]):
        return None
    box = [(int(axis.min()), int(axis.max()) + 1) for axis in written]
    inside = origin[tuple(slice(*r) for r in box)]
    whole = inside.size == int((origin >= 0).sum())
    return box if whole and np.array_equal(inside.reshape(-1), np.arange(inside.size)) else None


def _boxed(call: Call, source: str, new: str, box: list[tuple[int, int]], shape: tuple[int, ...]) -> str:
    """A box written into `source`, joined axis by axis from the last to the first that it does not fill."""
    value = call.reshape(new, [end - start for start, end in box])
    for axis in reversed(range(len(shape))):
        start, end = box[axis]
        if (start, end) == (0, shape[axis]):
            continue
        around = source
        for outer in range(axis):
            around = call.cut(around, outer, *box[outer])
        parts = [call.cut(around, axis, 0, start)] if start else []
        parts.append(value)
        parts += [call.cut(around, axis, end, shape[axis])] if end < shape[axis] else []
        value = call.add(Concat(axis=axis), *parts)
    return value


OPERATORS: dict[str, Translator] = {
    "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
    "Scatter": scatter_elements,
}
