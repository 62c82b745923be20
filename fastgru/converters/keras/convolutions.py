"""Keras's convolutions: along the model's time where that is their axis, else along the axes of a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph.convolution import extent
from ..program.convolutions import convolve
from ..program.convolutions import transposed as program_transposed
from ..program.values import Tensor
from ..program.windows import Window, same
from .activations import apply, fits, named
from .draft import Draft
from .rows import LORA, Row, one, shaped, take
from .values import AcrossTime, Array, Context, Layer, Value

PADDINGS = ("valid", "same", "causal")
FORMATS = ("channels_last", "channels_first")


def rank_of(layer: Layer) -> int:
    """How many spatial axes a layer has: the digit in the name of its class."""
    return next(int(c) for c in layer.class_name if c.isdigit())


def channels_last(layer: Layer) -> bool:
    """Whether channels are the last axis: the default of every Keras."""
    value = layer.config.get("data_format")
    if value not in (None, *FORMATS):
        raise ConvertError(f"data_format of {layer} must be {' or '.join(FORMATS)}, got {value!r}")
    return value != "channels_first"


def axes_of_space(layer: Layer, x: Value) -> range:
    """The spatial axes, as Keras counts them."""
    rank = rank_of(layer)
    if x.rank != rank + 2:
        raise ConvertError(f"input of {layer} must have {rank + 2} axes with the batch's, got {x.spec}")
    first = 1 if channels_last(layer) else 2
    return range(first, first + rank)


def padded(layer: Layer, x: Value, windows: list[Window]) -> list[Window]:
    """Windows with the padding that the config names, over the spatial axes of a value."""
    kind = layer.one_of("padding", PADDINGS[: 3 if len(windows) == 1 else 2], default="valid")
    if kind == "causal":
        return [w._replace(before=w.extent - 1) for w in windows]
    axes = axes_of_space(layer, x)
    return [same(w, x.shape[a - 1]) if kind == "same" else w for w, a in zip(windows, axes, strict=True)]


def _channels(layer: Layer, x: Value) -> int:
    """The axis of channels."""
    return x.rank - 1 if channels_last(layer) else 1


def _width(layer: Layer, x: Value) -> int:
    size = x.shape[_channels(layer, x) - 1]
    if size is None or (x.timed and not channels_last(layer)):
        raise AcrossTime(f"input of {layer} must not have time as its channels, got {x.spec}")
    return size


def _finished(layer: Layer, x: Value, ctx: Context, run: Callable[..., Tensor], **options: Any) -> Value:
    """Run a convolution of the program with the layer's activation, as part of the op where that can be."""
    options |= {"channels": _channels(layer, x)}
    axes = axes_of_space(layer, x)
    if fits(layer, ctx):
        b = Draft(layer.name, ctx)
        return b.finish(run(b, b.read(x), axes=axes, activation=named(layer, "activation", ctx.version), **options))
    b = Draft(layer.name, ctx, "features")  # softmax is over the last axis in Keras's order
    return apply(layer, b.finish(run(b, b.read(x), axes=axes, **options)), ctx)


def _convolve(
    layer: Layer, x: Value, ctx: Context, weight: Array, bias: Array | None, groups: int, *, last: bool
) -> Value:
    """A convolution by weight (O, C / groups, *kernel); the layer's activation follows if it is the last."""
    rank = rank_of(layer)
    strides, dilations = (layer.integers(k, rank, default=1) for k in ("strides", "dilation_rate"))
    fields = zip(weight.shape[2:], strides, dilations, strict=True)
    windows = padded(layer, x, [Window(*each) for each in fields])
    if not last:
        layer = layer._replace(name=f"{layer.name}.depthwise", config={**layer.config, "activation": "linear"})
    return _finished(layer, x, ctx, convolve, weight=weight, bias=bias, windows=windows, groups=groups)


def _kernel_shape(layer: Layer, *channels: int) -> tuple[int, ...]:
    return (*layer.integers("kernel_size", rank_of(layer)), *channels)


def _bias(layer: Layer, arrays: list[Array], size: int) -> Array | None:
    return shaped(layer, arrays[-1], "bias", (size,)) if layer.flag("use_bias") else None


def _names(layer: Layer, *kernels: str) -> tuple[str, ...]:
    return (*kernels, *["bias"] * layer.flag("use_bias"))


def _first(kernel: Array) -> Array:
    """A kernel (*kernel, I, O) as (O, I, *kernel)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def conv(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Conv1D, Conv2D, Conv3D: kernel (*kernel, C / groups, filters)."""
    x = one(layer, inputs)
    kernel = take(layer, arrays, *_names(layer, "kernel"))[0]
    groups, filters, channels = layer.integer("groups", default=1), layer.integer("filters"), _width(layer, x)
    if channels % groups or filters % groups:
        raise ConvertError(f"groups of {layer} must divide {channels} channels and {filters} filters, got {groups}")
    shaped(layer, kernel, "kernel", _kernel_shape(layer, channels // groups, filters))
    return [_convolve(layer, x, ctx, _first(kernel), _bias(layer, arrays, filters), groups, last=True)]


def _depthwise(layer: Layer, kernel: Array, x: Value) -> tuple[Array, int]:
    """The weight (C * multiplier, 1, *kernel) of a kernel (*kernel, C, multiplier), and C."""
    channels, multiplier = _width(layer, x), layer.integer("depth_multiplier", default=1)
    shaped(layer, kernel, "depthwise_kernel", _kernel_shape(layer, channels, multiplier))
    flat = kernel.reshape(*kernel.shape[:-2], channels * multiplier, 1)
    return np.moveaxis(flat, (-2, -1), (0, 1)), channels


def depthwise(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """DepthwiseConv1D, DepthwiseConv2D: a kernel (*kernel, C, multiplier) for every channel alone."""
    x = one(layer, inputs)
    kernel = take(layer, arrays, *_names(layer, "depthwise_kernel"))[0]
    weight, channels = _depthwise(layer, kernel, x)
    return [_convolve(layer, x, ctx, weight, _bias(layer, arrays, len(weight)), channels, last=True)]


def separable(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """SeparableConv1D, SeparableConv2D: a depthwise convolution, then one of single elements (1, C * multiplier, O)."""
    x = one(layer, inputs)
    kernel, pointwise = take(layer, arrays, *_names(layer, "depthwise_kernel", "pointwise_kernel"))[:2]
    weight, channels = _depthwise(layer, kernel, x)
    filters, ones = layer.integer("filters"), (1,) * rank_of(layer)
    shaped(layer, pointwise, "pointwise_kernel", (*ones, len(weight), filters))
    bias = _bias(layer, arrays, filters)
    y = _convolve(layer, x, ctx, weight, None, channels, last=False)
    plain = {"strides": list(ones), "dilation_rate": list(ones), "padding": "valid"}
    return [_convolve(layer._replace(config={**layer.config, **plain}), y, ctx, _first(pointwise), bias, 1, last=True)]


def _cropping(reach: int, stride: int, extra: int | None, *, valid: bool) -> tuple[int, int]:
    """What is cut off before and after a transposed convolution; negative is added (Keras's conversion to JAX)."""
    if valid:
        return 0, -(max(reach, stride) - reach if extra is None else extra)
    total = stride + reach - 2 if extra is None else reach + reach % 2 - 2 + extra
    left = min(total // 2 + total % 2, reach - 1)
    return reach - 1 - left, reach - 1 - (total - left)


def transposed(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose: kernel (*kernel, filters, C)."""
    x, rank = one(layer, inputs), rank_of(layer)
    kernel = take(layer, arrays, *_names(layer, "kernel"))[0]
    filters = layer.integer("filters")
    shaped(layer, kernel, "kernel", _kernel_shape(layer, filters, _width(layer, x)))
    strides, dilations = (layer.integers(k, rank, default=1) for k in ("strides", "dilation_rate"))
    extra: tuple[int | None, ...] = (None,) * rank
    if layer.config.get("output_padding") is not None:
        extra = layer.integers("output_padding", rank, least=0)
    valid = layer.one_of("padding", PADDINGS[:2], default="valid") == "valid"
    cuts = [
        _cropping(extent(k, d), s, e, valid=valid)
        for k, d, s, e in zip(kernel.shape[:rank], dilations, strides, extra, strict=True)
    ]
    windows = [
        Window(k, s, d, before, max(0, after), max(0, -after))
        for k, s, d, (before, after) in zip(kernel.shape[:rank], strides, dilations, cuts, strict=True)
    ]
    weight, bias = _first(kernel), _bias(layer, arrays, filters)
    return [_finished(layer, x, ctx, program_transposed, weight=weight, bias=bias, windows=windows)]


KEYS = "kernel_size strides padding data_format dilation_rate activation use_bias"
ONE_GROUP = {**LORA, "groups": (1, None)}
MULTIPLIED = Row(depthwise, f"{KEYS} depth_multiplier", "filters rank", ONE_GROUP)
FILTERS = f"{KEYS} filters"
ROWS = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), Row(conv, f"{FILTERS} groups", "rank", LORA)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), MULTIPLIED),
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D"),
        Row(separable, f"{FILTERS} depth_multiplier", "rank", ONE_GROUP),
    ),
    **dict.fromkeys(
        ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
        Row(transposed, f"{FILTERS} output_padding", "rank", ONE_GROUP),
    ),
}
