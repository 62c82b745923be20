"""Keras layers of several inputs: Add and its kin, Concatenate, Dot."""

from __future__ import annotations

from functools import partial, reduce
from string import ascii_letters

from ...errors import ConvertError
from ...graph import Add, Average, Binary, Multiply, Op, Reshape
from ..program.joins import joined
from ..program.norms import unit
from ..program.products import contract
from ..program.values import Tensor
from ..program.views import joint, with_ones
from .draft import Draft, axes_in
from .masking import merged_mask
from .rows import Row, axes_of, frame_axis, take
from .values import Array, Context, Layer, Value, shortened

NORMALIZE_EPSILON = 1e-7  # keras/src/backend/config.py: epsilon()


def aligned(inputs: list[Value], b: Draft) -> list[Tensor]:
    """Inputs of one rank: Keras puts axes of 1 behind the batch, which broadcast over time where others have it."""
    rank = max((x.rank for x in inputs), default=0)
    return [with_ones(b, b.read(x), range(1, 1 + rank - x.rank)) for x in inputs]


def elementwise(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context, *, op: Op) -> list[Value]:
    """Add, Multiply, Average of any number of inputs; Subtract, Maximum, Minimum pair by pair."""
    take(layer, arrays)
    if not inputs or (layer.class_name == "Subtract" and len(inputs) != 2):
        expected = "2" if layer.class_name == "Subtract" else "some"
        raise ConvertError(f"{layer} must have {expected} inputs, got {len(inputs)}")
    mask, b = merged_mask(layer, inputs, ctx), Draft(layer.name, ctx)
    values = aligned(inputs, b)
    if len(values) == 1:
        return [ctx.add(Reshape(inputs[0].frame), inputs[0], name=layer.name, mask=mask)]
    if not isinstance(op, Binary):
        return [b.finish(joint(b, op, *values), mask)]
    return [b.finish(reduce(lambda x, y: joint(b, op, x, y), values), mask)]


def concatenate(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Concatenate along an axis of the frame."""
    take(layer, arrays)
    if not inputs:
        raise ConvertError(f"{layer} must have inputs, got none")
    axis = frame_axis(layer, inputs[0], layer.get("axis", default=-1))
    mask, b = merged_mask(layer, inputs, ctx), Draft(layer.name, ctx)
    if mask is not None and axis + 1 < len(inputs[0].frame):
        raise ConvertError(f"inputs of {layer} must have no masks along axis {layer.get('axis')}, got some")
    return [b.finish(joined(b, [b.read(x) for x in inputs], axes_in(inputs[0], [axis])[0]), mask)]


def dot(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Dot: the product of two inputs, summed along an axis of each; what remains of both stays side by side."""
    take(layer, arrays)
    if len(inputs) != 2:
        raise ConvertError(f"{layer} must have 2 inputs, got {len(inputs)}")
    given = layer.get("axes")
    pair = given if isinstance(given, list | tuple) else [given, given]
    if len(pair) != 2:
        raise ConvertError(f"axes of {layer} must be one or two numbers, got {shortened(given)}")
    b = Draft(layer.name, ctx)
    values = [b.read(x) for x in inputs]
    axes = [axes_in(x, axes_of(layer, x, a, key="axes"))[0] for x, a in zip(inputs, pair, strict=True)]
    if layer.flag("normalize", default=False):
        values = [unit(b, x, [a], 2, NORMALIZE_EPSILON) for x, a in zip(values, axes, strict=True)]
    first, second = ascii_letters[: values[0].rank], list(ascii_letters[26 : 26 + values[1].rank])
    second[0], second[axes[1]] = "a", first[axes[0]]
    left = [c for c in (*first[1:], *second[1:]) if (c in first) != (c in second)]
    y = contract(b, values[0], values[1], first, "".join(second), "".join(["a", *left]))
    return [b.finish(y if left else with_ones(b, y, [1]))]


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
