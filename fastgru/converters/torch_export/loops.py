"""A recurrence whose state lies in State nodes: one step of a scan, fed back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...graph import Recurrent, Reverse, Where
from .call import Call
from .time import last_of


def looped(call: Call, op: Recurrent, rows: str, starts: Sequence[Any], name: str) -> tuple[str, list[str]]:
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
    many = call.shape(rows)[0]
    x = call.add(Reverse(), rows) if op.reverse else rows
    states, previous = [], []
    for (kind, size), start in zip(op.carried().items(), starts, strict=True):
        fixed = start if isinstance(start, np.ndarray) else np.zeros(size)
        state = call.state(np.tile(fixed, (many, 1)), f"{name}.{kind}")
        states.append(state)
        previous.append(state if isinstance(start, np.ndarray) else call.add(Where(), started(call), state, start))
    operands = tuple(f"initial_{kind}" for kind in op.carried())
    step = op.replace(scan=True, reverse=False, operands=operands)
    y, *ends = call.add_many(step, call.reshape(x, (1, *call.shape(x))), *previous, name=name)
    for state, end in zip(states, ends, strict=True):
        call.feed(state, end)
    y = call.reshape(y, call.shape(y)[1:])
    finals = [last_of(call, end) for end in ends]
    return (call.add(Reverse(), y) if op.reverse else y), finals


def started(call: Call) -> str:
    """Whether a step is not the first."""
    memo = call.session.memo
    if "started" not in memo:
        state = call.state(np.zeros(()), "started")
        call.feed(state, call.activate(state, "affine", alpha=0.0, beta=1.0))
        memo["started"] = call.cast(state, "bool")
    return memo["started"]
