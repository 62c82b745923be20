"""Neural Amp Modeler's files against formulas in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plugin_files import nam, nam_lstm, saved
from plugin_formulas import check, conv, lstm, normal, samples, sigmoid

import fastgru
from fastgru.converters import to_graph


def cell(inputs: int, hidden: int) -> tuple[Any, ...]:
    return normal(4 * hidden, inputs), normal(4 * hidden, hidden), normal(4 * hidden), normal(hidden), normal(hidden)


@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_lstm_starts_from_learned_states(inputs, layers, tmp_path):
    cells, head = [cell(inputs if i == 0 else 4, 4) for i in range(layers)], (normal(1, 4), normal(1))
    x = y = samples(9, inputs)
    for one in cells:
        y = lstm(y, *one)
    file = nam_lstm(cells, head, metadata={"name": "amp", "loudness": -20.5, "date": {"year": 2024}})
    imported = check(saved(tmp_path, file, "model.nam"), x, y @ head[0].T + head[1])
    assert imported.provenance["sample_rate"] == "48000"
    assert imported.provenance["metadata"] == "name amp, loudness -20.5"


def test_knobs_are_named_in_the_order_of_their_inputs(tmp_path):
    file = nam_lstm([cell(3, 2)], (normal(1, 2), normal(1)))
    file["architecture"], file["config"]["parametric"] = "CatLSTM", {"tone": {}, "drive": {}}
    assert to_graph(saved(tmp_path, file, "m.nam")).provenance["inputs"] == "sample, drive, tone"
    file["config"]["parametric"] = {"tone": {}}
    with pytest.raises(fastgru.ConvertError, match=r"config\.parametric must name 2 knobs, got tone"):
        to_graph(saved(tmp_path, file, "m.nam"))


@pytest.mark.parametrize("knob", [0, 1])
@pytest.mark.parametrize("gated", [False, True])
def test_wavenet_has_heard_silence_before_the_first_step(gated, knob, tmp_path):
    """As trained and played: zeros at the input for as long as the network looks back, not at every layer."""
    x, weights, arrays = samples(12, 1 + knob), [], []
    sizes = [(1 + knob, 4, 3, (1, 2, 4), 3), (4, 3, 1, (1, 8), 2)]
    padded = y = np.concatenate([np.zeros((40, 1 + knob)), x])
    head: Any = 0
    for n, (inputs, channels, out, dilations, kernel) in enumerate(sizes):
        last, inner = n == len(sizes) - 1, channels * (2 if gated else 1)
        weights.append(normal(channels, inputs))
        y = y @ weights[-1].T
        for dilation in dilations:
            w, b, mix, v, d = (
                normal(inner, channels, kernel), normal(inner), normal(inner, 1 + knob), normal(channels, channels),
                normal(channels),
            )  # fmt: skip
            weights += [w, b, mix, v, d]
            z = conv(y, w, b, dilation) + padded @ mix.T
            z = np.tanh(z[:, :channels]) * sigmoid(z[:, channels:]) if gated else np.tanh(z)
            y, head = y + z @ v.T + d, head + z
        weights.append(normal(out, channels))
        head = head @ weights[-1].T
        if last:
            weights.append(normal(out))
            head = head + weights[-1]
        arrays.append({
            "input_size": inputs, "condition_size": 1 + knob, "head_size": out, "channels": channels,
            "kernel_size": kernel, "dilations": dilations, "activation": "Tanh", "gated": gated, "head_bias": last,
        })  # fmt: skip
    file = nam("WaveNet", {"layers": arrays, "head": None, "head_scale": 0.02}, [*weights, [0.5]])
    check(saved(tmp_path, file, "model.nam"), x, 0.5 * head[40:])


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("bottleneck", [3, 2])
def test_wavenet_with_modulations_by_the_input(bottleneck, shift, tmp_path):
    """FiLM before and behind the convolution and the activation, a convolution in front of the head, a second head."""
    x = samples(12, 1)
    padded = np.concatenate([np.zeros((60, 1)), x])
    widths = {"conv_pre_film": 3, "conv_post_film": 2 * bottleneck, "activation_post_film": bottleneck}
    widths["head1x1_post_film"] = 2
    weights, total = [normal(3, 1)], np.zeros((72, 2))
    y = padded @ weights[0].T
    for dilation in (1, 3):
        w, b, mix = normal(2 * bottleneck, 3, 3), normal(2 * bottleneck), normal(2 * bottleneck, 1)
        v, d, p, q = normal(3, bottleneck), normal(3), normal(2, bottleneck), normal(2)
        films = {name: (normal(n * (1 + shift), 1), normal(n * (1 + shift))) for name, n in widths.items()}
        weights += [w, b, mix, v, d, p, q, *(a for film in films.values() for a in film)]

        def film(name, value, films=films):
            parts = padded @ films[name][0].T + films[name][1]
            n = value.shape[1]
            return value * parts[:, :n] + (parts[:, n:] if shift else 0)

        z = film("conv_post_film", conv(film("conv_pre_film", y), w, b, dilation)) + padded @ mix.T
        z = film("activation_post_film", np.tanh(z[:, :bottleneck]) * sigmoid(z[:, bottleneck:]))
        y, total = y + z @ v.T + d, total + film("head1x1_post_film", z @ p.T + q)
    weights += [normal(4, 2), normal(4), normal(1, 4, 3), normal(1), [0.5]]
    head = 0.5 * (total @ weights[-5].T + weights[-4])
    head = conv(np.tanh(head), weights[-3], weights[-2])
    active = {"active": True, "shift": shift, "groups": 1}
    array = {
        "input_size": 1, "condition_size": 1, "channels": 3, "bottleneck": bottleneck, "kernel_size": 3,
        "dilations": [1, 3], "activation": ["Tanh", {"type": "Tanh"}], "gating_mode": "gated",
        "head": {"out_channels": 4, "kernel_size": 1, "bias": True}, "layer1x1": {"active": True, "groups": 1},
        "head1x1": {"active": True, "out_channels": 2, "groups": 1}, **dict.fromkeys(widths, active),
        "layer1x1_post_film": {**active, "active": False}, "input_mixin_pre_film": False,
    }  # fmt: skip
    second = {"channels": 7, "out_channels": 1, "kernel_sizes": [3], "activation": "Tanh"}
    file = nam("WaveNet", {"layers": [array], "head": second, "head_scale": 0.5}, weights, version="0.7.0")
    check(saved(tmp_path, file, "model.nam"), x, head[60:])


def small(size: int, x: Any, condition: Any) -> tuple[dict[str, Any], list[Any], Any]:
    """A WaveNet of one layer: its config, its weights, and what it gives."""
    rechannel, w, b, mix = normal(3, x.shape[1]), normal(3, 3, 2), normal(3), normal(3, condition.shape[1])
    v, d, p, q = normal(3, 3), normal(3), normal(size, 3), normal(size)
    array = {"input_size": x.shape[1], "condition_size": condition.shape[1], "head_size": size, "channels": 3,
             "kernel_size": 2, "dilations": [2], "activation": "Tanh", "gated": False, "head_bias": True}  # fmt: skip
    y = 0.5 * (np.tanh(conv(x @ rechannel.T, w, b, 2) + condition @ mix.T) @ p.T + q)
    return {"layers": [array], "head": None, "head_scale": 0.5}, [rechannel, w, b, mix, v, d, p, q, [0.5]], y


def test_a_network_makes_the_condition_of_another(tmp_path):
    x = samples(12, 1)
    padded = np.concatenate([np.zeros((9, 1)), x])
    inner, inner_weights, condition = small(2, padded, padded)
    config, weights, y = small(1, padded, condition)
    config["condition_dsp"] = nam("WaveNet", inner, inner_weights, version="0.6.0")
    check(saved(tmp_path, nam("WaveNet", config, weights, version="0.6.0"), "model.nam"), x, y[9:])
    config["condition_dsp"]["weights"] = config["condition_dsp"]["weights"][:-1]
    with pytest.raises(
        fastgru.ConvertError, match=r"config\.condition_dsp\.weights must hold 1 numbers for the head_s"
    ):
        to_graph(saved(tmp_path, nam("WaveNet", config, weights), "model.nam"))


ACTIVATIONS = {
    "Tanh": np.tanh,
    "Sigmoid": sigmoid,
    "ReLU": lambda x: np.maximum(x, 0),
    "SiLU": lambda x: x * sigmoid(x),
    "Hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "Hardtanh": lambda x: np.clip(x, -1, 1),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "PReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "LeakyHardtanh": lambda x: np.clip(x, -1, 1) + 0.01 * (np.minimum(x + 1, 0) + np.maximum(x - 1, 0)),
}
WITH_PARAMETERS = [
    ({"type": "LeakyReLU", "negative_slope": 0.3}, lambda x: np.where(x > 0, x, 0.3 * x)),
    ({"type": "PReLU", "negative_slopes": [0.3, 0.1, -0.2]}, lambda x: np.where(x > 0, x, x * [0.3, 0.1, -0.2])),
    ({"type": "Hardtanh", "min_val": -0.3, "max_val": 0.2}, lambda x: np.clip(x, -0.3, 0.2)),
    (
        {"type": "LeakyHardtanh", "min_val": -0.5, "max_val": 0.2, "min_slope": 0.3, "max_slope": 0.1},
        lambda x: np.clip(x, -0.5, 0.2) + 0.3 * np.minimum(x + 0.5, 0) + 0.1 * np.maximum(x - 0.2, 0),
    ),
]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize(("name", "function"), [*ACTIVATIONS.items(), *WITH_PARAMETERS])
def test_conv_net(name, function, norm, tmp_path):
    x, weights = samples(11, 1), []
    y = np.concatenate([np.zeros((20, 1)), x])
    for dilation in (1, 4):
        weights.append(normal(3, y.shape[1], 2) * 2)
        bias = None if norm else normal(3)
        y = conv(y, weights[-1], bias, dilation)
        if norm:
            mean, variance, scale, shift = normal(3), np.abs(normal(3)) + 0.1, normal(3), normal(3)
            weights += [mean, variance, scale, shift, [1e-3]]
            y = (y - mean) / np.sqrt(variance + np.float32(1e-3)) * scale + shift
        else:
            weights.append(bias)
        y = function(y)
    weights += [normal(1, 3), normal(1)]
    config = {"channels": 3, "dilations": [1, 4], "batchnorm": norm, "activation": name}
    wanted = (y @ weights[-2].T + weights[-1])[20:]
    check(saved(tmp_path, nam("ConvNet", config, weights), "model.nam"), x, wanted)


@pytest.mark.parametrize("bias", [False, True])
def test_linear_is_an_impulse_response(bias, tmp_path):
    response, shift, x = normal(5), normal(1), samples(9, 1)
    weights = [response, shift] if bias else [response]
    wanted = np.convolve(x[:, 0], response)[:9, None] + (shift if bias else 0)
    config = {"receptive_field": 5, "bias": bias}
    check(saved(tmp_path, nam("Linear", config, weights), "model.nam"), x, wanted)


def test_of_a_container_the_last_and_largest_model_is_taken(tmp_path):
    small, large = (nam_lstm([cell(1, n)], (normal(1, n), normal(1))) for n in (2, 5))
    parts = [{"max_value": 0.5, "model": small}, {"max_value": 1.0, "model": large}]
    path = saved(tmp_path, nam("SlimmableContainer", {"submodels": parts}, [], version="0.7.0"), "model.nam")
    imported = to_graph(path)
    assert imported.graph.nodes[0].op.hidden_size == 5
    assert imported.provenance["notes"] == "the last and largest of 2 submodels"
