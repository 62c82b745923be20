"""PyTorch modules that are no chains of known layers: each error names the node and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.layers import GRU, like

torch = pytest.importorskip("torch")
nn = torch.nn
import_chain = pytest.importorskip("fastgru.converters.torch.live").import_chain
Called = pytest.importorskip("torch_modules").Called


def in_place(m: Any, x: Any) -> Any:
    y = m.gru(x)[0]
    return m.relu(y) + y


def by_shape(m: Any, x: Any) -> Any:
    return m.gru(x)[0] if x.sum() > 0 else x


def hooked() -> Any:
    module = nn.Linear(3, 4)
    module.register_forward_hook(lambda m, x, y: y + 1)
    return module


def patched() -> Any:
    module = nn.Sequential(nn.Linear(3, 4))
    module[0].forward = lambda x: x
    return module


LAYERS_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown layer": (lambda: nn.Conv1d(3, 4, 2), "node 'conv1d' (Conv1d): class must be one of"),
    "unknown activation": (lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU()), "node '1' (GELU): class must be one of"),
    "max_norm": (lambda: nn.Embedding(5, 3, max_norm=1.0), "max_norm must be None, got 1.0"),
    "two axes": (lambda: nn.LayerNorm((2, 3)), "normalized_shape must have one axis, got (2, 3)"),
    "no statistics": (lambda: nn.BatchNorm1d(3, track_running_stats=False), "track_running_stats must be True"),
    "softplus beta": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Softplus(beta=2)), "beta must be 1, got 2"),
    "softplus threshold": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Softplus(threshold=5)), "must be at least 20"),
    "threshold value": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Threshold(1, 2)), "value must be 0, got 2"),
    "softmax over time": (
        lambda: nn.Sequential(nn.Embedding(5, 3), nn.Softmax(1)), "Softmax must act on the features, got axis 1",
    ),
    "norm over steps": (
        lambda: Called(lambda m, x: m.norm(m.gru(x)[0])), "BatchNorm1d must act on the features, got axis 1 of B, T, F",
    ),
    "norm over time-first steps": (
        lambda: Called(lambda m, x: m.norm(m.gru(x)[0]), batch_first=False),
        "BatchNorm1d must act on the features, got axis 1 of T, B, F",
    ),
    "tuple goes on": (lambda: nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2)), "node '1' (Linear): input must be a"),
    "cell inside": (lambda: nn.Sequential(nn.Linear(3, 4), nn.GRUCell(4, 2)), "cell must be the whole module"),
    "only activations": (nn.Tanh, "must have a layer that determines the input size"),
    "hooks": (hooked, "forward hooks of 'the module' must be removed first"),
    "another forward": (patched, "forward of '0' must be its class's"),
    "sizes": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)), "node '1' (Dense): input must have 5 features"),
    "meta": (lambda: nn.Linear(3, 4, device="meta"), "weights must be real dense tensors with data"),
    "two tensors": (lambda: nn.Bilinear(2, 3, 4), "node 'bilinear' (Bilinear)"),
}  # fmt: skip
FORWARDS_REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "last of both": (lambda m, x: m.both(m.gru(x)[0])[0][:, -1], "must be of a forward layer, got a backward one"),
    "first step": (lambda m, x: m.gru(x)[0][:, 0], "index of a tensor must be its last step"),
    "last step kept": (lambda m, x: m.gru(x)[0][:, -1:], "index of a tensor must be its last step"),
    "some features": (lambda m, x: m.gru(x)[0][..., :2], "index of a tensor must be its last step"),
    "step of the input": (lambda m, x: m.fc(x[:, -1]), "a step must be taken of a recurrent layer's output"),
    "cell state": (lambda m, x: m.both(m.gru(x)[0])[1][1][-1], "must return a tensor, got none"),
    "cell state used": (lambda m, x: m.fc(m.both(m.gru(x)[0])[1][1]), "input must be a tensor, got a cell state"),
    "state used": (lambda m, x: m.fc(m.gru(x)[1]), "input must be a tensor, got the state of a recurrent layer"),
    "state as initial": (lambda m, x: m.gru(x, m.gru(x)[1])[0], "initial state must be zeros"),
    "no such state": (lambda m, x: m.gru(x)[1][3], "index of a state must be below 1, got 3"),
    "in place, read again": (in_place, "inplace must be False, got True on 'getitem', which is read elsewhere"),
    "method in place": (lambda m, x: m.gru(x)[0].relu_(), "call must not change a tensor in place, got relu_"),
    "unknown function": (lambda m, x: torch.cumsum(m.gru(x)[0], 1), "call_function cumsum"),
    "unknown method": (lambda m, x: m.gru(x)[0].mean(1), "call_method mean"),
    "weight": (lambda m, x: m.gru(x)[0] * m.fc.bias, "node 'fc_bias'"),
    "control flow": (by_shape, "must be a chain of layers that torch.fx can trace"),
    "random dropout": (lambda m, x: nn.functional.dropout(m.gru(x)[0], 0.5), "outputs would be random"),
    "transposed output": (lambda m, x: m.gru(x)[0].transpose(1, 2), "T, B, F or B, F, got B, F, T"),
    "sum over layouts": (lambda m, x: m.gru(x)[0] + m.gru(x)[0][:, -1], "same axes"),
    "concatenated over time": (lambda m, x: torch.cat([m.gru(x)[0], m.gru(x)[0]], 1), "must act on the features"),
    "keyword": (lambda m, x: torch.softmax(m.gru(x)[0], -1, dtype=torch.float32), "arguments must be those of"),
    "unknown keyword": (
        lambda m, x: torch.add(m.gru(x)[0], x, alpha=2),
        "node 'add' (add): arguments must be those that fastgru imports, got 2 of them, alpha",
    ),
    "cast": (lambda m, x: m.gru(x)[0].to(torch.float32), "only an initial state of zeros can be moved or cast"),
    "squeezed output": (lambda m, x: m.gru(x)[0].squeeze(-1), "only the state of a single layer can be squeezed"),
    "nothing": (lambda m, x: None, "node 'output' (output): input must be a tensor, got None"),
    "a size": (lambda m, x: x.shape, "input must be a tensor, got a shape"),
    "divided by zero": (lambda m, x: m.gru(x)[0] / 0, "divisor must not be 0"),
    "number minus tensor": (lambda m, x: 1 - m.gru(x)[0], "second operand must be a number"),
}


@pytest.mark.parametrize("name", LAYERS_REFUSED)
def test_layers_refused(name: str) -> None:
    build, message = LAYERS_REFUSED[name]
    with pytest.raises(ConvertError) as caught:
        import_chain(build())
    assert message in str(caught.value)


@pytest.mark.parametrize("name", FORWARDS_REFUSED)
def test_forwards_refused(name: str) -> None:
    forward, message = FORWARDS_REFUSED[name]
    with pytest.raises(ConvertError) as caught:
        import_chain(Called(forward))
    assert message in str(caught.value)


def test_like_is_refused() -> None:
    with pytest.raises(ConvertError, match="like must be None for a live module"):
        to_graph(nn.GRU(2, 3), like=[like(GRU)])


def test_two_inputs_are_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

    with pytest.raises(ConvertError, match="input must be a tensor, got an initial state") as caught:
        to_graph(Two())
    assert str(caught.value).startswith(
        "example_inputs must be given for Two, whose forward takes x and y: such as example_inputs={'x': torch.zeros("
        "2, 50, 40), 'y': torch.zeros(2, 50, 40)}, with the sizes that it takes, here 2 rows of 50 steps of 40 features"
    )
