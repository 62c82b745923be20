"""ATen's activations: rows of our own table, or a few ops of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import Binary, Softmax, TimeSoftmax
from ..tensors.values import Tensor
from .call import Call, Handler
from .choices import where
from .elementwise import add, affine, clamp, extreme, multiply, pointwise, subtract, unary
from .views import halves


def activation(call: Call, x: Any, name: str, **parameters: float) -> Tensor:
    """One of our activations."""
    x = call.tensor(x)
    return call.result(call.activate(call.cast(x.value, "float"), name, **parameters), x.axes)


def _plain(name: str) -> Handler:
    return lambda call, x: activation(call, x, name)


def sigmoid(call: Call, x: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return activation(call, x, "sigmoid")


def _elu(call: Call, x: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Tensor:
    """With `input_scale` s the lower branch is expm1(s x): that of x s, whose upper branch is put right."""
    x = call.tensor(x)
    if input_scale == 1:
        return affine(call, activation(call, x, "elu", alpha=float(alpha)), scale, 0.0)
    low = activation(call, affine(call, extreme(call, "min", x, 0.0), input_scale, 0.0), "elu", alpha=float(alpha))
    return affine(call, add(call, activation(call, x, "relu"), low), scale, 0.0)


def _selu(call: Call, x: Any) -> Tensor:
    return _elu(call, x, 1.6732632423543772, 1.0507009873554805)


def _celu(call: Call, x: Any, alpha: float = 1.0) -> Tensor:
    return _elu(call, x, alpha, 1.0, 1.0 / float(alpha))


def _softplus(call: Call, x: Any, beta: float = 1, threshold: float = 20) -> Tensor:
    """x above the threshold, where our own differs from it by less than exp(-threshold) / beta."""
    x = call.tensor(x)
    soft = affine(call, activation(call, affine(call, x, beta, 0.0), "softplus"), 1.0 / float(beta), 0.0)
    if threshold >= 20:
        return soft
    return where(call, pointwise(call, Binary("greater"), (affine(call, x, beta, 0.0), float(threshold))), x, soft)


def _gelu(call: Call, x: Any, approximate: str = "none") -> Tensor:
    """x times the normal distribution function, or its approximation by tanh (Hendrycks & Gimpel, arXiv:1606.08415)."""
    x = call.tensor(x)
    if approximate == "tanh":
        cubed = multiply(call, multiply(call, multiply(call, x, x), x), 0.044715)
        inner = multiply(call, add(call, x, cubed), math.sqrt(2 / math.pi))
        share = affine(call, activation(call, inner, "tanh"), 0.5, 0.5)
    else:
        share = affine(call, unary(call, multiply(call, x, math.sqrt(0.5)), "erf"), 0.5, 0.5)
    return multiply(call, x, share)


def _silu(call: Call, x: Any) -> Tensor:
    return multiply(call, x, sigmoid(call, x))


def _mish(call: Call, x: Any) -> Tensor:
    return multiply(call, x, activation(call, activation(call, x, "softplus"), "tanh"))


def _hardsigmoid(call: Call, x: Any) -> Tensor:
    return activation(call, x, "hard_sigmoid", alpha=1 / 6, beta=0.5)


def _hardswish(call: Call, x: Any) -> Tensor:
    return multiply(call, x, _hardsigmoid(call, x))


def _threshold(call: Call, x: Any, threshold: float, value: float) -> Tensor:
    if value == 0:
        return activation(call, x, "thresholded_relu", alpha=float(threshold))
    x = call.tensor(x)
    return where(call, pointwise(call, Binary("greater"), (x, float(threshold))), x, float(value))


def _prelu(call: Call, x: Any, weight: Any) -> Tensor:
    """max(x, 0) + weight * min(x, 0); one weight, or one for each channel of axis 1."""
    x = call.tensor(x)
    slope: Any = np.asarray(weight) if isinstance(weight, np.ndarray) else weight
    if isinstance(slope, np.ndarray):
        if slope.size == 1:
            return activation(call, x, "leaky_relu", alpha=float(slope.reshape(())))
        slope = slope.reshape(-1, *[1] * max(x.rank - 2, 0))
    elif slope.rank == 1 and x.rank > 2:
        raise ConvertError("weight of PReLU must be constant, got a computed value")
    return add(call, activation(call, x, "relu"), multiply(call, extreme(call, "min", x, 0.0), slope))


def _rrelu(call: Call, x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    if training:
        raise ConvertError("training of rrelu must be False, got True: outputs would be random")
    return activation(call, x, "leaky_relu", alpha=(lower + upper) / 2)


def _softshrink(call: Call, x: Any, lambd: float = 0.5) -> Tensor:
    return subtract(call, x, clamp(call, x, -float(lambd), float(lambd)))


def _hardshrink(call: Call, x: Any, lambd: float = 0.5) -> Tensor:
    x = call.tensor(x)
    return where(call, pointwise(call, Binary("greater"), (unary(call, x, "abs"), float(lambd))), x, 0.0)


def _log_sigmoid(call: Call, x: Any) -> Tensor:
    negative = activation(call, unary(call, x, "neg"), "softplus")
    return unary(call, negative, "neg")


def _glu(call: Call, x: Any, dim: int = -1) -> Tensor:
    """The first half times the sigmoid of the second."""
    a, b = halves(call, call.tensor(x), dim)
    return multiply(call, a, sigmoid(call, b))


def softmax(call: Call, x: Any, dim: int, dtype: Any = None, *, log: bool = False) -> Tensor:
    """exp(x) over its sum along an axis, which may be time; or the logarithm of that."""
    x = call.tensor(x)
    dim = call.axis(dim, x.rank)
    value = call.cast(x.value, "float")
    if x.rank and x.is_time(dim):
        result = call.add(TimeSoftmax(), call.timed(call.result(value, x.axes)).value)
        return unary(call, call.result(result, x.axes), "log") if log else call.result(result, x.axes)
    axis = x.frame_axis(dim)
    if not log and axis == len(x.spec.shape) - 1:
        return call.result(call.activate(value, "softmax"), x.axes)
    return call.result(call.add(Softmax(axis, log), value), x.axes)


def _log_softmax(call: Call, x: Any, dim: int, dtype: Any = None) -> Tensor:
    return softmax(call, x, dim, log=True)


TABLE: dict[str, Handler] = {
    "sigmoid": sigmoid, "tanh": _plain("tanh"), "relu": _plain("relu"), "softsign": _plain("softsign"),
    "relu6": lambda call, x: clamp(call, x, 0.0, 6.0), "elu": _elu, "selu": _selu, "celu": _celu,
    "leaky_relu": lambda call, x, slope=0.01: activation(call, x, "leaky_relu", alpha=float(slope)),
    "softplus": _softplus, "gelu": _gelu, "silu": _silu, "mish": _mish, "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish, "threshold": _threshold, "prelu": _prelu, "_prelu_kernel": _prelu, "rrelu": _rrelu,
    "softshrink": _softshrink, "hardshrink": _hardshrink, "log_sigmoid": _log_sigmoid, "glu": _glu,
    "tanhshrink": lambda call, x: subtract(call, x, activation(call, x, "tanh")),
    "softmax": softmax, "_softmax": lambda call, x, dim, half: softmax(call, x, dim), "special_softmax": softmax,
    "log_softmax": _log_softmax, "_log_softmax": lambda call, x, dim, half: _log_softmax(call, x, dim),
}  # fmt: skip
