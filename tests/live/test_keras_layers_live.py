"""Every further layer of Keras against its own forward pass, live and from both files: along time and on frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS
from keras_live_cases import QUIET, L, check, dtype, float64, keras, randomised
from streamed import check_streamed

from fastgru import Model, reference
from fastgru.converters import to_graph
from fastgru.graph import TimeConv, TimeSoftmax

pytestmark = QUIET
__all__ = ["dtype", "float64"]  # fixtures

SCALE = {"float64": 1.0, "float32": 4.0}  # chains of norms multiply rounding


def sequential(shape: Any, *layers: Any) -> Any:
    return keras.Sequential([keras.Input(shape), *layers])


# name -> layers of a model of sequences (T, 4)
ALONG_TIME: dict[str, Any] = {
    "conv-valid": lambda: [L.Conv1D(5, 3), L.Conv1D(4, 2, strides=2, activation="tanh"), L.GRU(3)],
    "conv-same": lambda: [L.Conv1D(5, 3, padding="same"), L.Conv1D(4, 4, padding="same", use_bias=False)],
    "conv-causal": lambda: [L.Conv1D(5, 4, padding="causal"), L.Conv1D(4, 2, padding="causal", strides=3)],
    "conv-dilated": lambda: [
        L.Conv1D(5, 3, dilation_rate=2, padding="causal"), L.Conv1D(5, 2, dilation_rate=3, padding="same"),
        L.Conv1D(4, 2, dilation_rate=2),
    ],
    "conv-groups": lambda: [L.Conv1D(6, 3, groups=2, padding="same", activation="relu"), L.Conv1D(4, 1, groups=2)],
    "conv-one": lambda: [L.Conv1D(6, 1, activation="softmax"), L.Conv1D(3, 1, strides=2)],
    "conv-activations": lambda: [
        L.Conv1D(4, 2, activation="softmax"), L.Conv1D(4, 2, activation="gelu"), L.Conv1D(4, 2, activation="elu"),
    ],
    "conv-same-strided": lambda: [
        L.Conv1D(5, 4, strides=2, padding="same"), L.MaxPooling1D(2, padding="same"),
        L.Conv1D(4, 1, strides=3, padding="same"),
    ],
    "transposed": lambda: [
        L.Conv1DTranspose(3, 4, strides=2, padding="same"), L.Conv1DTranspose(2, 3, activation="tanh"),
        L.Conv1DTranspose(2, 2, strides=3, activation="softmax"), L.Conv1DTranspose(2, 3, strides=2, output_padding=1),
        L.Conv1DTranspose(2, 3, strides=2, padding="same", output_padding=1, use_bias=False),
        L.Conv1DTranspose(2, 2, dilation_rate=3), L.Conv1DTranspose(2, 3, padding="same"),
    ],
    "images": lambda: [
        L.Reshape((-1, 4, 1)), L.Conv2D(4, (3, 2), padding="same", activation="relu"),
        L.Conv2D(6, (2, 3), (2, 1), groups=2, activation="softmax"), L.DepthwiseConv2D((1, 2)),
        L.Conv2D(4, (2, 1), padding="valid", dilation_rate=(2, 1)),
    ],
    "images-transposed": lambda: [
        L.Reshape((-1, 2, 2)), L.Conv2DTranspose(3, (3, 2), strides=(2, 1), padding="same"),
        L.Conv2DTranspose(2, (2, 3), (1, 2), activation="relu"), L.Conv2DTranspose(2, (2, 2), strides=(3, 1)),
    ],
    "images-pooled": lambda: [
        L.Reshape((-1, 4, 1)), L.MaxPooling2D((2, 1)), L.ZeroPadding2D(((2, 0), (1, 1))), L.UpSampling2D((2, 2)),
        L.UpSampling2D((2, 3), interpolation="bilinear"),
        L.AveragePooling2D((3, 2), (1, 2), padding="same"), L.Cropping2D(((1, 0), (0, 2))),
    ],
    "upsampling": lambda: [L.Conv1D(5, 2, strides=2), L.UpSampling1D(3), L.GRU(3, return_sequences=True)],
    "depthwise": lambda: [
        L.DepthwiseConv1D(3), L.DepthwiseConv1D(2, depth_multiplier=2, padding="same", activation="relu"),
    ],
    "separable": lambda: [
        L.SeparableConv1D(5, 3), L.SeparableConv1D(3, 2, depth_multiplier=2, strides=2, activation="tanh"),
        L.SeparableConv1D(3, 3, padding="same", use_bias=False),
    ],
    "max": lambda: [L.MaxPooling1D(2), L.MaxPooling1D(3, strides=1, padding="same")],
    "average": lambda: [L.AveragePooling1D(3, strides=2), L.AveragePooling1D(3, strides=1, padding="same")],
    "padding": lambda: [L.ZeroPadding1D((2, 1)), L.ZeroPadding1D(1), L.AveragePooling1D(5, strides=1)],
    "cropping": lambda: [L.Cropping1D((2, 1)), L.LSTM(3, return_sequences=True), L.Cropping1D((0, 1))],
    "global-max": lambda: [L.GRU(5, return_sequences=True), L.GlobalMaxPooling1D(), L.Dense(2)],
    "global-average": lambda: [L.GlobalAveragePooling1D(keepdims=True), L.Dense(2)],
    "global-max-kept": lambda: [L.GlobalMaxPooling1D(keepdims=True), L.Dense(2)],
    "global-masked": lambda: [L.Masking(), L.GRU(5, return_sequences=True), L.GlobalAveragePooling1D()],
    "unit-time": lambda: [L.UnitNormalization(axis=1), L.GRU(3)],
    "unit-both": lambda: [L.UnitNormalization(axis=[1, 2]), L.GRU(3)],
    "groups": lambda: [L.GroupNormalization(2), L.Dense(3), L.GroupNormalization(-1, scale=False), L.Dense(2)],
    "softmax-time": lambda: [L.GRU(3, return_sequences=True), L.Softmax(axis=1)],
    "flat-attention": lambda: [L.Dense(1, activation="tanh"), L.Flatten(), L.Activation("softmax")],
    "prelu": lambda: [L.PReLU(shared_axes=[1]), L.Dense(3), L.PReLU(shared_axes=[1, 2])],
    "reshape": lambda: [L.Reshape((-1, 2, 2)), L.Permute((1, 3, 2)), L.Reshape((-1, 4)), L.GRU(2)],
    "higher": lambda: [
        L.Reshape((-1, 2, 2)), L.Dense(3, activation="tanh"), L.BatchNormalization(), L.LayerNormalization(axis=[2, 3]),
        L.BatchNormalization(axis=2), L.UnitNormalization(axis=2), L.Softmax(axis=2),
        L.GroupNormalization(2, axis=2),
    ],
    "time-distributed": lambda: [
        L.Reshape((-1, 4, 1)), L.TimeDistributed(L.Conv1D(3, 2, activation="relu")),
        L.TimeDistributed(L.MaxPooling1D(2)), L.TimeDistributed(L.Flatten()), L.GRU(3),
    ],
    "time-distributed-rnn": lambda: [
        L.Reshape((-1, 4, 1)), L.TimeDistributed(L.GRU(3, return_sequences=True)),
        L.TimeDistributed(L.Bidirectional(L.LSTM(2, return_sequences=True))), L.TimeDistributed(L.LSTM(3)), L.GRU(2),
    ],
    "time-distributed-norms": lambda: [
        L.Reshape((-1, 2, 2)), L.TimeDistributed(L.BatchNormalization(axis=1)),
        L.TimeDistributed(L.GroupNormalization(2)),
        L.TimeDistributed(L.LayerNormalization(axis=[1, 2])), L.TimeDistributed(L.GlobalAveragePooling1D()),
        L.TimeDistributed(L.UnitNormalization(axis=1)),
    ],
    "einsum": lambda: [
        L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d", activation="tanh"),
        L.EinsumDense("...x,xyz->...yz", (2, 3), bias_axes="yz"),
        L.EinsumDense("btyz,yzq->btqz", (None, 4, 3), bias_axes="q", activation="softmax"),
        L.EinsumDense("btqz,zuv->btuqv", (None, 2, 4, 2)), L.EinsumDense("btuqv,qvu->btu", (None, 2), bias_axes="u"),
        L.EinsumDense("abc...,cx->abx...", (None, 3), bias_axes="x"),
        L.EinsumDense("abc,cde->abde", (None, 2, 3)), L.EinsumDense("abcd,dx->abx", (None, 4)),
    ],
    "rms": lambda: [L.RMSNormalization(), L.Dense(3), L.LayerNormalization(rms_scaling=True)],
    "scalings": lambda: [
        L.Rescaling(0.5, 1.0), L.Rescaling([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 2.0]), L.Normalization(),
        L.Normalization(axis=None), L.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 2.0, 0.0, 4.0]),
        L.Normalization(mean=0.5, variance=4.0), L.Normalization(invert=True),
    ],
    "relu": lambda: [
        L.ReLU(max_value=6.0), L.Dense(4), L.ReLU(negative_slope=0.2, max_value=1.0, threshold=0.5), L.Dense(4),
        L.ReLU(negative_slope=0.1, threshold=1.0), L.Dense(4), L.ReLU(max_value=0.5, threshold=0.2), L.Identity(),
    ],
    "softmax-axes": lambda: [L.Reshape((-1, 2, 2)), L.Softmax(axis=[2, 3]), L.Softmax(axis=-2)],
    "training-only": lambda: [L.SpatialDropout1D(0.5), L.Identity(), L.GaussianNoise(1.0), L.ActivityRegularization()],
}  # fmt: skip
NAMES = (
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh",
    "tanh_shrink",
)  # fmt: skip


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("case", ALONG_TIME)
@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`:UserWarning")
@pytest.mark.filterwarnings("ignore:You are using a softmax over axis:UserWarning")
@pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning")
def test_along_time(case, forward, dtype, tmp_path):
    live = check(sequential((None, 4), *ALONG_TIME[case]()), tmp_path, forward, dtype, scale=SCALE[dtype])
    assert all(spec.time for spec in live.graph.inputs.values())


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_activation(name, forward, float64, tmp_path):
    for layers in ([L.Dense(6, activation=name)], [L.Activation(name)], [L.Conv1D(4, 2, activation=name)]):
        check(sequential((None, 4), *layers), tmp_path, forward, "float64")


def whole(*layers: Any) -> list[Any]:
    """`layers` and some that need to know the number of steps."""
    return [*layers, L.Flatten(), L.Dense(2)]


# name -> shape and layers of a model whose first axis is one of the frame
ON_FRAMES: dict[str, Any] = {
    "convs": lambda: ((12, 4), whole(L.Conv1D(5, 3, padding="causal", activation="gelu"), L.Conv1D(4, 2, strides=2))),
    "conv-strided-same": lambda: ((None, 4), [L.Conv1D(3, 1, strides=2, padding="same")]),
    "conv-same-odd": lambda: ((11, 4), whole(L.Conv1D(5, 4, strides=2, padding="same", activation="softmax"))),
    "conv-first": lambda: (
        (4, 12), [L.Conv1D(6, 3, groups=2, data_format="channels_first", activation="softmax"),
                  L.MaxPooling1D(2, data_format="channels_first"), L.GlobalAveragePooling1D("channels_first")],
    ),
    "transposed": lambda: (
        (5, 4), [L.Conv1DTranspose(3, 4, strides=2, padding="same"), L.Conv1DTranspose(2, 3, activation="tanh"),
                 L.Conv1DTranspose(2, 2, strides=3), L.Conv1DTranspose(2, 3, strides=2, output_padding=1),
                 L.Conv1DTranspose(2, 3, strides=2, padding="same", output_padding=1, use_bias=False),
                 L.Conv1DTranspose(2, 2, dilation_rate=3)],
    ),
    "autoencoder": lambda: (
        (12, 4), [L.Conv1D(5, 3, padding="same", strides=2), L.MaxPooling1D(2), L.UpSampling1D(2),
                  L.UpSampling1D(2), L.Cropping1D((1, 2)), L.ZeroPadding1D((2, 1))],
    ),
    "repeat": lambda: (
        (None, 4), [L.LSTM(5), L.RepeatVector(6), L.GRU(4, return_sequences=True), L.TimeDistributed(L.Dense(2))],
    ),
    "recurrent": lambda: (
        (7, 4), whole(L.GRU(5, return_sequences=True, reset_after=False),
                      L.Bidirectional(L.LSTM(3, return_sequences=True)),
                      L.SimpleRNN(3, return_sequences=True, go_backwards=True),
                      L.RNN([L.GRUCell(4), L.LSTMCell(3)], return_sequences=True),
                      L.Bidirectional(L.GRU(2), merge_mode="sum"), L.RepeatVector(3)),
    ),
    "permuted": lambda: ((7, 4), [L.Permute((2, 1)), L.GRU(3)]),
    "norms": lambda: (
        (6, 4), whole(L.BatchNormalization(axis=1), L.LayerNormalization(axis=[1, 2]),
                      L.GroupNormalization(3, axis=1), L.UnitNormalization(axis=1), L.RMSNormalization(axis=[1, 2]),
                      L.PReLU(), L.Softmax(axis=1), L.Normalization(axis=[1, 2]), L.GlobalMaxPooling1D(keepdims=True)),
    ),
    "reshaped": lambda: ((12,), [L.Dense(12), L.Reshape((4, -1)), L.GRU(3, return_sequences=True), L.Flatten()]),
    "images": lambda: (
        (9, 8, 2), [L.Conv2D(4, 3, activation="relu"), L.MaxPooling2D(2), L.DepthwiseConv2D(2, padding="same"),
                    L.BatchNormalization(), L.Conv2D(6, (2, 1), strides=(1, 2), padding="same", groups=2),
                    L.ZeroPadding2D(((1, 0), (2, 1))), L.SeparableConv2D(4, 2),
                    L.AveragePooling2D((2, 1), padding="same"),
                    L.UpSampling2D((1, 2)), L.Cropping2D(((0, 1), (1, 0))), L.SpatialDropout2D(0.3), L.Flatten()],
    ),
    "images-transposed": lambda: ((3, 4, 2), [L.Conv2DTranspose(3, (3, 2), strides=(2, 1), padding="same"),
                                             L.GlobalAveragePooling2D(keepdims=True), L.GlobalMaxPooling2D()]),
    "images-first": lambda: (
        (2, 6, 5), [L.Conv2D(4, 3, data_format="channels_first"), L.Flatten(data_format="channels_first")],
    ),
    "crnn": lambda: (
        (12, 6, 1), [L.Conv2D(3, 3, padding="same", activation="relu"), L.MaxPooling2D((1, 2)), L.Reshape((12, 9)),
                     L.Bidirectional(L.GRU(4, return_sequences=True)), L.Dense(5, activation="softmax")],
    ),
    "volumes": lambda: ((4, 4, 3, 2), [L.Conv3D(2, 2), L.MaxPooling3D((2, 2, 1)), L.GlobalAveragePooling3D()]),
    "cnn-lstm": lambda: (
        (None, 6, 5, 1), [L.TimeDistributed(L.Conv2D(2, 3, activation="relu")), L.TimeDistributed(L.MaxPooling2D(2)),
                          L.TimeDistributed(L.Flatten()), L.LSTM(3)],
    ),
    "step": lambda: ((4,), [L.Dense(3), L.UnitNormalization(axis=1), L.GroupNormalization(3), L.RepeatVector(2)]),
    "rows": lambda: (
        (6, 4), [L.Permute((2, 1)), L.TimeDistributed(L.Dense(3)), L.TimeDistributed(L.LayerNormalization()),
                 L.TimeDistributed(L.BatchNormalization(axis=1)), L.TimeDistributed(L.Activation("swish"))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("case", ON_FRAMES)
@pytest.mark.filterwarnings("ignore:You might experience inconsistencies across backends:UserWarning")
def test_on_frames(case, forward, dtype, tmp_path):
    shape, layers = ON_FRAMES[case]()
    check(sequential(shape, *layers), tmp_path, forward, dtype, scale=SCALE[dtype])


@pytest.mark.parametrize("case", ["transposed", "images", "images-transposed", "upsampling", "conv-same-strided"])
def test_what_changes_its_steps_streams(case):
    graph = to_graph(randomised(sequential((None, 4), *ALONG_TIME[case]()))).graph
    (name,) = graph.inputs
    check_streamed(graph, {name: np.random.default_rng(0).normal(size=(2, 12, 4)).astype(np.float32)})


@pytest.mark.parametrize("join", [L.Add, L.Concatenate])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_an_encoder_and_a_decoder_with_skips(join, padding, float64, tmp_path):
    """With 'valid' windows of two steps every two, nothing is left over of 12 steps."""
    taps, x = {"same": 4, "valid": 2}[padding], keras.Input((None, 4))
    first = L.Conv1D(6, taps, strides=2, padding=padding, activation="relu")(x)
    second = L.Conv1D(8, taps, strides=2, padding=padding, activation="relu")(first)
    y = L.GRU(5, return_sequences=True)(second)
    y = join()([L.Conv1DTranspose(6, taps, strides=2, padding=padding)(y), first])
    y = join()([L.Conv1DTranspose(4, taps, strides=2, padding=padding)(y), x])
    model = randomised(keras.Model(x, L.Dense(3)(y)))
    graph = to_graph(model).graph
    values = np.random.default_rng(0).normal(size=(2, 12, 4))
    (name,) = graph.inputs
    (got,), _ = reference.run(graph, {name: values})
    np.testing.assert_allclose(got, model(values).detach().numpy(), rtol=0, atol=1e-10)
    check_streamed(graph, {name: values.astype(np.float32)})
    with pytest.raises(ValueError, match="must have one number of steps"):
        Model(graph)(values[:, :11])


def test_streaming_layers_stay_streaming():
    model = sequential(
        (20, 4), L.Conv1D(3, 5, padding="causal"), L.AveragePooling1D(2), L.GRU(3, return_sequences=True)
    )
    graph = to_graph(model).graph
    assert graph.not_streamable() == {}
    assert isinstance(graph.nodes[0].op, TimeConv)
    graph = to_graph(sequential((None, 4), L.Dense(1), L.Softmax(axis=1))).graph
    assert isinstance(graph.nodes[-1].op, TimeSoftmax)
