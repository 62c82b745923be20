"""Scan and Loop: over time a body is translated once, its states in State nodes; over a fixed size it is unrolled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Concat, Reverse, State
from ..tensors.emit import MOVES, Start
from ..tensors.recurrence import last_of, starting
from ..tensors.values import BATCH, Dim, Tensor, Unavailable, describe, is_symbolic, is_time, over_time
from ..tensors.views import in_order, renumbered, sliced, view, with_ones, without
from .call import Call

UNREACHED = 2**31 - 1  # a number of steps that stands for no limit
# Comparisons that are true of small numbers: whether the number comes first.
COMPARISONS = {"Less": True, "LessOrEqual": True, "Greater": False, "GreaterOrEqual": False}
MOST_UNROLLED = 1024  # iterations of a loop of fixed length
Body = Callable[[Sequence[Any]], list[Any]]  # the outputs of a body for values of its inputs


@dataclass(frozen=True)
class StepNumber:
    """The number of the step of a loop over `steps`, counted from `offset`, in an array of `rank` axes of size 1."""

    offset: int
    rank: int
    steps: str


@dataclass(frozen=True)
class Lasting:
    """A condition that holds until the last step."""


# Over time: values ---------------------------------------------------------------------------------


def refuse_mixed(values: Sequence[Any]) -> None:
    """Raise where a call reads a step of one value and all steps of another."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    if any(map(over_time, tensors)) and any(v.spec.time and not over_time(v) for v in tensors):
        raise ConvertError("loop must read one step of a sequence at each step, got a node that reads all of it")


def _step(call: Call, x: Tensor, axis: int, *, backward: bool = False) -> Tensor:
    """One step of a sequence, at every step."""
    value = call.add(Reverse(), x.value) if backward else x.value
    return call.result(value, [a for i, a in enumerate(x.axes) if i != axis], x.elem)


def _joined(call: Call, x: Tensor, axis: int, steps: str, *, backward: bool = False) -> Tensor:
    """All steps along an axis of time."""
    if over_time(x) or not x.spec.time:
        raise ConvertError(f"what a loop joins must be made anew at every step, got {x}")
    value = call.add(Reverse(), x.value) if backward else x.value
    axes = list(x.axes)
    axes.insert(call.axis(axis, x.rank + 1), (steps,))
    return call.result(value, axes, x.elem)


@dataclass
class _Held:
    """A state of a loop: its State node's value, and what the body reads."""

    value: str
    read: Tensor
    given: str | None = None  # the model's own state that it starts from


def _held(call: Call, initial: Any, rows: bool, number: int) -> _Held:
    """A state that starts from a value; with `rows` an axis of size 1 that comes first is the batch."""
    start = in_order(call, call.lift(initial))
    given = start.value if start.spec.time and _is_state(call, start.value) else None
    if start.spec.dtype != "float" or (start.spec.time and given is None):
        raise ConvertError(f"state of a loop must be float and start from a value without time, got {start.spec}")
    if rows:
        axis = next((i for i, a in enumerate(start.axes) if a != (BATCH,) and start.size(i) == 1), None)
        if axis is not None:
            kept = [a for a in range(len(start.spec.shape)) if (a,) != start.axes[axis]]
            axes = [(BATCH,) if i == axis else a for i, a in enumerate(start.axes)]
            start = call.result(view(call, start, kept), renumbered(axes, kept), start.elem)
    fixed = call.emit.fixed(start.value)
    begin = np.zeros(()) if given is not None else start.value if fixed is None else fixed
    value, read = starting(call.emit, begin, start.spec.shape, f"{call.name}.state{number}")
    return _Held(value, call.result(read, start.axes, start.elem), start.value if given is not None else None)


def _is_state(call: Call, value: str) -> bool:
    """Return True if a value is made of the model's own states by moves alone."""
    node = call.emit.producers.get(value)
    if node is None or not isinstance(node.op, (State, *MOVES)):
        return False
    return isinstance(node.op, State) or all(_is_state(call, v) for v in node.inputs)


def _run(call: Call, starts: Sequence[Any], others: Sequence[Any], body: Body) -> tuple[list[Tensor], list[Any]]:
    """Translate a body once: the states in which the loop ends, and what else the body gives at each step."""
    for rows in (False, True):  # a state of one row may be there for all
        held = [_held(call, s, rows, i) for i, s in enumerate(starts)]
        found = body([*(h.read for h in held), *others])
        broken = [v for v in found if isinstance(v, Unavailable)]
        if broken:
            return [], broken
        new = [in_order(call, call.lift(v)) for v in found[: len(held)]]
        fits = [(n.axes, n.spec) == (h.read.axes, h.read.spec) for n, h in zip(new, held, strict=True)]
        if all(fits):
            call.emit.feedback.update((h.value, n.value) for h, n in zip(held, new, strict=True))
            return _finals(call, held, new), found[len(held) :]
    wrong = fits.index(False)
    if not new[wrong].spec.time:
        raise ConvertError(f"state {wrong} of a loop must be made anew at every step, got one value for all of them")
    raise ConvertError(f"state {wrong} of a loop must keep its shape, got {held[wrong].read} and then {new[wrong]}")


def _finals(call: Call, held: Sequence[_Held], states: Sequence[Tensor]) -> list[Tensor]:
    found = []
    for i, (own, state) in enumerate(zip(held, states, strict=True)):
        final = last_of(call.emit, state.value, name=f"{call.name}.last{i}")
        if own.given is not None:
            call.emit.starts.append(Start(call.name, own.given, final))
        found.append(call.result(final, state.axes, state.elem))
    return found


# Scan ------------------------------------------------------------------------------------------------


def scan(call: Call, count: int, outputs: int, body: Body) -> list[Any]:
    """A Scan with `count` sequences, whose body has so many outputs."""
    if call.opset < 9:
        raise ConvertError(f"Scan must be of opset 9 or later, got {call.opset}")
    states = len(call.inputs) - count
    xs = [call.tensor(states + i) for i in range(count)]
    axes = [call.axis(a, x.rank) for a, x in zip(_list(call, "scan_input_axes", count), xs, strict=True)]
    turned = _list(call, "scan_input_directions", count)
    joins = outputs - states
    out_axes, out_turned = _list(call, "scan_output_axes", joins), _list(call, "scan_output_directions", joins)
    starts = [call.value(i) for i in range(states)]
    if all(x.is_time(a) for x, a in zip(xs, axes, strict=True)):
        steps = {x.axes[a] for x, a in zip(xs, axes, strict=True)}
        if len(steps) != 1:
            raise ConvertError(f"sequences must have one number of steps, got {sorted(map(str, steps))}")
        ((atom,),) = steps
        rows = [_step(call, x, a, backward=bool(b)) for x, a, b in zip(xs, axes, turned, strict=True)]
        new, found = _run(call, starts, rows, body)
        if len(found) != joins:
            return found
        made = [
            _joined(call, call.lift(v), a, str(atom), backward=bool(b))
            for v, a, b in zip(found, out_axes, out_turned, strict=True)
        ]
        return [*new, *made]
    lengths = {x.size(a) for x, a in zip(xs, axes, strict=True)}
    if len(lengths) != 1 or not all(x.is_frame(a) for x, a in zip(xs, axes, strict=True)):
        raise ConvertError(f"sequences must be over time or of one fixed size, got {[*map(describe, xs, axes)]}")

    def step(i: int, values: Sequence[Any]) -> list[Any]:
        n = int(next(iter(lengths)))
        parts = [
            without(call, sliced(call, x, a, n - 1 - i if b else i, n - i if b else i + 1), [a])
            for x, a, b in zip(xs, axes, turned, strict=True)
        ]
        return body([*values, *parts])

    values, lists = _unrolled(int(next(iter(lengths))), starts, step)
    if lists is None:
        return values
    made = [
        _stack(call, [call.lift(v) for v in (items[::-1] if b else items)], a)
        for items, a, b in zip(lists, out_axes, out_turned, strict=True)
    ]
    return [*values, *made]


def _list(call: Call, name: str, count: int) -> list[int]:
    """An attribute of one number for each of `count`, 0 where it is left out."""
    given = [int(n) for n in call.attr(name) or [0] * count]
    if len(given) != count:
        raise ConvertError(f"{name} must have {count} numbers, got {given}")
    return given


def _unrolled(
    count: int, starts: Sequence[Any], step: Callable[[int, Sequence[Any]], list[Any]]
) -> tuple[list[Any], list[list[Any]] | None]:
    """The states after `count` steps, and of every other output its value at each; None where a step fails."""
    if not 0 < count <= MOST_UNROLLED:
        raise ConvertError(f"loop over a fixed size must have 1 to {MOST_UNROLLED} steps, got {count}")
    values = list(starts)
    lists: list[list[Any]] = []
    for i in range(count):
        found = step(i, values)
        broken = [v for v in found if isinstance(v, Unavailable)]
        if broken:
            return broken, None
        values = found[: len(starts)]
        lists = lists or [[] for _ in found[len(starts) :]]
        for items, value in zip(lists, found[len(starts) :], strict=True):
            items.append(value)
    return values, lists


def _stack(call: Call, parts: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors side by side along a new axis."""
    place = call.axis(axis, parts[0].rank + 1)
    wide = [with_ones(call, in_order(call, x), [place]) for x in parts]
    if len({(x.axes, x.spec) for x in wide}) > 1:
        raise ConvertError(f"what a loop joins must keep its shape, got {' and '.join(map(str, wide[:2]))}")
    value = call.add(Concat(wide[0].frame_axis(place)), *(x.value for x in wide))
    return call.result(value, wide[0].axes, wide[0].elem)


# Loop ------------------------------------------------------------------------------------------------


def loop(call: Call, body: Body) -> list[Any]:
    """A Loop that runs for a number of steps that is known, or that of the model's time."""
    condition = call.optional(1, "condition")
    if condition is not None and (is_symbolic(condition) or not bool(np.all(condition))):
        raise ConvertError("condition of a loop must be true at its start, got another value")
    if not call.given(0):
        raise ConvertError("loop must have a number of steps (input 0), got none: it ends by a condition alone")
    count = call.array(0, "number of steps").reshape(-1)[0]
    starts = [call.value(i) for i in range(2, len(call.inputs))]
    if isinstance(count, Dim):
        if count.factor != 1 or len(count.symbols) != 1 or not is_time(count.symbols[0]):
            raise ConvertError(f"number of steps must be that of time or fixed, got {count}")
        return _over_time(call, count.symbols[0], starts, body)

    def step(i: int, values: Sequence[Any]) -> list[Any]:
        goes, *found = body([np.array(i, np.int64), np.array(True), *values])
        if isinstance(goes, Tensor) or (isinstance(goes, np.ndarray) and not goes.all() and i + 1 < int(count)):
            raise ConvertError("condition of a loop must hold until its last step, got one that is computed or ends it")
        return [goes, *found] if isinstance(goes, Unavailable) else found

    values, lists = _unrolled(int(count), starts, step)
    if lists is None:
        return values
    return [*values, *(_stack(call, [call.lift(v) for v in items], 0) for items in lists)]


def _over_time(call: Call, steps: str, starts: Sequence[Any], body: Body) -> list[Any]:
    counters = {i: counter for i, s in enumerate(starts) if (counter := _counter(s, steps)) is not None}
    floats = [s for i, s in enumerate(starts) if i not in counters]
    kept: list[Any] = []

    def inner(values: Sequence[Any]) -> list[Any]:
        own = iter(values)
        given = [counters[i] if i in counters else next(own) for i in range(len(starts))]
        goes, *found = body([StepNumber(0, 0, steps), np.array(True), *given])
        if isinstance(goes, Tensor) or (isinstance(goes, np.ndarray) and not goes.all()):
            raise ConvertError("condition of a loop over time must hold until the last step, got another")
        for i, counter in counters.items():
            if not isinstance(found[i], Unavailable) and found[i] != StepNumber(
                counter.offset + 1, counter.rank, steps
            ):
                raise ConvertError(f"integer state {i} of a loop over time must count its steps, got another value")
        kept[:] = [v for i, v in enumerate(found) if i not in counters]
        return kept if not isinstance(goes, Unavailable) else [goes]

    new, found = _run(call, floats, [], inner)
    if any(isinstance(v, Unavailable) for v in found):
        return found
    finals = iter(new)
    results: list[Any] = [
        Unavailable("the number of steps that a loop counts is only known when the model runs")
        if i in counters
        else next(finals)
        for i in range(len(starts))
    ]
    return [*results, *(_joined(call, call.lift(v), 0, steps) for v in found)]


def _counter(start: Any, steps: str) -> StepNumber | None:
    """A state that may count steps: an integer of one element."""
    if not isinstance(start, np.ndarray) or is_symbolic(start) or start.size != 1 or start.dtype.kind not in "iu":
        return None
    return StepNumber(int(start.reshape(-1)[0]), start.ndim, steps)


# Uses of the number of a step ----------------------------------------------------------------------


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
        return [StepNumber(number.offset, rank, number.steps)]
    if (kind in ("Add", "Sub") and isinstance(values[0], StepNumber)) or kind == "Add":
        other = values[1] if isinstance(values[0], StepNumber) else values[0]
        if isinstance(other, np.ndarray) and other.size == 1 and not is_symbolic(other):
            by = int(other.reshape(-1)[0])
            offset = number.offset + (by if kind == "Add" else -by)
            return [StepNumber(offset, max(number.rank, other.ndim), number.steps)]
    if kind in COMPARISONS and _lasts(kind, values):
        return [Lasting()]
    if kind == "Gather" and values[1] is number and isinstance(values[0], Tensor):
        return [_gathered(call, values[0], number)]
    raise ConvertError(
        "number of the step must be counted, compared with the number of steps, or an index of time, got it read by "
        f"{kind}"
    )


def _lasts(kind: str, values: Sequence[Any]) -> bool:
    """Return True if a comparison with the number of steps, or with what no number reaches, ends no loop early."""
    first, number, other = COMPARISONS[kind], *values
    if not first:
        number, other = other, number
    if not isinstance(number, StepNumber) or not isinstance(other, np.ndarray) or other.size != 1:
        return False
    limit = other.reshape(-1)[0]
    if isinstance(limit, Dim):  # i + offset < T asks for step i + 1, of which there are up to T - 1
        return limit == Dim(1, (number.steps,)) and number.offset <= 1 + kind.endswith("OrEqual")
    return not is_symbolic(other) and int(limit) >= UNREACHED


def _gathered(call: Call, x: Tensor, number: StepNumber) -> Tensor:
    axis = call.axis(call.attr("axis", 0), x.rank)
    if not x.is_time(axis) or number.offset:
        at = f"step t{number.offset:+d}" if number.offset else describe(x, axis)
        raise ConvertError(f"loop over time must read step t of a sequence as long, got {at}")
    row = _step(call, x, axis)
    return with_ones(call, row, [axis + i for i in range(number.rank)])


def lasting(call: Call) -> list[Any]:
    """The output of a node that reads whether a loop goes on."""
    others = [v for v in call.inputs if not isinstance(v, Lasting)]
    if call.node.op_type in ("And", "Identity", "Cast", "Squeeze", "Reshape", "Unsqueeze") and all(
        isinstance(v, np.ndarray) and (v.dtype != bool or v.all()) for v in others
    ):
        return [Lasting()]
    raise ConvertError(f"condition of a loop must only end it, got it read by {call.node.op_type}")
