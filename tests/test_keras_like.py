"""Weights without a config: what `like` says of them, and where that does not match the file."""

from __future__ import annotations

import pytest
from keras_cases import FILES, FORWARDS, PLAIN, assert_close, golden

from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.layers import (
    GRU,
    LSTM,
    RNN,
    Activate,
    Add,
    Bidirectional,
    Concat,
    Dense,
    Embedding,
    LayerNorm,
    TimeConv,
    TimeReduce,
    like,
)  # fmt: skip

h5py = pytest.importorskip("h5py")


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


@pytest.mark.parametrize("forward", FORWARDS)
def test_skips_by_name(forward):
    """Layers read what they name, the input among it; without names, the layer before."""
    layers = [*PLAIN[:2], like(Dense, name="third", activation="tanh")]
    plain = to_graph(FILES / "plain.weights.h5", like=layers).graph
    both = to_graph(
        FILES / "plain.weights.h5", like=[*layers, like(Concat, name="skip", inputs=["x", "third"]), like(Activate)]
    ).graph
    x, _ = golden("plain.weights.h5")
    (y,) = forward(plain, x)
    (joined,) = forward(both, x)
    assert_close([joined[..., 3:]], [y], 1e-12)
    assert_close([joined[..., :3]], [x], 1e-12)


def test_inputs_are_for_keras_files(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    with pytest.raises(ConvertError, match="inputs in like must be omitted for a PyTorch checkpoint, got some for GRU"):
        to_graph(tmp_path / "model.pt", like=[like(GRU, inputs=["x"])])
