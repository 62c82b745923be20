"""Check a plan whose instructions come from a file, before the engine trusts them.

The engine's bodies read and write where the fields of their instructions say. `check` refuses a plan unless every
access lies inside of a buffer or array that belongs to it, whatever the numbers in its arrays are.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...errors import GraphError, listed
from .. import instructions as engine
from ..instructions import Buffer, Instruction
from ..kinds import LIMITS
from ..program import MAX_OPERANDS
from ..schedule import MOST_LOOPS
from . import nests, rows, steps, walk
from .fields import is_array, is_count, is_int, is_ints, is_text
from .walk import PARTLY, UNKNOWN, WHOLE, Needs, Region, Walk, short

__all__ = ["check"]

MOST_CLOCKS, MOST_AXES = LIMITS["max_clocks"], LIMITS["rank"]
KINDS = ("float", "int", "bool")
DTYPES = ("", "int64", "bool")

ANY, IDS, TRUTH = ("float", "int", "bool"), ("int",), ("bool",)
MANY = (1, MAX_OPERANDS)
READS = (0, MAX_OPERANDS - 1)  # of a nest, arrays of the plan aside
REQUIREMENTS: dict[type[Instruction], Needs] = {
    engine.Recurrent: Needs(rows.recurrent, (1, 2), walk.followed, kinds=(("float", "int"), TRUTH)),
    engine.Traced: Needs(rows.traced, (1, 2), walk.shown, outputs=(0, 1), kinds=(("float", "int"), TRUTH)),
    engine.Dense: Needs(rows.dense, (1, 1), walk.alike),
    engine.Embedding: Needs(rows.embedding, (1, 1), walk.alike, kinds=(IDS,)),
    engine.LayerNorm: Needs(rows.scaled, (1, 1), walk.alike),
    engine.Affine: Needs(rows.scaled, (1, 1), walk.alike),
    engine.Activate: Needs(rows.activate, (1, 1), walk.alike),
    engine.Mask: Needs(rows.mask, (1, 1), walk.timed, kinds=(("float", "int"),), made="bool"),
    engine.ApplyMask: Needs(rows.apply_mask, (2, 2), walk.timed, kinds=(("float",), TRUTH)),
    engine.Reverse: Needs(rows.reverse, (1, 2), walk.turned),
    engine.Concat: Needs(rows.concat, MANY, walk.alike),
    engine.Add: Needs(rows.same_size, MANY, walk.alike),
    engine.Multiply: Needs(rows.same_size, MANY, walk.alike),
    engine.Average: Needs(rows.same_size, MANY, walk.alike),
    engine.Map: Needs(nests.program, READS, walk.spread, whole=False),
    engine.Reduce: Needs(nests.reduce, READS, walk.folded, whole=False),
    engine.Contract: Needs(nests.contract, READS, walk.spread, whole=False),
    engine.ArgReduce: Needs(nests.arg_reduce, READS, walk.spread, whole=False),
    engine.Gather: Needs(nests.gather, READS, walk.spread, whole=False),
    engine.Store: Needs(nests.program, READS, walk.stored, whole=False),
    engine.FrameProduct: Needs(nests.frame_product, (1, 1), walk.spread, whole=False),
    engine.FrameSoftmax: Needs(nests.frame_softmax, (1, 1), walk.spread, whole=False),
    engine.FrameNorm: Needs(nests.frame_norm, (1, 1), walk.spread, whole=False),
    engine.TopK: Needs(nests.top_k, (1, 1), walk.spread, outputs=(1, 1)),
    engine.Scan: Needs(nests.scan, (1, 4), walk.spread, outputs=(1, 2)),
    engine.Window: Needs(steps.window, (1, 1), walk.lined),
    engine.OverlapAdd: Needs(steps.overlap_add, (1, 1), walk.lined),
    engine.Mirror: Needs(steps.mirror, (1, 1), walk.lined),
    engine.Wait: Needs(steps.waited, MANY, walk.lined, kinds=(("float",), ANY)),
    engine.Convert: Needs(rows.convert, (1, 1), walk.spread, kinds=(ANY,), made=""),
    engine.TimeStep: Needs(steps.time_step, (2, 3), walk.ended),
    engine.Attend: Needs(rows.attend, (3, 4), walk.timed, outputs=(2, 2)),
}
LINES = (engine.Window, engine.OverlapAdd, engine.Mirror, engine.Wait)
SHOWN = (engine.Window, engine.Wait)  # whose output lies in their line
NEVER_LOOPED = (engine.OverlapAdd, engine.Mirror, engine.Wait, engine.Reverse, engine.Attend)

State = tuple[str, int, str, tuple[int, ...]]


def check(
    values: list[Buffer],
    instructions: list[Instruction],
    *,
    inputs: list[int],
    outputs: list[int],
    states: Sequence[State],
    loops: Sequence[tuple[int, int, int]],
    clocks: int,
    bases: int,
) -> None:
    """Raise unless the engine can run a plan without touching memory that is not its own.

    Only shapes of arrays matter, never their numbers. What stays in a line from call to call follows from how many
    steps a call has: the engine checks that as it runs, and ends a call with a RuntimeError where it does not fit.

    Parameters
    ----------
    values, instructions, inputs, outputs, states, loops, clocks, bases
        As `engine.Plan` takes them, see `Lowered`.

    Raises
    ------
    GraphError
        When the plan is inconsistent; the message lists all that was found.

    Examples
    --------
    >>> check([], [], inputs=[], outputs=[], states=[], loops=[], clocks=1, bases=2)
    Traceback (most recent call last):
        ...
    fastgru.errors.GraphError: clocks must be at least 1 and bases 1 to clocks, got 1 and 2
    """
    if not (is_count(clocks) and is_count(bases) and 1 <= bases <= clocks):
        _refuse(f"clocks must be at least 1 and bases 1 to clocks, got {short(clocks)} and {short(bases)}")
    if clocks > MOST_CLOCKS:
        _refuse(
            f"layers that change the number of steps, and inputs with their own, must be fewer than {MOST_CLOCKS}, "
            f"got {clocks - 1}"
        )
    for name, given in (("values", values), ("instructions", instructions), ("inputs", inputs), ("outputs", outputs)):
        if type(given) is not list:
            _refuse(f"{name} must be a list, got {short(given)}")
    c = Walk(values, clocks, bases)
    if _buffers(c, clocks) and _ends(c, inputs, outputs, bases) and _spans(c, instructions, loops):
        _walk(c, instructions, loops)
        if not c.problems:
            _finish(c, instructions, outputs, states)
    if c.problems:
        raise GraphError(listed(c.problems))


def _refuse(problem: str) -> None:
    raise GraphError(problem)


def _buffers(c: Walk, clocks: int) -> bool:
    """Check every buffer by itself; True if all are right."""
    places = len(c.values)
    for n, v in enumerate(c.values):
        wrong = _typed(v) or _misplaced(v, clocks, places)
        if wrong:
            c.problems.append(f"buffer {n}: {wrong}")
    return not c.problems


def _typed(v: Any) -> str:
    """Return which field of a buffer has not its type or range, "" if all have."""
    if type(v) is not Buffer:
        return f"must be a Buffer, got {short(v)}"
    if not (is_count(v.size) and is_count(v.time) and is_count(v.base) and is_count(v.bound) and is_int(v.slot)):
        return f"size, time, base, bound and slot must be integers below 2**40, got {short(v)}"
    if not (type(v.state) is type(v.apart) is type(v.line) is type(v.stays) is bool):
        return "state, apart, line and stays must be truth values, got others"
    if not (type(v.kind) is type(v.name) is type(v.dtype) is str) or v.kind not in KINDS or v.dtype not in DTYPES:
        return f"kind must be one of {KINDS}, dtype one of {DTYPES} and name a string, got {short(v)}"
    if type(v.shape) is not tuple or (v.shape and (not is_ints(v.shape) or min(v.shape) < 0)):
        return f"shape must be a tuple of integers, none negative, got {short(v.shape)}"
    if len(v.shape) > MOST_AXES:
        return f"shape must have at most {MOST_AXES} axes, got {v.shape}"
    if v.initial is not None and not is_array(v.initial):
        return f"initial must be None or an array of numbers, got {short(v.initial)}"
    return ""


def _misplaced(v: Buffer, clocks: int, places: int) -> str:
    """Return why a buffer of these fields can't be, "" if it can."""
    if (v.size > 0) != (v.kind == "float"):
        return f"size must be at least 1 for float and 0 for int and bool, got {v.size} for {v.kind}"
    if v.time > clocks:
        return f"time must be at most {clocks}, got {v.time}"
    if not -1 <= v.slot < places:
        return f"slot must be -1 to {places - 1}, got {v.slot}"
    if v.slot >= 0 and (v.state or v.line or v.apart):
        return f"slot must be -1 of a state, of a line and of what lies apart, got {v.slot}"
    if v.state and (v.time or v.line or v.kind != "float"):
        return "a state must be floats without time and no line, got others"
    if v.initial is not None and (not v.state or v.initial.size != v.size):
        return f"initial must be of a state and have {v.size} elements, got {short(v.initial)}"
    if v.line and (v.time == 0 or v.kind != "float"):
        return "a line must be floats with time, got others"
    return ""


def _ends(c: Walk, inputs: list[int], outputs: list[int], bases: int) -> bool:
    """Check inputs and outputs; True if they are right."""
    problems, values, ids = c.problems, c.values, set()
    ends = [*inputs, *outputs]
    for v in ends:
        if type(v) is not int or not 0 <= v < len(values):
            problems.append(f"inputs and outputs must be buffers 0 to {len(values) - 1}, got {short(v)}")
            return False
    if not inputs or not outputs or len(set(ends)) < len(ends):
        problems.append(f"inputs and outputs must be some buffers, each once, got {inputs} and {outputs}")
        return False
    names = [values[v].name for v in inputs]
    if len(set(names)) < len(names):
        problems.append(f"names of inputs must differ, got {names}")
    for v in ends:
        own = values[v]
        if own.state or own.line or own.slot != -1:
            problems.append(f"buffer {v} must be no state, no line and in no slot as it is the caller's, got one")
        wanted = own.size if own.kind == "float" else 1
        if prod(own.shape) != wanted:
            problems.append(f"shape of buffer {v} must have {wanted} elements, got {own.shape}")
        if own.kind == "int" and own.shape:
            problems.append(f"shape of buffer {v} must be () as it has ids, got {own.shape}")
    for v in inputs:
        if values[v].time > bases or values[v].kind == "bool" or values[v].dtype:
            problems.append(f"input {v} must be floats or ids with a clock of 0 to {bases} and no dtype, got others")
        if values[v].kind == "int":
            ids.add(v)
        c.written[v] = WHOLE
    for v in outputs:
        if values[v].kind != "float":
            problems.append(f"output {v} must be floats, got {values[v].kind}")
    for v, own in enumerate(values):
        if own.kind == "int" and v not in ids:
            problems.append(f"buffer {v} must be an input as it has ids, got another")
        if own.state:
            c.written[v] = PARTLY
    c.given = set(outputs)
    return not problems


def _spans(c: Walk, instructions: list[Instruction], loops: Sequence[tuple[int, int, int]]) -> bool:
    """Check where loops begin and end; True if they are right."""
    if type(loops) not in (tuple, list) or not all(
        type(loop) is tuple and len(loop) == 3 and is_ints(loop) for loop in loops
    ):
        c.problems.append(f"loops must be triples of integers, got {short(loops)}")
        return False
    if len(loops) > MOST_LOOPS:
        c.problems.append(f"loops must be at most {MOST_LOOPS}, got {len(loops)}")
    last = 0
    for begin, end, clock in loops:
        if not last <= begin < end <= len(instructions):
            c.problems.append(f"loop from {begin} to {end} must lie behind {last} and within {len(instructions)}")
        elif not any(type(ins) is engine.Store for ins in instructions[begin:end]):
            c.problems.append(f"loop from {begin} to {end} must store a state, got none that does")
        if not 1 <= clock < len(c.known):
            c.problems.append(f"clock of the loop from {begin} must be 1 to {len(c.known) - 1}, got {clock}")
        last = end
    return not c.problems


def _walk(c: Walk, instructions: list[Instruction], loops: Sequence[tuple[int, int, int]]) -> None:
    """Check every instruction in its order."""
    pending = [*loops[::-1]]
    end = 0
    for i, ins in enumerate(instructions):
        needs = REQUIREMENTS.get(type(ins))
        if needs is None:
            c.problems.append(f"instruction {i} must be of a known kind, got {short(ins)}")
            return
        c.at, c.instruction = i, ins
        if i >= end:
            c.loop = 0
        if pending and i == pending[-1][0]:
            _, end, c.loop = pending.pop()
            if not c.known[c.loop]:
                c.say(f"clock {c.loop} of the loop must be counted before it, got one that is not")
        if _reaches(c, ins, needs) and c.typed(ins):
            before = len(c.problems)
            needs.time(c, ins)
            if len(c.problems) == before:
                needs.check(c, ins)
            made = WHOLE if needs.whole else PARTLY
            c.written[ins.output] = made
            for v in ins.outputs:
                c.written[v] = made


def _reaches(c: Walk, ins: Instruction, needs: Needs) -> bool:
    """Check what every instruction has against its row of `REQUIREMENTS`; True if it is right."""
    before, inputs, outputs = len(c.problems), ins.inputs, ins.outputs
    if not (type(inputs) is type(outputs) is type(ins.held) is tuple and is_count(ins.size) and is_text(ins.node)):
        c.say("inputs, outputs and held must be tuples, size an integer of 0 and more and node a string, got others")
        return False
    if not needs.inputs[0] <= len(inputs) <= needs.inputs[1]:
        c.say(f"inputs must be {needs.inputs[0]} to {needs.inputs[1]}, got {len(inputs)}")
    if not needs.outputs[0] <= len(outputs) <= needs.outputs[1]:
        c.say(f"outputs must be {needs.outputs[0]} to {needs.outputs[1]}, got {len(outputs)}")
    if ins.held and type(ins) is not engine.TimeStep:
        c.say(f"held must be () for what holds no numbers, got {short(ins.held)}")
    places = len(c.values)
    for v in (ins.output, *inputs, *outputs, *ins.held):
        if type(v) is not int or not 0 <= v < places:
            c.say(f"buffers must be 0 to {places - 1}, got {short(v)}")
    if not is_count(ins.clock) or not 0 < ins.clock < len(c.known) or not c.known[ins.clock]:
        c.say(f"clock must be one that is counted before, got {short(ins.clock)}")
    if len(c.problems) > before:
        return False
    if c.loop and type(ins) in NEVER_LOOPED:
        c.say("must not be in a loop, as it needs more than one step")
    line, kinds = type(ins) in LINES, needs.kinds[0]
    for i, v in enumerate(inputs):
        own = c.values[v]
        if i and i < len(needs.kinds):
            kinds = needs.kinds[i]
        if own.kind not in kinds:
            c.say(f"input {v} must be of {' or '.join(kinds)}, got {own.kind}")
        if c.written[v] == UNKNOWN:
            c.say(f"input {v} must be written before, got one that is not")
        if own.time and own.time != ins.clock and not (line and i):
            c.say(f"input {v} must have clock {ins.clock} or none, got {own.time}")
        if own.time and c.loop and own.time != c.loop:
            c.say(f"input {v} must have the clock of the loop, {c.loop}, or none, got {own.time}")
    _makes(c, ins, needs, ins.output, line)
    for v in outputs:
        _makes(c, ins, needs, v, line)
    return len(c.problems) == before


def _makes(c: Walk, ins: Instruction, needs: Needs, v: int, line: bool) -> None:
    """Check a buffer that an instruction writes."""
    own, inputs, kind, written = c.values[v], ins.inputs, type(ins), c.written[v]
    if v in inputs or (ins.outputs and ins.written.count(v) > 1):
        c.say(f"buffers written must be others than those read, each once, got {ins.written} of {inputs}")
    if own.slot >= 0 and [c.values[u].slot for u in (*inputs, *ins.written)].count(own.slot) > 1:
        c.say(f"buffer {v} must share memory with no other that the instruction needs, got slot {own.slot}")
    if written == WHOLE or (needs.whole and written == PARTLY):
        c.say(f"buffer {v} must be written by no other instruction, got one that is")
    if own.time and own.time != ins.clock and not line:
        c.say(f"output {v} must have clock {ins.clock} or none, got {own.time}")
    if own.time and c.loop and own.time != c.loop:
        c.say(f"output {v} must have the clock of the loop, {c.loop}, or none, got {own.time}")
    if line and not own.time:
        c.say(f"output {v} must have a clock, got none")
    if own.state != (kind is engine.Store):
        c.say(f"a state must be written by a store, and nothing else be, got buffer {v}")
    if needs.made and own.kind != needs.made:
        c.say(f"output {v} must be of {needs.made}, got {own.kind}")
    if own.line != (kind in SHOWN):
        c.say(f"a line must be the output of windows or a wait, and nothing else be, got buffer {v}")
    if own.stays and kind is not engine.Window:
        c.say(f"buffer {v} must not stay at its place, as it is not of windows")


def _finish(c: Walk, instructions: list[Instruction], outputs: list[int], states: Sequence[State]) -> None:
    """Check what only the whole plan shows: outputs, clocks, lines, waits, and the states that are shown."""
    values, problems = c.values, c.problems
    for v in outputs:
        if c.written[v] == UNKNOWN:
            problems.append(f"output {v} must be written by an instruction, got one that is not")
        elif c.written[v] == PARTLY and not _covered(values[v].size, c.marks.get(v, [])):
            problems.append(f"output {v} must be written in whole, got one that is written in part")
    if not all(c.known[1:]):
        problems.append(
            f"clocks must each be counted by the inputs or a line, got {c.known.count(False) - 1} that are not"
        )
    if any(window >= len(c.lines) for window in c.lines):
        problems.append(f"lines must be numbered 0 to {len(c.lines) - 1}, got {sorted(c.lines)}")
    for window, at in c.waits.items():
        _meeting(c, instructions, at, window)
    _shown(c, states)


def _covered(size: int, regions: list[Region]) -> bool:
    """True if regions cover all elements."""
    seen = np.zeros(size, bool)
    for offset, dims, strides in regions:
        np.lib.stride_tricks.as_strided(seen[offset:], dims, strides)[...] = True
    return bool(seen.all())


def _meeting(c: Walk, instructions: list[Instruction], at: int, window: int) -> None:
    """Check which lines a wait counts."""
    ins: Any = instructions[at]
    c.at, c.instruction = at, ins
    if ins.meeting and window not in [number for number, _ in ins.meeting]:
        c.say(f"meeting must have the wait's own line, {window}, got {ins.meeting}")
    for number, clock in ins.meeting:
        if c.waits.get(number, -1) < at:
            c.say(f"meeting must have lines of this and later waits, got {number}")
            continue
        other = instructions[c.waits[number]]
        if other.clock != clock or c.values[other.output].time != c.values[ins.output].time:
            c.say(f"meeting must have the clock of the steps of line {number}, {other.clock}, and wait for one clock")


def _shown(c: Walk, states: Sequence[State]) -> None:
    """Check the states that a stream shows and sets: all of them, each with its own shape."""
    problems, keys = c.problems, set()
    wanted: dict[tuple[int, str], tuple[int, ...]] = {}  # of recurrences the shape, of lines the steps and elements
    for n, ins in enumerate(c.recurrences):
        if ins is not None:
            wanted |= {(n, "h"): (ins.layer.features,), (n, "c"): (ins.layer.units,), (n, "y"): (ins.layer.features,)}
    lines: dict[tuple[int, str], tuple[int, ...]] = {}
    for n, line in c.lines.items():
        lines[n, "sums" if type(line) is engine.OverlapAdd else "history"] = (line.kept, line.size)
        lines[n, "held"] = ()
    missing = set(lines)
    if type(states) not in (tuple, list):
        problems.append(f"states must be a list, got {short(states)}")
        return
    for state in states:
        if not (type(state) is tuple and len(state) == 4 and is_text(state[0]) and type(state[1]) is int
                and is_text(state[2]) and is_ints(state[3])):  # fmt: skip
            problems.append(f"a state must be a key, a number, a name and a shape, got {short(state)}")
            continue
        key, number, name, shape = state
        if key in keys:
            problems.append(f"keys of states must differ, got {key!r} twice")
        keys.add(key)
        if number < 0:
            own = c.values[-1 - number] if -1 - number < len(c.values) else None
            if own is None or not own.state or name or prod(shape) != own.size or min(shape, default=1) < 1:
                problems.append(f"state {key!r} must show a buffer that is a state in its shape, got {state[1:]}")
            continue
        at = (number, name)
        if at in lines:
            flat = (shape[0], prod(shape[1:])) if shape else ()
            right = flat == lines[at] and min(shape, default=1) >= 0 and at in missing
            missing.discard(at)
        else:
            right = wanted.get(at) == shape
        if not right:
            problems.append(f"state {key!r} must show a recurrence or a line in its shape, got {state[1:]}")
    if missing:
        problems.append(f"states must show all lines, got none for {sorted(missing)}")
