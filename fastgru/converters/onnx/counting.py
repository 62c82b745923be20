"""The number of the step of a loop over time, and what a body does with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program.sizes import Dim, difference, size_of
from ..program.steps import Length
from ..program.time import without_ends
from ..program.values import Tensor, describe, is_symbolic
from ..program.views import with_ones
from .call import Call

UNREACHED = 2**31 - 1  # a number of steps that stands for no limit
# Comparisons that are true of small numbers: whether the number comes first.
COMPARISONS = {"Less": True, "LessOrEqual": True, "Greater": False, "GreaterOrEqual": False}


@dataclass(frozen=True)
class StepNumber:
    """A number that follows from that of the step of a loop over `steps`, in an array of `rank` axes of size 1.

    It is t + offset, with `back` offset - t; with `end` the number of steps is added.
    """

    offset: int
    rank: int
    steps: Length
    back: bool = False
    end: bool = False

    @property
    def is_last_first(self) -> bool:
        """True of the steps from the last to the first."""
        return self.back and self.end and self.offset == -1

    def plus(self, other: Any, sign: int = 1) -> StepNumber | None:
        """This and `sign` times a number or a number of steps; None where it is no such number."""
        if not isinstance(other, np.ndarray) or other.size != 1:
            return None
        given, rank = other.reshape(-1)[0], max(self.rank, other.ndim)
        if not isinstance(given, Dim):
            return replace(self, offset=self.offset + sign * int(given), rank=rank)
        more = difference(given, size_of(self.steps))
        if more is None or self.end == (sign > 0):
            return None
        return replace(self, offset=self.offset + sign * more, rank=rank, end=sign > 0)

    def negated(self) -> StepNumber | None:
        """Its negative; None where that counts down the number of steps."""
        return None if self.end else replace(self, offset=-self.offset, back=not self.back)

    def __str__(self) -> str:
        known = "T" * self.end + ("-t" if self.back else "+t" if self.end else "t")
        return known + (f"{self.offset:+d}" if self.offset else "")


@dataclass(frozen=True)
class Lasting:
    """A condition that holds until the last step."""


def one_step(call: Call, x: Tensor, axis: int, *, backward: bool = False) -> Tensor:
    """One step of a sequence, at every step."""
    value = call.turned(x.value) if backward else x.value
    return call.result(value, [a for i, a in enumerate(x.axes) if i != axis], x.elem)


def by_number(call: Call) -> list[Any]:
    """The outputs of a node that reads the number of the step.

    Raises
    ------
    ConvertError
        When it does more than count, compare with the number of steps, or index time.
    """
    kind = call.node.op_type
    values: Sequence[Any] = call.inputs
    number = next(v for v in values if isinstance(v, StepNumber))
    if kind in ("Identity", "Cast"):
        return [number]
    if kind in ("Unsqueeze", "Squeeze", "Reshape"):
        axes = call.ints("axes", 1, 13) if kind != "Reshape" else list(call.array(1, "shape").reshape(-1))
        rank = (
            len(axes or [])
            if kind == "Reshape"
            else number.rank + (1 if kind == "Unsqueeze" else -1) * max(1, len(axes or [0]))
        )
        return [replace(number, rank=rank)]
    if kind in ARITHMETIC and (found := ARITHMETIC[kind](number, [v for v in values if v is not number], values)):
        return [found]
    if kind in COMPARISONS and _lasts(kind, values):
        return [Lasting()]
    if kind == "Gather" and values[1] is number and isinstance(values[0], Tensor):
        return [_gathered(call, values[0], number)]
    if kind == "Slice" and isinstance(values[0], Tensor):
        return [_cut(call)]
    raise ConvertError(
        "number of the step must be counted, compared with the number of steps, or an index of time, got it read by "
        f"{kind}"
    )


def _multiplied(number: StepNumber, others: Sequence[Any], _: Sequence[Any]) -> StepNumber | None:
    factor: Any = others[0] if others else None
    if not isinstance(factor, np.ndarray) or factor.size != 1 or is_symbolic(factor):
        return None
    by = int(factor.reshape(-1)[0])
    made = number if by == 1 else number.negated() if by == -1 else None
    return None if made is None else replace(made, rank=max(number.rank, factor.ndim))


def _subtracted(number: StepNumber, others: Sequence[Any], values: Sequence[Any]) -> StepNumber | None:
    if not others:
        return None
    taken = values[0] is not number
    made = number.negated() if taken else number
    return None if made is None else made.plus(others[0], 1 if taken else -1)


# Of each operator: the function of the number of the step, of its other operands, and of all in their order.
ARITHMETIC: dict[str, Callable[[StepNumber, Sequence[Any], Sequence[Any]], StepNumber | None]] = {
    "Add": lambda number, others, _: number.plus(others[0]) if others else None,
    "Sub": _subtracted,
    "Mul": _multiplied,
    "Neg": lambda number, *_: number.negated(),
}


def _lasts(kind: str, values: Sequence[Any]) -> bool:
    """Return True if a comparison with the number of steps, or with what no number reaches, ends no loop early."""
    first, number, other = COMPARISONS[kind], *values
    if not first:
        number, other = other, number
    if not isinstance(number, StepNumber) or not isinstance(other, np.ndarray) or other.size != 1:
        return False
    if number.back or number.end:
        return False
    limit = other.reshape(-1)[0]
    if isinstance(limit, Dim):  # i + offset < T asks for step i + 1, of which there are up to T - 1
        return limit == size_of(number.steps) and number.offset <= 1 + kind.endswith("OrEqual")
    return not is_symbolic(other) and int(limit) >= UNREACHED


def _gathered(call: Call, x: Tensor, number: StepNumber) -> Tensor:
    axis = call.axis(call.attr("axis", 0), x.rank)
    return with_ones(call, step_of(call, x, axis, number), [axis + i for i in range(number.rank)])


def step_of(call: Call, x: Tensor, axis: int, number: StepNumber) -> Tensor:
    """The step of a value that has the number of a loop's own, counted from the first or the last one."""
    rest = difference(x.size(axis), size_of(number.steps)) if x.is_time(axis) else None
    if rest and not number.back and not number.end and 0 <= number.offset <= rest:
        x = without_ends(call, x, axis, number.offset, rest - number.offset)
        number = replace(number, offset=0)
    own = StepNumber(0, number.rank, number.steps)
    last_first = number.is_last_first and x.axes[axis] == (number.steps,)
    if not x.is_time(axis) or (number != own and not last_first):
        at = f"step {number}" if x.is_time(axis) else describe(x, axis)
        raise ConvertError(f"loop over time must read step t of a sequence as long, got {at} (or T-1-t, from its end)")
    return one_step(call, x, axis, backward=number.back)


def _cut(call: Call) -> Tensor:
    """A slice from step t to the next one, as an axis of one step."""
    values: Sequence[Any] = call.inputs
    x, start, end = call.tensor(0), values[1], values[2]
    axes, by = call.optional(3, "axes"), call.optional(4, "steps")
    single = isinstance(start, StepNumber) and end == replace(start, offset=start.offset + 1)
    if not single or (axes is not None and axes.size != 1) or (by is not None and np.any(by != 1)):
        raise ConvertError("slice by the number of the step must be of one step, got another")
    axis = call.axis(0 if axes is None else int(axes.reshape(-1)[0]), x.rank)
    return with_ones(call, step_of(call, x, axis, start), [axis])


def lasting(call: Call) -> list[Any]:
    """The output of a node that reads whether a loop goes on."""
    others = [v for v in call.inputs if not isinstance(v, Lasting)]
    if call.node.op_type in ("And", "Identity", "Cast", "Squeeze", "Reshape", "Unsqueeze") and all(
        isinstance(v, np.ndarray) and (v.dtype != bool or v.all()) for v in others
    ):
        return [Lasting()]
    raise ConvertError(f"condition of a loop must only end it, got it read by {call.node.op_type}")
