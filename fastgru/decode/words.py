"""Words that a beam may give: lists of them, and scorers of a word after others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_CACHED = 1 << 18  # scores of words kept: some 50 MB
Arrays = tuple[NDArray[np.generic], ...]


class WordList:
    """A list of words, made ready for `ctc_beam` once for many calls: a list of strings does the same for one.

    Parameters
    ----------
    words : iterable of str
        Each as the symbols of its labels give it, without separators.

    Raises
    ------
    ValueError, TypeError
        When there are none, or one is empty or no string.

    Examples
    --------
    >>> len(WordList(["cat", "car", "cat"]))
    2
    """

    def __init__(self, words: Iterable[str]) -> None:
        if isinstance(words, str) or not isinstance(words, Iterable):
            raise TypeError(f"words must be a list of strings, got {words!r:.60}")
        known: dict[str, None] = {}
        for i, word in enumerate(words):
            if not isinstance(word, str):
                raise TypeError(f"words must be strings, got {word!r:.60} at index {i}")
            if not word:
                raise ValueError(f"words must have at least one character, got an empty one at index {i}")
            known[word] = None
        if not known:
            raise ValueError("words must be at least one, got none")
        self.words = tuple(known)
        places: dict[tuple[int, str], int] = {}
        child, sibling, unit, ends = [-1], [-1], [0], [0]
        for word in self.words:
            place = 0
            for letter in word:
                below = places.get((place, letter))
                if below is None:
                    below = places[place, letter] = len(unit)
                    child.append(-1)
                    sibling.append(child[place])
                    unit.append(ord(letter))
                    ends.append(0)
                    child[place] = below
                place = below
            ends[place] = 1
        self._tree: Arrays = (*(np.array(each, np.int32) for each in (child, sibling, unit)), np.array(ends, np.uint8))

    def __len__(self) -> int:
        return len(self.words)

    def arrays(self, symbols: Sequence[str]) -> Arrays:
        """Return the tree of the words and the characters of each symbol, as `CtcSearch` takes them.

        Raises
        ------
        ValueError
            When no symbol has a character that a word needs, naming both.
        """
        letters = {letter for symbol in symbols for letter in symbol}
        for word in self.words:
            if missing := [letter for letter in word if letter not in letters]:
                raise ValueError(f"words must be made of the symbols, got {word!r}: no symbol has {missing[0]!r}")
        units = np.array([ord(letter) for symbol in symbols for letter in symbol] or [0], np.int32)
        begin = np.cumsum([0, *(len(symbol) for symbol in symbols)]).astype(np.int32)
        return (*self._tree, begin, units)


Scorer = Callable[[tuple[str, ...], str], float]


class Language:
    """A scorer with its weights: what a word adds after others, which have a number.

    `ask` and `end` are what `CtcSearch` calls.
    """

    def __init__(self, scorer: Scorer, alpha: float, beta: float, symbols: Sequence[str]) -> None:
        self.scorer, self.alpha, self.beta, self.symbols = scorer, alpha, beta, symbols
        order = getattr(scorer, "order", None)
        self.kept = None if order is None else order - 1
        self.contexts: list[tuple[str, ...]] = [()]
        self.numbers: dict[tuple[str, ...], int] = {(): 0}
        self.cached: dict[tuple[int, str], tuple[float, int]] = {}

    def ask(self, labels: list[int], context: int) -> tuple[float, int]:
        """Return what a word adds after those with that number, and the number of those with it."""
        word = "".join(self.symbols[label] for label in labels)
        found = self.cached.get((context, word))
        if found is None:
            words = self.contexts[context]
            score = self.weighted(self.scorer(words, word), f"{word!r} after {words}") + self.beta
            words = (*words, word)
            if self.kept is not None:
                words = words[len(words) - self.kept :] if len(words) > self.kept else words
            after = self.numbers.setdefault(words, len(self.contexts))
            if after == len(self.contexts):
                self.contexts.append(words)
            if len(self.cached) >= MOST_CACHED:
                self.cached.clear()
            found = self.cached[context, word] = (score, after)
        return found

    def end(self, context: int) -> float:
        """Return what the end of the text adds after the words with that number."""
        words = self.contexts[context]
        return self.weighted(self.scorer.end(words), f"the end after {words}")  # type: ignore[attr-defined]

    def weighted(self, value: Any, what: str) -> float:
        """Return a score of the scorer times its weight.

        Raises
        ------
        ValueError, TypeError
            When it is no log-probability.
        """
        try:
            score = float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"scorer must return a number, got {value!r:.60} of {what}") from error
        if math.isnan(score) or score == math.inf:
            raise ValueError(f"scorer must return a number below infinity, got {score} of {what}")
        found = self.alpha * score if score > -math.inf else score
        if found == math.inf:
            raise ValueError(
                f"scores times alpha must be below infinity, got {score} of {what} and alpha={self.alpha}"
            )  # fmt: skip
        return found
