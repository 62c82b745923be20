"""ATen's Fourier transforms of real numbers: complex ones are pairs on a last axis of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph import IRFFT, RFFT
from ..program.values import Tensor
from ..program.views import canonical
from .call import Call, Complex, Handler
from .elementwise import add, angle, divide, multiply, same, subtract, unary
from .joins import select, slice_, stack
from .reductions import norm
from .views import permute, reshape, squeeze, transpose, unsqueeze


def lifted(call: Call, value: Any) -> Any:
    """A complex constant as pairs; other arguments as they are."""
    if not isinstance(value, complex) and not (isinstance(value, np.ndarray) and np.iscomplexobj(value)):
        return value
    array = np.asarray(value)
    return Complex(call.tensor(np.stack([array.real, array.imag], -1)))


def _rfft(call: Call, x: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Complex:
    x = canonical(call, call.tensor(x))
    dim = call.axis(dim, x.rank)
    size = x.spec.shape[x.frame_axis(dim)]
    if dim != x.rank - 1 or n not in (None, size) or norm not in (None, "backward"):
        raise ConvertError(
            f"transform must be of the whole last axis without scaling, got n={n}, dim={dim}, norm={norm}"
        )
    value = call.add(RFFT(size), call.cast(x.value, "float"))
    return Complex(call.result(value, [*x.axes, (len(x.spec.shape),)]))


def _irfft(call: Call, x: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    pairs = canonical(call, _complex(x).pairs)
    dim = call.axis(dim, pairs.rank - 1)
    size = 2 * (pairs.spec.shape[-2] - 1) if n is None else n
    if dim != pairs.rank - 2 or norm not in (None, "backward"):
        raise ConvertError(f"transform must be of the last axis without scaling, got dim={dim}, norm={norm}")
    return call.result(call.add(IRFFT(size), pairs.value), pairs.axes[:-1])


def _complex(x: Any) -> Complex:
    if not isinstance(x, Complex):
        raise ConvertError("input must be complex, got real numbers")
    return x


def _part(index: int) -> Handler:
    return lambda call, x: select(call, _complex(x).pairs, -1, index)


def _make(call: Call, real: Any, imaginary: Any) -> Complex:
    return Complex(stack(call, [real, imaginary], call.tensor(real).rank))


def _absolute(call: Call, x: Complex) -> Tensor:
    return norm(call, x.pairs, 2, [-1])


def _angle(call: Call, x: Complex) -> Tensor:
    return angle(call, _part(1)(call, x), _part(0)(call, x))


def _polar(call: Call, magnitude: Any, phase: Any) -> Complex:
    return _make(call, *(multiply(call, magnitude, unary(call, phase, f)) for f in ("cos", "sin")))


def _product(call: Call, a: Any, b: Any) -> Complex:
    """(a + ib)(c + id); a real factor scales both parts."""
    if not (isinstance(a, Complex) and isinstance(b, Complex)):
        pair, factor = (a, b) if isinstance(a, Complex) else (b, a)
        parts = [multiply(call, _part(i)(call, pair), factor) for i in (0, 1)]
        return _make(call, *parts)
    (p, q), (r, s) = ([_part(i)(call, x) for i in (0, 1)] for x in (a, b))
    real = subtract(call, multiply(call, p, r), multiply(call, q, s))
    return _make(call, real, add(call, multiply(call, p, s), multiply(call, q, r)))


def _quotient(call: Call, a: Any, b: Any) -> Complex:
    """Both parts by a real number."""
    if isinstance(b, Complex):
        raise ConvertError("divisor must be real, got complex numbers: multiply by the conjugate, and divide by |z|^2")
    return _make(call, *(divide(call, _part(i)(call, _complex(a)), b) for i in (0, 1)))


def _conjugate(call: Call, x: Complex) -> Complex:
    return _make(call, _part(0)(call, x), unary(call, _part(1)(call, x), "neg"))


def _exponential(call: Call, x: Complex) -> Complex:
    return _polar(call, unary(call, _part(0)(call, x), "exp"), _part(1)(call, x))


def _moved(function: Handler, dims: int = 1, more: int = 0) -> Handler:
    """A handler of a move of axes, the first arguments of which name some."""

    def run(call: Call, x: Any, *given: Any) -> Complex:
        pairs = _complex(x).pairs
        axes = [call.axis(dim, pairs.rank - 1 + more) for dim in given[:dims]]
        return Complex(function(call, pairs, *axes, *given[dims:]))

    return run


def _reshape(call: Call, x: Any, shape: Sequence[Any]) -> Complex:
    return Complex(reshape(call, _complex(x).pairs, [*shape, 2]))


def _permute(call: Call, x: Any, dims: Sequence[int]) -> Complex:
    rank = _complex(x).pairs.rank - 1
    return Complex(permute(call, _complex(x).pairs, [*(call.axis(dim, rank) for dim in dims), rank]))


def _both(function: Handler) -> Handler:
    """A handler of two complex numbers whose parts do not mix."""

    def run(call: Call, a: Any, b: Any, alpha: Any = 1) -> Complex:
        return Complex(function(call, _complex(a).pairs, _complex(b).pairs, alpha))

    return run


TABLE: dict[str, Handler] = {
    **dict.fromkeys(("fft_rfft", "fastgru::fft_rfft"), _rfft),
    **dict.fromkeys(("fft_irfft", "fastgru::fft_irfft"), _irfft), "view_as_real": lambda call, x: _complex(x).pairs,
    "view_as_complex": lambda call, x: Complex(call.tensor(x)), "complex": _make, "polar": _polar,
    "real": _part(0), "imag": _part(1),
}  # fmt: skip
# The same names for complex numbers, tried where an argument is one.
COMPLEX: dict[str, Handler] = {
    "abs": _absolute, "angle": _angle, "mul": _product, "add": _both(add), "sub": _both(subtract),
    "div": _quotient, "neg": lambda call, x: Complex(unary(call, x.pairs, "neg")), "exp": _exponential,
    "conj": _conjugate, "_conj": _conjugate, "conj_physical": _conjugate, "resolve_conj": same, "resolve_neg": same,
    "transpose": _moved(transpose, 2), "unsqueeze": _moved(unsqueeze, more=1), "squeeze": _moved(squeeze),
    "select": _moved(select), "slice": _moved(slice_), "permute": _permute,
    **dict.fromkeys(("view", "reshape", "_unsafe_view"), _reshape), "clone": same, "alias": same,
}  # fmt: skip
