"""Ops over time: windows that slide over the steps, and folds of the whole sequence.

A window op is an instruction that keeps the last steps in a line of memory and shows the windows due as overlapping
rows of a value with a clock of its own: its steps are counted apart. What a window holds is then a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import graph as g
from ..errors import GraphError
from .clocks import together
from .codes import FOLDS, FUNCTIONS
from .convolution import channels_first, convolve
from .elementwise import Lowering
from .instructions import Mirror, OverlapAdd, Reduce, TimeStep, Wait, Window
from .program import Expr, Program, Value
from .shapes import join, reshape
from .views import CONSTANT, View, contiguous


def window(
    p: Program, x: Value, reach: int, stride: int, before: int, after: int, number: float,
    bounds: tuple[int, int | None] | None = None,
) -> View:  # fmt: skip
    """The windows (reach, *frame) of x, one every `stride` steps.

    Parameters
    ----------
    before, after : int
        Steps of `number` around the sequence; a negative `before` leaves out its first ones.
    bounds : tuple, optional
        Of a whole sequence: the slice that windows are of, as Python counts its steps.
    """
    number_of = p.whole(x)
    size = p.values[number_of].size
    shape = (reach, *x.shape)
    clock = p.values[number_of].time
    if bounds is not None or (stride, before, after) != (1, reach - 1, 0):  # else every step gives one at once
        # Of a slice of a whole sequence only the rate is meant: its steps are known when the model is called.
        clock = p.new_clock(p.clock(clock).windows(reach, stride, before))
    value = p.buffer(reach * size, clock, line=True)
    kept = max(before, reach + stride - 2)  # the most steps that stay from call to call
    p.emit(
        Window(
            inputs=(number_of,), output=value, size=size, reach=reach, stride=stride, before=before, after=after,
            fill=number, window=p.new_window({"history": (kept, *x.shape), "held": ()}), kept=kept, bounds=bounds,
        )
    )  # fmt: skip
    return View(value, shape, contiguous(shape), 0, clock)


def wait(p: Program, values: list[Value], waiting: list[int], time: int) -> list[Value]:
    """`values`, of which those `waiting` are kept until the clock `time` counts their steps, too.

    Where that clock is not one of theirs, each waits for all others.
    """
    sources = {i: p.whole(values[i]) for i in waiting}
    behind = [v.buffer for x in values if x.time == time for v in (x.views() if isinstance(x, Expr) else [x])]
    found, meeting, made = list(values), [], []
    for i, source in sources.items():
        x, own = values[i], p.clock(p.values[source].time)
        size, kept = p.values[source].size, 1 - (own.early - p.clock(time).latency - 1) // own.rate
        line = p.new_window({"history": (kept, *x.shape), "held": ()})
        meeting.append((line, p.values[source].time))
        buffer = p.buffer(size, time, line=True)
        others = [v for v in behind or sources.values() if v not in (source, CONSTANT)]
        made.append(
            Wait(
                inputs=(source, *dict.fromkeys(others)), output=buffer, size=size, reach=1, stride=1, before=0, after=0,
                kept=kept, window=line,
            )
        )  # fmt: skip
        found[i] = View(buffer, x.shape, contiguous(x.shape), 0, time)
    if not behind:
        made[0] = replace(made[0], meeting=tuple(meeting))
    for instruction in made:
        p.emit(instruction)
    return found


def aligned(p: Program, values: list[Value]) -> list[Value]:
    """Values of one rate under one clock: that of theirs which never counts more than the others, or a new one."""
    times = sorted({v.time for v in values if v.time > 0})
    if len({p.clock(t).rate for t in times}) > 1:
        raise GraphError(f"values that meet must have steps at the same rate, got {len(times)} rates")
    last = [t for t in times if all(p.clock(o).ahead_of(p.clock(t)) for o in times if o != t)]
    time = last[-1] if last else p.new_clock(together([p.clock(t) for t in times]))
    return wait(p, values, [i for i, v in enumerate(values) if v.time > 0 and v.time != time], time)


def _time_conv(p: Program, op: Any, x: Value) -> Value:
    seen = window(p, x, op.extent, op.stride, op.before, op.after, 0.0)
    one = convolve(p, seen, op.weight, op.bias, [1], [op.dilation], op.groups, op.activation)
    return reshape(p, channels_first(one), (op.weight.shape[0],))


def _time_pool(p: Program, op: Any, x: Value) -> Value:
    largest = op.mode == "max"
    if not largest and not op.count_padding and (op.before or op.after):
        flat = reshape(p, x, (int(np.prod(x.shape)),))
        ones = View.of_constant(np.ones(1))
        counted = join(p, [flat, ones], 0)  # zeros outside of the sequence: their sum is how many steps count
        summed = _pooled(p, op, counted, "sum", 0.0)
        n = flat.shape[0]
        share = p.expression(FUNCTIONS["div"], [summed.sliced(0, 0, n), summed.sliced(0, n, n + 1)])
        return reshape(p, share, x.shape)
    summed = _pooled(p, op, x, "max" if largest else "sum", -np.inf if largest else 0.0)
    return summed if largest else p.expression(FUNCTIONS["mul"], [summed, View.of_constant(1.0 / op.size)])


def _pooled(p: Program, op: Any, x: Value, function: str, number: float) -> View:
    seen = window(p, x, op.size, op.stride, op.before, op.after, number)
    to = p.new(x.shape, seen.time)
    axes = [*range(1, seen.rank), 0]
    p.nest(Reduce, to, [seen.permuted(axes)], folded=[op.size], function=FOLDS[function])
    return to


def _mirrored(p: Program, op: g.TimePad, x: Value) -> Value:
    """Steps given out as they come, behind those that the first of them become; the last are kept for the end."""
    source = p.whole(x)
    time = p.new_clock(p.clock(p.values[source].time).mirrored(op.before, op.fewest))
    to = p.new(x.shape, time)
    p.emit(
        Mirror(
            inputs=(source,), output=to.buffer, size=to.size, reach=op.fewest, stride=1, before=op.before,
            after=op.after, kept=op.fewest, window=p.new_window({"history": (op.fewest, *x.shape), "held": ()}),
        )
    )  # fmt: skip
    return to


def _time_pad(p: Program, op: Any, x: Value) -> Value:
    if op.outside != "value":
        return _mirrored(p, op, x)
    seen = window(p, x, 1, 1, op.before, op.after, op.value)
    return reshape(p, seen, x.shape)


def _framing(p: Program, op: Any, x: Value) -> Value:
    steps = reshape(p, x, ()) if x.shape == (1,) else x
    return window(p, steps, op.extent, op.hop, op.before, op.after, 0.0).sliced(0, 0, op.extent, op.dilation)


def _time_slice(p: Program, op: Any, x: Value) -> Value:
    """The first step of windows that reach over as many as are left out at the end, behind those that are skipped."""
    if op.blocker:
        return reshape(p, window(p, x, 1, op.step, 0, 0, 0.0, bounds=(op.start, op.stop)), x.shape)
    left = -(op.stop or 0)
    seen = window(p, x, left + 1, op.step, -op.start, 0, 0.0)
    return reshape(p, seen.sliced(0, 0, 1), x.shape)


def _time_step(p: Program, op: g.TimeStep, x: Value) -> View:
    """The step, kept among as many as lie behind it, or beside the count of those that lie before."""
    last = op.index < 0
    kept = (-op.index, *x.shape) if last and op.index < -1 else x.shape
    states = {"step": kept} if last else {"step": kept, "count": ()}
    source, held, to = p.whole(x), p.new_states(states), p.new(x.shape, 0)
    p.emit(
        TimeStep(
            inputs=(source, *held), output=to.buffer, held=tuple(held), size=to.size, kept=op.fewest if last else 1,
            last=last, count=max(op.index, 0), fewest=op.fewest,
        )
    )  # fmt: skip
    return to


def _overlap_add(p: Program, op: Any, x: Value) -> Value:
    """Frames are added into a line of memory, behind as many steps as a tail cuts off: those are given out late."""
    source, frame = p.whole(x), tuple(x.shape[1:])
    tail = op.tail or 0
    late, more = max(0, -tail), max(0, tail)
    rest = op.size - op.hop if op.tail is None else 0
    own = p.clock(p.values[source].time)
    time = p.new_clock(own.overlaps(op.hop, op.skip + late, loose=rest > 0))
    kept = max(late + op.size, op.hop + more)
    to = p.new(frame, time)
    p.emit(
        OverlapAdd(
            inputs=(source,), output=to.buffer, size=to.size, reach=op.size, stride=op.hop, before=op.skip + late,
            after=more, kept=kept, lead=late, rest=rest, window=p.new_window({"sums": (kept, *frame), "held": ()}),
        )
    )  # fmt: skip
    return to


# Folds of the whole sequence ------------------------------------------------------------------------


def fold_time(p: Program, x: Value, name: str, *, some: bool = True) -> View:
    """Fold every element over all steps, of which there must be `some` where the result is an output's."""
    view = p.view(x)
    to = p.new(view.shape, 0)
    p.nest(Reduce, to, [view], function=FOLDS[name], over_time=True, some_steps=some)
    return to


def _mean(p: Program, x: Value) -> Value:
    """The sum over time by the sum of ones: the number of steps is known only when the model runs."""
    view = p.view(x)
    one = p.new((1,), view.time)
    p.fill(one, 1.0)
    return p.expression(FUNCTIONS["div"], [fold_time(p, view, "sum"), fold_time(p, one, "sum")])


TIME_FOLDS: dict[str, Callable[[Program, Value], Value]] = {
    "sum": lambda p, x: fold_time(p, x, "sum"),
    "mean": _mean,
    "max": lambda p, x: fold_time(p, x, "max"),
    "min": lambda p, x: fold_time(p, x, "min"),
    "l2": lambda p, x: p.expression(FUNCTIONS["sqrt"], [fold_time(p, x, "sum_square")]),
}


def _time_softmax(p: Program, op: Any, x: Value) -> Value:
    view = p.view(x)
    lowered = p.expression(FUNCTIONS["sub"], [view, fold_time(p, view, "max", some=False)])
    raised = p.view(p.expression(FUNCTIONS["exp"], [lowered]))
    return p.expression(FUNCTIONS["div"], [raised, fold_time(p, raised, "sum", some=False)])


TEMPORAL: dict[type[g.Op], Lowering] = {
    g.TimeConv: _time_conv,
    g.TimePool: _time_pool,
    g.TimePad: _time_pad,
    g.TimeReduce: lambda p, op, x: TIME_FOLDS[op.function](p, x),
    g.TimeSlice: _time_slice,
    g.TimeSoftmax: _time_softmax,
    g.TimeStep: _time_step,
    g.Framing: _framing,
    g.OverlapAdd: _overlap_add,
}
