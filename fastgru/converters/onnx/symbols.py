"""Shape arithmetic with sizes that are only known when the model runs: what Shape's consumers do before a Reshape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._hints import option
from ...errors import ConvertError
from ..tensors.values import Array, Dim, Size, is_symbolic, product, quotient
from .call import Call

MOST = 2**20  # elements of all inputs, multiplied: more than any result has


def evaluate(call: Call) -> list[Array] | None:
    """The outputs of a node with symbolic inputs; None when its translator is to take them.

    Raises
    ------
    ConvertError
        When the outcome depends on sizes that are not known yet.
    """
    handler = HANDLERS.get(call.node.op_type)
    if handler is None:
        return None
    arrays = [v for v in call.inputs if isinstance(v, np.ndarray)]
    if math.prod(max(1, a.size) for a in arrays) > MOST:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise ConvertError(f"sizes must be few where they are computed, got arrays of shapes {shapes}")
    return [_settled(array) for array in handler(call)]


def _settled(given: Any) -> Array:
    """An int64 array again where no size is symbolic any more."""
    array: Array = np.asarray(given)
    if is_symbolic(array) and not any(isinstance(n, Dim) for n in array.flat):
        return array.astype(np.int64)
    return array


def _filled(items: list[Any], shape: tuple[int, ...]) -> Array:
    """An object array."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(shape)


def _objects(call: Call, index: int) -> Array:
    return call.array(index, "sizes").astype(object)


def _elementwise(function: Callable[[Size, Size], Any]) -> Callable[[Call], list[Array]]:
    def run(call: Call) -> list[Array]:
        a, b = np.broadcast_arrays(_objects(call, 0), _objects(call, 1))
        return [_filled([function(x, y) for x, y in zip(a.flat, b.flat, strict=True)], a.shape)]

    return run


def _multiply(a: Size, b: Size) -> Size:
    return product([a, b])


def _add(a: Size, b: Size) -> Size:
    if 0 in (a, b):
        return b if a == 0 else a
    raise ConvertError(f"size must be a product of batch, time and numbers, got {a} + {b}")


def _subtract(a: Size, b: Size) -> Size:
    if a == b:
        return 0
    if b == 0:
        return a
    raise ConvertError(f"size must be a product of batch, time and numbers, got {a} - {b}")


def _equal(a: Size, b: Size) -> bool:
    if a == b:
        return True
    if any(not isinstance(x, Dim) and x <= 0 for x in (a, b)):
        return False  # no batch has as few rows, no sequence as few steps
    raise ConvertError(f"sizes must be known to be compared, got {a} and {b}: fix them with {option('shapes')}")


def _cast(call: Call) -> list[Array]:
    call.attr("to")
    call.attr("saturate")
    return [call.array(0, "sizes")]


def _gather(call: Call) -> list[Array]:
    data, ids = _objects(call, 0), call.array(1, "indices")
    return [np.asarray(np.take(data, ids.astype(np.int64), axis=call.attr("axis", 0)), dtype=object)]


def _slice(call: Call) -> list[Array]:
    data = _objects(call, 0)
    starts, ends = (call.ints(n, i, 10) or [] for n, i in (("starts", 1), ("ends", 2)))
    axes = call.ints("axes", 3, 10) or list(range(len(starts)))
    steps = (call.ints("steps", 4, 10) if call.opset >= 10 else None) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end < -data.shape[axis] else end
        data = data[(slice(None),) * call.axis(axis, data.ndim) + (slice(start, stop, step),)]
    return [data]


def _squeeze(call: Call) -> list[Array]:
    axes = call.ints("axes", 1, 13)
    return [np.squeeze(_objects(call, 0), axis=None if axes is None else tuple(axes))]


def _unsqueeze(call: Call) -> list[Array]:
    return [np.expand_dims(_objects(call, 0), tuple(call.ints("axes", 1, 13) or ()))]


def _reshape(call: Call) -> list[Array]:
    call.attr("allowzero")
    data = _objects(call, 0)
    wanted = [data.shape[i] if n == 0 else n for i, n in enumerate(call.ints("shape", 1, 5) or [])]
    return [data.reshape(wanted)]


def _where(call: Call) -> list[Array]:
    return [np.where(call.array(0, "condition"), _objects(call, 1), _objects(call, 2))]


def _concat(call: Call) -> list[Array]:
    return [np.concatenate([_objects(call, i) for i in range(len(call.inputs))], axis=call.attr("axis"))]


def _reduce_prod(call: Call) -> list[Array]:
    call.ints("axes", 1, 18)
    keep = call.attr("keepdims", 1)
    return [_filled([product(_objects(call, 0).flat)], (1,) if keep else ())]


def _split(call: Call) -> list[Array]:
    data, axis = _objects(call, 0), call.attr("axis", 0)
    sizes = call.ints("split", 1, 13)
    count = call.attr("num_outputs", len(call.node.output))
    return list(np.split(data, np.cumsum(sizes)[:-1] if sizes else count, axis=axis))


HANDLERS: dict[str, Callable[[Call], list[Array]]] = {
    "Identity": lambda call: [call.array(0, "sizes")],
    "Cast": _cast,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Split": _split,
    "Where": _where,
    "ReduceProd": _reduce_prod,
    "Mul": _elementwise(_multiply),
    "Div": _elementwise(quotient),
    "Add": _elementwise(_add),
    "Sub": _elementwise(_subtract),
    "Equal": _elementwise(_equal),
    "Shape": lambda call: [np.array(call.array(0, "sizes").shape, dtype=np.int64)],
    "Size": lambda call: [np.array(call.array(0, "sizes").size, dtype=np.int64)],
}
