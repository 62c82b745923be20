"""Attribution: gradients by argument, integrated gradients that complete, relevance that is conserved."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from attribution_cases import CASES, POSITIVE, draw, normal
from cells import CELLS
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru import GraphError, Model, inspect, reference
from fastgru import graph as g
from fastgru.errors import AttributionError
from fastgru.graph import GraphBuilder, Spec
from fastgru.inspect import attribute
from fastgru.inspect.attribution_relevance import RULES
from fastgru.inspect.gradients import unrounded
from fastgru.layers import GRU, LSTM, Dense, Embedding

REFUSED = {"binary-mod", "binary-atan2", "reduce-prod"}  # of relevance
STEPPED = {"unary-sign", "unary-floor", "unary-ceil", "unary-round", "binary-mod", "binary-atan2"}


def inputs(name: str, graph: g.Graph) -> Any:
    x = draw(graph, name, seed=7)
    return x if len(x) > 1 else next(iter(x.values()))


def weights(graph: g.Graph, x: Any) -> Any:
    y = reference.run(graph, x)[0][0]
    return np.random.default_rng(2).normal(size=y.shape)


def total(found: Any) -> Any:
    arrays = found.values() if isinstance(found, dict) else [found]
    return sum(a.reshape(len(a), -1).sum(axis=1) for a in arrays)


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_relevance_is_conserved(name):
    graph = CASES[name]()
    x = inputs(name, graph)
    wanted = weights(graph, x)
    found, parts = attribute(graph, x, wanted, "lrp", name=graph.outputs[0], return_parts=True)
    known = total(found) + sum(parts.biases.values()) + sum(parts.states.values()) + parts.stabiliser
    explained = _unrounded(graph, x, wanted)
    np.testing.assert_allclose(known, explained, rtol=1e-6, atol=1e-6)


def _unrounded(graph: g.Graph, x: Any, wanted: Any) -> Any:
    y = reference.run(unrounded(graph), x)[0][0]
    return (wanted * y).reshape(len(y), -1).sum(axis=1)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_relevance_names_the_op_without_a_rule(name):
    graph = CASES[name]()
    with pytest.raises(GraphError, match="node 'y': relevance has no rule for"):
        attribute(graph, inputs(name, graph), weights(graph, inputs(name, graph)), "lrp")


def test_every_op_has_a_rule():
    assert set(RULES) == set(g.OPS.values()) - {g.State, g.Mask, g.ArgReduce}


@pytest.mark.parametrize("name", [name for name in CASES if name not in STEPPED])
def test_integrated_gradients_complete(name):
    graph = CASES[name]()
    x = inputs(name, graph)
    wanted, one = weights(graph, x), graph.outputs[0]
    baseline: Any = None
    if name in POSITIVE:
        floats = {n: 0.2 for n, spec in graph.inputs.items() if spec.dtype == "float"}
        baseline = floats
    found, parts = attribute(graph, x, wanted, "integrated_gradients", name=one, baseline=baseline, return_parts=True)
    difference = parts.output - parts.baseline
    np.testing.assert_allclose(parts.output, _unrounded(graph, x, wanted), rtol=0, atol=1e-9)
    assert (np.abs(total(found) - difference) <= 1e-4 * np.maximum(1, np.abs(difference))).all()
    np.testing.assert_allclose(parts.gap, difference - total(found), rtol=0, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(CELLS)), st.integers(1, 10), st.integers(1, 4), st.integers(1, 5), st.integers(0, 999))
def test_any_cell_of_any_size(name, steps, size, hidden, seed):
    from cells import make_cell

    rng = np.random.default_rng(seed)
    layer = make_cell(name, size, hidden, seed=seed)
    model = g.chain([layer, Dense(normal(2, layer.output_size), normal(2))])
    x = rng.normal(size=(2, steps, size)) * 2
    for method in ("integrated_gradients", "lrp"):
        found, parts = attribute(model, x, 1, method, return_parts=True)
        rest = sum(parts.biases.values()) + sum(parts.states.values()) + parts.stabiliser + parts.baseline
        np.testing.assert_allclose(total(found) + rest, parts.output, rtol=1e-4, atol=1e-4)


# Values known otherwise ----------------------------------------------------------------------------


def product() -> g.Graph:
    b = GraphBuilder()
    return b.build(b.add(g.Multiply(), b.input("a", Spec((1,))), b.input("b", Spec((1,)))))


def test_a_product_is_shared_in_halves():
    x = (np.array([[[3.0]]]), np.array([[[5.0]]]))
    for method in ("integrated_gradients", "lrp"):
        a, b = attribute(product(), x, 0, method)
        assert a.item() == pytest.approx(7.5)
        assert b.item() == pytest.approx(7.5)
    a, b = attribute(product(), x, 0)
    assert (a.item(), b.item()) == (5.0, 3.0)


def test_corners_are_found():
    """max(0, 1000 x - 999) turns at one place of the line from 0 to 1."""
    model = Model([Dense(np.array([[1000.0]]), np.array([-999.0]), "relu")])
    found, parts = attribute(model, np.array([[1.0]]), 0, "integrated_gradients", return_parts=True)
    assert found.item() == pytest.approx(1.0, abs=1e-4)
    assert abs(parts.gap).max() <= 1e-4


def test_a_jump_on_the_line_is_told():
    b = GraphBuilder()
    x = b.input("x", Spec((2,)))
    graph = b.build(b.add(g.Add(), x, b.add(g.Unary("floor"), x)))
    with pytest.raises(AttributionError, match=r"must sum to f\(x\) - f\(baseline\) = 3.6 within .* got a gap of"):
        attribute(graph, np.array([[1.6, 2.1]]), (0, 1), "integrated_gradients", baseline=np.array([1.6, 0.5]))


def lrp_linear(x, w, b, out, relevance, epsilon):
    """The formula of Arras et al. 2017, equation 2, all of the bias and of epsilon kept apart."""
    away = np.where(out < 0, -epsilon, epsilon)
    ratio = relevance / (out + away)
    return x * (w.T @ ratio), float((ratio * b).sum()), float((ratio * away).sum())


def test_an_lstm_gets_what_its_published_rules_give():
    """Written out step by step as in the paper, for one sequence."""
    rng = np.random.default_rng(0)
    T, I, H, epsilon = 5, 3, 4, 1e-3
    w, u, b = (rng.normal(size=s) for s in ((4 * H, I), (4 * H, H), (4 * H,)))
    w, u, b = (a.astype(np.float32).astype(np.float64) for a in (w, u, b))
    x, wanted = rng.normal(size=(T, I)), np.eye(H)[1]

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    hs, cs, gs = [np.zeros(H)], [np.zeros(H)], []
    for t in range(T):
        i, f, a, o = np.split(w @ x[t] + u @ hs[-1] + b, 4)
        gs.append((sigmoid(i), sigmoid(f), a))
        cs.append(sigmoid(f) * cs[-1] + sigmoid(i) * np.tanh(a))
        hs.append(sigmoid(o) * np.tanh(cs[-1]))
    of_h, of_c, found = wanted * hs[-1], np.zeros(H), np.zeros((T, I))
    biases = lost = 0.0
    for t in reversed(range(T)):
        i, f, a = gs[t]
        of_c = of_c + of_h
        away = np.where(cs[t + 1] < 0, -epsilon, epsilon)
        ratio = of_c / (cs[t + 1] + away)
        lost += float((ratio * away).sum())
        kept, taken = f * cs[t] * ratio, i * np.tanh(a) * ratio
        both = np.concatenate([x[t], hs[t]])
        share, bias, rest = lrp_linear(
            both, np.hstack([w[2 * H : 3 * H], u[2 * H : 3 * H]]), b[2 * H : 3 * H], a, taken, epsilon
        )
        found[t], of_h, of_c = share[:I], share[I:], kept
        biases, lost = biases + bias, lost + rest
    model = Model([LSTM(w, u, b)])
    got, parts = attribute(model, x, 1, "lrp", epsilon=epsilon, return_parts=True)
    np.testing.assert_allclose(got, found, rtol=1e-9, atol=1e-12)
    assert parts.biases["lstm"][0] == pytest.approx(biases)
    assert parts.stabiliser[0] == pytest.approx(lost)


def test_a_written_out_gate_gets_nothing():
    """The same GRU as a layer and by its formula: relevance follows the signal in both."""
    rng = np.random.default_rng(1)
    w, u, c = (rng.normal(size=s).astype(np.float32) for s in ((9, 3), (9, 3), (9,)))
    b = GraphBuilder()
    x, h = b.input("x", Spec((3,))), b.add(g.State(np.zeros(3)), name="h")

    def gate(k: int, act: str) -> tuple[str, str]:
        part = slice(3 * k, 3 * k + 3)
        return b.add(g.Dense(w[part], c[part]), x), b.add(g.Dense(u[part]), h)

    r, z = (b.add(g.Activate("sigmoid"), b.add(g.Add(), *gate(k, "sigmoid"))) for k in (0, 1))
    wx, uh = gate(2, "tanh")
    n = b.add(g.Activate("tanh"), b.add(g.Add(), wx, b.add(g.Multiply(), r, uh)))
    rest = b.add(g.Binary("sub"), b.add(g.Constant(np.ones(3))), z)
    new = b.add(g.Add(), b.add(g.Multiply(), z, h), b.add(g.Multiply(), rest, n))
    written = b.build(new, feedback={h: new})
    layer = Model([GRU(w, u, c)])
    values = rng.normal(size=(2, 6, 3))
    for method, tolerance in (("gradient", 1e-12), ("integrated_gradients", 1e-9), ("lrp", 0.02)):
        ours, theirs = (attribute(m, values, 1, method, epsilon=1e-6) for m in (layer, written))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


# Arguments -----------------------------------------------------------------------------------------


def tagger() -> Model:
    return Model([Embedding(normal(9, 4)), GRU(normal(15, 4), normal(15, 5)), Dense(normal(3, 5), normal(3))])


def test_ids_get_the_sum_over_their_vectors():
    ids = np.array([[1, 5, 8, 8]])
    model = tagger()
    found, parts = attribute(model, ids, 2, "integrated_gradients", return_parts=True)
    assert found.shape == ids.shape
    assert found.dtype == np.float64
    assert found.sum() == pytest.approx((parts.output - parts.baseline)[0], abs=1e-4)
    # Of the vectors themselves, in a model of them
    table = model.graph.nodes[0].op.weight
    rest = Model(g.chain([node.op for node in model.graph.nodes[1:]]))
    for method in ("gradient", "integrated_gradients", "lrp"):
        vectors = attribute(rest, table[ids], 2, method)
        np.testing.assert_allclose(attribute(model, ids, 2, method), vectors.sum(axis=-1), rtol=0, atol=1e-12)
    other, more = attribute(model, ids, 2, "integrated_gradients", baseline=np.zeros(1, int), return_parts=True)
    assert other.sum() == pytest.approx((more.output - more.baseline)[0], abs=1e-4)
    assert more.baseline[0] == pytest.approx(reference.run(model.graph, ids * 0)[0][0][0, -1, 2])


def test_ids_that_are_moved_and_counted_from_elsewhere():
    b = GraphBuilder()
    ids = b.input("ids", Spec((2,), dtype="int"))
    turned = b.add(g.Slice((1,), (-3,), (-1,)), b.add(g.Add(), ids, b.add(g.Constant(np.array([1]), "int"))))
    one = b.add(g.Reduce("sum", (0,), keepdims=False), b.add(g.OneHot(5, 1), turned))
    two = b.add(g.Reduce("sum", (0,), keepdims=False), b.add(g.Gather(0), b.add(g.Constant(normal(6, 5))), turned))
    graph = b.build(b.add(g.Dense(normal(1, 5)), b.add(g.Add(), one, two)))
    x = np.array([[[0, 3], [2, 1]]])
    found, parts = attribute(graph, x, (1, 0), "integrated_gradients", return_parts=True)
    assert (found[0, 0] == 0).all()
    assert found.sum() == pytest.approx(parts.output[0] - parts.baseline[0])


def test_outputs_are_chosen_in_every_form():
    model = Model([GRU(normal(12, 3), normal(12, 4)), Dense(normal(2, 4))])
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    last = attribute(model, x, 1)
    hot = np.zeros((2, 5, 2))
    hot[:, -1, 1] = 1
    for same in ((-1, 1), (4, 1), (4, (1,)), hot, (np.int64(4), np.int64(-1))):
        np.testing.assert_array_equal(attribute(model, x, same), last)
    np.testing.assert_allclose(attribute(model, x[1], (4, 1)), last[1], rtol=0, atol=1e-15)
    np.testing.assert_allclose(attribute(model, x[1], hot[1]), last[1], rtol=0, atol=1e-15)
    early = attribute(model, x, (2, 0))
    assert (early[:, 3:] == 0).all()
    assert (early[:, :3] != 0).all()


def test_several_inputs_and_outputs_come_back_as_they_went_in():
    graph = CASES["apply-mask"]()
    x = draw(graph)
    as_dict = attribute(graph, x, 0)
    as_tuple = attribute(graph, tuple(x.values()), 0)
    assert list(as_dict) == list(x)
    for found, name in zip(as_tuple, x, strict=True):
        np.testing.assert_array_equal(found, as_dict[name])
        assert found.shape == x[name].shape
    assert (as_dict["x1"] == 0).all()


def test_a_state_to_start_from_counts():
    model = Model([GRU(normal(12, 3), normal(12, 4), initial_h=normal(4))])
    x = np.random.default_rng(0).normal(size=(6, 3))
    first, last = x[:2], x[2:]
    _, state = reference.run(model.graph, first[None])
    whole = attribute(model, x, 2)
    np.testing.assert_allclose(attribute(model, last, 2, state=state), whole[2:], rtol=0, atol=1e-12)
    _, parts = attribute(model, last, 2, "lrp", state=state, return_parts=True)
    assert parts.states["gru.h"][0] != 0


def test_a_rounded_model_is_followed_with_its_weights():
    model = Model([GRU(normal(12, 3), normal(12, 4)), Dense(normal(2, 4))])
    x = np.random.default_rng(0).normal(size=(6, 3))
    exact, small = (attribute(m, x, 1) for m in (model, model.quantize("int8")))
    assert 0 < np.abs(exact - small).max() < 0.1 * np.abs(exact).max()
    assert attribute(model.quantize(activations="fast"), x, 1) == pytest.approx(exact, abs=1e-5)


X = np.zeros((2, 5, 3))
WRONG = [
    ({"method": "gradients"}, ValueError, "method must be one of gradient, integrated_gradients, lrp, got 'gradients'"),
    ({"x": np.zeros((5, 4))}, ValueError, "x must have shape (B, T, 3), got (5, 4)"),
    ({"x": np.zeros(3)}, ValueError, "x must have shape (B, T, 3), got (3,)"),
    ({"x": np.zeros((0, 3))}, ValueError, "x must have at least one step, got shape (0, 3)"),
    ({"x": np.full((5, 3), np.nan)}, ValueError, "x must be finite, got nan at (0, 0)"),
    ({"x": X.astype(str)}, TypeError, "x must be real numbers"),
    ({"output": 2}, ValueError, "unit of output 'dense' must be in -2..1, got 2"),
    ({"output": (5, 0)}, ValueError, "step of output 'dense' must be in -5..4, got 5"),
    ({"output": 1.0}, TypeError, "output must be a unit, a pair (step, unit), or an array of weights, got 1.0"),
    ({"output": "dense"}, TypeError, "output must be a unit, a pair (step, unit), or an array of weights, got 'dense'"),
    (
        {"output": np.zeros((5, 2))},
        ValueError,
        "weights must have the shape (2, 5, 2) of output 'dense', got float64 (5, 2)",
    ),
    ({"name": "dens"}, ValueError, "name must be that of an output, dense; got 'dens'"),
    ({"baseline": 0.0}, ValueError, "baseline must be omitted for method 'gradient', got one"),
    ({"tolerance": -1}, ValueError, "tolerance must be a number of at least 1e-12, got -1"),
    ({"epsilon": "small"}, ValueError, "epsilon must be a number of at least 0, got 'small'"),
    ({"state": {"gru.c": np.zeros(4)}}, ValueError, "state must be of gru.h; got 'gru.c'"),
    ({"state": {"gru.h": np.zeros(3)}}, ValueError, "state['gru.h'] must have shape (2, 4), got (3,)"),
    ({"model": [1]}, TypeError, "model must be a Model, got list"),
    ({"method": "integrated_gradients", "baseline": np.zeros(2)}, ValueError, "baseline of 'x' must broadcast"),
    ({"method": "integrated_gradients", "baseline": {"y": 0}}, ValueError, "baseline must be of the inputs x, got 'y'"),
]


@pytest.mark.parametrize(("changes", "error", "words"), WRONG)
def test_wrong_arguments_are_named(changes, error, words):
    model = Model([GRU(normal(12, 3), normal(12, 4)), Dense(normal(2, 4))])
    arguments = {"model": model, "x": X, "output": 0, **changes}
    with pytest.raises(error, match=re.escape(words)):
        attribute(**arguments)


def test_ids_beyond_a_table_are_named():
    with pytest.raises(GraphError, match=r"node 'embedding': ids must be in 0\.\.8, got 9\.\.9"):
        attribute(tagger(), np.array([9]), 0)


def test_the_package_shows_it():
    assert inspect.attribute is attribute
    assert "attribute" in dir(inspect)
