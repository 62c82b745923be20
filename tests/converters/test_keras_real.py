"""Real Keras models against the outputs that their owners' frameworks gave; skipped where they are not at hand."""

from __future__ import annotations

import numpy as np
import pytest
from keras_cases import REAL_FORWARDS, assert_close, load, run_reference

from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.layers import (
    IRFFT,
    LSTM,
    RFFT,
    Concat,
    Dense,
    Embedding,
    Framing,
    LayerNorm,
    Multiply,
    OverlapAdd,
    Reduce,
    Reshape,
    TimeConv,
    TimeReduce,
    TimeSoftmax,
    like,
)  # fmt: skip

h5py = pytest.importorskip("h5py")


@pytest.mark.parametrize("forward", REAL_FORWARDS)
@pytest.mark.parametrize("name", ["beguiling-drafter-2018-08-30", "somnolent-hogwash-2018-09-01"])
def test_rnnoise(name, forward, real_models):
    folder = real_models / "rnnoise_nu" / name
    reference = load(folder / "reference.npz")
    imported = to_graph(folder / "weights.hdf5")
    outputs = forward(imported.graph, reference["features"][None])
    assert_close(outputs, [reference["gains"][None], reference["vad"][None]], 5e-6)
    assert {n.name for n in imported.graph.nodes} >= {"vad_gru", "noise_gru", "denoise_gru", "concatenate_1"}


@pytest.mark.parametrize("forward", REAL_FORWARDS)
@pytest.mark.parametrize("name", ["2026_03_26_21_56_0.0534", "BEST_0.1753_gru_32_bs_128_k_20_f_16_p_5"])
def test_ao_gru(name, forward, real_models):
    """A causal convolution, batch norm, padding, pooling, GRU and unit norm; one returns sequences of a fixed batch."""
    folder = real_models / "ao_gru" / name
    reference = load(folder / "reference.npz")
    graph = to_graph(folder / "gru_model.keras").graph
    assert_close(forward(graph, reference["x"]), [reference["y"]], 2e-6)
    assert {"conv1d", "batch_normalization", "zero_padding1d", "average_pooling1d", "gru", "dense", "phase"} <= {
        n.name for n in graph.nodes
    }
    assert not graph.not_streamable()


TEXTGENRNN = [
    like(Embedding, name="embedding"),
    like(LSTM, name="rnn_1", layout="cudnn"),
    like(LSTM, name="rnn_2", layout="cudnn"),
    like(Concat, name="rnn_concat", inputs=["embedding", "rnn_1", "rnn_2"]),
    like(Dense, name="attention"),
    like(TimeSoftmax, name="weights"),
    like(Multiply, inputs=["rnn_concat", "weights"]),
    like(TimeReduce, function="sum"),
    like(Dense, name="output", activation="softmax"),
]


@pytest.mark.parametrize("forward", REAL_FORWARDS)
def test_textgenrnn(forward, real_models):
    """Weights alone: embedding, two LSTMs in cuDNN's layout, skips, and an average weighted by attention."""
    reference = load(real_models / "textgenrnn" / "reference.npz")
    graph = to_graph(real_models / "textgenrnn" / "textgenrnn_weights.hdf5", like=TEXTGENRNN).graph
    assert_close(forward(graph, reference["ids"]), [reference["probs"]], 3e-6)


DTLN = [
    like(RFFT, name="spectrum", n=512),
    like(Reduce, function="l2", axes=[1], keepdims=False),
    like(LSTM, name="lstm"),
    like(LSTM, name="lstm_1"),
    like(Dense, name="dense", activation="sigmoid"),
    like(Reshape, name="mask", shape=[257, 1]),
    like(Multiply, inputs=["spectrum", "mask"]),
    like(IRFFT, n=512),
    like(TimeConv, name="conv1d"),
    like(LayerNorm, name="layer_normalization", eps=1e-7),
    like(LSTM, name="lstm_2"),
    like(LSTM, name="lstm_3"),
    like(Dense, name="dense_1", activation="sigmoid"),
    like(Multiply, inputs=["conv1d", "dense_1"]),
    like(Dense, name="conv1d_1"),
]


@pytest.mark.parametrize("forward", REAL_FORWARDS)
def test_dtln(forward, real_models):
    """Both networks with the transforms between them, block by block; a kernel of one step is a Dense, too."""
    reference = load(real_models / "dtln" / "reference.npz")
    graph = to_graph(real_models / "dtln" / "model.h5", like=DTLN).graph
    (y,) = forward(graph, reference["blocks_in"][None])
    assert_close([y[0]], [reference["blocks_out"]], 1e-5)
    assert not graph.not_streamable()


def test_dtln_from_samples_to_samples(real_models):
    """The same with framing in front and overlap-add behind."""
    rng = np.random.default_rng(0)
    samples = rng.normal(scale=0.1, size=(1, 2048))
    path = real_models / "dtln" / "model.h5"
    whole = [like(Framing, name="frames", size=512, hop=128), *DTLN, like(OverlapAdd, size=512, hop=128)]
    graph = to_graph(path, like=whole).graph
    (y,) = run_reference(graph, samples)
    frames = np.stack([samples[0, t : t + 512] for t in range(0, 2048 - 511, 128)])
    blocks = run_reference(to_graph(path, like=DTLN).graph, frames[None])[0][0]
    expected = np.zeros(len(frames) * 128 + 512)
    for t, block in enumerate(blocks):
        expected[t * 128 : t * 128 + 512] += block
    assert_close([y[0]], [expected[: len(frames) * 128]], 1e-12)


def test_dtln_layers_by_name(real_models):
    path = real_models / "dtln" / "model.h5"
    layers = [like(LSTM, name="lstm"), like(LSTM, name="lstm_1"), like(Dense, name="dense", activation="sigmoid")]
    second = ["conv1d", "layer_normalization", "lstm_2", "lstm_3", "dense_1", "conv1d_1"]
    with pytest.warns(UserWarning, match="12 of 20 arrays are unused, of conv1d, layer_normalization, lstm_2"):
        to_graph(path, like=layers)
    graph = to_graph(path, like=layers, ignore=second).graph
    assert [(n.name, graph.specs[n.name].shape) for n in graph.nodes] == [
        ("lstm", (128,)), ("lstm_1", (128,)), ("dense", (257,)),
    ]  # fmt: skip
    with h5py.File(path) as file:
        assert np.array_equal(graph.nodes[2].op.weight, file["dense/dense/kernel:0"][()].T)
    with pytest.raises(ConvertError, match=r"lstm: kernel \(257, 512\)(.|\n)*like\(LSTM, name='lstm_3'\)"):
        to_graph(path)
