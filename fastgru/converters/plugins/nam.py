"""Neural Amp Modeler's ``.nam``: an architecture, its sizes, and all weights in one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...errors import ConvertError
from ...graph import LSTM, BatchNorm, Dense, Graph
from . import fields
from .activations import activate
from .fields import Fields
from .net import Net, at_rest
from .wavenet import equal, input_size, wavenet
from .weights import Weights, check_version


class Row(NamedTuple):
    """An architecture: what adds it to a network, and the elements of its input."""

    build: Callable[[Net, Fields, Weights, str], str]
    inputs: Callable[[Fields], int]


def read(file: Fields) -> tuple[Graph, dict[str, str]]:
    """Return the graph of a file, and what it says of its model."""
    notes = {}
    while file.text("architecture") == "SlimmableContainer":  # one model in several sizes: the last is the whole one
        check_version(file)
        sizes = file.fields("config").items("submodels")
        last = Fields(sizes[-1], f"{file.name('config')}.submodels[{len(sizes) - 1}]")
        notes = {"notes": f"the last and largest of {len(sizes)} submodels"}
        file = last.fields("model")
    check_version(file)
    name = file.text("architecture")
    row = ROWS.get(name.removeprefix("Cat"))  # Cat...: knobs are concatenated to the sample
    if row is None:
        raise ConvertError(f"{file.name('architecture')} must be one of {', '.join(ROWS)}, got {name!r}")
    config, weights = file.fields("config"), Weights(file)
    size = row.inputs(config)
    knobs = sorted(map(str, config.fields("parametric").value)) if "parametric" in config else []
    if knobs and len(knobs) != size - 1:
        raise ConvertError(f"{config.name('parametric')} must name {size - 1} knobs, got {', '.join(knobs)}")

    def build(net: Net) -> str:
        weights.read = 0
        y = row.build(net, config, weights, net.x)
        weights.finish()
        return y

    graph = at_rest((size,), build)
    told = fields.told({"sample_rate": file.value.get("sample_rate")}, file.value.get("metadata"))
    if knobs:
        told["inputs"] = ", ".join(["sample", *knobs])
    return graph, {"architecture": name, **told, **notes}


def _lstm(net: Net, config: Fields, weights: Weights, x: str) -> str:
    """Add LSTMs that start from learned states, and a dense layer."""
    size, hidden = net.shape(x)[0], config.integer("hidden_size")
    equal(config, "in_channels", size, "input_size")
    for i in range(config.integer("num_layers")):
        net.name, place = "lstm", f"LSTM {i}"
        both = weights.take(f"weights of {place}", 4 * hidden, size + hidden)
        bias = weights.take(f"bias of {place}", 4 * hidden)
        h, c = (weights.take(f"initial {state} state of {place}", hidden) for state in ("hidden", "cell"))
        x = net.add(LSTM.from_torch(both[:, :size], both[:, size:], bias, initial_h=h, initial_c=c), x)
        size = hidden
    net.name, outputs = "head", config.integer("out_channels", 1)
    weight, bias = weights.take("weights of the head", outputs, hidden), weights.take("bias of the head", outputs)
    config.finish("parametric")
    return net.add(Dense(weight, bias), x)


def _conv_net(net: Net, config: Fields, weights: Weights, x: str) -> str:
    """Add convolutions of two steps each, with norms and activations, and a dense layer."""
    channels, groups, norm = config.integer("channels"), config.integer("groups", 1), config.flag("batchnorm")
    for i, dilation in enumerate(config.integers("dilations")):
        name, size = f"block.{i}", net.shape(x)[0]
        x = weights.conv(name, size, channels, 2, bias=not norm, dilation=dilation, groups=groups).add(net, x)
        if norm:
            mean, variance, scale, shift = (weights.take(f"norm of {name}", channels) for _ in range(4))
            eps = float(weights.take(f"eps of {name}", 1)[0])
            net.name = f"{name}.norm"
            x = net.add(BatchNorm(mean, variance, scale, shift, eps=eps), x)
        net.name = f"{name}.activation"
        x = activate(net, x, config.get("activation"), config.name("activation"))
    x = weights.conv("head", channels, config.integer("out_channels", 1)).add(net, x)
    config.finish()
    return x


def _linear(net: Net, config: Fields, weights: Weights, x: str) -> str:
    """Add an impulse response, whose first number is of the latest sample."""
    for field in ("in_channels", "out_channels"):
        equal(config, field, 1, "one channel")
    config.get("implementation", "auto")
    name, count, bias = "response", config.integer("receptive_field"), config.flag("bias")
    conv = weights.conv(name, 1, 1, count, bias=bias)
    config.finish()
    return conv._replace(weight=conv.weight[:, :, ::-1]).add(net, x)


ROWS = {
    "LSTM": Row(_lstm, lambda config: config.integer("input_size")),
    "WaveNet": Row(wavenet, input_size),
    "ConvNet": Row(_conv_net, lambda config: config.integer("in_channels", 1)),
    "Linear": Row(_linear, lambda config: 1),
}
