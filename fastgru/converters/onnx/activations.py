"""Activations: those the graph has, and those it composes."""

from __future__ import annotations

from ...graph import ArgReduce, OneHot
from ..program import formulas
from ..program.formulas import apply
from ..program.values import Tensor
from ..program.views import reshaped
from .call import Call, Translator
from .elementwise import formula

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


def relu(call: Call) -> Tensor:
    """Relu, which alone takes integers."""
    x = call.tensor(0)
    return call.like(x, call.binary("max", x.value, 0)) if x.spec.dtype == "int" else apply(call, x, "relu")


def softmax(call: Call) -> Tensor:
    """Softmax and LogSoftmax; before opset 13 over all axes from one on, flattened."""
    x, log = call.tensor(0), call.node.op_type == "LogSoftmax"
    axis = call.axis(call.attr("axis", 1 if call.opset < 13 else -1), x.rank)
    if call.opset >= 13 or axis == x.rank - 1:
        return formulas.softmax(call, x, axis, log=log)
    flat = formulas.softmax(call, _flattened(call, x, axis), axis, log=log)
    return reshaped(call, flat, x.sizes())


def _flattened(call: Call, x: Tensor, axis: int) -> Tensor:
    return reshaped(call, x, (*x.sizes()[:axis], -1))


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
        return apply(call, x, "leaky_relu", alpha=float(slope.reshape(-1)[0]))
    rank = slope.rank if isinstance(slope, Tensor) else slope.ndim
    return formulas.prelu(call, x, slope, range(x.rank - rank, x.rank))


def gelu(call: Call) -> Tensor:
    """Gelu, or its approximation by tanh."""
    return formulas.gelu(call, call.tensor(0), call.attr("approximate", "none"))


OPERATORS: dict[str, Translator] = {
    **{name: formula(target, **defaults) for name, (target, defaults) in ACTIVATIONS.items()},
    "Relu": relu,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Hardmax": hardmax,
    "PRelu": prelu,
    "Gelu": gelu,
    "Swish": formula("silu", alpha=1.0),
    "Mish": formula("mish"),
    "HardSwish": formula("hard_silu"),
    "Selu": formula("selu", alpha=1.67326319217681884765625, gamma=1.05070102214813232421875),
    "Celu": formula("celu", alpha=1.0),
    "Shrink": formula("shrink", lambd=0.5, bias=0.0),
}
MICROSOFT: dict[str, Translator] = {"Gelu": gelu, "QuickGelu": formula("silu", alpha=1.702)}
