"""PyTorch modules layer by layer: chains, exported programs and scripts, and wrong imports found."""

from __future__ import annotations

from math import isnan
from typing import Any

import pytest
import test_torch_export

import fastgru
from fastgru.checks import comparison, selftest
from fastgru.checks.comparison import compare
from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.graph import dialects
from fastgru.passes import canonical

torch = pytest.importorskip("torch")
cases = pytest.importorskip("torch_export_cases")
nn = torch.nn
CASES, One, WithLengths, gru = cases.CASES, cases.One, cases.WithLengths, cases.gru

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


class Counter(nn.Module):
    """A layer that is called twice, and a recurrence of which only the last step counts."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 8, batch_first=True)
        self.act = nn.Tanh()
        self.head = nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        y, _ = self.rnn(x)
        return self.act(self.head(self.act(y[:, -1])))


class Taps(nn.Module):
    """Features first in front of a convolution: torch.export's business."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3)
        self.gru = nn.GRU(4, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.gru(torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))[0])


def named(rows: Any, *names: str) -> list[str]:
    return [row.name for row in rows if row.name in names]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_a_chain_of_layers() -> None:
    found = compare(
        nn.Sequential(
            nn.Linear(3, 4),
            nn.Tanh(),
            nn.LSTM(4, 5),
        )
    )
    assert [(row.name, row.kind) for row in found.rows] == [("0", "Linear"), ("1", "Tanh"), ("2", "LSTM")]
    assert found.source == f"PyTorch {torch.__version__}"
    assert all(max(row.error, row.new, row.engine) < 1e-6 for row in found.rows)


def test_a_layer_called_twice_is_there_twice() -> None:
    rows = compare(Counter()).rows
    assert named(rows, "rnn", "act", "head") == ["rnn", "act", "head", "act"]
    assert rows[0].output == "(B, 8) float"  # only its last step is in the graph


@pytest.mark.parametrize("build", [lambda: nn.GRUCell(3, 4), lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))])
def test_cells_and_modules_of_rows(build: Any) -> None:
    rows = compare(build()).rows
    assert [row.output for row in rows] == ["(B, T, 4) float"] * len(rows)
    assert all(row.error < 1e-6 for row in rows)


@pytest.mark.parametrize(
    ("build", "options", "layer"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.GRU(4, 5, batch_first=True)), {}, "1"),
        (Counter, {}, "rnn"),
        (Taps, {"example_inputs": torch.zeros(2, 9, 3)}, "gru"),
    ],
)
def test_a_wrong_layer_is_found(build: Any, options: Any, layer: str, monkeypatch) -> None:
    """The import is refused; the comparison shows the layer, and that those behind it add nothing."""
    module = build()
    monkeypatch.setitem(dialects.GATE_ORDER["gru"], "torch", "zrn")
    with pytest.raises(ConvertError, match="of the import must equal PyTorch"):
        fastgru.convert(module, **options)
    found = compare(module, **options)
    assert next(row for row in found.rows if row.error > 1e-3).name == layer
    assert found.origin.name == layer
    assert {row.name for row in found.rows if row.new > 1e-3} == {layer}


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("loop of")])
def test_exported_programs(name: str) -> None:
    """Every call of every case, also where a program is run step by step; loops are checked as a whole."""
    found = test_torch_export.imported(name)
    x = selftest.make_input(found.graph)
    rows = comparison._rows(found, canonical(found.graph), comparison._told(found, x), x, "float64", None)
    assert rows
    assert all(row.error < 1e-9 and row.new < 1e-9 for row in rows)
    assert all(isnan(row.engine) or row.engine < 1e-9 for row in rows)
    assert {row.value for row in rows} >= set(found.graph.outputs)


def test_names_are_those_of_the_layers() -> None:
    rows = compare(Taps(), example_inputs=torch.zeros(2, 9, 3)).rows
    assert [(row.name, row.kind) for row in rows if "." not in row.name] == [
        ("transpose", "transpose.int"), ("conv", "conv1d"), ("relu", "relu"), ("transpose_1", "transpose.int"),
        ("gru", "gru"), ("head", "linear"),
    ]  # fmt: skip


def test_buffers_are_carried_on() -> None:
    """A module that keeps its state in buffers gives the same each time it is asked, and keeps its own."""
    module = cases.Buffered()
    options = {"example_inputs": torch.ones(1, 4, 1), "axes": {"x": (None, None, None)}}
    first, second = compare(module, **options), compare(module, **options)
    assert first == second
    assert all(row.error < 1e-5 for row in first.rows)
    assert not module.h.any()


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean")
def test_a_script_says_that_it_shows_nothing() -> None:
    found = compare(torch.jit.trace(Counter().eval(), torch.zeros(2, 5, 3)), example_inputs=torch.zeros(2, 5, 3))
    assert found.missing.startswith("TorchScript does not show the values inside a module")
    assert {row.name for row in found.rows} >= {"head"}


def test_what_pytorch_does_not_take_is_said() -> None:
    def body(m: Any, x: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return m.upper(nn.utils.rnn.pad_packed_sequence(m.lower(packed)[0], batch_first=True)[0])[0]

    module = WithLengths(body, lower=gru(4, 3, bidirectional=True), upper=gru(6, 3)).eval()
    imported = to_graph(module, example_inputs=(torch.randn(3, 7, 4), torch.tensor([2, 7, 5])))
    assert imported.oracle is imported.layers is None
    assert "no sequence of no step" in imported.missing


def test_a_program_that_does_not_run_by_itself_is_said(monkeypatch) -> None:
    module = One(lambda m, x: m.gru(torch.exp(x).transpose(1, 2))[0], gru=gru(4, 3))
    monkeypatch.setattr("fastgru.converters.torch_export.recording.REAL", {})
    found = compare(module, example_inputs=torch.zeros(2, 4, 9))
    assert found.missing.startswith("its layers do not run one by one: ")
