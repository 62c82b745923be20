"""Time calls of one recurrent layer with its gates and states shown, beside the same calls without.

    python -m bench.traces

prints the shortest of many calls, and how many times as long the shortest trace took: of the gates alone, whose steps
are one call of the kernel, and of everything.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from fastgru import Model
from fastgru.layers import GRU, LSTM

CALLS = 100
SHAPES = ((1, 100), (32, 50))  # rows and steps
SIZES = (16, 32, 64, 128, 256)
GATES = {GRU: "gru.[!h]*", LSTM: "lstm.[!ch]*"}
COUNTS = {GRU: 3, LSTM: 4}


def shortest(call: Callable[[], Any]) -> float:
    """Microseconds of the shortest call."""
    best = np.inf
    for _ in range(CALLS):
        begun = perf_counter()
        call()
        best = min(best, perf_counter() - begun)
    return best * 1e6


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(0)
    for cls in (GRU, LSTM):
        for hidden in SIZES:
            weights = (rng.normal(size=(COUNTS[cls] * hidden, hidden)) / np.sqrt(hidden) for _ in range(2))
            model = Model([cls(*weights)])
            for batch, steps in SHAPES:
                x = rng.normal(size=(batch, steps, hidden)).astype(np.float32)
                plain = shortest(lambda model=model, x=x: model(x))
                times = [
                    shortest(lambda model=model, x=x, points=points: model.trace(x, points)) / plain
                    for points in (GATES[cls], "*")
                ]
                name = f"{cls.__name__}-{hidden}"
                print(f"{name:9s} {batch:3d} x {steps:3d}  {plain:9.1f} us  gates {times[0]:.2f}  all {times[1]:.2f}")


if __name__ == "__main__":
    main()
