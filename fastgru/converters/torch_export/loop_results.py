"""The results of a loop over time: the values of its steps, joined along an axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx

from ...errors import ConvertError
from ..program.sizes import Size
from ..program.values import Unavailable
from .call import Call
from .loop_body import Step
from .shifts import starting_with
from .unrolled import Previous

MOST_FIRST = 8  # values that are joined before those of a loop


def all_steps(call: Call, nodes: Sequence[fx.Node], values: Sequence[Any], dim: int, length: Size) -> Any:
    """Join the results of a loop, one value for each step, along an axis of time.

    They are those of a call at steps one behind the other, in order or from the last one back. Others may come first:
    where it is what a state starts from, that is the state before each step.

    Raises
    ------
    ConvertError
        When the values are others.
    """
    at = len(values)
    while at and isinstance(values[at - 1], Step) and _follows(values[at - 1 :]):
        at -= 1
    own = values[at:]
    if not own or at > MOST_FIRST:
        raise ConvertError("what is joined must be one value of every step, in order, got others")
    body, number = own[0].body, own[0].call
    step = own[1].number - own[0].number if len(own) > 1 else 1
    numbers = range(own[0].number, own[-1].number + step, step)
    state = body.states.get(Previous(number, (nodes[0],))) if at == 1 else None
    if state is not None and list(numbers) == list(range(len(body.loop.steps) - 1)):
        return body.joined(state, dim, range(len(body.loop.steps)), length)
    if not at:
        return body.joined(body.made[number], dim, numbers, length)
    inner = body.joined(body.made[number], dim, numbers, length)
    missing = next((v for v in (inner, *values[:at]) if isinstance(v, Unavailable)), None)
    if missing is not None:
        return missing
    starts = [call.tensor(v.body.single(v) if isinstance(v, Step) else v) for v in values[:at]]
    if body.ahead == at and list(numbers) == list(range(len(body.loop.steps))) and length == body.base:
        return body.in_front(body.made[number], dim, starts, length)
    row = call.result(inner.value, [axis for i, axis in enumerate(inner.axes) if i != dim])
    return starting_with(call, row, dim, starts, length)


def _follows(steps: Sequence[Any]) -> bool:
    """Return True if the first of some steps comes just before the next, as that before the one behind it."""
    if len(steps) == 1:
        return True
    a, b = steps[:2]
    way = b.number - a.number
    same = isinstance(b, Step) and (a.body, a.call) == (b.body, b.call) and abs(way) == 1
    return same and (len(steps) == 2 or steps[2].number - b.number == way)
