"""ATen's arithmetic, element by element with broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Binary, Multiply, Op
from ..tensors.values import Dim, Tensor
from ..tensors.views import align
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


def unary(call: Call, x: Any, function: str, to: str | None = "float") -> Tensor:
    """A function of every element."""
    x = call.tensor(x)
    value = call.cast(x.value, to) if to else x.value
    return call.result(call.unary(function, value), x.axes)


def affine(call: Call, x: Tensor, scale: float, shift: float) -> Tensor:
    """scale * x + shift of a float tensor."""
    if scale == 1 and shift == 0:
        return x
    return call.result(call.activate(x.value, "affine", alpha=float(scale), beta=float(shift)), x.axes)


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
    if isinstance(b, Dim):
        raise ConvertError(f"divisor must be fixed, got size {b}: take a mean where one is meant")
    if _is_float(a) and _plain(b) and b:
        return affine(call, a, 1.0 / float(b), 0.0)
    return pointwise(call, Binary("div"), (a, b), "float")


def floor_divide(call: Call, a: Any, b: Any) -> Tensor:
    """The largest integer that is not above a / b."""
    if kind(call, a, b) == "int":
        rest = pointwise(call, Binary("mod"), (a, b))
        return pointwise(call, Binary("div"), (subtract(call, a, rest), b))
    return unary(call, divide(call, a, b), "floor")


def _remainder(call: Call, a: Any, b: Any) -> Tensor:
    return pointwise(call, Binary("mod"), (a, b))


def power(call: Call, a: Any, b: Any) -> Tensor:
    """a to the power of b."""
    if isinstance(a, Tensor) and isinstance(b, Number):
        simple: dict[float, Callable[[], Tensor]] = {
            1.0: lambda: a,
            2.0: lambda: multiply(call, a, a),
            3.0: lambda: multiply(call, multiply(call, a, a), a),
        }
        if a.spec.dtype == "float":
            simple |= {
                0.5: lambda: unary(call, a, "sqrt"),
                -0.5: lambda: reciprocal(call, unary(call, a, "sqrt")),
                -1.0: lambda: reciprocal(call, a),
            }
        if float(b) in simple:
            return simple[float(b)]()
    return pointwise(call, Binary("pow"), (a, b))


def reciprocal(call: Call, x: Any) -> Tensor:
    """1 / x."""
    return unary(call, x, "reciprocal")


def truncate(call: Call, x: Any) -> Tensor:
    """x without its fraction."""
    own = call.tensor(x)
    if own.spec.dtype != "float":
        return own
    return multiply(call, unary(call, own, "sign"), unary(call, unary(call, own, "abs"), "floor"))


def _rounded(call: Call, x: Any, decimals: int = 0) -> Tensor:
    if decimals:
        raise ConvertError(f"decimals must be 0, got {decimals}")
    return unary(call, x, "round")


def extreme(call: Call, function: str, a: Any, b: Any) -> Tensor:
    """The smaller or the larger of two."""
    return pointwise(call, Binary(function), (a, b))


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


def _functions() -> dict[str, Handler]:
    """Handlers of one function of `UNARY` each."""
    names = {
        "abs": ("abs", None), "neg": ("neg", None), "sign": ("sign", None), "sgn": ("sign", None),
        "logical_not": ("not", "bool"), "isnan": ("isnan", "float"), "negative": ("neg", None),
        "absolute": ("abs", None),
    }  # fmt: skip
    names |= {n: (n, "float") for n in ("sqrt", "exp", "log", "floor", "ceil", "sin", "cos", "atan", "erf",
                                        "reciprocal")}  # fmt: skip
    names["arctan"] = ("atan", "float")

    def one(function: str, kind_: str | None) -> Handler:
        return lambda call, x: unary(call, x, function, kind_)

    return {name: one(*row) for name, row in names.items()}


def angle(call: Call, y: Any, x: Any) -> Tensor:
    """Of (x, y), from -pi to pi."""
    return pointwise(call, Binary("atan2"), (y, x), "float")


def _other_leg(call: Call, x: Any) -> Tensor:
    """sqrt(1 - x^2)."""
    x = to(call, call.tensor(x), np.float32)
    return unary(call, multiply(call, affine(call, x, -1, 1), affine(call, x, 1, 1)), "sqrt")


def _scaled(function: str, inside: tuple[float, float], outside: tuple[float, float]) -> Handler:
    """A function between two affine maps."""

    def run(call: Call, x: Any) -> Tensor:
        x = to(call, call.tensor(x), np.float32)
        return affine(call, unary(call, affine(call, x, *inside), function), *outside)

    return run


TABLE: dict[str, Handler] = {
    **_functions(),
    "rsqrt": lambda call, x: reciprocal(call, unary(call, x, "sqrt")),
    "square": lambda call, x: multiply(call, call.tensor(x), call.tensor(x)),
    "log2": _scaled("log", (1, 0), (1 / math.log(2), 0)),
    "log10": _scaled("log", (1, 0), (1 / math.log(10), 0)),
    "log1p": _scaled("log", (1, 1), (1, 0)),
    "exp2": _scaled("exp", (math.log(2), 0), (1, 0)),
    "expm1": _scaled("exp", (1, 0), (1, -1)),
    "erfc": _scaled("erf", (1, 0), (-1, 1)),
    "trunc": truncate, "fix": truncate, "round": lambda call, x: _rounded(call, x), "round.decimals": _rounded,
    "frac": lambda call, x: subtract(call, x, truncate(call, x)),
    **dict.fromkeys(("atan2", "arctan2"), angle),
    **dict.fromkeys(("asin", "arcsin"), lambda call, x: angle(call, x, _other_leg(call, x))),
    **dict.fromkeys(("acos", "arccos"), lambda call, x: angle(call, _other_leg(call, x), x)),
    "tan": lambda call, x: divide(call, unary(call, x, "sin"), unary(call, x, "cos")),
    "add": add, "sub": subtract, "subtract": subtract, "mul": multiply, "multiply": multiply, "div": divide,
    "divide": divide, "true_divide": divide, "floor_divide": floor_divide, "remainder": _remainder, "pow": power,
    "rsub": lambda call, a, b, alpha=1: subtract(call, b, a, alpha),
    "float_power": lambda call, a, b: power(call, to(call, a, np.float32), b),
    "addcmul": lambda call, x, a, b, value=1: add(call, x, multiply(call, a, b), value),
    "addcdiv": lambda call, x, a, b, value=1: add(call, x, divide(call, a, b), value),
    "lerp": lambda call, a, b, weight: add(call, a, multiply(call, subtract(call, b, a), weight)),
    **dict.fromkeys(("maximum", "max.other"), lambda call, a, b: extreme(call, "max", a, b)),
    **dict.fromkeys(("minimum", "min.other"), lambda call, a, b: extreme(call, "min", a, b)),
    "clamp": clamp, "clip": clamp, "clamp_min": clamp, "hardtanh": clamp,
    "clamp_max": lambda call, x, high: clamp(call, x, None, high),
    "to.dtype": _to_dtype, "to.device": _to_device, "to.other": _to_other, "to.dtype_layout": _to_keywords,
    "to.prim_Device": _to_device,
    "_to_copy": _to_keywords, "type_as": _to_other,
    "float": lambda call, x: to(call, x, np.float32), "long": lambda call, x: to(call, x, np.int64),
    **dict.fromkeys(("contiguous", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "dropout",
                     "feature_dropout", "alpha_dropout", "positive", "resolve_conj", "resolve_neg", "lift", "cpu",
                     "detach_copy", "native_dropout", "requires_grad_", "data"), same),
}  # fmt: skip
