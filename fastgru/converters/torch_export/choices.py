"""ATen's comparisons, logic and choices, element by element with broadcasting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Binary, Where
from ..program.values import Tensor
from ..program.views import align
from .call import Call, Handler
from .elementwise import Number, clamp, kind, pointwise, unary
from .reductions import total
from .views import unsqueeze


def compare(function: str) -> Handler:
    """A handler for a comparison."""
    return lambda call, a, b: pointwise(call, Binary(function), (a, b))


def _different(call: Call, a: Any, b: Any) -> Tensor:
    return unary(call, pointwise(call, Binary("equal"), (a, b)), "not")


def _logical(function: str) -> Handler:
    return lambda call, a, b: pointwise(call, Binary(function), (a, b), "bool")


def _bitwise(function: str) -> Handler:
    def run(call: Call, a: Any, b: Any) -> Tensor:
        if kind(call, a, b) != "bool":
            raise ConvertError(f"inputs must be bool, got {kind(call, a, b)}")
        return pointwise(call, Binary(function), (a, b))

    return run


def _bitwise_not(call: Call, x: Any) -> Tensor:
    if call.tensor(x).spec.dtype != "bool":
        raise ConvertError("input must be bool, got integers")
    return unary(call, x, "not")


def where(call: Call, condition: Any, a: Any, b: Any) -> Tensor:
    """a where the condition holds, else b."""
    to = kind(call, a, b)
    (chosen, *values), axes = align(call, [call.tensor(v) for v in (condition, a, b)])
    return call.result(call.add(Where(), call.cast(chosen, "bool"), *(call.cast(v, to) for v in values)), axes)


def _masked_fill(call: Call, x: Any, mask: Any, value: Any) -> Tensor:
    x = call.tensor(x)
    if isinstance(value, Number):
        value = {"float": float, "int": int, "bool": bool}[x.spec.dtype](value)
    return where(call, mask, value, x)


def _isinf(call: Call, x: Any) -> Tensor:
    return pointwise(call, Binary("equal"), (unary(call, x, "abs"), math.inf))


def _isfinite(call: Call, x: Any) -> Tensor:
    return pointwise(call, Binary("less"), (unary(call, x, "abs"), math.inf))


def _nan_to_num(call: Call, x: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Tensor:
    largest = float(np.finfo(np.float32).max)
    clean = where(call, unary(call, x, "isnan"), 0.0 if nan is None else float(nan), x)
    if posinf is None and neginf is None:
        return clamp(call, clean, -largest, largest)
    clean = where(call, pointwise(call, Binary("equal"), (clean, math.inf)), posinf or largest, clean)
    return where(call, pointwise(call, Binary("equal"), (clean, -math.inf)), neginf or -largest, clean)


def _bucketize(call: Call, x: Any, bounds: Any, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """Count the bounds, constant and in order, that are below each element, or at most it."""
    function = "less_equal" if right else "less"
    own = call.tensor(x)
    below = compare(function)(call, call.array(bounds, "boundaries"), unsqueeze(call, own, own.rank))
    return total(call, below, [own.rank])


TABLE: dict[str, Handler] = {
    "eq": compare("equal"), "ne": _different, "not_equal": _different, "lt": compare("less"),
    "le": compare("less_equal"),
    "gt": compare("greater"), "ge": compare("greater_equal"), "less": compare("less"), "greater": compare("greater"),
    "logical_and": _logical("and"), "logical_or": _logical("or"), "logical_xor": _logical("xor"),
    "bitwise_and": _bitwise("and"), "bitwise_or": _bitwise("or"), "bitwise_xor": _bitwise("xor"),
    "__and__": _bitwise("and"), "__or__": _bitwise("or"), "bitwise_not": _bitwise_not,
    "where.self": where, "where.ScalarSelf": where, "where.ScalarOther": where, "where.Scalar": where,
    "bucketize.Tensor": _bucketize, "masked_fill": _masked_fill,
    "isinf": _isinf, "isfinite": _isfinite, "nan_to_num": _nan_to_num,
}  # fmt: skip
