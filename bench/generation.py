"""``python -m bench.generation``: what a step of `Model.generate` costs beside a step of the model itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastgru import Model
from fastgru.generation import Beam, Greedy, Sample
from fastgru.layers import GRU, Dense, Embedding

UNITS, SIZE, STEPS, ROUNDS = 128, 64, 400, 25
CHOICES = {
    "Greedy()": Greedy(), "Sample()": Sample(), "Sample(top_k=10)": Sample(top_k=10),
    "Sample(top_p=0.9)": Sample(top_p=0.9),
}  # fmt: skip
WIDTH = 4


def network() -> Model:
    """Return ids, embedded in 64 numbers, through a GRU to logits of the next."""
    rng = np.random.default_rng(0)
    gru = GRU.from_torch(rng.normal(size=(3 * UNITS, SIZE)) / 8, rng.normal(size=(3 * UNITS, UNITS)) / 12)
    return Model([Embedding(rng.normal(size=(SIZE, SIZE))), gru, Dense(rng.normal(size=(SIZE, UNITS)) / 4)])


def best(run: Callable[[], Any]) -> float:
    """Return the microseconds of processor time of a step: the least of some rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times) / STEPS * 1e6


def steps_alone(model: Model, rows: int) -> float:
    """Return the time of a step that is fed the same ids again and again."""
    stream, ids, y = model.stream(batch=rows), np.zeros(rows, np.int64), np.empty((rows, SIZE), np.float32)

    def run() -> None:
        for _ in range(STEPS):
            stream.step(ids, y)

    return best(run)


def main() -> None:
    """Print a table."""
    model = network()
    print("| rows | choice | us of a step | of the model alone | over it |\n|---|---|---|---|---|")
    for rows in (1, 64):
        prompts = [[i % SIZE] for i in range(rows)]
        searched = max(1, rows // WIDTH)
        lines = [(f"{rows}", rows, name, prompts, choose) for name, choose in CHOICES.items()]
        lines.append((f"{searched} x {WIDTH}", searched * WIDTH, f"Beam({WIDTH})", prompts[:searched], Beam(WIDTH)))
        for told, count, name, given, choose in lines:
            took, alone = best(partial(model.generate, given, STEPS, choose=choose)), steps_alone(model, count)
            print(f"| {told} | `{name}` | {took:.1f} | {alone:.1f} | {took - alone:.1f} |")


if __name__ == "__main__":
    main()
