"""The distributions that an output may hold: a row each of `DISTRIBUTIONS`.

Parameters are float64 arrays (N,), in the order of the output's columns. All draws are functions of `Draws`: rows that
a rejection leaves open draw again by themselves, so that what one row gets never depends on another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._random import MOST_STAGES, Draws

Array = NDArray[Any]
Parameters = Sequence[Array]
SMALL_RATE = 10.0  # below: a Poisson number by inversion, whose steps are as many as the number; above: by rejection
TABLE = 16  # factorials up to 15! are taken from a table
LOG_FACTORIALS = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, TABLE)))])


class Distribution(NamedTuple):
    """How an output is read.

    Attributes
    ----------
    parameters : tuple of str
        The names of its columns; empty for quantiles, of which a scheme lists the levels.
    mean : callable
        Of the parameters: the point that a forecast without samples gives and feeds back.
    draw : callable
        A value for each row, of parameters and `Draws`.
    shifted, stretched : tuple of str
        The parameters to which the centre of a scaler is added, and those that its scale multiplies.
    positive : tuple of str
        The parameters that must not be negative.
    counts : bool
        True if values are counts, which cannot be shifted.
    """

    parameters: tuple[str, ...]
    mean: Callable[..., Array]
    draw: Callable[..., Array]
    shifted: tuple[str, ...] = ()
    stretched: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    counts: bool = False


# Draws -------------------------------------------------------------------------------------------


def normal(u: Array, v: Array) -> Array:
    """Return standard normal numbers of two uniform ones (Box and Muller, 1958)."""
    radius = np.log(u)
    radius *= -2
    np.sqrt(radius, out=radius)
    angle = v * (2 * np.pi)
    np.cos(angle, out=angle)
    angle *= radius
    return angle


def student_t(df: Array, u: Array, v: Array) -> Array:
    """Return numbers of Student's t distribution of two uniform ones (Bailey, Mathematics of Computation 62, 1994)."""
    radius = np.log(u)
    radius *= -2 / df
    np.expm1(radius, out=radius)
    radius *= df
    np.sqrt(radius, out=radius)
    angle = v * (2 * np.pi)
    np.cos(angle, out=angle)
    angle *= radius
    return angle


def gamma(shape: Array, draws: Draws, stage: int = 0) -> Array:
    """Return numbers of the gamma distribution of scale 1 (Marsaglia and Tsang, ACM TOMS 26, 2000).

    A shape below 1 is raised by 1, and the number multiplied by a uniform one to the power of 1 / shape. Stages from
    `stage` on are used, every other one.
    """
    d = np.where(shape < 1, shape + 1, shape) - 1 / 3  # NaN stays NaN, and is accepted
    c = 1 / np.sqrt(9 * d)
    result = np.full(len(shape), np.nan)
    rows: Array | None = None
    for at in range(stage, MOST_STAGES // 2, 2):
        own_c, own_d = (c, d) if rows is None else (c[rows], d[rows])
        z, (w, _) = normal(*draws.pair(at, rows)), draws.pair(at + 1, rows)
        cube = (1 + own_c * z) ** 3
        with np.errstate(invalid="ignore", divide="ignore"):
            refused = (cube <= 0) | (np.log(w) > 0.5 * z * z + own_d * (1 - cube + np.log(cube)))
        done = ~refused
        result[np.flatnonzero(done) if rows is None else rows[done]] = (own_d * cube)[done]
        rows = np.flatnonzero(refused) if rows is None else rows[refused]
        if not len(rows):
            break
    u, _ = draws.pair(MOST_STAGES - 1)
    return np.where(shape < 1, result * np.exp(np.log(u) / np.maximum(shape, np.finfo(float).tiny)), result)


def poisson(rate: Array, draws: Draws, stage: int = 0) -> Array:
    """Return Poisson numbers; stages from `stage` on are used."""
    result = np.full(len(rate), np.nan)
    small = np.flatnonzero(rate < SMALL_RATE)
    if len(small):
        result[small] = _inverted(rate[small], draws.pair(stage, small)[0])
    large = np.flatnonzero(rate >= SMALL_RATE)
    if len(large):
        _rejected(rate, draws, stage, large, result)
    return result


def _inverted(rate: Array, u: Array) -> Array:
    """Return the least numbers at which the distribution function reaches `u`."""
    number = np.zeros(len(rate))
    mass = np.exp(-rate)
    left, open_ = u - mass, np.flatnonzero(u > mass)
    mass, left, rate = mass[open_], left[open_], rate[open_]
    for k in range(1, 100):  # above it lies less than the step of `u`
        number[open_] = k
        mass = mass * rate / k
        left = left - mass
        still = left > 0
        if not still.any():
            break
        open_, mass, left, rate = open_[still], mass[still], left[still], rate[still]
    return number


def _rejected(rate: Array, draws: Draws, stage: int, rows: Array, result: Array) -> None:
    """Write Poisson numbers of rates of 10 and more by transformed rejection (PTRS of Hoermann, 1993)."""
    for at in range(stage, MOST_STAGES - 1):
        mu = rate[rows]
        root, log_mu = np.sqrt(mu), np.log(mu)
        b = 0.931 + 2.53 * root
        a = -0.059 + 0.02483 * b
        u, v = draws.pair(at, rows)
        u = u - 0.5
        us = 0.5 - np.abs(u)
        k = np.floor((2 * a / us + b) * u + mu + 0.43)
        quick = (us >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        never = (k < 0) | ((us < 0.013) & (v > us))
        with np.errstate(invalid="ignore"):
            bound = k * log_mu - mu - log_factorial(np.maximum(k, 0))
        slow = np.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b)) <= bound
        done = quick | (~never & slow)
        result[rows[done]] = k[done]
        rows = rows[~done]
        if not len(rows):
            return


def log_factorial(k: Array) -> Array:
    """Return log(k!) of whole numbers, by Stirling's series with an error below 1e-10 from 16 on.

    Examples
    --------
    >>> log_factorial(np.array([0.0, 5.0, 20.0])).round(6)
    array([ 0.      ,  4.787492, 42.335616])
    """
    large = np.maximum(k, TABLE - 1.0)
    x = large + 1
    series = (1 / 12 - (1 / 360 - 1 / (1260 * x * x)) / (x * x)) / x
    stirling = (x - 0.5) * np.log(x) - x + 0.5 * np.log(2 * np.pi) + series
    return np.where(k < TABLE, LOG_FACTORIALS[np.minimum(k, TABLE - 1).astype(np.intp)], stirling)


def _normal(loc: Array, scale: Array, draws: Draws) -> Array:
    drawn: Array = loc + scale * normal(*draws.pair())
    return drawn


def _laplace(loc: Array, scale: Array, draws: Draws) -> Array:
    u, v = draws.pair()
    drawn: Array = loc + np.where(v < 0.5, -scale, scale) * np.log(u)
    return drawn


def _student_t(df: Array, loc: Array, scale: Array, draws: Draws) -> Array:
    drawn: Array = loc + scale * student_t(df, *draws.pair())
    return drawn


def _negative_binomial(mean: Array, alpha: Array, draws: Draws) -> Array:
    """A Poisson number whose rate is gamma distributed with this mean and a variance of ``alpha * mean**2``."""
    with np.errstate(divide="ignore", over="ignore"):
        shape = 1 / alpha
    fixed = ~np.isfinite(shape) & ~np.isnan(shape)  # no spread: Poisson
    rate = np.where(fixed, mean, mean * alpha * gamma(np.where(fixed, 1.0, shape), draws))
    return poisson(rate, draws, MOST_STAGES // 2)


# Quantile heads ----------------------------------------------------------------------------------


def between(levels: Array, values: Array, u: Array) -> Array:
    """Return quantiles of levels `u` (N,) between those that rows hold (N, Q), straight from one to the next.

    Beyond the outer levels they are the outer values. Rows are put into ascending order first.
    """
    ordered = np.sort(values, axis=-1)
    if len(levels) == 1:
        return ordered[..., 0]
    place = np.clip(np.searchsorted(levels, u, side="right") - 1, 0, len(levels) - 2)
    share = np.clip((u - levels[place]) / (levels[place + 1] - levels[place]), 0.0, 1.0)
    low = np.take_along_axis(ordered, place[..., None], -1)[..., 0]
    high = np.take_along_axis(ordered, place[..., None] + 1, -1)[..., 0]
    found: Array = low + share * (high - low)
    return found


# -------------------------------------------------------------------------------------------------


def quantile_head(levels: Sequence[float]) -> Distribution:
    """Return how quantiles of these levels are read: their median is the point, draws lie between them."""
    known = np.array(levels)

    def mean(*values: Array) -> Array:
        return between(known, np.stack(values, axis=-1), np.full(len(values[0]), 0.5))

    def draw(*given: Any) -> Array:
        *values, draws = given
        return between(known, np.stack(values, axis=-1), draws.pair()[0])

    return Distribution((), mean, draw)


POINT, QUANTILES = "point", "quantiles"
DISTRIBUTIONS: dict[str, Distribution] = {
    POINT: Distribution(("value",), lambda value: value, lambda value, draws: value, ("value",), ("value",)),
    "normal": Distribution(
        ("loc", "scale"), lambda loc, scale: loc, _normal, ("loc",), ("loc", "scale"), ("scale",)
    ),
    "student_t": Distribution(
        ("df", "loc", "scale"), lambda df, loc, scale: loc, _student_t, ("loc",), ("loc", "scale"), ("df", "scale")
    ),
    "laplace": Distribution(
        ("loc", "scale"), lambda loc, scale: loc, _laplace, ("loc",), ("loc", "scale"), ("scale",)
    ),
    "negative_binomial": Distribution(
        ("mean", "alpha"), lambda mean, alpha: mean, _negative_binomial, (), ("mean",), ("mean", "alpha"), counts=True
    ),
    "poisson": Distribution(("rate",), lambda rate: rate, poisson, (), ("rate",), ("rate",), counts=True),
    QUANTILES: quantile_head(()),  # of the levels that a scheme lists
}  # fmt: skip


def distribution_of(name: str, levels: Sequence[float]) -> Distribution:
    """Return the row of a name, for quantiles one of these levels."""
    return quantile_head(levels) if name == QUANTILES else DISTRIBUTIONS[name]
