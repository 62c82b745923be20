"""Layers made from ONNX's arrays against ONNX Runtime: every attribute that both sides have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgru import Model
from fastgru.layers import GRU, LSTM, RNN

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
CLASSES = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
B, T, I, H = 3, 6, 4, 9
LENGTHS = np.array([6, 2, 4], np.int32)

# (operator, its attributes, the same for fastgru, whether it has peepholes)
CASES = [
    ("RNN", {}, {}, False),
    ("RNN", {"activations": ["Relu"], "clip": 0.3}, {"activation": "relu", "clip": 0.3}, False),
    ("GRU", {}, {"linear_before_reset": 0}, False),
    ("GRU", {"linear_before_reset": 1}, {"linear_before_reset": 1}, False),
    ("GRU", {"clip": 0.4}, {"clip": 0.4}, False),
    (
        "GRU",
        {"activations": ["HardSigmoid", "Softsign"], "activation_alpha": [0.3], "activation_beta": [0.4]},
        {"gate_activation": {"name": "hard_sigmoid", "alpha": 0.3, "beta": 0.4}, "activation": "softsign"},
        False,
    ),
    ("LSTM", {}, {}, False),
    ("LSTM", {}, {}, True),
    ("LSTM", {"input_forget": 1}, {"input_forget": 1}, False),
    ("LSTM", {"input_forget": 1}, {"input_forget": 1}, True),
]


def session(kind: str, attributes: dict[str, Any], arrays: dict[str, np.ndarray], directions: int) -> Any:
    """An ONNX Runtime session of one node with these constants; inputs x (T, B, I) and sequence_lens."""
    helper = onnx.helper
    names = ["x", "W", "R", "B", "lengths", "", "", "P"] if "P" in arrays else ["x", "W", "R", "B", "lengths"]
    node = helper.make_node(kind, names, ["y"], hidden_size=H, **attributes)
    graph = helper.make_graph(
        [node],
        "case",
        [
            helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [T, B, I]),
            helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [B]),
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [T, directions, B, H])],
        [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "attributes", "options", "peepholes"), CASES)
def test_onnxruntime_agrees(kind, attributes, options, peepholes, direction):
    rng = np.random.default_rng(3)
    directions, gates = 1 + (direction == "bidirectional"), GATES[kind]
    shapes = {"W": (gates * H, I), "R": (gates * H, H), "B": (2 * gates * H,), "P": (3 * H,)}
    arrays = {n: rng.uniform(-0.5, 0.5, (directions, *s)).astype(np.float32) for n, s in shapes.items()}
    if not peepholes:
        del arrays["P"]
    repeated = {k: v * directions if isinstance(v, list) else v for k, v in attributes.items()}
    x = rng.normal(size=(B, T, I)).astype(np.float32)
    feeds = {"x": np.ascontiguousarray(x.transpose(1, 0, 2)), "lengths": LENGTHS}
    want = session(kind, {**repeated, "direction": direction}, arrays, directions).run(None, feeds)[0]
    layer = CLASSES[kind].from_onnx(**arrays, direction=direction, **options)
    got = Model([layer])(x, lengths=LENGTHS)
    np.testing.assert_allclose(got, want.transpose(2, 0, 1, 3).reshape(B, T, -1), rtol=0, atol=2e-6)
