"""ATen's activations: rows of the shared formulas, and those that take tensors or axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program import formulas
from ..program.formulas import apply
from ..program.values import Tensor
from ..program.views import canonical
from .call import Call, Handler
from .elementwise import clamp, formula


def _prelu(call: Call, x: Any, weight: Any) -> Tensor:
    """x, or weight * x where x is negative; one weight, or one for each channel of axis 1."""
    x = call.tensor(x)
    if isinstance(weight, np.ndarray) and weight.size == 1:
        return apply(call, x, "leaky_relu", alpha=float(weight.reshape(())))
    slope = weight.reshape(-1) if isinstance(weight, np.ndarray) else weight
    return formulas.prelu(call, x, slope, [min(1, x.rank - 1)])


def _rrelu(call: Call, x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    if training:
        raise ConvertError("training of rrelu must be False, got True: outputs would be random")
    return apply(call, call.tensor(x), "leaky_relu", alpha=(lower + upper) / 2)


def _dropout(call: Call, x: Any, p: float = 0.5, train: bool = False) -> Tensor:
    if train and p:
        raise ConvertError("training of dropout must be self.training, got True: outputs would be random")
    return call.tensor(x)


def _native_dropout(call: Call, x: Any, p: float = 0.5, train: bool = False) -> Any:
    return _dropout(call, x, p, train), None


def softmax(call: Call, x: Any, dim: int, dtype: Any = None, *, log: bool = False) -> Tensor:
    """exp(x) over its sum along an axis, which may be time; or the logarithm of that."""
    x = call.tensor(x)
    return formulas.softmax(call, call.like(x, call.cast(x.value, "float")), call.axis(dim, x.rank), log=log)


def _log_softmax(call: Call, x: Any, dim: int, dtype: Any = None) -> Tensor:
    return softmax(call, x, dim, log=True)


def _glu(call: Call, x: Any, dim: int = -1) -> Tensor:
    x = canonical(call, call.tensor(x))
    return formulas.glu(call, x, call.axis(dim, x.rank))


TABLE: dict[str, Handler] = {
    **{name: formula(name) for name in ("sigmoid", "tanh", "relu", "relu6", "softsign", "mish", "log_sigmoid", "selu")},
    "silu": formula("silu"), "hardsigmoid": formula("hard_sigmoid", alpha=1 / 6, beta=0.5),
    "hardswish": formula("hard_silu"), "tanhshrink": formula("tanh_shrink"),
    "elu": formula("elu", alpha=1.0, scale=1.0, input_scale=1.0), "celu": formula("celu", alpha=1.0),
    "leaky_relu": formula("leaky_relu", alpha=0.01), "softplus": formula("softplus", beta=1.0, threshold=20.0),
    "threshold": formula("threshold", threshold=0.0, value=0.0), "softshrink": formula("soft_shrink", lambd=0.5),
    "hardshrink": formula("hard_shrink", lambd=0.5),
    "gelu": lambda call, x, approximate="none": formulas.gelu(call, call.tensor(x), approximate),
    "hardtanh": lambda call, x, low=-1.0, high=1.0: clamp(call, x, low, high),
    "prelu": _prelu, "_prelu_kernel": _prelu, "rrelu": _rrelu, "glu": _glu,
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout"), _dropout), "native_dropout": _native_dropout,
    "softmax": softmax, "_softmax": lambda call, x, dim, half: softmax(call, x, dim), "special_softmax": softmax,
    "log_softmax": _log_softmax, "_log_softmax": lambda call, x, dim, half: _log_softmax(call, x, dim),
}  # fmt: skip
