"""Clocks: how many steps a value has when the inputs have N, as far as the lowering can tell."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class Clock(NamedTuple):
    """Between (N - late) / rate and (N - early) / rate steps, and never fewer than none.

    Parameters
    ----------
    rate : Fraction
        The inputs' steps per step.
    late, early : Fraction
        How many more of the inputs' steps must be there: at most, and at least.
    rounded : bool
        Whether the steps are (N - late - 1) // rate + 1 exactly: then `late` alone says which of two clocks is behind.
    loose : bool
        Whether flushing a stream gives further steps, which a whole sequence has not.
    """

    rate: Fraction = Fraction(1)
    late: Fraction = Fraction(0)
    early: Fraction = Fraction(0)
    rounded: bool = True
    loose: bool = False

    def windows(self, reach: int, stride: int, before: int) -> Clock:
        """Of windows over `reach` steps, every `stride` of them, with `before` more in front of the first.

        Examples
        --------
        >>> Clock().windows(8, 4, 0).late
        Fraction(7, 1)
        """
        rate = self.rate * stride
        early = self.early + self.rate * (reach - stride - before)
        at_once = (before - reach) // stride + 1  # windows that see no step of the sequence
        if at_once > 0:
            early = min(early, 1 - rate * at_once)
        rounded = self.rounded and at_once <= 0
        return Clock(rate, self.late + self.rate * (reach - 1 - before), early, rounded, self.loose)

    def overlaps(self, hop: int, cut: int, *, loose: bool) -> Clock:
        """Of frames laid every `hop` steps, the first `cut` steps of which are left out.

        Examples
        --------
        >>> Clock().windows(8, 4, 0).overlaps(4, 2, loose=False)[:3]
        (Fraction(1, 1), Fraction(9, 1), Fraction(6, 1))
        """
        rate = self.rate / hop
        return Clock(rate, self.late + rate * cut, self.early + rate * cut, False, self.loose or loose)

    def ahead_of(self, other: Clock) -> bool:
        """Whether there are never fewer steps than another clock of the same rate has."""
        if other.loose:
            return False
        return (self.rounded and other.rounded and self.late <= other.late) or self.late <= other.early


def together(clocks: list[Clock]) -> Clock:
    """Of as many steps as the fewest that any of these clocks of one rate has."""
    return Clock(clocks[0].rate, max(c.late for c in clocks), max(c.early for c in clocks), rounded=False)
