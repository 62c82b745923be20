"""WaveNet of Neural Amp Modeler: arrays of dilated convolutions with gates, conditions, and skips to a head."""

from __future__ import annotations

from typing import Any

from ...errors import ConvertError
from . import fields
from .activations import activate
from .fields import Fields
from .net import Net
from .wavenet_layer import Layer, Pointwise, Sizes
from .weights import Weights, check_version


def input_size(config: Fields) -> int:
    """Return the elements of the input: the sample, and knobs."""
    return Fields(config.items("layers")[0], f"{config.name('layers')}[0]").integer("input_size")


def wavenet(net: Net, config: Fields, weights: Weights, x: str) -> str:
    """Add the network that a config describes, and return its output."""
    equal(config, "in_channels", net.shape(x)[0], "layers[0].input_size")
    condition = _condition(net, config.fields("condition_dsp"), x) if "condition_dsp" in config else x
    head: str | None = None
    for i, item in enumerate(config.items("layers")):
        x, head = _array(net, Fields(item, f"{config.name('layers')}[{i}]"), weights, condition, x, head)
    assert head is not None
    net.name = "head_scale"
    config.number("head_scale", 1.0)  # the copy among the weights, their last, is the one that counts
    head = net.affine(head, float(weights.numbers[-1]))
    if "head" in config:
        head = _head(net, config.fields("head"), weights, head)
    weights.take("head_scale", 1)
    config.finish("parametric")
    return head


def place(config: Fields) -> str:
    """Return what layers of a config are named after: its place in the file, without the steps that all have."""
    return config.where.replace("config.", "")


def equal(config: Fields, field: str, size: int, what: str) -> None:
    """Refuse a size that is there and not the one that it must be."""
    if (got := config.integer(field, size)) != size:
        raise ConvertError(f"{config.name(field)} must be that of {what}, {size}, got {got}")


def _condition(net: Net, file: Fields, x: str) -> str:
    """Add the network that makes the condition of the input."""
    check_version(file)
    if file.text("architecture") != "WaveNet":
        raise ConvertError(f"{file.name('architecture')} must be 'WaveNet', got {file.text('architecture')!r}")
    weights = Weights(file)
    y = wavenet(net, file.fields("config"), weights, x)
    weights.finish()
    return y


def _head(net: Net, config: Fields, weights: Weights, y: str) -> str:
    """Add the layers behind all arrays, an activation before each convolution."""
    kernels, given = config.integers("kernel_sizes"), config.get("activation")
    channels, outputs = config.integer("channels"), config.integer("out_channels")
    equal(config, "in_channels", net.shape(y)[0], "the last array's head")
    for i, kernel in enumerate(kernels):
        net.name = f"{place(config)}.{i}.activation"
        y = activate(net, y, given, config.name("activation"))
        size = outputs if i == len(kernels) - 1 else channels
        y = weights.conv(f"{place(config)}.{i}", net.shape(y)[0], size, kernel).add(net, y)
    config.finish()
    return y


def _array(net: Net, config: Fields, weights: Weights, condition: str, x: str, head: str | None) -> tuple[str, str]:
    """Add an array of layers; returns the output of the last, and what all send to the head."""
    equal(config, "input_size", net.shape(x)[0], "what it reads")
    equal(config, "condition_size", net.shape(condition)[0], "the condition")
    channels = config.integer("channels")
    onward = _pointwise(config, "layer1x1", channels, active=True)
    if onward is None:
        raise ConvertError(
            f"{config.name('layer1x1')} must be active: without it the program that trains such files sends a layer's "
            "activations on to the next one, and the program that plays them does not"
        )
    sizes = Sizes(
        channels,
        config.integer("bottleneck", channels),
        net.shape(condition)[0],
        config.integer("groups_input", 1),
        config.integer("groups_input_mixin", 1),
        onward,
        _pointwise(config, "head1x1", channels, active=False),
    )
    x = weights.conv(f"{place(config)}.rechannel", net.shape(x)[0], channels, bias=False).add(net, x)
    count = len(dilations := config.integers("dilations"))
    kernels, modes = _kernels(config, count), _modes(config, count)
    first, second = (_each(config, name, count, None) for name in ("activation", "secondary_activation"))
    for i, dilation in enumerate(dilations):
        layer = Layer(net, config, f"{place(config)}.{i}", sizes, modes[i], (first[i], second[i] or "Sigmoid"))
        layer.read(weights, kernels[i], dilation)
        x, out = layer.add(x, condition)
        if head is not None and net.shape(head) != net.shape(out):
            got = f"{net.shape(out)[0]} after {net.shape(head)[0]}"
            raise ConvertError(f"{config.where} must send as many channels to the head as the array before, got {got}")
        net.name = f"{place(config)}.{i}.head"
        head = out if head is None else net.plus(head, out)
    assert head is not None
    head = _rechannel(config, weights, net.shape(head)[0]).add(net, head)
    config.finish("slimmable")
    return x, head


def _pointwise(config: Fields, field: str, channels: int, *, active: bool) -> Pointwise | None:
    """Return the sizes of an optional convolution of single steps; `active` where the file says nothing."""
    own = config.fields(field) if field in config else Fields({}, config.name(field))
    active, size, groups = own.flag("active", active), own.integer("out_channels", channels), own.integer("groups", 1)
    own.finish()
    return Pointwise(size if field == "head1x1" else channels, groups) if active else None


def _each(config: Fields, field: str, count: int, default: Any) -> list[Any]:
    """Return a field that is one for all layers, or a list with one for each."""
    found = config.get(field, default)
    if not isinstance(found, list):
        return [found] * count
    if len(found) != count:
        raise ConvertError(f"{config.name(field)} must be one, or {count} like dilations, got {len(found)}")
    return found


def _kernels(config: Fields, count: int) -> list[int]:
    names = [name for name in ("kernel_size", "kernel_sizes") if name in config]
    if len(names) != 1:
        raise ConvertError(f"{config.where} must have kernel_size or kernel_sizes, got {' and '.join(names) or 'none'}")
    return [fields.integer(k, config.name(names[0])) for k in _each(config, names[0], count, None)]


def _modes(config: Fields, count: int) -> list[str]:
    """Return how each layer uses the second half of its channels: not, as a gate, or to blend."""
    gated = config.flag("gated", False)  # of files before there were modes
    modes = _each(config, "gating_mode", count, "gated" if gated else "none")
    for mode in modes:
        if mode not in ("none", "gated", "blended"):
            raise ConvertError(f"{config.name('gating_mode')} must be none, gated or blended, got {fields.said(mode)}")
    return modes


def _rechannel(config: Fields, weights: Weights, channels: int) -> Any:
    """Return the convolution of what the layers sent to the head."""
    name = f"{place(config)}.head"
    if "head" not in config:
        return weights.conv(name, channels, config.integer("head_size"), bias=config.flag("head_bias"))
    own = config.fields("head")
    size, kernel, bias = own.integer("out_channels"), own.integer("kernel_size"), own.flag("bias")
    dilation = own.integer("head_dilation", 1)
    own.finish()
    config.get("head_size", 0), config.get("head_bias", False)
    return weights.conv(name, channels, size, kernel, bias=bias, dilation=dilation)
