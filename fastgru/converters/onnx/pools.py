"""Pooling over frames and over time."""

from __future__ import annotations

from ...errors import ConvertError
from ...graph import Pad, Pool, TimePool
from ..tensors.steps import windowed
from ..tensors.values import Tensor
from ..tensors.views import over_rows
from .call import Call, Translator
from .reductions import reduced
from .temporal import retimed
from .windows import Window, sizes, time_axis, window


def pool(mode: str) -> Translator:
    """A translator for MaxPool or AveragePool."""

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        if x.spec.dtype == "int":
            working = call.result(call.cast(x.value, "float"), x.axes, x.elem)
            y = pooled(call, working, mode)
            return call.result(call.cast(y.value, "int"), y.axes, x.elem)
        return pooled(call, x, mode)

    return translate


def pooled(call: Call, x: Tensor, mode: str) -> Tensor:
    """The pool that a node's attributes describe."""
    kernel = call.attr("kernel_shape")
    if kernel is None:
        raise ConvertError("kernel_shape must be given, got none")
    if mode == "max":
        call.attr("storage_order")  # of the indices, which are not computed
    found = window(call, x, kernel)
    count = bool(call.attr("count_include_pad", 0))
    if call.attr("ceil_mode", 0):
        more = _beyond(x, found)
        if count and mode == "average" and any(more):
            x, count = _padded(call, x, found), False
        found.after = [a + m for a, m in zip(found.after, more, strict=True)]
    return _run(call, x, found, mode, count)


def _beyond(x: Tensor, found: Window) -> list[int]:
    """Further padding by which the last window, begun within the input or the padding before it, is a whole one."""
    more = [0] * len(found.kernel)
    for i, n in enumerate(sizes(x)):
        if found.strides[i] == 1:
            continue
        if n is None:
            raise ConvertError("ceil_mode over time must be 0 where the stride is more than 1, got 1")
        total = n + found.before[i] + found.after[i]
        windows = -(-(total - found.extent(i)) // found.strides[i]) + 1
        if (windows - 1) * found.strides[i] >= n + found.before[i]:
            windows -= 1
        more[i] = max((windows - 1) * found.strides[i] + found.extent(i) - total, 0)
    return more


def _padded(call: Call, x: Tensor, found: Window) -> Tensor:
    """`x` with its padding as elements that count, unlike what lies beyond it."""
    before, after = [0] * len(x.spec.shape), [0] * len(x.spec.shape)
    for i in range(len(found.kernel)):
        frame = x.frame_axis(i + 2)
        before[frame], after[frame] = found.before[i], found.after[i]
        found.before[i] = found.after[i] = 0
    return call.result(call.add(Pad(tuple(before), tuple(after)), x.value), x.axes, x.elem)


def _run(call: Call, x: Tensor, found: Window, mode: str, count: bool) -> Tensor:
    """The pool over frame axes, then over time: windows are rectangles, so that one can follow the other."""
    i = time_axis(x)
    inner = found if i is None else found.without(i)
    frames = [a for a in range(1, x.rank) if i is None or a != i + 2]
    if not all(inner.trivial(j) for j in range(len(inner.kernel))):
        kernel, strides, dilations, before, after = map(tuple, inner.fields())
        op = Pool(mode, kernel, strides, dilations, before, after, count)
        x = over_rows(call, x, frames, lambda value: call.add(op, value))
    if i is None or found.trivial(i):
        return x
    kernel_, stride, dilation, before_, after_ = (values[i] for values in found.fields())
    if dilation != 1:
        raise ConvertError(f"dilation of a pool over time must be 1, got {dilation}")
    y = call.add(TimePool(mode, kernel_, stride, before_, after_, count), x.value)
    symbol = windowed(str(x.axes[i + 2][0]), kernel_, stride, before_ + after_)
    return call.result(y, retimed(x.axes, i + 2, symbol), x.elem)


def global_pool(function: str) -> Translator:
    """A translator for a pool over all spatial axes."""

    def translate(call: Call) -> Tensor:
        x = call.tensor(0)
        return reduced(call, x, range(2, x.rank), function, True)

    return translate


OPERATORS: dict[str, Translator] = {
    "MaxPool": pool("max"),
    "AveragePool": pool("average"),
    "GlobalMaxPool": global_pool("max"),
    "GlobalAveragePool": global_pool("mean"),
}
