"""Traces: errors node by node."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, make_cell
from tensor_graphs import every_frame_op
from test_frames import looped
from typer.testing import CliRunner

import fastgru
from fastgru.checks import selftest, tracing
from fastgru.cli import build
from fastgru.graph import Activate, Add, ApplyMask, Bidirectional, Dense, Graph, GraphBuilder, Mask, Spec, chain

RNG = np.random.default_rng(3)


def test_every_node_is_near_the_reference():
    graph = chain([make_cell("gru-after", 3, 8), Dense(RNG.normal(size=(4, 8))), Activate("softmax")])
    rows = tracing.trace(graph, RNG.normal(size=(2, 9, 3)).astype(np.float32))
    assert [row.name for row in rows] == ["gru", "dense", "activate"]
    assert all(0 < row.error < 3e-6 for row in rows)
    assert all(row.new < 2e-6 for row in rows)


def test_a_node_that_rounds_stands_out():
    graph = chain(
        [Dense(RNG.normal(size=(4, 3))), Dense(RNG.normal(size=(4, 4)) * 1e4), Dense(RNG.normal(size=(2, 4)))]
    )
    first, second, third = tracing.trace(graph, RNG.normal(size=(1, 5, 3)).astype(np.float32))
    assert second.error > 100 * first.error
    assert third.new < third.error


def test_states_and_several_outputs():
    rows = tracing.trace(looped(), RNG.normal(size=(2, 6, 3, 4)).astype(np.float32))
    assert {"h", "late", "new"} <= {row.name for row in rows}
    assert all(row.error < 2e-5 for row in rows)


def masked() -> Graph:
    """An LSTM and a GRU that read a mask, and a layer behind both."""
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    mask = b.add(Mask(), x)
    last = b.add(make_cell("lstm", 3, 8, return_sequences=False, reverse=True), x, mask)
    every = b.add(make_cell("gru-after", 3, 8), x, mask)
    return b.build(b.add(Add(), last, every), b.add(ApplyMask(), every, mask))


GRAPHS = {
    **{name: lambda name=name: chain([make_cell(name, 3, 8)]) for name in CELLS},
    "bidirectional": lambda: chain([Bidirectional(make_cell("lstm", 3, 8), make_cell("lstm", 3, 8))]),
    "masked": masked,
    "looped": looped,
    "every frame op": every_frame_op,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_every_row_says_what_its_node_adds(name):
    graph = GRAPHS[name]()
    rows = tracing.trace(graph, selftest.make_input(graph))
    assert {row.name for row in rows} == {node.name for node in graph.nodes if not isinstance(node.op, Mask)}
    for row in rows:
        assert "nan" not in row.cells()
        assert row.error <= 3e-5 * max(1.0, row.largest), row
        assert row.new <= 1e-5 * max(1.0, row.largest), row


def test_a_state_that_is_passed_on_adds_nothing():
    new = {row.name: row.new for row in tracing.trace(looped(), RNG.normal(size=(2, 6, 3, 4)).astype(np.float32))}
    assert new["h"] == new["late"] == 0
    assert new["new"] > 0


def test_the_command_prints_a_row_for_each_node(tmp_path):
    model = fastgru.Model(chain([make_cell("lstm", 3, 8), Dense(np.ones((2, 8)))]))
    model.save(tmp_path / "m.fgru")
    result = CliRunner().invoke(build(), ["verify", str(tmp_path / "m.fgru"), "--trace"])
    assert result.exit_code == 0, result.output
    assert "lstm" in result.stdout
    assert "largest value" in result.stdout
    assert "nan" not in result.stdout
