"""Live PyTorch modules against their own forward pass: every layer, every option, every size class."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_cases import assert_close, run_engine64, run_reference

from fastgru.converters import Imported, to_graph
from fastgru.passes import canonical

torch = pytest.importorskip("torch")
nn = torch.nn
Called = pytest.importorskip("torch_modules").Called

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
SIZES = ((1, 1), (2, 3), (3, 2), (7, 8), (9, 17), (33, 16))  # (inputs, hidden)
BATCH, TIME = 2, 6
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}

# A way to run a graph on x, beside the reference; each is held to the tolerances above.
FORWARDS = [pytest.param(run_reference, id="reference"), pytest.param(run_engine64, id="engine")]


def make(build: Callable[[], Any], dtype: Any = torch.float64, seed: int = 0) -> Any:
    """A module with weights that tell gates apart, in train mode, as a user may leave it."""
    torch.manual_seed(seed)
    module = build().to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.7, 0.7)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0)
            elif name.endswith("running_mean"):
                buffer.uniform_(-1.0, 1.0)
    return module


def draw(imported: Imported) -> Any:
    """An input of the graph's own spec."""
    (spec,) = imported.graph.inputs.values()
    rng = np.random.default_rng(1)
    shape = (BATCH, *[TIME] * spec.time, *spec.shape)
    return rng.integers(0, 5, shape) if spec.dtype == "int" else 2.0 * rng.normal(size=shape)


def check(module: Any, forward: Callable[..., Any] = run_reference, dtype: Any = torch.float64) -> Imported:
    """Import a module and compare all its outputs with PyTorch's."""
    training = [m.training for m in module.modules()]
    imported = to_graph(module)
    x = draw(imported)
    expected = imported.oracle(x)
    assert [m.training for m in module.modules()] == training
    assert_close(forward(imported.graph, x), expected, TOLERANCE[dtype])
    return imported


def names(imported: Imported) -> list[str]:
    return [node.name for node in imported.graph.nodes]


# Recurrent layers ---------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "RNN": {"nonlinearity": ("tanh", "relu")},
    "GRU": {},
    "LSTM": {"proj_size": (0, 1)},
}
COMMON = {"num_layers": (1, 2), "bidirectional": (False, True), "bias": (True, False), "batch_first": (True, False)}


def variants() -> list[Any]:
    """Every kind of layer with every combination of its options."""
    rows = []
    for kind, own in KINDS.items():
        options = {**COMMON, **own}
        for values in itertools.product(*options.values()):
            chosen = dict(zip(options, values, strict=True))
            rows.append(pytest.param(kind, chosen, id="-".join([kind, *map(str, values)])))
    return rows


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(("kind", "options"), variants())
def test_recurrent_options(kind: str, options: dict[str, Any], forward: Callable[..., Any]) -> None:
    imported = check(make(lambda: getattr(nn, kind)(3, 5, **options)), forward)
    stem = kind.lower()
    layers = [f"{stem}.l{k}" for k in (0, 1)] if options["num_layers"] == 2 else [stem]
    ends = [".forward", ".backward", ""] if options["bidirectional"] else [""]
    assert names(imported) == [layer + end for layer in layers for end in ends]


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(("inputs", "hidden"), SIZES)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_recurrent_sizes(kind: str, inputs: int, hidden: int, forward: Callable[..., Any]) -> None:
    check(make(lambda: getattr(nn, kind)(inputs, hidden)), forward)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"), [("RNNCell", {"nonlinearity": "relu"}), ("RNNCell", {}), ("GRUCell", {}), ("LSTMCell", {})]
)
def test_cells_run_over_time(kind: str, options: Any, bias: bool, forward: Callable[..., Any]) -> None:
    imported = check(make(lambda: getattr(nn, kind)(3, 5, bias=bias, **options)), forward)
    assert names(imported) == [kind.lower()]
    assert (imported.graph.nodes[0].op.bias is not None) == bias


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_float32_modules_stay_float32(kind: str) -> None:
    imported = check(make(lambda: getattr(nn, kind)(3, 5), torch.float32), dtype=torch.float32)
    assert {w.dtype for node in imported.graph.nodes for w in node.op.weights().values()} == {np.dtype("float32")}


def test_float64_modules_stay_float64() -> None:
    imported = to_graph(make(lambda: nn.GRU(3, 5)))
    assert {w.dtype for node in imported.graph.nodes for w in node.op.weights().values()} == {np.dtype("float64")}


def test_half_weights_become_float32() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        weights = to_graph(make(lambda: nn.GRU(3, 5), dtype)).graph.nodes[0].op.weights()
        assert weights["weight_x"].dtype == np.float32


def test_provenance_and_masking() -> None:
    imported = to_graph(nn.GRU(3, 5))
    assert [*imported.provenance] == ["framework", "source", "notes", "axes", "layout"]
    assert imported.provenance["framework"] == f"PyTorch {torch.__version__}"
    assert imported.provenance["source"] == "GRU"
    assert imported.graph.nodes[0].op.mask_output == "zero"


# Every other layer --------------------------------------------------------------------------------

LAYERS: dict[str, Callable[[], Any]] = {
    "linear": lambda: nn.Linear(3, 4),
    "linear without bias": lambda: nn.Linear(3, 4, bias=False),
    "embedding": lambda: nn.Embedding(5, 3),
    "embedding with padding": lambda: nn.Embedding(5, 3, padding_idx=0),
    "layer norm": lambda: nn.LayerNorm(3, eps=1e-2),
    "layer norm without affine": lambda: nn.LayerNorm(3, elementwise_affine=False),
    "layer norm without bias": lambda: nn.LayerNorm(3, bias=False),
    "batch norm": lambda: nn.BatchNorm1d(3, eps=1e-2),
    "batch norm without affine": lambda: nn.BatchNorm1d(3, affine=False),
}
ACTIVATIONS: dict[str, Callable[[], Any]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "hardsigmoid": nn.Hardsigmoid,
    "softsign": nn.Softsign,
    "softplus": nn.Softplus,
    "elu": lambda: nn.ELU(0.7),
    "leaky relu": lambda: nn.LeakyReLU(0.2),
    "threshold": lambda: nn.Threshold(0.3, 0),
    "threshold to a value": lambda: nn.Threshold(0.3, 2),
    "softplus of a slope": lambda: nn.Softplus(beta=2),
    "softplus up to a threshold": lambda: nn.Softplus(threshold=5),
    "softmax": lambda: nn.Softmax(dim=-1),
    "softmax over time": lambda: nn.Softmax(dim=1),
    "log softmax": lambda: nn.LogSoftmax(dim=-1),
    "identity": nn.Identity,
    "dropout": lambda: nn.Dropout(0.9),
    "alpha dropout": lambda: nn.AlphaDropout(0.9),
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, forward: Callable[..., Any]) -> None:
    check(make(LAYERS[name]), forward)


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, forward: Callable[..., Any]) -> None:
    check(make(lambda: nn.Sequential(nn.Linear(3, 4), ACTIVATIONS[name]())), forward)


# Whole modules ------------------------------------------------------------------------------------


class StateWithDefault(nn.Module):
    """Takes and returns the state, as models that are run chunk by chunk do."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Any, state: Any = None) -> Any:
        y, state = self.lstm(x, state)
        return self.fc(y), state


class State(StateWithDefault):
    """The same with a state that must be given."""

    def forward(self, x: Any, state: Any) -> Any:
        return super().forward(x, state)


def from_zeros(m: Any, x: Any) -> Any:
    h0 = torch.zeros(1, x.size(0), 4, dtype=x.dtype).to(x.device).requires_grad_()
    y, _ = m.gru(x, h0)
    return y


def from_zeros_of_both(m: Any, x: Any) -> Any:
    h0 = x.new_zeros(4, x.shape[0], 4)
    return m.both(m.gru(x)[0], (h0, torch.zeros_like(h0)))[0]


def in_a_dict(m: Any, x: Any) -> Any:
    y, h = m.gru(x)
    return {"y": y, "more": [m.fc(y), h]}


def of_both_ends(m: Any, x: Any) -> Any:
    _, (h, _) = m.both(m.gru(x)[0])
    return m.wide(torch.cat((h[-2], h[-1, :, :]), dim=1))


FORWARD_FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "sequence": lambda m, x: torch.tanh(m.fc(m.gru(x)[0])),
    "last step": lambda m, x: m.fc(m.gru(x)[0][:, -1]),
    "last step of three axes": lambda m, x: m.fc(m.gru(x)[0][:, -1, :]),
    "last step by ellipsis": lambda m, x: m.fc(m.gru(x)[0][..., -1, :]),
    "last step after layers": lambda m, x: torch.sigmoid(m.relu(m.fc(m.gru(x)[0])))[:, -1],
    "final state": lambda m, x: m.fc(m.gru(x)[1][-1]),
    "squeezed state": lambda m, x: m.fc(m.gru(x)[1].squeeze(0)),
    "final states of both directions": of_both_ends,
    "zeros as the state": from_zeros,
    "zeros as both states": from_zeros_of_both,
    "residual": lambda m, x: (lambda y: m.fc(y) + y)(m.gru(x)[0]),
    "gated": lambda m, x: (lambda y: torch.sigmoid(m.fc(y)) * y.tanh())(m.gru(x)[0]),
    "concatenated": lambda m, x: m.wide(torch.cat([m.gru(x)[0], m.fc(m.gru(x)[0])], dim=-1)),
    "concatenated with the input": lambda m, x: torch.cat([m.gru(x)[0], x], 2),
    "scaled": lambda m, x: 2 * m.gru(x * 0.5 - 1)[0] / 4 + 1,
    "norm over transposed": lambda m, x: m.norm(m.gru(x)[0].transpose(1, 2)).transpose(1, 2),
    "norm over permuted": lambda m, x: torch.permute(m.norm(m.gru(x)[0].permute(0, 2, 1)), (0, 2, 1)),
    "norm of the last step": lambda m, x: m.norm(m.gru(x)[0][:, -1]),
    "two outputs": lambda m, x: (lambda y: (m.fc(y), y[:, -1]))(m.gru(x)[0]),
    "outputs in a dict": in_a_dict,
    "flipped": lambda m, x: m.gru(x.flip([1]))[0].flip(1),
    "both directions": lambda m, x: m.wide(m.both(m.gru(x)[0])[0]),
    "dropout": lambda m, x: nn.functional.dropout(m.drop(m.gru(x)[0]), 0.5, m.training),
    "relu in place": lambda m, x: m.relu(m.fc(m.gru(x)[0])),
    "softmax": lambda m, x: nn.functional.softmax(m.gru(x)[0], dim=2),
    "log softmax": lambda m, x: torch.log_softmax(m.fc(m.gru(x)[0]), -1),
    "log softmax of the last step": lambda m, x: nn.functional.log_softmax(m.fc(m.gru(x)[0][:, -1]), dim=1),
    "log softmax as a method": lambda m, x: m.fc(m.gru(x)[1][-1]).log_softmax(-1),
    "whole state": lambda m, x: m.fc(m.gru(x)[1]),
    "cell state": lambda m, x: m.fc(m.both(m.gru(x)[0])[1][1][-1]),
    "transposed output": lambda m, x: m.gru(x)[0].transpose(1, 2),
    "softmax of the last step": lambda m, x: torch.softmax(m.gru(x)[0][:, -1], 1),
    "functions": lambda m, x: nn.functional.leaky_relu(nn.functional.elu(m.fc(m.gru(x)[0]), 0.5), negative_slope=0.3),
    "unused layers": lambda m, x: (m.both(m.gru(x)[0]), m.fc(m.gru(x)[0]))[1],
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", FORWARD_FUNCTIONS)
def test_forward_is_traced(name: str, forward: Callable[..., Any]) -> None:
    check(make(lambda: Called(FORWARD_FUNCTIONS[name])), forward)


TIME_FIRST: dict[str, Callable[[Any, Any], Any]] = {
    "sequence": lambda m, x: m.fc(m.gru(x)[0]),
    "last step": lambda m, x: m.fc(m.gru(x)[0][-1]),
    "transposed inside": lambda m, x: m.fc(m.gru(x.transpose(0, 1))[0].transpose(0, 1)),
    "turned to batch first": lambda m, x: m.both(m.gru(x)[0].transpose(0, 1))[0],
    "norm over permuted": lambda m, x: m.norm(m.gru(x)[0].permute(1, 2, 0)).permute(2, 0, 1),
}


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize("name", TIME_FIRST)
def test_time_first_modules_give_batch_first_graphs(name: str, forward: Callable[..., Any]) -> None:
    check(make(lambda: Called(TIME_FIRST[name], batch_first=False)), forward)


def test_last_step_is_moved_into_the_recurrence() -> None:
    imported = check(make(lambda: Called(FORWARD_FUNCTIONS["last step after layers"])))
    graph = canonical(imported.graph)
    assert [node.name for node in graph.nodes] == ["gru", "fc", "relu", "sigmoid"]
    assert not graph.nodes[0].op.return_sequences
    assert graph.outputs == ("sigmoid",)


def test_last_step_alone_is_called_as_its_layer() -> None:
    imported = check(make(lambda: Called(lambda m, x: m.gru(x)[0][:, -1])))
    assert (names(imported), imported.graph.outputs) == (["gru"], ("gru",))


def test_every_step_and_the_last_one_are_of_one_layer() -> None:
    imported = check(make(lambda: Called(FORWARD_FUNCTIONS["two outputs"])))
    assert [type(node.op).__name__ for node in imported.graph.nodes] == ["GRU", "Dense", "TimeStep"]


def test_outputs_in_a_dict_are_called_as_there() -> None:
    assert check(make(lambda: Called(in_a_dict))).graph.outputs == ("y", "more.0")


@pytest.mark.parametrize("cls", [StateWithDefault, State])
def test_states_are_the_streams(cls: Any) -> None:
    imported = check(make(cls))
    assert imported.graph.outputs == ("fc",)


def test_sequential_is_named_by_path() -> None:
    inner = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    module = nn.Sequential(nn.Embedding(5, 3), inner, nn.LSTM(4, 2, batch_first=True))
    assert names(check(make(lambda: module))) == ["0", "1.0", "1.1", "2"]


def test_layers_used_twice_are_there_twice() -> None:
    imported = check(make(lambda: Called(lambda m, x: m.fc(m.fc(m.gru(x)[0])))))
    assert names(imported) == ["gru", "fc", "fc_1"]


def test_parametrizations_are_evaluated() -> None:
    module = make(lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))))
    check(module)


def test_subclass_that_keeps_its_forward_is_its_base() -> None:
    class Mine(nn.GRU):
        """Nothing of its own."""

    check(make(lambda: Mine(3, 4)))


def test_modules_of_rows_run_on_every_step() -> None:
    imported = check(make(lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True))))
    assert imported.graph.inputs["x"].time
    assert imported.oracle(np.zeros((2, 5, 3)))[0].shape == (2, 5, 4)
