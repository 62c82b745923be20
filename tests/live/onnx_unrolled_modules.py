"""PyTorch modules with loops over time, which tracing writes out step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

I, H = 5, 6
CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


def steps(x: Any, axis: int, way: str) -> list[Any]:
    """All steps of a sequence, taken in one of the ways that exporters know."""
    if way == "unbind":
        return list(x.unbind(axis))
    if way == "split":
        return [part.squeeze(axis) for part in x.split(1, axis)]
    if way == "slice":
        return [x.narrow(axis, t, 1).squeeze(axis) for t in range(x.shape[axis])]
    return [x.select(axis, t) for t in range(x.shape[axis])]


class Loop(nn.Module):
    """Cells in a loop.

    Parameters
    ----------
    kind : {"rnn", "gru", "lstm"}
    axis : int
        Which axis is time.
    way : str
        How steps are taken.
    gives : {"steps", "joined", "last", "both", "states", "head"}
    start : {"zeros", "parameter", "computed"}
    reverse : bool
    layers : int
    together : bool
        Whether the cells of all layers are in one loop.
    bias : bool
    """

    def __init__(
        self, kind: str, *, axis: int = 1, way: str = "select", gives: str = "steps", start: str = "zeros",
        reverse: bool = False, layers: int = 1, together: bool = False, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kind, self.axis, self.way, self.gives, self.start = kind, axis, way, gives, start
        self.reverse, self.together = reverse, together
        self.cells = nn.ModuleList([CELLS[kind](H if i else I, H, bias=bias) for i in range(layers)])
        self.h0 = nn.Parameter(torch.randn(1, H))
        self.project, self.head = nn.Linear(3, H), nn.Linear(H, 2)

    def initial(self, x: Any, c: Any) -> tuple[Any, Any]:
        rows = x.shape[1 - self.axis]
        zeros = x.new_zeros(rows, H)
        starts = {
            "zeros": lambda: zeros,
            "parameter": lambda: self.h0.expand(rows, H),
            "computed": lambda: self.project(c),
        }
        return starts[self.start](), zeros

    def step(self, cell: Any, x: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        return cell(x, state) if self.kind == "lstm" else (cell(x, state[0]), state[1])

    def run(self, xs: list[Any], x: Any, c: Any) -> tuple[list[Any], tuple[Any, Any]]:
        if self.together:
            states = [self.initial(x, c) for _ in self.cells]
            ys = []
            for y in xs:
                for i, cell in enumerate(self.cells):
                    states[i] = self.step(cell, y, states[i])
                    y = states[i][0]
                ys.append(y)
            return ys, states[-1]
        for cell in self.cells:
            state, ys = self.initial(x, c), []
            for y in xs:
                state = self.step(cell, y, state)
                ys.append(state[0])
            xs = ys
        return xs, state

    def forward(self, x: Any, c: Any = None) -> Any:
        xs = steps(x, self.axis, self.way)
        ys, state = self.run(xs[::-1] if self.reverse else xs, x, c)
        ys = ys[::-1] if self.reverse else ys
        gives: dict[str, Callable[[], Any]] = {
            "steps": lambda: torch.stack(ys, self.axis),
            "joined": lambda: torch.cat([y.unsqueeze(self.axis) for y in ys], self.axis),
            "last": lambda: state[0],
            "both": lambda: (torch.stack(ys, self.axis), state[0]),
            "states": lambda: tuple(state),
            "head": lambda: torch.stack([self.head(y) for y in ys], self.axis),
        }
        return gives[self.gives]()


class Parts(nn.Module):
    """Layers that the functions of `BODIES` use; `body` is one of them."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.body = body
        self.W, self.U, self.V = nn.Linear(I, H), nn.Linear(H, H), nn.Linear(H, H, bias=False)
        self.gates, self.back = nn.Linear(I, 4 * H), nn.Linear(H, 4 * H, bias=False)
        self.f, self.b, self.g = nn.GRUCell(I, H), nn.GRUCell(I, H), nn.GRUCell(2 * H, H)
        self.norm, self.both, self.of_c = nn.LayerNorm(H), nn.Linear(2 * H, 3), nn.Linear(3, H)
        self.before, self.conv = nn.Linear(I, I), nn.Conv1d(I, I, 3)

    def forward(self, *args: Any) -> Any:
        return self.body(self, *args)


def _loop(m: Any, x: Any, step: Callable[..., Any], *, h: Any = None) -> Any:
    """The values of a loop whose `step` is given each step and the state before it."""
    h, ys = x.new_zeros(x.shape[0], H) if h is None else h, []
    for t in range(x.shape[1]):
        h = step(x[:, t], h, t)
        ys.append(h)
    return ys


def _stacked(m: Any, x: Any, step: Callable[..., Any], **start: Any) -> Any:
    return torch.stack(_loop(m, x, step, **start), 1)


def normalized(m: Any, x: Any) -> Any:
    return _stacked(m, x, lambda v, h, t: torch.tanh(m.norm(m.W(v) + m.V(h))))


def residual(m: Any, x: Any) -> Any:
    ys = _loop(m, x, lambda v, h, t: torch.tanh(m.W(v) + m.V(h)))
    return torch.stack([y + m.W(x[:, t]) for t, y in enumerate(ys)], 1)


def masked(m: Any, x: Any, mask: Any) -> Any:
    return _stacked(m, x, lambda v, h, t: torch.where(mask[:, t].unsqueeze(1), m.f(v, h), h))


def weighted(m: Any, x: Any, mask: Any) -> Any:
    return _stacked(m, x, lambda v, h, t: mask[:, t, None] * m.f(v, h) + (1 - mask[:, t, None]) * h)


def with_context(m: Any, x: Any, c: Any) -> Any:
    return _stacked(m, x, lambda v, h, t: torch.tanh(m.W(v) + m.V(h) + m.of_c(c)))


def first_step_without_state(m: Any, x: Any) -> Any:
    return _stacked(m, x, lambda v, h, t: torch.tanh(m.W(v) + m.V(h)) if t else torch.tanh(m.W(v)))


def first_step_of_an_lstm_without_state(m: Any, x: Any) -> Any:
    h = c = None
    ys = []
    for t in range(x.shape[1]):
        a = m.gates(x[:, t]) if h is None else m.gates(x[:, t]) + m.back(h)
        i, f, g, o = a.split(H, 1)
        new = torch.sigmoid(i) * torch.tanh(g)
        c = new if c is None else torch.sigmoid(f) * c + new
        h = torch.sigmoid(o) * torch.tanh(c)
        ys.append(h)
    return torch.stack(ys, 1)


def zeros_like_a_step(m: Any, x: Any) -> Any:
    return _stacked(m, x, lambda v, h, t: torch.tanh(m.W(v) + m.V(h)), h=torch.zeros_like(m.W(x[:, 0])))


def differences(m: Any, x: Any) -> Any:
    before, h, ys = torch.zeros_like(x[:, 0]), x.new_zeros(x.shape[0], H), []
    for t in range(x.shape[1]):
        h = torch.tanh(m.W(x[:, t] - before) + m.V(h))
        before = x[:, t]
        ys.append(h)
    return torch.stack(ys, 1)


def given_before_the_update(m: Any, x: Any) -> Any:
    h, ys = x.new_zeros(x.shape[0], H), []
    for t in range(x.shape[1]):
        ys.append(m.V(h) + m.W(x[:, t]))
        h = torch.tanh(m.W(x[:, t]) + m.U(h))
    return torch.stack(ys, 1)


def two_steps_back(m: Any, x: Any) -> Any:
    h = k = x.new_zeros(x.shape[0], H)
    ys = []
    for t in range(x.shape[1]):
        h, k = torch.tanh(m.W(x[:, t]) + m.U(h) + m.V(k)), h
        ys.append(h)
    return torch.stack(ys, 1)


def bidirectional(m: Any, x: Any, joined: str = "after") -> Any:
    f = _loop(m, x, lambda v, h, t: m.f(v, h))
    b, h = [], x.new_zeros(x.shape[0], H)
    for t in range(x.shape[1] - 1, -1, -1):
        h = m.b(x[:, t], h)
        b.insert(0, h)
    if joined == "after":
        return torch.cat([torch.stack(f, 1), torch.stack(b, 1)], -1)
    if joined == "ends":
        return torch.cat([f[-1], b[0]], -1)
    both = [torch.cat(pair, -1) for pair in zip(f, b, strict=True)]
    if joined == "next":
        h, ys = x.new_zeros(x.shape[0], H), []
        for y in both:
            h = m.g(y, h)
            ys.append(h)
        return torch.stack(ys, 1)
    return torch.stack([m.both(y) for y in both], 1)


def joined_at_each_step(m: Any, x: Any) -> Any:
    return bidirectional(m, x, "each")


def ends_of_both_directions(m: Any, x: Any) -> Any:
    return bidirectional(m, x, "ends")


def a_layer_behind_both_directions(m: Any, x: Any) -> Any:
    return bidirectional(m, x, "next")


def two_at_once(m: Any, x: Any) -> Any:
    f, b = _loop(m, x, lambda v, h, t: m.f(v, h)), _loop(m, x, lambda v, h, t: m.b(v, h))
    return torch.stack([torch.cat(pair, -1) for pair in zip(f, b, strict=True)], 1)


def behind_a_layer(m: Any, x: Any) -> Any:
    return m.both(torch.cat([_stacked(m, m.before(x), lambda v, h, t: m.f(v, h))] * 2, -1))


def behind_a_convolution(m: Any, x: Any) -> Any:
    return _stacked(m, torch.relu(m.conv(x.transpose(1, 2))).transpose(1, 2), lambda v, h, t: m.f(v, h))


def steps_that_keep_their_axis(m: Any, x: Any) -> Any:
    h, ys = x.new_zeros(x.shape[0], 1, H), []
    for t in range(x.shape[1]):
        h = torch.tanh(m.W(x[:, t : t + 1]) + m.V(h))
        ys.append(h)
    return torch.cat(ys, 1)


def attended(m: Any, x: Any) -> Any:
    ys = _loop(m, x, lambda v, h, t: m.f(v, h))
    y = torch.stack(ys, 1)
    return (torch.softmax(y @ ys[-1][:, :, None], 1) * y).sum(1)


def every_second_step(m: Any, x: Any) -> Any:
    h, ys = x.new_zeros(x.shape[0], H), []
    for t in range(0, x.shape[1], 2):
        h = m.f(x[:, t], h)
        ys.append(h)
    return torch.stack(ys, 1)


def a_step_ahead(m: Any, x: Any) -> Any:
    h, ys = x.new_zeros(x.shape[0], H), []
    for t in range(x.shape[1] - 1):
        h = m.f(x[:, t] + x[:, t + 1], h)
        ys.append(h)
    return torch.stack(ys, 1)


def by_the_number_of_the_step(m: Any, x: Any) -> Any:
    return _stacked(m, x, lambda v, h, t: torch.tanh(m.W(v) * (t + 1) + m.V(h)))


def flattened(m: Any, x: Any) -> Any:
    return torch.cat(_loop(m, x, lambda v, h, t: m.f(v, h)), 1)


def _all(m: Any, x: Any) -> Any:
    return _loop(m, x, lambda v, h, t: m.f(v, h))


def last_three(m: Any, x: Any) -> Any:
    return torch.stack(_all(m, x)[-3:], 1)


def from_the_fourth(m: Any, x: Any) -> Any:
    return torch.stack(_all(m, x)[3:], 1)


def one_left_out(m: Any, x: Any) -> Any:
    ys = _all(m, x)
    return torch.stack(ys[:2] + ys[3:], 1)


def by_the_number_of_the_output(m: Any, x: Any) -> Any:
    return torch.stack([y * (t + 1) for t, y in enumerate(_all(m, x))], 1)


def mean_of_the_outputs(m: Any, x: Any) -> Any:
    ys = _all(m, x)
    return sum(ys) / len(ys)


def a_second_loop_from_the_end(m: Any, x: Any) -> Any:
    return torch.stack(_loop(m, x, lambda v, h, t: m.f(v, h), h=_all(m, x)[-1]), 1)


def from_the_first_step(m: Any, x: Any) -> Any:
    """Differences to the step before, which at the first is itself."""
    return _stacked(m, x, lambda v, h, t: torch.tanh(m.W(v - x[:, max(t - 1, 0)]) + m.V(h)))


def since_the_last_step(m: Any, x: Any) -> Any:
    h, last, ys = x.new_zeros(x.shape[0], H), x[:, 0, 0], []
    for t in range(x.shape[1]):
        h = m.f(x[:, t], h * torch.exp(-(x[:, t, 0] - last).abs()).unsqueeze(1))
        last = x[:, t, 0]
        ys.append(h)
    return torch.stack(ys, 1)


STREAMING = (from_the_first_step,)
ONE = (
    *STREAMING, since_the_last_step,
    normalized, residual, first_step_without_state, first_step_of_an_lstm_without_state, zeros_like_a_step, differences,
    given_before_the_update, two_steps_back, bidirectional, joined_at_each_step, ends_of_both_directions,
    a_layer_behind_both_directions, two_at_once, behind_a_layer, behind_a_convolution, steps_that_keep_their_axis,
    attended,
)  # fmt: skip
MASKED, CONTEXT = (masked, weighted), (with_context,)
NO_RECURRENCES = (
    every_second_step, a_step_ahead, by_the_number_of_the_step, flattened, last_three, from_the_fourth, one_left_out,
    by_the_number_of_the_output, mean_of_the_outputs, a_second_loop_from_the_end,
)  # fmt: skip
