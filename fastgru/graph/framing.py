"""Ops between steps and windows of several: cutting a sequence into them, and laying them over each other."""

from __future__ import annotations

from typing import ClassVar

from ..errors import GraphError
from .convolution import extent, windows
from .fields import MAX_STEPS, integer
from .spec import ANY, Spec, take, whole
from .temporal import Temporal


class Framing(Temporal):
    """Cut a sequence into windows of `size` steps, one every `hop`, whole windows alone: (B, T', size, \\*frame).

    Samples, (B, T) or (B, T, 1), become (B, T', size). T' = (T + before + after - extent) // hop + 1.

    Parameters
    ----------
    size, hop : int
        Steps of a window, and from the beginning of one to that of the next.
    dilation : int
        Steps from one of a window to its next: it reaches over an extent of dilation * (size - 1) + 1.
    before, after : int
        Steps of zeros around the sequence. With before = extent - 1 and hop 1 no window looks ahead.

    Examples
    --------
    >>> Framing(size=512, hop=256).output_length(16000)
    61
    >>> Framing(size=3, hop=1, before=2).infer((Spec((2, 5)),))
    (Spec(shape=(3, 2, 5), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "framing"
    size: int = integer(1, MAX_STEPS)
    hop: int = integer(1, MAX_STEPS)
    dilation: int = integer(1, MAX_STEPS, default=1)
    before: int = integer(0, MAX_STEPS, default=0)
    after: int = integer(0, MAX_STEPS, default=0)

    @property
    def extent(self) -> int:
        """The steps that one window reaches over."""
        return extent(self.size, self.dilation)

    @property
    def stepwise(self) -> bool:
        return self.hop == 1 and self.before == self.extent - 1 and self.after == 0

    def problems(self) -> list[str]:
        if self.extent > MAX_STEPS:
            return [f"window must reach over at most {MAX_STEPS} steps, got {self.extent}"]
        return []

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = whole(*take(inputs, ANY))
        return (Spec((self.size, *(() if x.shape == (1,) else x.shape)), dtype=x.dtype),)

    def input_spec(self) -> Spec:
        return Spec(())

    def output_length(self, length: int) -> int:
        return max(0, windows(length + self.before + self.after, self.size, self.hop, self.dilation))


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
