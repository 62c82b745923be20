"""Keras's convolutions: along the model's time where that is their axis, else along the axes of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Conv, ConvTranspose, Dense, Op, Reshape, TimeConv, Transpose
from ...graph.convolution import extent
from ..tensors.transposed import Along, over_time
from ..tensors.values import room
from .activations import apply, finish, fits
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


def along_time(layer: Layer, x: Value, *, most: int = 1) -> bool:
    """Whether a layer with at most `most` spatial axes moves along the model's time, which is their first."""
    rank = rank_of(layer)
    if x.rank != rank + 2:
        raise ConvertError(f"input of {layer} must have {rank + 2} axes with the batch's, got {x.spec}")
    if x.timed and (rank > most or not channels_last(layer)):
        raise AcrossTime(f"input of {layer} must not have time among its spatial axes and channels, got {x.spec}")
    return x.timed


def same(layer: Layer, size: int | None, window: int, stride: int) -> tuple[int, int]:
    """Padding before and after an axis, so that the output has ceil(size / stride) elements, as TensorFlow does."""
    if size is None:
        total = window - 1  # for the most steps beyond a multiple of the stride
        if len({max(window - steps, 0) // 2 for steps in range(1, stride + 1)}) > 1:
            raise AcrossTime(f"padding of {layer} with stride {stride} must know the number of steps, got any")
    else:
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def padding(
    layer: Layer, sizes: tuple[int | None, ...], windows: list[int], strides: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Zeros before and after every spatial axis."""
    kind = layer.one_of("padding", PADDINGS[: 3 if len(sizes) == 1 else 2], default="valid")
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "causal":
        return [(windows[0] - 1, 0)]
    return [same(layer, *each) for each in zip(sizes, windows, strides, strict=True)]


def to_channels(layer: Layer, x: Value, ctx: Context) -> Value:
    """A frame (*spatial, C) as (C, *spatial); no op where it is so."""
    if not channels_last(layer):
        return x
    rank = len(x.frame)
    return ctx.add(Transpose((rank - 1, *range(rank - 1))), x, name=f"{layer.name}.channels")


def from_channels(layer: Layer, y: Value, ctx: Context, name: str) -> Value:
    """The way back."""
    return ctx.add(Transpose((*range(1, len(y.frame)), 0)), y, name=name)


def spatial(layer: Layer, x: Value) -> tuple[int | None, ...]:
    """Sizes of the spatial axes."""
    return x.shape[:-1] if channels_last(layer) else x.shape[1:]


def _channels(layer: Layer, x: Value) -> int:
    return x.frame[-1 if channels_last(layer) else 0]


def _on_frame(op: Op, layer: Layer, x: Value, ctx: Context) -> Value:
    """An op on (C, *spatial) with the layer's activation, whose softmax is over the last axis of Keras's order."""
    inner = to_channels(layer, x, ctx)
    if not channels_last(layer):
        return finish(op, inner, layer, ctx)
    if fits(layer, ctx):
        y = finish(op, inner, layer._replace(name=f"{layer.name}.{op.kind}"), ctx)
        return from_channels(layer, y, ctx, layer.name)
    y = ctx.add(op, inner, name=f"{layer.name}.{op.kind}")
    return apply(layer, from_channels(layer, y, ctx, f"{layer.name}.features"), ctx)


def _over_time(layer: Layer, x: Value, ops: Iterable[Op], bias: Array | None, ctx: Context) -> Value:
    """Ops one after the other on channels and the spatial axes behind time; then the bias and the activation."""
    rank = rank_of(layer)
    y = to_channels(layer, x, ctx) if rank > 1 else x
    for op in ops:
        y = ctx.add(op, y, name=f"{layer.name}.{op.kind}")
    if bias is not None:
        shift = ctx.constant(bias.reshape(-1, *[1] * (rank - 1)), name=f"{layer.name}.bias")
        y = ctx.add(Add(), y, shift, name=f"{layer.name}.add")
    if rank > 1:
        y = from_channels(layer, y, ctx, f"{layer.name}.features")
    return apply(layer, y, ctx)


def _windows(frame: tuple[int, ...], size: int, stride: int, dilation: int, sides: tuple[int, int]) -> Iterator[Op]:
    """Frames (C, *rest) to (C * size, *rest): the steps of a window as channels, those of a channel side by side."""
    channels, *rest = frame
    n = channels * prod(rest)
    room(n, size, size)
    yield Reshape((n,))
    yield TimeConv(np.tile(np.eye(size)[:, None], (n, 1, 1)), None, stride, dilation, *sides, n)
    yield Reshape((channels, prod(rest), size))
    yield Transpose((0, 2, 1))
    yield Reshape((channels * size, *rest))


def _convolve(
    layer: Layer, x: Value, ctx: Context, weight: Array, bias: Array | None, groups: int, *, last: bool
) -> Value:
    """A convolution by weight (O, C / groups, *kernel); the layer's activation follows if it is the last."""
    rank = rank_of(layer)
    strides, dilations = (layer.integers(k, rank, default=1) for k in ("strides", "dilation_rate"))
    reach = [extent(k, d) for k, d in zip(weight.shape[2:], dilations, strict=True)]
    pads = padding(layer, spatial(layer, x), reach, strides)
    if not last:
        layer = layer._replace(name=f"{layer.name}.depthwise", config={**layer.config, "activation": "linear"})
    if not along_time(layer, x, most=3):
        before, after = zip(*pads, strict=True)
        return _on_frame(Conv(weight, bias, strides, dilations, before, after, groups), layer, x, ctx)
    if rank > 1:
        ops: list[Op] = []
        if (weight.shape[2], strides[0], pads[0]) != (1, 1, (0, 0)):
            ops += _windows((x.frame[-1], *x.frame[:-1]), weight.shape[2], strides[0], dilations[0], pads[0])
        before, after = zip(*pads[1:], strict=True)
        weight = weight.reshape(weight.shape[0], -1, *weight.shape[3:])
        ops.append(Conv(weight, bias, strides[1:], dilations[1:], before, after, groups))
        return _over_time(layer, x, ops, None, ctx)
    if weight.shape[2] == 1 and strides == (1,) and groups == 1:
        return finish(Dense(weight[:, :, 0], bias), x, layer, ctx)
    return finish(TimeConv(weight, bias, strides[0], dilations[0], *pads[0], groups), x, layer, ctx)


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
    along_time(layer, x, most=3)
    kernel = take(layer, arrays, *_names(layer, "kernel"))[0]
    groups, filters, channels = layer.integer("groups", default=1), layer.integer("filters"), _channels(layer, x)
    if channels % groups or filters % groups:
        raise ConvertError(f"groups of {layer} must divide {channels} channels and {filters} filters, got {groups}")
    shaped(layer, kernel, "kernel", _kernel_shape(layer, channels // groups, filters))
    return [_convolve(layer, x, ctx, _first(kernel), _bias(layer, arrays, filters), groups, last=True)]


def _depthwise(layer: Layer, kernel: Array, x: Value) -> tuple[Array, int]:
    """The weight (C * multiplier, 1, *kernel) of a kernel (*kernel, C, multiplier), and C."""
    channels, multiplier = _channels(layer, x), layer.integer("depth_multiplier", default=1)
    shaped(layer, kernel, "depthwise_kernel", _kernel_shape(layer, channels, multiplier))
    flat = kernel.reshape(*kernel.shape[:-2], channels * multiplier, 1)
    return np.moveaxis(flat, (-2, -1), (0, 1)), channels


def depthwise(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """DepthwiseConv1D, DepthwiseConv2D: a kernel (*kernel, C, multiplier) for every channel alone."""
    x = one(layer, inputs)
    along_time(layer, x, most=3)
    kernel = take(layer, arrays, *_names(layer, "depthwise_kernel"))[0]
    weight, channels = _depthwise(layer, kernel, x)
    return [_convolve(layer, x, ctx, weight, _bias(layer, arrays, len(weight)), channels, last=True)]


def separable(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """SeparableConv1D, SeparableConv2D: a depthwise convolution, then one of single elements (1, C * multiplier, O)."""
    x = one(layer, inputs)
    along_time(layer, x, most=3)
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
    timed = along_time(layer, x, most=3)
    kernel = take(layer, arrays, *_names(layer, "kernel"))[0]
    filters = layer.integer("filters")
    shaped(layer, kernel, "kernel", _kernel_shape(layer, filters, _channels(layer, x)))
    strides, dilations = (layer.integers(k, rank, default=1) for k in ("strides", "dilation_rate"))
    extra: tuple[int | None, ...] = (None,) * rank
    if layer.config.get("output_padding") is not None:
        extra = layer.integers("output_padding", rank, least=0)
    valid = layer.one_of("padding", PADDINGS[:2], default="valid") == "valid"
    cuts = [
        _cropping(extent(k, d), s, e, valid=valid)
        for k, d, s, e in zip(kernel.shape[:rank], dilations, strides, extra, strict=True)
    ]
    before, after = (tuple(max(0, cut[side]) for cut in cuts) for side in (0, 1))
    more = tuple(max(0, -cut[1]) for cut in cuts)
    weight, bias = _first(kernel), _bias(layer, arrays, filters)
    if timed:
        along, *rest = map(Along, strides, dilations, before, after, more)
        ops = over_time(weight, along, rest, 1, (x.frame[-1], *x.frame[:-1]))
        return [_over_time(layer, x, ops, bias, ctx)]
    op = ConvTranspose(weight, bias, strides, dilations, before, after, more)
    return [_on_frame(op, layer, x, ctx)]


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
