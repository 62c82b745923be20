"""Outputs first, then times: engines in turn, each its share of the time of a case."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .cases import Problem
from .engines import Run
from .records import rounded

SAMPLE = 200_000  # ns of one sample: as many calls as fit, at least one
LEAST, FEWEST = 7, 3  # samples of every engine; of one whose single call outlasts the whole case
SINGLES = 25  # calls timed alone after each sample, where latency is asked for
TAIL = (50, 90, 99, 99.9)  # their percentiles in the results
clock = time.perf_counter_ns


class Wrong(Exception):
    """An engine's output is not that of the reference."""


def check(run: Run, problem: Problem, expected: Any, tolerance: float) -> float:
    """The largest error of `run` against the reference.

    Raises
    ------
    Wrong
        When it is above `tolerance` (of a generated case times the largest output, where that is above 1), or the
        shape is another.
    """
    parts = []
    for call in range(problem.checked_calls):
        problem.feed(call)
        parts.append(np.array(run.read(run.call()), np.float64))  # a copy: buffers may be used again
    y = np.concatenate(parts, axis=1)
    if y.shape != expected.shape:
        raise Wrong(f"shape {y.shape}, expected {expected.shape}")
    error = float(np.abs(y - expected).max())
    most = tolerance if problem.real else tolerance * max(1.0, float(np.abs(expected).max()))
    if not error <= most:
        raise Wrong(f"error {error:.3g}, at most {most:.3g}")
    return error


class Samples(NamedTuple):
    """The times of one engine in one case."""

    call: Callable[[], Any]
    repeats: int
    batches: list[float]  # us a call, means of `repeats` calls
    singles: list[int]  # ns of calls timed alone


def measure(calls: Mapping[str, Callable[[], Any]], seconds: float, latency: bool) -> dict[str, Samples]:
    """Sample every call in turn, A B C A B C, until `seconds` have passed and each has samples enough.

    A slow engine that has had its share of the time so far lets the others go on.
    """
    found = {name: Samples(call, _repeats(call), [], []) for name, call in calls.items()}
    spent = dict.fromkeys(found, 0)
    start = now = clock()

    def enough(samples: Samples) -> bool:
        count = len(samples.batches)
        return count >= LEAST or (count >= FEWEST and min(samples.batches) > seconds * 1e6)

    gc.disable()
    try:
        while now - start < seconds * 1e9 or not all(map(enough, found.values())):
            late = now - start >= seconds * 1e9
            for name, samples in found.items():
                waits = enough(samples) if late else spent[name] > (now - start) / len(found)
                if not waits:
                    before = clock()
                    _sample(samples, latency)
                    now = clock()
                    spent[name] += now - before
            now = clock()
    finally:
        gc.enable()
    return found


def _repeats(call: Callable[[], Any]) -> int:
    """Calls in one sample; a call that fills it is not tried again."""
    fastest = SAMPLE
    for _ in range(3):
        start = clock()
        call()
        taken = clock() - start
        if taken >= SAMPLE:
            return 1
        fastest = min(fastest, taken)
    return max(1, SAMPLE // max(1, fastest))


def _sample(samples: Samples, latency: bool) -> None:
    call, repeats = samples.call, range(samples.repeats)
    call()  # not timed: brings the weights back that the other engines pushed out of the caches
    start = clock()
    for _ in repeats:
        call()
    samples.batches.append((clock() - start) / len(repeats) / 1000)
    if latency:
        for _ in range(min(SINGLES, len(repeats))):
            start = clock()
            call()
            samples.singles.append(clock() - start)


def statistics(samples: Samples) -> dict[str, Any]:
    """Median, p99 and spread (interquartile range over median) of the batches; tails of single calls."""
    low, median, high, p99 = np.percentile(samples.batches, [25, 50, 75, 99])
    found: dict[str, Any] = {
        "median_us": rounded(median), "p99_us": rounded(p99), "spread": rounded((high - low) / median, 3),
    }  # fmt: skip
    if samples.singles:
        singles = np.array(samples.singles) / 1000
        quantiles = {f"p{q}": rounded(np.percentile(singles, q), 4) for q in TAIL}
        found["single"] = {**quantiles, "calls": len(singles)}
    return found


def clock_cost() -> float:
    """What timing one call adds to it, in microseconds: part of every single call's time."""
    return float(np.median([-(clock() - clock()) for _ in range(1000)])) / 1000
