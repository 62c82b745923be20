"""What a decoder returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Found = tuple[Integers, Integers, float, float]  # labels, frames, score, log-probability


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A labelling that a decoder found.

    Attributes
    ----------
    labels : (L,) int64 array
        Without blanks, and without repetitions that are none.
    frames : (L,) int64 array
        The frame at which each label came, in the best alignment of all of them.
    score : float
        By which hypotheses are ranked: `log_prob`, and what words add.
    log_prob : float
        The logarithm of the probability: of a greedy decoder that of its one alignment, of a beam the sum over
        alignments that it kept.
    text : str or None
        The labels in writing, where the decoder was given their symbols.
    """

    labels: Integers
    frames: Integers
    score: float
    log_prob: float
    text: str | None = None


@dataclass(frozen=True, eq=False)
class Path:
    """The best path through a field of tags.

    Attributes
    ----------
    labels : (T,) int64 array
        A tag for each frame; empty where no path has any probability.
    score : float
        The sum of emissions and transitions; -inf where no path has any probability.
    """

    labels: Integers
    score: float


@dataclass(frozen=True, eq=False)
class Marginals:
    """The probability of each tag at each frame.

    Attributes
    ----------
    probabilities : (T, K) or (B, T, K) float64 array
        0 behind the length of a row, and where no path has any probability.
    log_partition : float or (B,) float64 array
        The logarithm of the sum of exp(score) over all paths: a path's log-probability is its score less this. 0 of a
        row without frames, -inf where no path has any probability.
    """

    probabilities: NDArray[np.float64]
    log_partition: float | NDArray[np.float64]


def hypotheses(found: list[Found], symbols: Sequence[str] | None) -> list[Hypothesis]:
    """Return what a search found, in writing where symbols are known."""
    return [Hypothesis(*each, written(each[0], symbols)) for each in found]


def written(labels: Integers, symbols: Sequence[str] | None) -> str | None:
    """Return labels as a text, or None where their symbols are not known."""
    return None if symbols is None else "".join(symbols[label] for label in labels)
