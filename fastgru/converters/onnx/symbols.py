"""Shape arithmetic with sizes that are only known when the model runs: what Shape's consumers do before a Reshape."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import add, ge, gt, le, lt, mul, sub
from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program.sizes import Dim, Size, difference, equal, extreme, product, size_of
from ..program.steps import STEPS
from ..program.values import Array, is_symbolic
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
    found = handler(call)
    return None if found is None else [_settled(array) for array in found]


def _settled(given: Any) -> Array:
    """An int64 array again where no size is symbolic any more."""
    array: Array = np.asarray(given)
    if is_symbolic(array) and all(isinstance(n, bool) for n in array.flat):
        return array.astype(bool)
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


def _divide(a: Size, b: Size) -> Size:
    """a / b without the rest, as sizes are divided."""
    if b == 0:
        raise ConvertError(f"size {a} must not be divided by 0")
    return a // b


def _remainder(a: Size, b: Size) -> Size:
    if b == 0:
        raise ConvertError(f"size {a} must not be divided by 0")
    return a % b


def _whole(call: Call) -> list[Array] | None:
    """The number of steps, or some less or more, which is whole; None for what may be a quotient."""
    sizes = call.array(0, "sizes")
    whole = all(isinstance(n, Dim) and difference(n, size_of(STEPS)) is not None for n in sizes.flat)
    return [sizes] if whole else None


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


def _expand(call: Call) -> list[Array] | None:
    """One size for each row of a batch, or step: whatever reads it has it for all of them."""
    if not is_symbolic(call.inputs[0]):
        return None
    data, target = _objects(call, 0), _objects(call, 1)
    if data.size == 1 and target.size == 1 and isinstance(target.flat[0], Dim):
        return [data.reshape(1)]
    return [np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(int(n) for n in target)))]


def _extreme(sign: int) -> Callable[[Call], list[Array]]:
    def run(call: Call) -> list[Array]:
        arrays = np.broadcast_arrays(*(_objects(call, i) for i in range(len(call.inputs))))
        items = zip(*(a.flat for a in arrays), strict=True)
        return [_filled([extreme(each, sign) for each in items], arrays[0].shape)]

    return run


def _modulo(call: Call) -> list[Array]:
    call.attr("fmod", 0)
    return _elementwise(_remainder)(call)


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


HANDLERS: dict[str, Callable[[Call], list[Array] | None]] = {
    "Identity": lambda call: [call.array(0, "sizes")],
    "Cast": _cast,
    "Ceil": _whole,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Split": _split,
    "Where": _where,
    "ReduceProd": _reduce_prod,
    "Mul": _elementwise(mul),
    "Div": _elementwise(_divide),
    "Mod": _modulo,
    "Max": _extreme(1),
    "Min": _extreme(-1),
    "Expand": _expand,
    "Add": _elementwise(add),
    "Sub": _elementwise(sub),
    "Equal": _elementwise(equal),
    "Less": _elementwise(lt),
    "LessOrEqual": _elementwise(le),
    "Greater": _elementwise(gt),
    "GreaterOrEqual": _elementwise(ge),
    "Shape": lambda call: [np.array(call.array(0, "sizes").shape, dtype=np.int64)],
    "Size": lambda call: [np.array(call.array(0, "sizes").size, dtype=np.int64)],
}
