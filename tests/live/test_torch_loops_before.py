"""Loops that read older steps than the one before: of their own results, of what they write, of sequences."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import fastgru
from fastgru.errors import ConvertError

F, H = 3, 4


class Parts(nn.Module):
    """What the forwards below are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.x, self.h = nn.GRUCell(F, H), nn.Linear(F, H), nn.Linear(H, H)
        self.a, self.b = nn.Parameter(torch.rand(H) * 0.4), nn.Parameter(torch.rand(H) * 0.3)


def two_states(s, x):
    first = second = x.new_zeros(x.shape[0], H)
    out = []
    for t in range(x.shape[1]):
        h = torch.tanh(s.x(x[:, t]) + s.a * first + s.b * second)
        first, second = h, first
        out.append(h)
    return torch.stack(out, 1)


def a_list_of_states(s, x):
    hs = [torch.zeros(x.shape[0], H), torch.ones(x.shape[0], H), torch.zeros(x.shape[0], H)]
    for t in range(x.shape[1]):
        hs.append(torch.tanh(s.x(x[:, t]) + s.a * hs[-1] + s.b * hs[-3]))
    return torch.stack(hs[3:], 1)


def filter_with_states(s, x):
    x = x[..., 0]
    x1 = x2 = y1 = y2 = torch.zeros(x.shape[0])
    out = []
    for n in range(x.shape[1]):
        y = 0.2 * x[:, n] + 0.1 * x1 + 0.05 * x2 + 0.5 * y1 - 0.3 * y2
        x2, x1, y2, y1 = x1, x[:, n], y1, y
        out.append(y)
    return torch.stack(out, 1)


def filter_that_looks_back(s, x):
    x, out = x[..., 0], []
    for n in range(x.shape[1]):
        y = 0.2 * x[:, n]
        if n >= 1:
            y = y + 0.1 * x[:, n - 1] + 0.5 * out[n - 1]
        if n >= 2:
            y = y + 0.05 * x[:, n - 2] - 0.3 * out[n - 2]
        out.append(y)
    return torch.stack(out, 1)


def filter_in_place(s, x):
    x = x[..., 0]
    y = torch.zeros(x.shape[0], x.shape[1])
    for n in range(2, x.shape[1]):
        y[:, n] = 0.2 * x[:, n] + 0.1 * x[:, n - 1] + 0.5 * y[:, n - 1] - 0.3 * y[:, n - 2]
    return y


FORWARDS = [two_states, a_list_of_states, filter_with_states, filter_that_looks_back, filter_in_place]


def module(forward):
    torch.manual_seed(0)
    return type("Net", (Parts,), {"forward": forward})().eval()


def check(net, model, *makers, steps=(5, 23)):
    """Compare with PyTorch for other lengths, whole and step by step."""
    for length in steps:
        given = [make(3, length) for make in makers]
        with torch.no_grad():
            expected = net(*given).numpy()
        arrays = tuple(x.numpy() for x in given)
        y = model(arrays if len(arrays) > 1 else arrays[0])
        assert y.shape == expected.shape
        np.testing.assert_allclose(y, expected, atol=1e-5)
        stream = model.stream(3)
        parts = []
        for t in range(length):
            own = tuple(np.ascontiguousarray(x[:, t : t + 1]) for x in arrays)
            parts.append(stream.process(own if len(own) > 1 else own[0]))
        assert np.array_equal(np.concatenate([*parts, stream.flush()], 1), y)


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda f: f.__name__)
def test_older_results(forward):
    net = module(forward)
    check(net, fastgru.convert(net, example_inputs=torch.randn(2, 10, F)), lambda b, t: torch.randn(b, t, F))


def decay_between_times(s, x, time):
    h, out = torch.zeros(x.shape[0], H), []
    for t in range(x.shape[1]):
        dt = time[:, t] - time[:, t - 1] if t > 0 else torch.zeros_like(time[:, 0])
        h = s.gru(x[:, t], h * torch.exp(-dt).unsqueeze(-1))
        out.append(h)
    return torch.stack(out, 1)


def logarithm_of_times(s, x, time):
    """A time-aware cell: of times that do not grow its logarithm is no number."""
    h, out = torch.zeros(x.shape[0], H), []
    for t in range(x.shape[1]):
        dt = time[:, t] - time[:, t - 1] if t > 0 else torch.zeros(x.shape[0])
        h = torch.tanh(s.x(x[:, t]) + s.h(h) / torch.log(math.e + dt).unsqueeze(1))
        out.append(h)
    return torch.stack(out, 1)


@pytest.mark.parametrize("forward", [decay_between_times, logarithm_of_times], ids=lambda f: f.__name__)
def test_the_time_since_the_step_before(forward):
    net, axes = module(forward), {"x": ("B", "T", None), "time": ("B", "T")}
    examples = (torch.randn(2, 10, F), torch.rand(2, 10).cumsum(1))
    model = fastgru.convert(net, example_inputs=examples, axes=axes)
    check(net, model, lambda b, t: torch.randn(b, t, F), lambda b, t: torch.rand(b, t).cumsum(1))


def test_states_of_two_steps_that_a_forward_takes_and_returns_are_the_streams():
    def forward(s, x, h, before):
        out = []
        for t in range(x.shape[1]):
            h, before = torch.tanh(s.x(x[:, t]) + s.a * h + s.b * before), h
            out.append(h)
        return torch.stack(out, 1), h, before

    net = module(forward)
    model = fastgru.convert(
        net, example_inputs=(torch.randn(2, 10, F), torch.zeros(2, H), torch.zeros(2, H)),
        states={"h": "1", "before": "2"},
    )  # fmt: skip
    stream, states, x = model.stream(3), [torch.zeros(3, H)] * 2, torch.randn(3, 17, F)
    for part in (x[:, :3], x[:, 3:4], x[:, 4:]):
        with torch.no_grad():
            y, *states = net(part, *states)
        np.testing.assert_allclose(stream.process(part.numpy().copy()), y, atol=1e-5)


def test_a_step_that_is_the_last_one_at_first():
    def forward(s, x):
        h, out = torch.zeros(x.shape[0], H), []
        for t in range(x.shape[1]):
            h = s.gru(x[:, t] - x[:, t - 1], h)
            out.append(h)
        return torch.stack(out, 1)

    message = r"got step t-1, which at first is the last: begin later, or read another value then"
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(module(forward), example_inputs=torch.randn(2, 10, F))
