"""Tables of Parquet in and out: types are kept, and what cannot be read is named."""

from __future__ import annotations

import datetime
import decimal
import io
import sys

import numpy as np
import pytest
from cells import make_cell
from commands import invoke

import fastgru
from fastgru.graph import Dense, Embedding, GraphBuilder, Spec, chain

X = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
DAYS = [datetime.date(2026, 1, i) for i in (1, 2, 3, 4)]
TIMES = [datetime.datetime(2026, 1, i, 12, tzinfo=datetime.timezone.utc) for i in (1, 2, 3, 4)]


@pytest.fixture
def pa():
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        pytest.skip("needs pyarrow")
    return pyarrow


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fastgru.Model(chain([make_cell("gru-after", 2, 8), Dense(np.ones((2, 8)))])).save("m.fgru")

    return invoke


@pytest.fixture
def table(pa, cli):
    """Four rows of two stores, whose columns are of many types, at in.parquet."""
    columns = {
        "day": pa.array(DAYS),
        "time": pa.array(TIMES, pa.timestamp("ms", "UTC")),
        "store": pa.array(["a", "b", "a", "b"]).dictionary_encode(),
        "price": pa.array(X[:, 0]),
        "units": pa.array(X[:, 1].astype(np.float64)),
        "holiday": pa.array([True, None, False, None]),
    }
    made = pa.table(columns)
    pa.parquet.write_table(made, "in.parquet")
    return made


WORDS = ("--columns", "price,units", "--keep", "day,time,holiday", "--group", "store")


def test_kept_columns_have_their_types(cli, pa, table):
    cli("run", "m.fgru", "in.parquet", *WORDS, "-o", "out.parquet")
    got = pa.parquet.read_table("out.parquet")
    assert got.column_names == ["store", "day", "time", "holiday", "dense.1", "dense.2"]
    for name in ("store", "day", "time", "holiday"):
        assert got.column(name).type == table.column(name).type
        assert got.column(name).to_pylist() == table.column(name).to_pylist()
    y = np.stack([got.column(f"dense.{i}").to_numpy() for i in (1, 2)], axis=1)
    assert y.dtype == np.float32
    for rows in ([0, 2], [1, 3]):
        np.testing.assert_array_equal(y[rows], fastgru.load("m.fgru")(X[rows]), strict=True)


def test_parquet_comes_out_as_csv_and_csv_as_parquet(cli, pa, table, tmp_path):
    text = cli("run", "m.fgru", "in.parquet", "--columns", "price,units", "--keep", "day,holiday")
    y = fastgru.load("m.fgru")(X)
    head, first, second, *_ = text.splitlines()
    assert head == "day,holiday,dense.1,dense.2"
    assert first == f"2026-01-01,True,{y[0, 0]!s},{y[0, 1]!s}"
    assert second == f"2026-01-02,,{y[1, 0]!s},{y[1, 1]!s}"
    piped = cli("run", "m.fgru", "-", "--columns", "price,units", stdin=(tmp_path / "in.parquet").read_bytes())
    assert piped.splitlines()[:2] == ["dense.1,dense.2", f"{y[0, 0]!s},{y[0, 1]!s}"]
    (tmp_path / "in.csv").write_text(
        "day,a,b\n" + "".join(f"{d},{a!s},{b!s}\n" for d, (a, b) in zip(DAYS, X, strict=True))
    )
    for stream in ([], ["--stream"]):
        cli("run", "m.fgru", "in.csv", "--columns", "a,b", "--keep", "day", "-o", "out.parquet", *stream)
        got = pa.parquet.read_table("out.parquet")
        assert got.column("day").to_pylist() == [str(day) for day in DAYS]
        np.testing.assert_array_equal(got.column("dense.2").to_numpy(), y[:, 1], strict=True)


def test_windows_take_the_rows_that_have_one(cli, pa, table):
    words = ("--columns", "price,units", "--keep", "day", "--window", 3)
    cli("run", "m.fgru", "in.parquet", *words, "-o", "out.parquet")
    got = pa.parquet.read_table("out.parquet")
    assert got.column("day").to_pylist() == DAYS[2:]
    model = fastgru.load("m.fgru")
    np.testing.assert_array_equal(got.column("dense.1").to_numpy(), [model(X[i : i + 3])[-1, 0] for i in (0, 1)])


def test_numbers_of_every_type_and_ids(cli, pa):
    typed = {"a": pa.array([1, 2], pa.uint8()), "b": pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.25")])}
    pa.parquet.write_table(pa.table(typed), "in.parquet")
    cli("run", "m.fgru", "in.parquet", "-o", "y.npy")
    np.testing.assert_array_equal(np.load("y.npy"), fastgru.load("m.fgru")(np.float32([[1, 1.5], [2, 2.25]])))
    fastgru.Model(chain([Embedding(np.arange(10.0).reshape(5, 2))])).save("ids.fgru")
    pa.parquet.write_table(pa.table({"id": pa.array([4, 0], pa.int8())}), "in.parquet")
    assert cli("run", "ids.fgru", "in.parquet") == "embedding.1,embedding.2\n8.0,9.0\n0.0,1.0\n"
    pa.parquet.write_table(pa.table({"id": pa.array([4.0, 0.0])}), "in.parquet")
    assert cli("run", "ids.fgru", "in.parquet", code=2) == ("in.parquet: column 'id' must hold integer ids, got double")


def test_several_outputs_are_columns_side_by_side(cli, pa, table):
    b = GraphBuilder()
    x = b.input("x", Spec((2,)))
    outputs = (b.add(Dense(np.ones((1, 2))), x, name="low"), b.add(Dense(np.ones((2, 2))), x, name="high"))
    fastgru.Model(b.build(*outputs)).save("two.fgru")
    cli("run", "two.fgru", "in.parquet", "--columns", "price,units", "--keep", "day", "-o", "out.parquet")
    assert pa.parquet.read_table("out.parquet").column_names == ["day", "low", "high.1", "high.2"]


def test_what_cannot_be_read_is_named(cli, pa, table, tmp_path):
    def said(columns, *words):
        pa.parquet.write_table(pa.table(columns), "bad.parquet")
        return cli("run", "m.fgru", "bad.parquet", *words, code=2)

    numbers = pa.array([1.0, 2.0])
    assert said({"a": numbers, "b": pa.array([1.0, None])}) == (
        "bad.parquet: row 2, column 'b' must be a number, got null: fill in missing values, or leave out their rows"
    )
    assert "row 1, column 'b' must be a number, got NaN" in said({"a": numbers, "b": pa.array([np.nan, 1.0])})
    assert said({"a": numbers, "b": pa.array(["x", "y"])}) == "bad.parquet: column 'b' must hold numbers, got string"
    assert "schema must have 2 columns, got 1" in said({"a": numbers})
    assert "got 'c' (the header has a, b)" in said({"a": numbers, "b": numbers}, "--columns", "a,c")
    groups = {"a": numbers, "b": numbers, "g": pa.array(["x", None])}
    assert "row 2, column 'g' must name the group of the row, got null" in said(groups, "--group", "g")
    assert "input must have at least one row" in said({"a": numbers[:0], "b": numbers[:0]})
    (tmp_path / "bad.parquet").write_bytes((tmp_path / "in.parquet").read_bytes()[:-9])
    assert "bad.parquet: input must be a whole Parquet file: " in cli("run", "m.fgru", "bad.parquet", code=2)
    text = cli("run", "m.fgru", "in.parquet", "--stream", code=2)
    assert text.startswith("in.parquet: input of --stream must be CSV, got a Parquet file")
    table = table.rename_columns(["dense.1", *table.column_names[1:]])
    words = ("--columns", "price,units", "--keep", "dense.1", "-o", "out.parquet")
    text = said(dict(zip(table.column_names, table.columns, strict=True)), *words)
    assert text == "columns of Parquet must have names of their own, got 'dense.1' twice: leave one out of --keep"


def test_cells_that_name_no_group_or_number_are_named(cli, pa):
    def said(columns, *words, model="m.fgru"):
        pa.parquet.write_table(pa.table(columns), "bad.parquet")
        return cli("run", model, "bad.parquet", *words, code=2).removeprefix("bad.parquet: ")

    numbers = pa.array([1.0, 2.0])
    pair = {"a": numbers, "b": numbers}
    assert said({**pair, "g": pa.array([0.5, np.nan])}, "--group", "g") == (
        "row 2, column 'g' must name the group of the row, got NaN"
    )
    assert said({**pair, "g": pa.array([" ", "x"])}, "--group", "g") == (
        "row 1, column 'g' must name the group of the row, got an empty cell"
    )
    assert said({**pair, "g": pa.array([[1], [1]])}, "--group", "g").startswith(
        "column 'g' of --group must hold one name a row, got list<"
    )
    assert said({**pair, "g": pa.array([{"q": 1}] * 2)}, "--group", "g").endswith(": make it text or numbers")
    for large in (np.inf, -1e39):
        text = said({"a": numbers, "b": pa.array([1.0, large])})
        assert text == f"row 2, column 'b' must be a finite float32 number, got {large}"
    assert said({**pair}, "--columns", "1,2", "--no-header").startswith("--no-header must be omitted for Parquet")
    fastgru.Model(chain([Embedding(np.arange(10.0).reshape(5, 2))])).save("ids.fgru")
    text = said({"id": pa.array([1, 1 << 63], pa.uint64())}, model="ids.fgru")
    assert text == "row 2, column 'id' must be an integer id below 2**63, got 9223372036854775808"
    twice = pa.Table.from_arrays([numbers, numbers, numbers], ["a", "a", "b"])
    pa.parquet.write_table(twice, "bad.parquet")
    text = cli("run", "m.fgru", "bad.parquet", "--keep", "b", code=2)
    assert text == (
        "bad.parquet: columns of Parquet must have names of their own, got 'a' as columns 1 and 2: rename one"
    )


def test_large_integers_are_read_as_those_of_csv(cli, pa, tmp_path):
    large = [(1 << 53) + 1, 3]
    (tmp_path / "in.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in zip(large, large, strict=True)))
    expected = cli("run", "m.fgru", "in.csv")
    for kind in (pa.int64(), pa.uint64()):
        pa.parquet.write_table(pa.table({"a": pa.array(large, kind), "b": pa.array(large, kind)}), "in.parquet")
        assert cli("run", "m.fgru", "in.parquet") == expected


def test_blanks_around_the_names_of_columns_stay(cli, pa):
    columns = {" a": pa.array(X[:, 0]), "b ": pa.array(X[:, 1]), " day": pa.array(DAYS)}
    pa.parquet.write_table(pa.table(columns), "in.parquet")
    cli("run", "m.fgru", "in.parquet", "--columns", " a,b ", "--keep", "day", "-o", "out.parquet")
    got = pa.parquet.read_table("out.parquet")
    assert got.column(" day").to_pylist() == DAYS
    np.testing.assert_array_equal(got.column("dense.1").to_numpy(), fastgru.load("m.fgru")(X)[:, 0])


def test_the_extra_is_named_where_it_is_missing(cli, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "in.csv").write_text("1,2\n")
    text = cli("run", "m.fgru", "in.csv", "-o", "out.parquet", code=2)
    assert text.startswith("writing out.parquet needs the package 'pyarrow")
    assert text.endswith("pip install 'fastgru[parquet]'")
    (tmp_path / "in.parquet").write_bytes(io.BytesIO(b"PAR1 PAR1").getvalue())
    assert "pip install 'fastgru[parquet]'" in cli("run", "m.fgru", "in.parquet", code=2)
