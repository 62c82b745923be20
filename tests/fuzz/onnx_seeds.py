"""Small ONNX models that have every kind of operator between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.helper import make_node as node
from onnx_models import GATES, model

BTI = ["B", "T", 4]


def _w(*shape: int) -> Any:
    return (np.random.default_rng(sum(shape)).normal(size=shape) / 2).astype(np.float32)


def _i(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _recurrent(kind: str, **attributes: Any) -> ModelProto:
    gates, both = GATES[kind], 2 if attributes.get("direction") == "bidirectional" else 1
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node(kind, ["t", "w", "r", "b"], ["y"], "cell", hidden_size=3, **attributes),
        node("Squeeze", ["y", "axes"], ["s"]) if both == 1 else node("Transpose", ["y"], ["u"], perm=[0, 2, 1, 3]),
    ]
    nodes += [] if both == 1 else [node("Reshape", ["u", "flat"], ["s"])]
    weights = {"w": _w(both, gates * 3, 4), "r": _w(both, gates * 3, 3), "b": _w(both, 2 * gates * 3),
               "axes": _i(1), "flat": _i(0, 0, -1)}  # fmt: skip
    return model(nodes, {"x": BTI}, ["s"], weights)


def _step() -> ModelProto:
    """One step at a time, with a state; and arithmetic in place of a cell."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["h_in", "r"], ["c"]), node("Add", ["a", "c"], ["s"]),
        node("Tanh", ["s"], ["h_out"]), node("Gemm", ["h_out", "v", "k"], ["y"], transB=1),
    ]  # fmt: skip
    return model(nodes, {"x": ["B", 4], "h_in": ["B", 3]}, ["y", "h_out"],
                 {"w": _w(4, 3), "r": _w(3, 3), "v": _w(2, 3), "k": _w(2)})  # fmt: skip


def _words() -> ModelProto:
    nodes = [
        node("Gather", ["table", "ids"], ["e"], axis=0), node("LayerNormalization", ["e", "g", "b"], ["n"]),
        node("Softmax", ["n"], ["p"], axis=-1), node("ReduceMean", ["p"], ["m"], axes=[2], keepdims=1),
        node("Sub", ["p", "m"], ["d"]), node("Clip", ["d", "low", "high"], ["y"]),
    ]  # fmt: skip
    return model(nodes, {"ids": ["B", "T"]}, ["y"],
                 {"table": _w(7, 4), "g": _w(4), "b": _w(4), "low": np.float32(-1), "high": np.float32(1)},
                 types={"ids": "INT64"})  # fmt: skip


def _audio() -> ModelProto:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[3], pads=[2, 0], strides=[2], dilations=[1], group=1),
        node("BatchNormalization", ["c", "g", "g2", "mean", "var"], ["n"]), node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2], strides=[1], pads=[1, 0]),
        node("ConvTranspose", ["p", "v"], ["y"], strides=[2], pads=[1, 1]),
    ]  # fmt: skip
    return model(nodes, {"x": ["B", 2, "T"]}, ["y"],
                 {"w": _w(3, 2, 3), "b": _w(3), "g": _w(3), "g2": _w(3), "mean": _w(3), "var": np.abs(_w(3)) + 1,
                  "v": _w(3, 2, 4)})  # fmt: skip


def _shapes() -> ModelProto:
    """Sizes that are computed, and constants that are folded."""
    nodes = [
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "zero"], ["rows"], axis=0),
        node("Gather", ["shape", "one"], ["steps"], axis=0),
        node("Unsqueeze", ["rows", "axis"], ["rows1"]), node("Unsqueeze", ["steps", "axis"], ["steps1"]),
        node("Concat", ["rows1", "steps1", "two", "two"], ["target"], axis=0), node("Reshape", ["x", "target"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 1, 3, 2]), node("Flatten", ["t"], ["f"], axis=2),
        node("ConstantOfShape", ["two"], ["zeros"], value=numpy_helper.from_array(np.zeros(1, np.float32), "v")),
        node("Range", ["zero", "two0", "one"], ["range"]), node("Cast", ["range"], ["floats"], to=TensorProto.FLOAT),
        node("Expand", ["floats", "two"], ["expanded"]), node("Tile", ["expanded", "two"], ["tiled"]),
        node("ReduceSum", ["tiled", "axis"], ["sum"], keepdims=0), node("ReduceMax", ["zeros"], ["max"], keepdims=0),
        node("Add", ["t", "max"], ["u"]), node("Slice", ["u", "start", "stop", "axis3"], ["cut"]),
        node("Split", ["cut"], ["left", "right"], axis=2), node("Concat", ["left", "right"], ["y"], axis=-1),
    ]  # fmt: skip
    constants = {"zero": np.int64(0), "one": np.int64(1), "axis": _i(0), "two": _i(2), "two0": np.int64(2),
                 "start": _i(0), "stop": _i(1), "axis3": _i(3), "pads": _i(0, 1), "pair": _w(2)}  # fmt: skip
    return model(nodes, {"x": BTI}, ["y"], constants)


def _constants() -> ModelProto:
    """Operators of constants alone, each of which may be asked for much."""
    nodes = [
        node("ConstantOfShape", ["n"], ["a"], value=numpy_helper.from_array(np.ones(1, np.float32), "v")),
        node("Range", ["i0", "i8", "i1"], ["r"]), node("Cast", ["r"], ["b"], to=TensorProto.FLOAT),
        node("Expand", ["k", "n"], ["c"]), node("Tile", ["k", "n"], ["d"]), node("Pad", ["k", "pads"], ["e"]),
        node("Resize", ["k3", "", "", "sizes"], ["f"], mode="nearest"), node("EyeLike", ["k2"], ["g"]),
        node("ReduceSum", ["a"], ["s0"], keepdims=0), node("ReduceSum", ["b"], ["s1"], keepdims=0),
        node("ReduceSum", ["c"], ["s2"], keepdims=0), node("ReduceSum", ["d"], ["s3"], keepdims=0),
        node("ReduceSum", ["e"], ["s4"], keepdims=0), node("ReduceSum", ["f"], ["s5"], keepdims=0),
        node("ReduceSum", ["g"], ["s6"], keepdims=0), node("CumSum", ["b", "i0"], ["cs"]),
        node("ReduceSum", ["cs"], ["s7"], keepdims=0), node("Sum", [f"s{i}" for i in range(8)], ["s"]),
        node("HannWindow", ["i8"], ["h"]),
        node("ReduceSum", ["h"], ["s9"], keepdims=0), node("Mul", ["s", "s9"], ["m"]), node("Add", ["x", "m"], ["y"]),
    ]  # fmt: skip
    constants = {"n": _i(4), "i0": np.int64(0), "i8": np.int64(8), "i1": np.int64(1), "k": _w(4), "pads": _i(1, 2),
                 "k3": _w(1, 1, 4), "k2": _w(3, 3), "sizes": _i(1, 1, 8)}  # fmt: skip
    return model(nodes, {"x": BTI}, ["y"], constants)


def _quantized() -> ModelProto:
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["q"]), node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        node("DequantizeLinear", ["w", "scales"], ["v"], axis=1), node("MatMul", ["d", "v"], ["m"]),
        node("DynamicQuantizeLinear", ["m"], ["dq", "ds", "dz"]), node("MatMulInteger", ["dq", "w2", "dz"], ["i"]),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT), node("Mul", ["f", "ds"], ["y"]),
    ]  # fmt: skip
    constants = {"scale": np.float32(0.1), "zero": np.uint8(3), "w": np.arange(12, dtype=np.int8).reshape(4, 3),
                 "scales": np.array([0.1, 0.2, 0.3], np.float32), "w2": np.ones((3, 2), np.int8)}  # fmt: skip
    return model(nodes, {"x": BTI}, ["m"], constants)


def _choices() -> ModelProto:
    info = helper.make_tensor_value_info
    branches = [
        helper.make_graph([node(kind, ["x"], [f"{kind}_y"])], kind, [], [info(f"{kind}_y", TensorProto.FLOAT, None)])
        for kind in ("Sigmoid", "Tanh")
    ]
    nodes = [
        node("If", ["flag"], ["c"], then_branch=branches[0], else_branch=branches[1]),
        node("Double", ["c"], ["d"], domain="own", alpha=2.0), node("Greater", ["d", "zero"], ["g"]),
        node("Where", ["g", "d", "x"], ["w"]), node("MatMul", ["w", "k"], ["e"]),
        node("TopK", ["e", "one"], ["y", "which"], axis=-1), node("PRelu", ["y", "slope"], ["z"]),
    ]  # fmt: skip
    own = helper.make_function(
        "own", "Double", ["a"], ["b"],
        [node("Constant", [], ["two"], value_float=2.0), node("Mul", ["a", "two"], ["b"])],
        [helper.make_opsetid("", 17)], ["alpha"],
    )  # fmt: skip
    return model(nodes, {"x": BTI}, ["z"], {"flag": np.bool_(True), "zero": np.float32(0), "k": _w(4, 3),
                 "one": _i(1), "slope": _w(1)}, functions=[own])  # fmt: skip


def _images() -> ModelProto:
    nodes = [
        node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[2, 1, 0, 1], strides=[1, 2]),
        node("Elu", ["c"], ["n"], alpha=0.5),
        node("AveragePool", ["n"], ["p"], kernel_shape=[1, 2], count_include_pad=1, pads=[0, 1, 0, 0]),
        node("Transpose", ["p"], ["t"], perm=[0, 2, 1, 3]), node("Reshape", ["t", "flat"], ["r"]),
        node("Dropout", ["r"], ["d"]), node("LeakyRelu", ["d"], ["y"], alpha=0.1),
    ]  # fmt: skip
    return model(nodes, {"x": ["B", 2, "T", 6]}, ["y"], {"w": _w(3, 2, 3, 3), "flat": _i(0, 0, -1), "g": _w(3),
                 "b": _w(3)})  # fmt: skip


def _row() -> ModelProto:
    nodes = [node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["m"]), node("Reshape", ["m", "s"], ["y"])]
    return model(nodes, {"x": ["B", 3, 4]}, ["y"], {"w": _w(12, 6), "s": _i(-1, 2, 3)}, opset=11)


def seed_models() -> list[ModelProto]:
    """The models."""
    cells = [
        _recurrent("GRU", linear_before_reset=1), _recurrent("GRU", direction="bidirectional"),
        _recurrent("LSTM", clip=2.0, activations=["Sigmoid", "Tanh", "Relu"]), _recurrent("RNN", direction="reverse"),
        _recurrent("LSTM", direction="bidirectional"),
    ]  # fmt: skip
    return [*cells, _step(), _words(), _audio(), _shapes(), _constants(), _quantized(), _choices(), _images(), _row()]
