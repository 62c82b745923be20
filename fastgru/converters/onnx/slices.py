"""Operators that take parts of values, join them, or surround them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ConvertError
from ..program import padding
from ..program.joins import joined
from ..program.padding import MODES
from ..program.sizes import Dim
from ..program.time import BEYOND, steps_between
from ..program.values import Array, Tensor, describe, is_symbolic
from ..program.views import sliced
from .call import Call, Translator


def slice_(call: Call) -> Tensor | Array:
    """Slice."""
    x = call.tensor(0)
    starts, ends = call.ints("starts", 1, 10) or [], _ends(call)
    axes = call.ints("axes", 3, 10)
    steps = call.ints("steps", 4, 10) if call.opset >= 10 else None
    chosen = call.axes(range(len(starts)) if axes is None else axes, x.rank)
    parts = zip(chosen, starts, ends, steps or [1] * len(starts), strict=True)
    for axis, start, end, step in parts:
        if step == 0:
            raise ConvertError("steps must not be 0, got 0")
        if x.is_time(axis):
            x = steps_between(call, x, axis, start, end, step)
        elif x.is_frame(axis) and not isinstance(end, Dim):
            n = x.spec.shape[x.frame_axis(axis)]
            stop = None if step < 0 and end < -n else end
            if not range(n)[start:stop:step]:
                return empty(x, axis)
            x = sliced(call, x, axis, start, stop, step)
        elif (start, step) != (0, 1) or isinstance(end, Dim) or end < BEYOND:
            raise ConvertError(f"slice must be of an axis of fixed size, got {start}:{end} of {describe(x, axis)}")
    return x


def _ends(call: Call) -> Sequence[int | Dim]:
    """Where slices end; at a number of steps, perhaps."""
    given = call.setting("ends", 2, 10)
    return list(given.reshape(-1)) if is_symbolic(given) else call.ints("ends", 2, 10) or []


def empty(x: Tensor, axis: int) -> Array:
    """What is left of a value of fixed shape without any element along an axis."""
    shape = [0 if i == axis else x.spec.shape[x.frame_axis(i)] for i in range(x.rank)]
    return np.zeros(shape, dtype={"float": np.float32, "int": np.int64, "bool": np.bool_}[x.spec.dtype])


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
    """Concat along an axis of fixed size, or of one number before and after steps of time."""
    values = [call.value(i) for i in range(len(call.inputs))]
    tensors = [call.lift(v) for v in values if isinstance(v, Tensor) or is_symbolic(v) or v.size]
    axis = call.axis(call.attr("axis", 1), tensors[0].rank)
    return joined(call, tensors, axis)


def pad(call: Call) -> Tensor:
    """Pad; negative counts cut."""
    x = call.tensor(0)
    mode = call.attr("mode", "constant")
    counts = call.ints("pads", 1, 11) or []
    value = call.attr("value", 0.0) if call.opset < 11 else call.value(2) if call.given(2) else 0.0
    fill = value if isinstance(value, Tensor) else float(next(iter(np.reshape(value, -1)), 0.0))
    axes = call.optional(3, "axes") if call.opset >= 18 else None
    chosen = call.axes(range(x.rank) if axes is None else [int(a) for a in axes], x.rank)
    if mode not in MODES or len(counts) != 2 * len(chosen):
        raise ConvertError(f"pads must be two counts for each of {len(chosen)} axes and mode one of "
                           f"{', '.join(MODES)}, got {counts} and {mode!r}")  # fmt: skip
    pairs = zip(counts[: len(chosen)], counts[len(chosen) :], strict=True)
    return padding.pad(call, x, dict(zip(chosen, pairs, strict=True)), mode, fill)


OPERATORS: dict[str, Translator] = {"Slice": slice_, "Split": split, "Concat": concat, "Pad": pad}
