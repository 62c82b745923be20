"""What may be chosen and how: small frozen objects, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from .._hints import either, named
from ..engine.choose import uniforms

MOST = 2**31 - 1  # of a number of steps or ids
MOST_PENALTY = 30  # MOST**30 is a double


@dataclass(frozen=True)
class Greedy:
    """The id with the highest score; of equals the lowest id."""


@dataclass(frozen=True)
class Sample:
    """An id drawn by its probability.

    They are applied in this order, as in the transformers library: the penalty to the scores, the temperature to those,
    then `top_k`, `top_p` and `min_p`, each to what the one before it kept.

    Parameters
    ----------
    temperature : float
        Scores are divided by it: below 1 likely ids become likelier, above 1 all become more alike.
    top_k : int, optional
        Only the so many likeliest ids; of equals the lower ones. All where it is larger than their number.
    top_p : float, optional
        Only the likeliest ids, as few as reach this probability together, in (0, 1].
    min_p : float, optional
        Only ids with at least this share of the probability of the likeliest one, in [0, 1].
    repetition_penalty : float
        For ids of the prompt, and those chosen before: positive scores are divided by it, others multiplied. Above 1
        they become less likely. Scores are logarithms where the model outputs probabilities.

    Examples
    --------
    >>> Sample(temperature=0.7, top_k=40)
    Sample(temperature=0.7, top_k=40, top_p=None, min_p=None, repetition_penalty=1.0)
    >>> Sample(temperature=0)
    Traceback (most recent call last):
    ValueError: temperature must be a positive number, got 0: Greedy() chooses the likeliest id
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if is_number(self.temperature) and self.temperature == 0:
            raise ValueError("temperature must be a positive number, got 0: Greedy() chooses the likeliest id")
        positive(self.temperature, named("temperature"))
        positive(self.repetition_penalty, named("repetition_penalty"))
        if self.top_k is not None:
            whole(self.top_k, named("top_k"), 1)
        if self.top_p is not None and not (is_number(self.top_p) and 0 < self.top_p <= 1):
            raise ValueError(f"{named('top_p')} must be a number above 0 and at most 1, got {self.top_p!r}")
        if self.min_p is not None and not (is_number(self.min_p) and 0 <= self.min_p <= 1):
            raise ValueError(f"{named('min_p')} must be a number from 0 to 1, got {self.min_p!r}")


@dataclass(frozen=True)
class Beam:
    """The most probable sequences that a search finds which keeps the `width` best of each length.

    The score of a sequence of n ids is the sum of the logarithms of their probabilities, over ``n**length_penalty``.

    Parameters
    ----------
    width : int
        Sequences kept at each step; at most the number of ids.
    n_best : int
        Sequences returned, the best first: lists of them where it is above 1. At most `width`.
    length_penalty : float
        0: the most probable sequence, and short ones often are. 1: the highest mean of the logarithms, as in the
        transformers library. Above 0 longer sequences are favoured. From -30 to 30.
    min_steps : int
        No sequence stops with fewer ids.
    prefix : sequence of int, or a sequence of such
        What sequences begin with: ids for all prompts, or a sequence of ids for each. It counts as steps and in scores.

    Examples
    --------
    >>> Beam(4, length_penalty=1.0).rank([-0.5, -1.5])
    -1.0
    """

    width: int
    n_best: int = 1
    length_penalty: float = 0.0
    min_steps: int = 0
    prefix: Sequence[int] | Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        whole(self.width, "width of a beam", 1)
        whole(self.n_best, named("n_best"), 1)
        whole(self.min_steps, named("min_steps"), 0)
        if self.n_best > self.width:
            width = f"{either('the width of the beam', 'the width of --beam')}, {self.width}"
            raise ValueError(f"{named('n_best')} must be at most {width}, got {self.n_best}")
        if not (is_number(self.length_penalty) and abs(self.length_penalty) <= MOST_PENALTY):
            limits = f"from -{MOST_PENALTY} to {MOST_PENALTY}"
            raise ValueError(f"{named('length_penalty')} must be a number {limits}, got {self.length_penalty!r}")
        object.__setattr__(self, "prefix", _frozen(self.prefix))

    def rank(self, log_p: Any) -> float:
        """Return the score of a sequence with these logarithms of probabilities: what `n_best` orders by."""
        return self.ranked(float(np.sum(log_p)), max(1, np.size(log_p)))

    def ranked(self, total: float, steps: int) -> float:
        """Return the score of a sum over so many steps."""
        return total / steps**self.length_penalty if self.length_penalty else total


@dataclass(frozen=True)
class Values:
    """The output itself, fed back as it is: for models of real numbers, such as a signal or a position.

    Parameters
    ----------
    function : callable, optional
        ``function(y, draws)``, from outputs (R, \\*frame) and `Draws` to the values that are returned and fed back, (R,
        ...): a draw from the distribution that an output describes, a limit, a rounding.

    Examples
    --------
    >>> noisy = Values(lambda y, draws: y + 0.1 * draws.normal(y.shape[1]))
    """

    function: Callable[[NDArray[Any], Draws], Any] | None = None

    def __post_init__(self) -> None:
        if self.function is not None and not callable(self.function):
            raise TypeError(f"function of Values must be callable, got {type(self.function).__name__}")


@dataclass(frozen=True)
class Forbid:
    """Ids that are not chosen.

    Parameters
    ----------
    ids : int or sequence of int
    before : int, optional
        Only at steps below this one, counted from 0: ``Forbid(stop, before=10)`` makes ten ids at least.

    Examples
    --------
    >>> Forbid([0, 2]).ids
    (0, 2)
    """

    ids: Sequence[int] | int
    before: int | None = None

    def __post_init__(self) -> None:
        ids = as_array(self.ids, "ids of Forbid")
        if ids.ndim > 1 or ids.dtype.kind not in "iu" or not ids.size:
            raise ValueError(f"ids of Forbid must be one or more integers, got {self.ids!r}")
        object.__setattr__(self, "ids", tuple(int(i) for i in ids.ravel()))
        if self.before is not None:
            whole(self.before, "before", 0)


@dataclass(frozen=True)
class Force:
    """Ids that are chosen whatever their scores.

    Parameters
    ----------
    ids : sequence of int, or mapping of int to int
        Those of the first steps, or of the steps that a mapping names, counted from 0.

    Examples
    --------
    >>> Force([5, 7]) == Force({0: 5, 1: 7})
    True
    """

    ids: Mapping[int, int] | Sequence[int]
    steps: dict[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = self.ids
        pairs = list(given.items()) if isinstance(given, Mapping) else None
        if pairs is None:
            ids = as_array(given, "ids of Force")
            if ids.ndim == 1 and ids.dtype.kind in "iu":
                pairs = list(enumerate(ids.tolist()))
        if not pairs or not all(is_whole(step) and step >= 0 and is_whole(i) for step, i in pairs):
            raise ValueError(f"ids of Force must be integers, or a mapping of steps from 0 on to them, got {given!r}")
        object.__setattr__(self, "ids", tuple((int(step), int(i)) for step, i in sorted(pairs)))
        object.__setattr__(self, "steps", {int(step): int(i) for step, i in pairs})

    def __hash__(self) -> int:
        return hash(self.ids)


Choice: TypeAlias = Greedy | Sample | Beam | Values
Filter: TypeAlias = Forbid | Force | Callable[[NDArray[np.float64], list[NDArray[np.int64]]], Any]


class Draws:
    """Random numbers of one step, which depend on the seed, the row and the step alone.

    Each call gives further ones; the numbers of a row are the same in any batch.
    """

    def __init__(self, keys: NDArray[np.uint64], places: NDArray[np.uint32], step: int) -> None:
        self._keys, self._places, self._step, self._next = keys, places, step, 0

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return numbers in [0, 1), (R, count)."""
        whole(count, "count", 1)
        first, self._next = self._next, self._next + count
        return uniforms(self._keys, self._places, self._step, first, count)

    def normal(self, count: int) -> NDArray[np.float64]:
        """Return numbers of mean 0 and variance 1, normally distributed, (R, count): by Box and Muller."""
        u = self.uniform(2 * count)
        radius = np.sqrt(-2 * np.log1p(-u[:, :count]))
        return np.asarray(radius * np.cos(2 * math.pi * u[:, count:]))


def is_whole(value: Any) -> bool:
    """True of an integer that is no bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """True of a finite real number that is no bool, and is one as a double."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    try:
        return real and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def whole(value: Any, name: str, least: int, most: int = MOST) -> int:
    """Return an integer, ValueError unless it is one within limits."""
    if not is_whole(value) or not least <= value <= most:
        limits = f"of at least {least}" if most == MOST else f"from {least} to {most}"
        raise ValueError(f"{name} must be an integer {limits}, got {value!r}")
    return int(value)


def positive(value: Any, name: str) -> None:
    """Raise ValueError unless a value is a positive number."""
    if not is_number(value) or value <= 0:
        raise ValueError(f"{name} must be a positive number, got {value!r}")


def _frozen(prefix: Any) -> Any:
    """Return a prefix as a tuple of ids, or of such tuples."""
    expected = "prefix must be a sequence of ids, or one of them for each prompt"
    try:
        items = list(prefix)
    except TypeError:
        raise TypeError(f"{expected}, got {prefix!r}") from None
    if all(is_whole(i) for i in items):
        return tuple(int(i) for i in items)
    try:
        rows = [list(item) for item in items]
    except TypeError:
        raise ValueError(f"{expected}, got {prefix!r}") from None
    if not all(is_whole(i) for row in rows for i in row):
        raise ValueError(f"{expected}, got {prefix!r}")
    return tuple(tuple(int(i) for i in row) for row in rows)
