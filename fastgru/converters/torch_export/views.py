"""ATen's views: what moves, relabels or repeats axes and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ConvertError
from ...graph import Framing
from ..program.padding import repeat, tiled
from ..program.sizes import BATCH, Atom, Dim, Size, product
from ..program.steps import Length
from ..program.time import flipped, framed
from ..program.values import Tensor
from ..program.views import canonical, expanded, reshaped, sliced, with_ones, without
from .call import Call, Handler


def reshape(call: Call, x: Any, shape: Sequence[Size]) -> Tensor:
    """Another shape of the same elements."""
    own = call.tensor(x)
    return own if tuple(shape) == own.sizes() else reshaped(call, _with_grouped_steps(call, own, shape), list(shape))


def _with_grouped_steps(call: Call, x: Tensor, shape: Sequence[Size]) -> Tensor:
    """`x` with every n steps as one of a frame with n of them, where the new shape has an n-th of the steps."""
    own = [a for axis in x.axes for a in axis if isinstance(a, Length)]
    new = [s for n in shape if isinstance(n, Dim) for s in n.symbols if isinstance(s, Length)]
    if not own or not new or not new[0].rate:
        return x
    count = int(own[0].rate / new[0].rate)
    if count < 2 or own[0] // count != new[0]:
        return x
    frame = call.shape(x.value)
    value = framed(call, call.timed(x).value, Framing(count, count))
    parted: dict[Atom, tuple[Atom, ...]] = {
        own[0]: (new[0], 0),
        BATCH: (BATCH,),
        **{i: (i + 1,) for i in range(len(frame))},
    }
    axes = [tuple(part for atom in axis for part in parted[atom]) for axis in x.axes]
    return call.result(value, axes)


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
    return expanded(call, x, [x.size(i - new) if n == -1 else n for i, n in enumerate(sizes)])


def _expand_as(call: Call, x: Any, other: Any) -> Tensor:
    return expand(call, x, call.tensor(other).sizes())


def _broadcast(call: Call, tensors: Sequence[Any]) -> list[Tensor]:
    """Tensors of the shape that they broadcast to."""
    shapes = [shape or call.tensor(x).sizes() for x, shape in zip(tensors, call.shapes, strict=True)]
    return [expand(call, x, shape) for x, shape in zip(tensors, shapes, strict=True)]


def _diagonal(call: Call, x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """Elements whose places along two axes differ by `offset`, as a last axis."""
    own = call.tensor(x)
    dim1, dim2 = call.axis(dim1, own.rank), call.axis(dim2, own.rank)
    own = canonical(call, own.permuted([*(d for d in range(own.rank) if d not in (dim1, dim2)), dim1, dim2]))
    last = own.rank - 1
    rows, columns = (own.spec.shape[own.frame_axis(d)] for d in (last - 1, last))
    first, count = (offset, min(rows, columns - offset)) if offset >= 0 else (0, min(rows + offset, columns))
    start = first + max(0, -offset) * columns
    flat = canonical(call, reshaped(call, own, (*own.sizes()[:-2], rows * columns)))
    return sliced(call, flat, last - 1, start, start + (count - 1) * (columns + 1) + 1, columns + 1)


def _repeat(call: Call, x: Any, repeats: Sequence[Size]) -> Tensor:
    """Copies side by side along every axis."""
    own = call.tensor(x)
    new = len(repeats) - own.rank
    own = with_ones(call, own, list(range(new))) if new else own
    symbolic = [i for i, n in enumerate(repeats) if isinstance(n, Dim)]
    if symbolic:
        own = expand(call, own, [n if i in symbolic else -1 for i, n in enumerate(repeats)])
    return tiled(call, own, [1 if isinstance(n, Dim) else int(n) for n in repeats])


def repeat_interleave(call: Call, x: Any, repeats: Any, dim: int | None = None, *, output_size: Any = None) -> Tensor:
    """Every element several times, one behind the other."""
    if not isinstance(repeats, int) or dim is None:
        raise ConvertError("repeats and dim must be numbers, got a tensor or none")
    x = call.tensor(x)
    return repeat(call, x, call.axis(dim, x.rank), repeats)


def _single(call: Call, x: Tensor, axis: int) -> Tensor:
    """`x` with one frame axis for an axis of several."""
    if x.is_frame(axis) or any(not isinstance(a, int) for a in x.axes[axis]):
        return x
    return canonical(call, x)


def flip(call: Call, x: Any, dims: Sequence[int]) -> Tensor:
    """Axes from the end; time too."""
    own = call.tensor(x)
    for dim in call.axes(dims, own.rank):
        own = flipped(call, own, dim)
    return own


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
    "diagonal": _diagonal, "diagonal_copy": _diagonal, "broadcast_tensors": _broadcast,
    "numpy_T": lambda call, x: permute(call, x, range(call.tensor(x).rank)[::-1]),
    "squeeze": squeeze, "squeeze_copy": squeeze, "unsqueeze": unsqueeze, "unsqueeze_copy": unsqueeze, "expand": expand,
    "expand_copy": expand, "expand_as": _expand_as, "broadcast_to": expand, "repeat": _repeat, "tile": _repeat,
    "repeat_interleave.self_int": repeat_interleave, "flip": flip,
}  # fmt: skip
