"""RTNeural's JSON: Keras layers one after the other, and what AIDA-X adds: gains in decibels, and a skip."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import reference
from ...errors import ConvertError
from ...graph import GRU, LSTM, Activate, Activation, BatchNorm, Conv, Dense, Framing, Graph
from ...graph.convolution import extent
from ..program.values import Array
from . import fields
from .activations import rectified
from .fields import Fields
from .net import INPUT, Net, inner_size

ACTIVATIONS = ("tanh", "relu", "sigmoid", "softmax", "elu")
SILENT = -90.0  # decibels up to which AIDA-X plays nothing
RECORDED = 4096  # samples of the file's own that are compared


class Entry(Fields):
    """A layer of the file, with the sizes that it must have.

    Parameters
    ----------
    value : mapping
    where : str
        Its place in the file.
    """

    def __init__(self, value: Any, where: str) -> None:
        super().__init__(value, where)
        self.kind = self.text("type")
        self.where = f"{where} ({self.kind})"
        shape = self.items("shape")
        self.shape = tuple(
            fields.integer(n, f"{self.name('shape')}[-1]") for n in shape[2 if len(shape) == 4 else -1 :]
        )
        self.weights = self.get("weights", [])
        if not isinstance(self.weights, list):
            raise ConvertError(f"{self.name('weights')} must be a list, got {fields.said(self.weights)}")

    @property
    def size(self) -> int:
        """Elements of the output."""
        return int(np.prod(self.shape))

    def count(self, *allowed: int) -> int:
        """Return how many arrays there are."""
        n = len(self.weights)
        if n not in allowed:
            raise ConvertError(f"{self.name('weights')} must hold {' or '.join(map(str, allowed))} arrays, got {n}")
        return n

    def array(self, i: int, *shape: int | str) -> Array:
        """Return an array of the weights."""
        return fields.array(self.weights[i], f"{self.name('weights')}[{i}]", shape)

    def one(self, field: str, default: Any = None) -> int:
        """Return a size that may be in a list, as Keras writes it."""
        found = self.get(field) if default is None else self.get(field, default)
        if isinstance(found, list) and len(found) == 1:
            (found,) = found
        return fields.integer(found, self.name(field))

    def activation(self, *allowed: str) -> str:
        """Return the name of the activation, "linear" where there is none."""
        name = self.text("activation", "") or "linear"
        if name != "linear" and name not in (allowed or ACTIVATIONS):
            raise ConvertError(
                f"{self.name('activation')} must be empty or {' or '.join(allowed or ACTIVATIONS)}, got {name!r}"
            )
        return name


def read(file: Fields) -> tuple[Graph, dict[str, str]]:
    """Return the graph of a file, and what it says of its model."""
    shape = file.items("in_shape")
    frame = tuple(fields.integer(n, "in_shape[-1]") for n in shape[2 if len(shape) == 4 else -1 :])
    skip = file.integer("in_skip", 0, least=0)
    if skip > 1:
        raise ConvertError(f"in_skip must be 0 or 1, as AIDA-X takes it, got {skip}")
    gains = [file.number(name, 0.0) for name in ("in_gain", "out_gain")]
    net = Net(frame)
    x = y = _louder(net, net.x, gains[0], alone=len(frame) == 1)
    for i, item in enumerate(file.items("layers")):
        entry = Entry(item, f"layers[{i}]")
        net.name = entry.kind
        if entry.kind not in LAYERS:
            raise ConvertError(f"{entry.where}: type must be one of {', '.join(LAYERS)}, got {entry.kind!r}")
        y = LAYERS[entry.kind](net, entry, y)
        entry.finish("name")
        if int(np.prod(net.shape(y))) != entry.size:
            raise ConvertError(f"{entry.name('shape')} must end in {net.shape(y)[-1]}, got {entry.shape[-1]}")
    if skip:
        net.name = "skip"
        inner_size(frame, "in_skip")
        y = net.plus(net.cut(x, 0, 0, 1), y)
    graph = net.graph(_louder(net, y, gains[1]))
    said = {k: v for k, v in file.value.items() if k not in ("in_skip", "in_gain", "out_gain")}
    return graph, {**fields.told(said, file.value.get("metadata")), **_recorded(file, graph)}


def _recorded(file: Fields, graph: Graph) -> dict[str, str]:
    """Compare the model with the samples that trainers for AIDA-X put into a file, and say how they differ."""
    if "input_batch" not in file or "output_batch" not in file or graph.specs[INPUT].shape != (1,):
        return {}
    x, y = (fields.numbers(file.items(name), name)[:RECORDED] for name in ("input_batch", "output_batch"))
    if len(x) != len(y):
        raise ConvertError(f"output_batch must have {len(x)} samples like input_batch, got {len(y)}")
    found = reference.run(graph, x.reshape(1, -1, 1))[0][0]
    if found[0, :, 0].shape != y.shape:
        return {}
    return {"notes": f"the file's own output_batch differs by at most {np.abs(found[0, :, 0] - y).max():.2g}"}


def _louder(net: Net, value: str, decibels: float, *, alone: bool = False) -> str:
    """Return a value times a gain; `alone`: its first element, the sample, as the others are knobs."""
    net.name, size = "gain", net.shape(value)[0]
    gain = 10.0 ** (decibels / 20) if decibels > SILENT else 0.0
    if not alone or size == 1:
        return net.affine(value, gain)
    return value if gain == 1 else net.times(value, net.constant(np.array([gain] + [1.0] * (size - 1))))


def _activate(net: Net, value: str, name: str) -> str:
    return value if name == "linear" else net.add(Activate(Activation(name)), value)


def _dense(net: Net, entry: Entry, x: str) -> str:
    bias = entry.array(1, entry.size) if entry.count(1, 2) == 2 else None
    weight = entry.array(0, "inputs", entry.size)
    x = net.vector(x, len(weight), f"{entry.name('weights')}[0]")
    return net.add(Dense(weight.T, bias, Activation(entry.activation())), x)


def _recurrent(net: Net, entry: Entry, x: str, gates: int) -> list[Array]:
    """Return kernels and bias of a layer whose activations RTNeural fixes: tanh, and sigmoid of gates."""
    entry.activation("tanh")
    size = entry.size
    entry.count(3)
    inputs, bias = inner_size(net.shape(x), entry.where), (2, gates * size) if gates == 3 else (gates * size,)
    return [entry.array(0, inputs, gates * size), entry.array(1, size, gates * size), entry.array(2, *bias)]


def _gru(net: Net, entry: Entry, x: str) -> str:
    return net.add(GRU.from_keras(*_recurrent(net, entry, x, 3)), x)


def _lstm(net: Net, entry: Entry, x: str) -> str:
    return net.add(LSTM.from_keras(*_recurrent(net, entry, x, 4)), x)


def _conv1d(net: Net, entry: Entry, x: str) -> str:
    """Add a convolution that is causal, as all of RTNeural's are."""
    kernel, dilation, groups = entry.one("kernel_size"), entry.one("dilation"), entry.one("groups", 1)
    if entry.one("strides", 1) != 1:
        raise ConvertError(f"{entry.name('strides')} must be 1, got {entry.value['strides']}")
    if entry.text("padding", "causal") != "causal":
        raise ConvertError(
            f"{entry.name('padding')} must be 'causal', as RTNeural has it, got {entry.value['padding']!r}"
        )
    size, channels = entry.size, inner_size(net.shape(x), entry.where)
    if channels % groups or size % groups:
        raise ConvertError(f"{entry.name('groups')} must divide {channels} channels and {size} filters, got {groups}")
    entry.count(2)
    weight, bias = entry.array(0, kernel, channels // groups, size).transpose(2, 1, 0), entry.array(1, size)
    return _activate(net, net.convolve(x, weight, bias, dilation, groups), entry.activation())


def _conv2d(net: Net, entry: Entry, x: str) -> str:
    """Add a convolution over time, causal, and over features; frames are (features, filters)."""
    time, width, dilation, stride, filters, features, size = (
        entry.one(f"{name}")
        for name in ("kernel_size_time", "kernel_size_feature", "dilation", "strides", "num_filters_in",
                     "num_features_in", "num_filters_out")
    )  # fmt: skip
    if net.shape(x) != (features, filters):
        raise ConvertError(f"{entry.where} must be for {features} features of {filters} filters, got {net.shape(x)}")
    padding = entry.text("padding")
    if padding not in ("valid", "same"):
        raise ConvertError(f"{entry.name('padding')} must be 'valid' or 'same', got {padding!r}")
    total = max((-(-features // stride) - 1) * stride + width - features, 0) if padding == "same" else 0
    entry.count(2)
    weight, bias = entry.array(0, time, width, filters, size), entry.array(1, size)
    windows = net.add(Framing(time, 1, dilation, before=extent(time, dilation) - 1), x)
    windows = net.reshape(windows, (time, features, filters))
    flat = net.reshape(net.transpose(windows, (0, 2, 1)), (time * filters, features))
    kernel = weight.transpose(3, 0, 2, 1).reshape(size, time * filters, width)
    conv = Conv(kernel, bias, strides=(stride,), before=(total // 2,), after=(total - total // 2,))
    return _activate(net, net.transpose(net.add(conv, flat), (1, 0)), entry.activation())


def _batch_norm(net: Net, entry: Entry, x: str) -> str:
    """Add a norm of the last axis: scale, shift, mean and variance, or the last two alone."""
    entry.activation("")
    size, n = net.shape(x)[-1], entry.count(2, 4)
    if entry.kind == "batchnorm2d":
        entry.one("num_filters_in"), entry.one("num_features_in")
    arrays = [entry.array(i, size) for i in range(n)]
    scale, shift = arrays[:2] if n == 4 else (None, None)
    return net.add(BatchNorm(arrays[-2], arrays[-1], scale, shift, entry.number("epsilon")), x)


def _prelu(net: Net, entry: Entry, x: str) -> str:
    """Add x, or slope * x where it is negative, with a slope for each channel or one for all."""
    entry.activation("")
    entry.count(1)
    slope = entry.array(0, 1, "channels")[0]
    if len(slope) not in (1, net.shape(x)[-1]):
        raise ConvertError(f"{entry.name('weights')}[0] must hold 1 or {net.shape(x)[-1]} slopes, got {len(slope)}")
    return rectified(net, x, slope)


def _activation(net: Net, entry: Entry, x: str) -> str:
    entry.count(0)
    return _activate(net, x, entry.activation())


LAYERS = {
    "dense": _dense, "time-distributed-dense": _dense, "gru": _gru, "lstm": _lstm, "conv1d": _conv1d,
    "conv2d": _conv2d, "batchnorm": _batch_norm, "batchnorm2d": _batch_norm, "prelu": _prelu,
    "activation": _activation,
}  # fmt: skip
