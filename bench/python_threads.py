"""Whether two Python threads, each running a model, get two cores: calls a second of both together over those of one.

    python -m bench.python_threads

One call of the model releases the interpreter's lock while it runs, where it has half a million multiply-adds to do.
Measured on two cores of a Zen 5: batches 1.95x, sequences 1.96x, large steps 1.77x (they share the L3 cache).
"""

from __future__ import annotations

import statistics
import threading
import time

import numpy as np

from fastgru import Model
from fastgru.layers import GRU

# name -> hidden size, steps, batch, calls a thread
CASES = {"batches": (128, 100, 32, 40), "sequences": (128, 100, 1, 800), "large steps": (512, 1, 1, 3000)}
ROUNDS = 9


def gru(hidden: int, seed: int) -> Model:
    """A model of its own for each thread."""
    rng = np.random.default_rng(seed)
    w, u = (rng.uniform(-1, 1, (3 * hidden, hidden)) / np.sqrt(hidden) for _ in range(2))
    return Model([GRU.from_torch(w, u)])


def seconds(models: list[Model], x: np.ndarray, calls: int) -> float:
    """How long so many calls of each model take, each on a thread."""

    def work(model: Model) -> None:
        for _ in range(calls):
            model(x)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def main() -> None:
    """Print the speed-up of each case, median and best of rounds of one thread and two, turn by turn."""
    for name, (hidden, steps, batch, calls) in CASES.items():
        models = [gru(hidden, seed) for seed in range(2)]
        x = np.random.default_rng(2).normal(size=(batch, steps, hidden)).astype(np.float32)
        gains = [2 * seconds(models[:1], x, calls) / seconds(models, x, calls) for _ in range(ROUNDS)]
        print(f"{name:12s} two threads {statistics.median(gains):.2f}x one, at best {max(gains):.2f}x")


if __name__ == "__main__":
    main()
