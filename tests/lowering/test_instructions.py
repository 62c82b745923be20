"""The instruction set: what is declared is what the engine reads, and no more."""

from __future__ import annotations

import builtins
import math
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import CELLS, make_cell
from frame_cases import F, w
from test_frames import graph_of
from test_sweep import OPS

from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.graph.activations import ACTIVATIONS
from fastgru.lowering import instructions, kinds, structs
from fastgru.lowering.encoding import STATE_NAMES, decode, encode, form_of
from fastgru.lowering.instructions import INSTRUCTIONS, Dense, Instruction, Map, Recurrent, Window
from fastgru.lowering.kinds import KINDS, PRECISIONS
from fastgru.lowering.lower import lower, renumbered
from fastgru.lowering.traced import lower_traced
from fastgru.passes import fused

ROOT = Path(__file__).resolve().parents[2]


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


def test_graphs_have_every_instruction():
    plans = [lower(fused(graph)) for graph in graphs()]
    plans.append(lower_traced(graph_of(make_cell("lstm", 3, 4), [F(3)]), [], {}).lowered)
    assert {type(ins) for plan in plans for ins in plan.instructions} == set(INSTRUCTIONS)


def declared(cls: Any) -> list[str]:
    """The fields of a class, without those that all instructions have."""
    names = cls._fields if hasattr(cls, "_fields") else [field.name for field in fields(cls)]
    return [name for name in names if not (cls in INSTRUCTIONS and name in Instruction._names)]


TABLES = {f"fg_op_{kind.mnemonic}": kind for kind in INSTRUCTIONS} | structs.RECORDS | {"fg_instruction": Instruction}


@pytest.mark.parametrize("name", TABLES)
def test_every_field_reaches_c(name):
    table = re.search(rf" {name}_fields\[\] = {{(.*?)}};", structs.fields_h(), re.DOTALL)
    assert re.findall(r'name = "(\w+)"', table[1]) == declared(TABLES[name])


@pytest.mark.parametrize("name", KINDS)
def test_the_engine_reads_every_kind(name):
    row, text = KINDS[name], (ROOT / "include/fastgru/plan/read.h").read_text()
    integer = row.c in ("int", "fg_idx") and row.least < row.greatest  # read by its range alone
    items = row.most and not row.member and (row.c in structs.RECORDS or row.least < row.greatest)
    assert integer or items or re.search(rf"\bFG_KIND_{structs.snake(name).upper()}\b", text)


@pytest.mark.parametrize("name", [name for name, row in KINDS.items() if row.plain == "Array"])
def test_the_engine_packs_every_kind_of_array(name):
    assert re.search(rf"[=!]= KIND_{structs.snake(name).upper()}\b", (ROOT / "fastgru/engine/plan.pyx").read_text())


def test_codes_of_words_are_those_of_others():
    assert tuple(g.PRECISIONS) == PRECISIONS
    assert sorted(row.code for row in ACTIVATIONS.values()) == list(range(len(ACTIVATIONS)))  # check.h asks for a range
    names = re.search(r"enum fg_name {(.*?)}", (ROOT / "include/fastgru/plan/walk.h").read_text())[1]
    assert [name.strip() for name in names.split(",")] == ["FG_NO_NAME", *(f"FG_{n.upper()}" for n in STATE_NAMES[1:])]


def test_words_are_the_plan():
    shown = dict.fromkeys(("lstm", "lstm_1"), ("forget", "cell", "hidden"))
    traced = lower_traced(graph_of(make_cell("lstm", 3, 4), [F(3)]), [], shown).lowered
    for made in (traced, *(lower(fused(graph)) for graph in graphs())):
        found = decode(encode(made))
        assert described(found) == described(made._replace(latency=math.ceil(made.latency)))


def described(value: Any) -> Any:
    """A plan as numbers, texts and arrays by their place."""
    if isinstance(value, np.ndarray):
        return id(value)
    if is_dataclass(value):
        return type(value).__name__, [described(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, tuple | list):
        return [described(item) for item in value]
    return value


@pytest.mark.parametrize("path", structs.FILES)
def test_what_was_built_is_what_is_declared(path):
    assert (ROOT / path).read_text() == structs.FILES[path]()


def test_an_annotation_that_is_no_kind_stops_the_build():
    class Wrong(Instruction):
        weight: complex

    with pytest.raises(TypeError, match=r"Wrong\.weight: annotation must be one of int, .*, got 'complex'"):
        structs.fields_of(Wrong)


def test_only_arrays_may_be_none():
    class Wrong(Instruction):
        count: int | None

    with pytest.raises(TypeError, match=r"Wrong\.count: annotation must be 'int', as arrays alone may be None"):
        structs.fields_of(Wrong)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_the_type_that_it_says(name):
    known = vars(kinds) | vars(instructions) | vars(builtins)
    assert eval(name, known) == eval(KINDS[name].plain, known)
    assert form_of(name)


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
