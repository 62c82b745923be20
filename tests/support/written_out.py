"""Recurrent cells written out in arithmetic, as exporters write them: what the passes are to recognise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec

RNG = np.random.default_rng(7)
X, H = 5, 4


def normal(*shape: int) -> Any:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


def weights(gates: int, rows: int = H, read: int = H) -> dict[str, Any]:
    """Arrays of a cell with `gates` gates of `rows` units that read `read` numbers of the state.

    The biases are multiples of 1/64, whose sums and differences are exact.
    """
    bias = np.round(64 * normal(gates * rows)) / 64
    return {"weight_x": normal(gates * rows, X), "weight_h": normal(gates * rows, read), "bias": bias}


class Written:
    """A graph in which cells are written out; `frame` is the frame of every vector, without its last axis."""

    def __init__(self, frame: tuple[int, ...] = (), time: bool = True) -> None:
        self.b = GraphBuilder()
        self.frame = frame
        self.feedback: dict[str, str] = {}
        self.x = self.b.input("x", Spec((*frame, X), time))

    def state(self, name: str, size: int = H, initial: Any = None) -> str:
        value = np.zeros(size) if initial is None else initial
        return self.b.add(g.State(np.broadcast_to(value, (*self.frame, size))), name=name)

    def constant(self, array: Any) -> str:
        return self.b.add(g.Constant(array))

    def part(self, value: str, index: int, size: int = H) -> str:
        """The `index`-th run of `size` along the last axis."""
        start = [0] * len(self.frame)
        return self.b.add(
            g.Slice((*start, index * size), (*self.frame, (index + 1) * size), (1,) * (len(start) + 1)), value
        )

    def act(self, name: str, value: str) -> str:
        return self.b.add(g.Activate(name), value)

    def times(self, *values: str) -> str:
        return self.b.add(g.Multiply(), *values)

    def plus(self, *values: str) -> str:
        return self.b.add(g.Add(), *values)

    def minus(self, a: str, b: str) -> str:
        return self.b.add(g.Binary("sub"), a, b)

    def one_minus(self, value: str) -> str:
        return self.minus(self.constant(np.ones(1)), value)

    def build(self, *outputs: str) -> Graph:
        return self.b.build(*outputs, feedback=self.feedback)


# How W x + U h + b is written: (writer, weight_x, weight_h, bias, x, h) to the value -----------------


def two_products(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
    return w.plus(w.b.add(g.Dense(wx, bias), x), w.b.add(g.Dense(wh), h))


def added_bias(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
    return w.plus(w.plus(w.b.add(g.Dense(wh), h), w.b.add(g.Dense(wx), x)), w.constant(bias))


def two_biases(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
    half = np.full(bias.shape, 0.25, np.float32)
    return w.plus(w.b.add(g.Dense(wx, bias - half), x), w.b.add(g.Dense(wh, half), h))


def joined_xh(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
    return w.b.add(g.Dense(np.concatenate([wx, wh], 1), bias), w.b.add(g.Concat(), x, h))


def joined_hx(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
    return w.b.add(g.Dense(np.concatenate([wh, wx], 1), bias), w.b.add(g.Concat(), h, x))


def matrices(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
    """Products with constants, one of them transposed."""
    left = w.b.add(g.MatMul(transpose_b=True), x, w.constant(wx))
    return w.plus(left, w.b.add(g.MatMul(), h, w.constant(wh.T)), w.constant(bias))


def columns(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
    """Matrices in front of column vectors."""

    def product(matrix: Any, value: str) -> str:
        column = w.b.add(g.Reshape((*w.frame, matrix.shape[1], 1)), value)
        y = w.b.add(g.MatMul(), w.constant(matrix), column)
        return w.b.add(g.Reshape((*w.frame, matrix.shape[0])), y)

    return w.plus(product(wx, x), product(wh, h), w.constant(bias))


def normed(w: Written, wx: Any, wh: Any, bias: Any, x: str, h: str) -> str:
    """A batch norm that halves, around twice the product."""
    norm = g.BatchNorm(np.zeros_like(bias), np.full_like(bias, 4.0), shift=bias, eps=0.0)
    return w.b.add(norm, w.plus(w.b.add(g.Dense(2 * wx), x), w.b.add(g.Dense(2 * wh), h)))


Linear = Callable[[Written, Any, Any, Any, str, str], str]
LINEAR: dict[str, Linear] = {
    f.__name__: f for f in (two_products, added_bias, two_biases, joined_xh, joined_hx, matrices, columns, normed)
}


# Cells: (writer, op, linear, x, states) to what the states become --------------------------------------


def blocks(op: g.Recurrent) -> dict[str, list[Any]]:
    """(weight_x, weight_h, bias) of every gate."""
    names = g.dialects.CANONICAL[op.cell]
    parts = [np.split(a, len(names)) for a in (op.weight_x, op.weight_h, op.bias)]
    return {name: [p[i] for p in parts] for i, name in enumerate(names)}


def gates(w: Written, found: dict[str, list[Any]], linear: Linear, x: str, h: str, order: str) -> dict[str, str]:
    """The gates' sums: all in one product, in the order of `order`, or one by one where that is empty."""
    if not order:
        return {name: linear(w, *arrays, x, h) for name, arrays in found.items()}
    joint = linear(w, *(np.concatenate([found[name][i] for name in order]) for i in range(3)), x, h)
    return {name: w.part(joint, i) for i, name in enumerate(order)}


def lstm(w: Written, op: g.LSTM, linear: Linear, x: str, h: str, c: str, order: str = "ifgo") -> tuple[str, str]:
    """h' and c'."""
    a = gates(w, blocks(op), linear, x, h, order)
    seen = {} if op.peephole is None else dict(zip("ifo", op.peephole, strict=True))

    def gate(name: str, c: str) -> str:
        total = w.plus(a[name], w.times(c, w.constant(seen[name]))) if seen else a[name]
        return w.act(op.gate_activation, total)

    i = gate("i", c)
    f = w.one_minus(i) if op.coupled else gate("f", c)
    new_c = w.plus(w.times(f, c), w.times(i, w.act(op.activation, a["g"])))
    new_h = w.times(gate("o", new_c), w.act(op.output_activation, new_c))
    return (new_h if op.projection is None else w.b.add(g.Dense(op.projection), new_h)), new_c


UPDATES: dict[str, Callable[[Written, str, str, str], str]] = {  # (z, n, h), where z keeps the state
    "sum": lambda w, z, n, h: w.plus(w.times(w.one_minus(z), n), w.times(z, h)),
    "torch": lambda w, z, n, h: w.plus(n, w.times(z, w.minus(h, n))),
    "affine": lambda w, z, n, h: w.plus(
        w.times(h, z), w.times(w.b.add(g.Activate({"name": "affine", "alpha": -1.0, "beta": 1.0}), z), n)
    ),
    "difference": lambda w, z, n, h: w.minus(h, w.times(w.one_minus(z), w.minus(h, n))),
}


def gru(w: Written, op: g.GRU, linear: Linear, x: str, h: str, order: str = "rz", update: str = "sum") -> str:
    """h'; of a bias of the recurrent product the candidate's alone counts."""
    found = blocks(op)
    wx, wh, bias = found.pop("n")
    a = gates(w, found, linear, x, h, order)
    r, z = (w.act(op.gate_activation, a[name]) for name in "rz")
    if op.reset_after:
        again = op.bias_h[2 * H :]
        total = w.plus(w.b.add(g.Dense(wx, bias), x), w.times(r, w.b.add(g.Dense(wh, again), h)))
    else:
        total = linear(w, wx, wh, bias, x, w.times(r, h))
    n = w.act(op.activation, total)
    keep, take = (h, n) if op.update_keeps == "state" else (n, h)
    return UPDATES[update](w, z, take, keep)
