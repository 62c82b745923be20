"""Networks of PyTorch and Keras, written to the files that audio plugins play, against their own forward passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from plugin_files import layer, nam, rtneural, saved
from streamed import check_streamed

import fastgru
from fastgru.converters import to_graph

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
nn = torch.nn


def uniform(module: Any, seed: int = 0) -> Any:
    """A module in eval mode whose weights tell gates and channels apart."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.7, 0.7)
        for name, buffer in module.named_buffers():
            if "running" in name:
                buffer.uniform_(0.3, 1.5)
    return module.eval()


def flat(*tensors: Any) -> list[Any]:
    return [t.detach().numpy() for t in tensors]


def samples(inputs: int, steps: int = 40) -> Any:
    return np.random.default_rng(3).normal(size=(2, steps, inputs)).astype(np.float32)


def check(path: Any, x: Any, wanted: Any, tolerance: float = 2e-6) -> None:
    """The model of a file gives what the framework gave, whole, in chunks and step by step."""
    y = fastgru.convert(path)(x)
    assert y.shape == wanted.shape
    assert np.abs(y - wanted).max() <= tolerance * max(1.0, np.abs(wanted).max())
    graph = to_graph(path).graph
    check_streamed(graph, {"x": x})


# Keras, as RTNeural's exporter writes it --------------------------------------------------------------

L = keras.layers
KINDS = {
    "GRU": "gru", "LSTM": "lstm", "Dense": "dense", "TimeDistributed": "time-distributed-dense", "Conv1D": "conv1d",
    "PReLU": "prelu", "BatchNormalization": "batchnorm", "Activation": "activation",
}  # fmt: skip


def exported(net: Any) -> dict[str, Any]:
    """A Sequential model of Keras as a file for RTNeural."""
    found = []
    for part in net.layers:
        inner = part.layer if isinstance(part, L.TimeDistributed) else part
        name = getattr(getattr(inner, "activation", None), "__name__", "linear")
        more: dict[str, Any] = {}
        if isinstance(part, L.Conv1D):
            more = {"kernel_size": part.kernel_size, "dilation": part.dilation_rate, "groups": part.groups}
        if isinstance(part, L.BatchNormalization):
            more = {"epsilon": part.epsilon}
        found.append(
            layer(KINDS[type(part).__name__], part.output.shape[-1], *part.get_weights(),
                  activation="" if name == "linear" else name, **more)
        )  # fmt: skip
    return rtneural(net.input_shape[-1], *found)


def sequential(inputs: int, *layers: Any) -> Any:
    """A Keras model whose weights are all drawn."""
    net = keras.Sequential([keras.Input((None, inputs)), *layers])
    rng = np.random.default_rng(7)
    for part in net.layers:
        part.set_weights([rng.uniform(0.1, 0.7, w.shape) * rng.choice([-1, 1], w.shape) for w in part.get_weights()])
        if isinstance(part, L.BatchNormalization):
            part.moving_variance.assign(keras.ops.abs(part.moving_variance))
    return net


NETS = {
    "gru": lambda: (L.GRU(5, return_sequences=True), L.Dense(1)),
    "gru_deep": lambda: (L.GRU(4, return_sequences=True), L.GRU(3, return_sequences=True), L.Dense(2, "tanh")),
    "lstm": lambda: (L.LSTM(6, return_sequences=True), L.Dense(1)),
    "time_distributed": lambda: (L.TimeDistributed(L.Dense(4, "tanh")), L.LSTM(3, return_sequences=True)),
    "dense": lambda: (L.Dense(6, "relu"), L.Dense(5, "sigmoid"), L.Dense(4, "elu"), L.Dense(3, "softmax")),
    "activation": lambda: (L.Dense(6), L.Activation("elu"), L.Dense(3, use_bias=False), L.Activation("softmax")),
    "conv": lambda: (
        L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="tanh"),
        L.BatchNormalization(epsilon=0.01),
        L.PReLU(shared_axes=[1]),
        L.Conv1D(6, 2, padding="causal", groups=2),
        L.BatchNormalization(center=False, scale=False),
        L.GRU(4, return_sequences=True),
        L.Dense(1),
    ),
}


@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_keras_networks_for_rtneural(name, inputs, tmp_path):
    net, x = sequential(inputs, *NETS[name]()), samples(inputs)
    check(saved(tmp_path, exported(net)), x, keras.ops.convert_to_numpy(net(x)))


# PyTorch, as the trainers write it --------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("layers", [1, 3])
def test_lstm_of_neural_amp_modeler(layers, inputs, tmp_path):
    net, head = uniform(nn.LSTM(inputs, 5, layers, batch_first=True)), uniform(nn.Linear(5, 1))
    start = torch.rand(2, layers, 1, 5) - 0.5
    weights: list[Any] = []
    for i in range(layers):
        w, u, b, c = (getattr(net, f"{kind}_l{i}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        weights += flat(torch.cat([w, u], 1), b + c, start[0, i, 0], start[1, i, 0])
    config = {"input_size": inputs, "hidden_size": 5, "num_layers": layers}
    x = samples(inputs)
    with torch.no_grad():
        state = tuple(start.expand(2, layers, 2, 5).contiguous())
        wanted = head(net(torch.from_numpy(x), state)[0]).numpy()
    file = nam("LSTM", config, [*weights, *flat(head.weight, head.bias)])
    check(saved(tmp_path, file, "model.nam"), x, wanted)


class Layer(nn.Module):
    """A layer of WaveNet: channels, groups, a dilated convolution, a condition, gates."""

    def __init__(self, channels: int, condition: int, kernel: int, dilation: int, mode: str, groups: int) -> None:
        super().__init__()
        inner = channels * (1 if mode == "none" else 2)
        self.mode = mode
        self.conv = nn.Conv1d(channels, inner, kernel, dilation=dilation, groups=groups)
        self.mixin = nn.Conv1d(condition, inner, 1, bias=False)
        self.onward = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Any, c: Any) -> tuple[Any, Any]:
        z = self.conv(x)
        z = z + self.mixin(c)[..., -z.shape[-1] :]
        if self.mode == "none":
            z = torch.nn.functional.leaky_relu(z, 0.2)
        else:
            a, b = z.chunk(2, 1)
            gate, y = torch.sigmoid(b), torch.nn.functional.leaky_relu(a, 0.2)
            z = y * gate if self.mode == "gated" else gate * y + (1 - gate) * a
        return x[..., -z.shape[-1] :] + self.onward(z), z


class WaveNet(nn.Module):
    """Layers behind a rechannel, and a head of several taps over the sum of their skips; no padding anywhere."""

    def __init__(self, inputs: int, mode: str, groups: int) -> None:
        super().__init__()
        self.dilations = (1, 3, 9)
        self.rechannel = nn.Conv1d(inputs, 4, 1, bias=False)
        self.layers = nn.ModuleList(Layer(4, inputs, 3, d, mode, groups) for d in self.dilations)
        self.head = nn.Conv1d(4, 1, 4)

    def forward(self, x: Any) -> Any:
        y, skips = self.rechannel(x), []
        for one in self.layers:
            y, skip = one(y, x)
            skips.append(skip)
        return 0.3 * self.head(sum(skip[..., -skips[-1].shape[-1] :] for skip in skips))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("mode", ["none", "gated", "blended"])
@pytest.mark.parametrize("inputs", [1, 2])
def test_wavenet_of_neural_amp_modeler(inputs, mode, groups, tmp_path):
    net, x = uniform(WaveNet(inputs, mode, groups)), samples(inputs)
    weights = flat(net.rechannel.weight)
    for one in net.layers:
        weights += flat(one.conv.weight, one.conv.bias, one.mixin.weight, one.onward.weight, one.onward.bias)
    weights += [*flat(net.head.weight, net.head.bias), [0.3]]
    array = {
        "input_size": inputs, "condition_size": inputs, "channels": 4, "kernel_sizes": [3, 3, 3],
        "dilations": net.dilations, "activation": {"type": "LeakyReLU", "negative_slope": 0.2},
        "gating_mode": [mode] * 3, "secondary_activation": None, "groups_input": groups,
        "head": {"out_channels": 1, "kernel_size": 4, "bias": True}, "layer1x1": {"active": True, "groups": 1},
    }  # fmt: skip
    file = nam("WaveNet", {"layers": [array], "head": None, "head_scale": 0.3}, weights, version="0.7.0")
    before = np.zeros((2, 2 * sum(net.dilations) + 3, inputs), np.float32)
    with torch.no_grad():
        wanted = net(torch.from_numpy(np.concatenate([before, x], 1)).transpose(1, 2)).transpose(1, 2).numpy()
    check(saved(tmp_path, file, "model.nam"), x, wanted)


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("unit", ["LSTM", "GRU", "RNN"])
def test_weights_of_automated_guitar_amp_modelling(unit, layers, skip, tmp_path):
    net = uniform(nn.ModuleDict({"rec": getattr(nn, unit)(2, 4, layers), "lin": nn.Linear(4, 1)}))
    data = {"model": "SimpleRNN", "input_size": 2, "skip": skip, "output_size": 1, "unit_type": unit,
            "num_layers": layers, "hidden_size": 4, "bias_fl": True}  # fmt: skip
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    x = samples(2)
    with torch.no_grad():
        y = net["lin"](net["rec"](torch.from_numpy(x).transpose(0, 1))[0]).transpose(0, 1).numpy()
    check(saved(tmp_path, {"model_data": data, "state_dict": state}), x, y + (x[..., :1] if skip else 0))
