"""Sequences moved along time: cut at their ends, later by some steps, behind values of single steps."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConvertError
from ...graph import Constant, Framing, TimePad, Where
from ..program.sizes import Size, difference, steps_in
from ..program.steps import STEPS
from ..program.time import framed, ones, passes, without_ends
from ..program.values import Axis, Tensor
from ..program.views import canonical
from .call import Call, First
from .views import expand


def lifted(call: Call, value: str) -> First | None:
    """The sequence that has a value as one of its first steps, where that is computed of such steps alone."""
    firsts = call.session.firsts
    if value in firsts:
        return firsts[value]
    node = call.producer(value)
    if node is None or call.spec(value).time or isinstance(node.op, Constant) or not passes(node.op):
        return None
    found = {v: lifted(call, v) for v in node.inputs if not _fixed(call, v)}
    known = {v: first for v, first in found.items() if first is not None}
    lengths = {first.length for first in known.values()}
    if len(known) < len(found) or len(lengths) != 1:
        return None
    place = max(first.place for first in known.values())
    later = {v: delayed(call, first.sequence, place - first.place) for v, first in known.items()}
    outputs = call.add_many(node.op, *(later.get(v, v) for v in node.inputs), name=node.name)
    length = next(iter(lengths))
    firsts.update((own, First(new, length, place)) for own, new in zip(node.outputs, outputs, strict=True))
    return firsts[value]


def _fixed(call: Call, value: str) -> bool:
    """True for a value that is computed of constants alone."""
    waiting, seen = [value], set[str]()
    while waiting:
        if (name := waiting.pop()) in seen or call.emit.fixed(name) is not None:
            continue
        seen.add(name)
        node = call.producer(name)
        if node is None or not node.inputs:
            return False
        waiting += node.inputs
    return True


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
        begin = like(call, start, whole)
        first = lifted(call, begin)
        apart = None if first is None else difference(first.length, length)
        if first is not None and apart is not None:  # of the steps of a sequence the first counts
            more = apart + i - first.place
            begin = shortened(call, first.sequence, first.place, max(0, more))
            begin = call.add(TimePad(0, -more), begin) if more < 0 else begin
        padded = call.add(TimePad(1, 0), whole.value)
        flag = call.cast(call.add(TimePad(1, 0), ones(call, whole.value)), "bool")
        whole = call.result(call.add(Where(), flag, padded, begin), whole.axes)
    axes = list(whole.axes)
    axes.insert(dim, (steps_in(length),))
    return call.result(whole.value, axes)


def begun(call: Call, value: str, length: Size, at: int) -> str:
    """A value that counts at the step `at` alone: as a sequence of so many steps, where it is one of the first."""
    first = lifted(call, value)
    more = None if first is None else difference(first.length, length)
    if first is None or more is None or more < 0 or first.place > at:
        return value
    return delayed(call, shortened(call, first.sequence, 0, more), at - first.place)


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
    kind = call.spec(value).dtype
    windows = framed(call, call.cast(value, "float"), Framing(steps + 1, 1, before=steps))
    return call.cast(call.reshape(call.cut(windows, 0, 0, 1), call.shape(value)), kind)


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
