"""Models with streams: hand-made ones, and random chains of ops that look at several steps."""

from __future__ import annotations

import random

import numpy as np

from fastgru import GraphError
from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec

from .seed_graphs import graphs

CHAINS = 60
FEATURES = 3


def _w(rng: random.Random, *shape: int) -> np.ndarray:
    draw = np.random.default_rng(rng.getrandbits(32))
    return (draw.normal(size=shape) / 2).astype(np.float32)


def _window(rng: random.Random, b: GraphBuilder, x: str) -> str:
    size, stride, dilation = rng.randint(1, 4), rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2))
    before, after = rng.randint(0, 5), rng.choice((0, 0, 1, 3))
    weight = _w(rng, FEATURES, FEATURES, size)
    return b.add(g.TimeConv(weight, _w(rng, FEATURES), stride, dilation, before, after), x)


def _pool(rng: random.Random, b: GraphBuilder, x: str) -> str:
    size = rng.randint(1, 4)
    op = g.TimePool(rng.choice(("max", "average")), size, rng.randint(1, 3), rng.randrange(size), rng.randrange(size))
    return b.add(op, x)


def _pad(rng: random.Random, b: GraphBuilder, x: str) -> str:
    op = g.TimePad(rng.randint(0, 4), rng.randint(0, 4), 0.5, rng.choice(("value", "edge", "reflect")))
    return b.add(op, x)


def _overlap(rng: random.Random, b: GraphBuilder, x: str) -> str:
    size = rng.randint(1, 4)
    wide = b.add(g.Reshape((size, FEATURES)), b.add(g.Dense(_w(rng, size * FEATURES, FEATURES)), x))
    tail = rng.choice((None, 0, 1, 5, -1, -3))
    return b.add(g.OverlapAdd(size, rng.randint(1, size), rng.choice((0, 0, 1, 5)), tail), wide)


def _cell(rng: random.Random, b: GraphBuilder, x: str) -> str:
    op = rng.choice((g.RNN, g.GRU, g.LSTM))
    gates = len(g.dialects.CANONICAL[op.kind])
    return b.add(op(_w(rng, gates * FEATURES, FEATURES), _w(rng, gates * FEATURES, FEATURES)), x)


def _skip(rng: random.Random, b: GraphBuilder, x: str) -> str:
    size = rng.randint(1, 5)
    ahead = rng.randrange(size)
    return b.add(
        g.Add(), b.add(g.TimeConv(_w(rng, FEATURES, FEATURES, size), before=size - 1 - ahead, after=ahead), x), x
    )


def _slice(rng: random.Random, b: GraphBuilder, x: str) -> str:
    return b.add(g.TimeSlice(rng.randint(0, 5), rng.choice((None, -1, -3)), rng.choice((1, 1, 2))), x)


STEPS = (_window, _window, _pool, _pad, _overlap, _cell, _skip, _skip, _slice)


def chain(number: int) -> Graph | None:
    """A random chain of one to four ops; None where one does not fit."""
    rng, b = random.Random(f"chain {number}"), GraphBuilder()
    x = b.input("x", Spec((FEATURES,)))
    values = [x]
    try:
        for _ in range(rng.randint(1, 4)):
            values.append(rng.choice(STEPS)(rng, b, values[-1]))
        return b.build(values[-1], *([rng.choice(values)] if rng.random() < 0.3 else []))
    except GraphError:
        return None


def wide(kind: str, units: int, inputs: int) -> Graph:
    """A recurrent layer large enough to be shared among threads."""
    rng, op = random.Random(kind), {"gru": g.GRU, "lstm": g.LSTM}[kind]
    gates = len(g.dialects.CANONICAL[kind])
    cell = op(_w(rng, gates * units, inputs) / 4, _w(rng, gates * units, units) / 8, _w(rng, gates * units))
    return g.chain([cell, g.Dense(_w(rng, 4, units))])


def streaming() -> list[tuple[Graph, str]]:
    """The graphs that work step by step, and the dtype that each computes in."""
    found = [(graph, dtype) for graph, dtype in graphs() if not graph.not_streamable()]
    stateful = [(graph, dtype) for graph, dtype in found if graph.states() or any(
        isinstance(node.op, g.Temporal) for node in graph.nodes)]  # fmt: skip
    chains = [(graph, "float32") for i in range(CHAINS) if (graph := chain(i)) is not None]
    large = [(wide("gru", 48, 16), "float32"), (wide("lstm", 40, 8), "float32"), (wide("gru", 32, 8), "float64"),
             (wide("gru", 340, 8), "float32")]  # fmt: skip
    return [*stateful, *found[::7], *chains, *large]
