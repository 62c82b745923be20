"""One ATen call under translation: the graph it adds to, and what outlasts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from ...errors import ConvertError
from ...graph import Node, Spec, TimeReduce
from ..program.builder import Builder
from ..program.emit import Emitter
from ..program.pairs import Scores
from ..program.sizes import Dim, Size, difference, size_of
from ..program.steps import STEPS, Length
from ..program.values import Array, Tensor, Unavailable
from .sizes import Sizes

KINDS = ("bool", "int", "float")  # each promotes to those behind it


class RowOrder:
    """The indices of the rows of a batch, in their order."""


class Skipped(ConvertError):
    """An argument is not there, for a reason that is told apart."""

    def __init__(self, value: Unavailable) -> None:
        super().__init__(value.reason or "argument must be there, got none")
        self.value = value


COMPLEX_NUMBERS = (
    "argument must be of real numbers, got complex ones, which only arithmetic, exp, log, products of matrices, sums, "
    "moves and parts take: compute with their real and imaginary parts as tensors of their own"
)


@dataclass(frozen=True, eq=False)
class Complex:
    """A complex tensor: a last axis of real and imaginary parts, or each part alone.

    Attributes
    ----------
    pairs : Tensor or None
    real, imaginary : Tensor, array, number or None
        Of real numbers the imaginary part is None.
    """

    pairs: Tensor | None = None
    real: Any = None
    imaginary: Any = None


class First(NamedTuple):
    """One of the first steps of a sequence: the value that holds that, its number of steps, and which one it is."""

    sequence: str
    length: Size
    place: int


@dataclass
class Session:
    """The state that the calls of one translation share.

    Attributes
    ----------
    timed : bool
        True if an input has an axis of time; else every call of the module is a step, where it has states.
    states : list of str
        Values that are states given to the module.
    unfused : set of str
        Layers whose state must be that of a State node.
    firsts : dict of str to First
        Values that are one of the first steps of a sequence.
    masked : bool
        True if packed sequences are told by masks, not by the lengths of a call of the model.
    unpacked : bool
        True if a layer over time sees sequences that are not packed.
    laid : bool
        True if a fixed number of frames becomes samples, of which there could be any number.
    ending : str
        Appended to the name of a layer for the node that gives its last state.
    """

    emit: Emitter
    sizes: Sizes
    timed: bool = True
    states: list[str] = field(default_factory=list)
    unfused: set[str] = field(default_factory=set)
    firsts: dict[str, First] = field(default_factory=dict)
    masked: bool = False
    unpacked: bool = False
    laid: bool = False
    ending: str = ".last"


@dataclass
class Call(Builder):
    """A call, as its translator sees it.

    Parameters
    ----------
    name : str
        Nodes are named after it: the path of the module that calls, or the exporter's name.
    session : Session
    shapes : sequence of tuple of sizes, optional
        Of the tensors that it returns, where the exporter says so.
    """

    name: str
    session: Session
    shapes: Sequence[tuple[Size, ...] | None] = ()

    def __post_init__(self) -> None:
        self.emit = self.session.emit

    # Arguments ----------------------------------------------------------------------------------

    def tensor(self, value: Any) -> Tensor:
        """A value of the graph; arrays and numbers become constants of it."""
        if isinstance(value, Tensor):
            return value
        if isinstance(value, Dim):
            return self.steps_of(value)
        if isinstance(value, Complex):
            raise ConvertError(COMPLEX_NUMBERS)
        if isinstance(value, Unavailable):
            raise Skipped(value)
        if isinstance(value, Scores):
            raise value.refused("argument")
        if not isinstance(value, np.ndarray | bool | int | float):
            raise ConvertError(f"argument must be a tensor, got {type(value).__name__}")
        if np.iscomplexobj(value):
            raise ConvertError(COMPLEX_NUMBERS)
        array = np.asarray(value)
        return self.result(self.constant(array, kind_of(array.dtype)), [(i,) for i in range(array.ndim)])

    def steps_of(self, size: Dim) -> Tensor:
        """Count the steps, as a value without time."""
        more = difference(size, size_of(STEPS))
        if more is None:
            raise ConvertError(f"size {size} must be fixed to be computed with, or the number of steps")
        one = self.timed(self.result(self.constant(np.ones(())), []))
        count = self.add(TimeReduce("sum"), one.value)
        return self.result(self.activate(count, "affine", alpha=1.0, beta=float(more)) if more else count, [])

    def array(self, value: Any, what: str) -> Array:
        """An argument that must be constant."""
        if isinstance(value, Tensor):
            fixed = self.emit.fixed(value.value)
            if fixed is None or any(not value.is_frame(i) for i in range(value.rank)):
                raise ConvertError(f"{what} must be constant, got a computed value")
            order = [value.frame_axis(i) for i in range(value.rank)]
            return fixed.transpose(order)
        return np.asarray(value)

    def optional(self, value: Any, what: str) -> Array | None:
        """A constant argument, or None."""
        return None if value is None else self.array(value, what)

    @staticmethod
    def axis(axis: int, rank: int) -> int:
        """A non-negative axis."""
        if not -max(rank, 1) <= axis < max(rank, 1):
            raise ConvertError(f"dim must be within [{-rank}, {rank - 1}], got {axis}")
        return int(axis) % max(rank, 1)

    def axes(self, axes: int | Sequence[int] | None, rank: int) -> list[int]:
        """Non-negative axes; all of them where none are given."""
        if axes is None or (not isinstance(axes, int) and not axes):
            return list(range(rank))
        return sorted(self.axis(a, rank) for a in ([axes] if isinstance(axes, int) else axes))

    def steps(self, axis: int, otherwise: Length, output: int = 0) -> Length:
        """The atom of the steps of time along an axis of the result."""
        shape = self.shapes[output] if output < len(self.shapes) else None
        size = shape[axis] if shape is not None else None
        if isinstance(size, Dim) and size.steps is not None:
            return size.steps
        if size is not None:
            raise ConvertError(f"number of steps must stay open, got {size}")
        return otherwise

    # What the graph holds -----------------------------------------------------------------------

    def producer(self, value: str) -> Node | None:
        """The node that makes a value."""
        return self.emit.producers.get(value)

    def spec(self, value: str) -> Spec:
        """The spec of a value."""
        return self.emit.specs[value]


Handler = Callable[..., Any]  # (call, *arguments in the order of the operator's schema)


def kind_of(dtype: Any) -> str:
    """The graph's kind of number for a dtype of NumPy or PyTorch.

    Raises
    ------
    ConvertError
        When there is none.
    """
    if isinstance(dtype, torch.dtype):
        if dtype.is_complex or dtype.is_floating_point:
            kind = "c" if dtype.is_complex else "f"
        else:
            kind = "b" if dtype is torch.bool else "i"
    else:
        kind = np.dtype(dtype).kind
    kinds = {"f": "float", "i": "int", "u": "int", "b": "bool"}
    if kind not in kinds:
        raise ConvertError(f"dtype must be of real numbers, got {dtype}")
    return kinds[kind]


def promoted(*kinds: str) -> str:
    """The kind of number that arithmetic of several gives."""
    return max(kinds, key=KINDS.index)
