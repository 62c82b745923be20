"""Arrays that a user gives: converted by NumPy, and refused where that would lose something in silence."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_AXES = 64  # of an array; NumPy refuses deeper lists


def as_array(x: Any, name: str, *, ragged: str = "pad them to one") -> NDArray[Any]:
    """Return `x` as an array; `name` is what the user calls it, `ragged` what to do where items differ in shape.

    Raises
    ------
    TypeError
        When `x` is a masked array or holds one, as its mask would be lost, or cannot be converted.
    ValueError
        When `x` is a nested sequence of unequal lengths.

    Examples
    --------
    >>> as_array([1, 2], "x")
    array([1, 2])
    >>> as_array(np.ma.masked_array([1, 2], [True, False]), "x")
    Traceback (most recent call last):
    TypeError: x must be an array without a mask, got a masked array: fill it with x.filled(value)
    """
    if is_masked(x):
        raise TypeError(f"{name} must be an array without a mask, got a masked array: fill it with x.filled(value)")
    try:
        return np.asarray(x)
    except MemoryError:
        raise
    except ValueError as error:
        differ = "inhomogeneous" in str(error) or "could not broadcast" in str(error)
        why = f"its items differ in shape, {ragged}" if differ else str(error)
        raise ValueError(f"{name} must be an array, got {type(x).__name__}: {why}") from error
    except Exception as error:  # whatever the object's own conversion raises
        raise TypeError(f"{name} must be an array, got {type(x).__name__}: {error}") from error


def is_masked(x: Any) -> bool:
    """True if `x` is a masked array, or a list or tuple that holds one at any depth.

    Examples
    --------
    >>> is_masked([[1.0, np.ma.masked]]), is_masked(np.ones(3)), is_masked([np.ones(3), 2.0])
    (True, False, False)
    """
    masked = sys.modules.get("numpy.ma")  # no array is masked before this is imported
    return masked is not None and _holds(x, masked.MaskedArray)


def _holds(x: Any, kind: type[Any]) -> bool:
    """True if `x` is of `kind`, or a list or tuple that holds one, as deep as arrays have axes."""
    items = [x]
    for _ in range(MOST_AXES + 1):
        if any(isinstance(item, kind) for item in items):
            return True
        items = [part for item in items if isinstance(item, list | tuple) for part in item]
        if not items:
            break
    return False
