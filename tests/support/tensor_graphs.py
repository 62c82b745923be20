"""A graph of every op on frames and steps, with inputs of every dtype, feedback and no attribute at its default."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec

RNG = np.random.default_rng(2)


def normal(*shape: int) -> Any:
    return (RNG.normal(size=shape) / 4).astype(np.float32)


def elementwise(b: GraphBuilder, x: str, switch: str) -> str:
    """Of x (2, 6) float and a switch ()."""
    bent = b.add(g.Unary("erf"), b.add(g.Binary("min"), x, b.add(g.Constant(normal(6)))))
    mask = b.add(g.Binary("and"), switch, b.add(g.Constant([[True], [False]], "bool")))
    return b.add(g.Where(), mask, bent, b.add(g.Unary("abs"), x))


def folding(b: GraphBuilder, x: str) -> str:
    """Of x (2, 6): (5,)."""
    peak = b.add(g.ArgReduce("argmax", 1, keepdims=False, last=True), x)
    total = b.add(g.Cast("int"), b.add(g.CumSum(1, exclusive=True, reverse=True), x))
    one = b.add(g.Reduce("l2", (0, 1), keepdims=False), b.add(g.OneHot(6, 0, 2.0, -1.0), peak))
    least, _ = b.add_many(g.TopK(3, 1, largest=False), x, outputs=2)
    mean = b.add(g.Reduce("mean", (1,), keepdims=False), b.add(g.Softmax(1, log=True), least))
    whole = b.add(g.Cast("float"), b.add(g.Reduce("max", (1,), keepdims=False), total))
    return b.add(g.Concat(0), mean, whole, b.add(g.Reshape((1,)), one))


def moving(b: GraphBuilder, x: str, ids: str) -> str:
    """Of x (2, 6) and ids (3,) below 4: (5, 4, 6)."""
    x = b.add(g.Transpose((1, 0)), b.add(g.Slice((1, 4), (-3, 0), (-1, -1)), x))
    x = b.add(g.Tile((1, 2)), b.add(g.Gather(0), x, ids))
    x = b.add(
        g.Expand((5, 3, 4)), b.add(g.Pad((0, 1), (0, 2), "constant", 0.5), b.add(g.Slice((0, 0), (3, 1), (1, 1)), x))
    )
    return b.add(g.MatMul(True, True), x, b.add(g.Constant(normal(6, 3))))


def convolving(b: GraphBuilder, x: str) -> str:
    """Of x (5, 4, 6): (4,)."""
    hard = g.Activation("hard_sigmoid", alpha=1 / 6)
    x = b.add(g.Pool("average", (2, 2), (1, 2), (1, 1), (1, 0), (0, 1), True), b.add(g.Transpose((1, 0, 2)), x))
    x = b.add(g.Conv(normal(6, 2, 2, 3), normal(6), (2, 1), (1, 1), (1, 0), (0, 2), 2, hard), x)
    x = b.add(g.ConvTranspose(normal(6, 2, 1, 2), normal(4), (1, 2), (1, 1), (0, 1), (0, 0), (0, 1), 2, "relu"), x)
    return b.add(g.Reduce("sum", (1, 2), keepdims=False), x)


def recurring(b: GraphBuilder, x: str, lengths: str) -> tuple[str, ...]:
    """Of x (5, 4, 6) and lengths (4,): (5, 4, 3), (4, 3) and (4, 3)."""
    cell = g.LSTM(normal(12, 6), normal(12, 3), normal(12), reverse=True, scan=True, operands=("lengths", "initial_c"))
    return b.add_many(cell, x, lengths, b.add(g.Constant(normal(4, 3))), outputs=3, name="sweep")


def over_time(b: GraphBuilder, samples: str) -> tuple[str, ...]:
    """Of samples (): steps at another rate, the samples again, and two without time."""
    spectrum = b.add(g.RFFT(8), b.add(g.Framing(8, 2, 1, 0, 0), samples))
    frames = b.add(g.IRFFT(8), spectrum)
    pooled = b.add(g.TimePool("average", 3, 2, 1, 1, True), frames)
    x = b.add(g.TimeConv(normal(4, 4, 3), normal(4), 2, 2, 3, 1, 2, "tanh"), b.add(g.TimePad(2, 1, -0.5), pooled))
    again = b.add(g.OverlapAdd(8, 2), frames)
    heads = b.add(g.Reshape((2, 2)), x)
    met = b.add(g.Reshape((4,)), b.add(g.TimeAttention(0.5, True), heads, heads, heads))
    share = b.add(g.TimeReduce("l2"), b.add(g.TimeSoftmax(), b.add(g.Dense(normal(1, 4)), met)))
    seen = b.add(g.Framing(2, 1, 2, 1, 1), b.add(g.TimeSlice(1, -1, 2), frames))
    return x, again, share, b.add(g.TimeStep(-2), seen)


def every_frame_op() -> Graph:
    """Five inputs, six outputs, one feedback loop and one delay."""
    b = GraphBuilder()
    x, samples = b.input("x", Spec((2, 6))), b.input("samples", Spec(()))
    ids, lengths = b.input("ids", Spec((3,), dtype="int")), b.input("lengths", Spec((4,), False, "int"))
    switch = b.input("switch", Spec((), False, "bool"))
    held, late = b.add(g.State(normal(4)), name="held"), b.add(g.State(normal(5)), name="late")
    bent = elementwise(b, x, switch)
    moved = moving(b, bent, ids)
    new = b.add(g.Activate("softsign"), b.add(g.Add(), held, convolving(b, moved)))
    folded = folding(b, bent)
    y, _, c = recurring(b, moved, lengths)
    values = (new, b.add(g.Add(), folded, late), y, c, *over_time(b, samples))
    return b.build(*values, feedback={held: new, late: folded})
