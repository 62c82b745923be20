"""Attention of all steps to all steps, over any number of them: from PyTorch, Keras and ONNX, beside the sources."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru.errors import ConvertError

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
D, SIZES = 16, ((1, 7), (3, 33))


class Net(nn.Module):
    def __init__(self, forward: Callable[[Any, Any], Any], **layers: Any) -> None:
        super().__init__()
        self.call = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any) -> Any:
        return self.call(self, x)


def heads(x: Any) -> Any:
    return x.unflatten(-1, (4, 4))


def by_hand(m: Any, x: Any) -> Any:
    h = m.gru(x)[0]
    return torch.softmax(m.q(h) @ m.k(h).transpose(1, 2) / 4, -1) @ h


def causal(m: Any, x: Any) -> Any:
    parts = [heads(y).transpose(1, 2) for y in m.qkv(x).chunk(3, -1)]
    return F.scaled_dot_product_attention(*parts, is_causal=True).transpose(1, 2).flatten(2)


def by_letters(m: Any, x: Any) -> Any:
    scores = torch.einsum("bqhd,bkhd->bhqk", heads(m.q(x)), heads(m.k(x))).mul(0.5)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), heads(x)).flatten(2)


def linear() -> dict[str, Any]:
    return {"q": nn.Linear(D, D), "k": nn.Linear(D, D), "gru": nn.GRU(D, D, batch_first=True)}


MODULES: dict[str, Callable[[], Any]] = {
    "encoder layer": lambda: nn.TransformerEncoderLayer(D, 4, 32, batch_first=True),
    "multihead": lambda: Net(lambda m, x: m.a(x, x, x)[0], a=nn.MultiheadAttention(D, 4, batch_first=True)),
    "causal": lambda: Net(causal, qkv=nn.Linear(D, 3 * D)),
    "by hand": lambda: Net(by_hand, **linear()),
    "by letters": lambda: Net(by_letters, **linear()),
}


def compare(model: Any, source: Callable[[Any], Any]) -> None:
    """Compare a model with its source at several numbers of rows and steps."""
    assert "time_attention" in {node.op.kind for node in model.graph.nodes}
    for rows, steps in SIZES:
        x = np.random.default_rng(steps).normal(size=(rows, steps, D)).astype(np.float32)
        np.testing.assert_allclose(model(x), source(x), atol=2e-6)


@pytest.mark.parametrize("name", MODULES)
def test_torch(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    with torch.no_grad():
        compare(
            fastgru.convert(module, example_inputs=torch.zeros(2, 50, D)), lambda x: module(torch.from_numpy(x)).numpy()
        )


def test_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    module = MODULES["by hand"]().eval()
    axes = {"x": {0: "B", 1: "T"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            module, (torch.zeros(2, 20, D),), tmp_path / "m.onnx", input_names=["x"], dynamic_axes=axes, dynamo=False
        )
    with torch.no_grad():
        compare(fastgru.convert(tmp_path / "m.onnx"), lambda x: module(torch.from_numpy(x)).numpy())


def keras_layers() -> dict[str, Callable[[Any], Any]]:
    L = pytest.importorskip("keras").layers

    def of_states(x: Any) -> Any:
        h = L.GRU(8, return_sequences=True)(x)
        return L.MultiHeadAttention(2, 8)(h, h, use_causal_mask=True)

    return {
        "multihead": lambda x: L.MultiHeadAttention(4, 8)(x, x), "causal": of_states,
        "attention": lambda x: L.Attention(use_scale=True)([x, x]),
        "masked": lambda x: L.Attention()([L.Masking()(x), x]),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["multihead", "causal", "attention", "masked"])
def test_keras(name: str) -> None:
    build = keras_layers()[name]
    keras = pytest.importorskip("keras")
    x = keras.Input((None, D))
    net = keras.Model(x, build(x))
    compare(fastgru.convert(net), lambda x: keras.ops.convert_to_numpy(net(x)))


@pytest.mark.filterwarnings("ignore")
def test_lengths_are_refused_and_lists_are_taken() -> None:
    torch.manual_seed(0)
    model = fastgru.convert(MODULES["by letters"]().eval(), example_inputs=torch.zeros(2, 50, D))
    x = np.ones((2, 9, D), np.float32)
    with pytest.raises(ValueError, match="TimeAttention"):
        model(x, lengths=[9, 4])
    alone = model.predict([x[0], x[1, :4]])
    np.testing.assert_array_equal(alone[1], model(x[1, :4]))
    with pytest.raises(ValueError, match="compares all steps with each other; give whole sequences"):
        model.stream()


def test_weights_as_a_result_are_refused() -> None:
    module = Net(lambda m, x: torch.softmax(m.q(x) @ x.transpose(1, 2), -1), q=nn.Linear(D, D)).eval()
    with pytest.raises(ConvertError, match="must not be of attention of all steps to all steps: scores of every step"):
        fastgru.convert(module, example_inputs=torch.zeros(2, 50, D), axes={"x": ("B", "T", None)})
