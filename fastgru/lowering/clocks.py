"""Clocks: how many steps a value has when the inputs have N, as far as the lowering can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fractions import Fraction

    Exact = int | Fraction  # whole until an overlap-add divides the rate


class Clock(NamedTuple):
    """At most (N - early) / rate steps, at least (N - late) / rate from N = first on, and never fewer than none.

    Parameters
    ----------
    rate : int or Fraction
        The inputs' steps per step.
    late, early : int or Fraction
        How many more of the inputs' steps must be there: at most, and at least.
    rounded : bool
        Whether the steps are (N - late - 1) // rate + 1 exactly: then `late` alone says which of two clocks is behind.
    first : int or Fraction
        How many of the inputs' steps must be there for any step to be given.
    loose : bool
        Whether flushing a stream gives further steps, which a whole sequence has not.
    base : int
        Of which inputs it counts the steps: those of one base have one number of them.
    """

    rate: Exact = 1
    late: Exact = 0
    early: Exact = 0
    rounded: bool = True
    first: Exact = 0
    loose: bool = False
    base: int = 0

    @property
    def latency(self) -> Exact:
        """By how many of the inputs' steps a step may be late."""
        return max(self.late, self.first - 1)

    def windows(self, reach: int, stride: int, before: int) -> Clock:
        """Of windows over `reach` steps, every `stride` of them, with `before` more in front of the first.

        Examples
        --------
        >>> Clock().windows(8, 4, 0).late
        7
        """
        rate = self.rate * stride
        early = self.early + self.rate * (reach - stride - before)
        at_once = (before - reach) // stride + 1  # windows that see no step of the sequence
        if at_once > 0:
            early = min(early, 1 - rate * at_once)
        rounded = self.rounded and at_once <= 0
        return self._replace(rate=rate, late=self.late + self.rate * (reach - 1 - before), early=early, rounded=rounded)

    def overlaps(self, hop: int, cut: int, *, loose: bool) -> Clock:
        """Of frames laid every `hop` steps, the first `cut` steps of which are left out.

        Examples
        --------
        >>> Clock().windows(8, 4, 0).overlaps(4, 2, loose=False)[:3]
        (Fraction(1, 1), Fraction(9, 1), Fraction(6, 1))
        """
        from fractions import Fraction  # and with it decimal: most graphs need neither

        rate = Fraction(self.rate, hop)
        return self._replace(
            rate=rate, late=self.late + rate * cut, early=self.early + rate * cut, rounded=False,
            loose=self.loose or loose,
        )  # fmt: skip

    def mirrored(self, before: int, fewest: int) -> Clock:
        """Of as many steps, with `before` more as soon as `fewest` are there.

        Examples
        --------
        >>> Clock().mirrored(8, 9).windows(16, 4, 0).latency
        8
        """
        shift = self.rate * before
        first = self.late + self.rate * fewest
        return self._replace(late=self.late - shift, early=self.early - shift, first=first, rounded=False)

    def ahead_of(self, other: Clock) -> bool:
        """Whether there are never fewer steps than another clock of the same rate has."""
        if other.loose:
            return False
        return (self.rounded and other.rounded and self.late <= other.late) or self.latency <= other.early


def together(clocks: list[Clock]) -> Clock:
    """Of as many steps as the fewest that any of these clocks of one rate has."""
    late, early, first = (max(getattr(c, name) for c in clocks) for name in ("late", "early", "first"))
    return Clock(clocks[0].rate, late, early, False, first, base=clocks[0].base)
