"""Elementwise ops as expressions, which later ops may join in one loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import graph as g
from ..reference import f64
from .codes import FUNCTIONS
from .program import MAX_OPERANDS, Program, Value
from .views import View

Lowering = Callable[..., Any]


def activation(p: Program, act: g.Activation, x: Value) -> Value:
    """An elementwise activation of a value."""
    if act.name == "linear":
        return x
    return p.expression(act.code, [x], *act.parameters)


def chain(p: Program, name: str, values: tuple[Value, ...]) -> Value:
    """A two-argument function over any number of values: from the left, and of more than `MAX_OPERANDS` in halves.

    The rounding of a long sum then grows with the logarithm of its length.
    """
    if len(values) > MAX_OPERANDS:
        half = (len(values) + 1) // 2
        parts = [p.view(chain(p, name, part)) for part in (values[:half], values[half:])]
        return p.expression(FUNCTIONS[name], parts)
    result = values[0]
    for value in values[1:]:
        result = p.expression(FUNCTIONS[name], [result, value])
    return result


def _average(p: Program, op: Any, *xs: Value) -> Value:
    return p.expression(g.ACTIVATIONS["affine"].code, [chain(p, "add", xs)], 1.0 / len(xs), 0.0)


def _batch_norm(p: Program, op: g.BatchNorm, x: Value) -> Value:
    scale = f64(op.scale, np.ones(op.mean.shape)) / np.sqrt(f64(op.variance) + op.eps)
    shift = f64(op.shift, np.zeros(op.mean.shape)) - f64(op.mean) * scale
    scaled = p.expression(FUNCTIONS["mul"], [x, View.of_constant(scale)])
    return p.expression(FUNCTIONS["add"], [scaled, View.of_constant(shift)])


def _scaler(p: Program, op: g.Scaler, x: Value) -> Value:
    """The mean is subtracted as float32 has it, what that leaves out is added to the small numbers that result."""
    mean, factor = f64(op.mean), 1.0 / f64(op.scale)
    near = f64(op.mean.astype(np.float32))
    centred = p.expression(FUNCTIONS["sub"], [x, View.of_constant(near)])
    scaled = p.expression(FUNCTIONS["mul"], [centred, View.of_constant(factor)])
    rest = (near - mean) * factor
    return p.expression(FUNCTIONS["add"], [scaled, View.of_constant(rest)]) if rest.any() else scaled


def _cast(p: Program, op: Any, x: Value) -> Value:
    """Integers and truth values are floats that hold them exactly."""
    if op.to == "int":
        return p.expression(FUNCTIONS["trunc"], [x])
    if op.to == "bool":
        return p.expression(FUNCTIONS["not"], [p.expression(FUNCTIONS["equal"], [x, View.of_constant(0.0)])])
    return x


ELEMENTWISE: dict[type[g.Op], Lowering] = {
    g.Dropout: lambda p, op, x: x,
    g.Add: lambda p, op, *xs: chain(p, "add", xs),
    g.Multiply: lambda p, op, *xs: chain(p, "mul", xs),
    g.Average: _average,
    g.BatchNorm: _batch_norm,
    g.Scaler: _scaler,
    g.Unary: lambda p, op, x: p.expression(FUNCTIONS[op.function], [x]),
    g.Binary: lambda p, op, a, b: p.expression(FUNCTIONS[op.function], [a, b]),
    g.Where: lambda p, op, c, a, b: p.expression(FUNCTIONS["where"], [c, a, b]),
    g.Cast: _cast,
}
