"""The command line: what each command prints and writes, and one line of error for what it cannot do."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cells import make_cell
from typer.testing import CliRunner

import fastgru
from fastgru import quantization
from fastgru.checks import selftest
from fastgru.cli import COMMANDS, _like, _tables, build
from fastgru.files import fgru
from fastgru.graph import Add, Bidirectional, Dense, Embedding, GraphBuilder, Spec, chain
from fastgru.layers import GRU

X = np.random.default_rng(3).normal(size=(6, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def app():
    return build()


@pytest.fixture
def cli(app):
    def invoke(*words, code=0, stdin=None):
        result = CliRunner().invoke(app, [str(w) for w in words], input=stdin)
        assert result.exit_code == code, result.output
        if code:
            lines = result.stderr.splitlines()
            assert len(lines) == 1
            assert lines[0].startswith("error: ")
            return lines[0]
        return result.stdout

    return invoke


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Three models by name: one that streams, one that does not, one of ids."""
    folder = tmp_path_factory.mktemp("models")
    gru = make_cell("gru-after", 3, 8)
    graphs = {
        "gru": chain([gru, Dense(np.full((2, 8), 0.5))]),
        "both": chain([Bidirectional(gru, gru)]),
        "ids": chain([Embedding(np.arange(10.0).reshape(5, 2)), make_cell("lstm", 2, 3)]),
    }
    for name, graph in graphs.items():
        test = selftest.make(graph, None, {})
        fastgru.Model(graph, self_test=test, provenance={"framework": "by hand"}).save(folder / f"{name}.fgru")
    return folder


def csv_of(array):
    return "".join(",".join(map(str, row)) + "\n" for row in array)


def numbers(text):
    return np.array([[float(cell) for cell in line.split(",")] for line in text.splitlines()], dtype=np.float32)


def test_help_lists_every_command(app):
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert all(name in text for name in COMMANDS)


# convert -------------------------------------------------------------------------------------------


def test_convert_demo_network(cli, tmp_path):
    source = Path(fastgru.__file__).parent / "data" / "pulse.pt"
    text = cli("convert", source, "-o", tmp_path / "m.fgru", "--like", "GRU", "--like", "Dense", "--dtype", "float64")
    assert "engine ok: max error" in text
    assert fastgru.load(tmp_path / "m.fgru", verify=True).dtype == "float64"


def test_convert_says_where_errors_are_and_what_was_not_asked(cli, tmp_path):
    source = Path(fastgru.__file__).parent / "data" / "pulse.pt"
    text = cli("convert", source, "-o", tmp_path / "m.fgru", "--like", "GRU", "--like", "Dense", "--trace")
    assert "the engine against the float64 reference, not PyTorch: only its weights are at hand" in text
    assert re.search(r"most error arises at node '(gru|dense)'", text)
    place = r"at row \d, step \d+, feature \d+ of 'dense'"
    assert re.search(rf"max error \S+ \(allowed \S+\) {place}, against fastgru", text)
    assert text.splitlines()[-3] == "not checked against PyTorch: only its weights are at hand"
    assert "self-test ok" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.pt"], "none.pt"),
        (["a.txt"], "must end in one of"),
        (["a.pt", "--like", "Sequential"], "layer of --like must be one of .*GRU.*, got 'Sequential'"),
        (["a.pt", "--like", "GRU oops"], "must be key=value, each key once, got 'oops'"),
        (["a.pt", "--like", "GRU colour=1"], "attribute of GRU must be one of"),
        (["a.pt", "--like", "GRU name='x"], "quotes of --like must be closed"),
        (["a.pt", "--dtype", "int8"], "--dtype must be one of float32, float64, got 'int8'"),
        (
            ["a.pt", "--precision", "int4"],
            "--precision must be one of float32, float16, bfloat16, int8, int8_affine, got 'int4'",
        ),
        (["a.pt", "--precision", "int8", "--dtype", "float64"], "--dtype must be float32 for --precision int8, got"),
    ],
)
def test_convert_errors(cli, tmp_path, words, message):
    text = cli("convert", *words, "-o", tmp_path / "m.fgru", code=2)
    assert re.search(message, text), text
    assert not list(tmp_path.iterdir())


def test_convert_to_a_precision(cli, tmp_path):
    source = Path(fastgru.__file__).parent / "data" / "pulse.pt"
    words = ("convert", source, "-o", tmp_path / "m.fgru", "--like", "GRU", "--like", "Dense", "--precision")
    assert "bfloat16" in cli(*words, "bfloat16")
    assert {n.op.precision for n in fastgru.load(tmp_path / "m.fgru", verify=True).graph.nodes} == {"bfloat16"}
    assert "bfloat16" in cli("info", tmp_path / "m.fgru")
    assert "bfloat16, fast" in cli(*words, "bfloat16", "--activations", "fast")
    assert "bfloat16, fast" in cli("info", tmp_path / "m.fgru")
    text = cli(*words, "int8", "--activations", "quick", code=2)
    assert text == "error: --activations must be one of exact, fast, got 'quick'"
    text = cli(*words, "float32", "--activations", "fast", "--dtype", "float64", code=2)
    assert text == "error: --dtype must be float32 for --activations fast, got 'float64'"


def test_like_takes_json_values_and_nesting():
    item = _like.parse("""Bidirectional(GRU activation='{"name": "elu", "alpha": 0.5}' name=g) merge=null""")
    assert (item.op, item.attributes, item.inner.op) == (Bidirectional, {"merge": None}, GRU)
    assert item.inner.attributes == {"activation": {"name": "elu", "alpha": 0.5}}
    assert item.inner.name == "g"


# info and verify -----------------------------------------------------------------------------------


def test_info(cli, saved):
    text = cli("info", saved / "gru.fgru")
    assert "framework: by hand" in text
    assert "(B, T, 2)" in text
    assert "backward" in cli("info", saved / "both.fgru")


def test_info_as_json(cli, saved):
    values = json.loads(cli("info", saved / "gru.fgru", "--json"))
    assert values["streamable"] is True
    assert values["rows"][0]["kind"] == "GRU"
    assert values["self_test"]["source"] == "fastgru float64 reference"


def test_verify(cli, saved, tmp_path):
    assert "ok: max error" in cli("verify", saved / "gru.fgru")
    contents = fgru.read(saved / "gru.fgru")
    test = dataclasses.replace(contents.self_test, outputs=(contents.self_test.outputs[0] + 0.1,))
    changed = contents._asdict()
    fgru.write(tmp_path / "bad.fgru", **{**changed, "self_test": test})
    assert "must be within" in cli("verify", tmp_path / "bad.fgru", code=1)
    fgru.write(tmp_path / "none.fgru", **{**changed, "self_test": None})
    assert "must have a stored self-test" in cli("verify", tmp_path / "none.fgru", code=1)


@pytest.mark.parametrize("command", ["info", "verify", "bench"])
def test_a_file_that_is_no_model(cli, tmp_path, command):
    (tmp_path / "m.fgru").write_bytes(b"junk")
    assert "m.fgru" in cli(command, tmp_path / "m.fgru", code=2)
    assert "No such file" in cli(command, tmp_path / "gone.fgru", code=2)


# run -------------------------------------------------------------------------------------------------


def test_run_gives_the_models_bits_by_every_way(cli, saved, tmp_path):
    model = saved / "gru.fgru"
    expected = fastgru.load(model)(X)
    (tmp_path / "x.csv").write_text("a,b,c\n" + csv_of(X))
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "batch.npy", np.stack([X, X]))
    for words in (["x.csv"], ["x.npy"], ["x.csv", "--stream"]):
        words[0] = tmp_path / words[0]
        cli("run", model, *words, "-o", tmp_path / "y.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected, strict=True)
        text = cli("run", model, *words)
        head, _, below = text.partition("\n")
        assert (head == "dense.1,dense.2") == (words[0].suffix == ".csv")  # x.csv has a header
        np.testing.assert_array_equal(numbers(below if words[0].suffix == ".csv" else text), expected)
    for words in ([], ["--stream"]):
        np.testing.assert_array_equal(numbers(cli("run", model, "-", *words, stdin=csv_of(X))), expected)
    cli("run", model, tmp_path / "batch.npy", "-o", tmp_path / "y.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["dense"], np.stack([expected, expected]))


def test_run_reads_npy_bytes_from_a_pipe(cli, saved):
    buffer = io.BytesIO()
    np.save(buffer, X)
    got = numbers(cli("run", saved / "gru.fgru", "-", stdin=buffer.getvalue()))
    np.testing.assert_array_equal(got, fastgru.load(saved / "gru.fgru")(X))


def test_run_ids(cli, saved):
    expected = fastgru.load(saved / "ids.fgru")(np.array([1, 4, 0]))
    for words in ([], ["--stream"]):
        np.testing.assert_array_equal(numbers(cli("run", saved / "ids.fgru", "-", *words, stdin="1\n4\n0\n")), expected)
    text = cli("run", saved / "ids.fgru", "-", stdin="1\n1.5", code=2)
    assert "line 2, column 1 must be an integer id below 2**63, got '1.5'" in text
    assert "standard input: " in cli("run", saved / "ids.fgru", "-", stdin="7\n", code=2)


def workbook() -> bytes:
    """What a spreadsheet begins with."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


BAD_INPUTS = [
    (workbook(), "input must be CSV, Parquet, .npy or .npz, got an Excel workbook: save it as CSV"),
    (b"\x00\x06\xff\n", "input must be CSV, Parquet, .npy or .npz, got another kind of file"),
    ("1,2,3\n1,x,3\n", "standard input: line 2, column 2 must be a number, got 'x'"),
    ("1,2,3\n1,,3\n", "line 2, column 2 must be a number, got an empty cell"),
    ("1,2,3\n\n1,2\n", "line 3 must have 3 columns, got 2"),
    ("", "at least one row"),
    ("a,b,c\n", "at least one row"),
    (b"\xff\xfe\n", "line 1 must be text in UTF-8"),
    ("1,5;2;3\n", "got 2 columns with semicolons in them: --separator ';' --decimal ,"),
    (b"\x93NUMPY\x01\x00", "must be a whole .npy file"),
]


@pytest.mark.parametrize(("stdin", "message"), BAD_INPUTS)
def test_bad_inputs_are_placed_and_write_nothing(cli, saved, tmp_path, stdin, message):
    assert message in cli("run", saved / "gru.fgru", "-", "-o", tmp_path / "y.csv", stdin=stdin, code=2)
    assert not list(tmp_path.iterdir())


def test_wrong_shapes_and_kinds(cli, saved, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 5)))
    assert "x.npy: " in cli("run", saved / "gru.fgru", tmp_path / "x.npy", code=2)
    np.save(tmp_path / "x.npy", np.array([["a"]]))
    assert "must be real numbers" in cli("run", saved / "gru.fgru", tmp_path / "x.npy", code=2)
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 3)))
    assert "write it to a .npy file" in cli("run", saved / "gru.fgru", tmp_path / "x.npy", code=2)
    for target in ("y.txt", "csv"):
        assert "output must be - or end in" in cli("run", saved / "gru.fgru", "-", "-o", target, code=2)
    assert "backward" in cli("run", saved / "both.fgru", "-", "--stream", stdin="1,2,3\n", code=2)
    assert "No such file" in cli("run", saved / "gru.fgru", tmp_path / "gone.csv", code=2)
    missing = tmp_path / "no" / "y.csv"
    assert "No such file" in cli("run", saved / "gru.fgru", "-", "-o", missing, stdin="1,2,3\n", code=2)


def test_several_outputs_need_npz(cli, tmp_path):
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    graph = b.build(b.add(Dense(np.ones((1, 3))), x), b.add(Dense(np.ones((2, 3))), x))
    fastgru.Model(graph).save(tmp_path / "m.fgru")
    assert "must be one array, got dense, dense_1" in cli("run", tmp_path / "m.fgru", "-", stdin="1,2,3\n", code=2)
    cli("run", tmp_path / "m.fgru", "-", "-o", tmp_path / "y.npz", stdin="1,2,3\n")
    assert sorted(np.load(tmp_path / "y.npz")) == ["dense", "dense_1"]


def test_outputs_of_any_printable_name_go_into_npz(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for names, fits in ((["file", "allow_pickle"], True), (["a", "b\0"], False), (["a", "bell\a"], False)):
        b = GraphBuilder()
        x = b.input("x", Spec((3,)))
        fastgru.Model(b.build(*(b.add(Dense(np.ones((1, 3))), x, name=n) for n in names))).save("m.fgru")
        text = cli("run", "m.fgru", "-", "-o", "y.npz", stdin="1,2,3\n", code=0 if fits else 2)
        if fits:
            assert {n: float(np.load("y.npz")[n][0, 0]) for n in names} == dict.fromkeys(names, 6.0)
        else:
            assert "name of an output in a .npz file must be printable, got " in text


def test_several_inputs_come_from_npz_by_name(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    b = GraphBuilder()
    x, ids = b.input("x", Spec((3,))), b.input("ids", Spec((), dtype="int"))
    table = b.add(Embedding(np.arange(12.0).reshape(4, 3)), ids)
    model = fastgru.Model(b.build(b.add(Dense(np.ones((16, 3)) / 3), b.add(Add(), x, table))))
    model.save("m.fgru")
    words = np.array([0, 3, 1, 2, 2, 0])
    np.savez("in.npz", ids=words, x=X)
    cli("run", "m.fgru", "in.npz", "-o", "y.npy")
    np.testing.assert_array_equal(np.load("y.npy"), model({"x": X, "ids": words}))
    assert "wrote q.fgru" in cli("quantize", "m.fgru", "-o", "q.fgru", "--calibration", "in.npz")
    assert "one step of 1 row," in cli("bench", "m.fgru", "--steps", 20, "--warmup", 1)
    np.savez("other.npz", x=X, words=words)
    np.savez("floats.npz", x=X, ids=X[:, 0])
    np.savez("short.npz", x=X, ids=words[:2])
    np.save("x.npy", X)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "in.npz").read_bytes()[:-30])
    for source, message in (
        ("other.npz", "other.npz: input must be a .npz file of the arrays x, ids, got x, words"),
        ("x.npy", "x.npy: input must be a .npz file of the arrays x, ids, got another file"),
        ("floats.npz", "floats.npz: input 'ids' must be integer ids, got float32"),
        ("short.npz", "must have the same number of steps, got {'x': 6, 'ids': 2}"),
        ("cut.npz", "cut.npz: input must be a whole .npz file of numbers"),
    ):
        assert message in cli("run", "m.fgru", source, code=2)
    assert "model of --stream must have one input, got x, ids" in cli("run", "m.fgru", "-", "--stream", code=2)


def test_a_row_of_csv_reads_back_exactly():
    row = np.array([0.1, 1e-30, -3.0, np.inf], dtype=np.float32)
    np.testing.assert_array_equal(numbers(_tables.line(row))[0], row)


def test_stream_answers_each_line_before_the_next(saved):
    words = [sys.executable, "-I", "-m", "fastgru", "run", str(saved / "gru.fgru"), "-", "--stream"]
    expected = fastgru.load(saved / "gru.fgru")(X)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line, row in zip(csv_of(X).splitlines(), expected, strict=True):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            np.testing.assert_array_equal(numbers(process.stdout.readline())[0], row)
        process.stdin.close()
        assert process.stdout.read() == ""
        assert process.wait() == 0


def test_an_error_of_a_process_is_one_line(tmp_path):
    words = [sys.executable, "-I", "-m", "fastgru", "info", str(tmp_path / "gone.fgru")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'gone.fgru'}: No such file or directory\n"


# quantize ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gru", "both", "ids"])
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_quantize(cli, saved, tmp_path, name, precision):
    before, output = saved / f"{name}.fgru", tmp_path / "q.fgru"
    text = cli("quantize", before, "-o", output, "--precision", precision)
    smaller = fastgru.load(output, verify=True)
    found = quantization.report(fastgru.load(before).graph, smaller.graph)
    assert {n.op.precision for n in smaller.graph.nodes if n.op.matrices} == {precision}
    assert precision in text
    assert found.outputs() in text
    assert f"{found.bytes_before:,}" in text
    assert f"{found.bytes_after:,}" in text
    assert ("one step: median" in text) == (name != "both")
    assert re.search(r"one sequence of 100 steps: median [\d.]+ us before, [\d.]+ us after", text)
    assert "self-test ok" in text
    assert f"wrote {output} ({output.stat().st_size:,} bytes" in text


def test_quantize_some_layers_within_an_error_on_given_input(cli, saved, tmp_path):
    model, output = saved / "gru.fgru", tmp_path / "q.fgru"
    (tmp_path / "x.csv").write_text(csv_of(X))
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", x=X)
    texts = []
    for name in ("x.csv", "x.npy", "x.npz"):
        texts.append(cli("quantize", model, "-o", output, "--layers", "gru", "--calibration", tmp_path / name))
        assert [n.op.precision for n in fastgru.load(output).graph.nodes] == ["int8", "float32"]
        assert f"on {tmp_path / name}, input (1, 6, 3)" in texts[-1]
    assert len({re.search(r"max error of 'dense' (\S+),", text)[1] for text in texts}) == 1
    told = r"^nothing was changed: --max-error must be at least \S+ for a layer to change, 'gru' alone, got 1e-12; "
    with pytest.warns(UserWarning, match=told):
        text = cli("quantize", model, "-o", output, "--max-error", 1e-12)
    assert "one step: " not in text
    assert {n.op.precision for n in fastgru.load(output).graph.nodes} == {"float32"}
    gru, dense = quantization.report(fastgru.load(model).graph, fastgru.load(model).quantize("int8").graph).rows
    assert dense.output_error > gru.output_error
    with pytest.warns(fastgru.CalibrationWarning, match="^--max-error is measured on .* by --calibration$"):
        text = cli("quantize", model, "-o", output, "--max-error", gru.output_error)
    assert fastgru.load(output).provenance["max_error"].endswith(" on random input of shape (2, 16, 3)")
    assert "kept as they were: dense" in text
    assert [n.op.precision for n in fastgru.load(output).graph.nodes] == ["int8", "float32"]


def test_quantize_takes_columns_of_a_table(cli, saved, tmp_path):
    rows = "".join(f"d;{';'.join(map(str, row))}\n" for row in X).replace(".", ",")
    (tmp_path / "x.csv").write_text(f"day;a;b;c\n{rows}")
    words = ("quantize", saved / "gru.fgru", "-o", tmp_path / "q.fgru", "--calibration", tmp_path / "x.csv")
    dialect = ("--separator", ";", "--decimal", ",")
    text = cli(*words, "--columns", "a,b,c", *dialect)
    (tmp_path / "plain.csv").write_text(csv_of(X))
    plain = cli(*words[:-1], tmp_path / "plain.csv")
    assert re.search(r"max error of 'dense' \S+", text)[0] == re.search(r"max error of 'dense' \S+", plain)[0]
    assert "--columns chooses from day, a, b, c" in cli(*words, *dialect, code=2)
    assert "--calibration must be given with --columns" in cli(*words[:-2], "--columns", "a", code=2)


def test_fast_gates(cli, saved, tmp_path):
    fast, back = tmp_path / "fast.fgru", tmp_path / "back.fgru"
    text = cli("quantize", saved / "gru.fgru", "-o", fast, "--activations", "fast")
    assert re.search(r"gru .*GRU .*float32 .*fast .*0%", text)
    assert list(map(str, fastgru.load(fast).graph.nodes[0].op.gate_activations())) == ["fast_sigmoid", "fast_tanh"]
    before, after = (fastgru.load(path) for path in (saved / "gru.fgru", fast))
    assert [quantization.precision_of(node.op) for node in after.graph.nodes] == ["float32", "float32"]
    assert np.array_equal(after(X), before.quantize(activations="fast")(X))
    cli("quantize", fast, "-o", back, "--activations", "exact")
    np.testing.assert_array_equal(fastgru.load(back)(X), fastgru.load(saved / "gru.fgru")(X), strict=True)
    for words in (["--activations", "fast"], ["--precision", "int8", "--activations", "fast"]):
        with pytest.warns(UserWarning, match="nothing was changed: --max-error must be at least"):
            cli("quantize", back, "-o", fast, *words, "--max-error", 1e-12)
    with pytest.warns(UserWarning, match="nothing was changed: 'gru' is float32, 'dense' is float32 already; "):
        cli("quantize", back, "-o", fast, "--precision", "float32")
    assert fastgru.load(fast).graph.nodes[0].op.attributes() == fastgru.load(back).graph.nodes[0].op.attributes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--activations", "quick"], "activations must be one of exact, fast, got 'quick'"),
        (["--activations", "fast", "--layers", "dense"], "must include one with sigmoid or tanh gates, got dense"),
        (["--precision", "int4"], "precision must be one of float32, float16, bfloat16, int8, int8_affine, got 'int4'"),
        (["--layers", "gru,head"], "layer must be one with weight matrices .gru, dense., got 'head'"),
        (["--max-error", "0"], "--max-error must be a positive number such as 0.01, got '0'"),
        (["--calibration", "nan.csv"], "nan.csv: line 1, column 2 must be a number, got 'nan': fill in missing values"),
        (["--calibration", "wide.npy"], r"wide.npy: calibration must have shape .T, 3. or .B, T, 3., got .4, 5."),
        (["--calibration", "two.npz"], "two.npz: input must be a .npz file of one array, got a, b"),
        (["--calibration", "cut.npz"], "cut.npz: input must be a whole .npz file of numbers"),
        (["--calibration", "gone.npy"], "gone.npy: No such file"),
    ],
)
def test_quantize_errors(cli, saved, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nan.csv").write_text("1,nan,3\n")
    np.save(tmp_path / "wide.npy", np.zeros((4, 5)))
    np.savez(tmp_path / "two.npz", a=X, b=X)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:-30])
    before = sorted(tmp_path.iterdir())
    text = cli("quantize", saved / "gru.fgru", "-o", "q.fgru", *words, code=2)
    assert re.search(message, text), text
    assert sorted(tmp_path.iterdir()) == before


def test_quantize_refuses_a_missing_folder_too_large_weights_and_float64(cli, saved, tmp_path):
    text = cli("quantize", saved / "gru.fgru", "-o", tmp_path / "no" / "q.fgru", code=2)
    assert text == f"error: {tmp_path / 'no'}: No such file or directory"
    output = tmp_path / "q.fgru"
    fastgru.Model([Dense([[7e4]])]).save(tmp_path / "large.fgru")
    text = cli("quantize", tmp_path / "large.fgru", "-o", output, "--precision", "float16", code=2)
    assert "node 'dense': Dense: weight: weights must lie within +-65504 for float16, got 70000" in text
    fastgru.Model([Dense([[1.0]])], dtype="float64").save(tmp_path / "double.fgru")
    text = cli("quantize", tmp_path / "double.fgru", "-o", output, code=2)
    assert "double.fgru: model to quantize must be float32, got float64: convert it as float32" in text
    assert not output.exists()
