"""Plans as a file may give them: those of graphs are accepted, wrong ones refused, what is accepted runs safely."""

from __future__ import annotations

import collections
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cells import make_cell
from frame_cases import F, w
from plan_mutants import checked, lowered, run, timed
from test_frames import graph_of
from wrong_plans import CHANGES, ONES, PLANS, WRONG, plan_of, set_fields

from fastgru import graph as g
from fastgru.engine import Plan, make_stream
from fastgru.errors import GraphError
from fastgru.isa import select_isa
from fastgru.lowering.encoding import encode
from fastgru.lowering.instructions import INSTRUCTIONS, Wait
from fastgru.lowering.lower import Lowered, lower
from fastgru.passes import fused

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def plans() -> list[Lowered]:
    """Plans of many graphs, that have every instruction."""
    return lowered()


def test_plans_of_graphs_are_accepted(plans):
    for plan in plans:
        checked(plan)
    assert {type(ins) for plan in plans for ins in plan.instructions} == set(INSTRUCTIONS)


def test_numbers_are_not_looked_at():
    plan = lower(fused(g.chain([make_cell("lstm", 3, 4), g.Dense(np.zeros((2, 4), np.float32))])))

    def bare(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return np.broadcast_to(np.full((), np.nan, value.dtype), value.shape)
        if dataclasses.is_dataclass(value):
            return dataclasses.replace(
                value, **{f.name: bare(getattr(value, f.name)) for f in dataclasses.fields(value)}
            )
        return tuple(map(bare, value)) if type(value) is tuple else value

    checked(plan._replace(instructions=[bare(ins) for ins in plan.instructions]))


def named(what: Any) -> str:
    return what if isinstance(what, str) and re.fullmatch(r"\w+", what) else ""


@pytest.mark.parametrize(("name", "kind", "fields", "message"), WRONG, ids=named)
def test_wrong_fields_are_refused(name, kind, fields, message):
    plan = plan_of(PLANS[name])
    checked(plan)
    set_fields(plan, kind, **fields)
    with pytest.raises(GraphError, match=re.escape(message)):
        checked(plan)


def test_every_instruction_is_refused_with_some_fields():
    tried = {kind for _, kind, *_ in WRONG}
    rest = {kind.mnemonic for kind in INSTRUCTIONS} - tried
    assert rest == {"multiply", "average", "add", "convert"} - tried  # by what the buffers are, below


def test_a_message_names_the_instruction():
    plan = plan_of(PLANS["dense"])
    set_fields(plan, "dense", w=ONES((5, 3)), size=5, bias=None)
    node = plan.instructions[0].node
    with pytest.raises(GraphError) as error:
        checked(plan)
    assert str(error.value) == f"instruction 0 (dense of node {node!r}): output must have 5 elements, got 4"


@pytest.mark.parametrize(("name", "change", "message"), CHANGES, ids=named)
def test_wrong_plans_are_refused(name, change, message):
    plan = plan_of(PLANS[name])
    change(plan)
    with pytest.raises(GraphError, match=re.escape(message)):
        checked(plan)


def meeting_waits() -> Any:
    """A plan of waits that meet, of which the first counts their clock."""
    for graph in timed():
        plan = plan_of(graph)
        if any(isinstance(ins, Wait) and len(ins.meeting) > 1 for ins in plan.instructions):
            return plan
    raise AssertionError("no graph has values that wait for each other")


def first_wait(plan: Any) -> int:
    return next(i for i, ins in enumerate(plan.instructions) if isinstance(ins, Wait))


@pytest.mark.parametrize(
    ("meeting", "message"),
    [
        (lambda m: ((m[0][0], 32), *m[1:]), "of what waits must be counted before"),
        (lambda m: ((m[0][0] + 9, m[0][1]), *m[1:]), "meeting must have"),
        (lambda m: ((m[0][0], m[1][1]), m[1]), "meeting must have the clock of the steps of line"),
        (lambda m: m[1:], "meeting must have the wait's own line"),
        (lambda m: m * 5, "inputs that wait for each other must be at most 8, got 10"),
        (lambda m: (), "must be counted before, got one that is not"),
    ],
)
def test_wrong_meetings_are_refused(meeting, message):
    plan = meeting_waits()
    checked(plan)
    i = first_wait(plan)
    plan.instructions[i] = dataclasses.replace(plan.instructions[i], meeting=meeting(plan.instructions[i].meeting))
    with pytest.raises(GraphError, match=re.escape(message)):
        checked(plan)


def test_a_wait_that_counts_comes_first():
    plan = meeting_waits()
    i = first_wait(plan)
    plan.instructions[i], plan.instructions[i + 1] = plan.instructions[i + 1], plan.instructions[i]
    with pytest.raises(GraphError, match="must be counted before"):
        checked(plan)


# What only a run shows ----------------------------------------------------------------------------


def stream_of(plan: Any, **options: Any) -> Any:
    made = Plan(encode(plan), isa=select_isa(None), dtype="float32")
    return make_stream(made, **options)


def test_a_wait_that_keeps_too_little_ends_the_call():
    plan = meeting_waits()
    for i, ins in enumerate(plan.instructions):
        if isinstance(ins, Wait):
            plan.instructions[i] = dataclasses.replace(ins, kept=0)
    lines = {ins.window: ins for ins in plan.instructions if isinstance(ins, Wait)}
    plan.states = [
        (key, n, name, (0, *shape[1:]) if n in lines and name == "history" else shape)
        for key, n, name, shape in plan.states
    ]
    checked(plan)  # how many steps stay follows from the calls
    stream = stream_of(plan, block=2)
    x = tuple(np.zeros((6, *plan.values[v].shape), np.float32) for v in plan.inputs)
    with pytest.raises(RuntimeError, match=r"plan is not consistent: steps of node '.*' do not fit, and the .* as new"):
        stream.process(x if len(x) > 1 else x[0])
    assert all(not np.any(held) for key, held in stream.state.items() if key.endswith("history"))


def test_slices_of_single_blocks_end_the_call():
    plan = plan_of(graph_of(g.TimeSlice(-3), [F(2)]))
    plan.blockers = {}  # says that a whole sequence is one block
    checked(plan)
    with pytest.raises(RuntimeError, match="plan is not consistent"):
        stream_of(plan, block=2).process(np.zeros((9, 2), np.float32))


def test_an_output_of_no_step_is_zeros():
    plan = plan_of(g.chain([g.TimeConv(w(3, 2, 4)), g.TimeReduce("sum")]))
    plan.blockers = {}
    checked(plan)
    stream = stream_of(plan)
    x = np.ones((1, 2), np.float32)
    for _ in range(3):  # the fourth step fills the first window
        np.full(3, 7.0, np.float32)  # what the allocator may give again
        assert not stream.process(x).any()


def test_an_id_before_the_first_element_is_refused():
    plan = plan_of(PLANS["gather"])
    count = 2**24 + 3  # in float32, -count is one less
    set_fields(plan, "gather", count=count, stride=0)
    checked(plan)
    x, ids = np.zeros((1, 2, 7, 3), np.float32), np.full((1, 2, 4), -float(count - 1))
    stream_of(plan).process((x, ids))
    with pytest.raises(ValueError, match="ids that the model looks up must lie inside their table"):
        stream_of(plan).process((x, ids - 1))


# Mutants ------------------------------------------------------------------------------------------


def test_mutants_are_refused_or_run(plans):
    counts: collections.Counter[str] = run(plans, 400, seed=7)
    assert counts["refused"] > 200
    assert counts["accepted"] > 20


def test_mutants_write_behind_no_buffer():
    environment = os.environ | {"FASTGRU_GUARD": "1"}
    command = [sys.executable, "-m", "tests.plan_mutants", "--mutants", "400", "--seed", "8"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
