"""The walk over a plan's instructions in their order: what is known by then, and the problems found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import instructions as engine
from ..instructions import Buffer, Instruction
from .fields import tests_of

UNKNOWN, PARTLY, WHOLE = 0, 1, 2  # how much of a buffer was written
# Elements of a buffer: from an offset on, so many along each axis, and so far apart.
Region = tuple[int, tuple[int, ...], tuple[int, ...]]


class Walk:
    """A plan's buffers and clocks as its instructions are met in their order, and the problems found.

    Attributes
    ----------
    written : list of int
        How much of each buffer earlier instructions have written.
    known : list of bool
        Clocks whose steps are counted by then, by their number.
    given : set of int
        Outputs of the plan, which lie in arrays of the caller.
    loop : int
        The clock of the loop around the instruction, 0 outside of loops.
    lines, waits : dict
        The instructions of lines by their number, and for each wait the place where it stands.
    recurrences : list
        The instruction of every recurrence, None for that of a scan.
    marks : dict
        Of each output of the plan that several instructions may fill: which regions they write.
    """

    def __init__(self, values: list[Buffer], clocks: int, bases: int) -> None:
        self.values = values
        self.problems: list[str] = []
        self.written = [UNKNOWN] * len(values)
        self.known = [1 <= clock <= bases for clock in range(clocks + 1)]
        self.given: set[int] = set()
        self.loop = 0
        self.at = 0
        self.instruction: Any = None
        self.lines: dict[int, engine.Line] = {}
        self.waits: dict[int, int] = {}
        self.recurrences: list[engine.Recurrent | None] = []
        self.marks: dict[int, list[Region]] = {}

    def say(self, what: str) -> None:
        """Add a problem of the instruction at hand."""
        ins = self.instruction
        self.problems.append(f"instruction {self.at} ({ins.mnemonic} of node {ins.node!r}): {what}")

    def size(self, of: str, buffer: int, wanted: int) -> None:
        """Require a buffer of so many elements."""
        got = self.values[buffer].size
        if got != wanted:
            self.say(f"{of} must have {wanted} elements, got {got}")

    def shape(self, of: str, array: Any, *wanted: int) -> None:
        """Require the shape of an array, where one is given."""
        if array is not None and array.shape != wanted:
            self.say(f"{of} must have shape {wanted}, got {array.shape}")

    def define(self, clock: int) -> None:
        """Let a line count the steps of a clock from here on."""
        if self.known[clock]:
            self.say(f"clock {clock} must be counted by nothing else, got one that the inputs or another line count")
        self.known[clock] = True

    def typed(self, record: Any, of: str = "") -> bool:
        """True if all fields of a record have their types and ranges; of an instruction, its own."""
        kind: Any = type(record)
        fields, right = record.__dict__, True
        for name, fits, wanted in tests_of(kind):
            if not fits(fields[name]):
                self.say(f"{of}{name} must be {wanted}, got {short(fields[name])}")
                right = False
        return right


class Needs:
    """A row of `REQUIREMENTS`. No named tuple, which would take a fifth of the time of this import.

    Attributes
    ----------
    check : callable
        What is left to check, of a walk and the instruction.
    inputs, outputs : (int, int)
        The fewest and the most inputs and further outputs.
    time : callable
        Which of its buffers have time, of a walk and the instruction.
    kinds : tuple
        The kinds that each input may have; those behind are as the last.
    made : str
        The kind of the output.
    whole : bool
        Whether it fills its output, and nothing else does.
    """

    __slots__ = ("check", "inputs", "kinds", "made", "outputs", "time", "whole")

    def __init__(
        self, check: Callable[[Walk, Any], None], inputs: tuple[int, int], time: Callable[[Walk, Any], None], *,
        outputs: tuple[int, int] = (0, 0), kinds: tuple[tuple[str, ...], ...] = (("float",),), made: str = "float",
        whole: bool = True,
    ) -> None:  # fmt: skip
        self.check, self.inputs, self.time, self.outputs = check, inputs, time, outputs
        self.kinds, self.made, self.whole = kinds, made, whole


def short(value: Any) -> str:
    """A value as an error message shows it."""
    array = isinstance(value, np.ndarray)
    text = f"an array of {value.dtype} and shape {value.shape}" if array else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Time -----------------------------------------------------------------------------------------------


def alike(c: Walk, ins: Instruction) -> None:
    """Require that inputs have as many steps as the output: rows are counted through all steps."""
    made = c.values[ins.output].time
    for v in ins.inputs:
        if c.values[v].time != made:
            c.say(f"input {v} must have the clock of the output, {made}, got {c.values[v].time}")


def timed(c: Walk, ins: Instruction) -> None:
    """Require that output and inputs have the steps that it runs over."""
    if c.values[ins.output].time != ins.clock:
        c.say(f"output must have clock {ins.clock}, got {c.values[ins.output].time}")
    alike(c, ins)


def spread(c: Walk, ins: Instruction) -> None:
    """Require that no input has steps where the output has none."""
    if c.values[ins.output].time == 0:
        for v in ins.inputs:
            if c.values[v].time:
                c.say(f"input {v} must have no steps, as the output has none, got clock {c.values[v].time}")


def ended(c: Walk, ins: Instruction) -> None:
    """Require a sequence to read and an output for all its steps."""
    if c.values[ins.inputs[0]].time != ins.clock:
        c.say(f"input must have clock {ins.clock}, got {c.values[ins.inputs[0]].time}")
    if c.values[ins.output].time:
        c.say(f"output must have no steps, got clock {c.values[ins.output].time}")


def followed(c: Walk, ins: engine.Recurrent) -> None:
    """Require steps of the input and the mask, and of the output unless it is the last step's."""
    wanted = 0 if ins.layer.last is True else ins.clock
    if c.values[ins.output].time != wanted:
        c.say(f"output must have clock {wanted}, got {c.values[ins.output].time}")
    for v in ins.inputs:
        if c.values[v].time != ins.clock:
            c.say(f"input {v} must have clock {ins.clock}, got {c.values[v].time}")


def shown(c: Walk, ins: engine.Traced) -> None:
    """As `followed`; what is shown has steps, too."""
    followed(c, ins)
    for v in ins.outputs:
        if c.values[v].time != ins.clock:
            c.say(f"output {v} must have clock {ins.clock}, got {c.values[v].time}")


def turned(c: Walk, ins: engine.Reverse) -> None:
    """Require steps of input and output, and lengths without."""
    for v, wanted in zip((ins.output, *ins.inputs), (ins.clock, ins.clock, 0), strict=False):
        if c.values[v].time != wanted:
            c.say(f"buffer {v} must have clock {wanted}, got {c.values[v].time}")


def folded(c: Walk, ins: engine.Nest) -> None:
    """As `spread`; a fold over all steps has an output for all of them."""
    if not ins.over_time:
        spread(c, ins)
    elif c.values[ins.output].time:
        c.say(f"output must have no steps, got clock {c.values[ins.output].time}")


def stored(c: Walk, ins: engine.Store) -> None:
    """Require a loop over the clock of what is stored, and a state."""
    if not c.values[ins.output].state:
        c.say(f"output must be a state, got buffer {ins.output}, which is none")
    if not c.loop:
        c.say("a state must be stored in a loop, got an instruction outside of loops")


def lined(c: Walk, ins: engine.Line) -> None:
    """Require a sequence to read, and an output with steps."""
    if c.values[ins.inputs[0]].time != ins.clock:
        c.say(f"input must have clock {ins.clock}, got {c.values[ins.inputs[0]].time}")
