"""The network under construction: what the readers add to a graph of one input and one output."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ... import reference
from ...errors import ConvertError
from ...graph import Dense, Graph, Spec, TimeConv
from ..program.builder import Builder
from ..program.emit import Emitter
from ..program.values import Array

INPUT, OUTPUT = "x", "y"


class Net(Builder):
    """Adds the layers of a file, each named after its place there.

    Parameters
    ----------
    shape : tuple of int
        The frame of the input.
    rests : sequence of array, optional
        Of every convolution in the order of their calls, what its input holds before the first step; zeros where
        it is left out.
    still : bool
        Make convolutions that see the same frame at all steps, to find out what `rests` are.
    """

    def __init__(self, shape: tuple[int, ...], rests: Sequence[Array] = (), *, still: bool = False) -> None:
        self.name, self.emit, self.still = INPUT, Emitter(), still
        self.x = self.emit.input(INPUT, Spec(shape))
        self._rests, self.heard = [*rests], list[str]()  # heard: the values whose rests are asked for
        self._lifts: dict[str, Array] = {}  # of values that are held as they differ from these

    def vector(self, value: str, size: int, what: str) -> str:
        """Return a value as a frame of one axis, which must have `size` elements."""
        shape = self.shape(value)
        if int(np.prod(shape)) != size:
            raise ConvertError(f"{what} must be for an input of {size}, got one of shape {shape}")
        return self.reshape(value, (size,))

    def convolve(self, value: str, weight: Array, bias: Array | None, dilation: int = 1, groups: int = 1) -> str:
        """Add a causal convolution over time by a weight (O, C / groups, K), the last of the K of the latest step."""
        channels, kernel = inner_size(self.shape(value), self.name), weight.shape[2]
        lift = self._lifts.get(value, np.zeros(channels))
        taps = weight.sum(2, dtype=np.float64)
        if kernel > 1 and self.still:
            self.heard.append(value)
            return self.add(TimeConv(taps[:, :, None], bias, groups=groups), value)
        if kernel > 1:  # the history of a convolution is zero: let that stand for the rest
            rest = self._rests.pop(0) if self._rests else np.zeros(channels)
            if (rest != lift).any():
                name, self.name = self.name, f"{self.name}.rest"
                value, self.name = self.plus(value, self.constant(lift - rest)), name
            lift = rest
        if lift.any():
            parts = np.einsum("goi,gi->go", taps.reshape(groups, -1, weight.shape[1]), lift.reshape(groups, -1))
            bias = parts.reshape(-1) + (0.0 if bias is None else bias)
        if kernel == groups == 1:
            return self.add(Dense(weight[:, :, 0], bias), value)
        before = dilation * (kernel - 1)
        return self.add(TimeConv(weight, bias, dilation=dilation, before=before, groups=groups), value)

    def carry_on(self, value: str, weight: Array, bias: Array | None, groups: int, z: str) -> str:
        """Add the sum of `value` and a convolution of `z` of one step.

        Where its rest is known, the sum is held as it differs from that, which costs a bias, and spares convolutions
        that read it a subtraction of their own; `whole` gives it back.
        """
        rest = self._rests.pop(0) if self._rests else None
        if rest is not None:
            bias = (0.0 if bias is None else bias) + self._lifts.get(value, 0.0) - rest
        name, part = self.name, self.convolve(z, weight, bias, groups=groups)
        self.name = f"{name}.sum"
        total = self.plus(value, part)
        if rest is not None:
            self._lifts[total] = rest
        self.heard += [total] * self.still
        return total

    def whole(self, value: str) -> str:
        """Return a value as it is, where it is held as it differs from its rest."""
        lift = self._lifts.get(value)
        return value if lift is None else self.plus(value, self.constant(lift))

    def graph(self, value: str) -> Graph:
        """Return the graph that gives a value."""
        return self.emit.build({OUTPUT: value}, self.emit.feedback)


def inner_size(shape: tuple[int, ...], what: str) -> int:
    """Return the size of a frame of one axis."""
    if len(shape) != 1:
        raise ConvertError(f"input of {what} must have one axis, got shape {shape}")
    return shape[0]


def at_rest(shape: tuple[int, ...], build: Callable[[Net], str]) -> Graph:
    """Return the graph of a network before which there was silence: zeros at the input for as long as it looks back.

    So files of Neural Amp Modeler are trained, and played. What convolutions behind the first then saw is the same at
    each step, but not zero.
    """
    still = Net(shape, still=True)
    value = build(still)
    rests: list[Array] = []
    if heard := [*dict.fromkeys(still.heard)]:
        graph = Graph(still.emit.inputs, still.emit.order, heard)
        found = dict(zip(heard, reference.run(graph, np.zeros((1, 1, *shape)))[0], strict=True))
        rests = [found[name].reshape(-1) for name in still.heard]
        if not all((np.abs(rest) <= np.finfo(np.float32).max).all() for rest in rests):
            raise ConvertError("weights must give numbers that are finite in float32 for an input of zeros, got others")
    net = Net(shape, rests)
    return net.graph(build(net)) if still.heard else still.graph(value)
