"""The benchmark's own path, on small cases and without any framework: cases, checks, results, report."""

from __future__ import annotations

import doctest
import json
from dataclasses import asdict

import numpy as np
import pytest

from bench import __main__ as command
from bench import cases, engines, lookup, measure, network, real, records, report, roofline
from bench.engines.fastgru_ import FastGru
from bench.engines.numpy_loop import NumpyLoop
from bench.lookup import number
from bench.pictures import labels
from fastgru import ConvertError
from fastgru.graph import chain
from fastgru.layers import GRU, Dense

TINY = """
tolerance = {float32 = 5e-6, float16 = 0.1, bfloat16 = 0.1, int8 = 0.1}

[[cases]]
cell = ["gru", "lstm"]
size = [[3, 5]]

[[cases]]
cell = ["gru", "lstm"]
size = [[3, 5]]
steps = 7
batch = 3
layers = 2
bidirectional = true
ragged = [2, 7]

[[sections]]
title = "One step"
cases = ["gru-3-5-t1-b1", "lstm-3-5-t1-b1"]
precisions = ["float32"]
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(tiny, *arguments):
    """The results of a short run."""
    out = tiny.with_suffix(".json")
    fixed = ["--file", str(tiny), "--json", str(out), "--seconds", "0.01", "--no-roofline"]
    assert command.main([*fixed, *arguments]) == 0
    return records.read(out)


def test_case_names_are_unique_and_sections_name_cases():
    suite = cases.read()
    names = [case.name for case in suite.cases]
    assert len(set(names)) == len(names)
    assert len(names) > 40
    assert {name for section in suite.sections for name in section.cases} <= set(names)
    assert {precision for section in suite.sections for precision in section.precisions} <= set(cases.PRECISIONS)
    assert all(case.title for case in suite.cases if case.model)
    assert set(suite.tolerance) == set(cases.PRECISIONS)


def test_engine_ids_are_unique_and_precisions_known():
    found = engines.discover()
    names = [engines.label(engine) for engine in found]
    assert len(set(names)) == len(names)
    assert {engine.precision for engine in found} <= set(cases.PRECISIONS)


def test_a_run_and_its_report(tiny, capsys):
    results = run(tiny, "--engines", "^(fastgru|numpy)$")
    assert [case["name"] for case in results["cases"]] == [case.name for case in cases.read(tiny).cases]
    for case in results["cases"]:
        assert {name: entry["status"] for name, entry in case["engines"].items()} == {"fastgru": "ok", "numpy": "ok"}
        for entry in case["engines"].values():
            assert entry["error"] <= 5e-6
            assert 0 < entry["median_us"] <= entry["p99_us"]
            assert ("single" in entry) == case["streaming"]
    page, listed = tiny.with_name("page.md"), tiny.with_name("CASES.md")
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    words = [str(tiny.with_suffix(".json")), "--file", str(tiny)]
    capsys.readouterr()
    assert report.main([*words, "--page", str(page), "--cases", str(listed)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "### One step" in text
    assert "| GRU, 3 inputs, 5 units | float32 |" in text
    assert "[CASES.md](CASES.md)" in text
    assert "| gru-3-5-t1-b1 |" in listed.read_text()
    assert "| gru-3-5-t1-b1 |" not in text
    assert capsys.readouterr().out == ""
    assert report.main(words) == 0
    both = capsys.readouterr().out
    assert "| GRU, 3 inputs, 5 units | float32 |" in both
    assert "| gru-3-5-t1-b1 |" in both


def test_a_page_without_markers_is_refused(tiny, capsys):
    run(tiny, "--engines", "^numpy$", "--cases", "gru.*t1-b1")
    page = tiny.with_name("page.md")
    page.write_text("nothing here")
    with pytest.raises(SystemExit, match="1"):
        report.main([str(tiny.with_suffix(".json")), "--file", str(tiny), "--page", str(page)])
    assert "page.md must hold <!-- bench:begin -->" in capsys.readouterr().err
    assert page.read_text() == "nothing here"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "must be the JSON that python -m bench writes, got: Expecting property name"),
        ("[]", "must be results of format 3, got None: run python -m bench again"),
        ('{"format": 1, "cases": []}', "must be results of format 3, got 1"),
        ('{"format": 3, "cases": []}', "got no machine, roofline, seconds_per_case, unavailable, versions"),
    ],
)
def test_files_that_are_no_results_are_refused(tmp_path, capsys, text, said):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match="1"):
        report.main([str(path)])
    assert said in capsys.readouterr().err


def test_results_are_read_as_they_were_written(tmp_path):
    """Defaults are left out of the file, and are there again once it is read."""
    case = asdict(cases.Case("a", "gru", 3, 4, ragged=(2, 1)))
    entry = {"precision": "float32", "threads": 2, "status": "failed", "why": 'no such file: "w"'}
    results = {
        **{key: {} for key in records.KEYS},
        "format": records.FORMAT,
        "cases": [
            {**case, "engines": {"numpy": {"median_us": 0.5, "threads": 1, "status": "ok"}, "x": entry}},
            {**case, "name": "b", "missing": "no file", "engines": {}},
        ],
    }
    path = tmp_path / "results.json"
    records.write(results, path)
    assert records.read(path) == json.loads(json.dumps(results))  # in JSON a tuple is a list
    assert path.read_text().splitlines()[-7:-1] == [
        '{"name":"a","cell":"gru","input":3,"hidden":4,"ragged":[2,1],"engines":{',
        '  "numpy": {"median_us":0.5},',
        '  "x": {"precision":"float32","threads":2,"status":"failed","why":"no such file: \\"w\\""}',
        "}},",
        '{"name":"b","cell":"gru","input":3,"hidden":4,"ragged":[2,1],"missing":"no file","engines":{}}',
        "]",
    ]


class Broken(engines.Base):
    """Right in its shape only, or not even able to run."""

    name = module = "numpy"

    def generated(self, problem):
        if problem.case.cell == "lstm":
            raise RuntimeError("no such cell")
        shape = (problem.case.batch, problem.case.steps, problem.case.hidden)
        return engines.Run(lambda: np.ones(shape), lambda y: y)


def test_wrong_and_failing_engines_are_recorded_and_not_timed(tiny, monkeypatch):
    from bench import runner

    monkeypatch.setattr(runner, "discover", lambda: [Broken()])
    results = run(tiny, "--cases", "t1-b1")
    gru, lstm = (case["engines"]["numpy"] for case in results["cases"])
    assert gru["status"] == "wrong"
    assert gru["why"].startswith("error ")
    assert lstm == {"precision": "float32", "threads": 1, "status": "failed", "why": "RuntimeError: no such cell"}
    assert "median_us" not in gru
    assert "- gru-3-5-t1-b1, numpy: wrong: error " in report.every_case(results)
    assert "### One step" not in report.report(results, cases.read(tiny).sections)


def test_the_table_compares_float32_with_float32_and_less_with_all(tiny):
    """With more significant digits where they matter, and without a floor where none was measured."""
    results = run(tiny, "--engines", "^(fastgru|numpy)$", "--cases", "t1-b1")
    gru, lstm = results["cases"]
    gru["engines"] = {
        "fastgru": {"status": "ok", "precision": "float32", "median_us": 2.0, "floor_us": 1.6},
        "fastgru int8": {"status": "ok", "precision": "int8", "median_us": 0.0123, "floor_us": 0.01},
        "numpy": {"status": "ok", "precision": "float32", "median_us": 5.0},
        "torch int8": {"status": "ok", "precision": "int8", "median_us": 1.5},
        "tract": {"status": "wrong", "precision": "float32"},
    }
    lstm["engines"] = {**gru["engines"], "fastgru": {"status": "ok", "precision": "float32", "median_us": 1234.0}}
    section = cases.Section("t", ["gru-3-5-t1-b1", "lstm-3-5-t1-b1", "not run"], ["float32", "int8", "float16"])
    assert report.section_table(section, results)[2:] == [
        "| GRU, 3 inputs, 5 units | float32 | 2.00 | 5.00 | NumPy | 2.50 | 1.60 | 1.25 |",
        "| GRU, 3 inputs, 5 units | int8 | 0.012 | 1.50 | PyTorch int8 | 122.0 | 0.010 | 1.23 |",
        "| LSTM, 3 inputs, 5 units | float32 | 1,234 | 5.00 | NumPy | 0.00 |  |  |",
        "| LSTM, 3 inputs, 5 units | int8 | 0.012 | 1.50 | PyTorch int8 | 122.0 | 0.010 | 1.23 |",
    ]
    other = section._replace(precisions=["int8"], peers="numpy")
    assert report.section_table(other, results)[2] == (
        "| GRU, 3 inputs, 5 units | int8 | 0.012 | 5.00 | NumPy | 406.5 | 0.010 | 1.23 |"
    )
    gru["threads"] = 2
    gru["engines"]["fastgru 2 threads"] = {"status": "ok", "precision": "float32", "median_us": 1.25, "floor_us": 1.0}
    assert report.section_table(section._replace(precisions=["float32"]), results)[2] == (
        "| GRU, 3 inputs, 5 units | float32 | 1.25 | 2.00 | fastgru, one thread | 1.60 | 1.00 | 1.25 |"
    )


@pytest.mark.parametrize("module", [lookup, records, labels], ids=lambda module: module.__name__)
def test_examples_of_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


# Real models ----------------------------------------------------------------------------------------

TOY = """
tolerance = {float32 = 5e-6, float16 = 0.1, bfloat16 = 0.1, int8 = 0.1}

[[cases]]
model = "toy"
title = "A toy, a frame"
streaming = true

[[sections]]
title = "Real models"
cases = ["toy"]
precisions = ["float32"]
"""


def toy(streaming, expected=None):
    """A model of two networks with a sum between them: y = W (h + 1), h the state of a GRU; three frames."""
    rng = np.random.default_rng(0)
    graphs = [
        chain([GRU.from_torch(rng.normal(size=(15, 3)), rng.normal(size=(15, 5)))]),
        chain([Dense(rng.normal(size=(2, 5)))]),
    ]
    frames = rng.normal(size=(3, 3)).astype(np.float32)
    buffers = [np.zeros((1, 1, n), np.float32) for n in (3, 5)]
    first, second = (network.Network(g, x, streaming) for g, x in zip(graphs, buffers, strict=True))
    if expected is None:
        expected = real.by_reference(graphs[1], real.by_reference(graphs[0], frames) + 1)

    def glue(calls):
        def call():
            second.x[...] = np.reshape(calls[0](), second.x.shape) + 1
            return calls[1]()

        return call

    def put(frame):
        first.x[...] = frame

    return network.Real([first, second], frames, expected, put, glue)


@pytest.fixture
def toy_file(tmp_path):
    path = tmp_path / "toy.toml"
    path.write_text(TOY)
    return path


def test_a_real_model_is_checked_frame_by_frame_and_reported(toy_file, monkeypatch):
    """Each engine runs both networks, its own state carried over the frames, all reading the same memory."""
    monkeypatch.setitem(real.REAL, "toy", toy)
    results = run(toy_file, "--engines", "^(fastgru|numpy|litert|torch)$")
    (case,) = results["cases"]
    assert {name: entry["status"] for name, entry in case["engines"].items()} == {"fastgru": "ok", "numpy": "ok"}
    assert all(entry["error"] <= 5e-6 for entry in case["engines"].values())
    assert case["flops"] == 2 * (15 * 3 + 15 * 5 + 2 * 5)
    text = report.report(results, cases.read(toy_file).sections)
    mine, peer = (case["engines"][name]["median_us"] for name in ("fastgru", "numpy"))
    assert f"| A toy, a frame | float32 | {number(mine)} | {number(peer)} | NumPy |" in text


def test_a_real_model_that_answers_otherwise_is_wrong(toy_file, monkeypatch):
    """Its tolerance is absolute, though the outputs are large."""
    monkeypatch.setitem(real.REAL, "toy", lambda streaming: toy(streaming, np.full((3, 2), 1e6)))
    (case,) = run(toy_file, "--engines", "^fastgru$")["cases"]
    assert case["engines"]["fastgru"]["status"] == "wrong"
    assert case["engines"]["fastgru"]["why"].endswith("at most 5e-06")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(2, "No such file", "weights.h5"), "no such file: weights.h5"),
        (ConvertError("node must be known, got Foo"), "ConvertError: node must be known, got Foo"),
    ],
)
def test_a_real_model_that_is_not_here_is_missing(toy_file, monkeypatch, error, said):
    def fail(streaming):
        raise error

    monkeypatch.setitem(real.REAL, "toy", fail)
    results = run(toy_file)
    assert results["cases"][0]["missing"] == said
    assert f"- toy: {said}" in report.every_case(results)


def test_every_real_model_is_a_case():
    assert [case.name for case in cases.read().cases if case.model] == list(real.REAL)


IMPORTERS = {"silero": "onnx", "gtcrn": "onnx", "dtln": "h5py", "rnnoise": "h5py", "ao": "h5py", "textgenrnn": "h5py"}


@pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")  # 1 / (1 + inf) is the right 0
@pytest.mark.parametrize("name", real.REAL)
def test_real_models_through_the_engine_give_their_reference_outputs(real_models, name):
    """Within the tolerances of the data file, the same for all engines."""
    if module := IMPORTERS.get(name.partition("-")[0]):
        pytest.importorskip(module)
    suite = cases.read()
    case = next(case for case in suite.cases if case.name == name)
    problem = cases.make(case)
    tolerance = {**suite.tolerance, **case.tolerance}["float32"]
    expected = problem.expected()
    measure.check(FastGru().prepare(problem), problem, expected, tolerance)
    if NumpyLoop().supports(problem):
        measure.check(NumpyLoop().prepare(problem), problem, expected, tolerance)
    assert roofline.flops(problem) > 2 * roofline.products(problem)[0].macs
    assert roofline.floor(problem, LIMITS, "float32") > roofline.floor(problem, LIMITS, "int8") > 0


LIMITS = {"flops": 1e11, "dots": 1e12, "bandwidth": [[2**14, 4e11], [2**20, 1e11]]}


def test_floors_by_hand(tiny):
    """One step reads all weights at the bandwidth of their size; the precision with fewer bytes has a lower floor."""
    problem = cases.make(next(case for case in cases.read().cases if case.name == "gru-128-128-t1-b1"))
    size = 4 * 3 * 128 * (128 + 128)
    assert roofline.floor(problem, LIMITS, "float32") == pytest.approx(size / roofline.bandwidth(LIMITS, size))
    assert roofline.floor(problem, LIMITS, "int8") == pytest.approx(size / 4 / roofline.bandwidth(LIMITS, size / 4))
    assert roofline.flops(problem) == 2 * size / 4
    slow = {**LIMITS, "dots": 1e11}
    assert roofline.floor(problem, slow, "int8") == pytest.approx(2 * size / 4 / 1e11)
    assert roofline.floor(problem, slow, "bfloat16") == pytest.approx(size / 2 / roofline.bandwidth(LIMITS, size / 2))
    ragged = cases.make(next(case for case in cases.read(tiny).cases if case.ragged))
    weights = sum(a.size for layer in ragged.weights for w in layer for a in w[:2])
    assert roofline.flops(ragged) == 2 * weights * sum(ragged.case.lengths)
    assert roofline.bandwidth(LIMITS, 2**17) == pytest.approx(2.5e11)
    assert roofline.floor(problem, {"missing": "no compiler"}, "float32") is None


def test_two_threads_are_measured_by_what_two_cores_reach():
    """Without that, they halve the floor."""
    problem = cases.make(next(case for case in cases.read().cases if case.name == "gru-256-256-t1-b1"))
    assert roofline.floor(problem, LIMITS, "float32", 2) == roofline.floor(problem, LIMITS, "float32") / 2
    both = {"flops": 1.5e11, "bandwidth": [[2**14, 8e11], [2**20, 1.5e11]]}
    limits = {**LIMITS, "two_cores": both}
    assert roofline.floor(problem, limits, "float32", 2) == roofline.floor(problem, both, "float32")
    assert roofline.floor(problem, limits, "float32") == roofline.floor(problem, LIMITS, "float32")


def test_the_machine_is_told_after_the_tables(tiny):
    """Two cores beside one where both were measured, the reason where neither was."""
    results = run(tiny, "--engines", "^(fastgru|numpy)$", "--cases", "t1-b1")
    both = {"flops": 1.5e11, "bandwidth": [[2**14, 8e11], [2**20, 1.5e11]]}
    text = report.report({**results, "roofline": {**LIMITS, "two_cores": both}}, cases.read(tiny).sections)
    assert text.index("### One step") < text.index("### The machine")
    assert "| multiply-adds (FMA peak) | 100 GFLOP/s | 1.50 |" in text
    assert "| reading 1,024 KiB | 100 GB/s | 1.50 |" in text
    alone = report.machine_lines({**results, "roofline": LIMITS})
    assert "| reading 16 KiB | 400 GB/s |" in alone
    assert report.machine_lines({**results, "roofline": {"missing": "no compiler"}})[-1] == "No roofline: no compiler."
