"""Ops that take some steps of a sequence and leave the others: a slice of time, and one step."""

from __future__ import annotations

from typing import ClassVar

from .fields import MAX_STEPS, integer
from .spec import ANY, Spec, take, whole
from .temporal import Temporal


class _Chosen(Temporal):
    """The part these ops share: one input with time, of any frame and dtype."""

    def whole(self, inputs: tuple[Spec, ...]) -> Spec:
        return whole(*take(inputs, ANY))


class TimeSlice(_Chosen):
    """Take ``x[:, start:stop:step]``, the steps of a slice of time, as Python counts them: (B, T', \\*frame).

    A slice that begins at a step counted from the front and ends at one counted from the end streams: it drops steps,
    or is late by as many as it leaves out at the end. Any other needs the whole sequence.

    Parameters
    ----------
    start : int
        The first step; a negative one is counted from the end.
    stop : int, optional
        The step before which the slice ends, counted alike; left out: the end of the sequence.
    step : int
        From one step taken to the next.

    Examples
    --------
    >>> TimeSlice(start=2, stop=-1, step=3).output_length(16), TimeSlice(start=-5).output_length(16)
    (5, 5)
    >>> TimeSlice(start=-5).streamable
    False
    """

    kind: ClassVar[str] = "time_slice"
    start: int = integer(-MAX_STEPS, MAX_STEPS, default=0)
    stop: int | None = integer(-MAX_STEPS, MAX_STEPS, default=None)
    step: int = integer(1, MAX_STEPS, default=1)

    @property
    def blocker(self) -> str:  # type: ignore[override]
        """Why the slice needs the whole sequence; empty where it streams."""
        if self.start >= 0 and (self.stop is None or self.stop < 0):
            return ""
        ends = "begins at a step counted from the end" if self.start < 0 else "ends at a step counted from the front"
        return f"{ends}; a TimeStep of a Framing over as many steps streams"

    @property
    def stepwise(self) -> bool:
        return (self.start, self.stop, self.step) == (0, None, 1)

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (self.whole(inputs),)

    def output_length(self, length: int) -> int:
        return len(range(*slice(self.start, self.stop, self.step).indices(length)))


class TimeStep(_Chosen):
    """Take ``x[:, index]``, one step of the sequence without its axis: (B, T, \\*frame) to (B, \\*frame).

    With `lengths` or a mask it is one of the steps of its row that count; zeros where there are too few of them. The
    output of a stream is that of the steps so far.

    Parameters
    ----------
    index : int
        Which step: 0 is the first, -1 the last.

    Examples
    --------
    >>> TimeStep().infer((Spec((4,), dtype="int"),))
    (Spec(shape=(4,), time=False, dtype='int'),)
    """

    kind: ClassVar[str] = "time_step"
    index: int = integer(-MAX_STEPS, MAX_STEPS - 1, default=-1)

    @property
    def fewest(self) -> int:
        return self.index + 1 if self.index >= 0 else -self.index

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = self.whole(inputs)
        return (Spec(x.shape, time=False, dtype=x.dtype),)
