"""ONNX's operators: with batch and time among the axes, and in the forms of every opset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import agree, feeds_for, imported, model
from streamed import check_streamed

from fastgru import Model
from fastgru.errors import ConvertError
from fastgru.graph import TimeConv
from fastgru.passes import canonical

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx.helper import make_node  # noqa: E402

# Operators over time --------------------------------------------------------------------------------


def conv(weights: Any, **attributes: Any) -> Any:
    return make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=list(weights.shape[2:]), **attributes)


CONVOLUTIONS = [
    (["B", 4, "T"], (6, 4, 3), {}),
    (["B", 4, "T"], (6, 4, 3), {"pads": [2, 0], "strides": [2]}),
    (["B", 4, "T"], (6, 2, 3), {"pads": [1, 1], "dilations": [2], "group": 2}),
    (["B", 4, "T"], (6, 4, 4), {"auto_pad": "SAME_UPPER"}),
    (["B", 4, "T"], (6, 4, 1), {}),
    (["B", 4, "T"], (4, 1, 1), {"group": 4}),
    (["T", 4, 9], (6, 4, 3), {"strides": [2]}),
    (["B", 2, "T", 9], (6, 2, 3, 3), {"pads": [2, 1, 0, 1], "strides": [1, 2]}),
    (["B", 4, 9, "T"], (6, 2, 3, 2), {"pads": [1, 1, 1, 0], "group": 2, "dilations": [1, 2], "strides": [2, 2]}),
    (["B", 4, "T", 9], (6, 4, 1, 3), {}),
    (["B", 4, "T", 9], (6, 4, 3, 1), {"pads": [2, 0, 0, 0]}),
    ([3, 4, 9], (6, 4, 3), {}),
    (["B", 3, 5, 6, "T"], (2, 3, 2, 2, 2), {}),
    (["B", 4, "T"], (6, 4, 4), {"strides": [2], "auto_pad": "SAME_UPPER"}),
    (["B", 4, "T"], (6, 4, 5), {"strides": [2], "auto_pad": "SAME_LOWER"}),
    ([3, 4, "T"], (6, 2, 3), {"group": 2, "pads": [2, 0], "strides": [2]}),
    ([70, 4, 9], (6, 4, 3), {"pads": [1, 1]}),
    ([2, 3, 5, 6, 4], (2, 3, 2, 2, 2), {"strides": [1, 2, 1]}),
]


@pytest.mark.parametrize(("x", "shape", "attributes"), CONVOLUTIONS, ids=str)
def test_convolutions(tmp_path, x, shape, attributes):
    rng = np.random.default_rng(0)
    w = rng.normal(size=shape).astype(np.float32) * 0.5
    b = rng.normal(size=shape[0]).astype(np.float32)
    agree(imported(model([conv(w, **attributes)], {"x": x}, ["y"], {"w": w, "b": b}), tmp_path), steps=11, atol=1e-5)


TRANSPOSED = [
    (["B", 4, "T"], (4, 3, 3), {"pads": [1, 1]}),
    (["B", 4, "T"], (4, 2, 3), {"group": 2, "dilations": [2], "pads": [2, 2]}),
    (["B", 4, "T", 9], (4, 3, 3, 3), {"pads": [2, 1, 0, 1], "strides": [1, 2]}),
    (["B", 4, "T"], (4, 3, 4), {"strides": [2], "pads": [1, 1]}),
    (["B", 4, "T"], (4, 3, 5), {"strides": [3], "pads": [2, 0], "output_padding": [2]}),
    (["B", 4, "T"], (4, 2, 3), {"strides": [2], "dilations": [2], "group": 2, "pads": [1, 3]}),
    (["B", 4, "T"], (4, 1, 2), {"strides": [3], "group": 4}),
    (["B", 4, "T"], (4, 3, 2), {"pads": [2, 3]}),
    (["B", 4, "T"], (4, 3, 5), {"strides": [2], "auto_pad": "SAME_UPPER"}),
    (["B", 4, "T"], (4, 3, 5), {"strides": [2], "auto_pad": "SAME_LOWER"}),
    (["B", 4, "T", 9], (4, 3, 4, 3), {"strides": [2, 2], "pads": [1, 1, 1, 0], "output_padding": [0, 1]}),
    (["B", 4, 5, "T"], (4, 3, 3, 3), {"strides": [1, 2], "group": 2, "dilations": [2, 1]}),
    (["B", 4, 9], (4, 3, 4), {"strides": [3], "output_padding": [1]}),
    (["B", 4, 9], (4, 3, 4), {"strides": [3], "output_shape": [29]}),
    (["B", 4, 9], (4, 3, 4), {"strides": [3], "auto_pad": "SAME_LOWER"}),
    (["T", 4, 9, 3], (4, 3, 2, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ([1, 4, 9], (4, 2, 3), {"group": 2}),
    ([3, 4, "T"], (4, 3, 3), {"strides": [2]}),
    (["B", 4, "T", 9], (4, 3, 1, 3), {}),
]


@pytest.mark.parametrize(("x", "shape", "attributes"), TRANSPOSED, ids=str)
def test_transposed_convolutions(tmp_path, x, shape, attributes):
    rng = np.random.default_rng(0)
    w = rng.normal(size=shape).astype(np.float32) * 0.5
    b = rng.normal(size=shape[1] * attributes.get("group", 1)).astype(np.float32)
    node = make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)
    found = imported(model([node], {"x": x}, ["y"], {"w": w, "b": b}), tmp_path)
    agree(found, steps=11, atol=1e-5)
    if "T" in x:
        check_streamed(found.graph, feeds_for(found.graph, steps=11))


@pytest.mark.parametrize("join", ["Add", "Concat"])
def test_an_encoder_and_a_decoder_with_skips(tmp_path, join):
    """Two strided layers, a GRU at the lowest rate, and back up again; what is skipped waits, whatever T is called."""
    rng = np.random.default_rng(0)
    shapes = {
        "a": (6, 4, 4), "b": (8, 6, 3), "W": (1, 15, 8), "R": (1, 15, 5), "c": (5, 6, 4), "e": (6, 4, 4), "m": (12, 6)
    }  # fmt: skip
    arrays: dict[str, Any] = {k: rng.normal(size=s).astype(np.float32) * 0.4 for k, s in shapes.items()}
    arrays["one"] = np.array([1])
    nodes = [
        make_node("Conv", ["x", "a"], ["low"], strides=[2], pads=[1, 1]), make_node("Relu", ["low"], ["lowr"]),
        make_node("Conv", ["lowr", "b"], ["lower"], strides=[2], pads=[1, 0]),
        make_node("Transpose", ["lower"], ["t"], perm=[2, 0, 1]),
        make_node("GRU", ["t", "W", "R"], ["g"], hidden_size=5), make_node("Squeeze", ["g", "one"], ["s"]),
        make_node("Transpose", ["s"], ["u"], perm=[1, 2, 0]),
        make_node("ConvTranspose", ["u", "c"], ["up"], strides=[2], pads=[1, 1]),
        make_node("Add", ["up", "lowr"], ["joint"]) if join == "Add" else
        make_node("Concat", ["up", "lowr"], ["wide"], axis=1),
        *([] if join == "Add" else [
            make_node("Transpose", ["wide"], ["rows"], perm=[0, 2, 1]), make_node("MatMul", ["rows", "m"], ["mixed"]),
            make_node("Transpose", ["mixed"], ["joint"], perm=[0, 2, 1])]),
        make_node("ConvTranspose", ["joint", "e"], ["back"], strides=[2], pads=[1, 1]),
        make_node("Add", ["back", "x"], ["y"]),
    ]  # fmt: skip
    used = {k: v for k, v in arrays.items() if any(k in n.input for n in nodes)}
    found = imported(model(nodes, {"x": ["B", 4, "T"]}, ["y"], used), tmp_path)
    agree(found, steps=20, atol=1e-5)
    check_streamed(found.graph, feeds_for(found.graph, steps=20))
    with pytest.raises(ValueError, match="must have one number of steps"):
        Model(found.graph)(feeds_for(found.graph, steps=21))


POOLS = [
    ("MaxPool", ["B", 4, "T"], {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    ("AveragePool", ["B", 4, "T"], {"kernel_shape": [3], "strides": [1], "pads": [2, 0]}),
    ("AveragePool", ["B", 4, "T", 9], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 0]}),
    ("AveragePool", ["B", 4, 9], {"kernel_shape": [4], "strides": [3], "ceil_mode": 1, "count_include_pad": 1,
                                  "pads": [1, 1]}),
    ("MaxPool", ["B", 4, 9, "T"], {"kernel_shape": [2, 1], "strides": [2, 1], "ceil_mode": 1}),
    ("MaxPool", [2, 4, 9], {"kernel_shape": [2], "dilations": [3]}),
    ("MaxPool", ["B", 4, "T"], {"kernel_shape": [2], "strides": [3], "dilations": [2], "pads": [1, 1]}),
    ("AveragePool", ["B", 4, "T"], {"kernel_shape": [3], "dilations": [2], "pads": [2, 2]}),
    ("AveragePool", ["B", 4, "T"], {"kernel_shape": [3], "dilations": [2], "pads": [2, 2], "count_include_pad": 1}),
    ("MaxPool", ["B", 4, "T"], {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}),
    ("AveragePool", ["B", 4, "T"], {"kernel_shape": [3], "strides": [3], "pads": [1, 1], "ceil_mode": 1}),
    ("AveragePool", ["B", 4, "T", 9], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 1, 1, 0], "ceil_mode": 1,
                                       "count_include_pad": 1}),
    ("MaxPool", ["B", 4, "T"], {"kernel_shape": [4], "strides": [2], "auto_pad": "SAME_UPPER"}),
    ("MaxPool", ["B", 4, "T"], {"kernel_shape": [4], "strides": [2], "auto_pad": "SAME_UPPER", "ceil_mode": 1}),
    ("AveragePool", [2, 3, 4, 5, 6], {"kernel_shape": [2, 2, 3], "strides": [1, 2, 2]}),
    ("LpPool", ["B", 4, "T"], {"kernel_shape": [3], "strides": [2]}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "x", "attributes"), POOLS, ids=str)
def test_pools(tmp_path, kind, x, attributes):
    proto = model([make_node(kind, ["x"], ["y"], **attributes)], {"x": x}, ["y"], opset=19)
    agree(imported(proto, tmp_path), steps=11)


@pytest.mark.parametrize("mode", ["reflect", "edge"])
@pytest.mark.parametrize(("shape", "pads"), [(["B", "T", 3], [0, 4, 0, 0, 2, 0]), (["B", 2, "T"], [0, 1, 3, 0, 0, 0])])
def test_pads_of_time(tmp_path, mode, shape, pads):
    found = imported(model([make_node("Pad", ["x", "p"], ["y"], mode=mode)], {"x": shape}, ["y"],
                           {"p": np.array(pads)}), tmp_path)  # fmt: skip
    agree(found)
    check_streamed(found.graph, feeds_for(found.graph))


@pytest.mark.parametrize("scale", [2.0, 3.0, 0.5])
@pytest.mark.parametrize("attributes", [
    {}, {"mode": "linear"}, {"mode": "cubic"}, {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "ceil"},
    {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
], ids=str)  # fmt: skip
def test_steps_resized_by_a_whole_factor(tmp_path, attributes, scale):
    node = make_node("Resize", ["x", "", "s"], ["y"], **attributes)
    scales = np.array([1, 1, 1, scale], np.float32)
    found = imported(model([node], {"x": ["B", 2, 3, "T"]}, ["y"], {"s": scales}), tmp_path)
    agree(found, steps=11, atol=1e-5)
    check_streamed(found.graph, feeds_for(found.graph, steps=11))


@pytest.mark.parametrize(("value", "kind"), [(2.5, "FLOAT"), (-np.inf, "FLOAT"), (3, "INT64"), (None, "FLOAT")])
def test_pads_of_time_and_frames_at_once(tmp_path, value, kind):
    """One end of time is cut, the other padded: by numbers, an infinite one, and the mean of the model's input."""
    constants = {"p": np.array([0, 1, -2, 0, -1, 3])}
    nodes = [make_node("Pad", ["x", "p", "v"], ["y"])]
    if value is None:
        nodes = [make_node("ReduceMean", ["z"], ["v"], keepdims=0), *nodes]
    else:
        constants["v"] = np.array(value, np.float32 if kind == "FLOAT" else np.int64)
    shapes: dict[str, Any] = {"x": ["B", 4, "T"]} | ({"z": [1]} if value is None else {})
    found = imported(model(nodes, shapes, ["y"], constants, types={"x": kind, "y": kind}), tmp_path)
    agree(found, batch=1)


@pytest.mark.parametrize("kind", ["GlobalMaxPool", "GlobalAveragePool"])
def test_global_pools_over_time(tmp_path, kind):
    agree(imported(model([make_node(kind, ["x"], ["y"])], {"x": ["B", 4, "T", 5]}, ["y"]), tmp_path))


def test_padding_that_is_cut_off_again_is_not_made(tmp_path):
    """PyTorch's way to a causal convolution: pads on both sides, then a slice, here with layers in between."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(5, 4, 3)).astype(np.float32)
    nodes = [
        make_node("Conv", ["x", "w"], ["p"], pads=[4, 4], dilations=[2]), make_node("Relu", ["p"], ["r"]),
        make_node("Add", ["r", "p"], ["s"]), make_node("Slice", ["s", "zero", "end", "two"], ["y"]),
    ]  # fmt: skip
    constants = {"w": w, "zero": np.array([0]), "end": np.array([-4]), "two": np.array([2])}
    found = imported(model(nodes, {"x": ["B", 4, "T"]}, ["y"], constants), tmp_path)
    agree(found)
    (op,) = (n.op for n in found.graph.nodes if isinstance(n.op, TimeConv))
    assert (op.before, op.after) == (4, 0)


@pytest.mark.parametrize(("pads", "stride", "far"), [([4, 4], 1, 0), ([1, 1], 2, 1)])
def test_a_slice_to_the_length_of_another_value(tmp_path, pads, stride, far):
    """Of a padded convolution what its input is long; of what came up again never less than that."""
    rng = np.random.default_rng(0)
    w, v = (rng.normal(size=s).astype(np.float32) for s in ((4, 4, 5 - stride // 2), (4, 4, 4)))
    nodes = [
        make_node("Conv", ["x", "w"], ["p"], pads=pads, strides=[stride]),
        make_node("ConvTranspose", ["p", "v"], ["u"], pads=[1, 1], strides=[2]) if far else
        make_node("Relu", ["p"], ["u"]),
        make_node("Shape", ["x"], ["s"]), make_node("Gather", ["s", "two"], ["n"]),
        make_node("Slice", ["u", "zero", "n", "two"], ["y"]),
    ]  # fmt: skip
    constants = {"w": w, "zero": np.array([0]), "two": np.array([2])} | ({"v": v} if far else {})
    found = imported(model(nodes, {"x": ["B", 4, "T"]}, ["y"], constants), tmp_path)
    for steps in (10, 11):
        agree(found, steps=steps, atol=1e-5)


END = 2**63 - 1
# Slices of time, and whether they stream: start, end, step.
SLICES = [
    (0, -4, 1, True), (3, END, 1, True), (2, -1, 1, True), (1, -2, 3, True), (0, END, 2, True), (END, -END, -2, False),
    (-2, 2, -1, False), (-3, END, 1, True), (-7, -2, 2, True), (0, 3, 1, True), (1, 8, 3, True), (-1, END, 1, True),
    (-1, -4, -1, False),
]  # fmt: skip


@pytest.mark.parametrize(("start", "end", "step", "streams"), SLICES)
def test_slices_of_time(tmp_path, start, end, step, streams):
    """As steps, met by another slice of as many; or a fixed number of them, whose axis is then one of the frame."""
    numbers = {"start": start, "end": end, "one": 1, "step": step}
    constants = {name: np.array([n]) for name, n in numbers.items()}
    nodes = [make_node("Slice", ["x", *numbers], ["s"]), make_node("Tanh", ["x"], ["t"]),
             make_node("Slice", ["t", *numbers], ["u"]), make_node("Mul", ["s", "u"], ["y"])]  # fmt: skip
    found = imported(model(nodes, {"x": ["B", "T", 4]}, ["y"], constants), tmp_path)
    agree(found, steps=11)
    agree(found, steps=12)
    assert streams == (not found.graph.not_streamable())


@pytest.mark.parametrize("ids", [0, -1, 2, -3, [1], [2, 3, 4], [-5, -3, -1], [0, 4]])
def test_steps_of_time_by_their_places(tmp_path, ids):
    nodes = [make_node("Gather", ["x", "ids"], ["g"], axis=1), make_node("Tanh", ["g"], ["y"])]
    found = imported(model(nodes, {"x": ["B", "T", 2, 3]}, ["y"], {"ids": np.array(ids)}), tmp_path)
    agree(found, steps=9)
    assert not found.graph.not_streamable()


@pytest.mark.parametrize("ids", [[0, 1, 3], [2, 1], [1, -1], [[0, 1], [2, 3]]])
def test_steps_of_time_in_no_order_are_refused(tmp_path, ids):
    nodes = [make_node("Gather", ["x", "ids"], ["y"], axis=1)]
    with pytest.raises(ConvertError, match="indices along time must be evenly spaced steps, counted from one end"):
        imported(model(nodes, {"x": ["B", "T", 4]}, ["y"], {"ids": np.array(ids)}), tmp_path)


def test_the_last_step_of_a_layer_is_all_that_it_returns(tmp_path):
    nodes = [make_node("LSTM", ["x", "w", "r"], ["s"], hidden_size=5),
             make_node("Gather", ["s", "last"], ["y"], axis=0)]  # fmt: skip
    w, r = (np.random.default_rng(i).normal(size=(1, 20, n)).astype(np.float32) for i, n in enumerate((4, 5)))
    found = imported(model(nodes, {"x": ["T", "B", 4]}, ["y"], {"w": w, "r": r, "last": np.array(-1)}), tmp_path)
    agree(found)
    layer, *moves = canonical(found.graph).nodes
    assert (type(layer.op).__name__, layer.op.return_sequences) == ("LSTM", False)
    assert {type(node.op).__name__ for node in moves} <= {"Reshape"}


STEPS = [
    [make_node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)],
    [make_node("ReduceMax", ["x"], ["y"], axes=[1])],
    [make_node("ReduceL2", ["x"], ["y"], axes=[-2, -1])],
    [make_node("ReduceL1", ["x"], ["y"], axes=[1, 2])],
    [make_node("ReduceSumSquare", ["x"], ["y"], axes=[1], keepdims=0)],
    [make_node("ReduceLogSumExp", ["x"], ["y"], axes=[-2, -1], keepdims=0)],
    [make_node("ReduceLogSumExp", ["x"], ["y"], axes=[1])],
    [make_node("Exp", ["x"], ["e"]), make_node("ReduceLogSum", ["e"], ["y"], axes=[1, 2])],
    [make_node("CumSum", ["x", "places"], ["y"])],
    [make_node("CumSum", ["x", "places"], ["y"], exclusive=1)],
    [make_node("CumSum", ["x", "places"], ["y"], exclusive=1, reverse=1)],
    [make_node("Softmax", ["x"], ["y"], axis=1)],
    [make_node("LogSoftmax", ["x"], ["y"], axis=-1)],
    [make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1]), make_node("MatMul", ["t", "x"], ["y"])],
    [make_node("Pad", ["x", "pads", "value"], ["y"])],
    [make_node("Slice", ["x", "minus", "least", "one", "minus"], ["y"])],
    [make_node("Shape", ["x"], ["s"]), make_node("Gather", ["s", "zero"], ["n"]),
     make_node("Unsqueeze", ["n", "none"], ["u"]), make_node("Concat", ["u", "rest"], ["r"], axis=0),
     make_node("Reshape", ["x", "r"], ["y"])],
    [make_node("Shape", ["x"], ["s"]), make_node("Expand", ["row", "s"], ["e"]), make_node("Mul", ["e", "x"], ["y"])],
    [make_node("Shape", ["x"], ["s"]), make_node("Gather", ["s", "none"], ["n"]),
     make_node("Concat", ["n", "two"], ["r"], axis=0), make_node("ConstantOfShape", ["r"], ["z"]),
     make_node("Concat", ["z", "x", "z", "z"], ["y"], axis=1)],
    [make_node("ArgMax", ["x"], ["i"], axis=2), make_node("GatherElements", ["x", "i"], ["y"], axis=2)],
    [make_node("Compress", ["x", "kept"], ["y"], axis=2)],
    [make_node("Flatten", ["x"], ["y"], axis=2)],
    [make_node("Flatten", ["x"], ["y"], axis=-1)],
    [make_node("Einsum", ["x", "square"], ["y"], equation="btf,fg->btg")],
    [make_node("Einsum", ["x", "x"], ["y"], equation="btf,btg->bfg")],
    [make_node("Einsum", ["x", "square", "x"], ["y"], equation="...f,fg,...g")],
    [make_node("Einsum", ["square", "x"], ["y"], equation="gg,btf->tbgf")],
    [make_node("MatMul", ["square", "x2"], ["y"])],
    [make_node("Gather", ["x", "ids"], ["y"], axis=2)],
    [make_node("InstanceNormalization", ["x2", "scale", "shift"], ["y"])],
    [make_node("LayerNormalization", ["x", "row1"], ["y"], axis=1)],
    [make_node("LayerNormalization", ["x", "scale", "shift"], ["y", "mean", "inverse"])],
    [make_node("LpNormalization", ["x"], ["y"], axis=1, p=1)],
    [make_node("LpNormalization", ["x"], ["y"], axis=1)],
    [make_node("Unsqueeze", ["x2", "last"], ["u"]), make_node("LRN", ["u"], ["y"], size=3, alpha=0.5, beta=0.6)],
]  # fmt: skip


@pytest.mark.parametrize("nodes", STEPS, ids=lambda nodes: "-".join(n.op_type for n in nodes))
def test_operators_with_batch_and_time(tmp_path, nodes):
    rng = np.random.default_rng(0)
    constants = {
        "pads": np.array([0, 2, 1, 0, 1, 0]), "value": np.float32(0.5), "minus": np.array([-1]),
        "least": np.array([-(2**63)]), "one": np.array([1]), "zero": np.array(0), "none": np.array([0]),
        "rest": np.array([-1, 2, 2]), "row": rng.normal(size=(1, 4)).astype(np.float32),
        "square": rng.normal(size=(4, 4)).astype(np.float32), "ids": np.array([[3, 0], [-1, 2]]),
        "scale": np.ones(4, np.float32), "shift": np.ones(4, np.float32), "places": np.array([1]),
        "two": np.array([2, 4]), "kept": np.array([True, False, True, True]),
        "row1": np.full((1, 4), 0.5, np.float32), "last": np.array([-1]),
    }  # fmt: skip
    name = next(i for i in nodes[0].input if i in ("x", "x2"))
    shape = ["B", 4, "T"] if name == "x2" else ["B", "T", 4]
    used = {i for n in nodes for i in n.input}
    proto = model(nodes, {name: shape}, ["y"], {k: v for k, v in constants.items() if k in used}, opset=13)
    agree(imported(proto, tmp_path))


REFUSED = [
    (make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2]), ["B", "T", 4], None),
    (make_node("Concat", ["x", "x"], ["y"], axis=1), ["B", "T", 4], "at most one input must be over time"),
    (make_node("ReduceProd", ["x"], ["y"], axes=[1]), ["B", "T", 4], "reduction over time must be none of products"),
    (make_node("ArgMax", ["x"], ["y"], axis=0), ["B", "T", 4], "axis 0 must be one of fixed size, got the batch"),
    (make_node("Gather", ["x", "one"], ["y"], axis=1), ["B", "T", 4], None),
    (make_node("MatMul", ["x", "x"], ["y"]), ["B", "T", 4], "must be one of fixed size, got time"),
    (make_node("Reshape", ["x", "flat"], ["y"]), ["B", "T", 4], "must have as many elements|must be a multiple"),
    (make_node("ConvTranspose", ["x", "w"], ["y"], output_shape=[21]), ["B", 4, "T"], "output_shape must be left out"),
    (make_node("Conv", ["x", "w"], ["y"], strides=[2], auto_pad="SAME_UPPER"), ["B", 4, "T"],
     "SAME padding of time by windows of 3 with stride 2 must know the number of steps"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "x", "message"), REFUSED, ids=[n.op_type for n, *_ in REFUSED])
def test_what_mixes_rows_or_steps_is_refused(tmp_path, node, x, message):
    constants = {"one": np.array([1]), "flat": np.array([2, 6]), "w": np.ones((4, 4, 3), np.float32)}
    proto = model([node], {"x": x}, ["y"], {k: v for k, v in constants.items() if k in node.input})
    if message is None:
        agree(imported(proto, tmp_path))
    else:
        with pytest.raises(ConvertError, match=message):
            imported(proto, tmp_path)


# Old and new forms -----------------------------------------------------------------------------------

FORMS: list[tuple[str, int, list[Any], dict[str, Any], list[Any]]] = [
    ("squeeze", 11, [make_node("Squeeze", ["x"], ["y"], axes=[0])], {}, [1, 4]),
    ("squeeze", 13, [make_node("Squeeze", ["x", "a"], ["y"])], {"a": np.array([0])}, [1, 4]),
    ("unsqueeze", 7, [make_node("Unsqueeze", ["x"], ["y"], axes=[0, 3])], {}, [3, 4]),
    ("unsqueeze", 13, [make_node("Unsqueeze", ["x", "a"], ["y"])], {"a": np.array([0, -1])}, [3, 4]),
    ("slice", 9, [make_node("Slice", ["x"], ["y"], starts=[1], ends=[3], axes=[1])], {}, [3, 4]),
    ("slice", 10, [make_node("Slice", ["x", "s", "e", "a", "t"], ["y"])],
     {"s": np.array([-1]), "e": np.array([-9]), "a": np.array([1]), "t": np.array([-2])}, [3, 4]),
    ("clip", 7, [make_node("Clip", ["x"], ["y"], min=-0.5, max=0.25)], {}, [3, 4]),
    ("clip", 11, [make_node("Clip", ["x", "", "m"], ["y"])], {"m": np.float32(0.25)}, [3, 4]),
    ("sum", 11, [make_node("ReduceSum", ["x"], ["y"], axes=[0], keepdims=0)], {}, [3, 4]),
    ("sum", 13, [make_node("ReduceSum", ["x", "a"], ["y"])], {"a": np.array([-1])}, [3, 4]),
    ("mean", 17, [make_node("ReduceMean", ["x"], ["y"], axes=[0, 1])], {}, [3, 4]),
    ("mean", 18, [make_node("ReduceMean", ["x", "a"], ["y"], noop_with_empty_axes=1)],
     {"a": np.array([], np.int64)}, [3, 4]),
    ("split", 11, [make_node("Split", ["x"], ["y", "z"], axis=1, split=[1, 3])], {}, [3, 4]),
    ("split", 13, [make_node("Split", ["x", "a"], ["y", "z"], axis=1)], {"a": np.array([3, 1])}, [3, 4]),
    ("split", 18, [make_node("Split", ["x"], ["y", "z"], axis=0, num_outputs=2)], {}, [3, 4]),
    ("pad", 10, [make_node("Pad", ["x"], ["y"], pads=[0, 1, 0, 2], mode="reflect")], {}, [3, 4]),
    ("pad", 10, [make_node("Pad", ["x"], ["y"], pads=[0, -1, 1, 2], value=0.5)], {}, [3, 4]),
    ("pad", 18, [make_node("Pad", ["x", "p", "", "a"], ["y"], mode="edge")],
     {"p": np.array([1, 2]), "a": np.array([1])}, [3, 4]),
    ("softmax", 11, [make_node("Softmax", ["x"], ["y"])], {}, [2, 3, 4]),
    ("softmax", 13, [make_node("Softmax", ["x"], ["y"], axis=1)], {}, [2, 3, 4]),
    ("hardmax", 11, [make_node("Hardmax", ["x"], ["y"])], {}, [2, 3, 4]),
    ("upsample", 7, [make_node("Upsample", ["x"], ["y"], scales=[1.0, 1.0, 2.0, 3.0])], {}, [1, 2, 3, 4]),
    ("upsample", 9, [make_node("Upsample", ["x", "s"], ["y"], mode="linear")],
     {"s": np.array([1, 1, 2, 2], np.float32)}, [1, 2, 3, 4]),
    ("resize", 10, [make_node("Resize", ["x", "s"], ["y"])], {"s": np.array([1, 1, 1.5, 2], np.float32)}, [1, 2, 4, 4]),
    ("resize", 13, [make_node("Resize", ["x", "", "s"], ["y"])],
     {"s": np.array([1, 1, 0.7, 1], np.float32)}, [1, 2, 10, 4]),
    ("resize", 13, [make_node("Resize", ["x", "", "", "s"], ["y"], mode="linear")],
     {"s": np.array([1, 2, 7, 3])}, [1, 2, 4, 4]),
    ("dropout", 10, [make_node("Dropout", ["x"], ["y"], ratio=0.3)], {}, [3, 4]),
    ("dropout", 13, [make_node("Dropout", ["x", "r", "t"], ["y"])],
     {"r": np.float32(0.3), "t": np.array(False)}, [3, 4]),
    ("reshape", 13, [make_node("Reshape", ["x", "s"], ["y"])], {"s": np.array([0, 2, -1])}, [3, 4]),
    ("gemm", 9, [make_node("Gemm", ["x", "w", "c"], ["y"], alpha=0.5, beta=2.0, transB=1)],
     {"w": np.ones((5, 4), np.float32), "c": np.arange(5, dtype=np.float32)}, [3, 4]),
    ("gemm", 11, [make_node("Gemm", ["x", "x"], ["y"], transA=1)], {}, [3, 4]),
    ("onehot", 11, [make_node("ArgMax", ["x"], ["i"], axis=1, keepdims=0), make_node("OneHot", ["i", "d", "v"], ["y"])],
     {"d": np.array(6), "v": np.array([-1, 2], np.float32)}, [3, 4]),
    ("scatter", 11, [make_node("ScatterND", ["x", "i", "u"], ["y"])],
     {"i": np.array([[2], [0]]), "u": np.ones((2, 4), np.float32)}, [3, 4]),
    ("scatter", 16, [make_node("ScatterND", ["x", "i", "x"], ["y"])],
     {"i": np.array([[[2, 1], [0, 0], [1, 1], [2, 3]]] * 3)}, [3, 4]),
    ("top", 7, [make_node("TopK", ["x"], ["y", "i"], k=2, axis=1)], {}, [3, 4]),
    ("top", 11, [make_node("TopK", ["x", "k"], ["y", "i"], largest=0)], {"k": np.array([3])}, [3, 4]),
    ("cumsum", 14, [make_node("CumSum", ["x", "a"], ["y"], reverse=1, exclusive=1)], {"a": np.array(1)}, [3, 4]),
    ("reverse", 10, [make_node("ReverseSequence", ["x", "l"], ["y"], time_axis=0, batch_axis=1)],
     {"l": np.array([1, 3, 2, 3])}, [3, 4, 2]),
    ("prelu", 9, [make_node("PRelu", ["x", "s"], ["y"])], {"s": np.full((4, 1), 0.3, np.float32)}, [1, 3, 4, 2]),
    ("lp", 17, [make_node("LpNormalization", ["x"], ["y"], axis=0, p=2)], {}, [3, 4]),
    ("layer norm", 17, [make_node("LayerNormalization", ["x", "s", "b"], ["y"], axis=1, epsilon=0.1)],
     {"s": np.full((3, 4), 2, np.float32), "b": np.ones((3, 4), np.float32)}, [2, 3, 4]),
    ("layer norm", 17, [make_node("LayerNormalization", ["x", "x", "x"], ["y", "m", "i"], axis=1)], {}, [3, 4]),
    ("layer norm", 17, [make_node("ReduceMax", ["x"], ["s"], axes=[0], keepdims=0),
                        make_node("LayerNormalization", ["x", "s", "s"], ["y"])], {}, [3, 4]),
    ("group norm", 21, [make_node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2)],
     {"s": np.array([1, 2, 3, 4], np.float32), "b": np.arange(4, dtype=np.float32)}, [2, 4, 3]),
    ("lrn", 13, [make_node("LRN", ["x"], ["y"], size=5, alpha=0.5, bias=1.5)], {}, [1, 6, 2, 3]),
    ("batch norm", 9, [make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=0.1)],
     {n: np.full(3, k, np.float32) for n, k in zip("sbmv", (2, 1, 0.5, 3), strict=True)}, [2, 3, 4]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "opset", "nodes", "constants", "x"), FORMS, ids=[f"{f[0]}-{f[1]}-{i}" for i, f in enumerate(FORMS)]
)
def test_forms_of_every_opset(tmp_path, name, opset, nodes, constants, x):
    agree(imported(model(nodes, {"x": x}, ["y"], constants, opset=opset), tmp_path))


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 21])
def test_one_network_in_every_opset(tmp_path, opset):
    """A convolution, a recurrence over its steps and a softmax, with the operators' oldest forms."""
    rng = np.random.default_rng(0)
    axes = {"axes": [1]} if opset < 13 else {}
    constants = {
        "w": rng.normal(size=(4, 4, 3)), "W": rng.normal(size=(1, 15, 4)), "R": rng.normal(size=(1, 15, 5)),
        "D": rng.normal(size=(5, 3)), "E": rng.normal(size=3),
    }  # fmt: skip
    arrays: dict[str, Any] = {k: v.astype(np.float32) for k, v in constants.items()}
    if opset >= 13:
        arrays["one"] = np.array([1])
    nodes = [
        make_node("Conv", ["x", "w"], ["c"], pads=[2, 0]), make_node("Transpose", ["c"], ["t"], perm=[2, 0, 1]),
        make_node("GRU", ["t", "W", "R"], ["g"], hidden_size=5),
        make_node("Squeeze", ["g"] + ["one"] * (opset >= 13), ["s"], **axes),
        make_node("MatMul", ["s", "D"], ["d"]), make_node("Add", ["d", "E"], ["e"]),
        make_node("Softmax", ["e"], ["y"], axis=2),
    ]  # fmt: skip
    agree(imported(model(nodes, {"x": ["N", 4, "T"]}, ["y"], arrays, opset=opset), tmp_path))
