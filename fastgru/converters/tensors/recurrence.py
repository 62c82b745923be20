"""Recurrences whose states lie in State nodes: where a layer that holds its own cannot say what happens.

A layer over time starts from numbers, and gives its outputs. One that starts from a value that is computed or given, or
whose cell state is asked for, becomes one step of a scan, fed back.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Protocol

import numpy as np

from ...errors import ConvertError
from ...graph import RNN, Activate, Activation, Cast, Op, Recurrent, Reverse, Spec, State, Where
from .values import Array


class Growing(Protocol):
    """A graph under construction, as `Emitter` is one."""

    specs: dict[str, Spec]
    feedback: dict[str, str]  # values of State nodes: what they hold one step later
    lasts: set[str]  # last steps of values

    def add(self, op: Op, *inputs: str, name: str) -> tuple[str, ...]:
        """Add a node; returns the names of its outputs."""

    def reshape(self, value: str, shape: Sequence[int], *, name: str) -> str:
        """Another frame of the same elements."""


def started(emit: Growing, name: str) -> str:
    """Add a value that is false at the first step and true at others; each loop has one of its own."""
    (state,) = emit.add(State(np.zeros((), np.float32)), name=f"{name}.started")
    one = Activate(Activation("affine", alpha=0.0, beta=1.0))
    emit.feedback[state] = emit.add(one, state, name=f"{name}.started")[0]
    return emit.add(Cast("bool"), state, name=f"{name}.started")[0]


def starting(emit: Growing, start: Array | str, shape: Sequence[int], name: str) -> tuple[str, str]:
    """The value of a State, to be fed, and what is read of it: at the first step what it starts from.

    Parameters
    ----------
    start : array or str
        Numbers that broadcast to `shape`, or a value of that frame without time.
    """
    fixed = np.broadcast_to(start, shape) if isinstance(start, np.ndarray) else np.zeros(shape)
    (held,) = emit.add(State(fixed.astype(np.float32)), name=name)
    if isinstance(start, np.ndarray):
        return held, held
    return held, emit.add(Where(), started(emit, name), held, start, name=f"{name}.read")[0]


def looped(emit: Growing, op: Recurrent, rows: str, starts: Sequence[Array | str], name: str) -> tuple[str, list[str]]:
    """A layer over time for several rows of each frame.

    Parameters
    ----------
    op : Recurrent
    rows : str
        Value with time and frame (N, I).
    starts : sequence of array or str
        The initial states: one row (R,) for all, or the name of a value (N, R) without time.
    name : str

    Returns
    -------
    outputs : str
        Value with time and frame (N, R).
    finals : list of str
        Values (N, R) without time.
    """
    many = emit.specs[rows].shape[0]
    x = emit.add(Reverse(), rows, name=f"{name}.reversed")[0] if op.reverse else rows
    pairs = [
        starting(emit, start, (many, size), f"{name}.{kind}")
        for (kind, size), start in zip(op.carried().items(), starts, strict=True)
    ]
    operands = tuple(f"initial_{kind}" for kind in op.carried())
    step = op.replace(scan=True, reverse=False, return_sequences=True, mask_output="zero", operands=operands)
    single = emit.reshape(x, (1, *emit.specs[x].shape), name=f"{name}.step")
    y, *ends = emit.add(step, single, *(read for _, read in pairs), name=name)
    emit.feedback.update((held, end) for (held, _), end in zip(pairs, ends, strict=True))
    y = emit.reshape(y, emit.specs[y].shape[1:], name=name)
    finals = [last_of(emit, end, name=name) for end in ends]
    return (emit.add(Reverse(), y, name=name)[0] if op.reverse else y), finals


def last_of(emit: Growing, value: str, *, name: str, reverse: bool = False) -> str:
    """The last step of a value, with `reverse` the first, by a recurrence that keeps nothing: h = x."""
    spec = emit.specs[value]
    n = prod(spec.shape)
    op = RNN(np.eye(n), np.zeros((n, n)), activation=Activation("linear"), return_sequences=False, reverse=reverse)
    if spec.dtype != "float":
        raise ConvertError(f"step must be of a float value, got {spec}")
    (last,) = emit.add(op, emit.reshape(value, (n,), name=f"{name}.step"), name=f"{name}.step")
    emit.lasts.add(last)
    return emit.reshape(last, spec.shape, name=name)
