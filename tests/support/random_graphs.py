"""Graphs of random ops on small frames, drawn by hypothesis: what a pass must not break."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec

ACTIVATIONS = ("linear", "tanh", "relu", "sigmoid", "softmax", {"name": "affine", "alpha": -0.5, "beta": 0.25})
Draw = Callable[[Any], Any]


class Random:
    """A graph that grows by ops on values drawn from those there are."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.b = GraphBuilder()
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.specs: dict[str, Spec] = {}
        self.fixed: set[str] = set()  # made of constants alone, whose folding rounds to float32
        self.carried: set[str] = set()  # made of states
        self.whole: set[str] = set()  # and of ops that need all steps, which no loop may have
        for name, spec in {"x": Spec((4,)), "y": Spec((2, 3)), "c": Spec((3,), False)}.items():
            self.specs[self.b.input(name, spec)] = spec
        for i in range(draw(st.integers(0, 2))):
            self.add(g.State(self.normal(*draw(st.sampled_from([(4,), (2, 3), (2, 4)])))), name=f"s{i}")
        self.states = [v for v in self.specs if v.startswith("s")]

    def normal(self, *shape: int) -> Any:
        return (self.rng.normal(size=shape) / 2).astype(np.float32)

    def add(self, op: g.Op, *inputs: str, name: str | None = None) -> str:
        value = self.b.add(op, *inputs, name=name)
        self.specs[value] = op.infer(tuple(self.specs[v] for v in inputs))[0]
        if isinstance(op, g.Constant) or (inputs and self.fixed.issuperset(inputs)):
            self.fixed.add(value)
        if isinstance(op, g.State) or not self.carried.isdisjoint(inputs):
            self.carried.add(value)
            if not (op.stepwise and self.whole.isdisjoint(inputs)):
                self.whole.add(value)
        return value

    def constant(self, *shape: int) -> str:
        return self.add(g.Constant(self.normal(*shape)))

    def value(self, fits: Callable[[Spec], bool] = lambda spec: True) -> str | None:
        """One of the computed values that fit, the latest the likeliest."""
        found = [v for v, spec in self.specs.items() if v not in self.fixed and fits(spec)]
        return found[-1 - min(self.draw(st.integers(0, 4)), len(found) - 1)] if found else None

    def shape(self, value: str) -> tuple[int, ...]:
        return self.specs[value].shape

    def below(self, n: int) -> int:
        return int(self.draw(st.integers(0, n - 1)))

    def build(self) -> Graph:
        feedback = {}
        for state in self.states:
            fed = [v for v, spec in self.specs.items() if spec == self.specs[state] and v not in self.whole]
            feedback[state] = fed[-1 - self.below(min(len(fed), 3))]
        values = list(self.specs)
        outputs = {values[-1], *(values[self.below(len(values))] for _ in range(2))}
        return self.b.build(*sorted(outputs), feedback=feedback)


def has_axes(*ranks: int) -> Callable[[Spec], bool]:
    return lambda spec: len(spec.shape) in ranks and prod(spec.shape) <= 64


def _view(r: Random) -> None:
    x = r.value(has_axes(1, 2, 3, 4))
    if x is None:
        return
    shape = r.shape(x)
    which = r.below(3)
    if which == 0:
        r.add(g.Transpose(r.draw(st.permutations(range(len(shape))))), x)
    elif which == 1:
        joined = (prod(shape),) if len(shape) > 1 else (2, shape[0] // 2) if shape[0] % 2 == 0 else (1, *shape, 1)
        r.add(g.Reshape(joined), x)
    else:
        starts = [r.below(n) for n in shape]
        r.add(g.Slice(starts, shape, (1,) * len(shape)), x)


def _join(r: Random) -> None:
    x = r.value(has_axes(1, 2, 3))
    if x is None:
        return
    axis = r.below(len(r.shape(x)))
    same = {n for i, n in enumerate(r.shape(x)) if i != axis}
    y = r.value(lambda spec: len(spec.shape) == len(r.shape(x)) and not same and prod(spec.shape) < 32) or x
    r.add(g.Concat(axis), x, y)


def _spread(r: Random) -> None:
    x = r.value(has_axes(1, 2))
    if x is None:
        return
    shape, which = r.shape(x), r.below(4)
    if which == 0:
        r.add(g.Expand((2, *shape)), x)
    elif which == 1:
        r.add(g.Tile((1,) * (len(shape) - 1) + (2,)), x)
    elif which == 2:
        r.add(g.Pad([1] * len(shape), [0] * len(shape), "edge"), x)
    else:
        ids = r.add(g.Constant(r.rng.integers(0, shape[0], size=3), "int"))
        r.add(g.Gather(0), x, ids)


def _scale(r: Random) -> None:
    """Arithmetic that passes may fold: with a constant for each channel, for each element, or for all."""
    x = r.value(has_axes(1, 2, 3))
    if x is None:
        return
    shape = r.shape(x)
    constant = r.draw(st.sampled_from([(), shape[-1:], (shape[0], *[1] * (len(shape) - 1)), shape]))
    which = r.below(5)
    if which == 0:
        mean, variance, scale, shift = (r.normal(shape[-1]) for _ in range(4))
        r.add(g.BatchNorm(mean, np.abs(variance) + 0.5, scale, shift), x)
    else:
        op = (g.Add(), g.Multiply(), g.Binary("sub"), g.Binary("div"))[which - 1]
        value = r.normal(*constant)
        number = r.add(g.Constant(np.sign(value) * (np.abs(value) + np.float32(0.5)) if which == 4 else value))
        r.add(op, *((x, number) if r.below(2) or which == 4 else (number, x)))


def _activate(r: Random) -> None:
    x = r.value(has_axes(1, 2, 3))
    if x is not None:
        r.add(g.Activate(r.draw(st.sampled_from(ACTIVATIONS))), x)


def _merge(r: Random) -> None:
    x = r.value(has_axes(1, 2, 3))
    if x is None:
        return
    y = r.value(lambda spec: spec.shape == r.shape(x)) or x
    r.add((g.Add(), g.Multiply(), g.Average())[r.below(3)], *[x, y][: 1 + r.below(2)])


def _dense(r: Random) -> None:
    x = r.value(has_axes(1, 2, 3))
    if x is None:
        return
    units, bias = 1 + r.below(4), r.below(2)
    precision = "int8" if r.below(8) == 0 else "float32"
    weight = r.normal(units, r.shape(x)[-1])
    r.add(g.Dense(weight, r.normal(units) if bias else None, precision=precision), x)


def _stack(r: Random) -> None:
    """Products, scales and activations right behind each other."""
    x = r.value(has_axes(1, 2))
    if x is None:
        return
    for _ in range(2):
        x = r.add(g.Dense(r.normal(1 + r.below(6), r.shape(x)[-1])), x)
        x = r.add(g.Multiply(), x, r.constant(r.shape(x)[-1])) if r.below(2) else x
        x = r.add(g.Activate(r.draw(st.sampled_from(ACTIVATIONS))), x) if r.below(2) else x


def _conv(r: Random) -> None:
    x = r.value(lambda spec: len(spec.shape) in (2, 3) and prod(spec.shape) <= 64)
    if x is None:
        return
    channels, *spatial = r.shape(x)
    kernel = [1 + r.below(min(2, n)) for n in spatial]
    groups, pad = (channels if r.below(2) else 1), [r.below(2) for _ in spatial]
    bias = r.below(2)
    if r.below(2):
        weight = r.normal(2 * groups, channels // groups, *kernel)
        r.add(g.Conv(weight, r.normal(2 * groups) if bias else None, before=pad, after=pad, groups=groups), x)
    else:
        weight = r.normal(channels, 2, *kernel)
        r.add(g.ConvTranspose(weight, r.normal(2 * groups) if bias else None, groups=groups), x)


def _time_conv(r: Random) -> None:
    x = r.value(lambda spec: len(spec.shape) == 1 and spec.time)
    if x is not None:
        r.add(g.TimeConv(r.normal(3, r.shape(x)[0], 2), before=1), x)


def _step(r: Random) -> None:
    x = r.value(lambda spec: spec.time)
    if x is not None:
        r.add(g.TimeStep(-r.below(2)), x)


def _recur(r: Random) -> None:
    x = r.value(lambda spec: len(spec.shape) == 1 and spec.time)
    if x is not None:
        cell = (g.RNN, g.GRU, g.LSTM)[r.below(3)]
        n = len(g.dialects.CANONICAL[cell.kind])
        r.add(cell(r.normal(n * 2, r.shape(x)[0]), r.normal(n * 2, 2)), x)


def _nothing(r: Random) -> None:
    x = r.value()
    if x is not None:
        r.add((g.Dropout(), g.Cast("float"), g.Add())[r.below(3)], x)


STEPS = (
    _view, _view, _join, _spread, _scale, _scale, _activate, _merge, _dense, _stack, _stack, _conv, _time_conv, _step,
    _recur, _nothing,
)  # fmt: skip


@st.composite
def graphs(draw: Draw) -> Graph:
    """A graph of up to 20 random ops, with feedback through up to two states."""
    r = Random(draw)
    for _ in range(draw(st.integers(1, 20))):
        draw(st.sampled_from(STEPS))(r)
    return r.build()
