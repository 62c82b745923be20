"""Keras layers that move the elements of a frame: Reshape, Flatten, Permute, RepeatVector."""

from __future__ import annotations

from math import prod

from ...errors import ConvertError
from ...graph import Expand, Reshape, Transpose
from .convolutions import channels_last
from .rows import Row, one, take
from .values import AcrossTime, Array, Context, Layer, Value, shortened


def reshape(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Reshape; while time is the model's, the first axis must stay what it is."""
    x = one(layer, inputs)
    take(layer, arrays)
    target = layer.get("target_shape")
    if not isinstance(target, list | tuple) or not all(isinstance(n, int) and n >= -1 and n != 0 for n in target):
        raise ConvertError(f"target_shape of {layer} must be a list of whole numbers, got {shortened(target)}")
    wanted = [None if n in (-1, None) else int(n) for n in target]
    if x.timed:
        wanted = _after_time(layer, x, wanted)
    return [ctx.add(Reshape(_resolved(layer, x, wanted)), x, name=layer.name)]


def _after_time(layer: Layer, x: Value, wanted: list[int | None]) -> list[int | None]:
    """The axes of the target after time, which it must keep as its first."""
    kept = bool(wanted) and wanted.count(None) <= 1
    rest = wanted[1:]
    if kept and wanted[0] is None:
        kept = prod(n for n in rest if n is not None) == prod(x.frame)
    elif kept:
        kept = wanted[0] == x.steps and (None in rest or prod(n or 1 for n in rest) == prod(x.frame))
    if not kept:
        raise AcrossTime(f"target_shape of {layer} must keep time as its first axis, got {shortened(wanted)}")
    return rest


def _resolved(layer: Layer, x: Value, wanted: list[int | None]) -> tuple[int, ...]:
    """The target with the number that its one unknown axis must have."""
    known = prod(n for n in wanted if n is not None)
    total = prod(x.frame)
    if wanted.count(None) > 1 or (total % known if None in wanted else total != known):
        raise ConvertError(f"target_shape of {layer} must have the {total} elements of {x.spec}, got {wanted}")
    return tuple(total // known if n is None else n for n in wanted)


def flatten(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Flatten; while time is the model's, of frames of one element."""
    x = one(layer, inputs)
    take(layer, arrays)
    if x.timed and prod(x.frame) > 1:
        raise AcrossTime(f"input of {layer} must not reach over time, got {x.spec}")
    if not channels_last(layer) and len(x.frame) > 1:
        x = ctx.add(Transpose((*range(1, len(x.frame)), 0)), x, name=f"{layer.name}.order")
    return [ctx.add(Reshape(() if x.timed else (prod(x.frame),)), x, name=layer.name)]


def permute(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Permute: Keras counts axes from 1."""
    x = one(layer, inputs)
    take(layer, arrays)
    dims = layer.get("dims")
    if not isinstance(dims, list | tuple) or sorted(map(str, dims)) != sorted(map(str, range(1, x.rank))):
        raise ConvertError(f"dims of {layer} must be an order of the axes 1 to {x.rank - 1}, got {shortened(dims)}")
    if x.timed and dims[0] != 1:
        raise AcrossTime(f"dims of {layer} must keep time as the first axis, got {shortened(dims)}")
    perm = tuple(int(d) - 1 - x.timed for d in dims[x.timed :])
    return [ctx.add(Transpose(perm), x, name=layer.name)]


def repeat_vector(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """RepeatVector: (F,) to a sequence within the frame, (n, F)."""
    x, n = one(layer, inputs), layer.integer("n")
    take(layer, arrays)
    if x.timed:
        raise AcrossTime(f"input of {layer} must not reach over time, got {x.spec}")
    if len(x.frame) != 1:
        raise ConvertError(f"input of {layer} must have features alone, got {x.spec}")
    row = ctx.add(Reshape((1, *x.frame)), x, name=f"{layer.name}.row")
    return [ctx.add(Expand((n, *x.frame)), row, name=layer.name)]


ROWS = {
    "Reshape": Row(reshape, "target_shape"),
    "Flatten": Row(flatten, "data_format"),
    "Permute": Row(permute, "dims"),
    "RepeatVector": Row(repeat_vector, "n"),
}
