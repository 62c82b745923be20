"""The checks on what a caller gives to a decoder, before anything is computed."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arguments import checked_lengths
from .._arrays import as_array
from ..engine.search import first_above

Doubles = NDArray[np.float64]
# A log-probability that rounding has made larger than 0: log_softmax in bfloat16 gives up to some 4e-3.
ROUNDED = 0.01
MOST_FINITE = sys.float_info.max
MOST_WIDTH = 1 << 20
LOG_SOFTMAX = "a log-probability is at most 0: apply fastgru.decode.log_softmax to logits, or np.log to probabilities"


def numbers(x: Any, name: str, ranks: dict[int, str]) -> NDArray[Any]:
    """Return `x` as an array of real numbers with one of these numbers of axes.

    Raises
    ------
    ValueError, TypeError
        When it is none; `ranks` says the shapes.
    """
    if x is None or isinstance(x, str):
        raise TypeError(f"{name} must be an array of numbers, got {x!r:.40}")
    array = as_array(x, name, ragged="pad them to one length and give the frames of each as lengths")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got {array.dtype}")
    if array.ndim not in ranks:
        raise ValueError(f"{name} must have shape {' or '.join(ranks.values())}, got {array.shape}")
    if array.shape[-1] == 0:
        raise ValueError(f"{name} must have at least one number a frame, got shape {array.shape}")
    return array


def doubles(array: NDArray[Any], name: str, most: float, row: int | None = None) -> Doubles:
    """Return numbers as C-contiguous float64.

    Parameters
    ----------
    most : float
        0 of log-probabilities, the largest float of others.
    row : int, optional
        Which row of a batch this is.

    Raises
    ------
    ValueError
        When one of them is NaN or above `most`, saying where.
    """
    x: Doubles = np.ascontiguousarray(array, np.float64)
    at = first_above(x, ROUNDED if most == 0 else most)
    if at < x.size:
        lead = () if row is None else (row,)
        place = (*lead, *(int(i) for i in np.unravel_index(at, x.shape)))
        wrong = x.flat[at]
        if math.isnan(wrong):
            raise ValueError(f"{name} must have no NaN, got one at index {place}")
        if most == 0:
            raise ValueError(f"{name} must be log-probabilities, got {wrong:g} at index {place}: {LOG_SOFTMAX}")
        raise ValueError(f"{name} must be below infinity, got infinity at index {place}")
    return x


def rows(x: Any, name: str, lengths: Any, *, letter: str = "V", most: float) -> tuple[bool, list[Doubles]]:
    """Return whether there is a batch, and the frames of each row that count, checked."""
    array = numbers(x, name, {2: f"(T, {letter})", 3: f"(B, T, {letter})"})
    batch = array.shape[0] if array.ndim == 3 else None
    steps = array.shape[-2]
    if lengths is None:
        counts = np.full(batch or 1 if batch != 0 else 0, steps)
    else:
        counts = checked_lengths(lengths, batch, steps).reshape(-1)
    if batch is None:
        return False, [doubles(array[: counts[0]], name, most)]
    return True, [doubles(array[b, : counts[b]], name, most, b) for b in range(batch)]


def frames(x: Any, name: str, size: int | None, *, most: float) -> Doubles:
    """Return a chunk of frames, or a single one, checked; `size` is that of the frames before it."""
    array = numbers(x, name, {1: "(V,)", 2: "(T, V)"})
    if size is not None and array.shape[-1] != size:
        raise ValueError(f"{name} must have {size} numbers a frame, as before, got {array.shape[-1]}")
    return doubles(array.reshape(-1, array.shape[-1]), name, most)


def whole(value: Any, name: str, least: int, most: int) -> int:
    """Return an integer within bounds.

    Raises
    ------
    ValueError
        When it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise ValueError(f"{name} must be an integer from {least} to {most}, got {value!r}")
    return int(value)


def number(value: Any, name: str, *, most: float = MOST_FINITE, least: float = -math.inf) -> float:
    """Return a real number within bounds.

    Raises
    ------
    ValueError
        When it is none.
    """
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not real or not least <= value <= most or -math.inf < value < -MOST_FINITE:
        bound = "at most 0" if most == 0 else "finite"
        raise ValueError(f"{name} must be a number, {bound}, got {value!r}")
    return float(value)


def symbols_of(symbols: Any, size: int | None = None) -> tuple[str, ...] | None:
    """Return the symbols of labels, one for each of `size` classes; None where none were given.

    Raises
    ------
    ValueError, TypeError
        When they are no strings, or another number of them.
    """
    if symbols is None:
        return None
    if not isinstance(symbols, Sequence | np.ndarray) or not all(isinstance(each, str) for each in symbols):
        raise TypeError(f"symbols must be strings, one for each class, got {symbols!r:.60}")
    if size is not None and len(symbols) != size:
        raise ValueError(f"symbols must be one for each of the {size} classes, got {len(symbols)}")
    return tuple(str(each) for each in symbols)
