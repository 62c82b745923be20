"""Ops over time: windows that slide over the steps, and folds of the whole sequence.

A window op is an instruction that keeps the last steps in a line of memory and shows the windows due as overlapping
rows of a value with a clock of its own: its steps are counted apart. What a window holds is then a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np

from .. import graph as g
from ..errors import GraphError
from .convolution import channels_first, convolve
from .elementwise import Lowering
from .program import FOLDS, FUNCTIONS, Program, Value
from .shapes import join, reshape
from .views import View, contiguous


def window(p: Program, x: Value, reach: int, stride: int, before: int, after: int, number: float) -> View:
    """The windows (reach, *frame) of x, one every `stride` steps."""
    number_of = p.whole(x)
    size = p.values[number_of]["size"]
    shape = (reach, *x.shape)
    clock = p.values[number_of]["time"]
    if (stride, before, after) != (1, reach - 1, 0):  # else every step gives one at once
        clock = p.new_clock(clock, reach - 1 - before, Fraction(stride))
    value = p.buffer(reach * size, clock, line=True)
    kept = max(before, reach + stride - 2)  # the most steps that stay from call to call
    p.emit(
        "window", [number_of], value, reach=reach, stride=stride, before=before, after=after, fill=number, size=size,
        window=p.new_window({"history": (kept, *x.shape), "held": ()}), kept=kept,
    )  # fmt: skip
    return View(value, shape, contiguous(shape), 0, clock)


def wait(p: Program, x: Value, clock: int) -> View:
    """`x`, step by step when a later clock counts it: what a layer that looks ahead is added to must wait for it."""
    source = p.whole(x)
    size, own = p.values[source]["size"], p.clocks[p.values[source]["time"] - 1]
    late = p.clocks[clock - 1][1] - own[1]
    kept = ceil(late / own[0]) + 1
    value = p.buffer(size, clock, line=True)
    p.emit(
        "wait", [source], value, reach=1, stride=1, before=0, after=0, fill=0.0, size=size, kept=kept,
        window=p.new_window({"history": (kept, *x.shape), "held": ()}),
    )  # fmt: skip
    return View(value, x.shape, contiguous(x.shape), 0, clock)


def aligned(p: Program, values: list[Value]) -> list[Value]:
    """Values of one rate under one clock: the latest of theirs."""
    clocks = {v.time for v in values if v.time > 0}
    if len({p.clocks[c - 1][0] for c in clocks}) > 1:
        raise GraphError(f"values that meet must have steps at the same rate, got {len(clocks)} rates")
    latest = max(clocks, key=lambda c: (p.clocks[c - 1][1], c), default=0)
    return [wait(p, v, latest) if v.time > 0 and v.time != latest else v for v in values]


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
    p.nest("reduce", to, [seen.permuted(axes)], folded=[op.size], function=FOLDS[function])
    return to


def _time_pad(p: Program, op: Any, x: Value) -> Value:
    seen = window(p, x, 1, 1, op.before, op.after, op.value)
    return reshape(p, seen, x.shape)


def _framing(p: Program, op: Any, x: Value) -> Value:
    return reshape(p, window(p, reshape(p, x, ()), op.size, op.hop, 0, 0, 0.0), (op.size,))


def _overlap_add(p: Program, op: Any, x: Value) -> Value:
    source = p.whole(x)
    clock = p.new_clock(p.values[source]["time"], 0, Fraction(1, op.hop))
    value = p.buffer(1, clock)
    p.emit(
        "overlap_add", [source], value, reach=op.size, stride=op.hop, before=0, after=0, fill=0.0, size=1,
        window=p.new_window({"sums": (op.size,)}), kept=op.size,
    )  # fmt: skip
    return View(value, (), (), 0, clock)


# Folds of the whole sequence ------------------------------------------------------------------------


def fold_time(p: Program, x: Value, name: str) -> View:
    """Every element folded over all steps."""
    view = p.view(x)
    to = p.new(view.shape, 0)
    p.nest("reduce", to, [view], function=FOLDS[name], over_time=True)
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
    lowered = p.expression(FUNCTIONS["sub"], [view, fold_time(p, view, "max")])
    raised = p.view(p.expression(FUNCTIONS["exp"], [lowered]))
    return p.expression(FUNCTIONS["div"], [raised, fold_time(p, raised, "sum")])


TEMPORAL: dict[type[g.Op], Lowering] = {
    g.TimeConv: _time_conv,
    g.TimePool: _time_pool,
    g.TimePad: _time_pad,
    g.TimeReduce: lambda p, op, x: TIME_FOLDS[op.function](p, x),
    g.TimeSoftmax: _time_softmax,
    g.Framing: _framing,
    g.OverlapAdd: _overlap_add,
}
