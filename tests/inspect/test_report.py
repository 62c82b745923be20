"""The report: what is on the page and what its words say, its size, and how a browser reads it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import invoke

from fastgru import Model
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec
from fastgru.inspect import report_sections
from fastgru.inspect.report_drawing import MOST, drawing
from fastgru.inspect.report_figures import bars, binned, curves, data_uri, enveloped, heat, number, png, points
from fastgru.inspect.report_html import MOST_BYTES, report
from fastgru.inspect.report_seen import EXPLAINED, FOLLOWED, look
from fastgru.layers import GRU, LSTM, RNN, Activate, Bidirectional, Dense, Embedding

RNG = np.random.default_rng(5)
VOID = {"meta", "img", "br", "rect", "circle", "path", "line", "polyline"}


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32) / 2


def small() -> Model:
    return Model(
        [GRU(normal(24, 3), normal(24, 8), normal(24)), LSTM(normal(24, 8), normal(24, 6)), Dense(normal(2, 6))]
    )


def letters() -> Model:
    return Model([Embedding(normal(20, 4)), GRU(normal(15, 4), normal(15, 5)), Dense(normal(20, 5), normal(20))])


class Page(HTMLParser):
    """A page whose elements close as they open; its text, its headings, and all addresses that it names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.headings, self.addresses = "", [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if "style" not in self.open:
            self.text += data


SECTIONS = [
    "The network", "How often gates are shut or open", "How long units remember", "What the output owes to the input",
    "The units that move most",
]  # fmt: skip


def test_a_page_has_every_figure_and_names_nothing_outside_of_it():
    x = RNG.normal(size=(30, 3))
    text = report(small(), x, title="gait <1>", source="walk & run.npy")
    page = Page(text)
    assert page.headings[0] == "gait <1>"
    assert [h for h in page.headings if h in SECTIONS] == SECTIONS
    assert {"gru: gates and state of the GRU", "lstm: gates and state of the LSTM"} <= set(page.headings)
    assert "the sequence in walk & run.npy of 30 steps" in page.text
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "http" not in re.sub(r'"data:[^"]*"', "", text)
    assert "<script" not in text
    assert "prefers-color-scheme:dark" in text
    assert "half-life" in page.text


def test_figures_show_the_numbers_of_the_trace():
    model, x = small(), RNG.normal(size=(30, 3))
    seen = look(model, x)
    (_, trace), layer = model.trace(x, points=["gru.*"]), seen.layers[0]
    assert list(layer.parts) == ["update", "reset", "candidate", "hidden"] or set(layer.parts) == {
        "update", "reset", "candidate", "hidden",
    }  # fmt: skip
    for part, values in layer.parts.items():
        np.testing.assert_array_equal(values, trace[f"gru.{part}"])
    order = layer.order("update", 64)
    assert sorted(order) == list(range(8))
    half = np.log(0.5) / np.log(trace["gru.update"].mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(layer.half_lives(), half, rtol=1e-5)
    assert (np.diff(half[order]) <= 0).all()
    assert layer.profile.below["update"] == pytest.approx((trace["gru.update"] < 0.1).mean(axis=0))


def test_attribution_of_the_page_adds_up():
    seen = look(small(), RNG.normal(size=(2, 30, 3)), row=1, unit=1, step=9)
    found = seen.explained
    assert (found.name, found.step, found.unit, found.method) == ("dense", 9, (1,), "integrated_gradients")
    assert found.inputs["x"].shape == (10, 3)  # later steps have nothing to do with it
    assert found.inputs["x"].sum() == pytest.approx((found.parts.output - found.parts.baseline)[0], abs=1e-4)


def test_long_sequences_are_explained_from_the_state_before():
    model, x = small(), RNG.normal(size=(EXPLAINED + 40, 3))
    found = look(model, x).explained
    assert (found.first, found.inputs["x"].shape) == (40, (EXPLAINED, 3))
    assert found.parts.output[0] == pytest.approx(model(x).max(axis=1)[-1], abs=1e-4)
    text = report(model, x)
    assert "Only the last steps, from 40 on, are explained; the state before them is taken as given." in text


def test_models_that_cannot_be_cut_get_a_gradient():
    both = Bidirectional(GRU(normal(12, 3), normal(12, 4)), GRU(normal(12, 3), normal(12, 4)))
    model = Model([both, Dense(normal(2, 8))])
    assert look(model, RNG.normal(size=(EXPLAINED + 1, 3))).explained.method == "gradient"
    seen = look(model, RNG.normal(size=(FOLLOWED + 1, 3)))
    assert seen.explained.startswith("The input has 8,193 steps, too many to go back through here.")
    assert [layer.backwards for layer in seen.layers] == [False, True]
    assert "This layer runs from the last step to the first." in report(model, RNG.normal(size=(20, 3)))


def test_what_has_no_rule_is_told_on_the_page():
    b = GraphBuilder()
    x = b.add(g.Binary("atan2"), *[b.add(GRU(normal(12, 3), normal(12, 4)), b.input("x", Spec((3,))))] * 2)
    text = report(Model(b.build(x)), RNG.normal(size=(9, 3)), method="lrp")
    assert "No attribution by lrp: node &#x27;binary&#x27;: relevance has no rule for Binary of function" in text


@pytest.mark.parametrize("method", ["gradient", "integrated_gradients", "lrp"])
def test_ids_are_shown_as_text(method):
    ids = np.array([[3, 1, 4, 1, 5]])
    page = Page(report(letters(), ids, method=method))
    assert "31415" in page.text
    assert "ids, in order" in page.text


def test_layers_without_gates_and_loops_without_cells():
    text = report(Model([RNN(normal(4, 3), normal(4, 4)), Activate("relu")]), RNG.normal(size=(9, 3)))
    assert "rnn: its state" in text
    assert "How long units remember" not in text
    b = GraphBuilder()
    x, h = b.input("x", Spec((4,))), b.add(g.State(np.zeros(4)), name="h")
    new = b.add(g.Add(), b.add(g.Multiply(), h, b.add(g.Constant(np.full(4, 0.5)))), x)
    assert "<h1>" in report(Model(b.build(new, feedback={h: new})), RNG.normal(size=(9, 4)))
    assert "The network" in report(Model([Dense(normal(2, 3))]), RNG.normal(size=(9, 3)))


def test_wide_and_long_models_fit_and_say_what_was_left_out():
    model = Model([GRU(normal(600, 40) / 4, normal(600, 200) / 8), GRU(normal(600, 200) / 8, normal(600, 200) / 8)])
    text = report(model, RNG.normal(size=(2000, 40)), method="gradient")
    assert len(text.encode()) <= MOST_BYTES
    words = Page(text).text
    assert re.search(r"Of 200 units the \d+ that move most are drawn\.", words)
    assert "Each column is the mean of about 3.33 of the 2,000 steps." in words
    assert re.search(r"40 features, the first on top, neighbours averaged to \d+ rows", words)


def test_names_in_a_file_are_text_on_the_page():
    evil = "<script>alert('&')</script>"
    b = GraphBuilder()
    x = b.input(f"x{evil}", Spec((3,)))
    y = b.add(g.Binary("atan2"), *[b.add(GRU(normal(12, 3), normal(12, 4)), x, name=evil)] * 2, name=f"y{evil}")
    for method in ("gradient", "lrp"):
        text = report(Model(b.build(y)), RNG.normal(size=(9, 3)), title=evil, source=evil, method=method)
        assert "<script" not in text
        assert evil in Page(text).text


def test_large_networks_are_drawn_in_part():
    model = Model([Dense(np.eye(3)) for _ in range(MOST + 5)] + [Activate("relu")])
    svg, words = drawing(model.graph)
    assert svg.count('<g class="box weights">') == MOST
    assert words.startswith("6 of its 46 operations are left out here: the last 5 layers, and those without weights.")
    assert drawing(small().graph)[1] == ""


# Figures -------------------------------------------------------------------------------------------


def decoded(file: bytes) -> Any:
    """The indices of a PNG file, read by its chunks."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, {}
    while at < len(file):
        size, kind = int.from_bytes(file[at : at + 4], "big"), file[at + 4 : at + 8]
        body = file[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + body) == int.from_bytes(file[at + 8 + size : at + 12 + size], "big")
        chunks[kind], at = body, at + 12 + size
    width, height = (int.from_bytes(chunks[b"IHDR"][i : i + 4], "big") for i in (0, 4))
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert (rows[:, 0] == 0).all()
    assert len(chunks[b"PLTE"]) == 3 * len(chunks[b"tRNS"])
    return rows[:, 1:], chunks


def test_heat_maps_are_clear_at_zero_and_full_at_the_largest():
    rows, chunks = decoded(heat(np.array([[0.0, 0.5, 1.0], [-1.0, -2.0, np.nan]]), 1.0))
    opacity = np.frombuffer(chunks[b"tRNS"], np.uint8)[rows]
    assert opacity.tolist() == [[0, 128, 255], [255, 255, 0]]
    inks = np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)[rows]
    assert inks[0, 2].tolist() != inks[1, 0].tolist()
    assert base64.b64decode(data_uri(png(rows, [(0, 0, 0, 0)] * 201)).partition(",")[2])[:4] == b"\x89PNG"
    assert decoded(heat(np.zeros((2, 2)), 0.0))[0].tolist() == [[100, 100], [100, 100]]


def test_fewer_columns_are_means_and_curves_keep_extremes():
    x = np.arange(10.0)
    assert binned(x, 20) is x
    assert binned(x, 3).tolist() == [1.0, 4.0, 7.5]
    spike = np.zeros(1000)
    spike[501] = 9
    assert enveloped(spike, 100).max() == 9
    assert len(enveloped(spike, 100)) == 100


def test_svg_figures_are_whole():
    for svg in (
        curves([np.arange(3.0), np.ones(1)], -1, 2, 'a "label"'),
        points(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0]), "across", "up", "both"),
        bars([1, 0, 3], ["<1", "1", "2+"], "counts"),
    ):
        Page(svg)
    assert "units 0, 1" in points(np.zeros(2), np.zeros(2), "x", "y", "")
    assert [number(v) for v in (0.12345, 12345.6, 1.5e7, np.inf)] == ["0.123", "12,346", "1.5e+07", "no end"]


# The command ---------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    small().save(tmp_path / "m.fgru")
    np.save(tmp_path / "x.npy", RNG.normal(size=(3, 20, 3)).astype(np.float32))
    np.savetxt(tmp_path / "x.csv", RNG.normal(size=(20, 3)), delimiter=",", header="a,b,c", comments="")
    return tmp_path


def test_the_command_writes_the_page_and_the_picture(files):
    page, picture = files / "r.html", files / "r.png"
    said = invoke(
        "inspect", files / "m.fgru", files / "x.npy", "-o", page, "--row", 2, "--unit", 1, "--plot", picture
    )  # fmt: skip
    assert re.search(r"wrote .*r\.html, [\d,]+ bytes: open it in a browser\ndrew .*r\.png", said)
    assert "sequence 2 of the 3 in" in page.read_text()
    assert "unit 1 of the output" in page.read_text()
    assert picture.read_bytes()[:4] == b"\x89PNG"
    invoke("inspect", files / "m.fgru", files / "x.csv", "--columns", "c,b,a", "-o", page, "--method", "lrp")
    assert "Biases account for" in page.read_text()
    invoke("inspect", files / "m.fgru", files / "x.csv", "--plot", files / "r.pdf")
    assert (files / "r.pdf").read_bytes()[:4] == b"%PDF"


WRONG = [
    (["x.npy"], "--output must be the page to write, got none: -o report.html"),
    (["x.npy", "-o", "r.txt"], "--output must end in one of .html, .htm, got"),
    (["x.npy", "-o", "r.html", "--plot", "r.gif"], "--plot must end in one of .png, .svg, .pdf, got"),
    (["x.npy", "-o", "no/r.html"], "no: No such file or directory"),
    (["x.npy", "-o", "r.html", "--method", "shap"], "--method must be one of gradient, integrated_gradients, lrp, got"),
    (["x.npy", "-o", "r.html", "--row", "3"], "row must be in -3..2, got 3"),
    (["x.npy", "-o", "r.html", "--unit", "2"], "unit of output 'dense' must be in -2..1, got 2"),
    (["x.npy", "-o", "r.html", "--unit", "one"], "--unit must be whole numbers such as 3 or 3,0, got 'one'"),
    (["x.npy", "-o", "r.html", "--step", "20"], "step must be in -20..19, got 20"),
    (["x.npy", "-o", "r.html", "--explain", "dens"], "--explain must be one of dense, got 'dens'"),
    (["y.npy", "-o", "r.html"], "y.npy: No such file or directory"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_wrong_options_are_one_line(files, words, said):
    words = [files / w if re.search(r"\.(npy|html|txt|gif)$", w) else w for w in words]
    assert said in invoke("inspect", files / "m.fgru", *words, code=2)
    assert not (files / "r.html").exists()


def test_errors_name_the_file_once(files):
    for name, text, said in [
        ("e.csv", "", "input must have at least one row of numbers, got none"),
        ("n.csv", "a,b,c\n1,2,3\n4,nan,6\n", "line 3, column 'b' must be a number, got 'nan': fill in missing values,"
         " or leave out their rows"),
        ("n.npy", np.array([[1, 2, 3], [4, np.nan, 6]]), "x must be finite, got nan at (1, 1)"),
    ]:  # fmt: skip
        if isinstance(text, str):
            (files / name).write_text(text)
        else:
            np.save(files / name, text)
        error = invoke("inspect", files / "m.fgru", files / name, "-o", files / "r.html", code=2)
        assert error.strip() == f"{files / name}: {said}"
        assert error.count(name) == 1


def test_a_compiled_plan_is_refused(files):
    small().compile(files / "m.plan")
    said = invoke("inspect", files / "m.plan", files / "x.npy", "-o", files / "r.html", code=2)
    assert "model to inspect must be a .fgru file, got a compiled plan" in said


# A browser -----------------------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium, which is not installed")
@pytest.mark.parametrize("width", [1100, 390])
def test_a_browser_shows_it(tmp_path, width):
    """What chromium makes of the page: every picture decoded, nothing wider than the window, nothing asked for."""
    page = tmp_path / "r.html"
    measure = (
        "<script>addEventListener('load',()=>{const d=document,i=[...d.images];d.title=JSON.stringify({"
        "images:i.length,broken:i.filter(x=>!x.naturalWidth||!x.clientHeight).length,"
        "wide:d.documentElement.scrollWidth<=innerWidth,asked:performance.getEntriesByType('resource')"
        ".filter(r=>!r.name.startsWith('data:')).length,h:[...d.querySelectorAll('section')].filter("
        "s=>s.getBoundingClientRect().height<40).length})})</script>"
    )
    page.write_text(report(small(), RNG.normal(size=(50, 3))).replace("</head>", measure + "</head>"))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         f"--window-size={width},900", "--virtual-time-budget=3000", f"--screenshot={tmp_path / 'r.png'}",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", done.stdout)[1].replace("&quot;", '"')
    assert title == '{"images":11,"broken":0,"wide":true,"asked":0,"h":0}'
    assert (tmp_path / "r.png").stat().st_size > 10_000
    assert report_sections.DRAWN >= 2
