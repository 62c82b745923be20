"""The real models through the ONNX importer and the passes: what is recovered in each, and that nothing changes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from graph_pairs import kinds, same

pytest.importorskip("onnx")

from fastgru import graph as g
from fastgru.converters.onnx.files import import_onnx
from fastgru.graph import Graph
from fastgru.passes import canonical, fused

# file -> how it is imported, its recurrent layers over time as they are named, its State nodes, and its scans
MODELS: dict[str, tuple[dict[str, Any], list[str], list[tuple[int, ...]], int]] = {
    "dtln/model_1.onnx": ({"states": {"input_3": "tf_op_layer_stack_2"}}, ["lstm_4", "lstm_5"], [], 0),
    "dtln/model_2.onnx": (
        {"states": {"input_5": "tf_op_layer_stack_5"}}, ["model_2/lstm_6/mul_2", "model_2/lstm_7/mul_2"], [], 0,
    ),
    "silero_vad/silero_vad.onnx": (
        {"fix": {"sr": 16000}, "shapes": {"input": [None, 576]}}, ["decoder/rnn/LSTM"], [], 0,
    ),
    "silero_vad/silero_vad_16k_sequence.onnx": ({}, ["/recurrent/LSTM"], [], 0),
    "gtcrn/gtcrn_simple.onnx": (
        {}, ["GRU_153", "GRU_343", "GRU_533", "GRU_1111", "GRU_1348", "GRU_1585"],
        [*[(16, 2, 33), (16, 4, 33), (16, 10, 33)] * 2, *[(33, 8)] * 4], 12,
    ),
}  # fmt: skip


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, real_models: Any) -> tuple[str, Graph]:
    return request.param, import_onnx(real_models / request.param, **MODELS[request.param][0]).graph


def test_what_is_recovered(model):
    name, old = model
    _, layers, held, scans = MODELS[name]
    new = canonical(old)
    recurrent = [node for node in new.nodes if isinstance(node.op, g.Recurrent)]
    found = [node.name for node in recurrent if not node.op.scan]
    assert len(found) == len(layers)
    assert all(part in whole for part, whole in zip(layers, found, strict=True))
    assert len(recurrent) - len(found) == scans
    states = [new.specs[node.outputs[0]].shape for node in new.nodes if isinstance(node.op, g.State)]
    assert sorted(states) == sorted(held)
    assert sum(slot.size for slot in new.states()) == sum(slot.size for slot in old.states())
    same(old, new, steps=4)


def test_what_is_fused(model):
    _, old = model
    new = canonical(old)
    joined = fused(new)
    assert [slot[:2] for slot in joined.states()] == [slot[:2] for slot in new.states()]
    left = [node for node in joined.nodes if isinstance(node.op, g.Activate)]
    behind = {v: node.op for node in joined.nodes for v in node.outputs}
    assert not [n for n in left if isinstance(behind.get(n.inputs[0]), g.Conv | g.ConvTranspose | g.Dense)]
    assert kinds(joined).get("BatchNorm", 0) == 0
    same(new, joined, steps=4)


def test_the_weights_of_written_out_layers_are_those_of_the_file(real_models):
    """dtln's second network has its LSTMs in MatMul, Split, Sigmoid, Tanh, Mul and Add."""
    onnx = pytest.importorskip("onnx")
    path = real_models / "dtln/model_2.onnx"
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    new = canonical(import_onnx(path, **MODELS["dtln/model_2.onnx"][0]).graph)
    layers = [node.op for node in new.nodes if isinstance(node.op, g.LSTM)]
    for op, layer in zip(layers, ("lstm_6", "lstm_7"), strict=True):
        product, bias = (f"model_2/{layer}/{part}/ReadVariableOp/resource:0" for part in ("MatMul", "BiasAdd"))
        expected = g.LSTM.from_keras(arrays[product], arrays[product.replace("MatMul", "MatMul_1")], arrays[bias])
        assert op.attributes() == expected.attributes()
        for name, array in expected.weights().items():
            np.testing.assert_array_equal(getattr(op, name), array)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_cells_that_torch_writes_out(kind, tmp_path):
    """Torch's exporter has no operator for a single cell: it writes Gemm, Split, Sigmoid, Tanh, Mul, Add and Sub."""
    torch = pytest.importorskip("torch")
    cell = getattr(torch.nn, f"{kind}Cell")(5, 6)
    states = ["h", "c"][: 1 + (kind == "LSTM")]

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.out = cell, torch.nn.Linear(6, 2)

        def forward(self, x: Any, *held: Any) -> tuple[Any, ...]:
            new = self.cell(x, held if len(held) > 1 else held[0])
            new = new if isinstance(new, tuple) else (new,)
            return self.out(new[0]), *new

    path = tmp_path / "step.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Step().eval(), (torch.zeros(1, 5), *[torch.zeros(1, 6) for _ in states]), str(path), dynamo=False,
            input_names=["x", *states], output_names=["y", *(f"new_{s}" for s in states)],
        )  # fmt: skip
    old = import_onnx(path, states={s: f"new_{s}" for s in states}).graph
    new = canonical(old)
    assert kinds(new).keys() <= {kind, "Dense", "Reshape"}
    (op,) = [node.op for node in new.nodes if isinstance(node.op, g.Recurrent)]
    np.testing.assert_array_equal(op.weight_x, cell.weight_ih.detach())
    np.testing.assert_array_equal(op.weight_h, cell.weight_hh.detach())
    same(old, new)
