"""Operators that integer ids steer."""

from __future__ import annotations

import itertools

import numpy as np
from onnx import TensorProto

from ...errors import ConvertError
from ..program import gathers
from ..program.gathers import fixed_shape
from ..program.sizes import product
from ..program.time import step_at, steps_between
from ..program.values import Array, Tensor
from ..program.views import reshaped
from .call import Call, Translator, dtype_of


def gather(call: Call) -> Tensor:
    """Gather: a slice, an Embedding or a Gather, by what is constant."""
    data, ids = call.value(0), call.value(1)
    rank = data.rank if isinstance(data, Tensor) else data.ndim
    axis = call.axis(call.attr("axis", 0), rank)
    if isinstance(data, Tensor) and not isinstance(ids, Tensor):
        return _steps_at(call, data, ids, axis) if data.is_time(axis) else gathers.at(call, data, ids, axis)
    x, table = call.lift(ids), call.lift(data)
    if not isinstance(data, Tensor) and data.ndim == 2 and axis == 0 and data.dtype.kind == "f":
        y = gathers.embedding(call, data, x)
        return call.result(y.value, y.axes, table.elem)
    return gathers.taken(call, table, x, axis)


def _steps_at(call: Call, x: Tensor, ids: Array, axis: int) -> Tensor:
    """Steps of time at constant places."""
    if ids.ndim == 0:
        return step_at(call, x, axis, int(ids))
    places = [int(i) for i in ids.reshape(-1)]
    apart = {b - a for a, b in itertools.pairwise(places)} or {1}
    if ids.ndim != 1 or not places or len(apart) > 1 or min(apart) < 1 or places[0] < 0 <= places[-1]:
        raise ConvertError(f"indices along time must be evenly spaced steps, counted from one end, got {ids.tolist()}")
    (step,) = apart
    return steps_between(call, x, axis, places[0], places[-1] + 1 or None, step)


def gather_elements(call: Call) -> Tensor:
    """GatherElements."""
    data = call.tensor(0)
    return gathers.gather_elements(call, data, call.tensor(1), call.axis(call.attr("axis", 0), data.rank))


def compress(call: Call) -> Tensor:
    """Compress: the elements of an axis, or of all in C order, where a constant condition holds."""
    x, condition = call.tensor(0), call.array(1, "condition")
    axis = call.attr("axis")
    x = reshaped(call, x, (product(x.sizes()),)) if axis is None else x
    return gathers.at(call, x, np.nonzero(condition)[0], 0 if axis is None else call.axis(axis, x.rank))


def one_hot(call: Call) -> Tensor:
    """OneHot with constant depth and values."""
    ids, depth, values = call.tensor(0), call.array(1, "depth"), call.array(2, "values")
    axis = call.axis(call.attr("axis", -1), ids.rank + 1)
    off, on = (float(v) for v in values.reshape(-1))
    y, elem = gathers.one_hot(call, ids, int(depth.reshape(-1)[0]), axis, off, on), call.lift(values).elem
    return call.result(call.cast(y.value, dtype_of(elem)), y.axes, elem)


def reverse_sequence(call: Call) -> Tensor:
    """ReverseSequence: the first `sequence_lens` steps of each row turned round."""
    x = call.tensor(0)
    time, rows = (call.axis(call.attr(n, d), x.rank) for n, d in (("time_axis", 0), ("batch_axis", 1)))
    lengths = call.value(1)
    if x.is_time(time) and isinstance(lengths, np.ndarray) and set(lengths.flat) == {x.size(time)}:
        return call.like(x, call.turned(x.value))  # each row has all steps
    return gathers.reversed_sequences(call, x, call.tensor(1), time, rows)


def trilu(call: Call) -> Tensor:
    """Trilu: one triangle of the last two axes, zeros elsewhere."""
    k = call.optional(1, "k")
    offset = 0 if k is None else int(k.reshape(-1)[0])
    return gathers.triangle(call, call.tensor(0), offset, upper=bool(call.attr("upper", 1)))


def eye_like(call: Call) -> Array:
    """EyeLike of a value whose shape is fixed."""
    x = call.tensor(0)
    rows, columns = fixed_shape(x)
    elem = call.attr("dtype", x.elem)
    kind = {"float": np.float32, "int": np.int64, "bool": bool}[dtype_of(elem)]
    kind = np.float64 if elem == TensorProto.DOUBLE else np.int32 if elem == TensorProto.INT32 else kind
    return np.eye(rows, columns, k=call.attr("k", 0), dtype=kind)


OPERATORS: dict[str, Translator] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": lambda call: gathers.gather_nd(call, call.tensor(0), call.tensor(1), call.attr("batch_dims", 0)),
    "Compress": compress,
    "OneHot": one_hot,
    "ReverseSequence": reverse_sequence,
    "Trilu": trilu,
    "EyeLike": eye_like,
}
