"""GRU, LSTM and RNN from ONNX, with every attribute, over time and over a fixed axis; and the states of models."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from onnx_models import H, I, agree, feeds_for, imported, model, ops, recurrent_model

from fastgru.errors import ConvertError
from fastgru.graph import GRU, LSTM, Recurrent, State
from fastgru.reference import run

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx.helper import make_node  # noqa: E402

ATTRIBUTES = [
    ("RNN", {}), ("RNN", {"activations": ["Relu"], "clip": 0.3}),
    ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("GRU", {"clip": 0.4}),
    ("GRU", {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4]}),
    ("LSTM", {}), ("LSTM", {"input_forget": 1}), ("LSTM", {"clip": 0.5}),
    ("LSTM", {"activations": ["Sigmoid", "LeakyRelu", "Elu"], "activation_alpha": [0.2, 0.7]}),
]  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "attributes"), ATTRIBUTES, ids=str)
def test_recurrences_over_time(tmp_path, kind, attributes, direction):
    found = imported(recurrent_model(kind, attributes, direction, ["T", "B", I]), tmp_path)
    agree(found)
    assert set(ops(found.graph)) <= {kind, "Concat", "Reshape"}
    assert not any(node.op.scan for node in found.graph.nodes if isinstance(node.op, Recurrent))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "attributes"), ATTRIBUTES, ids=str)
@pytest.mark.parametrize(("initial", "lengths"), list(itertools.product([False, True], repeat=2)))
def test_recurrences_over_a_fixed_axis(tmp_path, kind, attributes, direction, initial, lengths):
    """Final states, initial states and lengths are values like others; rows are fixed."""
    proto = recurrent_model(kind, attributes, direction, [6, 3, I], initial=initial, lengths=lengths)
    found = imported(proto, tmp_path, states={})
    feeds = feeds_for(found.graph, batch=2)
    if lengths:
        feeds["lengths"] = np.array([[6, 2, 4], [1, 5, 6]])
    for a, b in zip(run(found.graph, feeds)[0], found.oracle(feeds), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)
    assert all(node.op.scan for node in found.graph.nodes if isinstance(node.op, Recurrent))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_peepholes(tmp_path, direction):
    agree(imported(recurrent_model("LSTM", {}, direction, ["T", "B", I], peepholes=True), tmp_path))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize(("kind", "x"), [("GRU", ["B", "T", I]), ("LSTM", [3, 6, I])])
def test_batch_first_layout(tmp_path, kind, x, direction):
    """ONNX Runtime has no layout 1: the same weights with the other layout are what is expected."""
    first = imported(recurrent_model(kind, {"layout": 1}, direction, x), tmp_path, states={})
    other = imported(recurrent_model(kind, {}, direction, [x[1], x[0], I]), tmp_path, states={})
    assert first.graph.outputs == other.graph.outputs
    feeds = feeds_for(first.graph)
    swapped = feeds if x[0] == "B" else {"x": feeds["x"].swapaxes(1, 2)}
    want = dict(zip(other.graph.outputs, other.oracle(swapped), strict=True))
    for name, got in zip(first.graph.outputs, run(first.graph, feeds)[0], strict=True):
        expected = want[name]
        if x[0] != "B":  # (B, S, D, N, H) as (B, N, S, D, H), and the final states (B, D, N, H) as (B, N, D, H)
            expected = expected.transpose((0, 3, 1, 2, 4) if name == "y" else (0, 2, 1, 3))
        np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6)


def test_lengths_over_time_are_given_to_the_call(tmp_path):
    found = imported(recurrent_model("GRU", {}, "forward", ["T", "B", I], lengths=True), tmp_path)
    assert list(found.graph.inputs) == ["x"]
    assert found.provenance["notes"].endswith("lengths is given by lengths= of a call")


def test_constant_initial_states_over_time(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"W": (1, 3 * H, I), "R": (1, 3 * H, H), "h": (1, 1, H)}
    constants = {n: rng.normal(size=s).astype(np.float32) for n, s in arrays.items()}
    node = make_node("GRU", ["x", "W", "R", "", "", "h"], ["y"], hidden_size=H)
    found = imported(model([node], {"x": ["T", 1, I]}, ["y"], constants), tmp_path)
    agree(found, batch=1)
    (gru,) = (node.op for node in found.graph.nodes if isinstance(node.op, GRU))
    np.testing.assert_array_equal(gru.initial_h, constants["h"][0, 0])


REFUSED_CELLS = [
    ({"activations": ["Sigmoid", "Swish"]}, "activation must be one of .*, got 'Swish'"),
    ({"activations": ["Sigmoid"]}, r"activations must be 2 names, got \['Sigmoid'\]"),
    ({"activation_alpha": [0.5]}, "parameters of activations must be for one that has them"),
    ({"hidden_size": 4}, "hidden_size must be that of R, 5, got 4"),
    ({"direction": "backwards"}, "direction must be one of forward, reverse, bidirectional, got 'backwards'"),
    ({"clip": -1.0}, "clip must be positive, got -1.0"),
    ({"layout": 2}, "layout must be 0 or 1, got 2"),
    ({"linear_before_reset": 2}, "linear_before_reset must be 0 or 1, got 2"),
    ({"output_sequence": 1}, "attribute 'output_sequence' must be at its default, got 1"),
]


@pytest.mark.parametrize(("attributes", "message"), REFUSED_CELLS, ids=[str(a) for a, _ in REFUSED_CELLS])
def test_recurrences_refused(tmp_path, attributes, message):
    constants = {"W": np.ones((1, 3 * H, I), np.float32), "R": np.ones((1, 3 * H, H), np.float32)}
    node = make_node("GRU", ["x", "W", "R"], ["y"], name="cell", **{"hidden_size": H, **attributes})
    with pytest.raises(ConvertError, match=rf"node 'cell' \(GRU\): {message}"):
        imported(model([node], {"x": ["T", "B", I]}, ["y"], constants), tmp_path)


@pytest.mark.parametrize("axis", ["matrix", "gate"])
def test_dynamic_quantize_lstm(tmp_path, axis):
    """Microsoft's int8 LSTM computes what its weights stand for, but for the rounding of activations to 8 bits."""
    rng = np.random.default_rng(2)
    gates = 4 * H
    shape = (1, gates) if axis == "gate" else (1,)
    constants: dict[str, Any] = {}
    for name, rows in (("W", I), ("R", H)):
        constants[name] = rng.integers(0, 256, (1, rows, gates)).astype(np.uint8)
        constants[f"{name}s"] = rng.uniform(0.004, 0.006, shape).astype(np.float32)
        constants[f"{name}z"] = np.full(shape, 128, np.uint8)
    constants["B"] = rng.uniform(-0.5, 0.5, (1, 2 * gates)).astype(np.float32)
    names = ["x", "W", "R", "B", "", "", "", "", "Ws", "Wz", "Rs", "Rz"]
    node = make_node("DynamicQuantizeLSTM", names, ["y"], domain="com.microsoft", hidden_size=H)
    found = imported(model([node], {"x": ["T", "B", I]}, ["y"], constants, microsoft=True), tmp_path)
    agree(found, atol=2e-2)
    (lstm,) = (node.op for node in found.graph.nodes if isinstance(node.op, LSTM))
    scale = np.broadcast_to(constants["Ws"], (1, gates))[0]
    floats = (constants["W"][0].astype(np.float32) - 128) * scale  # (I, 4H), gates i o f c
    np.testing.assert_array_equal(lstm.weight_x[:H], floats[:, :H].T)
    np.testing.assert_array_equal(lstm.weight_x[3 * H :], floats[:, H : 2 * H].T)


# States ---------------------------------------------------------------------------------------------


def step_model(names: tuple[str, str], opset: int = 17) -> Any:
    """y = tanh(x + s), s' = y of a fixed size, with these names of the state."""
    nodes = [make_node("Add", ["x", names[0]], ["sum"]), make_node("Tanh", ["sum"], ["y"]),
             make_node("Mul", ["y", "half"], [names[1]])]  # fmt: skip
    return model(nodes, {"x": [1, 4], names[0]: [1, 4]}, ["y", names[1]], {"half": np.float32(0.5)}, opset=opset)


def test_a_step_of_a_recurrence_with_a_symbolic_batch(tmp_path):
    """One step a call: the sequence axis is of size 1, the batch is symbolic, and the stream has the time."""
    rng = np.random.default_rng(0)
    arrays = {"W": (1, 4 * H, I), "R": (1, 4 * H, H), "D": (H, 2)}
    constants: dict[str, Any] = {n: rng.uniform(-0.5, 0.5, s).astype(np.float32) for n, s in arrays.items()}
    constants["axes"] = np.array([0])
    constants["both"] = np.array([0, 1])
    nodes = [
        make_node("Unsqueeze", ["x", "axes"], ["s"]),
        make_node("LSTM", ["s", "W", "R", "", "", "h", "c"], ["y", "hn", "cn"], name="cell", hidden_size=H),
        make_node("Squeeze", ["y", "both"], ["z"]), make_node("MatMul", ["z", "D"], ["out"]),
    ]  # fmt: skip
    proto = model(nodes, {"x": ["N", I], "h": [1, "N", H], "c": [1, "N", H]}, ["out", "hn", "cn"], constants, opset=13)
    found = imported(proto, tmp_path)
    assert {n.name for n in found.graph.nodes if isinstance(n.op, State)} == {"h", "c"}
    (y,) = agree(found)
    assert y.shape == (3, 7, 2)


PAIRS = [
    ("h", "hn"), ("h0", "hn"), ("h_0", "h_n"), ("state", "stateN"), ("state", "state_out"), ("hidden_in", "hidden_out"),
    ("conv_cache", "conv_cache_out"), ("prev_state", "next_state"), ("lstm_1_in", "lstm_1_out"), ("c_old", "c_new"),
]  # fmt: skip


@pytest.mark.parametrize("names", PAIRS, ids=str)
def test_states_are_paired_by_name(tmp_path, names):
    found = imported(step_model(names), tmp_path)
    assert list(found.graph.inputs) == ["x"]
    assert found.graph.outputs == ("y",)
    assert found.graph.feedback == {names[0]: found.graph.feedback[names[0]]}
    agree(found)


@pytest.mark.parametrize("names", [("audio_in", "audio_out"), ("h1", "h2"), ("state", "mask"), ("a", "b")], ids=str)
def test_other_names_are_not_paired(tmp_path, names):
    found = imported(step_model(names), tmp_path)
    assert set(found.graph.inputs) == {"x", names[0]}
    agree(found)
    assert list(imported(step_model(names), tmp_path, states={names[0]: names[1]}).graph.inputs) == ["x"]


def test_states_can_be_left_alone(tmp_path):
    assert set(imported(step_model(("h", "hn")), tmp_path, states={}).graph.inputs) == {"x", "h"}


WRONG_STATES = [
    ({"q": "hn"}, r"states must name inputs \(x, h\), got 'q'"),
    ({"h": "q"}, r"states must name outputs \(y, hn\), got 'q'"),
    ({"h": "y", "x": "y"}, "states must name every output once"),
]


@pytest.mark.parametrize(("states", "message"), WRONG_STATES)
def test_wrong_pairs(tmp_path, states, message):
    with pytest.raises(ConvertError, match=message):
        imported(step_model(("h", "hn")), tmp_path, states=states)


def test_a_state_must_come_back_in_its_shape(tmp_path):
    nodes = [make_node("Concat", ["x", "h"], ["y"], axis=1), make_node("Identity", ["y"], ["hn"])]
    with pytest.raises(ConvertError, match=r"state 'h' must be returned in its shape \(1, 4\), got 'hn' of \(1, 8\)"):
        imported(model(nodes, {"x": [1, 4], "h": [1, 4]}, ["y", "hn"]), tmp_path)


def crossed_states() -> Any:
    """Two GRUs over time whose final states are returned in each other's place."""
    rng = np.random.default_rng(0)
    arrays = {f"{n}{k}": (1, 3 * H, size) for k in (1, 2) for n, size in (("W", I if k == 1 else H), ("R", H))}
    constants: dict[str, Any] = {n: rng.normal(size=s).astype(np.float32) for n, s in arrays.items()}
    constants["axes"] = np.array([1])
    nodes = [
        make_node("Split", ["h"], ["a", "b"], axis=0),
        make_node("GRU", ["x", "W1", "R1", "", "", "a"], ["y1", "n1"], name="one", hidden_size=H),
        make_node("Squeeze", ["y1", "axes"], ["z1"]),
        make_node("GRU", ["z1", "W2", "R2", "", "", "b"], ["y", "n2"], name="two", hidden_size=H),
        make_node("Concat", ["n2", "n1"], ["hn"], axis=0),
    ]
    return model(nodes, {"x": ["T", "B", I], "h": [2, "B", H]}, ["y", "hn"], constants, opset=13)


def test_states_of_layers_over_time_must_return_to_their_place(tmp_path):
    with pytest.raises(
        ConvertError, match="state 'h' must start one layer alone, and return every element to its place, got"
    ):
        imported(crossed_states(), tmp_path, states={"h": "hn"})
    found = imported(crossed_states(), tmp_path)
    agree(found)
    assert list(found.graph.inputs) == ["x", "h"]
    assert "no layer can hold state h: it is given at every call, and hn returned" in found.provenance["notes"]
    proto = crossed_states()
    proto.graph.node[-1].input[:] = ["n1", "n2"]
    found = imported(proto, tmp_path)
    agree(found)
    assert list(found.graph.inputs) == ["x"]
    assert [s.key for s in found.graph.states()] == ["one.h", "two.h"]


@pytest.mark.parametrize("starts", [("h", "h"), ("h", "n1")], ids=["shared", "chained"])
def test_a_state_that_two_layers_go_on_from_is_given_at_every_call(tmp_path, starts):
    """Each would go on from its own end, where the file starts both from the state, or one from the other's end."""
    proto = crossed_states()
    del proto.graph.node[-1], proto.graph.node[0]
    for node, start in zip((n for n in proto.graph.node if n.op_type == "GRU"), starts, strict=True):
        node.input[5] = start
    proto.graph.node.append(make_node("Identity", ["n2"], ["hn"]))
    proto.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 1
    found = imported(proto, tmp_path)
    agree(found)
    assert list(found.graph.inputs) == ["x", "h"]
    with pytest.raises(ConvertError, match=r"state 'h' must start one layer alone|layer 'two' over time must be"):
        imported(proto, tmp_path, states={"h": "hn"})


def test_computed_initial_states_over_time(tmp_path):
    rng = np.random.default_rng(0)
    constants = {"W": rng.normal(size=(1, 3 * H, I)), "R": rng.normal(size=(1, 3 * H, H))}
    nodes = [make_node("Tanh", ["h"], ["t"]), make_node("GRU", ["x", "W", "R", "", "", "t"], ["y"], hidden_size=H)]
    proto = model(
        nodes, {"x": ["T", "B", I], "h": [1, "B", H]}, ["y"], {n: a.astype("f") for n, a in constants.items()}
    )
    found = imported(proto, tmp_path)
    agree(found)
    assert list(found.graph.inputs) == ["x", "h"]


@pytest.mark.parametrize("first", ["", "Y"])
@pytest.mark.parametrize("states", [None, {}], ids=["guessed", "none"])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_final_states_are_outputs_where_they_are_all_or_no_states_are_told(tmp_path, kind, states, first):
    """Beside the sequence, which shows their layer, they are left out by default."""
    gates, names = {"GRU": (3, ["H"]), "LSTM": (4, ["H", "C"])}[kind]
    rng = np.random.default_rng(0)
    weights = {"W": rng.normal(size=(1, gates * H, I)), "R": rng.normal(size=(1, gates * H, H)) / 3}
    weights = {name: array.astype(np.float32) for name, array in weights.items()}
    outputs = [name for name in (first, *names) if name]
    nodes = [make_node(kind, ["x", "W", "R"], [first, *names], hidden_size=H)]
    options = {} if states is None else {"states": states}
    found = imported(model(nodes, {"x": ["T", "B", I]}, outputs, weights), tmp_path, **options)
    agree(found)
    assert len(found.graph.outputs) == (1 if first and states is None else len(outputs))
