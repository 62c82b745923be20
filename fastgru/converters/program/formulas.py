"""Functions of every element, by canonical names: activations and functions of the graph, and formulas of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ...errors import ConvertError
from ...graph import UNARY, Binary, Softmax, TimeSoftmax
from ...graph.activations import ACTIVATIONS
from .builder import Builder
from .norms import Weight, scaled
from .reductions import centred, reduced
from .values import Tensor
from .views import align, joint, sliced

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # arXiv:1706.02515
Formula = Callable[..., str]  # (builder, float value, **numbers): the value of the result


# Rectifiers --------------------------------------------------------------------------------------


def _clip(b: Builder, x: str, low: float | None = None, high: float | None = None) -> str:
    if low is not None:
        x = b.activate(x, "relu") if low == 0 else b.binary("max", x, low)
    return x if high is None else b.binary("min", x, high)


def _elu(b: Builder, x: str, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> str:
    """Return scale * (x, or alpha * expm1(input_scale * x) where x is negative)."""
    if input_scale <= 0:
        raise ConvertError(f"scale of an elu's input must be positive, got {input_scale}")
    y = b.activate(b.affine(x, input_scale), "elu", alpha=float(alpha) * input_scale)
    return b.affine(y, scale / input_scale)


def _shrink(b: Builder, x: str, lambd: float = 0.5, bias: float = 0.0) -> str:
    """Return 0 from -lambd to lambd, and x less `bias` towards 0 beyond."""
    if bias == lambd >= 0:
        return b.binary("sub", x, _clip(b, x, -lambd, lambd))
    moved = b.binary("sub", x, b.affine(b.unary("sign", x), bias)) if bias else x
    return b.where(b.binary("greater", b.unary("abs", x), lambd), moved, 0.0)


def _threshold(b: Builder, x: str, threshold: float = 0.0, value: float = 0.0) -> str:
    if value == 0:
        return b.activate(x, "thresholded_relu", alpha=float(threshold))
    return b.where(b.binary("greater", x, threshold), x, value)


def _sparse_plus(b: Builder, x: str) -> str:
    """Return 0 below -1, x above 1, and (x + 1)^2 / 4 between them."""
    above = b.affine(x, 1.0, 1.0)
    middle = b.where(b.binary("less", x, 1.0), b.affine(b.times(above, above), 0.25), x)
    return b.where(b.binary("greater", x, -1.0), middle, 0.0)


# Gates of themselves -----------------------------------------------------------------------------


def _gelu(b: Builder, x: str) -> str:
    """Return x times the normal distribution function."""
    return b.times(x, b.affine(b.unary("erf", b.affine(x, math.sqrt(0.5))), 0.5, 0.5))


def _gelu_tanh(b: Builder, x: str) -> str:
    """Return the approximation of gelu by tanh (Hendrycks & Gimpel, arXiv:1606.08415)."""
    inner = b.affine(b.plus(x, b.affine(b.times(x, x, x), 0.044715)), math.sqrt(2 / math.pi))
    return b.times(x, b.affine(b.activate(inner, "tanh"), 0.5, 0.5))


def _silu(b: Builder, x: str, alpha: float = 1.0) -> str:
    return b.times(x, b.activate(b.affine(x, alpha), "sigmoid"))


def _hard_silu(b: Builder, x: str) -> str:
    return b.times(x, b.activate(x, "hard_sigmoid", alpha=1 / 6, beta=0.5))


def _mish(b: Builder, x: str) -> str:
    return b.times(x, b.activate(b.activate(x, "softplus"), "tanh"))


# Soft and hard curves ----------------------------------------------------------------------------


def _softplus(b: Builder, x: str, beta: float = 1.0, threshold: float = math.inf) -> str:
    """Return log(1 + exp(beta x)) / beta, or x where beta x is above a threshold.

    From 20 on the threshold makes no difference to float32: log(1 + exp(20)) is 20 and 2e-9.
    """
    inner = b.affine(x, beta)
    soft = b.affine(b.activate(inner, "softplus"), 1.0 / beta)
    return soft if threshold >= 20 else b.where(b.binary("greater", inner, threshold), x, soft)


def _log_sigmoid(b: Builder, x: str) -> str:
    return b.unary("neg", b.activate(b.unary("neg", x), "softplus"))


def _squareplus(b: Builder, x: str, spread: float = 4.0) -> str:
    """Return (x + sqrt(x^2 + spread)) / 2."""
    return b.affine(b.plus(x, b.unary("sqrt", b.affine(b.times(x, x), 1.0, spread))), 0.5)


# Of exponentials, logarithms and angles ----------------------------------------------------------


def _between(function: str, inside: tuple[float, float], outside: tuple[float, float]) -> Formula:
    """A function between two affine maps."""
    return lambda b, x: b.affine(b.unary(function, b.affine(x, *inside)), *outside)


def _signed(formula: Formula) -> Formula:
    """An odd function, given for what is not negative."""
    return lambda b, x: b.times(b.unary("sign", x), formula(b, b.unary("abs", x)))


def _expm1(b: Builder, x: str) -> str:
    """Return exp(x) - 1, of small x too: elu below 0, and -exp(x) * elu(-x) above."""
    above = b.times(b.unary("exp", x), b.activate(b.unary("neg", x), "elu"))
    return b.where(b.binary("less", x, 0.0), b.activate(x, "elu"), b.unary("neg", above))


def _sinh(b: Builder, x: str) -> str:
    """Return (1 - exp(-x)) * (exp(x) + 1) / 2, for x that is not negative."""
    return b.times(b.activate(b.unary("neg", x), "elu"), b.affine(b.unary("exp", x), -0.5, -0.5))


def _cosh(b: Builder, x: str) -> str:
    return b.affine(b.plus(b.unary("exp", x), b.unary("exp", b.unary("neg", x))), 0.5)


def _leg(b: Builder, x: str) -> str:
    """Return sqrt(1 - x^2)."""
    return b.unary("sqrt", b.times(b.affine(x, -1.0, 1.0), b.affine(x, 1.0, 1.0)))


def _asinh(b: Builder, x: str) -> str:
    """Return log(x + sqrt(x^2 + 1)), for x that is not negative; the root of large x is x, whose square overflows."""
    small = b.binary("min", x, 1e9)
    root = b.binary("max", x, b.unary("sqrt", b.affine(b.times(small, small), 1.0, 1.0)))
    return b.unary("log", b.plus(x, root))


def _acosh(b: Builder, x: str) -> str:
    root = b.times(*(b.unary("sqrt", b.affine(x, 1.0, shift)) for shift in (-1.0, 1.0)))
    return b.unary("log", b.plus(x, root))


def _atanh(b: Builder, x: str) -> str:
    return b.affine(b.unary("log", b.binary("div", b.affine(x, 1.0, 1.0), b.affine(x, -1.0, 1.0))), 0.5)


def power(b: Builder, x: str, exponent: float) -> str:
    """Return a float value to the power of a number, the common ones by cheaper functions."""
    if exponent in POWERS:
        return POWERS[exponent](b, x)
    return b.binary("pow", x, exponent)


POWERS: dict[float, Formula] = {
    1.0: lambda b, x: x,
    2.0: lambda b, x: b.times(x, x),
    3.0: lambda b, x: b.times(x, x, x),
    0.5: lambda b, x: b.unary("sqrt", x),
    -0.5: lambda b, x: b.unary("reciprocal", b.unary("sqrt", x)),
    -1.0: lambda b, x: b.unary("reciprocal", x),
}


def _activation(name: str) -> Formula:
    return lambda b, x, **numbers: b.activate(x, name, **{key: float(n) for key, n in numbers.items()})


def _unary(function: str) -> Formula:
    return lambda b, x: b.unary(function, x)


FORMULAS: dict[str, Formula] = {
    **{name: _activation(name) for name in ACTIVATIONS},
    **{name: _unary(name) for name in UNARY},
    "linear": lambda b, x: x,
    "affine": lambda b, x, alpha=1.0, beta=0.0: b.affine(x, alpha, beta),
    "clip": _clip, "relu6": lambda b, x: _clip(b, x, 0.0, 6.0), "hard_tanh": lambda b, x: _clip(b, x, -1.0, 1.0),
    "elu": _elu, "celu": lambda b, x, alpha=1.0: _elu(b, x, alpha, 1.0, 1.0 / alpha),
    "selu": lambda b, x, alpha=SELU_ALPHA, gamma=SELU_SCALE: _elu(b, x, alpha, gamma),
    "shrink": _shrink, "hard_shrink": _shrink, "soft_shrink": lambda b, x, lambd=0.5: _shrink(b, x, lambd, lambd),
    "tanh_shrink": lambda b, x: b.binary("sub", x, b.activate(x, "tanh")),
    "threshold": _threshold, "sparse_plus": _sparse_plus,
    "sparse_sigmoid": lambda b, x: b.activate(x, "hard_sigmoid", alpha=0.5, beta=0.5),
    "gelu": _gelu, "gelu_tanh": _gelu_tanh, "silu": _silu, "hard_silu": _hard_silu, "mish": _mish,
    "softplus": _softplus, "log_sigmoid": _log_sigmoid, "squareplus": _squareplus,
    "square": POWERS[2.0], "rsqrt": POWERS[-0.5],
    "log2": _between("log", (1, 0), (1 / math.log(2), 0)), "log10": _between("log", (1, 0), (1 / math.log(10), 0)),
    "log1p": _between("log", (1, 1), (1, 0)), "exp2": _between("exp", (math.log(2), 0), (1, 0)), "expm1": _expm1,
    "erfc": _between("erf", (1, 0), (-1, 1)), "trunc": _signed(_unary("floor")),
    "frac": lambda b, x: b.binary("sub", x, FORMULAS["trunc"](b, x)),
    "tan": lambda b, x: b.binary("div", b.unary("sin", x), b.unary("cos", x)),
    "asin": lambda b, x: b.binary("atan2", x, _leg(b, x)), "acos": lambda b, x: b.binary("atan2", _leg(b, x), x),
    "sinh": _signed(_sinh), "cosh": _cosh, "asinh": _signed(_asinh), "acosh": _acosh, "atanh": _atanh,
}  # fmt: skip


def apply(b: Builder, x: Tensor, name: str, **numbers: float | None) -> Tensor:
    """Apply a formula of `FORMULAS` to every element, made float where the function takes no other kind of number."""
    kinds = UNARY[name].dtypes if name in UNARY else ("float",)
    value = x.value if x.spec.dtype in kinds else b.cast(x.value, kinds[0])
    return b.like(x, FORMULAS[name](b, value, **numbers))


def gelu(b: Builder, x: Tensor, approximate: str) -> Tensor:
    """Apply gelu as it is ("none"), or its approximation ("tanh")."""
    if approximate not in ("none", "tanh"):
        raise ConvertError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    return apply(b, x, "gelu" if approximate == "none" else "gelu_tanh")


# Of whole axes, and of several values ------------------------------------------------------------


def softmax(b: Builder, x: Tensor, axis: int, *, log: bool = False) -> Tensor:
    """Return exp(x) over its sum along an axis, which may be time, or the logarithm of that."""
    if x.is_time(axis):
        x = b.timed(x)
        total = reduced(b, x, [axis], "log_sum_exp", True) if log else None
        return b.like(x, b.add(TimeSoftmax(), x.value)) if total is None else centred(b, x, total)
    frame = x.frame_axis(axis)
    if not log and frame == len(x.spec.shape) - 1:
        return b.like(x, b.activate(x.value, "softmax"))
    return b.like(x, b.add(Softmax(frame, log), x.value))


def glu(b: Builder, x: Tensor, axis: int) -> Tensor:
    """Return the first half of an axis times the sigmoid of the second."""
    size = x.spec.shape[x.frame_axis(axis)]
    if size % 2:
        raise ConvertError(f"axis {axis} must be of even size to be halved, got {size}")
    first, second = sliced(b, x, axis, 0, size // 2), sliced(b, x, axis, size // 2, size)
    return b.like(first, b.times(first.value, b.activate(second.value, "sigmoid")))


def prelu(b: Builder, x: Tensor, slope: Weight, axes: Sequence[int]) -> Tensor:
    """Return x, or slope * x where x is negative; `axes` are those that the slope has."""
    below = scaled(b, b.like(x, b.binary("min", x.value, 0.0)), axes, slope, None)
    values, labels = align(b, [b.like(x, b.activate(x.value, "relu")), below])
    return b.result(b.plus(*values), labels, x.elem)


def remainder(b: Builder, x: Tensor, y: Tensor, *, of_dividend: bool) -> Tensor:
    """Return what is left of x over y, with the sign of y, or with that of x."""
    if not of_dividend:
        return joint(b, Binary("mod"), x, y)
    (top, bottom), labels = align(b, [x, y])
    known = b.emit.fixed(bottom)  # in float64: rounded, it would be taken off as often as it goes into x
    size = b.unary("abs", bottom) if known is None else b.constant(np.abs(known))
    rest = b.binary("mod", b.unary("abs", top), size)
    return b.result(b.times(rest, b.unary("sign", top)), labels, x.elem)
