"""Groups and windows of tables: every output has the bits of one call with that sequence, in the input's order."""

from __future__ import annotations

import contextlib
import csv
import io
import subprocess
import sys
import warnings

import numpy as np
import pytest
from cells import make_cell
from commands import invoke
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastgru
from fastgru.cli import _sequences, _tables
from fastgru.cli._columns import EVERYTHING, wanted
from fastgru.errors import DataError
from fastgru.graph import Bidirectional, Dense, Embedding, Spec, TimeConv, chain

RNG = np.random.default_rng(13)
STORES = ["b", "a", "a", "c", "b", "a", "b", "a", "c", "a"]  # 3 of b, 5 of a, 2 of c
X = RNG.normal(size=(len(STORES), 2)).round(3).astype(np.float32)


def csv_of(separator=",", decimal="."):
    rows = [["day", "store", "price", "units"]]
    rows += [[f"2026-01-{i + 1:02}", s, *map(str, x)] for i, (s, x) in enumerate(zip(STORES, X, strict=True))]
    return "".join(separator.join(c.replace(".", decimal) for c in row) + "\n" for row in rows)


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run a command over the files of a folder; returns stdout, or the line of the error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text(csv_of())
    gru = make_cell("gru-after", 2, 8)
    models = {
        "steps": chain([gru, Dense(RNG.normal(size=(2, 8)))]),
        "last": chain([make_cell("gru-after", 2, 8, return_sequences=False), Dense(RNG.normal(size=(2, 8)))]),
        "both": chain([Bidirectional(gru, make_cell("lstm", 2, 3))]),
        "shorter": chain([TimeConv(RNG.normal(size=(1, 2, 2)))]),
    }
    for name, graph in models.items():
        fastgru.Model(graph).save(tmp_path / f"{name}.fgru")

    return invoke


def parsed(text, words):
    """The cells of the first `words` columns, and the numbers behind them."""
    rows = list(csv.reader(io.StringIO(text)))
    return rows[0], [row[:words] for row in rows[1:]], np.float32([row[words:] for row in rows[1:]])


def by_group():
    return {s: [i for i, store in enumerate(STORES) if store == s] for s in dict.fromkeys(STORES)}


FEATURES = ("--columns", "price,units")


@pytest.mark.parametrize("stream", [[], ["--stream"], ["--stream", "-o", "out.csv"]])
def test_each_group_is_one_sequence_in_the_order_of_the_input(cli, tmp_path, stream):
    text = cli("run", "steps.fgru", "in.csv", *FEATURES, "--group", "store", "--keep", "day", *stream)
    if "-o" in stream:
        text = (tmp_path / "out.csv").read_text()
    names, cells, got = parsed(text, 2)
    assert names == ["store", "day", "dense.1", "dense.2"]
    assert cells == [[s, f"2026-01-{i + 1:02}"] for i, s in enumerate(STORES)]
    model = fastgru.load("steps.fgru")
    for rows in by_group().values():
        np.testing.assert_array_equal(got[rows], model(X[rows]), strict=True)


def test_groups_of_a_model_that_cannot_stream(cli):
    got = parsed(cli("run", "both.fgru", "in.csv", *FEATURES, "--group", "store"), 1)[2]
    for rows in by_group().values():
        np.testing.assert_array_equal(got[rows], fastgru.load("both.fgru")(X[rows]), strict=True)


def test_a_last_step_is_a_row_for_each_group_with_the_cells_of_its_last_row(cli):
    _, cells, got = parsed(cli("run", "last.fgru", "in.csv", *FEATURES, "--group", "store", "--keep", "day"), 2)
    assert cells == [["b", "2026-01-07"], ["a", "2026-01-10"], ["c", "2026-01-09"]]
    model = fastgru.load("last.fgru")
    np.testing.assert_array_equal(got, np.stack([model(X[rows]) for rows in by_group().values()]), strict=True)
    _, cells, got = parsed(cli("run", "last.fgru", "in.csv", *FEATURES, "--keep", "day"), 1)
    assert cells == [["2026-01-10"]]
    np.testing.assert_array_equal(got[0], model(X), strict=True)


@pytest.mark.parametrize("name", ["steps", "last", "both"])
@pytest.mark.parametrize("partial", [[], ["--partial"]])
@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_a_window_gives_each_row_the_last_output_over_the_rows_up_to_it(cli, name, partial, stream):
    words = ("--group", "store", "--keep", "day", "--window", 3, *partial, *stream)
    warned = pytest.warns(UserWarning, match="1 group of 3 has fewer rows than --window 3")
    with contextlib.nullcontext() if partial else warned:
        _, cells, got = parsed(cli("run", f"{name}.fgru", "in.csv", *FEATURES, *words), 2)
    model, seen, expected = fastgru.load(f"{name}.fgru"), {}, []
    for i, store in enumerate(STORES):
        rows = seen.setdefault(store, [])
        rows.append(i)
        if len(rows) >= 3 or partial:
            y = model(X[rows[-3:]])
            expected.append(([store, f"2026-01-{i + 1:02}"], y if name == "last" else y[-1]))
    assert cells == [words for words, _ in expected]
    np.testing.assert_array_equal(got, np.stack([y for _, y in expected]), strict=True)


def test_windows_over_a_numpy_file_and_of_a_model_with_fewer_outputs_than_steps(cli, tmp_path):
    np.save("x.npy", X)
    for name in ("last", "shorter"):
        cli("run", f"{name}.fgru", "x.npy", "--window", 4, "-o", "y.npy")
        model = fastgru.load(f"{name}.fgru")
        expected = [y if y.ndim == 1 else y[-1] for y in (model(X[i - 3 : i + 1]) for i in range(3, len(X)))]
        np.testing.assert_array_equal(np.load("y.npy"), np.stack(expected), strict=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=20), st.none() | st.integers(1, 6), st.booleans(),
    st.integers(1, 12),
)  # fmt: skip
def test_plans_hold_each_sequence_once(groups, window, partial, at_once):
    rows = {g: [i for i, other in enumerate(groups) if other == g] for g in groups}
    if window and not partial and max(map(len, rows.values())) < window:
        with pytest.raises(DataError, match=f"at least {window} rows? for --window {window}"):
            _sequences.plan(groups, len(groups), window, partial)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some groups are short
        plan = _sequences.plan(groups, len(groups), window, partial)
    got = [plan.order[s : s + n].tolist() for s, n in zip(plan.starts, plan.lengths, strict=True)]
    if window is None:
        expected = list(rows.values())
    else:
        ends = {i: all_[max(0, k + 1 - window) : k + 1] for all_ in rows.values() for k, i in enumerate(all_)}
        expected = [part for _, part in sorted(ends.items()) if partial or len(part) == window]
    assert got == expected
    assert plan.ends.tolist() == [part[-1] for part in expected]
    before, _sequences.STEPS_AT_ONCE = _sequences.STEPS_AT_ONCE, at_once
    try:
        batches = list(_sequences._batches(plan.lengths))
    finally:
        _sequences.STEPS_AT_ONCE = before
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(expected)))
    assert all(len({len(expected[i]) for i in batch}) == 1 for batch in batches)


def test_several_columns_make_a_group_and_ids_have_windows(cli):
    fastgru.Model(chain([Embedding(np.arange(10.0).reshape(5, 2)), make_cell("gru-after", 2, 3)])).save("ids.fgru")
    table = "a,b,id\nx,1,0\nx,2,3\n y,1,1\nx,1,4\nx,1,2\n"
    words = ("--columns", "id", "--group", "a,b", "--window", 2, "--partial")
    _, cells, got = parsed(cli("run", "ids.fgru", "-", *words, stdin=table), 2)
    assert cells == [["x", "1"], ["x", "2"], [" y", "1"], ["x", "1"], ["x", "1"]]
    model = fastgru.load("ids.fgru")
    expected = [model(np.array(ids))[-1] for ids in ([0], [3], [1], [0, 4], [4, 2])]
    np.testing.assert_array_equal(got, np.stack(expected), strict=True)
    streamed = cli("run", "ids.fgru", "-", *words, "--stream", stdin=table)
    np.testing.assert_array_equal(parsed(streamed, 2)[2], got)


def test_decimal_commas_in_and_out(cli, tmp_path):
    (tmp_path / "de.csv").write_text(csv_of(";", ","))
    words = (*FEATURES, "--keep", "day", "--separator", ";", "--decimal", ",")
    plain = cli("run", "steps.fgru", "in.csv", *FEATURES, "--keep", "day")
    for stream in ([], ["--stream"]):
        text = cli("run", "steps.fgru", "de.csv", *words, *stream)
        assert text.splitlines()[0] == "day;dense.1;dense.2"
        assert [line.replace(",", ".").replace(";", ",") for line in text.splitlines()[1:]] == plain.splitlines()[1:]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--group", "stores"], "column of --group must be one of the header, got 'stores' (nearest: store)"),
        (
            ["--group", "store", "--window", 6],
            "a group must have at least 6 rows for --window 6, got 5: --partial also",
        ),
        (["--window", 11], "in.csv: input must have at least 11 rows for --window 11, got 10"),
        (["--window", 0], "--window must be a whole number from 1 to 16777216, got '0'"),
        (["--partial"], "--window must be given with --partial, got none"),
        (["--decimal", ","], "--separator must be another character than --decimal, got a comma for both"),
        (["--decimal", "x"], "--decimal must be . or a comma, got 'x'"),
        (["--separator", ";;"], "--separator must be one character such as ; or |, or the word tab, got ';;'"),
        (["--separator", "5"], "--separator must be one character"),
        (
            ["--group", "store", "-o", "y.txt"],
            "output must be - or end in one of .csv, .npy, .npz, .parquet, got 'y.txt'",
        ),
    ],
)
def test_what_does_not_fit_is_named(cli, words, message):
    assert message in cli("run", "steps.fgru", "in.csv", *FEATURES, *words, code=2)


def test_groups_need_a_name_in_every_row_and_a_table(cli):
    for stream in ([], ["--stream"]):
        text = cli("run", "steps.fgru", "-", "--group", "g", *stream, stdin="g,a,b\nx,1,2\n ,1,2\n", code=2)
        assert text == "standard input: line 3, column 'g' must name the group of the row, got an empty cell"
    np.save("x.npy", np.stack([X, X]))
    text = cli("run", "steps.fgru", "x.npy", "--group", "store", code=2)
    assert text == "x.npy: input must be a table (CSV or Parquet) to choose columns from, got a NumPy file"
    text = cli("run", "steps.fgru", "x.npy", "--window", 3, code=2)
    assert text == "x.npy: input of --window 3 must have shape (T, 2), got (2, 10, 2)"
    text = cli("run", "shorter.fgru", "in.csv", *FEATURES, "--group", "store", code=2)
    assert "output must have a row for each row of the input, got 1 of 2: --window N gives" in text


@pytest.mark.parametrize("target", [[], ["-o", "y.csv"]])
def test_groups_without_an_output_end_a_stream_as_they_end_a_table(cli, target):
    for words in (["--group", "store", "--window", 6], ["--window", 11]):
        run = ("run", "steps.fgru", "in.csv", *FEATURES, *words, *target)
        text = cli(*run, "--stream", code=2)
        assert text == cli(*run, code=2)
        assert text.startswith("in.csv: ")
        assert text.endswith("of the rows so far")
    run = ("run", "steps.fgru", "in.csv", *FEATURES, "--group", "store", "--window", 3, *target)
    for stream in ([], ["--stream"]):
        with pytest.warns(UserWarning, match="^1 group of 3 has fewer rows than --window 3, and no output: --partial"):
            cli(*run, *stream)


# Whole tables ------------------------------------------------------------------------------------------


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=5)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(
    st.lists(st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), CELLS), min_size=1, max_size=20),
    st.sampled_from(",;\t"),
)
def test_tables_read_whole_are_those_read_line_by_line(rows, separator):
    lines = "".join(_tables.record([str(np.float32(x)), word, "g"], separator) + "\n" for x, word in rows)
    data = (_tables.record(["x", "word", "g"], separator) + "\n" + lines).encode()
    want = wanted("x", "word", "g", separator)
    whole = _tables.Table(iter(io.BytesIO(data).readline, b""), "in.csv", Spec((1,)), want).whole(data)
    step = list(_tables.Table(iter(io.BytesIO(data).readline, b""), "in.csv", Spec((1,)), want))
    np.testing.assert_array_equal(whole.values, np.stack([row.values for row in step]), strict=True)
    np.testing.assert_array_equal(whole.values[:, 0].astype(np.float32), np.float32([x for x, _ in rows]))
    assert whole.kept == [["g"] * len(rows), [word for _, word in rows]]
    assert [row.kept[1] for row in step] == [word for _, word in rows]
    assert whole.groups == ["g"] * len(rows)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
@given(st.lists(st.lists(st.text(max_size=4), min_size=1, max_size=4), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_records_read_back(rows, separator):
    text = "".join(_tables.record(row, separator) + "\n" for row in rows)
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)) == rows


def test_lines_and_whole_tables_are_written_alike():
    values = np.float32([[0.1, 1e-30], [np.inf, -3]])
    kept = [["a,b", "c"], ["\r", 'say "x"']]
    for want in (EVERYTHING, wanted(None, separator=";", decimal=",")):
        lines = [_tables.line(row, cells, want) for row, *cells in zip(values, *kept, strict=True)]
        assert _tables.encode(values, kept, want) == "".join(f"{text}\n" for text in lines)


def test_a_stream_of_groups_answers_each_line_before_the_next(cli):
    words = [sys.executable, "-m", "fastgru", "run", "steps.fgru", "-", *FEATURES, "--group", "store", "--stream"]
    rows, model = by_group(), fastgru.load("steps.fgru")
    expected = {i: y for chosen in rows.values() for i, y in zip(chosen, model(X[chosen]), strict=True)}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        head, *lines = csv_of().splitlines(keepends=True)
        process.stdin.write(head)
        for i, line in enumerate(lines):
            process.stdin.write(line)
            process.stdin.flush()
            if i == 0:
                assert process.stdout.readline() == "store,dense.1,dense.2\n"
            store, *numbers = process.stdout.readline().split(",")
            assert store == STORES[i]
            np.testing.assert_array_equal(np.float32(numbers), expected[i])
        process.stdin.close()
        assert process.wait() == 0
