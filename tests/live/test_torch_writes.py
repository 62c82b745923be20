"""Writes in place into parts of a tensor: elements, slices, steps of time, what loops fill step by step."""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import fastgru
from fastgru.errors import ConvertError

F, H = 5, 4


class Parts(nn.Module):
    """What the forwards below are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.cell, self.above = nn.GRU(F, H, batch_first=True), nn.GRUCell(F, H), nn.GRUCell(H, H)
        self.lstm, self.narrow, self.square = nn.LSTMCell(F, H), nn.Linear(F, H), nn.Linear(H, H)

    def outputs(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x)[0].clone()


# Parts of an item ----------------------------------------------------------------------------------


def one_element(s, x):
    y = s.outputs(x)
    y[:, :, 1] = y[:, :, 0] * 2
    y[..., -1] = 0.25
    return y


def some_elements(s, x):
    y = s.outputs(x)
    y[..., 0:2] = torch.sigmoid(y[..., 2:4])
    y[..., 1:] *= 3
    return y


def every_other_element(s, x):
    y = s.outputs(x)
    y[..., ::2] = y[..., 1::2] - 1
    return y


def elements_of_a_list(s, x):
    y = s.outputs(x)
    y[:, :, [0, 2]] = y[:, :, [1, 3]]
    return y


def columns_scaled(s, x):
    x = x.clone()
    x[:, :, 0] = (x[:, :, 0] - 3) / 2
    x[:, :, 1] = torch.log1p(x[:, :, 1].abs())
    x[:, :, 1] += x[:, :, 0]
    return s.gru(x)[0]


def methods_of_a_part(s, x):
    y = s.outputs(x)
    y[:, :, 1:3].mul_(0.5).add_(1)
    y[:, :, 0].zero_()
    y[:, :, 3].fill_(2.0)
    return y


def filled_by_parts(s, x):
    y = torch.zeros(x.shape[0], x.shape[1], F + H)
    y[:, :, :F] = x
    y[:, :, F:] = s.outputs(x)
    return y


def items_of_rows(s, x):
    y = torch.empty(x.shape[0], x.shape[1], 2, H)
    y[:, :, 0] = s.outputs(x)
    y[:, :, 1] = s.square(y[:, :, 0])
    return y.flatten(2)


def methods_of_the_whole(s, x):
    y = torch.zeros(x.shape[0], x.shape[1], H)
    y.copy_(s.outputs(x)).add_(s.narrow(x), alpha=2).clamp_(-1, 1).sub_(0.5).div_(2)
    y.masked_fill_(y > 0.1, 0.3)
    return y


# Steps of time -------------------------------------------------------------------------------------


def first_step(s, x):
    y = s.outputs(x)
    y[:, 0] = 0
    return y


def first_step_of_itself(s, x):
    y = s.outputs(x)
    y[:, 0] = s.square(y[:, 0])
    return y


def first_steps(s, x):
    y = s.outputs(x)
    y[:, :3] = 1
    return y


def last_step(s, x):
    y = s.outputs(x)
    y[:, -1] = s.square(y[:, 0])
    return y


def step_before_the_last(s, x):
    y = s.outputs(x)
    y[:, -2] = 0.5
    y[:, 2] = 0.75
    return y


def all_but_the_first(s, x):
    y = s.outputs(x)
    y[:, 1:] = y[:, 1:] - y[:, :-1]
    return y


def all_but_the_last(s, x):
    y = s.outputs(x)
    y[:, :-1] = y[:, 1:].clone()
    return y


def all_but_both_ends(s, x):
    y = s.outputs(x)
    y[:, 1:-2, 1] = 3
    y[:, 2:-1] *= y[:, :-3].clone()
    return y


def differences(s, x):
    y, d = s.outputs(x), torch.zeros(x.shape[0], x.shape[1], H)
    d[:, 1:] = y[:, 1:] - y[:, :-1]
    return d


# Loops ---------------------------------------------------------------------------------------------


def behind_a_first_step(s, x):
    out, h = x.new_empty(x.shape[0], x.shape[1], H), x.new_zeros(x.shape[0], H)
    out[:, 0] = s.narrow(x[:, 0])
    for t in range(1, x.shape[1]):
        h = s.cell(x[:, t], h)
        out[:, t] = h
    return out


def its_own_steps(s, x):
    out = torch.zeros(x.shape[0], x.shape[1], H)
    out[:, 0] = s.narrow(x[:, 0])
    for t in range(1, x.shape[1]):
        out[:, t] = s.cell(x[:, t], out[:, t - 1])
    return out


def a_filter_of_its_own_output(s, x):
    y = x.clone()
    for t in range(1, x.shape[1]):
        y[:, t] = 0.9 * y[:, t - 1] + 0.1 * x[:, t]
    return y


def over_a_layer_of_the_input(s, x):
    y = s.narrow(x).tanh()
    y[:, 1] = 0.5
    for t in range(2, x.shape[1]):
        y[:, t] = s.cell(x[:, t], y[:, t - 1])
    return y


def one_step_more(s, x):
    out = torch.zeros(x.shape[0], x.shape[1] + 1, H)
    for t in range(x.shape[1]):
        out[:, t + 1] = s.cell(x[:, t], out[:, t])
    return out[:, 1:]


def parts_of_a_step(s, x):
    out, h = torch.zeros(x.shape[0], x.shape[1], H + 2), x.new_zeros(x.shape[0], H)
    for t in range(x.shape[1]):
        h = s.cell(x[:, t], h)
        out[:, t, :H] = h
        out[:, t, H:] = x[:, t, :2]
    return out


def slices_of_one_step(s, x):
    out, h = torch.zeros(x.shape[0], x.shape[1], H), x.new_zeros(x.shape[0], H)
    for t in range(x.shape[1]):
        h = s.cell(x[:, t : t + 1].squeeze(1), h)
        out[:, t : t + 1] = h.unsqueeze(1)
    return out


def added_to_a_step(s, x):
    out, h = torch.zeros(x.shape[0], x.shape[1], H), x.new_zeros(x.shape[0], H)
    for t in range(x.shape[1]):
        h = s.cell(x[:, t], h)
        out[:, t] += h
    return out


def layers_of_a_state(s, x):
    out, h = torch.zeros(x.shape[0], x.shape[1], H), x.new_zeros(2, x.shape[0], H)
    for t in range(x.shape[1]):
        h[0] = s.cell(x[:, t], h[0])
        h[1] = s.above(h[0], h[1])
        out[:, t] = h[1]
    return out


def one_start_of_both_states(s, x):
    h = c = torch.zeros(x.shape[0], H)
    hs, cs = (torch.zeros(x.shape[0], x.shape[1], H) for _ in range(2))
    for t in range(x.shape[1]):
        h, c = s.lstm(x[:, t], (h, c))
        hs[:, t], cs[:, t] = h, c
    return hs - cs


def summed_in_place(s, x):
    total, h = x.new_zeros(x.shape[0], H), x.new_zeros(x.shape[0], H)
    for t in range(x.shape[1]):
        h = s.cell(x[:, t], h)
        total += h
    return total


WHOLE = (  # which need all steps, or later ones
    last_step, step_before_the_last, all_but_the_last, all_but_both_ends, summed_in_place,
)  # fmt: skip
FORWARDS = [
    one_element, some_elements, every_other_element, elements_of_a_list, columns_scaled, methods_of_a_part,
    filled_by_parts, items_of_rows, methods_of_the_whole, first_step, first_step_of_itself, first_steps, last_step,
    step_before_the_last, all_but_the_first, all_but_the_last, all_but_both_ends, differences, behind_a_first_step,
    its_own_steps, a_filter_of_its_own_output, over_a_layer_of_the_input, one_step_more, parts_of_a_step,
    slices_of_one_step, added_to_a_step, layers_of_a_state, one_start_of_both_states, summed_in_place,
]  # fmt: skip


@functools.cache
def imported(forward):
    """A module and its model, of open rows and steps."""
    torch.manual_seed(0)
    net = type("Net", (Parts,), {"forward": forward})().eval()
    model = fastgru.convert(net, example_inputs=torch.randn(2, 12, F))
    assert model.provenance["axes"] == f"x (B, T, {F})"
    return net, model


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda f: f.__name__)
def test_what_is_written_is_what_pytorch_writes(forward):
    net, model = imported(forward)
    for rows, steps in ((1, 5), (3, 23)):
        x = torch.randn(rows, steps, F)
        with torch.no_grad():
            expected = net(x).numpy()
        y = model(x.numpy())
        assert y.shape == expected.shape
        assert np.abs(y - expected).max() <= 1e-5


@pytest.mark.parametrize("forward", [f for f in FORWARDS if f not in WHOLE], ids=lambda f: f.__name__)
def test_what_is_written_streams_with_the_same_bits(forward):
    model, x = imported(forward)[1], torch.randn(1, 9, F).numpy()
    stream, whole = model.stream(), model(x)[0]
    assert all(np.array_equal(stream.step(row), y) for row, y in zip(x[0], whole, strict=True))


def test_a_row_of_the_batch_is_not_written():
    def forward(s, x):
        y = s.outputs(x)
        y[0] = 0
        return y

    with pytest.raises(ConvertError, match=r"axis 0 must be one of fixed size, got the batch"):
        imported(forward)
