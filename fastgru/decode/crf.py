"""Linear-chain conditional random fields: the best tags, and the probability of each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..engine.search import ViterbiSearch
from ..engine.search import crf_marginals as row_marginals
from . import given
from .decoder import Decoder
from .given import Doubles
from .results import Integers, Marginals, Path

Field = tuple[Doubles, Doubles, Doubles]


class CrfViterbi(Decoder):
    """`crf_viterbi` of frames that come in chunks, with the same result.

    Parameters
    ----------
    transitions, start, end
        As for `crf_viterbi`.

    Examples
    --------
    >>> decoder = CrfViterbi(np.zeros((2, 2)))
    >>> [decoder.push(frame).tolist() for frame in np.array([[0.0, 1.0], [2.0, 0.0]])]
    [[], [1]]
    >>> decoder.finish().labels
    array([1, 0])
    """

    def __init__(self, transitions: Any, start: Any = None, end: Any = None) -> None:
        self._field = _field(transitions, start, end)
        self._begin()

    def _begin(self) -> None:
        self._search = ViterbiSearch(*self._field)
        self._settled: list[Integers] = []
        self._empty = True

    def push(self, emissions: Any) -> Integers:
        """Take (T, K) emissions, or those of one frame (K,).

        Returns
        -------
        (n,) int64 array
            The tags of the next n frames, which nothing that comes will change.
        """
        with self._claimed():
            x = given.frames(emissions, "emissions", len(self._field[0]), most=given.MOST_FINITE)
            self._push(x)
            self._settled.append(self._search.settled())
            return self._settled[-1]

    def _push(self, x: Doubles) -> None:
        self._search.push(x)
        self._empty = self._empty and not len(x)

    def finish(self) -> Path:
        """Return the path through all frames, and begin anew."""
        with self._claimed():
            found = Path(np.empty(0, np.int64), 0.0)
            if not self._empty:
                rest, score = self._search.finish()
                found = Path(np.concatenate([*self._settled, rest]) if score > -math.inf else found.labels, score)
            self._begin()
            return found


def crf_viterbi(
    emissions: Any, transitions: Any, start: Any = None, end: Any = None, lengths: Any = None
) -> Path | list[Path]:
    """Find the best tags of a linear-chain conditional random field.

    The score of tags y is ``start[y[0]] + end[y[-1]]`` and the sums of ``emissions[t, y[t]]`` and
    ``transitions[y[t - 1], y[t]]``.

    Parameters
    ----------
    emissions : (T, K) or (B, T, K) array of float32 or float64
        What a network gives each of K tags. Sums are made in double.
    transitions : (K, K) array
        From a tag (row) to the next (column); -inf where it is forbidden.
    start, end : (K,) array, optional
        0 when omitted.
    lengths : (B,) int array, optional
        How many frames of each row count; one integer for (T, K).

    Returns
    -------
    Path, or a list of one for each row
        Of paths with equal scores the one with the lower tag where they last differ.

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit, or a number is NaN or infinity, naming it.

    Examples
    --------
    >>> path = crf_viterbi([[0.0, 1.0], [1.0, 0.0]], transitions=[[0.0, 0.0], [-3.0, 0.0]])  # 1 stays 1
    >>> path.labels, path.score
    (array([0, 0]), 1.0)
    """
    decoder = CrfViterbi(transitions, start, end)
    batch, rows = _rows(emissions, len(decoder._field[0]), lengths)
    found = []
    for x in rows:
        decoder._push(x)
        found.append(decoder.finish())
    return found if batch else found[0]


def crf_marginals(
    emissions: Any, transitions: Any, start: Any = None, end: Any = None, lengths: Any = None
) -> Marginals:
    """Compute the probability of each tag at each frame, by the forward and backward sums.

    Parameters
    ----------
    emissions, transitions, start, end, lengths
        As for `crf_viterbi`.

    Returns
    -------
    Marginals

    Raises
    ------
    ValueError, TypeError
        As for `crf_viterbi`.

    Examples
    --------
    >>> found = crf_marginals(np.log([[0.2, 0.8]]), np.zeros((2, 2)))
    >>> found.probabilities.round(3), round(found.log_partition, 3)
    (array([[0.2, 0.8]]), 0.0)
    """
    field = _field(transitions, start, end)
    batch, rows = _rows(emissions, len(field[0]), lengths)
    steps = np.shape(emissions)[-2]
    probabilities = np.zeros((len(rows), steps, len(field[0])))
    sums = np.zeros(len(rows))
    for i, x in enumerate(rows):
        if len(x):
            sums[i] = row_marginals(x, *field, probabilities[i])
    return Marginals(probabilities, sums) if batch else Marginals(probabilities[0], float(sums[0]))


def _field(transitions: Any, start: Any, end: Any) -> Field:
    """Return the scores of a field, checked."""
    array = given.numbers(transitions, "transitions", {2: "(K, K)"})
    size = array.shape[1]
    if array.shape[0] != size:
        raise ValueError(f"transitions must have shape (K, K), got {array.shape}")
    ends = []
    for x, name in ((start, "start"), (end, "end")):
        one = np.zeros(size) if x is None else given.numbers(x, name, {1: f"({size},)"})
        if one.shape != (size,):
            raise ValueError(f"{name} must have shape ({size},), as transitions have {size} tags, got {one.shape}")
        ends.append(given.doubles(one, name, given.MOST_FINITE))
    return given.doubles(array, "transitions", given.MOST_FINITE), ends[0], ends[1]


def _rows(emissions: Any, size: int, lengths: Any) -> tuple[bool, list[Doubles]]:
    """Return whether there is a batch, and the emissions of each row that count, checked."""
    array = given.numbers(emissions, "emissions", {2: "(T, K)", 3: "(B, T, K)"})
    if array.shape[-1] != size:
        raise ValueError(f"emissions must have {size} numbers a frame, as transitions have tags, got {array.shape[-1]}")
    return given.rows(array, "emissions", lengths, letter="K", most=given.MOST_FINITE)
