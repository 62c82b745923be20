"""ATen's convolutions, pools and windows: over fixed axes, over time, or both."""

from __future__ import annotations

from math import prod
from typing import Any

from ...errors import ConvertError
from ..program import convolutions
from ..program.resizing import Resizing, resized
from ..program.sizes import Size, quotient
from ..program.values import Tensor, describe
from ..program.views import canonical
from ..program.windows import Window, pool, same
from ..program.windows import unfold as unfolded
from .call import Call, Handler
from .elementwise import divide
from .reductions import reduce


def wide(value: Any, count: int, default: int = 0) -> list[int]:
    """One number for every axis."""
    numbers = [value] if isinstance(value, int) else list(value or [default])
    if any(not isinstance(n, int) for n in numbers):
        raise ConvertError(f"windows must be of fixed size, got {numbers}")
    return numbers * count if len(numbers) == 1 else numbers


def windows(size: Any, stride: Any, padding: Any, dilation: Any, extra: Any = 0) -> list[Window]:
    """One for each entry of `size`."""
    n = len(size)
    sides, fields = wide(padding, n), [wide(stride, n, 1), wide(dilation, n, 1)]
    return [Window(*each) for each in zip(size, *fields, sides, sides, wide(extra, n), strict=True)]


def last(x: Tensor, count: int) -> range:
    """The last axes, which are the spatial ones behind the channels."""
    return range(x.rank - count, x.rank)


# Convolutions ------------------------------------------------------------------------------------


def _convolution(
    call: Call, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1, *, transposed: bool = False, extra: Any = 0,
) -> Tensor:  # fmt: skip
    x, weight, bias = call.tensor(x), call.array(weight, "weight"), call.optional(bias, "bias")
    found = windows(weight.shape[2:], stride, 0 if isinstance(padding, str) else padding, dilation, extra)
    if padding == "same":  # of stride 1 alone
        found = [same(w, None) for w in found]
    axes = last(x, len(found))
    run = convolutions.transposed if transposed else convolutions.convolve
    return run(call, x, weight, bias, found, axes, channels=axes[0] - 1, groups=groups)


def _transposed(
    call: Call, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, extra: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    return _convolution(call, x, weight, bias, stride, padding, dilation, groups, transposed=True, extra=extra)


def _general(
    call: Call, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    extra: Any, groups: int, *_: Any,
) -> Tensor:  # fmt: skip
    return _convolution(
        call,
        x,
        weight,
        bias,
        stride,
        padding,
        dilation,
        groups,
        transposed=transposed,
        extra=extra if transposed else 0,
    )


# Pools -------------------------------------------------------------------------------------------


def _max_pool(count: int, *, pair: bool = False) -> Handler:
    def run(
        call: Call, x: Any, size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        x, size = call.tensor(x), wide(size, count)
        found = windows(size, stride or size, padding, dilation)
        y = pool(call, x, "max", found, last(x, count), ceil=ceil_mode)
        return (y, None) if pair else y

    return run


def _average_pool(count: int) -> Handler:
    def run(
        call: Call, x: Any, size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: Any = None,
    ) -> Tensor:  # fmt: skip
        x, size = call.tensor(x), wide(size, count)
        found = windows(size, stride or size, padding, 1)
        if divisor_override is None:
            return pool(call, x, "average", found, last(x, count), count_padding=count_include_pad, ceil=ceil_mode)
        found = [w.reaching() for w in found] if ceil_mode else found  # zeros beyond the padding add nothing
        return divide(call, pool(call, x, "average", found, last(x, count)), divisor_override / prod(size))

    return run


def _adaptive(mode: str, count: int, pair: bool = False) -> Handler:
    """Windows that divide the axis; over time only the whole of it, or none."""

    def run(call: Call, x: Any, sizes: Any) -> Any:
        own = canonical(call, call.tensor(x))
        wanted = [sizes] * count if isinstance(sizes, int) else list(sizes)
        dims = last(own, count)
        whole = [d for d, n in zip(dims, wanted, strict=True) if n == 1]
        y = reduce(call, own, "max" if mode == "max" else "mean", whole, True)
        size = [
            1 if d in whole or n in (None, own.size(d)) else _share(own, d, n)
            for d, n in zip(dims, wanted, strict=True)
        ]
        y = pool(call, y, mode, windows(size, size, 0, 1), dims)
        return (y, None) if pair else y

    return run


def _share(x: Tensor, axis: int, count: Any) -> int:
    """Return how many elements of an axis each of `count` windows has."""
    length = x.size(axis)
    if not isinstance(length, int) or not isinstance(count, int) or length % count:
        raise ConvertError(
            f"axis {axis} must be a multiple of the {count} elements it is pooled to, got {describe(x, axis)}"
        )
    return length // count


def unfold(call: Call, x: Any, dim: int, size: int, step: int) -> Tensor:
    """Windows of an axis, their elements on a last axis of their own."""
    own = call.tensor(x)
    return unfolded(call, own, call.axis(dim, own.rank), size, step)


# Resizing ----------------------------------------------------------------------------------------


def _upsample(how: Resizing, *, corners: bool = False) -> Handler:
    """A handler of (input, sizes or none, align_corners if `corners`, scale factors or none)."""

    def run(call: Call, x: Any, sizes: Any, *options: Any) -> Tensor:
        y, own = call.tensor(x), how
        if corners and options[0]:
            own = how._replace(coordinates="align_corners")
        factors: Any = options[corners] if len(options) > corners else None
        count = len(factors if sizes is None else sizes)
        for i, dim in enumerate(last(y, count)):
            n, m = y.size(dim), None if sizes is None else sizes[i]
            if m == n or (m is None and factors[i] == 1):
                continue
            factor = factors[i] if m is None or (factors and factors[i]) else _factor(n, m)
            if isinstance(n, int) and own.coordinates == "align_corners":
                factor = int(n * factor) / n
            y = resized(call, y, dim, m if isinstance(m, int) else None, float(factor), own)
        return y

    return run


def _factor(n: Size, m: Size) -> float:
    """By what a size is multiplied to be another one."""
    if isinstance(n, int) and isinstance(m, int):
        return m / n
    try:
        return float(int(quotient(m, n)))
    except ConvertError as error:
        raise ConvertError(f"time must be resized by a factor, got from {n} to {m}") from error


LINEAR, CUBIC = Resizing("linear"), Resizing("cubic")
UPSAMPLE = {
    **{f"upsample_nearest{n}d": _upsample(Resizing("nearest", "asymmetric", "floor")) for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": _upsample(Resizing("nearest", "half_pixel", "round_prefer_ceil"))
       for n in (1, 2, 3)},
    **{f"upsample_{name}": _upsample(LINEAR, corners=True) for name in ("linear1d", "bilinear2d", "trilinear3d")},
    "upsample_bicubic2d": _upsample(CUBIC, corners=True),
    "_upsample_bilinear2d_aa": _upsample(Resizing("linear", exclude_outside=True, antialias=True), corners=True),
    "_upsample_bicubic2d_aa": _upsample(
        Resizing("cubic", cubic=-0.5, exclude_outside=True, antialias=True), corners=True),
}  # fmt: skip
TABLE: dict[str, Handler] = {
    **{f"conv{n}d": _convolution for n in (1, 2, 3)}, "convolution": _general, "_convolution": _general,
    "conv_transpose1d": _transposed, "conv_transpose2d.input": _transposed, "conv_transpose3d.input": _transposed,
    **{f"max_pool{n}d": _max_pool(n) for n in (1, 2, 3)}, **{f"avg_pool{n}d": _average_pool(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _max_pool(n, pair=True) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive("average", n) for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive("average", n) for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive("max", n, pair=True) for n in (1, 2, 3)},
    **{f"{name}.vec": handler for name, handler in UPSAMPLE.items()}, "unfold": unfold,
}  # fmt: skip
