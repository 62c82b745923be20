"""ONNX models layer by layer beside ONNX Runtime: nested branches, states step by step, and wrong imports found."""

from __future__ import annotations

import importlib
from math import isnan
from typing import Any

import numpy as np
import pytest
from onnx_models import model, saved

import fastgru
from fastgru.checks import comparison
from fastgru.checks.comparison import compare
from fastgru.converters import to_graph
from fastgru.errors import ConvertError, OracleError
from fastgru.graph import Add, dialects

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
oracle = importlib.import_module("fastgru.converters.onnx.oracle")
OPERATORS = importlib.import_module("fastgru.converters.onnx.operators").OPERATORS

RIGHT = OPERATORS["", "MatMul"]
RNG = np.random.default_rng(5)
SILERO: dict[str, Any] = {
    "fix": {"sr": 16000}, "shapes": {"input": (None, 576)}, "axes": {"input": ("B", None)}
}  # fmt: skip


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, outputs, **attributes)


def numbers(*shape: int) -> Any:
    return RNG.uniform(-0.7, 0.7, shape).astype(np.float32)


def stepped() -> Any:
    """A GRU whose state goes in and out, between two products: a frame a call."""
    nodes = [
        node("MatMul", ["x", "A"], ["a"], name="before"),
        node("Unsqueeze", ["a", "zero"], ["row"], name="rows"),
        node("GRU", ["row", "W", "R", "B", "", "h0"], ["y", "h1"], name="cell", hidden_size=5, linear_before_reset=1),
        node("Squeeze", ["y", "two"], ["flat"], name="flat"),
        node("MatMul", ["flat", "C"], ["out"], name="behind"),
    ]
    constants = {
        "A": numbers(3, 4), "W": numbers(1, 15, 4), "R": numbers(1, 15, 5), "B": numbers(1, 30), "C": numbers(5, 2),
        "zero": np.array([0]), "two": np.array([0, 1]),
    }  # fmt: skip
    return model(nodes, {"x": ["n", 3], "h0": [1, "n", 5]}, ["out", "h1"], constants)


def branching() -> Any:
    """An If within an If, whose branches use names of their own more than once, and a value of the graph around."""
    helper = onnx.helper

    def branch(nodes: list[Any], constants: dict[str, Any]) -> Any:
        tensors = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
        output = helper.make_tensor_value_info("t", onnx.TensorProto.FLOAT, None)
        return helper.make_graph(nodes, "branch", [], [output], tensors)

    def chosen(then: Any, other: Any, output: str) -> Any:
        return node("If", ["on"], [output], name=f"if {output}", then_branch=then, else_branch=other)

    inner = branch([node("Add", ["first", "w"], ["t"], name="inner add")], {"w": numbers(4)})
    unused = branch([node("Sub", ["first", "w"], ["t"], name="inner sub")], {"w": numbers(4)})
    twice = branch([node("Mul", ["mid", "w"], ["u"], name="outer mul"), chosen(inner, unused, "t")], {"w": numbers(4)})
    twice.output[0].name = "s"
    twice.node.append(node("Add", ["t", "u"], ["s"], name="outer add"))
    again = branch([node("Mul", ["mid", "w"], ["t"], name="again")], {"w": numbers(4)})
    never = branch([node("Identity", ["mid"], ["t"], name="never")], {})
    nodes = [
        node("Tanh", ["x"], ["first"], name="tanh"),
        node("Relu", ["first"], ["mid"], name="relu"),
        chosen(twice, never, "a"),
        chosen(again, never, "b"),
        node("Add", ["a", "b"], ["out"], name="sum"),
    ]
    return model(nodes, {"x": ["n", 4]}, ["out"], {"on": np.array(True)})


def test_states_step_by_step(tmp_path) -> None:
    found = compare(saved(stepped(), tmp_path))
    assert not found.missing
    assert [row.name for row in found.rows if row.kind in ("MatMul", "GRU")] == ["before", "cell", "cell", "behind"]
    assert all(row.error < 2e-6 and not isnan(row.new) for row in found.rows)


def doubled(call: Any) -> Any:
    """A product of which a translator makes twice as much."""
    right = RIGHT(call)
    return call.result(call.add(Add(), right.value, right.value), right.axes, right.elem)


def wrong_gates(monkeypatch: Any) -> None:
    monkeypatch.setitem(dialects.GATE_ORDER["gru"], "onnx", "rzn")


def wrong_product(monkeypatch: Any) -> None:
    monkeypatch.setitem(OPERATORS, ("", "MatMul"), doubled)


@pytest.mark.parametrize(("spoil", "layer"), [(wrong_gates, "cell"), (wrong_product, "before")])
def test_a_wrong_layer_is_found(spoil: Any, layer: str, tmp_path, monkeypatch) -> None:
    """The import is refused; the comparison shows the layer."""
    path = saved(stepped(), tmp_path)
    spoil(monkeypatch)
    with pytest.raises(ConvertError, match=r"output 'out' of the import must equal ONNX opset 17"):
        fastgru.convert(path)
    found = compare(path)
    assert next(row for row in found.rows if row.error > 1e-3).name == layer
    assert found.origin.name == layer


def test_branches_are_in_place_of_ifs(tmp_path) -> None:
    found = compare(saved(branching(), tmp_path))
    names = [row.name for row in found.rows]
    assert names == ["tanh", "relu", "outer mul", "inner add", "outer add", "again", "sum"]
    assert all(row.error < 1e-6 for row in found.rows)


def test_external_data(tmp_path) -> None:
    proto = stepped()
    path = tmp_path / "model.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert all(row.error < 2e-6 for row in compare(path).rows)


def test_functions_are_one_layer(tmp_path) -> None:
    body = [node("Mul", ["a", "a"], ["b"]), node("Add", ["b", "a"], ["c"])]
    function = onnx.helper.make_function("own", "Poly", ["a"], ["c"], body, [onnx.helper.make_opsetid("", 17)])
    call = onnx.helper.make_node("Poly", ["x"], ["y"], domain="own", name="poly")
    proto = model([call, node("Tanh", ["y"], ["z"], name="tanh")], {"x": ["n", 4]}, ["z"], functions=[function])
    assert [(row.name, row.kind) for row in compare(saved(proto, tmp_path)).rows] == [
        ("poly", "Poly"),
        ("tanh", "Tanh"),
    ]


def test_without_onnxruntime_it_says_so(tmp_path, monkeypatch) -> None:
    path = saved(stepped(), tmp_path)
    monkeypatch.setattr(oracle.importlib.util, "find_spec", lambda name: None)
    imported = to_graph(path)
    assert (imported.oracle, imported.layers, imported.missing) == (None, None, "onnxruntime is not installed")
    found = compare(path)
    assert found.missing == "onnxruntime is not installed"
    assert found.rows[0].name == "before"


def test_a_model_that_onnxruntime_does_not_expose(tmp_path, monkeypatch) -> None:
    def refuse(model: Any) -> Any:
        raise OracleError("onnxruntime does not take the model: none")

    path = saved(stepped(), tmp_path)
    imported = to_graph(path)
    monkeypatch.setattr(oracle, "session", refuse)
    monkeypatch.setattr(comparison, "to_graph", lambda source, caller, **options: imported)
    assert compare(path).missing == "onnxruntime does not take the model: none"


@pytest.mark.parametrize(
    ("name", "options", "layers"),
    [
        ("gtcrn/gtcrn_simple.onnx", {}, ("Conv_75", "GRU_153")),
        ("gtcrn/gtcrn.onnx", {}, ("Conv_75",)),
        ("silero_vad/silero_vad.onnx", SILERO, ("If_0_then_branch__Inline_0__/decoder/rnn/LSTM",)),
        ("silero_vad/silero_vad_16k_sequence.onnx", {}, ("/recurrent/LSTM",)),
        ("dtln/model_1.onnx", {}, ("lstm_4",)),
        ("dtln/model_2.onnx", {}, ("model_2/lstm_6/mul_2",)),
    ],
)
def test_real_models(name: str, options: Any, layers: tuple[str, ...], real_models) -> None:
    found = compare(real_models / name, **options)
    assert not found.missing
    assert {row.name for row in found.rows} >= set(layers)
    for row in found.rows:
        limit = 1e-5 * max(1.0, row.largest)
        assert row.error < limit
        assert row.new < limit
        assert isnan(row.engine) or row.engine < limit
