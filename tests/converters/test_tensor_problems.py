"""Every message of the ops on frames and steps: what no op can be, and which inputs it refuses."""

from __future__ import annotations

from types import EllipsisType

import numpy as np
import pytest

from fastgru import graph as g
from fastgru.errors import GraphError
from fastgru.graph import Spec

F, I, B = "float", "int", "bool"


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


SCAN = {"scan": True}
RNN = (ones(2, 3), ones(2, 2))
LSTM = (ones(8, 3), ones(8, 2))

# What no op accepts when it is made -----------------------------------------------------------------

MADE = [
    (lambda: g.Constant(0.5, "int"), r"value must be integers within \+-2\*\*53 for dtype 'int', got 0.5"),
    (lambda: g.Constant(2.0**60, "int"), "value must be integers within"),
    (lambda: g.Constant(np.nan, "int"), "value must be integers within .* got nan"),
    (lambda: g.Constant(2, "bool"), "value must be 0 or 1 for dtype 'bool', got 2.0"),
    (lambda: g.Constant(1, "complex"), "dtype must be one of float, int, bool, got 'complex'"),
    (lambda: g.Constant("a"), r"Constant value must be a real array of shape \(\.\.\.\), got <U1 of shape \(\)"),
    (lambda: g.Constant([]), r"Constant value must have no empty axis, got shape \(0,\)"),
    (lambda: g.State(None), r"State initial must be an array of shape \(\.\.\.\), got None"),
    (lambda: g.Unary("tan"), "function must be one of atan, neg, .*got 'tan'"),
    (lambda: g.Binary("add"), "function must be one of and, sub, .*got 'add'"),
    (lambda: g.Cast("complex"), "to must be one of float, int, bool, got 'complex'"),
    (lambda: g.Softmax(1.0), "axis must be an int, got 1.0"),
    (lambda: g.Softmax(True), "axis must be an int, got True"),
    (lambda: g.Softmax(0, log=1), "log must be a bool, got 1"),
    (lambda: g.Reduce("median", (0,)), "function must be one of mean, min, .*got 'median'"),
    (lambda: g.Reduce("sum", ()), "axes must have at least one axis, got none"),
    (lambda: g.Reduce("sum", (1, 1)), r"axes must be distinct, got \(1, 1\)"),
    (lambda: g.Reduce("sum", 1), "axes must be a tuple of ints, got 1"),
    (lambda: g.TopK(0, 0), "k must be at least 1, got 0"),
    (lambda: g.OverlapAdd(2, 3, tail="all"), "tail must be an int or None, got 'all'"),
    (lambda: g.TimePad(1, outside="wrap"), "outside must be one of value, edge, reflect, got 'wrap'"),
    (lambda: g.OverlapAdd(2, 1, skip=-1), "skip must be at least 0, got -1"),
    (lambda: g.ArgReduce("max", 0), "function must be one of argmax, argmin, got 'max'"),
    (lambda: g.Reshape((2, -1)), r"shape must be at least 1, got \(2, -1\)"),
    (lambda: g.Expand((0,)), r"shape must be at least 1, got \(0,\)"),
    (lambda: g.Tile((0, 1)), r"repeats must be at least 1, got \(0, 1\)"),
    (lambda: g.Transpose((0, 2)), r"perm must be an order of \(0, 1\), got \(0, 2\)"),
    (lambda: g.Slice((0,), (1,), (0,)), r"steps must not be 0, got \(0,\)"),
    (lambda: g.Slice((0,), (1, 2), (1,)), "starts, stops and steps must have one length"),
    (lambda: g.Pad((-1,), (0,)), r"before must be at least 0, got \(-1,\)"),
    (lambda: g.Pad((0,), (0,), "mirror"), "mode must be one of constant, reflect, edge, wrap, got 'mirror'"),
    (lambda: g.Pad((0,), (0,), value=np.inf), "value must be finite, got inf"),
    (lambda: g.OneHot(0, 0), "depth must be at least 1, got 0"),
    (lambda: g.OneHot(2, 0, on=np.nan), "on must be finite, got nan"),
    (lambda: g.Conv(ones(2, 3)), r"kernel must have 1 to 3 axes, got \(\)"),
    (lambda: g.Conv(ones(2)), r"weight must be a real array of shape \(O, C/groups, \.\.\.\), got .* \(2,\)"),
    (lambda: g.Conv(ones(2, 3, 1, 1, 1, 1)), r"kernel must have 1 to 3 axes, got \(1, 1, 1, 1\)"),
    (lambda: g.Conv(ones(2, 3, 4), strides=(1, 1)), r"strides must have one entry per axis of the kernel \(4,\), got"),
    (lambda: g.Conv(ones(2, 3, 4), strides=(0,)), r"strides must be at least 1, got \(0,\)"),
    (lambda: g.Conv(ones(2, 3, 4), before=(-1,)), r"before must be at least 0, got \(-1,\)"),
    (lambda: g.Conv(ones(3, 3, 4), groups=2), r"groups must divide axis 0 of \(3, 3, 4\), got 2"),
    (lambda: g.Conv(ones(2, 3, 4), groups=0), r"groups must divide axis 0 of \(2, 3, 4\), got 0"),
    (lambda: g.Conv(ones(2, 3, 4), ones(3)), r"bias must have shape \(2,\), got \(3,\)"),
    (lambda: g.Conv(ones(2, 3, 4), activation="softmax"), "activation must be elementwise, got 'softmax'"),
    (lambda: g.Conv(ones(2, 3, 4), strides=2), "strides must be a tuple of ints, got 2"),
    (lambda: g.ConvTranspose(ones(3, 2, 4), ones(2), groups=3), r"bias must have shape \(6,\), got \(2,\)"),
    (lambda: g.ConvTranspose(ones(3, 2, 4), output_padding=(-1,)), r"output_padding must be at least 0, got \(-1,\)"),
    (lambda: g.ConvTranspose(ones(3, 2, 4), groups=2), r"groups must divide axis 0 of \(3, 2, 4\), got 2"),
    (lambda: g.ConvTranspose(ones(3, 2, 4), activation="softmax"), "activation must be elementwise"),
    (lambda: g.Pool("sum", (2,)), "mode must be one of max, average, got 'sum'"),
    (lambda: g.Pool("max", ()), r"kernel must have 1 to 3 axes, got \(\)"),
    (lambda: g.Pool("max", (0,)), r"kernel must be at least 1, got \(0,\)"),
    (lambda: g.Pool("max", (2,), dilations=(2,), after=(3,)), r"after must be less than the windows' extent \(3,\)"),
    (lambda: g.TimeConv(ones(2, 3, 4), stride=0), "stride must be at least 1, got 0"),
    (lambda: g.TimeConv(ones(2, 3, 4), after=-1), "after must be at least 0, got -1"),
    (lambda: g.TimeConv(ones(2, 3)), r"weight must be a real array of shape \(O, C/groups, K\)"),
    (lambda: g.TimeConv(ones(2, 3, 4), ones(3), groups=3), r"(?s)groups must divide .*bias must have shape \(2,\)"),
    (lambda: g.TimeConv(ones(2, 3, 4), activation="softmax"), "activation must be elementwise"),
    (lambda: g.TimePool("min", 2, 1), "mode must be one of max, average, got 'min'"),
    (lambda: g.TimePool("max", 0, 1), "size must be at least 1, got 0"),
    (lambda: g.TimePool("max", 2, 1, before=2), "before must be less than size 2, got 2"),
    (lambda: g.TimePad(-1), "before must be at least 0, got -1"),
    (lambda: g.TimePad(1, value=np.nan), "value must be finite, got nan"),
    (lambda: g.TimeReduce("prod"), "function must be one of sum, mean, max, min, l2, got 'prod'"),
    (lambda: g.Framing(0, 1), "size must be at least 1, got 0"),
    (lambda: g.TimeSlice(step=0), "step must be at least 1, got 0"),
    (lambda: g.TimeSlice(step=-1), "step must be at least 1, got -1"),
    (lambda: g.OverlapAdd(2, 3), "hop must be at most size 2 without a tail, got 3"),
    (lambda: g.OverlapAdd(2, 0), "hop must be at least 1, got 0"),
    (lambda: g.RFFT(0), "n must be at least 1, got 0"),
    (lambda: g.RNN(*RNN, operands=("lengths",)), r"operands must be empty without scan, got \('lengths',\)"),
    (lambda: g.RNN(*RNN, **SCAN, operands=("initial_c",)), "operand must be one of initial_h, lengths, got"),
    (lambda: g.RNN(*RNN, **SCAN, operands=("lengths",) * 2), "operands must be distinct, got"),
    (lambda: g.RNN(*RNN, **SCAN, operands="lengths"), "operands must be a tuple of strings, got 'lengths'"),
    (lambda: g.RNN(*RNN, **SCAN, operands=("initial_h",), initial_h=ones(2)), "initial_h must be an array or an op"),
    (lambda: g.RNN(*RNN, **SCAN, return_sequences=False), "return_sequences must be True with scan, got False"),
    (lambda: g.RNN(*RNN, **SCAN, mask_output="carry"), "mask_output must be 'zero' with scan, got 'carry'"),
    (lambda: g.RNN(*RNN, reverse=1), "reverse must be a bool, got 1"),
    (lambda: g.Bidirectional(*[g.RNN(*RNN, **SCAN)] * 2), "scan must be False in both directions, got True"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), MADE, ids=range(len(MADE)))
def test_what_no_op_can_be_is_named(make, message):
    with pytest.raises(GraphError, match=message):
        make()


def test_all_problems_are_listed():
    with pytest.raises(GraphError, match=r"(?s)stride must be.*dilation must be.*before must be.*bias must have shape"):
        g.TimeConv(ones(2, 3, 4), ones(5), stride=0, dilation=0, before=-1)


# What they refuse of their inputs -------------------------------------------------------------------


def spec(shape: tuple[int, ...] | EllipsisType, dtype: str = F, time: bool = True) -> Spec:
    return Spec((2, 3) if shape is ... else shape, time, dtype)


REFUSED = [
    (g.Constant(1.0), [...], "number of inputs must be 0, got 1"),
    (g.Unary("abs"), [], "number of inputs must be 1, got 0"),
    (g.Unary("abs"), [(..., B)], r"input must be float or int, got \(B, T, 2, 3\) bool"),
    (g.Unary("exp"), [(..., I)], "input must be float, got"),
    (g.Unary("not"), [...], "input must be bool, got"),
    (g.Binary("sub"), [...], "number of inputs must be 2, got 1"),
    (g.Binary("sub"), [..., (..., I)], "inputs must all be float or all int, got .* float, .* int"),
    (g.Binary("and"), [(..., B), (..., I)], "input 1 must be bool, got"),
    (g.Binary("sub"), [(2, 3), (2,)], r"frames must broadcast, got \(2, 3\), \(2,\)"),
    (g.Add(), [], "number of inputs must be at least 1, got 0"),
    (g.Add(), [(..., B)] * 2, "inputs must all be float or all int, got"),
    (g.Average(), [(..., I)], "inputs must all be float, got"),
    (g.Where(), [..., ..., ...], "input 0 must be bool, got"),
    (g.Where(), [(..., B), ..., (..., I)], "inputs must all be float or all int or all bool, got"),
    (g.Activate("softmax"), [()], "input must be float with at least one frame axis, got"),
    (g.Activate("relu"), [(..., I)], "input must be float, got"),
    (g.Dense(ones(2, 5)), [...], "input must have 5 features, got 3"),
    (g.Dense(ones(2, 5)), [...] * 2, "number of inputs must be 1, got 2"),
    (g.LayerNorm(ones(5)), [...], "input must have 5 features, got 3"),
    (g.BatchNorm(ones(5), ones(5)), [...], "input must have 5 features, got 3"),
    (g.Scaler(ones(5), 2.0), [...], "frames must broadcast"),
    (g.Embedding(ones(2, 5)), [...], "input must be int, got"),
    (g.Reverse(), [(..., F, False)], r"input must have a time axis, got \(B, 2, 3\) float"),
    (g.Reverse(), [(..., F), ((), F, False)], "input 1 must be int, got"),
    (g.Reverse(), [(..., F), ((), I)], r"lengths must be \(B,\) int, got \(B, T\) int"),
    (g.Softmax(2), [...], "axis must be one of the 2 axes of the frame, counted from 0, got 2"),
    (g.Softmax(-1), [...], "axis must be one of the 2 axes of the frame, counted from 0, got -1"),
    (g.Reduce("sum", (0, 2)), [...], "axes must be one of the 2 axes of the frame, counted from 0, got 2"),
    (g.Reduce("mean", (0,)), [(..., I)], "input must be float, got"),
    (g.TopK(2, 2), [...], "axis must be one of the 2 axes"),
    (g.TopK(4, 1), [...], "k must be at most the 3 elements of the axis, got 4"),
    (g.TopK(1, 0), [(..., B)], "input must be float or int, got"),
    (g.ArgReduce("argmax", 2), [...], "axis must be one of the 2 axes"),
    (g.ArgReduce("argmax", 0), [(..., B)], "input must be float or int, got"),
    (g.CumSum(2), [...], "axis must be one of the 2 axes"),
    (g.Reshape((2, 4)), [...], r"shape must have the 6 elements of the frame \(2, 3\), got \(2, 4\)"),
    (g.Transpose((0,)), [...], r"perm must have one entry per axis of the frame \(2, 3\), got \(0,\)"),
    (g.Slice((0,), (1,), (1,)), [...], "starts must have one entry per axis of the frame"),
    (g.Slice((0, 0), (3, 1), (1, 1)), [...], "slice of axis 0 must lie within 0..2, got 0:3:1"),
    (g.Slice((-1, 0), (2, 1), (1, 1)), [...], "slice of axis 0 must lie within 0..2, got -1:2:1"),
    (g.Slice((0, 2), (2, -1), (1, -1)), [...], "slice of axis 1 must lie within 0..3, got 2:-1:-1"),
    (g.Slice((0, 2), (2, 2), (1, 1)), [...], "slice of axis 1 must keep an element, got 2:2:1"),
    (g.Pad((0,), (0, 0)), [...], "before must have one entry per axis of the frame"),
    (g.Pad((0, 0), (0,)), [...], "after must have one entry per axis of the frame"),
    (g.Pad((0, 3), (0, 0), "reflect"), [...], r"padding by reflect must be at most 2 on an axis of 3, got \[3, 0\]"),
    (g.Pad((0, 0), (0, 4), "wrap"), [...], r"padding by wrap must be at most 3 on an axis of 3, got \[0, 4\]"),
    (g.Pad((0, 0), (0, 4), value=0.5), [(..., I)], "value must be an integer for an input that is, got 0.5"),
    (g.Pad((0, 0), (0, 4)), [(..., B)], "input must be float or int, got"),
    (g.Expand((2, 4)), [...], r"frames must broadcast, got \(2, 3\), \(2, 4\)"),
    (g.Expand((3,)), [...], r"shape must be one that the frame \(2, 3\) broadcasts to, got \(3,\)"),
    (g.Tile((2,)), [...], "repeats must have one entry per axis of the frame"),
    (g.Concat(2), [...], "axis must be one of the 2 axes of the frame, counted from 0, got 2"),
    (g.Concat(-3), [...], "axis must be one of the 2 axes of the frame, counted from 0, got -1"),
    (g.Concat(0), [(2, 3), (2, 4)], "inputs must have one shape but for axis 0, got"),
    (g.Concat(0), [(2,), (2, 1)], "inputs must have one shape but for axis 0, got"),
    (g.Concat(0), [..., (..., I)], "inputs must all be float or all int or all bool, got"),
    (g.Gather(0), [..., ...], "input 1 must be int, got"),
    (g.Gather(2), [..., ((), I)], "axis must be one of the 2 axes"),
    (g.OneHot(3, 3), [(..., I)], "axis must be one of the 3 axes of the frame, counted from 0, got 3"),
    (g.MatMul(), [(2, 3), (2, 3)], "frames must agree in the axis that is summed, got 3 and 2"),
    (g.MatMul(), [(), (2, 3)], r"a must have at least 1 frame axes, got \(\)"),
    (g.MatMul(transpose_b=True), [(2, 3), (3,)], r"b must have at least 2 frame axes, got \(3,\)"),
    (g.MatMul(), [(2, 4, 3), (3, 3, 4)], r"frames must broadcast, got \(2,\), \(3,\)"),
    (g.Conv(ones(2, 3, 4)), [...], "input must have 3 channels, got"),
    (g.Conv(ones(2, 3, 4)), [(3,)], "input must have a frame of channels and 1 spatial axes, got"),
    (g.Conv(ones(2, 2, 4)), [...], r"output must have at least 1 element along every spatial axis, got \(0,\) from"),
    (g.ConvTranspose(ones(2, 2, 2), before=(4,)), [...], "output must have at least 1 element along every"),
    (g.ConvTranspose(ones(3, 2, 2)), [...], "input must have 3 channels, got"),
    (g.Pool("max", (4,)), [...], "output must have at least 1 element along every"),
    (g.Pool("max", (2,), dilations=(4,), before=(3,)), [...], "dilations must be at most the axes of .* where the"),
    (g.TimeConv(ones(2, 3, 4)), [...], r"input must have a frame of 3 channels, got \(B, T, 2, 3\) float"),
    (g.TimePool("max", 2, 1), [(..., F, False)], "input must have a time axis, got"),
    (g.TimeReduce("sum"), [(..., I)], "input must be float, got"),
    (g.Framing(2, 1), [(..., F, False)], "input must have a time axis, got"),
    (g.TimeSlice(1), [(..., F, False)], "input must have a time axis, got"),
    (g.TimeStep(), [(..., F, False)], "input must have a time axis, got"),
    (g.TimeStep(), [..., ...], "number of inputs must be 1, got 2"),
    (g.OverlapAdd(3, 1), [...], "input must be frames of 3 steps, got"),
    (g.RFFT(4), [...], "input must have 4 features, got 3"),
    (g.IRFFT(4), [(2, 3)], r"input must have last axes \(3, 2\), got"),
    (g.RNN(*RNN, **SCAN), [...], r"input must have a frame of shape \(S, N, 3\), got"),
    (g.RNN(*RNN, **SCAN), [(5, 4, 2)], r"input must have a frame of shape \(S, N, 3\), got"),
    (g.RNN(*RNN, **SCAN), [(5, 4, 3), (4, 2)], "number of inputs must be 1, got 2"),
    (g.RNN(*RNN, **SCAN, operands=["lengths"]), [(5, 4, 3), (4,)], "input 1 must be int, got"),
    (g.RNN(*RNN, **SCAN, operands=["lengths"]), [(5, 4, 3), ((5,), I)], r"lengths must have a frame of shape \(4,\)"),
    (g.LSTM(*LSTM, **SCAN, operands=["initial_c"]), [(5, 4, 3), (2, 4)], r"initial_c must have a frame of shape"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "inputs", "message"), REFUSED, ids=range(len(REFUSED)))
def test_inputs_that_do_not_fit_are_named(op, inputs, message):
    specs = [
        spec(*x) if isinstance(x, tuple) and isinstance(x[-1] if x else 0, str | bool) else spec(x) for x in inputs
    ]
    with pytest.raises(GraphError, match=message):
        op.infer(tuple(specs))
