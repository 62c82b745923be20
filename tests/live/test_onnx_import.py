"""Imported ONNX models against ONNX Runtime: the real ones, and what axes, sizes and given inputs decide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import agree, feeds_for, imported, model, ops, recurrent_model

from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.graph import State
from fastgru.reference import run

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx.helper import make_node  # noqa: E402

# Real models ----------------------------------------------------------------------------------------

REAL = [
    ("silero_vad/silero_vad_16k_sequence.onnx", {}, 3e-6),
    ("silero_vad/silero_vad.onnx", {"fix": {"sr": 16000}, "shapes": {"input": (1, 576), "state": (2, 1, 128)}}, 3e-6),
    (
        "silero_vad/silero_vad.onnx",
        {"fix": {"sr": 8000}, "shapes": {"input": (1, 288), "state": (None, 1, None)}},
        3e-6,
    ),
    ("dtln/model_1.onnx", {"states": {"input_3": "tf_op_layer_stack_2"}}, 3e-6),
    ("dtln/model_2.onnx", {"states": {"input_5": "tf_op_layer_stack_5"}}, 3e-6),
    ("gtcrn/gtcrn_simple.onnx", {}, 1e-5),
    ("gtcrn/gtcrn.onnx", {}, 1e-5),
]


@pytest.mark.parametrize(("name", "options", "atol"), REAL, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(REAL)])
def test_real_models_step_by_step(real_models, name, options, atol):
    agree(to_graph(real_models / name, **options), atol=atol, steps=4, batch=2, scale=0.3)


def test_silero_on_its_reference(real_models):
    """The recording whose probabilities TorchScript computed, a chunk a step."""
    reference = np.load(real_models / "silero_vad" / "reference.npz")
    graph = to_graph(real_models / "silero_vad" / "silero_vad_16k_sequence.onnx").graph
    (got,), _ = run(graph, reference["input"][None, :80])
    np.testing.assert_allclose(got[0], reference["prob"][:80], rtol=0, atol=1e-5)


def test_gtcrn_on_its_reference(real_models):
    reference = np.load(real_models / "gtcrn" / "reference.npz")
    graph = to_graph(real_models / "gtcrn" / "gtcrn_simple.onnx").graph
    frames = np.moveaxis(reference["stft_in"][:, :, :12], 2, 1)[:, :, None, :, None]  # (1, T, 1, 257, 1, 2)
    (got,), _ = run(graph, frames)
    want = np.moveaxis(reference["stft_out"][:, :, :12], 2, 1)
    np.testing.assert_allclose(got[:, :, 0, :, 0], want, rtol=0, atol=1e-4)


def test_dtln_on_its_reference(real_models):
    """Both stages with their transforms, block by block; the blocks' output is before the overlap-add."""
    folder = real_models / "dtln"
    reference = np.load(folder / "reference.npz")
    first = to_graph(folder / "model_1.onnx", states={"input_3": "tf_op_layer_stack_2"}).graph
    second = to_graph(folder / "model_2.onnx", states={"input_5": "tf_op_layer_stack_5"}).graph
    spectrum = np.fft.rfft(reference["blocks_in"][:40].astype(np.float64))
    (mask,), _ = run(first, np.abs(spectrum)[None, :, None, None])
    blocks = np.fft.irfft(spectrum * mask[0, :, 0, 0])
    (got,), _ = run(second, blocks[None, :, None, None])
    np.testing.assert_allclose(got[0, :, 0, 0], reference["blocks_out"][:40], rtol=0, atol=1e-5)


def test_gtcrn_pairs_its_caches(real_models):
    found = to_graph(real_models / "gtcrn" / "gtcrn_simple.onnx")
    states = {n.name: n.op.initial.shape for n in found.graph.nodes if isinstance(n.op, State)}
    assert states == {
        "conv_cache": (2, 1, 16, 16, 33), "tra_cache": (2, 3, 1, 1, 16), "inter_cache": (2, 1, 33, 16),
    }  # fmt: skip
    assert found.graph.outputs == ("enh",)
    assert list(found.graph.inputs) == ["mix"]
    assert "conv_cache <- conv_cache_out" in found.provenance["states"]


def test_silero_needs_to_be_told_what_it_leaves_open(real_models):
    path = real_models / "silero_vad" / "silero_vad.onnx"
    with pytest.raises(ConvertError) as caught:
        to_graph(path, fix={"sr": 16000})
    assert "shapes=" in str(caught.value)
    with pytest.raises(ConvertError, match=r"both branches must be imported .* fix= for 'sr' takes one"):
        to_graph(path, shapes={"input": (1, 576), "state": (2, 1, 128)})


# Axes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "axes", "layout"),
    [
        (["batch", "seq_len", 4], None, "x (B, T, 4)"), (["N", "sequence_length", 4], None, "x (B, T, 4)"),
        (["time", "batch_size", 4], None, "x (T, B, 4)"), (["p", "q", 4], None, "x (B, T, 4)"),
        ([None, None, 4], None, "x (B, T, 4)"), ([1, "T", 4], None, "x (1, T, 4)"),
        ([1, 6, 4], ("B", "T", None), "x (B, T, 4)"), (["i", 6, 4], ("T", "B", None), "x (T, B, 4)"),
        ([2, 6, 4], None, "x (2, 6, 4)"),
    ],
)  # fmt: skip
def test_names_of_sizes_decide(tmp_path, dims, axes, layout):
    constants = {"w": np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)}
    nodes = [make_node("MatMul", ["x", "w"], ["z"]), make_node("Relu", ["z"], ["y"])]
    found = imported(model(nodes, {"x": dims}, ["y"], constants), tmp_path, axes={"x": axes} if axes else None)
    assert found.provenance["axes"] == layout
    assert found.graph.inputs["x"].time == ("T" in layout)
    if axes is None:
        agree(found)


def test_a_recurrence_decides_which_axis_is_time(tmp_path):
    found = imported(recurrent_model("GRU", {}, "forward", ["p", "q", 4]), tmp_path)
    assert found.provenance["axes"] == "x (T, B, 4)"
    agree(found)


WRONG_AXES = [
    ({"shapes": {"z": (1,)}}, r"shapes must name inputs \(x\), got 'z'"),
    ({"shapes": {"x": (1, 2)}}, r"shape must have 3 entries for \['i', 'j', 'k'\], got \(1, 2\)"),
    ({"shapes": {"x": (1, -2, 3)}}, r"shape must fit \['i', 'j', 'k'\] with sizes of at least 1, got \(1, -2, 3\)"),
    ({"axes": {"x": ("B", "B", None)}}, "axes must have 'B' and 'T' once at most"),
    ({"axes": {"x": ("B", "F", None)}}, "axes must be 3 of 'B', 'T' and None"),
    ({}, r"sizes of input 'x' must be fixed by shapes= or told by axes=, got \(i, j, k\)"),
    ({"fix": {"q": 1}}, r"fix must name inputs \(x\), got 'q'"),
    *[
        ({name: wrong}, f"{name} must be a mapping of names, got {wrong!r}")
        for name in ("fix", "shapes", "axes", "states")
        for wrong in ("x", 3)
    ],
    ({"axes": {"x": 3}}, "axes must be 3 of 'B', 'T' and None, got 3"),
    ({"shapes": {"x": 3}}, "shape must be a sequence of sizes, got 3"),
    ({"fix": {"x": "b"}}, "fix of 'x' must be float32 numbers, got 'b'"),
    ({"like": []}, "like must be a list such as"),
    ({"custom": {}}, "options for ONNX must be among fix, shapes, axes, states, got custom"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_AXES, ids=[str(o) for o, _ in WRONG_AXES])
def test_wrong_options(tmp_path, options, message):
    proto = model([make_node("Relu", ["x"], ["y"])], {"x": ["i", "j", "k"]}, ["y"])
    with pytest.raises(ConvertError, match=message):
        imported(proto, tmp_path, **options)


def test_sizes_that_are_told_apart_are_fixed(tmp_path):
    proto = model([make_node("Relu", ["x"], ["y"])], {"x": ["i", "j", "k"]}, ["y"])
    found = imported(proto, tmp_path, shapes={"x": (None, None, 5)})
    assert found.provenance["axes"] == "x (B, T, 5)"
    agree(found)


def test_what_fails_with_labels_says_with_which(tmp_path):
    nodes = [make_node("ReduceMean", ["x"], ["y"], axes=[0])]
    with pytest.raises(
        ConvertError, match=r"axes to reduce must be of fixed size or time, got the batch\n.*\(B, T, 4\)"
    ):
        imported(model(nodes, {"x": ["batch", "time", 4]}, ["y"]), tmp_path)
    agree(imported(model(nodes, {"x": ["batch", "time", 4]}, ["y"]), tmp_path, shapes={"x": (2, 3, 4)}))


# Functions and branches ------------------------------------------------------------------------------


def test_functions_are_inlined(tmp_path):
    """A function of the model with an attribute, called twice, one call within the other function."""
    helper = onnx.helper
    inner = helper.make_function(
        "own", "Leaky", ["a"], ["b"],
        [helper.make_node("LeakyRelu", ["a"], ["b"])], [helper.make_opsetid("", 17)], ["slope"],
    )  # fmt: skip
    reference = onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    inner.node[0].attribute.append(reference)
    twice = [helper.make_node("Leaky", ["a"], ["t"], domain="own", slope=0.5),
             helper.make_node("Leaky", ["t"], ["b"], domain="own", slope=0.25)]  # fmt: skip
    outer = helper.make_function("own", "Twice", ["a"], ["b"], twice,
                                 [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)])  # fmt: skip
    nodes = [make_node("Twice", ["x"], ["z"], domain="own"), make_node("Add", ["z", "x"], ["y"])]
    proto = model(nodes, {"x": ["B", "T", 4]}, ["y"], functions=[inner])
    proto.functions.append(outer)
    found = imported(proto, tmp_path)
    feeds = feeds_for(found.graph)
    x = feeds["x"].astype(np.float64)
    np.testing.assert_allclose(run(found.graph, feeds)[0][0], np.where(x > 0, x, 0.125 * x) + x, rtol=1e-6)


def branch(name: str, *nodes: Any, outputs: list[str]) -> Any:
    infos = [onnx.helper.make_tensor_value_info(o, 1, None) for o in outputs]
    return onnx.helper.make_graph(list(nodes), name, [], infos)


@pytest.mark.parametrize("mode", [0, 1])
def test_branches_are_chosen_by_given_inputs(tmp_path, mode):
    """A branch within a branch, on a size and on an input that is fixed; the other branch cannot be imported."""
    helper = onnx.helper
    deep = branch("deep", make_node("Neg", ["t"], ["d"]), outputs=["d"])
    other = branch("other", make_node("NonZero", ["t"], ["o"]), outputs=["o"])
    inner = branch(
        "inner", make_node("Tanh", ["x"], ["t"]), make_node("Size", ["w"], ["n"]),
        make_node("Equal", ["n", "three"], ["e"]),
        helper.make_node("If", ["e"], ["i"], then_branch=deep, else_branch=other), outputs=["i"],
    )  # fmt: skip
    plain = branch("plain", make_node("Relu", ["x"], ["p"]), outputs=["p"])
    nodes = [make_node("Equal", ["mode", "one"], ["c"]),
             helper.make_node("If", ["c"], ["y"], name="choose", then_branch=inner, else_branch=plain)]  # fmt: skip
    constants = {"one": np.array(1), "three": np.array(3), "w": np.zeros(3, np.float32)}
    proto = model(nodes, {"x": ["B", "T", 4], "mode": []}, ["y"], constants, types={"mode": "INT64"})
    found = imported(proto, tmp_path, fix={"mode": mode})
    assert ops(found.graph) == (["Activate", "Unary"] if mode else ["Activate"])
    feeds = feeds_for(found.graph)
    x = feeds["x"]
    np.testing.assert_allclose(run(found.graph, feeds)[0][0], -np.tanh(x) if mode else np.maximum(x, 0), rtol=1e-6)
    assert "both branches" in imported(proto, tmp_path).provenance["notes"]
