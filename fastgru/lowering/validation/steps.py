"""Requirements of bodies over lines of steps, and of the step that is taken from a sequence."""

from __future__ import annotations

from .. import instructions as engine
from ..program import MAX_OPERANDS
from .walk import Walk

# Steps ----------------------------------------------------------------------------------------------


def check_line(c: Walk, ins: engine.Line, given: int, fewest: int) -> None:
    """Check what all lines have: their number, sizes, and room for the steps that stay."""
    if ins.window in c.lines:
        c.say(f"window must be the number of one line alone, got {ins.window} again")
    c.lines[ins.window] = ins
    if ins.size < 1 or ins.reach < 1 or ins.stride < 1:
        c.say(f"size, reach and stride must be at least 1, got {ins.size}, {ins.reach} and {ins.stride}")
    c.size("input", ins.inputs[0], given)
    if ins.kept < fewest:
        c.say(f"kept must be at least {fewest}, the steps that stay from call to call, got {ins.kept}")


def window(c: Walk, ins: engine.Window) -> None:
    """Check windows over steps; those with another clock count it."""
    out = c.values[ins.output]
    check_line(c, ins, ins.size, max(ins.before, ins.reach - 1))
    c.size("output", ins.output, ins.reach * ins.size)
    if ins.bounds is not None and (ins.before or ins.after):
        c.say(f"before and after must be 0 for windows of a slice, got {ins.before} and {ins.after}")
    if out.time == ins.clock:
        if (ins.stride, ins.before, ins.after, ins.bounds) != (1, ins.reach - 1, 0, None):
            c.say("windows with the clock of their steps must be one for each step, got other strides or padding")
    elif c.loop:
        c.say(f"windows in a loop must have its clock, {c.loop}, got {out.time}")
    else:
        c.define(out.time)
    if out.stays != (c.loop > 0):
        c.say(f"output must {'stay' if c.loop else 'not stay'} at its place, got stays={out.stays}")


def overlap_add(c: Walk, ins: engine.OverlapAdd) -> None:
    """Check frames added into a line, whose output has a clock of its own."""
    fewest = max(ins.lead + ins.reach, ins.stride, ins.after + ins.rest)
    check_line(c, ins, ins.reach * ins.size, fewest)
    c.size("output", ins.output, ins.size)
    if ins.before < 0:
        c.say(f"before must be at least 0, got {ins.before}")
    c.define(c.values[ins.output].time)


def mirror(c: Walk, ins: engine.Mirror) -> None:
    """Check steps behind their mirror image, which have a clock of their own."""
    check_line(c, ins, ins.size, ins.reach)
    c.size("output", ins.output, ins.size)
    if ins.before < 0 or ins.stride != 1:
        c.say(f"before must be at least 0 and stride 1, got {ins.before} and {ins.stride}")
    if ins.reach > 1 and max(ins.before, ins.after) >= ins.reach:
        c.say(f"before and after must be below reach, {ins.reach}, got {ins.before} and {ins.after}")
    c.define(c.values[ins.output].time)


def waited(c: Walk, ins: engine.Wait) -> None:
    """Check steps that wait for another clock, or count it with others that wait."""
    time = c.values[ins.output].time
    check_line(c, ins, ins.size, 0)
    c.size("output", ins.output, ins.size)
    if (ins.reach, ins.stride, ins.before, ins.after) != (1, 1, 0, 0):
        c.say("a wait must have reach and stride 1 and no padding, got others")
    c.waits[ins.window] = c.at
    if not ins.meeting:
        if not c.known[time]:
            c.say(f"clock {time} of the output must be counted before, got one that is not")
        return
    if len(ins.meeting) > MAX_OPERANDS:
        c.say(f"inputs that wait for each other must be at most {MAX_OPERANDS}, got {len(ins.meeting)}")
    for _, clock in ins.meeting:
        if not (0 < clock < len(c.known) and c.known[clock]):
            c.say(f"clock {clock} of what waits must be counted before, got one that is not")
    c.define(time)


def time_step(c: Walk, ins: engine.TimeStep) -> None:
    """Check a step taken from a sequence, and the states that keep it."""
    if ins.kept < 1 or (not ins.last and ins.kept != 1):
        c.say(f"kept must be {'at least 1' if ins.last else '1'}, got {ins.kept}")
    if ins.inputs[1:] != ins.held or len(ins.held) != 2 - ins.last:
        c.say(f"held must be the {2 - ins.last} buffers read behind the input, got {ins.held} of {ins.inputs}")
        return
    for v, size in zip(
        (ins.inputs[0], ins.output, *ins.held), (ins.size, ins.size, ins.kept * ins.size, 1), strict=False
    ):
        c.size(f"buffer {v}", v, size)
    for v in ins.held:
        if not c.values[v].state:
            c.say(f"held must be states, got buffer {v}, which is none")
