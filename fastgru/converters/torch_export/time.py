"""Calls on the axis of time: single steps of it, some of its steps, windows over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ConvertError
from ..program.joins import joined
from ..program.lengths import step_number
from ..program.sizes import Size
from ..program.steps import STEPS
from ..program.time import BEYOND, step_at, step_place, steps_between
from ..program.values import Tensor, describe
from ..program.views import in_order
from .call import Call, First
from .states import hold, stand_in

# Single steps ------------------------------------------------------------------------------------


def one_step(call: Call, x: Tensor, dim: int, index: int) -> Tensor:
    """One step, without the axis of time."""
    step = step_at(call, x, dim, index)
    if index >= 0 and x.spec.time:
        call.session.firsts[step.value] = First(x.value, x.size(dim), index)
    return step


# Some steps --------------------------------------------------------------------------------------


def cut_steps(call: Call, x: Tensor, dim: int, start: Size, end: Size | None, step: int) -> Tensor:
    """From `start` to before `end`."""
    shape = call.shapes[0] if call.shapes else None
    length = shape[dim] if shape is not None else None
    if step == 1 and length == x.size(dim):
        return x
    joined = call.emit.memo.get(("cache", x.value))
    if joined is not None and step == 1 and step_place(call, x, dim, end, None) is None:
        first = step_place(call, x, dim, start, 0)
        if first is not None and first < 0:
            return _cache_again(call, x, dim, -first, joined)
    ends = isinstance(end, int) and 0 <= end < BEYOND
    if ends and isinstance(start, int) and start >= 0 and call.shapes and not isinstance(length, int):
        raise ConvertError(
            f"slice that ends at a step counted from the first must be of a sequence that has as many, got "
            f"{start}:{end} of {describe(x, dim)}: check that in the module"
        )
    return steps_between(call, x, dim, start, end, step)


def _cache_again(call: Call, x: Tensor, dim: int, length: int, joined: str) -> Tensor:
    """The last steps of a cache joined to the input: the cache again where they are as many, else an axis of them."""
    order = in_order(call, x)
    shape = list(order.spec.shape)
    following = _frames_before(order, dim)
    shape.insert(following, length)
    if tuple(shape) != call.shape(joined):
        return steps_between(call, x, dim, -length, None)
    value = stand_in(call, shape, "")
    hold(call, "", joined, value)
    axes = [tuple(a + (a >= following) if isinstance(a, int) else a for a in axis) for axis in order.axes]
    axes[dim] = (following,)
    return call.result(value, axes)


def _frames_before(x: Tensor, dim: int) -> int:
    return sum(isinstance(a, int) for axis in x.axes[:dim] for a in axis)


# Joined -------------------------------------------------------------------------------------------


def joined_steps(call: Call, parts: Sequence[Tensor], dim: int) -> Tensor:
    """Steps before or after a sequence: of one number, or a cache that is the last steps of the call before."""
    at = next(i for i, x in enumerate(parts) if x.is_time(dim))
    caches = [None if i == at else _cache(call, x, dim, parts[at]) for i, x in enumerate(parts)]
    held = [cache for cache in caches if cache is not None]
    if held and (len(parts) > 2 or at == 0):
        raise ConvertError("cache must be joined alone and before the sequence, got other parts or another place")
    zeros = [np.zeros([int(x.size(d)) if d == dim else 1 for d in range(x.rank)]) if cache else None
             for x, cache in zip(parts, caches, strict=True)]  # fmt: skip
    y = joined(call, [x if zero is None else call.lift(zero) for x, zero in zip(parts, zeros, strict=True)], dim)
    if held:
        call.emit.memo["cache", y.value] = held[0]
    return y


def _cache(call: Call, part: Tensor, dim: int, x: Tensor) -> str | None:
    """The state of the model that steps of fixed number in front of `x` are; None for others."""
    order = in_order(call, part)
    alike = order.sizes()[:dim] + order.sizes()[dim + 1 :] == x.sizes()[:dim] + x.sizes()[dim + 1 :]
    return order.value if order.value in call.session.states and alike else None


# Counted steps ------------------------------------------------------------------------------------


def counter(call: Call) -> Tensor:
    """The number of the step, from 0, as integers."""
    return call.result(step_number(call.emit, call.name), [(STEPS,)])
