"""Axes of inputs and outputs, in the source and here: what an import says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import invoke

import fastgru
from fastgru.converters import Imported
from fastgru.converters.layouts import Axes, Layouts, declared, of_labels, of_tensor, told
from fastgru.converters.program.steps import STEPS
from fastgru.converters.program.values import Tensor
from fastgru.graph import Dense, GraphBuilder, Spec, chain

GRAPH = chain([Dense(np.ones((4, 3)))], names=["fc"])
SAME = Layouts({"x": Axes(("B", "T", 3))}, [Axes(("B", "T", 4))])
MOVED = Layouts({"x": Axes(("T", "B", 3))}, [Axes(("B", 4, "T"))])

CASES = {
    "the same": (SAME, "input x (B, T, 3) in S and here; output fc (B, T, 4) in S and here"),
    "moved": (MOVED, "input x (T, B, 3) in S, (B, T, 3) here; output fc (B, 4, T) in S, (B, T, 4) here"),
    "rows": (
        Layouts({"x": Axes(("B", 3))}, [Axes(("B", 4))]),
        "input x (B, 3) in S, (B, T, 3) here; output fc (B, 4) in S, (B, T, 4) here",
    ),
    "fewer steps": (
        Layouts({"x": Axes((3, "T"))}, [Axes((4, "T - 2"), "T - 2")]),
        "input x (3, T) in S, (B, T, 3) here; output fc (4, T - 2) in S, (B, T - 2, 4) here",
    ),
    "states": (
        SAME._replace(
            inputs={"x": Axes(("B", "T", 3)), "h": Axes((1, "B", 4)), "c": None, "n": Axes(("B",))},
            states={"h": "1", "c": None}, left_out={"2": Axes((1, "B", 4)), "3": None},
        ),
        "input x (B, T, 3) in S and here; input h (1, B, 4) in S, a state here; input c in S, a state here; "
        "input n (B) in S, no input here; output fc (B, T, 4) in S and here; "
        "output 2 (1, B, 4) in S, left out here as the final state of layers; "
        "output 3 in S, left out here as the final state of layers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_became_of_axes(name):
    layouts, expected = CASES[name]
    assert told(GRAPH, layouts, "S") == expected


def test_axes_of_tensors():
    spec = Spec((2, 3), True)
    assert of_tensor(Tensor("x", ((0,), ("B",), ((STEPS - 2) // 2,), (1,)), spec, 1)) == Axes(
        (2, "B", "T // 2 - 1", 3), "T // 2 - 1"
    )
    assert of_tensor(Tensor("x", (("B", STEPS), (0, 1)), spec, 1)) == Axes(("B * T", 6))
    assert str(of_labels(("B", None, "T"), (5, 3, 7))) == "(B, 3, T)"


def test_provenance_says_axes_and_states():
    layouts = MOVED._replace(inputs={**MOVED.inputs, "h": Axes((1, "B", 4)), "c": None}, states={"h": "1", "c": None})
    found = Imported(GRAPH, {"framework": "S 1.0"}, layouts=layouts).with_axes().provenance
    assert declared(layouts) == found["axes"] == "x (T, B, 3), h (1, B, 4)"
    assert found["layout"] == told(GRAPH, layouts, "S")
    assert found["states"] == "h <- 1"
    assert Imported(GRAPH, {"framework": "S"}).with_axes().provenance == {"framework": "S"}


def test_an_output_may_be_returned_twice():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    graph = b.build(x, x)
    assert told(graph, Layouts({"x": Axes(("B", "T", 3))}, [Axes(("B", "T", 3))] * 2), "S").count("output x") == 2


def test_summary_and_commands_show_what_a_file_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = told(GRAPH, MOVED, "PyTorch")
    model = fastgru.Model(GRAPH, provenance={"framework": "PyTorch", "layout": words})
    assert str(model.summary()).splitlines()[1] == f"axes: {words}"
    assert str(model.quantize("float16").summary()).splitlines()[1] == f"axes: {words}"
    model.save("m.fgru")
    assert fastgru.load("m.fgru").summary().layout == words
    assert f"layout: {words}" in invoke("info", "m.fgru")
    assert json.loads(invoke("info", "m.fgru", "--json"))["layout"] == words
    assert "axes" not in str(fastgru.Model(GRAPH).summary())


def test_convert_prints_what_became_of_axes(tmp_path):
    path = tmp_path / "m.fgru"
    printed = invoke("convert", Path(__file__).parents[1] / "data" / "keras" / "keras2.h5", "-o", path)
    words = "input gru_1_input (B, T, 3) in Keras and here; output dense_1 (B, T, 2) in Keras and here"
    assert f"layout: {words}\n" in printed
    assert f"layout: {words}\n" in invoke("info", path)
