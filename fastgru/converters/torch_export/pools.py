"""ATen's pools over fixed axes and time, and the repetition of nearest neighbours."""

from __future__ import annotations

from math import prod
from typing import Any

from ...errors import ConvertError
from ...graph import Pool, TimePool
from ..tensors.values import Size, Tensor, describe
from .call import Call, Handler
from .elementwise import divide
from .reductions import reduce
from .views import canonical, repeat_interleave, squeeze, unsqueeze
from .windows import Layout, Pair, Windows, laid_out, placed, steps_of, wide


def pool(call: Call, x: Any, mode: str, windows: Windows, *, ceil: bool = False, count_padding: bool = True) -> Tensor:
    """Pooling over fixed axes and time, the one after the other: maxima and means are of both at once."""
    x = call.tensor(x)
    if x.rank == len(windows.size) + 1:
        return squeeze(
            call, pool(call, unsqueeze(call, x, 0), mode, windows, ceil=ceil, count_padding=count_padding), 0
        )
    layout = laid_out(call, x)
    value, steps = layout.value, steps_of(call, layout, windows)
    if layout.time is not None:
        size, stride, dilation, sides = windows.at(layout.time)
        if size > 1 and (ceil or dilation != 1):
            raise ConvertError(f"pool over time must have ceil_mode False and dilation 1, got {ceil} and {dilation}")
        windows = windows.without(layout.time)
        if not count_padding and any(map(any, windows.sides)) and any(sides):
            raise ConvertError("mean over padding of time and of other axes must count it, got count_include_pad False")
        if (size, stride) != (1, 1):
            value = call.timed(call.result(value, layout.axes)).value
            value = call.add(TimePool(mode, size, stride, *sides, count_padding), value)
    if any((k, s, d, p) != (1, 1, 1, (0, 0)) for k, s, d, p in zip(*windows, strict=True)):
        value = _pooled(call, value, layout, mode, windows, ceil, count_padding)
    return placed(call, value, layout, steps)


def _pooled(
    call: Call, value: str, layout: Layout, mode: str, windows: Windows, ceil: bool, count_padding: bool
) -> str:
    ones, none = [1] * layout.rows, [(0, 0)] * layout.rows
    sides = [*none, *windows.sides]
    if ceil:
        sizes = call.shape(value)[1 + layout.rows :]
        sides = [*none, *(_ceiled(n, *windows.at(i)) for i, n in enumerate(sizes))]
        if mode == "average" and count_padding and any(map(any, windows.sides)):
            raise ConvertError("mean over padding must have ceil_mode False, got True")
        count_padding = count_padding and not ceil
    window: dict[str, Any] = {
        "kernel": [*ones, *windows.size], "strides": [*ones, *windows.stride], "dilations": [*ones, *windows.dilation],
        "before": [s[0] for s in sides], "after": [s[1] for s in sides],
    }  # fmt: skip
    op = Pool(mode, **window, count_padding=count_padding)
    return call.add(op, value)


def _ceiled(n: int, size: int, stride: int, dilation: int, sides: Pair) -> Pair:
    """The padding by which the last window fits, if it starts within the input or the padding before it."""
    reach = dilation * (size - 1) + 1
    count = -(-(n + sum(sides) - reach) // stride) + 1
    if (count - 1) * stride >= n + sides[0]:
        count -= 1
    return sides[0], max(sides[1], (count - 1) * stride + reach - n - sides[0])


def _max_pool(count: int) -> Handler:
    def run(
        call: Call, x: Any, size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Tensor:
        k = wide(size, count)
        windows = Windows(
            k, wide(stride, count) if stride else k, wide(dilation, count, 1), [(p, p) for p in wide(padding, count)]
        )
        return pool(call, x, "max", windows, ceil=ceil_mode)

    return run


def _average_pool(count: int) -> Handler:
    def run(
        call: Call, x: Any, size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: Any = None,
    ) -> Tensor:  # fmt: skip
        k = wide(size, count)
        windows = Windows(k, wide(stride, count) if stride else k, [1] * count, [(p, p) for p in wide(padding, count)])
        y = pool(call, x, "average", windows, ceil=ceil_mode, count_padding=count_include_pad)
        return y if divisor_override is None else divide(call, y, divisor_override / prod(k))

    return run


def _adaptive(mode: str, count: int, pair: bool = False) -> Handler:
    """Windows that divide the axis; over time only the whole of it, or none."""

    def run(call: Call, x: Any, sizes: Any) -> Any:
        own = canonical(call, call.tensor(x))
        wanted = [sizes] * count if isinstance(sizes, int) else list(sizes)
        dims = range(own.rank - count, own.rank)
        whole = [d for d, n in zip(dims, wanted, strict=True) if n == 1]
        y = reduce(call, own, "max" if mode == "max" else "mean", whole, True)
        size = [
            1 if d in whole or n in (None, own.size(d)) else _share(own, d, n)
            for d, n in zip(dims, wanted, strict=True)
        ]
        if set(size) != {1}:
            y = pool(call, y, mode, Windows(size, size, [1] * count, [(0, 0)] * count))
        return (y, None) if pair else y

    return run


def _share(x: Tensor, axis: int, count: Any) -> int:
    """How many elements of an axis each of `count` windows has."""
    length = x.size(axis)
    if not isinstance(length, int) or not isinstance(count, int) or length % count:
        raise ConvertError(
            f"axis {axis} must be a multiple of the {count} elements it is pooled to, got {describe(x, axis)}"
        )
    return length // count


def _with_indices(count: int) -> Handler:
    plain = _max_pool(count)
    return lambda call, *arguments: (plain(call, *arguments), None)


# Nearest neighbours ------------------------------------------------------------------------------


def _factor(own: Size, wanted: Size) -> float:
    if isinstance(own, int) and isinstance(wanted, int):
        return wanted / own
    return 1.0 if own == wanted else 0.0


def _upsample(call: Call, x: Any, sizes: Any, factors: Any = None, *_: Any) -> Tensor:
    """Every element repeated, along fixed axes, a whole number of times."""
    own = canonical(call, call.tensor(x))
    dims = range(2, own.rank)
    if sizes is not None:
        factors = [_factor(own.size(d), n) for d, n in zip(dims, sizes, strict=True)]
    for d, factor in zip(dims, factors, strict=True):
        if factor != int(factor) or factor < 1 or (factor != 1 and not own.is_frame(d)):
            raise ConvertError(f"axis {d} must be of fixed size and repeated a whole number of times, got {factor}")
        if factor != 1:
            own = repeat_interleave(call, own, int(factor), d)
    return own


TABLE: dict[str, Handler] = {
    **{f"max_pool{n}d": _max_pool(n) for n in (1, 2, 3)}, **{f"avg_pool{n}d": _average_pool(n) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _with_indices(n) for n in (2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive("average", n) for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive("average", n) for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive("max", n, pair=True) for n in (1, 2, 3)},
    **{f"upsample_nearest{n}d.vec": _upsample for n in (1, 2, 3)},
}  # fmt: skip
