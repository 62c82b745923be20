"""ATen's Fourier transforms of real numbers: complex ones are pairs on a last axis of their own."""

from __future__ import annotations

from typing import Any

from ...errors import ConvertError
from ...graph import IRFFT, RFFT
from ..program.values import Tensor
from ..program.views import canonical
from .call import Call, Complex, Handler
from .complex_numbers import pairs_of


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
    pairs = canonical(call, pairs_of(call, x))
    dim = call.axis(dim, pairs.rank - 1)
    size = 2 * (pairs.spec.shape[-2] - 1) if n is None else n
    if dim != pairs.rank - 2 or norm not in (None, "backward"):
        raise ConvertError(f"transform must be of the last axis without scaling, got dim={dim}, norm={norm}")
    return call.result(call.add(IRFFT(size), pairs.value), pairs.axes[:-1])


TABLE: dict[str, Handler] = {
    **dict.fromkeys(("fft_rfft", "fastgru::fft_rfft"), _rfft),
    **dict.fromkeys(("fft_irfft", "fastgru::fft_irfft"), _irfft),
}  # fmt: skip
