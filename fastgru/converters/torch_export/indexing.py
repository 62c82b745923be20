"""ATen's look-ups, and tensors made of nothing: embeddings, indices, ranges, constants of a size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Binary, Expand
from ..program import gathers, scatters
from ..program.lengths import numbered
from ..program.sizes import BATCH, Dim, Size, size_of
from ..program.steps import STEPS
from ..program.values import Tensor, describe
from ..program.views import canonical, expanded, reshaped, sliced, with_ones
from .call import Call, Handler, RowOrder, kind_of
from .choices import where
from .elementwise import add, multiply, pointwise, to
from .reductions import reduce
from .sizes import is_batch
from .time import counter
from .views import expand, unsqueeze


def embedding(call: Call, weight: Any, ids: Any, *_: Any) -> Any:
    """Rows of a matrix, one for each id."""
    return index_select(call, weight, 0, ids)


def index_select(call: Call, x: Any, dim: int, ids: Any) -> Any:
    """Elements of an axis that ids name, or that a constant mask leaves."""
    matrix = isinstance(x, np.ndarray) and (x.ndim, x.dtype.kind, dim) == (2, "f", 0)
    if matrix and isinstance(ids, Tensor):
        return gathers.embedding(call, np.asarray(x), canonical(call, ids))
    x = call.tensor(x)
    dim = call.axis(dim, x.rank)
    if isinstance(ids, RowOrder):
        if is_batch(x.size(dim)):
            return x
        raise ConvertError(f"rows of a batch must be taken of the batch, got {describe(x, dim)}")
    x = canonical(call, x)
    if isinstance(ids, np.ndarray):
        return gathers.at(call, x, np.nonzero(ids)[0] if ids.dtype == bool and ids.ndim == 1 else ids, dim)
    return gathers.taken(call, x, canonical(call, call.tensor(ids)), dim)


def index(call: Call, x: Any, indices: Sequence[Any]) -> Any:
    """x[i, j, ...] with tensors: of axes side by side, or the rows of the batch and an element of each."""
    x = call.tensor(x)
    given = [(d, i) for d, i in enumerate(indices) if i is not None]
    if len(given) == 1:
        return index_select(call, x, *given[0])
    if len(given) == 2 and isinstance(given[0][1], RowOrder) and is_batch(x.size(given[0][0])):
        return of_each_row(call, x, *given[1])
    first, count = given[0][0], len(given)
    if [d for d, _ in given] != list(range(first, first + count)) or any(isinstance(i, RowOrder) for _, i in given):
        raise ConvertError(f"index must be of axes side by side, or of the batch and one axis, got {count} tensors")
    sizes = [x.spec.shape[x.frame_axis(d)] for d, _ in given]
    flat: Any = 0
    for (_, ids), n in zip(given, sizes, strict=True):
        own = call.tensor(ids)
        own = call.result(gathers.wrapped(call, own.value, n), own.axes)
        flat = own if flat == 0 else add(call, multiply(call, flat, n), own)
    fixed = call.emit.fixed(flat.value)
    whole = reshaped(call, x, (*x.sizes()[:first], math.prod(sizes), *x.sizes()[first + count :]))
    return index_select(call, whole, first, flat if fixed is None else call.array(flat, "indices").astype(np.int64))


def of_each_row(call: Call, x: Tensor, dim: int, ids: Any) -> Tensor:
    """The element of an axis (time, or of fixed size) that each row's id names, without the axis."""
    ids = call.tensor(ids)
    if ids.rank != 1 or not is_batch(ids.size(0)):
        raise ConvertError(f"indices must be one for each row, got {ids}")
    if not x.is_time(dim):
        return gathers.of_each(call, x, dim, ids)
    if x.size(dim) != size_of(STEPS):
        raise ConvertError(f"steps must be those of the input to be picked, got {describe(x, dim)}")
    chosen = pointwise(call, Binary("equal"), (unsqueeze(call, counter(call), 0), unsqueeze(call, ids, 1)))
    chosen = with_ones(call, chosen, range(2, x.rank))
    others = [d for d in range(x.rank) if d != dim]
    return reduce(call, where(call, chosen, x.permuted([others[0], dim, *others[1:]]), 0.0), "sum", [1])


def gather(call: Call, x: Any, dim: int, ids: Any, *_: Any) -> Tensor:
    """Elements of an axis, at one place for each of the others."""
    x, ids = call.tensor(x), call.tensor(ids)
    dim = call.axis(dim, x.rank)
    node = call.producer(ids.value)
    source = ids
    if node is not None and isinstance(node.op, Expand):
        source = call.result(node.inputs[0], ids.axes)
    wide = [d for d in range(source.rank) if d != dim and source.is_frame(d) and source.size(d) != 1]
    whole = all(ids.size(d) == (1 if d == dim else x.size(d)) for d in range(x.rank))
    if wide or not whole or source.size(dim) != 1 or not is_batch(source.size(0)):
        return gathers.gather_elements(call, x, ids, dim)
    flat = call.result(call.reshape(source.value, ()), [(BATCH,)])
    return unsqueeze(call, of_each_row(call, x, dim, flat), dim)


def _one_hot(call: Call, ids: Any, classes: int = -1) -> Tensor:
    ids = canonical(call, call.tensor(ids))
    if classes < 1:
        raise ConvertError(f"num_classes must be given, got {classes}")
    y = gathers.one_hot(call, ids, classes, ids.rank)
    return call.like(y, call.cast(y.value, "int"))


def _triangle(upper: bool) -> Handler:
    return lambda call, x, diagonal=0: gathers.triangle(call, call.tensor(x), diagonal, upper=upper)


# Elements that are written -----------------------------------------------------------------------


def _scatter(call: Call, x: Any, dim: int, ids: Any, source: Any, *, reduce: str = "none") -> Tensor:
    """`source` written to places along an axis, one for each element of constant indices."""
    x, places = call.tensor(x), call.array(ids, "index")
    new = call.tensor(source)
    new = call.like(new, call.cast(new.value, x.spec.dtype))
    if new.rank == 0:
        new = expand(call, new, places.shape)
    for d, n in enumerate(places.shape):
        new = sliced(call, new, d, 0, n)
    name = {"multiply": "mul", "sum": "add", "prod": "mul", "amax": "max", "amin": "min"}.get(reduce, reduce)
    places = scatters.element_places(gathers.fixed_shape(x), places, call.axis(dim, x.rank))
    return scatters.written(call, x, places, new, name)


def _scatter_add(call: Call, x: Any, dim: int, ids: Any, source: Any) -> Tensor:
    return _scatter(call, x, dim, ids, source, reduce="add")


def _scatter_reduce(
    call: Call, x: Any, dim: int, ids: Any, source: Any, reduce: str, *, include_self: bool = True
) -> Tensor:
    if not include_self:
        raise ConvertError("include_self must be True, got False: write to a tensor of the numbers that change nothing")
    return _scatter(call, x, dim, ids, source, reduce=reduce)


def _along(call: Call, x: Any, dim: int, ids: Any, source: Any, reduction: str = "none") -> Tensor:
    """`source`, which broadcasts, written to constant places along an axis."""
    x = canonical(call, call.tensor(x))
    dim, places = call.axis(dim, x.rank), call.array(ids, "index").reshape(-1)
    places = gathers.from_front(places, x.spec.shape[x.frame_axis(dim)])
    new = expand(call, source, [*x.sizes()[:dim], len(places), *x.sizes()[dim + 1 :]])
    new = call.like(new, call.cast(new.value, x.spec.dtype))
    return scatters.along(call, x, dim, places, canonical(call, new), reduction)


def _index_add(call: Call, x: Any, dim: int, ids: Any, source: Any, *, alpha: Any = 1) -> Tensor:
    return _along(call, x, dim, ids, source if alpha == 1 else multiply(call, source, alpha), "add")


def _index_put(call: Call, x: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Any:
    """x[..., i] = values: at constant places of one axis, or one number where a mask holds."""
    x = call.tensor(x)
    given = [(d, i) for d, i in enumerate(indices) if i is not None]
    if len(given) != 1:
        raise ConvertError(f"index that is written must be of one axis, got {len(given)} tensors")
    (dim, ids), new = given[0], call.tensor(values)
    mask = call.tensor(ids)
    if mask.spec.dtype == "bool" and dim == 0 and not accumulate and all(n == 1 for n in new.sizes()):
        chosen = with_ones(call, mask, range(mask.rank, x.rank))
        return where(call, chosen, call.result(call.cast(call.reshape(new.value, ()), x.spec.dtype), []), x)
    return _along(call, x, dim, ids, new, "add" if accumulate else "none")


# Tensors of a size -------------------------------------------------------------------------------


def full(call: Call, sizes: Sequence[Size], value: Any, kind: str) -> Any:
    """One number for every element of a shape that may have batch and time in it."""
    if not isinstance(value, bool | int | float):
        raise ConvertError(f"value must be a number, got {value}")
    dtype = {"float": np.float32, "int": np.int64, "bool": np.bool_}[kind]
    if not any(isinstance(n, Dim) for n in sizes):
        return np.full([int(n) for n in sizes], value, dtype)
    return expanded(call, call.lift(np.asarray(value, dtype)), sizes)


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
    return RowOrder() if is_batch(end) else _arange_from(call, 0, end, dtype=dtype)


def _arange_from(call: Call, start: Any, end: Any, step: Any = 1, *, dtype: Any = None) -> Tensor:
    """A number for every step, from the front or from behind; or for all but the first some."""
    found = numbered(call, start, end, step)
    typed: Tensor = found if dtype is None else to(call, found, dtype)
    return typed


TABLE: dict[str, Handler] = {
    "embedding": embedding, "index_select": index_select, "index.Tensor": index, "gather": gather, "one_hot": _one_hot,
    "tril": _triangle(upper=False), "triu": _triangle(upper=True),
    "scatter_add": _scatter_add, "scatter_reduce.two": _scatter_reduce, "index_put": _index_put,
    **dict.fromkeys(("scatter.src", "scatter.value", "scatter.reduce", "scatter.value_reduce"), _scatter),
    **dict.fromkeys(("index_copy", "index_fill.int_Scalar", "index_fill.int_Tensor"), _along), "index_add": _index_add,
    "zeros": _filled(0), "ones": _filled(1), "empty.memory_format": _filled(0), "full": _full,
    "zeros_like": _filled_like(0), "ones_like": _filled_like(1), "empty_like": _filled_like(0), "full_like": _full_like,
    "zero": _filled_like(0), "new_zeros": _new(0), "new_ones": _new(1), "new_empty": _new(0), "new_full": _new_full,
    "fill": _fill, "arange.default": _arange, "arange.start": _arange_from, "arange.start_step": _arange_from,
    "scalar_tensor": lambda call, x, *, dtype=None: np.asarray(x),
}  # fmt: skip
