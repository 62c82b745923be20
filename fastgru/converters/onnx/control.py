"""Scan and Loop: over time a body is translated once, its states in State nodes; over a fixed size it is unrolled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Concat, State
from ..program.emit import MOVES, Start
from ..program.recurrence import last_of, starting
from ..program.sizes import Dim, steps_in
from ..program.steps import Length
from ..program.values import Tensor, Unavailable, describe, is_symbolic, over_time
from ..program.views import expanded, in_order, sliced, with_ones, without
from .call import Call
from .counting import StepNumber, one_step
from .lists import Growing, Grown, Listed, Steps

MOST_SHAPES = 3  # that a state is tried in: as it starts, and as steps broadcast it
MOST_UNROLLED = 1024  # iterations of a loop of fixed length
Body = Callable[[Sequence[Any]], list[Any]]  # the outputs of a body for values of its inputs


# Over time: values ---------------------------------------------------------------------------------


def refuse_mixed(values: Sequence[Any]) -> None:
    """Raise where a call reads a step of one value and all steps of another."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    if any(map(over_time, tensors)) and any(v.spec.time and not over_time(v) for v in tensors):
        raise ConvertError("loop must read one step of a sequence at each step, got a node that reads all of it")


def joined_steps(call: Call, x: Tensor, axis: int, steps: Length, *, backward: bool = False) -> Tensor:
    """All steps along an axis of time."""
    if over_time(x) or not x.spec.time:
        raise ConvertError(f"what a loop joins must be made anew at every step, got {x}")
    value = call.turned(x.value) if backward else x.value
    axes = list(x.axes)
    axes.insert(call.axis(axis, x.rank + 1), (steps,))
    return call.result(value, axes, x.elem)


@dataclass
class _Held:
    """A state of a loop: its State node's value, and what the body reads."""

    value: str
    read: Tensor
    given: str | None = None  # the model's own state that it starts from


def _held(call: Call, initial: Any, number: int, like: Tensor | None) -> _Held:
    """A state that starts from a value, which is broadcast to the shape of `like`."""
    start = in_order(call, call.lift(initial))
    given = start.value if start.spec.time and _is_state(call, start.value) else None
    if start.spec.dtype != "float" or (start.spec.time and given is None):
        raise ConvertError(f"state of a loop must be float and start from a value without time, got {start.spec}")
    rows = call.emit.fixed(start.value) if call.emit.alike else None
    if rows is not None and rows.ndim and np.all(rows == rows[:1]):
        start = in_order(call, call.lift(rows[:1]))
    if like is not None and (start.axes, start.spec.shape) != (like.axes, like.spec.shape):
        start = in_order(call, expanded(call, start, like.sizes()))
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
    shapes: list[Tensor | None] = [None] * len(starts)
    for _ in range(MOST_SHAPES):  # a state of one row may be there for all
        held = [_held(call, s, i, like) for i, (s, like) in enumerate(zip(starts, shapes, strict=True))]
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
        if not all(map(_widens, new, (h.read for h in held))):
            break
        shapes = [*new]
    if not new[wrong].spec.time:
        raise ConvertError(f"state {wrong} of a loop must be made anew at every step, got one value for all of them")
    raise ConvertError(f"state {wrong} of a loop must keep its shape, got {held[wrong].read} and then {new[wrong]}")


def _widens(new: Tensor, old: Tensor) -> bool:
    """Return True if a value is as another one is, or as that is after broadcasting."""
    sizes = [*[1] * (new.rank - old.rank), *old.sizes()]
    return (
        new.rank >= old.rank
        and new.spec.time
        and not over_time(new)
        and all(n in (1, m) for n, m in zip(sizes, new.sizes(), strict=True))
    )


def _finals(call: Call, held: Sequence[_Held], states: Sequence[Tensor]) -> list[Tensor]:
    found = []
    for i, (own, state) in enumerate(zip(held, states, strict=True)):
        final = last_of(call.emit, state.value, name=f"{call.name}.last{i}")
        if own.given is not None:
            call.emit.starts.append(Start(call.name, own.given, [final]))
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
        steps = {x.steps(a) for x, a in zip(xs, axes, strict=True)}
        if len(steps) != 1:
            raise ConvertError(f"sequences must have one number of steps, got {sorted(map(str, steps))}")
        rows = [one_step(call, x, a, backward=bool(b)) for x, a, b in zip(xs, axes, turned, strict=True)]
        new, found = _run(call, starts, rows, body)
        if len(found) != joins:
            return found
        made = [
            joined_steps(call, call.lift(v), a, *steps, backward=bool(b))
            for v, a, b in zip(found, out_axes, out_turned, strict=True)
        ]
        return [*new, *made]
    lengths = {x.size(a) for x, a in zip(xs, axes, strict=True)}
    if len(lengths) != 1 or not all(x.is_frame(a) for x, a in zip(xs, axes, strict=True)):
        raise ConvertError(f"sequences must be over time or of one fixed size, got {[*map(describe, xs, axes)]}")

    n = int(next(iter(lengths)))

    def step(i: int, values: Sequence[Any]) -> list[Any]:
        parts = [
            without(call, sliced(call, x, a, n - 1 - i if b else i, n - i if b else i + 1), [a])
            for x, a, b in zip(xs, axes, turned, strict=True)
        ]
        return [np.array(i + 1 < n), *body([*values, *parts])]

    call.emit.unrolled.add(call.name)
    values, lists = _unrolled(n, starts, step)
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
    count: int | None, starts: Sequence[Any], step: Callable[[int, Sequence[Any]], list[Any]]
) -> tuple[list[Any], list[list[Any]] | None]:
    """The states after `count` steps, and of every other output its value at each; None where a step fails.

    The first output of a step says whether another one follows; without `count` it alone does.
    """
    if count is not None and not 0 < count <= MOST_UNROLLED:
        raise ConvertError(f"loop over a fixed size must have 1 to {MOST_UNROLLED} steps, got {count}")
    values = list(starts)
    lists: list[list[Any]] = []
    for i in range(MOST_UNROLLED if count is None else count):
        goes, *found = step(i, values)
        broken = [v for v in (goes, *found) if isinstance(v, Unavailable)]
        if broken:
            return broken, None
        values = found[: len(starts)]
        lists = lists or [[] for _ in found[len(starts) :]]
        for items, value in zip(lists, found[len(starts) :], strict=True):
            items.append(value)
        last = i + 1 == count
        if not last and (not isinstance(goes, np.ndarray) or is_symbolic(goes)):
            raise ConvertError("condition of a loop must be known after each step, got one that is computed")
        if last or not np.all(goes):
            return values, lists
    raise ConvertError(f"loop that ends by a condition alone must have at most {MOST_UNROLLED} steps, got more")


def _stack(call: Call, parts: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors side by side along a new axis."""
    place = call.axis(axis, parts[0].rank + 1)
    wide = [with_ones(call, in_order(call, x), [place]) for x in parts]
    if len({(x.axes, x.spec) for x in wide}) > 1:
        raise ConvertError(f"what a loop joins must keep its shape, got {' and '.join(map(str, wide[:2]))}")
    value = call.add(Concat(wide[0].frame_axis(place)), *(x.value for x in wide))
    return call.result(value, wide[0].axes, wide[0].elem)


# If --------------------------------------------------------------------------------------------------


def chosen(call: Call, condition: str, first: Any, second: Any) -> Any:
    """The first of two values where a condition holds, else the second.

    Raises
    ------
    ConvertError
        When they are no tensors of one shape and type.
    """
    if isinstance(first, Unavailable) or isinstance(second, Unavailable):
        return Unavailable()
    values: list[Any] = [v for v in (first, second) if isinstance(v, Tensor | np.ndarray)]
    if len(values) < 2:
        raise ConvertError("condition must be constant where branches give sequences of tensors, got a computed value")
    if all(isinstance(v, np.ndarray) for v in values) and np.array_equal(*values):
        return first
    a, b = (in_order(call, call.lift(v)) for v in values)
    if (a.axes, a.spec.shape, a.spec.dtype) != (b.axes, b.spec.shape, b.spec.dtype):
        raise ConvertError(
            f"branches must give one shape where the condition is computed, got {a} ({a.spec.dtype}) and {b} "
            f"({b.spec.dtype})"
        )
    return call.result(call.where(condition, a.value, b.value), a.axes, a.elem)


# Loop ------------------------------------------------------------------------------------------------


def loop(call: Call, body: Body) -> list[Any]:
    """A Loop that runs for a number of steps that is known, or that of the model's time."""
    condition = call.optional(1, "condition")
    if condition is not None and (is_symbolic(condition) or not bool(np.all(condition))):
        raise ConvertError("condition of a loop must be true at its start, got another value")
    count = call.array(0, "number of steps").reshape(-1)[0] if call.given(0) else None
    starts: list[Any] = [
        v if isinstance(v := call.inputs[i], Listed) else call.value(i) for i in range(2, len(call.inputs))
    ]
    if isinstance(count, Dim):
        return _over_time(call, steps_in(count), starts, body)

    def step(i: int, values: Sequence[Any]) -> list[Any]:
        return body([np.array(i, np.int64), np.array(True), *values])

    call.emit.unrolled.add(call.name)
    values, lists = _unrolled(None if count is None else int(count), starts, step)
    if lists is None:
        return values
    return [*values, *(_stack(call, [call.lift(v) for v in items], 0) for items in lists)]


def _over_time(call: Call, steps: Length, starts: Sequence[Any], body: Body) -> list[Any]:
    counters = {i: counter for i, s in enumerate(starts) if (counter := _counter(s, steps)) is not None}
    lists = {i: Growing(i) for i, s in enumerate(starts) if isinstance(s, Listed)}
    if any(starts[i].items for i in lists):
        raise ConvertError("sequence that a loop over time appends to must be empty before it, got some tensors")
    given: dict[int, Any] = {**counters, **lists}
    grown: dict[int, Any] = {}

    def inner(values: Sequence[Any]) -> list[Any]:
        own = iter(values)
        goes, *found = body(
            [
                StepNumber(0, 0, steps),
                np.array(True),
                *(given[i] if i in given else next(own) for i in range(len(starts))),
            ]
        )
        if isinstance(goes, Tensor) or (isinstance(goes, np.ndarray) and not goes.all()):
            raise ConvertError("condition of a loop over time must hold until the last step, got another")
        broken = [v for v in (goes, *found) if isinstance(v, Unavailable)]
        if broken:
            return broken
        for i, counter in counters.items():
            if found[i] != StepNumber(counter.offset + 1, counter.rank, steps):
                raise ConvertError(f"integer state {i} of a loop over time must count its steps, got another value")
        for i in lists:
            if not isinstance(found[i], Grown) or found[i].number != i:
                raise ConvertError(
                    f"sequence {i} of a loop over time must be appended to at each step, got another value"
                )
        grown.update((i, found[i]) for i in lists)
        return [v for i, v in enumerate(found) if i not in given]

    new, found = _run(call, [s for i, s in enumerate(starts) if i not in given], [], inner)
    if any(isinstance(v, Unavailable) for v in found):
        return found
    finals = iter(new)
    results: list[Any] = []
    for i in range(len(starts)):
        if i in counters:
            results.append(Unavailable("the number of steps that a loop counts is only known when the model runs"))
        elif i in lists:
            results.append(Steps(call.lift(grown[i].item), steps, grown[i].front))
        else:
            results.append(next(finals))
    return [*results, *(joined_steps(call, call.lift(v), 0, steps) for v in found)]


def _counter(start: Any, steps: Length) -> StepNumber | None:
    """A state that may count steps: an integer of one element."""
    if not isinstance(start, np.ndarray) or is_symbolic(start) or start.size != 1 or start.dtype.kind not in "iu":
        return None
    return StepNumber(int(start.reshape(-1)[0]), start.ndim, steps)
