"""Masked arrays are refused wherever a user gives arrays: NumPy's own conversion would drop the mask in silence."""

from __future__ import annotations

import numpy as np
import pytest
from cells import make_cell

import fastgru
from fastgru import quantization
from fastgru._arrays import as_array, is_masked
from fastgru.checks import tracing
from fastgru.graph import Constant, Dense, State, chain
from fastgru.layers import GRU, LSTM, RNN


def masked(*shape: int) -> np.ma.MaskedArray:
    array = np.ma.masked_array(np.full(shape, 0.5), np.zeros(shape, bool))
    array.mask[(0,) * len(shape)] = True
    return array


def plain(*shape: int) -> np.ndarray:
    return np.full(shape, 0.5)


GATE = (plain(2, 5), plain(2))
CALLS = {
    "weight": lambda: Dense(masked(2, 3)),
    "bias": lambda: Dense(plain(2, 3), masked(2)),
    "value": lambda: Constant(masked(2)),
    "initial": lambda: State(masked(2)),
    "w_ih": lambda: GRU.from_torch(masked(6, 3), plain(6, 2)),
    "w_hh": lambda: GRU.from_torch(plain(6, 3), masked(6, 2)),
    "b_ih": lambda: GRU.from_torch(plain(6, 3), plain(6, 2), masked(6), plain(6)),
    "b_hh": lambda: GRU.from_torch(plain(6, 3), plain(6, 2), plain(6), masked(6)),
    "kernel": lambda: LSTM.from_keras(masked(3, 8), plain(2, 8)),
    "recurrent_kernel": lambda: LSTM.from_keras(plain(3, 8), masked(2, 8)),
    "keras bias": lambda: LSTM.from_keras(plain(3, 8), plain(2, 8), masked(8)),
    "W": lambda: RNN.from_onnx(masked(1, 2, 3), plain(1, 2, 2)),
    "B": lambda: RNN.from_onnx(plain(1, 2, 3), plain(1, 2, 2), masked(1, 4)),
    "calibration": lambda: quantization.calibration_input(chain([Dense(plain(2, 3))]), masked(4, 3)),
    "x": lambda: tracing.trace(chain([Dense(plain(2, 3))]), masked(1, 4, 3)),
    "quantize": lambda: fastgru.Model(chain([Dense(plain(2, 3))])).quantize(
        "int8", calibration=masked(4, 3), max_error=1.0
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_masked_array_is_refused(name):
    with pytest.raises(TypeError, match="must be an array without a mask, got a masked array: fill it"):
        CALLS[name]()


def test_a_mask_is_found_at_any_depth():
    assert is_masked(masked(2))
    assert is_masked([[1.0, np.ma.masked], [2.0, 3.0]])
    assert is_masked((plain(2), [masked(2)]))
    assert is_masked(np.ma.masked_array([1.0, 2.0]))  # one without a mask is still not what it seems
    assert not is_masked([plain(2), [1.0, "text"]])


def test_what_is_no_array_is_named():
    ragged = [[1.0, 2.0], [3.0]]
    with pytest.raises(ValueError, match="x must be an array, got list: its items differ in shape, pad them to one"):
        as_array(ragged, "x")

    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("no array today")

    with pytest.raises(TypeError, match="x must be an array, got Broken: no array today"):
        as_array(Broken(), "x")
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="x must be an array, got list: "):
        as_array(circle, "x")


def test_arrays_are_taken_as_they_are():
    x = plain(2, 3)
    assert as_array(x, "x") is x
    assert make_cell("lstm", 3, 2).weight_x.shape == (8, 3)
