"""How an import of ONNX is checked: in the precision of the source, and what becomes of one that differs."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx_models import model, saved
from typer.testing import CliRunner

import fastgru
from fastgru.cli import build
from fastgru.converters.onnx import oracle
from fastgru.errors import ConvertError

I, H = 12, 8
RNG = np.random.default_rng(11)
node = helper.make_node


def w(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / shape[-1] ** 0.5).astype(np.float32)


DENSE = {"A": w(I, I), "C": w(I, H)}
LAYERS = [node("MatMul", ["x", "A"], ["a"]), node("Tanh", ["a"], ["t"]), node("MatMul", ["t", "C"], ["y"])]


@pytest.fixture
def wrong(tmp_path, monkeypatch):
    """A file of which ONNX Runtime is made to say something else."""
    right = oracle.OnnxOracle.__call__
    monkeypatch.setattr(oracle.OnnxOracle, "__call__", lambda self, x: tuple(y + 0.25 for y in right(self, x)))
    monkeypatch.chdir(tmp_path)
    return saved(model(LAYERS, {"x": ["B", "T", I]}, ["y"], DENSE), tmp_path)


def test_an_import_that_differs_is_had_where_it_is_asked_for(wrong):
    message = r"output 'y' of the import must equal ONNX opset 17 .* 0\.25 .*check=False imports it as it is"
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(wrong)
    imported = fastgru.convert(wrong, check=False)
    assert "an error of 0.25" in imported.provenance["differs"]
    assert f"differs from its source: {imported.provenance['differs']}" in str(imported.summary())
    assert imported.self_test.source == "fastgru float64 reference"
    imported.save("m.fgru")
    assert fastgru.load("m.fgru", verify=True).summary().differs == imported.provenance["differs"]
    with pytest.raises(TypeError, match="check must be True or False, got 'no'"):
        fastgru.convert(wrong, check="no")


def test_the_same_on_the_command_line(wrong):
    result = CliRunner().invoke(build(), ["convert", str(wrong), "-o", "m.fgru"])
    assert result.exit_code == 2
    assert "--no-check imports it as it is" in result.stderr
    result = CliRunner().invoke(build(), ["convert", str(wrong), "-o", "m.fgru", "--no-check"])
    assert result.exit_code == 0, result.output
    assert "differs from ONNX opset 17: output 'y' of the import must equal" in result.stdout
    assert "differs: output 'y' of the import must equal" in CliRunner().invoke(build(), ["info", "m.fgru"]).stdout


def test_an_import_that_agrees_is_checked_all_the_same(tmp_path):
    path = saved(model(LAYERS, {"x": ["B", "T", I]}, ["y"], DENSE), tmp_path)
    imported = fastgru.convert(path, check=False)
    assert "differs" not in imported.provenance
    assert imported.self_test.source.startswith("ONNX")


def test_what_is_not_understood_is_refused_without_the_check_too(tmp_path):
    path = saved(model([node("Unique", ["x"], ["y"])], {"x": ["B", "T", I]}, ["y"]), tmp_path)
    with pytest.raises(ConvertError, match="Unique"):
        fastgru.convert(path, check=False)


def test_what_onnx_runtime_raises_is_why_an_import_is_unchecked(tmp_path):
    """A batch of five that the file has beside the time that was told: rows of the self-test are others."""
    path = saved(model(LAYERS[:1], {"x": [5, "T", I]}, ["a"], DENSE), tmp_path)
    fastgru.convert(path, axes={"x": ("B", "T", None)})
    proto = model([node("Reshape", ["x", "s"], ["y"])], {"x": ["B", "T", I]}, ["y"], {"s": np.array([2, 16, I])})
    path = saved(proto, tmp_path)
    with pytest.raises(fastgru.FastGruError):
        fastgru.convert(path)


# Precision of the source -----------------------------------------------------------------------------


def half(kind, cast):
    """A dense and a recurrent model in 16 bits: all of it, or between casts."""
    types = {"x": "FLOAT", "y": "FLOAT"} if cast else {"x": kind, "y": kind}
    to = getattr(TensorProto, kind)
    tensors = [helper.make_tensor(n, to, a.shape, a.ravel()) for n, a in DENSE.items()]
    nodes = [node("Cast", ["x"], ["h"], to=to), *LAYERS, node("Cast", ["out"], ["y"], to=TensorProto.FLOAT)]
    if cast:
        nodes[1], nodes[3] = node("MatMul", ["h", "A"], ["a"]), node("MatMul", ["t", "C"], ["out"])
    proto = model(nodes if cast else LAYERS, {"x": ["B", "T", I]}, ["y"], types=types)
    proto.graph.initializer.extend(tensors)
    return proto


@pytest.mark.parametrize("cast", [False, True])
def test_files_of_float16(tmp_path, cast):
    path, x = saved(half("FLOAT16", cast), tmp_path), w(2, 9, I)
    imported = fastgru.convert(path)
    assert "unchecked" not in imported.provenance
    assert imported.provenance["precision"].startswith("float16 in the file, float32 here")
    want = onnxruntime.InferenceSession(path).run(None, {"x": x if cast else x.astype(np.float16)})[0]
    np.testing.assert_allclose(imported(x), want.astype(np.float32), rtol=0, atol=4e-3)
    exact = np.tanh(x.astype(np.float64) @ DENSE["A"].astype(np.float16)) @ DENSE["C"].astype(np.float16)
    np.testing.assert_allclose(imported(x), exact, rtol=0, atol=3e-6)


@pytest.mark.parametrize("cast", [False, True])
def test_files_of_bfloat16(tmp_path, cast):
    """ONNX Runtime multiplies no such matrices on a processor, which the provenance says."""
    imported, x = fastgru.convert(saved(half("BFLOAT16", cast), tmp_path)), w(2, 9, I)
    assert imported.provenance["precision"].startswith("bfloat16 in the file, float32 here")
    tensors = [helper.make_tensor("", TensorProto.BFLOAT16, v.shape, v.ravel()) for v in DENSE.values()]
    a, c = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in tensors)
    exact = np.tanh(x.astype(np.float64) @ a) @ c
    np.testing.assert_allclose(imported(x), exact, rtol=0, atol=3e-6)


@pytest.mark.parametrize(("kind", "gates"), [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_recurrent_layers_of_float16(tmp_path, kind, gates):
    weights = {"W": w(1, gates * H, I).astype(np.float16), "R": w(1, gates * H, H).astype(np.float16)}
    nodes = [node(kind, ["x", "W", "R"], ["y"], hidden_size=H)]
    path = saved(model(nodes, {"x": ["T", "B", I]}, ["y"], weights, types={"x": "FLOAT16", "y": "FLOAT16"}), tmp_path)
    imported, x = fastgru.convert(path), w(9, 2, I).astype(np.float16)
    want = onnxruntime.InferenceSession(path).run(None, {"x": x})[0]
    np.testing.assert_allclose(imported(x.swapaxes(0, 1)), want.transpose(2, 0, 1, 3), rtol=0, atol=4e-3)


def test_a_wrong_import_of_float16_is_still_refused(tmp_path, monkeypatch):
    """Rounding to float16 is allowed, a tenth is not."""
    right = oracle.OnnxOracle.__call__
    monkeypatch.setattr(oracle.OnnxOracle, "__call__", lambda self, x: tuple(y + 0.1 for y in right(self, x)))
    with pytest.raises(ConvertError, match="must equal ONNX opset 17"):
        fastgru.convert(saved(half("FLOAT16", False), tmp_path))
