"""Tables of CSV as people have them: headers, columns chosen and kept, quotes, line ends, and their faults."""

from __future__ import annotations

import csv
import io
import warnings

import numpy as np
import pytest
from cells import make_cell
from commands import invoke

import fastgru
from fastgru._hints import command_line
from fastgru.cli import _tables
from fastgru.cli._columns import Wanted, wanted
from fastgru.cli._tables import Table, header, line
from fastgru.errors import DataError
from fastgru.graph import Dense, Embedding, GraphBuilder, Reshape, Spec, TimeConv, chain

TWO = Spec((2,))
BOTH = (["store", "date"], [["a", "2026-01-01"], ["b", "2026-01-02"]])
SALES = b"date,store,price,units\n2026-01-01,a,1.0,2\n2026-01-02,b,1.5,3\n"


@pytest.fixture(autouse=True)
def in_a_command():
    """Messages speak of the options of the command line."""
    with command_line():
        yield


def table(data: bytes, columns: str | None = None, keep: str | None = None, spec: Spec = TWO) -> Table:
    lines = io.BytesIO(data)
    return Table(iter(lines.readline, b""), "in.csv", spec, wanted(columns, keep))


def read(*args, **options):
    found = table(*args, **options)
    rows = list(found)
    return [row.values.tolist() for row in rows], found.kept, [row.kept for row in rows]


# Reading ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "columns", "keep", "values", "names", "kept"),
    [
        (b"1,2\n3,4\n", None, None, [[1, 2], [3, 4]], [], [[], []]),
        (b"a,b\n1,2\n", None, None, [[1, 2]], [], [[]]),
        (SALES, "price,units", None, [[1, 2], [1.5, 3]], [], [[], []]),
        (SALES, "units,price", None, [[2, 1], [3, 1.5]], [], [[], []]),
        (SALES, "price,units", "date", [[1, 2], [1.5, 3]], ["date"], [["2026-01-01"], ["2026-01-02"]]),
        (SALES, "price,units", "store,date", [[1, 2], [1.5, 3]], *BOTH),
        (SALES, None, "store,date", [[1, 2], [1.5, 3]], *BOTH),
        (SALES, "price,units", "units", [[1, 2], [1.5, 3]], ["units"], [["2"], ["3"]]),
        (b"x,1,2\ny,3,4\n", "3,2", "1", [[2, 1], [4, 3]], [], [["x"], ["y"]]),
        (b"2019,2020\n1,2\n", "2019,2020", None, [[1, 2]], [], [[]]),  # names, as no table has a column 2019
        (b"2019,2020,name\n1,2,x\n", "2020,2019", "name", [[2, 1]], ["name"], [["x"]]),
        (b"store,2019,2020\n7,1,2\n8,3,4\n", "2019,2020", "store", [[1, 2], [3, 4]], ["store"], [["7"], ["8"]]),
        (b"a,2020\n1,2\n", None, None, [[1, 2]], [], [[]]),  # a word above a number
        (b"x,1,2\ny,3,4\n", "2,3", "1", [[1, 2], [3, 4]], [], [["x"], ["y"]]),  # a word above a word
        (b"x,1,2\n", "2,3", "1", [[1, 2]], [], [["x"]]),
        (b"nan,x\n1,2\n", None, None, [[1, 2]], [], [[]]),
        (b"nan,x\n1,2\n", "x,nan", None, [[2, 1]], [], [[]]),
        (b"day,2019,2020\n5,1,2\n", "day,2020", None, [[5, 2]], [], [[]]),
        (b"\xef\xbb\xbfprice,units\r\n1,2\r\n\r\n3,4\r\n\r\n\r\n", "units,price", None, [[2, 1], [4, 3]], [], [[], []]),
        (b"price , units\n 1 , 2 \n", "price,units", None, [[1, 2]], [], [[]]),
        (b'"a, b",c,"say ""x"""\n"1",2,"t, u"\n', '"a, b",c', '"say ""x"""', [[1, 2]], ['say "x"'], [["t, u"]]),
        (b'n,a,b\n"two\nlines",1,2\nx,3,4\n', "a,b", "n", [[1, 2], [3, 4]], ["n"], [["two\nlines"], ["x"]]),
        (b"a,b,\n1,2,\n", "a,b", None, [[1, 2]], [], [[]]),
        (b"a,b,\n1,2,\n", "1,2", None, None, None, None),
        (b"3.4028235e38,-3.4028235e38\n", None, None, [[3.4028235e38, -3.4028235e38]], [], [[]]),
    ],
)  # fmt: skip
def test_columns(data, columns, keep, values, names, kept):
    if values is None:
        with pytest.raises(DataError, match=r"line 1: column of --columns must be"):
            read(data, columns)
        return
    assert read(data, columns, keep) == (values, names, kept)


def test_ids_and_scalars():
    assert read(b"word,id\na,3\nb,4\n", "id", "word", spec=Spec((), dtype="int")) == ([3, 4], ["word"], [["a"], ["b"]])
    assert read(b"1.5\n", spec=Spec(())) == ([1.5], [], [[]])
    for id in ("1.5", "9" * 19, "-" + "9" * 5000):
        with pytest.raises(DataError, match=r"in.csv: line 1, column 1 must be an integer id below 2\*\*63, got "):
            read(f"{id}\n".encode(), spec=Spec((), dtype="int"))
    with pytest.raises(DataError, match=r"in.csv: input of shape \(T, 2, 3\) must be a .npy or .npz file, got CSV"):
        table(b"1,2\n", spec=Spec((2, 3)))


@pytest.mark.parametrize("data", [b"", b"\n\n", b" \r\n"])
def test_no_lines_give_no_rows(data):
    assert list(table(data)) == []
    assert list(table(b"a,b\n" + data)) == []


WRONG = [
    (SALES, "price,unit", None, "line 1: column of --columns must be one of the header, got 'unit' (nearest: units)"),
    (SALES, "price,UNITS", None, "got 'UNITS' (nearest: units)"),
    (SALES, "price,zzz", None, "got 'zzz' (the header has date, store, price, units)"),
    (SALES, "price,units", "dat", "line 1: column of --keep must be one of the header, got 'dat' (nearest: date)"),
    (SALES, "3,4", None, "must be one of the header, got '3'"),
    (SALES, "price", None, "--columns must name 2 columns, as many as the model takes, got 1: price"),
    (SALES, "date,price", None, "in.csv: line 2, column 'date' must be a number, got '2026-01-01'"),
    (SALES, None, None, "line 1 must have 2 columns, got 4: --columns chooses from date, store, price, units"),
    (SALES, None, "date", "line 1 must have 2 columns and 1 to keep, got 4"),
    (b"a,b,a\n1,2,3\n", "a,b", None, "must be in the header once, got 'a' as columns 1 and 3"),
    (b"1,2\n", "1,3", None, "line 1: column of --columns must be in 1..2, got 3"),
    (b"1,2\n", "0,1", None, "must be in 1..2, got 0"),
    (b"1,2\n", "price,units", None, "got 'price' (line 1 holds numbers, no header: choose columns by number, 1 to 2)"),
    (
        b"1;2\n",
        None,
        None,
        "line 1 must have cells separated by commas, got 1 column with semicolons in it: --separator ';'",
    ),
    (b"a;b\n1;2\n", "a,b", None, "got 1 column with semicolons in it: --separator ';'"),
    (b"a|b\n1|2\n", "a,b", "a", "got 1 column with bars in it: --separator '|'"),
    (b"1\t2\n", None, None, "got 1 column with tabs in it: --separator tab"),
    (b"1 2\n", None, None, "got 1 column with spaces in it: --separator ' '"),
    (b"1\n", None, None, "line 1 must have 2 columns, got 1"),
    (b"1,2,3\n", None, None, "line 1 must have 2 columns, got 3: choose 2 with --columns, such as 1,2"),
    (b"a,b\n1,2\n3\n", "a,b", None, "in.csv: line 3 must have 2 columns, got 1"),
    (b'a,b\n"1\n",2\n3,4,5\n', "a,b", None, "in.csv: line 4 must have 2 columns, got 3"),
    (
        b"a,b\n1,\n",
        "a,b",
        None,
        "line 2, column 'b' must be a number, got an empty cell: fill in missing values, or leave out their rows",
    ),
    (b"1,2\n1,2\n3,NaN\n", None, None, "line 3, column 2 must be a number, got 'NaN': fill in missing values"),
    (b"a,b\n1, NA \n", "a,b", None, "line 2, column 'b' must be a number, got 'NA': fill in missing values"),
    (b"NA,2\n1,2\n", None, None, "line 1, column 1 must be a number, got 'NA': fill in missing values"),
    (b"1_000,2\n1,2\n", None, None, "line 1, column 1 must be a number, got '1_000': thousands separators must be rem"),
    (b"-inf,inf\n", None, None, "line 1, column 1 must be a finite float32 number, got '-inf'"),
    (b"a,b\n1e400,2\n", None, None, "line 2, column 'a' must be a finite float32 number, got '1e400'"),
    (b"a,b\n1,2\n1,-1e39\n", None, None, "line 3, column 'b' must be a finite float32 number, got '-1e39'"),
    (b"store,1,2\n7,1,2\n", "2,3", "1", "got '3' (the header has store, 1, 2)"),
    (b"a b\n1 2\n", None, None, "got 1 column with spaces in it: --separator ' '"),
    (b"a b\n1 2\n", "a,b", None, "got 1 column with spaces in it: --separator ' '"),
    (b"1,2\n,\n", None, None, "line 2, column 1 must be a number, got an empty cell"),
    (b"1,2\n\n3,x\n", None, None, "line 3, column 2 must be a number, got 'x'"),
    (b'1,2\n3,"4\n5,6\n', None, None, "line 2 must close the quotes that it opens, got the end of the file"),
    (b'1,2\n3,"4"5\n', None, None, "line 2 must be CSV: "),
    (b"1,2\r3,4\r", None, None, "line 1 must end in LF or CRLF, got CR alone"),
    (b"1,2\n1," + b"9" * 200_000 + b"\n", None, None, "line 2 must have cells of at most 131072 characters"),
    (b"1,2\n1,\xff\n", None, None, "line 2 must be text in UTF-8, got b'1,\\xff\\n'"),
    (b"1,2\n1,\x002\n", None, None, "line 2"),
    (b"\x93NUMPY\x01\x00v\x00", None, None, "input of --stream must be CSV, got a NumPy file"),
    ("1,2\n".encode("utf-16"), None, None, "line 1 must be text in UTF-8, got UTF-16: save the table again in UTF-8"),
]


@pytest.mark.parametrize(("data", "columns", "keep", "message"), WRONG)
def test_what_is_wrong_is_named_by_line_and_column(data, columns, keep, message):
    with pytest.raises(DataError) as caught:
        list(table(data, columns, keep))
    assert message in str(caught.value)
    assert str(caught.value).startswith(("in.csv: ", "--columns "))


@pytest.mark.parametrize(
    ("cell", "decimal", "hint"),
    [
        ("1,5", ".", ": --decimal , reads decimal commas"),
        ("0,1234", ".", ": --decimal , reads decimal commas"),
        ("1,234", ".", ": --decimal , reads decimal commas, or thousands separators must be removed"),
        ("1,234.5", ".", ": thousands separators must be removed"),
        ("-1,234,567", ".", ": thousands separators must be removed"),
        ("1 234", ".", ": thousands separators must be removed"),
        ("1\u202f234", ".", ": thousands separators must be removed"),
        ("1'234.5", ".", ": thousands separators must be removed"),
        ("1_000", ".", ": thousands separators must be removed"),
        ("1.234,5", ".", ": thousands separators must be removed, and --decimal , given"),
        ("1 234,5", ".", ": thousands separators must be removed, and --decimal , given"),
        ("1.5", ",", ": --decimal , takes numbers without points"),
        ("1.234", ",", ": --decimal , takes numbers without points: thousands separators must be removed"),
        ("1.234,5", ",", ": thousands separators must be removed"),
        ("1,234.5", ",", ": thousands separators must be removed, and --decimal . given"),
        ("12 kg", ".", ""),
        ("1,23,4", ".", ""),
    ],
)
def test_numbers_written_otherwise_have_a_hint_that_helps(cell, decimal, hint):
    want = wanted(None, separator=";", decimal=decimal)
    with pytest.raises(DataError) as caught:
        list(Table(iter([b"x;y\n", f"{cell};1\n".encode()]), "in.csv", TWO, want))
    assert str(caught.value) == f"in.csv: line 2, column 'x' must be a number, got {cell!r}{hint}"


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("data", "header", "values"),
    [
        (b"1,2\n3,4\n", True, [[3, 4]]),
        (b"1,2\n3,4\n", False, [[1, 2], [3, 4]]),
        (b"1,2\n3,4\n", None, [[1, 2], [3, 4]]),
        (b"a,2\n3,4\n5,6\n", None, [[3, 4], [5, 6]]),
    ],
)
def test_a_header_is_what_the_option_says(data, header, values, whole):
    lines = io.BytesIO(data)
    found = Table(iter(lines.readline, b""), "in.csv", TWO, wanted(None, header=header))
    rows = found.whole(data).values.tolist() if whole else [row.values.tolist() for row in found]
    assert rows == values


def test_years_taken_for_data_are_told_of():
    message = "in.csv: line 1 is read as data, though its numbers look like years: --header reads it"
    with pytest.warns(UserWarning, match=message):
        assert read(b"2020,2021,name\n1,2,x\n", "1,2")[0] == [[2020, 2021], [1, 2]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = io.BytesIO(b"2020,2021\n1,2\n")
        assert len(list(Table(iter(lines.readline, b""), "in.csv", TWO, wanted(None, header=False)))) == 2
        assert len(read(b"2020,2020\n1,2\n")[0]) == 2
        assert len(read(b"2020,7\n1,2\n")[0]) == 2


def test_names_need_a_header():
    with pytest.raises(DataError, match="columns must be numbers from 1 with --no-header, got 'price'"):
        wanted("1,2", "price", header=False)


def test_columns_of_a_group_are_counted_apart():
    lines = io.BytesIO(SALES)
    with pytest.raises(DataError, match="line 1 must have 3 columns and 1 for --group and 1 to keep, got 4"):
        Table(iter(lines.readline, b""), "in.csv", Spec((3,)), wanted(None, "date", "store"))


def test_an_endless_line_ends(monkeypatch):
    monkeypatch.setattr(_tables, "LONGEST", 1000)
    with pytest.raises(DataError, match="line 1 must be shorter than 1000 bytes, got a longer one"):
        Table(iter([b"0" * 1000]), "in.csv", TWO)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--columns must be names of columns separated by commas, got ''"),
        (",", "separated by commas, got ','"),
        ("a,,b", "separated by commas, got 'a,,b'"),
        ('"a', "separated by commas, got '\"a'"),
        ("a,b, a", "--columns must name each column once, got 'a' twice"),
    ],
)
def test_what_is_asked_for_is_checked(text, message):
    with pytest.raises(DataError) as caught:
        wanted(text, None)
    assert message in str(caught.value)
    assert wanted("a", "b, c") == Wanted(("a",), ("b", "c"))


def test_lines_read_back():
    cells = ["2026-01-01", "a, b", 'say "x"', "two\nlines", "a\rb", ""]
    text = f"{header(['date', 'x, y'], 'out', 2)}\n{line(np.float32([0.1, 2]), cells)}\n"
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["date", "x, y", "out.1", "out.2"],
        [*cells, "0.1", "2.0"],
    ]
    assert header([], "out", 1) == "out"


# The command -----------------------------------------------------------------------------------------


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run a command; returns stdout, or the one line of an error where that is expected."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_bytes(SALES)

    return invoke


@pytest.fixture
def model(tmp_path):
    made = fastgru.Model(chain([make_cell("gru-after", 2, 8), Dense(np.full((2, 8), 0.5))]))
    made.save(tmp_path / "m.fgru")
    return made


@pytest.mark.parametrize("stream", [[], ["--stream"]])
@pytest.mark.parametrize("target", [[], ["-o", "out.csv"]])
@pytest.mark.parametrize("source", ["in.csv", "-"])
def test_run_keeps_columns_and_names_the_outputs(cli, model, tmp_path, stream, target, source):
    text = cli("run", "m.fgru", source, "--columns", "price,units", "--keep", "date", *stream, *target, stdin=SALES)
    if target:
        assert text == ""
        text = (tmp_path / "out.csv").read_text()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["date", "dense.1", "dense.2"]
    assert [row[0] for row in rows[1:]] == ["2026-01-01", "2026-01-02"]
    got = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]], np.float32)
    np.testing.assert_array_equal(got, model(np.array([[1.0, 2.0], [1.5, 3.0]], np.float32)), strict=True)
    without = cli("run", "m.fgru", source, "--columns", "price,units", *stream, stdin=SALES)
    assert without.splitlines() == [",".join(row[1:]) for row in rows]  # the header too


def test_the_output_of_one_run_is_the_input_of_the_next(cli, model, tmp_path):
    (tmp_path / "in.csv").write_bytes(b'\xef\xbb\xbf"day, hour",a,b\r\n"1, 2",1,2\r\n"1, 3",3,4\r\n')
    cli("run", "m.fgru", "in.csv", "--keep", '"day, hour"', "-o", "out.csv")
    text = cli("run", "m.fgru", "out.csv", "--keep", '"day, hour"')
    assert [row[0] for row in csv.reader(io.StringIO(text))] == ["day, hour", "1, 2", "1, 3"]


def test_kept_columns_need_a_csv_a_row_a_step_and_one_input(cli, model, tmp_path):
    keep = ("--columns", "price,units", "--keep", "date")
    text = cli("run", "m.fgru", "in.csv", *keep, "-o", "y.npy", code=2)
    assert text == "output must be CSV or .parquet for --keep, got 'y.npy'"
    text = cli("run", "m.fgru", "in.csv", "--columns", "price,units", "--group", "store", "-o", "y.npz", code=2)
    assert text == "output must be CSV or .parquet for --group, got 'y.npz'"
    np.save("x.npy", np.ones((3, 2)))
    for stream in ([], ["--stream"]):
        assert cli("run", "m.fgru", "x.npy", *keep, *stream, code=2).startswith("x.npy: ")
    fastgru.Model(chain([TimeConv(np.ones((1, 2, 2)))])).save("shorter.fgru")
    text = cli("run", "shorter.fgru", "in.csv", *keep, code=2)
    assert text == (
        "output must have a row for each row of the input to keep columns, got 1 of 2: "
        "--window N gives each row the output of the last N"
    )
    b = GraphBuilder()
    graph = b.build(b.add(Dense(np.ones((1, 2))), b.input("x", TWO)), b.add(Dense(np.ones((1, 2))), b.input("z", TWO)))
    fastgru.Model(graph).save("two.fgru")
    text = cli("run", "two.fgru", "in.csv", *keep, code=2)
    assert text == "model must have one input to choose columns of a table for, got x, z"


def test_scalars_have_a_line_a_step(cli, tmp_path):
    fastgru.Model(chain([Dense(np.ones((1, 1))), Reshape(())])).save("s.fgru")
    for stream in ([], ["--stream"]):
        assert cli("run", "s.fgru", "-", *stream, stdin="1\n2\n") == "1.0\n2.0\n"
        text = cli("run", "s.fgru", "-", "--columns", "v", "--keep", "t", *stream, stdin="t,v\n5,1\n6,2\n")
        assert text == "t,reshape\n5,1.0\n6,2.0\n"


def test_ids_by_name(cli, tmp_path):
    fastgru.Model(chain([Embedding(np.arange(10.0).reshape(5, 2))])).save("ids.fgru")
    for stream in ([], ["--stream"]):
        text = cli("run", "ids.fgru", "-", "--columns", "id", "--keep", "word", *stream, stdin="word,id\na,1\nb,4\n")
        assert text == "word,embedding.1,embedding.2\na,2.0,3.0\nb,8.0,9.0\n"


def test_a_header_alone_is_no_input(cli, model, tmp_path):
    keep = ("--columns", "a,b", "--keep", "a")
    assert "at least one row" in cli("run", "m.fgru", "-", *keep, stdin="a,b\n", code=2)
    whole = cli("run", "m.fgru", "-", *keep, stdin="a,b\n", code=2)
    for stream in (["--stream"], ["--stream", "-o", "y.csv"]):
        assert cli("run", "m.fgru", "-", *keep, *stream, stdin="a,b\n", code=2) == whole
