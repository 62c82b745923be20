"""ATen's look-ups, and tensors made of nothing: embeddings, indices, ranges, constants of a size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Binary, Embedding, Expand, Gather, OneHot
from ..tensors.values import BATCH, TIME, Axis, Dim, Size, Tensor, describe, symbols_of
from ..tensors.views import renumbered
from .call import Call, Handler, RowOrder, kind_of
from .choices import where
from .elementwise import pointwise, to
from .reductions import reduce
from .sizes import is_batch
from .time import counter
from .views import canonical, unsqueeze


def embedding(call: Call, weight: Any, ids: Any, *_: Any) -> Tensor:
    """Rows of a matrix, one for each id."""
    if isinstance(weight, Tensor):
        found: Tensor = index_select(call, weight, 0, ids)
        return found
    ids = canonical(call, call.tensor(ids))
    if ids.spec.dtype != "int":
        raise ConvertError(f"ids must be integers, got {ids.spec.dtype}")
    value = call.add(Embedding(np.asarray(weight)), ids.value)
    return call.result(value, [*ids.axes, (len(ids.spec.shape),)])


def index_select(call: Call, x: Any, dim: int, ids: Any) -> Any:
    """Elements of an axis that ids name."""
    x = call.tensor(x)
    dim = call.axis(dim, x.rank)
    if isinstance(ids, RowOrder):
        if is_batch(x.size(dim)):
            return x
        raise ConvertError(f"rows of a batch must be taken of the batch, got {describe(x, dim)}")
    x, ids = canonical(call, x), canonical(call, call.tensor(ids))
    if ids.spec.dtype == "bool":
        raise ConvertError("indices must be integers, got a mask: its number of elements is not known")
    if symbols_of(x.axes) and symbols_of(ids.axes):
        raise ConvertError(f"indices of axis {dim} must be the same for all rows and steps, got {ids}")
    axis = x.frame_axis(dim)
    value = call.add(Gather(axis), x.value, ids.value)
    width = len(ids.spec.shape)
    moved = [tuple(a + width - 1 if isinstance(a, int) and a > axis else a for a in old) for old in x.axes]
    new = [tuple(a + axis if isinstance(a, int) else a for a in old) for old in ids.axes]
    return call.result(value, [*moved[:dim], *new, *moved[dim + 1 :]])


def index(call: Call, x: Any, indices: Sequence[Any]) -> Any:
    """x[i, j, ...] with tensors: one of them, or the rows of the batch and an element of each."""
    x = call.tensor(x)
    given = [(d, i) for d, i in enumerate(indices) if i is not None]
    if len(given) == 1:
        return index_select(call, x, *given[0])
    if len(given) == 2 and isinstance(given[0][1], RowOrder) and is_batch(x.size(given[0][0])):
        return of_each_row(call, x, *given[1])
    raise ConvertError(f"index must be of one axis, or of the batch and one axis, got {len(given)} tensors")


def of_each_row(call: Call, x: Tensor, dim: int, ids: Any) -> Tensor:
    """The element of an axis (time, or of fixed size) that each row's id names, without the axis."""
    ids = call.tensor(ids)
    if ids.rank != 1 or not is_batch(ids.size(0)):
        raise ConvertError(f"indices must be one for each row, got {ids}")
    others = [d for d in range(x.rank) if d != dim]
    if x.is_time(dim):
        if x.size(dim) != Dim(1, (TIME,)):
            raise ConvertError(f"steps must be those of the input to be picked, got {describe(x, dim)}")
        chosen = pointwise(call, Binary("equal"), (unsqueeze(call, counter(call), 0), unsqueeze(call, ids, 1)))
        for _ in range(x.rank - 2):
            chosen = unsqueeze(call, chosen, chosen.rank)
        order = [others[0], dim, *others[1:]]
        picked = where(call, chosen, x.permuted(order), 0.0)
        return reduce(call, picked, "sum", [1])
    x = canonical(call, x)
    axis = x.frame_axis(dim)
    value = call.add(Gather(axis), x.value, ids.value)
    kept = [n for n in range(len(x.spec.shape)) if n != axis]
    return call.result(value, renumbered([x.axes[d] for d in others], kept))


def gather(call: Call, x: Any, dim: int, ids: Any, *_: Any) -> Tensor:
    """Elements of an axis, at one place for each of the others: where the ids are the same along these."""
    x, ids = call.tensor(x), call.tensor(ids)
    dim = call.axis(dim, x.rank)
    node = call.producer(ids.value)
    source = ids
    if node is not None and isinstance(node.op, Expand):
        source = call.result(node.inputs[0], ids.axes)
    wide = [d for d in range(source.rank) if d != dim and source.is_frame(d) and source.size(d) != 1]
    if wide or source.size(dim) != 1 or not is_batch(source.size(0)):
        raise ConvertError(f"gather must take one element for each row, got indices {ids}")
    flat = call.result(call.reshape(source.value, ()), [(BATCH,)])
    return unsqueeze(call, of_each_row(call, x, dim, flat), dim)


def _one_hot(call: Call, ids: Any, classes: int = -1) -> Tensor:
    ids = canonical(call, call.tensor(ids))
    if classes < 1:
        raise ConvertError(f"num_classes must be given, got {classes}")
    rank = len(ids.spec.shape)
    value = call.cast(call.add(OneHot(classes, rank), ids.value), "int")
    return call.result(value, [*ids.axes, (rank,)])


# Tensors of a size -------------------------------------------------------------------------------


def full(call: Call, sizes: Sequence[Size], value: Any, kind: str) -> Any:
    """One number for every element of a shape that may have batch and time in it."""
    if not isinstance(value, bool | int | float):
        raise ConvertError(f"value must be a number, got {value}")
    dtype = {"float": np.float32, "int": np.int64, "bool": np.bool_}[kind]
    if not any(isinstance(n, Dim) for n in sizes):
        return np.full([int(n) for n in sizes], value, dtype)
    frame: list[int] = []
    axes: list[Axis] = []
    for n in sizes:
        symbols = n.symbols if isinstance(n, Dim) else ()
        factor = n.factor if isinstance(n, Dim) else int(n)
        if factor != 1 or not symbols:
            frame.append(factor)
            axes.append((*symbols, len(frame) - 1))
        else:
            axes.append(symbols)
    return call.result(call.constant(np.full(frame, value, dtype), kind), axes)


def _kind(dtype: Any, value: Any = 0.0) -> str:
    return kind_of(dtype) if dtype is not None else kind_of(np.asarray(value).dtype)


def _filled(value: float) -> Handler:
    def run(call: Call, sizes: Sequence[Size], *, dtype: Any = None) -> Any:
        kind = _kind(dtype, float(value))
        return full(call, sizes, bool(value) if kind == "bool" else value, kind)

    return run


def _full(call: Call, sizes: Sequence[Size], value: Any, *, dtype: Any = None) -> Any:
    return full(call, sizes, value, _kind(dtype, value))


def _filled_like(value: float) -> Handler:
    def run(call: Call, x: Any, *, dtype: Any = None) -> Any:
        x = call.tensor(x)
        kind = x.spec.dtype if dtype is None else kind_of(dtype)
        return full(call, x.sizes(), bool(value) if kind == "bool" else value, kind)

    return run


def _full_like(call: Call, x: Any, value: Any, *, dtype: Any = None) -> Any:
    x = call.tensor(x)
    return full(call, x.sizes(), value, x.spec.dtype if dtype is None else kind_of(dtype))


def _new(value: float) -> Handler:
    def run(call: Call, x: Any, sizes: Sequence[Size], *, dtype: Any = None) -> Any:
        kind = call.tensor(x).spec.dtype if dtype is None else kind_of(dtype)
        return full(call, sizes, value, kind)

    return run


def _new_full(call: Call, x: Any, sizes: Sequence[Size], value: Any, *, dtype: Any = None) -> Any:
    return full(call, sizes, value, call.tensor(x).spec.dtype if dtype is None else kind_of(dtype))


def _fill(call: Call, x: Any, value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(()).item()
    return _full_like(call, x, value)


def _arange(call: Call, end: Size, *, dtype: Any = None) -> Any:
    """All rows of the batch, or the number of every step."""
    if is_batch(end):
        return RowOrder()
    if end != Dim(1, (TIME,)):
        raise ConvertError(f"end of a range must be fixed, or the steps of the input, got {end}")
    return to(call, counter(call), dtype)


def _arange_from(call: Call, start: Any, end: Size, step: Any = 1, *, dtype: Any = None) -> Any:
    if (start, step) != (0, 1):
        raise ConvertError(f"range over time must start at 0 with step 1, got {start} and {step}")
    return _arange(call, end, dtype=dtype)


TABLE: dict[str, Handler] = {
    "embedding": embedding, "index_select": index_select, "index.Tensor": index, "gather": gather, "one_hot": _one_hot,
    "zeros": _filled(0), "ones": _filled(1), "empty.memory_format": _filled(0), "full": _full,
    "zeros_like": _filled_like(0), "ones_like": _filled_like(1), "empty_like": _filled_like(0), "full_like": _full_like,
    "zero": _filled_like(0), "new_zeros": _new(0), "new_ones": _new(1), "new_empty": _new(0), "new_full": _new_full,
    "fill": _fill, "arange.default": _arange, "arange.start": _arange_from, "arange.start_step": _arange_from,
    "scalar_tensor": lambda call, x, *, dtype=None: np.asarray(x),
}  # fmt: skip
