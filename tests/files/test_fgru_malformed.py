"""The .fgru file: a header, a tensor or a container that is not right is named."""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np
import pytest
from fgru_files import attribute, edit, every_op, join, looped, node, parts, sharing, small, write

import fastgru
from fastgru._hints import command_line
from fastgru.converters import SOURCES
from fastgru.errors import FileFormatError
from fastgru.files import fgru
from fastgru.graph import (
    Dense,
)

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
