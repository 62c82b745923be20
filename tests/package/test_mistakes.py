"""Mistakes that newcomers make end in errors that say what to write instead."""

from __future__ import annotations

import io
import re
import zipfile

import numpy as np
import pytest

import fastgru
from fastgru import ConvertError, GraphError, MissingExtraError, quantization
from fastgru._hints import command_line
from fastgru.checks import comparison
from fastgru.converters import SOURCES
from fastgru.graph import GraphBuilder, Spec
from fastgru.layers import GRU, Add, Dense, Embedding, like

MODEL, X = fastgru.Model([Dense(np.ones((2, 3)))]), np.ones((4, 3))


def two_inputs():
    b = GraphBuilder()
    return fastgru.Model(b.build(b.add(Add(), b.input("a", Spec((3,))), b.input("b", Spec((3,))))))


TWO = two_inputs()

MISTAKES = [
    (lambda: fastgru.GRU, AttributeError, "import it from fastgru.layers"),
    (lambda: fastgru.Model(Dense(np.ones((2, 3)))), GraphError, "layers must be a list of layers, got Dense"),
    (lambda: fastgru.Model("m.fgru"), GraphError, "layers must be a list of layers, got 'm.fgru'"),
    (lambda: fastgru.Model([GRU]), GraphError, "layer 0 must be .*, got the class GRU, not a GRU made with its"),
    (lambda: Dense(np.ones((2, 3)), activation="tahn"), GraphError, "must be one of tanh, .* in all.*, got 'tahn'"),
    (lambda: like(GRU, reset_afer=True), GraphError, "must be one of reset_after, .*, got 'reset_afer'"),
    (lambda: GRU.from_torch(np.ones((6, 3)), np.ones((6, 2)), np.ones(2)), GraphError, "b_ih: first axis must be"),
    (lambda: MODEL(np.ones((4, 3)), lengths=[4]), ValueError, "lengths must be one integer for an input without"),
    (lambda: MODEL(X, X), TypeError, r"the model's one input 'x', got 2 arguments: name the others, such as state="),
    (lambda: MODEL.predict(X, X), TypeError, "got 2 arguments: .*, or give model.predict a list of sequences"),
    (lambda: TWO(X, X), TypeError, r"a tuple or a mapping of the inputs 'a', 'b', got 2 arguments: give \(a, b\)"),
    (lambda: TWO.predict(X, X), TypeError, r"a tuple or a mapping of the inputs 'a', 'b', got 2 arguments"),
    (lambda: MODEL("x.npy"), TypeError, "x must be an array of numbers, got 'x.npy'"),
    (lambda: MODEL(None), TypeError, "x must be an array of numbers, got None"),
    (lambda: quantization.report(MODEL, MODEL), TypeError, r"before must be a Graph \(model.graph\), got Model"),
    (lambda: fastgru.load(3), TypeError, "not int"),
    (lambda: fastgru.convert({}), ConvertError, "the dict must hold weights, arrays by name, got an empty one"),
    (lambda: fastgru.convert("m.fgru"), ConvertError, r"got 'm.fgru': open it with fastgru.load\('m.fgru'\)"),
    (lambda: MODEL.quantize("int8", calibration=np.ones((2, 3))), ValueError, "only measures errors: give max_error"),
    (lambda: fastgru.convert("m.onnx", shape={}), ConvertError, "among shapes, fix, axes, states, got shape"),
    (lambda: fastgru.convert("m.pt", likes=[]), ConvertError, "among key, ignore, got likes: did you mean like\\?"),
    (lambda: fastgru.convert("m.pt", precison="int8"), ConvertError, "got precison: did you mean precision\\?"),
    (lambda: fastgru.convert("m.pt", keys="a"), ConvertError, "must be among key, ignore, got keys$"),
    (lambda: comparison.compare("m.pt", dtyp="float64"), ConvertError, "got dtyp: did you mean dtype\\?"),
    (lambda: fastgru.convert("m.onnx", dtype="f32"), ValueError, "dtype must be one of float32, float64, got 'f32'"),
    (lambda: fastgru.convert("m.onnx", precision="int4"), GraphError, "precision must be one of .*, got 'int4'"),
    (lambda: fastgru.convert("m.onnx", activations="quick"), GraphError, "activations must be one of .*, got 'quick'"),
]  # fmt: skip


@pytest.mark.parametrize("shape", [(2, 20, 8), (8,), (2, 2, 2, 12, 8)])
def test_rows_without_time_are_told_as_rows(shape):
    b = GraphBuilder()
    x = b.input("x", Spec((12, 8), time=False))
    model = fastgru.Model(b.build(b.add(Dense(np.ones((2, 8))), x)))
    told = re.escape(f"x must have shape (12, 8) or (B, 12, 8), got {shape} (B counts sequences)")
    with pytest.raises(ValueError, match=told):
        model(np.zeros(shape, np.float32))


@pytest.mark.parametrize(("mistake", "error", "message"), MISTAKES)
def test_a_mistake_is_answered(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake()


def test_like_is_a_list_of_like(tmp_path):
    (tmp_path / "m.pt").write_bytes(b"")
    for given, got in ((like(GRU), "got Like"), ([GRU, Dense], "got GRU, Dense")):
        with pytest.raises(ConvertError, match=rf"like must be a list such as \[like\(GRU\), like\(Dense\)\], {got}"):
            fastgru.convert(tmp_path / "m.pt", like=given)


KINDS = {
    "a pointer of Git LFS: git lfs pull brings the file itself": b"version https://git-lfs.github.com/spec/v1\n",
    "a page of the web: download the file itself": b"<!DOCTYPE html><html>",
    "one that gzip compressed: unpack it first": b"\x1f\x8b\x08\0",
}


@pytest.mark.parametrize("told", KINDS)
@pytest.mark.parametrize("suffix", sorted({s for row in SOURCES for s in row.suffixes}))
def test_files_that_are_no_models_are_named_alike_for_every_source(told, suffix, tmp_path):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(KINDS[told])
    expected = f"file to convert must be a model, got {told}$"
    if suffix == ".safetensors" and "gzip" in told:  # as which the number of bytes of its header may begin
        expected = "safetensors file .* must be intact"
    with pytest.raises(ConvertError, match=f"^{expected}"):
        fastgru.convert(path)


def _zip(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return buffer.getvalue()


OTHERS = {  # kinds of files: how they begin or what they hold, and the name that they must have
    "a Keras archive: name it .keras": (_zip("metadata.json", "config.json", "model.weights.h5"), ".keras"),
    "an HDF5 file: name it .h5": (b"\x89HDF\r\n\x1a\n", ".h5"),
    "a PyTorch file: name it .pt": (_zip("net/data.pkl", "net/version"), ".pt"),
    "a PyTorch file: name it .pt ": (b"\x80\x02\x8a\nl\xfc", ".pt"),
    "a NumPy archive: name it .npz": (_zip("a.npy", "b.npy"), ".npz"),
    "a safetensors file: name it .safetensors": (b"\x10\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F', ".safetensors"),
    "an ONNX file: name it .onnx": (b"\x08\x08\x12\x07pytorch", ".onnx"),
    "a model of fastgru: name it .fgru, and open it with fastgru.load": (
        b"\x10\0\0\0\0\0\0\0" + b'{"__metadata__":{"fastgru', ".fgru"),
}  # fmt: skip


@pytest.mark.parametrize("told", OTHERS)
@pytest.mark.parametrize("suffix", [".pt", ".keras", ".h5", ".onnx", ".safetensors", ".npz", ".bin", ".pth"])
def test_a_file_of_another_kind_than_its_name_says_is_recognised(told, suffix, tmp_path):
    content, own = OTHERS[told]
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    expected = f"file to convert must be what its ending {suffix} says, got {told.strip()}"
    mine = suffix == own or (own == ".pt" and suffix in (".bin", ".pth"))
    with pytest.raises((ConvertError, MissingExtraError)) as caught:
        fastgru.convert(path)
    assert (str(caught.value) == expected) != mine
    (tmp_path / "m.model").write_bytes(content)
    with pytest.raises(ConvertError, match=rf"must end in one of .* got .*m.model': it looks like {told.strip()}$"):
        fastgru.convert(tmp_path / "m.model")


def test_an_id_beyond_the_table_is_placed():
    model = fastgru.Model([Embedding(np.ones((5, 3)))])
    for ids, told in (([1, 9], r"got 9 at index 1$"), ([[1, 2], [-1, 0]], r"got -1 at index \(1, 0\)$")):
        with pytest.raises(ValueError, match=told):
            model(np.array(ids))
    with pytest.raises(ValueError, match=r"got 5$"):
        model.stream().step(5)


def test_what_float64_cannot_do_is_said_in_words_of_the_reader():
    pytest.importorskip("scipy")
    model = fastgru.Model(MODEL.graph, dtype="float64")
    with command_line(), pytest.raises(ValueError, match=r"got float64: convert it as float32$"):
        model.quantize("int8")
