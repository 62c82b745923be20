"""The mask arithmetic that Keras 3 writes into functional models, followed symbolically.

A Keras 3 model whose Embedding or Masking makes a mask stores the operations that compute it (NotEqual,
Any, LogicalOr, ...) as layers of their own, and hands the result to each layer as ``mask=``. Here they
become expressions; one that is a plain mask of steps turns into a `Mask` node, the rest is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from ..._names import counted
from ...errors import ConvertError
from .masking import join, mask_of
from .values import Context, Layer, Value


class Differs(NamedTuple):
    """`x` differs from `value`, per feature: (B, T, F)."""

    x: Value
    value: float


class Steps(NamedTuple):
    """A mask of steps, (B, T) or broadcast over features. None: every step counts."""

    mask: Value | None


class Nothing(NamedTuple):
    """All false: what Keras adds to a mask to broadcast it."""


class Joined(NamedTuple):
    """Masks side by side on the feature axis."""

    parts: tuple[Any, ...]


Expression = Differs | Steps | Nothing | Joined


def _not_equal(layer: Layer, operands: list[Any], ctx: Context) -> Expression:
    x, value = operands if len(operands) == 2 else (None, None)
    if not isinstance(x, Value) or isinstance(value, bool) or not isinstance(value, int | float):
        raise ConvertError(f"{layer} must compare a layer's output with a number, got {operands!r}")
    if x.spec.dtype == "int":
        return Steps(mask_of(x, float(value), ctx, stem=layer.name))
    return Differs(x, float(value))


def _reduce(layer: Layer, operands: list[Any], ctx: Context) -> Expression:
    (part,) = _parts(layer, operands, 1)
    if layer.config.get("axis", -1) not in (-1, [-1]):
        raise ConvertError(f"axis of {layer} must be -1, got {layer.config['axis']!r}")
    if isinstance(part, Differs) and layer.class_name == "Any":
        return Steps(mask_of(part.x, part.value, ctx, stem=layer.name))
    if isinstance(part, Joined):
        return _join(layer, list(part.parts), ctx, either=layer.class_name == "Any")
    return cast(Expression, part)


def _join(layer: Layer, parts: list[Any], ctx: Context, *, either: bool) -> Expression:
    """OR of `parts` when `either`, else AND."""
    neutral: Expression = Nothing() if either else Steps(None)
    absorbing: Expression = Steps(None) if either else Nothing()
    distinct = {p for p in parts if p != neutral}
    if absorbing in distinct or not distinct:
        return absorbing if absorbing in distinct else neutral
    masks = [p.mask for p in dict.fromkeys(parts) if isinstance(p, Steps) and p in distinct and p.mask is not None]
    if len(masks) != len(distinct):
        raise ConvertError(f"inputs of {layer} must be masks of steps, got something else")
    return Steps(join(masks, ctx, either=either, stem=layer.name))


def _parts(layer: Layer, operands: list[Any], count: int) -> list[Any]:
    if len(operands) != count or not all(isinstance(p, Expression) for p in operands):
        raise ConvertError(
            f"{layer} must be used on {counted(count, 'mask')} only, got {counted(len(operands), 'operand')}"
        )
    return operands


STARTS = ("NotEqual", "ZerosLike", "OnesLike")  # what makes masks of values
# Class of an operation -> the expression it makes of its operands.
OPERATIONS: dict[str, Callable[[Layer, list[Any], Context], Expression]] = {
    "NotEqual": _not_equal,
    "Any": _reduce,
    "All": _reduce,
    "ZerosLike": lambda layer, operands, ctx: Nothing(),
    "OnesLike": lambda layer, operands, ctx: Steps(None),
    "ExpandDims": lambda layer, operands, ctx: _parts(layer, operands, 1)[0],
    "Squeeze": lambda layer, operands, ctx: _parts(layer, operands, 1)[0],
    "LogicalOr": lambda layer, operands, ctx: _join(layer, _parts(layer, operands, 2), ctx, either=True),
    "LogicalAnd": lambda layer, operands, ctx: _join(layer, _parts(layer, operands, 2), ctx, either=False),
    "Concatenate": lambda layer, operands, ctx: Joined(tuple(_parts(layer, operands, len(operands)))),
}


def is_mask(layer: Layer) -> bool:
    """Whether this is an operation on tensors that `OPERATIONS` knows, not a layer.

    Operations have nothing trainable; HDF5 files do not name their module.
    """
    return layer.class_name in OPERATIONS and "trainable" not in layer.config


def makes_mask(layer: Layer, operands: list[Any]) -> bool:
    """Whether such an operation, of these operands, is about masks."""
    return is_mask(layer) and (layer.class_name in STARTS or any(isinstance(x, Expression) for x in operands))


def evaluate(layer: Layer, operands: list[Any], ctx: Context) -> Expression:
    """The expression that an operation makes of values, expressions and numbers."""
    truths = [Steps(x) if isinstance(x, Value) and x.spec.dtype == "bool" else x for x in operands]
    return OPERATIONS[layer.class_name](layer, truths, ctx)


def steps(layer: Layer, value: Any) -> Value | None:
    """The mask (a graph value, or None) that an expression given to `layer` as ``mask=`` stands for."""
    if isinstance(value, Value) and value.spec.dtype == "bool":
        return value
    if not isinstance(value, Steps):
        raise ConvertError(
            f"mask of {layer} must come from Embedding, Masking or a bool input, got {type(value).__name__}"
        )
    return value.mask
