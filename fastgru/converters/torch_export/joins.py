"""ATen's joins and parts: concatenation, stacking, slices, splits, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program import padding
from ..program.joins import joined, parts_of
from ..program.joins import split as parted
from ..program.sizes import Dim, Size
from ..program.time import BEYOND
from ..program.values import Tensor, describe
from ..program.views import canonical, sliced, with_ones
from .call import Call, Handler
from .elementwise import kind
from .time import cut_steps, joined_steps, one_step
from .views import drop_axis

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
    return joined(call, parts, dim)


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
    if start == 0 and step == 1 and (end is None or end == own.size(dim) or (isinstance(end, int) and end >= BEYOND)):
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
    return parted(call, x, parts_of(whole, sizes) if isinstance(sizes, int) else sizes, dim)


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
    own = call.tensor(x)
    sides = {own.rank - 1 - i: (widths[2 * i], widths[2 * i + 1]) for i in range(len(widths) // 2)}
    return padding.pad(call, own, sides, PAD_MODES[mode], float(value or 0))


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
    "roll": _roll, "pad": pad,
    "constant_pad_nd": lambda call, x, widths, value=0: pad(call, x, widths, "constant", value),
    **{f"reflection_pad{n}d": _pad_as("reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": _pad_as("replicate") for n in (1, 2, 3)},
}  # fmt: skip
