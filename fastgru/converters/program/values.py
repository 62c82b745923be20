"""What a tensor of the source is while its model is translated: an array, or a value of the graph with labelled axes.

Every axis of such a tensor is a row-major product of atoms: ``"B"`` the batch, a `Length` the steps of time, or a
number, an axis of the frame. Transposes that only move batch and time, and reshapes that only merge or part them,
are then relabellings that cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConvertError
from ...graph import Spec
from .sizes import BATCH, Atom, Dim, Size, Symbol, product, size_of
from .steps import STEPS, Length

MOST_MADE = 2**25  # elements of an array that is made from sizes alone
Axis = tuple[Atom, ...]
Array = NDArray[Any]


class NeedsSequenceLength(ConvertError):
    """An op needs the number of steps. With time as an axis of the frame, the model may be expressible."""


@dataclass(frozen=True)
class Tensor:
    """A value of the graph that stands for an ONNX tensor.

    Parameters
    ----------
    value : str
        Its name in the graph.
    axes : tuple of Axis
        What every axis of the ONNX tensor is; together they name every frame axis once.
    spec : Spec
        Of the value.
    elem : int
        ONNX's element type.
    """

    value: str
    axes: tuple[Axis, ...]
    spec: Spec
    elem: int

    @property
    def rank(self) -> int:
        """Axes of the ONNX tensor."""
        return len(self.axes)

    def size(self, axis: int) -> Size:
        """The length of an axis."""
        return product(self.spec.shape[a] if isinstance(a, int) else size_of(a) for a in self.axes[axis])

    def sizes(self) -> tuple[Size, ...]:
        """The shape of the ONNX tensor."""
        return tuple(self.size(i) for i in range(self.rank))

    def frame_axis(self, axis: int) -> int:
        """The frame axis that an ONNX axis is.

        Raises
        ------
        NeedsSequenceLength
            When it is time, or merged with it.
        ConvertError
            When it is the batch, or merged with another axis.
        """
        atoms = self.axes[axis]
        if len(atoms) != 1 or not isinstance(atoms[0], int):
            kind = NeedsSequenceLength if any(map(is_time, atoms)) else ConvertError
            raise kind(f"axis {axis} must be one of fixed size, got {describe(self, axis)}")
        return atoms[0]

    def is_frame(self, axis: int) -> bool:
        """Whether an ONNX axis is a frame axis and nothing else."""
        return len(self.axes[axis]) == 1 and isinstance(self.axes[axis][0], int)

    def is_time(self, axis: int) -> bool:
        """Whether an ONNX axis is time and nothing else."""
        return len(self.axes[axis]) == 1 and is_time(self.axes[axis][0])

    def steps(self, axis: int) -> Length:
        """Return the number of steps of an axis of time."""
        (atom,) = self.axes[axis]
        assert isinstance(atom, Length)
        return atom

    def permuted(self, perm: Sequence[int]) -> Tensor:
        """With its ONNX axes in another order: nothing is moved."""
        return replace(self, axes=tuple(self.axes[i] for i in perm))

    def with_axes(self, axes: Iterable[Axis]) -> Tensor:
        """The same value under other labels."""
        return replace(self, axes=tuple(axes))

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.sizes()))})"


@dataclass(frozen=True)
class Unavailable:
    """A value that cannot be had; `reason` is None where the problem has been reported already."""

    reason: str | None = None


Value = Array | Tensor | Unavailable | None


def is_time(atom: Atom) -> bool:
    """Return True of time: the steps of the input, or those that a layer made of them."""
    return isinstance(atom, Length)


def over_time(x: Tensor) -> bool:
    """Return True for a tensor of all steps of time, False for one of a single step or without time."""
    return any(is_time(a) for axis in x.axes for a in axis)


def frames_of(axes: Iterable[Axis]) -> list[int]:
    """The frame axes in the order in which ONNX axes name them."""
    return [atom for axis in axes for atom in axis if isinstance(atom, int)]


def symbols_of(axes: Iterable[Axis]) -> list[Symbol]:
    """Batch and time in the order in which ONNX axes name them."""
    return [atom for axis in axes for atom in axis if not isinstance(atom, int)]


def describe(x: Tensor, axis: int) -> str:
    """An axis for a message."""
    names: dict[Atom, str] = {BATCH: "the batch", STEPS: "time"}
    atoms = x.axes[axis]
    if not symbols_of([atoms]):
        return f"size {x.size(axis)}"
    if len(atoms) == 1:
        return names.get(atoms[0], f"time ({atoms[0]})")
    return f"{x.size(axis)} (batch or time merged with others)"


def is_symbolic(value: Any) -> bool:
    """Whether an array holds sizes that are only known when the model runs."""
    return isinstance(value, np.ndarray) and value.dtype == object


def plain(sizes: Iterable[Size]) -> Array:
    """Sizes as an int64 array, or as an object array where one is symbolic."""
    listed = list(sizes)
    if any(isinstance(size, Dim) for size in listed):
        array = np.empty(len(listed), dtype=object)
        array[:] = listed
        return array
    return np.array(listed, dtype=np.int64)


def elements(shape: Iterable[int]) -> int:
    """How many numbers an array of this shape holds."""
    return prod(int(n) for n in shape)


def room(*shape: int) -> None:
    """Refuse to make an array of this shape out of sizes alone, which a file of a few bytes may declare.

    Raises
    ------
    ConvertError
        When it is larger than `MOST_MADE`.
    """
    if elements(shape) > MOST_MADE:
        raise ConvertError(f"array made from sizes must have at most {MOST_MADE} elements, got shape {shape}")
