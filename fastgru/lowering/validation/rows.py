"""Requirements of bodies over whole rows, recurrent layers among them."""

from __future__ import annotations

from typing import Any

from ...graph.precision import PRECISIONS
from .. import instructions as engine
from ..codes import PHASE_GATES, PHASES, SHOWN
from ..instructions import Instruction, Layer, Phase
from .fields import PHASE_CODES
from .walk import Walk

# Kinds of phases, by code: their gates; those whose second phase follows from the first's result.
GATES = {
    PHASES[name]: gates
    for name, gates in {
        "rnn": 1, "gru_after": 3, "gru_after_out": 4, "gru_gates": 2, "gru_gates_out": 3, "gru_candidate": 1, "lstm": 4,
        "lstm_coupled": 3, "project": 1,
    }.items()
}  # fmt: skip
OUT = {PHASES["gru_after_out"], PHASES["gru_gates_out"]}  # with an output gate
CELL = {PHASES["lstm"], PHASES["lstm_coupled"]}  # with a cell state
PROJECT = PHASES["project"]
CHAINS = {  # kinds of the phases of a cell
    tuple(PHASES[name] for name in names.split())
    for names in (
        "rnn", "gru_after", "gru_after_out", "lstm", "lstm_coupled", "gru_gates gru_candidate",
        "gru_gates_out gru_candidate", "lstm project", "lstm_coupled project",
    )
}  # fmt: skip

# Over whole rows ------------------------------------------------------------------------------------


def same_size(c: Walk, ins: Instruction) -> None:
    """Require inputs and output of `size` elements."""
    for v in ins.inputs:
        c.size(f"input {v}", v, ins.size)
    c.size("output", ins.output, ins.size)


def scaled(c: Walk, ins: Any) -> None:
    """Require `size` elements and a scale and a shift of as many."""
    same_size(c, ins)
    c.shape("scale", ins.scale, ins.size)
    c.shape("shift", ins.shift, ins.size)


def activate(c: Walk, ins: engine.Activate) -> None:
    """Require frames of one size, and a shift that fits."""
    same_size(c, ins)
    c.shape("shift", ins.shift, ins.size)


def concat(c: Walk, ins: engine.Concat) -> None:
    """Require an output of as many elements as all inputs have."""
    c.size("output", ins.output, sum(c.values[v].size for v in ins.inputs))
    c.size("output", ins.output, ins.size)


def weighted(c: Walk, ins: Any) -> bool:
    """Require a matrix of `size` rows, a bias that fits and a precision there is; True if there is a matrix."""
    if ins.precision not in PRECISIONS:
        c.say(f"precision must be one of {', '.join(PRECISIONS)}, got {ins.precision!r}")
    if ins.w.ndim != 2:
        c.say(f"w must have two axes, got shape {ins.w.shape}")
        return False
    c.shape("w", ins.w, ins.size, ins.w.shape[1])
    c.shape("bias", ins.bias, ins.size)
    return True


def dense(c: Walk, ins: engine.Dense) -> None:
    """Require a matrix between input and output."""
    if weighted(c, ins):
        c.size("input", ins.inputs[0], ins.w.shape[1])
        c.size("output", ins.output, ins.size)


def bounded(c: Walk, of: str, buffer: int, rows: int) -> None:
    """Require that ids are checked to lie inside of a table of so many rows."""
    bound = c.values[buffer].bound
    if bound > rows:
        c.say(f"ids {buffer} must be bounded by the {rows} rows of {of}, got a bound of {bound}")


def embedding(c: Walk, ins: engine.Embedding) -> None:
    """Require a table of rows as the output has, and ids inside it."""
    if ins.precision not in PRECISIONS:
        c.say(f"precision must be one of {', '.join(PRECISIONS)}, got {ins.precision!r}")
    if ins.w.ndim != 2:
        c.say(f"w must have two axes, got shape {ins.w.shape}")
        return
    c.shape("w", ins.w, ins.w.shape[0], ins.size)
    c.size("output", ins.output, ins.size)
    bounded(c, "w", ins.inputs[0], ins.w.shape[0])


def mask(c: Walk, ins: engine.Mask) -> None:
    """Require frames of the size that is compared."""
    c.size("input", ins.inputs[0], ins.size)


def apply_mask(c: Walk, ins: engine.ApplyMask) -> None:
    """Require frames of one size."""
    c.size("input", ins.inputs[0], ins.size)
    c.size("output", ins.output, ins.size)


def reverse(c: Walk, ins: engine.Reverse) -> None:
    """Require frames of one size, and a number for the lengths."""
    c.size("input", ins.inputs[0], ins.size)
    c.size("output", ins.output, ins.size)


def attend(c: Walk, ins: engine.Attend) -> None:
    """Require heads of queries, keys and values, and room for scores and the keys of a head at every step."""
    if ins.heads < 1 or ins.width < 1 or ins.size < 1 or ins.size % ins.heads:
        c.say(f"heads and width must be at least 1, and size a multiple of heads, got {ins.heads} and {ins.width}")
        return
    c.size("output", ins.output, ins.size)
    for v, wanted in zip(ins.inputs, (ins.heads * ins.width, ins.heads * ins.width, ins.size), strict=False):
        c.size(f"input {v}", v, wanted)
    if len(ins.inputs) > 3 and c.values[ins.inputs[3]].size != 1:
        c.size("what is added", ins.inputs[3], ins.heads)
    c.size("room for keys", ins.outputs[1], ins.width)
    for v in ins.outputs:
        if c.values[v].time != ins.clock:
            c.say(f"output {v} must have clock {ins.clock}, got {c.values[v].time}")


def convert(c: Walk, ins: engine.Convert) -> None:
    """Require floats or truth values to be made."""
    if c.values[ins.output].kind == "int":
        c.say("output must be floats or truth values, got integers, which only inputs have")


# Recurrent layers -----------------------------------------------------------------------------------


def check_phase(c: Walk, of: str, phase: Phase, rows: int, terms: int) -> tuple[int, int] | None:
    """Check the arrays of a phase of so many units and terms; return the width of its input and the rows of its table,
    one of which is 0, or None where it has no input."""
    gates = GATES[phase.kind]
    c.shape(f"{of}.u", phase.u, gates, rows, terms)
    c.shape(f"{of}.bias_x", phase.bias_x, gates, rows)
    c.shape(f"{of}.bias_h", phase.bias_h, gates, rows)
    if phase.peephole is not None:
        c.shape(f"{of}.peephole", phase.peephole, 3, rows)
        if phase.kind not in CELL:
            c.say(f"{of}.peephole must be None for a cell that has none, got an array")
    alone = phase.kind == PROJECT
    if alone or (phase.x is None) == (phase.table is None):
        if not alone or not (phase.x is phase.table is None):
            c.say(f"{of} must have {'neither' if alone else 'one'} of x and table")
        return None
    if phase.table is not None:
        if phase.bias_x is not None:
            c.say(f"{of}.bias_x must be None beside a table, which has it, got an array")
        c.shape(f"{of}.table", phase.table, phase.table.shape[0], gates, rows)
        return 0, phase.table.shape[0]
    assert phase.x is not None
    if phase.bias_x is None:
        c.say(f"{of}.bias_x must be an array, got None")
    if phase.x.ndim != 3:
        c.say(f"{of}.x must have three axes, got shape {phase.x.shape}")
        return None
    c.shape(f"{of}.x", phase.x, gates, rows, phase.x.shape[2])
    return phase.x.shape[2], 0


def check_layer(c: Walk, layer: Layer) -> tuple[int, int] | None:
    """Check a recurrent layer; return the width of its input and the rows of its tables, or None where it is wrong."""
    before, phases = len(c.problems), layer.phases
    if not c.typed(layer, "layer."):
        return None
    for i, phase in enumerate(phases):
        if c.typed(phase, f"phases[{i}].") and phase.kind not in PHASE_CODES:
            c.say(f"phases[{i}].kind must be the code of a kind of phase, got {phase.kind}")
    if len(c.problems) > before:
        return None
    kinds = tuple(phase.kind for phase in phases)
    if kinds not in CHAINS:
        c.say(f"kinds of phases must follow each other, got {kinds}")
        return None
    if layer.precision not in PRECISIONS:
        c.say(f"layer.precision must be one of {', '.join(PRECISIONS)}, got {layer.precision!r}")
    if layer.units < 1 or layer.features < 1:
        c.say(f"layer.units and features must be at least 1, got {layer.units} and {layer.features}")
    if kinds[-1] != PROJECT and layer.features != layer.units:
        c.say(f"layer.features must be as many as units, {layer.units}, got {layer.features}")
    if layer.gated_output != (kinds[0] in OUT):
        c.say(f"layer.gated_output must be {kinds[0] in OUT} for its phases, got {layer.gated_output}")
    c.shape("layer.initial_h", layer.initial_h, layer.features)
    c.shape("layer.initial_c", layer.initial_c, layer.units)
    reads = {check_phase(c, "phases[0]", phases[0], layer.units, layer.features)}
    if len(phases) == 2:
        rows = layer.features if kinds[1] == PROJECT else layer.units
        second = check_phase(c, "phases[1]", phases[1], rows, layer.units)
        reads |= {second} - {None}
    if len(reads) > 1:
        c.say("x or table of both phases must read inputs of one width, got others")
    return None if len(c.problems) > before else reads.pop()


def recurrent(c: Walk, ins: engine.Recurrent) -> None:
    """Require a cell between input and output."""
    c.recurrences.append(ins)
    read = check_layer(c, ins.layer)
    if read is None:
        return
    x = c.values[ins.inputs[0]]
    if (x.kind == "int") != (read[0] == 0):
        c.say(f"input must be {'ids' if read[0] == 0 else 'floats'}, got a buffer of {x.kind}")
    elif x.kind == "int":
        bounded(c, "table", ins.inputs[0], read[1])
    else:
        c.size("input", ins.inputs[0], read[0])
    c.size("output", ins.output, ins.layer.features)
    if ins.size != ins.layer.features:
        c.say(f"size must be the features, {ins.layer.features}, got {ins.size}")


def traced(c: Walk, ins: engine.Traced) -> None:
    """Require a cell, and room for the gates and states that it shows, all of which it has."""
    before = len(c.problems)
    recurrent(c, ins)
    if len(c.problems) > before:
        return
    kinds = [phase.kind for phase in ins.layer.phases]
    has = {p * PHASE_GATES + g for p, kind in enumerate(kinds) if kind != PROJECT for g in range(GATES[kind])}
    has |= {SHOWN["hidden"]} | ({SHOWN["cell"], SHOWN["forget"]} if kinds[0] in CELL else set())
    if not has.issuperset(ins.shown):
        c.say(f"shown must be some of {sorted(has)}, which the cell has, got {ins.shown}")
    if len(ins.outputs) != bool(ins.shown):
        c.say(f"outputs must be one where something is shown, else none, got {len(ins.outputs)}")
    width = sum(ins.layer.features if part == SHOWN["hidden"] else ins.layer.units for part in ins.shown)
    for v in ins.outputs:
        c.size("what is shown", v, width)
