"""Formulas of several ops, written as nested calls and added to the graph: the outermost has the layer's name."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...graph import (
    Binary,
    Cast,
    Op,
    Reduce,
    Reshape,
    TimeReduce,
    Unary,
    Where,
)
from .values import Context, Value


class Formula(NamedTuple):
    """An op of values, formulas, and numbers or arrays, which become constants."""

    op: Op
    inputs: tuple[Any, ...]


def emit(formula: Any, ctx: Context, name: str, mask: Value | None = None) -> Value:
    """Add what a formula consists of; its last node is called `name`, those before it ``name.kind``."""
    if isinstance(formula, Value):
        return formula.masked(mask)
    if not isinstance(formula, Formula):
        return ctx.constant(np.asarray(formula, dtype=np.float64), name=name)
    done: dict[int, Value] = {}
    inputs = [_emit(item, ctx, name, done) for item in formula.inputs]
    return ctx.add(formula.op, *inputs, name=name, mask=mask)


def _emit(formula: Any, ctx: Context, stem: str, done: dict[int, Value]) -> Value:
    """An inner part; one that is used twice is added once."""
    if isinstance(formula, Value):
        return formula
    if id(formula) not in done:
        if isinstance(formula, Formula):
            inputs = [_emit(item, ctx, stem, done) for item in formula.inputs]
            done[id(formula)] = ctx.add(formula.op, *inputs, name=f"{stem}.{formula.op.kind}")
        else:
            return ctx.constant(np.asarray(formula, dtype=np.float64), name=f"{stem}.constant")
    return done[id(formula)]


# The vocabulary ----------------------------------------------------------------------------------


def binary(function: str, a: Any, b: Any) -> Formula:
    """A function of `fastgru.graph.BINARY`."""
    return Formula(Binary(function), (a, b))


def unary(function: str, x: Any) -> Formula:
    """A function of `fastgru.graph.UNARY`."""
    return Formula(Unary(function), (x,))


def where(condition: Any, a: Any, b: Any) -> Formula:
    """a where the condition holds, else b."""
    return Formula(Where(), (condition, a, b))


def cast(x: Any, to: str) -> Formula:
    """Another kind of number."""
    return Formula(Cast(to), (x,))


def reshape(x: Any, shape: tuple[int, ...]) -> Formula:
    """Another frame of the same elements."""
    return Formula(Reshape(shape), (x,))


def reduce(function: str, x: Any, axes: tuple[int, ...], *, keepdims: bool) -> Formula:
    """Sum, mean, max or min over axes of the frame and, where `axes` starts with -1, over time."""
    within = tuple(axis for axis in axes if axis >= 0)
    found = Formula(Reduce(function, within, keepdims), (x,)) if within else x
    if axes[0] < 0:
        found = Formula(TimeReduce(function), (found,))
    if not isinstance(found, Formula):
        raise ValueError("axes must have at least one axis, got none")
    return found
