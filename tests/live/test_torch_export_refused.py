"""Modules that cannot be imported through torch.export: one message names every problem and its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastgru.converters import to_graph
from fastgru.errors import ConvertError
from fastgru.layers import GRU, like

torch = pytest.importorskip("torch")
cases = pytest.importorskip("torch_export_cases")
nn, F = torch.nn, torch.nn.functional
One, Two, WithState, gru = cases.One, cases.Two, cases.WithState, cases.gru


def message(module: Any, examples: Any, **options: Any) -> str:
    """Return the message of the refusal."""
    with pytest.raises(ConvertError) as caught:
        to_graph(module, example_inputs=examples, **options)
    return str(caught.value)


class Attribute(nn.Module):
    """Keeps its state where nobody sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.h = nn.GRUCell(4, 5), None

    def forward(self, x: Any) -> Any:
        self.h = self.cell(x, self.h)
        return self.h


class Branching(nn.Module):
    """Asks a tensor what to do."""

    def forward(self, x: Any) -> Any:
        if x.sum() > 0:
            return x
        return x + 1


def of(body: Callable[..., Any]) -> Any:
    """A module with a GRU and a function as its forward."""
    return One(body, gru=gru(4, 3), fc=nn.Linear(4, 4))


X = torch.zeros(2, 6, 4)
BT = {"axes": {"x": ("B", "T", None)}}
REFUSED: dict[str, tuple[Any, Any, dict[str, Any], list[str]]] = {
    "operators without a translation": (
        of(lambda m, x: m.gru(torch.nextafter(x, x) + torch.lgamma(x) + torch.kthvalue(x, 2, keepdim=True)[0])[0]),
        X, {},
        ["3 problems:", "got aten::nextafter at 'nextafter' (line ", "torch_export/elementwise.py would hold it",
         "got aten::kthvalue at 'kthvalue'", "torch_export/reductions.py would hold it", "got aten::lgamma"]),
    "several problems at once": (
        of(lambda m, x: (m.gru(x)[0].mean(0), x.var(1))), X, BT,
        ["2 problems:", "axis 0 must be one of fixed size, got the batch",
         "correction must be 0 for a variance over time"]),
    "random numbers": (
        of(lambda m, x: m.gru(x + torch.randn(4))[0]), X, {}, ["aten::randn: call must give the same at every time"]),
    "branch by a value": (
        Branching(), X, BT, ["must be one that torch.export can trace, got GuardOnDataDependentSymNode"]),
    "inverse transform to a length": (
        of(lambda m, x: torch.istft(torch.stft(x[..., 0], 8, 2, window=torch.ones(8), return_complex=True), 8, 2,
                                    window=torch.ones(8), length=4)), X, BT,
        ["aten::istft: length must be left out, got 4: give signals of a multiple of the hop"]),
    "circular padding of time": (
        of(lambda m, x: m.gru(F.pad(x.transpose(1, 2), (2, 2), "circular").transpose(1, 2))[0]), X, BT,
        ["circular"]),
    "steps that are fixed": (
        of(lambda m, x: m.gru(x.reshape(x.shape[0], 6, 4))[0]), X, BT,
        ["module must take arguments of sizes x (B, T, 4), got RuntimeError: shape '[2, 6, 4]' is invalid"]),
    "half of the steps": (
        of(lambda m, x: m.gru(x[:, : x.shape[1] // 2])[0]), X, BT, ["last step must be counted from the end"]),
    "steps mixed into features": (
        of(lambda m, x: torch.matmul(torch.softmax(torch.matmul(x, x.transpose(1, 2)), -1), x)), X, BT,
        ["product must have time on one axis of its inputs, got it on 2 that differ"]),
    "rows mixed": (
        of(lambda m, x: m.gru(x)[0] - x[:, :, :3].mean(0)), X, BT, ["must be one of fixed size, got the batch"]),
    "state in an attribute": (
        Attribute(), torch.zeros(2, 4), {}, ["states must be arguments and results of forward, got tensors kept in h"]),
    "state that is not a layer's": (
        WithState(lambda m, x, h: (m.gru(x, h)[0] + h.transpose(0, 1), h * 2), gru=gru(4, 3)),
        (X, torch.zeros(1, 2, 3)), {"axes": {"x": ("B", "T", None), "h": (None, "B", None)}},
        ["state 'h' must be that of layers over time"]),
    "states that are none": (
        WithState(lambda m, x, h: m.gru(x, h), gru=gru(4, 3)), (X, torch.zeros(1, 2, 3)),
        {"states": {"k": "1", "h": "7"}},
        ["states must name inputs (x, h), got 'k'", "states must name outputs (0, 1), got '7'"]),
    "axes that do not fit": (
        of(lambda m, x: m.gru(x)[0] * 2), X, {"axes": {"x": ("B", "T"), "y": ("B",)}},
        ["axes must name arguments (x), got 'y'", "axes of 'x' must be 3 of 'B', 'T' and None, got ('B', 'T')"]),
    "axes that are no mapping": (of(lambda m, x: m.gru(x)[0] * 2), X, {"axes": "BTF"},
                                 ["axes must be a mapping of names, got 'BTF'"]),
    "axes twice": (
        of(lambda m, x: m.gru(x)[0] * 2), X, {"axes": {"x": ("B", "B", None)}}, ["must have 'B' and 'T' once at most"]),
    "arguments that do not fit": (of(lambda m, x: x), (X, X), {}, ["example_inputs must fit forward of One(x: "]),
    "no tensor": (of(lambda m, x: x), (3,), {}, ["example_inputs must have a tensor, got none"]),
    "nothing returned": (of(lambda m, x: None), X, BT, ["forward must return a tensor, got none"]),
    "rows that differ": (
        Two(lambda m, x, y: x + y), (X, torch.zeros(3, 6, 4)), {}, ["must have one number of rows and one of steps"]),
    "padding of another value": (
        of(lambda m, x: nn.utils.rnn.pad_packed_sequence(m.gru(nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor([6, 6]), batch_first=True))[0], batch_first=True, padding_value=2.0)[0]),
        X, {"axes": {"x": (None, "T", None)}},
        ["padding_value must be 0, got 2.0"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    module, examples, options, expected = REFUSED[name]
    said = message(module, examples, **options)
    for part in expected:
        assert part in said


def test_modules_without_examples_ask_for_them() -> None:
    with pytest.raises(ConvertError, match=r"with example_inputs= torch.export is asked to trace it"):
        to_graph(nn.Conv1d(3, 4, 2))


@pytest.mark.parametrize("option", [{"axes": {"x": ("B", "T", None)}}, {"states": {}}])
def test_options_need_examples(option: dict[str, Any]) -> None:
    with pytest.raises(ConvertError, match="example_inputs must be given with axes or states"):
        to_graph(nn.GRU(3, 4), **option)


def test_like_is_refused() -> None:
    with pytest.raises(ConvertError, match="like must be None for a live module"):
        to_graph(nn.Conv1d(3, 4, 2), like=[like(GRU)], example_inputs=torch.zeros(1, 3, 9))


def test_unknown_option() -> None:
    with pytest.raises(ConvertError, match="must be among example_inputs, axes, states, got fix"):
        to_graph(nn.GRU(3, 4), fix={"x": 1})
