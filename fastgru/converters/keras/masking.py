"""Masks, which say what steps count: the layers that make them, and those that join them."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ...graph import ApplyMask, Binary, Cast, Embedding, Mask, Where
from ..program.reductions import reduced
from ..program.values import Tensor
from ..program.views import joint, with_ones
from .draft import Draft
from .rows import one, take
from .values import UNKNOWN_MASK, Array, Context, Layer, Value


def known_mask(layer: Layer, x: Value) -> Value | None:
    """The mask of `x`, for a layer that it matters to."""
    if x.mask is UNKNOWN_MASK:
        raise ConvertError(f"mask of {layer} must be known, got one that went through a custom layer")
    return x.mask


def step_mask(layer: Layer, x: Value) -> Value | None:
    """The mask of `x` (B, T), for a layer that skips steps."""
    mask = known_mask(layer, x)
    if mask is not None and not mask.timed:
        raise ConvertError(f"mask of {layer} must be of steps of the model's time, got {mask.spec}")
    if mask is not None and mask.frame:
        raise ConvertError(
            f"mask of {layer} must be of whole steps, got {mask.spec} of what is within them: leave out mask_zero or "
            "Masking in front of the TimeDistributed before it"
        )
    return mask


def keeps_mask(layer: Layer, ctx: Context) -> bool:
    """True if a layer that starts from a value has the mask of its input: Keras 3 gives it one only by name."""
    return ctx.version.masks_started or layer.call.get("mask") is not None


def mask_of(x: Value, value: float, ctx: Context, *, stem: str) -> Value:
    """The mask "differs from `value`" of `x`: one node, however many layers ask for it."""
    key = (x.name, value, x.rank)
    if key not in ctx.masks:
        features = x.spec.dtype != "int"
        if x.timed and len(x.frame) == features:
            ctx.masks[key] = ctx.add(Mask(value), x, name=f"{stem}.mask")
        else:
            b = Draft(stem, ctx, "mask")
            y = b.read(x)
            same = b.like(y, b.binary("equal", y.value, value))
            same = reduced(b, same, [y.rank - 1], "min", False) if features else same
            ctx.masks[key] = b.finish(b.like(same, b.unary("not", same.value)))
    return ctx.masks[key]


def join(masks: list[Value], ctx: Context, *, either: bool, stem: str) -> Value | None:
    """OR of masks when `either`, else AND; None for none."""
    found = list(dict.fromkeys(masks))
    if UNKNOWN_MASK in found:
        return UNKNOWN_MASK
    joined = found[0] if found else None
    for mask in found[1:]:
        joined = ctx.add(Binary("or" if either else "and"), joined or mask, mask, name=f"{stem}.mask")
    return joined


def merged_mask(layer: Layer, inputs: list[Value], ctx: Context) -> Value | None:
    """The mask that leaves a merging layer.

    Keras 3 joins masks by OR, and no mask counts as all true for Concatenate and removes the mask of
    the others (`keras/src/layers/merging/base_merge.py`); Keras 2 joins those that are there by AND.
    """
    masks = [x.mask for x in inputs]
    later = ctx.version.major >= 3
    if later and None in masks:
        return None
    return join([m for m in masks if m is not None], ctx, either=later, stem=layer.name)


def embedding(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Embedding: embeddings (V, E); with mask_zero the id 0 is a step to skip."""
    x = one(layer, inputs)
    (table,) = take(layer, arrays, "embeddings")
    expected = (layer.number("input_dim"), layer.number("output_dim"))
    if table.shape != expected:
        raise ConvertError(f"embeddings of {layer} must have shape {expected}, got {table.shape}")
    if x.spec.dtype != "int":
        x = ctx.add(Cast("int"), x, name=f"{layer.name}.ids")
    y = ctx.add(Embedding(table), x, name=layer.name)
    mask = mask_of(x, 0.0, ctx, stem=layer.name) if layer.flag("mask_zero", default=False) else None
    return [y.masked(mask)]


def masking(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Masking: steps whose features all equal mask_value are zeroed and skipped by what follows."""
    x = one(layer, inputs)
    take(layer, arrays)
    mask = mask_of(x, layer.number("mask_value"), ctx, stem=layer.name)
    if mask.timed and len(x.frame) == 1:
        return [ctx.add(ApplyMask(), x, mask, name=layer.name, mask=mask)]
    b = Draft(layer.name, ctx)
    return [b.finish(kept(b, b.read(x), column(b, mask, x)), mask)]


def column(b: Draft, mask: Value, x: Value) -> Tensor:
    """Return a mask (B, T) or (B, S) with as many axes as `x`, whose steps it is of."""
    return with_ones(b, b.read(mask), range(mask.rank, x.rank))


def kept(b: Draft, x: Tensor, mask: Tensor) -> Tensor:
    """Return `x` where a mask is true, and zeros elsewhere."""
    return joint(b, Where(), mask, x, b.lift(np.zeros((), np.float32)))
