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
        of(lambda m, x: m.gru(torch.nextafter(x, x) + torch.lgamma(x) + torch.digamma(x))[0]),
        X, {},
        ["3 problems:", "got torch.nextafter at 'nextafter' (line ", ": write it with other functions of torch",
         "got torch.digamma at 'digamma'", "got torch.lgamma"]),
    "several problems at once": (
        of(lambda m, x: (m.gru(x)[0].mean(0), x.var(1))), X, BT,
        ["2 problems:", "axes to reduce must be of fixed size or time, got the batch",
         "correction must be 0 for a variance over time"]),
    "random numbers": (
        of(lambda m, x: m.gru(x + torch.randn(4))[0]), X, {}, ["torch.randn: call must give the same at every time"]),
    "branch by a value": (
        Branching(), X, BT, ["must be one that torch.export can trace, got a branch, loop or size that depends on"]),
    "inverse transform to a length": (
        of(lambda m, x: torch.istft(torch.stft(x[..., 0], 8, 2, window=torch.ones(8), return_complex=True), 8, 2,
                                    window=torch.ones(8), length=4)), X, BT,
        ["torch.istft: length must be left out, or be the number of samples of the input (length=x.shape[-1]) or less, "
         "got 4"]),
    "circular padding of time": (
        of(lambda m, x: m.gru(F.pad(x.transpose(1, 2), (2, 2), "circular").transpose(1, 2))[0]), X, BT,
        ["circular"]),
    "steps that are fixed": (
        of(lambda m, x: m.gru(x.reshape(x.shape[0], 6, 4))[0]), X, BT,
        ["module must take arguments of sizes x (B, T, 4), got RuntimeError: shape '[2, 6, 4]' is invalid"]),
    "half of the steps": (
        of(lambda m, x: m.gru(x[:, : x.shape[1] // 2])[0]), X, BT,
        ["steps of a slice must be counted from an end, got T // 2 of time"]),
    "steps mixed into features": (
        of(lambda m, x: torch.matmul(torch.relu(torch.matmul(x, x.transpose(1, 2))), x)), X, BT,
        ["torch.relu: argument must not be of attention of all steps to all steps: scores of every "]),
    "rows mixed": (
        of(lambda m, x: m.gru(x)[0] - x[:, :, :3].mean(0)), X, BT,
        ["axes to reduce must be of fixed size or time, got the batch"]),
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
    "nothing returned": (of(lambda m, x: None), X, BT, ["forward must return a tensor, got None"]),
    "rows that differ": (
        Two(lambda m, x, y: x + y), (X, torch.zeros(3, 6, 4)), {}, ["must have one number of rows and one of steps"]),
    "packed rows of a fixed batch": (
        of(lambda m, x: nn.utils.rnn.pad_packed_sequence(m.gru(nn.utils.rnn.pack_padded_sequence(
            x, torch.tensor([6, 6]), batch_first=True))[0], batch_first=True, padding_value=2.0)[0]),
        X, {"axes": {"x": (None, "T", None)}},
        ["packed sequences must be rows of a batch of any size: name it 'B' by axes="]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    module, examples, options, expected = REFUSED[name]
    said = message(module, examples, **options)
    for part in expected:
        assert part in said


def looped(body: Callable[..., Any], axis: int) -> Any:
    """A module that loops over an axis and stacks what it makes."""
    return of(lambda m, x: torch.stack([body(m, x, t) for t in range(x.shape[axis])], axis))


# Without axes: the first line of what is said, and what else.
GUESSED: dict[str, tuple[Any, Any, str, list[str]]] = {
    "operator": (
        of(lambda m, x: torch.nextafter(m.gru(x)[0], m.gru(x)[0])), X,
        "operator must be one that fastgru imports, got torch.nextafter",
        ["(axes: x (B, T, 4))\nIf other axes are meant, give them like this: axes={'x': ('B', 'T', None)}"]),
    "time first": (
        looped(lambda m, x, t: torch.nextafter(m.fc(x[t]), m.fc(x[t])), 0), torch.zeros(6, 2, 4),
        "operator must be one that fastgru imports, got torch.nextafter", ["(axes: x (T, B, 4))"]),
    "no layout can be traced": (
        of(lambda m, x: m.gru(x.view(2, 6, 4))[0]), X,
        "axis 0 of 'x' must be free to be 'B', got a module that works for one size alone (axes: x (B, 6, 4))",
        ["\nIf other axes are meant, give them like this: axes={'x': "]),
    "example of other features": (
        of(lambda m, x: m.gru(x)[0]), torch.zeros(2, 6, 5),
        "module must take arguments of sizes x (2, 6, 5), got RuntimeError: input.size(-1) must be equal", []),
    "number of a tensor": (
        of(lambda m, x: m.gru(x)[0] * x.max().item()), X, "node 'mul",
        ["number must not depend on values that are only"]),
    "another name": (of(lambda m, x: m.gru(x)[0]), {"y": X}, "example_inputs must fit forward of One(x", []),
}  # fmt: skip


@pytest.mark.parametrize("name", GUESSED)
def test_the_reason_of_the_likeliest_axes_comes_first(name: str) -> None:
    module, examples, first, others = GUESSED[name]
    said = message(module, examples)
    assert said.splitlines()[0].startswith(first)
    for part in others:
        assert part in said
    assert "13" not in said.replace("RuntimeError", "")


def test_like_is_refused() -> None:
    with pytest.raises(ConvertError, match="like must be None for a live module"):
        to_graph(nn.Conv1d(3, 4, 2), like=[like(GRU)], example_inputs=torch.zeros(1, 3, 9))


def test_unknown_option() -> None:
    with pytest.raises(ConvertError, match="must be among example_inputs, axes, states, got fix"):
        to_graph(nn.GRU(3, 4), fix={"x": 1})
