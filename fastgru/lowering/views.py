"""View: how a graph's value lies in a buffer. Transposes, slices and most reshapes move no number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

CONSTANT = -1  # the buffer of a view over an array of the plan itself


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides, in elements, of a C-contiguous array."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(1, n)
    return tuple(reversed(strides))


@dataclass(frozen=True, eq=False)
class View:
    """A frame inside the rows of a buffer: element i lies at ``offset + sum(i * strides)``.

    Parameters
    ----------
    buffer : int
        Number of the engine's value, or CONSTANT.
    shape, strides : tuple of int
        Strides count elements; 0 repeats one.
    offset : int
    time : int
        0: one frame for all steps; else the clock that counts its steps: 1 that of the inputs, each window op adds one.
    constant : array, optional
        The numbers of a CONSTANT view, flat float64.
    """

    buffer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    time: int = 1
    constant: NDArray[np.float64] | None = None

    @classmethod
    def of_constant(cls, array: object) -> View:
        """A view over numbers known when the plan is made."""
        value = np.asarray(array, dtype=np.float64)
        flat = np.ascontiguousarray(value).reshape(-1)
        return cls(CONSTANT, value.shape, contiguous(value.shape), 0, 0, flat)

    @property
    def rank(self) -> int:
        """Number of frame axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements of a frame."""
        return prod(self.shape)

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements follow each other in C order."""
        return all(n == 1 or s == c for n, s, c in zip(self.shape, self.strides, contiguous(self.shape), strict=True))

    def numbers(self) -> NDArray[np.float64]:
        """The array of a CONSTANT view."""
        assert self.constant is not None
        index = np.full(self.shape, self.offset, dtype=np.int64)
        for axis, (n, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            index += (np.arange(n) * stride).reshape([-1 if i == axis else 1 for i in range(self.rank)])
        return np.asarray(self.constant[index])

    def reads_like(self, other: View) -> bool:
        """Whether two views show the same elements of the same buffer."""
        same = (self.buffer, self.shape, self.strides, self.offset) == (
            other.buffer, other.shape, other.strides, other.offset,
        )  # fmt: skip
        return same and self.constant is other.constant

    # Other views of the same numbers ---------------------------------------------------------------

    def permuted(self, perm: Sequence[int]) -> View:
        """Axis i of the result is axis ``perm[i]``."""
        return replace(self, shape=tuple(self.shape[p] for p in perm), strides=tuple(self.strides[p] for p in perm))

    def sliced(self, axis: int, start: int, stop: int, step: int = 1) -> View:
        """What ``range(start, stop, step)`` of one axis picks."""
        picked = range(start, stop, step)
        shape, strides = list(self.shape), list(self.strides)
        shape[axis], strides[axis] = len(picked), self.strides[axis] * step
        offset = self.offset + (picked[0] * self.strides[axis] if len(picked) else 0)
        return replace(self, shape=tuple(shape), strides=tuple(strides), offset=offset)

    def expanded(self, shape: Sequence[int]) -> View:
        """Broadcast to `shape`, aligned at the right."""
        missing = len(shape) - self.rank
        own = (1,) * missing + self.shape
        strides = (0,) * missing + self.strides
        return replace(
            self,
            shape=tuple(shape),
            strides=tuple(s if n == m else 0 for n, m, s in zip(own, shape, strides, strict=True)),
        )

    def with_axis(self, axis: int, n: int, stride: int) -> View:
        """A further axis in front of `axis`."""
        shape, strides = list(self.shape), list(self.strides)
        shape.insert(axis, n)
        strides.insert(axis, stride)
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def reshaped(self, shape: Sequence[int]) -> View | None:
        """The same elements in C order under another shape, or None when they would have to be moved."""
        groups = runs(self)
        if not all(shape):
            return replace(self, shape=tuple(shape), strides=contiguous(shape))
        strides: list[int] = []
        left, stride = 1, 0
        rest = list(reversed(groups))
        for n in reversed(shape):
            if n == 1:
                strides.append(0)
                continue
            if left == 1:
                if not rest:
                    return None
                left, stride = rest.pop(0)
            if left % n:
                return None
            strides.append(stride)
            stride *= n
            left //= n
        return replace(self, shape=tuple(shape), strides=tuple(reversed(strides)))


def runs(view: View) -> list[tuple[int, int]]:
    """The fewest (length, stride) loops that visit a view's elements in C order; axes of one element vanish."""
    found: list[tuple[int, int]] = []
    for n, stride in zip(view.shape, view.strides, strict=True):
        if n == 1:
            continue
        if found and found[-1][1] == n * stride:
            found[-1] = (found[-1][0] * n, stride)
        else:
            found.append((n, stride))
    return found
