"""Convolutions and pools: kernel sizes, strides and padding in all of ONNX's ways to say them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

from ...errors import ConvertError
from ..program import convolutions
from ..program.reductions import reduced
from ..program.values import Array, Tensor
from ..program.windows import Window, pool, same
from .call import Call, Translator

AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def windows(call: Call, x: Tensor, kernel: Sequence[int]) -> list[Window]:
    """The windows that a node's attributes describe, without SAME padding.

    Raises
    ------
    ConvertError
        When they do not fit the input.
    """
    rank = x.rank - 2
    if rank < 1 or len(kernel) != rank:
        raise ConvertError(f"kernel must have an entry for each spatial axis of {x}, got {list(kernel)}")
    strides, dilations = (list(call.attr(n) or [1] * rank) for n in ("strides", "dilations"))
    pads = list(call.attr("pads") or [0] * (2 * rank))
    for name, value, count in (("strides", strides, rank), ("dilations", dilations, rank), ("pads", pads, 2 * rank)):
        if len(value) != count or min(value) < (0 if name == "pads" else 1):
            raise ConvertError(f"{name} must be {count} entries of at least {int(name != 'pads')}, got {value}")
    auto = call.attr("auto_pad", "NOTSET")
    if auto not in AUTO:
        raise ConvertError(f"auto_pad must be one of {', '.join(AUTO)}, got {auto!r}")
    if auto != "NOTSET":
        pads = [0] * (2 * rank)
    return [Window(*each) for each in zip(kernel, strides, dilations, pads[:rank], pads[rank:], strict=True)]


def padded(call: Call, x: Tensor, kernel: Sequence[int]) -> list[Window]:
    """The windows that a node's attributes describe."""
    found, auto = windows(call, x, kernel), call.attr("auto_pad", "NOTSET")
    if not auto.startswith("SAME"):
        return found
    return [same(w, n, lower=auto == "SAME_LOWER") for w, n in zip(found, sizes(x), strict=True)]


def sizes(x: Tensor) -> list[int | None]:
    """Sizes of the spatial axes, which follow batch and channels; None for time."""
    return [None if x.is_time(i) else x.spec.shape[x.frame_axis(i)] for i in range(2, x.rank)]


# Pools ---------------------------------------------------------------------------------------------


def pooled(call: Call, mode: str) -> Tensor:
    """MaxPool or AveragePool."""
    x, found, ceil = _pool(call)
    if mode == "max":
        call.attr("storage_order")  # of the indices, which are not computed
    count = bool(call.attr("count_include_pad", 0))
    return pool(call, x, mode, found, range(2, x.rank), count_padding=count, ceil=ceil)


def _pool(call: Call) -> tuple[Tensor, list[Window], bool]:
    """The input, its windows, and whether the last may reach beyond the padding, which SAME padding has no need of."""
    x, kernel = call.tensor(0), call.attr("kernel_shape")
    if kernel is None:
        raise ConvertError("kernel_shape must be given, got none")
    ceil = bool(call.attr("ceil_mode", 0)) and not call.attr("auto_pad", "NOTSET").startswith("SAME")
    return x, padded(call, x, kernel), ceil


def lp_pool(call: Call) -> Tensor:
    """LpPool: the p-th root of the sum of \\|x\\|^p."""
    x, found, ceil = _pool(call)
    p, count = float(call.attr("p", 2)), prod(w.size for w in found)
    powers = call.like(x, call.binary("pow", call.unary("abs", x.value), p))
    found = [w.reaching() for w in found] if ceil else found
    mean = pool(call, powers, "average", found, range(2, x.rank))
    return call.like(mean, call.binary("pow", call.affine(mean.value, count), 1 / p))


def global_pool(call: Call, function: str) -> Tensor:
    """A pool over all spatial axes."""
    x = call.tensor(0)
    return reduced(call, x, range(2, x.rank), function, True)


# Convolutions ----------------------------------------------------------------------------------------


def conv(call: Call) -> Tensor:
    """Conv."""
    weight, bias = call.array(1, "W"), call.optional(2, "B")
    return convolve(call, call.tensor(0), weight, bias)


def convolve(call: Call, x: Tensor, weight: Array, bias: Array | None) -> Tensor:
    """The convolution that a node's attributes describe."""
    _check(call, x, weight)
    found, groups = padded(call, x, weight.shape[2:]), call.attr("group", 1)
    return convolutions.convolve(call, x, weight, bias, found, range(2, x.rank), groups=groups)


def _check(call: Call, x: Tensor, weight: Array) -> None:
    if x.rank < 3 or weight.ndim != x.rank or weight.size == 0:
        raise ConvertError(f"weights must have as many axes as the input {x}, three or more, got {weight.shape}")
    given, kernel = call.attr("kernel_shape"), weight.shape[2:]
    if given is not None and list(given) != list(kernel):
        raise ConvertError(f"kernel_shape must be that of the weights, {list(kernel)}, got {list(given)}")


def conv_transpose(call: Call) -> Tensor:
    """ConvTranspose; ``output_shape`` and ``auto_pad`` become what is cut off."""
    x, weight, bias = call.tensor(0), call.array(1, "W"), call.optional(2, "B")
    _check(call, x, weight)
    extra = list(call.attr("output_padding") or [0] * (x.rank - 2))
    found = [w._replace(extra=n) for w, n in zip(windows(call, x, weight.shape[2:]), extra, strict=True)]
    shape, auto = call.attr("output_shape"), call.attr("auto_pad", "NOTSET")
    if shape is not None or auto.startswith("SAME"):
        wanted = [None] * len(found) if shape is None else list(shape)[-len(found) :]
        found = [_cut_to(w, n, m, auto) for w, n, m in zip(found, sizes(x), wanted, strict=True)]
    axes, groups = range(2, x.rank), call.attr("group", 1)
    return convolutions.transposed(call, x, weight, bias, found, axes, groups=groups)


def _cut_to(window: Window, length: int | None, wanted: int | None, auto: str) -> Window:
    """Cut off or add what is needed for `wanted` elements, or `stride` for each that there is if that is None."""
    if length is None and wanted is not None:
        raise ConvertError(f"output_shape must be left out over time, got {wanted}")
    length = 1 if length is None else length  # of any length as much is cut off
    whole = (length - 1) * window.stride + window.extent + window.extra
    cut = whole - (length * window.stride if wanted is None else wanted)
    small, large = max(cut, 0) // 2, max(cut, 0) - max(cut, 0) // 2
    before, after = (small, large) if auto == "SAME_UPPER" else (large, small)
    return window._replace(before=before, after=after, extra=window.extra + max(-cut, 0))


OPERATORS: dict[str, Translator] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "LpPool": lp_pool,
    "MaxPool": partial(pooled, mode="max"), "AveragePool": partial(pooled, mode="average"),
    "GlobalMaxPool": partial(global_pool, function="max"), "GlobalAveragePool": partial(global_pool, function="mean"),
}  # fmt: skip
