"""The .fgru file: exact round trips, equal bytes, whole writes, weights shared by several nodes."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest
from fgru_files import (
    REDUCED,
    assert_same_graph,
    edit,
    every_op,
    every_op_in,
    normal,
    parts,
    sharing,
    small,
    small_in,
    write,
)
from tensor_graphs import every_frame_op

from fastgru.checks import selftest
from fastgru.errors import FileFormatError
from fastgru.files import attributes, fgru
from fastgru.graph import (
    GRU,
    OPS,
    Dense,
    Dropout,
    LayerNorm,
    OverlapAdd,
    chain,
)


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


# Shared weights --------------------------------------------------------------------------------------


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
