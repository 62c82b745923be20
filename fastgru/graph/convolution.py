"""Convolutions and pooling over the spatial axes of frames (C, *spatial)."""

from __future__ import annotations

from math import prod
from operator import ge
from typing import ClassVar

from ..errors import GraphError
from .activations import Activation
from .fields import integer, one_of
from .op import REST, Op, check_shape, no_softmax, param
from .precision import Array
from .spec import FLOAT, Spec, take

POOL_MODES = ("max", "average")
MAX_SPATIAL = 3
MAX_ROOM = 2**24  # elements of a padded or spread frame, where those are more than GROWTH times the frame's own
GROWTH = 16
# Fields with an entry per spatial axis -> the entry where none is given.
PER_AXIS = {"strides": 1, "dilations": 1, "before": 0, "after": 0, "output_padding": 0}


def extent(kernel: int, dilation: int) -> int:
    """How many elements a window reaches over."""
    return dilation * (kernel - 1) + 1


def windows(n: int, kernel: int, stride: int, dilation: int) -> int:
    """How many windows fit on n elements, padding included; not positive if none does."""
    return (n - extent(kernel, dilation)) // stride + 1


def group_problems(weight: Array, groups: int, axis: int) -> list[str]:
    """What is wrong with `groups`, which must divide that axis of the weight."""
    n = weight.shape[axis]
    return (
        [] if groups >= 1 and n % groups == 0 else [f"groups must divide axis {axis} of {weight.shape}, got {groups}"]
    )


class _Windowed(Op):
    """What ops with windows over spatial axes share; the fields of `PER_AXIS` may be left out."""

    def window(self) -> tuple[int, ...]:
        """Size of the window along every spatial axis."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in PER_AXIS.items():
            if getattr(self, name, None) == ():
                object.__setattr__(self, name, (value,) * len(self.window()))

    def problems(self) -> list[str]:
        found: list[str] = []
        window = self.window()
        if not 1 <= len(window) <= MAX_SPATIAL:
            found.append(f"kernel must have 1 to {MAX_SPATIAL} axes, got {window}")
        for name in PER_AXIS:
            value = getattr(self, name, ())
            if value and len(value) != len(window):
                found.append(f"{name} must have one entry per axis of the kernel {window}, got {value}")
        return found

    def frame(self, inputs: tuple[Spec, ...], channels: int | None = None) -> Spec:
        """The one input (C, *spatial), checked."""
        (x,) = take(inputs, FLOAT)
        if len(x.shape) != 1 + len(self.window()):
            raise GraphError(f"input must have a frame of channels and {len(self.window())} spatial axes, got {x}")
        if channels not in (None, x.shape[0]):
            raise GraphError(f"input must have {channels} channels, got {x}")
        return x


class Conv(_Windowed):
    """y[o, i] = activation(bias[o] + sum of weight[o, c, k] * x[c, i * stride + k * dilation - before]).

    Parameters
    ----------
    weight : (O, C / groups, *kernel) array
        With 1 to 3 spatial axes.
    bias : (O,) array, optional
    strides, dilations, before, after : tuple of int
        Per spatial axis; `before` and `after` are zeros around x. Left out: no stride, dilation or padding.
    groups : int
        Blocks of channels that see only each other.
    activation : Activation

    Examples
    --------
    >>> import numpy as np
    >>> Conv(np.ones((8, 2, 3, 3)), strides=(2, 1)).infer((Spec((2, 9, 9)),))
    (Spec(shape=(8, 4, 7), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "conv"
    weight: Array = param("O", "C/groups", REST)
    bias: Array | None = param("O", optional=True)
    strides: tuple[int, ...] = integer(1, default=())
    dilations: tuple[int, ...] = integer(1, default=())
    before: tuple[int, ...] = integer(0, default=())
    after: tuple[int, ...] = integer(0, default=())
    groups: int = 1
    activation: Activation = "linear"  # type: ignore[assignment]

    def window(self) -> tuple[int, ...]:
        return self.weight.shape[2:]

    def problems(self) -> list[str]:
        found = [*super().problems(), *group_problems(self.weight, self.groups, 0)]
        check_shape(found, "bias", self.bias, self.weight.shape[:1])
        no_softmax(found, "activation", self.activation)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = self.frame(inputs, self.weight.shape[1] * self.groups)
        return (Spec((self.weight.shape[0], *_sizes(self, x)), x.time),)

    def macs_for(self, inputs: tuple[Spec, ...]) -> int:
        return int(self.weight.size) * prod(self.infer(inputs)[0].shape[1:])


class ConvTranspose(_Windowed):
    """The transpose of `Conv`: each x[c, i] adds weight[c, o] * x[c, i] from i * stride - before on (ONNX, PyTorch).

    Parameters
    ----------
    weight : (C, O / groups, *kernel) array
        With 1 to 3 spatial axes.
    bias : (O,) array, optional
    strides, dilations, before, after, output_padding : tuple of int
        Per spatial axis; `before` and `after` are what is cut off, `output_padding` what is added behind.
    groups : int
    activation : Activation
    """

    kind: ClassVar[str] = "conv_transpose"
    weight: Array = param("C", "O/groups", REST)
    bias: Array | None = param("O", optional=True)
    strides: tuple[int, ...] = integer(1, default=())
    dilations: tuple[int, ...] = integer(1, default=())
    before: tuple[int, ...] = integer(0, default=())
    after: tuple[int, ...] = integer(0, default=())
    output_padding: tuple[int, ...] = integer(0, default=())
    groups: int = 1
    activation: Activation = "linear"  # type: ignore[assignment]

    def window(self) -> tuple[int, ...]:
        return self.weight.shape[2:]

    def problems(self) -> list[str]:
        found = [*super().problems(), *group_problems(self.weight, self.groups, 0)]
        check_shape(found, "bias", self.bias, (self.weight.shape[1] * self.groups,))
        no_softmax(found, "activation", self.activation)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = self.frame(inputs, self.weight.shape[0])
        sizes = tuple(
            (n - 1) * stride + extent(k, dilation) - before - after + more
            for n, k, stride, dilation, before, after, more in zip(
                x.shape[1:], self.window(), self.strides, self.dilations, self.before, self.after,
                self.output_padding, strict=True,
            )
        )  # fmt: skip
        _check_sizes(sizes, x)
        room = [max(n, n + b + a) for n, b, a in zip(sizes, self.before, self.after, strict=True)]
        _check_room(x, x.shape[0] * prod(room), x.shape[0] * prod(sizes))
        return (Spec((self.weight.shape[1] * self.groups, *sizes), x.time),)

    def macs_for(self, inputs: tuple[Spec, ...]) -> int:
        return int(self.weight.size) * prod(inputs[0].shape[1:])


class Pool(_Windowed):
    """The largest or the mean element of each window, channel by channel.

    Parameters
    ----------
    mode : {"max", "average"}
    kernel : tuple of int
        Size of the window along 1 to 3 spatial axes.
    strides, dilations, before, after : tuple of int
        As for `Conv`; no maximum is of the padding.
    count_padding : bool
        Whether a mean counts the padding in its window, as zeros.

    Examples
    --------
    >>> Pool("max", (2,), strides=(2,)).infer((Spec((4, 9)),))
    (Spec(shape=(4, 4), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "pool"
    mode: str
    kernel: tuple[int, ...] = integer(1)
    strides: tuple[int, ...] = integer(1, default=())
    dilations: tuple[int, ...] = integer(1, default=())
    before: tuple[int, ...] = integer(0, default=())
    after: tuple[int, ...] = integer(0, default=())
    count_padding: bool = False

    def window(self) -> tuple[int, ...]:
        return self.kernel

    def problems(self) -> list[str]:
        found = super().problems()
        one_of(found, "mode", self.mode, POOL_MODES)
        if found:
            return found
        reach = tuple(map(extent, self.kernel, self.dilations or (1,) * len(self.kernel)))
        for name in ("before", "after"):
            if any(map(ge, getattr(self, name), reach)):
                found.append(f"{name} must be less than the windows' extent {reach}, got {getattr(self, name)}")
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        x = self.frame(inputs)
        sizes = _sizes(self, x)
        if any(d > n and b for d, n, b in zip(self.dilations, x.shape[1:], self.before, strict=True)):
            raise GraphError(f"dilations must be at most the axes of {x} where they are padded, got {self.dilations}")
        return (Spec((x.shape[0], *sizes), x.time),)


def _sizes(op: Conv | Pool, x: Spec) -> tuple[int, ...]:
    """How many windows there are along every spatial axis of x."""
    sizes = tuple(
        windows(before + n + after, k, stride, dilation)
        for n, k, stride, dilation, before, after in zip(
            x.shape[1:], op.window(), op.strides, op.dilations, op.before, op.after, strict=True
        )
    )
    _check_sizes(sizes, x)
    padded = [b + n + a for b, n, a in zip(op.before, x.shape[1:], op.after, strict=True)]
    _check_room(x, x.shape[0] * prod(padded), prod(x.shape))
    return sizes


def _check_sizes(sizes: tuple[int, ...], x: Spec) -> None:
    if min(sizes) < 1:
        raise GraphError(f"output must have at least 1 element along every spatial axis, got {sizes} from {x}")


def _check_room(x: Spec, room: int, elements: int) -> None:
    """Raise unless a padded or spread frame, which is held in memory, is of a size that follows from the frame's."""
    if room > (most := max(MAX_ROOM, GROWTH * elements)):
        raise GraphError(f"frame with its padding must have at most {most} elements, got {room} from {x}")
