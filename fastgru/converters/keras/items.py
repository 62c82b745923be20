"""Parts of tensors, ``x[...]``, as functional models of Keras 3 hold them."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import ConvertError
from ...graph import Reshape, Slice, TimeStep
from ..program.time import steps_between
from .draft import Draft
from .formulas import Formula, emit
from .values import AcrossTime, Context, Layer, Value, shortened


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


def item(layer: Layer, operands: list[Any], ctx: Context) -> Value:
    """x[...]: the batch whole, anything of time and of the frame."""
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
    rest = whole[1:]
    if x.timed:
        head, *rest = rest
        if head.new:
            raise AcrossTime(f"index of {layer} must not add an axis in front of time")
        x = x if head == Part() else _of_time(layer, x, head, ctx)
        rest = rest if x.timed or head.element else [Part(), *rest]
    chosen = dict(enumerate(p for p in rest if not p.new))
    taken = emit(Formula(cut(x.frame, chosen), (x,)), ctx, f"{layer.name}.cut") if x.frame else x
    sizes = iter(taken.frame)
    lengths = [(part, 1 if part.new else next(sizes)) for part in rest]
    return ctx.add(Reshape(tuple(n for part, n in lengths if not part.element)), taken, name=layer.name)


def cut(frame: tuple[int, ...], chosen: dict[int, Part]) -> Slice:
    """The slice that takes a part of each axis; one element counts as a slice of one."""
    bounds = []
    for axis, n in enumerate(frame):
        part = chosen.get(axis, Part())
        start = part.start
        if part.element:
            start = 0 if part.start is None else part.start
            start += n if start < 0 else 0
            if not 0 <= start < n:
                raise ConvertError(f"index must be of the {n} elements of axis {axis}, got {part.start}")
            part = Part(start, start + 1)
        first, stop, step = slice(part.start, part.stop, part.step).indices(n)
        bounds.append((first, stop if stop >= 0 else -n - 1, step))
    starts, stops, steps = zip(*bounds, strict=True)
    return Slice(starts, stops, steps)


def _of_time(layer: Layer, x: Value, part: Part, ctx: Context) -> Value:
    """A step without time, or a slice: of steps, or of a fixed number of them as the first axis of the frame."""
    name, n = f"{layer.name}.{'step' if part.element else 'steps'}", x.steps
    if part.element:
        index = part.start or 0
        if n is not None and not -n <= index < n:
            raise ConvertError(f"index of {layer} must be of the {n} steps, got {index}")
        return ctx.add(TimeStep(index), x, name=name)
    step = part.step or 1
    start, stop = ((0 if step > 0 else -1) if part.start is None else part.start), part.stop
    if n is not None and step > 0:
        start, end, _ = slice(part.start, part.stop, step).indices(n)
        if start >= end:
            raise ConvertError(f"index of {layer} must keep one of the {n} steps, got {part.start}:{part.stop}")
        stop = end - n or None
    b = Draft(name, ctx)
    return b.finish(steps_between(b, b.read(x), 1, start, stop, step))
