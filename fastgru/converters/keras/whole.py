"""Layers that need all steps at once, Flatten for one, behind others that take them one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph import Cast, Framing, Reshape
from ..program.time import slice_ops
from .values import UNKNOWN_MASK, AcrossTime, Context, Value


def gathered(x: Value, ctx: Context) -> Value:
    """All steps of a value at once, as the first axis of a frame."""
    if not x.timed or x.steps is None or x.mask is UNKNOWN_MASK:
        return x
    ctx.gathered = True
    number = x.spec.dtype == "float"
    y = x if number else ctx.add(Cast("float"), x, name=f"{x.name}.float")
    for op in slice_ops(y.spec, -x.steps, None, 1).ops:
        y = ctx.add(op, y, name=f"{x.name}.{'steps' if isinstance(op, Framing) else 'all'}")
    if y.frame != (x.steps, *x.frame):
        y = ctx.add(Reshape((x.steps, *x.frame)), y, name=f"{x.name}.all")
    y = y if number else ctx.add(Cast(x.spec.dtype), y, name=f"{x.name}.{x.spec.dtype}")
    return y.masked(None if x.mask is None else gathered(x.mask, ctx))


def at_once(ctx: Context, operands: list[Any], make: Callable[[list[Any]], Any]) -> Any:
    """What `make` makes of operands; where `ctx.insist` says so, of all their steps at once if it needs them."""
    timed = [x for x in operands if isinstance(x, Value) and x.timed]
    if not ctx.insist or not timed:
        return make(operands)
    if not any(isinstance(x, Value) and not x.timed and x.shape[:1] == timed[0].shape[:1] for x in operands):
        try:
            return make(operands)
        except AcrossTime:
            pass
    given = [gathered(x, ctx) if isinstance(x, Value) else x for x in operands]
    if any(a is b for a, b in zip(given, operands, strict=True) if a in timed):
        return make(operands)
    return make(given)
