"""Steps of time taken from values: one step, a slice, windows; moved in front of ops where less is then computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

from ...errors import ConvertError
from ...graph import (
    Activate,
    Activation,
    Framing,
    Node,
    Op,
    OverlapAdd,
    Recurrent,
    Reshape,
    Reverse,
    Spec,
    State,
    Temporal,
    TimeConv,
    TimePad,
    TimeSlice,
    TimeStep,
)
from .builder import Builder
from .emit import Emitter
from .sizes import Dim, Size, difference
from .steps import Length, windowed
from .values import Axis, Tensor, describe
from .views import canonical, sliced

BEYOND = 2**31 - 1  # places at or behind it are the end of an axis, as exporters write it


class Taken(NamedTuple):
    """Ops that take a slice of time one after the other.

    Attributes
    ----------
    ops : tuple of Op
    fixed : int or None
        The number of steps, as the first axis of an item without time; None where they stay steps.
    """

    ops: tuple[Op, ...]
    fixed: int | None


def slice_ops(spec: Spec, start: int, stop: int | None, step: int) -> Taken:
    """Return the ops that take ``x[:, start:stop:step]`` of a value with time, as Python counts its steps.

    A slice with both ends counted from the same end of the sequence has a fixed number of steps.

    Raises
    ------
    ConvertError
        When it has none, or as many as only the length of the sequence tells, which then needs the whole of it.

    Examples
    --------
    >>> slice_ops(Spec((3,)), 2, -1, 1).ops[0].attributes()
    {'start': 2, 'stop': -1, 'step': 1}
    >>> slice_ops(Spec((3,)), -4, None, 2).fixed
    2
    """
    if step < 0:  # of the sequence turned round, whose steps are counted from the other end
        turned = slice_ops(spec, -1 - start, None if stop is None else -1 - stop, -step)
        return Taken((Reverse(), *turned.ops), turned.fixed)
    if start >= 0 and (stop is None or stop < 0):
        return Taken((TimeSlice(start, stop, step),), None)
    if start < 0 <= (-1 if stop is None else stop):
        raise ConvertError(f"slice of time must not begin near its end and end near its beginning, got {start}:{stop}")
    count = len(range(start, 0 if stop is None else stop, step))
    if count == 0:
        raise ConvertError(f"slice of time must keep a step, got {start}:{stop}")
    shape = (count, *spec.shape)
    if count == 1:
        return Taken((TimeStep(start), Reshape(shape)), count)
    windows = Framing(count, 1, step)
    last = TimeStep(start if start >= 0 else start + windows.extent - 1)
    return Taken((windows, last, *([Reshape(shape)] if spec.shape == (1,) else [])), count)


def flipped(b: Builder, x: Tensor, axis: int) -> Tensor:
    """Return `x` with an axis, or time, from its end to its beginning."""
    if x.is_time(axis):
        return b.like(x, b.turned(b.timed(x).value))
    return sliced(b, canonical(b, x) if len(x.axes[axis]) > 1 else x, axis, None, None, -1)


def step_at(b: Builder, x: Tensor, axis: int, index: int) -> Tensor:
    """Return one step, without the axis of time."""
    rest = [atoms for a, atoms in enumerate(x.axes) if a != axis]
    return b.result(step_of(b.emit, x.value, index, name=b.name), rest, x.elem)


def steps_between(b: Builder, x: Tensor, axis: int, start: Size, stop: Size | None, step: int = 1) -> Tensor:
    """Return ``x[start:stop:step]`` of time, its ends counted as Python does: some steps, or an axis of fixed size.

    Ends may be numbers of steps that differ from those of `x` by as many for every length.
    """
    ends = stop.steps if isinstance(stop, Dim) else None
    if (start, step) == (0, 1) and ends is not None and x.steps(axis).never_exceeds(ends):
        return x
    first = step_place(b, x, axis, start, 0 if step > 0 else -1)
    last = step_place(b, x, axis, stop, None)
    if first is None:
        raise ConvertError(f"slice of time must keep a step, got {start}:{stop}")
    taken = slice_ops(x.spec, first, last, step)
    if taken.fixed is None:
        if step < 0:  # of the sequence turned round, whose steps are counted from the other end
            x = b.like(x, b.turned(x.value)) if x.spec.time else x
            first, last = -1 - first, None if last is None else -1 - last
        return without_ends(b, x, axis, first, -(last or 0), abs(step))
    value = x.value
    if not x.spec.time:
        value = b.expand(b.reshape(value, (1, *x.spec.shape)), (taken.fixed, *x.spec.shape))
    for op in taken.ops if x.spec.time else ():
        value = b.add(op, value)
    axes = [tuple(a + 1 if isinstance(a, int) else a for a in atoms) for atoms in x.axes]
    axes[axis] = (0,)
    return b.result(value, axes, x.elem)


def step_place(b: Builder, x: Tensor, axis: int, place: Size | None, open_: int | None) -> int | None:
    """Return a step counted from the first one, or from the end; `open_` where it is an end of the sequence."""
    if place is None or (isinstance(place, int) and abs(place) >= BEYOND):
        return open_
    if isinstance(place, int):
        return place
    if place.steps is not None and place.steps.bounds()[1] < 0:  # counted from the end
        return step_place(b, x, axis, x.size(axis) + place, open_)
    left = difference(x.size(axis), place)
    if left is None:
        raise ConvertError(f"steps of a slice must be counted from an end, got {place} of {describe(x, axis)}")
    return -left if left > 0 else None


def without_ends(b: Builder, x: Tensor, axis: int, first: int, last: int, step: int = 1) -> Tensor:
    """Return `x` without its first and last steps, and then every `step`-th.

    Padding and convolutions in front then do not make what is cut off.
    """
    if (first, last, step) == (0, 0, 1):
        return x
    left = windowed(x.steps(axis) - (first + last), 1, step, 0)
    value = b.timed(x).value if x.spec.dtype == "float" else x.value
    if step > 1 and b.emit.specs[value].time:
        value = b.add(TimeSlice(first, -last or None, step), value)
    elif b.emit.specs[value].time:
        value = cropped(b.emit, value, first, last, name=b.name)
    return b.result(value, retimed(b, x.axes, axis, left), x.elem)


def retimed(b: Builder, axes: Sequence[Axis], axis: int, steps: Length) -> list[Axis]:
    """Return the labels of a result with another number of steps."""
    return [(b.steps(axis, steps),) if a == axis else atoms for a, atoms in enumerate(axes)]


def framed(call: Builder, value: str, op: Framing) -> str:
    """Windows of steps, whose frame is (size, \\*frame)."""
    frame = call.shape(value)
    return call.reshape(call.add(op, value), (op.size, *frame))


def unfolded(call: Builder, value: str, op: Framing) -> str:
    """Windows of steps as channels: (C, \\*rest) to (C * size, \\*rest), the steps of a channel side by side."""
    channels, *rest = call.shape(value)
    rows = range(2, 2 + len(rest))
    return call.reshape(call.transpose(framed(call, value, op), (1, 0, *rows)), (channels * op.size, *rest))


def ones(b: Builder, value: str) -> str:
    """Return a one for each step of a value."""
    flat = b.reshape(value, (prod(b.shape(value)),))
    first = b.cast(b.reshape(b.cut(flat, 0, 0, 1), ()), "float")
    return b.add(Activate(Activation("affine", alpha=0.0, beta=1.0)), first)


# In front of other ops -----------------------------------------------------------------------------


def step_of(emit: Emitter, value: str, index: int, *, name: str) -> str:
    """Return one step of a value, without time: taken of what it is made from, step by step.

    Of a value that a State has a part in the step is taken itself, so that nothing else reads the State.
    """
    ops, leaves = _stepwise_ops(emit, value)
    if any(isinstance(node.op, State) for v in leaves if (node := emit.producers.get(v))):
        ops, leaves = [], [value]
    key = "step", index

    def take(v: str) -> str:
        return emit.memo[(*key, v)] if emit.specs[v].time else v

    for v in leaves:
        if (*key, v) not in emit.memo and emit.specs[v].time:
            emit.memo[(*key, v)] = emit.add(TimeStep(index), v, name=name)[0]
    for node in ops:
        if (*key, node.outputs[0]) not in emit.memo:
            made = emit.add(node.op, *map(take, node.inputs), name=node.name)
            emit.memo.update(((*key, v), y) for v, y in zip(node.outputs, made, strict=True))
    return take(value)


def cropped(emit: Emitter, value: str, first: int, last: int, *, name: str) -> str:
    """Return a value without its first and last steps: not padded by as many where it is, else cut off."""
    key = "cropped", first, last, value
    if key not in emit.memo:
        emit.memo[key] = (
            _uncropped(emit, value, first, last) or emit.add(TimeSlice(first, -last or None), value, name=name)[0]
        )
    return emit.memo[key]


def _uncropped(emit: Emitter, value: str, first: int, last: int) -> str | None:
    """The value made without these steps; None where that needs more than padding that is left out."""
    ops, leaves = _stepwise_ops(emit, value)
    padded = [(emit.producers[v], LESS.get(type(emit.producers[v].op))) for v in leaves if v in emit.producers]
    less = [op for node, change in padded if change and (op := change(node.op, first, last))]
    if len(less) < len(leaves):
        return None
    made: dict[str, str] = {}
    for v, (node, _), op in zip(leaves, padded, less, strict=True):
        identity = isinstance(op, TimePad) and op.stepwise
        made[v] = node.inputs[0] if identity else emit.add(op, *node.inputs, name=node.name)[0]
    for node in ops:
        outputs = emit.add(node.op, *(made.get(v, v) for v in node.inputs), name=node.name)
        made.update(zip(node.outputs, outputs, strict=True))
    return made.get(value)


def _conv(op: TimeConv | TimePad | Framing, first: int, last: int) -> Op | None:
    fits = first <= op.before and last <= op.after and getattr(op, "stride", getattr(op, "hop", 1)) == 1
    return op.replace(before=op.before - first, after=op.after - last) if fits else None


def _overlap_add(op: OverlapAdd, first: int, last: int) -> Op | None:
    return None if op.tail is None else op.replace(skip=op.skip + first, tail=op.tail - last)


# Ops to how they give less: without their first and last steps, None where these are not of padding.
LESS: dict[type[Op], Callable[..., Any]] = {
    TimeConv: _conv, TimePad: _conv, Framing: _conv, OverlapAdd: _overlap_add,
}  # fmt: skip


def _stepwise_ops(emit: Emitter, value: str) -> tuple[list[Node], list[str]]:
    """Return the ops that make a value step by step, in order, and the values with time that they begin from."""
    ops: list[Node] = []
    leaves: list[str] = []
    seen: set[str] = set()
    waiting = [(value, False)]
    while waiting:
        v, done = waiting.pop()
        node = emit.producers.get(v)
        if done and node is not None:
            ops.append(node)
        elif v not in seen and emit.specs[v].time:
            stepwise = node is not None and passes(node.op)
            seen.update(node.outputs if node is not None and stepwise else [v])
            if node is not None and stepwise:
                waiting.append((v, True))
                waiting += [(w, False) for w in node.inputs]
            else:
                leaves.append(v)
    return ops, leaves


def passes(op: Op) -> bool:
    """Return True if an op makes every step of the same step of its inputs alone."""
    return not isinstance(op, Recurrent | Temporal | State | Reverse) or getattr(op, "scan", False)
