"""Weights without a config: what `like` says of them, and where that does not match the file."""

from __future__ import annotations

import numpy as np
import pytest
from keras_cases import FILES, FORWARDS, PLAIN, assert_close, golden

from fastgru import convert
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
    chain = [like(Embedding, name="embedding")]
    with pytest.warns(
        UserWarning, match=r"^words.keras: .* arrays are unused, of .*: the model is only a part of"
    ) as said:
        model = convert(FILES / "words.keras", like=chain)
    assert said[0].filename == __file__
    others = model.provenance["unused"].split(", ")
    assert str(said[0].message).endswith(f"this is meant: ignore={others!r}")
    graph = to_graph(FILES / "words.keras", like=chain, ignore=others).graph
    assert [n.name for n in graph.nodes] == ["embedding"]
    chain = [like(GRU, name="cu_gru", layout="cudnn"), like(Activate)]
    graph = to_graph(FILES / "cudnn.h5", like=chain, ignore=["*lstm"]).graph
    assert [n.name for n in graph.nodes] == ["cu_gru", "activate"]
    with pytest.raises(ConvertError, match=r"ignore must name layers of the file \(.*embedding.*\), got 'x'"):
        to_graph(FILES / "words.keras", like=chain, ignore=["x"])
    with pytest.raises(ConvertError, match=r"ignore must come with like, as the file describes its layers itself, got"):
        to_graph(FILES / "words.keras", ignore=["embedding"])


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


def lstm_weights(path, version, cells=1):
    """A file as Keras 2 writes weights: the arrays of `cells` directions of one layer."""
    rng = np.random.default_rng(4)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"], file.attrs["backend"] = [b"layer"], b"tensorflow"
        if version is not None:
            file.attrs["keras_version"] = version
        group, names = file.create_group("layer"), []
        for way in range(cells):
            for name, shape in (("kernel", (3, 16)), ("recurrent_kernel", (4, 16)), ("bias", (16,))):
                names.append(f"layer/way_{way}/{name}:0".encode())
                group.create_dataset(names[-1], data=rng.normal(size=shape).astype(np.float32))
        group.attrs["weight_names"] = names
    return path


GATES = {
    "2.1.6": "hard_sigmoid", "2.2.5": "hard_sigmoid", "2.1.6-tf": "hard_sigmoid", "2.2.4-tf": "sigmoid",
    "2.3.0": "sigmoid", "2.3.0-tf": "sigmoid", "2.10.0": "sigmoid", "3.5.0": "sigmoid", None: "sigmoid",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:gates of")
@pytest.mark.parametrize("version", GATES)
def test_gates_are_those_that_the_keras_of_the_file_took_by_default(version, tmp_path):
    one = to_graph(lstm_weights(tmp_path / "w.h5", version), like=[like(LSTM)]).graph
    both = [like(Bidirectional, inner=like(LSTM))]
    two = to_graph(lstm_weights(tmp_path / "b.h5", version, 2), like=both).graph
    assert {n.op.gate_activation.name for g in (one, two) for n in g.nodes if isinstance(n.op, LSTM)} == {
        GATES[version]
    }


def test_the_user_is_told_of_older_defaults(tmp_path):
    path = lstm_weights(tmp_path / "w.h5", "2.2.4")
    told = r"gates of LSTM are hard_sigmoid, the default of Keras 2.2.4: say like\(..., gate_activation='sigmoid'\)"
    with pytest.warns(UserWarning, match=told) as seen:
        model = convert(path, like=[like(LSTM)])
    assert seen[0].filename == __file__
    assert "hard_sigmoid" in model.provenance["notes"]
    lstm_weights(path, "2.2.4-tf")
    notes = convert(path, like=[like(LSTM)]).provenance["notes"]  # without a warning
    assert "sigmoid, the default of Keras 2.2.4-tf in TensorFlow 2; in TensorFlow 1 it was hard_sigmoid" in notes


@pytest.mark.filterwarnings("error")
def test_what_like_says_counts(tmp_path):
    path = lstm_weights(tmp_path / "w.h5", "2.2.4")
    for said in ("sigmoid", "hard_sigmoid", "relu"):
        graph = to_graph(path, like=[like(LSTM, gate_activation=said)]).graph
        assert graph.nodes[0].op.gate_activation.name == said


def test_hard_sigmoid_has_the_slope_of_the_keras_of_the_file(tmp_path):
    for version, slope in (("2.2.4", 0.2), ("2.9.0", 0.2), ("3.1.0", 1 / 6)):
        path = lstm_weights(tmp_path / "w.h5", version)
        op = to_graph(path, like=[like(LSTM, gate_activation="hard_sigmoid")]).graph.nodes[0].op
        assert op.gate_activation.alpha == pytest.approx(slope)
