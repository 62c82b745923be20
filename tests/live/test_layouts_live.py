"""Every import says what became of the axes of its source: PyTorch, Keras and ONNX side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import TensorProto, helper, save

import fastgru

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
nn = torch.nn
LEFT = ", left out here as the final state of layers"


class Net(nn.Module):
    """A GRU and a function of its output and state."""

    def __init__(self, body: Any, **options: Any) -> None:
        super().__init__()
        self.gru, self.body = nn.GRU(3, 4, **options), body

    def forward(self, x: Any, h: Any = None) -> Any:
        return self.body(*self.gru(x, h))


X = torch.zeros(2, 20, 3)
MODULES: dict[str, tuple[Any, dict[str, Any], str, str]] = {
    "chain": (
        nn.GRU(3, 4), {}, "x (T, B, 3)",
        "input x (T, B, 3) in PyTorch, (B, T, 3) here; output gru (T, B, 4) in PyTorch, (B, T, 4) here; "
        f"output 1 (1, B, 4) in PyTorch{LEFT}",
    ),
    "cell": (
        nn.GRUCell(3, 4), {}, "x (B, 3)",
        "input x (B, 3) in PyTorch, (B, T, 3) here; output grucell (B, 4) in PyTorch, (B, T, 4) here",
    ),
    "ids": (
        nn.Embedding(5, 3), {}, "x (B, T)",
        "input x (B, T) in PyTorch and here; output embedding (B, T, 3) in PyTorch and here",
    ),
    "transposed": (
        Net(lambda y, h: y.transpose(1, 2), batch_first=True), {"example_inputs": X}, "x (B, T, 3)",
        "input x (B, T, 3) in PyTorch and here; output gru (B, 4, T) in PyTorch, (B, T, 4) here",
    ),
    "time first": (
        Net(lambda y, h: {"y": y * 2}), {"example_inputs": X.transpose(0, 1), "axes": {"x": ("T", "B", None)}},
        "x (T, B, 3)",
        "input x (T, B, 3) in PyTorch, (B, T, 3) here; output y (T, B, 4) in PyTorch, (B, T, 4) here",
    ),
    "state": (
        Net(lambda y, h: (y, h), batch_first=True), {"example_inputs": (X, torch.zeros(1, 2, 4))},
        "x (B, T, 3), h (1, B, 4)",
        "input x (B, T, 3) in PyTorch and here; input h (1, B, 4) in PyTorch, a state here; "
        "output gru (B, T, 4) in PyTorch and here",
    ),
    "final state": (
        Net(lambda y, h: {"y": y, "h": h}, batch_first=True), {"example_inputs": X, "states": {}}, "x (B, T, 3)",
        "input x (B, T, 3) in PyTorch and here; output y (B, T, 4) in PyTorch and here; "
        "output h (1, B, 4) in PyTorch, (B, 1, 4) here",
    ),
    "convolution": (
        nn.Conv1d(3, 4, 3), {"example_inputs": X.transpose(1, 2)}, "input (B, 3, T)",
        "input input (B, 3, T) in PyTorch, (B, T, 3) here; output conv1d (B, 4, T - 2) in PyTorch, (B, T - 2, 4) here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    module, options, axes, expected = MODULES[name]
    model = fastgru.convert(module, **options)
    assert model.provenance["axes"] == axes
    assert model.provenance["layout"] == expected
    assert f"axes: {expected}" in str(model.summary())
    assert model.provenance.get("states") == ("h <- 1" if name == "state" else None)


def sequential(shape: tuple[int | None, ...], *layers: Any) -> Any:
    return keras.Sequential([keras.Input(shape, name="x"), *layers])


def held() -> Any:
    x, h = keras.Input((None, 3), name="x"), keras.Input((4,), name="h")
    y, end = keras.layers.GRU(4, return_sequences=True, return_state=True, name="gru")(x, initial_state=h)
    return keras.Model([x, h], [keras.layers.Dense(2, name="fc")(y), end])


def layer(kind: str, *args: Any, **options: Any) -> Any:
    return getattr(keras.layers, kind)(*args, name="y", **options)


def encoders(merge: Any, *steps: int | None) -> Any:
    """Two inputs, each with a GRU: its last output, or every one."""
    inputs = [keras.Input((n, 3), name=name) for n, name in zip(steps, "ab", strict=True)]
    every = merge == "Add"
    return keras.Model(inputs, layer(merge)([keras.layers.GRU(4, return_sequences=every)(x) for x in inputs]))


KERAS = {
    "two lengths": (
        lambda: encoders("Concatenate", 7, 9), "a (B, 7, 3), b (B, 9, 3)",
        "input a (B, 7, 3) in Keras, (B, T, 3) here; input b (B, 9, 3) in Keras, (B, T, 3) here; "
        "output y (B, 8) in Keras and here",
    ),
    "one length that is open": (
        lambda: encoders("Concatenate", None, 9), "a (B, T, 3), b (B, 9, 3)",
        "input a (B, T, 3) in Keras and here; input b (B, 9, 3) in Keras, (B, T, 3) here; "
        "output y (B, 8) in Keras and here",
    ),
    "one length that must be the other": (
        lambda: encoders("Add", None, 9), "a (B, T, 3), b (B, 9, 3)",
        "input a (B, T, 3) in Keras and here; input b (B, 9, 3) in Keras, (B, T, 3) here; "
        "output y (B, 9, 4) in Keras, (B, T, 4) here",
    ),
    "permuted": (
        lambda: sequential((20, 8), keras.layers.Permute((2, 1)), layer("GRU", 4, return_sequences=True)),
        "x (B, 20, 8)", "input x (B, 20, 8) in Keras and here; output y (B, 8, 4) in Keras and here",
    ),
    "channels first": (
        lambda: sequential((8, 20), layer("Conv1D", 3, 2, data_format="channels_first")), "x (B, 8, 20)",
        "input x (B, 8, 20) in Keras and here; output y (B, 3, 19) in Keras and here",
    ),
    "open": (
        lambda: sequential((None, 8), layer("GRU", 4, return_sequences=True)), "x (B, T, 8)",
        "input x (B, T, 8) in Keras and here; output y (B, T, 4) in Keras and here",
    ),
    "twenty": (
        lambda: sequential((20, 8), layer("GRU", 4, return_sequences=True)), "x (B, 20, 8)",
        "input x (B, 20, 8) in Keras, (B, T, 8) here; output y (B, 20, 4) in Keras, (B, T, 4) here",
    ),
    "whole": (
        lambda: sequential((20, 8), keras.layers.Flatten(), layer("Dense", 4)), "x (B, 20, 8)",
        "input x (B, 20, 8) in Keras and here; output y (B, 4) in Keras and here",
    ),
    "state": (
        held, "x (B, T, 3), h (B, 4)",
        "input x (B, T, 3) in Keras and here; input h (B, 4) in Keras, a state here; "
        "output fc (B, T, 2) in Keras and here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KERAS)
def test_keras_models(name: str, tmp_path: Path) -> None:
    build, axes, expected = KERAS[name]
    model = fastgru.convert(build())
    assert model.self_test.source.startswith("Keras")
    assert model.provenance["axes"] == axes
    assert model.provenance["layout"] == expected
    assert model.provenance.get("states") == ("h <- 1" if name == "state" else None)
    build().save(tmp_path / "m.keras")
    assert fastgru.convert(tmp_path / "m.keras").provenance["layout"] == expected


def test_open_features_of_keras_are_named() -> None:
    with pytest.raises(fastgru.ConvertError, match=r"got None in \(None, None, 2\): only its first axis, time, may be"):
        fastgru.convert(sequential((None, None, 2), layer("Conv2D", 3, 2)))


def test_onnx(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {n: rng.normal(size=s).astype("f4") for n, s in {"W": (1, 12, 3), "R": (1, 12, 4)}.items()}
    graph = helper.make_graph(
        [helper.make_node("GRU", ["x", "W", "R"], ["y", "h"], hidden_size=4)], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", 3])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("y", "h")],
        [helper.make_tensor(n, TensorProto.FLOAT, a.shape, a.ravel()) for n, a in weights.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    model = fastgru.convert(tmp_path / "m.onnx")
    assert model.provenance["axes"] == "x (T, B, 3)"
    assert model.provenance["layout"] == (
        "input x (T, B, 3) in ONNX, (B, T, 3) here; output y (T, 1, B, 4) in ONNX, (B, T, 1, 4) here; "
        f"output h (1, B, 4) in ONNX{LEFT}"
    )
    assert f"axes: {model.provenance['layout']}" in str(model.summary())
