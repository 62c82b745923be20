"""Sizes of axes, some of which are only known when the model runs: numbers, and products with the batch and lengths."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

from ..._hints import option
from ...errors import ConvertError
from .steps import STEPS, Length

BATCH, TIME = "B", "T"  # labels of axes that a user gives: BATCH is that of the program too, time there is a Length
Symbol = str | Length
Atom = Symbol | int


@dataclass(frozen=True)
class Dim:
    """A size that is only known when the model runs: `factor` times the batch or lengths; as `product` makes it.

    Sizes are added, subtracted, multiplied, divided without the rest and compared as Python's numbers are; a
    `ConvertError` says that the result is no size, or depends on the length of the sequence.
    """

    factor: int
    symbols: tuple[Symbol, ...]

    @property
    def steps(self) -> Length | None:
        """The number of steps that it is; None of a batch, or of a product with more than numbers."""
        match self.symbols:
            case (Length() as length,):
                return length * self.factor
        return None

    def __index__(self) -> int:
        raise ConvertError(f"size must be fixed here, got {self}: fix it by {option('shapes')}")

    __int__ = __float__ = __index__

    def __add__(self, other: Size) -> Size:
        if isinstance(other, Dim) and self.symbols == other.symbols:
            return product([self.factor + other.factor, Dim(1, self.symbols)])
        length, more = self.steps, other.steps if isinstance(other, Dim) else int(other)
        if more == 0:
            return self
        if length is None or more is None:
            raise ConvertError(f"size must be of steps, or a product of batch, time and numbers, got {self} + {other}")
        return size_of(length + more)

    def __sub__(self, other: Size) -> Size:
        return self + -other

    def __rsub__(self, other: Size) -> Size:
        return -self + other

    def __mul__(self, other: Size) -> Size:
        return product([self, other])

    def __neg__(self) -> Size:
        return Dim(-self.factor, self.symbols)

    def __floordiv__(self, other: Size) -> Size:
        try:
            return quotient(self, other)
        except ConvertError:
            if self.steps is None or isinstance(other, Dim) or other < 1:
                raise
        return size_of(self.steps // other)

    def __mod__(self, other: Size) -> int:
        """Return 0 of a multiple: a remainder is no size otherwise."""
        if isinstance(other, Dim) or other < 1 or self.factor % other:
            raise ConvertError(f"size must be a multiple of {other}, got {self}: fix it by {option('shapes')}")
        return 0

    def __rfloordiv__(self, other: Size) -> Size:
        raise ConvertError(f"size {other} must be a multiple of {self}")

    __rmod__ = __rfloordiv__

    def __lt__(self, other: Size) -> bool:
        return less(self, other)

    def __le__(self, other: Size) -> bool:
        return not less(other, self)

    def __gt__(self, other: Size) -> bool:
        return less(other, self)

    def __ge__(self, other: Size) -> bool:
        return not less(self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __str__(self) -> str:
        shown = [str(s) if s in (BATCH, STEPS) else f"({s})" for s in self.symbols]
        alone = len(self.symbols) == self.factor == 1
        return str(self.symbols[0]) if alone else " * ".join([str(self.factor)] * (self.factor != 1) + shown)


Size = int | Dim


def symbol(label: str) -> Symbol:
    """Return the batch, or the steps of the input, for the label of an axis."""
    return STEPS if label == TIME else label


def size_of(*symbols: Symbol) -> Size:
    """Return the size of an axis of the batch, of a length, or of both merged."""
    factor, open_ = 1, list[Symbol]()
    for symbol in symbols:
        times, symbol = symbol.parted() if isinstance(symbol, Length) else (1, symbol)
        if isinstance(symbol, Length) and not symbol.terms:
            factor *= times * symbol.offset
        else:
            factor *= times
            open_.append(symbol)
    return Dim(factor, tuple(sorted(open_, key=lambda s: (s != BATCH, str(s))))) if open_ and factor else factor


def steps_in(size: Size) -> Length:
    """Return the number of steps that a size is, for a message where it must be one."""
    steps = size.steps if isinstance(size, Dim) else None
    if steps is None:
        raise ConvertError(f"size must be a number of steps of time, got {size}")
    return steps


def product(sizes: Iterable[Size]) -> Size:
    """Return the product of sizes."""
    factor, symbols = 1, list[Symbol]()
    for size in sizes:
        factor *= size.factor if isinstance(size, Dim) else int(size)
        symbols += size.symbols if isinstance(size, Dim) else ()
    whole = size_of(*symbols)
    if not isinstance(whole, Dim):
        return factor * whole
    return Dim(factor * whole.factor, whole.symbols) if factor else 0


def quotient(a: Size, b: Size) -> Size:
    """Return a / b, where that is a whole product again.

    Raises
    ------
    ConvertError
        When it is not.
    """
    top, bottom = (x if isinstance(x, Dim) else Dim(int(x), ()) for x in (a, b))
    symbols = list(top.symbols)
    for symbol in bottom.symbols:
        if symbol not in symbols:
            raise ConvertError(f"size {a} must be a multiple of {b}")
        symbols.remove(symbol)
    if bottom.factor == 0 or top.factor % bottom.factor:
        raise ConvertError(f"size {a} must be a multiple of {b}")
    return product([top.factor // bottom.factor, size_of(*symbols)])


def difference(a: Size, b: Size) -> int | None:
    """Return a - b where that is the same for every batch and sequence."""
    try:
        apart = a - b
    except ConvertError:
        return None
    steps = apart.steps if isinstance(apart, Dim) else None
    return int(apart) if not isinstance(apart, Dim) else None if steps is None else steps.fixed


def line(size: Any) -> tuple[int, Any] | None:
    """Return a and b, where a size is a times the steps of time, and b."""
    if not isinstance(size, Dim):
        return 0, size
    return None if size.steps is None else size.steps.line()


def bounds(a: Size, b: Size) -> tuple[float, float]:
    """Return the least and the largest that a - b may be.

    Every size is at least 1: no batch has as few rows as 0, no sequence as few steps.
    """
    low = -math.inf if isinstance(b, Dim) else 1 - int(b)
    high = math.inf if isinstance(a, Dim) else int(a) - 1
    try:
        apart = a - b
    except ConvertError:
        return low, high
    if not isinstance(apart, Dim):
        return apart, apart
    least, most = (low, high) if apart.steps is None else apart.steps.bounds()
    return max(low, least), min(high, most)


def less(a: Size, b: Size) -> bool:
    """Return True if a size is less than another for every batch and sequence.

    Raises
    ------
    ConvertError
        When it is for some and not for others.
    """
    low, high = bounds(a, b)
    return _decided(high < 0, low >= 0, a, b)


def equal(a: Size, b: Size) -> bool:
    """Return True if two sizes are the same for every batch and sequence.

    Raises
    ------
    ConvertError
        When they are for some and not for others.
    """
    low, high = bounds(a, b)
    return _decided(a == b or low == high == 0, low > 0 or high < 0, a, b)


def _decided(holds: bool, fails: bool, a: Size, b: Size) -> bool:
    if not holds and not fails:
        raise ConvertError(f"sizes must be known to be compared, got {a} and {b}: fix them with {option('shapes')}")
    return holds


def extreme(sizes: Iterable[Size], sign: int) -> Size:
    """Return the largest of some sizes, or the smallest one for -1."""

    def choose(a: Size, b: Size) -> Size:
        if 1 in (a, b) and Dim in (type(a), type(b)):  # every size is at least 1
            return (a if b == 1 else b) if sign > 0 else 1
        return b if less(a, b) == (sign > 0) else a

    return reduce(choose, sizes)
