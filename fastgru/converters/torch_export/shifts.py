"""Sequences moved along time: cut at their ends, later by some steps, behind values of single steps."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConvertError
from ...graph import Framing, TimePad, Where
from ..program.sizes import Size, difference, steps_in
from ..program.steps import STEPS
from ..program.time import framed, ones, without_ends
from ..program.values import Axis, Tensor
from ..program.views import canonical
from .call import Call
from .time import lifted
from .views import expand


def like(call: Call, x: Tensor, other: Tensor) -> str:
    """A value with the axes and the frame of another one."""
    x = canonical(call, x if x.sizes() == other.sizes() else expand(call, x, other.sizes()))
    if x.spec.dtype != "float" or (x.axes, x.spec.shape) != (other.axes, other.spec.shape):
        raise ConvertError(f"first step must be like those behind it, got {x} and {other}")
    return x.value


def starting_with(call: Call, x: Tensor, dim: int, starts: Sequence[Tensor], length: Size) -> Tensor:
    """A sequence, given without its axis of time, behind some values of one step each: then of `length` steps."""
    whole = canonical(call, x)
    for i, start in reversed(list(enumerate(starts))):
        begin, found = like(call, start, whole), None
        if (lift := lifted(call, begin)) is not None:
            more = difference(lift[1], length)
            found = None if more is None else (lift[0], more + i)
        if found is not None:  # of its steps the first counts
            sequence, more = found
            begin = shortened(call, sequence, 0, more) if more > 0 else call.add(TimePad(0, -more), sequence)
        padded = call.add(TimePad(1, 0), whole.value)
        flag = call.cast(call.add(TimePad(1, 0), ones(call, whole.value)), "bool")
        whole = call.result(call.add(Where(), flag, padded, begin), whole.axes)
    axes = list(whole.axes)
    axes.insert(dim, (steps_in(length),))
    return call.result(whole.value, axes)


def begun(call: Call, value: str, length: Size) -> str:
    """A value that counts at the first step alone: as a sequence of so many steps, where it begins one."""
    found = lifted(call, value)
    more = None if found is None else difference(found[1], length)
    return value if found is None or more is None or more < 0 else shortened(call, found[0], 0, more)


def behind(call: Call, value: str, steps: int) -> str:
    """True at all steps of a value but the first ones."""
    memo, key = call.emit.memo, ("behind", value, steps)
    if key not in memo:
        memo[key] = call.cast(delayed(call, ones(call, value), steps), "bool")
    return memo[key]


def delayed(call: Call, value: str, steps: int) -> str:
    """A value some steps later, behind zeros; the same where it has no time."""
    if not steps or not call.spec(value).time:
        return value
    windows = framed(call, value, Framing(steps + 1, 1, before=steps))
    return call.reshape(call.cut(windows, 0, 0, 1), call.shape(value))


def shortened(call: Call, value: str, first: int, last: int) -> str:
    """A value without its first and last steps."""
    if not first and not last:
        return value
    memo, key = call.emit.memo, ("shortened", value, first, last)
    if key not in memo:
        kind = call.spec(value).dtype
        axes: list[Axis] = [(STEPS,), *((i,) for i in range(len(call.shape(value))))]
        x = call.result(call.cast(value, "float"), axes)
        memo[key] = call.cast(without_ends(Call(call.name, call.session), x, 0, first, last).value, kind)
    return memo[key]
