"""Times of steps: what a network may read of them, and how they go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DAY = np.timedelta64(1, "D")


class Times:
    """The times of consecutive steps, (N,) datetime64, and their places.

    Parameters
    ----------
    ds : (N,) datetime64 array or None
    age : (N,) int array
        Steps since the first value of the series.
    ahead : (N,) int array
        Steps since the first that is forecast, which is 0.
    """

    def __init__(self, ds: Array | None, age: Array, ahead: Array) -> None:
        self.ds, self.age, self.ahead = ds, age, ahead

    def since(self, unit: str, begin: str) -> Array:
        """Return the whole `unit` since the beginning of the time's own `begin`."""
        assert self.ds is not None  # checked by `series`
        start = self.ds.astype(f"M8[{begin}]").astype(f"M8[{unit}]")
        whole: Array = (self.ds.astype(f"M8[{unit}]") - start).astype(np.int64)
        return whole

    def weekday(self) -> Array:
        """Return 0 for Monday to 6 for Sunday."""
        assert self.ds is not None
        return (self.ds.astype("M8[D]").astype(np.int64) + 3) % 7

    def week(self) -> Array:
        """Return the week of ISO 8601: the year's first is the one that has its first Thursday."""
        assert self.ds is not None
        thursday = self.ds.astype("M8[D]") + (3 - self.weekday()) * DAY
        days: Array = (thursday - thursday.astype("M8[Y]").astype("M8[D]")).astype(np.int64)
        return days // 7 + 1


def _scaled(least: int, most: int, number: Callable[[Times], Array]) -> Callable[[Times], Array]:
    """Map numbers from `least` to `most` to -0.5 to 0.5."""
    return lambda times: (number(times) - least) / (most - least) - 0.5


# Those of a clock are from -0.5 to 0.5 as in GluonTS; `relative_time` and `age` need no time.
FEATURES: dict[str, Callable[[Times], Array]] = {
    "month_of_year": _scaled(0, 11, lambda t: t.since("M", "Y")),
    "week_of_year": _scaled(1, 53, Times.week),
    "day_of_year": _scaled(0, 365, lambda t: t.since("D", "Y")),
    "day_of_month": _scaled(0, 30, lambda t: t.since("D", "M")),
    "day_of_week": _scaled(0, 6, Times.weekday),
    "hour_of_day": _scaled(0, 23, lambda t: t.since("h", "D")),
    "minute_of_hour": _scaled(0, 59, lambda t: t.since("m", "h")),
    "second_of_minute": _scaled(0, 59, lambda t: t.since("s", "m")),
    "log_age": lambda t: np.log10(2.0 + t.age),
    "relative_time": lambda t: t.ahead.astype(np.float64),
}
TIMELESS = ("log_age", "relative_time")


def steps_on(ds: Array, count: int) -> Array:
    """Return the `count` times after those of a series, in its step: months and days of business too.

    Raises
    ------
    ValueError
        When the times are not evenly spaced: the message ends a sentence that begins with the name of the series.

    Examples
    --------
    >>> steps_on(np.array(["2024-01-31", "2024-02-29", "2024-03-31"], "M8[D]"), 2)
    array(['2024-04-30', '2024-05-31'], dtype='datetime64[D]')
    >>> steps_on(np.array([10, 20, 30]), 2)
    array([40, 50])
    """
    if len(ds) < 2:
        raise ValueError("must have two rows or more to tell the step between them, got one")
    gaps, ahead = np.diff(ds), np.arange(1, count + 1)
    if ds.dtype.kind == "M" and (found := _months(ds, ahead)) is not None:
        return found
    if (gaps == gaps[0]).all():
        even: Array = ds[-1] + ahead * gaps[0]
        return even
    if ds.dtype.kind == "M" and (found := _weekdays(ds, ahead)) is not None:
        return found
    at = int(np.argmax(gaps != gaps[0]))
    raise ValueError(
        f"must have times that are evenly spaced, got steps of {gaps[0]} and of {gaps[at]} (after {ds[at]}): fill in "
        "missing rows, or number the rows in the place of times"
    )


def _months(ds: Array, ahead: Array) -> Array | None:
    """Return times a number of months apart, on one day of the month or on the last; None where those given are not."""
    months = ds.astype("M8[M]")
    gaps = np.diff(months).astype(np.int64)
    if not (gaps == gaps[0]).all() or gaps[0] < 1:
        return None
    later = months[-1] + ahead * np.diff(months)[0]
    into, unit = ds - months.astype(ds.dtype), ds.dtype
    to_end = (months + 1).astype(unit) - ds
    if (into == into[0]).all():
        into_day = into[0]
        kept = later.astype(unit) + into_day
        return kept if (kept.astype("M8[M]") == later).all() else None
    return (later + 1).astype(unit) - to_end[0] if (to_end == to_end[0]).all() else None


def _weekdays(ds: Array, ahead: Array) -> Array | None:
    """Return the working days after consecutive ones, Monday to Friday; None where those given are no such."""
    days = ds.astype("M8[D]")
    clock = ds - days.astype(ds.dtype)
    if not (clock == clock[0]).all() or not np.is_busday(days).all():
        return None
    if not (np.busday_count(days[:-1], days[1:]) == 1).all():
        return None
    later: Array = np.busday_offset(days[-1], ahead).astype(ds.dtype) + clock[0]
    return later
