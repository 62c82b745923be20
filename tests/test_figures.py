"""The figures of docs/testing.md are those that the command counts."""

from __future__ import annotations

from pathlib import Path

from tests import figures

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_has_the_figures_of_now():
    page = figures.PAGE.read_text()
    assert figures.written(page) == page, "run python -m tests.figures"
    assert {name for _, name, _ in figures.BLOCK.findall(page)} == set(figures.FIGURES)


def test_every_command_of_the_page_is_there():
    page = figures.PAGE.read_text()
    for path in (
        "tests/aarch64.sh",
        "tests/sanitize.sh",
        "tests/pool.sh",
        "tests/oom",
        "tests/endurance",
        "tests/fuzz",
    ):
        assert path.replace("/", ".") in page or path in page
        assert (ROOT / path).exists(), path
