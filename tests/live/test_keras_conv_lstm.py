"""ConvLSTM1D, 2D and 3D against Keras: over time, along an axis of fixed size, from states and with masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, float64, keras, randomised
from streamed import check_streamed

from fastgru import convert
from fastgru.converters import to_graph

pytestmark = QUIET
__all__ = ["float64"]  # a fixture
Input = keras.Input


def sequential(shape: Any, *layers: Any) -> Any:
    return keras.Sequential([Input(shape), *layers])


def encoder_decoder(steps: Any = None) -> Any:
    a, b = Input((steps, 5, 6, 2)), Input((steps, 5, 6, 2))
    y, h, c = L.ConvLSTM2D(3, 3, padding="same", return_state=True)(a)
    z = L.ConvLSTM2D(3, 2, padding="same", return_sequences=True)(b, initial_state=[h, c])
    return keras.Model([a, b], [y, z, c])


def repeated() -> Any:
    """Steps that are an axis of the frame, forwards, backwards and both."""
    x = Input((8,))
    y = L.TimeDistributed(L.Reshape((4, 2, 1)))(L.RepeatVector(3)(x))
    y = L.ConvLSTM2D(3, 2, padding="same", return_sequences=True, go_backwards=True)(y)
    y = L.Bidirectional(L.ConvLSTM2D(2, 2, padding="same", return_sequences=True))(y)
    return keras.Model(x, list(L.ConvLSTM2D(2, 2, return_state=True)(y)))


def masked() -> Any:
    x, m = Input((None, 5, 5, 1)), Input((None,), dtype="bool")
    both = L.Bidirectional(L.ConvLSTM2D(2, 3, padding="same", return_sequences=True))(x, mask=m)
    ends = L.ConvLSTM2D(2, 3, go_backwards=True, return_state=True, return_sequences=True)(x, mask=m)
    return keras.Model([x, m], [both, *ends, L.ConvLSTM2D(2, 3, return_sequences=True)(x, mask=m)])


MODELS: dict[str, Any] = {
    "1d": lambda: sequential(
        (None, 9, 2), L.ConvLSTM1D(3, 3, return_sequences=True), L.ConvLSTM1D(2, 2, padding="same", strides=2)
    ),
    "strides": lambda: sequential(
        (None, 9, 8, 2),
        L.ConvLSTM2D(3, (3, 2), strides=(2, 1), return_sequences=True, activation="relu",
                     recurrent_activation="hard_sigmoid"),
    ),
    "dilation": lambda: sequential(
        (None, 9, 9, 2), L.ConvLSTM2D(3, 3, dilation_rate=2, return_sequences=True, use_bias=False),
        L.ConvLSTM2D(2, (2, 3), dilation_rate=(1, 2), padding="same"),
    ),
    "channels-first": lambda: sequential(
        (None, 2, 6, 5), L.ConvLSTM2D(3, 3, padding="same", data_format="channels_first", return_sequences=True),
        L.Bidirectional(L.ConvLSTM2D(2, 3, data_format="channels_first")),
    ),
    "backwards": lambda: sequential(
        (None, 6, 5, 2), L.ConvLSTM2D(3, 3, padding="same", go_backwards=True, return_sequences=True),
        L.ConvLSTM2D(2, 3, go_backwards=True),
    ),
    "both-ways": lambda: sequential(
        (None, 6, 5, 2), L.Bidirectional(L.ConvLSTM2D(3, 3, padding="same", return_sequences=True)),
        L.Bidirectional(L.ConvLSTM2D(2, 3), merge_mode="sum"),
    ),
    "3d": lambda: sequential(
        (None, 4, 3, 4, 1), L.ConvLSTM3D(2, 2, padding="same", return_sequences=True), L.ConvLSTM3D(2, 2)
    ),
    "video": lambda: sequential(
        (4, 6, 6, 1), L.ConvLSTM2D(2, 3, return_sequences=True, padding="same"), L.BatchNormalization(),
        L.MaxPooling3D((1, 2, 2)), L.Conv3D(1, 3, padding="same", activation="sigmoid"),
    ),
    "flattened": lambda: sequential(
        (4, 5, 5, 1), L.ConvLSTM2D(2, 3, return_sequences=True), L.Flatten(), L.Dense(2)
    ),
    "in-time-distributed": lambda: sequential(
        (3, 4, 5, 5, 1), L.TimeDistributed(L.ConvLSTM2D(2, 3)), L.TimeDistributed(L.Flatten()), L.LSTM(3)
    ),
    "encoder-decoder": encoder_decoder,
    "encoder-decoder-of-fixed-steps": lambda: encoder_decoder(4),
    "repeated": repeated,
    "masked": masked,
}  # fmt: skip


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", MODELS)
def test_as_keras_computes_it(name, forward, float64, tmp_path):
    check(MODELS[name](), tmp_path, forward, float64)


def test_streams_with_its_weights_once():
    model = randomised(sequential((None, 5, 6, 2), L.ConvLSTM2D(3, 3, padding="same", return_sequences=True)))
    graph = to_graph(model).graph
    rng = np.random.default_rng(0)
    for steps in (6, 17):
        check_streamed(
            graph, {"x" if "x" in graph.inputs else next(iter(graph.inputs)): rng.normal(size=(2, steps, 5, 6, 2))}
        )
    assert sum(node.op.kind == "conv" for node in graph.nodes) == 2


def test_states_that_a_model_takes_and_gives_are_the_streams():
    x, h, c = Input((None, 4, 4, 1)), Input((4, 4, 3)), Input((4, 4, 3))
    layer = L.ConvLSTM2D(3, 3, padding="same", return_sequences=True, return_state=True)
    net = randomised(keras.Model([x, h, c], list(layer(x, initial_state=[h, c]))))
    frames, zero = np.random.default_rng(0).normal(size=(1, 5, 4, 4, 1)).astype("f4"), np.zeros((1, 4, 4, 3), "f4")
    stream = convert(net).stream()
    y = np.stack([stream.step(frame) for frame in frames[0]])
    assert np.abs(y - keras.ops.convert_to_numpy(net([frames, zero, zero])[0])[0]).max() < 1e-5


def test_stateful():
    x = Input((4, 5, 5, 1), batch_size=2)
    net = randomised(keras.Model(x, L.ConvLSTM2D(2, 3, stateful=True, return_sequences=True, name="c")(x)))
    model = convert(net)
    assert model.provenance["stateful"] == "c"
    halves = np.random.default_rng(0).normal(size=(2, 2, 4, 5, 5, 1)).astype("f4")
    net.layers[1].reset_state()
    expected = [keras.ops.convert_to_numpy(net(half)) for half in halves]
    stream = model.stream(2)
    for half, wanted in zip(halves, expected, strict=True):
        assert np.abs(stream.process(half) - wanted).max() < 1e-5
