"""Time a stream frame by frame, beside the least time that its arithmetic could take."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns, process_time_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from .. import Model

SIZE, TRIES = 512, 8  # rows and columns of the matrix products that the peak is taken from, and how many are timed
WARM_UP = 200  # steps before those that count
BINS, BAR = 7, 40
TAIL = 99.0  # percentile at which the last bin of a histogram begins


class Peak(NamedTuple):
    """The fastest float32 matrix product found on one core."""

    flops: float  # a second
    source: str


def peak() -> Peak:
    """Measure one core's rate of float32 products: the better of NumPy's library and fastgru's own kernels.

    A product of 512 rows reuses what it reads and keeps every multiply-add unit busy, which one row cannot. It is
    timed by the CPU time of all threads, so that a library that uses several has the rate of one.
    """
    import fastgru
    from fastgru.graph import Dense

    a, b = np.random.default_rng(0).normal(size=(2, SIZE, SIZE)).astype(np.float32)
    dense, out = fastgru.Model([Dense(b)]), np.empty((SIZE, SIZE), np.float32)
    found = {
        "NumPy": _fastest(lambda: np.matmul(a, b, out=out)),
        "fastgru": _fastest(lambda: dense(a, out=out, threads=1)),
    }
    source = min(found, key=lambda name: found[name])
    return Peak(2 * SIZE**3 / (found[source] / 1e9), source)


def _fastest(call: Callable[[], Any]) -> int:
    """Nanoseconds of CPU time of the fastest of some calls."""
    call()
    times = []
    for _ in range(TRIES):
        start = process_time_ns()
        call()
        times.append(process_time_ns() - start)
    return max(1, min(times))


def run(model: Model, frames: Any) -> Any:
    """Feed `frames` (T, I) to a stream one by one; nanoseconds (T,) int64 that each step took, the timer's included."""
    stream = model.stream()
    out = np.empty_like(stream.step(frames[0]))
    for frame in np.resize(frames, (WARM_UP, *frames.shape[1:])):
        stream.step(frame, out)
    stream.reset()
    ns = np.zeros(len(frames), dtype=np.int64)
    for i, frame in enumerate(frames):
        start = perf_counter_ns()
        stream.step(frame, out)
        ns[i] = perf_counter_ns() - start
    return ns


def histogram(ns: Any, floor: float, block: str) -> list[str]:
    """Lines of a histogram of `ns` (T,), equal bins up to the `TAIL` percentile, under a line for `floor` in ns."""
    us = np.asarray(ns) / 1e3
    low, high = float(us.min()), float(np.percentile(us, TAIL, method="inverted_cdf"))
    edges = np.linspace(low, max(high, low * 1.001), BINS + 1)
    counts = [*np.histogram(us, edges)[0], int((us > edges[-1]).sum())]
    names = [f"{edge:.2f} us" for edge in edges[:-1]] + [f"{edges[-1]:.2f} us or more"]
    wide = max(len(name) for name in names)
    bars = [max(1, round(BAR * n / max(counts))) if n else 0 for n in counts]
    rows = [f"{name:>{wide}} |{block * bar} {n:,}" for name, bar, n in zip(names, bars, counts, strict=True)]
    return [f"{f'{floor / 1e3:.2f} us':>{wide}} | the arithmetic alone", *rows]
