"""Ops that look at several steps at once, or change how many there are."""

from __future__ import annotations

from typing import ClassVar

from ..errors import GraphError
from .activations import Activation
from .convolution import POOL_MODES, extent, group_problems, windows
from .fields import MAX_STEPS, finite, integer, one_of
from .op import Op, check_shape, no_softmax, param
from .precision import Array
from .spec import FLOAT, Spec, take, whole

OUTSIDE = ("value", "edge", "reflect")
TIME_REDUCTIONS = ("sum", "mean", "max", "min", "l2")


class Temporal(Op):
    """What these ops share: one float input with time."""

    @property
    def stepwise(self) -> bool:
        return False

    def whole(self, inputs: tuple[Spec, ...]) -> Spec:
        """The one input, checked."""
        return whole(*take(inputs, FLOAT))


class TimeConv(Temporal):
    """A convolution over time: (B, T, C) to (B, T', O), T' = (T + before + after - extent) // stride + 1.

    Parameters
    ----------
    weight : (O, C / groups, K) array
        The last of the K is of the latest step. They reach over an extent of dilation * (K - 1) + 1 steps.
    bias : (O,) array, optional
    stride, dilation : int
    before, after : int
        Steps of zeros around the sequence. With before = extent - 1 and stride 1 no step looks ahead.
    groups : int
        Blocks of channels that see only each other.
    activation : Activation

    Examples
    --------
    >>> import numpy as np
    >>> TimeConv(np.ones((8, 4, 3)), before=2).output_length(16)
    16
    """

    kind: ClassVar[str] = "time_conv"
    weight: Array = param("O", "C/groups", "K")
    bias: Array | None = param("O", optional=True)
    stride: int = integer(1, MAX_STEPS, default=1)
    dilation: int = integer(1, MAX_STEPS, default=1)
    before: int = integer(0, MAX_STEPS, default=0)
    after: int = integer(0, MAX_STEPS, default=0)
    groups: int = 1
    activation: Activation = "linear"  # type: ignore[assignment]

    @property
    def extent(self) -> int:
        """The steps that one window reaches over."""
        return extent(self.weight.shape[2], self.dilation)

    @property
    def stepwise(self) -> bool:
        return self.stride == 1 and self.before == self.extent - 1 and self.after == 0

    def problems(self) -> list[str]:
        found = group_problems(self.weight, self.groups, 0)
        if self.extent > MAX_STEPS:
            found.append(f"window must reach over at most {MAX_STEPS} steps, got {self.extent}")
        check_shape(found, "bias", self.bias, self.weight.shape[:1])
        no_softmax(found, "activation", self.activation)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x, channels = self.whole(inputs), self.weight.shape[1] * self.groups
        if x.shape != (channels,):
            raise GraphError(f"input must have a frame of {channels} channels, got {x}")
        return (Spec(self.weight.shape[:1]),)

    def input_spec(self) -> Spec:
        return Spec((self.weight.shape[1] * self.groups,))

    def macs(self) -> int:
        return int(self.weight.size)

    def output_length(self, length: int) -> int:
        return max(0, windows(length + self.before + self.after, self.weight.shape[2], self.stride, self.dilation))


class TimePool(Temporal):
    """The largest or the mean of every `size` steps, element by element, every `stride` steps.

    Parameters
    ----------
    mode : {"max", "average"}
    size, stride : int
    before, after : int
        Steps of padding around the sequence, fewer than `size`; no maximum is of the padding.
    count_padding : bool
        Whether a mean counts the padding in its window, as zeros.
    """

    kind: ClassVar[str] = "time_pool"
    mode: str
    size: int = integer(1, MAX_STEPS)
    stride: int = integer(1, MAX_STEPS)
    before: int = integer(0, MAX_STEPS, default=0)
    after: int = integer(0, MAX_STEPS, default=0)
    count_padding: bool = False

    @property
    def stepwise(self) -> bool:
        return self.stride == 1 and self.before == self.size - 1 and self.after == 0

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "mode", self.mode, POOL_MODES)
        for name in ("before", "after"):
            if getattr(self, name) >= self.size:
                found.append(f"{name} must be less than size {self.size}, got {getattr(self, name)}")
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (self.whole(inputs),)

    def output_length(self, length: int) -> int:
        return max(0, windows(length + self.before + self.after, self.size, self.stride, 1))


class TimePad(Temporal):
    """Further steps before and after the sequence.

    Parameters
    ----------
    before, after : int
    value : float
        What they hold.
    outside : {"value", "edge", "reflect"}
        `value`; the first and the last step; or the sequence mirrored at these, which must then have more steps than
        are added at either end.

    Examples
    --------
    >>> TimePad(8, 8, outside="reflect").output_length(64)
    80
    """

    kind: ClassVar[str] = "time_pad"
    before: int = integer(0, MAX_STEPS, default=0)
    after: int = integer(0, MAX_STEPS, default=0)
    value: float = 0.0
    outside: str = "value"

    @property
    def fewest(self) -> int:
        """Steps that there must be where there are any."""
        return {"value": 0, "edge": 1, "reflect": max(self.before, self.after) + 1}[self.outside]

    @property
    def stepwise(self) -> bool:
        return self.before == self.after == 0

    def problems(self) -> list[str]:
        found: list[str] = []
        finite(found, value=self.value)
        one_of(found, "outside", self.outside, OUTSIDE)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (self.whole(inputs),)

    def output_length(self, length: int) -> int:
        return self.before + length + self.after


class TimeReduce(Temporal):
    """Fold the whole sequence, element by element, by a function of `TIME_REDUCTIONS`: the output has no time."""

    kind: ClassVar[str] = "time_reduce"
    blocker: ClassVar[str] = "folds the whole sequence; a TimePool over so many steps as may be waited for streams"
    function: str

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "function", self.function, TIME_REDUCTIONS)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (Spec(self.whole(inputs).shape, time=False),)


class TimeSoftmax(Temporal):
    """exp(x) over its sum along the whole sequence, element by element."""

    kind: ClassVar[str] = "time_softmax"
    blocker: ClassVar[str] = "divides by a sum over the whole sequence; give whole sequences, or sum over a window"

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        return (self.whole(inputs),)
