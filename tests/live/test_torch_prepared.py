"""Modules that are wrapped, compute their weights, or have them in fewer bits than float32."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru.checks import selftest
from fastgru.errors import ConvertError

torch = pytest.importorskip("torch")
nn = torch.nn
prune = pytest.importorskip("torch.nn.utils.prune")
parametrizations = pytest.importorskip("torch.nn.utils.parametrizations")
swa_utils = pytest.importorskip("torch.optim.swa_utils")

pytestmark = pytest.mark.filterwarnings("ignore")  # of PyTorch, that its older ways are old


class Tagger(nn.Module):
    """Layers of every kind that weights are computed for: a convolution, a stack in both directions, a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv1d(6, 8, 3, padding=1), nn.Linear(16, 3)
        self.rnn = nn.GRU(8, 8, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.fc(self.rnn(y)[0])


class Step(nn.Module):
    """A layer whose state is an argument and a result, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.LSTM(6, 8, 2), nn.Linear(8, 3)

    def forward(self, x: Any, h: Any, c: Any) -> Any:
        y, (h, c) = self.rnn(x, (h, c))
        return self.fc(y), h, c


class Loop(nn.Module):
    """A cell in a loop of Python."""

    def __init__(self, cell: Any = nn.GRUCell) -> None:
        super().__init__()
        self.cell, self.fc = cell(6, 8), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        h, out = torch.zeros(x.shape[0], 8, dtype=x.dtype), []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            out.append(h)
        return self.fc(torch.stack(out, 1))


def random(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def make(cls: Any) -> Any:
    torch.manual_seed(0)
    return cls().eval()


def examples(net: Any) -> Any:
    if isinstance(net, Step):
        return random(12, 2, 6), torch.zeros(2, 2, 8), torch.zeros(2, 2, 8)
    return random(2, 12, 6)


def expected(net: Any, x: Any) -> Any:
    """The first output of a module in eval mode, batch first."""
    with torch.no_grad():
        y = net(*x) if isinstance(x, tuple) else net(x)
    return y[0].transpose(0, 1).float().numpy() if isinstance(y, tuple) else y.float().numpy()


def given(x: Any) -> Any:
    """The sequence among arguments, as a model takes it."""
    return (x[0].transpose(0, 1) if isinstance(x, tuple) else x).float().numpy()


def check(net: Any, model: fastgru.Model, bar: float, source: Any = None) -> None:
    """Compare a model with a module, for the example and more steps."""
    x = examples(net)
    longer = (torch.cat([x[0]] * 3), *x[1:]) if isinstance(x, tuple) else torch.cat([x] * 3, 1)
    for each in (x, longer):
        y = model(given(each))
        reference = expected(source or net, each)
        assert np.abs(y - reference).max() <= bar * max(1, np.abs(reference).max())


# Wrappers --------------------------------------------------------------------------------------------


def compiled_inside(net: Any) -> Any:
    net.fc = torch.compile(net.fc)
    return net


def compiled_in_place(net: Any) -> Any:
    net.compile()
    return net


def compiled_forward(net: Any) -> Any:
    net.forward = torch.compile(net.forward)
    return net


def parallel_inside(net: Any) -> Any:
    net.rnn = nn.DataParallel(net.rnn)
    return net


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "parallel": nn.DataParallel,
    "compiled": torch.compile,
    "compiled and parallel": lambda net: nn.DataParallel(torch.compile(net)),
    "averaged": swa_utils.AveragedModel,
    "compiled inside": compiled_inside,
    "compiled in place": compiled_in_place,
    "compiled forward": compiled_forward,
    "parallel inside": parallel_inside,
}


@pytest.mark.parametrize(
    ("name", "cls"), [*((name, Tagger) for name in WRAPPED), ("compiled", Step), ("parallel", Loop)]
)
def test_wrapped(name: str, cls: Any) -> None:
    net = make(cls)
    model = fastgru.convert(WRAPPED[name](copy.deepcopy(net)), example_inputs=examples(net))
    check(net, model, 1e-5)
    assert model.provenance["source"] == cls.__name__


def test_wrapped_chains_need_no_example() -> None:
    net = make(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh()))
    x = random(2, 5, 3)
    assert np.allclose(fastgru.convert(torch.compile(net))(x.numpy()), expected(net, x), atol=1e-6)


# Weights that are computed -----------------------------------------------------------------------------


def recurrent(net: Any) -> Any:
    return net.cell if isinstance(net, Loop) else net.rnn


def hidden(net: Any) -> str:
    return "weight_hh" if isinstance(net, Loop) else "weight_hh_l1"


def old_weight_norm(net: Any) -> None:
    nn.utils.weight_norm(net.fc)
    nn.utils.weight_norm(recurrent(net), hidden(net))
    net.fc.weight_g.data *= 1.5


def old_weight_norm_of_columns(net: Any) -> None:
    nn.utils.weight_norm(net.fc, dim=1)
    nn.utils.weight_norm(recurrent(net), hidden(net), dim=None)


def old_spectral_norm(net: Any) -> None:
    nn.utils.spectral_norm(net.fc)
    nn.utils.spectral_norm(recurrent(net), hidden(net))
    with torch.no_grad():  # the norm is found in training
        for _ in range(20):
            x = examples(net.train())
            net(*x) if isinstance(x, tuple) else net(x)
    net.eval()


def new_norms(net: Any) -> None:
    parametrizations.weight_norm(net.fc)
    parametrizations.spectral_norm(recurrent(net), hidden(net))
    net.fc.parametrizations.weight.original0.data *= 1.5


def orthogonal(net: Any) -> None:
    parametrizations.orthogonal(recurrent(net), hidden(net))


def pruned(net: Any) -> None:
    prune.l1_unstructured(recurrent(net), hidden(net), 0.5)
    prune.ln_structured(net.fc, "weight", 0.4, n=2, dim=0)
    prune.random_unstructured(net.fc, "bias", 1)


def pruned_twice(net: Any) -> None:
    prune.l1_unstructured(recurrent(net), hidden(net), 0.3)
    prune.random_unstructured(recurrent(net), hidden(net), 0.3)
    prune.identity(net.fc, "weight")


def pruned_everywhere(net: Any) -> None:
    parts = [(net.fc, "weight"), (recurrent(net), hidden(net))]
    prune.global_unstructured(parts, pruning_method=prune.L1Unstructured, amount=0.5)


def normed_then_pruned(net: Any) -> None:
    nn.utils.weight_norm(net.fc)
    prune.l1_unstructured(net.fc, "weight_v", 0.5)


def pruned_then_normed(net: Any) -> None:
    prune.l1_unstructured(net.fc, "weight", 0.5)
    prune.remove(net.fc, "weight")
    nn.utils.weight_norm(net.fc)
    prune.l1_unstructured(net.fc, "bias", 0.5)


FOLDED: dict[str, Callable[[Any], None]] = {
    "old weight_norm": old_weight_norm,
    "old weight_norm of columns": old_weight_norm_of_columns,
    "old spectral_norm": old_spectral_norm,
    "new norms": new_norms,
    "orthogonal": orthogonal,
    "pruned": pruned,
    "pruned twice": pruned_twice,
    "pruned everywhere": pruned_everywhere,
    "normed, then pruned": normed_then_pruned,
    "pruned, then normed": pruned_then_normed,
}


@pytest.mark.parametrize(
    ("name", "cls"),
    [*((name, Tagger) for name in FOLDED), *((name, Step) for name in ("old weight_norm", "new norms", "pruned")),
     ("pruned twice", Loop)],
)  # fmt: skip
def test_folded(name: str, cls: Any) -> None:
    net = make(cls)
    FOLDED[name](net)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    model = fastgru.convert(net, example_inputs=examples(net))
    check(net, model, 1e-5)
    assert before.keys() == net.state_dict().keys()
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    bare = make(cls)
    assert model.summary().totals.parameters == sum(p.numel() for p in bare.parameters())


def test_a_layer_alone_is_folded() -> None:
    net = make(lambda: nn.LSTM(3, 4, batch_first=True))
    prune.l1_unstructured(net, "weight_ih_l0", 0.5)
    x = random(2, 5, 3)
    assert np.allclose(fastgru.convert(net)(x.numpy()), net(x)[0].detach().numpy(), atol=1e-6)
    assert "weight_ih_l0_mask" in net.state_dict()


def test_hooks_that_compute_no_weights_stay() -> None:
    net = make(Tagger)
    net.fc.register_forward_hook(lambda module, args, y: y + 1)
    nn.utils.weight_norm(net.fc)
    check(net, fastgru.convert(net, example_inputs=examples(net)), 1e-5)


# Fewer bits --------------------------------------------------------------------------------------------


HALVES = {"bfloat16": (torch.bfloat16, 0.05), "float16": (torch.float16, 0.005)}


@pytest.mark.parametrize(
    ("name", "cls", "wide"),
    [("bfloat16", Tagger, True), ("float16", Tagger, False), ("bfloat16", Step, False), ("float16", Loop, True)],
)
def test_half(name: str, cls: Any, wide: bool) -> None:
    dtype, bar = HALVES[name]
    net = make(cls).to(dtype)
    x = examples(net)
    own = tuple(t.to(dtype) for t in x) if isinstance(x, tuple) else x.to(dtype)
    model = fastgru.convert(net, example_inputs=x if wide else own)
    y, reference = model(given(own)), expected(net, own)
    assert 0 < np.abs(y - reference).max() <= bar
    check(net, model, 1e-5, copy.deepcopy(net).float())  # the weights as they are
    assert model.provenance["precision"].startswith(f"{name}, computed here in float32 with the same weights; ")
    assert next(net.parameters()).dtype == dtype


class Mixed(nn.Module):
    """Half precision inside alone, and in the code of forward."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(6, 8, batch_first=True).bfloat16(), nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        h = torch.zeros(1, x.shape[0], 8, dtype=torch.bfloat16)
        return self.fc(self.rnn(x.bfloat16(), h)[0].to(torch.float32)) * torch.ones(3, dtype=torch.float16).float()


def test_half_inside() -> None:
    net = make(Mixed)
    model = fastgru.convert(net, example_inputs=examples(net))
    y, reference = model(given(examples(net))), expected(net, examples(net))
    assert 0 < np.abs(y - reference).max() <= 0.05
    assert "bfloat16, computed here in float32" in model.provenance["precision"]


def test_half_of_a_chain_without_an_example() -> None:
    net = make(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh())).bfloat16()
    model = fastgru.convert(net)
    assert np.abs(model(given(random(2, 5, 3))) - expected(net, random(2, 5, 3).bfloat16())).max() < 0.02
    assert "bfloat16" in model.provenance["precision"]


# Dynamically quantized ---------------------------------------------------------------------------------


def quantized(net: Any, dtype: Any = torch.qint8) -> Any:
    layers = {nn.LSTM, nn.GRU, nn.Linear, nn.GRUCell, nn.LSTMCell, nn.RNNCell}
    return torch.ao.quantization.quantize_dynamic(net, layers, dtype=dtype)


@pytest.mark.parametrize("cls", [Tagger, Step, Loop])
def test_dynamically_quantized(cls: Any) -> None:
    net = quantized(make(cls))
    model = fastgru.convert(net, example_inputs=examples(net))
    check(net, model, 0.1)
    layers = "cell" if cls is Loop else "rnn"
    assert "dynamically quantized, computed here with int8 weights" in model.provenance["precision"]
    held = {n.name: n.op.precision for n in model.graph.nodes if n.op.matrices}
    assert {p for n, p in held.items() if n.startswith((layers, "fc"))} == {"int8"}
    assert selftest.verify(model).ok


def test_dynamically_quantized_to_half() -> None:
    net = quantized(make(Step), torch.float16)
    model = fastgru.convert(net, example_inputs=examples(net))
    check(net, model, 1e-3)
    assert {n.op.precision for n in model.graph.nodes if n.op.matrices} == {"float16"}


def test_a_precision_that_is_given_is_taken() -> None:
    net = quantized(make(Step))
    model = fastgru.convert(net, example_inputs=examples(net), precision="float16")
    assert {n.op.precision for n in model.graph.nodes if n.op.matrices} == {"float16"}
    double = fastgru.convert(net, example_inputs=examples(net), dtype="float64")
    assert {n.op.precision for n in double.graph.nodes if n.op.matrices} == {"float32"}


def test_quantized_by_calibration_is_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = nn.Sequential(torch.ao.quantization.QuantStub(), nn.Linear(3, 4), torch.ao.quantization.DeQuantStub())
        net.qconfig = torch.ao.quantization.default_qconfig
        net = torch.ao.quantization.prepare(net.eval())
        net(random(2, 3))
        net = torch.ao.quantization.convert(net)
    with pytest.raises(ConvertError, match=r"layer '0' must be a float one.* got Quantize of torch.ao.nn.quantized"):
        fastgru.convert(net, example_inputs=random(2, 3))
