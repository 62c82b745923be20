"""Keras layers of several inputs: Add and its kin, Concatenate, Dot."""

from __future__ import annotations

from functools import partial, reduce
from math import prod
from typing import Any

from ...errors import ConvertError
from ...graph import Add, Average, Binary, Concat, MatMul, Multiply, Op, Reshape
from .formulas import emit, mul, to_last
from .formulas import reduce as folded
from .formulas import reshape as reshaped
from .masking import merged_mask
from .norms import unit
from .rows import Row, axes_of, frame_axis, take
from .values import AcrossTime, Array, Context, Layer, Value, shortened

NORMALIZE_EPSILON = 1e-7  # keras/src/backend/config.py: epsilon()


def aligned(layer: Layer, inputs: list[Value], ctx: Context) -> list[Value]:
    """Inputs of one rank: Keras puts axes of 1 behind the batch, which broadcast over time where others have it."""
    rank = max((x.rank for x in inputs), default=0)
    timed = any(x.timed for x in inputs)
    found = []
    for i, x in enumerate(inputs):
        frame = (*[1] * (rank - x.rank), *x.frame)
        if timed and not x.timed:
            if frame[:1] != (1,):
                raise AcrossTime(f"inputs of {layer} must all have the model's time, got {x.spec}")
            frame = frame[1:]
        elif timed and x.rank < rank:
            raise AcrossTime(f"inputs of {layer} must have one number of axes, got {_specs(inputs)}")
        found.append(x if frame == x.frame else ctx.add(Reshape(frame), x, name=f"{layer.name}.input_{i}"))
    return found


def _specs(inputs: list[Value]) -> str:
    return ", ".join(str(x.spec) for x in inputs)


def elementwise(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context, *, op: Op) -> list[Value]:
    """Add, Multiply, Average of any number of inputs; Subtract, Maximum, Minimum pair by pair."""
    take(layer, arrays)
    if not inputs or (layer.class_name == "Subtract" and len(inputs) != 2):
        expected = "2" if layer.class_name == "Subtract" else "some"
        raise ConvertError(f"{layer} must have {expected} inputs, got {len(inputs)}")
    mask = merged_mask(layer, inputs, ctx)
    values = aligned(layer, inputs, ctx)
    if not isinstance(op, Binary):
        return [ctx.add(op, *values, name=layer.name, mask=mask)]
    *first, last = values
    if not first:
        return [emit(reshaped(last, last.frame), ctx, layer.name, mask)]
    so_far = reduce(lambda a, b: ctx.add(op, a, b, name=f"{layer.name}.{op.function}"), first)
    return [ctx.add(op, so_far, last, name=layer.name, mask=mask)]


def concatenate(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Concatenate along an axis of the frame."""
    take(layer, arrays)
    if not inputs:
        raise ConvertError(f"{layer} must have inputs, got none")
    ranks = {(x.rank, x.timed) for x in inputs}
    if len({rank for rank, _ in ranks}) > 1:
        raise ConvertError(f"inputs of {layer} must have one number of axes, got {_specs(inputs)}")
    if len(ranks) > 1:
        raise AcrossTime(f"inputs of {layer} must all have the model's time, got {_specs(inputs)}")
    axis = frame_axis(layer, inputs[0], layer.get("axis", default=-1))
    mask = merged_mask(layer, inputs, ctx)
    if mask is not None and axis + 1 < len(inputs[0].frame):
        raise ConvertError(f"inputs of {layer} must have no masks along axis {layer.get('axis')}, got some")
    last = len(inputs[0].frame) - 1
    return [ctx.add(Concat(-1 if axis == last else axis), *inputs, name=layer.name, mask=mask)]


def dot(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Dot: the product of two inputs, summed along an axis of each; what remains of both stays side by side."""
    take(layer, arrays)
    if len(inputs) != 2:
        raise ConvertError(f"{layer} must have 2 inputs, got {len(inputs)}")
    given = layer.get("axes")
    pair = given if isinstance(given, list | tuple) else [given, given]
    if len(pair) != 2:
        raise ConvertError(f"axes of {layer} must be one or two numbers, got {shortened(given)}")
    axes = [axes_of(layer, x, a, key="axes")[0] for x, a in zip(inputs, pair, strict=True)]
    values: list[Any] = list(inputs)
    if layer.flag("normalize", default=False):
        values = [
            emit(unit(x, (a,), NORMALIZE_EPSILON), ctx, f"{layer.name}.unit_{i}")
            for i, (x, a) in enumerate(zip(inputs, axes, strict=True))
        ]
    if axes == [-1, -1]:
        return [_over_time(layer, values, ctx)]
    if -1 in axes or inputs[1].timed:
        raise AcrossTime(f"axes of {layer} must sum time with time or keep it in the first input alone, got {given!r}")
    return [_over_frames(layer, values, axes, ctx)]


def _over_time(layer: Layer, values: list[Value], ctx: Context) -> Value:
    """The sum over time of every element of one frame with every element of the other."""
    a, b = values
    pairs = mul(reshaped(a, (*a.frame, *[1] * len(b.frame))), reshaped(b, (*[1] * len(a.frame), *b.frame)))
    total = folded("sum", pairs, (-1,), keepdims=False)
    shape = (*a.frame, *b.frame)
    return emit(total if shape else reshaped(total, (1,)), ctx, layer.name)


def _over_frames(layer: Layer, values: list[Value], axes: list[int], ctx: Context) -> Value:
    """The same by a matrix product of frames (rest, K) and (rest, K)."""
    sides: list[Value] = []
    rests: list[tuple[int, ...]] = []
    for x, axis in zip(values, axes, strict=True):
        rank = len(x.frame)
        rest = tuple(n for i, n in enumerate(x.frame) if i != axis)
        moved: Any = x if axis == rank - 1 else to_last(x, axis, rank)
        sides.append(emit(reshaped(moved, (prod(rest), x.frame[axis])), ctx, f"{layer.name}.side_{len(sides)}"))
        rests.append(rest)
    product = ctx.add(MatMul(transpose_b=True), *sides, name=f"{layer.name}.product")
    shape = (*rests[0], *rests[1])
    if not shape and not product.timed:
        shape = (1,)
    return ctx.add(Reshape(shape), product, name=layer.name)


ELEMENTWISE: dict[str, Op] = {
    "Add": Add(),
    "Multiply": Multiply(),
    "Average": Average(),
    "Subtract": Binary("sub"),
    "Maximum": Binary("max"),
    "Minimum": Binary("min"),
}
ROWS = {
    **{name: Row(partial(elementwise, op=op)) for name, op in ELEMENTWISE.items()},
    "Concatenate": Row(concatenate, "axis"),
    "Dot": Row(dot, "axes normalize"),
}
