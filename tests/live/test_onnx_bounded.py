"""ONNX files that a small size makes costly, and errors of ONNX Runtime: bounded, and kept in."""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
import pytest
from onnx_models import agree, imported, model, refused

import fastgru
from fastgru.errors import ConvertError, MemoryLimitError

onnx = pytest.importorskip("onnx")

from onnx import TensorProto  # noqa: E402
from onnx.helper import (  # noqa: E402
    make_function,
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
)

from fastgru.converters.onnx import oracle  # noqa: E402

X = {"x": [1, 4]}


# What the file's size bounds --------------------------------------------------------------------------


def test_nodes_that_no_output_needs_cost_nothing(tmp_path):
    """ONNX Runtime, which is asked what the model computes, would run them: it is given the model without."""
    huge = [make_node("ConstantOfShape", ["n"], ["z"]), make_node("ReduceSum", ["z"], ["s"])]
    own = make_function("own", "F", ["a"], ["b"], [*_constants(10**10), *huge, make_node("Tanh", ["a"], ["b"])],
                        [make_opsetid("", 17)])  # fmt: skip
    branches = {
        name: make_graph([*_constants(10**10), *huge, make_node("Relu", ["t"], [f"{name}_y"])], name, [],
                         [make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)])
        for name in ("then_branch", "else_branch")
    }  # fmt: skip
    nodes = [make_node("F", ["x"], ["t"], domain="own"), make_node("If", ["flag"], ["y"], **branches)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = imported(model(nodes, X, ["y"], {"flag": np.array(True)}, functions=[own]), tmp_path)
    agree(found)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # kilobytes


def _constants(count: int) -> list[Any]:
    return [make_node("Constant", [], ["n"], value_ints=[count])]


def test_a_product_of_constants_that_takes_hours_is_not_folded(tmp_path):
    constants = {"n": np.array([3000, 3000]), "w": np.ones(3000, np.float32)}
    product = [make_node("ConstantOfShape", ["n"], ["z"], value=TensorProto(data_type=7, dims=[1], int64_data=[1])),
               make_node("MatMul", ["z", "z"], ["m"]), make_node("ReduceSum", ["m"], ["s"], keepdims=0),
               make_node("Cast", ["s"], ["f"], to=1), make_node("Add", ["x", "f"], ["y"])]  # fmt: skip
    started = time.process_time()
    with pytest.raises(ConvertError, match=r"\(MatMul\): input must be float"):
        imported(model(product, X, ["y"], constants), tmp_path)
    sums = [make_node("Einsum", ["w"] * 4, ["s"], equation="a,b,c,d->"), make_node("Add", ["x", "s"], ["y"])]
    assert imported(model(sums, X, ["y"], constants), tmp_path).graph.nodes
    assert time.process_time() - started < 20


def test_sizes_that_are_multiplied_out(tmp_path):
    """Of symbols, which are Python objects, there can only be few."""
    constants = {"ids": np.zeros(2**21, np.int64)}
    nodes = [make_node("Shape", ["x"], ["s"]), make_node("Gather", ["s", "ids"], ["g"]),
             make_node("Reshape", ["x", "g"], ["y"])]  # fmt: skip
    refused(model(nodes, {"x": ["B", "T", 4]}, ["y"], constants), tmp_path, "sizes must be few where they are computed")


# What does not fit the operator -----------------------------------------------------------------------

ATTRIBUTES = [
    (make_node("Softmax", ["x"], ["y"], axis="last"), "attribute 'axis' must be of type int, got string"),
    (make_node("Transpose", ["x"], ["y"], perm=1), "attribute 'perm' must be of type ints, got int"),
    (make_node("LeakyRelu", ["x"], ["y"], alpha=[0.1]), "attribute 'alpha' must be of type float, got floats"),
]


@pytest.mark.parametrize(("node", "message"), ATTRIBUTES, ids=[n.op_type for n, _ in ATTRIBUTES])
def test_attributes_of_other_types(tmp_path, node, message):
    refused(model([node], X, ["y"]), tmp_path, message)


def test_a_model_that_onnxruntime_does_not_run_is_unchecked(tmp_path, monkeypatch):
    """Its exceptions have no common base: none of them leaves convert."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model([make_node("Tanh", ["x"], ["y"])], X, ["y"]).SerializeToString())
    own = oracle.session

    class Failing:
        def __init__(self, session: Any) -> None:
            self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

        def run(self, *_: Any) -> Any:
            raise Exception("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : no such kernel\nmore")

    monkeypatch.setattr(oracle, "session", lambda m: Failing(own(m)))
    found = fastgru.convert(path)
    why = "onnxruntime does not run the model: [ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : no such kernel"
    assert found.provenance["unchecked"] == why


@pytest.mark.parametrize("opset", [10, 13, 17, 19, 21])
def test_quantized_weights_in_every_operator_set(tmp_path, opset):
    """The reference of onnx has DequantizeLinear for newer operator sets alone: it is then not folded by it."""
    axis = {} if opset < 13 else {"axis": 1}
    scale = np.float32(0.25) if opset < 13 else np.array([0.5, 0.25, 0.125], np.float32)
    nodes = [make_node("DequantizeLinear", ["w", "s"], ["v"], **axis), make_node("MatMul", ["x", "v"], ["y"])]
    constants = {"w": np.arange(-6, 6, dtype=np.int8).reshape(4, 3), "s": scale}
    agree(imported(model(nodes, {"x": ["B", "T", 4]}, ["y"], constants, opset=opset), tmp_path))


MADE = [
    (["B", 2, "T", 2**23], [make_node("Conv", ["x", "w"], ["y"], kernel_shape=[9, 1])], "must have at most 134217728"),
    (["B", "T", 2**22], [make_node("Expand", ["z", "n"], ["e"]), make_node("Add", ["x", "e"], ["a0"]),
                         *[make_node("Add", [f"a{i}", "e"], [f"a{i + 1}"]) for i in range(40)],
                         make_node("Relu", ["a40"], ["y"])], "weights must not multiply"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "nodes", "message"), MADE, ids=["windows", "constants"])
def test_weights_that_are_made_from_sizes(tmp_path, x, nodes, message):
    """A declared size costs a file nothing: what is made of it is bounded, in one array and in all of them."""
    constants = {"w": np.ones((3, 2, 9, 1), np.float32), "z": np.ones(1, np.float32), "n": np.array([2**22])}
    with pytest.raises(ConvertError, match=message):
        imported(model(nodes, {"x": x}, ["y"], constants), tmp_path)


def test_a_product_of_rows_with_rows(tmp_path):
    nodes = [make_node("Transpose", ["x"], ["t"], perm=[1, 0]), make_node("MatMul", ["x", "t"], ["y"])]
    message = "product must have the batch on one axis of its inputs, got it on 2 that differ"
    refused(model(nodes, {"x": ["B", 4]}, ["y"]), tmp_path, message)


def test_external_data_larger_than_memory(tmp_path):
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="w.bin")
    with open(tmp_path / "w.bin", "wb") as file:
        file.truncate(1 << 42)
    values = [make_tensor_value_info(name, TensorProto.FLOAT, ["B", "T", 2]) for name in "xy"]
    graph = make_graph([make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weight])
    onnx.save(make_model(graph), tmp_path / "m.onnx")
    with pytest.raises(MemoryLimitError, match="with its external data must be at most"):
        fastgru.convert(tmp_path / "m.onnx")


def test_complex_constants_are_refused_wherever_they_are_read(tmp_path):
    for constants in ({"shape": np.array([2, 2], np.complex64)}, {"shape": np.array([2, 2], np.complex128)}):
        proto = model([make_node("Reshape", ["x", "shape"], ["y"])], X, ["y"], constants)
        refused(proto, tmp_path, "must be of real numbers, got complex")
