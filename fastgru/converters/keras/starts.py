"""Layers over time that start from a value, or whose cell state is asked for: their states lie in State nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...graph import Op, Recurrent, Reshape, Spec
from ..program.recurrence import last_of, looped, reversed_mask, starting
from .values import Array, Context, Value


class _Growing:
    """The graph of a context, by names of values."""

    def __init__(self, ctx: Context, values: Sequence[Value]) -> None:
        self.ctx, self.known = ctx, {v.name: v for v in values}
        self.specs: dict[str, Spec] = {v.name: v.spec for v in values}
        self.feedback = ctx.feedback

    def add(self, op: Op, *inputs: str, name: str) -> tuple[str, ...]:
        """Add a node; returns the names of its outputs."""
        given = [self.known[v] if v in self.known else Value(v, self.ctx.state_specs[v]) for v in inputs]
        count = len(op.infer(tuple(v.spec for v in given)))
        values = self.ctx.add_many(op, *given, name=name, outputs=count)
        self.known.update((v.name, v) for v in values)
        self.specs.update((v.name, v.spec) for v in values)
        self.ctx.state_specs.update((v.name, v.spec) for v in values)
        return tuple(v.name for v in values)

    def reshape(self, value: str, shape: Sequence[int], *, name: str) -> str:
        """Another frame of the same elements."""
        return (
            value if self.specs[value].shape == tuple(shape) else self.add(Reshape(tuple(shape)), value, name=name)[0]
        )


def started(
    op: Recurrent, x: Value, states: Sequence[Value], ctx: Context, name: str, mask: Value | None = None
) -> tuple[Value, list[Value]]:
    """All steps of a layer over time, and its last states; it starts from `states`, or without any from zeros."""
    growing = _Growing(ctx, [x, *states, *([] if mask is None else [mask])])
    rows = growing.reshape(x.name, (1, *x.frame), name=f"{name}.rows")
    zeros: list[Array] = [np.zeros(size, np.float32) for size in op.carried().values()]
    starts = [growing.reshape(s.name, (1, *s.frame), name=f"{name}.initial") for s in states] or zeros
    y, finals = looped(growing, op, rows, starts, name, None if mask is None else mask.name)
    flat = [growing.reshape(v, growing.specs[v].shape[1:], name=f"{name}.flat") for v in (y, *finals)]
    values = [growing.known[v] for v in flat]
    return values[0], values[1:]


def last(x: Value, ctx: Context, name: str) -> Value:
    """The last step of a value that a State has a part in."""
    growing = _Growing(ctx, [x])
    return growing.known[last_of(growing, x.name, name=f"{name}.last")]


def begun(start: Value | Array, shape: Sequence[int], ctx: Context, name: str) -> tuple[Value, str]:
    """Return the value of a state that starts from a value or an array, and the name of the State to feed."""
    growing = _Growing(ctx, [start] if isinstance(start, Value) else [])
    held, read = starting(growing, start.name if isinstance(start, Value) else start, shape, name)
    return growing.known[read], held


def turned(mask: Value, ctx: Context, name: str) -> Value:
    """A mask of steps in the order of the steps from the last to the first."""
    growing = _Growing(ctx, [mask])
    return growing.known[reversed_mask(growing, mask.name, name)]
