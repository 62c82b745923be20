"""Ops between steps and frames of several: cutting a sequence into frames, and laying frames over each other."""

from __future__ import annotations

from typing import ClassVar

from ..errors import GraphError
from .convolution import windows
from .fields import MAX_STEPS, integer
from .spec import Spec
from .temporal import Temporal


class Framing(Temporal):
    """Cut samples, (B, T) or (B, T, 1), into frames of `size` every `hop`: (B, T', size), whole frames alone.

    Examples
    --------
    >>> Framing(size=512, hop=256).output_length(16000)
    61
    """

    kind: ClassVar[str] = "framing"
    size: int = integer(1, MAX_STEPS)
    hop: int = integer(1, MAX_STEPS)

    @property
    def stepwise(self) -> bool:
        return self.size == self.hop == 1

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = self.whole(inputs)
        if x.shape not in ((), (1,)):
            raise GraphError(f"input must be samples (B, T) or (B, T, 1), got {x}")
        return (Spec((self.size,)),)

    def input_spec(self) -> Spec:
        return Spec(())

    def output_length(self, length: int) -> int:
        return max(0, windows(length, self.size, self.hop, 1))


class OverlapAdd(Temporal):
    """Sum frames (B, T, size, \\*rest) laid every `hop` steps: (B, T', \\*rest), T' = T * hop - skip + tail.

    Parameters
    ----------
    size, hop : int
        Steps of a frame, and from the beginning of one to that of the next.
    skip : int
        Steps cut off the front.
    tail : int, optional
        Steps behind the first T * hop that belong to the sequence: size - hop are all that the last frames reach, more
        add zeros, and a negative number cuts steps off. Left out: none, but flushing a stream gives size - hop.

    Examples
    --------
    >>> OverlapAdd(size=512, hop=256).output_length(61)
    15616
    >>> OverlapAdd(size=4, hop=2, skip=1, tail=1).infer((Spec((4, 8)),))  # a transposed convolution with padding 1
    (Spec(shape=(8,), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "overlap_add"
    size: int = integer(1, MAX_STEPS)
    hop: int = integer(1, MAX_STEPS)
    skip: int = integer(0, MAX_STEPS, default=0)
    tail: int | None = integer(-MAX_STEPS, MAX_STEPS, default=None)

    @property
    def stepwise(self) -> bool:
        return self.hop == 1 and self.skip == 0 and self.tail in (None, 0)

    def problems(self) -> list[str]:
        if self.tail is None and self.hop > self.size:
            return [f"hop must be at most size {self.size} without a tail, got {self.hop}"]
        return []

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = self.whole(inputs)
        if x.shape[:1] != (self.size,):
            raise GraphError(f"input must be frames of {self.size} steps, got {x}")
        return (Spec(x.shape[1:]),)

    def input_spec(self) -> Spec:
        return Spec((self.size,))

    def output_length(self, length: int) -> int:
        return max(0, length * self.hop - self.skip + (self.tail or 0)) if length else 0
