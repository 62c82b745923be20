"""Whole models as Keras 2 writes them: models inside counted from their own node, states as inputs, names with ":0"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_cases import FORWARDS, assert_close

from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.graph import GRU, GraphBuilder, Spec

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(3)


def draw(*shape: int) -> Any:
    return RNG.uniform(-0.7, 0.7, shape).astype(np.float32)


def layer(kind: str, name: str, *nodes: Any, **config: Any) -> Any:
    """A layer's entry in a functional model, with the nodes that it reads."""
    found = {"class_name": kind, "config": {"name": name, **config}}
    return {**found, "name": name, "inbound_nodes": list(nodes)}


def source(name: str, shape: Any) -> Any:
    return layer("InputLayer", name, batch_input_shape=[None, *shape], dtype="float32", sparse=False)


def dense(name: str, *nodes: Any, units: int = 2, **config: Any) -> Any:
    return layer("Dense", name, *nodes, units=units, activation="linear", use_bias=True, **config)


def model(layers: Any, inputs: Any, outputs: Any, name: str = "m") -> Any:
    return {"name": name, "layers": layers, "input_layers": inputs, "output_layers": outputs}


def written(path: Path, config: Any, weights: dict[str, dict[str, Any]], version: str = "2.7.0") -> Path:
    """A full-model HDF5 file: the weights of each layer at the top by their names."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, array in arrays.items():
                group.create_dataset(key, data=array)
    return path


@pytest.mark.parametrize("forward", FORWARDS)
def test_models_inside(forward, tmp_path):
    """A Functional called twice, in the order of its nodes, and a Sequential whose norm is stored behind the rest."""
    kernel, bias, own, shift = draw(3, 2), draw(2), draw(2, 2), draw(2)
    gamma, beta, mean, variance = draw(2), draw(2), draw(2), np.abs(draw(2)) + 0.5
    inner = model([source("i", [None, 3]), dense("d", [["i", 0, 0, {}]])], [["i", 0, 0]], [["d", 0, 0]], "inner")
    chain = {
        "name": "chain",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "c", "batch_input_shape": [None, None, 2]}},
            {"class_name": "BatchNormalization", "config": {"name": "n", "axis": [2], "epsilon": 0.001}},
            {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "relu", "use_bias": True}},
        ],
    }
    layers = [
        source("x", [None, 3]), source("y", [None, 3]),
        {**layer("Functional", "inner", [["x", 0, 0, {}]], [["y", 0, 0, {}]]), "config": inner},
        {**layer("Sequential", "chain", [["inner", 2, 0, {}]]), "config": chain},
        layer("Add", "add", [["inner", 1, 0, {}], ["chain", 1, 0, {}]]),
    ]  # fmt: skip
    config = model(layers, [["x", 0, 0], ["y", 0, 0]], [["add", 0, 0], ["inner", 2, 0]])
    weights: dict[str, dict[str, Any]] = {
        "x": {}, "y": {}, "inner": {"d/kernel:0": kernel, "d/bias:0": bias},
        "chain": {"chain/n/gamma:0": gamma, "chain/n/beta:0": beta, "chain/d/kernel:0": own, "chain/d/bias:0": shift,
                  "chain/n/moving_mean:0": mean, "chain/n/moving_variance:0": variance},
        "add": {},
    }  # fmt: skip
    graph = to_graph(written(tmp_path / "nested.h5", config, weights)).graph
    x, y = draw(2, 5, 3), draw(2, 5, 3)
    first, second = x @ kernel + bias, y @ kernel + bias
    normed = (second - mean) / np.sqrt(variance + 0.001) * gamma + beta
    expected = first + np.maximum(normed @ own + shift, 0)
    assert_close(forward(graph, {"x": x, "y": y}), [expected, second], 1e-5)
    assert [node.name for node in graph.nodes] == ["inner/d", "inner/d_1", "chain/n", "chain/d", "add"]
    for change in ("nodes", "name"):
        broken = json.loads(json.dumps(config))
        if change == "nodes":
            broken["output_layers"][1] = ["inner", 3, 0]
        else:
            weights["inner"] = {"e/kernel:0": kernel, "e/bias:0": bias}
        with pytest.raises(
            ConvertError, match=r"got call 2 of 'inner'|'e/kernel:0' of layer 'inner' .* must belong to"
        ):
            to_graph(written(tmp_path / f"{change}.h5", broken, weights))


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("style", ["inputs", "argument"])
def test_states_of_an_encoder(style, forward, tmp_path):
    """A decoder that starts where an encoder ended: Keras 2 lists the states behind the sequence, or as an argument."""
    arrays = [draw(3, 16), draw(4, 16), draw(16)], [draw(2, 16), draw(4, 16), draw(16)]
    cell = {
        "units": 4,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
        "go_backwards": False,
    }
    states = [["encoder", 0, 1], ["encoder", 0, 2]]
    node = (
        [["y", 0, 0, {}], *([*s, {}] for s in states)]
        if style == "inputs"
        else [["y", 0, 0, {"initial_state": states}]]
    )
    layers = [
        source("x", [6, 3]), source("y", [4, 2]),
        layer("LSTM", "encoder", [["x", 0, 0, {}]], return_state=True, return_sequences=False, **cell),
        layer("LSTM", "decoder", node, return_state=True, return_sequences=True, **cell),
    ]  # fmt: skip
    config = model(layers, [["x", 0, 0], ["y", 0, 0]], [["decoder", 0, 0], ["decoder", 0, 2]])
    names = ("kernel", "recurrent_kernel", "bias")
    weights = {
        name: {f"{name}/lstm_cell/{n}:0": a for n, a in zip(names, own, strict=True)}
        for name, own in zip(("encoder", "decoder"), arrays, strict=True)
    }
    graph = to_graph(written(tmp_path / "states.h5", config, weights)).graph
    x, y = draw(2, 6, 3), draw(2, 4, 2)
    h = c = np.zeros((2, 4))
    outputs = []
    for sequence, own in ((x, arrays[0]), (y, arrays[1])):
        outputs = []
        for t in range(sequence.shape[1]):
            i, f, g, o = np.split(sequence[:, t] @ own[0] + h @ own[1] + own[2], 4, axis=1)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            outputs.append(h)
    assert_close(forward(graph, {"x": x, "y": y}), [np.stack(outputs, 1), c], 1e-5)


@pytest.mark.parametrize("forward", FORWARDS)
def test_masks_of_keras_2_are_joined_by_and(forward, tmp_path):
    """Two maskings that meet: Keras 3 joins them by OR, Keras 2 by AND."""
    kernel, recurrent, bias = draw(3, 6), draw(2, 6), draw(6)
    cell = {"units": 2, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "reset_after": False}
    layers = [
        source("x", [None, 3]), layer("Masking", "a", [["x", 0, 0, {}]], mask_value=0.0),
        layer("Masking", "b", [["x", 0, 0, {}]], mask_value=1.0),
        layer("Add", "add", [["a", 0, 0, {}], ["b", 0, 0, {}]]),
        layer("GRU", "g", [["add", 0, 0, {}]], return_sequences=False, go_backwards=False, **cell),
    ]  # fmt: skip
    config = model(layers, [["x", 0, 0]], [["g", 0, 0]])
    weights = {"g": {"g/kernel:0": kernel, "g/recurrent_kernel:0": recurrent, "g/bias:0": bias}}
    graph = to_graph(written(tmp_path / "masks.h5", config, weights, "2.4.0")).graph
    x = draw(2, 6, 3)
    x[0, 2:4], x[1, :2], x[1, 4:] = 0.0, 1.0, 0.0
    b = GraphBuilder()
    value = b.input("x", Spec((3,)))
    alone = b.build(b.add(GRU.from_keras(kernel, recurrent, bias, reset_after=False, return_sequences=False), value))
    kept = [2 * x[:1, [0, 1, 4, 5]], 2 * x[1:, 2:4]]
    expected = np.concatenate([forward(alone, part)[0] for part in kept])
    assert_close(forward(graph, x), [expected], 1e-5)
