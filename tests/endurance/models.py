"""The models that run for long: each kind of recurrence, a network of strided convolutions, int8 weights."""

from __future__ import annotations

import numpy as np

import fastgru
from fastgru import graph as g
from fastgru.layers import GRU, LSTM, Dense

SIZE = 8  # of the input


def weights(*shape: int) -> np.ndarray:
    """Random weights, scaled as a trained network's."""
    return (np.random.default_rng(list(shape)).normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def gru(units: int = 16) -> fastgru.Model:
    """A GRU and a Dense layer."""
    return fastgru.Model(
        [GRU.from_torch(weights(3 * units, SIZE), weights(3 * units, units)), Dense(weights(2, units))]
    )


def lstm(units: int = 16) -> fastgru.Model:
    """An LSTM and a Dense layer."""
    cell = LSTM.from_torch(weights(4 * units, SIZE), weights(4 * units, units))
    return fastgru.Model([cell, Dense(weights(2, units))])


def convolutions() -> fastgru.Model:
    """Three convolutions over time: causal, strided by 2 and by 3, so that six steps give one."""
    b = g.GraphBuilder()
    x = b.input("x", g.Spec((SIZE,)))
    for op in (
        g.TimeConv(weights(16, SIZE, 3), before=2, activation="tanh"),
        g.TimeConv(weights(16, 16, 4), stride=2, before=3, activation="tanh"),
        g.TimeConv(weights(8, 16, 5), stride=3, dilation=2),
    ):
        x = b.add(op, x)
    return fastgru.Model(b.build(x))


MODELS = {"gru": gru, "lstm": lstm, "convolutions": convolutions, "int8": lambda: gru(64).quantize("int8")}
