"""RTNeural's and AIDA-X's files, and PyTorch weights as JSON, against formulas in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from commands import invoke
from plugin_files import keras_gru, layer, rtneural, saved
from plugin_formulas import check, conv, gru, lstm, normal, samples, sigmoid

import fastgru
from fastgru import reference
from fastgru.converters import to_graph
from fastgru.layers import GRU, Dense, like

# RTNeural and AIDA-X --------------------------------------------------------------------------------


def gru_arrays(inputs: int, hidden: int) -> tuple[Any, ...]:
    return normal(3 * hidden, inputs), normal(3 * hidden, hidden), normal(3 * hidden), normal(3 * hidden)


@pytest.mark.parametrize("inputs", [1, 3])
def test_gru_and_dense(inputs, tmp_path):
    first, second = gru_arrays(inputs, 4), gru_arrays(4, 5)
    w, b, x = normal(5, 1), normal(1), samples(9, inputs)
    layers = [layer("gru", 4, *keras_gru(*first), activation="tanh"), layer("gru", 5, *keras_gru(*second))]
    path = saved(tmp_path, rtneural(inputs, *layers, layer("dense", 1, w, b)))
    imported = check(path, x, gru(gru(x, *first), *second) @ w + b)
    assert [node.name for node in imported.graph.nodes] == ["gru", "gru_1", "dense"]


@pytest.mark.parametrize("skip", [None, 0, 1])
@pytest.mark.parametrize(("gain", "out"), [(None, None), (6.0, -12.0), (-3.5, None), (None, -100.0)])
@pytest.mark.parametrize("inputs", [1, 3])
def test_aida_x_skips_the_sample_and_amplifies_by_decibels(skip, gain, out, inputs, tmp_path):
    w, u, b = normal(16, inputs), normal(16, 4), normal(16)
    v, d, x = normal(4, 1), normal(1), samples(8, inputs)
    layers = [layer("lstm", 4, w.T, u.T, b), layer("dense", 1, v, d)]
    given = {"in_skip": skip, "in_gain": gain, "out_gain": out, "metadata": {"name": "amp", "samplerate": "48000"}}
    path = saved(tmp_path, rtneural(inputs, *layers, **given), "model.aidax")
    loud = x.astype(np.float64)  # the sample alone: the others are knobs
    loud[:, 0] *= 10 ** ((gain or 0) / 20)
    y = lstm(loud, w, u, b, np.zeros(4), np.zeros(4)) @ v + d
    y = (y + (loud[:, :1] if skip else 0)) * (0 if out == -100 else 10 ** ((out or 0) / 20))
    provenance = check(path, x, y).provenance
    assert provenance["sample_rate"] == "48000"
    assert provenance["metadata"] == "name amp"


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2), (2, 5)])
@pytest.mark.parametrize("activation", ["", "tanh", "softmax"])
def test_conv1d(groups, kernel, dilation, activation, tmp_path):
    weight, bias, x = normal(4, 4 // groups, kernel), normal(4), samples(14, 4)
    more = {"kernel_size": [kernel], "dilation": [dilation], "groups": groups}
    one = layer("conv1d", 4, weight.transpose(2, 1, 0), bias, activation=activation, **more)
    y = conv(x, weight, bias, dilation, groups)
    wanted = {"": y, "tanh": np.tanh(y), "softmax": np.exp(y) / np.exp(y).sum(1, keepdims=True)}[activation]
    check(saved(tmp_path, rtneural(4, one)), x, wanted)


def test_norms_rectifiers_and_activations(tmp_path):
    scale, shift, mean, variance = normal(4), normal(4), normal(4), np.abs(normal(4)) + 0.1
    slopes, x = normal(1, 4), samples(9, 4)
    layers = [
        layer("batchnorm", 4, scale, shift, mean, variance, epsilon=0.01),
        layer("prelu", 4, slopes),
        layer("batchnorm", 4, mean, variance, epsilon=0.5),
        layer("prelu", 4, normal(1, 1) * 0 + 0.25),
        layer("activation", 4, activation="elu"),
        layer("time-distributed-dense", 2, np.eye(4, 2, dtype="f"), activation="sigmoid"),
        layer("activation", 2, activation="softmax"),
    ]
    y = (x - mean) / np.sqrt(variance + 0.01) * scale + shift
    y = (np.where(y > 0, y, slopes * y) - mean) / np.sqrt(variance + 0.5)
    y = np.where(y > 0, y, 0.25 * y)
    y = np.exp(sigmoid(np.where(y > 0, y, np.expm1(y)))[:, :2])
    check(saved(tmp_path, rtneural(4, *layers)), x, y / y.sum(1, keepdims=True))


@pytest.mark.parametrize(("padding", "stride", "features"), [("valid", 1, 5), ("same", 2, 4), ("same", 1, 7)])
def test_conv2d_is_causal_over_time(padding, stride, features, tmp_path):
    time, width, dilation, filters, size = 3, 3, 2, 2, 3
    weight, bias, x = normal(time, width, filters, size), normal(size), samples(9, 7, filters)
    more = {"kernel_size_time": time, "kernel_size_feature": width, "dilation": dilation, "strides": stride}
    more |= {"num_filters_in": filters, "num_features_in": 7, "num_filters_out": size, "padding": padding}
    one = {**layer("conv2d", size, weight, bias, activation="relu", **more), "shape": [None, 50, features, size]}
    wide = np.pad(x, ((4, 0), (1, 1), (0, 0)) if padding == "same" else ((4, 0), (0, 0), (0, 0)))
    y = np.zeros((9, features, size)) + bias
    for t, f, i, j in np.ndindex(9, features, time, width):
        y[t, f] += wide[t + i * dilation, f * stride + j] @ weight[i, j]
    check(saved(tmp_path, {**rtneural(1, one), "in_shape": [None, 50, 7, filters]}), x, np.maximum(y, 0))


def test_the_samples_in_a_file_are_compared(tmp_path):
    file = rtneural(1, layer("dense", 1, np.full((1, 1), 2.0)), input_batch=[1.0, 2.0], output_batch=[2.0, 4.5])
    assert "output_batch differs by at most 0.5" in fastgru.convert(saved(tmp_path, file)).provenance["notes"]


def test_the_command_line_converts_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, rtneural(1, layer("dense", 1, np.full((1, 1), 2.0))), "amp.json")
    assert "wrote amp.fgru" in invoke("convert", "amp.json", "-o", "amp.fgru")
    model, x = fastgru.load(tmp_path / "amp.fgru", verify=True), samples(5, 1)
    assert np.array_equal(model(x), fastgru.convert(path)(x))


# PyTorch weights as JSON ----------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("unit", ["LSTM", "GRU"])
def test_weights_with_a_description(unit, inputs, skip, tmp_path):
    gates = {"LSTM": 4, "GRU": 3}[unit]
    w, u, b, c = normal(gates * 5, inputs), normal(gates * 5, 5), normal(gates * 5), normal(gates * 5)
    v, d, x = normal(1, 5), normal(1), samples(9, inputs)
    state = {"rec.weight_ih_l0": w, "rec.weight_hh_l0": u, "rec.bias_ih_l0": b, "rec.bias_hh_l0": c}
    data = {"model": "SimpleRNN", "input_size": inputs, "skip": skip, "output_size": 1, "unit_type": unit,
            "num_layers": 1, "hidden_size": 5, "bias_fl": True}  # fmt: skip
    file = {"model_data": data, "state_dict": {**state, "lin.weight": v, "lin.bias": d}}
    h = gru(x, w, u, b, c) if unit == "GRU" else lstm(x, w, u, b + c, np.zeros(5), np.zeros(5))
    check(saved(tmp_path, file), x, h @ v.T + d + (x[:, :1] if skip else 0))


def test_a_state_dict_takes_like(tmp_path):
    w, u, b, c = gru_arrays(1, 4)
    v, d, x = normal(1, 4), normal(1), samples(9, 1)
    names = ("gru.weight_ih_l0", "gru.weight_hh_l0", "gru.bias_ih_l0", "gru.bias_hh_l0", "fc.weight", "fc.bias")
    path = saved(tmp_path, dict(zip(names, (w, u, b, c, v, d), strict=True)))
    assert to_graph(path).provenance["framework"] == "PyTorch"
    graph = to_graph(path, like=[like(GRU, name="gru"), like(Dense, name="fc", activation="tanh")]).graph
    wanted = np.tanh(gru(x, w, u, b, c) @ v.T + d)
    assert np.abs(reference.run(graph, x[None])[0][0][0] - wanted).max() < 1e-6
