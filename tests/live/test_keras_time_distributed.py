"""TimeDistributed of layers, models and itself against Keras: over the model's time, and along a fixed axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, float64, keras, randomised

from fastgru.converters import to_graph
from fastgru.graph import Spec

pytestmark = QUIET
__all__ = ["float64"]  # a fixture
Input, Each = keras.Input, L.TimeDistributed

# Layers of pictures (4, 6, 2).
OF_PICTURES: dict[str, Any] = {
    "convolutions": lambda: [
        L.Conv2D(3, 3, activation="relu"), L.DepthwiseConv2D(2), L.SeparableConv2D(3, 2, padding="same"),
        L.Conv2D(2, 2, strides=2, padding="same", activation="softmax"), L.Conv2DTranspose(2, 2, strides=2),
        L.Conv2D(4, 2, dilation_rate=2, groups=2, padding="same", use_bias=False),
    ],
    "pools": lambda: [
        L.MaxPooling2D(2), L.AveragePooling2D(2, strides=1, padding="same"), L.GlobalMaxPooling2D(),
        L.GlobalAveragePooling2D(keepdims=True), L.UpSampling2D((1, 2)), L.ZeroPadding2D(1),
        L.Cropping2D(((1, 0), (0, 2))),
    ],
    "norms": lambda: [
        L.BatchNormalization(), L.BatchNormalization(axis=1), L.LayerNormalization(),
        L.GroupNormalization(1), L.UnitNormalization(axis=1), L.Rescaling(2.0, 1.0),
    ],
    "moves": lambda: [
        L.Flatten(), L.Permute((3, 1, 2)), L.Reshape((6, 8)), L.Dropout(0.2), L.Flatten(data_format="channels_first")
    ],
    "functions": lambda: [
        L.Dense(3, activation="gelu"), L.Activation("tanh"), L.LeakyReLU(), L.PReLU(), L.PReLU(shared_axes=[1, 2]),
        L.Softmax(axis=1), L.ReLU(max_value=1.0), L.EinsumDense("bxyc,cd->bxyd", (None, None, 3)),
    ],
    "itself": lambda: [
        Each(L.LSTM(3)), Each(L.Bidirectional(L.GRU(2, return_sequences=True))), Each(L.Conv1D(3, 2, activation="elu")),
        Each(Each(L.Dense(3))), Each(L.GlobalAveragePooling1D()), Each(L.Flatten()), Each(L.SimpleRNN(2)),
    ],
}  # fmt: skip


def along_time(layers: Any) -> Any:
    x = Input((None, 4, 6, 2))
    return keras.Model(x, [Each(layer)(x) for layer in layers])


def along_the_frame(layers: Any) -> Any:
    """RepeatVector makes steps that are no time of the model."""
    x = Input((48,))
    y = Each(L.Reshape((4, 6, 2)))(L.Dense(48)(L.RepeatVector(3)(x)))
    y = L.Add()([y, L.Reshape((3, 4, 6, 2))(L.Dense(144)(x))])
    return keras.Model(x, [Each(layer)(y) for layer in layers])


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("around", [along_time, along_the_frame])
@pytest.mark.parametrize("name", OF_PICTURES)
def test_layers_of_every_picture(name, around, forward, float64, tmp_path):
    check(around(OF_PICTURES[name]()), tmp_path, forward, float64)


def pictures() -> Any:
    layers = [
        L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(), L.MaxPooling2D(2), L.Flatten(),
        L.Dense(5, activation="relu"), L.Dropout(0.2),
    ]  # fmt: skip
    return keras.Sequential([Input((6, 6, 2)), *layers], name="pictures")


def classified() -> Any:
    """A network of each picture, then a recurrence, and all of its steps at once."""
    x = Input((5, 6, 6, 2))
    y = L.LSTM(6, return_sequences=True)(Each(pictures())(x))
    return keras.Model(x, L.Dense(2)(L.Flatten()(y)))


def autoencoder() -> Any:
    x = Input((4, 6, 6, 1))
    y = Each(L.Flatten())(Each(L.Conv2D(3, 3, strides=2, padding="same", activation="relu"))(x))
    y = L.LSTM(6, return_sequences=True)(L.RepeatVector(4)(L.LSTM(5)(y)))
    y = Each(L.Reshape((3, 3, 2)))(Each(L.Dense(18))(y))
    return keras.Model(x, Each(L.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"))(y))


def branches() -> Any:
    """Some need all steps at once, some take them one by one, and they meet."""
    x = Input((5, 6, 6, 2))
    y = Each(L.Conv2D(2, 3))(x)
    means = Each(L.GlobalAveragePooling2D())(y)
    turned = L.Dense(5)(L.Permute((2, 1))(means))
    whole = L.Add()([L.GRU(2, return_sequences=True)(means), L.Permute((2, 1))(turned)])
    return keras.Model(x, [L.Concatenate()([L.Flatten()(y), L.Flatten()(turned), L.GRU(3)(means)]), whole])


def hierarchical(steps: Any = None) -> Any:
    x = Input((6, 2))
    words = keras.Model(x, L.Dense(3)(L.LSTM(3)(L.Conv1D(3, 2)(x))), name="words")
    documents = Input((steps, 3, 6, 2))
    y = Each(Each(words))(documents)
    return keras.Model(documents, L.GRU(3)(Each(L.GRU(2))(y)) if steps is None else L.Dense(2)(L.Flatten()(y)))


def words_of_sentences() -> Any:
    ids = Input((3, 5), dtype="int32")
    y = Each(L.Bidirectional(L.LSTM(3)))(Each(L.Embedding(8, 4))(ids))
    return keras.Model(ids, L.Dense(2)(L.Bidirectional(L.GRU(3))(y)))


MODELS: dict[str, Any] = {
    "classified": classified,
    "autoencoder": autoencoder,
    "branches": branches,
    "hierarchical": hierarchical,
    "hierarchical-of-fixed-steps": lambda: hierarchical(4),
    "words-of-sentences": words_of_sentences,
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", MODELS)
def test_models_as_keras_computes_them(name, forward, float64, tmp_path):
    check(MODELS[name](), tmp_path, forward, float64)


def test_a_network_of_each_picture_streams():
    x = Input((None, 6, 6, 2))
    model = randomised(keras.Model(x, L.GRU(3, return_sequences=True)(Each(pictures())(x))))
    graph = to_graph(model).graph
    assert next(iter(graph.inputs.values())) == Spec((6, 6, 2))
    assert sum(node.op.kind == "conv" for node in graph.nodes) == 1


def test_a_layer_along_the_frame_is_there_once():
    """Also where there are many steps."""
    x = Input((12,))
    y = Each(L.Conv2D(2, 2))(Each(L.Reshape((3, 4, 1)))(L.RepeatVector(30)(x)))
    nodes = to_graph(randomised(keras.Model(x, Each(L.MaxPooling2D(2))(y)))).graph.nodes
    assert [sum(n.op.kind == kind for n in nodes) for kind in ("conv", "pool")] == [1, 1]


def test_custom_layers_inside():
    from fastgru.layers import Activate

    class Mine(L.Layer):
        def call(self, x):
            return keras.ops.tanh(x)

        def compute_output_shape(self, input_shape):
            return input_shape

    x = Input((None, 3, 2))
    net = randomised(keras.Model(x, [Each(Mine())(x), Each(Each(Mine()))(x)]))
    graph = to_graph(net, custom={"Mine": lambda config, weights: Activate("tanh")}).graph
    assert np.all([spec == Spec((3, 2)) for spec in (graph.specs[v] for v in graph.outputs)])
    with pytest.raises(Exception, match=r"custom=\{'Mine': function\}"):
        to_graph(net)
