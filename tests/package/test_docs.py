"""The documentation holds: its code blocks run, its links lead somewhere, its figures are those of the benchmarks."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import DOCS, ENGINES, LANGUAGES, MODULES, PAGES, ROOT, blocks, dead, prepare, run_page, targets

import fastgru
from fastgru.layers import GRU, Dense, Embedding

README = ROOT / "README.md"
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


@pytest.mark.parametrize("name", NAMES)
def test_code_blocks_run(name, tmp_path, monkeypatch):
    """In order, without the blocks that need a framework: those run in tests/live."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    run_page(ROOT / name)


@pytest.mark.parametrize("name", NAMES)
def test_code_blocks_name_a_language_that_is_checked(name):
    assert {block.language for block in blocks(ROOT / name)} <= set(LANGUAGES)


@pytest.mark.parametrize("name", NAMES)
def test_code_blocks_fit_the_page(name):
    """100 columns; the commands for a fresh machine must be single lines."""
    lines = [line for block in blocks(ROOT / name) for line in block.text.splitlines()]
    assert [line for line in lines if len(line) > 100 and not line.startswith("python3 -m venv")] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_and_pictures_exist(name):
    assert dead(ROOT / name) == []


def test_the_index_lists_every_page():
    listed = {(DOCS / target.partition("#")[0]).resolve() for target in targets(DOCS / "README.md")}
    assert {page for page in PAGES if page.parent == DOCS and page.name != "README.md"} <= listed


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name):
    """The modules, scripts, tests and extras that shell blocks name."""
    text = "\n".join(block.text for block in blocks(ROOT / name) if block.language == "sh")
    for module in re.findall(r"python3? -m ([a-z0-9_.]+)", text):
        assert module == "venv" or importlib.util.find_spec(module), module
    for path in re.findall(r"\b(?:bash|pytest) ((?:tests|bench|\.ci)[\w./-]*)", text):
        assert (ROOT / path).exists(), path
    section = (
        (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    )
    extras = re.findall(r"^(\w+) = ", section, re.M)
    for listed in re.findall(r"(?:fastgru|\.)\[([a-z,]+)\]", text):
        assert set(listed.split(",")) <= set(extras), listed


# README -------------------------------------------------------------------------------------------


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 180


def test_the_commands_for_a_fresh_machine_are_single_lines():
    lines = [line for line in README.read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert any("fastgru demo" in line for line in lines)
    assert any("pytest" in line for line in lines)


def made(rng: np.random.Generator, size: int, units: int, outputs: int, *before: Any) -> fastgru.Model:
    """A model of a GRU and a Dense layer, with random weights."""
    gru = GRU(rng.normal(size=(3 * units, size)) / 8, rng.normal(size=(3 * units, units)) / 8)
    return fastgru.Model([*before, gru, Dense(rng.normal(size=(outputs, units)) / 8)])


def test_the_line_of_every_use_runs():
    """The lines of Python in the README's table of uses, on models of the sizes they need."""
    rng = np.random.default_rng(0)
    table = README.read_text().partition("| for | one line |")[2].partition("\n\n")[0]
    lines = [re.findall(r"`([^`]+)`", row.split("|")[2])[0] for row in table.splitlines()[2:]]
    assert len(lines) == 5
    letters = Embedding(rng.normal(size=(30, 8)))
    names: dict[str, Any] = {
        "detector": made(rng, 16, 8, 1).stream(),
        "chunk": rng.normal(size=(37, 16)).astype(np.float32),
        "gait": made(rng, 2, 8, 2).stream(),
        "angle": 0.2,
        "velocity": -0.1,
        "model": made(rng, 3, 8, 7),
        "history": rng.normal(size=(28, 3)).astype(np.float32),
        "policies": made(rng, 12, 8, 4).stream(batch=1000),
        "observations": rng.normal(size=(1000, 12)).astype(np.float32),
        "writer": made(rng, 8, 8, 30, letters).stream(),
        "letter": 7,
    }
    for line in lines:
        exec(line, names)
        assert np.isfinite(np.asarray(list(names.values())[-1])).all(), line


def results(path: Path) -> dict[str, dict[str, str]]:
    """The rows of the table of all cases, by name and by engine."""
    table = re.search(r"^\| case .*\n(?:\|.*\n)+", path.read_text(), re.MULTILINE)[0]
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    head, _, *body = ([cell.strip() for cell in row] for row in rows)
    return {row[0]: dict(zip(head, row, strict=True)) for row in body}


# Cases of bench/RESULTS.md whose values the README tells, and how the name of the column begins: times to the digit,
# ratios rounded.
FIGURES = [
    ("gru-16-16-t1-b1", "fastgru"),
    ("gru-64-64-t1-b1", "fastgru"),
    ("gru-64-64-t1-b1", "onnxruntime"),
    ("silero-16k", "fastgru"),
    ("silero-16k", "onnxruntime"),
    ("silero-16k", "best"),
    ("ao-gru-steps", "best"),
    ("textgenrnn", "best"),
]


@pytest.mark.parametrize(("case", "column"), FIGURES)
def test_figures_of_the_readme_are_those_of_the_benchmark(case, column):
    row = results(ROOT / "bench" / "RESULTS.md")[case]
    value = next(value for name, value in row.items() if name.startswith(column))
    ratio = re.match(r"([\d.]+)x ", value)
    told = rf"{float(ratio[1]):.0f}\s+times" if ratio else rf"{re.escape(value)} us"
    assert re.search(rf"\b{told}\b", README.read_text().replace("&nbsp;", " ")), f"{case}, {column}: {value}"


def test_blocks_import_what_is_installed_or_left_out():
    """Every module that a page imports comes with the extra "test", is one of `MODULES`, or comes with an engine."""
    known = {*MODULES, *sys.stdlib_module_names, "fastgru", "numpy", "safetensors", "h5py"}
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                unknown = block.imports() - known - (block.engines() and {*ENGINES, "pandas"})
                assert not unknown, f"{page.name}, line {block.line}: {unknown}"
