"""Traces: errors node by node."""

from __future__ import annotations

import numpy as np
from cells import make_cell
from test_frames import looped
from typer.testing import CliRunner

import fastgru
from fastgru import tracing
from fastgru.cli import build
from fastgru.graph import Activate, Dense, chain

RNG = np.random.default_rng(3)


def test_every_node_is_near_the_reference():
    graph = chain([make_cell("gru-after", 3, 8), Dense(RNG.normal(size=(4, 8))), Activate("softmax")])
    rows = tracing.trace(graph, RNG.normal(size=(2, 9, 3)).astype(np.float32))
    assert [row.name for row in rows] == ["gru", "dense", "activate"]
    assert all(0 < row.error < 3e-6 for row in rows)
    assert np.isnan(rows[0].new)
    assert all(row.new < 2e-6 for row in rows[1:])


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


def test_the_command_prints_a_row_for_each_node(tmp_path):
    model = fastgru.Model(chain([make_cell("lstm", 3, 8), Dense(np.ones((2, 8)))]))
    model.save(tmp_path / "m.fgru")
    result = CliRunner().invoke(build(), ["verify", str(tmp_path / "m.fgru"), "--trace"])
    assert result.exit_code == 0, result.output
    assert "lstm" in result.stdout
    assert "largest value" in result.stdout
