"""An op's weights as the arrays of a ``.fgru`` file: matrices as the codes of their precision, and back.

The keys are those of a node's ``weights`` in the header: the field, and ``"<field>.scale"`` for the scales of int8,
``"<field>.zero"`` for the zero points of int8_affine.
Codes are read only where they are what the precision makes of their own values, so that one model has one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError
from ..graph import PRECISIONS, Op

Array = NDArray[Any]
FLOATS = ("float32", "float64")
# precision -> key of each array that `Precision.encode` returns -> its type in the file
STORED: dict[str, dict[str, tuple[str, ...]]] = {
    "float32": {"": FLOATS},
    "float16": {"": ("float16",)},
    "bfloat16": {"": ("uint16",)},
    "int8": {"": ("int8",), "scale": ("float32",)},
    "int8_affine": {"": ("int8",), "scale": ("float32",), "zero": ("int8",)},
}


def layout(op: type[Op], field: str, precision: str) -> dict[str, tuple[str, ...]]:
    """The keys under which `field` is stored, and the types each may have.

    Examples
    --------
    >>> from fastgru.graph import Dense
    >>> layout(Dense, "weight", "int8")
    {'weight': ('int8',), 'weight.scale': ('float32',)}
    """
    stored = STORED[precision if field in op.matrices else "float32"]
    return {_key(field, part): types for part, types in stored.items()}


def pack(op: Op, field: str) -> dict[str, Array]:
    """The arrays that store the weight `field` of `op`, by key."""
    parts = PRECISIONS[op.stored_as(field)].encode(op.weights()[field])
    return {_key(field, part): array for part, array in parts.items()}


def unpack(stored: Mapping[str, Array], field: str, precision: str, where: str) -> Array:
    """The float32 matrix `field` of the node `where` out of its stored arrays by key, of the types of `layout`.

    Raises
    ------
    FileFormatError
        When they are not what the precision stores for any matrix.
    """
    what, codes = f"{field} of {where}", stored[field]
    if codes.ndim != 2:
        raise FileFormatError(f"{what} must have 2 axes, got shape {codes.shape}")
    parts = {part: stored[_key(field, part)] for part in STORED[precision]}
    if "scale" in parts:
        _check_rows(codes, parts["scale"], f"{field}.scale of {where}")
        _check_scale(parts["scale"], f"{field}.scale of {where}")
    if "zero" in parts:
        _check_rows(codes, parts["zero"], f"{field}.zero of {where}")
    elif "scale" in parts and codes.min() == np.iinfo(codes.dtype).min:
        raise FileFormatError(f"{what} must be codes of -127..127, got {codes.min()}")
    row = PRECISIONS[precision]
    with np.errstate(all="ignore"):  # what overflows, or is no number, is refused below
        weight = row.decode(parts)
    if not np.isfinite(weight).all():
        raise FileFormatError(f"{what} must be finite, got {weight[~np.isfinite(weight)][0]}")
    for part, again in row.encode(weight).items():
        if again.tobytes() != np.ascontiguousarray(parts[part]).tobytes():
            key = _key(field, part)
            raise FileFormatError(f"{key} of {where} must be what {precision} stores for its values, got another code")
    return weight


def _check_rows(codes: Array, each: Array, what: str) -> None:
    if each.shape != codes.shape[:1]:
        raise FileFormatError(f"{what} must have shape {codes.shape[:1]}, got {each.shape}")


def _check_scale(scale: Array, what: str) -> None:
    usable = np.isfinite(scale) & (scale > 0)
    if not usable.all():
        raise FileFormatError(f"{what} must be positive and finite, got {scale[~usable][0]}")


def _key(field: str, part: str) -> str:
    return f"{field}.{part}" if part else field
