"""Statistics of many rows, summed up a few at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Statistics(NamedTuple):
    """Of each unit of a point: mean, standard deviation, smallest and largest number; arrays (units,)."""

    mean: Array
    std: Array
    low: Array
    high: Array

    def as_lists(self, digits: int) -> dict[str, list[float]]:
        """Plain numbers with so many digits, for JSON."""
        return {name: [float(f"{v:.{digits}g}") for v in array] for name, array in self._asdict().items()}

    @classmethod
    def of_lists(cls, lists: Mapping[str, list[float]]) -> Statistics:
        """The statistics of what `as_lists` returned."""
        found = cls(*(np.asarray(lists[name], np.float64) for name in cls._fields))
        if len({array.shape for array in found}) != 1 or found.mean.ndim != 1:
            raise ValueError("arrays of one point differ in their lengths")
        return found


class Running:
    """Sums over rows (N, units). Numbers are taken from the first row on, so that large means lose no digits."""

    def __init__(self, units: int, low: float, high: float, wanted: Statistics | None) -> None:
        self.bounds, self.wanted = (low, high), wanted
        self.count = 0
        self.origin: Array | None = None
        self.sums, self.squares = np.zeros(units), np.zeros(units)
        self.low, self.high = np.full(units, np.inf), np.full(units, -np.inf)
        self.below, self.above, self.outside = np.zeros(units), np.zeros(units), np.zeros(units)

    def shifted(self, rows: Array) -> Array:
        """Rows less the first one."""
        return rows if self.origin is None else np.asarray(rows - self.origin)

    def add(self, rows: Array) -> None:
        """Count rows."""
        if not len(rows):
            return
        if self.origin is None:
            self.origin = np.where(np.isfinite(rows[0]), rows[0], 0.0)
        shifted = self.shifted(rows)
        self.count += len(rows)
        self.sums += shifted.sum(axis=0)
        self.squares += (shifted * shifted).sum(axis=0)
        self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))
        self.below += (rows < self.bounds[0]).sum(axis=0)
        self.above += (rows > self.bounds[1]).sum(axis=0)
        if self.wanted is not None and self.wanted.low.shape == self.low.shape:
            self.outside += ((rows < self.wanted.low) | (rows > self.wanted.high)).sum(axis=0)

    @property
    def mean_of_shifted(self) -> Array:
        """The mean, less the first row."""
        return np.asarray(self.sums / max(1, self.count))

    @property
    def mean(self) -> Array:
        """The mean of each unit."""
        return self.mean_of_shifted + (0.0 if self.origin is None else self.origin)

    @property
    def std(self) -> Array:
        """The standard deviation of each unit."""
        mean = self.mean_of_shifted
        return np.asarray(np.sqrt(np.maximum(0.0, self.squares / max(1, self.count) - mean * mean)))

    def statistics(self) -> Statistics:
        """All of it."""
        return Statistics(self.mean, self.std, self.low, self.high)
