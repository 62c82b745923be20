"""Derivatives of the functions of single elements: activations, unary functions and reductions, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph.activations import _FAST_MAX, _FAST_P, _FAST_Q, F64, SOFTMAX, Activation

Slope = Callable[[F64, float, float], Any]


def _tanh(x: F64) -> F64:
    return 1.0 - np.tanh(x) ** 2


def _sigmoid(x: F64) -> F64:
    return 0.25 * _tanh(0.5 * x)


def _fast_tanh(x: F64) -> F64:
    """Slope of x P(x^2) / Q(x^2) within the range of the formula, 0 outside."""
    s = x * x
    p, q = np.polyval(_FAST_P, s), np.polyval(_FAST_Q, s)
    dp, dq = np.polyval(np.polyder(_FAST_P), s), np.polyval(np.polyder(_FAST_Q), s)
    return np.where(np.abs(x) < _FAST_MAX, (p + 2 * s * dp) / q - 2 * s * p * dq / q**2, 0.0)


# The rows of `fastgru.graph.ACTIVATIONS` that have a slope; at a corner, that of the side of smaller numbers.
SLOPES: dict[str, Slope] = {
    "linear": lambda x, a, b: np.ones_like(x),
    "sigmoid": lambda x, a, b: _sigmoid(x),
    "tanh": lambda x, a, b: _tanh(x),
    "relu": lambda x, a, b: np.where(x > 0, 1.0, 0.0),
    "hard_sigmoid": lambda x, a, b: np.where((a * x + b > 0) & (a * x + b < 1), a, 0.0),
    "softsign": lambda x, a, b: (1.0 + np.abs(x)) ** -2,
    "softplus": lambda x, a, b: 0.5 * np.tanh(0.5 * x) + 0.5,
    "elu": lambda x, a, b: np.where(x > 0, 1.0, a * np.exp(np.minimum(x, 0.0))),
    "leaky_relu": lambda x, a, b: np.where(x > 0, 1.0, a),
    "thresholded_relu": lambda x, a, b: np.where(x > a, 1.0, 0.0),
    "scaled_tanh": lambda x, a, b: a * b * _tanh(b * x),
    "affine": lambda x, a, b: np.full_like(x, a),
    "fast_sigmoid": lambda x, a, b: 0.25 * _fast_tanh(0.5 * x),
    "fast_tanh": lambda x, a, b: _fast_tanh(x),
}


def slope(activation: Activation, x: F64) -> F64:
    """Return the derivative of an elementwise activation.

    Raises
    ------
    GraphError
        When it has none.

    Examples
    --------
    >>> slope(Activation("tanh"), np.zeros(2))
    array([1., 1.])
    """
    if activation.name not in SLOPES:
        raise GraphError(f"activation {activation.name!r} rounds to steps and has no gradient: use method 'lrp'")
    return np.asarray(SLOPES[activation.name](x, *activation.parameters))


def through(activation: Activation, x: F64, gradient: F64) -> F64:
    """Return the gradient of an activation's input x (..., N) from that of its output."""
    if activation.name == SOFTMAX:
        return through_softmax(activation(x), gradient, -1)
    return gradient if activation.name == "linear" else gradient * slope(activation, x)


def through_softmax(y: F64, gradient: F64, axis: int) -> F64:
    """Return the gradient of the input of a softmax along an axis, whose output is y."""
    return np.asarray(y * (gradient - (gradient * y).sum(axis=axis, keepdims=True)))


def _flat(x: F64, y: F64) -> F64:
    return np.zeros_like(x)


# Functions of `fastgru.graph.elementwise.UNARY` that give floats of floats: slope from x and y.
UNARY: dict[str, Callable[[F64, F64], Any]] = {
    "neg": lambda x, y: -np.ones_like(x),
    "abs": lambda x, y: np.sign(x),
    "sqrt": lambda x, y: 0.5 / y,
    "exp": lambda x, y: y,
    "log": lambda x, y: 1.0 / x,
    "reciprocal": lambda x, y: -y * y,
    "sin": lambda x, y: np.cos(x),
    "cos": lambda x, y: -np.sin(x),
    "atan": lambda x, y: 1.0 / (1.0 + x * x),
    "erf": lambda x, y: 2.0 / math.sqrt(math.pi) * np.exp(-x * x),
    **dict.fromkeys(("sign", "floor", "ceil", "round"), _flat),
}


def _power(a: F64, b: F64, y: F64) -> tuple[F64, F64]:
    return b * np.power(a, b - 1), np.where(a > 0, y * np.log(np.where(a > 0, a, 1.0)), 0.0)


# Functions of `BINARY` that give floats of floats: the slopes by a and by b, from a, b and y.
BINARY: dict[str, Callable[[F64, F64, F64], tuple[Any, Any]]] = {
    "sub": lambda a, b, y: (1.0, -1.0),
    "div": lambda a, b, y: (1.0 / b, -y / b),
    "pow": _power,
    "min": lambda a, b, y: (a <= b, a > b),
    "max": lambda a, b, y: (a >= b, a < b),
    "mod": lambda a, b, y: (1.0, -np.floor(a / b)),
    "atan2": lambda a, b, y: (b / (a * a + b * b), -a / (a * a + b * b)),
}


def _without_each(x: F64, axes: tuple[int, ...]) -> F64:
    """Return the product of all others for every element, without a division, which a zero would not bear."""
    moved = np.moveaxis(x, axes, range(-len(axes), 0))
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)
    ones = np.ones_like(flat[..., :1])
    ahead = np.cumprod(np.concatenate([ones, flat[..., :-1]], -1), -1)
    behind = np.cumprod(np.concatenate([ones, flat[..., :0:-1]], -1), -1)[..., ::-1]
    return np.moveaxis((ahead * behind).reshape(moved.shape), range(-len(axes), 0), axes)


def _first(x: F64, axes: tuple[int, ...], largest: bool) -> F64:
    """Return 1 at the first of the extremes along axes, 0 elsewhere."""
    moved = np.moveaxis(x, axes, range(-len(axes), 0))
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], -1)
    at = (flat.argmax if largest else flat.argmin)(axis=-1)
    hot = np.zeros_like(flat)
    np.put_along_axis(hot, at[..., None], 1.0, axis=-1)
    return np.moveaxis(hot.reshape(moved.shape), range(-len(axes), 0), axes)


def _over(x: F64, y: F64) -> F64:
    return np.divide(x, y, out=np.zeros(np.broadcast_shapes(x.shape, y.shape)), where=y != 0)


Fold = Callable[[F64, F64, tuple[int, ...]], Any]

# Functions of frame and time reductions: the slope by every element, from x, y (its axes kept) and the axes.
FOLDS: dict[str, Fold] = {
    "sum": lambda x, y, axes: np.ones_like(x),
    "mean": lambda x, y, axes: np.ones_like(x) / math.prod(x.shape[i] for i in axes),
    "max": lambda x, y, axes: _first(x, axes, True),
    "min": lambda x, y, axes: _first(x, axes, False),
    "prod": lambda x, y, axes: _without_each(x, axes),
    "l1": lambda x, y, axes: np.sign(x),
    "l2": lambda x, y, axes: _over(x, y),
    "sum_square": lambda x, y, axes: 2.0 * x,
    "log_sum": lambda x, y, axes: np.ones_like(x) / np.exp(y),
    "log_sum_exp": lambda x, y, axes: np.exp(x - y),
}
