"""Operators that take parts of values, join them, or surround them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ConvertError
from ...graph import Concat, Pad, Reverse, TimePad, Where
from ..tensors.steps import difference, never_more
from ..tensors.values import Array, Dim, Tensor, describe, is_symbolic
from ..tensors.views import align, sliced, with_ones
from .call import Call, Translator
from .temporal import at_end, cropped, longer

MODES = ("constant", "reflect", "edge", "wrap")


def slice_(call: Call) -> Tensor | Array:
    """Slice; along time only what a convolution or padding has added there, or all of it reversed."""
    x = call.tensor(0)
    starts, ends = call.ints("starts", 1, 10) or [], _ends(call)
    axes = call.ints("axes", 3, 10)
    steps = call.ints("steps", 4, 10) if call.opset >= 10 else None
    chosen = call.axes(range(len(starts)) if axes is None else axes, x.rank)
    parts = zip(chosen, starts, ends, steps or [1] * len(starts), strict=True)
    for axis, start, end, step in parts:
        if step == 0:
            raise ConvertError("steps must not be 0, got 0")
        if isinstance(end, Dim):
            x = _cut_to(call, x, axis, start, end, step)
        elif x.is_frame(axis):
            n = x.spec.shape[x.frame_axis(axis)]
            stop = None if step < 0 and end < -n else end
            if not range(n)[start:stop:step]:
                return empty(x, axis)
            x = sliced(call, x, axis, start, stop, step)
        else:
            x = _through(call, x, axis, start, end, step)
    return x


def _ends(call: Call) -> Sequence[int | Dim]:
    """Where slices end; at a number of steps, perhaps."""
    given = call.setting("ends", 2, 10)
    return list(given.reshape(-1)) if is_symbolic(given) else call.ints("ends", 2, 10) or []


def _cut_to(call: Call, x: Tensor, axis: int, start: int, end: Dim, step: int) -> Tensor:
    """A slice of time that ends where another value does, which `x` is never longer than, or always by as much."""
    if x.is_time(axis) and step == 1 and start >= 0:
        whole = str(x.size(axis))
        more = difference(whole, str(end))
        if start == 0 and (more == 0 or never_more(whole, str(end))):
            return x
        if more is not None:
            return cropped(call, x, axis, start, more)
    raise ConvertError(
        f"slice must end at a fixed place or at that of its input, got {start}:{end} of {describe(x, axis)}"
    )


def empty(x: Tensor, axis: int) -> Array:
    """What is left of a value of fixed shape without any element along an axis."""
    shape = [0 if i == axis else x.spec.shape[x.frame_axis(i)] for i in range(x.rank)]
    return np.zeros(shape, dtype={"float": np.float32, "int": np.int64, "bool": np.bool_}[x.spec.dtype])


def _through(call: Call, x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    """A slice along batch or time."""
    beyond = 2**31 - 1  # how exporters say: to the end
    if step == 1 and start == 0 and end >= beyond:
        return x
    if x.is_time(axis):
        if step == -1 and (start == -1 or start >= beyond) and end <= -beyond:
            return call.result(call.add(Reverse(), x.value), x.axes, x.elem)
        if step == 1 and start == -1 and end >= beyond:
            return with_ones(call, at_end(call, x, axis, first=False), [axis])
        if step == 1 and start >= 0 and (end < 0 or end >= beyond):
            return cropped(call, x, axis, start, 0 if end >= 0 else -end)
    raise ConvertError(f"slice must be of an axis of fixed size, got {start}:{end}:{step} of {describe(x, axis)}")


def split(call: Call) -> list[Tensor | Array]:
    """Split into given sizes or equal parts."""
    x = call.tensor(0)
    axis = call.axis(call.attr("axis", 0), x.rank)
    sizes = call.ints("split", 1, 13)
    count = call.attr("num_outputs", len(call.node.output)) if call.opset >= 18 else len(call.node.output)
    n = x.spec.shape[x.frame_axis(axis)]
    if sizes is None:
        part = -(-n // count)
        sizes = [part] * (count - 1) + [n - part * (count - 1)]
    if sum(sizes) != n or any(s < 0 for s in sizes):
        raise ConvertError(f"split must have sizes of at least 0 whose sum is {n}, got {sizes}")
    ends = [int(e) for e in np.cumsum(sizes)]
    return [sliced(call, x, axis, end - s, end) if s else empty(x, axis) for s, end in zip(sizes, ends, strict=True)]


def concat(call: Call) -> Tensor:
    """Concat along an axis of fixed size."""
    values = [call.value(i) for i in range(len(call.inputs))]
    tensors = [call.lift(v) for v in values if isinstance(v, Tensor) or is_symbolic(v) or v.size]
    axis = call.axis(call.attr("axis", 1), tensors[0].rank)
    if any(x.rank != tensors[0].rank for x in tensors):
        raise ConvertError(f"inputs must have one number of axes, got {' and '.join(map(str, tensors))}")
    for x in tensors:
        if not x.is_frame(axis):
            raise ConvertError(f"inputs must be joined along an axis of fixed size, got {describe(x, axis)}")
    return joined(call, tensors, axis)


def joined(call: Call, tensors: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors of one rank side by side along an axis of fixed size."""
    if len(tensors) == 1:
        return tensors[0]
    last = tensors[0].rank - 1
    moved = [x.permuted([*(i for i in range(x.rank) if i != axis), axis]) for x in tensors]
    values, axes = align(call, moved, tail=1)
    frames = [call.shape(v)[:-1] for v in values]
    if len(set(frames)) > 1:
        raise ConvertError(f"inputs must have one shape but for axis {axis}, got {' and '.join(map(str, tensors))}")
    rank = len(frames[0])
    # The joined axis goes where the first input has it, so that this one need not be moved.
    place = min(tensors[0].frame_axis(axis), rank)
    perm = [*range(place), rank, *range(place, rank)]
    y = call.add(Concat(axis=place), *(call.transpose(v, perm) for v in values))
    shifted = [tuple(a + 1 if isinstance(a, int) and a >= place else a for a in atoms) for atoms in axes]
    result = [*shifted, (place,)]
    back = [*range(axis), last, *range(axis, last)]
    return call.result(y, [result[i] for i in back], tensors[0].elem)


def pad(call: Call) -> Tensor:
    """Pad; with zeros or another value also before and after a sequence, and with negative counts a slice."""
    x = call.tensor(0)
    mode = call.attr("mode", "constant")
    counts = call.ints("pads", 1, 11) or []
    value = call.attr("value", 0.0) if call.opset < 11 else call.value(2) if call.given(2) else None
    computed = value if isinstance(value, Tensor) else None
    known = np.zeros(1) if value is None or isinstance(value, Tensor) else np.reshape(value, -1)
    fill = float(known[0]) if known.size else 0.0
    axes = call.optional(3, "axes") if call.opset >= 18 else None
    chosen = call.axes(range(x.rank) if axes is None else [int(a) for a in axes], x.rank)
    if mode not in MODES or len(counts) != 2 * len(chosen):
        raise ConvertError(f"pads must be two counts for each of {len(chosen)} axes and mode one of "
                           f"{', '.join(MODES)}, got {counts} and {mode!r}")  # fmt: skip
    before, after = [0] * len(x.spec.shape), [0] * len(x.spec.shape)
    for axis, left, right in zip(chosen, counts[: len(chosen)], counts[len(chosen) :], strict=True):
        if left == right == 0:
            continue
        if x.is_time(axis):
            if computed:
                raise ConvertError("constant_value must be constant to pad time, got a computed one")
            x = _pad_time(call, x, axis, left, right, mode, fill)
            continue
        frame = x.frame_axis(axis)
        n = x.spec.shape[frame]
        if left < 0 or right < 0:
            x = sliced(call, x, axis, max(-left, 0), n - max(-right, 0))
        before[frame], after[frame] = max(left, 0), max(right, 0)
    if not any(before + after):
        return x
    kind = call.emit.specs[x.value].dtype
    source = call.cast(x.value, "int") if kind == "bool" else x.value
    finite = mode == "constant" and np.isfinite(fill) and not computed
    y = call.add(Pad(tuple(before), tuple(after), mode, fill if finite else 0.0), source)
    if mode == "constant" and not finite:
        inside = np.pad(np.ones(x.spec.shape, bool), list(zip(before, after, strict=True)))
        other = call.reshape(computed.value, ()) if computed else call.number(fill, like=y)
        y = call.add(Where(), call.constant(inside, "bool"), y, call.cast(other, call.emit.specs[y].dtype))
    return call.result(call.cast(y, kind), x.axes, x.elem)


def _pad_time(call: Call, x: Tensor, axis: int, left: int, right: int, mode: str, fill: float) -> Tensor:
    if left <= 0 and right <= 0:
        return cropped(call, x, axis, -left, -right)
    outside = {"constant": "value", "reflect": "reflect", "edge": "edge"}.get(mode)
    if outside is None or min(left, right) < 0:
        raise ConvertError(
            f"padding of time must be constant, reflect or edge and cut at neither end, got mode {mode!r} and counts "
            f"{left} and {right}"
        )
    y = call.add(TimePad(left, right, fill, outside), x.value)
    return call.result(y, longer(x, axis, left + right), x.elem)


OPERATORS: dict[str, Translator] = {"Slice": slice_, "Split": split, "Concat": concat, "Pad": pad}
