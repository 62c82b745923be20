"""What `fastgru info --plan` shows: the instructions that run, what they read and write, and their weights."""

from __future__ import annotations

import json

import numpy as np
from cells import make_cell
from commands import invoke

from fastgru import Model
from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.report.listing import plan_of


def looped() -> Graph:
    """A product before a loop, and a loop of its sum with the state."""
    b = GraphBuilder()
    x, held = b.input("x", Spec((2, 3))), b.add(g.State(np.zeros((2, 4), np.float32)))
    made = b.add(g.Dense(np.ones((4, 3)), np.ones(4)), x, name="made")
    total = b.add(g.Activate(g.Activation("tanh")), b.add(g.Add(), made, held), name="total")
    return b.build(total, feedback={held: total})


def test_rows_of_a_plan():
    rows = [row[:7] for row in plan_of(looped(), "float32")[0]]
    assert rows == [
        (0, 0, "frame_product", "made", ("x(2, 3)",), ("%2(8)",), "dims=1x2 w=4x3 bias=4 float32"),
        (1, 1, "map", "total", ("%2(8)", "%1(8) state"), ("total(2, 4)",), "dims=8 outer=1 add tanh"),
        (2, 1, "store", "total", ("total(2, 4)",), ("%1(8) state",), "dims=8 outer=1 copy"),
    ]


def test_the_bytes_are_those_of_the_packed_weights():
    b = GraphBuilder()
    x = b.input("x", Spec((40,)))
    y = b.add(g.Dense(np.ones((8, 16)), precision="int8"), b.add(make_cell("lstm", 40, 16), x))
    graph = b.build(y)
    rows, _ = plan_of(graph, "float32")
    assert [row.instruction for row in rows] == ["recurrent", "dense"]
    assert rows[0].own == "lstm 4x16x16 units=16 features=16 float32"
    assert sum(row.weights for row in rows) == Model(graph)._plan.bytes
    assert rows[1].weights < rows[0].weights / 10


def test_the_command_shows_them(tmp_path):
    path = tmp_path / "looped.fgru"
    Model(looped()).save(path)
    shown = invoke("info", path, "--plan")
    for row in plan_of(looped(), "float32")[0]:
        line = next(line for line in shown.splitlines() if f" {row.instruction} " in line)
        assert all(cell in line for cell in row.cells())
    assert "frame_product" not in invoke("info", path)
    found = json.loads(invoke("info", path, "--plan", "--json"))
    assert [row["instruction"] for row in found["plan"]] == ["frame_product", "map", "store"]
    assert "plan" not in json.loads(invoke("info", path, "--json"))


def test_padded_frames_of_several_layers_share_their_memory(tmp_path):
    """Three convolutions of a frame of 40 x 200 numbers, padded: two of the padded frames are needed at once."""
    b = GraphBuilder()
    x = b.input("x", Spec((40, 200)))
    for _ in range(3):
        x = b.add(g.Conv(np.ones((40, 40, 3)), before=(1,), after=(1,)), x)
    path = tmp_path / "padded.fgru"
    Model(b.build(x)).save(path)
    _, room = plan_of(b.build(x), "float32")
    assert room.taken == room.at_once == 8080 + 8000
    assert "memory for 16,080 numbers a row and step, 1.00 times those needed at once" in invoke("info", path, "--plan")
    assert json.loads(invoke("info", path, "--plan", "--json"))["room"] == {"taken": 16080, "at_once": 16080}


def test_the_zeros_around_a_single_frame_are_written_once():
    b = GraphBuilder()
    x = b.input("x", Spec((40, 200)))
    rows, room = plan_of(b.build(b.add(g.Conv(np.ones((40, 40, 3)), before=(1,), after=(1,)), x)), "float32")
    assert [row.instruction for row in rows].count("map") == 1
    assert room == (8080, 8080)
