"""Gradients of every op: against finite differences of the float64 reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from attribution_cases import CASES, cell, draw, normal, one, value
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import graphs

from fastgru import GraphError, reference
from fastgru import graph as g
from fastgru.graph import ACTIVATIONS, Graph, GraphBuilder, Spec
from fastgru.inspect.gradients import ROWS, Gradients, Sweep, evaluate, unrounded
from fastgru.inspect.gradients_slopes import BINARY, FOLDS, SLOPES, UNARY

STEP = 2e-5


def gradients(graph: Graph, x: dict[str, Any], weights: dict[str, Any], state: Any = None) -> Sweep:
    values = evaluate(graph, x, state)
    sweep = Sweep(graph, values, Gradients(), state)
    seeds: dict[str, Any] = {}
    for name, weight in weights.items():
        seeds[name] = seeds.get(name, 0.0) + weight.reshape(values[name].shape)
    sweep.run(seeds)
    return sweep


def weights_of(graph: Graph, x: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    outputs = reference.run(graph, x)[0]
    return {n: rng.normal(size=y.shape) for n, y in zip(graph.outputs, outputs, strict=True) if y.dtype.kind == "f"}


def slope(of: Callable[[float], float]) -> float:
    """The derivative at 0, of fourth order."""
    return (8 * (of(STEP) - of(-STEP)) - of(2 * STEP) + of(-2 * STEP)) / (12 * STEP)


def starts(graph: Graph) -> dict[str, Any]:
    """Random states before the first step."""
    rng = np.random.default_rng(5)
    shapes = {s.key: s.node.op.initial.shape if isinstance(s.node.op, g.State) else (s.size,) for s in graph.states()}
    return {key: rng.normal(size=(2, *shape)) for key, shape in shapes.items()}


def check(graph: Graph, x: dict[str, Any], tolerance: float = 1e-7) -> None:
    """Along a random direction of each input and initial state."""
    graph = unrounded(graph)
    weights, rng, state = weights_of(graph, x), np.random.default_rng(4), starts(graph)
    sweep = gradients(graph, x, weights, state)
    floats = [name for name, spec in graph.inputs.items() if spec.dtype == "float"]
    for name in floats:
        way = rng.normal(size=x[name].shape)
        wanted = slope(lambda s, n=name, w=way: value(graph, {**x, n: x[n] + s * w}, weights, state=state))
        got = float((sweep.found[name].reshape(way.shape) * way).sum()) if name in sweep.found else 0.0
        assert got == pytest.approx(wanted, rel=tolerance, abs=tolerance * np.abs(way).sum()), name
    for key, array in state.items():
        way = rng.normal(size=array.shape)
        wanted = slope(lambda s, k=key, w=way: value(graph, x, weights, state={**state, k: state[k] + s * w}))
        got = float((sweep.states[key] * way).sum()) if key in sweep.states else 0.0
        assert got == pytest.approx(wanted, rel=tolerance, abs=tolerance * np.abs(way).sum()), key


@pytest.mark.parametrize("name", CASES)
def test_rows_are_the_slopes_of_the_reference(name):
    graph = CASES[name]()
    for seed in range(3):
        check(graph, draw(graph, name, seed))


def test_every_op_has_a_row():
    assert set(ROWS) == set(g.OPS.values()) - {g.State}
    assert {type(node.op) for build in CASES.values() for node in build().nodes} >= set(ROWS) - {
        g.Embedding, g.OneHot, g.Mask, g.ArgReduce,
    }  # fmt: skip


def test_every_function_has_a_slope():
    assert set(SLOPES) == set(ACTIVATIONS) - {"fake_quantize"}
    assert set(UNARY) == {name for name, row in g.UNARY.items() if "float" in row.dtypes and row.result is None}
    assert set(BINARY) == {name for name, row in g.BINARY.items() if "float" in row.dtypes and row.result is None}
    assert set(FOLDS) >= {*g.REDUCTIONS, *g.TIME_REDUCTIONS}


@pytest.mark.parametrize("name", SLOPES)
def test_activations_alone_and_in_cells(name):
    graph = one(g.Activate(name), (3,))()
    check(graph, draw(graph))
    gru = cell("gru-after").replace(gate_activation=name, activation=name)
    graph = one(gru, (3,))()
    check(graph, draw(graph), 1e-6)


def test_a_product_with_zeros_has_a_gradient():
    graph = one(g.Reduce("prod", (0,)), (4,))()
    x = {"x0": np.array([[[0.0, 2.0, 3.0, 4.0], [0.0, 0.0, 3.0, 4.0]]])}
    found = gradients(graph, x, {"y": np.ones((1, 2, 1))}).found["x0"]
    assert found.tolist() == [[[24.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]


def test_rounding_activations_have_no_gradient():
    graph = one(g.Activate({"name": "fake_quantize", "alpha": 0.1, "beta": -128}), (3,))()
    with pytest.raises(GraphError, match="node 'y': activation 'fake_quantize' rounds to steps and has no gradient"):
        gradients(graph, draw(graph), weights_of(graph, draw(graph)))


def test_an_op_without_a_row_is_named(monkeypatch):
    monkeypatch.delitem(ROWS, g.LayerNorm)
    graph = CASES["layer-norm"]()
    with pytest.raises(GraphError, match="node 'y': attribution has no rule for LayerNorm"):
        gradients(graph, draw(graph), weights_of(graph, draw(graph)))


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_random_graphs(graph):
    names = {node.outputs[0] for node in graph.nodes}
    outputs = [v for v in graph.outputs if v in names] or [graph.nodes[-1].outputs[0]]
    graph = Graph(graph.inputs, graph.nodes, outputs, graph.feedback)
    check(graph, draw(graph), 1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**16))
def test_stacks_of_cells(steps, size, hidden, seed):
    rng = np.random.default_rng(seed)
    b = GraphBuilder()
    x = b.input("x", Spec((size,)))
    names = ("gru-after", "lstm-coupled-peephole", "lstm-projection", "gru-before-output", "rnn-tanh")
    from cells import make_cell

    for name in rng.permutation(names)[:2]:
        layer = make_cell(str(name), size, hidden, seed=seed)
        x, size = b.add(layer, x), layer.output_size
    graph = b.build(b.add(g.Dense(normal(2, size), normal(2)), x))
    check(graph, draw(graph, steps=steps), 1e-6)
