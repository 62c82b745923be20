"""From series to the columns that a network reads: scales, lags, covariates, calendar, of a batch of series.

Contexts end together: step s of R is the same step before the forecast in every row; shorter contexts begin later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._calendar import FEATURES, TIMELESS, Times
from .scheme import TRANSFORMS, Scheme
from .series import Series

Array = NDArray[Any]


def steps_of(series: Series, scheme: Scheme) -> Array:
    """Return how many steps the network runs over each context, (N,) int64."""
    lengths = np.array([len(a) for a in series.values], np.int64)
    if scheme.pad:
        return np.full(len(lengths), scheme.context)
    whole = lengths - max(scheme.reach, 1) + 1
    return whole if scheme.context is None else np.minimum(whole, scheme.context)


class Batch:
    """Some of the series, n of them, ready to run.

    Attributes
    ----------
    keys, names : (n,) uint64 array, list of str
        As in `Series`.
    steps : (n,) int array
        Steps of each row's context, ascending where a caller sorted them.
    past : (P, n, D) array
        Values before the forecast, transformed and scaled, in the order of time; zeros where there are none.
    known : (R + horizon - 1, n, C) array
        Covariates and calendar of each step.
    center, scale : (n, D) float64 arrays
    numbers : (n, S) array
        The columns of the scale.
    """

    def __init__(self, series: Series, chosen: Array, scheme: Scheme, horizon: int, dtype: str) -> None:
        self.scheme, self.horizon, self.dtype = scheme, horizon, np.dtype(dtype)
        self.keys, self.names = series.keys[chosen], [series.names[i] for i in chosen]
        forward = TRANSFORMS[scheme.transform][0]
        values = [forward(series.values[i]) for i in chosen]
        self.steps = steps_of(Series([series.values[i] for i in chosen], (), self.keys, []), scheme)
        self.run = int(self.steps.max())
        self.center, self.scale = self._scales(values)
        numbers = [NUMBERS[name](self.center, self.scale) for name in scheme.scale_inputs]
        self.numbers = np.concatenate([np.zeros((len(values), 0)), *numbers], axis=1).astype(self.dtype)
        before = self.run - 1 + max(scheme.reach, 1)
        self.past = np.zeros((before, len(values), scheme.targets), self.dtype)
        for i, y in enumerate(values):
            tail = y[-before:]
            self.past[before - len(tail) :, i] = (tail - self.center[i]) / self.scale[i]
        self.known = self._known(series, chosen)

    def _scales(self, values: Sequence[Array]) -> tuple[Array, Array]:
        """Return what is taken away from the values of each row, and by what they are divided."""
        count, scheme = len(values), self.scheme
        center, scale = np.zeros((count, scheme.targets)), np.ones((count, scheme.targets))
        for i, y in enumerate(values):
            part = y if scheme.context is None else y[-scheme.context :]
            if scheme.scaling == "mean":
                scale[i] = np.abs(part).mean(axis=0)
            elif scheme.scaling != "none":
                center[i] = 0.0 if scheme.scaling == "spread" else part.mean(axis=0)
                scale[i] = part.std(axis=0, ddof=int(scheme.scaling != "standard" and len(part) > 1))
        return center, scale if scheme.scaling == "none" else np.maximum(scale, scheme.least_scale)

    def _known(self, series: Series, chosen: Array) -> Array:
        """Return covariates and calendar (R + horizon - 1, n, C) of the steps from the first that the network runs."""
        scheme, total = self.scheme, self.run + self.horizon - 1
        width = len(scheme.covariates) + len(scheme.calendar)
        known = np.zeros((total, len(chosen), width), self.dtype)
        if not width:
            return known
        for k, i in enumerate(chosen):
            steps = len(series.values[i])
            stop = steps + self.horizon - scheme.covariate_lag
            first = stop - total
            begin = max(first, 0)
            place = np.arange(begin, stop)
            given = series.covariates[i][begin:stop]
            own = len(scheme.covariates)
            known[begin - first :, k, :own] = given[:, :own]
            times = Times(None if series.times is None else series.times[i][begin:stop], place, place - steps)
            column = own
            for j, name in enumerate(scheme.calendar, own):
                if series.times is None and series.given and column < given.shape[1] and name not in TIMELESS:
                    known[begin - first :, k, j] = given[:, column]
                    column += 1
                else:
                    known[begin - first :, k, j] = FEATURES[name](times)
        return known

    # Rows of input -------------------------------------------------------------------------------

    def context(self) -> Array:
        """Return the input over all contexts, (n, R, I)."""
        scheme, n = self.scheme, self.past.shape[1]
        x = np.empty((n, self.run, scheme.width), self.dtype)
        column, d = 0, scheme.targets
        for lag in scheme.lags:
            first = len(self.past) - self.run + 1 - lag
            x[:, :, column : column + d] = self.past[first : first + self.run].transpose(1, 0, 2)
            column += d
        c = self.known.shape[2]
        x[:, :, column : column + c] = self.known[: self.run].transpose(1, 0, 2)
        x[:, :, column + c :] = self.numbers[:, None]
        return x

    def fill(self, x: Array, step: int, fed: Array) -> None:
        """Write the input (n, samples, I) of the step that forecasts `step` steps after the first forecast.

        Parameters
        ----------
        fed : (horizon, n, samples, D) array
            The values before it that were forecast, transformed and scaled.
        """
        scheme, d = self.scheme, self.scheme.targets
        base = np.empty((len(x), scheme.width), self.dtype)
        column = 0
        for lag in scheme.lags:
            if lag > step:
                base[:, column : column + d] = self.past[len(self.past) + step - lag]
            column += d
        c = self.known.shape[2]
        base[:, column : column + c] = self.known[self.run - 1 + step]
        base[:, column + c :] = self.numbers
        x[...] = base[:, None]
        for k, lag in enumerate(scheme.lags):
            if lag <= step:
                x[:, :, k * d : (k + 1) * d] = fed[step - lag]


NUMBERS = {
    "center": lambda center, scale: center,
    "scale": lambda center, scale: scale,
    "log_scale": lambda center, scale: np.log(scale),
}
