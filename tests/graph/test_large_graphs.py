"""Graphs of ten thousand nodes: built, saved, loaded and run in seconds, whatever their shape."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

import fastgru
from fastgru import graph as g
from fastgru import reference
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.lowering import schedule
from fastgru.lowering.instructions import Add
from fastgru.lowering.lower import lower
from fastgru.passes import fused

NODES = 10_000
SECONDS = 120.0  # they take some three; what is quadratic takes minutes


def matrix() -> np.ndarray:
    return (np.eye(4) * 0.99).astype(np.float32)


def chain(b: GraphBuilder, x: str, op: g.Op, count: int) -> str:
    for _ in range(count):
        x = b.add(op, x)
    return x


def dense(b: GraphBuilder, x: str) -> Graph:
    return b.build(chain(b, x, g.Dense(matrix()), NODES))


def fan(b: GraphBuilder, x: str) -> Graph:
    return b.build(b.add(g.Add(), *(b.add(g.Unary("sin"), x) for _ in range(NODES - 1))))


def delays(b: GraphBuilder, x: str) -> Graph:
    feedback = {}
    for _ in range(NODES):
        held = b.add(g.State(np.zeros(4)))
        feedback[held], x = x, held
    return b.build(x, feedback=feedback)


def mixture(b: GraphBuilder, x: str) -> Graph:
    rng, values = np.random.default_rng(0), [x]
    for i in range(NODES):
        a, other = values[-1], values[int(rng.integers(len(values)))]
        op = (g.Average(), g.Dense(matrix()), g.Activate("tanh"), g.Binary("min"), g.Reshape((4,)))[i % 5]
        values.append(b.add(op, a, other) if i % 5 in (0, 3) else b.add(op, a))
    return b.build(values[-1])


SHAPES: tuple[Callable[[GraphBuilder, str], Graph], ...] = (dense, fan, delays, mixture)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_ten_thousand_nodes(shape, tmp_path):
    started, path = time.monotonic(), tmp_path / "large.fgru"
    b = GraphBuilder()
    graph = shape(b, b.input("x", Spec((4,))))
    model = fastgru.Model(graph)
    model.save(path)
    again = fastgru.load(path)
    x = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)
    y = again(x)
    assert np.array_equal(y, model(x))
    np.testing.assert_allclose(y, reference.run(graph, x)[0][0], rtol=1e-3, atol=1e-4)
    assert time.monotonic() - started < SECONDS


def test_names_are_the_first_free_ones():
    b = GraphBuilder()
    assert [b.unique(stem) for stem in ("a", "a_1", "a", "a", "a_1", "b")] == ["a", "a_1", "a_2", "a_3", "a_1_1", "b"]
    started = time.monotonic()
    names = {b.unique("like") for _ in range(200_000)}
    assert len(names) == 200_000
    assert time.monotonic() - started < SECONDS


def test_many_states_in_loops_of_their_own():
    b = GraphBuilder()
    x, feedback = b.input("x", Spec((4,))), {}
    for _ in range(2_000):
        held = b.add(g.State(np.zeros(4)))
        x = feedback[held] = b.add(g.Average(), x, held)
    graph = b.build(x, feedback=feedback)
    assert [len(nodes) for nodes in graph.loops()] == [2] * 2_000
    assert set(graph.lengths(7).values()) == {7}


def test_slots_are_the_smallest_that_have_room():
    """Values 1 and 2 end before 4 and 5 begin: each takes the smallest slot with room for it."""
    spans = [([0], 1), ([1], 2), ([1, 2], 3), ([3], 4), ([3], 5), ([4, 5], 6)]
    instructions = [Add(inputs=tuple(inputs), output=output) for inputs, output in spans]
    sizes = [1, 10, 100, 1, 90, 8, 1]
    life = schedule.lives(instructions, [])
    assert life == {0: (0, 0), 1: (0, 2), 2: (1, 2), 3: (2, 4), 4: (3, 5), 5: (4, 5), 6: (5, 5)}
    assert schedule.most(life, sizes) == 10 + 100 + 1
    found = schedule.slots(life, sizes, [0, 6])
    assert found == [-1, 1, 0, 2, 0, 1, -1]


def test_lowering_keeps_no_more_slots_than_live_values():
    b = GraphBuilder()
    x = chain(b, b.input("x", Spec((2, 4))), g.Softmax(1), 500)
    lowered = lower(fused(b.build(x)))
    assert len({value.slot for value in lowered.values}) <= 4
