"""Drawings of graphs: the dot language, and graphviz where it is."""

from __future__ import annotations

import html
import shutil

import numpy as np
import pytest
from cells import make_cell
from typer.testing import CliRunner

import fastgru
from fastgru.cli import build
from fastgru.errors import FastGruError
from fastgru.graph import Add, Dense, GraphBuilder, Spec, State, chain
from fastgru.report import drawing


def looped():
    b = GraphBuilder()
    x = b.input('a "quoted" name', Spec((3,)))
    h = b.add(State(np.zeros(3)), name="h")
    return b.build(y := b.add(Add(), x, h, name="sum"), feedback={h: y})


def test_every_node_and_line_is_there():
    text = drawing.dot(looped())
    assert text.startswith("digraph {")
    assert text.endswith("}")
    for line in (
        '"h" -> "sum"',
        '"input a \\"quoted\\" name" -> "sum"',
        '"sum" -> "h" [style=dashed',
        '"sum" -> "output 0"',
    ):
        assert line in text


def test_a_file_of_text_needs_no_graphviz(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    drawing.draw(looped(), tmp_path / "g.dot")
    assert (tmp_path / "g.dot").read_text() == drawing.dot(looped())
    with pytest.raises(FastGruError, match=r"graphviz must be installed to draw .*g\.svg"):
        drawing.draw(looped(), tmp_path / "g.svg")
    with pytest.raises(FastGruError, match=r"must end in one of .*got .*g\.bmp"):
        drawing.draw(looped(), tmp_path / "g.bmp")
    assert [p.name for p in tmp_path.iterdir()] == ["g.dot"]


def test_any_name_can_be_drawn(tmp_path):
    graph = chain([Dense(np.ones((1, 2)))], names=["nul\0 bell\a \udcff \\ \u202e"])
    drawing.draw(graph, tmp_path / "g.dot")
    assert r"nul\\x00 bell\\x07 \\udcff \\ \\u202e: Dense" in (tmp_path / "g.dot").read_text()
    if shutil.which("dot"):
        drawing.draw(graph, tmp_path / "g.svg")
        assert r"nul\x00 bell" in html.unescape((tmp_path / "g.svg").read_text())


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_graphviz_draws_what_the_command_asks_for(tmp_path):
    model = fastgru.Model(chain([make_cell("gru-after", 3, 8), Dense(np.ones((2, 8)))]))
    model.save(tmp_path / "m.fgru")
    result = CliRunner().invoke(build(), ["info", str(tmp_path / "m.fgru"), "--graph", str(tmp_path / "m.svg")])
    assert result.exit_code == 0, result.output
    picture = (tmp_path / "m.svg").read_text()
    assert "gru: GRU" in picture
    assert "dense: Dense" in picture
