"""Rows of unequal length: which steps of each row count, by a value that says how many do."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Activate, Activation, Binary, Cast, Constant, Reverse, Spec, State, TimePad, TimeSlice
from .builder import Builder
from .emit import Emitter
from .reductions import cumulative
from .sizes import BATCH, Dim, line
from .steps import STEPS, Length, Part
from .time import without_ends
from .values import Axis, Tensor, describe


def step_number(emit: Emitter, name: str) -> str:
    """Return the number of each step of the model's time, from 0, as integers."""
    if "step number" not in emit.memo:
        (state,) = emit.add(State(np.zeros((), np.float32)), name=f"{name}.step")
        one = Activate(Activation("affine", alpha=1.0, beta=1.0))
        emit.feedback[state] = emit.add(one, state, name=f"{name}.next")[0]
        emit.memo["step number"] = emit.add(Cast("int"), state, name=f"{name}.number")[0]
    return emit.memo["step number"]


def numbered(b: Builder, start: Any, stop: Any, step: Any) -> Tensor:
    """Return a number for every step, from the front or from behind, or for all but the first some: ``numpy.arange``.

    Also for every step of a value with fewer of them, such as that of a convolution with a stride.

    Raises
    ------
    ConvertError
        When there are more numbers than steps, or fewer by no fixed number.
    """
    every = _at_a_rate(start, stop, step)
    if every is not None:
        kind = "int" if isinstance(start, int) and isinstance(step, int) else "float"
        return b.result(b.cast(b.affine(_paced_number(b, every), float(step), float(start)), kind), [(every,)])
    first, last = line(start), line(stop)
    known = first is not None and last is not None and not isinstance(step, Dim)
    if not known or last[0] - first[0] != step or first[0] not in (0, -step):  # type: ignore[index]
        raise ConvertError(
            f"range must have fixed ends, or a number for every step of the input, got {start} to {stop} by {step}"
        )
    shift, more = first[1], -((first[1] - last[1]) // step)  # type: ignore[index]
    if more > 0:
        raise ConvertError(f"range must have at most a number for every step of the input, got {more} more")
    value = b.cast(step_number(b.emit, b.name), "float")
    if first[0]:  # type: ignore[index]
        value, scale, shift = b.add(Reverse(), value), -step, shift - step * (1 - more)
    else:
        scale, shift = step, shift + step * more
    found = b.result(b.affine(value, float(scale), float(shift)), [(STEPS,)])
    found = without_ends(b, found, 0, -more, 0) if more else found
    whole = isinstance(step, int) and isinstance(shift, int)
    return b.like(found, b.cast(found.value, "int" if whole else "float"))


def _at_a_rate(start: Any, stop: Any, step: Any) -> Length | None:
    """Return how many numbers a range has, where that is a whole part of the steps of the input, and some more."""
    if isinstance(start, Dim) or isinstance(step, Dim) or not isinstance(stop, Dim) or line(stop) is not None:
        return None
    try:
        count = (stop - start) // step
    except (ConvertError, ValueError):
        return None
    length = count.steps if isinstance(count, Dim) else None
    return length if length is not None and _is_paced(length) else None


def _is_paced(length: Length) -> bool:
    match length.terms:
        case ((None, 1),):
            return True
        case ((Part() as part, 1),):
            return _is_paced(part.of)
    return False


def _paced_number(b: Builder, length: Length) -> str:
    """Return the number of each step, from 0, of so many: each is known once the input's steps that it covers are."""
    key = "number of", length
    if key not in b.emit.memo:
        one = b.result(_paced_one(b, length), [(length,)])
        b.emit.memo[key] = cumulative(b, one, 0, exclusive=True).value
    return b.emit.memo[key]


def _paced_one(b: Builder, length: Length) -> str:
    """Return a one for each of so many steps."""
    match length.terms:
        case ((Part() as part, 1),):
            whole = _paced_one(b, part.of)
            value = b.add(TimeSlice(0, 1 - part.by, part.by), whole)
        case _:
            value = b.affine(b.cast(step_number(b.emit, b.name), "float"), 0.0, 1.0)
    if length.offset > 0:
        return b.add(TimePad(after=length.offset, value=1.0), value)
    return b.add(TimeSlice(0, length.offset), value) if length.offset else value


def counted_steps(emit: Emitter, lengths: str, name: str) -> str:
    """Return truth values with time: true at the first steps of each row, as many as `lengths`, (B,) int, says."""
    key = "counted", lengths
    if key not in emit.memo:
        emit.memo[key] = emit.add(Binary("less"), step_number(emit, name), lengths, name=f"{name}.counted")[0]
    return emit.memo[key]


def not_empty(emit: Emitter, lengths: str, name: str) -> str:
    """Return truth values of the frame of `lengths`: true for rows with a step."""
    (zero,) = emit.add(Constant(np.zeros((), np.int64), dtype="int"), name=f"{name}.zero")
    return emit.add(Binary("less"), zero, lengths, name=f"{name}.some")[0]


def of_rows(emit: Emitter, lengths: Tensor, rows: Axis, steps: Axis, name: str) -> str:
    """Return lengths of the rows of a sequence over time, as a value (B,) int.

    Parameters
    ----------
    rows, steps : Axis
        Those of the sequence.

    Raises
    ------
    ConvertError
        When they are of other rows, or count other steps than the model's own.
    """
    if steps != (STEPS,):
        raise ConvertError(f"lengths over time must count the steps of the input, got those of {steps[0]}")
    if lengths.rank != 1 or lengths.spec.time or lengths.spec.dtype != "int":
        raise ConvertError(f"lengths must be integers, one for each row, got {lengths}")
    value = lengths.value
    array = emit.fixed(value)
    if array is not None and array.ndim and np.all(array == array[:1]):  # the same for all rows
        value = emit.constant(array[0], "int", name=f"{name}.lengths")
    elif lengths.axes[0] != rows and lengths.size(0) != 1:
        wanted = "the batch" if rows == (BATCH,) else "one row"
        raise ConvertError(f"lengths must be of the rows of the sequence, {wanted}, got {describe(lengths, 0)}")
    else:
        value = emit.reshape(value, (), name=f"{name}.lengths")
    assert emit.specs[value] == Spec((), False, "int")
    return value
