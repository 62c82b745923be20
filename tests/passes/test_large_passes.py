"""Passes over graphs of ten thousand nodes: each does work in proportion to the nodes, and none hides a fault."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fastgru import graph as g
from fastgru import reference
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.lowering.lower import lower
from fastgru.passes import canonical, cell_lstm, fused
from fastgru.passes.cells import recover_cells
from fastgru.passes.editing import Draft
from fastgru.passes.elements import Elements
from fastgru.passes.states import split_states
from fastgru.passes.streaming import make_streaming

NODES = 10_000
W = (np.eye(4) * 0.9).astype(np.float32)
U = (np.eye(4)[::-1] * 0.5).astype(np.float32)


def begun() -> tuple[GraphBuilder, str, dict[str, str]]:
    b = GraphBuilder()
    return b, b.input("x", Spec((4,))), {}


def kinds(graph: Graph) -> Counter[str]:
    return Counter(type(node.op).__name__ for node in graph.nodes)


def linear(b: GraphBuilder, x: str, h: str) -> str:
    return b.add(g.Add(), b.add(g.Dense(W), x), b.add(g.Dense(U), h))


def rnn(b: GraphBuilder, x: str, feedback: dict[str, str]) -> str:
    h = b.add(g.State(np.zeros(4)))
    feedback[h] = b.add(g.Activate("tanh"), linear(b, x, h))
    return feedback[h]


def lstm(b: GraphBuilder, x: str, feedback: dict[str, str]) -> str:
    h, c = (b.add(g.State(np.zeros(4))) for _ in range(2))
    i, f, o = (b.add(g.Activate("sigmoid"), linear(b, x, h)) for _ in range(3))
    candidate = b.add(g.Activate("tanh"), linear(b, x, h))
    feedback[c] = b.add(g.Add(), b.add(g.Multiply(), f, c), b.add(g.Multiply(), i, candidate))
    feedback[h] = b.add(g.Multiply(), o, b.add(g.Activate("tanh"), feedback[c]))
    return feedback[h]


def scan(b: GraphBuilder, x: str, feedback: dict[str, str]) -> str:
    h, row = b.add(g.State(np.zeros((1, 4)))), b.add(g.Reshape((1, 1, 4)), x)
    op = g.RNN(W, U, scan=True, operands=("initial_h",))
    y, feedback[h] = b.add_many(op, row, h, outputs=2)
    return b.add(g.Reshape((4,)), y)


def same_function(before: Graph, after: Graph) -> None:
    x = np.random.default_rng(1).normal(size=(2, 5, 4))
    for a, b in zip(reference.run(before, x)[0], reference.run(after, x)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_delays_stay():
    b, x, feedback = begun()
    for _ in range(NODES):
        held = b.add(g.State(np.zeros(4)))
        feedback[held], x = x, held
    graph = b.build(x, feedback=feedback)
    assert canonical(graph) is graph


@pytest.mark.parametrize(("cell", "size", "kind"), [(rnn, 5, "RNN"), (scan, 4, "RNN"), (lstm, 19, "LSTM")])
def test_cells_become_layers(cell, size, kind):
    b, x, feedback = begun()
    count = NODES // size
    for _ in range(count):
        x = cell(b, x, feedback)
    graph = b.build(x, feedback=feedback)
    found = canonical(graph)
    assert kinds(found) == {kind: count}
    same_function(graph, found)


def test_a_state_of_many_parts():
    b, x, feedback = begun()
    count = NODES // 3
    packed = b.add(g.State(np.zeros(4 * count)), name="s")
    parts = [b.add(g.Slice((4 * i,), (4 * i + 4,), (1,)), packed) for i in range(count)]
    values = [b.add(g.Average(), x, p) for p in parts]
    feedback[packed] = b.add(g.Concat(0), *values)
    graph = b.build(b.add(g.Add(), *values), feedback=feedback)
    found = split_states(graph)
    assert kinds(found) == {"State": count, "Average": count, "Add": 1}
    same_function(graph, found)


def test_a_cell_whose_sum_is_read_elsewhere_stays_and_hinders_no_other():
    b, x, feedback = begun()
    for i in range(20):
        h = b.add(g.State(np.zeros(4)))
        total = linear(b, x, h)
        x = feedback[h] = b.add(g.Activate("tanh"), total)
        if i == 7:
            shown = total
    graph = b.build(x, shown, feedback=feedback)
    found = recover_cells(graph)
    assert kinds(found) == {"RNN": 19, "State": 1, "Dense": 2, "Add": 1, "Activate": 1}
    same_function(graph, found)


def test_scans_whose_state_is_read_elsewhere_stay():
    b, x, feedback = begun()
    for _ in range(3):
        x = scan(b, x, feedback)
    shown = b.add(g.Unary("sin"), list(feedback)[1])
    graph = b.build(x, shown, feedback=feedback)
    found = make_streaming(graph)
    assert [node.op.scan for node in found.nodes if isinstance(node.op, g.RNN)] == [False, True, False]
    same_function(graph, found)


def test_an_lstm_is_compared_with_few_states(monkeypatch):
    b, x, feedback = begun()
    for _ in range(40):
        x = lstm(b, x, feedback)
    calls, wanted = [], cell_lstm._output
    monkeypatch.setattr(cell_lstm, "_output", lambda *a: calls.append(1) or wanted(*a))
    assert kinds(recover_cells(b.build(x, feedback=feedback))) == {"LSTM": 40}
    assert len(calls) < 40 * 10


@pytest.mark.parametrize("place", ["behind", "ahead", "between"])
def test_a_run_of_scales_is_folded_at_once(place):
    b, x, _ = begun()
    y = b.add(g.Dense(W), x) if place != "ahead" else x
    rng = np.random.default_rng(3)
    for _ in range(NODES):
        y = b.add(g.BatchNorm(rng.normal(size=4) * 1e-3, np.ones(4), eps=1e-3 * rng.random()), y)
    y = b.add(g.Dense(U, activation="tanh"), y) if place != "behind" else y
    graph = b.build(y)
    found = fused(graph)
    assert set(kinds(found)) == {"Dense"}
    same_function(graph, found)


def test_like_names_of_a_draft_are_the_first_free_ones():
    b, x, _ = begun()
    draft = Draft(b.build(b.add(g.Unary("sin"), x, name="a_2")))
    assert [draft.unique("a") for _ in range(4)] == ["a", "a_1", "a_3", "a_4"]
    assert len({draft.unique("b") for _ in range(100_000)}) == 100_000


def test_identities_whose_values_are_all_outputs():
    b, x, _ = begun()
    values = [b.add(g.Dropout(), b.add(g.Unary("sin"), x)) for _ in range(NODES // 2)]
    found = fused(b.build(*values))
    assert kinds(found) == {"Unary": NODES // 2}
    assert found.outputs == tuple(values)


def test_a_value_is_found_by_the_elements_it_holds():
    b, x, _ = begun()
    square = b.add(g.Reshape((2, 2)), x)
    turned = b.add(g.Transpose((1, 0)), square)
    back = b.add(g.Transpose((1, 0)), turned)
    part = b.add(g.Slice((0,), (1,), (1,)), x)
    elements = Elements(b.build(back, part))
    assert elements.same(elements.flat(x)) == [x, square, back]
    assert elements.same(elements.flat(turned)) == [turned]
    assert elements.same(elements.flat(part)) == [part]


def test_windows_of_one_node_have_names_of_their_own():
    b, x, _ = begun()
    for i in range(2_000):
        x = b.add(g.TimeConv(np.full((4, 4, 2), 0.1, np.float32), before=1), x, name=f"t{i}")
    lowered = lower(b.build(x))
    keys = [key for key, *_ in lowered.states]
    assert len(keys) == len(set(keys))
    assert {key for key in keys if key.startswith("t7.")} == {"t7.history", "t7.held"}
