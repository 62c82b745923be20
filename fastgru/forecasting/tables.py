"""Tables of the columns unique_id, ds and y: dicts of columns, pandas, pyarrow or polars, read and given back in kind.

No library of tables is imported: one that a caller gives is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._hints import either, named
from .._names import nearest
from ._calendar import TIMELESS, steps_on
from .result import Forecast
from .scheme import Scheme
from .series import Series, check_ids, check_values

Array = NDArray[Any]
ID, TIME, VALUE, FORECAST = "unique_id", "ds", "y", "forecast"
LIBRARIES = ("pandas", "pyarrow", "polars")
DATE = len("2024-12-31")
OFFSET = re.compile(r"[T ]\d[\d:.,]*\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)\s*$", re.IGNORECASE)  # of ISO 8601's times


class Titled(dict[str, Any]):
    """Columns by the names unique_id, ds and y, which the user calls otherwise: `titles` has those names."""

    def __init__(self, columns: Mapping[str, Any], titles: Mapping[str, str]) -> None:
        super().__init__(columns)
        self.titles = dict(titles)


def titles_of(table: Any) -> dict[str, str]:
    """Return the user's names of the columns unique_id, ds and y."""
    return {name: name for name in (ID, TIME, VALUE)} | (table.titles if isinstance(table, Titled) else {})


def is_table(given: Any) -> bool:
    """True of a mapping of columns, and of a table of a known library."""
    return isinstance(given, Mapping) or (library(given) in LIBRARIES and hasattr(given, "columns"))


def library(table: Any) -> str:
    """Return the package that a table is of."""
    return type(table).__module__.partition(".")[0]


def columns(table: Any) -> dict[str, Array]:
    """Return the columns of a table as arrays."""
    if isinstance(table, Mapping):
        return {str(name): np.asarray(column) for name, column in table.items()}
    names = table.column_names if library(table) == "pyarrow" else table.columns
    return {str(name): as_numpy(table[name]) for name in names}


def as_numpy(column: Any) -> Array:
    """Return a column of a library's table as an array; times of a time zone as objects that have it."""
    kind = getattr(column, "type", getattr(column, "dtype", None))
    if getattr(kind, "tz", None) is not None or getattr(kind, "time_zone", None) is not None:
        return np.array(column.to_pylist() if hasattr(column, "to_pylist") else list(column), object)
    return np.asarray(column.to_numpy())


def like(table: Any, found: dict[str, Array]) -> Any:
    """Return columns as a table of the kind of `table`."""
    if isinstance(table, Mapping):
        return found
    module = sys.modules[library(table)]
    return module.table(found) if library(table) == "pyarrow" else module.DataFrame(found)


class Rows(NamedTuple):
    """The rows of a table by series.

    Attributes
    ----------
    ids : array or None
        The name of each series, in the order in which they appear; None where the table has no column of them.
    rows : list of int arrays
        The rows of each series, in the order of time.
    times : (N,) datetime64 or int64 array
        Of all rows of the table.
    titles : dict of str to str
        The user's names of unique_id, ds and y.
    """

    ids: Array | None
    rows: list[Array]
    times: Array
    titles: dict[str, str]

    def name(self, i: int) -> str:
        """Return what messages call a series."""
        value = self.titles[VALUE]
        return f"{value} of series {str(self.ids[i])!r}" if self.ids is not None else value


def grouped(found: Mapping[str, Array], what: str, needed: Sequence[str], titles: dict[str, str]) -> Rows:
    """Find the rows of each series.

    Parameters
    ----------
    titles : dict of str to str
        The user's names of unique_id, ds and y, for messages.

    Raises
    ------
    ValueError
        When a column is missing, times cannot be read, or one time is there twice in a series.
    """
    for name in needed:
        if name not in found:
            raise ValueError(
                f"{what} must have the columns {', '.join(needed)}, got no {name!r} among {nearest(name, found)}"
            )
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of {what} must have one length, got {lengths}")
    if not lengths[TIME]:
        raise ValueError(f"{what} must have at least one row, got none")
    times = parsed(found[TIME], f"column {titles[TIME]!r} of {what}")
    if ID in found:
        ids, codes = _coded(found[ID], f"column {titles[ID]!r} of {what}")
    else:
        ids, codes = None, np.zeros(len(times), np.int64)
    order = np.lexsort((times, codes))
    same = (np.diff(codes[order]) == 0) & (times[order][1:] == times[order][:-1])
    if same.any():
        row = order[int(np.argmax(same))]
        of = "" if ids is None else f" of series {str(ids[codes[row]])!r}"
        told = either(f"in a column {ID!r}", "in a column, given with --id")
        hint = "" if ids is not None else f": name the series of each row {told}"
        raise ValueError(f"rows of {what}{of} must have different times, got {times[row]} twice{hint}")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    return Rows(ids, np.split(order, starts), times, titles)


def _coded(column: Array, what: str) -> tuple[Array, Array]:
    """Return the names of series in the order in which they appear, and the place of each row's among them."""
    if column.dtype.kind in "US" and not np.char.str_len(column).all():
        raise ValueError(f"{what} must name the series of each row, got '' in {_row(np.char.str_len(column) == 0)}")
    if column.dtype.kind in "iubUS":
        ids, first, codes = np.unique(column, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return ids[order], place[codes.reshape(-1)]
    known: dict[Any, int] = {}
    cells = column.tolist()
    for row, cell in enumerate(cells):
        if cell is None or cell != cell or cell == "":
            raise ValueError(f"{what} must name the series of each row, got {cell!r} in {_row(row)}")
    codes = np.array([known.setdefault(cell, len(known)) for cell in cells])
    ids = np.empty(len(known), column.dtype)
    ids[:] = list(known)
    return ids, codes


def _row(at: int | Array) -> str:
    """Return the name of a row, or of the first that is marked; below the header, a file's are counted from 1."""
    place = at if isinstance(at, int) else int(np.argmax(at))
    return either(f"row {place}", f"row {place + 1} below the header")


def parsed(column: Array, what: str) -> Array:
    """Return times as datetime64, or whole numbers; `what` is the column in messages.

    Raises
    ------
    ValueError
        When they are neither.
    """
    expected = f"{what} must hold dates, times or whole numbers"
    if column.dtype.kind == "M":
        times = column
    elif column.dtype.kind in "iu":
        return column.astype(np.int64)
    elif column.dtype.kind in "OUS" and len(column):
        cells = [cell.decode(errors="replace") if isinstance(cell, bytes) else cell for cell in column.tolist()]
        if (zoned := next((cell for cell in cells if _has_zone(cell)), None)) is not None:
            raise ValueError(f"{expected} without a time zone, got {zoned}: convert them to one zone and drop it")
        if all(isinstance(cell, int) for cell in cells):
            return np.array(cells, np.int64)
        try:
            if all(
                isinstance(cell, str) and cell.strip().lstrip("+-").isdigit() and len(cell.strip()) != 4
                for cell in cells
            ):
                return np.array(list(map(int, cells)))
            times = np.array([cell.strip() if isinstance(cell, str) else cell for cell in cells], "datetime64")
        except (ValueError, TypeError) as error:
            bad = next((row for row, cell in enumerate(cells) if not _is_time(cell)), 0)
            got = f"{cells[bad]!r} in {_row(bad)}"
            raise ValueError(f"{expected}, got {got}: write dates as 2024-12-31") from error
    else:
        raise ValueError(f"{expected}, got {column.dtype}")
    if np.isnat(times).any():
        raise ValueError(f"{expected}, got none in {_row(np.isnat(times))}")
    return times


def _has_zone(cell: Any) -> bool:
    """True of a time with a time zone, and of the text of one with its distance from UTC."""
    if isinstance(cell, str):
        return len(cell) > DATE and OFFSET.search(cell) is not None
    return getattr(cell, "tzinfo", None) is not None


def _is_time(cell: Any) -> bool:
    try:
        return not np.isnat(np.datetime64(cell))
    except (ValueError, TypeError):
        return False


def of_table(table: Any, future: Any, horizon: int, scheme: Scheme) -> tuple[Series, Rows, list[Array]]:
    """Return the series of a table, checked, their rows, and the times of each to forecast.

    Parameters
    ----------
    future : table or None
        The covariates to come.

    Raises
    ------
    ValueError, TypeError
        Naming the series.
    """
    if scheme.targets > 1:
        raise ValueError(f"context of {scheme.targets} values a step must be an array, got a table")
    found = columns(table)
    titles = titles_of(table)
    rows = grouped(found, "table", (TIME, VALUE, *scheme.covariates), titles)
    names = [rows.name(i) for i in range(len(rows.rows))]
    y = _numbers(found[VALUE], titles[VALUE])
    values = [y[own][:, None] for own in rows.rows]
    check_values(values, names, scheme)
    ahead = []
    for own, name in zip(rows.rows, names, strict=True):
        try:
            ahead.append(steps_on(rows.times[own], horizon))
        except ValueError as error:
            raise ValueError(f"{name} {error}") from error
    clocks = [name for name in scheme.calendar if name not in TIMELESS]
    if clocks and rows.times.dtype.kind != "M":
        raise ValueError(
            f"column {titles[TIME]!r} must hold dates or times, as the model reads {', '.join(clocks)}, got whole "
            "numbers"
        )
    numbers = {name: _numbers(found[name], name) for name in scheme.covariates}
    covariates = _joined(numbers, future, rows, ahead, scheme)
    times = (
        [np.concatenate([rows.times[own], to]) for own, to in zip(rows.rows, ahead, strict=True)] if clocks else None
    )
    return Series(values, names, keys_of(rows.ids), covariates, times=times), rows, ahead


def keys_of(ids: Array | None) -> Array:
    """Return a number for each name: a series has the same paths whichever others are in the table."""
    if ids is None:
        return np.zeros(1, np.uint64)
    digests = [hashlib.blake2b(str(one).encode(errors="surrogatepass"), digest_size=8).digest() for one in ids]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _numbers(column: Array, name: str) -> Array:
    if column.dtype.kind == "O":
        with contextlib.suppress(ValueError, TypeError):
            column = np.array([np.nan if cell is None else cell for cell in column.tolist()], np.float64)
    if column.dtype.kind not in "fiub":
        raise TypeError(f"column {name!r} must hold numbers, got {column.dtype}")
    return column.astype(np.float64)


def _joined(
    numbers: Mapping[str, Array], future: Any, rows: Rows, ahead: Sequence[Array], scheme: Scheme
) -> list[Array]:
    """Return the covariates of each series over its context and the steps to forecast."""
    varying = [name for name in scheme.covariates if name not in scheme.static]
    if future is not None and not varying:
        raise ValueError(f"{named('covariates')} must be omitted, as the model reads none that change, got some")
    lead = len(ahead[0]) - scheme.covariate_lag
    if varying and lead and future is None:
        raise ValueError(
            f"{named('covariates')} must be given, a table of {', '.join(varying)} at the times to forecast, got none"
        )
    if future is not None and not is_table(future):
        raise TypeError(f"covariates must be a table, as the context is, got {type(future).__name__}")
    later = _Future(future, varying, rows.ids) if varying and lead else None
    result = []
    for i, own in enumerate(rows.rows):
        array = np.empty((len(own) + lead, len(scheme.covariates)))
        for k, name in enumerate(scheme.covariates):
            past = numbers[name][own]
            array[: len(own), k] = past
            if name in scheme.static and (past != past[0]).any():
                raise ValueError(f"column {name!r} must be the same over {rows.name(i)}, got {past[0]:g} and others")
            array[len(own) :, k] = past[-1] if name in scheme.static else np.nan
        if later is not None:
            places = [k for k, name in enumerate(scheme.covariates) if name in varying]
            array[len(own) :, places] = later.at(i, ahead[i][:lead], rows.name(i))
        if np.isnan(array).any():
            step, column = np.argwhere(np.isnan(array))[0]
            part = "context" if step < len(own) else named("covariates")
            at = rows.times[own[step]] if step < len(own) else ahead[i][step - len(own)]
            raise ValueError(
                f"column {scheme.covariates[column]!r} of {part} must hold a number at {at} for {rows.name(i)}, got NaN"
            )
        check_ids(array, scheme, rows.name(i))
        result.append(array)
    return result


class _Future:
    """The table of covariates to come, by series."""

    def __init__(self, table: Any, names: Sequence[str], ids: Array | None) -> None:
        found = columns(table)
        needed, self.titles = (TIME, *names, *([ID] if ids is not None else ())), titles_of(table)
        self.rows = grouped(found, named("covariates"), needed, self.titles)
        self.numbers = np.stack([_numbers(found[name], name) for name in names], axis=1)
        given = [None] if self.rows.ids is None else self.rows.ids.tolist()
        self.places = {name: i for i, name in enumerate(given)}
        self.ids = [None] if ids is None else ids.tolist()

    def at(self, series: int, wanted: Array, name: str) -> Array:
        """Return the rows (h, C) of one series at the times `wanted`."""
        place = self.places.get(self.ids[series])
        if place is None:
            raise ValueError(f"{named('covariates')} must have rows for {name}, got none")
        own = self.rows.rows[place]
        times = self.rows.times[own]
        if times.dtype.kind != wanted.dtype.kind:
            raise ValueError(
                f"column {self.titles[TIME]!r} of {named('covariates')} must be like that of the table, got {times[0]} "
                f"beside {wanted[0]}"
            )
        where = np.minimum(np.searchsorted(times, wanted), len(times) - 1)
        missing = times[where] != wanted
        if missing.any():
            first = int(np.argmax(missing))
            raise ValueError(
                f"{named('covariates')} must cover all {len(wanted)} steps to forecast for {name}, up to {wanted[-1]}, "
                f"got {'none' if not first else f'the first {first}'}: a row at {wanted[first]} is missing"
            )
        return self.numbers[own[where]]


def written(table: Any, rows: Rows, ahead: Sequence[Array], found: Forecast | Array) -> Any:
    """Return a forecast (B, horizon) as a table of the kind of `table`: a row for each series and step ahead."""
    given = columns(table)
    result: dict[str, Array] = {}
    if rows.ids is not None:
        result[ID] = np.repeat(rows.ids, len(ahead[0]))
    result[TIME] = _times_like(given[TIME], np.concatenate(ahead))
    points = found.mean if isinstance(found, Forecast) else found
    result[FORECAST] = points.reshape(-1)
    if isinstance(found, Forecast):
        for i, level in enumerate(found.levels):
            result[f"q{level:g}"] = found.quantiles[..., i].reshape(-1)
    return like(table, result)


def _times_like(given: Array, times: Array) -> Array:
    """Return times as those of the table are written."""
    if given.dtype.kind in "Miu":
        return times.astype(given.dtype)
    first = given.tolist()[0]
    if not isinstance(first, str):
        return times if times.dtype.kind == "i" else np.array(times.tolist(), object)
    if times.dtype.kind == "i":
        texts = [str(n) for n in times.tolist()]
    else:
        texts = np.datetime_as_string(times).tolist()
        if first.strip()[10:11] == " ":
            texts = [text.replace("T", " ") for text in texts]
    return np.array(texts, object if given.dtype.kind == "O" else None)
