"""Elements taken at places that integers name: of an axis, of every row, of whole tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Binary, Embedding, Gather, Multiply, OneHot, Where
from .builder import Builder
from .lengths import of_rows
from .values import Array, Axis, Tensor, elements, room, symbols_of
from .views import agreed, canonical, in_order, joint, renumbered, reshaped, sliced, view, without


def embedding(b: Builder, table: Array, ids: Tensor) -> Tensor:
    """Return a row of a constant matrix for each id."""
    if ids.spec.dtype != "int":
        raise ConvertError(f"ids must be integers, got {ids.spec.dtype}")
    return b.result(b.add(Embedding(table), ids.value), [*ids.axes, (len(ids.spec.shape),)], ids.elem)


def at(b: Builder, x: Tensor, ids: Array, axis: int) -> Tensor:
    """Return the elements of an axis at constant places, a slice where they are evenly spaced."""
    n = x.spec.shape[x.frame_axis(axis)]
    places = from_front(ids, n).reshape(-1)
    if not places.size:
        raise ConvertError("indices must be some, got none")
    steps = set(np.diff(places).tolist())
    if len(steps) > 1 or steps & {0}:
        return taken(b, x, b.lift(places.reshape(ids.shape)), axis)
    step, start = (steps or {1}).pop(), int(places[0])
    stop = int(places[-1]) + (1 if step > 0 else -1)
    y = sliced(b, x, axis, start, None if stop < 0 else stop, step)
    if ids.ndim == 1:
        return y
    return (
        reshaped(b, y, (*y.sizes()[:axis], *ids.shape, *y.sizes()[axis + 1 :])) if ids.ndim else without(b, y, [axis])
    )


def from_front(ids: Array, sizes: int | Sequence[int]) -> Array:
    """Return constant indices, the last axis of which may be of several sizes, counted from the front.

    Raises
    ------
    ConvertError
        When one is not within its size.
    """
    bounds = np.asarray(sizes, dtype=np.int64)
    if ((ids < -bounds) | (ids >= bounds)).any():
        within = f"[{-sizes}, {sizes - 1}]" if isinstance(sizes, int) else f"the axes of {tuple(sizes)}"
        raise ConvertError(f"indices must be within {within}, got {ids.tolist()}")
    found: Array = np.where(ids < 0, ids + bounds, ids)
    return found


def taken(b: Builder, data: Tensor, ids: Tensor, axis: int) -> Tensor:
    """Return ``numpy.take`` along an axis of fixed size: the axes of the ids take the place of it."""
    data, ids = in_order(b, data), in_order(b, ids)
    if ids.spec.dtype == "bool":
        raise ConvertError("indices must be integers, got a mask: its number of elements is not known")
    if set(symbols_of(data.axes)) & set(symbols_of(ids.axes)):
        raise ConvertError(f"data and indices must not both have batch or time, got {data} and {ids}")
    frame, count = data.frame_axis(axis), len(ids.spec.shape)
    value = b.add(Gather(frame), data.value, ids.value)

    def moved(axes: Sequence[Axis], first: int, by: int) -> list[Axis]:
        return [tuple(a + by if isinstance(a, int) and a >= first else a for a in atoms) for atoms in axes]

    outer = moved(data.axes, frame + 1, count - 1)
    return b.result(value, [*outer[:axis], *moved(ids.axes, 0, frame), *outer[axis + 1 :]], data.elem)


def of_each(b: Builder, x: Tensor, axis: int, ids: Tensor) -> Tensor:
    """Return the element of an axis of fixed size that the id of each row names, without the axis."""
    x = canonical(b, x)
    frame = x.frame_axis(axis)
    value = b.add(Gather(frame), x.value, ids.value)
    kept = [n for n in range(len(x.spec.shape)) if n != frame]
    return b.result(value, renumbered([a for i, a in enumerate(x.axes) if i != axis], kept), x.elem)


# By the place in the data in C order -------------------------------------------------------------


def gather_elements(b: Builder, data: Tensor, ids: Tensor, axis: int) -> Tensor:
    """Return ``numpy.take_along_axis``; the other axes may be larger than those of the ids, batch and time in both."""
    data, ids = canonical(b, data), canonical(b, ids)
    if data.rank != ids.rank:
        raise ConvertError(f"indices must have the {data.rank} axes of the data, got {ids}")
    data.frame_axis(axis)
    open_axes = {i: agreed(f"axis {i}", [(data, data.axes[i]), (ids, ids.axes[i])])
                 for i in range(data.rank) if not (data.is_frame(i) and ids.is_frame(i))}  # fmt: skip
    if any(isinstance(a, int) for atoms in open_axes.values() for a in atoms):
        raise ConvertError(f"data and indices must have batch and time as axes of their own, got {data} and {ids}")
    fixed = [i for i in range(data.rank) if i not in open_axes]
    shape, wanted = data.spec.shape, ids.spec.shape
    grid = np.indices(wanted)
    strides = [elements(shape[k + 1 :]) for k in range(len(shape))]
    own = fixed.index(axis)
    base = sum((grid[k] * strides[k] for k in range(len(shape)) if k != own), np.zeros(wanted, np.int64))
    flat = b.add(Multiply(), wrapped(b, ids.value, shape[own]), b.number(strides[own], like=ids.value))
    flat = b.add(Add(), flat, b.constant(base, "int"))
    value = b.add(Gather(0), b.reshape(data.value, (elements(shape),)), flat)
    numbers = iter(range(len(fixed)))
    return b.result(value, [open_axes.get(i) or (next(numbers),) for i in range(data.rank)], data.elem)


def gather_nd(b: Builder, data: Tensor, ids: Tensor, batch: int = 0) -> Tensor:
    """Return blocks of fixed data that indices along the last axis of `ids` name, row by row of `batch` axes."""
    shape, wanted = fixed_shape(data), fixed_shape(ids)
    depth = wanted[-1]
    block = shape[batch + depth :]
    value = in_order(b, ids).value
    rank = len(wanted) - 1
    lead = np.arange(elements(shape[:batch]), dtype=np.int64).reshape(*shape[:batch], *[1] * (rank - batch))
    flat = b.constant(lead, "int")
    for i in range(depth):
        one = b.reshape(b.cut(value, rank, i, i + 1), wanted[:-1])
        flat = b.add(Multiply(), flat, b.number(shape[batch + i], like=flat))
        flat = b.add(Add(), flat, wrapped(b, one, shape[batch + i]))
    return picked(b, reshaped(b, data, (elements(shape[: batch + depth]), *block)), flat)


def picked(b: Builder, data: Tensor, flat: str) -> Tensor:
    """Return elements of fixed data by their places along its first axis."""
    y = b.add(Gather(0), in_order(b, data).value, flat)
    return b.result(y, [(i,) for i in range(len(b.shape(y)))], data.elem)


def wrapped(b: Builder, value: str, n: int) -> str:
    """Return computed indices counted from the front."""
    shifted = b.add(Add(), value, b.number(n, like=value))
    return b.where(b.binary("less", value, 0), shifted, value)


def fixed_shape(x: Tensor) -> tuple[int, ...]:
    """Return the shape of a value without batch and time."""
    return tuple(x.spec.shape[x.frame_axis(i)] for i in range(x.rank))


# Others ------------------------------------------------------------------------------------------


def one_hot(b: Builder, ids: Tensor, count: int, axis: int, off: float = 0.0, on: float = 1.0) -> Tensor:
    """Return a new axis of so many elements, `on` where the id says and `off` elsewhere."""
    rank = len(ids.spec.shape)
    y = b.add(OneHot(count, rank, on, off), b.cast(ids.value, "int"))
    axes = list(ids.axes)
    axes.insert(axis, (rank,))
    return b.result(y, axes, ids.elem)


def reversed_sequences(b: Builder, x: Tensor, lengths: Tensor, time: int, rows: int) -> Tensor:
    """Turn round the first `lengths` elements of an axis, row by row of another one, which is batch for steps."""
    if x.is_time(time):
        return b.like(x, b.turned(x.value, of_rows(b.emit, lengths, x.axes[rows], x.axes[time], b.name)))
    steps, count = (x.spec.shape[x.frame_axis(a)] for a in (time, rows))
    rest = [i for i in range(x.rank) if i not in (time, rows)]
    frames = [x.frame_axis(time), x.frame_axis(rows), *(a for i in rest for a in x.axes[i] if isinstance(a, int))]
    moved = view(b, x, frames)
    own = b.reshape(lengths.value, (1, count))
    step = b.constant(np.arange(steps).reshape(-1, 1), "int")
    mirrored = b.add(Binary("sub"), b.binary("sub", own, 1), step)
    place = b.add(Where(), b.add(Binary("less"), step, own), mirrored, step)
    flat = b.add(Multiply(), place, b.number(count, like=place))
    flat = b.add(Add(), flat, b.constant(np.arange(count), "int"))
    shape = b.shape(moved)
    y = b.add(Gather(0), b.reshape(moved, (steps * count, *shape[2:])), flat)
    return b.result(y, renumbered(x.axes, frames), x.elem)


def triangle(b: Builder, x: Tensor, offset: int, *, upper: bool) -> Tensor:
    """Return one triangle of the last two axes, zeros elsewhere."""
    rows, columns = (x.spec.shape[x.frame_axis(x.rank - i)] for i in (2, 1))
    room(rows, columns)
    whole = np.ones((rows, columns), bool)
    mask = np.triu(whole, offset) if upper else np.tril(whole, offset)
    zero = b.result(b.number(0, like=x.value), [])
    y = joint(b, Where(), b.lift(mask), x, zero)
    return b.result(y.value, y.axes, x.elem)
