"""pytest-benchmark cases against regressions: a step, a sequence, a batch. Outputs are checked before the clock starts.

``env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE taskset -c 1 pytest bench``; with ``--benchmark-compare`` against an
earlier run. Nothing here fails for being slow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgru import Model, reference
from fastgru.layers import GRU, LSTM

CELLS: dict[str, tuple[Any, int]] = {"gru": (GRU, 3), "lstm": (LSTM, 4)}
TOLERANCE = 5e-6  # float32 against the float64 reference


def case(cell: str, hidden: int, batch: int, steps: int) -> tuple[Model, np.ndarray]:
    """A model of one layer with I = H and an input (B, T, I), its output checked against the reference."""
    cls, gates = CELLS[cell]
    rng = np.random.default_rng(0)
    weights = [rng.uniform(-1, 1, (gates * hidden, hidden)).astype(np.float32) / np.sqrt(hidden) for _ in range(2)]
    model = Model([cls.from_torch(*weights)])
    x = rng.normal(size=(batch, steps, hidden)).astype(np.float32)
    few = np.ascontiguousarray(x[:2, :20])
    np.testing.assert_allclose(model(few), reference.run(model.graph, few)[0][0], rtol=0, atol=TOLERANCE)
    return model, x


@pytest.mark.parametrize("hidden", [16, 64, 128, 256])
@pytest.mark.parametrize("cell", CELLS)
def test_step(benchmark: Any, cell: str, hidden: int) -> None:
    model, x = case(cell, hidden, 1, 1)
    stream, frame, out = model.stream(), x[0, 0], np.empty(hidden, np.float32)
    benchmark(stream.step, frame, out)


@pytest.mark.parametrize("hidden", [64, 128, 256])
@pytest.mark.parametrize("cell", CELLS)
def test_sequence(benchmark: Any, cell: str, hidden: int) -> None:
    model, x = case(cell, hidden, 1, 100)
    benchmark(model, x)


@pytest.mark.parametrize("hidden", [128, 256])
@pytest.mark.parametrize("cell", CELLS)
def test_batch(benchmark: Any, cell: str, hidden: int) -> None:
    model, x = case(cell, hidden, 32, 100)
    benchmark(model, x)
