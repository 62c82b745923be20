"""What a forecast with sample paths returns."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Forecast(NamedTuple):
    """Sample paths and what they say; without the batch axis where the context had none.

    Attributes
    ----------
    mean : (B, horizon) array
        Of the paths; (B, horizon, D) where a step has D values.
    quantiles : (B, horizon, Q) array
        Of the paths, straight between neighbours; (B, horizon, D, Q) where a step has D values.
    paths : (B, samples, horizon) array
        In the units of the context; (B, samples, horizon, D) where a step has D values.
    levels : tuple of float
        Of the Q quantiles.
    """

    mean: Array
    quantiles: Array
    paths: Array
    levels: tuple[float, ...]


def summed_up(paths: Array, levels: tuple[float, ...]) -> Forecast:
    """Return mean and quantiles of paths (B, samples, horizon, D).

    Examples
    --------
    >>> summed_up(np.arange(5.0).reshape(1, 5, 1, 1), (0.25, 0.9)).quantiles.ravel()
    array([1. , 3.6])
    """
    samples = paths.shape[1]
    ordered = np.sort(paths, axis=1)
    quantiles = np.empty((len(paths), *paths.shape[2:], len(levels)), paths.dtype)
    for i, level in enumerate(levels):
        place = level * (samples - 1)
        low = min(int(place), samples - 1)
        share = place - low
        high = ordered[:, min(low + 1, samples - 1)]
        quantiles[..., i] = ordered[:, low] + share * (high - ordered[:, low]) if share else ordered[:, low]
    return Forecast(paths.mean(axis=1), quantiles, paths, levels)
