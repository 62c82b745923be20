"""Activations: those the graph has, and those it composes."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ...graph import Add, ArgReduce, Multiply, OneHot, Softmax, TimeSoftmax, Where
from ..tensors.values import Tensor, is_time
from ..tensors.views import align, reshaped
from .call import Call, Translator

# ONNX's operator -> the graph's activation, and the defaults of its parameters.
ACTIVATIONS: dict[str, tuple[str, dict[str, float]]] = {
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Relu": ("relu", {}),
    "Softsign": ("softsign", {}),
    "Softplus": ("softplus", {}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "Elu": ("elu", {"alpha": 1.0}),
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "ThresholdedRelu": ("thresholded_relu", {"alpha": 1.0}),
    "Affine": ("affine", {"alpha": 1.0, "beta": 0.0}),
    "ScaledTanh": ("scaled_tanh", {"alpha": 1.0, "beta": 1.0}),
}


def activation(name: str) -> Translator:
    """A translator for a row of `ACTIVATIONS`."""
    target, defaults = ACTIVATIONS[name]

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        if call.emit.specs[x.value].dtype == "int":  # Relu alone takes integers
            return call.result(call.binary("max", x.value, 0), x.axes, x.elem)
        parameters = {key: float(call.attr(key, default)) for key, default in defaults.items()}
        return call.result(call.activate(x.value, target, **parameters), x.axes, x.elem)

    return translate


def softmax(call: Call) -> Tensor:
    """Softmax and LogSoftmax; before opset 13 over all axes from one on, flattened."""
    x, log = call.tensor(0), call.node.op_type == "LogSoftmax"
    axis = call.axis(call.attr("axis", 1 if call.opset < 13 else -1), x.rank)
    if call.opset >= 13 or axis == x.rank - 1:
        return _softmax(call, x, axis, log)
    flat = _softmax(call, _flattened(call, x, axis), axis, log)
    return reshaped(call, flat, x.sizes())


def _flattened(call: Call, x: Tensor, axis: int) -> Tensor:
    return reshaped(call, x, (*x.sizes()[:axis], -1))


def _softmax(call: Call, x: Tensor, axis: int, log: bool) -> Tensor:
    if len(x.axes[axis]) == 1 and is_time(x.axes[axis][0]):
        value = call.add(TimeSoftmax(), x.value)
        value = call.unary("log", value) if log else value
    else:
        value = call.add(Softmax(x.frame_axis(axis), log), x.value)
    return call.result(value, x.axes, x.elem)


def hardmax(call: Call) -> Tensor:
    """1 at the first largest element along an axis; before opset 13 over all axes from one on, flattened."""
    x = call.tensor(0)
    axis = call.axis(call.attr("axis", 1 if call.opset < 13 else -1), x.rank)
    if call.opset < 13 and axis < x.rank - 1:
        return reshaped(call, _hardmax(call, _flattened(call, x, axis), axis), x.sizes())
    return _hardmax(call, x, axis)


def _hardmax(call: Call, x: Tensor, axis: int) -> Tensor:
    frame = x.frame_axis(axis)
    largest = call.add(ArgReduce("argmax", frame, keepdims=False), x.value)
    return call.result(call.add(OneHot(x.spec.shape[frame], frame), largest), x.axes, x.elem)


def prelu(call: Call) -> Tensor:
    """x, or slope * x where x is negative."""
    x, slope = call.tensor(0), call.value(1)
    if not isinstance(slope, Tensor) and slope.size == 1:
        return call.result(call.activate(x.value, "leaky_relu", alpha=float(slope.reshape(-1)[0])), x.axes, x.elem)
    (value, factor), axes = align(call, [x, call.lift(slope)])
    negative = call.binary("less", value, 0.0)
    return call.result(call.add(Where(), negative, call.add(Multiply(), value, factor), value), axes, x.elem)


def gelu(call: Call) -> Tensor:
    """x times the normal distribution's cumulative function, or its approximation by tanh."""
    x = call.tensor(0)
    approximate = call.attr("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise ConvertError(f"approximate must be 'none' or 'tanh', got {approximate!r}")
    if approximate == "tanh":
        cubic = call.add(Multiply(), x.value, x.value, x.value, call.number(0.044715, like=x.value))
        inner = call.add(Multiply(), call.add(Add(), x.value, cubic), call.number(np.sqrt(2 / np.pi), like=x.value))
        curve = call.activate(inner, "tanh")
    else:
        curve = call.unary("erf", call.add(Multiply(), x.value, call.number(np.sqrt(0.5), like=x.value)))
    share = call.activate(curve, "affine", alpha=0.5, beta=0.5)
    return call.result(call.add(Multiply(), x.value, share), x.axes, x.elem)


def swish(call: Call, default: float = 1.0) -> Tensor:
    """x * sigmoid(alpha * x)."""
    x, alpha = call.tensor(0), float(call.attr("alpha", default))
    inner = x.value if alpha == 1.0 else call.activate(x.value, "affine", alpha=alpha)
    return call.result(call.add(Multiply(), x.value, call.activate(inner, "sigmoid")), x.axes, x.elem)


def quick_gelu(call: Call) -> Tensor:
    """Microsoft's name for Swish, with another default."""
    return swish(call, 1.702)


def mish(call: Call) -> Tensor:
    """x * tanh(softplus(x))."""
    x = call.tensor(0)
    share = call.activate(call.activate(x.value, "softplus"), "tanh")
    return call.result(call.add(Multiply(), x.value, share), x.axes, x.elem)


def hard_swish(call: Call) -> Tensor:
    """x * clip(x / 6 + 0.5, 0, 1)."""
    x = call.tensor(0)
    share = call.activate(x.value, "hard_sigmoid", alpha=1 / 6, beta=0.5)
    return call.result(call.add(Multiply(), x.value, share), x.axes, x.elem)


def selu(call: Call) -> Tensor:
    """gamma times elu."""
    x = call.tensor(0)
    alpha, gamma = call.attr("alpha", 1.67326319217681884765625), call.attr("gamma", 1.05070102214813232421875)
    y = call.activate(call.activate(x.value, "elu", alpha=alpha), "affine", alpha=gamma)
    return call.result(y, x.axes, x.elem)


def celu(call: Call) -> Tensor:
    """alpha * elu(x / alpha)."""
    x, alpha = call.tensor(0), float(call.attr("alpha", 1.0))
    y = call.activate(call.activate(x.value, "affine", alpha=1 / alpha), "elu")
    return call.result(call.activate(y, "affine", alpha=alpha), x.axes, x.elem)


OPERATORS: dict[str, Translator] = {
    **{name: activation(name) for name in ACTIVATIONS},
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Hardmax": hardmax,
    "PRelu": prelu,
    "Gelu": gelu,
    "Swish": swish,
    "Mish": mish,
    "HardSwish": hard_swish,
    "Selu": selu,
    "Celu": celu,
}
MICROSOFT: dict[str, Translator] = {"Gelu": gelu, "QuickGelu": quick_gelu}
