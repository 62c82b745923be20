"""Operators that integer ids steer."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ...errors import ConvertError
from ...graph import Add, Binary, Embedding, Gather, Multiply, OneHot, Where
from ..tensors.values import Array, Axis, Tensor, elements, symbols_of
from ..tensors.views import align, in_order, renumbered, reshaped, sliced, view, without
from .call import Call, Translator, dtype_of
from .temporal import at_end


def gather(call: Call) -> Tensor:
    """Gather: a slice, an Embedding or a Gather, by what is constant."""
    data, ids = call.value(0), call.value(1)
    rank = data.rank if isinstance(data, Tensor) else data.ndim
    axis = call.axis(call.attr("axis", 0), rank)
    if isinstance(data, Tensor) and not isinstance(ids, Tensor):
        return _at(call, data, ids, axis)
    x, table = call.lift(ids), call.lift(data)
    if not isinstance(data, Tensor) and data.ndim == 2 and axis == 0 and data.dtype.kind == "f":
        value = call.add(Embedding(data), x.value)
        return call.result(value, [*x.axes, (len(x.spec.shape),)], table.elem)
    return _taken(call, table, x, axis)


def _at(call: Call, x: Tensor, ids: Array, axis: int) -> Tensor:
    """Elements at constant places."""
    if x.is_time(axis):
        if ids.ndim == 0 and int(ids) in (0, -1):
            return at_end(call, x, axis, first=int(ids) == 0)
        raise ConvertError(f"indices along time must be -1 (or 0), got {ids.tolist()}")
    n = x.spec.shape[x.frame_axis(axis)]
    if ids.size == 0 or ids.min() < -n or ids.max() >= n:
        raise ConvertError(f"indices must be within [{-n}, {n - 1}] and some, got {ids.tolist()}")
    places = np.where(ids < 0, ids + n, ids).reshape(-1)
    steps = set(np.diff(places).tolist())
    if len(steps) > 1 or steps & {0}:
        return _taken(call, x, call.lift(places.reshape(ids.shape)), axis)
    step, start = (steps or {1}).pop(), int(places[0])
    stop = int(places[-1]) + (1 if step > 0 else -1)
    y = sliced(call, x, axis, start, None if stop < 0 else stop, step)
    if ids.ndim == 1:
        return y
    if ids.ndim == 0:
        return without(call, y, [axis])
    return reshaped(call, y, (*y.sizes()[:axis], *ids.shape, *y.sizes()[axis + 1 :]))


def _taken(call: Call, data: Tensor, ids: Tensor, axis: int) -> Tensor:
    """The general case."""
    data, ids = in_order(call, data), in_order(call, ids)
    twice = set(symbols_of(data.axes)) & set(symbols_of(ids.axes))
    if twice:
        raise ConvertError(f"data and indices must not both have batch or time, got {data} and {ids}")
    frame, count = data.frame_axis(axis), len(ids.spec.shape)
    value = call.add(Gather(frame), data.value, ids.value)

    def place(a: int | str) -> int | str:
        return a + count - 1 if isinstance(a, int) and a > frame else a

    inner: list[Axis] = [tuple(a + frame if isinstance(a, int) else a for a in atoms) for atoms in ids.axes]
    before = [tuple(map(place, atoms)) for atoms in data.axes[:axis]]
    after = [tuple(map(place, atoms)) for atoms in data.axes[axis + 1 :]]
    return call.result(value, [*before, *inner, *after], data.elem)


def gather_elements(call: Call) -> Tensor:
    """GatherElements: by the place in the flattened data."""
    data, ids = call.tensor(0), call.tensor(1)
    axis = call.axis(call.attr("axis", 0), data.rank)
    shape, wanted = _fixed(data), _fixed(ids)
    grid = np.indices(wanted)
    strides = [elements(shape[i + 1 :]) for i in range(len(shape))]
    base = sum((grid[i] * strides[i] for i in range(len(shape)) if i != axis), np.zeros(wanted, np.int64))
    value = _from_front(call, in_order(call, ids).value, shape[axis])
    flat = call.add(Multiply(), value, call.number(strides[axis], like=value))
    flat = call.add(Add(), flat, call.constant(base, "int"))
    return picked(call, data, flat)


def gather_nd(call: Call) -> Tensor:
    """GatherND: by the place in the flattened data, of whole blocks where fewer axes are indexed."""
    data, ids = call.tensor(0), call.tensor(1)
    batch = call.attr("batch_dims", 0)
    shape, wanted = _fixed(data), _fixed(ids)
    depth = wanted[-1]
    block = shape[batch + depth :]
    value = in_order(call, ids).value
    rank = len(wanted) - 1
    lead = np.arange(elements(shape[:batch]), dtype=np.int64).reshape(*shape[:batch], *[1] * (rank - batch))
    flat = call.constant(lead, "int")
    for i in range(depth):
        one = call.reshape(call.cut(value, rank, i, i + 1), wanted[:-1])
        flat = call.add(Multiply(), flat, call.number(shape[batch + i], like=flat))
        flat = call.add(Add(), flat, _from_front(call, one, shape[batch + i]))
    blocks = reshaped(call, data, (elements(shape[: batch + depth]), *block))
    y = call.add(Gather(0), in_order(call, blocks).value, flat)
    return call.result(y, [(i,) for i in range(len(call.shape(y)))], data.elem)


def picked(call: Call, data: Tensor, flat: str) -> Tensor:
    """Elements of fixed data by their places in C order."""
    source = in_order(call, reshaped(call, data, (elements(_fixed(data)),))).value
    y = call.add(Gather(0), source, flat)
    return call.result(y, [(i,) for i in range(len(call.shape(y)))], data.elem)


def _from_front(call: Call, value: str, n: int) -> str:
    """Ids that count from the end as ids from the front."""
    shifted = call.add(Add(), value, call.number(n, like=value))
    return call.add(Where(), call.binary("less", value, 0), shifted, value)


def _fixed(x: Tensor) -> tuple[int, ...]:
    """The shape of a value without batch and time."""
    return tuple(x.spec.shape[x.frame_axis(i)] for i in range(x.rank))


def one_hot(call: Call) -> Tensor:
    """OneHot with constant depth and values."""
    ids, depth, values = call.tensor(0), call.array(1, "depth"), call.array(2, "values")
    axis = call.axis(call.attr("axis", -1), ids.rank + 1)
    off, on = (float(v) for v in values.reshape(-1))
    ids = in_order(call, ids)
    rank = len(ids.spec.shape)
    value = call.cast(ids.value, "int")
    y = call.add(OneHot(int(depth.reshape(-1)[0]), rank, on, off), value)
    axes = list(ids.axes)
    axes.insert(axis, (rank,))
    elem = call.lift(values).elem
    return call.result(call.cast(y, dtype_of(elem)), axes, elem)


def reverse_sequence(call: Call) -> Tensor:
    """ReverseSequence along an axis of fixed size: the first `sequence_lens` steps of each row of another one."""
    x, lengths = call.tensor(0), call.tensor(1)
    time, rows = (call.axis(call.attr(n, d), x.rank) for n, d in (("time_axis", 0), ("batch_axis", 1)))
    steps, count = (x.spec.shape[x.frame_axis(a)] for a in (time, rows))
    rest = [i for i in range(x.rank) if i not in (time, rows)]
    frames = [x.frame_axis(time), x.frame_axis(rows), *(a for i in rest for a in x.axes[i] if isinstance(a, int))]
    moved = view(call, x, frames)
    own = call.reshape(lengths.value, (1, count))
    step = call.constant(np.arange(steps).reshape(-1, 1), "int")
    mirrored = call.add(Binary("sub"), call.binary("sub", own, 1), step)
    place = call.add(Where(), call.add(Binary("less"), step, own), mirrored, step)
    flat = call.add(Multiply(), place, call.number(count, like=place))
    flat = call.add(Add(), flat, call.constant(np.arange(count), "int"))
    shape = call.shape(moved)
    y = call.add(Gather(0), call.reshape(moved, (steps * count, *shape[2:])), flat)
    return call.result(y, renumbered(x.axes, frames), x.elem)


def trilu(call: Call) -> Tensor:
    """Trilu: one triangle of the last two axes, zeros elsewhere."""
    x, k = call.tensor(0), call.optional(1, "k")
    rows, columns = (x.spec.shape[x.frame_axis(x.rank - i)] for i in (2, 1))
    offset = int(k.reshape(-1)[0]) if k is not None else 0
    whole = np.ones((rows, columns), bool)
    mask = np.triu(whole, offset) if call.attr("upper", 1) else np.tril(whole, offset)
    (value, kept), axes = align(call, [x, call.lift(mask)])
    zero = call.number(0, like=value)
    return call.result(call.add(Where(), kept, value, zero), axes, x.elem)


def eye_like(call: Call) -> Array:
    """EyeLike of a value whose shape is fixed."""
    x = call.tensor(0)
    rows, columns = _fixed(x)
    elem = call.attr("dtype", x.elem)
    kind = {"float": np.float32, "int": np.int64, "bool": bool}[dtype_of(elem)]
    kind = np.float64 if elem == TensorProto.DOUBLE else np.int32 if elem == TensorProto.INT32 else kind
    return np.eye(rows, columns, k=call.attr("k", 0), dtype=kind)


OPERATORS: dict[str, Translator] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "ReverseSequence": reverse_sequence,
    "Trilu": trilu,
    "EyeLike": eye_like,
}
