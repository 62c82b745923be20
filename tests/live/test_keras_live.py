"""Live Keras models against their own forward pass, and through both file formats: every layer, every option."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS
from keras_live_cases import BATCH, FEATURES, QUIET, TIME, L, chain, check, draw, dtype, float64, keras

from fastgru.converters import to_graph

pytestmark = QUIET
__all__ = ["dtype", "float64"]  # fixtures


def both(layer: Any, **options: Any) -> Any:
    return L.Bidirectional(layer, **options)


# name -> the layers of a Sequential model
CASES: dict[str, Any] = {
    "simple_rnn-relu": lambda: [L.SimpleRNN(4, activation="relu", return_sequences=True)],
    "simple_rnn-no-bias": lambda: [L.SimpleRNN(4, use_bias=False)],
    "lstm-hard": lambda: [L.LSTM(4, activation="softsign", recurrent_activation="hard_sigmoid")],
    "lstm-dropout": lambda: [L.LSTM(4, dropout=0.5, recurrent_dropout=0.5, unit_forget_bias=False)],
    "gru-dropout": lambda: [L.GRU(4, dropout=0.5, recurrent_dropout=0.5, unroll=False, implementation=1)],
    "gru-activations": lambda: [L.GRU(4, activation="elu", recurrent_activation="hard_sigmoid", return_sequences=True)],
    "rnn-cell": lambda: [L.RNN(L.GRUCell(4, reset_after=False), return_sequences=True), L.RNN(L.SimpleRNNCell(2))],
    "rnn-stacked": lambda: [
        L.RNN([L.GRUCell(4), L.LSTMCell(3), L.GRUCell(2), L.SimpleRNNCell(5)], return_sequences=True)
    ],
    "rnn-stacked-backwards": lambda: [
        L.RNN([L.LSTMCell(4), L.LSTMCell(3)], return_sequences=True, go_backwards=True),
        L.GRU(2),
    ],
    "both-layers": lambda: [
        both(L.GRU(4, return_sequences=True), backward_layer=L.LSTM(4, return_sequences=True, go_backwards=True)),
        both(L.LSTM(4)),
    ],
    "both-cells": lambda: [both(L.RNN([L.LSTMCell(4), L.GRUCell(2)], return_sequences=True), merge_mode="sum")],
    "time_distributed": lambda: [
        L.GRU(4, return_sequences=True),
        L.TimeDistributed(L.Dense(5, activation="tanh")),
        L.TimeDistributed(L.LayerNormalization()),
        L.TimeDistributed(L.Dropout(0.5)),
        L.TimeDistributed(L.BatchNormalization()),
    ],
    "dense": lambda: [L.Dense(4, activation="relu"), L.Dense(2, use_bias=False, activation="softmax")],
    "norms": lambda: [
        L.LayerNormalization(epsilon=0.01),
        L.LayerNormalization(scale=False),
        L.LayerNormalization(center=False),
        L.BatchNormalization(),
        L.BatchNormalization(scale=False, epsilon=0.1),
        L.BatchNormalization(center=False),
        L.BatchNormalization(center=False, scale=False),
    ],
    "training-only": lambda: [
        L.Dropout(0.5),
        L.SpatialDropout1D(0.5),
        L.AlphaDropout(0.5),
        L.GaussianDropout(0.5),
        L.GaussianNoise(0.5),
        L.ActivityRegularization(0.5),
        L.GRU(2),
    ],
    "activations": lambda: [
        L.Dense(4, activation=L.LeakyReLU(negative_slope=0.3)),
        L.LeakyReLU(negative_slope=0.4),
        L.ELU(alpha=0.7),
        L.ReLU(negative_slope=0.2),
        L.Dense(4),
        L.ReLU(threshold=0.3),
        L.Dense(4, activation="leaky_relu"),
        L.Dense(4, activation="softplus"),
        L.Activation("hard_sigmoid"),
        L.Dense(4),
        L.ReLU(),
        L.Activation("softsign"),
        L.Softmax(),
    ],
    "masked": lambda: [
        L.Masking(),
        L.GRU(4, return_sequences=True),
        L.Dropout(0.5),
        L.Dense(3),
        L.LSTM(4, return_sequences=True, zero_output_for_mask=True),
        L.LayerNormalization(),
        L.TimeDistributed(L.Dense(4)),
        L.BatchNormalization(),
        L.LeakyReLU(),
        L.SimpleRNN(2),
    ],
    "masked-backwards": lambda: [
        L.Masking(),
        L.GRU(4, return_sequences=True, go_backwards=True),
        L.LSTM(4, go_backwards=True),
    ],
    "masked-both": lambda: [L.Masking(), both(L.GRU(4, return_sequences=True)), both(L.LSTM(3))],
    "masked-twice": lambda: [L.Masking(), L.Dense(2), L.Masking(0.5), L.GRU(4)],
    "masked-stacked": lambda: [L.Masking(), L.RNN([L.LSTMCell(4), L.GRUCell(2)], return_sequences=True), L.GRU(2)],
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("case", CASES)
def test_layers(case, forward, dtype, tmp_path):
    check(chain(*CASES[case]()), tmp_path, forward, dtype)


RECURRENT = {
    "SimpleRNN": [{}],
    "LSTM": [{}],
    "GRU": [{"reset_after": False}, {"reset_after": True}],
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(("use_bias", "masked"), list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize(("sequences", "backwards"), list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize(("name", "options"), [(n, o) for n, rows in RECURRENT.items() for o in rows])
def test_every_option_of_recurrent_layers(
    name, options, sequences, backwards, use_bias, masked, forward, float64, tmp_path
):
    layer = getattr(L, name)(5, use_bias=use_bias, return_sequences=sequences, go_backwards=backwards, **options)
    check(chain(*[L.Masking()] * masked, layer), tmp_path, forward, "float64")


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(("sequences", "masked"), list(itertools.product([True, False], repeat=2)))
@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize(("name", "options"), [(n, o) for n, rows in RECURRENT.items() for o in rows])
def test_every_option_of_bidirectional(name, options, merge, sequences, masked, forward, float64, tmp_path):
    layer = both(getattr(L, name)(4, return_sequences=sequences, **options), merge_mode=merge)
    check(chain(*[L.Masking()] * masked, layer), tmp_path, forward, "float64")


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(("inputs", "units"), [(1, 1), (2, 3), (7, 8), (9, 17), (33, 16)])
@pytest.mark.parametrize("name", ["SimpleRNN", "GRU", "LSTM"])
def test_sizes(name, inputs, units, forward, float64, tmp_path):
    check(chain(L.Dense(inputs), getattr(L, name)(units)), tmp_path, forward, "float64")


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("mask_zero", [True, False])
def test_embedding(mask_zero, forward, dtype, tmp_path):
    layers = [L.Embedding(7, 4, mask_zero=mask_zero), L.GRU(3, return_sequences=True), both(L.LSTM(2))]
    check(chain(*layers, L.Dense(2), ids=True), tmp_path, forward, dtype)


@pytest.mark.parametrize("forward", FORWARDS)
def test_no_time_axis(forward, dtype, tmp_path):
    check(chain(L.Dense(4), L.LayerNormalization(), L.BatchNormalization(), time=False), tmp_path, forward, dtype)


def skips(x: Any) -> Any:
    a = L.GRU(4, return_sequences=True, name="a")(x)
    b = L.LSTM(4, return_sequences=True, name="b")(L.Concatenate()([x, a]))
    c = L.Average()([L.Multiply()([a, b]), L.Add()([a, b, a])])
    return [L.Dense(2)(c), L.GRU(2)(c), a]


def merged_masks(x: Any) -> Any:
    masked = L.Masking()(x)
    a, b = L.GRU(4, return_sequences=True)(masked), L.LSTM(4, return_sequences=True)(masked)
    joined = L.GRU(2, return_sequences=True)(L.Add()([a, b]))
    half = L.Concatenate()([joined, x])
    return [L.GRU(2)(half), L.LSTM(3)(L.Concatenate()([a, b])), L.GRU(3)(L.Add()([a, L.Dense(4)(x)]))]


def shared(x: Any) -> Any:
    dense, gru = L.Dense(FEATURES), L.GRU(4)
    return [gru(dense(x)), gru(dense(dense(x)))]


def apart(x: Any) -> Any:
    ahead, back = both(L.GRU(4, return_sequences=True), merge_mode=None)(x)
    return [L.Dense(2)(back), ahead]


def with_states(x: Any) -> Any:
    return [L.GRU(3, return_state=True)(x)[0], L.LSTM(3, return_state=True, return_sequences=True)(x)[0]]


def named_outputs(x: Any) -> Any:
    return {"z": L.GRU(2)(x), "a": L.LSTM(3)(x)}


def operators(x: Any) -> Any:
    a = L.GRU(FEATURES, return_sequences=True)(x)
    return keras.ops.concatenate([a, x], axis=-1)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("build", [skips, merged_masks, shared, apart, with_states, named_outputs, operators])
def test_functional(build, forward, dtype, tmp_path):
    x = keras.Input((None, FEATURES))
    check(keras.Model(x, build(x)), tmp_path, forward, dtype)


@pytest.mark.parametrize("forward", FORWARDS)
def test_stateful_is_recorded_and_starts_from_zero(forward, dtype, tmp_path):
    model = keras.Sequential([keras.Input(batch_shape=(BATCH, TIME, FEATURES)), L.GRU(4, stateful=True, name="g")])
    live = check(model, tmp_path, forward, dtype)
    assert live.provenance["stateful"] == "g"


def test_node_names_are_layer_names(tmp_path):
    model = chain(L.GRU(4, return_sequences=True, name="first"), L.Dense(2, name="last"))
    assert [n.name for n in to_graph(model).graph.nodes] == ["first", "last"]


def test_oracle_leaves_no_state_behind():
    model = keras.Sequential([keras.Input(batch_shape=(BATCH, TIME, FEATURES)), L.LSTM(4, stateful=True)])
    imported = to_graph(model)
    x = draw(imported)
    assert np.array_equal(imported.oracle(x)[0], imported.oracle(x)[0])
