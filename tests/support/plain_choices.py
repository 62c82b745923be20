"""Choices and searches in plain NumPy and float64, as docs/generation.md defines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from fastgru.graph import Graph
from fastgru.reference import run

MASK = (1 << 32) - 1


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox 4x32-10 of four words by a key of two."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & MASK, (a >> 32) ^ c[3] ^ k[1], a & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def uniform(seed: int, step: int, sample: int, prompt: int, which: int = 0) -> float:
    """The number of a row and step in [0, 1)."""
    words = philox([step, sample, prompt, which], [seed & MASK, seed >> 32])
    return ((words[0] << 32 | words[1]) >> 11) / 2**53


def log_softmax(x: Any) -> Any:
    """Logarithms of the probabilities of logits (..., V)."""
    x = np.asarray(x, np.float64)
    with np.errstate(divide="ignore"):
        return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def distribution(
    scores: Any, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
    min_p: float | None = None, repetition_penalty: float = 1.0, seen: Sequence[int] = (),
) -> Any:  # fmt: skip
    """The probabilities (V,) that a sample is drawn by."""
    x = np.array(scores, np.float64)
    for i in set(seen):
        x[i] = x[i] * repetition_penalty if x[i] < 0 else x[i] / repetition_penalty
    x = x / temperature
    order = np.argsort(-x, kind="stable")  # of equals the lower id first
    kept = np.ones(len(x), bool)
    if top_k is not None:
        kept[order[top_k:]] = False
    p = np.exp(log_softmax(np.where(kept, x, -np.inf)))
    if top_p is not None:
        before = np.cumsum(p[order]) - p[order]
        kept[order[before >= top_p]] = False
        p = np.exp(log_softmax(np.where(kept, x, -np.inf)))
    if min_p is not None:
        kept &= p >= min_p * p.max()
    return np.exp(log_softmax(np.where(kept, x, -np.inf)))


class Exact:
    """The logarithms of the probabilities of what follows, by the float64 reference."""

    def __init__(self, graph: Graph, *, probabilities: bool = False) -> None:
        self.graph, self.probabilities = graph, probabilities
        self.known: dict[tuple[int, ...], Any] = {}

    def __call__(self, ids: Sequence[int]) -> Any:
        key = tuple(int(i) for i in ids)
        if key not in self.known:
            (y,), _ = run(self.graph, np.array([key]))
            y = y[0, -1] if y.ndim == 3 else y[0]
            self.known[key] = np.log(y) if self.probabilities else log_softmax(y)
        return self.known[key]


def greedy(exact: Callable[..., Any], prompt: Sequence[int], steps: int, stops: Sequence[Sequence[int]] = ()) -> Any:
    """The likeliest id of each step, and the logarithms of their probabilities."""
    ids: list[int] = []
    log_p = []
    for _ in range(steps):
        p = exact([*prompt, *ids])
        ids.append(int(p.argmax()))
        log_p.append(p[ids[-1]])
        if ends(ids, stops):
            break
    return ids, np.array(log_p)


def ends(ids: Sequence[int], stops: Sequence[Sequence[int]]) -> bool:
    """True if a sequence ends with one of the stops."""
    return any(tuple(ids[-len(stop) :]) == tuple(stop) for stop in stops)


def every_sequence(
    exact: Callable[..., Any], prompt: Sequence[int], steps: int, size: int, stops: Sequence[Sequence[int]] = (), *,
    penalty: float = 0.0, min_steps: int = 0, prefix: Sequence[int] = (), forbidden: Sequence[int] = (),
) -> list[tuple[float, tuple[int, ...]]]:  # fmt: skip
    """Every sequence that ends with a stop, or has all steps, with its score; the best first."""
    found = {}
    for ids in product(range(size), repeat=steps):
        length = next((n for n in range(1, steps + 1) if ends(ids[:n], stops)), steps)
        ids = ids[:length]
        if ids in found or ids[: len(prefix)] != tuple(prefix)[:length] or set(ids) & set(forbidden):
            continue
        if length < min_steps and ends(ids, stops):
            continue
        total = sum(exact([*prompt, *ids[:n]])[ids[n]] for n in range(length))
        found[ids] = total / length**penalty
    return sorted(((score, ids) for ids, score in found.items()), key=lambda item: -item[0])


def beam_search(
    exact: Callable[..., Any], prompt: Sequence[int], steps: int, width: int, stops: Sequence[Sequence[int]] = (), *,
    penalty: float = 0.0,
) -> list[tuple[float, tuple[int, ...]]]:  # fmt: skip
    """The sequences that a beam finds which never ends early, with their scores, the best first."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done = []
    for step in range(1, steps + 1):
        offers = [
            (total + p, (*ids, i)) for total, ids in live for i, p in enumerate(exact([*prompt, *ids])) if p > -np.inf
        ]
        done += [(total / step**penalty, ids) for total, ids in offers if ends(ids, stops)]
        live = sorted([o for o in offers if not ends(o[1], stops)], key=lambda o: -o[0])[:width]
    done += [(total / steps**penalty, ids) for total, ids in live]
    return sorted(done, key=lambda item: -item[0])
