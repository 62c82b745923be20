"""Folds of axes: sums, means, extremes, variances, running sums, over frame axes and over time."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ...errors import ConvertError
from ...graph import ArgReduce, Binary, CumSum, Reduce, TimeReduce, TopK, Where
from .builder import Builder
from .sizes import BATCH
from .values import NeedsSequenceLength, Tensor, describe, is_time, room
from .views import joint, renumbered, with_ones, without

OVER_TIME = (
    "sum",
    "mean",
    "max",
    "min",
    "l2",
)  # of the graph; of the steps' own folds they are what they are over both
IN_FLOAT = ("mean", "l2", "log_sum", "log_sum_exp")
FINITE = float(np.finfo(np.float32).max)


def reduced(b: Builder, x: Tensor, axes: Sequence[int], function: str, keep: bool) -> Tensor:
    """Fold axes by a function of `graph.REDUCTIONS`.

    Integers and booleans stay what they are; means of them are rounded towards zero.

    Raises
    ------
    NeedsSequenceLength
        When an axis is time and the function a product.
    ConvertError
        When an axis is the batch.
    """
    if not axes:
        return x
    if any(BATCH in x.axes[a] for a in axes):
        wrong = " and ".join(describe(x, a) for a in axes if BATCH in x.axes[a])
        raise ConvertError(f"axes to reduce must be of fixed size or time, got {wrong}")
    kind, time = x.spec.dtype, any(is_time(atom) for a in axes for atom in x.axes[a])
    if kind == "bool" or (kind == "int" and (time or function in IN_FLOAT)):
        working = b.like(x, b.cast(x.value, "float" if time or kind == "int" else "int"))
        y = reduced(b, working, axes, function, keep)
        return b.like(y, b.cast(y.value, kind))
    if not time:
        return _over_frames(b, x, axes, function, keep)
    if function in OVER_TIME:
        return _over_time(b, _over_frames(b, x, axes, function, keep), axes if keep else (), function)
    return _composed(b, x, axes, function, keep)


def _over_frames(b: Builder, x: Tensor, axes: Sequence[int], function: str, keep: bool) -> Tensor:
    """Fold the frame axes among `axes`; without `keep`, the labels of all of them go but that of time."""
    gone = [atom for a in axes for atom in x.axes[a] if isinstance(atom, int)]
    value, kept = x.value, list(range(len(x.spec.shape)))
    if gone:
        value = b.add(Reduce(function, tuple(sorted(gone)), keepdims=keep), value)
        kept = kept if keep else [atom for atom in kept if atom not in gone]
    left = [
        tuple(atom for atom in axis if keep or a not in axes or is_time(atom))
        for a, axis in enumerate(x.axes)
        if keep or a not in axes or any(map(is_time, axis))
    ]
    return b.result(value, renumbered(left, kept), x.elem)


def _over_time(b: Builder, x: Tensor, kept: Sequence[int], function: str) -> Tensor:
    """Fold time; an axis that was time alone stays with one element if it is among `kept`, or else goes."""
    value = b.add(TimeReduce(function), b.timed(x).value)
    left = [tuple(atom for atom in axis if not is_time(atom)) for axis in x.axes]
    y = b.result(value, [axis for axis in left if axis], x.elem)
    return with_ones(b, y, [a for a, axis in enumerate(left) if not axis and a in kept])


def _composed(b: Builder, x: Tensor, axes: Sequence[int], function: str, keep: bool) -> Tensor:
    """Fold over time by a function that the graph has for frames alone."""
    if function == "l1":
        return reduced(b, b.like(x, b.unary("abs", x.value)), axes, "sum", keep)
    if function == "sum_square":
        return reduced(b, b.like(x, b.times(x.value, x.value)), axes, "sum", keep)
    if function == "log_sum":
        y = reduced(b, x, axes, "sum", keep)
        return b.like(y, b.unary("log", y.value))
    if function != "log_sum_exp":
        raise NeedsSequenceLength(f"reduction over time must be none of products, got {function}")
    largest = reduced(b, x, axes, "max", True)  # made finite, so that infinite ones do not cancel
    top = b.like(largest, b.binary("min", b.binary("max", largest.value, -FINITE), FINITE))
    below = centred(b, x, top)
    total = reduced(b, b.like(x, b.unary("exp", below.value)), axes, "sum", True)
    y = b.like(total, b.plus(b.unary("log", total.value), top.value))
    return y if keep else without(b, y, axes)


def centred(b: Builder, x: Tensor, centre: Tensor) -> Tensor:
    """Subtract a value that broadcasts with `x`."""
    return joint(b, Binary("sub"), x, centre)


def variance(b: Builder, x: Tensor, axes: Sequence[int], correction: float, keep: bool) -> Tensor:
    """Return the mean square of the distance to the mean, times n / (n - correction).

    Raises
    ------
    ConvertError
        When there is a correction and n, the number of elements, is open.
    """
    distance = centred(b, x, reduced(b, x, axes, "mean", True))
    square = b.like(distance, b.times(distance.value, distance.value))
    y = reduced(b, square, axes, "mean", keep)
    if not correction:
        return y
    sizes = [x.size(a) for a in axes]
    for a, size in zip(axes, sizes, strict=True):
        if not isinstance(size, int):
            raise ConvertError(f"correction must be 0 for a variance over {describe(x, a)}, got {correction}")
    n = prod(map(int, sizes))
    if n <= correction:
        raise ConvertError(f"variance must be of more elements than its correction {correction}, got {n}")
    return b.like(y, b.affine(y.value, n / (n - correction)))


def place(b: Builder, x: Tensor, axis: int, function: str, keep: bool, *, last: bool = False) -> Tensor:
    """Return where the largest ("argmax") or smallest along an axis of fixed size is; of equal ones the first."""
    frame = x.frame_axis(axis)
    value = b.add(ArgReduce(function, frame, keepdims=keep, last=last), x.value)
    if keep:
        return b.result(value, x.axes)
    kept = [atom for atom in range(len(x.spec.shape)) if atom != frame]
    return b.result(value, renumbered([labels for a, labels in enumerate(x.axes) if a != axis], kept))


def top(b: Builder, x: Tensor, axis: int, count: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Return the largest or smallest along an axis of fixed size, in order, and where they are."""
    frame = x.frame_axis(axis)
    if count == 1:
        values = b.add(Reduce("max" if largest else "min", (frame,), keepdims=True), x.value)
        places = b.add(ArgReduce("argmax" if largest else "argmin", frame, keepdims=True), x.value)
    else:
        values, places = b.add_many(TopK(count, frame, largest), x.value)
    return b.like(x, values), b.result(places, x.axes)


def cumulative(b: Builder, x: Tensor, axis: int, *, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Return sums of the elements up to each along an axis, or time; `exclusive` leaves out the element itself."""
    if not x.is_time(axis):
        return b.like(x, b.add(CumSum(x.frame_axis(axis), exclusive=exclusive, reverse=reverse), x.value))
    kind, x = x.spec.dtype, b.timed(b.like(x, b.cast(x.value, "float")))
    ahead = b.turned(x.value) if reverse else x.value
    state = b.state(np.zeros(x.spec.shape), f"{b.name}.sum")
    total = b.plus(ahead, state)
    b.feed(state, total)
    y = state if exclusive else total
    return b.like(x, b.cast(b.turned(y) if reverse else y, kind))


RUNNING = {"prod": 1.0, "max": -FINITE, "min": FINITE, "log_sum_exp": -FINITE}  # what an empty fold is


def running(
    b: Builder, x: Tensor, axis: int, function: str, *, exclusive: bool = False, reverse: bool = False
) -> Tensor:
    """Return folds of the elements up to each along an axis, or time, by a function of `RUNNING`.

    `exclusive` leaves out the element itself, `reverse` folds those from each on.
    """
    kind = x.spec.dtype
    x = b.like(x, b.cast(x.value, "float"))
    if not x.is_time(axis):
        y = _running_frame(b, x, axis, function, exclusive, reverse)
        return b.like(y, b.cast(y.value, kind))
    x = b.timed(x)
    y = _running_time(b, b.like(x, b.turned(x.value)) if reverse else x, function, exclusive)
    return b.like(y, b.cast(b.turned(y.value) if reverse else y.value, kind))


def _running_time(b: Builder, x: Tensor, function: str, exclusive: bool) -> Tensor:
    """Return running folds over time: the state is the fold of all steps before."""
    state = b.state(np.full(x.spec.shape, RUNNING[function]), f"{b.name}.{function}")
    if function == "prod":
        made = b.times(x.value, state)
    elif function in ("max", "min"):
        made = b.binary(function, x.value, state)
    else:
        return _running_log_sum(b, x, state, exclusive)
    b.feed(state, made)
    return b.like(x, state if exclusive else made)


def _running_log_sum(b: Builder, x: Tensor, state: str, exclusive: bool) -> Tensor:
    """Return log(sum(exp(x))) so far, from the largest element so far and the sum in its unit: none overflows."""
    total = b.state(np.zeros(x.spec.shape), f"{b.name}.sum")
    top = b.binary("min", b.binary("max", x.value, state), FINITE)
    before, own = (b.unary("exp", b.binary("sub", value, top)) for value in (state, x.value))
    made = b.plus(b.times(total, before), own)
    b.feed(state, top)
    b.feed(total, made)
    return b.like(x, b.plus(state if exclusive else top, b.unary("log", total if exclusive else made)))


def _running_frame(b: Builder, x: Tensor, axis: int, function: str, exclusive: bool, reverse: bool) -> Tensor:
    """Return running folds along an axis of fixed size: each of a row of a matrix that has the elements up to it."""
    frame, rank = x.frame_axis(axis), len(x.spec.shape)
    n = x.spec.shape[frame]
    room(n, *x.spec.shape)
    rows = b.transpose(x.value, [*(i for i in range(rank) if i != frame), frame])
    shape = b.shape(rows)
    square = b.expand(b.reshape(rows, (*shape[:-1], 1, n)), (*shape[:-1], n, n))
    up_to = np.tril(np.ones((n, n), bool), -1 if exclusive else 0)
    kept = b.constant(up_to.T if reverse else up_to, "bool")
    neutral = -np.inf if function == "log_sum_exp" else RUNNING[function]
    chosen = b.add(Where(), kept, square, b.number(neutral, like=square))
    folded = b.add(Reduce(function, (rank,), keepdims=False), chosen)
    return b.like(x, b.transpose(folded, [*range(frame), rank - 1, *range(frame, rank - 1)]))
