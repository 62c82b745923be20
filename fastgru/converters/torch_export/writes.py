"""ATen's writes into a part of a tensor: a slice or an element of an axis of fixed size, or steps of time."""

from __future__ import annotations

from typing import Any

from ...errors import ConvertError
from ...graph import TimePad
from ..program import scatters
from ..program.sizes import Dim, difference
from ..program.time import ones, step_place
from ..program.values import Tensor, describe
from ..program.views import canonical, sliced, with_ones
from .call import Call, Handler
from .choices import where
from .joins import concatenate, select
from .shifts import behind, delayed, lifted, shortened
from .views import expand, unsqueeze

MOST_WRITTEN = 64  # steps of a fixed number that are written one by one


def _copy(call: Call, x: Any, source: Any, *_: Any) -> Tensor:
    """The numbers of `source`, which broadcasts, as those that `x` holds."""
    x, new = call.tensor(x), call.tensor(source)
    new = call.like(new, call.cast(new.value, x.spec.dtype))
    return new if new.sizes() == x.sizes() else expand(call, new, x.sizes())


def _slice_scatter(
    call: Call, x: Any, part: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Tensor:
    """`x` with a slice replaced."""
    x = canonical(call, call.tensor(x))
    dim = call.axis(dim, x.rank)
    new = _copy(call, x, part) if not call.tensor(part).rank else call.tensor(part)
    new = call.like(new, call.cast(new.value, x.spec.dtype))
    if new.sizes() == x.sizes() and start in (None, 0) and step == 1:
        return new
    if x.is_time(dim):
        return _steps_written(call, x, new, dim, start, end, step)
    if isinstance(start, Dim) or isinstance(end, Dim) or not x.is_frame(dim):
        raise ConvertError(f"slice that is written must be of time or of an axis of fixed size, got {describe(x, dim)}")
    places = range(*slice(start, end, step).indices(x.spec.shape[x.frame_axis(dim)]))
    new = canonical(call, expand(call, new, [*x.sizes()[:dim], len(places), *x.sizes()[dim + 1 :]]))
    if step != 1:
        return scatters.along(call, x, dim, call.array(list(places), "places"), new, "none")
    whole = x.spec.shape[x.frame_axis(dim)]
    cuts = [(0, places.start), (places.stop, whole)]
    before, behind_ = ([sliced(call, x, dim, *cut)] if cut[0] < cut[1] else [] for cut in cuts)
    return concatenate(call, [*before, new, *behind_], dim)


def _select_scatter(call: Call, x: Any, part: Any, dim: int, index: int) -> Tensor:
    """`x` with one element of an axis replaced."""
    x = call.tensor(x)
    dim = call.axis(dim, x.rank)
    if not isinstance(index, int):
        raise ConvertError(f"index of what is written must be fixed, got {index}")
    if x.is_time(dim):
        new = call.tensor(part)
        return _step_written(call, x, call.like(new, call.cast(new.value, x.spec.dtype)), dim, index)
    size = x.size(dim)
    if isinstance(size, Dim):
        raise ConvertError(f"element that is written must be of time or an axis of fixed size, got {describe(x, dim)}")
    return _slice_scatter(call, x, unsqueeze(call, part, dim), dim, index % size, index % size + 1)


# Steps of time -----------------------------------------------------------------------------------


def _steps_written(call: Call, x: Tensor, new: Tensor, dim: int, start: Any, end: Any, step: int) -> Tensor:
    """`x` with the steps from `start` to before `end` replaced by as many, or each by the same."""
    if step != 1:
        raise ConvertError(f"steps that are written must be one behind the other, got every {step}th")
    first, last = step_place(call, x, dim, start, 0), step_place(call, x, dim, end, None)
    if first is None:
        raise ConvertError(f"slice of time that is written must have a step, got {start}:{end}")
    if new.is_time(dim) and not new.spec.time:  # the same at each
        return where(call, _between(call, x, dim, first, last), _row_of(call, new, dim), x)
    if new.is_time(dim):
        return _sequence_written(call, x, new, dim, first, -(last or 0))
    count = new.size(dim)
    if not isinstance(count, int) or count > MOST_WRITTEN:
        raise ConvertError(f"steps that are written must be at most {MOST_WRITTEN}, or those of time, got {count}")
    for i in range(count):
        x = _step_written(call, x, select(call, new, dim, i), dim, first + i)
    return x


def _sequence_written(call: Call, x: Tensor, new: Tensor, dim: int, before: int, after: int) -> Tensor:
    """`x` with all but its first and last steps replaced by those of a sequence."""
    apart = difference(x.size(dim), new.size(dim))
    if before < 0 or after < 0 or apart != before + after:
        raise ConvertError(
            f"steps that are written must be as many as there are between the first {before} and the last {after} of "
            f"{describe(x, dim)}, got {new.size(dim)}"
        )
    new = canonical(call, call.timed(new))
    pad = TimePad(before, after)
    value = call.cast(call.add(pad, call.cast(new.value, "float")), x.spec.dtype)
    axes = [x.axes[dim] if a == dim else axis for a, axis in enumerate(new.axes)]
    flag = call.cast(call.add(pad, ones(call, new.value)), "bool")
    return where(call, _flags(call, x, dim, flag), call.result(value, axes), x)


def _row_of(call: Call, new: Tensor, dim: int) -> Tensor:
    """A value that is the same at each step, with an axis of size 1 for them."""
    return unsqueeze(call, call.result(new.value, [a for i, a in enumerate(new.axes) if i != dim]), dim)


def _step_written(call: Call, x: Tensor, new: Tensor, dim: int, index: int) -> Tensor:
    """`x` with one step replaced, which is counted from the first, or from the last by a negative number."""
    own = canonical(call, new)
    first = lifted(call, own.value)
    if first is not None and first.length == x.size(dim) and first.place <= index:
        axes = list(own.axes)
        axes.insert(dim, x.axes[dim])
        new = call.result(delayed(call, first.sequence, index - first.place), axes)
    else:
        new = unsqueeze(call, new, dim)
    return where(call, _between(call, x, dim, index, index + 1 or None), new, x)


def _between(call: Call, x: Tensor, dim: int, first: int, last: int | None) -> Tensor:
    """True at the steps from one to before another, each counted from the first or, if negative, from the end."""
    sequence = call.timed(x).value
    flags = [_from(call, sequence, first)] if first else []
    if last is not None:
        flags.append(call.unary("not", _from(call, sequence, last)))
    if not flags:
        raise ConvertError("steps that are written must be some of those there are, got all")
    return _flags(call, x, dim, flags[0] if len(flags) == 1 else call.binary("and", *flags))


def _from(call: Call, sequence: str, place: int) -> str:
    """True from a step on, which is counted from the first or, if negative, from the end."""
    if place > 0:
        return behind(call, sequence, place)
    rest = call.add(TimePad(0, -place), shortened(call, ones(call, sequence), 0, -place))
    return call.unary("not", call.cast(rest, "bool"))


def _flags(call: Call, x: Tensor, dim: int, flag: str) -> Tensor:
    """Truth values of the steps of `x`, with axes of size 1 behind them."""
    return with_ones(call, call.result(flag, [x.axes[dim]]), range(1, x.rank - dim))


TABLE: dict[str, Handler] = {
    "copy": _copy, "slice_scatter": _slice_scatter, "select_scatter": _select_scatter,
}  # fmt: skip
