"""The .fgru file: exact round trips, equal bytes, whole writes, and nothing but FileFormatError from bad files."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensor_graphs import every_frame_op

import fastgru
from fastgru._hints import command_line
from fastgru.checks import selftest
from fastgru.converters import SOURCES
from fastgru.errors import FileFormatError
from fastgru.files import attributes, fgru
from fastgru.graph import (
    GRU,
    LSTM,
    OPS,
    RNN,
    Activate,
    Activation,
    Add,
    ApplyMask,
    Average,
    BatchNorm,
    Concat,
    Constant,
    Dense,
    Dropout,
    Embedding,
    Graph,
    GraphBuilder,
    LayerNorm,
    Mask,
    Multiply,
    OverlapAdd,
    Reshape,
    Reverse,
    Scaler,
    Spec,
    State,
    Where,
    chain,
)

RNG = np.random.default_rng(1)


def normal(*shape: int, dtype: str = "float32") -> Any:
    return RNG.normal(size=shape).astype(dtype)


def every_op() -> Graph:
    """A graph with every op on rows, every optional weight and no attribute at its default."""
    b = GraphBuilder()
    ids = b.input("ids", Spec((), dtype="int"))
    x = b.add(Embedding(normal(7, 4)), ids, name="émb.1")
    mask = b.add(Mask(0.0), ids)
    x = b.add(Dropout(0.25), x)
    x = b.add(LayerNorm(normal(4), normal(4), eps=1e-3), x)
    x = b.add(Scaler(normal(1, dtype="float64"), normal(4) ** 2 + 1), x)
    x = b.add(BatchNorm(normal(4), normal(4) ** 2, normal(4), normal(4), eps=1e-2), x)
    x = b.add(ApplyMask(), x, mask)
    hard = Activation("hard_sigmoid", alpha=1 / 6)
    recurrent = {"mask_output": "carry", "clip": 5.0, "bias": normal(12), "bias_h": normal(12), "initial_h": normal(4)}
    options = {"gate_activation": hard, "activation": "relu", "output_activation": "softsign"}
    gru = GRU(
        normal(16, 4), normal(16, 4), normal(16), normal(16), normal(4), reset_after=False, output_gate=True,
        update_keeps="candidate", **options,
    )  # fmt: skip
    g = b.add(gru, x, mask)
    lstm = LSTM(
        normal(12, 4, dtype="float64"), normal(12, 4), peephole=normal(3, 4), projection=normal(4, 4), coupled=True,
        initial_c=normal(4), **recurrent, **options,
    )  # fmt: skip
    lstm_out = b.add(lstm, x)
    r = b.add(Reverse(), b.add(RNN(normal(4, 4), normal(4, 4), reverse=True, activation="elu"), x))
    total = b.add(Average(), b.add(Add(), g, r), b.add(Multiply(), lstm_out, r))
    y = b.add(Activate(hard), b.add(Concat(), total, g))
    last = b.add(GRU(normal(9, 8), normal(9, 3), return_sequences=False), y)
    return b.build(b.add(Dense(normal(2, 8), normal(2), "softmax"), y), last)


def small() -> Graph:
    return chain([GRU(normal(6, 3), normal(6, 2), normal(6)), Dense(normal(1, 2))])


REDUCED = ("float16", "bfloat16", "int8", "int8_affine")


def every_op_in(precision: str) -> Graph:
    """`every_op` with all matrices in that precision."""
    return every_op().with_ops(lambda n: n.op.replace(precision=precision) if n.op.matrices else n.op)


def small_in(precision: str) -> Graph:
    gru = GRU(normal(6, 3), normal(6, 2), normal(6), precision=precision)
    return chain([gru, Dense(normal(1, 2), precision=precision)])


def mixed() -> Graph:
    return chain(
        [GRU(normal(3, 1), normal(3, 1), precision="int8"), *(Dense([[0.3]], precision=p) for p in REDUCED[:2])]
    )


def looped() -> Graph:
    """Two inputs, and a state that a constant ages."""
    b = GraphBuilder()
    x, switch = b.input("x", Spec((1, 2))), b.input("switch", Spec((), False, "bool"))
    old = b.add(State(normal(2)))
    y = b.add(Where(), switch, old, b.add(Reshape((2,)), x))
    new = b.add(Multiply(), y, b.add(Constant(0.5)))
    return b.build(y, feedback={old: new})


def write(path: Any, graph: Graph, **changes: Any) -> None:
    options = {"dtype": "float32", "provenance": {"framework": "tést"}, "self_test": selftest.make(graph, None, {})}
    fgru.write(path, graph=graph, **{**options, **changes})


def assert_same_graph(a: Graph, b: Graph) -> None:
    assert a.inputs == b.inputs
    assert (a.outputs, a.feedback) == (b.outputs, b.feedback)
    assert len(a.nodes) == len(b.nodes)
    for m, n in zip(a.nodes, b.nodes, strict=True):
        assert (m.name, type(m.op), m.inputs, m.outputs) == (n.name, type(n.op), n.inputs, n.outputs)
        assert m.op.attributes() == n.op.attributes()
        assert m.op.weights().keys() == n.op.weights().keys()
        for field, array in m.op.weights().items():
            other = n.op.weights()[field]
            assert (array.dtype, array.shape, array.tobytes()) == (other.dtype, other.shape, other.tobytes())


# Round trips -------------------------------------------------------------------------------------


def test_every_op_is_in_one_of_the_graphs():
    assert {node.op.kind for graph in (every_op(), every_frame_op()) for node in graph.nodes} == set(OPS)


def inputs_of(test: selftest.SelfTest) -> list[Any]:
    return list(test.input.values()) if isinstance(test.input, dict) else [test.input]


@pytest.mark.parametrize("make", [every_op, every_frame_op])
def test_every_op_round_trips_exactly(tmp_path, make):
    graph = make()
    write(tmp_path / "m.fgru", graph, dtype="float64")
    got = fgru.read(tmp_path / "m.fgru")
    assert_same_graph(graph, got.graph)
    assert (got.dtype, got.provenance) == ("float64", {"framework": "tést"})
    test, read = selftest.make(graph, None, {}), got.self_test
    assert (read.seed, read.source) == (test.seed, test.source)
    assert read.shape == test.shape
    for a, b in zip([*inputs_of(test), *test.outputs], [*inputs_of(read), *read.outputs], strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_equal_models_make_equal_bytes(tmp_path):
    graph = every_op()
    for name in "ab":
        write(tmp_path / name, graph)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("make", [every_op, every_frame_op])
def test_what_is_read_is_written_the_same(tmp_path, make):
    write(tmp_path / "a", make())
    got = fgru.read(tmp_path / "a")
    fgru.write(tmp_path / "b", **got._asdict())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_self_test_and_int_attributes(tmp_path):
    graph = chain([LayerNorm(normal(3), eps=1), Dropout(0)])
    write(tmp_path / "m", graph, self_test=None, provenance={})
    got = fgru.read(tmp_path / "m")
    assert got.self_test is None
    assert_same_graph(graph, got.graph)


@pytest.mark.parametrize(("cut", "entries"), [({}, 0), ({"skip": 1, "tail": -1}, 2), ({"tail": 0}, 1)])
def test_cuts_of_an_overlap_add(tmp_path, cut, entries):
    graph = chain([OverlapAdd(4, 2, **cut)])
    write(tmp_path / "m", graph)
    found = []
    edit(tmp_path / "m", lambda h: found.extend(h["graph"]["nodes"][0]["attributes"]))
    assert len(found) == 2 + entries
    assert_same_graph(graph, fgru.read(tmp_path / "m").graph)
    edit(tmp_path / "m", lambda h: h["graph"]["nodes"][0]["attributes"].update(tail=0.5))
    with pytest.raises(FileFormatError, match=r"tail .* must be an integer or null, got 0\.5"):
        fgru.read(tmp_path / "m")


def test_every_attribute_of_every_op_has_a_row():
    annotations = {a for op in OPS.values() for a in attributes.fields_of(op)[0].values()}
    assert annotations <= set(attributes.ATTRIBUTES)


def test_missing_attributes_take_their_defaults(tmp_path):
    path, graph = tmp_path / "m", small()
    write(path, graph)
    edit(path, lambda h: h["graph"]["nodes"][0]["attributes"].clear())
    assert_same_graph(graph, fgru.read(path).graph)


# Precisions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", REDUCED)
def test_every_op_round_trips_exactly_in_its_precision(tmp_path, precision):
    graph = every_op_in(precision)
    for name in "ab":
        write(tmp_path / name, graph)
    got = fgru.read(tmp_path / "a")
    assert_same_graph(graph, got.graph)
    fgru.write(tmp_path / "c", **got._asdict())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.parametrize(
    ("precision", "types"),
    [("float16", {"F16"}), ("bfloat16", {"U16"}), ("int8", {"I8"})],
)
def test_matrices_are_stored_in_their_precision_and_nothing_else_is(tmp_path, precision, types):
    write(tmp_path / "m", small_in(precision))
    outer, header, _ = parts((tmp_path / "m").read_bytes())
    assert header["graph"]["nodes"][0]["attributes"]["precision"] == precision
    assert {outer[f"{name}"]["dtype"] for name in ("gru.weight_x", "gru.weight_h", "dense.weight")} == types
    assert outer["gru.bias"]["dtype"] == "F32"
    scales = {name: (entry["dtype"], entry["shape"]) for name, entry in outer.items() if name.endswith(".scale")}
    rows = {"gru.weight_x.scale": 6, "gru.weight_h.scale": 6, "dense.weight.scale": 1}
    assert scales == ({name: ("F32", [n]) for name, n in rows.items()} if precision == "int8" else {})


def test_layers_may_differ_and_a_float32_layer_says_nothing_of_precision(tmp_path):
    graph = chain([GRU(normal(6, 3), normal(6, 2)), Dense(normal(1, 2), precision="int8")])
    write(tmp_path / "m", graph)
    assert_same_graph(graph, fgru.read(tmp_path / "m").graph)
    attributes = [node["attributes"] for node in parts((tmp_path / "m").read_bytes())[1]["graph"]["nodes"]]
    assert "precision" not in attributes[0]
    assert attributes[1]["precision"] == "int8"


@pytest.mark.parametrize("names", [["a", "a.weight"], ["a.weight", "a"]])
def test_a_scale_and_another_nodes_weight_may_want_the_same_name(tmp_path, names):
    layers = {"a": Dense(normal(3, 3), precision="int8"), "a.weight": LayerNorm(normal(3))}
    graph = chain([layers[name] for name in names], names=names)
    write(tmp_path / "m", graph)
    assert_same_graph(graph, fgru.read(tmp_path / "m").graph)


@pytest.mark.parametrize("precision", REDUCED)
def test_a_model_that_computes_in_float64_has_no_reduced_weights(tmp_path, precision):
    path, message = tmp_path / "m", f"precision of node 'gru' must be float32 in float64, got '{precision}'"
    with pytest.raises(FileFormatError, match=message):
        write(path, small_in(precision), dtype="float64")
    write(path, small_in(precision))
    edit(path, lambda h: h.update(options={"dtype": "float64"}))
    with pytest.raises(FileFormatError, match=message):
        fgru.read(path)


def rebuilt(path: Any, *, attributes: Any = None, remove: tuple[str, ...] = (), **arrays: Any) -> None:
    """One Dense(2, 3) in `path` with these arrays in place of its own, and a checksum that fits."""
    from safetensors.numpy import load, save

    precision = (attributes or {}).get("precision", "int8")
    write(path, chain([Dense(normal(2, 3), precision=precision)]))
    data = path.read_bytes()
    header, tensors = parts(data)[1], {**load(data), **arrays}
    weights = header["graph"]["nodes"][0]["weights"]
    for key in remove:
        tensors.pop(weights.pop(key))
    header["crc32"] = fgru._checksum(header, tensors)
    path.write_bytes(save(tensors, {"fastgru": json.dumps(header)}))


CODES = np.array([[127, 0, -5], [1, 2, -127]], dtype=np.int8)
SCALE = np.array([0.5, 2.0], dtype=np.float32)
BAD_CODES = [
    (
        "int8",
        {"dense.weight": CODES.astype(np.float32)},
        "weight of node 'dense' must be a tensor of int8, got float32",
    ),
    (
        "int8",
        {"dense.weight.scale": SCALE.astype(np.float64)},
        "weight.scale of node 'dense' must be a tensor of float32, got",
    ),
    ("int8", {"dense.weight.scale": SCALE[:1]}, r"weight.scale of node 'dense' must have shape \(2,\), got \(1,\)"),
    (
        "int8",
        {"dense.weight.scale": SCALE[:, None]},
        r"weight.scale of node 'dense' must have shape \(2,\), got \(2, 1\)",
    ),
    ("int8", {"dense.weight.scale": SCALE * 0}, "weight.scale of node 'dense' must be positive and finite, got 0.0"),
    ("int8", {"dense.weight.scale": -SCALE}, "weight.scale of node 'dense' must be positive and finite, got -0.5"),
    (
        "int8",
        {"dense.weight.scale": SCALE * np.nan},
        "weight.scale of node 'dense' must be positive and finite, got nan",
    ),
    (
        "int8",
        {"dense.weight.scale": SCALE * np.inf},
        "weight.scale of node 'dense' must be positive and finite, got inf",
    ),
    ("int8", {"dense.weight": CODES - np.int8(1)}, "weight of node 'dense' must be codes of -127..127, got -128"),
    ("int8", {"dense.weight": CODES // 2}, "weight(.scale)? of node 'dense' must be what int8 stores for its values"),
    (
        "int8",
        {"dense.weight.scale": np.array([0.1, 2], np.float32)},
        "weight.scale of node 'dense' must be what int8 stores",
    ),
    ("int8", {"dense.weight.scale": np.array([3e38, 2], np.float32)}, "weight of node 'dense' must be finite, got inf"),
    ("int8", {"dense.weight.scale": np.array([1e-44, 2], np.float32)}, "must be what int8 stores"),
    ("int8", {"dense.weight": CODES[0]}, r"weight of node 'dense' must have 2 axes, got shape \(3,\)"),
    (
        "float16",
        {"dense.weight": CODES.astype(np.uint16)},
        "weight of node 'dense' must be a tensor of float16, got uint16",
    ),
    (
        "float16",
        {"dense.weight": np.full((2, 3), np.inf, np.float16)},
        "weight of node 'dense' must be finite, got inf",
    ),
    (
        "float16",
        {"dense.weight": np.full((2, 3), np.nan, np.float16)},
        "weight of node 'dense' must be finite, got nan",
    ),
    (
        "bfloat16",
        {"dense.weight": CODES.astype(np.float16)},
        "weight of node 'dense' must be a tensor of uint16, got float16",
    ),
    (
        "bfloat16",
        {"dense.weight": np.full((2, 3), 0x7F80, np.uint16)},
        "weight of node 'dense' must be finite, got inf",
    ),
    (
        "bfloat16",
        {"dense.weight": np.full((2, 3), 0xFFFF, np.uint16)},
        "weight of node 'dense' must be finite, got nan",
    ),
    (
        "bfloat16",
        {"dense.weight": np.full((2, 3), 1, np.uint16)},
        "weight of node 'dense' must be what bfloat16 stores",
    ),
]


@pytest.mark.parametrize(("precision", "arrays", "message"), BAD_CODES)
def test_codes_that_no_writer_makes_are_named(tmp_path, precision, arrays, message):
    path, good = tmp_path / "m", {"dense.weight": CODES, "dense.weight.scale": SCALE} if precision == "int8" else {}
    rebuilt(path, attributes={"precision": precision}, **{**good, **arrays})
    with pytest.raises(FileFormatError, match=message):
        fgru.read(path)


def test_the_good_codes_of_these_cases_are_read(tmp_path):
    rebuilt(tmp_path / "m", **{"dense.weight": CODES, "dense.weight.scale": SCALE})
    weight = fgru.read(tmp_path / "m").graph.nodes[0].op.weight
    np.testing.assert_array_equal(weight, CODES.astype(np.float32) * SCALE[:, None], strict=True)


def test_a_missing_scale_and_an_unknown_precision_are_named(tmp_path):
    path = tmp_path / "m"
    rebuilt(path, remove=("weight.scale",))
    with pytest.raises(FileFormatError, match=r"weights of node 'dense' must be of weight, weight\.scale, bias, got"):
        fgru.read(path)
    rebuilt(path)
    edit(path, attribute("precision", "int4"))
    with pytest.raises(FileFormatError, match=r"precision of node 'dense' must be one of float32, .*got 'int4'"):
        fgru.read(path)
    rebuilt(path)
    edit(path, lambda h: h["graph"]["nodes"][0]["attributes"].pop("precision"))
    with pytest.raises(FileFormatError, match=r"weights of node 'dense' must be of weight, bias, got .*weight\.scale"):
        fgru.read(path)


def test_only_matrices_may_have_codes(tmp_path):
    path = tmp_path / "m"
    write(path, chain([LayerNorm(np.ones(3)), Dense(normal(2, 3), precision="float16")]))
    edit(path, lambda h: [n["weights"].update(v) for n, v in zip(h["graph"]["nodes"], SWAPPED, strict=True)])
    with pytest.raises(FileFormatError, match="scale of node 'layer_norm' must be a tensor of float32 or float64"):
        fgru.read(path)


SWAPPED = ({"scale": "dense.weight"}, {"weight": "layer_norm.scale"})


# Writing whole or not at all -------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.fgru"
    path.write_bytes(b"old")

    def fail(*_: Any) -> None:
        raise OSError("disk is gone")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="disk is gone"):
                write(path, small())
        assert [p.name for p in tmp_path.iterdir()] == ["m.fgru"]
        assert path.read_bytes() == b"old"


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write(tmp_path / "link", small())
    assert (tmp_path / "link").is_symlink()
    fgru.read(tmp_path / "target")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "int8"}, "dtype must be one of float32, float64, got 'int8'"),
        ({"provenance": {"framework": 3}}, "provenance 'framework' must be str, got 3"),
        ({"provenance": {"\ud800": "x"}}, "key of provenance must be valid Unicode"),
        ({"graph": chain([GRU(normal(6, 3), normal(6, 2), clip=float("inf"))])}, "clip of node 'gru' must be"),
        ({"graph": chain([Dense(normal(2, 2))], names=["\udfff"])}, "name of a node must be valid Unicode"),
    ],
)
def test_what_cannot_be_said_is_not_written(tmp_path, changes, message):
    graph = changes.pop("graph", small())
    with pytest.raises(FileFormatError, match=message):
        write(tmp_path / "m", graph, **changes)
    assert not list(tmp_path.iterdir())


# Bad files -----------------------------------------------------------------------------------------


def parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    length = struct.unpack("<Q", data[:8])[0]
    outer = json.loads(data[8 : 8 + length])
    return outer, json.loads(outer["__metadata__"]["fastgru"]), data[8 + length :]


def join(outer: dict[str, Any], header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, str) else json.dumps(header)
    raw = json.dumps({**outer, "__metadata__": {"fastgru": text}}).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def edit(path: Any, change: Any) -> None:
    """Apply `change` to the header and give it a checksum that fits, so that only the change is wrong."""
    outer, header, body = parts(path.read_bytes())
    change(header)
    data = join(outer, header, body)
    length = struct.unpack("<Q", data[:8])[0]
    tensors = fgru._load(data, fgru._parse(data[8 : 8 + length])[1])
    if "crc32" in header:
        header["crc32"] = fgru._checksum(header, tensors)
    path.write_bytes(join(outer, header, body))


def node(i: int, **changes: Any) -> Any:
    return lambda h: h["graph"]["nodes"][i].update(changes)


def attribute(name: str, value: Any) -> Any:
    return lambda h: h["graph"]["nodes"][0]["attributes"].update({name: value})


EDITS = [
    (lambda h: h.update(format_version=2), "format_version must be 1, got 2: no nodes share a tensor"),
    (lambda h: h.update(format_version=3), "format_version must be 1 or 2, got 3"),
    (lambda h: h.update(format_version=True), "format_version must be 1 or 2, got True"),
    (lambda h: h.update(extra=1), "header must have the entries"),
    (lambda h: h.pop("graph"), "header must have the entries"),
    (lambda h: h.update(options={"dtype": "int8"}), "dtype in options must be one of float32, float64, got 'int8'"),
    (lambda h: h.update(options={"dtype": []}), "dtype in options must be one of"),
    (lambda h: h.update(provenance=[]), "provenance must be dict"),
    (lambda h: h.update(provenance={"a": "\ud800"}), "provenance 'a' must be valid Unicode"),
    (node(0, op="wavelet"), "op of node 'gru' must be one of rnn, .*got 'wavelet'"),
    (node(0, op=["gru"]), "op of node 'gru' must be str"),
    (node(1, name="gru"), "name of a node must be unique, got 'gru' twice"),
    (node(1, name=7), "name of node 1 must be str, got 7"),
    (node(1, inputs=["nowhere"]), "node 'dense' must read values written before it, got 'nowhere'"),
    (node(1, inputs=["x"]), "node 'dense' .*must have 2 features, got 3"),
    (node(1, outputs=["x"]), "value must be written once, got 'x' again"),
    (node(1, weights={"weight": "gru.bias"}), "weight of node 'dense' must name a tensor not used before"),
    (node(1, weights={"weight": 1}), "tensor name of weight of node 'dense' must be str"),
    (node(1, weights={}), "weights of node 'dense' must be of weight, bias"),
    (node(0, weights={"weight_x": "gru.weight_x", "weight_h": "gru.weight_h"}), "every tensor must be used.*gru.bias"),
    (
        node(1, attributes={"colour": 1}),
        "attribute of node 'dense' must be one of activation, precision, input_scale, input_zero, got 'colour'",
    ),
    (attribute("reset_after", 1), "reset_after of node 'gru' must be a boolean, got 1"),
    (attribute("clip", -1.0), "node 'gru': .*clip must be positive"),
    (attribute("clip", "1"), "clip of node 'gru' must be a finite number or null"),
    (attribute("clip", 10**400), "clip of node 'gru' must be a finite number or null"),
    (attribute("activation", "tanh"), "activation of node 'gru' must be an object"),
    (attribute("activation", {"name": "x", "alpha": None, "beta": None}), "activation must be one of linear"),
    (attribute("update_keeps", "both"), "update_keeps must be 'state' or 'candidate'"),
    (lambda h: h["graph"].update(outputs=["z"]), "output must be a value of the graph, got 'z'"),
    (lambda h: h["graph"].update(outputs=[]), "graph must have at least one output"),
    (lambda h: h["graph"].update(inputs=[]), "at least one input"),
    (lambda h: h["graph"].update(nodes={}), "nodes of the graph must be list"),
    (lambda h: h["graph"]["inputs"].append(h["graph"]["inputs"][0]), "name of an input must be unique"),
    (lambda h: h["graph"]["inputs"][0].update(shape=[-1]), "shape of input 'x' must be up to 6 positive"),
    (lambda h: h["graph"]["inputs"][0].update(dtype="str"), "dtype of input 'x' must be one of float, int, bool"),
    (lambda h: h["graph"]["inputs"][0].update(time=1), "time of input 'x' must be bool"),
    (lambda h: h["self_test"].update(outputs=[]), "self_test must be of 1 input and 1 outputs"),
    (lambda h: h["self_test"].update(seed="0"), "seed must be int"),
    (
        lambda h: h["self_test"].update(input="self_test.outputs.0", outputs=["self_test.input"]),
        "self_test must have 'input' of shape",
    ),
]


@pytest.mark.parametrize(("change", "message"), EDITS)
def test_an_inconsistent_header_is_named(tmp_path, change, message):
    path = tmp_path / "m.fgru"
    write(path, small())
    edit(path, change)
    with pytest.raises(FileFormatError, match=message) as caught:
        fgru.read(path)
    assert str(path) in str(caught.value)


# Shared weights --------------------------------------------------------------------------------------


def sharing(precision: str = "float32", count: int = 3) -> Graph:
    """Nodes that hold one matrix, and one vector beside it."""
    weight, bias = normal(32, 32), np.zeros(32)
    return chain([Dense(weight, bias, "tanh", precision=precision) for _ in range(count)])


def unshare(path: Any) -> None:
    """Turn a file into what was written before nodes could share tensors: a copy for each of them."""
    from safetensors.numpy import load, save

    data = path.read_bytes()
    header, tensors, copies = parts(data)[1], load(data), {}
    for item in header["graph"]["nodes"]:
        for key, name in item["weights"].items():
            item["weights"][key] = f"{item['name']}.{key}"
            copies[item["weights"][key]] = tensors[name]
    copies |= {name: array for name, array in tensors.items() if name.startswith("self_test.")}
    header["format_version"] = 1
    header["crc32"] = fgru._checksum(header, copies)
    path.write_bytes(save(copies, {"fastgru": json.dumps(header)}))


@pytest.mark.parametrize("precision", ["float32", *REDUCED])
def test_nodes_that_share_weights_name_one_tensor(tmp_path, precision):
    sizes = {}
    for count in (1, 20):
        graph = sharing(precision, count)
        write(tmp_path / "m", graph, self_test=None)
        got = fgru.read(tmp_path / "m")
        assert_same_graph(graph, got.graph)
        assert len({id(array) for node in got.graph.nodes for array in node.op.weights().values()}) == 2
        fgru.write(tmp_path / "again", **got._asdict())
        assert (tmp_path / "m").read_bytes() == (tmp_path / "again").read_bytes()
        outer, header, body = parts((tmp_path / "m").read_bytes())
        assert header["format_version"] == (1 if count == 1 else 2)
        sizes[count] = len(body), len(outer)
    assert sizes[1] == sizes[20]


def test_a_tensor_for_each_precision_that_stores_a_matrix(tmp_path):
    weight = normal(4, 4).astype(np.float16)
    graph = chain([Dense(weight, precision=p) for p in ("float16", "float32", "float16", "float32")])
    write(tmp_path / "m", graph, self_test=None)
    outer = parts((tmp_path / "m").read_bytes())[0]
    assert {name: entry["dtype"] for name, entry in outer.items() if name != "__metadata__"} == {
        "dense.weight": "F16", "dense_1.weight": "F32",
    }  # fmt: skip
    got = fgru.read(tmp_path / "m").graph
    assert_same_graph(graph, got)
    assert len({id(node.op.weight) for node in got.nodes}) == 1


@pytest.mark.parametrize("precision", ["float32", *REDUCED])
def test_files_from_before_weights_were_shared_load(tmp_path, precision):
    graph = sharing(precision)
    write(tmp_path / "new", graph)
    write(tmp_path / "old", graph)
    unshare(tmp_path / "old")
    assert (tmp_path / "old").stat().st_size > (tmp_path / "new").stat().st_size + 2 * 32 * 32
    got = fgru.read(tmp_path / "old")
    assert_same_graph(graph, got.graph)
    assert len({id(node.op.weight) for node in got.graph.nodes}) == 1
    fgru.write(tmp_path / "old", **got._asdict())
    assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()


def weight_of(i: int, name: str) -> Any:
    return lambda h: h["graph"]["nodes"][i]["weights"].update(weight=name)


SHARED_EDITS = [
    (weight_of(1, "nowhere"), "weight of node 'dense_1' must name a tensor of the file, got 'nowhere'"),
    (weight_of(1, "dense.bias"), r"Dense weight must be a real array of shape .*got float64 of shape \(32,\)"),
    (weight_of(1, "self_test.input"), "Dense weight must be a real array of shape"),
    (
        lambda h: h["self_test"].update(input="dense.weight"),
        "input 'x' of self_test must name a tensor not used before",
    ),
    (lambda h: h.update(format_version=1), "weight of node 'dense_1' must name a tensor not used before"),
    (lambda h: h.update(self_test=None), "every tensor must be used by a node or the self-test, got"),
]


@pytest.mark.parametrize(("change", "message"), SHARED_EDITS)
def test_a_wrong_reference_to_a_shared_tensor_is_named(tmp_path, change, message):
    write(tmp_path / "m", sharing())
    edit(tmp_path / "m", change)
    with pytest.raises(FileFormatError, match=message):
        fgru.read(tmp_path / "m")


def test_codes_are_of_one_type_and_each_has_its_scale(tmp_path):
    write(tmp_path / "m", chain([Dense(normal(3, 3), precision=p) for p in ("int8", "int8", "int8", "float32")]))
    for i, key, name, message in (
        (1, "weight.scale", "dense_2.weight.scale", "every tensor must be used .*dense_1.weight.scale"),
        (3, "weight", "dense.weight", "weight of node 'dense_3' must be a tensor of float32 or float64, got int8"),
        (1, "weight", "dense_3.weight", "weight of node 'dense_1' must be a tensor of int8, got float32"),
    ):
        data = (tmp_path / "m").read_bytes()
        edit(tmp_path / "m", lambda h, i=i, k=key, n=name: (
            h.update(format_version=2), h["graph"]["nodes"][i]["weights"].update({k: n})))  # fmt: skip
        with pytest.raises(FileFormatError, match=message):
            fgru.read(tmp_path / "m")
        (tmp_path / "m").write_bytes(data)


def several(**changes: Any) -> Any:
    return lambda h: h["self_test"]["input"].update(changes)


LOOP_EDITS = [
    (lambda h: h["graph"].pop("feedback"), "feedback must name a value for the state 'state', got none"),
    (lambda h: h["graph"].update(feedback=[]), "feedback of the graph must be dict"),
    (lambda h: h["graph"].update(feedback={"state": 1}), "feedback of 'state' must be str, got 1"),
    (
        lambda h: h["graph"].update(feedback={"state": "no"}),
        "feedback of 'state' must be a value of the graph, got 'no'",
    ),
    (lambda h: h["graph"].update(more=1), "graph must have the entries inputs, nodes, outputs, got"),
    (lambda h: h["graph"]["inputs"][0].update(shape=[1] * 7), "shape of input 'x' must be up to 6 positive integers"),
    (lambda h: h["graph"]["inputs"][0].update(shape=[2, 3]), "shape must have the 6 elements of the frame"),
    (lambda h: h["graph"]["nodes"][1]["attributes"].update(shape=2), "shape of node 'reshape' must be a list of int"),
    (
        lambda h: h["graph"]["nodes"][1]["attributes"].update(shape=[2.0]),
        "shape of node 'reshape' must be a list of int",
    ),
    (lambda h: h["graph"]["nodes"][1]["attributes"].update(shape=[0]), "shape must be at least 1, got"),
    (lambda h: h["self_test"].update(input="self_test.input.x"), "input of self_test must be dict"),
    (several(other="x"), "input of self_test must have the entries x, switch, got"),
    (several(x="self_test.input.switch"), "input 'x' of self_test must be a tensor of float32 or float64, got int8"),
    (several(switch="self_test.outputs.0"), "input 'switch' of self_test must be a tensor of int8, got float64"),
    (lambda h: h["graph"]["inputs"][0].update(time=False), "must have an input with time"),
]


@pytest.mark.parametrize(("change", "message"), LOOP_EDITS, ids=range(len(LOOP_EDITS)))
def test_an_inconsistent_header_of_a_loop_is_named(tmp_path, change, message):
    write(tmp_path / "m", looped())
    edit(tmp_path / "m", change)
    with pytest.raises(FileFormatError, match=message):
        fgru.read(tmp_path / "m")


def test_a_file_says_of_loops_and_scans_only_what_it_uses(tmp_path):
    """So that it is, byte for byte, what it was before there were any."""
    write(tmp_path / "m", every_op())
    header = parts((tmp_path / "m").read_bytes())[1]
    assert header["graph"].keys() == {"inputs", "nodes", "outputs"}
    said = {name for node in header["graph"]["nodes"] for name in node["attributes"]}
    assert said.isdisjoint({"scan", "operands", "axis", "precision"})


TEXTS = [
    ("[" * 200_000, "header must be JSON of reasonable depth"),
    ('{"a":' * 200_000, "header must be JSON of reasonable depth"),
    ('{"format_version": NaN}', "number in the header must be finite, got NaN"),
    ('{"a": 1, "a": 1}', "header must have unique keys"),
    ("[]", "header must be dict"),
    ("{", "header must be JSON in UTF-8"),
    ('{"format_version": ' + "9" * 5000 + "}", "must be"),
    ("", "header must be JSON"),
]


@pytest.mark.parametrize(("text", "message"), TEXTS, ids=range(len(TEXTS)))
def test_a_malformed_header_is_named(tmp_path, text, message):
    path = tmp_path / "m"
    write(path, small())
    outer, _, body = parts(path.read_bytes())
    path.write_bytes(join(outer, text, body))
    with pytest.raises(FileFormatError, match=message):
        fgru.read(path)


TENSORS = [
    ({"dtype": "BF16"}, "dtype of tensor 'gru.bias' must be one of F32, F64, I64, F16, U16, I8, got 'BF16'"),
    ({"shape": [2**40, 2**40]}, "shape of tensor 'gru.bias'"),
    ({"shape": [2**30, 2**30]}, "data_offsets of tensor 'gru.bias' must span"),
    ({"shape": [0]}, "shape of tensor 'gru.bias' must be up to 8 positive integers"),
    ({"shape": [1] * 9}, "shape of tensor 'gru.bias' must be up to 8 positive integers"),
    ({"data_offsets": [-24, 0]}, "data_offsets of tensor 'gru.bias'"),
    ({"data_offsets": [10**9, 10**9 + 24]}, "container must be valid safetensors"),
    ({"data_offsets": [0, 2**70]}, "data_offsets of tensor 'gru.bias'"),
    ({"extra": 1}, "tensor 'gru.bias' must have dtype, shape and data_offsets"),
]


@pytest.mark.parametrize(("change", "message"), TENSORS)
def test_a_malformed_tensor_is_named(tmp_path, change, message):
    path = tmp_path / "m"
    write(path, small())
    outer, header, body = parts(path.read_bytes())
    outer["gru.bias"].update(change)
    path.write_bytes(join(outer, header, body))
    with pytest.raises(FileFormatError, match=message):
        fgru.read(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file must be a .fgru model, got a file of 0 bytes"),
        (b"\x00" * 8, "container header must be JSON"),
        (b"x,y\n1,2\n" * 9, "file must be a .fgru model, got another file, which begins with b'x,y"),
        (
            struct.pack("<Q", 2) + b"{}",
            "file must be a .fgru model, got safetensors of weights: import it with fastgru.convert",
        ),
        (struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc", "container header must be JSON in UTF-8"),
        (struct.pack("<Q", 21) + b'{"__metadata__":{"a"', "header must be 21 bytes, got 20: the file is cut short"),
    ],
)
def test_what_is_no_container_is_named(tmp_path, data, message):
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(FileFormatError, match=message):
        fgru.read(tmp_path / "m")


def test_a_command_shows_no_bytes_of_a_foreign_file(tmp_path):
    (tmp_path / "m").write_bytes(b"x,y\n1,2\n" * 9)
    with command_line(), pytest.raises(FileFormatError, match=r"must be a .fgru model, got another file$"):
        fgru.read(tmp_path / "m")


def test_a_model_of_another_framework_is_told_how_to_import(tmp_path):
    assert set(fgru.FOREIGN) == {suffix for row in SOURCES for suffix in row.suffixes}
    path = tmp_path / "a model.keras"
    path.write_bytes(b"PK\x03\x04" + bytes(99))
    with pytest.raises(FileFormatError, match=r"must be a .fgru model.* import it with fastgru.convert") as caught:
        fastgru.load(path)
    assert str(caught.value).endswith(f"fastgru.convert({str(path)!r})")
    with command_line(), pytest.raises(FileFormatError, match=r"fastgru convert '.*a model.keras' -o 'a model.fgru'$"):
        fgru.read(path)


@pytest.mark.parametrize("suffix", [*fgru.FOREIGN, ".ONNX"])
def test_no_model_is_written_under_a_name_of_another_framework(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"theirs")
    with pytest.raises(FileFormatError, match=r"must not be named like one of another framework") as caught:
        fastgru.Model([Dense(np.eye(2))]).save(path)
    assert str(caught.value).endswith(f"write {str(tmp_path / 'a.fgru')!r}")
    assert path.read_bytes() == b"theirs"


def test_a_huge_sparse_file_is_refused_without_reading_it(tmp_path):
    with open(tmp_path / "m", "wb") as file:
        file.write(struct.pack("<Q", 1 << 40))
        file.truncate(1 << 42)
    with pytest.raises(FileFormatError, match="size of the file must be at most"):
        fgru.read(tmp_path / "m")


def test_other_kinds_of_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        fgru.read(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        fgru.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="regular file"):
        fgru.read(tmp_path / "pipe")


@pytest.fixture(scope="module", params=[small, mixed, looped])
def whole(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "m"
    write(path, request.param())
    return path, path.read_bytes()


def reads_or_refuses(path: Any, data: bytes) -> bool:
    path.write_bytes(data)
    try:
        fgru.read(path)
    except FileFormatError:
        return False
    return True


def test_every_flipped_byte_is_noticed(whole):
    path, data = whole
    for i in range(len(data)):
        flipped = bytearray(data)
        flipped[i] ^= 1 << (i % 8)
        if reads_or_refuses(path, bytes(flipped)):  # only where JSON says the same in other bytes
            assert data[i : i + 1].isspace() or flipped[i : i + 1].isspace()


FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.data())
def test_a_truncated_or_extended_file_is_refused(whole, data):
    path, good = whole
    cut = data.draw(st.integers(0, len(good) - 1))
    assert not reads_or_refuses(path, good[:cut])
    assert not reads_or_refuses(path, good + data.draw(st.binary(min_size=1, max_size=64)))


@FUZZ
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=40))
def test_overwritten_bytes_never_crash(whole, at, junk):
    path, good = whole
    reads_or_refuses(path, good[:at] + junk + good[at + len(junk) :])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@FUZZ
@given(st.data(), JSON)
def test_any_value_anywhere_in_the_header_never_crashes(whole, data, value):
    """Replace one entry at any depth of the header by any JSON value, NaN included."""
    path, good = whole
    outer, header, body = parts(good)
    place: Any = header
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if not (isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    place[key] = value
    reads_or_refuses(path, join(outer, header, body))
