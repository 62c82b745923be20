"""The builder of nodes that the sources share: a call of a source under translation, and the graph that it adds to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError, GraphError
from ...graph import Activate, Activation, Add, Binary, Cast, Multiply, Op, Reverse, State, Unary, Where
from .emit import Emitter
from .steps import STEPS, Length
from .values import Array, Axis, Tensor, is_time

KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool"}  # of NumPy: those of the graph


class Builder:
    """Adds nodes to a graph, all named after one call of the source.

    Attributes
    ----------
    name : str
        What is added is named after it.
    emit : Emitter
        The graph.
    """

    name: str
    emit: Emitter

    # Nodes --------------------------------------------------------------------------------------

    def add(self, op: Op, *values: str, name: str | None = None) -> str:
        """Add a node with one output that counts, and return that value."""
        return self.add_many(op, *values, name=name)[0]

    def add_many(self, op: Op, *values: str, name: str | None = None) -> tuple[str, ...]:
        """Add a node and return its values."""
        try:
            return self.emit.add(op, *values, name=name or self.name)
        except GraphError as error:
            raise ConvertError(str(error)) from error

    def result(self, value: str, axes: Sequence[Axis], elem: int = 0) -> Tensor:
        """Label a value of the graph with axes."""
        return Tensor(value, tuple(axes), self.emit.specs[value], elem)

    def like(self, x: Tensor, value: str) -> Tensor:
        """Label a value with the axes of `x`."""
        return self.result(value, x.axes, x.elem)

    def steps(self, axis: int, otherwise: Length) -> Length:
        """Return the number of steps along an axis of the result, `otherwise` unless the source has one."""
        return otherwise

    def lift(self, value: Array | Tensor) -> Tensor:
        """Return a value of the graph; an array becomes a constant of it."""
        if isinstance(value, Tensor):
            return value
        name = self.constant(value, KINDS[value.dtype.kind])
        return self.result(name, [(i,) for i in range(value.ndim)])

    # Functions of every element, of values that broadcast -----------------------------------------

    def unary(self, function: str, value: str) -> str:
        """Add a function of every element."""
        return self.add(Unary(function), value)

    def binary(self, function: str, a: str, b: str | float) -> str:
        """Add a function of two values, the second of which may be a number."""
        return self.add(Binary(function), a, self.number(b, like=a) if not isinstance(b, str) else b)

    def activate(self, value: str, name: str, **parameters: float) -> str:
        """Add an activation."""
        return self.add(Activate(Activation(name, **parameters)), value)

    def affine(self, value: str, scale: float, shift: float = 0.0) -> str:
        """Add scale * x + shift of a float value; nothing where that is x."""
        if (scale, shift) == (1, 0):
            return value
        return self.activate(value, "affine", alpha=float(scale), beta=float(shift))

    def plus(self, *values: str) -> str:
        """Add the sum of values."""
        return self.add(Add(), *values)

    def times(self, *values: str) -> str:
        """Add the product of values."""
        return self.add(Multiply(), *values)

    def where(self, condition: str, a: str, b: str | float) -> str:
        """Add a choice: a where the condition holds, else b."""
        return self.add(Where(), condition, a, self.number(b, like=a) if not isinstance(b, str) else b)

    def cast(self, value: str, to: str) -> str:
        """Return another kind of number; nothing is added where it is that already."""
        if self.emit.specs[value].dtype == to:
            return value
        if (fixed := self.emit.fixed(value)) is not None:
            return self.constant(np.trunc(fixed) if to == "int" else fixed != 0 if to == "bool" else fixed, to)
        return self.add(Cast(to), value)

    def number(self, value: float, *, like: str) -> str:
        """Add a constant of the kind that the value `like` is."""
        return self.constant(np.asarray(value), self.emit.specs[like].dtype)

    def constant(self, array: Any, dtype: str = "float") -> str:
        """Add a constant."""
        try:
            return self.emit.constant(array, dtype, name=f"{self.name}.constant")
        except GraphError as error:
            raise ConvertError(str(error)) from error

    # Moves ----------------------------------------------------------------------------------------

    def shape(self, value: str) -> tuple[int, ...]:
        """Return the frame of a value."""
        return self.emit.specs[value].shape

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Return another frame of the same elements."""
        return self.emit.reshape(value, shape, name=self.name)

    def transpose(self, value: str, perm: Sequence[int]) -> str:
        """Return the frame's axes in another order."""
        return self.emit.transpose(value, perm, name=self.name)

    def expand(self, value: str, shape: Sequence[int]) -> str:
        """Return the frame broadcast to another."""
        try:
            return self.emit.expand(value, shape, name=self.name)
        except GraphError as error:
            raise ConvertError(str(error)) from error

    def cut(self, value: str, axis: int, start: int | None, stop: int | None, step: int = 1) -> str:
        """Return a slice of one frame axis.

        Raises
        ------
        ConvertError
            When it would be empty.
        """
        if not len(range(*slice(start, stop, step).indices(self.shape(value)[axis]))):
            raise ConvertError(f"slice must keep an element, got {start}:{stop} of {self.shape(value)[axis]}")
        return self.emit.slice(value, {axis: slice(start, stop, step)}, name=self.name)

    def turned(self, value: str, *lengths: str) -> str:
        """Return a value with time from its last step to its first, or of each row the first `lengths` steps so."""
        kind = self.emit.specs[value].dtype
        return self.cast(self.add(Reverse(), self.cast(value, "float"), *lengths), kind)

    # States ---------------------------------------------------------------------------------------

    def state(self, initial: Any, name: str) -> str:
        """Add a State node; `feed` says what it holds next."""
        return self.add(State(np.asarray(initial, np.float32)), name=name)

    def feed(self, state: str, value: str) -> None:
        """Say what a State node holds one step later."""
        self.emit.feedback[state] = value

    def timed(self, x: Tensor) -> Tensor:
        """Return `x` with time, though it is the same at every step."""
        if x.spec.time:
            return x
        if any(is_time(a) and a != STEPS for axis in x.axes for a in axis):
            raise ConvertError(f"steps of a value that is the same at each must be those of the input, got {x}")
        if "zero" not in self.emit.memo:
            zero = self.emit.memo["zero"] = self.state(np.zeros(()), "steps")
            self.feed(zero, zero)
        zero = self.emit.memo["zero"]
        if x.spec.dtype != "float":
            raise ConvertError(f"value that is the same at every step must be float, got {x.spec.dtype}")
        return self.like(x, self.plus(x.value, zero))
