"""Inputs of truth values against Keras: masks of steps, flags, and what operations make of them."""

from __future__ import annotations

from typing import Any

import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, float64, keras

pytestmark = QUIET
__all__ = ["float64"]  # a fixture
Input, ops = keras.Input, keras.ops


def mask(*, steps: Any = None) -> Any:
    x, m = Input((steps, 3)), Input((steps,), dtype="bool")
    y = L.Bidirectional(L.LSTM(4, return_sequences=True))(x, mask=m)
    return keras.Model([x, m], [y, L.GRU(4)(x, mask=m), L.GlobalAveragePooling1D()(x, mask=m)])


def joined_with_another_mask() -> Any:
    x, m = Input((None, 3)), Input((None,), dtype="bool")
    own = ops.any(ops.not_equal(x, 0.0), -1)
    return keras.Model([x, m], L.GRU(4)(L.Masking()(x), mask=ops.logical_and(m, own)))


def flags() -> Any:
    x, m = Input((None, 3)), Input((4,), dtype="bool")
    return keras.Model([x, m], L.Concatenate()([L.GRU(4)(x), L.Dense(3)(m)]))


def sequence() -> Any:
    x = Input((None, 3), dtype="bool")
    return keras.Model(x, [L.GRU(4)(x), L.Dense(2, activation="tanh")(x)])


def embedded() -> Any:
    x = Input((None,), dtype="bool")
    return keras.Model(x, L.GRU(4)(L.Embedding(2, 3)(x)))


def operations() -> Any:
    x, m, n = Input((None, 3)), Input((None, 3), dtype="bool"), Input((None, 3), dtype="bool")
    both = ops.logical_or(ops.logical_xor(m, n), ops.logical_not(m))
    return keras.Model(
        [x, m, n], [L.GRU(4)(ops.where(m, x, 0.5)), x * ops.cast(n, x.dtype), ops.cast(both, x.dtype) + 1.0]
    )


def whole_numbers() -> Any:
    x = Input((None, 3), dtype="int32")
    return keras.Model(x, [L.GRU(4)(x), L.Dense(2)(x)])


MODELS: dict[str, Any] = {
    "mask": mask, "mask-of-fixed-steps": lambda: mask(steps=6), "joined": joined_with_another_mask, "flags": flags,
    "sequence": sequence, "embedded": embedded, "operations": operations, "whole-numbers": whole_numbers,
}  # fmt: skip


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", MODELS)
def test_as_keras_computes_it(name, forward, float64, tmp_path):
    check(MODELS[name](), tmp_path, forward, float64)
