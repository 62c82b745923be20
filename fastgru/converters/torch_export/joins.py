"""ATen's joins and parts: concatenation, stacking, slices, splits, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Concat, Pad, TimePad
from ..tensors.values import Dim, Size, Tensor, describe
from ..tensors.views import sliced, with_ones
from .call import Call, Handler
from .elementwise import kind
from .time import LARGEST, cut_steps, joined_steps, one_step
from .views import canonical, drop_axis, unsqueeze

PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def concatenate(call: Call, tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors one behind the other along an axis."""
    parts = [call.tensor(t) for t in tensors if not (isinstance(t, np.ndarray) and t.size == 0)]
    if len(parts) == 1:
        return parts[0]
    dim, to = call.axis(dim, parts[0].rank), kind(call, *parts)
    parts = [call.result(call.cast(x.value, to), x.axes) for x in (canonical(call, x) for x in parts)]
    if any(x.is_time(dim) for x in parts):
        return joined_steps(call, parts, dim)
    shapes = {tuple(_structure(x, dim)) for x in parts}
    if len(shapes) > 1:
        raise ConvertError(f"inputs must agree in all axes but {dim}, got {' and '.join(map(str, parts))}")
    axis = parts[0].frame_axis(dim)
    return call.result(call.add(Concat(axis), *(x.value for x in parts)), parts[0].axes)


def _structure(x: Tensor, dim: int) -> list[Any]:
    """What the axes are, but for the size of one."""
    return [
        None if i == dim else tuple(x.spec.shape[a] if isinstance(a, int) else a for a in axis)
        for i, axis in enumerate(x.axes)
    ]


def stack(call: Call, tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors side by side along a new axis."""
    parts = [call.tensor(t) for t in tensors]
    place = call.axis(dim, parts[0].rank + 1)
    return concatenate(call, [with_ones(call, x, [place]) for x in parts], place)


# Parts -------------------------------------------------------------------------------------------


def slice_(
    call: Call, x: Any, dim: int = 0, start: Size | None = None, end: Size | None = None, step: int = 1
) -> Tensor:
    """From `start` to before `end` along an axis."""
    own = call.tensor(x)
    dim = call.axis(dim, own.rank)
    start = 0 if start is None else start
    if start == 0 and step == 1 and (end is None or end == own.size(dim) or (isinstance(end, int) and end >= LARGEST)):
        return own
    if own.is_time(dim):
        return cut_steps(call, own, dim, start, end, step)
    if isinstance(start, Dim) or isinstance(end, Dim):
        raise ConvertError(f"slice of axis {dim} must be fixed, got {start}:{end} of {describe(own, dim)}")
    own = canonical(call, own)
    return sliced(call, own, dim, int(start), None if end is None else int(end), step)


def select(call: Call, x: Any, dim: int, index: Any) -> Tensor:
    """One element of an axis, without the axis."""
    x = call.tensor(x)
    dim = call.axis(dim, x.rank)
    if not isinstance(index, int):
        raise ConvertError(f"index must be fixed, got {index}")
    return one_step(call, x, dim, index) if x.is_time(dim) else drop_axis(call, x, dim, index)


def split(call: Call, x: Any, sizes: int | Sequence[int], dim: int = 0) -> list[Tensor]:
    """Consecutive parts of an axis."""
    x = canonical(call, call.tensor(x))
    dim = call.axis(dim, x.rank)
    whole = x.spec.shape[x.frame_axis(dim)]
    if isinstance(sizes, int):
        sizes = [min(sizes, whole - at) for at in range(0, whole, sizes)]
    ends = np.cumsum(sizes)
    return [sliced(call, x, dim, int(end - n), int(end)) for n, end in zip(sizes, ends, strict=True)]


def chunk(call: Call, x: Any, chunks: int, dim: int = 0) -> list[Tensor]:
    """At most so many parts of one size, the last of which may be smaller."""
    x = canonical(call, call.tensor(x))
    whole = x.spec.shape[x.frame_axis(call.axis(dim, x.rank))]
    return split(call, x, -(-whole // chunks), dim)


def tensor_split(call: Call, x: Any, sections: int, dim: int = 0) -> list[Tensor]:
    """Exactly so many parts, the first of which may be one larger."""
    x = canonical(call, call.tensor(x))
    whole = x.spec.shape[x.frame_axis(call.axis(dim, x.rank))]
    return split(call, x, [whole // sections + (i < whole % sections) for i in range(sections)], dim)


def unbind(call: Call, x: Any, dim: int = 0) -> list[Tensor]:
    """Every element of an axis."""
    x = canonical(call, call.tensor(x))
    dim = call.axis(dim, x.rank)
    return [drop_axis(call, x, dim, i) for i in range(x.spec.shape[x.frame_axis(dim)])]


def _slice_scatter(
    call: Call, x: Any, part: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Tensor:
    """`x` with a slice replaced."""
    x = canonical(call, call.tensor(x))
    dim = call.axis(dim, x.rank)
    new = call.tensor(part)
    if new.sizes() == x.sizes() and start in (None, 0):
        return new
    if step != 1 or isinstance(start, Dim) or isinstance(end, Dim) or not x.is_frame(dim):
        raise ConvertError(
            f"slice that is written must be of an axis of fixed size, with step 1, got {describe(x, dim)}"
        )
    whole = x.spec.shape[x.frame_axis(dim)]
    first, last, _ = slice(start, end).indices(whole)
    outside = [sliced(call, x, dim, *cut) for cut in ((0, first), (last, whole)) if cut[0] < cut[1]]
    return concatenate(call, [*outside[: first > 0], new, *outside[first > 0 :]], dim)


def _select_scatter(call: Call, x: Any, part: Any, dim: int, index: int) -> Tensor:
    x = call.tensor(x)
    dim = call.axis(dim, x.rank)
    size = x.size(dim)
    if isinstance(size, Dim):
        raise ConvertError(f"element that is written must be of an axis of fixed size, got {describe(x, dim)}")
    index %= size
    return _slice_scatter(call, x, unsqueeze(call, part, dim), dim, index, index + 1)


def _roll(call: Call, x: Any, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    if len(shifts) != len(dims):
        raise ConvertError("dims of roll must be given, got none")
    own = call.tensor(x)
    for shift, dim in zip(shifts, dims, strict=True):
        size = own.size(call.axis(dim, own.rank))
        if isinstance(size, Dim):
            raise ConvertError(f"axis {dim} must be of fixed size to be rolled, got {size}")
        if shift % size:
            parts = [
                sliced(call, own, call.axis(dim, own.rank), *cut)
                for cut in ((-(shift % size), None), (0, -(shift % size)))
            ]
            own = concatenate(call, parts, dim)
    return own


# Padding -----------------------------------------------------------------------------------------


def pad(call: Call, x: Any, widths: Sequence[int], mode: str = "constant", value: Any = None) -> Tensor:
    """Further elements around axes, the last first in `widths`; negative ones cut."""
    if mode not in PAD_MODES:
        raise ConvertError(f"mode must be one of {', '.join(PAD_MODES)}, got {mode!r}")
    if any(not isinstance(n, int) for n in widths):
        raise ConvertError(f"padding must be fixed, got {widths}")
    own = canonical(call, call.tensor(x))
    before, after = [0] * len(own.spec.shape), [0] * len(own.spec.shape)
    for i in range(len(widths) // 2):
        dim, sides = own.rank - 1 - i, (int(widths[2 * i]), int(widths[2 * i + 1]))
        if sides == (0, 0):
            continue
        if min(sides) < 0:
            own = slice_(call, own, dim, max(-sides[0], 0), min(sides[1], 0) or None)
            sides = max(sides[0], 0), max(sides[1], 0)
        if own.is_time(dim) and max(sides):
            own = _padded_steps(call, own, dim, sides, mode, float(value or 0))
        elif max(sides):
            before[own.frame_axis(dim)], after[own.frame_axis(dim)] = sides
    if not any(before) and not any(after):
        return own
    return call.result(
        call.add(Pad(tuple(before), tuple(after), PAD_MODES[mode], float(value or 0)), own.value), own.axes
    )


def _padded_steps(call: Call, x: Tensor, dim: int, sides: tuple[int, int], mode: str, value: float) -> Tensor:
    outside = {"constant": "value", "reflect": "reflect", "replicate": "edge"}.get(mode)
    if outside is None:
        raise ConvertError(f"padding over time must be constant, reflect or replicate, got {mode!r}")
    steps = call.steps(dim, f"{x.axes[dim][0]}+{sum(sides)}")
    padded = call.add(TimePad(*sides, value, outside), call.timed(x).value)
    return call.result(padded, [(steps,) if i == dim else axis for i, axis in enumerate(x.axes)])


def _pad_as(mode: str) -> Handler:
    return lambda call, x, widths: pad(call, x, widths, mode)


def _narrow(call: Call, x: Any, dim: int, start: int, length: int) -> Tensor:
    return slice_(call, x, dim, start, start + length)


def _hstack(call: Call, tensors: Sequence[Any]) -> Tensor:
    return concatenate(call, tensors, min(1, call.tensor(tensors[0]).rank - 1))


TABLE: dict[str, Handler] = {
    "cat": concatenate, "concat": concatenate, "concatenate": concatenate, "stack": stack, "hstack": _hstack,
    "slice.Tensor": slice_, "slice_copy": slice_, "narrow": _narrow, "select.int": select, "select_copy": select,
    "split": split, "split_with_sizes": split, "split_with_sizes_copy": split, "chunk": chunk,
    "tensor_split.sections": tensor_split, "unbind.int": unbind, "unbind_copy": unbind,
    "slice_scatter": _slice_scatter, "select_scatter": _select_scatter, "roll": _roll, "pad": pad,
    "constant_pad_nd": lambda call, x, widths, value=0: pad(call, x, widths, "constant", value),
    **{f"reflection_pad{n}d": _pad_as("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": _pad_as("replicate") for n in (1, 2, 3)},
}  # fmt: skip
