"""Ops on items with axes in front that only TimeDistributed sees: layers inside of one are converted without them.

Most ops have a form for such items: the axis becomes one more row of a product, a spatial axis with a window of one, a
number that every axis moves by. Any other op is applied to one part after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

from ...errors import ConvertError
from ...graph import (
    Activate,
    Add,
    ArgReduce,
    Average,
    BatchNorm,
    Binary,
    Cast,
    Concat,
    Conv,
    ConvTranspose,
    CumSum,
    Dense,
    Dropout,
    Embedding,
    Expand,
    LayerNorm,
    MatMul,
    Multiply,
    Op,
    Pad,
    Pool,
    Recurrent,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Spec,
    Tile,
    TopK,
    Transpose,
    Unary,
    Where,
)

MOST_PARTS = 1024  # that an op without a form of its own is applied to
Shape = tuple[int, ...]
Given = Sequence[tuple[str, Spec, bool]]
Grow = Callable[..., list[str]]  # of an op and the names of its inputs: the names of its outputs
SAME = (Activate, BatchNorm, Cast, Dense, Dropout, Embedding, LayerNorm, Unary)  # of every element or the last axis
JOINT = (Add, Average, Binary, MatMul, Multiply, Where)  # of items that broadcast
WINDOWED = (Conv, ConvTranspose, Pool)
PER_AXIS = {"strides": 1, "dilations": 1, "before": 0, "after": 0, "output_padding": 0, "kernel": 1}


def spread(add: Grow, op: Op, inputs: Given, outputs: Sequence[Spec], lead: Shape) -> list[str]:
    """Add an op for items with the axes `lead` in front; returns the names of its outputs, which have them too.

    Parameters
    ----------
    add : callable
        Adds a node.
    op : Op
        As it would be without these axes.
    inputs : sequence of (name, spec, bool)
        The specs are without the axes, and the last says whether the value has them.
    outputs : sequence of Spec
        What the op gives without the axes.
    lead : tuple of int
    """
    names = [name for name, _, _ in inputs]
    shapes = [spec.shape for _, spec, _ in inputs]
    k = len(lead)
    if isinstance(op, SAME):
        return add(op, *names)
    if isinstance(op, JOINT):
        rank = max(map(len, shapes))
        if not (isinstance(op, MatMul) and min(map(len, shapes)) < 2):
            given = [_padded(add, name, spec, rank, lead) if own else name for name, spec, own in inputs]
            return add(op, *given)
    elif isinstance(op, WINDOWED) and len(op.window()) < 3:
        return _windowed(add, op, names[0], shapes[0], outputs[0].shape, lead)
    elif isinstance(op, Recurrent) and op.scan and all(own for _, _, own in inputs):
        return _scanned(add, op, inputs, outputs, lead)
    elif all(own for _, _, own in inputs) and (moved := _moved(op, k, lead, shapes[0])) is not None:
        if isinstance(op, Expand):
            names = [_padded(add, names[0], inputs[0][1], len(op.shape), lead)]
        return add(moved, *names)
    return _one_by_one(add, op, inputs, outputs, lead)


def _padded(add: Grow, name: str, spec: Spec, rank: int, lead: Shape) -> str:
    """A value whose item has `rank` axes behind `lead`."""
    more = rank - len(spec.shape)
    return add(Reshape((*lead, *(1,) * more, *spec.shape)), name)[0] if more else name


def _moved(op: Any, k: int, lead: Shape, shape: Shape) -> Op | None:
    """An op whose axes are counted from behind `lead`; None where it has no such form."""
    rank = len(shape)
    changed: dict[str, Any] = {}
    if isinstance(op, Reshape | Expand):
        changed = {"shape": (*lead, *op.shape)}
    elif isinstance(op, Transpose):
        changed = {"perm": (*range(k), *(k + p for p in op.perm))}
    elif isinstance(op, Slice):
        changed = {"starts": (*(0,) * k, *op.starts), "stops": (*lead, *op.stops), "steps": (*(1,) * k, *op.steps)}
    elif isinstance(op, Pad):
        changed = {"before": (*(0,) * k, *op.before), "after": (*(0,) * k, *op.after)}
    elif isinstance(op, Tile):
        changed = {"repeats": (*(1,) * k, *op.repeats)}
    elif isinstance(op, Reduce):
        changed = {"axes": tuple(k + a % rank for a in op.axes)}
    elif isinstance(op, ArgReduce | Concat | CumSum | Softmax | TopK):
        changed = {"axis": k + op.axis % rank}
    return op.replace(**changed) if changed else None


def _windowed(add: Grow, op: Any, name: str, item: Shape, result: Shape, lead: Shape) -> list[str]:
    """Windows of one along the axes in front, as one: (N, C, *spatial) as (C, N, *spatial)."""
    rank, many = len(op.window()), prod(lead)
    fields = {key: (one, *getattr(op, key)) for key, one in PER_AXIS.items() if hasattr(op, key)}
    if not isinstance(op, Pool):
        shape = op.weight.shape
        fields["weight"] = op.weight.reshape(*shape[:2], 1, *shape[2:])
    swap = Transpose((1, 0, *range(2, 2 + rank)))
    (folded,) = [name] if len(lead) == 1 else add(Reshape((many, *item)), name)
    (made,) = add(op.replace(**fields), *add(swap, folded))
    back = add(swap, made)
    return back if len(lead) == 1 else add(Reshape((*lead, *result)), *back)


def _scanned(add: Grow, op: Recurrent, inputs: Given, outputs: Sequence[Spec], lead: Shape) -> list[str]:
    """Rows of one recurrence: sequences (lead, S, N, I) as (S, lead * N, I), states (lead, N, R) as (lead * N, R)."""
    k, many = len(lead), prod(lead)
    (name, spec, _), *states = inputs
    steps, rows, features = spec.shape
    (turned,) = add(Transpose((k, *range(k), k + 1, k + 2)), name)
    given = add(Reshape((steps, many * rows, features)), turned)
    for state, own, _ in states:
        given += add(Reshape((many * rows, *own.shape[1:])), state)
    y, *ends = add(op, *given)
    width = outputs[0].shape[-1]
    (apart,) = add(Reshape((steps, *lead, rows, width)), y)
    back = add(Transpose((*range(1, 1 + k), 0, k + 1, k + 2)), apart)
    for end, own in zip(ends, outputs[1:], strict=True):
        back += add(Reshape((*lead, *own.shape)), end)
    return back


def _one_by_one(add: Grow, op: Op, inputs: Given, outputs: Sequence[Spec], lead: Shape) -> list[str]:
    """The op of each part alone."""
    if prod(lead) > MOST_PARTS:
        raise ConvertError(f"{op.kind} in TimeDistributed must be of at most {MOST_PARTS} parts, got {prod(lead)}")
    parts: list[list[str]] = []
    for place in product(*map(range, lead)):
        given = []
        for name, spec, own in inputs:
            if own:
                whole = (0,) * len(spec.shape)
                stops = (*(p + 1 for p in place), *spec.shape)
                (name,) = add(Slice((*place, *whole), stops, (1,) * len(stops)), name)
                (name,) = add(Reshape(spec.shape), name)
            given.append(name)
        made = add(op, *given)
        parts.append([add(Reshape((1, *spec.shape)), y)[0] for y, spec in zip(made, outputs, strict=True)])
    joined = []
    for column, spec in zip(zip(*parts, strict=True), outputs, strict=True):
        (y,) = add(Concat(0), *column) if len(column) > 1 else column
        joined += add(Reshape((*lead, *spec.shape)), y)
    return joined
