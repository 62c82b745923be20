"""The demo: its forecasts beat the best of the others on data never looked at, and it leaves nothing behind."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
import threading
from pathlib import Path
from time import thread_time_ns

import numpy as np
import pytest
from typer.testing import CliRunner

from fastgru.cli import _live, _pulse, _pulse_plot, build, demo
from fastgru.errors import MissingExtraError, VerificationError

RNG = np.random.default_rng(13)
ROOT = Path(__file__).resolve().parents[2]
needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")


@pytest.fixture(scope="module")
def series():
    return _pulse.load_series()


@pytest.fixture(scope="module")
def model():
    return _pulse.load_model()


@pytest.fixture(scope="module")
def evaluated(model, series):
    return demo.evaluate(model, series)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command in an empty folder, with its own folder for temporary files: (stdout, files left in each)."""
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def invoke(*words):
        result = CliRunner().invoke(build(), ["demo", *words])
        assert result.exit_code == 0, result.output
        left = [[p.relative_to(f).as_posix() for f in [top] for p in f.rglob("*") if p.is_file()]
                for top in (here, temporary)]  # fmt: skip
        return result.stdout, *left

    return invoke


# Scores ----------------------------------------------------------------------------------------------


def test_the_network_is_a_fifth_better_than_the_best_other(evaluated, series):
    _, scores, words = evaluated
    ours, *others = scores
    assert ours.name == _pulse.NETWORK
    assert {o.name.split()[0] for o in others} == {"linear", "last"}
    assert len(others) == 3
    assert ours.error <= 0.8 * others[0].error
    assert all(other.beaten > 0.6 for other in others)
    windows = (len(series.test) - _pulse.CONTEXT - _pulse.HORIZON) // _pulse.HORIZON + 1
    assert windows >= 100
    assert f"in {windows} windows" in words[0]


def test_scores_are_those_of_one_window_after_another(evaluated, model, series):
    errors = {name: [] for name in (_pulse.NETWORK, "linear", "repeated", "kept")}
    z = (series.test - series.mean) / series.scale
    for start in range(0, len(z) - _pulse.CONTEXT - _pulse.HORIZON + 1, _pulse.HORIZON):
        seen, truth = np.split(z[start : start + _pulse.CONTEXT + _pulse.HORIZON], [_pulse.CONTEXT])
        stream = model.stream()
        for value in seen:
            ours = stream.step(np.array([value], np.float32))
        linear = series.linear[-1] + sum(w * v for w, v in zip(series.linear[:-1], seen, strict=True))
        again = [seen[-series.period + h % series.period] for h in range(_pulse.HORIZON)]
        for name, y in zip(errors, (ours, linear, again, seen[-1]), strict=True):
            errors[name].append(np.abs(y - truth).mean() * series.scale / 4)
    for one in evaluated[1]:
        name = next(n for n in errors if n in one.name)
        assert one.error == pytest.approx(np.mean(errors[name]), rel=1e-4)
        assert one.error == pytest.approx(one.by_horizon.mean(), rel=1e-6)
        if name != _pulse.NETWORK:
            assert one.beaten == np.mean(np.less(errors[_pulse.NETWORK], errors[name]))


def test_the_band_comes_from_validation_and_holds_about_what_it_says(model, series):
    edges = _pulse.band(model, series)
    contexts, futures = _pulse.windows(series.encode(series.validation), 5)
    said = series.decode(_pulse.network(model, contexts))
    assert _pulse.covered(said, series.decode(futures), edges) == pytest.approx(_pulse.COVERAGE, abs=0.005)
    assert (edges[0] < 0).all()
    assert (edges[1] > 0).all()
    other = series._replace(test=series.test[::-1])
    np.testing.assert_array_equal(_pulse.band(model, other), edges)


def test_covered_counts_values_between_the_edges():
    truth, edges = np.array([[0.0, 2.0], [9.0, 4.0]]), np.array([[-1.0, -1.0], [1.0, 2.0]])
    assert _pulse.covered(np.array([[1.0, 0.0], [0.0, 0.0]]), truth, edges) == 0.5


def test_windows_follow_each_other():
    contexts, futures = _pulse.windows(np.arange(_pulse.CONTEXT + 3 * _pulse.HORIZON + 1), _pulse.HORIZON)
    assert contexts.shape == (3, _pulse.CONTEXT)
    np.testing.assert_array_equal(futures[:, 0], _pulse.CONTEXT + _pulse.HORIZON * np.arange(3))
    np.testing.assert_array_equal(contexts[:, -1] + 1, futures[:, 0])


@pytest.mark.parametrize("period", [1, 2, 7, _pulse.HORIZON, _pulse.CONTEXT])
def test_repeat_goes_on_with_the_last_period(period):
    contexts = RNG.normal(size=(3, _pulse.CONTEXT))
    want = [np.resize(row[-period:], _pulse.HORIZON) for row in contexts]
    np.testing.assert_array_equal(_pulse.repeat(contexts, period), want)


def test_decode_gives_the_sensors_units(series):
    sums = np.array([0, 4 * _pulse.FULL_SCALE])
    np.testing.assert_allclose(series.decode(series.encode(sums)), [0, _pulse.FULL_SCALE], atol=1e-3)


def test_another_output_than_pytorchs_is_an_error(model, series):
    assert _pulse.check(model, series) <= _pulse.TORCH_TOLERANCE
    for wrong in (series.torch_output + 1e-4, series.torch_output * np.nan):
        with pytest.raises(VerificationError, match="demo must be within 1e-05 of PyTorch, got an error of"):
            _pulse.check(model, series._replace(torch_output=wrong))


# Live ------------------------------------------------------------------------------------------------


def test_histogram_counts_every_step():
    ns = np.concatenate([np.full(90, 1000), np.linspace(1000, 2000, 9), [1e6]]).astype(np.int64)
    floor, *rows = _live.histogram(ns, 120.0, "#")
    assert floor.split() == ["0.12", "us", "|", "the", "arithmetic", "alone"]
    assert sum(int(row.split()[-1]) for row in rows) == len(ns)
    assert rows[0] == "        1.00 us |" + "#" * _live.BAR + " 92"
    assert rows[-1].endswith("us or more |# 1")
    assert len({line.index("|") for line in (floor, *rows)}) == 1


def test_histogram_of_equal_times():
    rows = _live.histogram(np.full(5, 700), 1.0, "#")
    assert sum(int(row.split()[-1]) for row in rows[1:]) == 5


def test_live_times_every_sample_from_a_state_of_zero(model, series):
    ns = _live.run(model, series.encode(series.test[:50])[:, None])
    assert ns.shape == (50,)
    assert (ns > 0).all()


def test_peak_counts_the_time_of_every_thread():
    each = 3_000_000  # ns

    def work():
        while thread_time_ns() < each:
            pass

    def call():
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert _live._fastest(call) >= 2 * each


def test_peak_is_a_rate_of_this_machine():
    found = _live.peak()
    assert found.source in ("NumPy", "fastgru")
    assert 1e8 < found.flops < 1e13


# The command -----------------------------------------------------------------------------------------


@needs_matplotlib
def test_demo_leaves_nothing_in_the_current_folder(run):
    text, here, temporary = run()
    assert here == []
    assert len(temporary) == 1
    assert re.search(r"^drew (.*)$", text, re.M)[1].endswith(temporary[0])
    assert "same as PyTorch" in text
    assert re.search(r"the GRU's error is (2[0-9]|[3-9][0-9])% smaller than that of the best other", text)
    assert "the arithmetic alone" in text
    assert "█" in text


@needs_matplotlib
@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("b.SVG", b"<?xml"), ("c.pdf", b"%PDF")])
def test_demo_draws_where_asked(run, tmp_path, name, start):
    text, here, temporary = run("--plot", name)
    assert (here, temporary) == ([name], [])
    assert (tmp_path / "here" / name).read_bytes().startswith(start)
    assert f"drew {tmp_path.resolve() / 'here' / name}" in text


def test_demo_without_matplotlib_prints_the_rest(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text, here, temporary = run()
    assert (here, temporary) == ([], [])
    assert "linear autoregression" in text
    assert text.splitlines()[-1].startswith("no picture: a picture needs the package 'matplotlib'")
    assert "pip install 'fastgru[plot]'" in text.splitlines()[-1]
    with pytest.raises(MissingExtraError, match="a picture needs the package 'matplotlib', which is not installed"):
        demo.demo(Path("plot.png"))


@needs_matplotlib
def test_picture_says_what_is_better(evaluated):
    typical, scores, _ = evaluated
    svg = _pulse_plot.draw(typical, scores, "svg").decode()
    assert _pulse_plot.draw(typical, scores, "svg").decode() == svg
    assert re.search(r"The next second of a pulse: \d\d% less error than the best other forecast", svg)
    worse = [scores[0]._replace(error=2 * scores[1].error), *scores[1:]]
    assert "100% more error than" in _pulse_plot.draw(typical, worse, "svg").decode()


@needs_matplotlib
@pytest.mark.parametrize("name", ["light", "dark"])
def test_pictures_of_the_docs_are_of_their_theme(evaluated, name):
    """And say what the demo draws now, up to rounding in the curves."""
    typical, scores, _ = evaluated
    theme = getattr(_pulse_plot, name.upper())
    drawn = _pulse_plot.draw(typical, scores, "svg", theme).decode()
    kept = (ROOT / "docs" / "pictures" / f"pulse-{name}.svg").read_text()
    texts = [re.findall(r"<text[^>]*>([^<]*)</text>", svg) for svg in (drawn, kept)]
    assert texts[0] == texts[1]
    assert len(texts[0]) > 20
    for svg in (drawn, kept):
        assert all(colour in svg for colour in (theme.paper, theme.ink, theme.ours, *theme.rivals))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_labels_are_spread_apart(n):
    for _ in range(50):
        values = np.sort(RNG.normal(size=n))
        placed = _pulse_plot.spread(list(values), 0.5)
        assert (np.diff(placed) >= 0.5 - 1e-9).all()
        assert np.mean(placed) == pytest.approx(values.mean())
