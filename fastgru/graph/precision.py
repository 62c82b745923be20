"""Precisions of weights: how each rounds a matrix, and how it stores what it rounded.

Weights stay ordinary float32 arrays whose values a precision can hold exactly, so that everything that reads a
graph (the reference, the file, another precision) needs no knowledge of codes. Rounding twice is rounding once.

int8 is symmetric with one scale per output row. Scales keep 17 significant bits: code * scale is then exact in
float32 (7 + 17 bits), and a matrix that was rounded yields the same codes again.

int8_affine adds a zero point to each output row, and to each row of activations: what ONNX and others call affine, or
asymmetric, quantization. A row whose numbers are whole multiples of one scale, as a quantized file has them, keeps
every one of them: `lattice` finds the scale again. See affine.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import GraphError
from . import affine

Array = NDArray[Any]
FLOAT16_MAX = 65504.0
INT8_MAX = 127  # -128 stays unused: |code| <= 127 keeps pairs of products within int16
SCALE_BITS = 17
SMALLEST_SCALE = 2.0**-100


class Precision(NamedTuple):
    """One row of `PRECISIONS`.

    Attributes
    ----------
    bytes : int
        Of one weight.
    encode : callable
        A float matrix (N, K) to the arrays that store it: ``{"": codes}``, int8 also ``{"scale": (N,)}``, and
        int8_affine a ``"zero"`` (N,) as well.
    decode : callable
        Those arrays to the float32 matrix.
    operand : callable
        What the engine multiplies in place of an activation (..., K), in float64; the identity where activations
        are not rounded.
    row_bytes : int
        Of what is stored beside the codes of one row.
    """

    bytes: int
    encode: Callable[[Array], dict[str, Array]]
    decode: Callable[[dict[str, Array]], Array]
    operand: Callable[[Array], Array]
    row_bytes: int = 0


def _encode_float16(weight: Array) -> dict[str, Array]:
    largest = float(np.abs(weight).max())
    if not largest <= FLOAT16_MAX:
        raise GraphError(f"weights must lie within +-{FLOAT16_MAX:.0f} for float16, got {largest:.7g}")
    return {"": weight.astype(np.float16)}


def bfloat16_codes(array: Array) -> Array:
    """float to the upper halves of float32, rounded to nearest even; subnormal numbers become zero."""
    single = np.ascontiguousarray(array, dtype=np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    codes = ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype(np.uint16)
    codes[np.abs(single) < np.finfo(np.float32).tiny] &= 0x8000
    return codes


def _decode_bfloat16(stored: dict[str, Array]) -> Array:
    return (stored[""].astype(np.uint32) << np.uint32(16)).view(np.float32)


def _encode_int8(weight: Array) -> dict[str, Array]:
    exact = np.asarray(weight, dtype=np.float64)
    mantissa, exponent = np.frexp(np.abs(exact).max(axis=1) / INT8_MAX)
    scale = np.maximum(np.ldexp(np.ceil(np.ldexp(mantissa, SCALE_BITS)), exponent - SCALE_BITS), SMALLEST_SCALE)
    return {"": np.rint(exact / scale[:, None]).astype(np.int8), "scale": scale.astype(np.float32)}


def _decode_int8(stored: dict[str, Array]) -> Array:
    return stored[""].astype(np.float32) * stored["scale"][:, None]


def _int8_operand(x: Array) -> Array:
    """Each row rounded to 255 levels of its own largest magnitude, in the engine's float32 arithmetic."""
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32: NaN, as from the engine
        single = np.asarray(x, dtype=np.float32)
        largest = np.abs(single).max(axis=-1, keepdims=True, initial=0.0)
        safe = np.where(largest > 0, largest, np.float32(1))
        codes = np.rint(single * (np.float32(INT8_MAX) / safe))
        return codes.astype(np.float64) * (safe / np.float32(INT8_MAX)).astype(np.float64)


PRECISIONS: dict[str, Precision] = {
    "float32": Precision(4, lambda w: {"": w}, lambda stored: stored[""], lambda x: x),
    "float16": Precision(2, _encode_float16, lambda stored: stored[""].astype(np.float32), lambda x: x),
    "bfloat16": Precision(
        2,
        lambda w: {"": bfloat16_codes(w)},
        _decode_bfloat16,
        lambda x: _decode_bfloat16({"": bfloat16_codes(x)}).astype(np.float64),
    ),
    "int8": Precision(1, _encode_int8, _decode_int8, _int8_operand, row_bytes=4),
    "int8_affine": Precision(1, affine.encode, affine.decode, affine.operand, row_bytes=5),
}


def rounded(weight: Array, precision: str) -> Array:
    """`weight` (N, K) as float32 values that `precision` holds exactly.

    Raises
    ------
    GraphError
        When a weight is out of its range or not finite.

    Examples
    --------
    >>> rounded(np.array([[1.0, 0.3]]), "int8")
    array([[1.0000147, 0.299217 ]], dtype=float32)
    """
    if precision == "float32":
        return weight
    if not np.isfinite(weight).all():
        raise GraphError(f"weights must be finite for {precision}, got {weight[~np.isfinite(weight)][0]}")
    row = PRECISIONS[precision]
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported below
        values = row.decode(row.encode(weight))
    if not np.isfinite(values).all():
        largest = float(np.abs(weight).max())
        raise GraphError(f"weights must be finite when rounded to {precision}, got {largest:.7g}, which overflows")
    return values
