"""The pictures and tables of the kept results: legible, of one colour per engine, and as the pages show them."""

from __future__ import annotations

import itertools
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import cases, engines, lookup, pictures, records, report
from bench.pictures import style
from bench.pictures.labels import Label, at_ends, near_points, spread

ROOT = Path(__file__).resolve().parents[2]
KEPT = sorted((ROOT / "bench" / "results").glob("*.json"))
PAGE, CASES, PICTURES = Path("docs/benchmarks.md"), Path("bench/RESULTS.md"), Path("docs/pictures")

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB: what each kind of sight makes of a colour.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


# Ottosson (2020), "A perceptual color space for image processing".
LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


@pytest.fixture(scope="module", params=KEPT, ids=lambda path: path.stem)
def kept(request):
    """The results of each file of bench/results."""
    return records.read(request.param)


@pytest.fixture(scope="module")
def drawn(kept):
    """The figures of each theme, by the theme's name."""
    pytest.importorskip("matplotlib")
    return {theme.name: pictures.figures(kept, theme) for theme in style.THEMES}


# Pages ----------------------------------------------------------------------------------------------


def test_kept_results_are_small():
    assert KEPT
    assert all(path.stat().st_size < 200_000 for path in KEPT)


def test_pages_show_what_the_kept_results_say(tmp_path):
    """The command of the page, run again on the results of its machine, changes nothing."""
    pytest.importorskip("matplotlib")
    for name in (PAGE, CASES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    options = ["--page", str(tmp_path / PAGE), "--cases", str(tmp_path / CASES), "--pictures", str(tmp_path / PICTURES)]
    (path,) = (path for path in KEPT if f"bench/results/{path.name} " in (ROOT / PAGE).read_text())
    assert report.main([str(path), *options]) == 0
    for name in (PAGE, CASES):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()
    drawn = {file.name for file in (tmp_path / PICTURES).iterdir()}
    assert drawn <= {file.name for file in (ROOT / PICTURES).iterdir()}
    ours = {f"{picture.name}-{theme.name}.svg" for picture in pictures.PICTURES for theme in style.THEMES}
    assert {file.name for file in (ROOT / PICTURES).iterdir()} & ours == drawn


# Looks ----------------------------------------------------------------------------------------------


def linear(colour):
    """A colour #rrggbb as linear RGB."""
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Linear RGB as OKLab, where distances are those of the eye."""
    lms = np.cbrt(np.array(LMS) @ np.clip(rgb, 0, 1))
    return np.array(LAB) @ lms


def contrast(a, b):
    """The contrast of two colours as WCAG defines it."""
    low, high = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", style.THEMES, ids=lambda theme: theme.name)
def test_engines_are_told_apart_by_colour_with_any_sight(theme):
    tints = {engine: style.colour(engine, theme) for engine in style.LOOKS}
    for matrix in SIGHT.values():
        seen = [oklab(np.array(matrix) @ linear(tint)) for tint in tints.values()]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.07
    assert min(contrast(tint, theme.paper) for tint in tints.values()) >= 3
    assert contrast(theme.ink, theme.paper) > 10
    assert contrast(theme.muted, theme.paper) > 4.5


def test_every_engine_has_a_name_and_a_look_of_its_own():
    assert {engine.name for engine in engines.discover()} == set(lookup.NAMES) == set(style.LOOKS)
    for field in style.Look._fields:
        assert len({getattr(look, field) for look in style.LOOKS.values()}) == len(style.LOOKS)


# Labels ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(0.5, 20))
def test_spread_places_keep_their_order_their_gap_and_the_range(places, gap):
    places = sorted(places)
    moved = spread(places, gap, 0.0, 100.0)
    gap = min(gap, 100 / max(1, len(places) - 1))
    assert all(b - a >= gap * (1 - 1e-9) for a, b in itertools.pairwise(moved))
    assert moved[0] >= -1e-9
    assert moved[-1] <= 100 + 1e-9
    if all(b - a >= gap for a, b in itertools.pairwise(places)):
        assert moved == pytest.approx(places)


def texts(figure):
    """The texts of a figure that are seen, with their boxes in pixels."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    axes = [axis for part in figure.axes for axis in (part.xaxis, part.yaxis)]
    ticks = {
        id(t) for axis in axes for tick in (*axis.majorTicks, *axis.minorTicks) for t in (tick.label1, tick.label2)
    }
    ticks -= {id(tick.label1) for axis in axes for tick in axis._update_ticks()}  # those that are in view
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and id(text) not in ticks]
    return [(text.get_text(), text.get_window_extent()) for text in found]


def assert_legible(figure):
    """No text touches another or leaves the picture."""
    found = texts(figure)
    page = figure.bbox
    for text, box in found:
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text
    for (a, one), (b, other) in itertools.combinations(found, 2):
        assert not one.overlaps(other), f"{a!r} touches {b!r}"


@pytest.mark.parametrize("theme", style.THEMES, ids=lambda theme: theme.name)
def test_texts_of_the_pictures_do_not_touch(drawn, theme):
    figures = drawn[theme.name]
    assert len(figures) >= 6
    for figure in figures.values():
        assert_legible(figure)
        assert "better" in figure.texts[0].get_text()


def test_texts_do_not_touch_where_every_engine_runs_every_case(kept):
    """More labels than any machine gives so far, single calls among them, and times within a factor of three."""
    pytest.importorskip("matplotlib")
    known = {name: entry["precision"] for case in kept["cases"] for name, entry in case["engines"].items()}
    crowded = []
    for case in kept["cases"]:
        entries = {}
        for i, (name, precision) in enumerate(known.items()):
            us = case["hidden"] * (2 + i / len(known)) + case["steps"]
            single = {"p50": us, "p90": us * 1.2, "p99": us * 1.5, "p99.9": us * 3, "calls": 100}
            times = {
                "median_us": us,
                "floor_us": us / 2,
                "single": single,
                "error": 0.01 if precision == "int8" else 1e-7,
            }
            entries[name] = {"status": "ok", "precision": precision, "threads": 1, **times}
        crowded.append({**case, "hidden": case["hidden"] or 512, "engines": entries})
    for theme in style.THEMES:
        drawn = pictures.figures({**kept, "cases": crowded}, theme)
        assert set(drawn) == {picture.name for picture in pictures.PICTURES}
        for figure in drawn.values():
            assert_legible(figure)


@pytest.mark.parametrize("place", [at_ends, partial(near_points, theme=style.LIGHT)])
def test_labels_of_points_on_top_of_each_other_do_not_touch(place):
    pytest.importorskip("matplotlib")
    figure = style.sheet(style.LIGHT, (6, 4), "Nothing, more is better", "below")
    axes = style.panel(figure, style.LIGHT, (1, 1, 3.5, 2))
    axes.set(xscale="log", yscale="log", xlim=(1, 100), ylim=(1, 100), xticks=[], yticks=[])
    axes.minorticks_off()
    place(axes, [Label(10.0, 10.0 + i / 100, f"label {i}", "#000000") for i in range(9)])
    assert_legible(figure)


# Contents -------------------------------------------------------------------------------------------


def test_gridlines_strike_through_no_label(drawn):
    for theme in style.THEMES:
        for name in ("step-time", "precision"):
            (axes,) = drawn[theme.name][name].axes
            inside = [text for text in axes.texts if "as fast" not in text.get_text()]
            assert len(inside) >= 5
            for text in inside:
                assert text.get_bbox_patch().get_facecolor()[:3] == rgb(theme.paper)


def test_labels_have_the_colour_of_their_engine(kept, drawn):
    names = {lookup.shown(name): name for case in kept["cases"] for name in case["engines"]}
    for theme in style.THEMES:
        for name, figure in drawn[theme.name].items():
            if name in ("gru-by-size", "lstm-by-size", "slowest-calls", "precision", "real-models"):
                written = [text for part in (figure, *figure.axes) for text in part.texts if text.get_text() in names]
                assert len(written) >= 5
                for text in written:
                    assert text.get_color() == style.colour(names[text.get_text()], theme)


def test_bars_are_as_high_as_the_medians(kept, drawn):
    (axes,) = drawn["light"]["step-time"].axes
    case = lookup.case_named(kept, "gru-64-64-t1-b1")
    mine = [bar.get_height() for bar in axes.patches if bar.get_facecolor()[:3] == rgb(style.LOOKS["fastgru"].light)]
    assert case["engines"]["fastgru"]["median_us"] in mine
    assert len(mine) == 5


def rgb(colour):
    """A colour #rrggbb as matplotlib has it."""
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def test_int8_is_dashed_and_float32_is_not(drawn):
    for axes in drawn["dark"]["gru-by-size"].axes:
        dashed = [line for line in axes.lines if line.is_dashed()]
        assert {line.get_color() for line in dashed} <= {line.get_color() for line in axes.lines if line not in dashed}
        assert [line.get_color() for line in dashed] == [style.colour("fastgru", style.DARK)]


def test_panels_of_sizes_have_one_scale_and_few_lines(drawn):
    for name in ("gru-by-size", "lstm-by-size"):
        panels = drawn["light"][name].axes
        assert len({axes.get_ylim() for axes in panels}) == 1
        assert max(len(axes.lines) for axes in panels) <= 6


def test_the_best_other_is_the_fastest_engine_without_a_line(kept, drawn):
    axes = drawn["light"]["gru-by-size"].axes[0]
    line = next(line for line in axes.lines if line.get_color() == style.LIGHT.muted)
    engines = lookup.timed(lookup.case_named(kept, "gru-64-64-t1-b1"))
    rest = [engines[name]["median_us"] for name in ("keras", "litert", "numpy", "tract") if name in engines]
    assert dict(zip(*line.get_data(), strict=True))[64] == min(rest) / engines["fastgru"]["median_us"]


def test_models_have_a_bar_in_float32_and_int8_beside_int8(kept, drawn):
    (axes,) = drawn["light"]["real-models"].axes
    models = [case for case in kept["cases"] if case["model"]]
    assert len(axes.patches) == len(models)
    written = [text.get_text() for text in axes.texts]
    small = [lookup.compared(case, "int8", ".* int8") for case in models]
    assert sum(text.endswith(" int8") and "\u00d7" in text for text in written) == sum(row is not None for row in small)
    assert "Keras, alone" in written  # no other engine runs it in float32


def test_the_same_results_make_the_same_files(kept, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        pictures.draw(kept, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) >= 12
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_pictures_are_small_and_keep_their_texts_in_a_font_of_the_reader(kept, tmp_path):
    """Fonts of readers are narrower than the one that texts are laid out in."""
    pytest.importorskip("matplotlib")
    pictures.draw(kept, tmp_path)
    for file in tmp_path.iterdir():
        svg = file.read_text()
        assert len(svg) < 60_000
        assert "better</text>" in svg
        assert style.FONT not in svg
        assert style.READERS in svg


def test_results_without_cases_have_no_pictures(kept, tmp_path):
    pytest.importorskip("matplotlib")
    assert pictures.draw({**kept, "cases": []}, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_kept_results_have_every_row_of_the_report(kept):
    """Each section has a line for each of its cases, in float32 at least."""
    for section in cases.read().sections:
        shown = {row.case["name"] for row in lookup.rows(section, kept) if row.precision == "float32"}
        assert shown == set(section.cases)
