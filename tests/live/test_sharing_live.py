"""Weights that a source holds once and uses often are one array after the import, however each use transposes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgru

RNG = np.random.default_rng(2)


def normal(*shape: int) -> Any:
    return (RNG.normal(size=shape) / 8).astype(np.float32)


def matrices(model: fastgru.Model) -> list[Any]:
    """The matrices of a model, once for each node that holds one."""
    return [a for node in model.graph.nodes for a in node.op.weights().values() if a.ndim > 1]


def different(model: fastgru.Model) -> int:
    return len({id(a) for a in matrices(model)})


# ONNX -------------------------------------------------------------------------------------------------


def onnx_model(path: Any, nodes: Any, inputs: Any, outputs: Any, **initializers: Any) -> str:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path / "m.onnx")
    return str(path / "m.onnx")


def test_an_initializer_of_many_products(tmp_path):
    nodes = [
        node for i in range(20) for node in (("MatMul", [f"h{i}", "W"], [f"a{i}"]), ("Tanh", [f"a{i}"], [f"h{i + 1}"]))
    ]
    path = onnx_model(tmp_path, nodes, {"h0": ["B", 64]}, {"h20": ["B", 64]}, W=normal(64, 64))
    model = fastgru.convert(path)
    assert (len(matrices(model)), different(model)) == (20, 1)
    assert model.summary().totals.parameters == 64 * 64
    model.save(tmp_path / "m.fgru")
    assert (tmp_path / "m.fgru").stat().st_size < (tmp_path / "m.onnx").stat().st_size + 12_000
    assert different(fastgru.load(tmp_path / "m.fgru", verify=True)) == 1
    assert model.summary().memory.plan < 1.1 * 4 * 64 * 64


def test_copies_of_an_initializer_do_not_count_as_its_weights(tmp_path, monkeypatch):
    """Nodes may make 16 times the size of a file of it, which 40 matrices would exceed."""
    pytest.importorskip("onnx")
    monkeypatch.setattr("fastgru.converters.onnx.translation.ALLOWANCE", 0)
    nodes = [("MatMul", [f"h{i}", "W"], [f"h{i + 1}"]) for i in range(40)]
    path = onnx_model(tmp_path, nodes, {"h0": ["B", 64]}, {"h40": ["B", 64]}, W=normal(64, 64) / 4)
    assert different(fastgru.convert(path)) == 1


def test_products_that_transpose_it(tmp_path):
    nodes = [
        ("MatMul", ["x", "W"], ["a"]),
        ("Gemm", ["a", "W"], ["b"]),
        ("Gemm", ["b", "V", "c"], ["d"], {"transB": 1}),
        ("Transpose", ["V"], ["U"], {"perm": [1, 0]}),
        ("MatMul", ["d", "U"], ["y"]),
    ]
    weight = normal(16, 16)
    path = onnx_model(tmp_path, nodes, {"x": ["B", 16]}, {"y": ["B", 16]}, W=weight, V=weight.T.copy(), c=normal(16))
    model = fastgru.convert(path)
    assert (len(matrices(model)), different(model)) == (4, 1)
    assert model.self_test.source != "reference"


@pytest.mark.parametrize(("cell", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_nodes_of_one_set_of_weights(tmp_path, cell, gates):
    squeeze = {"x": ["T", "B", 8]}
    nodes = [
        (cell, ["x", "W", "R", "b"], ["Y1"], {"hidden_size": 8}),
        ("Squeeze", ["Y1", "axes"], ["s"]),
        (cell, ["s", "W", "R", "b"], ["Y2"], {"hidden_size": 8}),
        ("Squeeze", ["Y2", "axes"], ["y"]),
    ]
    path = onnx_model(
        tmp_path, nodes, squeeze, {"y": ["T", "B", 8]}, W=normal(1, gates * 8, 8), R=normal(1, gates * 8, 8),
        b=normal(1, 2 * gates * 8), axes=np.array([1], np.int64),
    )  # fmt: skip
    model = fastgru.convert(path)
    assert (len(matrices(model)), different(model)) == (4, 2)
    first, second = (node.op for node in model.graph.nodes if node.op.states())
    assert first.bias is second.bias
    assert first.bias_h is second.bias_h


# Keras ------------------------------------------------------------------------------------------------


def test_layers_of_keras_that_are_called_twice(tmp_path):
    keras = pytest.importorskip("keras")
    left, right = keras.Input((7, 6)), keras.Input((7, 6))
    shared = keras.layers.GRU(5, return_sequences=True), keras.layers.Dense(4, activation="relu")
    branches = []
    for x in (left, right):
        for layer in shared:
            x = layer(x)
        branches.append(x)
    source = keras.Model([left, right], keras.layers.Add()(branches))
    for weight in source.weights:
        weight.assign(normal(*weight.shape))
    source.save(tmp_path / "m.keras")
    for given in (source, tmp_path / "m.keras"):
        model = fastgru.convert(given)
        assert (len(matrices(model)), different(model)) == (6, 3)
        assert model.summary().totals.parameters == source.count_params()


def test_fresh_layers_of_keras_count_their_biases_of_zeros():
    keras = pytest.importorskip("keras")
    layers = [keras.layers.Dense(8, activation="tanh") for _ in range(3)]
    source = keras.Sequential([keras.Input((5, 8)), *layers, layers[0], keras.layers.LayerNormalization()])
    model = fastgru.convert(source)
    assert model.summary().totals.parameters == source.count_params() == 3 * 72 + 16


# PyTorch ----------------------------------------------------------------------------------------------


def test_modules_of_torch_that_are_called_twice():
    torch = pytest.importorskip("torch")

    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(6, 6)
            self.lstm = torch.nn.LSTM(6, 6, batch_first=True)

        def forward(self, x: Any) -> Any:
            for _ in range(2):
                x = torch.tanh(self.linear(self.lstm(x)[0]))
            return x

    torch.manual_seed(0)
    source = Twice().eval()
    model = fastgru.convert(source, example_inputs=torch.zeros(2, 5, 6))
    assert (len(matrices(model)), different(model)) == (6, 3)
    assert model.summary().totals.parameters == sum(p.numel() for p in source.parameters())
    small = model.quantize("int8")
    assert different(small) == 3


def test_an_embedding_tied_to_the_output():
    torch = pytest.importorskip("torch")

    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(30, 8)
            self.gru = torch.nn.GRU(8, 8, batch_first=True)
            self.head = torch.nn.Linear(8, 30, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: Any) -> Any:
            return self.head(self.gru(self.table(ids))[0])

    torch.manual_seed(0)
    source = Tied().eval()
    model = fastgru.convert(source, example_inputs=torch.zeros(2, 5, dtype=torch.int64))
    assert (len(matrices(model)), different(model)) == (4, 3)
    assert model.summary().totals.parameters == sum(p.numel() for p in source.parameters())
