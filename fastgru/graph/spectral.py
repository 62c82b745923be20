"""Fourier transforms of the last frame axis."""

from __future__ import annotations

from typing import ClassVar

from ..errors import GraphError
from .fields import integer
from .op import Op, features
from .spec import FLOAT, Spec, take

MAX_LENGTH = 2**20  # of a transform


class _Fourier(Op):
    n: int = integer(1, MAX_LENGTH)


class RFFT(_Fourier):
    """``numpy.fft.rfft`` of a last axis of n: (..., n) to (..., n // 2 + 1, 2), real and imaginary parts."""

    kind: ClassVar[str] = "rfft"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = features(inputs, self.n)
        return (Spec((*x.shape[:-1], self.n // 2 + 1, 2), x.time),)

    def input_spec(self) -> Spec:
        return Spec((self.n,))


class IRFFT(_Fourier):
    """``numpy.fft.irfft``: (..., n // 2 + 1, 2), real and imaginary parts, to (..., n)."""

    kind: ClassVar[str] = "irfft"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, FLOAT)
        if x.shape[-2:] != (self.n // 2 + 1, 2):
            raise GraphError(f"input must have last axes ({self.n // 2 + 1}, 2), got {x}")
        return (Spec((*x.shape[:-2], self.n), x.time),)

    def input_spec(self) -> Spec:
        return Spec((self.n // 2 + 1, 2))
