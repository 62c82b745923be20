"""Refuse inputs with NaN or infinity, of which no statistics, differences or attributions can be told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from ..running import Running
from .tracing import by_name


def check_finite(what: str, array: NDArray[Any], counted: NDArray[np.bool_] | None = None) -> None:
    """Raise ValueError where a number is NaN or infinite, naming the first one and its place.

    Parameters
    ----------
    counted : bool array, optional
        The numbers to look at, of a shape that broadcasts to the array's.
    """
    if array.dtype.kind not in "fc":
        return
    bad = ~np.isfinite(array)
    if counted is not None:
        bad &= counted
    if bad.any():
        place = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
        raise ValueError(f"{what} must be finite, got {array[place]} at {place}")


def check_inputs(model: Running, x: Any, lengths: Any) -> None:
    """Raise ValueError where inputs as `Model.__call__` takes them are not finite at a step that counts."""
    for name, given in by_name(model, x).items():
        spec, what = model.inputs[name], "x" if len(model.inputs) == 1 else f"input {name!r} of x"
        array = as_array(given, what)
        axis = array.ndim - len(spec.shape) - 1  # of time
        counted, counts = None, np.asarray(lengths)
        if spec.time and axis in (0, 1) and counts.dtype.kind in "iu" and counts.shape == array.shape[:axis]:
            steps = np.arange(array.shape[axis]) < counts[..., None]
            counted = steps.reshape(steps.shape + (1,) * len(spec.shape))
        check_finite(what, array, counted)
