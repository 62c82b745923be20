"""Graphs of one op each, and of loops: what gradients and relevance are tested on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from cells import CELLS, make_cell

from fastgru import graph as g
from fastgru import reference
from fastgru.graph import Graph, GraphBuilder, Spec

BATCH, STEPS = 2, 5
RNG = np.random.default_rng(11)


def normal(*shape: int) -> Any:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


def one(op: g.Op, *specs: Any, outputs: int = 1) -> Callable[[], Graph]:
    """A graph of one op; a tuple is the frame of a float input with time, an array a constant."""

    def build() -> Graph:
        b = GraphBuilder()
        names = []
        for i, spec in enumerate(specs):
            if isinstance(spec, np.ndarray):
                dtype = {"f": "float", "i": "int", "b": "bool"}[spec.dtype.kind]
                names.append(b.add(g.Constant(spec, dtype)))
            else:
                names.append(b.input(f"x{i}", spec if isinstance(spec, Spec) else Spec(spec)))
        made = b.add_many(op, *names, outputs=outputs, name="y")
        return b.build(
            *(
                v
                for v, spec in zip(made, op.infer(tuple(_spec(s) for s in specs)), strict=True)
                if spec.dtype == "float"
            )
        )

    return build


def _spec(spec: Any) -> Spec:
    if isinstance(spec, np.ndarray):
        return Spec(spec.shape, False, {"f": "float", "i": "int", "b": "bool"}[spec.dtype.kind])
    return spec if isinstance(spec, Spec) else Spec(spec)


def cell(name: str, **attributes: Any) -> Any:
    return make_cell(name, 3, 4, **attributes)


FLAT = Spec((3,), False)
STATIC = Spec((2, 3), False)
CASES: dict[str, Callable[[], Graph]] = {
    **{f"cell-{name}": one(cell(name), (3,)) for name in CELLS},
    "cell-reverse": one(cell("gru-after", reverse=True), (3,)),
    "cell-last": one(cell("lstm", return_sequences=False), (3,)),
    "cell-last-reverse": one(cell("gru-before", return_sequences=False, reverse=True), (3,)),
    "cell-fast": one(cell("gru-after").replace(gate_activation="fast_sigmoid", activation="fast_tanh"), (3,)),
    "cell-masked": one(cell("lstm"), (3,), Spec((), True, "bool")),
    "cell-masked-carry": one(cell("gru-after", mask_output="carry"), (3,), Spec((), True, "bool")),
    "cell-masked-last": one(cell("gru-before", return_sequences=False), (3,), Spec((), True, "bool")),
    "scan-gru": one(cell("gru-after", scan=True), (4, 2, 3), outputs=2),
    "scan-lstm": one(
        cell("lstm").replace(scan=True, operands=("initial_c", "lengths"), initial_c=None), (4, 2, 3), (2, 4),
        np.array([3, 4]), outputs=3,
    ),
    "dense": one(g.Dense(normal(4, 3), normal(4), "tanh"), (2, 3)),
    "dense-softmax": one(g.Dense(normal(4, 3), normal(4), "softmax"), (3,)),
    "dense-int8": one(g.Dense(normal(4, 3), normal(4), precision="int8"), (3,)),
    "layer-norm": one(g.LayerNorm(normal(6) + 1, normal(6)), (6,)),
    "batch-norm": one(g.BatchNorm(normal(3), normal(3) ** 2 + 0.5, normal(3), normal(3)), (3,)),
    "scaler": one(g.Scaler(normal(3), normal(3) ** 2 + 0.5), (3,)),
    "activate": one(g.Activate("elu"), (3,)),
    "dropout": one(g.Dropout(), (3,)),
    "apply-mask": one(g.ApplyMask(), (3,), Spec((), True, "bool")),
    "concat": one(g.Concat(0), (3,), (2,), FLAT),
    "add": one(g.Add(), (2, 3), FLAT, (3,)),
    "multiply": one(g.Multiply(), (2, 3), FLAT, (3,)),
    "average": one(g.Average(), (3,), (3,)),
    **{f"unary-{f}": one(g.Unary(f), (3,)) for f in ("neg", "abs", "exp", "reciprocal", "sin", "cos", "atan", "erf")},
    **{f"unary-{f}": one(g.Unary(f), (3,)) for f in ("sign", "floor", "ceil", "round")},
    **{f"unary-{f}": one(g.Unary(f), (3,)) for f in ("sqrt", "log")},
    **{f"binary-{f}": one(g.Binary(f), (2, 3), (3,)) for f in ("sub", "div", "min", "max", "mod", "atan2")},
    "binary-pow": one(g.Binary("pow"), (3,), np.array(3.0)),
    "binary-power-of": one(g.Binary("pow"), (3,), (3,)),
    "where": one(g.Where(), np.array([True, False, True]), (3,), (2, 3)),
    "cast": one(g.Cast("float"), (3,)),
    "softmax": one(g.Softmax(0), (3, 2)),
    "softmax-log": one(g.Softmax(1, log=True), (2, 3)),
    **{f"reduce-{f}": one(g.Reduce(f, (0, 2), keepdims=False), (2, 3, 2)) for f in g.REDUCTIONS},
    "reduce-kept": one(g.Reduce("mean", (1,)), (2, 3)),
    "top-k": one(g.TopK(2, 1), (2, 4), outputs=2),
    "cum-sum": one(g.CumSum(1, exclusive=True, reverse=True), (2, 4)),
    "reshape": one(g.Reshape((3, 2)), (2, 3)),
    "transpose": one(g.Transpose((2, 0, 1)), (2, 3, 4)),
    "slice": one(g.Slice((3, 0), (-5, 2), (-2, 1)), (4, 3)),
    **{f"pad-{m}": one(g.Pad((1, 2), (0, 1), m, 0.5), (3, 4)) for m in ("constant", "reflect", "edge", "wrap")},
    "expand": one(g.Expand((2, 3, 4)), (3, 1)),
    "tile": one(g.Tile((2, 3)), (2, 2)),
    "gather": one(g.Gather(1), (2, 4), np.array([3, 0, 0])),
    "mat-mul": one(g.MatMul(), (2, 3), (3, 4)),
    "mat-mul-turned": one(g.MatMul(True, True), (3, 2), Spec((5, 4, 3), False)),
    "mat-mul-vectors": one(g.MatMul(), (3,), (3,)),
    "mat-mul-vector": one(g.MatMul(), (4, 2, 3), (3,)),
    "conv": one(g.Conv(normal(4, 1, 2, 3), normal(4), (2, 1), (1, 2), (1, 0), (0, 2), 2, "tanh"), (2, 4, 6)),
    "conv-transpose": one(
        g.ConvTranspose(normal(4, 2, 2, 3), normal(4), (2, 1), (1, 2), (1, 0), (0, 1), (1, 0), 2, "sigmoid"), (4, 3, 4)
    ),
    "pool-max": one(g.Pool("max", (2, 2), (1, 2), (1, 1), (1, 0), (0, 1)), (2, 4, 5)),
    "pool-average": one(g.Pool("average", (2, 2), (1, 2), (2, 1), (1, 0), (0, 1)), (2, 4, 5)),
    "pool-counted": one(g.Pool("average", (2, 2), (1, 2), (1, 1), (1, 0), (0, 1), True), (2, 4, 5)),
    "reverse": one(g.Reverse(), (3,)),
    "time-conv": one(g.TimeConv(normal(4, 1, 3), normal(4), 2, 1, 2, 1, 2, "tanh"), (2,)),
    "time-pool": one(g.TimePool("average", 3, 2, 1, 1), (3,)),
    "time-pool-max": one(g.TimePool("max", 3, 1, 2, 0), (3,)),
    **{f"time-pad-{m}": one(g.TimePad(2, 1, 0.5, m), (3,)) for m in ("value", "edge", "reflect")},
    **{f"time-reduce-{f}": one(g.TimeReduce(f), (3,)) for f in g.TIME_REDUCTIONS},
    "time-softmax": one(g.TimeSoftmax(), (3,)),
    "time-attention": one(g.TimeAttention(0.6), (2, 3), (2, 3), (2, 2)),
    "time-attention-causal": one(g.TimeAttention(0.6, True), (2, 3), (2, 3), (2, 2), ()),
    "time-attention-heads": one(g.TimeAttention(0.6), (2, 3), (2, 3), (2, 2), (2,)),
    "time-slice": one(g.TimeSlice(1, -1, 2), (3,)),
    "time-step": one(g.TimeStep(-2), (3,)),
    "framing": one(g.Framing(3, 1, 1, 2, 1), (2,)),
    "framing-samples": one(g.Framing(3, 2), ()),
    "overlap-add": one(g.OverlapAdd(4, 2, skip=1, tail=1), (4, 2)),
    "rfft": one(g.RFFT(6), (2, 6)),
    "rfft-odd": one(g.RFFT(7), (7,)),
    "irfft": one(g.IRFFT(6), (4, 2)),
    "irfft-odd": one(g.IRFFT(7), (4, 2)),
}  # fmt: skip
POSITIVE = {
    "binary-mod",
    "unary-sqrt",
    "unary-reciprocal",
    "binary-div",
    "binary-atan2",
    "unary-log",
    "binary-pow",
    "binary-power-of",
    "reduce-log_sum",
}


def case(function: Callable[[], Graph]) -> Callable[[], Graph]:
    """Add a graph of several ops to the cases, by the name of the function that builds it."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


@case
def loop() -> Graph:
    """An RNN written out, and a delay."""
    b = GraphBuilder()
    x, h, late = b.input("x", Spec((3,))), b.add(g.State(normal(4)), name="h"), b.add(g.State(normal(4)), name="late")
    new = b.add(g.Activate("tanh"), b.add(g.Add(), b.add(g.Dense(normal(4, 3)), x), b.add(g.Dense(normal(4, 4)), h)))
    return b.build(b.add(g.Multiply(), new, late), feedback={h: new, late: new})


@case
def loop_with_a_cell() -> Graph:
    """A GRU that reads its own output through a gate, and looks back."""
    b = GraphBuilder()
    x, h = b.input("x", Spec((3,))), b.add(g.State(normal(4)), name="h")
    gate = b.add(g.Dense(normal(3, 4), normal(3), "sigmoid"), h)
    y = b.add(cell("gru-after"), b.add(g.Multiply(), x, gate))
    seen = b.add(g.TimeConv(normal(4, 4, 3), before=2), y)
    return b.build(b.add(g.Add(), seen, h), feedback={h: seen})


@case
def attention() -> Graph:
    """Self-attention over a window of steps."""
    b = GraphBuilder()
    x = b.add(g.Framing(4, 1, 1, 3), b.input("x", Spec((3,))))
    q, k, v = (b.add(g.Dense(normal(3, 3), normal(3)), x) for _ in range(3))
    weights = b.add(g.Softmax(1), b.add(g.MatMul(transpose_b=True), q, k))
    return b.build(b.add(g.MatMul(), weights, v))


@case
def gated() -> Graph:
    """A sum of two signals, of which a gate and its complement take shares."""
    b = GraphBuilder()
    x, one_ = b.input("x", Spec((3,))), b.add(g.Constant(np.ones(3)))
    gate = b.add(g.Dense(normal(3, 3), normal(3), "sigmoid"), x)
    a = b.add(g.Multiply(), gate, b.add(g.Dense(normal(3, 3), normal(3), "tanh"), x))
    return b.build(b.add(g.Add(), a, b.add(g.Multiply(), b.add(g.Binary("sub"), one_, gate), x)))


@case
def late_start() -> Graph:
    """A value without time that is read at every step."""
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    last = b.add(g.TimeStep(-1), b.add(cell("gru-after"), x))
    return b.build(b.add(g.Concat(0), last, x))


def draw(graph: Graph, name: str = "", seed: int = 0, steps: int = STEPS) -> dict[str, Any]:
    """Random inputs of a graph, float64."""
    rng, found = np.random.default_rng(seed), {}
    for key, spec in graph.inputs.items():
        shape = (BATCH, *[steps] * spec.time, *spec.shape)
        x = rng.normal(size=shape)
        if spec.dtype == "bool":
            found[key] = rng.random(shape) < 0.7
        elif spec.dtype == "int":
            found[key] = rng.integers(0, 4, shape)
        else:
            found[key] = np.abs(x) + 0.3 if name in POSITIVE else x
    return found


def value(graph: Graph, x: dict[str, Any], weights: dict[str, Any], **options: Any) -> float:
    """The weighted sum of all outputs."""
    outputs = reference.run(graph, x, **options)[0]
    return float(sum((weights[n] * y).sum() for n, y in zip(graph.outputs, outputs, strict=True)))
