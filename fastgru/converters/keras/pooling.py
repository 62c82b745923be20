"""Keras's pooling, padding, cropping and upsampling: along the model's time, or along the axes of a frame."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ...graph import Expand, OverlapAdd, Pad, Pool, Reshape, Slice, TimeConv, TimePad, TimePool
from .convolutions import along_time, channels_last, from_channels, rank_of, same, spatial, to_channels
from .formulas import binary, cast, emit, reduce, where
from .masking import column, known_mask
from .rows import Row, one, take
from .values import AcrossTime, Array, Context, Layer, Value, shortened


def pool(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """MaxPooling1D, AveragePooling1D and their kin of more axes."""
    x, rank = one(layer, inputs), rank_of(layer)
    take(layer, arrays)
    timed = along_time(layer, x)
    mode = "max" if layer.class_name.startswith("Max") else "average"
    size = layer.integers("pool_size", rank)
    strides = size if layer.config.get("strides") is None else layer.integers("strides", rank)
    pads = [(0, 0)] * rank
    if layer.one_of("padding", ("valid", "same"), default="valid") == "same":
        pads = [same(layer, *each) for each in zip(spatial(layer, x), size, strides, strict=True)]
    if timed:
        return [ctx.add(TimePool(mode, size[0], strides[0], *pads[0]), x, name=layer.name)]
    before, after = zip(*pads, strict=True)
    op = Pool(mode, size, strides, (1,) * rank, before, after)
    if not channels_last(layer):
        return [ctx.add(op, x, name=layer.name)]
    y = ctx.add(op, to_channels(layer, x, ctx), name=f"{layer.name}.pool")
    return [from_channels(layer, y, ctx, layer.name)]


def global_pool(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """GlobalMaxPooling and GlobalAveragePooling; the average of one axis leaves out masked steps."""
    x, rank = one(layer, inputs), rank_of(layer)
    take(layer, arrays)
    if x.rank != rank + 2:
        raise ConvertError(f"input of {layer} must have {rank + 2} axes with the batch's, got {x.spec}")
    first = 1 if channels_last(layer) else 2
    axes = tuple(axis - 1 - x.timed for axis in range(first, first + rank))
    average = "Average" in layer.class_name
    keep = layer.flag("keepdims", default=False)
    mask = known_mask(layer, x) if average and rank == 1 else None
    if mask is None:
        y = reduce("mean" if average else "max", x, axes, keepdims=keep)
    else:
        if not channels_last(layer):
            raise ConvertError(f"data_format of {layer} must be channels_last with a mask, got channels_first")
        counted = column(mask, x)
        total = reduce("sum", where(counted, x, 0.0), axes, keepdims=keep)
        y = binary("div", total, reduce("sum", cast(counted, "float"), axes, keepdims=keep))
    if keep and axes[0] < 0:  # time itself is gone, and an axis of the frame takes its place
        value = emit(y, ctx, f"{layer.name}.row")
        return [ctx.add(Reshape((1, *value.frame)), value, name=layer.name)]
    return [emit(y, ctx, layer.name)]


def _sides(layer: Layer, key: str) -> list[tuple[int, int]]:
    """Before and after of every spatial axis: a number, one per axis, or a pair per axis."""
    rank, value = rank_of(layer), layer.get(key)
    if isinstance(value, int):
        value = [value] * rank
    if rank == 1 and isinstance(value, list) and len(value) == 2:
        value = [value]
    pairs = [[v, v] if isinstance(v, int) else v for v in value] if isinstance(value, list) else []
    good = all(isinstance(p, list) and len(p) == 2 and all(_small(v) for v in p) for p in pairs)
    if len(pairs) != rank or not good:
        raise ConvertError(f"{key} of {layer} must be whole numbers, two per axis, got {shortened(value)}")
    return [(int(a), int(b)) for a, b in pairs]


def _small(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**31


def _every_axis(layer: Layer, x: Value, sides: list[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same for every axis of the frame, with nothing along channels."""
    all_sides = [*sides, (0, 0)] if channels_last(layer) else [(0, 0), *sides]
    before, after = zip(*all_sides, strict=True)
    return before, after


def zero_padding(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """ZeroPadding1D, 2D, 3D."""
    x = one(layer, inputs)
    take(layer, arrays)
    sides = _sides(layer, "padding")
    if along_time(layer, x):
        return [ctx.add(TimePad(*sides[0]), x, name=layer.name)]
    before, after = _every_axis(layer, x, sides)
    return [ctx.add(Pad(before, after), x, name=layer.name)]


def cropping(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Cropping1D, 2D, 3D; along time a window that keeps the one step that stays."""
    x = one(layer, inputs)
    take(layer, arrays)
    sides = _sides(layer, "cropping")
    if along_time(layer, x):
        (first, last), channels = sides[0], x.frame[0]
        if channels * (first + last + 1) > 1 << 24:
            raise AcrossTime(f"cropping of {layer} must be small while it is along time, got {first} and {last} steps")
        weight = np.zeros((channels, 1, first + last + 1), dtype=np.float32)
        weight[:, 0, first] = 1
        return [ctx.add(TimeConv(weight, groups=channels), x, name=layer.name)]
    before, after = _every_axis(layer, x, sides)
    stops = tuple(n - a for n, a in zip(x.frame, after, strict=True))
    if any(b >= e for b, e in zip(before, stops, strict=True)):
        raise ConvertError(f"cropping of {layer} must leave something of {x.spec}, got {shortened(sides)}")
    return [ctx.add(Slice(before, stops, (1,) * len(stops)), x, name=layer.name)]


def upsampling(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """UpSampling1D, 2D, 3D: every step repeated, or every element along the spatial axes of frames."""
    x, rank = one(layer, inputs), rank_of(layer)
    take(layer, arrays)
    sizes = layer.integers("size", rank)
    if along_time(layer, x):
        again = ctx.add(Reshape((1, *x.frame)), x, name=f"{layer.name}.apart")
        copies = ctx.add(Expand((sizes[0], *x.frame)), again, name=f"{layer.name}.copies")
        return [ctx.add(OverlapAdd(sizes[0], sizes[0], tail=0), copies, name=layer.name)]
    first = 0 if channels_last(layer) else 1
    factors = [1] * len(x.frame)
    factors[first : first + rank] = sizes
    split = tuple(m for n in x.frame for m in (n, 1))
    repeated = tuple(m for n, f in zip(x.frame, factors, strict=True) for m in (n, f))
    apart = ctx.add(Reshape(split), x, name=f"{layer.name}.apart")
    copies = ctx.add(Expand(repeated), apart, name=f"{layer.name}.copies")
    shape = tuple(n * f for n, f in zip(x.frame, factors, strict=True))
    return [ctx.add(Reshape(shape), copies, name=layer.name)]


POOLS = Row(pool, "pool_size strides padding data_format", "")
GLOBAL = Row(global_pool, "data_format keepdims")
DIMENSIONS = ("1D", "2D", "3D")
ROWS = {
    **{f"{mode}Pooling{d}": POOLS for mode in ("Max", "Average") for d in DIMENSIONS},
    **{f"Global{mode}Pooling{d}": GLOBAL for mode in ("Max", "Average") for d in DIMENSIONS},
    **{f"ZeroPadding{d}": Row(zero_padding, "padding data_format") for d in DIMENSIONS},
    **{f"Cropping{d}": Row(cropping, "cropping data_format") for d in DIMENSIONS},
    **{f"UpSampling{d}": Row(upsampling, "size data_format", "", {"interpolation": ("nearest",)}) for d in DIMENSIONS},
}
