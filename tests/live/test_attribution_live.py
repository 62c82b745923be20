"""Gradients of imported PyTorch modules against PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fastgru.converters import to_graph  # noqa: E402
from fastgru.inspect import attribute  # noqa: E402
from fastgru.passes import canonical  # noqa: E402


class Called(nn.Module):
    """Layers by name, and a forward given as a function."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Any) -> Any:
        return self.body(self, x)


def first(s: Any, x: Any) -> Any:
    return s.layer(x)[0]


def attention(s: Any, x: Any) -> Any:
    return s.attend(x, x, x, need_weights=False)[0]


def convolved(s: Any, x: Any) -> Any:
    return s.gru(F.relu(s.conv(x.transpose(1, 2))).transpose(1, 2))[0]


def by_hand(s: Any, x: Any) -> Any:
    h, out = x.new_zeros(x.shape[0], 4), []
    for t in range(x.shape[1]):
        h = s.cell(x[:, t], h)
        out.append(s.norm(h))
    return torch.stack(out, 1)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: Called(first, layer=nn.GRU(3, 4, 2, batch_first=True)),
    "gru-both": lambda: Called(first, layer=nn.GRU(3, 4, batch_first=True, bidirectional=True)),
    "lstm": lambda: Called(first, layer=nn.LSTM(3, 4, 2, batch_first=True)),
    "lstm-projection": lambda: Called(first, layer=nn.LSTM(3, 4, batch_first=True, proj_size=2)),
    "rnn-relu": lambda: Called(first, layer=nn.RNN(3, 4, nonlinearity="relu", batch_first=True)),
    "cell": lambda: Called(by_hand, cell=nn.GRUCell(3, 4), norm=nn.LayerNorm(4)),
    "dense": lambda: nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 4), nn.Softmax(-1)),
    "attention": lambda: Called(attention, attend=nn.MultiheadAttention(4, 2, batch_first=True)),
    "convolved": lambda: Called(convolved, conv=nn.Conv1d(3, 5, 3), gru=nn.GRU(5, 4, batch_first=True)),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("name", MODULES)
def test_gradients_are_those_of_torch(name):
    torch.manual_seed(0)
    module = MODULES[name]().double().eval()
    size = 4 if name == "attention" else 3
    x = torch.randn(2, 7, size, dtype=torch.float64, requires_grad=True)
    kept = {} if name == "dense" else {"example_inputs": (x.detach(),)}
    graph = canonical(to_graph(module, **kept).graph)
    y = module(x)
    weights = torch.randn_like(y)
    (y * weights).sum().backward()
    wanted = x.grad.numpy()
    found, parts = attribute(graph, x.detach().numpy(), weights.numpy(), return_parts=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(parts.output.sum(), (y * weights).sum().item(), rtol=1e-9)


def test_vectors_of_ids_are_those_of_torch():
    torch.manual_seed(0)
    table, gru = nn.Embedding(9, 3).double(), nn.GRU(3, 4, batch_first=True).double()
    module = Called(lambda s, ids: s.gru(s.table(ids))[0], table=table, gru=gru).eval()
    ids = torch.randint(0, 9, (2, 6))
    graph = canonical(to_graph(module, example_inputs=(ids,)).graph)
    vectors = table(ids).detach().requires_grad_()
    gru(vectors)[0][:, -1, 2].sum().backward()
    found = attribute(graph, ids.numpy(), 2)
    np.testing.assert_allclose(found, vectors.grad.numpy().sum(axis=-1), rtol=1e-9, atol=1e-11)
