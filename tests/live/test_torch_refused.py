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
import_chain = pytest.importorskip("fastgru.converters.torch_export.exported").import_chain
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
    "unknown layer": (lambda: nn.Conv1d(3, 4, 2), "node 'conv1d' (Conv1d): layer must be one of"),
    "unknown activation": (lambda: nn.Sequential(nn.Linear(3, 4), nn.GELU()), "node '1' (GELU): layer must be one of"),
    "max_norm": (lambda: nn.Embedding(5, 3, max_norm=1.0), "layer must be one of"),
    "no statistics": (lambda: nn.BatchNorm1d(3, track_running_stats=False), "running statistics must be used"),
    "norm over steps": (
        lambda: Called(lambda m, x: m.norm(m.gru(x)[0])),
        "node 'norm' (BatchNorm1d): axis 1 must be one of fixed size, got time",
    ),
    "norm over time-first steps": (
        lambda: Called(lambda m, x: m.norm(m.gru(x)[0]), batch_first=False),
        "node 'gru' (GRU): input must be a sequence with batch_first=False, got (B, T, 3)",
    ),
    "tuple goes on": (lambda: nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2)), "node '1' (Linear): input must be a"),
    "cell inside": (lambda: nn.Sequential(nn.Linear(3, 4), nn.GRUCell(4, 2)), "layer must be one of"),
    "only activations": (nn.Tanh, "calls no layer that says what it takes"),
    "hooks": (hooked, "forward of 'the module' must be its class's, without hooks"),
    "another forward": (patched, "forward of '0' must be its class's"),
    "sizes": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2)), "node '1' (Linear): input must have 5 features, got 4",
    ),
    "meta": (lambda: nn.Linear(3, 4, device="meta"), "constant must be a dense tensor with data"),
    "two tensors": (lambda: nn.Bilinear(2, 3, 4), "calls no layer that says what it takes"),
}  # fmt: skip
FORWARDS_REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "last of both": (lambda m, x: m.both(m.gru(x)[0])[0][:, -1], "must be the last step of a recurrent layer"),
    "first step": (lambda m, x: m.gru(x)[0][:, 0], "must be the last step of a recurrent layer"),
    "last step kept": (lambda m, x: m.gru(x)[0][:, -1:], "index must be of single elements or all"),
    "some features": (lambda m, x: m.gru(x)[0][..., :2], "index must be of single elements or all"),
    "step of the input": (lambda m, x: m.fc(x[:, -1]), "must be the last step of a recurrent layer"),
    "state as initial": (lambda m, x: m.gru(x, m.gru(x)[1])[0], "initial state must be zeros"),
    "no such state": (lambda m, x: m.gru(x)[1][3], "index must be within [-1, 0], got 3"),
    "in place, read again": (in_place, "inplace must be False, got True on 'getitem', which is read elsewhere"),
    "method in place": (lambda m, x: m.gru(x)[0].relu_(), "call must not change a tensor in place, got relu_"),
    "unknown function": (lambda m, x: torch.cumsum(m.gru(x)[0], 1), "call_function cumsum"),
    "unknown method": (lambda m, x: m.gru(x)[0].mean(1), "call_method mean"),
    "weight": (lambda m, x: m.gru(x)[0] * m.fc.bias, "node 'fc_bias'"),
    "control flow": (by_shape, "must be a chain of layers that torch.fx can trace"),
    "random dropout": (lambda m, x: nn.functional.dropout(m.gru(x)[0], 0.5), "outputs would be random"),
    "sum over layouts": (lambda m, x: m.gru(x)[0] + m.gru(x)[0][:, -1], "inputs must agree in axis 1, got T and B"),
    "concatenated over time": (
        lambda m, x: torch.cat([m.gru(x)[0], m.gru(x)[0]], 1),
        "at most one input must be over time",
    ),
    "cast": (lambda m, x: m.gru(x)[0].to(torch.float32), "call must be one that fastgru imports, got call_method to"),
    "nothing": (lambda m, x: None, "forward must return a tensor, got None"),
    "a size": (lambda m, x: x.shape, "forward must return a tensor, got "),
    "number minus tensor": (lambda m, x: 1 - m.gru(x)[0], "first argument of sub must be a tensor, got 1"),
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
