"""Recurrences along a frame axis, and feedback: against the same written out step by step."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, make_cell
from frames import graph_of, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from fastgru import Model, reference
from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec, chain

# Scan ----------------------------------------------------------------------------------------------

S, N, I = 5, 3, 4
LENGTHS = np.array([[[0, 5, 3], [1, 2, 5], [4, 4, 4]]] * 2)


def scanned(cell: g.Recurrent, x: np.ndarray, **operands: np.ndarray) -> tuple[np.ndarray, ...]:
    op = cell.replace(scan=True, operands=tuple(operands))
    specs = [Spec(a.shape[2:], dtype="int" if a.dtype.kind == "i" else "float") for a in (x, *operands.values())]
    graph = graph_of(op, *specs, outputs=1 + len(op.carried()))
    feeds = dict(zip(graph.inputs, (x, *operands.values()), strict=True))
    return reference.run(graph, feeds)[0]


@pytest.mark.parametrize("given", [(), ("initial_h",), ("lengths",), ("lengths", "initial_h")], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_scan_is_a_sequence_in_every_frame(name, reverse, given):
    cell = make_cell(name, I, 6, reverse=reverse)
    if "initial_h" in given:
        cell = cell.replace(initial_h=None, **({"initial_c": None} if isinstance(cell, g.LSTM) else {}))
    x = normal(S, N, I)
    state = {f"initial_{n}": normal(N, size, seed=1) for n, size in cell.carried().items()}
    every = {**state, "lengths": LENGTHS}
    operands = {k: every[k] for k in given}
    if "initial_h" in given and isinstance(cell, g.LSTM):
        operands["initial_c"] = state["initial_c"]
    y, *final = scanned(cell, x, **operands)
    for b, t in np.ndindex(2, 3):
        rows = np.swapaxes(x[b, t], 0, 1)
        start = {f"c.{k[8:]}": a[b, t] for k, a in operands.items() if k != "lengths"}
        mask = np.arange(S) < LENGTHS[b, t, :, None] if "lengths" in given else None
        (want,), end = reference.run(chain([cell], names=["c"]), rows, state=start, mask=mask)
        np.testing.assert_allclose(y[b, t], np.swapaxes(want, 0, 1), rtol=0, atol=1e-12)
        for got, key in zip(final, ("c.h", "c.c"), strict=False):
            np.testing.assert_allclose(got[b, t], end[key], rtol=0, atol=1e-12)


def test_a_scan_keeps_nothing_and_its_operands_come_in_their_order():
    cell = make_cell("lstm", I, 6).replace(initial_h=None, initial_c=None)
    x, h, c = normal(S, N, I), normal(N, 6, seed=1), normal(N, 6, seed=2)
    one = scanned(cell, x, initial_h=h, initial_c=c)
    two = scanned(cell, x, initial_c=c, initial_h=h)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    op = cell.replace(scan=True)
    assert (op.states(), op.streamable, op.replace(reverse=True).streamable) == ({}, True, True)
    assert graph_of(op, Spec((S, N, I)), outputs=3).states() == ()


# Feedback ------------------------------------------------------------------------------------------

X = np.random.default_rng(3).normal(size=(2, 9, 4))


def smoother(keep: float = 0.75) -> Graph:
    """y[t] = keep * y[t - 1] + (1 - keep) * x[t]."""
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    old = b.add(g.State(np.arange(4.0)), name="old")
    kept = b.add(g.Multiply(), old, b.add(g.Constant(keep)))
    y = b.add(g.Add(), kept, b.add(g.Multiply(), x, b.add(g.Constant(1 - keep))))
    return b.build(y, feedback={old: y})


def test_a_smoother_is_a_recursive_filter():
    (y,), state = reference.run(smoother(), X)
    want, _ = signal.lfilter([0.25], [1, -0.75], X, axis=1, zi=np.tile(0.75 * np.arange(4.0), (2, 1, 1)))
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-14)
    assert list(state) == ["old"]
    np.testing.assert_array_equal(state["old"], y[:, -1])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=4))
def test_chunks_with_the_state_between_are_the_whole(sizes):
    sizes = [*sizes, X.shape[1] - sum(sizes)] if sum(sizes) <= X.shape[1] else [X.shape[1]]
    for graph in (smoother(), written_out_gru()[0], delays()):
        (whole,), end = reference.run(graph, X)
        parts, state, at = [], None, 0
        for size in sizes:
            (y,), state = reference.run(graph, X[:, at : at + size], state=state)
            parts.append(y)
            at += size
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=1e-14)
        assert state.keys() == end.keys()
        for key in end:
            np.testing.assert_allclose(state[key], end[key], rtol=0, atol=1e-14)


def written_out_gru() -> tuple[Graph, g.GRU]:
    """A GRU as products, gates and a state, and the cell that it is."""
    cell = make_cell("gru-after", 4, 6)
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    h = b.add(g.State(cell.initial_h))
    wx = b.add(g.Dense(cell.weight_x, cell.bias), x)
    uh = b.add(g.Dense(cell.weight_h, cell.bias_h), h)
    part = {k: (b.add(g.Slice((6 * i,), (6 * i + 6,), (1,)), wx), b.add(g.Slice((6 * i,), (6 * i + 6,), (1,)), uh))
            for i, k in enumerate("rzn")}  # fmt: skip
    r, z = (b.add(g.Activate("sigmoid"), b.add(g.Add(), *part[k])) for k in "rz")
    n = b.add(g.Activate("tanh"), b.add(g.Add(), part["n"][0], b.add(g.Multiply(), r, part["n"][1])))
    one = b.add(g.Constant(1, dtype="float"))
    new = b.add(g.Multiply(), b.add(g.Binary("sub"), one, z), n)
    y = b.add(g.Add(), b.add(g.Multiply(), z, h), new)
    return b.build(y, feedback={h: y}), cell


def test_a_gru_written_out_is_the_gru():
    graph, cell = written_out_gru()
    (y,), state = reference.run(graph, X)
    (want,), end = reference.run(chain([cell]), X)
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-14)
    np.testing.assert_allclose(state["state"], end["gru.h"], rtol=0, atol=1e-14)
    given = {"state": np.full((2, 6), 0.5)}
    (y,), _ = reference.run(graph, X, state=given)
    (want,), _ = reference.run(chain([cell]), X, state={"gru.h": given["state"]})
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-14)


def delays() -> Graph:
    """x[t] + 10 * x[t - 1] + 100 * x[t - 2], of two states that lie in no loop; the older comes first."""
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    older, old = b.add(g.State(np.full(4, 2.0))), b.add(g.State(np.full(4, 1.0)))
    terms = [b.add(g.Multiply(), v, b.add(g.Constant(f))) for v, f in ((x, 1.0), (old, 10.0), (older, 100.0))]
    return b.build(b.add(g.Add(), *terms), feedback={older: old, old: x})


def test_states_outside_of_loops_are_delays():
    graph = delays()
    assert graph.loops() == ()
    (y,), state = reference.run(graph, X)
    longer = np.concatenate([np.full((2, 1, 4), 2.0), np.full((2, 1, 4), 1.0), X], axis=1)
    np.testing.assert_allclose(y, longer[:, 2:] + 10 * longer[:, 1:-1] + 100 * longer[:, :-2], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(state["state"], X[:, -2])
    np.testing.assert_array_equal(state["state_1"], X[:, -1])


@pytest.mark.parametrize("mask", [None, np.arange(9) % 3 != np.array([[0], [1]])], ids=["whole", "masked"])
def test_a_loop_through_a_cell_a_convolution_and_a_pool(mask):
    """y[t] = conv(gru(x[t] + y[t - 1])) and the maximum of the last 2 of that, step by step."""
    cell, weight = make_cell("gru-after", 4, 4), np.random.default_rng(1).normal(size=(4, 4, 2))
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    old = b.add(g.State(np.zeros(4)))
    h = b.add(cell, b.add(g.Add(), old, x), name="cell")
    c = b.add(g.TimeConv(weight, dilation=2, before=2), h)
    y = b.add(g.TimePool("max", 2, 1, before=1), c)
    graph = b.build(y, feedback={old: y})
    assert [node.name for node in graph.loops()[0]] == ["state", "add", "cell", "time_conv", "time_pool"]
    (got,), end = reference.run(graph, X, mask=mask)
    state, previous, hs, cs = {}, np.zeros((2, 1, 4)), [np.zeros((2, 4))] * 2, []
    for t in range(9):
        step = None if mask is None else mask[:, t : t + 1]
        (out,), state = reference.run(chain([cell], names=["cell"]), X[:, t : t + 1] + previous, state=state, mask=step)
        hs.append(out[:, 0])
        cs.append(hs[-3] @ weight[:, :, 0].T + hs[-1] @ weight[:, :, 1].T)
        want = np.maximum(cs[-1], cs[max(0, len(cs) - 2)])[:, None]
        np.testing.assert_allclose(got[:, t], want[:, 0], rtol=0, atol=1e-12)
        previous = want if step is None else np.where(step[..., None], want, previous)
    np.testing.assert_allclose(end["cell.h"], state["cell.h"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(end["state"], previous[:, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("through", ["loop", "delay"])
def test_steps_that_do_not_count_change_no_state_nodes(through):
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    old = b.add(g.State(np.ones(4)))
    y = b.add(g.Add(), old, x)
    graph = b.build(y, feedback={old: y if through == "loop" else x})
    mask = np.arange(9) % 3 != np.array([[0], [1]])
    (got,), end = reference.run(graph, X, mask=mask)
    held = np.ones((2, 4))
    for t in range(9):
        np.testing.assert_allclose(got[:, t], held + X[:, t], rtol=0, atol=1e-12)
        held = np.where(mask[:, t, None], got[:, t] if through == "loop" else X[:, t], held)
    np.testing.assert_allclose(end["state"], held, rtol=0, atol=1e-12)
    y, state = Model(graph)(X.astype(np.float32), mask=mask, return_state=True)
    np.testing.assert_allclose(y, got, rtol=0, atol=1e-5)
    np.testing.assert_allclose(state["state"], held, rtol=0, atol=1e-5)


def test_two_loops_at_two_rates():
    """A running sum of samples, framed, and a running maximum of the frames."""
    b = GraphBuilder()
    x = b.input("x", Spec(()))
    total, peak = b.add(g.State(0.0)), b.add(g.State(np.full(4, -9.0)))
    summed = b.add(g.Add(), x, total)
    frames = b.add(g.Framing(4, 2), summed)
    largest = b.add(g.Binary("max"), peak, frames)
    graph = b.build(summed, largest, feedback={total: summed, peak: largest})
    assert {name: graph.lengths(9)[name] for name in (total, peak, largest)} == {total: 9, peak: 3, largest: 3}
    (sums, peaks), state = reference.run(graph, X[..., 0])
    np.testing.assert_allclose(sums, np.cumsum(X[..., 0], axis=1))
    want = np.stack([np.cumsum(X[..., 0], axis=1)[:, i : i + 4] for i in (0, 2, 4)], axis=1)
    np.testing.assert_allclose(peaks, np.maximum.accumulate(want, axis=1))
    np.testing.assert_array_equal(state["state_1"], peaks[:, -1])


def test_a_loop_that_reads_no_input_runs_along():
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    count = b.add(g.State(0.0))
    new = b.add(g.Add(), count, b.add(g.Constant(1.0)))
    graph = b.build(count, x, feedback={count: new})
    (got, _), state = reference.run(graph, X)
    np.testing.assert_array_equal(got, np.tile(np.arange(9.0), (2, 1)))
    assert state["state"].tolist() == [9.0, 9.0]


def test_values_of_other_lengths_are_an_error():
    b = GraphBuilder()
    x = b.input("x", Spec((4,)))
    with pytest.raises(ValueError, match="must have one number of steps, got 9 of 'x' and 11 of"):
        reference.run(b.build(b.add(g.Add(), x, b.add(g.TimePad(2), x))), X)
    b = GraphBuilder()
    x, state = b.input("x", Spec((4,))), b.add(g.State(np.zeros(4)))
    half = b.add(g.Add(), b.add(g.TimePool("max", 2, 2), x), state)
    whole = b.add(g.Add(), half, x)
    graph = b.build(whole, feedback={state: whole})
    with pytest.raises(
        ValueError, match=r"values read by the loop of 'state' must have one number of steps, got 4 of .* and 9 of 'x'"
    ):
        reference.run(graph, X)
