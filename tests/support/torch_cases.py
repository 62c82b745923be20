"""The PyTorch golden files as a table: how each is imported, and the forward passes that must agree with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgru import Model, reference
from fastgru.graph import Graph, Like
from fastgru.layers import GRU, LSTM, RNN, Activate, Dense, Embedding, like

FILES = Path(__file__).resolve().parents[1] / "data" / "torch"

# case -> (like, names of the nodes in order)
CASES: dict[str, tuple[list[Like] | None, list[str]]] = {
    "rnn_relu": ([like(RNN, activation="relu")], ["rnn"]),
    "gru": (None, ["gru"]),
    "gru_deep": (None, ["gru.l0", "gru.l1", "gru.l2"]),
    "gru_both": (None, ["gru.l0.forward", "gru.l0.backward", "gru.l0", "gru.l1.forward", "gru.l1.backward", "gru.l1"]),
    "lstm": (None, ["lstm"]),
    "lstm_projection": (None, [f"lstm.l{k}{end}" for k in (0, 1) for end in (".forward", ".backward", "")]),
    "rnn_cell": ([like(RNN, activation="tanh")], ["cell"]),
    "gru_cell": (None, ["cell"]),
    "lstm_cell": (None, ["cell"]),
    "dense": (None, ["first", "norm", "second"]),
    "last_step": (
        [like(GRU, name="gru", return_sequences=False), like(Dense), like(Activate, activation="sigmoid")],
        ["gru.l0", "gru.l1", "fc", "activate"],
    ),
    "words": ([like(Embedding), like(LSTM), like(Dense)], ["embedding", "lstm", "out"]),
    "batch_norm": (None, ["norm", "fc"]),
}

Forward = Callable[[Graph, Any], tuple[Any, ...]]


def run_reference(graph: Graph, x: Any) -> tuple[Any, ...]:
    """The float64 reference."""
    return reference.run(graph, x)[0]


def run_engine64(graph: Graph, x: Any) -> tuple[Any, ...]:
    """The engine in float64."""
    y = Model(graph, dtype="float64")(x)
    return y if isinstance(y, tuple) else (y,)


def run_engine(graph: Graph, x: Any) -> tuple[Any, ...]:
    """The engine in float32."""
    y = Model(graph)(x)
    return y if isinstance(y, tuple) else (y,)


# A way to run a graph, and which of PyTorch's outputs it must reproduce how closely.
FORWARDS = [
    pytest.param(run_reference, "y64", 1e-12, id="reference"),
    pytest.param(run_engine64, "y64", 1e-12, id="engine-float64"),
    pytest.param(run_engine, "y64", 2e-6, id="engine"),
]


def golden(case: str) -> dict[str, Any]:
    """Arrays x, y32 and y64 of a case."""
    with np.load(FILES / f"{case}.npz") as arrays:
        return dict(arrays)


def assert_close(outputs: Any, expected: Any, tolerance: float) -> None:
    """Every output has the expected shape and differs by at most `tolerance`."""
    assert len(outputs) == len(expected)
    for got, wanted in zip(outputs, expected, strict=True):
        assert got.shape == wanted.shape
        assert np.max(np.abs(got - wanted), initial=0.0) <= tolerance
