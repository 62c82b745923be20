"""Requirements of bodies over frames: loop nests, rows of frames, and scans."""

from __future__ import annotations

from math import prod
from typing import Any

from .. import instructions as engine
from ..codes import ABSENT, FOLDS
from ..program import MAX_LOOPS, MAX_OPERANDS, MAX_STEPS
from ..views import CONSTANT
from .fields import LIMIT
from .rows import CELL, check_layer, weighted
from .walk import Walk, short

Ints = tuple[int, ...]
MOST_FOLDED = 2**31 - 1  # elements of one item

# Loop nests -----------------------------------------------------------------------------------------


def span(offset: int, dims: Ints, strides: Ints) -> tuple[int, int]:
    """Return the first and the last element that loops reach."""
    low = high = offset
    for n, stride in zip(dims, strides):  # noqa: B905 - of one length; `strict` takes a third longer
        if stride > 0:
            high += (n - 1) * stride
        else:
            low += (n - 1) * stride
    return low, high


def check_inside(c: Walk, of: str, room: int, offset: int, dims: Ints, strides: Ints) -> None:
    """Require that loops reach none but so many elements."""
    low, high = span(offset, dims, strides)
    if low < 0 or high >= room:
        c.say(f"{of} must lie within elements 0 to {room - 1}, got {low} to {high}")


def check_operand(c: Walk, of: int, operand: engine.Operand, dims: Ints, strides: Ints, reads: list[int]) -> None:
    """Check where the operand of this number lies; append the buffer where it is one."""
    buffer, offset, constant = operand
    if constant is not None:
        if buffer != CONSTANT or constant.ndim != 1:
            c.say(f"operand {of} must be of a buffer or a flat array, got buffer {buffer} and shape {constant.shape}")
            return
        room = constant.size
    elif 0 <= buffer < len(c.values):
        reads.append(buffer)
        room = c.values[buffer].size
    else:
        c.say(f"operand {of} must be of one of {len(c.values)} buffers or an array, got buffer {buffer}")
        return
    low = high = offset  # as `span` has it, without a call
    for n, stride in zip(dims, strides):  # noqa: B905
        if stride > 0:
            high += (n - 1) * stride
        else:
            low += (n - 1) * stride
    if low < 0 or high >= room:
        c.say(f"operand {of} must lie within elements 0 to {room - 1}, got {low} to {high}")


def check_written(c: Walk, buffer: int, offset: int, dims: Ints, strides: Ints) -> None:
    """Require that each element is written once: the work of a plan then follows from its memory. Note which elements
    of an output of the plan are written."""
    last = 0
    loops = [(abs(stride), n) for n, stride in zip(dims, strides) if n > 1]  # noqa: B905
    loops.sort()
    for stride, n in loops:
        if stride <= last:
            c.say(f"elements must each be written once, got dims {dims} and strides {strides}")
            return
        last += stride * (n - 1)
    if buffer in c.given:
        c.marks.setdefault(buffer, []).append((offset, dims, strides))


def check_nest(c: Walk, ins: engine.Nest, fewest: int, most: int, *, folds: int, picks: bool = False) -> None:
    """Check a nest with that many operands that folds at most so many loops."""
    dims, outer, operands, strides, loops = ins.dims, ins.outer, ins.operands, ins.strides, len(ins.dims)
    if loops > MAX_LOOPS or not 0 <= loops - outer <= folds:
        c.say(f"loops must be at most {MAX_LOOPS}, of which at most {folds} are folded, got {loops}, outer {outer}")
        return
    if not fewest <= len(operands) <= most:
        c.say(f"operands must be {fewest} to {most}, got {len(operands)}")
        return
    if [*map(len, strides)] != [loops] * len(operands):
        c.say(f"strides must be {loops} for each of {len(operands)} operands, got {short(strides)}")
        return
    if (dims and min(dims) < 1) or prod(dims) >= LIMIT or (outer < loops and prod(dims[outer:]) > MOST_FOLDED):
        c.say(f"dims must be at least 1 and make fewer than 2**40 elements, 2**31 of them folded, got {dims}")
        return
    reads: list[int] = []
    for i, operand in enumerate(operands):
        if picks and i == 1:
            axis: Any = ins
            check_operand(c, i, operand, (*dims, axis.count), (*strides[i], axis.stride), reads)
        else:
            check_operand(c, i, operand, dims, strides[i], reads)
    if reads != [ins.output, *ins.inputs] or operands[0].constant is not None:
        c.say(f"operands must be of the output and the inputs, {(ins.output, *ins.inputs)}, got {tuple(reads)}")
    written = strides[0]
    if outer < loops:
        if any(written[outer:]):
            c.say(f"strides of the output must be 0 in folded loops, got {written}")
        dims, written = dims[:outer], written[:outer]
    if ins.over_time and type(ins) is not engine.Reduce:
        c.say("over_time must be False, got True")
    if ins.over_time and not ins.some_steps and ins.output in c.given:
        c.say("some_steps must be True for an output of the plan, got False")
    check_written(c, ins.output, operands[0].offset, dims, written)


def program(c: Walk, ins: engine.Map) -> None:
    """Check an elementwise program, which may be a copy."""
    program, first = ins.program, len(ins.operands) - 1
    check_nest(c, ins, 2, MAX_OPERANDS if program else 2, folds=0)
    if len(program) > MAX_STEPS:
        c.say(f"functions must be at most {MAX_STEPS}, got {len(program)}")
    for i, (_, a, b, third, _, _) in enumerate(program, first):
        if a >= i or b >= i or third >= i:
            c.say(f"function {i - first} must read registers below {i}, got {a}, {b} and {third}")


def reduce(c: Walk, ins: engine.Reduce) -> None:
    """Check a fold."""
    check_nest(c, ins, 2, 2, folds=MAX_LOOPS)
    if not 0 <= ins.function < len(FOLDS):
        c.say(f"function must be the code of a fold, 0 to {len(FOLDS) - 1}, got {ins.function}")


def contract(c: Walk, ins: engine.Contract) -> None:
    """Check a sum of products."""
    check_nest(c, ins, 3, 4, folds=MAX_LOOPS)


def arg_reduce(c: Walk, ins: engine.ArgReduce) -> None:
    """Check the place of an extreme, of at most one loop."""
    check_nest(c, ins, 2, 2, folds=1)


def gather(c: Walk, ins: engine.Gather) -> None:
    """Check a lookup by computed ids: any of the axis may be read."""
    if ins.count < 1:
        c.say(f"count must be at least 1, got {ins.count}")
    else:
        check_nest(c, ins, 3, 3, folds=0, picks=True)


# Rows of frames -------------------------------------------------------------------------------------


def check_rows(c: Walk, ins: engine.FrameRows, read: int, written: int) -> None:
    """Check where rows of so many elements lie that are read and written."""
    if min(ins.dims) < 1 or prod(ins.dims) >= LIMIT or min(read, written) < 1:
        c.say(f"dims must be at least 1 and make fewer than 2**40 rows of some elements, got {ins.dims}")
        return
    for of, buffer, rows, width in (("read", ins.inputs[0], ins.read, read), ("write", ins.output, ins.write, written)):
        dims, strides = (*ins.dims, width), (rows.outer, rows.inner, 1)
        check_inside(c, of, c.values[buffer].size, rows.offset, dims, strides)
    check_written(c, ins.output, ins.write.offset, dims, strides)


def frame_product(c: Walk, ins: engine.FrameProduct) -> None:
    """Check a product over rows of a frame."""
    if weighted(c, ins):
        check_rows(c, ins, ins.w.shape[1], ins.size)


def frame_softmax(c: Walk, ins: engine.FrameSoftmax) -> None:
    """Check a softmax over rows of a frame."""
    check_rows(c, ins, ins.size, ins.size)


def frame_norm(c: Walk, ins: engine.FrameNorm) -> None:
    """Check a norm over rows of a frame."""
    check_rows(c, ins, ins.size, ins.size)
    c.shape("scale", ins.scale, ins.size)
    c.shape("shift", ins.shift, ins.size)


def top_k(c: Walk, ins: engine.TopK) -> None:
    """Check the extremes of rows and their places."""
    check_rows(c, ins, ins.size, ins.count)
    if ins.dims[0] != 1 or ins.write != (0, 0, ins.count) or not 1 <= ins.count <= ins.size:
        c.say(f"rows written must lie side by side, each of 1 to {ins.size} elements, got {ins.count} by {ins.write}")
    for v in ins.written:
        c.size(f"output {v}", v, ins.dims[1] * ins.count)
        if c.values[v].time != c.values[ins.output].time:
            c.say(f"output {v} must have the clock of the output, got {c.values[v].time}")


# Scans ------------------------------------------------------------------------------------------------


def scan(c: Walk, ins: engine.Scan) -> None:
    """Check a recurrent layer along an axis of a frame."""
    c.recurrences.append(None)
    read, layer, rows = check_layer(c, ins.layer), ins.layer, ins.rows
    if ins.steps < 1 or rows < 1:
        c.say(f"steps and rows must be at least 1, got {ins.steps} and {rows}")
    if read is None or ins.steps < 1 or rows < 1:
        return
    if layer.last or read[0] == 0:
        c.say("layer of a scan must give all steps of floats, got one of the last step or of ids")
    if len(ins.outputs) == 2 and layer.phases[0].kind not in CELL:
        c.say("outputs must be the final h alone for a cell without c, got two")
    room = c.values[ins.inputs[0]].size
    dims = (ins.steps, rows, read[0])
    check_inside(c, "read", room, ins.read.offset, dims, (ins.read.outer, ins.read.inner, 1))
    c.size("output", ins.output, ins.steps * rows * layer.features)
    for v, width in zip(ins.outputs, (layer.features, layer.units), strict=False):
        c.size("a final state", v, rows * width)
        if c.values[v].time != c.values[ins.output].time:
            c.say(f"output {v} must have the clock of the output, got {c.values[v].time}")
    if len(ins.operands) != 3:
        c.say(f"operands must be three, the initial h and c and the lengths, got {len(ins.operands)}")
        return
    reads = [ins.inputs[0]]
    for i, (operand, width) in enumerate(zip(ins.operands, (layer.features, layer.units, 1), strict=True)):
        if operand.buffer != ABSENT:
            check_operand(c, i, operand, (rows * width,), (1,), reads)
    if tuple(reads) != ins.inputs:
        c.say(f"inputs must be the buffers read, {tuple(reads)}, got {ins.inputs}")
