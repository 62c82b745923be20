"""Keras's pooling, padding, cropping and upsampling: along the model's time, or along the axes of a frame."""

from __future__ import annotations

from ...errors import ConvertError
from ...graph import Binary
from ..program import windows
from ..program.padding import pad, repeat
from ..program.reductions import reduced
from ..program.resizing import Resizing, resized
from ..program.views import joint
from ..program.windows import Window
from .convolutions import axes_of_space, channels_last, padded, rank_of
from .draft import Draft
from .masking import column, kept, known_mask
from .rows import Row, one, take
from .values import Array, Context, Layer, Value, shortened


def pool(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """MaxPooling1D, AveragePooling1D and their kin of more axes."""
    x, rank, b = one(layer, inputs), rank_of(layer), Draft(layer.name, ctx)
    take(layer, arrays)
    size = layer.integers("pool_size", rank)
    strides = size if layer.config.get("strides") is None else layer.integers("strides", rank)
    found = padded(layer, x, [Window(*each) for each in zip(size, strides, strict=True)])
    mode = "max" if layer.class_name.startswith("Max") else "average"
    return [b.finish(windows.pool(b, b.read(x), mode, found, axes_of_space(layer, x), count_padding=False))]


def global_pool(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """GlobalMaxPooling and GlobalAveragePooling; the average of one axis leaves out masked steps."""
    x, b = one(layer, inputs), Draft(layer.name, ctx)
    take(layer, arrays)
    axes, y = axes_of_space(layer, x), b.read(x)
    average = "Average" in layer.class_name
    keep = layer.flag("keepdims", default=False)
    mask = known_mask(layer, x) if average and len(axes) == 1 else None
    if mask is None:
        return [b.finish(reduced(b, y, axes, "mean" if average else "max", keep))]
    if not channels_last(layer):
        raise ConvertError(f"data_format of {layer} must be channels_last with a mask, got channels_first")
    counted = column(b, mask, x)
    total = reduced(b, kept(b, y, counted), axes, "sum", keep)
    number = reduced(b, b.like(counted, b.cast(counted.value, "float")), axes, "sum", keep)
    return [b.finish(joint(b, Binary("div"), total, number))]


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


def _by_axis(layer: Layer, x: Value, key: str, sign: int) -> dict[int, tuple[int, int]]:
    """The same for each spatial axis as Keras counts them."""
    sides = [(sign * before, sign * after) for before, after in _sides(layer, key)]
    return dict(zip(axes_of_space(layer, x), sides, strict=True))


def zero_padding(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """ZeroPadding1D, 2D, 3D."""
    x, b = one(layer, inputs), Draft(layer.name, ctx)
    take(layer, arrays)
    return [b.finish(pad(b, b.read(x), _by_axis(layer, x, "padding", 1)))]


def cropping(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Cropping1D, 2D, 3D."""
    x, b = one(layer, inputs), Draft(layer.name, ctx)
    take(layer, arrays)
    sides = _by_axis(layer, x, "cropping", -1)
    if any((n := x.shape[a - 1]) is not None and n + sum(pair) < 1 for a, pair in sides.items()):
        raise ConvertError(f"cropping of {layer} must leave something of {x.spec}, got {_sides(layer, 'cropping')}")
    return [b.finish(pad(b, b.read(x), sides))]


def upsampling(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """UpSampling1D, 2D, 3D: every element repeated along the spatial axes, or others between them."""
    x, b = one(layer, inputs), Draft(layer.name, ctx)
    take(layer, arrays)
    y, linear = b.read(x), layer.one_of("interpolation", ("nearest", "bilinear"), default="nearest") == "bilinear"
    for axis, count in zip(axes_of_space(layer, x), layer.integers("size", rank_of(layer)), strict=True):
        y = resized(b, y, axis, None, count, Resizing("linear")) if linear else repeat(b, y, axis, count)
    return [b.finish(y)]


POOLS = Row(pool, "pool_size strides padding data_format", "")
GLOBAL = Row(global_pool, "data_format keepdims")
DIMENSIONS = ("1D", "2D", "3D")
ROWS = {
    **{f"{mode}Pooling{d}": POOLS for mode in ("Max", "Average") for d in DIMENSIONS},
    **{f"Global{mode}Pooling{d}": GLOBAL for mode in ("Max", "Average") for d in DIMENSIONS},
    **{f"ZeroPadding{d}": Row(zero_padding, "padding data_format") for d in DIMENSIONS},
    **{f"Cropping{d}": Row(cropping, "cropping data_format") for d in DIMENSIONS},
    **{f"UpSampling{d}": Row(upsampling, "size data_format interpolation") for d in DIMENSIONS},
}
