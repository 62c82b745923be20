"""Small networks to generate with, prompts for them, and results compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from recipe_runs import same_bits

from fastgru import Model
from fastgru.layers import GRU, LSTM, Dense, Embedding, TimeConv

PROMPTS = [[1, 2, 3], [4], [0, 0], [2, 3, 1], [3], [4, 4, 4, 4, 4]]
SHARP = 3.0  # of logits: some ids are likely, as those of trained networks are


def writer(
    size: int = 5, units: int = 8, *, seed: int = 0, end: str = "logits", cell: str = "gru", **options: Any
) -> Model:
    """Ids to scores of the next one."""
    rng = np.random.default_rng(seed)
    gates, cls = {"gru": (3, GRU), "lstm": (4, LSTM)}[cell]
    layer = cls.from_torch(rng.normal(size=(gates * units, 4)), rng.normal(size=(gates * units, units)) / 2)
    head = Dense(rng.normal(size=(size, units)) * SHARP / np.sqrt(units) * 2, rng.normal(size=size),
                 activation="softmax" if end == "probabilities" else None)  # fmt: skip
    return Model([Embedding(rng.normal(size=(size, 4))), layer, head], **options)


def looking_back(size: int = 5, *, seed: int = 0) -> Model:
    """Ids to scores by a convolution over the last three steps and a GRU: what a stream keeps has lines, too."""
    rng = np.random.default_rng(seed)
    layers = [
        Embedding(rng.normal(size=(size, 4))),
        TimeConv(rng.normal(size=(6, 4, 3)), before=2),
        GRU.from_torch(rng.normal(size=(24, 6)), rng.normal(size=(24, 8)) / 2),
        Dense(rng.normal(size=(size, 8)) * SHARP),
    ]
    return Model(layers)


def flat(found):
    """The arrays of a result in one list."""
    return [found] if isinstance(found, np.ndarray) else [array for part in found for array in flat(part)]


def equal(a, b):
    a, b = flat(a), flat(b)
    return len(a) == len(b) and all(map(same_bits, a, b))
