"""What happens along the axis that is time: windows over steps, and steps cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ConvertError
from ...graph import Op, OverlapAdd, Recurrent, Reverse, State, Temporal, TimeConv, TimePad
from ..tensors.steps import shifted
from ..tensors.values import Array, Axis, Tensor, describe, room

if TYPE_CHECKING:
    from .call import Call


def longer(x: Tensor, axis: int, steps: int) -> list[Axis]:
    """The axes of `x` with more steps along time."""
    return retimed(x.axes, axis, shifted(str(x.axes[axis][0]), steps))


def retimed(axes: Sequence[Axis], axis: int, symbol: str) -> list[Axis]:
    """`axes` with another number of steps."""
    return [(symbol,) if i == axis else atoms for i, atoms in enumerate(axes)]


def unfolded(
    call: Call, value: str, taps: int, *, stride: int = 1, dilation: int = 1, before: int = 0, after: int = 0
) -> str:
    """Windows of steps as channels: (C, \\*rest) to (C * taps, \\*rest), the steps of a channel side by side."""
    frame = call.shape(value)
    count = int(np.prod(frame))
    room(count, taps, taps)
    weight = np.tile(np.eye(taps, dtype=np.float32)[:, None], (count, 1, 1))
    op = TimeConv(weight, stride=stride, dilation=dilation, before=before, after=after, groups=count)
    y = call.reshape(call.add(op, call.reshape(value, (count,))), (*frame, taps))
    y = call.transpose(y, [0, len(frame), *range(1, len(frame))])
    return call.reshape(y, (frame[0] * taps, *frame[1:]))


def time_conv(weight: Array, bias: Array | None, *, transposed: bool, groups: int, **window: Any) -> TimeConv:
    """A convolution over time from ONNX's weights, (O, C/groups, K), or (C, O/groups, K) of a transposed one."""
    if transposed:
        c, o, k = weight.shape
        parts = weight.reshape(groups, c // groups, o, k).transpose(0, 2, 1, 3)[..., ::-1]
        weight = parts.reshape(groups * o, c // groups, k)
    return TimeConv(weight, bias, groups=groups, **window)


# Cutting -----------------------------------------------------------------------------------------


def cropped(call: Call, x: Tensor, axis: int, start: int, end: int) -> Tensor:
    """`x` without its first and last steps, which a convolution or padding before it then does not make."""
    value = _pushed(call, x.value, _Crop(start, end), {})
    if value is None:
        raise ConvertError(
            f"steps to cut off must be those that padding has added, got {start} and {end} of {describe(x, axis)}"
        )
    return call.result(value, longer(x, axis, -start - end), x.elem)


def at_end(call: Call, x: Tensor, axis: int, *, first: bool) -> Tensor:
    """The last step of layers over time, or the first of layers that run backwards, without the axis."""
    value = _pushed(call, x.value, _End(first), {})
    if value is None:
        what = "the first of layers run backwards" if first else "the last of layers run forwards"
        raise ConvertError(f"a single step along time must be {what}, got another")
    rest = [atoms for i, atoms in enumerate(x.axes) if i != axis]
    return call.result(value, rest, x.elem)


class _Crop:
    """Cuts padding off where it is made."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end

    def leaf(self, call: Call, op: Op, inputs: Sequence[str]) -> str | None:
        """The op with less padding, or of which more is cut off; None when it has not enough, or none."""
        if isinstance(op, OverlapAdd) and op.tail is not None:
            return call.add(replace(op, skip=op.skip + self.start, tail=op.tail - self.end), *inputs)
        if isinstance(op, TimePad | TimeConv) and getattr(op, "stride", 1) == 1:
            before, after = op.before - self.start, op.after - self.end
            if min(before, after) >= 0:
                if isinstance(op, TimePad) and before == after == 0:
                    return inputs[0]
                return call.add(replace(op, before=before, after=after), *inputs)
        return None


class _End:
    """Takes the final output of recurrences."""

    def __init__(self, first: bool) -> None:
        self.first = first

    def leaf(self, call: Call, op: Op, inputs: Sequence[str]) -> str | None:
        """The recurrence that returns its final output alone; None when it ends at the other end."""
        if isinstance(op, Recurrent) and op.return_sequences and op.reverse == self.first:
            return call.add(replace(op, return_sequences=False), *inputs)
        return None


def _pushed(call: Call, value: str, change: _Crop | _End, done: dict[str, str | None]) -> str | None:
    """`value` after `change`, made at the ops over time from which it follows step by step."""
    if value in done:
        return done[value]
    done[value] = None
    node = call.emit.producers.get(value)
    if not call.emit.specs[value].time:
        done[value] = value
    elif node is None or isinstance(node.op, State | Reverse) or len(node.outputs) > 1:
        return None
    elif isinstance(node.op, Temporal) or (isinstance(node.op, Recurrent) and not node.op.scan):
        done[value] = change.leaf(call, node.op, node.inputs)
    else:
        inputs = [_pushed(call, v, change, done) for v in node.inputs]
        if all(v is not None for v in inputs):
            done[value] = call.add(node.op, *(v for v in inputs if v is not None))
    return done[value]
