"""Every labelling of a few frames with its score, by enumeration in float64: what decoders are held against."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import settings

some = settings(max_examples=50, deadline=None)


class Labelling(NamedTuple):
    log_prob: float  # the sum over alignments
    best: float  # the best of them
    frames: set[tuple[int, ...]]  # at which its labels came, of each alignment that is as good


def log_probs(seed: int, T: int, V: int, *, zeros: float = 0.0, sharp: float = 1.0) -> np.ndarray:
    """Random log-probabilities; a share of them -inf, but for one of each frame."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(T, V)) * sharp
    out = rng.random((T, V)) < zeros
    out[np.arange(T), rng.integers(0, V, T)] = False
    logits[out] = -np.inf
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def ctc(x: np.ndarray, blank: int = 0) -> dict[tuple[int, ...], Labelling]:
    """All labellings of V**T alignments that have any probability."""
    T, V = x.shape
    found: dict[tuple[int, ...], list] = {}
    for path in itertools.product(range(V), repeat=T):
        score = sum(x[t, c] for t, c in enumerate(path))
        if score == -math.inf:
            continue
        onsets = [t for t, c in enumerate(path) if c != blank and (t == 0 or c != path[t - 1])]
        found.setdefault(tuple(path[t] for t in onsets), []).append((score, tuple(onsets)))
    return {labels: _labelling(alignments) for labels, alignments in found.items()}


def ctc_many(x: np.ndarray, blank: int = 0) -> dict[tuple[int, ...], float]:
    """The same log-probabilities alone, of up to a million alignments."""
    T, V = x.shape
    paths = np.indices((V,) * T, dtype=np.int64).reshape(T, -1)
    scores = sum(x[t][paths[t]] for t in range(T))
    code = np.zeros(paths.shape[1], np.int64)  # digits of base V + 1, labels from 1 on
    for t in range(T):
        new = (paths[t] != blank) & ((paths[t] != paths[t - 1]) if t else True)
        code = np.where(new, code * (V + 1) + paths[t] + 1, code)
    codes, where = np.unique(code, return_inverse=True)
    sums = np.log(np.bincount(where, np.exp(scores)))
    return {_digits(int(c), V + 1): float(s) for c, s in zip(codes, sums, strict=True)}


def _digits(code: int, base: int) -> tuple[int, ...]:
    digits = []
    while code:
        code, digit = divmod(code, base)
        digits.append(digit - 1)
    return tuple(digits[::-1])


def _labelling(alignments: list[tuple[float, tuple[int, ...]]]) -> Labelling:
    scores = np.array([score for score, _ in alignments])
    best = float(scores.max())
    near = {frames for score, frames in alignments if score >= best - 1e-9}
    return Labelling(float(np.logaddexp.reduce(scores)), best, near)


def paths(
    emissions: np.ndarray, transitions: np.ndarray, start: np.ndarray, end: np.ndarray
) -> dict[tuple[int, ...], float]:
    """The scores of all K**T paths through a field of tags."""
    T, K = emissions.shape
    return {
        path: start[path[0]]
        + sum(emissions[t, k] for t, k in enumerate(path))
        + sum(transitions[a, b] for a, b in itertools.pairwise(path))
        + end[path[-1]]
        for path in itertools.product(range(K), repeat=T)
    }


def transducer(
    encoded: np.ndarray, join: Callable[[np.ndarray, tuple[int, ...]], np.ndarray], most: int, blank: int = 0
) -> dict[tuple[int, ...], Labelling]:
    """All labellings of alignments in which a frame gives up to `most` labels and a blank.

    `join` returns logits of a frame and the labels so far.
    """
    found: dict[tuple[int, ...], list] = {}

    def walk(t: int, given: int, labels: tuple[int, ...], frames: tuple[int, ...], score: float) -> None:
        if score == -math.inf:
            return
        if t == len(encoded):
            found.setdefault(labels, []).append((score, frames))
            return
        logits = join(encoded[t], labels)
        x = logits - np.logaddexp.reduce(logits)
        walk(t + 1, 0, labels, frames, score + x[blank])
        for c in range(len(x)) if given < most else ():
            if c != blank:
                walk(t, given + 1, (*labels, c), (*frames, t), score + x[c])

    walk(0, 0, (), (), 0.0)
    return {labels: _labelling(alignments) for labels, alignments in found.items()}


def word_scores(
    labels: tuple[int, ...],
    symbols: Sequence[str],
    space: int,
    *,
    words: Sequence[str] | None = None,
    unknown: float = -math.inf,
    score: Callable[[tuple[str, ...], str], float] | None = None,
) -> float:
    """What the words of a labelling add."""
    pieces: list[list[str]] = [[]]
    for label in labels:
        if label == space:
            pieces.append([])
        else:
            pieces[-1].append(symbols[label])
    text = tuple("".join(piece) for piece in pieces if piece)
    total = 0.0
    for i, word in enumerate(text):
        if words is not None and word not in words:
            total += unknown
        if score is not None:
            total += score(text[:i], word)
    return total


def in_chunks(decoder, x: np.ndarray, cuts: Sequence[int]) -> tuple[list[int], object]:
    """Labels that were certain as chunks came, and the result."""
    bounds = [0, *sorted(cut % (len(x) + 1) for cut in cuts), len(x)]
    early = [int(c) for a, b in itertools.pairwise(bounds) for c in decoder.push(x[a:b])]
    return early, decoder.finish()


def same(a, b) -> bool:
    """True if two results of decoders have the same bits."""
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    fields = [(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__]
    return all(np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y for x, y in fields)
