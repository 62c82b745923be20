"""Ops that move or repeat elements: views where no number has to move, copies where it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import graph as g
from .codes import FUNCTIONS
from .elementwise import Lowering
from .instructions import Gather
from .program import Program, Value, joint_time, order_of
from .views import CONSTANT, View


def reshape(p: Program, x: Value, shape: Sequence[int]) -> Value:
    """`x` in C order under another shape."""
    view = p.view(x)
    found = view.reshaped(shape)
    if found is None:
        found = p.contiguous(view).reshaped(shape)
    assert found is not None
    return found


def _slice(p: Program, op: Any, x: Value) -> Value:
    view = p.view(x)
    for axis, (start, stop, step) in enumerate(zip(op.starts, op.stops, op.steps, strict=True)):
        picked = range(*slice(start, stop if stop >= 0 or step > 0 else None, step).indices(view.shape[axis]))
        view = view.sliced(axis, picked.start, picked.stop, step)
    return view


def join(p: Program, values: Sequence[Value], axis: int) -> View:
    """Values one after the other along an axis."""
    shape = list(values[0].shape)
    shape[axis] = sum(v.shape[axis] for v in values)
    to = p.new(shape, joint_time(values), order_of(values[0]))
    at = 0
    for value in values:
        p.write(value, to.sliced(axis, at, at + value.shape[axis]))
        at += value.shape[axis]
    return to


def pad(
    p: Program, x: Value, before: Sequence[int], after: Sequence[int], number: float, order: Sequence[int] | None = None
) -> View:
    """`x` in the middle of a larger frame of one number, which lies as `x` does, or with its axes in this order."""
    shape = [b + n + a for b, n, a in zip(before, x.shape, after, strict=True)]
    order = order_of(x) if order is None else order
    to = p.new(shape, x.time, order) if number else p.zeros(shape, x.time, order)
    first = len(p.instructions)
    inner = to
    for axis, (b, n) in enumerate(zip(before, x.shape, strict=True)):
        rim = inner  # the two slabs beside the part that x fills, as deep as what is left of the other axes
        for part in (rim.sliced(axis, 0, b), rim.sliced(axis, b + n, rim.shape[axis])):
            if part.size:
                p.fill(part, number)
        inner = inner.sliced(axis, b, b + n)
    if not number:
        p.borders[to.buffer] = p.instructions[first:]
    p.write(x, inner)
    return to


def _pad(p: Program, op: Any, x: Value) -> Value:
    if op.mode == "constant":
        return pad(p, x, op.before, op.after, op.value)
    view = p.view(x)
    for axis, (n, before, after) in enumerate(zip(x.shape, op.before, op.after, strict=True)):
        if before or after:
            index = np.pad(np.arange(n), (before, after), mode=op.mode)
            view = take(p, view, View.of_constant(index), axis)
    return view


def _tile(p: Program, op: Any, x: Value) -> Value:
    view = p.view(x)
    shape = [r * n for r, n in zip(op.repeats, view.shape, strict=True)]
    for axis in reversed(range(view.rank)):
        view = view.with_axis(axis, op.repeats[axis], 0)
    return reshape(p, p.contiguous(view), shape)


RUN = 16  # ids that follow each other evenly, about, from which copying them is cheaper than looking up each


def even_runs(ids: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Return ids as runs of (first, step, how many), each as long as it can be; none where there are more than `most`.

    >>> even_runs(np.array([0, 1, 2, 3, 2, 1, 1, 1]), 3)
    [(0, 1, 4), (2, -1, 2), (1, 0, 2)]
    """
    steps = np.diff(ids)
    turns = np.append(np.flatnonzero(np.diff(steps)) + 1, len(steps))  # where the step is another than before
    found: list[tuple[int, int, int]] = []
    start = 0
    while start < len(ids) and len(found) <= most:
        end = int(turns[np.searchsorted(turns, start, side="right")]) if start < len(steps) else start
        found.append((int(ids[start]), int(steps[start]) if end > start else 1, end - start + 1))
        start = end + 1
    return found if len(found) <= most else []


def picked(source: View, axis: int, first: int, step: int, n: int) -> View:
    """`n` elements of an axis from the first on, `step` apart; the same one again where that is 0."""
    if step:
        return source.sliced(axis, first, first + n * step, step)
    return source.sliced(axis, first, first + 1).expanded([n if i == axis else m for i, m in enumerate(source.shape)])


def take(p: Program, source: View, index: View, axis: int) -> View:
    """Elements of `source` along an axis, by ids that may be known only when the model runs."""
    count = source.shape[axis]
    if index.buffer == CONSTANT and index.rank == 1 and index.size and (np.abs(index.numbers() + 0.5) < count).all():
        runs = even_runs(index.numbers().astype(np.int64) % count, max(1, index.size // RUN))
        if runs:
            parts = [picked(source, axis, *run) for run in runs]
            return parts[0] if len(parts) == 1 else join(p, parts, axis)
    shape = (*source.shape[:axis], *index.shape, *source.shape[axis + 1 :])
    to = p.new(shape, joint_time([source, index]))
    before, after = source.strides[:axis], source.strides[axis + 1 :]
    read = replace(source, shape=shape, strides=(*before, *[0] * index.rank, *after))
    ids = replace(index, shape=shape, strides=(*[0] * len(before), *index.strides, *[0] * len(after)))
    p.nest(Gather, to, [read, ids], count=source.shape[axis], stride=source.strides[axis])
    return to


def not_negative(p: Program, ids: Value) -> Value:
    """`ids`, with NaN, which indexes nothing, in place of those below zero: they would count from the end."""
    below = p.expression(FUNCTIONS["less"], [ids, View.of_constant(0.0)])
    return p.expression(FUNCTIONS["where"], [below, View.of_constant(np.nan), ids])


def _one_hot(p: Program, op: Any, ids: Value) -> Value:
    """Ids below zero count from the end; one outside of the depth gives `off` everywhere."""
    rank = len(ids.shape) + 1
    axis = op.axis % rank
    index = p.view(ids).with_axis(axis, 1, 0)
    places = View.of_constant(np.arange(op.depth).reshape([op.depth if i == axis else 1 for i in range(rank)]))
    from_end = p.expression(FUNCTIONS["equal"], [index, View.of_constant(places.numbers() - op.depth)])
    same = p.expression(FUNCTIONS["or"], [p.expression(FUNCTIONS["equal"], [index, places]), from_end])
    return p.expression(FUNCTIONS["where"], [same, View.of_constant(op.on), View.of_constant(op.off)])


SHAPES: dict[type[g.Op], Lowering] = {
    g.Constant: lambda p, op: View.of_constant(op.value),
    g.Reshape: lambda p, op, x: reshape(p, x, op.shape),
    g.Transpose: lambda p, op, x: x.permuted(op.perm),
    g.Slice: _slice,
    g.Pad: _pad,
    g.Concat: lambda p, op, *xs: join(p, xs, op.axis % len(xs[0].shape)),
    g.Expand: lambda p, op, x: p.view(x).expanded(op.shape),
    g.Tile: _tile,
    g.Gather: lambda p, op, data, ids: take(p, p.view(data), p.view(ids), op.axis % len(data.shape)),
    g.OneHot: _one_hot,
}
