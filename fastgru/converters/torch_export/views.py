"""ATen's views: what moves, relabels or repeats axes and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ...errors import ConvertError
from ...graph import Expand, Reverse, Tile
from ..tensors.values import BATCH, Atom, Axis, Dim, Size, Tensor, describe, is_time, product
from ..tensors.views import in_order, renumbered, reshaped, sliced, view, with_ones, without
from .call import Call, Handler
from .time import unfolded


def reshape(call: Call, x: Any, shape: Sequence[Size]) -> Tensor:
    """Another shape of the same elements."""
    own = call.tensor(x)
    return own if tuple(shape) == own.sizes() else reshaped(call, _with_grouped_steps(call, own, shape), list(shape))


def _with_grouped_steps(call: Call, x: Tensor, shape: Sequence[Size]) -> Tensor:
    """`x` with every n steps as one of a frame with n of them, where the new shape has an n-th of the steps."""
    own = [a for axis in x.axes for a in axis if is_time(a)]
    new = [s for n in shape if isinstance(n, Dim) for s in n.symbols if is_time(s)]
    count = call.session.sizes.parts(str(own[0]), new[0]) if own and new and own != new else None
    if count is None:
        return x
    frame = call.shape(x.value)
    value = unfolded(call, call.reshape(call.timed(x).value, (1, prod(frame))), count, count, 1, (0, 0))
    parted: dict[Atom, tuple[Atom, ...]] = {
        own[0]: (new[0], 0),
        BATCH: (BATCH,),
        **{i: (i + 1,) for i in range(len(frame))},
    }
    axes = [tuple(part for atom in axis for part in parted[atom]) for axis in x.axes]
    return call.result(call.reshape(value, (count, *frame)), axes)


def _flatten(call: Call, x: Any, start: int = 0, end: int = -1) -> Tensor:
    x = call.tensor(x)
    start, end = call.axis(start, x.rank), call.axis(end, x.rank)
    sizes = list(x.sizes())
    return reshape(call, x, [*sizes[:start], product(sizes[start : end + 1]), *sizes[end + 1 :]])


def _unflatten(call: Call, x: Any, dim: int, sizes: Sequence[Size]) -> Tensor:
    x = call.tensor(x)
    own, dim = list(x.sizes()), call.axis(dim, x.rank)
    return reshape(call, x, [*own[:dim], *sizes, *own[dim + 1 :]])


def permute(call: Call, x: Any, dims: Sequence[int]) -> Tensor:
    """Axes in another order."""
    own = call.tensor(x)
    return own.permuted([call.axis(d, own.rank) for d in dims])


def transpose(call: Call, x: Any, dim0: int, dim1: int) -> Tensor:
    """Two axes exchanged."""
    own = call.tensor(x)
    order = list(range(own.rank))
    if order:
        a, b = call.axis(dim0, own.rank), call.axis(dim1, own.rank)
        order[a], order[b] = b, a
    return own.permuted(order)


def _transpose_last(call: Call, x: Any) -> Tensor:
    x = call.tensor(x)
    return transpose(call, x, -2, -1) if x.rank > 1 else x


def squeeze(call: Call, x: Any, dims: int | Sequence[int] | None = None) -> Tensor:
    """Without axes of size 1; others that are named stay."""
    x = call.tensor(x)
    return without(call, x, [a for a in call.axes(dims, x.rank) if x.rank and x.size(a) == 1])


def unsqueeze(call: Call, x: Any, dim: int) -> Tensor:
    """With an axis of size 1."""
    x = call.tensor(x)
    return with_ones(call, x, [call.axis(dim, x.rank + 1)])


def expand(call: Call, x: Any, sizes: Sequence[Size]) -> Tensor:
    """Axes of size 1 repeated; to batch or time they are relabelled, as a value may be the same at each."""
    x = call.tensor(x)
    new = len(sizes) - x.rank
    x = with_ones(call, x, list(range(new))) if new else x
    if any(len(axis) > 1 and x.size(i) == 1 for i, axis in enumerate(x.axes)):
        x = canonical(call, x)
    frame, axes, gone = list(x.spec.shape), list(x.axes), []
    for i, size in enumerate(sizes):
        if size == -1 or size == x.size(i):
            continue
        if x.size(i) != 1:
            raise ConvertError(f"axis {i} must be of size 1 to be expanded, got {describe(x, i)} for {size}")
        (own,) = axes[i]
        if isinstance(size, Dim):
            if size.factor != 1:
                raise ConvertError(f"axis {i} must become batch, time or a fixed size, got {size}")
            axes[i] = tuple(size.symbols)
            gone.append(own)
        else:
            frame[own] = int(size)
    value = x.value
    if tuple(frame) != x.spec.shape:
        value = call.add(Expand(tuple(frame)), value)
    kept = [i for i in range(len(frame)) if i not in gone]
    wide = call.result(value, x.axes)
    return call.result(view(call, wide, kept), renumbered(axes, kept))


def _expand_as(call: Call, x: Any, other: Any) -> Tensor:
    return expand(call, x, call.tensor(other).sizes())


def _repeat(call: Call, x: Any, repeats: Sequence[Size]) -> Tensor:
    """Copies side by side along every axis."""
    own = call.tensor(x)
    new = len(repeats) - own.rank
    own = with_ones(call, own, list(range(new))) if new else own
    symbolic = [i for i, n in enumerate(repeats) if isinstance(n, Dim)]
    if symbolic:
        own = expand(call, own, [n if i in symbolic else -1 for i, n in enumerate(repeats)])
    counts = [1] * len(own.spec.shape)
    for i, n in enumerate(repeats):
        if n != 1 and i not in symbolic:
            own = _single(call, own, i)
            counts = counts if len(counts) == len(own.spec.shape) else [1] * len(own.spec.shape)
            counts[own.frame_axis(i)] = int(n)
    return own if set(counts) <= {1} else call.result(call.add(Tile(tuple(counts)), own.value), own.axes)


def repeat_interleave(call: Call, x: Any, repeats: Any, dim: int | None = None, *, output_size: Any = None) -> Tensor:
    """Every element several times, one behind the other."""
    if not isinstance(repeats, int) or dim is None:
        raise ConvertError("repeats and dim must be numbers, got a tensor or none")
    x = call.tensor(x)
    dim = call.axis(dim, x.rank)
    wide = unsqueeze(call, x, dim + 1)
    wide = expand(call, wide, [repeats if i == dim + 1 else -1 for i in range(wide.rank)])
    return _flatten(call, wide, dim, dim + 1)


def _single(call: Call, x: Tensor, axis: int) -> Tensor:
    """`x` with one frame axis for an axis of several."""
    if x.is_frame(axis) or any(isinstance(a, str) for a in x.axes[axis]):
        return x
    return canonical(call, x)


def canonical(call: Call, x: Tensor) -> Tensor:
    """`x` with its frame axes in the order of its axes, and no two of them side by side within one axis."""
    x = in_order(call, x)
    shape: list[int] = []
    axes: list[Axis] = []
    for axis in x.axes:
        merged: list[Any] = []
        for atom in axis:
            if isinstance(atom, int) and merged and isinstance(merged[-1], int):
                shape[-1] *= x.spec.shape[atom]
            elif isinstance(atom, int):
                shape.append(x.spec.shape[atom])
                merged.append(len(shape) - 1)
            else:
                merged.append(atom)
        axes.append(tuple(merged))
    return call.result(call.reshape(x.value, shape), axes)


def flip(call: Call, x: Any, dims: Sequence[int]) -> Tensor:
    """Axes from the end; time too."""
    own = call.tensor(x)
    for dim in call.axes(dims, own.rank):
        if own.is_time(dim):
            own = call.result(call.add(Reverse(), call.timed(own).value), own.axes)
        else:
            own = _single(call, own, dim)
            own = sliced(call, own, dim, None, None, -1)
    return own


def halves(call: Call, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Both halves of an axis."""
    dim = call.axis(dim, x.rank)
    x = _single(call, x, dim)
    size = x.spec.shape[x.frame_axis(dim)]
    return sliced(call, x, dim, 0, size // 2), sliced(call, x, dim, size // 2, None)


def drop_axis(call: Call, x: Tensor, axis: int, index: int) -> Tensor:
    """One element of a frame axis, without the axis."""
    x = _single(call, x, axis)
    size = x.spec.shape[x.frame_axis(axis)]
    if not -size <= index < size:
        raise ConvertError(f"index must be within [{-size}, {size - 1}], got {index}")
    return without(call, sliced(call, x, axis, index % size, index % size + 1), [axis])


TABLE: dict[str, Handler] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_copy", "_reshape_alias"), reshape),
    **dict.fromkeys(("transpose.int", "swapaxes", "swapdims"), transpose), "t": _transpose_last, "mT": _transpose_last,
    "view_as": lambda call, x, other: reshape(call, x, call.tensor(other).sizes()),
    "flatten.using_ints": _flatten, "unflatten.int": _unflatten, "permute": permute, "permute_copy": permute,
    "numpy_T": lambda call, x: permute(call, x, range(call.tensor(x).rank)[::-1]),
    "squeeze": squeeze, "squeeze_copy": squeeze, "unsqueeze": unsqueeze, "unsqueeze_copy": unsqueeze, "expand": expand,
    "expand_copy": expand, "expand_as": _expand_as, "broadcast_to": expand, "repeat": _repeat, "tile": _repeat,
    "repeat_interleave.self_int": repeat_interleave, "flip": flip,
}  # fmt: skip
