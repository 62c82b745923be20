"""Ops over frames: for each a name, the op, and the specs of its inputs."""

from __future__ import annotations

import numpy as np

from fastgru import graph as g
from fastgru.graph import Spec

RNG = np.random.default_rng(5)


def w(*shape: int) -> np.ndarray:
    return (RNG.uniform(-1, 1, shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)


F = lambda *shape, time=True: Spec(shape, time)  # noqa: E731
I = lambda *shape, time=True: Spec(shape, time, "int")  # noqa: E731

UNARY = [(f"unary-{f}", g.Unary(f), [F(3, 5)]) for f in g.UNARY if f not in ("not", "isnan", "log", "sqrt")]
BINARY = [(f"binary-{f}", g.Binary(f), [F(3, 5), F(5)]) for f in g.BINARY if f not in ("and", "or", "xor", "pow")]
CONVS = [
    ("conv1", g.Conv(w(6, 3, 4), w(6)), [F(3, 20)]),
    ("conv1-stride", g.Conv(w(17, 3, 4), w(17), strides=(3,), before=(2,), after=(1,)), [F(3, 20)]),
    ("conv1-one-channel", g.Conv(w(40, 1, 64), strides=(16,)), [F(1, 256)]),
    ("conv1-dilated", g.Conv(w(9, 2, 3), dilations=(4,), activation="relu"), [F(2, 20)]),
    ("conv1-groups", g.Conv(w(6, 2, 3), w(6), groups=3, before=(1,), after=(1,)), [F(6, 11)]),
    ("conv1-depthwise", g.Conv(w(20, 1, 3), w(20), groups=20, activation="tanh"), [F(20, 11)]),
    ("conv2", g.Conv(w(8, 3, 3, 5), w(8), strides=(1, 2), before=(1, 2), after=(1, 2)), [F(3, 6, 15)]),
    ("conv2-point", g.Conv(w(16, 8, 1, 1), w(16), activation="relu"), [F(8, 3, 33)]),
    ("conv2-depthwise", g.Conv(w(16, 1, 3, 3), w(16), groups=16, dilations=(2, 1), before=(0, 1), after=(0, 1)),
     [F(16, 7, 33)]),
    ("conv2-groups", g.Conv(w(16, 8, 1, 5), w(16), groups=2, strides=(1, 2), before=(0, 2), after=(0, 2)),
     [F(16, 1, 33)]),
    ("conv3", g.Conv(w(4, 2, 2, 2, 2)), [F(2, 3, 4, 5)]),
    ("deconv1", g.ConvTranspose(w(3, 5, 4), w(5), strides=(2,)), [F(3, 7)]),
    ("deconv2", g.ConvTranspose(w(16, 8, 1, 5), w(16), strides=(1, 2), before=(0, 2), after=(0, 2), groups=2),
     [F(16, 1, 17)]),
    ("deconv2-out", g.ConvTranspose(w(3, 4, 3, 3), strides=(2, 2), before=(1, 1), after=(1, 1), output_padding=(1, 1)),
     [F(3, 4, 5)]),
    ("deconv2-dilated", g.ConvTranspose(w(8, 1, 3, 3), w(8), dilations=(3, 1), before=(6, 1), after=(0, 1), groups=8),
     [F(8, 5, 9)]),
    ("max-pool", g.Pool("max", (3,), strides=(2,), before=(1,), after=(1,)), [F(4, 11)]),
    ("average-pool", g.Pool("average", (2, 3), strides=(1, 2), before=(1, 1), after=(0, 1)), [F(4, 6, 11)]),
    ("average-pool-counting", g.Pool("average", (3,), before=(1,), after=(1,), count_padding=True), [F(4, 6)]),
]  # fmt: skip
SHAPES = [
    ("reshape", g.Reshape((5, 6)), [F(2, 3, 5)]),
    ("transpose", g.Transpose((2, 0, 1)), [F(2, 3, 5)]),
    ("slice", g.Slice((1, 0, 4), (3, 1, -6), (1, 1, -2)), [F(4, 2, 5)]),
    ("pad", g.Pad((1, 0, 2), (0, 3, 1), "constant", 1.5), [F(2, 3, 4)]),
    ("pad-reflect", g.Pad((0, 2), (0, 3), "reflect"), [F(2, 5)]),
    ("pad-edge", g.Pad((1, 2), (2, 0), "edge"), [F(2, 5)]),
    ("pad-wrap", g.Pad((0, 2), (0, 3), "wrap"), [F(2, 5)]),
    ("concat", g.Concat(1), [F(2, 3, 4), F(2, 1, 4), F(2, 2, 4)]),
    ("expand", g.Expand((4, 3, 5)), [F(3, 1)]),
    ("tile", g.Tile((2, 1, 3)), [F(2, 3, 2)]),
    ("gather", g.Gather(1), [F(2, 7, 3), I(2, 4)]),
    ("one-hot", g.OneHot(7, 1, 2.0, -1.0), [I(3, 2)]),
    ("embedding", g.Embedding(w(7, 4)), [I(3)]),
]
FOLDS = [(f"reduce-{f}", g.Reduce(f, (0, 2), keepdims=False), [F(3, 4, 5)]) for f in g.REDUCTIONS if f != "log_sum"]
FOLDS += [(f"reduce-last-{f}", g.Reduce(f, (1,)), [F(7, 40)]) for f in g.REDUCTIONS if f != "log_sum"]
FOLDS += [
    ("argmax", g.ArgReduce("argmax", 1), [F(3, 9, 2)]),
    ("argmin-last", g.ArgReduce("argmin", 0, keepdims=False, last=True), [F(9)]),
    ("top-k", g.TopK(3, 1), [F(3, 9, 2)]),
    ("top-k-smallest", g.TopK(2, 1, largest=False), [F(3, 9)]),
    ("top-k-of-all", g.TopK(9, 0), [F(9)]),
    ("top-k-of-integers", g.TopK(4, 1), [I(2, 9)]),
    ("cumsum", g.CumSum(1), [F(2, 6, 3)]),
    ("cumsum-exclusive", g.CumSum(0, exclusive=True, reverse=True), [F(6)]),
    ("softmax", g.Softmax(1), [F(2, 6, 3)]),
    ("log-softmax", g.Softmax(0, log=True), [F(6, 3)]),
    ("layer-norm", g.LayerNorm(w(6), w(6)), [F(2, 3, 6)]),
    ("scaler", g.Scaler(np.arange(6) + 1e3, np.arange(1, 7) / 3), [F(2, 3, 6)]),
    ("scaler-of-all", g.Scaler(np.ones((3, 1)) / 3, 0.1), [F(2, 3, 6)]),
    ("batch-norm", g.BatchNorm(w(6), abs(w(6)) + 1, w(6), w(6)), [F(2, 3, 6)]),
]
PRODUCTS = [
    ("dense", g.Dense(w(4, 6), w(4), "tanh"), [F(2, 3, 6)]),
    ("dense-row", g.Dense(w(4, 6), w(4), "relu"), [F(6)]),
    ("dense-softmax", g.Dense(w(4, 6), None, "softmax"), [F(3, 6)]),
    ("matmul", g.MatMul(), [F(2, 3, 5), F(2, 5, 4)]),
    ("matmul-transposed", g.MatMul(transpose_b=True), [F(2, 3, 5), F(4, 5)]),
    ("matmul-vectors", g.MatMul(), [F(5), F(5)]),
    ("matmul-wide", g.MatMul(transpose_a=True), [F(20, 3), F(20, 50)]),
    ("rfft", g.RFFT(32), [F(2, 32)]),
    ("rfft-odd", g.RFFT(9), [F(9)]),
    ("rfft-512", g.RFFT(512), [F(2, 512)]),
    ("rfft-12", g.RFFT(12), [F(12)]),
    ("rfft-20", g.RFFT(20), [F(3, 20)]),
    ("irfft-24", g.IRFFT(24), [F(3, 13, 2)]),
    ("rfft-36", g.RFFT(36), [F(36)]),
    ("irfft-36", g.IRFFT(36), [F(19, 2)]),
    ("rfft-60", g.RFFT(60), [F(60)]),
    ("irfft-60", g.IRFFT(60), [F(31, 2)]),
    ("irfft-512", g.IRFFT(512), [F(257, 2)]),
    ("irfft", g.IRFFT(32), [F(2, 17, 2)]),
    ("irfft-odd", g.IRFFT(9), [F(5, 2)]),
]
MERGES = [
    ("add", g.Add(), [F(3, 4), F(4), F(3, 1)]),
    ("multiply-still", g.Multiply(), [F(3, 4), F(4, time=False)]),
    ("average", g.Average(), [F(3, 4), F(4)]),
    ("activate", g.Activate("sigmoid"), [F(3, 4)]),
    ("activate-softmax", g.Activate("softmax"), [F(3, 4)]),
]
GATED = dict(zip(("rnn", "gru", "lstm"), (g.RNN, g.GRU, g.LSTM), strict=True))


def scan(kind: str, **fields: object) -> g.Recurrent:
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    return GATED[kind](w(gates * 5, 4), w(gates * 5, 5), w(gates * 5), w(gates * 5), scan=True, **fields)


SCANS = [
    ("scan-rnn", scan("rnn"), [F(6, 3, 4)]),
    ("scan-gru", scan("gru"), [F(6, 3, 4)]),
    ("scan-gru-before", scan("gru", reset_after=False, reverse=True), [F(6, 3, 4)]),
    ("scan-lstm", scan("lstm"), [F(6, 3, 4)]),
    ("scan-lstm-given", scan("lstm", operands=("initial_h", "initial_c")), [F(6, 3, 4), F(3, 5), F(3, 5)]),
    ("scan-gru-lengths", scan("gru", operands=("lengths",), reverse=True), [F(6, 3, 4), I(3)]),
]
SCANS.append(("scan-one-row", scan("gru"), [F(6, 1, 4)]))
CASES = [*UNARY, *BINARY, *CONVS, *SHAPES, *FOLDS, *PRODUCTS, *MERGES, *SCANS]
TEMPORAL = [
    ("time-conv-causal", g.TimeConv(w(6, 3, 4), w(6), before=3), [F(3)]),
    ("time-conv-valid", g.TimeConv(w(20, 3, 4), w(20), activation="relu"), [F(3)]),
    ("time-conv-same", g.TimeConv(w(6, 3, 5), before=2, after=2), [F(3)]),
    ("time-conv-strided", g.TimeConv(w(6, 3, 4), stride=3, before=2, after=1), [F(3)]),
    ("time-conv-sparse", g.TimeConv(w(6, 3, 2), stride=5), [F(3)]),
    ("time-conv-dilated", g.TimeConv(w(6, 1, 3), dilation=2, before=4, groups=3), [F(3)]),
    ("time-pool-max", g.TimePool("max", 3, 2, before=1, after=1), [F(2, 3)]),
    ("time-pool-average", g.TimePool("average", 3, 1, before=2), [F(3)]),
    ("time-pool-counting", g.TimePool("average", 4, 2, before=1, after=1, count_padding=True), [F(3)]),
    ("time-pad", g.TimePad(3, 2, 0.5), [F(2, 2)]),
    ("time-pad-reflect", g.TimePad(3, 2, outside="reflect"), [F(2, 2)]),
    ("time-pad-reflect-end", g.TimePad(0, 5, outside="reflect"), [F(3)]),
    ("time-pad-reflect-front", g.TimePad(6, 0, outside="reflect"), [F(3)]),
    ("time-pad-edge", g.TimePad(4, 3, outside="edge"), [F(3)]),
    ("framing", g.Framing(8, 3), [F()]),
    ("framing-of-frames", g.Framing(3, 2), [F(2, 3)]),
    ("framing-causal", g.Framing(3, 1, dilation=2, before=4), [F(2, 3)]),
    ("framing-padded", g.Framing(4, 3, before=2, after=3), [F(5)]),
    ("framing-of-integers", g.Framing(2, 5), [I(3)]),
    ("time-slice-from", g.TimeSlice(start=3), [F(2, 3)]),
    ("time-slice-to", g.TimeSlice(stop=-2), [F(3)]),
    ("time-slice-between", g.TimeSlice(start=2, stop=-3, step=2), [F(2, 3)]),
    ("time-slice-every", g.TimeSlice(step=4), [I(2)]),
    ("overlap-add", g.OverlapAdd(8, 3), [F(8)]),
    ("overlap-add-frames", g.OverlapAdd(4, 2, tail=2), [F(4, 3)]),
    ("overlap-add-cut", g.OverlapAdd(5, 2, skip=3, tail=1), [F(5, 2, 3)]),
    ("overlap-add-cut-late", g.OverlapAdd(5, 3, skip=1, tail=-2), [F(5)]),
    ("overlap-add-all-cut", g.OverlapAdd(4, 4, skip=9, tail=-3), [F(4, 2)]),
    ("overlap-add-with-gaps", g.OverlapAdd(2, 5, tail=-3), [F(2, 3)]),
    ("overlap-add-longer", g.OverlapAdd(3, 2, tail=4), [F(3)]),
]
WHOLE = [(f"time-{f}", g.TimeReduce(f), [F(2, 3)]) for f in g.TIME_REDUCTIONS]
WHOLE += [
    ("time-slice-last", g.TimeSlice(start=-4), [F(2, 3)]),
    ("time-slice-before-last", g.TimeSlice(start=-7, stop=-2, step=2), [F(3)]),
    ("time-slice-first", g.TimeSlice(stop=5, step=3), [F(2, 3)]),
    ("time-slice-inner", g.TimeSlice(start=-9, stop=20), [I(2)]),
]
WHOLE += [("time-softmax", g.TimeSoftmax(), [F(2, 3)]), ("reverse", g.Reverse(), [F(4)])]
WHOLE += [
    ("time-attention", g.TimeAttention(0.5), [F(2, 4), F(2, 4), F(2, 3)]),
    ("time-attention-causal", g.TimeAttention(2.0, causal=True), [F(1, 17), F(1, 17), F(1, 33)]),
    ("time-attention-added", g.TimeAttention(0.25), [F(3, 5), F(3, 5), F(3, 8), F()]),
    ("time-attention-added-by-head", g.TimeAttention(), [F(3, 16), F(3, 16), F(3, 2), F(3)]),
]
WHOLE += [("reverse-by-lengths", g.Reverse(), [F(2, 3), I(time=False)])]
# Whose output, which has no time, is that of the steps so far.
LATEST = [
    ("time-step-last", g.TimeStep(), [F(2, 3)]),
    ("time-step-first", g.TimeStep(0), [F(3)]),
    ("time-step-before-last", g.TimeStep(-4), [F(3)]),
    ("time-step-from-front", g.TimeStep(5), [F(2, 3)]),
    ("time-step-of-ids", g.TimeStep(), [I()]),
]
