"""Keras files without Keras: golden files of every format, real models, and what must be refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_cases import FILES, FORWARDS, REAL_FORWARDS, assert_close, run_reference

from fastgru.converters import to_graph
from fastgru.converters.keras_hdf5 import read
from fastgru.converters.keras_nodes import as_model
from fastgru.converters.keras_weights import from_numbers
from fastgru.errors import ConvertError
from fastgru.layers import (
    GRU,
    IRFFT,
    LSTM,
    RFFT,
    RNN,
    Activate,
    Add,
    Bidirectional,
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
TOLERANCE = 2e-6  # Keras computed in float32

PLAIN = [like(LSTM), like(GRU), like(Dense, activation="tanh")]
CUDNN = [like(LSTM, layout="cudnn"), like(GRU, layout="cudnn")]
# file -> like
GOLDEN: dict[str, Any] = {
    "words.keras": None,
    "words.h5": None,
    "branches.keras": None,
    "branches.h5": None,
    "cells.keras": None,
    "cells.h5": None,
    "keras2.h5": None,
    "plain.weights.h5": PLAIN,
    "cudnn.h5": CUDNN,
}


def golden(name: str) -> tuple[Any, list[Any]]:
    """The input and the outputs of a file."""
    arrays = load(FILES / f"{name.split('.')[0]}.npz")
    return arrays["x"], [arrays[f"y{i}"] for i in range(len(arrays) - 1)]


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_file(name, forward):
    x, expected = golden(name)
    imported = to_graph(FILES / name, like=GOLDEN[name])
    assert_close(forward(imported.graph, x), expected, TOLERANCE)
    assert imported.provenance["source"] == name
    assert imported.oracle is None


def load(path: Path) -> dict[str, Any]:
    """The arrays of an .npz file."""
    with np.load(path) as arrays:
        return dict(arrays)


def test_names_and_versions():
    imported = to_graph(FILES / "keras2.h5")
    assert imported.provenance == {"framework": "Keras 2.2.4", "source": "keras2.h5"}
    assert [n.name for n in imported.graph.nodes] == ["gru_1", "dense_1"]
    assert imported.graph.nodes[0].op.gate_activation.alpha == 0.2
    (gru,) = [n.op for n in to_graph(FILES / "branches.h5").graph.nodes if n.name == "a"]
    assert gru.gate_activation.alpha == pytest.approx(1 / 6)


def test_neither_keras_nor_tensorflow_is_imported():
    code = (
        "import sys; from fastgru.converters import to_graph; "
        f"to_graph({str(FILES / 'words.keras')!r}); to_graph({str(FILES / 'words.h5')!r}); "
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'keras', 'tensorflow', 'torch', 'jax'}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_h5py_is_named_when_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"fastgru\[keras\]"):
        to_graph(FILES / "words.keras")


def test_paths_written_on_windows():
    """TensorFlow 2.12 on Windows wrote '_layer_checkpoint_dependencies\\\\dense\\\\vars' as one name."""
    with zipfile.ZipFile(FILES / "words.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(members["model.weights.h5"])) as source, h5py.File(buffer, "w") as target:

        def visit(path: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                path, _, leaf = path.replace("layers/", "_layer_checkpoint_dependencies/", 1).rpartition("/")
                target.require_group(path.replace("/", "\\")).create_dataset(leaf, data=item[()])

        source.visititems(visit)
    weights = from_numbers(read(buffer.getvalue()), as_model(json.loads(members["config.json"])))
    assert [len(arrays) for arrays in weights.values()] == [0, 1, 6, 3, 2]


# Real models -------------------------------------------------------------------------------------


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
    graph = to_graph(path, like=layers).graph
    assert [(n.name, graph.specs[n.name].shape) for n in graph.nodes] == [
        ("lstm", (128,)), ("lstm_1", (128,)), ("dense", (257,)),
    ]  # fmt: skip
    with h5py.File(path) as file:
        assert np.array_equal(graph.nodes[2].op.weight, file["dense/dense/kernel:0"][()].T)
    with pytest.raises(ConvertError, match=r"lstm: kernel \(257, 512\)(.|\n)*like\(LSTM, name='lstm_3'\)"):
        to_graph(path)


# like --------------------------------------------------------------------------------------------


def test_like_may_take_a_part_by_name():
    graph = to_graph(FILES / "words.keras", like=[like(Embedding, name="embedding")]).graph
    assert [n.name for n in graph.nodes] == ["embedding"]
    graph = to_graph(FILES / "cudnn.h5", like=[like(GRU, name="cu_gru", layout="cudnn"), like(Activate)]).graph
    assert [n.name for n in graph.nodes] == ["cu_gru", "activate"]


def test_like_of_both_directions():
    both = like(Bidirectional, inner=like(GRU))
    x, expected = golden("words.keras")
    chain = [like(Embedding), both, like(LSTM, return_sequences=False), like(Dense, activation="softmax")]
    for name in ("words.keras", "words.h5"):
        graph = to_graph(FILES / name, like=chain).graph
        unmasked = x.copy()
        unmasked[unmasked == 0] = 1  # like adds no mask
        assert FORWARDS[0].values[0](graph, unmasked)[0].shape == expected[0].shape


LIKE_ERRORS = {
    "none": ("plain.weights.h5", None, r"must say what the layers are(.|\n)*like=\[like\(Dense, name='third'\)"),
    "cudnn-guess": ("cudnn.h5", None, r"like\(LSTM, name='cu_lstm', layout='cudnn'\)"),
    "left": ("plain.weights.h5", PLAIN[:2], "must take every layer of the file, got none for third"),
    "absent": ("plain.weights.h5", [like(GRU, name="fourth")], "must have one layer named 'fourth', got 0"),
    "too-many": ("plain.weights.h5", [*PLAIN, like(GRU)], "must have a layer left for GRU, got 0"),
    "twice": ("plain.weights.h5", [like(GRU, name="second")] * 2, "named once, got 'second' more often"),
    "class": (
        "plain.weights.h5",
        [like(LSTM, name="third")],
        r"recurrent_kernel \(H, 4\*H\), bias, got",
    ),
    "gates": (
        "plain.weights.h5",
        [like(LSTM, name="second")],
        r"layer 'second': .* must be kernel \(I, 4\*H\)",
    ),
    "arrays": ("plain.weights.h5", [like(Dense, name="first")], "arrays must be kernel, bias, got"),
    "reset": ("plain.weights.h5", [like(GRU, name="second", reset_after=False)], "must have shape"),
    "layout": ("cudnn.h5", [like(LSTM), like(GRU)], "must say layout='cudnn', got a flat bias"),
    "no-layout": ("plain.weights.h5", [like(Dense, name="third", layout="cudnn")], "layout of Dense 'third' must be"),
    "rnn-layout": ("cudnn.h5", [like(RNN, name="cu_gru", layout="cudnn")], "arrays of RNN 'cu_gru' must be"),
    "eps": ("branches.h5", [like(LayerNorm, name="layer_norm")], "must say eps=..., got none"),
    "halves": ("plain.weights.h5", [like(Bidirectional, name="first", inner=like(LSTM))], "two equal sets of arrays"),
    "unknown": ("plain.weights.h5", [like(Dense, name="third"), like(Add, inputs=["third", "fourth"])], "got fourth"),
    "reused": (
        "plain.weights.h5",
        [like(Dense, name="third"), like(Add, name="third")],
        "used once, got 'third' 2 times",
    ),
    "reserved": ("plain.weights.h5", [like(Dense, name="third"), like(Add, name="x", inputs=["third"])], "not be 'x'"),
    "needs": ("plain.weights.h5", [like(Dense, name="third"), like(TimeReduce)], "must say all that the class needs"),
    "no-input": (
        "plain.weights.h5",
        [like(TimeReduce, function="sum"), like(Dense, name="third")],
        "first that determines",
    ),
    "kernel": ("plain.weights.h5", [like(TimeConv, name="third")], "kernel must have 1 spatial axes"),
    "chain": (
        "plain.weights.h5",
        [like(GRU, name="second"), like(LSTM, name="first")],
        "layers of like must fit each other",
    ),
}


@pytest.mark.parametrize("case", LIKE_ERRORS)
def test_like_that_does_not_match(case):
    name, layers, message = LIKE_ERRORS[case]
    with pytest.raises(ConvertError, match=message):
        to_graph(FILES / name, like=layers)
