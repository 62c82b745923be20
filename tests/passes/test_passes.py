"""Each pass on what it is for, and all of them on random graphs: what a graph computes must not change."""

from __future__ import annotations

import numpy as np
import pytest
from graph_pairs import kinds, same
from hypothesis import HealthCheck, given, settings
from random_graphs import graphs
from tensor_graphs import every_frame_op

from fastgru import graph as g
from fastgru import reference
from fastgru.errors import GraphError
from fastgru.graph import Graph, GraphBuilder, Spec, chain
from fastgru.passes import FUSED, canonical, constants, fused, until_stable
from fastgru.passes.canonical_form import CANONICAL
from fastgru.passes.proof import proven

RNG = np.random.default_rng(5)
PROPERTY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def normal(*shape: int):
    return (RNG.normal(size=shape) / 2).astype(np.float32)


# All of them ----------------------------------------------------------------------------------------


@PROPERTY
@given(graphs())
def test_canonical_computes_the_same(old):
    new = canonical(old)
    same(old, new, steps=4)
    assert canonical(new) is new


@PROPERTY
@given(graphs())
def test_fused_computes_the_same_with_the_same_states(old):
    new = fused(old)
    assert [s[:2] for s in new.states()] == [s[:2] for s in old.states()]
    before, after = same(old, new, steps=4)
    for name, held in before.items():
        np.testing.assert_allclose(after[name], held, rtol=0, atol=1e-12 * np.abs(held).max(initial=1.0))
    assert fused(new) is new


@pytest.mark.parametrize("passes", [canonical, fused])
def test_a_graph_of_every_op(passes):
    """Its loop and its delay, its values of every dtype, at two rates: nothing is lost."""
    old = every_frame_op()
    new = passes(old)
    samples = {"samples": (2, 64)}
    rng = np.random.default_rng(1)
    feeds = {
        name: rng.normal(size=samples.get(name, (2, *[64] * spec.time, *spec.shape)))
        if spec.dtype == "float"
        else rng.integers(0, 2, size=(2, *[64] * spec.time, *spec.shape))
        for name, spec in old.inputs.items()
    }
    assert new.outputs == old.outputs
    for a, b in zip(reference.run(old, feeds)[0], reference.run(new, feeds)[0], strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-12 * np.abs(a).max())


def test_passes_that_find_nothing_return_what_they_were_given():
    graph = chain([g.Dense(normal(4, 3), activation="tanh"), g.GRU(normal(6, 4), normal(6, 2))])
    for run in (*CANONICAL, *FUSED):
        assert run(graph) is graph


def test_passes_that_never_end_are_an_error():
    graph = chain([g.Dense(normal(4, 3))])
    with pytest.raises(GraphError, match="passes must come to an end within 1000 rounds, got a graph that still"):
        until_stable(graph, [lambda x: Graph(x.inputs, x.nodes, x.outputs)])


# Constants ------------------------------------------------------------------------------------------


def of_constants(*ops: g.Op) -> Graph:
    """A chain of ops on a constant, added to an input."""
    b = GraphBuilder()
    x, value = b.input("x", Spec(())), b.add(g.Constant(normal(2, 3)))
    for op in ops:
        value = b.add(op, value)
    return b.build(b.add(g.Where(), b.add(g.Binary("less"), x, x), value, value, name="y"))


def test_constants_are_folded_and_rounded_to_float32():
    old = of_constants(g.Unary("exp"), g.Transpose((1, 0)), g.Dense(normal(2, 2), activation="tanh"))
    new = canonical(old)
    assert kinds(new) == {"Constant": 1, "Binary": 1, "Where": 1}
    (found,) = [node for node in new.nodes if isinstance(node.op, g.Constant)]
    assert found.name == "dense"
    first = next(node.op.value for node in old.nodes if isinstance(node.op, g.Constant))
    exact = np.exp(first.astype(np.float64)).astype(np.float32).astype(np.float64).T
    dense = next(node.op for node in old.nodes if isinstance(node.op, g.Dense))
    assert found.op.value.dtype == np.float32
    np.testing.assert_array_equal(found.op.value, np.tanh(exact @ dense.weight.T.astype(np.float64)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["float", "int", "bool"])
def test_constants_of_every_dtype_stay_of_it(dtype):
    b = GraphBuilder()
    x = b.input("x", Spec((2,)))
    a, c = (b.add(g.Constant(v, dtype)) for v in ([1, 0], [1, 1]))
    y = b.add(g.Cast("float"), b.add(g.Binary("equal"), a, c) if dtype == "bool" else b.add(g.Add(), a, c))
    old = b.build(b.add(g.Add(), x, y))
    assert kinds(canonical(old)) == {"Constant": 1, "Add": 1}
    same(old, canonical(old))


def test_every_output_of_a_folded_node_is_a_constant():
    b = GraphBuilder()
    x, sequence = b.input("x", Spec((2,))), b.add(g.Constant(normal(5, 1, 3)))
    _, h, c = b.add_many(g.LSTM(normal(8, 3), normal(8, 2), scan=True), sequence, outputs=3, name="lstm")
    old = b.build(b.add(g.Add(), x, h, c))
    assert {node.name for node in canonical(old).nodes} == {"lstm.1.constant", "lstm.2.constant", "add"}
    same(old, canonical(old), 1e-7)


def test_folding_does_not_grow_a_graph_beyond_its_limit(monkeypatch):
    monkeypatch.setattr(constants, "LARGEST_GROWTH", 4 * 100)
    grown = of_constants(g.Expand((16, 2, 3)), g.Unary("exp"))  # by 90 numbers, which the exp does not add to
    assert kinds(canonical(grown)) == {"Constant": 1, "Binary": 1, "Where": 1}
    for large in (g.Expand((100, 2, 3)), g.Tile((18, 1))):
        grown = of_constants(large)
        assert canonical(grown) is grown or kinds(canonical(grown)) == kinds(grown)


def test_what_fails_when_the_model_runs_is_not_folded():
    b = GraphBuilder()
    x, ids = b.input("x", Spec((2,))), b.add(g.Constant([5], "int"))
    old = b.build(b.add(g.Add(), x, b.add(g.Embedding(normal(3, 2)), ids)))
    assert canonical(old) is old


# Nodes that do nothing, dead nodes, moves --------------------------------------------------------------


IDENTITIES = {
    "dropout": g.Dropout(), "linear": g.Activate(), "add": g.Add(), "multiply": g.Multiply(), "average": g.Average(),
    "concat": g.Concat(), "cast": g.Cast("float"), "reshape": g.Reshape((2, 3)), "expand": g.Expand((2, 3)),
    "transpose": g.Transpose((0, 1)), "slice": g.Slice((0, 0), (2, 3), (1, 1)), "pad": g.Pad((0, 0), (0, 0)),
    "tile": g.Tile((1, 1)), "time_pad": g.TimePad(), "time_slice": g.TimeSlice(),
}  # fmt: skip


@pytest.mark.parametrize("passes", [canonical, fused])
@pytest.mark.parametrize("op", IDENTITIES.values(), ids=IDENTITIES)
def test_what_returns_what_it_is_given_is_gone(op, passes):
    b = GraphBuilder()
    x = b.input("x", Spec((2, 3)))
    y = b.add(op, b.add(g.Unary("exp"), x, name="exp"), name="y")
    old = b.build(y, b.add(g.Unary("abs"), y))
    new = passes(old)
    assert [(node.name, node.outputs) for node in new.nodes] == [("exp", ("y",)), ("unary", ("unary",))]
    same(old, new)


NOT_IDENTITIES = {
    "two": (g.Add(), 2), "expand": (g.Expand((1, 2, 3)), 1), "slice": (g.Slice((1, 2), (-3, -4), (-1, -1)), 1),
    "pad": (g.Pad((0, 0), (0, 1)), 1), "tanh": (g.Activate("tanh"), 1), "time_pad": (g.TimePad(1), 1),
    "time_slice": (g.TimeSlice(step=2), 1),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_IDENTITIES.values(), ids=NOT_IDENTITIES)
def test_what_does_something_stays(case):
    op, inputs = case
    b = GraphBuilder()
    x = b.input("x", Spec((2, 3)))
    old = b.build(b.add(g.Unary("exp"), b.add(op, *[x] * inputs)))
    assert len(canonical(old).nodes) == 2
    same(old, canonical(old))


@pytest.mark.parametrize("passes", [canonical, fused])
def test_outputs_keep_their_names(passes):
    """An input that is an output, a value that is two, and one that is behind several nodes that do nothing."""
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    y = b.add(g.Unary("exp"), x)
    values = [x, b.add(g.Dropout(), x), y, b.add(g.Dropout(), y), b.add(g.Dropout(), b.add(g.Dropout(), y))]
    z = b.add(g.Unary("abs"), x)
    values.append(b.add(g.Activate(), b.add(g.Dropout(), z)))
    old = b.build(*values)
    same(old, passes(old))
    assert passes(passes(old)) is passes(old) or kinds(passes(passes(old))) == kinds(passes(old))


def test_dead_nodes_and_states_that_feed_only_themselves_are_gone():
    b = GraphBuilder()
    x = b.input("x", Spec((2,)))
    alone = b.add(g.State(np.zeros(2)), name="alone")
    fed = b.add(g.Add(), alone, x)
    b.add(g.GRU(normal(6, 2), normal(6, 2)), fed, name="gru")
    b.add(g.Unary("exp"), x)
    old = b.build(b.add(g.Unary("abs"), x), feedback={alone: fed})
    assert kinds(canonical(old)) == {"Unary": 1}
    assert not canonical(old).states()
    assert kinds(fused(old)) == {"Unary": 1, "State": 1, "Add": 1, "GRU": 1}
    assert [s.key for s in fused(old).states()] == [s.key for s in old.states()]


def test_moves_that_cancel_are_gone():
    b = GraphBuilder()
    x = b.input("x", Spec((2, 3, 4)))
    y = b.add(g.Unary("exp"), x)
    turned = b.add(g.Transpose((2, 0, 1)), b.add(g.Reshape((2, 3, 2, 2)), y) and y)
    halves = [b.add(g.Slice((i, 0, 0), (i + 2, 2, 3), (1, 1, 1)), turned) for i in (0, 2)]
    again = b.add(g.Transpose((1, 2, 0)), b.add(g.Concat(0), *halves))
    old = b.build(b.add(g.Unary("abs"), again))
    assert kinds(canonical(old)) == {"Unary": 2}
    same(old, canonical(old))


def test_moves_of_axes_of_one_element_are_one_reshape():
    b = GraphBuilder()
    x = b.input("x", Spec((1, 3, 1, 2)))
    y = b.add(g.Reshape((2, 3, 1)), b.add(g.Transpose((2, 1, 3, 0)), x))
    old = b.build(b.add(g.Unary("abs"), y))
    new = canonical(old)
    assert [(node.op.kind, node.inputs) for node in new.nodes] == [("reshape", ("x",)), ("unary", (y,))]
    same(old, new)


def test_a_part_of_what_was_joined_is_that_part():
    """Though not where the joined value has time and the part has none: outputs would change."""
    b = GraphBuilder()
    x, c = b.input("x", Spec((3,))), b.input("c", Spec((3,), False))
    joined = b.add(g.Concat(), x, c)
    parts = [b.add(g.Slice((i,), (i + 3,), (1,)), joined) for i in (0, 3)]
    old = b.build(*(b.add(g.Unary("abs"), part) for part in parts))
    new = canonical(old)
    assert kinds(new) == {"Concat": 1, "Slice": 1, "Unary": 2}
    same(old, new)


def test_a_place_outside_of_the_axis_is_left_to_fail():
    b = GraphBuilder()
    x, ids = b.input("x", Spec((3,))), b.add(g.Constant([3], "int"))
    old = b.build(b.add(g.Gather(0), x, ids))
    assert canonical(old) is old


# Proof ----------------------------------------------------------------------------------------------


def test_proof_sees_a_difference_far_below_float32():
    def graph(factor: float) -> Graph:
        b = GraphBuilder()
        x, h = b.input("x", Spec((2,))), b.add(g.State(np.zeros(2)), name="h")
        new = b.add(g.Add(), x, b.add(g.Multiply(), h, b.add(g.Constant(np.float64(factor)))), name="new")
        return b.build(new, feedback={h: new})

    assert proven(graph(0.5), graph(0.5))
    assert proven(graph(0.5), graph(0.5 + 1e-12))
    assert not proven(graph(0.5), graph(0.5 + 1e-8))


def test_proof_sees_states_that_start_elsewhere():
    def graph(initial: float) -> Graph:
        b = GraphBuilder()
        x, h = b.input("x", Spec((1,))), b.add(g.State(np.full(1, initial)), name="h")
        return b.build(b.add(g.Add(), x, h, name="y"), feedback={h: x})

    assert not proven(graph(0.0), graph(1e-3))


def test_proof_refuses_what_gives_no_number():
    def graph(op: g.Op) -> Graph:
        b = GraphBuilder()
        return b.build(b.add(op, b.input("x", Spec((2,))), name="y"))

    assert not proven(graph(g.Unary("log")), graph(g.Unary("log")))
    assert not proven(graph(g.Unary("abs")), graph(g.Unary("neg")))


# Single steps --------------------------------------------------------------------------------------------


def ending(op: g.Recurrent, *moves: g.Op, index: int = -1, keep: bool = False) -> Graph:
    b = GraphBuilder()
    y = first = b.add(op, b.input("x", Spec((3,))), name="cell")
    for move in moves:
        y = b.add(move, y)
    return b.build(b.add(g.TimeStep(index), y, name="y"), *[first] * keep)


MOVED = (g.Reshape((2, 2)), g.Transpose((1, 0)), g.Slice((0, 0), (2, 1), (1, 1)))


@pytest.mark.parametrize("moves", [(), MOVED], ids=["alone", "moved"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [g.RNN, g.GRU, g.LSTM])
def test_a_recurrence_returns_the_one_step_that_is_read(cell, reverse, moves):
    n = len(g.dialects.CANONICAL[cell.kind]) * 4
    op = cell(normal(n, 3), normal(n, 4), normal(n), reverse=reverse)
    old = ending(op, *moves, index=0 if reverse else -1)
    new = canonical(old)
    assert not new.nodes[0].op.return_sequences
    assert [type(node.op) for node in new.nodes] == [cell, *map(type, moves)]
    assert [s.key for s in new.states()] == [s.key for s in old.states()]
    same(old, new)
    mask = np.array([[True, False, True, False], [False] * 4])
    x = RNG.normal(size=(2, 4, 3))
    for y, wanted in zip(*(reference.run(graph, {"x": x}, mask=mask)[0] for graph in (new, old)), strict=True):
        np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize(
    ("old", "kept"),
    [
        (ending(g.RNN(normal(4, 3), normal(4, 4)), index=0), "another step"),
        (ending(g.RNN(normal(4, 3), normal(4, 4)), index=-2), "another step"),
        (ending(g.RNN(normal(4, 3), normal(4, 4), reverse=True)), "another step"),
        (ending(g.RNN(normal(4, 3), normal(4, 4)), keep=True), "all steps are read"),
        (ending(g.RNN(normal(4, 3), normal(4, 4)), g.Activate("sigmoid")), "no move: gives 0.5 for zeros"),
    ],
)
def test_a_recurrence_of_which_more_is_read_returns_all_steps(old, kept):
    new = canonical(old)
    assert new.nodes[0].op.return_sequences, kept
    assert [type(node.op) for node in new.nodes] == [type(node.op) for node in old.nodes]
