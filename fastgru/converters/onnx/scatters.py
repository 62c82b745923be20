"""Operators that write into a copy of a value, at places that are constant: caches are kept so."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ..program.gathers import fixed_shape
from ..program.scatters import at_computed, element_places, nd_places, written
from ..program.values import Tensor
from .call import Call, Translator


def scatter_nd(call: Call) -> Tensor:
    """ScatterND."""
    data, ids, updates = call.tensor(0), call.array(1, "indices"), call.tensor(2)
    return written(call, data, nd_places(fixed_shape(data), ids), updates, call.attr("reduction", "none"))


def scatter_elements(call: Call) -> Tensor:
    """ScatterElements."""
    if isinstance(call.value(1), Tensor):
        return _at_computed(call)
    data, ids, updates = call.tensor(0), call.array(1, "indices"), call.tensor(2)
    axis = call.axis(call.attr("axis", 0), data.rank)
    places = element_places(fixed_shape(data), ids, axis)
    return written(call, data, places, updates, call.attr("reduction", "none"))


def _at_computed(call: Call) -> Tensor:
    """ScatterElements along the only axis, at places that are computed: as an order is undone."""
    data, ids, updates = (call.tensor(i) for i in range(3))
    if data.rank != 1 or call.attr("reduction", "none") != "none":
        call.array(1, "indices")
    call.axis(call.attr("axis", 0), 1)
    return at_computed(call, data, ids, updates)


def tensor_scatter(call: Call) -> Tensor:
    """TensorScatter: updates of a cache, row by row from an index on, round its end if it is circular."""
    data, updates = call.tensor(0), call.tensor(1)
    shape, new = fixed_shape(data), fixed_shape(updates)
    axis = call.axis(call.attr("axis", -2), data.rank)
    first, mode = call.optional(2, "write_indices"), call.attr("mode", "linear")
    if mode not in ("linear", "circular"):
        raise ConvertError(f"mode must be 'linear' or 'circular', got {mode!r}")
    grid = list(np.indices(new))
    grid[axis] = grid[axis] + (0 if first is None else first.reshape(-1, *[1] * (data.rank - 1)))
    grid[axis] = grid[axis] % shape[axis] if mode == "circular" else grid[axis]
    if (grid[axis] >= shape[axis]).any():
        raise ConvertError(
            f"updates must end within the {shape[axis]} elements of the cache, got {grid[axis].max() + 1}"
        )
    return written(call, data, np.ravel_multi_index(tuple(grid), shape).reshape(-1), updates)


OPERATORS: dict[str, Translator] = {
    "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
    "Scatter": scatter_elements,
    "TensorScatter": tensor_scatter,
}
