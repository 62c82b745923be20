"""TorchScript modules and files against themselves, and the published voice detector against its own probabilities."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_cases import assert_close, run_engine64, run_reference

import fastgru
from fastgru.checks import selftest
from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.layers import GRU, like

torch = pytest.importorskip("torch")
nn = torch.nn
Tensor = torch.Tensor
SILERO = Path(__file__).resolve().parents[3] / "shared" / "models" / "silero_vad"
real = pytest.mark.skipif(not SILERO.is_dir(), reason=f"no {SILERO.name} beside the checkout")
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor to a Python boolean"),
]


class Tagger(nn.Module):
    """Ids to probabilities, in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.gru = nn.Embedding(9, 4), nn.GRU(4, 3, 2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(self.words(x))
        b, t, f = y.shape
        return torch.log_softmax(self.fc(y.reshape(b * t, f)).view(b, t, 2), -1)


class Normed(nn.Module):
    """A norm over time-last values, and an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.norm, self.fc = nn.GRU(4, 3, batch_first=True), nn.BatchNorm1d(3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.gru(x)[0].transpose(1, 2)).transpose(1, 2)
        return self.fc(torch.relu_(y))


class Stateful(nn.Module):
    """An LSTM over time first with its states as arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(4, 3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self.lstm(x, (h, c))
        return self.fc(y), state


class Step(nn.Module):
    """A cell, a loop over layers, a branch by a setting, and lists."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.layers = nn.LSTMCell(4, 3), nn.ModuleList([nn.Linear(3, 3) for _ in range(2)])

    def forward(self, x: Tensor, state: Tensor, times: int) -> tuple[Tensor, Tensor]:
        h, c = self.cell(x, (state[0], state[1]))
        y = h
        for layer in self.layers:
            y = torch.tanh(layer(y)) + y
        if x.size(1) != 4:
            raise ValueError("four features")
        parts = [y]
        for i in range(times):
            parts.append(y * i)
        return torch.cat(parts, 1), torch.stack([h, c])


class Remembering(nn.Module):
    """Keeps its state and the end of the last chunk in attributes, which are empty at first."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.h, self.tail = nn.GRUCell(6, 5), torch.zeros([0]), torch.zeros([0])

    def forward(self, x: Tensor) -> Tensor:
        if len(self.tail) == 0:
            self.tail = torch.zeros([x.size(0), 2])
            self.h = torch.zeros([x.size(0), 5])
        wide = torch.cat([self.tail, x], 1)
        self.h = self.cell(wide, self.h)
        self.tail = wide[:, -2:]
        return torch.sigmoid(self.h)


def _double(values: Any) -> Any:
    if isinstance(values, torch.Tensor):
        return values.double() if values.is_floating_point() else values
    return type(values)(map(_double, values)) if isinstance(values, tuple) else values


def _script(module: nn.Module) -> Any:
    return torch.jit.script(module.double())


IDS, FRAMES = torch.randint(0, 9, (2, 7)), torch.randn(2, 7, 4)
CASES: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "script": (lambda: _script(Tagger()), IDS, {}, "x (B, T)"),
    "trace": (lambda: torch.jit.trace(Tagger().double(), IDS), IDS, {}, "x (B, T)"),
    "script in place": (lambda: _script(Normed().eval()), FRAMES, {}, "x (B, T, 4)"),
    "trace in place": (lambda: torch.jit.trace(Normed().double().eval(), _double(FRAMES)), FRAMES, {}, "x (B, T, 4)"),
    "states over time": (
        lambda: _script(Stateful()), (torch.randn(7, 2, 4), torch.randn(2, 2, 3), torch.randn(2, 2, 3)),
        {"axes": {"x": ("T", "B", None)}}, "x (T, B, 4), h (2, B, 3), c (2, B, 3)"),
    "states of a step": (
        lambda: _script(Step()), (torch.randn(2, 4), torch.randn(2, 2, 3)), {"fix": {"times": 2}},
        "x (B, 4), state (2, B, 3)"),
    "frozen": (
        lambda: torch.jit.freeze(_script(Step().eval())), (torch.randn(2, 4), torch.randn(2, 2, 3)),
        {"fix": {"times": 2}}, "x (B, 4), state (2, B, 3)"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_scripts(name: str) -> None:
    torch.manual_seed(0)
    build, examples, options, axes = CASES[name]
    found = to_graph(build(), example_inputs=_double(examples), **options)
    x = selftest.make_input(found.graph)
    expected = found.oracle(x)
    for forward in (run_reference, run_engine64):
        assert_close(forward(found.graph, x), expected, 1e-9)
    assert found.provenance["axes"] == axes


def test_attributes_are_states() -> None:
    """The graph goes on where the script would; the script itself is left at its start."""
    module = torch.jit.script(Remembering().eval())
    found = to_graph(module, example_inputs=torch.zeros(1, 4))
    assert module.tail.numel() == 0
    frames = torch.randn(5, 1, 4)
    expected = [module(frame).detach() for frame in frames]
    (y,) = run_reference(found.graph, frames.transpose(0, 1).numpy())
    np.testing.assert_allclose(y[0], torch.cat(expected), atol=1e-5)
    assert_close((y,), found.oracle(frames.transpose(0, 1).numpy()), 1e-5)


def test_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "step.jit"
    torch.jit.script(Step().eval()).save(str(path))
    examples = (torch.zeros(1, 4), torch.zeros(2, 1, 3))
    model = fastgru.convert(path, example_inputs=examples, fix={"times": 3})
    assert selftest.verify(model).ok
    assert model(np.zeros((2, 4), np.float32)).shape == (2, 12)


# What is refused ----------------------------------------------------------------------------------


class Unsupported(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        _ = torch.digamma(x)
        return torch.nextafter(x, x) + torch.lgamma(x)


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum(dim=1).max(dim=0)[0] > 0:
            return x
        return x + 1


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.sum()
        return x if bool(y > 0) else x + 1


class Part(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y[:, 0] = 0
        return y


class Seen(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        first = y[:, 0]
        y.relu_()
        return y[:, 1] + first


class Fussy(nn.Module):
    def forward(self, x: Tensor, mode: int) -> Tensor:
        if mode != 3:
            raise ValueError("mode must be three")
        return x * mode


ROWS = torch.zeros(2, 4)
REFUSED: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "operators": (
        Unsupported, {},
        ["2 problems:", "torch.nextafter at 'nextafter' (line ", "torch.lgamma at 'lgamma' (line "]),
    "batch in a branch": (Branch, {}, ["condition must be known", "got the batch"]),
    "value in a branch": (
        Deciding, {"axes": {"x": (None, None)}},
        ["number must be known to decide or to size something, got a computed"]),
    "part in place": (Part, {}, ["call must not change a part of a tensor in place"]),
    "view before": (Seen, {}, ["call must not change a tensor in place of which there is a view"]),
    "raised": (Fussy, {"fix": {"mode": 2}}, ["module must take arguments", "mode must be three"]),
    "no such parameter": (Fussy, {"fix": {"made": 3}}, ["fix must name parameters (x, mode), got made"]),
    "missing argument": (Fussy, {}, ["example_inputs must fit forward of"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    cls, options, expected = REFUSED[name]
    with pytest.raises(ConvertError) as caught:
        to_graph(torch.jit.script(cls()), example_inputs=ROWS, **options)
    for part in expected:
        assert part in str(caught.value)
    assert "digamma" not in str(caught.value)  # which nothing reads


def test_overloaded_forward() -> None:
    with pytest.raises(ConvertError, match="script must have one forward, got GRU"):
        to_graph(torch.jit.script(nn.GRU(3, 4)), example_inputs=torch.zeros(5, 1, 3))


def test_scripts_by_another_name(tmp_path: Path) -> None:
    torch.jit.script(Part()).save(str(tmp_path / "script.pt"))
    with pytest.raises(ConvertError, match="example_inputs must be given for TorchScript"):
        to_graph(tmp_path / "script.pt")


def test_examples_must_be_given() -> None:
    with pytest.raises(ConvertError, match="example_inputs must be given for TorchScript"):
        to_graph(torch.jit.script(Part()))


def test_like_is_refused() -> None:
    with pytest.raises(ConvertError, match="like must be None for TorchScript"):
        to_graph(torch.jit.script(Part()), like=[like(GRU)], example_inputs=ROWS)


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.jit"
    path.write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(ConvertError, match=r"file must be one of torch\.jit\.save"):
        to_graph(path, example_inputs=ROWS)


def test_a_file_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.jit"
    torch.jit.script(Tagger()).save(str(path))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("large/data", bytes(100 << 20))
    with pytest.raises(ConvertError, match=r"large\.jit' must unpack to at most 64 times its"):
        to_graph(path, example_inputs=ROWS)


# The published voice detector ---------------------------------------------------------------------


@real
@pytest.mark.parametrize(("part", "samples"), [("_model", 576), ("_model_8k", 288)])
def test_silero_submodels(part: str, samples: int) -> None:
    module = getattr(torch.jit.load(str(SILERO / "silero_vad.jit")), part)
    found = to_graph(module, example_inputs=(torch.zeros(1, samples), torch.zeros(2, 1, 128)))
    assert found.graph.inputs["x"].shape == (samples,)
    assert not found.graph.has_state_nodes()  # the LSTM holds its states
    selftest.make(found.graph, found.oracle, found.provenance)
    if part == "_model":
        with np.load(SILERO / "reference.npz") as arrays:
            (y,) = run_reference(found.graph, arrays["input"][None])
            np.testing.assert_allclose(y.reshape(-1), arrays["prob"], atol=1e-5)


@real
@pytest.mark.parametrize(("rate", "samples"), [(16000, 512), (8000, 256)])
def test_silero_file(rate: int, samples: int) -> None:
    model = fastgru.convert(SILERO / "silero_vad.jit", example_inputs=torch.zeros(1, samples), fix={"sr": rate})
    assert selftest.verify(model).ok
    if rate == 16000:
        with np.load(SILERO / "reference.npz") as arrays:
            chunks = arrays["input"][:, 64:].copy()
            stream = model.stream()
            found = [stream.step(chunk)[0] for chunk in chunks]
            np.testing.assert_allclose(found, arrays["prob"], atol=1e-5)
            np.testing.assert_array_equal(model(chunks[None]).reshape(-1), np.array(found).reshape(-1))
