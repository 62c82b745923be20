"""Whole models of Keras: several inputs and outputs, shared layers, models within models, states, masks, attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS, assert_close
from keras_live_cases import QUIET, TOLERANCE, L, check, draw, dtype, float64, keras, randomised

import fastgru
from fastgru.converters import to_graph

pytestmark = [
    QUIET,
    pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning"),
]
__all__ = ["dtype", "float64"]  # fixtures
Input = keras.Input


def two_inputs() -> Any:
    a, b = Input((None, 3), name="one"), Input((None, 2), name="two")
    y = L.Concatenate()([L.GRU(4, return_sequences=True)(a), L.Dense(4)(b)])
    return keras.Model([a, b], [L.LSTM(3)(y), L.Add()([L.Dense(8)(a), y])])


def row_beside_sequence() -> Any:
    x, row = Input((None, 3), name="b"), Input((5,), name="a")
    wide = L.Dense(4, activation="tanh")(row)
    y = L.Multiply()([L.GRU(4, return_sequences=True)(x), L.RepeatVector(1)(wide)])
    return keras.Model({"b": x, "a": row}, {"z": L.Concatenate()([L.GRU(2)(y), wide]), "y": L.Subtract()([y, wide])})


def different_steps() -> Any:
    long, short = Input((8, 3)), Input((4, 3))
    shared = L.LSTM(4)
    return keras.Model([long, short], L.Maximum()([shared(long), shared(short), L.Dense(4)(L.Flatten()(short))]))


def merges() -> Any:
    x = Input((None, 4))
    a, b, c = L.Dense(4)(x), L.GRU(4, return_sequences=True)(x), L.Dense(1)(x)
    kinds = (L.Add, L.Multiply, L.Average, L.Maximum, L.Minimum)
    joined = [kind()([a, b, c]) for kind in kinds]
    return keras.Model(x, [*joined, L.Subtract()([a, c]), L.Concatenate()([a, b, c]), L.Concatenate(axis=2)([b, c])])


def dots() -> Any:
    x, row, rows = Input((None, 4)), Input((4,)), Input((5, 4))
    y = L.GRU(4, return_sequences=True)(x)
    weights = L.Softmax(axis=1)(L.Dense(1)(y))
    last = L.GRU(4)(x)
    return keras.Model(
        [x, row, rows],
        [
            L.Dot(axes=1)([weights, y]), L.Dot(axes=1)([last, row]), L.Dot(axes=1, normalize=True)([last, row]),
            L.Dot(axes=(2, 1))([y, row]), L.Dot(axes=(1, 2))([row, rows]),
            L.Dot(axes=(2, 2), normalize=True)([rows, rows]),
            L.Dot(axes=(1, 1))([rows, rows]), L.Dot(axes=1)([y, y]), L.Dot(axes=(2, 2))([y, rows]),
        ],
    )  # fmt: skip


def nested() -> Any:
    inner = keras.Sequential(
        [Input((None, 3)), L.Dense(4, name="d"), L.BatchNormalization(name="n"), L.Dense(3, name="e")], name="inner"
    )
    x = Input((None, 3), name="inside")
    outer = keras.Model(x, [L.GRU(3, return_sequences=True, name="g")(inner(x)), L.Dense(2, name="d")(x)], name="outer")
    a, b = Input((None, 3), name="a"), Input((None, 3), name="b")
    y, z = outer(b)
    again, last = outer(inner(a))
    return keras.Model([a, b], [L.Add()([inner(a), y]), again, last, L.GRU(4)(z), outer(a)[1]])


def nested_called_by_name() -> Any:
    a, b = Input((None, 2), name="first"), Input((None, 3), name="second")
    inner = keras.Model([b, a], L.Concatenate()([L.Dense(2)(a), b]), name="joiner")
    x, y = Input((None, 3), name="x"), Input((None, 2), name="y")
    return keras.Model([x, y], L.GRU(3)(inner([x, y])))


def nested_frozen() -> Any:
    """Weights of what is frozen are stored behind the others in HDF5."""
    frozen = L.Dense(4, name="frozen")
    frozen.trainable = False
    inner = keras.Sequential(
        [Input((None, 3)), frozen, L.BatchNormalization(), L.Bidirectional(L.GRU(2, return_sequences=True)),
         L.TimeDistributed(L.Dense(2, name="wrapped")), L.LayerNormalization()], name="inner",
    )  # fmt: skip
    x = Input((None, 3))
    return keras.Model(x, [inner(x), L.Dense(2)(inner(x))])


def deeply_nested() -> Any:
    model: Any = L.Dense(3, name="core")
    for i in range(4):
        x = Input((None, 3))
        model = keras.Model(x, model(model(x)) if i == 2 else model(x), name=f"level_{i}")
    return keras.Sequential([Input((None, 3)), model, L.GRU(2)])


def time_distributed_model() -> Any:
    x = Input((6, 4))
    words = keras.Model(x, L.Dense(3)(L.Bidirectional(L.LSTM(4))(L.Conv1D(4, 3, padding="same")(x))), name="words")
    sentences = Input((None, 6, 4))
    encoded = L.TimeDistributed(words)(sentences)
    return keras.Model(sentences, [L.GRU(3)(encoded), L.TimeDistributed(words)(L.Dense(4)(sentences))])


def hierarchical_ids() -> Any:
    ids = Input((5,), dtype="int32")
    words = keras.Model(ids, L.GRU(4)(L.Embedding(7, 3)(ids)), name="words")
    documents = Input((None, 5), dtype="int32")
    return keras.Model(documents, L.LSTM(3)(L.TimeDistributed(words)(documents)))


def encoder_decoder() -> Any:
    source, target = Input((6, 3), name="source"), Input((4, 2), name="target")
    _, h, c = L.LSTM(5, return_state=True)(source)
    decoded, *state = L.LSTM(5, return_sequences=True, return_state=True)(target, initial_state=[h, c])
    return keras.Model([source, target], [L.Dense(3, activation="softmax")(decoded), *state])


def states() -> Any:
    x = Input((6, 3))
    y, *ends = L.Bidirectional(L.GRU(3, return_sequences=True, return_state=True))(x)
    z = L.Bidirectional(L.GRU(3, return_sequences=True))(y, initial_state=ends)
    cells = L.RNN([L.GRUCell(4), L.LSTMCell(3)], return_state=True)(x)
    flat = [s for item in cells for s in (item if isinstance(item, list | tuple) else [item])]
    backwards = L.GRU(3, go_backwards=True, return_sequences=True)(y, initial_state=ends[0])
    return keras.Model(x, [z, *flat, backwards, *ends])


def last_state() -> Any:
    """h can be had while time stays the model's."""
    x = Input((None, 3))
    y, h = L.GRU(4, return_sequences=True, return_state=True)(x)
    _, h2, _ = L.LSTM(4, return_state=True)(y)
    return keras.Model(x, [h, h2, L.Dense(2)(y)])


def two_masks() -> Any:
    x = Input((None, 3))
    a, b = L.Masking(0.0)(x), L.Masking(1.0)(L.Dense(3, use_bias=False)(x))
    return keras.Model(x, [L.GRU(2)(L.Concatenate()([a, b])), L.GRU(3)(L.Add()([a, b]))])


def masked_whole() -> Any:
    """Masks within frames matter to averages and attention alone."""
    ids = Input((6,), dtype="int32")
    words = L.Embedding(7, 4, mask_zero=True)(ids)
    masked = L.Masking()(L.Dense(4, activation="relu")(words))
    return keras.Model(
        ids, [L.GlobalAveragePooling1D()(words), L.Dense(2)(L.Flatten()(words)), L.GlobalAveragePooling1D()(masked),
              L.Attention()([words, words])],
    )  # fmt: skip


def attention() -> Any:
    x, values = Input((5, 4)), Input((6, 4))
    keys = L.Dense(4)(values)
    return keras.Model(
        [x, values],
        [
            L.Attention()([x, values]), L.Attention(use_scale=True)([x, values, keys]),
            L.Attention(score_mode="concat")([x, values]),
            L.Attention(score_mode="concat", use_scale=True)([x, values]),
            L.AdditiveAttention()([x, values, keys]), L.AdditiveAttention(use_scale=False)([x, values]),
            L.Attention()([x, x], use_causal_mask=True), L.Attention()([x, values], return_attention_scores=True)[1],
        ],
    )  # fmt: skip


def attention_of_steps() -> Any:
    """Queries of the model's time; what they look at is a frame."""
    x, values = Input((None, 4)), Input((6, 4))
    y = L.GRU(4, return_sequences=True)(x)
    heads = L.MultiHeadAttention(2, 3)(y, values)
    return keras.Model([x, values], [L.Attention()([y, values]), heads, L.GRU(2)(L.Concatenate()([y, heads]))])


def heads() -> Any:
    x, values = Input((5, 4)), Input((6, 3))
    return keras.Model(
        [x, values],
        [
            L.MultiHeadAttention(2, 3)(x, values),
            L.MultiHeadAttention(2, 3, value_dim=2, use_bias=False)(x, values, values),
            L.MultiHeadAttention(3, 2, output_shape=5, dropout=0.2)(x, x, use_causal_mask=True),
            L.MultiHeadAttention(2, 3)(query=x, value=values, return_attention_scores=True)[1],
        ],
    )  # fmt: skip


def heads_over_pixels() -> Any:
    x, y = Input((3, 4, 5)), Input((3, 2, 5))
    return keras.Model(
        [x, y],
        [
            L.MultiHeadAttention(2, 3)(x, x), L.MultiHeadAttention(2, 3, attention_axes=(2,))(x, y),
            L.MultiHeadAttention(2, 3, attention_axes=-2, output_shape=(2, 3))(x, x),
            L.MultiHeadAttention(2, 3)(x, y, return_attention_scores=True)[1],
        ],
    )  # fmt: skip


def looking_over_time() -> Any:
    """Keys and values of the model's time; what asks for them is a frame, or other steps."""
    x, row, rows = Input((None, 4)), Input((1, 4)), Input((5, 4))
    y = L.GRU(4, return_sequences=True)(x)
    heads = L.MultiHeadAttention(2, 3, attention_axes=2)(L.Reshape((-1, 2, 2))(y), L.Reshape((-1, 2, 2))(y))
    return keras.Model(
        [x, row, rows],
        [
            L.Attention()([rows, y]), L.AdditiveAttention()([row, y]), L.MultiHeadAttention(2, 3)(rows, y), heads,
            L.EinsumDense("abc,cde->adeb", (2, 3, 5))(rows), L.EinsumDense("btc,cd->bd", (3,), bias_axes="d")(y),
        ],
    )  # fmt: skip


def classical_attention() -> Any:
    x = Input((6, 3))
    y = L.LSTM(4, return_sequences=True)(x)
    scores = L.Activation("softmax")(L.Flatten()(L.Dense(1, activation="tanh")(y)))
    weighted = L.Multiply()([y, L.Permute((2, 1))(L.RepeatVector(4)(scores))])
    return keras.Model(x, L.Dense(2)(L.GlobalAveragePooling1D()(weighted)))


def words_and_numbers() -> Any:
    ids, numbers, flat = Input((None,), dtype="int32"), Input((None, 2)), Input((3,), dtype="int32")
    words = L.Concatenate()([L.Embedding(7, 4)(ids), numbers])
    columns = L.Flatten()(L.Embedding(7, 2)(flat))
    return keras.Model([ids, numbers, flat], L.Concatenate()([L.Bidirectional(L.GRU(3))(words), columns]))


MODELS = (
    two_inputs, row_beside_sequence, different_steps, merges, dots, nested, nested_called_by_name, nested_frozen,
    deeply_nested, time_distributed_model, hierarchical_ids, encoder_decoder, states, last_state, two_masks,
    masked_whole, attention, attention_of_steps, heads, heads_over_pixels,
    looking_over_time, classical_attention, words_and_numbers,
)  # fmt: skip


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("build", MODELS)
def test_model(build, forward, dtype, tmp_path):
    check(build(), tmp_path, forward, dtype, scale=4.0 if dtype == "float32" else 1.0)


def test_time_stays_where_it_can(float64):
    """One input whose steps are needed does not make the others frames."""
    graph = to_graph(words_and_numbers()).graph
    assert [spec.time for spec in graph.inputs.values()] == [True, True, False]


@pytest.mark.parametrize("forward", FORWARDS)
def test_norms_of_any_axis(forward, float64):
    """Keras's torch backend cannot run what its own layer allows, so Permute says the same to it."""
    plain = keras.Sequential([Input((5, 4)), L.LayerNormalization(axis=1), L.RMSNormalization(axis=1)])
    turned = keras.Sequential(
        [Input((5, 4)), L.Permute((2, 1)), L.LayerNormalization(), L.RMSNormalization(), L.Permute((2, 1))]
    )
    randomised(plain)
    for layer, other in zip(plain.layers, turned.layers[1:3], strict=True):
        other.set_weights(layer.get_weights())
    graph = to_graph(plain).graph
    x = np.random.default_rng(0).normal(size=(3, 5, 4))
    assert_close(forward(graph, x), [np.asarray(turned.predict(x, verbose=0))], TOLERANCE["float64"])


def test_rows_in_groups_of_a_fixed_batch(float64):
    """An oracle with a batch of its own passes rows on in that number."""
    model = keras.Sequential([Input(batch_shape=(2, 6, 3)), L.GRU(4, stateful=True)])
    imported = to_graph(randomised(model))
    x = draw(imported, model)
    (y,) = imported.oracle(x)
    assert y.shape == (3, 4)
    assert_close([y[1:]], imported.oracle(x[1:]), 0.0)


@pytest.mark.parametrize("forward", FORWARDS)
def test_other_steps_than_the_models(forward, float64):
    """Models of layers that work step by step take any number of steps, and so does their oracle."""
    layers = [L.Conv1D(4, 5, padding="causal"), L.AveragePooling1D(3, strides=1), L.GRU(3, return_sequences=True)]
    model = keras.Sequential([Input(batch_shape=(4, 20, 3)), *layers, L.UnitNormalization()])
    imported = to_graph(randomised(model))
    x = np.random.default_rng(0).normal(size=(2, 9, 3))
    assert_close(forward(imported.graph, x), imported.oracle(x), TOLERANCE["float64"])


def test_a_mask_of_steps_reaches_attention_of_any_number():
    x = Input((9, 3), name="x")
    y = L.GRU(4, return_sequences=True)(L.Masking()(x))
    model = keras.Model(x, L.Attention()([y, y]))
    given = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    given[1, 6:] = 0
    made = fastgru.convert(model)
    assert np.abs(made(given) - np.asarray(model(given).detach())).max() <= 1e-5
    assert to_graph(model).steps == 0
