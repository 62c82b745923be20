"""Operators that fold axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from ...errors import ConvertError
from ...graph import ArgReduce, CumSum, Reduce, TimeReduce, TopK
from ..tensors.values import Tensor, describe
from ..tensors.views import with_ones, without
from .call import Call, Translator

# operator -> function, and what was an attribute before which opset
REDUCTIONS: dict[str, tuple[str, int]] = {
    "ReduceSum": ("sum", 13), "ReduceMean": ("mean", 18), "ReduceMax": ("max", 18), "ReduceMin": ("min", 18),
    "ReduceProd": ("prod", 18), "ReduceL1": ("l1", 18), "ReduceL2": ("l2", 18), "ReduceSumSquare": ("sum_square", 18),
    "ReduceLogSum": ("log_sum", 18), "ReduceLogSumExp": ("log_sum_exp", 18),
}  # fmt: skip
OVER_TIME = ("sum", "mean", "max", "min", "l2")  # these, of the steps' own, are what they are over both
IN_FLOAT = ("mean", "l2", "log_sum", "log_sum_exp")


def reduction(name: str) -> Translator:
    """A translator for a row of `REDUCTIONS`."""
    function, since = REDUCTIONS[name]

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        axes = call.ints("axes", 1, since)
        keep = bool(call.attr("keepdims", 1))
        if not axes:
            if call.attr("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.rank))
        return reduced(call, x, call.axes(axes, x.rank), function, keep)

    return translate


def reduced(call: Call, x: Tensor, axes: Sequence[int], function: str, keep: bool) -> Tensor:
    """`x` folded along ONNX axes, of which one may be time."""
    if not axes:
        return x
    kind = call.emit.specs[x.value].dtype
    if kind == "bool" or (kind == "int" and function in IN_FLOAT):
        working = call.result(call.cast(x.value, "int" if kind == "bool" else "float"), x.axes, x.elem)
        y = reduced(call, working, axes, function, keep)
        return call.result(call.cast(y.value, kind), y.axes, x.elem)
    frames = [a for a in axes if x.is_frame(a)]
    times = [a for a in axes if x.is_time(a)]
    others = [describe(x, a) for a in axes if a not in frames and a not in times]
    if others:
        raise ConvertError(f"axes to reduce must be of fixed size or time, got {' and '.join(others)}")
    if times and function not in OVER_TIME:
        raise ConvertError(f"reduction over time must be one of {', '.join(OVER_TIME)}, got {function}")
    if frames:
        value = call.add(Reduce(function, tuple(x.frame_axis(a) for a in frames), keepdims=True), x.value)
        x = call.result(value, x.axes, x.elem)
    if times:
        value = call.add(TimeReduce(function), x.value)
        kept = [axis for i, axis in enumerate(x.axes) if i not in times]
        x = with_ones(call, call.result(value, kept, x.elem), times)
    return x if keep else without(call, x, axes)


def arg(function: str) -> Translator:
    """A translator for ArgMax or ArgMin."""

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        axis = call.axis(call.attr("axis", 0), x.rank)
        last = bool(call.attr("select_last_index", 0))
        value = call.add(ArgReduce(function, x.frame_axis(axis), keepdims=True, last=last), x.value)
        y = call.result(value, x.axes, TensorProto.INT64)
        return y if call.attr("keepdims", 1) else without(call, y, [axis])

    return translate


def cumulative_sum(call: Call) -> Tensor:
    """CumSum along an axis of fixed size."""
    x, axis = call.tensor(0), call.array(1, "axis")
    frame = x.frame_axis(call.axis(int(axis.reshape(-1)[0]), x.rank))
    op = CumSum(frame, exclusive=bool(call.attr("exclusive", 0)), reverse=bool(call.attr("reverse", 0)))
    return call.result(call.add(op, x.value), x.axes, x.elem)


def top_k(call: Call) -> tuple[Tensor, Tensor]:
    """TopK along an axis of fixed size; in order, whether that is asked for or not."""
    x, k = call.tensor(0), call.attr("k") if call.opset < 10 else call.array(1, "k")
    frame = x.frame_axis(call.axis(call.attr("axis", -1), x.rank))
    largest = bool(call.attr("largest", 1))
    call.attr("sorted")
    count = int(np.asarray(k).reshape(-1)[0])
    if count == 1:
        values = call.add(Reduce("max" if largest else "min", (frame,), keepdims=True), x.value)
        places = call.add(ArgReduce("argmax" if largest else "argmin", frame, keepdims=True), x.value)
    else:
        values, places = call.add_many(TopK(count, frame, largest), x.value)
    return call.result(values, x.axes, x.elem), call.result(places, x.axes, TensorProto.INT64)


OPERATORS: dict[str, Translator] = {
    **{name: reduction(name) for name in REDUCTIONS},
    "ArgMax": arg("argmax"),
    "ArgMin": arg("argmin"),
    "CumSum": cumulative_sum,
    "TopK": top_k,
}
