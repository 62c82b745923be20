"""Small Keras models that have every kind of layer between them, as .keras and .h5 files."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from keras_cases import FILES

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch
from keras import layers as L
from keras import ops

torch.set_num_threads(1)  # or its threads would be missing in a forked process


def _chain(*layers: Any, shape: tuple[int | None, ...] = (None, 4)) -> Any:
    return keras.Sequential([keras.Input(shape), *layers])


def _convolutions() -> list[Any]:
    return [
        _chain(L.Conv1D(3, 3, padding="causal", activation="relu"), L.SeparableConv1D(4, 3, padding="same"),
               L.DepthwiseConv1D(3), L.Conv1DTranspose(2, 3)),
        _chain(L.Conv2D(2, (3, 3), padding="same"), L.MaxPooling2D((1, 2)), L.BatchNormalization(),
               L.TimeDistributed(L.Flatten()), L.GRU(3), shape=(None, 6, 2)),
        _chain(L.AveragePooling1D(2), L.UpSampling1D(2), L.ZeroPadding1D((1, 0)), L.Cropping1D((0, 1)),
               L.MaxPooling1D(2, strides=1), L.GlobalMaxPooling1D(), shape=(8, 4)),
    ]  # fmt: skip


def _cells() -> list[Any]:
    return [
        _chain(L.GRU(3, return_sequences=True, reset_after=False), L.LSTM(3, return_sequences=True),
               L.SimpleRNN(2, activation="relu", go_backwards=True)),
        _chain(L.Masking(0.5), L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="ave"),
               L.RNN([L.GRUCell(2), L.LSTMCell(3)], return_sequences=True), L.Dense(2, activation="softmax")),
        _chain(L.Embedding(7, 3, mask_zero=True), L.GRU(3), L.RepeatVector(2), L.Dense(2), shape=(None,)),
    ]  # fmt: skip


def _norms() -> list[Any]:
    return [
        _chain(L.LayerNormalization(), L.UnitNormalization(), L.GroupNormalization(2), L.Dropout(0.1), L.PReLU(
            shared_axes=[1]), L.LeakyReLU(), L.ELU(), L.Softmax(), L.ReLU(6.0), L.Rescaling(2.0, 1.0)),
        _chain(L.Reshape((2, 6)), L.Permute((2, 1)), L.Flatten(), L.Dense(3, activation="gelu"), shape=(3, 4)),
        _chain(L.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d"), L.Activation("hard_sigmoid")),
    ]  # fmt: skip


def _branches() -> list[Any]:
    x, y = keras.Input((None, 4), name="x"), keras.Input((None, 4), name="y")
    a = L.GRU(4, return_sequences=True)(x)
    b = L.Dense(4)(y)
    z = L.Concatenate()([L.Add()([a, b]), L.Multiply()([a, x]), L.Subtract()([a, b]), L.Maximum()([a, b])])
    first = keras.Model([x, y], [L.Dense(2)(z), L.Average()([a, b])])
    q = keras.Input((6, 4))
    attended = L.MultiHeadAttention(2, 3)(q, q)
    second = keras.Model(q, L.Dense(2)(L.Attention()([attended, q])))
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3), L.Activation("tanh")])
    w = keras.Input((None, 4))
    third = keras.Model(w, ops.tanh(L.TimeDistributed(inner)(w) * 2.0)[..., :2] + 1.0)
    return [first, second, third]


def seed_files() -> list[tuple[bytes, str]]:
    """The files and their suffixes: golden ones of several versions of Keras, and those that this Keras writes."""
    found = [(path.read_bytes(), path.suffix) for path in sorted(FILES.iterdir())
             if path.suffix in (".keras", ".h5") and path.name not in ("plain.weights.h5", "cudnn.h5")]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for i, model in enumerate([*_convolutions(), *_cells(), *_norms(), *_branches()]):
            suffix = ".h5" if i % 3 == 2 else ".keras"
            path = Path(folder) / f"seed{suffix}"
            with contextlib.redirect_stderr(io.StringIO()):  # Keras warns of HDF5
                model.save(path)
            found.append((path.read_bytes(), suffix))
    return found
