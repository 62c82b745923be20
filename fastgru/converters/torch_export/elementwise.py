"""ATen's arithmetic, element by element with broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Binary, Multiply, Op, Where
from ..program.formulas import apply, remainder
from ..program.formulas import power as raised
from ..program.values import Tensor
from ..program.views import align
from .call import Call, Handler, RowOrder, kind_of, promoted

Number = (bool, int, float)


def kind(call: Call, *values: Any) -> str:
    """The kind of number that arithmetic of tensors and numbers gives."""
    kinds = [v.spec.dtype if isinstance(v, Tensor) else kind_of(np.asarray(v).dtype) for v in values if v is not None]
    return promoted(*kinds)


def pointwise(call: Call, op: Op, values: Sequence[Any], to: str | None = None) -> Tensor:
    """An op of several tensors that broadcast; `to` is the kind of number they are made first, else their joint one."""
    tensors = [call.tensor(v) for v in values]
    aligned, axes = align(call, tensors)
    to = to or kind(call, *values)
    return call.result(call.add(op, *(call.cast(v, to) for v in aligned)), axes)


def unary(call: Call, x: Any, name: str) -> Tensor:
    """A formula of `FORMULAS` without numbers."""
    return apply(call, call.tensor(x), name)


def formula(name: str, **defaults: float) -> Handler:
    """A handler for a formula of `FORMULAS`, whose numbers are arguments in the order of the operator's schema."""

    def run(call: Call, x: Any, *given: Any, **named: Any) -> Tensor:
        if len(given) > len(defaults):
            raise ConvertError(f"arguments must be at most {', '.join(defaults)}, got {given}")
        numbers = {**defaults, **dict(zip(defaults, given, strict=False)), **named}
        return apply(call, call.tensor(x), name, **{key: float(n) for key, n in numbers.items()})

    return run


def affine(call: Call, x: Tensor, scale: float, shift: float) -> Tensor:
    """scale * x + shift of a float tensor."""
    return call.like(x, call.affine(x.value, scale, shift))


def _is_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.spec.dtype == "float"


def _plain(x: Any) -> bool:
    return isinstance(x, Number) and math.isfinite(x)


# Arithmetic --------------------------------------------------------------------------------------


def add(call: Call, a: Any, b: Any, alpha: Any = 1) -> Tensor:
    """a + alpha * b."""
    if _is_float(a) and _plain(b):
        return affine(call, a, 1.0, float(b) * alpha)
    if _is_float(b) and _plain(a):
        return affine(call, b, alpha, float(a))
    b = b if alpha == 1 else multiply(call, b, alpha)
    if kind(call, a, b) == "bool":
        return pointwise(call, Binary("or"), (a, b))
    return pointwise(call, Add(), (a, b))


def subtract(call: Call, a: Any, b: Any, alpha: Any = 1) -> Tensor:
    """a - alpha * b."""
    if _is_float(a) and _plain(b):
        return affine(call, a, 1.0, -float(b) * alpha)
    if _is_float(b) and _plain(a):
        return affine(call, b, -float(alpha), float(a))
    b = b if alpha == 1 else multiply(call, b, alpha)
    return pointwise(call, Binary("sub"), (a, b))


def multiply(call: Call, a: Any, b: Any) -> Tensor:
    """a * b."""
    for x, number in ((a, b), (b, a)):
        if _is_float(x) and _plain(number):
            return affine(call, x, float(number), 0.0)
    if kind(call, a, b) == "bool":
        return pointwise(call, Binary("and"), (a, b))
    return pointwise(call, Multiply(), (a, b))


def divide(call: Call, a: Any, b: Any, rounding_mode: Any = None) -> Tensor:
    """a / b, rounded as `rounding_mode` says."""
    if rounding_mode == "floor":
        return floor_divide(call, a, b)
    if rounding_mode == "trunc":
        if kind(call, a, b) == "int":
            return pointwise(call, Binary("div"), (a, b))
        return truncate(call, divide(call, a, b))
    if _is_float(a) and _plain(b) and b:
        return affine(call, a, 1.0 / float(b), 0.0)
    return pointwise(call, Binary("div"), (a, b), "float")


def floor_divide(call: Call, a: Any, b: Any) -> Tensor:
    """The largest integer that is not above a / b."""
    if kind(call, a, b) == "int":
        rest = pointwise(call, Binary("mod"), (a, b))
        return pointwise(call, Binary("div"), (subtract(call, a, rest), b))
    return unary(call, divide(call, a, b), "floor")


def _remainder(call: Call, a: Any, b: Any, *, of_dividend: bool = False) -> Tensor:
    to = kind(call, a, b)
    x, y = (call.like(v, call.cast(v.value, to)) for v in map(call.tensor, (a, b)))
    return remainder(call, x, y, of_dividend=of_dividend)


def power(call: Call, a: Any, b: Any) -> Tensor:
    """a to the power of b."""
    if _is_float(a) and isinstance(b, Number):
        return call.like(a, raised(call, a.value, float(b)))
    return pointwise(call, Binary("pow"), (a, b))


def truncate(call: Call, x: Any) -> Tensor:
    """x without its fraction."""
    own = call.tensor(x)
    return apply(call, own, "trunc") if own.spec.dtype == "float" else own


def _rounded(call: Call, x: Any, decimals: int = 0) -> Tensor:
    """x to a number of decimals, halves to even; before the point where there are less than none."""
    own = call.tensor(x)
    if own.spec.dtype != "float":
        if decimals < 0:
            raise ConvertError(f"decimals of integers must be at least 0, got {decimals}")
        return own
    if not decimals:
        return unary(call, own, "round")
    large = 10.0 ** abs(decimals)
    inner = affine(call, own, large, 0.0) if decimals > 0 else divide(call, own, np.asarray(large, np.float32))
    whole = unary(call, inner, "round")
    return affine(call, whole, large, 0.0) if decimals < 0 else divide(call, whole, np.asarray(large, np.float32))


def _signbit(call: Call, x: Any) -> Tensor:
    """True of negative numbers, -0.0 among them, whose reciprocal is negative."""
    own = call.tensor(x)
    below = call.binary("less", own.value, 0)
    if own.spec.dtype == "float":
        below = call.binary("or", below, call.binary("less", call.unary("reciprocal", own.value), 0))
    return call.like(own, below)


def _copysign(call: Call, a: Any, b: Any) -> Tensor:
    """The size of a with the sign of b."""
    size = unary(call, to(call, a, np.float32), "abs")
    signs = to(call, _signbit(call, to(call, b, np.float32)), np.float32)
    return multiply(call, size, affine(call, signs, -2.0, 1.0))


def _hypot(call: Call, a: Any, b: Any) -> Tensor:
    """sqrt(a^2 + b^2), of numbers too whose squares overflow."""
    x, y = (unary(call, to(call, v, np.float32), "abs") for v in (a, b))
    large = extreme(call, "max", x, y)
    ratio = divide(call, extreme(call, "min", x, y), extreme(call, "max", large, 1e-30))
    return multiply(call, large, unary(call, affine(call, multiply(call, ratio, ratio), 1.0, 1.0), "sqrt"))


def _ldexp(call: Call, x: Any, exponent: Any) -> Tensor:
    """x times 2 to the power of an exponent."""
    if isinstance(exponent, np.ndarray):
        return multiply(call, x, np.exp2(exponent).astype(np.float32))
    return multiply(call, x, unary(call, to(call, exponent, np.float32), "exp2"))


def extreme(call: Call, function: str, a: Any, b: Any) -> Tensor:
    """The smaller or the larger of two."""
    return pointwise(call, Binary(function), (a, b))


def _number_of(function: str) -> Handler:
    """A handler for the smaller or larger of two, or the only one that is a number."""

    def run(call: Call, a: Any, b: Any) -> Tensor:
        if kind(call, a, b) != "float":
            return extreme(call, function, a, b)
        both = extreme(call, function, a, b)
        for x, other in ((a, b), (b, a)):
            missing = unary(call, to(call, x, np.float32), "isnan")
            (chosen, *values), axes = align(call, [missing, call.tensor(other), both])
            both = call.result(call.add(Where(), chosen, *(call.cast(v, "float") for v in values)), axes)
        return both

    return run


def clamp(call: Call, x: Any, low: Any = None, high: Any = None) -> Tensor:
    """x within [low, high]."""
    x = call.tensor(x)
    if low is not None:
        x = extreme(call, "max", x, low)
    return x if high is None else extreme(call, "min", x, high)


# Kinds of number ---------------------------------------------------------------------------------


def to(call: Call, x: Any, dtype: Any = None) -> Any:
    """Another kind of number; floats of any width are one kind."""
    if dtype is None or isinstance(x, RowOrder):
        return x
    x = call.tensor(x)
    return call.result(call.cast(x.value, kind_of(dtype)), x.axes)


def _to_dtype(call: Call, x: Any, dtype: Any, *_: Any) -> Any:
    return to(call, x, dtype)


def _to_device(call: Call, x: Any, device: Any, dtype: Any, *_: Any) -> Any:
    return to(call, x, dtype)


def _to_other(call: Call, x: Any, other: Any, *_: Any) -> Any:
    return call.result(call.cast(call.tensor(x).value, kind(call, other)), call.tensor(x).axes)


def _to_keywords(call: Call, x: Any, *_: Any, dtype: Any = None) -> Any:
    return to(call, x, dtype)


def same(call: Call, x: Any, *_: Any) -> Any:
    """The input itself."""
    return x


def angle(call: Call, y: Any, x: Any) -> Tensor:
    """Of (x, y), from -pi to pi."""
    return pointwise(call, Binary("atan2"), (y, x), "float")


FUNCTIONS = (
    "abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "erfc", "exp", "exp2",
    "expm1", "floor", "isnan", "log", "log10", "log1p", "log2", "neg", "reciprocal", "rsqrt", "sign", "sin", "sinh",
    "sqrt", "tan",
)  # fmt: skip
# Other names of the same functions.
ALSO = {"absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan",
        "arctanh": "atanh", "logical_not": "not", "negative": "neg", "sgn": "sign"}  # fmt: skip

TABLE: dict[str, Handler] = {
    **{name: formula(name) for name in FUNCTIONS}, **{name: formula(own) for name, own in ALSO.items()},
    "square": lambda call, x: multiply(call, call.tensor(x), call.tensor(x)),
    "trunc": truncate, "fix": truncate, "round": _rounded,
    "frac": lambda call, x: subtract(call, x, truncate(call, x)),
    **dict.fromkeys(("atan2", "arctan2"), angle), "hypot": _hypot, "copysign": _copysign, "signbit": _signbit,
    "ldexp": _ldexp,
    "add": add, "sub": subtract, "subtract": subtract, "mul": multiply, "multiply": multiply, "div": divide,
    "divide": divide, "true_divide": divide, "floor_divide": floor_divide, "remainder": _remainder,
    "fmod": lambda call, a, b: _remainder(call, a, b, of_dividend=True), "pow": power,
    "rsub": lambda call, a, b, alpha=1: subtract(call, b, a, alpha),
    "float_power": lambda call, a, b: power(call, to(call, a, np.float32), b),
    "addcmul": lambda call, x, a, b, value=1: add(call, x, multiply(call, a, b), value),
    "addcdiv": lambda call, x, a, b, value=1: add(call, x, divide(call, a, b), value),
    "lerp": lambda call, a, b, weight: add(call, a, multiply(call, subtract(call, b, a), weight)),
    **dict.fromkeys(("maximum", "max.other"), lambda call, a, b: extreme(call, "max", a, b)),
    **dict.fromkeys(("minimum", "min.other"), lambda call, a, b: extreme(call, "min", a, b)),
    "fmax": _number_of("max"), "fmin": _number_of("min"), "clamp": clamp, "clip": clamp, "clamp_min": clamp,
    "clamp_max": lambda call, x, high: clamp(call, x, None, high),
    "to.dtype": _to_dtype, "to.device": _to_device, "to.other": _to_other, "to.dtype_layout": _to_keywords,
    "to.prim_Device": _to_device,
    "_to_copy": _to_keywords, "type_as": _to_other,
    "float": lambda call, x: to(call, x, np.float32), "long": lambda call, x: to(call, x, np.int64),
    **dict.fromkeys(("contiguous", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy",
                     "positive", "resolve_conj", "resolve_neg", "lift", "cpu",
                     "detach_copy", "requires_grad_", "data"), same),
}  # fmt: skip
