"""A plan as text: its instructions in the order in which they run, what they read and write, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from ..graph import Graph
from ..graph.activations import ACTIVATIONS
from ..lowering.codes import FOLDS, FUNCTIONS, PHASES
from ..lowering.instructions import Buffer, Instruction, Layer, Phase, Reduce
from ..lowering.lower import Lowered
from ..lowering.schedule import lives, most
from ..model import measured

HEADINGS = ("#", "instruction", "node", "reads", "writes", "with", "weights (bytes)")
WORDS = 6  # the first columns, to the left
NAMES = {code: name for name, code in FUNCTIONS.items()} | {row.code: name for name, row in ACTIVATIONS.items()}
LEFT_OUT = {field.name for field in fields(Instruction)} | {"operands", "strides", "read", "write", "window", "meeting"}


class Row(NamedTuple):
    """An instruction.

    Attributes
    ----------
    loop : int
        Of a state, counted from 1, in which it runs step by step; 0: over many steps at once.
    reads, writes : tuple of str
        Names of inputs and outputs, numbers of other buffers; the shape of a frame or its size; ``int`` or ``bool``.
    own : str
        Its fields that are not the usual ones.
    weights : int
        Bytes that it packs: those of an array that several share count with the first.
    """

    number: int
    loop: int
    instruction: str
    node: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    own: str
    weights: int

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        number = f"{self.number} (loop {self.loop})" if self.loop else str(self.number)
        shown = f"{self.weights:,}" if self.weights else ""
        return number, self.instruction, self.node, " ".join(self.reads), " ".join(self.writes), self.own, shown


class Room(NamedTuple):
    """Memory of the values of one row and step that lie neither in inputs nor in outputs.

    Attributes
    ----------
    taken : int
        Numbers that there is memory for.
    at_once : int
        Numbers that are needed at once, where they are most.
    """

    taken: int
    at_once: int

    def __str__(self) -> str:
        """A line of text."""
        times = f", {self.taken / self.at_once:.2f} times those needed at once" if self.at_once else ""
        return f"memory for {self.taken:,} numbers a row and step{times}"


def room_of(lowered: Lowered) -> Room:
    """Return how much memory the values of a plan take, and how much they need."""
    life = lives(lowered.instructions, [(begin, end) for begin, end, _ in lowered.loops])
    lines = {v for v, value in enumerate(lowered.values) if value.line}  # windows over memory that is a state's
    life = {v: span for v, span in life.items() if v not in lines.union(lowered.inputs, lowered.outputs)}
    for v in life:
        if lowered.values[v].state:
            life[v] = (0, len(lowered.instructions))
    shared: dict[int, int] = {}
    for v in life:
        place = lowered.values[v].slot if lowered.values[v].slot >= 0 else -1 - v
        shared[place] = max(shared.get(place, 0), lowered.values[v].size)
    return Room(sum(shared.values()), most(life, [value.size for value in lowered.values]))


def plan_of(graph: Graph, dtype: str) -> tuple[list[Row], Room]:
    """Return the instructions that a model of `graph` would run, and the memory of its values, without making it."""
    lowered, plan = measured(graph, dtype)
    return rows_of(lowered, plan.packed_bytes), room_of(lowered)


def rows_of(lowered: Lowered, packed_bytes: Sequence[int]) -> list[Row]:
    """Return instructions and the bytes that each packs as rows."""
    shown = [_buffer(i, value) for i, value in enumerate(lowered.values)]
    rows = []
    for i, (ins, size) in enumerate(zip(lowered.instructions, packed_bytes, strict=True)):
        loop = next((n for n, (begin, end, _) in enumerate(lowered.loops, 1) if begin <= i < end), 0)
        reads, writes = (tuple(shown[v] for v in buffers) for buffers in (ins.inputs, (*ins.written, *ins.held)))
        rows.append(Row(i, loop, ins.mnemonic, ins.node, reads, writes, _own(ins), size))
    return rows


def _buffer(number: int, value: Buffer) -> str:
    size = value.shape if value.name else (value.size,) if value.size or value.kind == "float" else ()
    kind = "" if value.kind == "float" else f" {value.kind}"
    return f"{value.name or f'%{number}'}({', '.join(map(str, size))}){kind}{' state' if value.state else ''}"


def _own(ins: Instruction) -> str:
    found = []
    for field in fields(ins):
        value = getattr(ins, field.name)
        usual = value is None or value is False or (not isinstance(value, np.ndarray) and value == field.default)
        if field.name not in LEFT_OUT and not usual:
            found.append(_field(ins, field.name, value))
    return " ".join(filter(None, found))


def _field(ins: Instruction, name: str, value: Any) -> str:
    if isinstance(value, Layer):
        phases = ", ".join(_phase(phase) for phase in value.phases)
        return f"{phases} units={value.units} features={value.features} {value.precision}"
    if name == "program":
        return " ".join(NAMES[step.function] for step in value) or "copy"
    if name == "act":
        return "" if value[0] == 0 else NAMES[value[0]]
    if isinstance(ins, Reduce) and name == "function":
        return next(fold for fold, code in FOLDS.items() if code == value)
    if isinstance(value, np.ndarray):
        return f"{name}={'x'.join(map(str, value.shape))}"
    if isinstance(value, tuple):
        return f"{name}={'x'.join(map(str, value))}"
    if value is True:
        return name
    return str(value) if name == "precision" else f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"


def _phase(phase: Phase) -> str:
    name = next(name for name, code in PHASES.items() if code == phase.kind)
    return f"{name} {'x'.join(map(str, phase.u.shape))}"
