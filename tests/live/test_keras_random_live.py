"""Functional models of Keras put together at random, against its own forward pass: live and through both files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, float64, keras

pytestmark = QUIET
__all__ = ["float64"]  # a fixture
Input = keras.Input


def random_model(seed: int) -> Any:
    """Layers at random on tensors at random: several inputs, skips, shared layers, a model inside, several outputs."""
    rng = np.random.default_rng(seed)
    size = 4
    inputs = [Input((None, size), name=f"x{i}") for i in range(rng.integers(1, 4))]
    inner_input = Input((None, size))
    inner = keras.Model(
        inner_input,
        L.Add()([L.Conv1D(size, 2, padding="causal")(inner_input), L.Dense(size)(inner_input)]),
        name="block",
    )
    shared = [L.GRU(size, return_sequences=True), L.Dense(size, activation="tanh"), inner]
    makers = (
        lambda: L.LSTM(size, return_sequences=True), lambda: L.Conv1D(size, 3, padding="causal", activation="relu"),
        lambda: L.Bidirectional(L.GRU(size, return_sequences=True), merge_mode="ave"), lambda: L.LayerNormalization(),
        lambda: L.BatchNormalization(), lambda: L.SimpleRNN(size, return_sequences=True, go_backwards=True),
        lambda: L.TimeDistributed(L.Dense(size, activation="swish")), lambda: L.Dropout(0.3),
        lambda: L.SeparableConv1D(size, 2, padding="same"), lambda: L.PReLU(shared_axes=[1]),
        lambda: L.AveragePooling1D(3, strides=1, padding="same"), lambda: L.UnitNormalization(),
    )  # fmt: skip
    tensors: list[Any] = list(inputs)
    for _ in range(rng.integers(5, 12)):
        pick = [tensors[i] for i in rng.integers(0, len(tensors), 3)]
        kind = rng.integers(0, 10)
        if kind < 2:
            y = (L.Add, L.Multiply, L.Average, L.Maximum)[rng.integers(0, 4)]()(pick[: rng.integers(2, 4)])
        elif kind < 3:
            y = L.Dense(size)(L.Concatenate()(pick))
        elif kind < 5:
            y = shared[rng.integers(0, len(shared))](pick[0])
        else:
            y = makers[rng.integers(0, len(makers))]()(pick[0])
        tensors.append(y)
    outputs = [tensors[-1], L.GRU(2)(tensors[-2]), L.Add()(inputs) if len(inputs) > 1 else L.Dense(1)(tensors[-3])]
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("seed", range(20))
def test_random_model(seed, forward, float64, tmp_path):
    check(random_model(seed), tmp_path, forward, "float64", scale=10.0)
