"""Ops that move elements of a frame and compute nothing."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from ..errors import GraphError
from .fields import finite, integer, one_of
from .op import Op
from .spec import ANY, NUMBER, Spec, check_rank, joint_shape, take

PAD_MODES = ("constant", "reflect", "edge", "wrap")


class Reshape(Op):
    """The same elements in C order, as a frame of another shape."""

    kind: ClassVar[str] = "reshape"
    shape: tuple[int, ...] = integer(1)

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, ANY)
        if prod(self.shape) != prod(x.shape):
            raise GraphError(f"shape must have the {prod(x.shape)} elements of the frame {x.shape}, got {self.shape}")
        return (Spec(self.shape, x.time, x.dtype),)


class Transpose(Op):
    """Frame axis i of the output is axis ``perm[i]`` of the input."""

    kind: ClassVar[str] = "transpose"
    perm: tuple[int, ...]

    def problems(self) -> list[str]:
        axes = tuple(range(len(self.perm)))
        return [] if tuple(sorted(self.perm)) == axes else [f"perm must be an order of {axes}, got {self.perm}"]

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, ANY)
        check_rank(self.perm, x, "perm")
        return (Spec(tuple(x.shape[i] for i in self.perm), x.time, x.dtype),)


class Slice(Op):
    """``x[start:stop:step]`` along every frame axis.

    Parameters
    ----------
    starts, stops, steps : tuple of int
        One per axis, within the axis as ``slice.indices`` gives them; where a negative step runs past the first
        element of an axis of n, stop is -n-1.

    Examples
    --------
    >>> Slice((2, 0), (-4, 2), (-1, 1)).infer((Spec((3, 4)),))
    (Spec(shape=(3, 2), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "slice"
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]

    def problems(self) -> list[str]:
        found = [] if 0 not in self.steps else [f"steps must not be 0, got {self.steps}"]
        if not len(self.starts) == len(self.stops) == len(self.steps):
            found.append(
                f"starts, stops and steps must have one length, got {self.starts}, {self.stops} and {self.steps}"
            )
        return found

    def slices(self) -> tuple[slice, ...]:
        """One slice per axis."""
        return tuple(slice(*each) for each in zip(self.starts, self.stops, self.steps, strict=True))

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, ANY)
        check_rank(self.starts, x, "starts")
        shape = []
        for axis, (n, part) in enumerate(zip(x.shape, self.slices(), strict=True)):
            start, stop, step = part.indices(n)
            if (part.start, part.stop) != (start, stop if stop >= 0 else -n - 1):
                raise GraphError(f"slice of axis {axis} must lie within 0..{n}, got {part.start}:{part.stop}:{step}")
            if not range(start, stop, step):
                raise GraphError(f"slice of axis {axis} must keep an element, got {part.start}:{part.stop}:{step}")
            shape.append(len(range(start, stop, step)))
        return (Spec(tuple(shape), x.time, x.dtype),)


class Pad(Op):
    """Further elements before and after along every axis.

    Parameters
    ----------
    before, after : tuple of int
        How many, one entry per axis.
    mode : {"constant", "reflect", "edge", "wrap"}
        `value`; the frame mirrored at its outermost elements; these themselves; or the frame's other end.
    value : float
    """

    kind: ClassVar[str] = "pad"
    before: tuple[int, ...] = integer(0)
    after: tuple[int, ...] = integer(0)
    mode: str = "constant"
    value: float = 0.0

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "mode", self.mode, PAD_MODES)
        finite(found, value=self.value)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, NUMBER)
        check_rank(self.before, x, "before")
        check_rank(self.after, x, "after")
        if x.dtype == "int" and self.value != int(self.value):
            raise GraphError(f"value must be an integer for an input that is, got {self.value!r}")
        short = {"reflect": 1, "wrap": 0}.get(self.mode)
        for n, *sides in zip(x.shape, self.before, self.after, strict=True):
            if short is not None and max(sides) > n - short:
                raise GraphError(f"padding by {self.mode} must be at most {n - short} on an axis of {n}, got {sides}")
        shape = tuple(a + n + b for a, n, b in zip(self.before, x.shape, self.after, strict=True))
        return (Spec(shape, x.time, x.dtype),)


class Expand(Op):
    """The frame broadcast to `shape`."""

    kind: ClassVar[str] = "expand"
    shape: tuple[int, ...] = integer(1)

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, ANY)
        if joint_shape([x.shape, self.shape]) != self.shape:
            raise GraphError(f"shape must be one that the frame {x.shape} broadcasts to, got {self.shape}")
        return (Spec(self.shape, x.time, x.dtype),)


class Tile(Op):
    """The frame repeated along every axis."""

    kind: ClassVar[str] = "tile"
    repeats: tuple[int, ...] = integer(1)

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, ANY)
        check_rank(self.repeats, x, "repeats")
        return (Spec(tuple(n * r for n, r in zip(x.shape, self.repeats, strict=True)), x.time, x.dtype),)
