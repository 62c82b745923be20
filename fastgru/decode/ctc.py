"""CTC: the labelling of the best path, and the best labellings by prefix beam search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..engine.search import CtcSearch
from ..engine.search import ctc_greedy as greedy_chunk
from . import given
from .decoder import Decoder
from .given import Doubles
from .results import Hypothesis, Integers, hypotheses, written
from .words import Language, Scorer, WordList

SPACES = (" ", "|")  # symbols that are taken for the space between words


class CtcGreedy(Decoder):
    """`ctc_greedy` of frames that come in chunks, with the same result.

    Parameters
    ----------
    blank : int
    symbols : sequence of str, optional
        As for `ctc_greedy`.

    Examples
    --------
    >>> decoder = CtcGreedy()
    >>> chunks = np.log([[0.1, 0.9], [0.2, 0.8]]), np.log([[0.9, 0.1], [0.3, 0.7]])
    >>> [decoder.push(chunk).tolist() for chunk in chunks]
    [[1], [1]]
    >>> decoder.finish().frames
    array([0, 3])
    """

    def __init__(self, blank: int = 0, *, symbols: Sequence[str] | None = None) -> None:
        self._blank = given.whole(blank, "blank", 0, given.MOST_WIDTH)
        self._symbols = given.symbols_of(symbols)
        self._begin()

    def _begin(self) -> None:
        self._size: int | None = None
        self._parts: list[tuple[Integers, Integers]] = []
        self._frames, self._last, self._score = 0, -1, 0.0

    def push(self, log_probs: Any) -> Integers:
        """Take (T, V) log-probabilities, or those of one frame (V,); return the labels that they begin."""
        with self._claimed():
            return self._push(given.frames(log_probs, "log_probs", self._size, most=0))

    def _push(self, x: Doubles) -> Integers:
        if self._size is None:
            _check_classes(x.shape[1], self._blank, self._symbols)
            self._size = x.shape[1]
        labels, frames, self._last, self._score = greedy_chunk(x, self._blank, self._frames, self._last, self._score)
        self._frames += len(x)
        self._parts.append((labels, frames))
        return labels

    def finish(self) -> Hypothesis:
        """Return the labelling of all frames, and begin anew."""
        with self._claimed():
            nothing = np.empty(0, np.int64)
            parts = [(nothing, nothing), *self._parts]
            labels, frames = (np.concatenate(each) for each in zip(*parts, strict=True))
            found = Hypothesis(labels, frames, self._score, self._score, written(labels, self._symbols))
            self._begin()
            return found


class CtcBeam(Decoder):
    """`ctc_beam` of frames that come in chunks, with the same result.

    Parameters
    ----------
    width, blank, n_best, symbols, words, unknown, scorer, alpha, beta, space
        As for `ctc_beam`.

    Examples
    --------
    >>> decoder = CtcBeam(width=4)
    >>> decoder.push(np.log([[0.1, 0.9], [0.2, 0.8]])).tolist()  # it may still be nothing
    []
    >>> decoder.finish()[0].labels
    array([1])
    """

    def __init__(
        self,
        width: int = 16,
        blank: int = 0,
        *,
        n_best: int = 1,
        symbols: Sequence[str] | None = None,
        words: Iterable[str] | WordList | None = None,
        unknown: float | None = None,
        scorer: Scorer | None = None,
        alpha: float = 0.5,
        beta: float = 1.5,
        space: int | None = None,
    ) -> None:
        self._width = given.whole(width, "width", 1, given.MOST_WIDTH)
        self._blank = given.whole(blank, "blank", 0, given.MOST_WIDTH)
        self._n_best = given.whole(n_best, "n_best", 1, self._width)
        self._symbols = given.symbols_of(symbols)
        self._alpha, self._beta = (given.number(each, name) for each, name in ((alpha, "alpha"), (beta, "beta")))
        if scorer is not None and not callable(scorer):
            raise TypeError(f"scorer must be a function of the words before and a word, got {type(scorer).__name__}")
        if scorer is not None and (order := getattr(scorer, "order", None)) is not None:
            given.whole(order, "order of the scorer", 1, given.MOST_WIDTH)
        self._scorer = scorer
        if self._symbols is None:
            asked = {"words": words, "scorer": scorer, "space": space, "unknown": unknown}
            if named := [name for name, value in asked.items() if value is not None]:
                raise ValueError(f"symbols must be given with {named[0]}: a string for each class, got none")
        if unknown is not None and words is None:
            raise ValueError("unknown must be omitted without words: it is what a word that is not among them adds")
        self._unknown = -math.inf if unknown is None else given.number(unknown, "unknown", most=0, least=-math.inf)
        self._space = self._space_of(space)
        self._words = None
        if self._symbols is not None and (words is not None or scorer is not None):
            self._check_symbols(self._symbols)
            if words is not None:
                listed = words if isinstance(words, WordList) else WordList(words)
                self._words = listed.arrays(["" if i == self._blank else s for i, s in enumerate(self._symbols)])
        self._begin()

    def _space_of(self, space: int | None) -> int:
        """Return the label between words; -1 where there is none."""
        if space is None:
            found = [i for i, symbol in enumerate(self._symbols or ()) if symbol in SPACES and i != self._blank]
            return found[0] if found else -1
        found_space = given.whole(space, "space", 0, len(self._symbols or ()) - 1)
        if found_space == self._blank:
            raise ValueError(f"space must be another label than blank, got {space} for both")
        return found_space

    def _check_symbols(self, symbols: Sequence[str]) -> None:
        """Raise ValueError where a label has no characters of which words could be made."""
        if empty := [i for i, symbol in enumerate(symbols) if not symbol and i != self._blank]:
            raise ValueError(f"symbols must have a character each but for the blank, got '' for label {empty[0]}")

    def _begin(self) -> None:
        self._size: int | None = None
        self._search: CtcSearch | None = None

    def _searching(self, size: int) -> CtcSearch:
        if self._search is None:
            _check_classes(size, self._blank, self._symbols)
            language = None
            if self._scorer is not None and self._symbols is not None:
                language = Language(self._scorer, self._alpha, self._beta, self._symbols)
            ends = language is not None and callable(getattr(self._scorer, "end", None))
            self._search = CtcSearch(
                size, self._blank, self._width, self._space, self._words, self._unknown,
                None if language is None else language.ask, language.end if language is not None and ends else None,
            )  # fmt: skip
            self._size = size
        return self._search

    @property
    def frames(self) -> int:
        """The number of frames that count so far."""
        return 0 if self._search is None else self._search.frames

    def push(self, log_probs: Any) -> Integers:
        """Take (T, V) log-probabilities, or those of one frame (V,).

        Where the scorer raises, or Ctrl-C interrupts, the frames before count, as `frames` says; this one and those
        behind it do not, and may be pushed again.

        Returns
        -------
        (n,) int64 array
            The labels on which all hypotheses now agree, from where they last did: nothing that comes will change them.
            They may come late: of two labellings that are about as likely, both are kept for long.
        """
        with self._claimed():
            x = given.frames(log_probs, "log_probs", self._size, most=0)
            search = self._searching(x.shape[1])
            search.push(x)
            return search.settled()

    def _decode(self, x: Doubles) -> list[Hypothesis]:
        with self._claimed():
            self._searching(x.shape[1]).push(x)
        return self.finish()

    def finish(self) -> list[Hypothesis]:
        """Return the best labellings of all frames, and begin anew."""
        with self._claimed():
            search = self._search if self._search is not None else self._searching(self._least())
            found = hypotheses(search.finish(self._n_best), self._symbols)
            self._begin()
            return found

    def _least(self) -> int:
        """The number of classes where no frame said it."""
        return len(self._symbols) if self._symbols is not None else self._blank + 1


def ctc_greedy(
    log_probs: Any, lengths: Any = None, blank: int = 0, *, symbols: Sequence[str] | None = None
) -> Hypothesis | list[Hypothesis]:
    """Decode the best path: the likeliest label of each frame, without repetitions and blanks.

    Parameters
    ----------
    log_probs : (T, V) or (B, T, V) array of float32 or float64
        Log-probabilities of V classes, as log_softmax gives them.
    lengths : (B,) int array, optional
        How many frames of each row count; one integer for (T, V).
    blank : int
        The class of no label.
    symbols : sequence of str, optional
        What each class stands for, to have `Hypothesis.text`.

    Returns
    -------
    Hypothesis, or a list of one for each row
        `log_prob` is that of the best path alone. Of classes with equal probabilities the lowest is taken.

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit, or a number is NaN or no log-probability, naming it.

    Examples
    --------
    >>> found = ctc_greedy(np.log([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]]))
    >>> found.labels, found.frames
    (array([1, 1]), array([0, 3]))
    """
    decoder = CtcGreedy(blank, symbols=symbols)
    batch, rows = given.rows(log_probs, "log_probs", lengths, most=0)
    for x in rows[:1]:
        _check_classes(x.shape[1], decoder._blank, decoder._symbols)
    found = []
    for x in rows:
        decoder._push(x)
        found.append(decoder.finish())
    return found if batch else found[0]


def ctc_beam(
    log_probs: Any,
    width: int = 16,
    lengths: Any = None,
    blank: int = 0,
    *,
    n_best: int = 1,
    symbols: Sequence[str] | None = None,
    words: Iterable[str] | WordList | None = None,
    unknown: float | None = None,
    scorer: Scorer | None = None,
    alpha: float = 0.5,
    beta: float = 1.5,
    space: int | None = None,
) -> list[Any]:
    """Find the likeliest labellings by prefix beam search.

    The probability of a labelling is the sum over its alignments. After every frame the `width` best labellings are
    kept; nothing else is dropped, so that the result is exact where `width` is as large as the number of labellings.

    Parameters
    ----------
    log_probs : (T, V) or (B, T, V) array of float32 or float64
        Log-probabilities of V classes, as log_softmax gives them. Sums are made in double.
    width : int
        How many labellings are kept.
    lengths : (B,) int array, optional
        How many frames of each row count; one integer for (T, V).
    blank : int
        The class of no label.
    n_best : int
        How many labellings to return, at most `width`.
    symbols : sequence of str, optional
        What each class stands for, to have `Hypothesis.text`; words need them.
    words : list of str or WordList, optional
        Labellings are words of this list, with `space` between them. Without a space the whole labelling is one word.
    unknown : float, optional
        Allow other words, each of which adds this, at most 0. When omitted they have no probability.
    scorer : callable, optional
        ``scorer(words, word)`` is the natural log-probability of a word after a tuple of the words before it, as
        `NGram` gives it. It is asked once for each word that may be complete, and its answer is kept. An attribute
        ``order`` of n says that the n - 1 words before are enough; a method ``end(words)`` is asked at the end.
    alpha, beta : float
        Each word adds ``alpha * scorer(words, word) + beta``; the end adds ``alpha * scorer.end(words)``.
    space : int, optional
        The class between words. When omitted, the first whose symbol is ``" "`` or ``"|"``.

    Returns
    -------
    list of Hypothesis, or a list of such lists for each row
        The best first; fewer than `n_best` where no more have any probability, and none where the list of words allows
        none. Of equal scores the shorter labelling comes first, then the one with the lower label where they first
        differ. The last word counts as complete.

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit, or a number is NaN or no log-probability, naming it.

    Examples
    --------
    >>> (best,) = ctc_beam(np.log([[0.6, 0.4], [0.6, 0.4]]))  # the best path is empty, with 0.36
    >>> best.labels, round(np.exp(best.log_prob), 2)
    (array([1]), np.float64(0.64))
    """
    decoder = CtcBeam(
        width, blank, n_best=n_best, symbols=symbols, words=words, unknown=unknown, scorer=scorer, alpha=alpha,
        beta=beta, space=space,
    )  # fmt: skip
    batch, rows = given.rows(log_probs, "log_probs", lengths, most=0)
    found = [decoder._decode(x) for x in rows]
    return found if batch else found[0]


def _check_classes(size: int, blank: int, symbols: Sequence[str] | None) -> None:
    """Raise ValueError where the blank or the symbols are not those of so many classes."""
    if blank >= size:
        raise ValueError(f"blank must be one of the classes 0..{size - 1} of log_probs, got {blank}")
    given.symbols_of(symbols, size)
