"""One ATen call under translation: the graph it adds to, and what outlasts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...errors import ConvertError, GraphError
from ...graph import Activate, Activation, Add, Cast, Node, Op, Spec, State, Unary
from ..tensors.emit import Emitter
from ..tensors.steps import multiple
from ..tensors.values import TIME, Array, Axis, Dim, Size, Tensor, is_time
from .sizes import Sizes

KINDS = ("bool", "int", "float")  # each promotes to those behind it


class RowOrder:
    """The indices of the rows of a batch, in their order."""


@dataclass
class Session:
    """What the calls of one translation share.

    Attributes
    ----------
    timed : bool
        Whether an input has an axis of time; else every call of the module is a step, where it has states.
    origins, ends : dict of str to array
        Values that are states given to the module, and those that stand for what becomes of them: a number for each
        element.
    unfused : set of str
        Layers whose state must be that of a State node.
    fused : dict of str to set of int
        Layers to the numbers of what they hold.
    finals : set of str
        Values that are final states of layers over time.
    masked : bool
        Whether packed sequences are told by masks, not by the lengths of a call of the model.
    unpacked : bool
        Whether a layer over time sees sequences that are not packed.
    """

    emit: Emitter
    sizes: Sizes
    timed: bool = True
    origins: dict[str, Array] = field(default_factory=dict)
    ends: dict[str, Array] = field(default_factory=dict)
    unfused: set[str] = field(default_factory=set)
    fused: dict[str, set[int]] = field(default_factory=dict)
    finals: set[str] = field(default_factory=set)
    masked: bool = False
    unpacked: bool = False


@dataclass
class Call:
    """A call, as its translator sees it.

    Parameters
    ----------
    name : str
        What is added is named after it: the path of the module that calls, or the exporter's name.
    session : Session
    shapes : sequence of tuple of sizes, optional
        Of the tensors that it returns, where the exporter says so.
    """

    name: str
    session: Session
    shapes: Sequence[tuple[Size, ...] | None] = ()

    @property
    def emit(self) -> Emitter:
        """The graph."""
        return self.session.emit

    # What it is given ---------------------------------------------------------------------------

    def tensor(self, value: Any) -> Tensor:
        """A value of the graph; arrays and numbers become constants of it."""
        if isinstance(value, Tensor):
            return value
        if isinstance(value, Dim):
            raise ConvertError(
                f"size {value} must be fixed to be computed with, got one that is only known when running"
            )
        if not isinstance(value, np.ndarray | bool | int | float):
            raise ConvertError(f"argument must be a tensor, got {type(value).__name__}")
        array = np.asarray(value)
        return self.result(self.constant(array, kind_of(array.dtype)), [(i,) for i in range(array.ndim)])

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

    def steps(self, axis: int, otherwise: str, output: int = 0) -> str:
        """The atom of the steps of time along an axis of the result."""
        shape = self.shapes[output] if output < len(self.shapes) else None
        size = shape[axis] if shape is not None else None
        if isinstance(size, Dim) and len(size.symbols) == 1 and is_time(size.symbols[0]):
            return multiple(size.factor, size.symbols[0])
        if size is not None:
            raise ConvertError(f"number of steps must stay open, got {size}")
        return otherwise

    # What it adds -------------------------------------------------------------------------------

    def add(self, op: Op, *values: str, name: str | None = None) -> str:
        """Add a node with one output that counts, and return that value."""
        return self.add_many(op, *values, name=name)[0]

    def add_many(self, op: Op, *values: str, name: str | None = None) -> tuple[str, ...]:
        """Add a node and return its values."""
        try:
            return self.emit.add(op, *values, name=name or self.name)
        except GraphError as error:
            raise ConvertError(str(error)) from error

    def unary(self, function: str, value: str) -> str:
        """Add a function of every element."""
        return self.add(Unary(function), value)

    def activate(self, value: str, name: str, **parameters: float) -> str:
        """Add an activation."""
        return self.add(Activate(Activation(name, **parameters)), value)

    def cast(self, value: str, to: str) -> str:
        """Another kind of number, where it is not that already."""
        if self.emit.specs[value].dtype == to:
            return value
        if (fixed := self.emit.fixed(value)) is not None:
            return self.constant(np.trunc(fixed) if to == "int" else fixed != 0 if to == "bool" else fixed, to)
        return self.add(Cast(to), value)

    def constant(self, array: Any, dtype: str = "float") -> str:
        """A constant of the graph."""
        try:
            return self.emit.constant(array, dtype, name=f"{self.name}.constant")
        except GraphError as error:
            raise ConvertError(str(error)) from error

    def shape(self, value: str) -> tuple[int, ...]:
        """The frame of a value."""
        return self.emit.specs[value].shape

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Another frame of the same elements."""
        return self.emit.reshape(value, shape, name=self.name)

    def transpose(self, value: str, perm: Sequence[int]) -> str:
        """The frame's axes in another order."""
        return self.emit.transpose(value, perm, name=self.name)

    def cut(self, value: str, axis: int, start: int | None, stop: int | None, step: int = 1) -> str:
        """A slice of one frame axis."""
        if not len(range(*slice(start, stop, step).indices(self.shape(value)[axis]))):
            raise ConvertError(f"slice must keep an element, got {start}:{stop} of {self.shape(value)[axis]}")
        return self.emit.slice(value, {axis: slice(start, stop, step)}, name=self.name)

    def result(self, value: str, axes: Sequence[Axis], elem: int = 0) -> Tensor:
        """What the call returns."""
        return Tensor(value, tuple(axes), self.emit.specs[value], elem)

    # States -------------------------------------------------------------------------------------

    def state(self, initial: Any, name: str) -> str:
        """A State node; `feed` says what it holds next."""
        return self.add(State(np.asarray(initial, np.float32)), name=name)

    def feed(self, state: str, value: str) -> None:
        """Say what a State node holds one step later."""
        self.emit.feedback[state] = value

    def timed(self, x: Tensor) -> Tensor:
        """`x` with time, though it is the same at every step."""
        if x.spec.time:
            return x
        if any(is_time(a) and a != TIME for axis in x.axes for a in axis):
            raise ConvertError(f"steps of a value that is the same at each must be those of the input, got {x}")
        if "zero" not in self.emit.memo:
            zero = self.emit.memo["zero"] = self.state(np.zeros(()), "steps")
            self.feed(zero, zero)
        zero = self.emit.memo["zero"]
        if x.spec.dtype != "float":
            raise ConvertError(f"value that is the same at every step must be float, got {x.spec.dtype}")
        return self.result(self.add(Add(), x.value, zero), x.axes)

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
