"""Profiles: every instruction has its time and rate, and measuring changes no bits."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from test_instructions import graphs
from typer.testing import CliRunner

from fastgru import Model
from fastgru.checks.selftest import make
from fastgru.cli import build
from fastgru.engine import probe
from fastgru.errors import ConvertError
from fastgru.graph import Activate, Add, GraphBuilder, Multiply, Spec, State
from fastgru.layers import GRU, Dense
from fastgru.report.profile import profile

RNG = np.random.default_rng(8)


def w(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32) / 4


def layers() -> Model:
    return Model([GRU.from_torch(w(192, 16), w(192, 64)), Dense(w(8, 64), w(8))])


def test_rows_say_what_instructions_take():
    found = profile(layers(), w(4, 50, 16), seconds=0.05)
    gru, dense = found.rows
    assert [row.instruction for row in found.rows] == ["recurrent", "dense"]
    assert gru.share + dense.share == pytest.approx(1)
    assert gru.share > dense.share > 0
    assert gru.us + dense.us <= found.us
    assert gru.gflops == pytest.approx(2 * 192 * (16 + 64) * 50 * 4 / gru.us / 1e3)
    assert gru.of_best == pytest.approx(gru.gflops / found.best)
    numbers = 4 * (64 + 8) * 200
    assert numbers / dense.us / 1e3 <= dense.gigabytes < 2 * numbers / dense.us / 1e3  # and its weights


def test_measuring_changes_no_bits():
    for graph in graphs():
        try:
            x = make(graph, None, {}).input
        except ConvertError:  # no number of steps fits this graph
            continue
        model = Model(graph)
        x = tuple(x.values()) if isinstance(x, dict) else x
        expected = model(x)
        spent = probe.profile(model._idle[-1])
        for a, b in zip(*(y if isinstance(y, tuple) else (y,) for y in (model(x), expected)), strict=True):
            np.testing.assert_array_equal(a, b)
        assert (spent >= 0).all()
        assert spent[:, 1].sum() > 0


def test_the_first_of_instructions_that_run_as_one_has_their_time():
    b = GraphBuilder()
    x, h = b.input("x", Spec((8,))), b.add(State(np.zeros(8, np.float32)), name="h")
    new = b.add(Activate("tanh"), b.add(Add(), b.add(Multiply(), x, h), x))
    found = profile(Model(b.build(new, feedback={h: new})), w(200, 8), seconds=0.05)
    assert len(found.rows) > 1
    assert max(found.rows, key=lambda row: row.us) == next(row for row in found.rows if row.us)


def test_the_command_line_shows_it(tmp_path):
    layers().save(path := tmp_path / "m.fgru")
    shown = CliRunner().invoke(build(), ["bench", str(path), "--profile", "20"])
    assert shown.exit_code == 0, shown.output
    assert "recurrent" in shown.output
    assert "1 row of 20 steps" in shown.output
    found = json.loads(CliRunner().invoke(build(), ["bench", str(path), "--profile", "20", "--json"]).output)
    assert [row["instruction"] for row in found["instructions"]] == ["recurrent", "dense"]
    assert found["best_gflops"] > 0
