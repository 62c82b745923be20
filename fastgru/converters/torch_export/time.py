"""What calls do to the axis of time: single steps of it, some of its steps, windows over it, running sums."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import (
    Add,
    Concat,
    Node,
    Op,
    Recurrent,
    Reverse,
    State,
    Temporal,
    TimeConv,
    TimePad,
    TimeReduce,
)
from ..tensors.recurrence import last_of
from ..tensors.steps import never_more
from ..tensors.values import TIME, Dim, Size, Tensor, describe, is_time
from ..tensors.views import in_order, with_ones
from .call import Call
from .elementwise import affine, to
from .states import stand_in

LARGEST = 2**62  # what stands for "to the end"
FOLDS = ("sum", "mean", "max", "min", "l2")
MOST_STEPS = 64  # that are taken one by one


# Single steps ------------------------------------------------------------------------------------


def one_step(call: Call, x: Tensor, dim: int, index: int) -> Tensor:
    """One step, without the axis of time."""
    call = Call(call.name, call.session)  # whose result is known to have fewer axes
    if index < -1:
        x, index = kept_steps(call, x, dim, 0, -index - 1), -1
    if index > 0:
        x, index = kept_steps(call, x, dim, index, 0), 0
    value = _end(call, x.value, reverse=index == 0)
    return call.result(value, [axis for i, axis in enumerate(x.axes) if i != dim])


def _end(call: Call, value: str, *, reverse: bool) -> str:
    """The last step of a value, or with `reverse` the first: moved into the recurrence that it comes from."""
    key = ("end", value, reverse)
    memo = call.emit.memo
    if not call.spec(value).time:
        return value
    if key not in memo:
        node = call.producer(value)
        if node is not None and _passes(node):
            ends = (_end(call, v, reverse=reverse) for v in node.inputs)
            memo[key] = call.add_many(node.op, *ends, name=node.name)[node.outputs.index(value)]
        elif node is not None and _ends(node, reverse):
            memo[key] = call.add(node.op.replace(return_sequences=False), *node.inputs, name=node.name)
        else:
            memo[key] = last_of(call.emit, value, name=call.name, reverse=reverse)
    return memo[key]


def _passes(node: Node) -> bool:
    """Whether a node makes every step of the same step of its inputs alone."""
    return not isinstance(node.op, Recurrent | Temporal | State | Reverse) or getattr(node.op, "scan", False)


def _ends(node: Node, reverse: bool) -> bool:
    """Whether a recurrence ends at the step that is asked for."""
    op: Any = node.op
    plain = isinstance(op, Recurrent) and not op.scan and op.return_sequences and len(node.inputs) == 1
    return bool(plain and op.reverse == reverse)


# Some steps --------------------------------------------------------------------------------------


def cut_steps(call: Call, x: Tensor, dim: int, start: Size, end: Size | None, step: int) -> Tensor:
    """From `start` to before `end`."""
    whole, shape = x.size(dim), call.shapes[0] if call.shapes else None
    length = shape[dim] if shape is not None else None
    if step == 1 and (length == whole or (start == 0 and isinstance(end, Dim) and never_more(str(whole), str(end)))):
        return x
    open_end = end is None or (isinstance(end, int) and end >= LARGEST)
    if isinstance(start, int) and start < 0 and step == 1 and (open_end or isinstance(length, int)):
        return _last_steps(call, x, dim, -start, length if isinstance(length, int) else -start)
    if isinstance(length, int) and start == 0 and step == 1:
        return _stacked(call, x, dim, range(length))
    if not isinstance(start, int) or start < 0:
        raise ConvertError(f"first step must be fixed and not negative, got {start}:{end} of {describe(x, dim)}")
    if open_end:
        last: int | None = 0
    elif isinstance(end, int) and end < 0:
        last = -end
    else:
        last = None if end is None else call.session.sizes.difference(whole, end)
    if last is None or last < 0:
        raise ConvertError(f"last step must be counted from the end, got {start}:{end} of {describe(x, dim)}")
    return kept_steps(call, x, dim, start, last, step)


def _stacked(call: Call, x: Tensor, dim: int, steps: Sequence[int]) -> Tensor:
    """Some steps as an axis of fixed size."""
    if len(steps) > MOST_STEPS:
        raise ConvertError(f"number of steps taken one by one must be at most {MOST_STEPS}, got {len(steps)}")
    parts = [with_ones(call, in_order(call, one_step(call, x, dim, i)), [dim]) for i in steps]
    if len(parts) == 1:
        return parts[0]
    axis = parts[0].frame_axis(dim)
    return call.result(call.add(Concat(axis), *(p.value for p in parts)), parts[0].axes)


def _last_steps(call: Call, x: Tensor, dim: int, first: int, length: int) -> Tensor:
    """The last steps as an axis of fixed size; of a cache joined to the input they become the cache again."""
    joined = call.emit.memo.get(("cache", x.value))
    if joined is None or first != length:
        return _stacked(call, x, dim, range(-first, length - first))
    own = call.session.origins[joined]
    order = in_order(call, x)
    shape = list(order.spec.shape)
    following = _frames_before(order, dim)
    shape.insert(following, length)
    if tuple(shape) != own.shape:
        return _stacked(call, x, dim, range(-first, length - first))
    value = stand_in(call, shape, "")
    call.session.ends[value] = own
    axes = [tuple(a + (a >= following) if isinstance(a, int) else a for a in axis) for axis in order.axes]
    axes[dim] = (following,)
    return call.result(value, axes)


def _frames_before(x: Tensor, dim: int) -> int:
    return sum(isinstance(a, int) for axis in x.axes[:dim] for a in axis)


def kept_steps(call: Call, x: Tensor, dim: int, first: int, last: int, step: int = 1) -> Tensor:
    """Without the `first` and the `last` steps, and then every `step`-th."""
    atom = call.steps(dim, f"({x.axes[dim][0]}-{first + last})" + f"//{step}" * (step > 1))
    axes = [(atom,) if i == dim else axis for i, axis in enumerate(x.axes)]
    cropped = _cropped(call, x.value, first, last) if step == 1 else None
    if cropped is not None:
        return call.result(cropped, axes)
    frame = call.shape(x.value)
    n = prod(frame)
    kernel = np.zeros((n, 1, first + last + 1))
    kernel[:, :, first] = 1
    flat = call.reshape(call.timed(x).value, (n,))
    value = call.add(TimeConv(kernel, stride=step, groups=n), flat, name=f"{call.name}.steps")
    return call.result(call.reshape(value, frame), axes)


def _cropped(call: Call, value: str, first: int, last: int) -> str | None:
    """Steps cut off where they were padded, before ops that make every step of one step; None where that cannot be."""
    key = ("cropped", value, first, last)
    memo, node = call.emit.memo, call.producer(value)
    if key in memo or node is None:
        return memo.get(key)
    op: Any = node.op
    if isinstance(op, TimeConv | TimePad) and getattr(op, "stride", 1) == 1 and first <= op.before and last <= op.after:
        less = op.replace(before=op.before - first, after=op.after - last)
        memo[key] = call.add(less, *node.inputs, name=node.name)
    elif _passes(node) and len(node.outputs) == 1 and call.spec(value).time:
        inputs = [_cropped(call, v, first, last) if call.spec(v).time else v for v in node.inputs]
        found = [v for v in inputs if v is not None]
        if len(found) == len(inputs):
            memo[key] = call.add(op, *found, name=node.name)
    return memo.get(key)


# Windows -----------------------------------------------------------------------------------------


def unfolded(call: Call, value: str, size: int, stride: int, dilation: int, sides: tuple[int, int]) -> str:
    """`size` steps in each frame, `dilation` apart, every `stride`: frame (C, \\*rest) to (C * size, \\*rest)."""
    channels, *rest = call.shape(value)
    n = channels * prod(rest)
    kernel = np.tile(np.eye(size)[:, None, :], (n, 1, 1))
    op = TimeConv(kernel, stride=stride, dilation=dilation, before=sides[0], after=sides[1], groups=n)
    wide = call.add(op, call.reshape(value, (n,)), name=f"{call.name}.steps")
    split = call.reshape(wide, (channels, prod(rest), size))
    return call.reshape(call.transpose(split, (0, 2, 1)), (channels * size, *rest))


def joined_steps(call: Call, parts: Sequence[Tensor], dim: int) -> Tensor:
    """Steps before or after a sequence: zeros, or a cache that is the last steps of the call before."""
    long = [i for i, x in enumerate(parts) if x.is_time(dim)]
    if len(long) > 1:
        raise ConvertError(f"at most one input must be over time to be joined along it, got {len(long)}")
    at = long[0]
    x, before, after = parts[at], 0, 0
    caches = []
    for i, part in enumerate(parts):
        if i != at:
            caches += _kind_of_steps(call, part, dim, x)
            size = part.size(dim)
            before, after = (before + int(size), after) if i < at else (before, after + int(size))
    if caches and (len(parts) > 2 or at == 0):
        raise ConvertError("cache must be joined alone and before the sequence, got other parts or another place")
    steps = call.steps(dim, f"{x.axes[dim][0]}+{before + after}")
    value = call.add(TimePad(before, after), call.timed(x).value)
    if caches:
        call.emit.memo["cache", value] = caches[0]
    return call.result(value, [(steps,) if i == dim else axis for i, axis in enumerate(x.axes)])


def _kind_of_steps(call: Call, part: Tensor, dim: int, x: Tensor) -> list[str]:
    """The cache that steps of fixed number are, or none for zeros."""
    fixed = call.emit.fixed(part.value)
    if fixed is not None and not np.any(fixed):
        return []
    order = in_order(call, part)
    own = call.session.origins.get(order.value)
    if own is not None and order.sizes()[:dim] + order.sizes()[dim + 1 :] == x.sizes()[:dim] + x.sizes()[dim + 1 :]:
        return [order.value]
    raise ConvertError("steps joined to a sequence must be zeros or a state of the model, got a computed value")


# Sums --------------------------------------------------------------------------------------------


def reduce_steps(call: Call, x: Tensor, function: str) -> Tensor:
    """Fold time; its axis keeps its place, empty, for the caller to drop."""
    if function not in FOLDS:
        raise ConvertError(f"reduction over time must be one of {', '.join(FOLDS)}, got {function!r}")
    atoms = [a for axis in x.axes for a in axis if is_time(a)]
    if len(atoms) != 1 or (atoms[0],) not in x.axes:
        raise ConvertError(f"time must be an axis of its own to be reduced, got {x}")
    x = to(call, call.timed(x), np.float32)
    value = call.add(TimeReduce(function), x.value)
    return call.result(value, [() if axis == (atoms[0],) else axis for axis in x.axes])


def running(call: Call, x: Tensor) -> Tensor:
    """The sum of all steps so far."""
    x = call.timed(x)
    state = call.state(np.zeros(x.spec.shape), f"{call.name}.sum")
    total = call.add(Add(), x.value, state)
    call.feed(state, total)
    return call.result(total, x.axes)


def counter(call: Call) -> Tensor:
    """The number of the step, from 0, as integers."""
    memo = call.emit.memo
    if "counter" not in memo:
        state = call.state(np.zeros(()), "step")
        call.feed(state, affine(call, call.result(state, [(TIME,)]), 1.0, 1.0).value)
        memo["counter"] = call.cast(state, "int")
    return call.result(memo["counter"], [(TIME,)])


def pad_of(call: Call, value: str) -> tuple[str, int, int]:
    """What a value is with zeros around it in time, and how many; the value itself where it is not padded."""
    node = call.producer(value)
    op: Op | None = node.op if node else None
    if node and isinstance(op, TimePad) and (op.value, op.outside) == (0, "value"):
        return node.inputs[0], op.before, op.after
    return value, 0, 0
