"""The activation table: name, kernel code, default parameters, and the float64 definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._names import nearest
from ..errors import GraphError
from .fields import KINDS, short

F64 = NDArray[np.float64]


def _sigmoid(x: F64, a: float, b: float) -> F64:
    # Written through tanh so that no argument overflows.
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _softplus(x: F64, a: float, b: float) -> F64:
    return np.logaddexp(x, 0.0)


# What include/fastgru/math/vmath.h computes for the fast tier; how far it is from tanh stands there.
_FAST_MAX = 7.0
_FAST_P = (4.023165971405458e-06, 0.0022996951803621653, 0.12330129713287633, 1.0)
_FAST_Q = (0.00014465821219507237, 0.02118404410615605, 0.4566293919080159, 1.0)


def _fast_tanh(x: F64, a: float, b: float) -> F64:
    x = np.clip(x, -_FAST_MAX, _FAST_MAX)
    return np.asarray(x * np.polyval(_FAST_P, x * x) / np.polyval(_FAST_Q, x * x))


def _fast_sigmoid(x: F64, a: float, b: float) -> F64:
    return 0.5 * _fast_tanh(0.5 * x, a, b) + 0.5


SMALLEST_SCALE, LARGEST_SCALE = 2.0**-100, 2.0**100  # of codes; ranges below are nothing
MOST_CODE = 2**16
CODES = 256  # of fake_quantize: alpha is their scale, beta the least of them


class Row(NamedTuple):
    """One activation: its kernel code, the defaults of its parameters (None: not used), its formula."""

    code: int
    alpha: float | None
    beta: float | None
    formula: Callable[[F64, float, float], F64]


# The codes are those of enum fg_act_kind in include/fastgru/fastgru.h; tests hold the two together.
# Defaults are ONNX's (https://onnx.ai/onnx/operators/onnx__GRU.html), where ONNX has one.
ACTIVATIONS: dict[str, Row] = {
    "linear": Row(0, None, None, lambda x, a, b: x),
    "sigmoid": Row(1, None, None, _sigmoid),
    "tanh": Row(2, None, None, lambda x, a, b: np.tanh(x)),
    "relu": Row(3, None, None, lambda x, a, b: np.maximum(x, 0.0)),
    "hard_sigmoid": Row(4, 0.2, 0.5, lambda x, a, b: np.clip(a * x + b, 0.0, 1.0)),
    "softsign": Row(5, None, None, lambda x, a, b: x / (1.0 + np.abs(x))),
    "softplus": Row(6, None, None, _softplus),
    "elu": Row(7, 1.0, None, lambda x, a, b: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0.0)))),
    "leaky_relu": Row(8, 0.01, None, lambda x, a, b: np.where(x > 0, x, a * x)),
    "thresholded_relu": Row(9, 1.0, None, lambda x, a, b: np.where(x <= a, 0.0, x)),
    "scaled_tanh": Row(10, 1.0, 1.0, lambda x, a, b: a * np.tanh(b * x)),
    "affine": Row(11, 1.0, 0.0, lambda x, a, b: a * x + b),
    "fast_sigmoid": Row(12, None, None, _fast_sigmoid),
    "fast_tanh": Row(13, None, None, _fast_tanh),
    "fake_quantize": Row(14, 1.0, 0.0, lambda x, a, b: np.clip(np.rint(x / a), b, b + CODES - 1) * a + 0.0),
}
TIERS = {"exact": ("sigmoid", "tanh"), "fast": ("fast_sigmoid", "fast_tanh")}  # the same functions in each
SOFTMAX = "softmax"  # acts on a whole row, so it is no row of the table and never a gate's activation


@dataclass(frozen=True)
class Activation:
    """An activation function with its parameters.

    Parameters
    ----------
    name : str
        A name of `ACTIVATIONS`, or ``"softmax"`` (over the last axis) where a layer allows it.
    alpha, beta : float, optional
        Parameters of the formula; the table's defaults when omitted.

    Examples
    --------
    >>> Activation("hard_sigmoid", alpha=1 / 6)(np.array([3.0]))
    array([1.])
    """

    name: str
    alpha: float | None = None
    beta: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise GraphError(f"name of an activation must be a string, got {short(self.name)}")
        row = ACTIVATIONS.get(self.name)
        if row is None and self.name != SOFTMAX:
            known = nearest(self.name, [*ACTIVATIONS, SOFTMAX])
            raise GraphError(f"activation must be one of {known}, got {self.name!r}")
        for field in ("alpha", "beta"):
            given, default = getattr(self, field), getattr(row, field) if row else None
            if given is not None and default is None:
                raise GraphError(f"activation {self.name!r} must have no {field}, got {given!r}")
            object.__setattr__(self, field, default if given is None else self._number(field, given))
        if self.name == "fake_quantize":
            self._check_codes()

    def _number(self, field: str, given: Any) -> float:
        """A parameter as a float."""
        try:
            value = float(KINDS["float"].make(given))
        except TypeError:
            raise GraphError(f"{field} of activation {self.name!r} must be a number, got {short(given)}") from None
        except OverflowError:  # an integer of more than 308 digits
            value = math.inf
        if not math.isfinite(value):
            raise GraphError(f"{field} of activation {self.name!r} must be finite, got {short(given)}")
        return value

    def _check_codes(self) -> None:
        scale, least = self.parameters
        if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
            raise GraphError(f"alpha of fake_quantize must be a scale within 2**-100 and 2**100, got {scale!r}")
        if abs(least) > MOST_CODE or least != round(least):
            raise GraphError(f"beta of fake_quantize must be the least code, a whole number, got {least!r}")

    @classmethod
    def of(cls, value: Activation | str | dict[str, Any] | None) -> Activation:
        """An Activation from a name, a dict of its fields, or None (linear)."""
        if isinstance(value, Activation):
            return value
        if value is None or isinstance(value, str):
            return cls("linear" if value is None else value)
        if not isinstance(value, dict):
            raise GraphError(f"activation must be a name, a dict or an Activation, got {short(value)}")
        unknown = [key for key in value if key not in ("name", "alpha", "beta")]
        if unknown or "name" not in value:
            raise GraphError(f"activation must be a dict of name, alpha and beta, got {short(value)}")
        return cls(**value)

    def in_tier(self, tier: str) -> Activation:
        """The same function in a tier of `TIERS`; itself where it has no other.

        Examples
        --------
        >>> str(Activation("tanh").in_tier("fast")), str(Activation("relu").in_tier("fast"))
        ('fast_tanh', 'relu')
        """
        return Activation(TIERS[tier][TIERS[self.tier].index(self.name)]) if self.tier else self

    @property
    def tier(self) -> str:
        """The name of its tier; empty where it is in none."""
        return next((tier for tier, names in TIERS.items() if self.name in names), "")

    @property
    def code(self) -> int:
        """The kernel's number for this activation."""
        return ACTIVATIONS[self.name].code

    @property
    def parameters(self) -> tuple[float, float]:
        """(alpha, beta) as the kernels take them: 0.0 where unused."""
        return self.alpha or 0.0, self.beta or 0.0

    def __call__(self, x: F64) -> F64:
        """The float64 definition, elementwise (softmax: over the last axis)."""
        if self.name == SOFTMAX:
            e = np.exp(x - x.max(axis=-1, keepdims=True))
            return np.asarray(e / e.sum(axis=-1, keepdims=True))
        return ACTIVATIONS[self.name].formula(x, *self.parameters)

    def __str__(self) -> str:
        params = [f"{k}={v:g}" for k, v in (("alpha", self.alpha), ("beta", self.beta)) if v is not None]
        return f"{self.name}({', '.join(params)})" if params else self.name
