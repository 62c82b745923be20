"""Sequences of tensors: lists of known length, the steps of a value, and what a loop over time appends to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program.joins import joined, parts_of, stacked
from ..program.joins import split as parted
from ..program.time import step_at
from ..program.values import Tensor, plain
from ..program.views import with_ones, without
from .call import Call
from .control import joined_steps
from .counting import StepNumber, step_of
from .lists import KINDS, Growing, Grown, Listed, Parted, Steps


def _given(call: Call) -> Any:
    value: Any = call.inputs[0]
    if not isinstance(value, KINDS):
        raise ConvertError("input 0 must be a sequence of tensors, got another value")
    return value


def _index(call: Call, index: int) -> int | None:
    given = call.optional(index, "position") if call.given(index) else None
    return None if given is None else int(given.reshape(-1)[0])


def empty(call: Call) -> Any:
    """SequenceEmpty."""
    call.attr("dtype")
    return Listed()


def construct(call: Call) -> Any:
    """SequenceConstruct."""
    return Listed(tuple(call.inputs))


def identity(call: Call) -> Any:
    """Identity."""
    return call.inputs[0]


def insert(call: Call) -> Any:
    """SequenceInsert; in a loop over time at the end or the front."""
    value, at, item = _given(call), _index(call, 2), call.inputs[1]
    if isinstance(value, Growing):
        if at not in (None, 0):
            raise ConvertError(f"loop over time must append to the end or the front of a sequence, got position {at}")
        return Grown(value.number, item, at == 0)
    if not isinstance(value, Listed):
        raise ConvertError("loop over time must append to a sequence once at each step, got more")
    count = len(value.items)
    place = count if at is None else at + count * (at < 0)
    if not 0 <= place <= count:
        raise ConvertError(f"position must be within [{-count}, {count}], got {at}")
    return Listed((*value.items[:place], item, *value.items[place:]))


def at(call: Call) -> Any:
    """SequenceAt: by a number, or by that of the step of a loop."""
    value, number = _given(call), call.inputs[1]
    stepwise: Any = number
    if isinstance(value, Parted) and isinstance(stepwise, StepNumber):
        row = step_of(call, value.source, value.axis, stepwise)
        return with_ones(call, row, [value.axis]) if value.kept else row
    index = _index(call, 1)
    if isinstance(value, Listed) and index is not None:
        count = len(value.items)
        if not -count <= index < count:
            raise ConvertError(f"position must be within [{-count}, {count - 1}], got {index}")
        return value.items[index]
    if isinstance(value, Parted | Steps) and index in (0, -1):
        x, axis = (value.source, value.axis) if isinstance(value, Parted) else (_all(call, value, 0), 0)
        end = step_at(call, x, axis, index)
        return with_ones(call, end, [axis]) if isinstance(value, Parted) and value.kept else end
    raise ConvertError(f"position in a sequence over time must be the first or last one, or the step, got {index}")


def length(call: Call) -> Any:
    """SequenceLength."""
    value = _given(call)
    if isinstance(value, Listed):
        return np.array(len(value.items))
    if isinstance(value, Parted):
        return plain([value.source.size(value.axis)]).reshape(())
    raise ConvertError("length of a sequence must be asked behind the loop that appends to it alone")


def split(call: Call) -> Any:
    """SplitToSequence into parts of one element."""
    x = call.tensor(0)
    axis = call.axis(call.attr("axis", 0), x.rank)
    sizes = call.optional(1, "split")
    single = sizes is None or (sizes.ndim == 0 and int(sizes) == 1)
    # The standard ignores keepdims where there is an input split; PyTorch writes both, and ONNX Runtime reads both.
    kept = bool(call.attr("keepdims", 1)) or not single
    if x.is_time(axis):
        if not single:
            raise ConvertError("sequence over time must be split into single steps, got more")
        return Parted(x, axis, kept)
    n = x.spec.shape[x.frame_axis(axis)]
    sizes = np.ones(n, np.int64) if sizes is None else sizes
    parts = [int(n) for n in sizes] if sizes.ndim else parts_of(n, int(sizes))
    items = parted(call, x, parts, axis)
    return Listed(tuple(items if kept else (without(call, item, [axis]) for item in items)))


def concat(call: Call) -> Any:
    """ConcatFromSequence."""
    value, new = _given(call), bool(call.attr("new_axis", 0))
    if isinstance(value, Steps):
        item = value.item
        axis = call.axis(call.attr("axis"), item.rank + new)
        return _all(call, value if new else replace(value, item=without(call, item, [axis])), axis)
    if isinstance(value, Parted):
        raise ConvertError("steps of a sequence must be read by a loop over time, got them joined again")
    if not isinstance(value, Listed) or not value.items:
        raise ConvertError("sequence must have tensors to be joined, got none")
    tensors = [call.lift(item) for item in value.items]
    axis = call.axis(call.attr("axis"), tensors[0].rank + new)
    return (stacked if new else joined)(call, tensors, axis)


def _all(call: Call, value: Steps, axis: int) -> Tensor:
    return joined_steps(call, value.item, axis, value.length, backward=value.front)


OPERATORS: dict[str, Callable[[Call], Any]] = {
    "SequenceEmpty": empty, "SequenceConstruct": construct, "SequenceInsert": insert, "SequenceAt": at,
    "SequenceLength": length, "SplitToSequence": split, "ConcatFromSequence": concat,
}  # fmt: skip


def translated(call: Call) -> list[Any] | None:
    """The outputs of a node that makes or reads a sequence; None for any other."""
    values: Sequence[Any] = call.inputs
    held = any(isinstance(v, KINDS) for v in values)
    handler = OPERATORS.get(call.node.op_type) or (identity if held and call.node.op_type == "Identity" else None)
    if handler is None and held and call.node.op_type not in ("Loop", "If"):
        raise ConvertError(f"sequence of tensors must be appended to, indexed or joined, got {call.node.op_type}")
    if handler is None:
        return None
    found = [handler(call)]
    ignored = call.attributes.ignored()
    if ignored:
        raise ConvertError("; ".join(ignored))
    return found
