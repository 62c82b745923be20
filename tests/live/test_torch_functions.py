"""Functions of every element, and of axes of fixed size, against PyTorch's own values."""

from __future__ import annotations

import numpy as np
import pytest
from torch_cases import run_engine64, run_reference

import fastgru
from fastgru.converters import to_graph

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional

SPREAD = 3.0  # of the inputs
EVERY = {
    "acosh": lambda x: torch.acosh(x.abs() + 1),
    "asinh": torch.asinh,
    "atanh": lambda x: torch.atanh(x.tanh() * 0.99),
    "erfc": torch.erfc,
    "expm1": torch.expm1,
    "log1p": lambda x: torch.log1p(x.abs()),
    "log2": lambda x: torch.log2(x.abs() + 0.1),
    "log10": lambda x: torch.log10(x.abs() + 0.1),
    "exp2": torch.exp2,
    "trunc": torch.trunc,
    "frac": torch.frac,
    "sinc": torch.sinc,
    "signbit": torch.signbit,
    "tan": torch.tan,
    "logit": lambda x: torch.logit(x.sigmoid(), eps=1e-3),
    "round": torch.round,
    "two decimals": lambda x: torch.round(x * 0.1, decimals=2),
    "tens": lambda x: torch.round(x * 100, decimals=-1),
    "entropy": lambda x: torch.special.entr(x.abs()),
    "degrees": torch.rad2deg,
    "buckets": lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 2.0])),
    "buckets, right": lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 2.0]), right=True),
}
PAIRS = {
    "fmod": torch.fmod,
    "remainder": torch.remainder,
    "hypot": torch.hypot,
    "hypot of large ones": lambda x, y: torch.hypot(x * 1e30, y * 1e30) * 1e-30,
    "copysign": torch.copysign,
    "copysign of a number": lambda x, y: torch.copysign(x, -2.0),
    "fmax": lambda x, y: torch.fmax(torch.log(x), y),  # of numbers that are none
    "fmin": lambda x, y: torch.fmin(x, torch.log(y)),
    "ldexp": lambda x, y: torch.ldexp(x, torch.tensor([-2, 0, 1, 5])),
    "ldexp, computed": lambda x, y: torch.ldexp(x, y.round().int()),
    "logaddexp": torch.logaddexp,
    "xlogy": lambda x, y: torch.xlogy(x, y.abs() + 0.1),
    "broadcast": lambda x, y: sum(torch.broadcast_tensors(x, y[..., :1], torch.ones(4))),
}
FRAMES = {
    "median": lambda x: x.median(-1),
    "median, kept": lambda x: x[..., :3].median(-1, keepdim=True)[0],
    "kthvalue": lambda x: torch.kthvalue(x, 2, dim=-1),
    "quantile": lambda x: torch.quantile(x, 0.3, dim=-1),
    "diagonal": lambda x: torch.diagonal(x.unsqueeze(-1) * x.unsqueeze(-2), dim1=-2, dim2=-1),
    "diagonal above": lambda x: torch.diagonal(x.unsqueeze(-1) * x[..., None, :3], 1, -2, -1),
    "diagonal below": lambda x: torch.diagonal(x.unsqueeze(-1) + 2 * x[..., None, :3], -2, -1, -2),
    "cross": lambda x: torch.linalg.cross(x[..., :3], x[..., 1:]),
    "distance": lambda x: F.pairwise_distance(x, x.flip(-1)),
}


class Functions(nn.Module):
    """All functions of a table, of the input and the input turned round."""

    def __init__(self, table, count):
        super().__init__()
        self.table, self.count = table, count

    def forward(self, x):
        return {
            name: function(x, x.flip(-1)) if self.count == 2 else function(x) for name, function in self.table.items()
        }


@pytest.mark.parametrize(("table", "count"), [(EVERY, 1), (PAIRS, 2), (FRAMES, 1)], ids=["every", "pairs", "frames"])
def test_functions(table, count):
    torch.manual_seed(0)
    net = Functions(table, count).double().eval()
    x = SPREAD * torch.randn(2, 9, 4, dtype=torch.double)
    x[0, 0] = torch.tensor([0.0, -0.0, 1.0, -1.0])
    graph = to_graph(net, example_inputs=x).graph
    expected = torch.utils._pytree.tree_leaves(net(x))
    names = [path for path, _ in torch.utils._pytree.tree_flatten_with_path(net(x))[0]]
    for forward in (run_reference, run_engine64):
        for name, y, correct in zip(names, forward(graph, x.numpy()), expected, strict=True):
            np.testing.assert_allclose(y, correct, rtol=1e-9, atol=1e-9, err_msg=str(name))


@pytest.mark.parametrize(("table", "count"), [(EVERY, 1), (PAIRS, 2)], ids=["every", "pairs"])
def test_functions_in_float32(table, count):
    torch.manual_seed(0)
    net = Functions(table, count).eval()
    x = SPREAD * torch.randn(2, 50, 4)
    model = fastgru.convert(net, example_inputs=x)
    for name, expected, y in zip(table, net(x).values(), model(x.numpy()), strict=True):
        np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-6, err_msg=name)
