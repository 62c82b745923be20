"""Convolutions and transposed convolutions, over frames and over time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Conv, ConvTranspose, Dense
from ..tensors.steps import overlapped, windowed
from ..tensors.transposed import Along, over_time
from ..tensors.values import Array, Tensor
from ..tensors.views import over_rows
from .call import Call, Translator
from .temporal import retimed, time_conv, unfolded
from .windows import Window, check_kernel, sizes, time_axis, window


@dataclass
class Convolution:
    """What a convolution node says.

    Parameters
    ----------
    weight : (O, C/groups, \\*kernel) array, or (C, O/groups, \\*kernel) of a transposed one
    bias : (O,) array or None
    window : Window
    groups : int
    transposed : bool
    output_padding : list of int
    """

    weight: Array
    bias: Array | None
    window: Window
    groups: int
    transposed: bool = False
    output_padding: list[int] = field(default_factory=list)

    def apply(self, call: Call, value: str) -> str:
        """Over the spatial axes of a frame (C, \\*spatial)."""
        _, strides, dilations, before, after = map(tuple, self.window.fields())
        if not strides:
            return self._rowwise(call, value)
        if self.transposed:
            op = ConvTranspose(
                self.weight, self.bias, strides, dilations, before, after, tuple(self.output_padding), self.groups
            )
            return call.add(op, value)
        return call.add(Conv(self.weight, self.bias, strides, dilations, before, after, self.groups), value)

    def _rowwise(self, call: Call, value: str) -> str:
        """Without spatial axes: a product of the channels."""
        if self.groups == 1:
            return call.add(Dense(self.weight.T if self.transposed else self.weight, self.bias), value)
        weight = self.weight[..., None]
        cls = ConvTranspose if self.transposed else Conv
        y = call.add(cls(weight, self.bias, groups=self.groups), call.reshape(value, (*call.shape(value), 1)))
        return call.reshape(y, call.shape(y)[:1])

    def without(self, i: int, weight: Array) -> Convolution:
        """Along the other spatial axes, with other weights."""
        rest = [n for j, n in enumerate(self.output_padding) if j != i]
        return Convolution(weight, self.bias, self.window.without(i), self.groups, self.transposed, rest)


def conv(call: Call) -> Tensor:
    """Conv."""
    weight, bias = call.array(1, "W"), call.optional(2, "B")
    return convolve(call, call.tensor(0), weight, bias)


def convolve(call: Call, x: Tensor, weight: Array, bias: Array | None) -> Tensor:
    """The convolution that a node's attributes describe."""
    _check(x, weight)
    check_kernel(call, weight.shape[2:])
    return run(call, x, Convolution(weight, bias, window(call, x, weight.shape[2:]), call.attr("group", 1)))


def _check(x: Tensor, weight: Array) -> None:
    if x.rank < 3 or weight.ndim != x.rank or weight.size == 0:
        raise ConvertError(f"weights must have as many axes as the input {x}, three or more, got {weight.shape}")


def run(call: Call, x: Tensor, op: Convolution) -> Tensor:
    """A convolution of (N, C, \\*spatial), one of whose spatial axes may be time."""
    i = time_axis(x)
    if i is None:
        return over_rows(call, x, range(1, x.rank), lambda value: op.apply(call, value))
    others = [a for a in range(1, x.rank) if a != i + 2]
    if op.window.trivial(i):
        inner = op.without(i, np.take(op.weight, 0, axis=i + 2))
        return over_rows(call, x, others, lambda value: inner.apply(call, value))
    kernel, strides, dilations, before, after = (values[i] for values in op.window.fields())
    extent = op.window.extent(i)
    if op.transposed:
        if strides != 1 or op.output_padding[i] or max(before, after) >= extent:
            return _overlapping(call, x, op, i)
        before, after = extent - 1 - before, extent - 1 - after
    steps = {"stride": strides, "dilation": dilations, "before": before, "after": after}

    def one(value: str) -> str:
        if len(others) == 1:
            return call.add(time_conv(op.weight, op.bias, transposed=op.transposed, groups=op.groups, **steps), value)
        weight = np.moveaxis(op.weight, i + 2, 2)
        if op.transposed:  # (C, O/groups, taps, ...): the taps of a channel are channels of their own
            weight = weight[:, :, ::-1].swapaxes(1, 2).reshape(-1, *weight.shape[1:2], *weight.shape[3:])
        else:
            weight = weight.reshape(weight.shape[0], -1, *weight.shape[3:])
        return op.without(i, weight).apply(call, unfolded(call, value, kernel, **steps))

    y = over_rows(call, x, others, one)
    symbol = windowed(str(x.axes[i + 2][0]), extent, strides, before + after)
    return call.result(y.value, retimed(y.axes, i + 2, symbol), y.elem)


def _overlapping(call: Call, x: Tensor, op: Convolution, i: int) -> Tensor:
    """A transposed convolution over time that gives other than as many steps as it sees."""
    axes = [Along(*values) for values in zip(*op.window.fields()[1:], op.output_padding, strict=True)]
    along, others = axes[i], axes[:i] + axes[i + 1 :]
    weight = np.moveaxis(op.weight, i + 2, 2)

    def one(value: str) -> str:
        for part in over_time(weight, along, others, op.groups, call.shape(value)):
            value = call.add(part, value)
        if op.bias is None:
            return value
        bias = op.bias.reshape(-1, *[1] * len(others))
        return call.add(Add(), value, call.constant(bias))

    y = over_rows(call, x, [a for a in range(1, x.rank) if a != i + 2], one)
    more = op.window.extent(i) - along.stride - along.before - along.after + along.extra
    return call.result(y.value, retimed(y.axes, i + 2, overlapped(str(x.axes[i + 2][0]), along.stride, more)), y.elem)


def conv_transpose(call: Call) -> Tensor:
    """ConvTranspose; ``output_shape`` and ``auto_pad`` become what is cut off."""
    x, weight, bias = call.tensor(0), call.array(1, "W"), call.optional(2, "B")
    _check(x, weight)
    rank, kernel = x.rank - 2, weight.shape[2:]
    check_kernel(call, kernel)
    more = list(call.attr("output_padding") or [0] * rank)
    shape, auto = call.attr("output_shape"), call.attr("auto_pad", "NOTSET")
    found = _explicit(call, x, kernel) if shape is not None or auto.startswith("SAME") else window(call, x, kernel)
    if shape is not None and len(shape) == x.rank:
        shape = shape[2:]
    if shape is not None or auto.startswith("SAME"):
        for i, n in enumerate(sizes(x)):
            if n is None:
                if shape is not None:
                    raise ConvertError(f"output_shape must be left out over time, got {shape}")
                n = 1  # of any length as much is cut off
            wanted = shape[i] if shape is not None else n * found.strides[i]
            cut = (n - 1) * found.strides[i] + found.extent(i) + more[i] - wanted
            if cut < 0:
                more[i], cut = more[i] - cut, 0
            found.before[i], found.after[i] = _halves(cut, auto)
    groups = call.attr("group", 1)
    return run(call, x, Convolution(weight, bias, found, groups, True, more))


def _halves(cut: int, auto: str) -> tuple[int, int]:
    """What is cut off before and after: of an odd count more before, unless SAME_UPPER."""
    small, large = cut // 2, cut - cut // 2
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def _explicit(call: Call, x: Tensor, kernel: tuple[int, ...]) -> Window:
    """The window without padding, which follows from the output's shape."""
    rank = x.rank - 2
    call.attr("pads")
    strides, dilations = (list(call.attr(n) or [1] * rank) for n in ("strides", "dilations"))
    return Window(list(kernel), strides, dilations, [0] * rank, [0] * rank)


OPERATORS: dict[str, Translator] = {"Conv": conv, "ConvTranspose": conv_transpose}
