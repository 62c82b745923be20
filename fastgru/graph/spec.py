"""Spec: what is known of a value; and the questions that ops ask of the specs of their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import GraphError
from .fields import MAX_INT, short

MAX_AXES = 16  # of a frame
FLOAT, INT, BOOL = ("float",), ("int",), ("bool",)
NUMBER = FLOAT + INT
ANY = NUMBER + BOOL


@dataclass(frozen=True)
class Spec:
    """What is known of a value: its frame, whether it has a time axis, and its kind of number.

    Parameters
    ----------
    shape : tuple of int
        Shape of the frame, one row without batch and time; ``()`` for integer ids and masks.
    time : bool
        Whether the value is (B, T, \\*shape) or (B, \\*shape).
    dtype : {"float", "int", "bool"}

    Raises
    ------
    GraphError
        When the shape is not of positive integers, or has more axes or elements than the engine counts.
    """

    shape: tuple[int, ...]
    time: bool = True
    dtype: str = "float"

    def __post_init__(self) -> None:
        shape = self.shape
        if not isinstance(shape, tuple | list) or len(shape) > MAX_AXES:
            raise GraphError(f"shape must be a tuple of at most {MAX_AXES} positive integers, got {short(shape)}")
        elements = 1
        for n in shape:
            if isinstance(n, bool | np.bool_) or not isinstance(n, int | np.integer) or n < 1:
                raise GraphError(f"shape must be a tuple of positive integers, got {short(shape)}")
            elements *= int(n)
        if elements > MAX_INT:
            raise GraphError(f"frame must have at most {MAX_INT} elements, got {short(shape)}")
        if not isinstance(self.time, bool | np.bool_):
            raise GraphError(f"time must be a bool, got {short(self.time)}")
        if self.dtype not in ANY:
            raise GraphError(f"dtype must be one of {', '.join(ANY)}, got {short(self.dtype)}")
        if type(shape) is not tuple or not all(type(n) is int for n in shape):
            object.__setattr__(self, "shape", tuple(int(n) for n in shape))

    def __str__(self) -> str:
        axes = ["B"] + ["T"] * self.time + [str(n) for n in self.shape]
        return f"({', '.join(axes)}) {self.dtype}"


def shown(inputs: Sequence[Spec]) -> str:
    """Specs for a message."""
    return ", ".join(map(str, inputs)) or "none"


def take(inputs: Sequence[Spec], *dtypes: tuple[str, ...]) -> tuple[Spec, ...]:
    """As many inputs as there are `dtypes`, each of one of its own."""
    if len(inputs) != len(dtypes):
        raise GraphError(f"number of inputs must be {len(dtypes)}, got {len(inputs)}")
    for i, (x, allowed) in enumerate(zip(inputs, dtypes, strict=True)):
        if x.dtype not in allowed:
            what = "input" if len(inputs) == 1 else f"input {i}"
            raise GraphError(f"{what} must be {' or '.join(allowed)}, got {x}")
    return tuple(inputs)


def joint_dtype(inputs: Sequence[Spec], allowed: tuple[str, ...]) -> str:
    """The dtype that all of one or more inputs have."""
    if not inputs:
        raise GraphError("number of inputs must be at least 1, got 0")
    found = {x.dtype for x in inputs}
    if len(found) > 1 or not found <= set(allowed):
        raise GraphError(f"inputs must all be {' or all '.join(allowed)}, got {shown(inputs)}")
    return inputs[0].dtype


def joint_time(inputs: Sequence[Spec]) -> bool:
    """Whether what is made of these inputs has time: those without are the same at every step."""
    return any(x.time for x in inputs)


def joint_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The frame that frames broadcast to, aligned at the right."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError as error:
        raise GraphError(f"frames must broadcast, got {', '.join(map(str, shapes))}") from error


def check_axis(axis: int, rank: int, what: str = "axis") -> None:
    """Raise unless `axis` is one of the `rank` axes of a frame."""
    if not 0 <= axis < rank:
        raise GraphError(f"{what} must be one of the {rank} axes of the frame, counted from 0, got {axis}")


def check_rank(values: Sequence[int], x: Spec, what: str) -> None:
    """Raise unless there is one value for each axis of the frame."""
    if len(values) != len(x.shape):
        raise GraphError(f"{what} must have one entry per axis of the frame {x.shape}, got {tuple(values)}")


def whole(x: Spec) -> Spec:
    """`x`, when it has a time axis."""
    if not x.time:
        raise GraphError(f"input must have a time axis, got {x}")
    return x
