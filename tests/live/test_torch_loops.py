"""Loops over time that Python runs in a module's forward: imported as one step, for any number of them."""

from __future__ import annotations

import functools

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch_loop_cases import (
    F,
    H,
    Parts,
    a_window_of_steps,
    backward,
    between_layers,
    both_ways,
    computes_with_the_number,
    decoder_of_a_code,
    decoder_that_reads_its_output,
    down_to_the_first,
    first_step_outside,
    first_two_steps_outside,
    gate_of_the_input_alone,
    items_within_a_step,
    its_last_output_read_again,
    joined_by_cat,
    joined_flat,
    joined_step_by_step,
    last_step_alone,
    layers_around_the_loop,
    layers_within_a_step,
    learnt_start,
    mean_of_a_sum,
    of_fewer_steps,
    one_layer_behind_the_other,
    one_loop_behind_the_end_of_another,
    other_at_the_first_step,
    own_cell,
    stacked,
    the_state_before_each_step,
    time_first,
    two_results,
    while_there_are_steps,
    whole_layer_on_each_step,
    windows_of_a_padded_sequence,
    with_cell_state,
    without_an_initial_state,
    written_in_place,
)

import fastgru
from fastgru.checks import comparison
from fastgru.errors import ConvertError
from fastgru.graph import GRU, LSTM, RNN
from fastgru.layers import Dense

FORWARDS = [
    stacked, with_cell_state, without_an_initial_state, time_first, layers_within_a_step, one_layer_behind_the_other,
    joined_by_cat, written_in_place, last_step_alone, backward, both_ways, whole_layer_on_each_step, learnt_start,
    its_last_output_read_again, own_cell, gate_of_the_input_alone, between_layers, of_fewer_steps, two_results,
    the_state_before_each_step, a_window_of_steps, one_loop_behind_the_end_of_another, while_there_are_steps,
    down_to_the_first, first_step_outside, first_two_steps_outside,
    other_at_the_first_step, windows_of_a_padded_sequence, mean_of_a_sum, decoder_of_a_code,
    decoder_that_reads_its_output, computes_with_the_number, joined_flat,
    joined_step_by_step, items_within_a_step, layers_around_the_loop,
]  # fmt: skip
EXTRA = 60  # numbers that move sequences along time
WHOLE = (
    last_step_alone, backward, both_ways, between_layers, of_fewer_steps, one_loop_behind_the_end_of_another,
    down_to_the_first, first_two_steps_outside, mean_of_a_sum, decoder_of_a_code,
)  # fmt: skip


def module(forward) -> nn.Module:
    torch.manual_seed(0)
    return type("Net", (Parts,), {"forward": forward})().eval()


def converted(net, x):
    return fastgru.convert(net, example_inputs=x)


@functools.cache
def imported(forward):
    """A module and its model, from ten steps."""
    net = module(forward)
    return net, converted(net, torch.randn(2, 10, F))


def close(y, expected, bar=1e-5):
    expected = expected.detach().numpy()
    assert y.shape == expected.shape
    assert np.abs(y - expected).max() <= bar


@pytest.mark.parametrize("forward", FORWARDS, ids=lambda f: f.__name__)
def test_a_loop_runs_over_any_number_of_steps(forward):
    net, model = imported(forward)
    own = sum(p.numel() for p in net.parameters())
    if forward is not items_within_a_step:  # which holds its cell once for each item
        assert model.summary().totals.parameters <= own + EXTRA
    for rows, steps in ((1, 4), (3, 23), (2, 50)):
        x = torch.randn(rows, steps, F)
        close(model(x.numpy()), net(x))


@pytest.mark.parametrize("forward", [f for f in FORWARDS if f not in WHOLE], ids=lambda f: f.__name__)
def test_a_loop_streams_with_the_same_bits(forward):
    model, x = imported(forward)[1], torch.randn(1, 17, F).numpy()
    stream, whole = model.stream(), model(x)[0]
    assert all(np.array_equal(stream.step(row), y) for row, y in zip(x[0], whole, strict=True))


@pytest.mark.parametrize(
    ("forward", "kinds"),
    [
        (stacked, (GRU,)), (with_cell_state, (LSTM,)), (time_first, (RNN,)), (layers_within_a_step, (LSTM, LSTM)),
        (one_layer_behind_the_other, (GRU, GRU)), (whole_layer_on_each_step, (GRU,)), (joined_by_cat, (GRU,)),
        (written_in_place, (GRU,)), (without_an_initial_state, (LSTM,)), (both_ways, (RNN, GRU)),
    ],
)  # fmt: skip
def test_known_cells_become_layers_that_keep_their_state(forward, kinds):
    graph = imported(forward)[1].graph
    layers = tuple(type(n.op) for n in graph.nodes if isinstance(n.op, GRU | LSTM | RNN))
    assert layers == kinds
    assert not graph.has_state_nodes()


def test_a_loop_over_ids():
    def forward(s, ids):
        h, out = None, []
        for t in range(ids.shape[1]):
            h = s.gru(s.embedding(ids[:, t]), h)
            out.append(h)
        return torch.stack(out, 1)

    net, ids = module(forward), torch.randint(0, 9, (2, 12))
    model, more = converted(net, ids), torch.randint(0, 9, (3, 31))
    close(model(more.numpy()), net(more))


def test_a_start_that_is_computed():
    def forward(s, x, start):
        h, out = torch.tanh(s.x(start)), []
        for t in range(x.shape[1]):
            h = s.gru(x[:, t], h)
            out.append(h)
        return torch.stack(out, 1)

    net, x, start = module(forward), torch.randn(2, 12, F), torch.randn(2, F)
    model = fastgru.convert(net, example_inputs=(x, start), axes={"x": ("B", "T", None), "start": ("B", None)})
    x, start = torch.randn(3, 20, F), torch.randn(3, F)
    close(model((x.numpy(), start.numpy())), net(x, start))


def known_cell(s, x, h):
    out = []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
        out.append(h)
    return torch.stack(out, 1), h


def cell_with_two_states(s, x, h, c):
    out = []
    for t in range(x.shape[1]):
        h, c = s.lstm(x[:, t], (h, c))
        out.append(h)
    return torch.stack(out, 1), h, c


def cell_of_its_own(s, x, h):
    out = []
    for t in range(x.shape[1]):
        h = torch.tanh(s.norm(s.x(x[:, t])) + s.u * h)
        out.append(s.narrow(h))
    return torch.stack(out, 1), h


@pytest.mark.parametrize("forward", [known_cell, cell_with_two_states, cell_of_its_own], ids=lambda f: f.__name__)
def test_states_that_a_forward_takes_and_returns_are_the_streams(forward):
    net, count = module(forward), forward.__code__.co_argcount - 2
    model = fastgru.convert(net, example_inputs=(torch.randn(2, 10, F), *[torch.zeros(2, H)] * count))
    assert (list(model.graph.inputs), len(model.graph.outputs)) == (["x"], 1)
    stream, states, x = model.stream(3), [torch.zeros(3, H)] * count, torch.randn(3, 17, F)
    for part in (x[:, :3], x[:, 3:4], x[:, 4:]):
        y, *states = net(part, *states)
        close(stream.process(part.numpy().copy()), y)


@pytest.mark.parametrize("new", ["new_zeros", "new_empty"])
def test_a_sequence_that_is_written_is_an_output_itself(new):
    def forward(s, x):
        h, out = s.zeros(x), getattr(x, new)(x.shape[0], x.shape[1], H)
        for t in range(x.shape[1]):
            h = s.gru(x[:, t], h)
            out[:, t] = h
        return out, s.narrow(h)

    net, x = module(forward), torch.randn(3, 15, F)
    for y, expected in zip(converted(net, torch.randn(2, 10, F))(x.numpy()), net(x), strict=True):
        close(y, expected)


def up_to_the_last(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1] - 1):
        h = s.own(torch.cat([x[:, t], x[:, t + 1]], 1), h)
        out.append(h)
    return torch.stack(out, 1)


def from_the_second(s, x):
    h, y, out = s.zeros(x), x[:, 0], []
    for t in range(1, x.shape[1]):
        h = s.gru(y, h)
        out.append(s.narrow(h))
        y = x[:, t]
    return torch.stack(out, 1)


def windows_of_three(s, x):
    h, out = s.zeros(x), []
    for t in range(2, x.shape[1]):
        h = s.gru(x[:, t - 2 : t + 1].mean(1), h)
        out.append(h)
    return torch.stack(out, 1)


@pytest.mark.parametrize("forward", [up_to_the_last, from_the_second, windows_of_three], ids=lambda f: f.__name__)
def test_a_loop_may_give_fewer_steps_than_it_is_given(forward):
    net, model = imported(forward)
    for rows, steps in ((1, 4), (3, 23)):
        x = torch.randn(rows, steps, F)
        close(model(x.numpy()), net(x))
    close(model.stream(3).process(x.numpy()), net(x))


@pytest.mark.parametrize("steps", [5, 100])
def test_a_condition_on_the_steps_that_changes_the_outputs_is_refused(steps):
    def forward(s, x):
        y = s.layer(x)[0]
        return y * 2 if x.shape[1] > steps else y

    with pytest.raises(ConvertError, match=r"one way for every number of steps, which line \d+ of test_torch_loops.py"):
        converted(module(forward), torch.randn(2, 10, F))


def test_a_condition_on_the_steps_that_changes_nothing_is_none():
    def forward(s, x):
        assert x.shape[1] > 3
        return s.layer(x)[0] if x.shape[1] % 2 else s.layer(x)[0] + 0

    net, x = module(forward), torch.randn(2, 11, F)
    close(converted(net, x)(x.numpy()), net(x))


@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_steps_that_a_mask_leaves_out(kind):
    def forward(s, x, mask):
        h, out = s.zeros(x), []
        for t in range(x.shape[1]):
            new = s.gru(x[:, t], h)
            one = mask[:, t].unsqueeze(-1)
            h = torch.where(one, new, h) if kind is torch.bool else one * new + (1 - one) * h
            out.append(h)
        return torch.stack(out, 1)

    net = module(forward)
    axes = {"x": ("B", "T", None), "mask": ("B", "T")}
    model = fastgru.convert(net, example_inputs=(torch.randn(2, 10, F), torch.ones(2, 10).to(kind)), axes=axes)
    x, mask = torch.randn(3, 17, F), (torch.rand(3, 17) > 0.4).to(kind)
    close(model((x.numpy(), mask.numpy())), net(x, mask))
    stream = model.stream(3)
    parts = [stream.process((x[:, i].numpy(), mask[:, i].numpy())) for i in (slice(0, 5), slice(5, 17))]
    close(np.concatenate(parts, 1), net(x, mask))


def test_a_model_of_a_fixed_number_of_steps_says_why():
    def forward(s, x):
        y = s.layer(x)[0]
        return y.transpose(1, 2) @ torch.ones(10, 3)

    model = converted(module(forward), torch.randn(2, 10, F))
    assert "all sizes but the batch are those of the example" in model.provenance["notes"]


def test_many_steps_are_traced_as_few():
    net, x = module(stacked), torch.randn(1, 2000, F)
    model = converted(net, x)
    close(model(x.numpy()), net(x))


def cut_short(s, x):
    h, out = s.zeros(x), []
    for t, step in enumerate(x.unbind(1)):
        if t < 64:
            h = s.gru(step, h)
        out.append(h)
    return torch.stack(out, 1)


def a_part_of_its_steps(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t], h)
        out.append(h)
    return torch.stack(out[:64], 1)


def test_the_first_step_of_a_loop_is_an_output():
    def forward(s, x):
        h, out = s.zeros(x), []
        for t in range(x.shape[1]):
            h = s.gru(x[:, t], h)
            out.append(h)
        return torch.stack(out, 1), s.narrow(out[0])

    net, x = module(forward), torch.randn(3, 15, F)
    for y, expected in zip(converted(net, torch.randn(2, 10, F))(x.numpy()), net(x), strict=True):
        close(y, expected)


def test_a_step_in_the_middle_is_no_output():
    def forward(s, x):
        h, out = s.zeros(x), []
        for t in range(x.shape[1]):
            h = s.gru(x[:, t], h)
            out.append(h)
        return torch.stack(out, 1), out[2]

    message = "output '1' must be computed: step of a loop that is read behind it must be the first or last"
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(module(forward), example_inputs=torch.randn(2, 10, F), axes={"x": ("B", "T", None)})


def test_a_loop_over_the_steps_of_one_that_failed_is_refused():
    def forward(s, x):
        h, first = s.zeros(x), []
        for t in range(x.shape[1]):
            h = s.gru(x[:, t] * (x.shape[1] - t), h)
            first.append(h)
        second = []
        for t in range(x.shape[1]):
            h = s.second(first[t], h)
            second.append(h)
        return torch.stack(second, 1)

    with pytest.raises(ConvertError, match="number of the step must be counted from the first"):
        fastgru.convert(module(forward), example_inputs=torch.randn(2, 10, F), axes={"x": ("B", "T", None)})


def reads_ahead(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        h = s.gru(x[:, (t + 1) % x.shape[1]], h)
        out.append(h)
    return torch.stack(out, 1)


def computes_with_the_steps_that_are_left(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t] * (x.shape[1] - t), h)
        out.append(h)
    return torch.stack(out, 1)


def reads_the_last_step_before_the_first(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        h = s.gru(x[:, t] - x[:, t - 1], h)
        out.append(h)
    return torch.stack(out, 1)


def attends_to_all_steps(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        weights = torch.softmax((s.x(x) * h.unsqueeze(1)).sum(-1), 1)
        h = s.gru((weights.unsqueeze(-1) * x).sum(1) + x[:, t], h)
        out.append(h)
    return torch.stack(out, 1)


def grows(s, x):
    h, out = s.zeros(x), []
    for t in range(x.shape[1]):
        h = torch.cat([h, x[:, t]], 1)
        out.append(h.sum(1))
    return torch.stack(out, 1)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (computes_with_the_steps_that_are_left, "loop at .*number of the step must be counted from the first"),
        (reads_the_last_step_before_the_first, "loop over T must read steps within a sequence of T, got step t-1"),
        (attends_to_all_steps, "loop must read one step of a sequence at each step"),
        (grows, "loop at .* must"),
        (reads_ahead, "loop over time must do the same at every step, got steps that differ"),
        (cut_short, "loop must do the same at every step, but with 131 steps output"),
        (a_part_of_its_steps, "loop must do the same at every step, but with 131 steps"),
    ],
)
def test_other_loops_are_refused_in_plain_words(forward, message):
    net, x = module(forward), torch.randn(2, 10, F)
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(net, example_inputs=x, axes={"x": ("B", "T", None)})


def test_a_loop_is_not_written_out_for_the_steps_of_an_example_unless_asked_for():
    net, x = module(attends_to_all_steps), torch.randn(2, 10, F)
    with pytest.raises(ConvertError, match=r"loop must read .*; with x \(B, 10, 5\) the model would take a fixed"):
        fastgru.convert(net, example_inputs=x)
    close(fastgru.convert(net, example_inputs=x, axes={"x": ("B", None, None)})(x.numpy()), net(x))


def test_a_loop_over_time_rules_out_other_axes_of_time():
    """No weight is repeated here, which could tell that the loop is written out."""

    def second_order(s, x):
        y = torch.zeros_like(x)
        for t in range(2, x.shape[1]):
            y[:, t] = x[:, t] + 0.5 * y[:, t - 1] - 0.2 * y[:, t - 2]
        return y

    net, x = module(second_order), torch.randn(2, 8, F)
    with pytest.raises(ConvertError, match=r"the same at every step.*; with x \(B, 8, T\) the model would take"):
        fastgru.convert(net, example_inputs=x)


def test_a_loop_of_a_fixed_number_of_steps_is_written_out():
    def forward(s, x):
        h, y, out = s.x(x[:, -1]), x[:, -1], []
        for _ in range(5):
            h = s.gru(y, h)
            y = s.narrow(h)
            out.append(y)
        return torch.stack(out, 1)

    net, x = module(forward), torch.randn(2, 10, F)
    model = fastgru.convert(net, example_inputs=x)
    close(model(x.numpy()), net(x))


def test_the_module_is_left_as_it_was():
    index, net = torch.SymInt.__index__, module(stacked)
    converted(net, torch.randn(2, 10, F))
    assert torch.SymInt.__index__ is index


def test_a_loop_is_not_compared_layer_by_layer_and_says_why():
    found = comparison.compare(module(stacked), example_inputs=torch.randn(2, 10, F))
    assert "a loop of Python is traced for a few steps alone" in found.missing


def test_a_head_behind_a_loop_stays_one_layer():
    model = imported(own_cell)[1]
    assert sum(isinstance(n.op, Dense) for n in model.graph.nodes) == 2
