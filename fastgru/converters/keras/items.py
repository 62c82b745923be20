"""Parts of tensors, ``x[...]``, as functional models of Keras 3 hold them."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import ConvertError
from ..program.time import steps_between
from ..program.values import Tensor
from ..program.views import sliced, with_ones, without
from .draft import Draft
from .values import AcrossTime, Layer, Value, shortened


class Part(NamedTuple):
    """One entry of ``x[...]``: where a slice of an axis starts and stops, by which step, or one element of it."""

    start: int | None = None
    stop: int | None = None
    step: int | None = None
    element: bool = False
    new: bool = False


def _part(layer: Layer, key: Any) -> Part | None:
    """One entry of the key; None for an ellipsis."""
    if key is None:
        return Part(new=True)
    if isinstance(key, int) and not isinstance(key, bool):
        return Part(key, element=True)
    if isinstance(key, dict) and key.get("class_name") == "__ellipsis__":
        return None
    config = key.get("config") if isinstance(key, dict) and key.get("class_name") == "__slice__" else None
    ends = [config.get(k) for k in ("start", "stop", "step")] if isinstance(config, dict) else [""]
    if not all(n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in ends) or ends[-1] == 0:
        raise ConvertError(f"index of {layer} must be of numbers and slices, got {shortened(key)}")
    return Part(*ends)


def item(layer: Layer, operands: list[Any], b: Draft) -> Tensor:
    """Return ``x[...]``: the batch whole, anything of time and of the frame."""
    x, *key = operands
    if not isinstance(x, Value):
        raise ConvertError(f"{layer} must be of the output of a layer, got {shortened(x)}")
    parts = [_part(layer, k) for k in key]
    axes = [p for p in parts if p is not None and not p.new]
    gap = x.rank - len(axes)
    at = parts.index(None) if None in parts else len(parts)
    if gap < 0 or parts.count(None) > 1:
        raise ConvertError(f"index of {layer} must be of at most {x.rank} axes, got {len(axes)}")
    whole = [p for p in (*parts[:at], *[Part()] * gap, *parts[at + 1 :]) if p is not None]
    if whole[0] != Part():
        raise ConvertError(f"index of {layer} must take the whole batch, got {whole[0]}")
    if x.timed and whole[1].new:
        raise AcrossTime(f"index of {layer} must not add an axis in front of time")
    y = b.read(x)
    taken = [part for part in whole if not part.new]
    for axis, part in enumerate(taken):
        if part != Part():
            y = _cut(layer, y, axis, part, x.shape[axis - 1], b)
    y = without(b, y, [axis for axis, part in enumerate(taken) if part.element])
    left = [part for part in whole if not part.element]
    return with_ones(b, y, [place for place, part in enumerate(left) if part.new])


def _cut(layer: Layer, x: Tensor, axis: int, part: Part, n: int | None, b: Draft) -> Tensor:
    """Return a part of an axis of `n` elements, None for any number; a single one is left as an axis of size 1."""
    start, stop, step = part.start, part.stop, part.step or 1
    if part.element:
        start, step = part.start or 0, 1
        stop = start + 1 or None
        if n is not None and not -n <= start < n:
            raise ConvertError(f"index of {layer} must be of the {n} elements of axis {axis}, got {start}")
    elif n is not None:
        first, end, _ = slice(start, stop, step).indices(n)
        if not range(first, end, step):
            raise ConvertError(f"index of {layer} must keep one of the {n} elements of axis {axis}, got {start}:{stop}")
        if x.is_time(axis) and step > 0:
            start, stop = first, end - n or None
    if not x.is_time(axis):
        return sliced(b, x, axis, start, stop, step)
    return steps_between(b, x, axis, (0 if step > 0 else -1) if start is None else start, stop, step)
