"""ONNX files that are corrupt, hostile or beyond the importer: a clear error, soon and in little memory."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import agree, imported, model, refused

from fastgru.converters import to_graph
from fastgru.errors import ConvertError, FastGruError

onnx = pytest.importorskip("onnx")

from onnx import AttributeProto, TensorProto  # noqa: E402
from onnx.helper import (  # noqa: E402
    make_function,
    make_graph,
    make_node,
    make_opsetid,
    make_tensor,
    make_tensor_value_info,
)

X = {"x": [1, 4]}


# What cannot be imported ------------------------------------------------------------------------------


def test_all_unsupported_operators_are_listed_at_once(tmp_path):
    nodes = [
        make_node("NonZero", ["x"], ["a"], name="first"), make_node("Det", ["x"], ["b"], name="second"),
        make_node("NonZero", ["x"], ["c"], name="third"),
        make_node("Own", ["x"], ["d"], name="own", domain="some.where"),
        make_node("Relu", ["a"], ["e"], name="after"), make_node("GRU", ["x", "x", "x"], ["f"], name="cell"),
        make_node("Det", ["x"], ["unused"], name="dead"),
    ]  # fmt: skip
    proto = model(nodes, X, ["b", "c", "d", "e", "f"])
    proto.opset_import.append(make_opsetid("some.where", 1))
    text = refused(proto, tmp_path, "^4 problems")
    for part in (
        "got Det at node 'second' (onnx.utils.extract_model takes the part of a model before or behind a node)",
        "got NonZero at nodes 'first', 'third' (",
        "got some.where::Own at node 'own' (",
        "node 'cell' (GRU): W (input 1) must be constant",
    ):
        assert part in text
    assert "after" not in text  # a consequence of the first
    assert "dead" not in text


ATTRIBUTES = [
    (make_node("Relu", ["x"], ["y"], slope=0.1),
     r"node 'y' \(Relu\): attribute 'slope' must be at its default, got 0.1"),
    (make_node("ConvTranspose", ["x3", "w"], ["y"], spread=[2]), "attribute 'spread' must be at its default"),
    (make_node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="tf_crop_and_resize"),
     "roi must have two entries for each of 2 axes, got None"),
    (make_node("DepthToSpace", ["x4"], ["y"], blocksize=2, mode="ABC"), "mode must be 'DCR' or 'CRD', got 'ABC'"),
    (make_node("Pad", ["x", "p"], ["y"], mode="circular"), "mode one of constant, reflect, edge, wrap"),
    (make_node("Conv", ["x3", "w"], ["y"], auto_pad="SAME"), "auto_pad must be one of NOTSET, .*, got 'SAME'"),
    (make_node("Conv", ["x3", "w"], ["y"], kernel_shape=[5]),
     r"kernel_shape must be that of the weights, \[3\], got \[5\]"),
    (make_node("Conv", ["x3", "w"], ["y"], strides=[0]), "strides must be 1 entries of at least 1, got"),
    (make_node("Softmax", ["x"], ["y"], axis=7), r"axis must be within \[-2, 1\], got 7"),
    (make_node("Transpose", ["x"], ["y"], perm=[0, 0]), "perm must be an order of 2 axes"),
    (make_node("Cast", ["x"], ["y"], to=int(TensorProto.FLOAT8E5M2)), "must not be rounded to, got float8e5m2"),
    (make_node("Cast", ["x"], ["y"], to=int(TensorProto.STRING)), "element type must be one of .*, got string"),
    (make_node("Dropout", ["x", "", "t"], ["y"]), "training_mode must be false"),
    (make_node("BatchNormalization", ["x", "v", "v", "v", "v"], ["y"], training_mode=1), "training_mode must be 0"),
    (make_node("Gather", ["x", "i"], ["y"], axis=1), r"indices must be within \[-4, 3\]"),
    (make_node("Add", ["x", "v5"], ["y"]), "inputs must agree in axis 1, got 4 and 5"),
    (make_node("MaxPool", ["x3"], ["y", "places"], kernel_shape=[2]), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("node", "message"), ATTRIBUTES, ids=[f"{n.op_type}-{i}" for i, (n, _) in enumerate(ATTRIBUTES)]
)
def test_what_is_not_understood_names_node_and_value(tmp_path, node, message):
    constants = {
        "w": np.ones((4, 4, 3), np.float32), "s": np.array([1, 2], np.float32), "p": np.array([0, 1, 0, 1]),
        "t": np.array(True), "v": np.ones(4, np.float32), "v5": np.ones(5, np.float32), "i": np.array([4]),
    }  # fmt: skip
    shapes = {"x": [1, 4], "x3": [1, 4, 9], "x4": [1, 4, 2, 2]}
    name = node.input[0]
    proto = model([node], {name: shapes[name]}, ["y"], {k: v for k, v in constants.items() if k in node.input})
    if message is None:
        pytest.importorskip("onnxruntime")
        agree(imported(proto, tmp_path))  # a second output that nothing reads
        proto.graph.output.append(make_tensor_value_info("places", TensorProto.INT64, None))
        message = "output 'places' must be a tensor: output 1 of MaxPool is not computed"
    refused(proto, tmp_path, message)


def test_other_types_of_inputs(tmp_path):
    proto = model([make_node("Relu", ["x"], ["y"])], {"x": [1], "s": [2]}, ["y"], types={"s": "STRING"})
    proto.graph.input.append(onnx.helper.make_tensor_sequence_value_info("q", TensorProto.FLOAT, None))
    text = refused(proto, tmp_path, "^2 problems")
    assert "input 's': element type must be one of" in text
    assert "input 'q': type must be a tensor, got sequence" in text


@pytest.mark.parametrize("version", [6, 1000, None])
def test_operator_sets(tmp_path, version):
    proto = model([make_node("Relu", ["x"], ["y"])], X, ["y"])
    del proto.opset_import[:]
    proto.opset_import.append(make_opsetid("", version) if version else make_opsetid("ai.onnx.ml", 3))
    refused(proto, tmp_path, f"opset of the model must be 7 to .*, got {version}")


# What is malformed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x08", b"not a model", b"\xff" * 100, b"PK\x03\x04" + b"\0" * 50], ids=repr)
def test_bytes_that_are_no_model(tmp_path, data):
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(ConvertError, match="must be an ONNX model"):
        to_graph(tmp_path / "model.onnx")


MALFORMED = [
    ([make_node("Add", ["x", "b"], ["a"], name="one"), make_node("Relu", ["a"], ["b"])], ["b"],
     r"node 'one' must read values written before it \(no cycles\), got 'b'"),
    ([make_node("Relu", ["y"], ["y"], name="self")], ["y"], "node 'self' must read values written before it"),
    ([make_node("Relu", ["x"], ["y"]), make_node("Tanh", ["x"], ["y"])], ["y"],
     "value of the graph must be there once, got 'y'"),
    ([make_node("Relu", ["x"], ["x"])], ["x"], "value must be written once, got 'x', an input, again"),
    ([make_node("Relu", ["q"], ["y"], name="r")], ["y"], "input of node 'r' must be a value of the graph, got 'q'"),
    ([make_node("Relu", ["x"], ["y"])], ["q"], "output must be a value of the graph, got 'q'"),
    ([make_node("Relu", [], ["y"], name="r")], ["y"], r"node 'r' \(Relu\): "),
    ([make_node("Reshape", ["x"], ["y"], name="r")], ["y"], r"node 'r' \(Reshape\): input 1 must be given, got none"),
    ([make_node("Concat", ["x", "x"], ["y"], axis="one")], ["y"], r"node 'y' \(Concat\): "),
    ([make_node("If", ["t"], ["y"])], ["y"], r"node 'y' \(If\): attribute 'then_branch' must be a graph"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "outputs", "message"), MALFORMED, ids=[m[2][:40] for m in MALFORMED])
def test_malformed_graphs(tmp_path, nodes, outputs, message):
    refused(model(nodes, X, outputs, {"t": np.array(True)}), tmp_path, message)


def test_names_that_are_there_twice(tmp_path):
    proto = model([make_node("Relu", ["x"], ["y"])], X, ["y"], {"c": np.ones(2, np.float32)})
    proto.graph.initializer.append(proto.graph.initializer[0])
    proto.graph.input.append(proto.graph.input[0])
    text = refused(proto, tmp_path, "^2 problems")
    assert "initializer of the graph must be there once, got 'c' twice" in text
    assert "input of the graph must be there once, got 'x' twice" in text


TENSORS = [
    (TensorProto(name="c", data_type=1, dims=[-4], raw_data=b"\0" * 16), r"sizes of at least 0, got \[-4\]"),
    (TensorProto(name="c", data_type=1, dims=[2**40, 2**30], raw_data=b"\0" * 16), "must have the numbers of shape"),
    (TensorProto(name="c", data_type=1, dims=[2**62, 0], raw_data=b""), "must have the numbers of shape"),
    (TensorProto(name="c", data_type=1, dims=[3, 0], raw_data=b""), None),
    (TensorProto(name="c", data_type=1, dims=[4], raw_data=b"\0" * 12), "must have the numbers of shape"),
    (TensorProto(name="c", data_type=1, dims=[4], float_data=[1.0]), "must have the numbers of shape"),
    (TensorProto(name="c", data_type=99, dims=[4], raw_data=b"\0" * 16), "must hold numbers, got element type 99"),
    (TensorProto(name="c", data_type=8, dims=[1], string_data=[b"s"]), "must hold numbers, got element type 8"),
]  # fmt: skip


@pytest.mark.parametrize(("tensor", "message"), TENSORS, ids=range(len(TENSORS)))
def test_tensors_whose_sizes_lie(tmp_path, tensor, message):
    proto = model([make_node("Add", ["x", "c"], ["y"])], X, ["y"])
    proto.graph.initializer.append(tensor)
    message = message or "value must have elements to be computed with"
    refused(proto, tmp_path, message)
    constant = make_node("Constant", [], ["c"], name="k")
    constant.attribute.append(AttributeProto(name="value", type=AttributeProto.TENSOR, t=tensor))
    proto = model([constant, make_node("Add", ["x", "c"], ["y"])], X, ["y"])
    refused(proto, tmp_path, message)


def test_sparse_initializers(tmp_path):
    proto = model([make_node("Add", ["x", "c"], ["y"])], X, ["y"])
    values = make_tensor("c", TensorProto.FLOAT, [1], [2.0])
    indices = make_tensor("i", TensorProto.INT64, [1], [3])
    proto.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [4]))
    refused(proto, tmp_path, "initializer 'c' must be dense, got a sparse one")


# External data ----------------------------------------------------------------------------------------


def external(folder: Path, location: str, **entries: int) -> Any:
    """x + c, whose c lies outside of the file."""
    proto = model([make_node("Add", ["x", "c"], ["y"])], X, ["y"])
    tensor = TensorProto(name="c", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    proto.graph.initializer.append(tensor)
    return proto


def test_external_data_in_the_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights.bin").write_bytes(b"\0" * 8 + np.arange(4, dtype=np.float32).tobytes())
    pytest.importorskip("onnxruntime")
    agree(imported(external(tmp_path, "sub/weights.bin", offset=8, length=16), tmp_path))
    for entries in ({"offset": 9}, {"offset": -8}, {"offset": 0, "length": 12}, {"offset": 20, "length": 16}):
        refused(
            external(tmp_path, "sub/weights.bin", **entries),
            tmp_path,
            "external data of initializer 'c' must hold .*24 bytes of 'sub/weights.bin'.*whole|numbers",
        )
    refused(external(tmp_path, "sub/weights.bin", offset="x"), tmp_path, "offset and length of .* must be integers")


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "sub/../../secret", "", "link", "missing", "sub", "a\0b"]
)
def test_external_data_elsewhere(tmp_path, location):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    os.symlink(tmp_path / "secret", folder / "link")
    told = {
        "missing": "file 'missing' of external data must be in .*, got none: copy it",
        "sub": "'sub' .* got a folder",
    }
    refused(external(folder, location), folder, told.get(location, "external data of initializer 'c' must be"))


# Bombs --------------------------------------------------------------------------------------------------

HUGE = 2**40
BOMBS = [
    [make_node("ConstantOfShape", ["big"], ["y"])],
    [make_node("Expand", ["one", "big"], ["y"])],
    [make_node("Tile", ["one", "big"], ["y"])],
    [make_node("Range", ["zero", "huge", "step"], ["y"])],
    [make_node("Pad", ["one", "pads"], ["y"])],
    [make_node("OneHot", ["ids", "huge", "values"], ["y"])],
    [make_node("Reshape", ["row", "column"], ["c"]), make_node("Mul", ["row", "c"], ["y"])],
    [make_node("Reshape", ["row", "column"], ["c"]), make_node("MatMul", ["c", "row"], ["y"])],
    [make_node("Concat", ["row"] * 2, ["c0"], axis=0),
     *(make_node("Concat", [f"c{i}"] * 2, [f"c{i + 1}"], axis=0) for i in range(40)),
     make_node("Relu", ["c40"], ["y"])],
    [make_node("Expand", ["x", "tall"], ["y"])],
    [make_node("Tile", ["x", "wide"], ["y"])],
    [make_node("Pad", ["x", "pads2"], ["y"])],
    [make_node("OneHot", ["i", "huge", "values"], ["y"])],
    [make_node("Resize", ["x", "", "scales"], ["y"])],
]  # fmt: skip


@pytest.mark.parametrize("nodes", BOMBS, ids=[f"{n[-1].op_type}-{i}" for i, n in enumerate(BOMBS)])
def test_nodes_that_unpack_to_more(tmp_path, nodes):
    constants = {
        "big": np.array([HUGE, 8]), "one": np.ones((1, 1), np.float32), "zero": np.array(0), "huge": np.array(HUGE),
        "step": np.array(1), "pads": np.array([0, 0, HUGE, 0]), "ids": np.array([1]),
        "values": np.array([0, 1], np.float32),
        "row": np.zeros(2**16, np.float32), "column": np.array([-1, 1]), "wide": np.array([2**20, 2**10]),
        "tall": np.array([2**30, 4]),
        "pads2": np.array([0, 0, 0, HUGE]), "scales": np.array([1, 2**24], np.float32),
    }  # fmt: skip
    read = {i for n in nodes for i in n.input}
    inputs = {"i": [1]} if "i" in read else {"x": [1, 4]}
    if not read & {"x", "i"}:
        nodes = [*nodes[:-1], *[make_node("Shape", ["x"], ["s"])], nodes[-1]]
    if nodes[-1].op_type == "MatMul":
        constants["row"] = constants["row"].reshape(1, -1)
    proto = model(nodes, inputs, ["y"], {k: v for k, v in constants.items() if k in read}, types={"i": "INT64"})
    refused(proto, tmp_path, "must (have|be) at most")


@pytest.mark.parametrize("shape", [[1, HUGE], [2**20, 2**20], [-4], [2**63 - 1]], ids=str)
def test_inputs_of_impossible_sizes(tmp_path, shape):
    refused(
        model([make_node("Relu", ["x"], ["y"])], {"x": shape}, ["y"]),
        tmp_path,
        "must have at most|sizes must be at least",
    )


def test_functions_that_unfold_without_end(tmp_path):
    """Thirty functions that each call the one before ten times; and one that calls itself."""
    functions = [make_function("own", "F0", ["a"], ["b"], [make_node("Relu", ["a"], ["b"])], [make_opsetid("", 17)])]
    own = [make_opsetid("", 17), make_opsetid("own", 1)]
    for i in range(1, 30):
        chain = [make_node(f"F{i - 1}", ["a" if k == 0 else f"t{k}"], [f"t{k + 1}" if k < 9 else "b"], domain="own")
                 for k in range(10)]  # fmt: skip
        functions.append(make_function("own", f"F{i}", ["a"], ["b"], chain, own))
    proto = model([make_node("F29", ["x"], ["y"], domain="own")], X, ["y"], functions=functions[:1])
    proto.functions.extend(functions[1:])
    with pytest.raises(ConvertError, match=r"^model must have at most 50000 nodes when unfolded, got more"):
        imported(proto, tmp_path)
    itself = make_function("own", "Self", ["a"], ["b"], [make_node("Self", ["a"], ["b"], domain="own")], own)
    proto = model([make_node("Self", ["x"], ["y"], domain="own")], X, ["y"], functions=[itself])
    refused(proto, tmp_path, "must be nested at most 32 deep")


@pytest.mark.parametrize(("content", "got"), [(b"", "an empty file"), (b"\x08\x08", "none")])
def test_files_without_a_graph_are_named(tmp_path, content, got):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ConvertError, match=rf"m.onnx must be an ONNX model with a graph, got {got}$"):
        to_graph(tmp_path / "m.onnx")


def test_branches_nested_without_end(tmp_path):
    """As deep as protobuf lets a file be, and deeper, by bytes."""
    graph = make_graph([make_node("Relu", ["x"], ["b"])], "g", [], [make_tensor_value_info("b", 1, None)])
    flat = make_graph([make_node("Relu", ["x"], ["b"])], "g", [], list(graph.output))
    for _ in range(28):
        node = make_node("If", ["t"], ["b"], then_branch=graph, else_branch=flat)
        graph = make_graph([node], "g", [], list(flat.output))
    proto = model([make_node("If", ["t"], ["y"], then_branch=graph, else_branch=flat)], X, ["y"], {"t": np.array(True)})
    assert len(imported(proto, tmp_path).graph.nodes) == 1
    data = b""
    for _ in range(3000):
        branch = b"\x0a\x0bthen_branch" + _field(6, data) + b"\xa0\x01\x05"  # name, g, type = GRAPH
        data = _field(1, b"\x0a\x01t\x12\x01b\x22\x02If" + _field(5, branch))  # node with input, output and kind
    (tmp_path / "deep.onnx").write_bytes(b"\x08\x08" + _field(7, data + _field(12, b"\x0a\x01b")))
    with pytest.raises(ConvertError, match="must be an ONNX model, got something else"):
        to_graph(tmp_path / "deep.onnx")


def _field(number: int, data: bytes) -> bytes:
    """A field of protobuf that holds bytes."""
    head, size = bytes([number << 3 | 2]), len(data)
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + data


def test_damaged_files_raise_nothing_else(tmp_path):
    """Bytes changed at random: an import, or an error of the package."""
    rng = np.random.default_rng(0)
    shapes = {"w": (4, 4, 3), "W": (1, 15, 4), "R": (1, 15, 5)}
    constants: dict[str, Any] = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    constants |= {"one": np.array([1]), "s": np.array([0, -1, 5])}
    nodes = [
        make_node("Conv", ["x", "w"], ["c"], pads=[2, 0]), make_node("Transpose", ["c"], ["t"], perm=[2, 0, 1]),
        make_node("GRU", ["t", "W", "R"], ["g", "h"], hidden_size=5, activations=["Sigmoid", "Tanh"]),
        make_node("Squeeze", ["g", "one"], ["q"]), make_node("Reshape", ["q", "s"], ["r"]),
        make_node("Softmax", ["r"], ["y"], axis=2),
    ]  # fmt: skip
    data = model(nodes, {"x": ["N", 4, "T"]}, ["y"], constants, opset=13).SerializeToString()
    chance = random.Random(1)
    weights = data.find(constants["W"].tobytes())
    structure = [i for i in range(len(data)) if not weights <= i < weights + constants["W"].nbytes]
    path = tmp_path / "model.onnx"
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 1, 2, 4])):
            damaged[chance.choice(structure)] = chance.randrange(256)
        path.write_bytes(bytes(damaged[: chance.randrange(len(data))] if chance.random() < 0.1 else damaged))
        try:
            to_graph(path)
            outcomes.add("imported")
        except FastGruError:
            outcomes.add("refused")
    assert outcomes == {"imported", "refused"}
