"""Graphs as tf2onnx writes Keras's layers of TensorFlow: beside ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import fastgru

I, H = 4, 5
FLOAT, INT32, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
RNG = np.random.default_rng(5)
node = helper.make_node


def w(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / shape[-1] ** 0.5).astype(np.float32)


def info(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


CONSTANTS = {
    "W": w(I, H), "R": w(H, H), "b": w(H), "0": np.int32(0), "1": np.int32(1), "zero": np.float32(0), "none": w(1)[0],
    "at 0": np.array([0]), "at 1": np.array([1]), "at 2": np.array([2]), "last": np.array([-1]),
    "end": np.array([2**31 - 1]), "H": np.array([H], np.int32), "true": np.array(True),
}  # fmt: skip
SIZES = [
    node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]), node("Shape", ["steps"], ["long"]),
    node("Cast", ["long"], ["shape"], to=INT32), node("Slice", ["shape", "at 0", "at 1", "at 0"], ["Ts"]),
    node("Squeeze", ["Ts", "at 0"], ["T"]), node("Slice", ["shape", "at 1", "at 2", "at 0"], ["Bs"]),
    node("Cast", ["T"], ["count"], to=INT64), node("Cast", ["T"], ["T float"], to=FLOAT),
    node("Less", ["zero", "T float"], ["some"]), node("And", ["some", "some"], ["starts"]),
    node("Concat", ["Bs", "H"], ["states"], axis=0), node("Cast", ["states"], ["states long"], to=INT64),
    node("Expand", ["zero", "states long"], ["h0"]),
]  # fmt: skip
CELL = [
    node("MatMul", ["h", "R in"], ["by h"]), node("MatMul", ["xt", "W in"], ["by x"]),
    node("Add", ["by x", "b in"], ["more"]), node("Add", ["more", "by h"], ["sum"]), node("Tanh", ["sum"], ["new"]),
]  # fmt: skip
CHOICE = [
    node("Gather", ["mask", "k"], ["on"]), node("Cast", ["on"], ["on float"], to=FLOAT), node("Not", ["on"], ["off"]),
    node("Cast", ["off"], ["off float"], to=FLOAT), node("Mul", ["new", "on float"], ["taken"]),
    node("Mul", ["h", "off float"], ["kept"]), node("Add", ["taken", "kept"], ["hn"]),
]  # fmt: skip
GOES_ON = [
    node("Add", ["k", "1"], ["kn"]), node("Cast", ["kn"], ["kn float"], to=FLOAT),
    node("Cast", ["T in"], ["T in float"], to=FLOAT), node("Cast", ["i"], ["i float"], to=FLOAT),
    node("Less", ["i float", "T float"], ["less"]), node("Less", ["kn float", "T in float"], ["also"]),
    node("And", ["less", "also"], ["goes"]),
]  # fmt: skip


def turned(name):
    """The nodes that turn all steps of a value round."""
    return [
        node("Shape", [name], [f"{name} sizes"]), node("Gather", [f"{name} sizes", "at 0"], [f"{name} T"]),
        node("Gather", [f"{name} sizes", "at 1"], [f"{name} B"]),
        node("Expand", [f"{name} T", f"{name} B"], [f"{name} all"]),
        node("ReverseSequence", [name, f"{name} all"], [f"{name} back"], batch_axis=1, time_axis=0),
    ]  # fmt: skip


def layer(*, masked=False, backward=False, sequences=True):
    """A SimpleRNN; its Loop carries the weights and the number of steps, which never change."""
    first, sources = [*SIZES], {"steps": "steps", "mask": "mask"}
    if masked:
        first += [
            node("Equal", ["x", "none"], ["equal"]), node("Not", ["equal"], ["unequal"]),
            node("Cast", ["unequal"], ["numbers"], to=INT32),
            node("ReduceSum", ["numbers", "at 2"], ["any"], keepdims=1, noop_with_empty_axes=1),
            node("Cast", ["any"], ["rows"], to=BOOL), node("Transpose", ["rows"], ["mask"], perm=[1, 0, 2]),
        ]  # fmt: skip
    if backward:
        first += [*turned("steps"), *(turned("mask") if masked else [])]
        sources = {name: f"{name} back" for name in sources}
    body = [node("Gather", [sources["steps"], "k"], ["xt"]), *CELL, *GOES_ON]
    body += [*CHOICE] if masked else [node("Identity", ["new"], ["hn"])]
    for each in body:
        each.input[:] = [sources.get(n, n) for n in each.input]
    body += [node("Identity", ["hn"], ["y"])]
    same = {"T in": ([], INT32), "W in": ([I, H], FLOAT), "b in": ([H], FLOAT), "R in": ([H, H], FLOAT)}
    carried = [info("k", [], INT32), info("h", ["B", H]), *(info(n, s, kind) for n, (s, kind) in same.items())]
    outputs = [info("goes", [], BOOL), info("kn", [], INT32), info("hn", ["B", H]), *carried[2:], info("y", ["B", H])]
    graph = helper.make_graph(body, "body", [info("i", [], INT64), info("goes in", [], BOOL), *carried], outputs)
    ends = ["k end", "h end", "T end", "W end", "b end", "R end", "ys"]
    loop = node("Loop", ["count", "starts", "0", "h0", "T", "W", "b", "R"], ends, body=graph)
    behind = [node("Transpose", ["ys"], ["out"], perm=[1, 0, 2])] if sequences else [
        node("Slice", ["ys", "last", "end", "at 0"], ["one"]), node("Squeeze", ["one", "at 0"], ["out"])
    ]  # fmt: skip
    return [*first, loop, *behind]


def close(nodes, x, shape):
    """Convert, and compare for two numbers of rows and steps."""
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()]
    graph = helper.make_graph(nodes, "g", [info("x", ["unk_1", "unk_2", I])], [info("out", shape)], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(proto.SerializeToString())
        made = fastgru.convert(path)
    for part in (x, x[:1, :5], x[:2, :1]):
        wanted, got = session.run(None, {"x": part})[0], made(part)
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max() <= 1e-6
    return made


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_loop_that_carries_its_weights(masked, backward, sequences):
    x = w(3, 9, I)
    x[0, 6:] = x[1, 8:] = x[2, 4] = CONSTANTS["none"]  # the last also in front of steps that count
    options = {"masked": masked, "backward": backward, "sequences": sequences}
    made = close(layer(**options), x, ["unk_3", "unk_4", H] if sequences else ["unk_3", H])
    weights = sum(CONSTANTS[name].size for name in ("W", "R", "b"))
    assert weights <= made.summary().totals.parameters <= weights + 8 * H


@pytest.mark.parametrize("kind", ["ReduceSum", "ReduceMean"])
def test_reductions_that_say_what_no_axes_mean_and_have_some(kind):
    last = np.array([-1])
    nodes = [node(kind, ["x", "last"], ["out"], keepdims=0, noop_with_empty_axes=1)]
    assert CONSTANTS["last"] == last
    close(nodes, w(3, 9, I), ["unk_3", "unk_4"])
