"""State_dicts of dynamically quantized layers, as they lie on disk and in memory, beside the import of the module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

import fastgru  # noqa: E402
from fastgru import ConvertError  # noqa: E402
from fastgru.layers import GRU, Dense, Embedding, like  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
QUANTIZED = {nn.LSTM, nn.GRU, nn.GRUCell, nn.LSTMCell, nn.Linear}


class Chain(nn.Module):
    """Layers one after the other."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        for i, layer in enumerate(layers):
            setattr(self, f"part{i}", layer)

    def forward(self, x: Any) -> Any:
        for layer in self.children():
            x = layer(x)[0] if hasattr(layer, "num_layers") else layer(x)
        return x


def quantized(net: nn.Module, dtype: Any = torch.qint8) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(net.eval(), QUANTIZED, dtype=dtype)


def precisions(model: fastgru.Model) -> list[str | None]:
    return [getattr(node.op, "precision", None) for node in model.graph.nodes]


first = {"batch_first": True}
CASES: dict[str, Callable[[], nn.Module]] = {
    "GRU": lambda: Chain(nn.GRU(7, 6, **first), nn.Linear(6, 3)),
    "deep LSTM": lambda: Chain(nn.LSTM(7, 6, 3, **first), nn.Linear(6, 3)),
    "deep LSTM of equal sizes": lambda: Chain(nn.LSTM(7, 7, 3, **first), nn.Linear(7, 3)),
    "both ways": lambda: Chain(nn.LSTM(7, 6, bidirectional=True, **first), nn.Linear(12, 3)),
    "deep, both ways": lambda: Chain(nn.GRU(7, 7, 2, bidirectional=True, **first), nn.Linear(14, 3)),
    "without biases": lambda: Chain(nn.Linear(7, 6, bias=False), nn.GRU(6, 5, **first)),
    "one layer": lambda: Chain(nn.LSTM(7, 7, **first)),
}


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_the_weights_are_those_of_the_module(name: str, dtype: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    net = quantized(CASES[name](), dtype)
    x = np.random.default_rng(0).normal(size=(2, 9, 7)).astype(np.float32)
    live = fastgru.convert(net)
    state = net.state_dict()
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pt"
        torch.save({"state_dict": {f"module.{n}": a for n, a in state.items()}, "epoch": 2}, path,
                   _use_new_zipfile_serialization=zipped)  # fmt: skip
        for source in (path, state):
            model = fastgru.convert(source, like=[like(Dense), like(GRU)] if name == "without biases" else None)
            assert np.array_equal(model(x), live(x))
            kind = "int8" if dtype is torch.qint8 else "float16"
            assert model.provenance["precision"].startswith(f"dynamically quantized, computed here with {kind} weights")
            assert precisions(model) == precisions(live)


def test_cells_channels_and_tables(tmp_path: Any) -> None:
    torch.manual_seed(1)
    cell = quantized(Chain(nn.GRUCell(7, 5)))
    path = tmp_path / "net.pt"
    torch.save(cell.state_dict(), path)
    x = torch.randn(1, 7)
    with torch.no_grad():
        expected = cell.part0(x).numpy()
    assert np.abs(fastgru.convert(path)(x.numpy()[None])[:, 0] - expected).max() < 0.02

    spec = {nn.Linear: torch.ao.quantization.per_channel_dynamic_qconfig}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        channels = torch.ao.quantization.quantize_dynamic(Chain(nn.Linear(7, 4)).eval(), spec)
    torch.save(channels.state_dict(), path)
    x = torch.randn(3, 5, 7)
    assert np.array_equal(fastgru.convert(path)(x.numpy()), fastgru.convert(channels)(x.numpy()))

    table = {nn.Embedding: torch.ao.quantization.float_qparams_weight_only_qconfig}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        words = torch.ao.quantization.quantize_dynamic(Chain(nn.Embedding(9, 4)).eval(), table)
    torch.save(words.state_dict(), path)
    ids = torch.arange(9)[None]
    model = fastgru.convert(path, like=[like(Embedding)])
    with torch.no_grad():
        np.testing.assert_allclose(model(ids.numpy()), words(ids), atol=1e-6)


def test_they_are_described_by_like() -> None:
    torch.manual_seed(2)
    net = quantized(Chain(nn.GRU(7, 6, **first), nn.Linear(6, 3)))
    layers = [like(GRU, name="part0", return_sequences=False), like(Dense, name="part1", activation="tanh")]
    x = np.random.default_rng(0).normal(size=(2, 9, 7)).astype(np.float32)
    y = fastgru.convert(net.state_dict(), like=layers)(x)
    np.testing.assert_allclose(y, np.tanh(fastgru.convert(net)(x)[:, -1]), atol=1e-5)


def test_two_layers_that_may_be_two_directions_are_asked_for(tmp_path: Any) -> None:
    net = quantized(Chain(nn.GRU(6, 6, 2, **first)))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    message = (
        r"layer 'part0' .* fit two layers as well as two directions .*: load it into the quantized module, module.lo"
    )
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(tmp_path / "net.pt")


def test_layers_with_fixed_scales_of_activations_are_refused(tmp_path: Any) -> None:
    net = nn.Sequential(torch.ao.quantization.QuantStub(), nn.Linear(7, 4), torch.ao.quantization.DeQuantStub()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.qconfig = torch.ao.quantization.default_qconfig
        ready = torch.ao.quantization.prepare(net)
        ready(torch.randn(20, 7))
        calibrated = torch.ao.quantization.convert(ready)
    torch.save(calibrated.state_dict(), tmp_path / "net.pt")
    with pytest.raises(ConvertError, match=r"layer '1' of .* by calibration .*: save the state_dict of the fl"):
        fastgru.convert(tmp_path / "net.pt")
