"""Operators that fold axes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import TensorProto

from ..program.reductions import cumulative, place, reduced, running, top
from ..program.values import Tensor
from .call import Call, Translator

# operator -> function, and what was an attribute before which opset
REDUCTIONS: dict[str, tuple[str, int]] = {
    "ReduceSum": ("sum", 13), "ReduceMean": ("mean", 18), "ReduceMax": ("max", 18), "ReduceMin": ("min", 18),
    "ReduceProd": ("prod", 18), "ReduceL1": ("l1", 18), "ReduceL2": ("l2", 18), "ReduceSumSquare": ("sum_square", 18),
    "ReduceLogSum": ("log_sum", 18), "ReduceLogSumExp": ("log_sum_exp", 18),
}  # fmt: skip


def reduction(name: str) -> Translator:
    """A translator for a row of `REDUCTIONS`."""
    function, since = REDUCTIONS[name]

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        axes = call.ints("axes", 1, since)
        keep, nothing = bool(call.attr("keepdims", 1)), bool(call.attr("noop_with_empty_axes", 0))
        if not axes:
            if nothing:
                return x
            axes = list(range(x.rank))
        return reduced(call, x, call.axes(axes, x.rank), function, keep)

    return translate


def arg(function: str) -> Translator:
    """A translator for ArgMax or ArgMin."""

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        axis = call.axis(call.attr("axis", 0), x.rank)
        keep, last = bool(call.attr("keepdims", 1)), bool(call.attr("select_last_index", 0))
        return replace(place(call, x, axis, function, keep, last=last), elem=TensorProto.INT64)

    return translate


def cumulative_of(function: str) -> Translator:
    """A translator for CumSum or CumProd along an axis of fixed size or time."""

    def translate(call: Call) -> Tensor:
        x, given = call.tensor(0), call.array(1, "axis")
        axis = call.axis(int(given.reshape(-1)[0]), x.rank)
        exclusive, reverse = bool(call.attr("exclusive", 0)), bool(call.attr("reverse", 0))
        if function == "sum":
            return cumulative(call, x, axis, exclusive=exclusive, reverse=reverse)
        return running(call, x, axis, function, exclusive=exclusive, reverse=reverse)

    return translate


def top_k(call: Call) -> tuple[Tensor, Tensor]:
    """TopK along an axis of fixed size; in order, whether that is asked for or not."""
    x, k = call.tensor(0), call.attr("k") if call.opset < 10 else call.array(1, "k")
    axis = call.axis(call.attr("axis", -1), x.rank)
    call.attr("sorted")
    count = int(np.asarray(k).reshape(-1)[0])
    values, places = top(call, x, axis, count, largest=bool(call.attr("largest", 1)))
    return values, replace(places, elem=TensorProto.INT64)


OPERATORS: dict[str, Translator] = {
    **{name: reduction(name) for name in REDUCTIONS},
    "ArgMax": arg("argmax"),
    "ArgMin": arg("argmin"),
    "CumSum": cumulative_of("sum"),
    "CumProd": cumulative_of("prod"),
    "TopK": top_k,
}
