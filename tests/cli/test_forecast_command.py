"""``fastgru forecast``: tables in and out, pictures, and one line of error for what it cannot do."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from typer.testing import CliRunner

import fastgru
from fastgru.cli import _forecast_plot, build
from fastgru.forecasting import Scheme
from fastgru.layers import Dense

ROWS = [f"2024-01-{day:02},{shop},{day + 10 * (shop == 'B')}" for day in range(1, 15) for shop in "AB"]
TABLE = "\n".join(["ds,unique_id,y", *ROWS, ""])


@pytest.fixture
def cli(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    fastgru.Model([Dense([[0.5]])]).save("half.fgru")
    noisy = fastgru.Model([Dense([[1.0], [0.0]], [0.0, 1.0])]).with_forecast(Scheme("normal"))
    noisy.save("noisy.fgru")
    noisy.compile("noisy.plan")
    promo = fastgru.Model([Dense([[0.0, 1.0]])]).with_forecast(Scheme(covariates=("promo",)))
    promo.save("promo.fgru")
    app = build()

    def invoke(*words, code=0, stdin=None):
        result = CliRunner().invoke(app, [*map(str, words)], input=stdin)
        assert result.exit_code == code, result.output
        if code:
            assert len(result.stderr.splitlines()) == 1
            return result.stderr
        return result.stdout

    return invoke


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_points(cli):
    rows = table(cli("forecast", "half.fgru", "t.csv", "--horizon", 2))
    assert rows[0] == {"unique_id": "A", "ds": "2024-01-15", "forecast": "7.0"}
    assert [row["forecast"] for row in rows] == ["7.0", "3.5", "12.0", "6.0"]
    assert table(cli("forecast", "half.fgru", "-", "--horizon", 2, stdin=TABLE)) == rows


def test_quantiles(cli):
    words = ("forecast", "noisy.fgru", "t.csv", "--horizon", 3, "--seed", 4)
    text = cli(*words)
    assert text.splitlines()[0] == "unique_id,ds,forecast,q0.1,q0.5,q0.9"
    assert text == cli("forecast", "noisy.plan", *words[2:]) == cli(*words, "--samples", 100)
    model = fastgru.load("noisy.fgru")
    rows = [row.split(",") for row in ROWS]
    given = {"unique_id": [r[1] for r in rows], "ds": [r[0] for r in rows], "y": [float(r[2]) for r in rows]}
    expected = model.forecast(given, 3, samples=100, seed=4)
    assert [np.float32(row["q0.9"]) for row in table(text)] == expected["q0.9"].tolist()
    assert cli(*words, "--samples", 0).splitlines()[0] == "unique_id,ds,forecast"
    assert cli(*words, "--quantiles", "0.25").splitlines()[0] == "unique_id,ds,forecast,q0.25"


def test_names_of_columns_and_german_numbers(cli, tmp_path):
    german = TABLE.replace(",", ";").replace("ds;unique_id;y", "Tag;Filiale;Absatz").replace(";3\n", ";3,5\n")
    (tmp_path / "g.csv").write_text(german)
    text = cli(
        "forecast", "half.fgru", "g.csv", "--horizon", 1, "--id", "Filiale", "--time", "Tag", "--value", "Absatz",
        "--separator", ";", "--decimal", ",",
    )  # fmt: skip
    assert text == "Filiale;Tag;forecast\nA;2024-01-15;7,0\nB;2024-01-15;12,0\n"


def test_covariates(cli, tmp_path):
    known = TABLE.replace("y\n", "y,promo\n", 1).replace("\n2", ",1\n2")[:-1] + ",1\n"
    (tmp_path / "p.csv").write_text(known)
    (tmp_path / "later.csv").write_text("unique_id,promo,ds\nB,5,2024-01-15\nA,4,2024-01-15\n")
    known = (tmp_path / "p.csv").read_text().replace("promo,1\n", "promo\n")
    (tmp_path / "p.csv").write_text(known)
    rows = table(cli("forecast", "promo.fgru", "p.csv", "--horizon", 1, "--covariates", "later.csv"))
    assert [row["forecast"] for row in rows] == ["4.0", "5.0"]
    error = cli("forecast", "promo.fgru", "p.csv", "--horizon", 2, "--covariates", "later.csv", code=2)
    assert "--covariates must cover all 2 steps to forecast for y of series 'A', up to 2024-01-16, got the" in error
    assert "p.csv: --covariates must be given" in cli("forecast", "promo.fgru", "p.csv", "--horizon", 2, code=2)


def test_one_series_needs_no_id(cli, tmp_path):
    rows = [f"2024-01-{day:02},{day}" for day in range(1, 15)]
    (tmp_path / "one.csv").write_text("\n".join(["date,units", *rows]))
    words = ("forecast", "half.fgru", "one.csv", "--horizon", 2, "--time", "date", "--value", "units")
    assert cli(*words) == "date,forecast\n2024-01-15,7.0\n2024-01-16,3.5\n"
    cli(*words, "--plot", "one.svg")
    assert "known" in (tmp_path / "one.svg").read_text()
    (tmp_path / "p.csv").write_text("\n".join(["y,ds,promo", *(f"1,2024-01-0{day},1" for day in range(1, 9))]))
    (tmp_path / "later.csv").write_text("unique_id,promo,ds\nA,7,2024-01-09\n")
    found = cli("forecast", "promo.fgru", "p.csv", "--horizon", 1, "--covariates", "later.csv")
    assert found == "ds,forecast\n2024-01-09,7.0\n"


STORES = [f"2024-01-{day:02},{store},{day}" for day in range(1, 15) for store in "AB"]
COLUMNS = ("--time", "date", "--value", "units", "--id", "store")


@pytest.mark.parametrize(
    ("row", "words", "message"),
    [
        (None, COLUMNS[2:], "line 1: column of --time (ds when omitted) must be one of the header, got 'ds' (the "
         "header has date, store, units)"),
        (None, (*COLUMNS, "--id", "shop"), "line 1: column of --id must be one of the header, got 'shop' (the header "
         "has date, store, units)"),
        (None, COLUMNS[:4], "rows of table must have different times, got 2024-01-01 twice: name the series of each "
         "row in a column, given with --id"),
        (None, (*COLUMNS, "--id", "date"), "--id, --time and --value must be different columns, got 'date' twice"),
        ("2024-01-03,A,", COLUMNS, "line 6, column 'units' must be a number, got an empty cell: fill in missing "
         "values, as each step of a series must have its row, or leave out the rows at its end"),
        ("2024-01-03,,3", COLUMNS, "line 6, column 'store' must name the series of the row, got an empty cell"),
        (",A,3", COLUMNS, "column 'date' of table must hold dates, times or whole numbers, got none in row 5 below the "
         "header"),
        ("31.1.2024,A,3", COLUMNS, "column 'date' of table must hold dates, times or whole numbers, got '31.1.2024' in "
         "row 5 below the header: write dates as 2024-12-31"),
        ("2024-01-02,A,3", COLUMNS, "rows of table of series 'A' must have different times, got 2024-01-02 twice"),
        ("2024-01-03,C,3", COLUMNS, "units of series 'A' must have times that are evenly spaced"),
    ],
)  # fmt: skip
def test_messages_speak_of_the_users_columns(cli, tmp_path, row, words, message):
    lines = [*STORES[:4], STORES[4] if row is None else row, *STORES[5:]]
    (tmp_path / "s.csv").write_text("\n".join(["date,store,units", *lines]))
    assert message in cli("forecast", "half.fgru", "s.csv", "--horizon", 2, *words, code=2)


def test_a_table_without_a_header_is_told_so(cli, tmp_path):
    (tmp_path / "s.csv").write_text("\n".join(STORES))
    error = cli("forecast", "half.fgru", "s.csv", "--horizon", 2, code=2)
    assert "got 'ds' (line 1, which must name the columns, has 2024-01-01, A, 1)" in error


def test_covariates_that_are_missing_are_named(cli, tmp_path):
    two = fastgru.Model([Dense([[0.0, 1.0, 1.0]])]).with_forecast(Scheme(covariates=("promo", "price")))
    two.save("two.fgru")
    (tmp_path / "p.csv").write_text("ds,y,promo,prize\n" + "".join(f"2024-01-0{day},1,1,1\n" for day in range(1, 9)))
    error = cli("forecast", "two.fgru", "p.csv", "--horizon", 2, code=2)
    assert error == (
        "error: p.csv: line 1 must have the columns promo, price, which the model reads beside the values, got no "
        "'price' (the header has ds, y, promo, prize)\n"
    )
    error = cli("forecast", "two.fgru", "p.csv", "--horizon", 2, "--value", "promo", code=2)
    assert "--value must be another column than the model's covariates, got 'promo'" in error


def test_several_steps_ahead_are_said_in_python(cli, tmp_path):
    fastgru.Model([Dense(np.ones((7, 1)))]).save("week.fgru")
    error = cli("forecast", "week.fgru", "t.csv", "--horizon", 7, code=2)
    assert error.endswith(
        "got dense (B, T, 7) float for x (B, T, 1) float: if they are the next 7 steps, say in Python, and save the "
        'model again: model.with_forecast(Scheme("point", ahead=7)), of fastgru.forecasting\n'
    )
    fastgru.load("week.fgru").with_forecast(Scheme("point", ahead=7)).save("week.fgru")
    assert len(table(cli("forecast", "week.fgru", "t.csv", "--horizon", 10))) == 20


def test_parquet(cli, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    rows = [row.split(",") for row in ROWS]
    days = np.array([row[0] for row in rows], "M8[D]")
    given = arrow.table({"ds": days, "unique_id": [r[1] for r in rows], "y": [float(r[2]) for r in rows]})
    pyarrow.parquet.write_table(given, tmp_path / "t.parquet")
    cli("forecast", "half.fgru", "t.parquet", "--horizon", 2, "-o", "out.parquet")
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["unique_id", "ds", "forecast"]
    assert found.column("forecast").to_pylist() == [7, 3.5, 12, 6]
    assert str(found.column("ds")[0]) == "2024-01-15"


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
@pytest.mark.parametrize("model", ["half.fgru", "noisy.fgru"])
def test_pictures(cli, tmp_path, kind, model):
    cli("forecast", model, "t.csv", "--horizon", 5, "-o", "out.csv", "--plot", f"out.{kind}", "--seed", 1)
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    assert (tmp_path / f"out.{kind}").read_bytes().startswith(magic[kind])
    if kind == "svg":
        text = (tmp_path / "out.svg").read_text()
        assert ("80% of the paths" in text) == (model == "noisy.fgru")


def test_a_picture_shows_few_series(cli, tmp_path):
    many = "\n".join(["ds,unique_id,y", *(f"{t},s{i},{t * i}" for i in range(9) for t in range(4)), ""])
    (tmp_path / "m.csv").write_text(many)
    cli("forecast", "half.fgru", "m.csv", "--horizon", 2, "-o", "out.csv", "--plot", "out.svg")
    text = (tmp_path / "out.svg").read_text()
    assert all((f">s{i}<" in text) == (i < _forecast_plot.MOST) for i in range(9))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("half.fgru", "t.csv", "--horizon", 0), "--horizon must be a whole number from 1 to 1048576, got '0'"),
        (("half.fgru", "t.csv"), "Missing option '--horizon'"),
        (("half.fgru", "t.csv", "--horizon", 2, "--samples", 10), "--samples must be omitted, as the output of"),
        (("noisy.fgru", "t.csv", "--horizon", 2, "--quantiles", "10,90"), "--quantiles must be numbers from 0 to 1"),
        (("half.fgru", "t.csv", "--horizon", 2, "--value", "Y"), "must be one of the header, got 'Y'"),
        (("half.fgru", "t.csv", "--horizon", 2, "-o", "x.npy"), "must be - or end in .csv or .parquet, got 'x.npy'"),
        (("half.fgru", "t.csv", "--horizon", 2, "-o", "x.png"), "must be - or end in .csv or .parquet, got 'x.png'"),
        (("half.fgru", "t.csv", "--horizon", 2, "--plot", "x.gif"), "--plot must end in one of .png, .svg, .pdf"),
        (("half.fgru", "none.csv", "--horizon", 2), "none.csv"),
        (("half.fgru", "t.csv", "--horizon", 2, "--covariates", "t.csv"), "--covariates must be omitted"),
    ],
    ids=str,
)  # fmt: skip
def test_errors(cli, words, message):
    assert message in cli("forecast", *words, code=2)


def test_errors_name_the_file(cli, tmp_path):
    (tmp_path / "gap.csv").write_text(TABLE.replace("2024-01-07,A,7\n", ""))
    error = cli("forecast", "half.fgru", "gap.csv", "--horizon", 2, code=2)
    assert error.startswith(
        "error: gap.csv: y of series 'A' must have times that are evenly spaced, got steps of 1 days and"
    )
    (tmp_path / "none.csv").write_text(TABLE.splitlines()[0] + "\n")
    for words in (("none.csv",), ("noisy.fgru",)):
        error = cli("forecast", "half.fgru", *words, "--horizon", 2, code=2)
        assert error.count(words[0]) == 1
    (tmp_path / "zone.csv").write_text(TABLE.replace("2024-01-07,", "2024-01-07T00:00+02:00,"))
    assert "zone.csv: column 'ds' of table must hold dates, times or whole numbers without a time zone" in cli(
        "forecast", "half.fgru", "zone.csv", "--horizon", 2, code=2
    )
    (tmp_path / "hole.csv").write_text(TABLE.replace("2024-01-07,A,7\n", "2024-01-07,A,\n"))
    assert "hole.csv: line 14, column 'y' must be a number" in cli(
        "forecast", "half.fgru", "hole.csv", "--horizon", 2, code=2
    )
