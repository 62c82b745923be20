"""The instruction set: what is declared is what the engine reads, and no more."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from cells import CELLS, make_cell
from frame_cases import F, w
from test_frames import graph_of
from test_sweep import OPS

from fastgru import graph as g
from fastgru.engine import Plan
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.isa import select_isa
from fastgru.lowering import instructions, lower, renumbered
from fastgru.lowering.instructions import INSTRUCTIONS, Dense, Instruction, Map, Recurrent, Window
from fastgru.passes import fused


def rows() -> list[Graph]:
    """Graphs of what runs over whole rows, of a state, and of steps that wait."""
    found = []
    for op in (g.Activate(g.Activation("relu")), g.LayerNorm(np.ones(5)), g.BatchNorm(np.zeros(5), np.ones(5))):
        found.append(graph_of(op, [F(5)]))
    for op in (g.Add(), g.Multiply(), g.Average(), g.Concat()):
        found.append(graph_of(op, [F(5), F(5)]))
    b = GraphBuilder()
    x = b.input("x", Spec((5,)))
    masked = b.add(g.ApplyMask(), x, b.add(g.Mask(0.0), x))
    found.append(b.build(b.add(g.Reverse(), masked)))
    b = GraphBuilder()
    x, held = b.input("x", Spec((5,))), b.add(g.State(np.zeros(5, np.float32)))
    total = b.add(g.Add(), x, held)
    found.append(b.build(total, feedback={held: total}))
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    found.append(b.build(b.add(g.Add(), b.add(g.TimeConv(w(3, 3, 5)), x), x)))  # the step waits for the windows
    return found


def graphs() -> list[Graph]:
    """One of every instruction, and of every field."""
    cells = [graph_of(make_cell(name, 3, 4), [F(3)]) for name in CELLS]
    return [*(graph_of(op, specs) for _, op, specs in OPS), *cells, *rows()]


class Watched:
    """Notes which fields are read of an instruction, and of what it holds."""

    def __init__(self, of: Any, seen: set[str]) -> None:
        self._of, self._seen = of, seen

    def __getattr__(self, name: str) -> Any:
        self._seen.update(("output", "outputs") if name == "written" else (name,))
        value = getattr(self._of, name)
        if name == "layer":
            return Watched(value, self._seen)
        if name == "phases":
            return [Watched(phase, self._seen) for phase in value]
        return value


def declared(kind: type[Any]) -> set[str]:
    found = {field.name for field in fields(kind)}
    for field in fields(kind):
        if field.type == "Layer":
            found |= declared(instructions.Layer) | declared(instructions.Phase)
    return found


@pytest.fixture(scope="module")
def read() -> dict[type[Instruction], set[str]]:
    found: dict[type[Instruction], set[str]] = defaultdict(set)
    for graph in graphs():
        made = lower(fused(graph))
        watched = [Watched(ins, found[type(ins)]) for ins in made.instructions]
        Plan(
            made.values, watched, made.inputs, made.outputs, made.states, made.blockers, isa=select_isa(None),
            dtype="float32", macs=made.macs, loops=made.loops, clocks=made.clocks, bases=made.bases,
        )  # fmt: skip
    return found


@pytest.mark.parametrize("kind", INSTRUCTIONS, ids=lambda kind: kind.mnemonic)
def test_the_engine_reads_every_field(kind, read):
    assert declared(kind) <= read[kind]


def test_a_mistyped_field_is_an_error():
    with pytest.raises(TypeError, match="programme"):
        Map(inputs=(0,), output=1, dims=(), outer=0, strides=(), operands=(), programme=())


def test_a_field_that_is_missing_is_an_error():
    with pytest.raises(TypeError, match="precision"):
        Dense(inputs=(0,), output=1, w=np.ones((2, 2)), bias=None, act=(0, 0.0, 0.0), softmax=False)


def test_codes_follow_the_order():
    assert [kind.code for kind in INSTRUCTIONS] == list(range(len(INSTRUCTIONS)))
    assert (Window.mnemonic, Window.code) == ("window", INSTRUCTIONS.index(Window))


def test_states_have_the_numbers_of_recurrences_as_they_run():
    layers = [g.GRU(np.ones((12, 3)), np.ones((12, 4))), g.GRU(np.ones((15, 4)), np.ones((15, 5)))]
    first, second = (ins for ins in lower(fused(g.chain(layers))).instructions if isinstance(ins, Recurrent))
    states = [("a.h", 0, "h", (4,)), ("b.h", 1, "h", (5,)), ("c.held", 0, "held", ()), ("d", -3, "", (2,))]
    assert renumbered(states, [first, second], [first, second]) == states
    assert [number for _, number, *_ in renumbered(states, [first, second], [second, first])] == [1, 0, 0, -3]
