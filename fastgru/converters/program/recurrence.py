"""Recurrences whose states lie in State nodes: where a layer that holds its own cannot say what happens.

A layer over time starts from numbers, and gives its outputs. One that starts from a value that is computed or given, or
whose cell state is asked for, becomes one step of a scan, fed back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...graph import Activate, Activation, Cast, Constant, Node, Recurrent, Reverse, State, TimeStep, Where
from .emit import Emitter
from .values import Array


def started(emit: Emitter, name: str) -> str:
    """Add a value that is false at the first step and true at others; each loop has one of its own."""
    (state,) = emit.add(State(np.zeros((), np.float32)), name=f"{name}.started")
    one = Activate(Activation("affine", alpha=0.0, beta=1.0))
    emit.feedback[state] = emit.add(one, state, name=f"{name}.started")[0]
    return emit.add(Cast("bool"), state, name=f"{name}.started")[0]


def starting(emit: Emitter, start: Array | str, shape: Sequence[int], name: str) -> tuple[str, str]:
    """The value of a State, to be fed, and what is read of it: at the first step what it starts from.

    Parameters
    ----------
    start : array or str
        Numbers that broadcast to `shape`, or a value of that frame: without time, or over time, where the first step
        counts.
    """
    fixed = np.broadcast_to(start, shape) if isinstance(start, np.ndarray) else np.zeros(shape)
    (held,) = emit.add(State(fixed.astype(np.float32)), name=name)
    if isinstance(start, np.ndarray):
        return held, held
    return held, emit.add(Where(), started(emit, name), held, start, name=f"{name}.read")[0]


def looped(
    emit: Emitter, op: Recurrent, rows: str, starts: Sequence[Array | str], name: str, mask: str | None = None
) -> tuple[str, list[str]]:
    """A layer over time for several rows of each frame.

    Parameters
    ----------
    op : Recurrent
    rows : str
        Value with time and frame (N, I).
    starts : sequence of array or str
        The initial states: one row (R,) for all, or the name of a value (N, R) without time.
    name : str
    mask : str, optional
        Value with time of truth values: the steps that count. Others change no state and give what
        ``op.mask_output`` says.

    Returns
    -------
    outputs : str
        Value with time and frame (N, R).
    finals : list of str
        Values (N, R) without time.
    """
    many = emit.specs[rows].shape[0]
    x = rows
    if op.reverse:
        x = emit.add(Reverse(), rows, name=f"{name}.reversed")[0]
        mask = None if mask is None else reversed_mask(emit, mask, f"{name}.reversed")
    pairs = [
        starting(emit, start, (many, size), f"{name}.{kind}")
        for (kind, size), start in zip(op.carried().items(), starts, strict=True)
    ]
    operands = tuple(f"initial_{kind}" for kind in op.carried())
    step = op.replace(scan=True, reverse=False, return_sequences=True, mask_output="zero", operands=operands)
    single = emit.reshape(x, (1, *emit.specs[x].shape), name=f"{name}.step")
    y, *ends = emit.add(step, single, *(read for _, read in pairs), name=name)
    if mask is not None:
        ends = [
            emit.add(Where(), mask, end, read, name=f"{name}.kept")[0]
            for end, (_, read) in zip(ends, pairs, strict=True)
        ]
    emit.feedback.update((held, end) for (held, _), end in zip(pairs, ends, strict=True))
    y = emit.reshape(y, emit.specs[y].shape[1:], name=name)
    if mask is not None:
        y = _masked_output(emit, y, mask, op, name)
    finals = [last_of(emit, end, name=name) for end in ends]
    return (emit.add(Reverse(), y, name=name)[0] if op.reverse else y), finals


def looped_alone(
    emit: Emitter, op: Recurrent, x: str, starts: Sequence[Array | str], name: str, mask: str | None = None
) -> tuple[str, list[str]]:
    """A layer over time of one row: as `looped`, with frames (I,) and (R,)."""
    rows = emit.reshape(x, (1, *emit.specs[x].shape), name=f"{name}.rows")
    given = [
        emit.reshape(start, (1, *emit.specs[start].shape), name=f"{name}.initial") if isinstance(start, str) else start
        for start in starts
    ]
    y, finals = looped(emit, op, rows, given, name, mask)
    y, *finals = (emit.reshape(v, emit.specs[v].shape[1:], name=f"{name}.flat") for v in (y, *finals))
    return y, finals


def reversed_mask(emit: Emitter, mask: str, name: str) -> str:
    """Return a mask of steps in the order of the steps from the last to the first."""
    value = mask
    for op in (Cast("float"), Reverse(), Cast("bool")):
        (value,) = emit.add(op, value, name=name)
    return value


def _masked_output(emit: Emitter, y: str, mask: str, op: Recurrent, name: str) -> str:
    """Return the output of steps that count, and for others zeros or the last one that counts."""
    shape = emit.specs[y].shape
    if op.mask_output == "zero":
        zeros = emit.add(Constant(np.zeros(shape, np.float32)), name=name)[0]
        return emit.add(Where(), mask, y, zeros, name=name)[0]
    held, before = starting(emit, np.zeros(op.output_size, np.float32), shape, f"{name}.output")
    (found,) = emit.add(Where(), mask, y, before, name=name)
    emit.feedback[held] = found
    return found


def told_otherwise(producers: Mapping[str, Node], ends: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return those of `ends`, final states of layers, that may be left out: `others` show every layer they are of.

    Layers are known by their weights: the converters add one for the sequence and one for its end.
    """
    shown = _layers(producers, others)
    return [end for end in ends if _layers(producers, [end]) <= shown]


def _layers(producers: Mapping[str, Node], values: Iterable[str]) -> set[bytes]:
    """The recurrent weights of all layers that values follow from."""
    waiting, seen, found = list(values), set[str](), set[bytes]()
    while waiting:
        node = producers.get(name := waiting.pop())
        if name in seen or node is None:
            continue
        seen.add(name)
        if isinstance(node.op, Recurrent):
            found.add(node.op.weight_h.tobytes())
        waiting += node.inputs
    return found


def last_of(emit: Emitter, value: str, *, name: str, reverse: bool = False) -> str:
    """Return the last step of a value, with `reverse` the first."""
    return emit.add(TimeStep(0 if reverse else -1), value, name=name)[0]
