"""Numbers of steps that follow from that of the input: multiples and whole parts of it, added up and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

LONGEST_PERIOD = 2**22  # lengths that are tried to compare two formulas, which takes some 50 ms


@dataclass(frozen=True)
class Part:
    """The whole part of a length divided by a number."""

    of: Length
    by: int

    def at(self, steps: Any) -> Any:
        """Return its value for so many steps of the input."""
        return self.of.at(steps) // self.by

    def __str__(self) -> str:
        return f"{self.of} // {self.by}" if self.of is STEPS or self.of == STEPS else f"({self.of}) // {self.by}"


@dataclass(frozen=True, eq=False)
class Length:
    """A number of steps: an offset, a multiple of the steps of the input, and multiples of whole parts of lengths.

    Lengths are added to and subtracted from each other and numbers, and multiplied, divided (``//``) and taken a
    remainder of (``%``) by numbers. They are equal if they are for sequences of every length, however they are written.

    Parameters
    ----------
    terms : tuple of (Part or None, int)
        What is added up and how often: whole parts, and the steps of the input for None.
    offset : int

    Examples
    --------
    >>> (STEPS - 1) // 2 + 1, (STEPS + 1) // 2 == STEPS - STEPS // 2
    ((T + 1) // 2, True)
    >>> (STEPS // 2 // 3).at(13)
    2
    """

    terms: tuple[tuple[Part | None, int], ...]
    offset: int = 0

    # Arithmetic -----------------------------------------------------------------------------------

    def __add__(self, other: Length | int) -> Length:
        if not isinstance(other, Length):
            return Length(self.terms, self.offset + int(other))
        terms = dict(self.terms)
        for part, factor in other.terms:
            terms[part] = terms.get(part, 0) + factor
        return _sum(terms, self.offset + other.offset)

    def __mul__(self, factor: int) -> Length:
        return _sum({part: n * int(factor) for part, n in self.terms}, self.offset * int(factor))

    def __neg__(self) -> Length:
        return self * -1

    def __sub__(self, other: Length | int) -> Length:
        return self + -other

    def __rsub__(self, other: int) -> Length:
        return -self + other

    def __floordiv__(self, by: int) -> Length:
        """Return the whole part, written with numbers as small as they can be."""
        by = int(by)
        if by < 1:
            raise ValueError(f"length must be divided by 1 or more, got {by}")
        if self.terms and self.terms[0][1] < 0:
            return -((-self + (by - 1)) // by)
        whole = _sum({part: n // by for part, n in self.terms}, self.offset // by)
        rest = _sum({part: n % by for part, n in self.terms}, self.offset % by)
        common = math.gcd(by, *(n for _, n in rest.terms))
        rest, by = _sum({part: n // common for part, n in rest.terms}, rest.offset // common), by // common
        match rest.terms:
            case ():
                return whole + rest.offset // by
            case ((Part() as part, 1),):  # of a whole part is one of what that is of
                rest, by = part.of + rest.offset * part.by, part.by * by
                return whole + Length(((Part(rest, by), 1),)) if rest.offset < by else whole + rest // by
        return whole + (Length(((Part(rest, by), 1),)) if by > 1 else rest)

    def __mod__(self, by: int) -> Length:
        return self - self // by * by

    __radd__, __rmul__ = __add__, __mul__

    def at(self, steps: Any) -> Any:
        """Return its value for so many steps of the input: a number, an array of numbers, or another length."""
        terms = (n * (steps if part is None else part.at(steps)) for part, n in self.terms)
        return sum(terms, steps * 0 + self.offset)

    def parted(self) -> tuple[int, Length]:
        """Return the number that it is a multiple of, and what is multiplied, which grows with the sequence.

        Examples
        --------
        >>> (STEPS * 2 - 4).parted(), (1 - STEPS).parted()
        ((2, T - 2), (-1, T - 1))
        """
        factor = math.gcd(self.offset, *(n for _, n in self.terms)) or 1
        factor = -factor if self.terms and self.terms[0][1] < 0 else factor
        return factor, _sum({part: n // factor for part, n in self.terms}, self.offset // factor)

    # Comparison -----------------------------------------------------------------------------------

    @cached_property
    def rate(self) -> Fraction:
        """Return the number of steps for each step of the input, in a long sequence."""
        return sum(
            (n * (Fraction(1) if part is None else part.of.rate / part.by) for part, n in self.terms), Fraction()
        )

    @cached_property
    def period(self) -> int:
        """After how many steps of the input it has as many again: ``x.at(n + period) == x.at(n) + rate * period``."""
        periods = [1]
        for part in (part for part, _ in self.terms if part is not None):
            grown = int(part.of.rate * part.of.period)
            periods.append(part.of.period * part.by // math.gcd(grown, part.by))
        return math.lcm(*periods)

    def bounds(self) -> tuple[float, float]:
        """Return the least and the largest value for sequences of one step or more, exactly.

        Examples
        --------
        >>> (STEPS - STEPS // 2 * 2).bounds(), (STEPS - 4).bounds()
        ((0, 1), (-3, inf))
        """
        if not self.terms:
            return self.offset, self.offset
        if self.period > LONGEST_PERIOD:
            return -math.inf, math.inf
        values = self.at(np.arange(1, self.period + 1))
        return (
            -math.inf if self.rate < 0 else int(values.min()),
            math.inf if self.rate > 0 else int(values.max()),
        )

    @property
    def fixed(self) -> int | None:
        """The value where it is the same for sequences of every length."""
        if self.rate:
            return None
        low, high = self.bounds()
        return int(low) if low == high else None

    def may_be(self, other: Length) -> bool:
        """Return True if it may be as long as another for sequences that are as long as one likes.

        Examples
        --------
        >>> STEPS.may_be(STEPS // 2 * 2), STEPS.may_be(STEPS - 4)
        (True, False)
        """
        apart = self - other
        if apart.rate or not apart.terms or apart.period > LONGEST_PERIOD:
            return apart.fixed == 0
        return bool(np.any(apart.at(np.arange(apart.period)) == 0))

    def never_exceeds(self, other: Length) -> bool:
        """Return True if it is at most another for sequences of every length.

        Examples
        --------
        >>> (STEPS // 2 * 2).never_exceeds(STEPS), STEPS.never_exceeds(STEPS // 2 * 2)
        (True, False)
        """
        return (self - other).bounds()[1] <= 0

    def line(self) -> tuple[int, int] | None:
        """Return a and b where it is a times the steps of the input, and b."""
        match self.terms:
            case ((None, factor),):
                return factor, self.offset
        return (0, self.offset) if not self.terms else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Length):
            return NotImplemented
        same = (self.terms, self.offset) == (other.terms, other.offset)
        return same or (self.rate == other.rate and self.at(0) == other.at(0) and (self - other).fixed == 0)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.at(0), self.at(1), self.at(60)))

    def __str__(self) -> str:
        text = ""
        for part, n in self.terms:
            plain = n == 1 or (n == -1 and text)
            one = "T" if part is None else str(part) if plain else f"({part})"
            one = one if abs(n) == 1 else f"{abs(n)} * {one}"
            text += (" - " if n < 0 else " + ") + one
        if self.offset or not text:
            text += f" {'-' if self.offset < 0 else '+'} {abs(self.offset)}"
        return text.removeprefix(" + ") if not text.startswith(" - ") else f"-{text[3:]}"

    __repr__ = __str__


def _sum(terms: Mapping[Part | None, int], offset: int) -> Length:
    """Return a sum without what is not in it, the steps of the input first."""
    kept = [(part, n) for part, n in terms.items() if n]
    kept.sort(key=lambda term: (term[0] is not None, str(term[0])))
    return Length(tuple(kept), offset)


STEPS = Length(((None, 1),))  # of the input


def windowed(steps: Length, extent: int, stride: int, padding: int) -> Length:
    """Return the number of windows over some steps.

    Examples
    --------
    >>> windowed(STEPS, 4, 2, 2), windowed(STEPS, 3, 1, 0)
    (T // 2, T - 2)
    """
    return (steps + (padding - extent)) // stride + 1


def overlapped(steps: Length, hop: int, more: int) -> Length:
    """Return the number of steps of windows laid every `hop` of them, and `more`."""
    return steps * hop + more
