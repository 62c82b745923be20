"""Modules whose forward runs a loop over time in Python: the forwards of test_torch_loops.py."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

F, H = 5, 6


class Parts(nn.Module):
    """What the forwards below are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.second, self.lstm = nn.GRUCell(F, H), nn.GRUCell(H, H), nn.LSTMCell(F, H)
        self.own = nn.GRUCell(2 * F, H)
        self.rnn, self.layer = nn.RNNCell(F, H, nonlinearity="relu"), nn.GRU(F, H, batch_first=True)
        self.cells = nn.ModuleList([nn.LSTMCell(F, H), nn.LSTMCell(H, H)])
        self.x, self.h, self.z, self.narrow = nn.Linear(F, H), nn.Linear(H, H), nn.Linear(F, H), nn.Linear(H, F)
        self.norm, self.u, self.h0 = nn.LayerNorm(H), nn.Parameter(torch.rand(H)), nn.Parameter(torch.randn(1, H))
        self.embedding = nn.Embedding(9, F)
        self.conv = nn.Conv1d(F, F, 3)

    def zeros(self, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(x.shape[0], H)


def stacked(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
        out.append(h)
    return torch.stack(out, 1)


def with_cell_state(s, x):
    h, c, out = s.zeros(x), s.zeros(x), []
    for t in range(x.size(1)):
        h, c = s.lstm(x[:, t, :], (h, c))
        out.append(h)
    return torch.stack(out, dim=1)


def without_an_initial_state(s, x):
    state, out = None, []
    for x_t in x.unbind(1):
        state = s.lstm(x_t, state)
        out.append(state[0])
    return torch.stack(out, 1)


def time_first(s, x):
    h, out = None, []
    for x_t in x.transpose(0, 1):
        h = s.rnn(x_t, h)
        out.append(h)
    return torch.stack(out).transpose(0, 1)


def layers_within_a_step(s, x):
    states, out = [(s.zeros(x), s.zeros(x)) for _ in s.cells], []
    for t in range(x.shape[1]):
        y = x[:, t]
        for i, cell in enumerate(s.cells):
            states[i] = cell(y, states[i])
            y = states[i][0]
        out.append(y)
    return torch.stack(out, 1)


def one_layer_behind_the_other(s, x):
    h, first, second = s.zeros(x), [], []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
        first.append(h)
    h = s.zeros(x)
    for y in first:
        h = s.second(y, h)
        second.append(h)
    return torch.stack(second, 1)


def joined_by_cat(s, x):
    h, out = s.zeros(x), []
    for x_t in x.split(1, 1):
        h = s.gru(x_t.squeeze(1), h)
        out.append(h.unsqueeze(1))
    return torch.cat(out, 1)


def written_in_place(s, x):
    h, out = s.zeros(x), x.new_zeros(x.shape[0], x.shape[1], H)
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
        out[:, t] = h
    return out * 2


def last_step_alone(s, x):
    h = s.zeros(x)
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
    return s.narrow(h)


def backward(s, x):
    h, out = s.zeros(x), []
    for t in reversed(range(x.shape[1])):
        h = s.gru(x[:, t], h)
        out.insert(0, h)
    return torch.stack(out, 1)


def both_ways(s, x):
    steps = x.shape[1]
    h, ahead = s.zeros(x), []
    for t in range(steps):
        h = s.gru(x[:, t], h)
        ahead.append(h)
    h, back = s.zeros(x), []
    for t in range(steps):
        h = s.rnn(x[:, steps - 1 - t], h)
        back.append(h)
    return torch.cat([torch.stack(ahead, 1), torch.stack(back[::-1], 1)], -1)


def whole_layer_on_each_step(s, x):
    h, out = None, []
    for t in range(x.shape[1]):
        y, h = s.layer(x[:, t : t + 1], h)
        out.append(y)
    return torch.cat(out, dim=1)


def learnt_start(s, x):
    h, out = s.h0.expand(x.shape[0], -1), []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
        out.append(h)
    return torch.stack(out, 1)


def its_last_output_read_again(s, x):
    h, y, out = s.zeros(x), torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t] + y, h)
        y = torch.tanh(s.narrow(h))
        out.append(y)
    return torch.stack(out, 1)


def own_cell(s, x):
    """IndRNN."""
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        h = torch.relu(s.norm(s.x(x[:, t])) + s.u * h)
        out.append(h)
    return s.narrow(torch.stack(out, 1))


def gate_of_the_input_alone(s, x):
    """minGRU."""
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        z = torch.sigmoid(s.z(x[:, t]))
        h = (1 - z) * h + z * s.x(x[:, t])
        out.append(h)
    return torch.stack(out, 1)


def between_layers(s, x):
    y = torch.relu(s.layer(x)[0])
    h, out = s.zeros(x), []
    for t in range(y.shape[1]):
        h = s.second(y[:, t], h)
        out.append(h)
    return s.narrow(torch.stack(out, 1)).mean(1)


def of_fewer_steps(s, x):
    y = s.conv(x.transpose(1, 2)).transpose(1, 2)
    h, out = s.zeros(x), []
    for t in range(y.shape[1]):
        h = s.gru(y[:, t], h)
        out.append(h)
    return torch.stack(out, 1)


def two_results(s, x):
    h, c, hs, cs = s.zeros(x), s.zeros(x), [], []
    for t in range(x.shape[1]):
        h, c = s.lstm(x[:, t], (h, c))
        hs.append(h)
        cs.append(c)
    return torch.stack(hs, 1) + torch.stack(cs, 1)


def the_state_before_each_step(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        out.append(h)
        h = s.gru(x[:, t], h)
    return s.narrow(torch.stack(out, 1))


def a_window_of_steps(s, x):
    window, out = x.new_zeros(x.shape[0], 3, F), []
    for t in range(x.shape[1]):
        window = torch.cat([window[:, 1:], x[:, t : t + 1]], 1)
        out.append(s.x(window.sum(1)))
    return torch.stack(out, 1)


def one_loop_behind_the_end_of_another(s, x):
    h = s.zeros(x)
    for t in range(x.shape[1]):
        h = torch.tanh(s.norm(s.x(x[:, t])) + s.u * h)
    out = []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
        out.append(h)
    return torch.stack(out, 1)


def while_there_are_steps(s, x):
    h, out, t = s.zeros(x), [], 0
    while t < x.shape[1]:
        h = s.gru(x[:, t], h)
        out.append(h)
        t += 1
    return torch.stack(out, 1)


def down_to_the_first(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1] - 1, -1, -1):
        h = s.gru(x[:, t], h)
        out.append(h)
    return torch.stack(out[::-1], 1)


def first_step_outside(s, x):
    h = torch.tanh(s.x(x[:, 0]))
    out = [h]
    for t in range(1, x.shape[1]):
        h = s.gru(x[:, t] - x[:, t - 1], h)
        out.append(h)
    return torch.stack(out, 1)


def first_two_steps_outside(s, x):
    h, out = s.zeros(x), [s.x(x[:, 0]), s.x(x[:, 1])]
    for t in range(2, x.shape[1]):
        h = s.gru(x[:, t] - x[:, t - 2], h)
        out.append(h)
    return torch.stack(out, 1)


def other_at_the_first_step(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        before = x[:, t - 1] if t > 0 else torch.zeros_like(x[:, 0])
        h = s.gru(x[:, t] - before, h)
        out.append(h)
    return torch.stack(out, 1)


def windows_of_a_padded_sequence(s, x):
    h, out = s.zeros(x), []
    longer = nn.functional.pad(x, (0, 0, 2, 0))
    for t in range(x.shape[1]):
        h = s.gru(longer[:, t : t + 3].mean(1), h)
        out.append(h)
    return torch.stack(out, 1)


def mean_of_a_sum(s, x):
    h, total, steps = s.zeros(x), 0, x.shape[1]
    for t in range(steps):
        h = s.gru(x[:, t], h)
        total = total + h
    return total / steps


def decoder_of_a_code(s, x):
    code, h, out = s.layer(x)[1][0], s.zeros(x), []
    for _ in range(x.shape[1]):
        h = s.second(code, h)
        out.append(s.narrow(h))
    return torch.stack(out, 1)


def decoder_that_reads_its_output(s, x):
    h, y, out = s.zeros(x), x[:, 0], []
    for _ in range(x.shape[1]):
        h = s.gru(y, h)
        y = s.narrow(h)
        out.append(y)
    return torch.stack(out, 1)


def computes_with_the_number(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t] + t * 0.01, h)
        out.append(h)
    return torch.stack(out, 1)


def joined_flat(s, x):
    h, out = s.zeros(x), []
    for step in x.chunk(x.shape[1], 1):
        h = s.gru(step[:, 0], h)
        out.append(h)
    return torch.cat(out, 1).view(x.shape[0], x.shape[1], H)


def joined_step_by_step(s, x):
    h, out = s.zeros(x), None
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
        out = h.unsqueeze(1) if out is None else torch.cat([out, h.unsqueeze(1)], 1)
    return out


def items_within_a_step(s, x):
    states, out = [x.new_zeros(x.shape[0], H) for _ in range(2)], []
    for t in range(x.shape[1]):
        for i in range(2):
            states[i] = s.second(torch.relu(s.x(x[:, t] * (i + 1))), states[i])
        out.append(torch.cat(states, -1))
    return torch.stack(out, 1)


def layers_around_the_loop(s, x):
    for cell in (s.gru, s.second):
        h, out = s.zeros(x), []
        for t in range(x.shape[1]):
            h = cell(x[:, t], h)
            out.append(h)
        x = torch.stack(out, 1)
    return x
