"""``fastgru bench``: steps and calls timed, histograms, profiles."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cells import make_cell
from typer.testing import CliRunner

import fastgru
from fastgru.cli import bench, build
from fastgru.graph import Bidirectional, Dense, Embedding, GraphBuilder, Spec, chain


@pytest.fixture(scope="module")
def app():
    return build()


@pytest.fixture
def cli(app):
    def invoke(*words, code=0):
        result = CliRunner().invoke(app, [str(w) for w in words])
        assert result.exit_code == code, result.output
        return result.stderr.strip() if code else result.stdout

    return invoke


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Models by name: one that streams, one that does not, one of ids, one without time."""
    folder = tmp_path_factory.mktemp("models")
    gru = make_cell("gru-after", 3, 8)
    still = GraphBuilder()
    head = still.add(Dense(np.full((2, 8), 0.5)), still.input("x", Spec((8,), time=False)))
    graphs = {
        "gru": chain([gru, Dense(np.full((2, 8), 0.5))]),
        "both": chain([Bidirectional(gru, gru)]),
        "ids": chain([Embedding(np.arange(10.0).reshape(5, 2)), make_cell("lstm", 2, 3)]),
        "still": still.build(head),
    }
    for name, graph in graphs.items():
        fastgru.Model(graph).save(folder / f"{name}.fgru")
    return folder


@pytest.mark.parametrize("name", ["gru", "both", "ids"])
def test_bench(cli, saved, name):
    values = json.loads(cli("bench", saved / f"{name}.fgru", "--steps", 50, "--warmup", 5, "--batch", 2, "--json"))
    us = list(values["us"].values())
    assert us == sorted(us)
    assert us[0] > 0
    assert values["steps_per_second"] > 0
    text = cli("bench", saved / f"{name}.fgru", "--steps", 50, "--warmup", 0)
    assert "p99.9" in text
    assert "steps/s at the median" in text
    assert "█" in text


def test_a_model_without_time_is_timed_call_by_call(cli, saved, tmp_path):
    path = saved / "still.fgru"
    values = json.loads(cli("bench", path, "--steps", 50, "--warmup", 5, "--batch", 3, "--json"))
    assert values["call"] == "call"
    assert values["rows_per_second"] == pytest.approx(3e6 / values["us"]["p50"])
    text = cli("bench", path, "--steps", 50)
    assert "one call of 1 row, " in text
    assert "rows/s at the median" in text
    profiled = json.loads(cli("bench", path, "--profile", 1, "--batch", 2, "--json"))
    assert [row["instruction"] for row in profiled["instructions"]] == ["dense"]
    said = cli("bench", path, "--profile", 9, code=2)
    assert said == "error: --profile must be 1 for a model without a time axis, got 9"
    assert "one call: median " in cli("quantize", path, "-o", tmp_path / "small.fgru")


def test_bench_counts_steps_a_second_at_the_median():
    ns = np.full(1001, 1000)
    ns[:100] = 50_000_000  # pauses
    assert bench.Timing(ns, batch=2, steps=16, empty_ns=0).throughput() == pytest.approx(32e6)


def test_bench_draws_what_is_slower_than_the_tail_as_one_row():
    ns = np.concatenate([np.full(1990, 1000), np.full(8, 2000), [50_000, 90_000]])
    first, second, last = bench.histogram(ns, "#")
    assert first.split() == ["1.00", "us", "|" + "#" * bench.BAR, "1,990"]
    assert second.split()[2:] == ["|#", "8"]
    assert last.split() == ["2.00", "us", "or", "more", "|#", "2"]
    assert len({row.index("|") for row in (first, second, last)}) == 1
    assert bench.histogram(np.full(3, 700), "#") == [bench.histogram(np.full(3, 700), "#")[0]]
