"""The benchmark's own path, on small cases and without any framework: cases, checks, results, report."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench import __main__ as command
from bench import cases, engines, measure, network, real, report, roofline
from bench.engines.fastgru_ import FastGru
from bench.engines.numpy_loop import NumpyLoop
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

[[figures]]
label = "one step"
cases = ["gru-3-5-t1-b1", "lstm-3-5-t1-b1"]
float32 = 1
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
    return json.loads(out.read_text())


def test_case_names_are_unique_and_figures_name_cases():
    suite = cases.read()
    names = [case.name for case in suite.cases]
    assert len(set(names)) == len(names)
    assert len(names) > 40
    assert {name for figure in suite.figures for name in figure.cases} <= set(names)
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
    readme = tiny.with_name("README.md")
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert report.main([str(tiny.with_suffix(".json")), "--file", str(tiny), "--readme", str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| one step | float32 | 1 |" in text
    assert text.count("numpy |") >= 5
    assert "gru-3-5-t1-b1" in capsys.readouterr().out
    listed = tiny.with_name("CASES.md")
    words = [str(tiny.with_suffix(".json")), "--file", str(tiny), "--readme", str(readme), "--cases", str(listed)]
    assert report.main(words) == 0
    assert "| gru-3-5-t1-b1 |" in listed.read_text()
    assert "| gru-3-5-t1-b1 |" not in readme.read_text()
    assert "[CASES.md](CASES.md)" in readme.read_text()


def test_a_readme_without_markers_is_refused(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    with pytest.raises(ValueError, match=r"README.md must hold <!-- bench:begin -->"):
        report.put_into(readme, "text")


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
    lines = "\n".join(report.report(results, cases.read(tiny).figures))
    assert "- gru-3-5-t1-b1, numpy: wrong: error " in lines
    assert "| one step | float32 | 1 | -, - | not measured |" in lines


def test_what_is_short_stands_beside_what_was_asked_and_its_floor(tiny):
    results = run(tiny, "--engines", "^(fastgru|numpy)$", "--cases", "t1-b1")
    gru, lstm = results["cases"]
    for case, (mine, peer) in ((gru, (2.0, 5.0)), (lstm, (2.0, 9.0))):
        case["engines"]["fastgru"].update(median_us=mine, floor_us=1.6, over_floor=mine / 1.6)
        case["engines"]["numpy"]["median_us"] = peer
    (figure,) = cases.read(tiny).figures
    figures = [figure._replace(asked={"float32": 4.0}), figure._replace(kind="floor", asked={"float32": 1.3})]
    assert report.short_table(results, figures) == [
        "| short | precision | median | asked | floor | median / floor | asked / floor |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| gru-3-5-t1-b1 | float32 | 2.00 | 1.25 | 1.60 | 1.25 | 0.78 |",
    ]
    assert report.short_table(results, [figure]) == []


def test_plots(tiny):
    pytest.importorskip("matplotlib")
    results = run(tiny, "--engines", "^(fastgru|numpy)$", "--cases", "t1-b1")
    assert {path.name for path in report.draw(results, tiny.parent)} == {"latency.svg"}


# Real models ----------------------------------------------------------------------------------------

TOY = """
tolerance = {float32 = 5e-6, float16 = 0.1, bfloat16 = 0.1, int8 = 0.1}

[[cases]]
model = "toy"
streaming = true

[[figures]]
label = "toy, over NumPy"
cases = ["toy"]
peers = "numpy"
float32 = 1
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
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(real.REAL, "toy", toy)
    results = run(toy_file, "--engines", "^(fastgru|numpy|litert|torch)$")
    (case,) = results["cases"]
    assert {name: entry["status"] for name, entry in case["engines"].items()} == {"fastgru": "ok", "numpy": "ok"}
    assert all(entry["error"] <= 5e-6 for entry in case["engines"].values())
    assert case["flops"] == 2 * (15 * 3 + 15 * 5 + 2 * 5)
    figures = cases.read(toy_file).figures
    text = "\n".join(report.report(results, figures))
    ratio = case["engines"]["numpy"]["median_us"] / case["engines"]["fastgru"]["median_us"]
    assert f"| toy, over NumPy | float32 | 1 | {ratio:.2f} | {'yes' if ratio >= 1 else 'no'} |" in text
    assert "models" in {path.stem for path in report.draw(results, toy_file.parent, figures)}


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
    assert f"- toy: {said}" in "\n".join(report.report(results, cases.read(toy_file).figures))


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
    assert report.two_cores(LIMITS) == []
    assert report.two_cores(limits)[1] == (
        "Two cores together: 1.50 times the FMA peak of one, and reading 16 KiB 2.00, 1024 KiB 1.50."
    )
