"""Helpers of the Keras tests: the ways to run a graph, and how close each must come to Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgru import Model, reference
from fastgru.graph import Graph
from fastgru.layers import GRU, LSTM, Dense, like

FILES = Path(__file__).resolve().parents[1] / "data" / "keras"
PLAIN = [like(LSTM), like(GRU), like(Dense, activation="tanh")]
CUDNN = [like(LSTM, layout="cudnn"), like(GRU, layout="cudnn")]
Forward = Callable[[Graph, Any], tuple[Any, ...]]


def run_reference(graph: Graph, x: Any) -> tuple[Any, ...]:
    """The float64 reference."""
    return reference.run(graph, x)[0]


def run_engine(graph: Graph, x: Any) -> tuple[Any, ...]:
    """The engine in float64."""
    y = Model(graph, dtype="float64")(x)
    return y if isinstance(y, tuple) else (y,)


def run_engine32(graph: Graph, x: Any) -> tuple[Any, ...]:
    """The engine in float32, as users run it."""
    y = Model(graph)(x)
    return y if isinstance(y, tuple) else (y,)


# A way to run a graph on x; each is held to the same tolerances.
FORWARDS = [pytest.param(run_reference, id="reference"), pytest.param(run_engine, id="engine")]
REAL_FORWARDS = [*FORWARDS, pytest.param(run_engine32, id="engine-float32")]  # real models: their own tolerances


def assert_close(outputs: Any, expected: Any, tolerance: float) -> None:
    """Every output has the expected shape and differs by at most `tolerance`."""
    assert len(outputs) == len(expected)
    for got, wanted in zip(outputs, expected, strict=True):
        assert got.shape == wanted.shape
        assert np.isfinite(wanted).all()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)


def load(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file."""
    with np.load(path) as arrays:
        return dict(arrays)


def golden(name: str) -> tuple[Any, list[Any]]:
    """The input, several by name, and the outputs of a file."""
    arrays = load(FILES / f"{name.split('.')[0]}.npz")
    inputs = {key.removeprefix("x."): array for key, array in arrays.items() if key.startswith("x.")}
    return inputs or arrays["x"], [arrays[f"y{i}"] for i in range(len(arrays) - max(1, len(inputs)))]
