"""Sequences in a table: rows by group, and sliding windows over them, run in batches of equal length."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._names import counted
from ..errors import DataError

if TYPE_CHECKING:
    from ..running import Running

Array = NDArray[Any]
STEPS_AT_ONCE = 1 << 15  # time steps of a batch: their values stay in the cache, and progress shows


class Plan(NamedTuple):
    """The sequences of a table.

    Attributes
    ----------
    order : (T,) int64 array
        Rows of the table, those of a group together and in the table's order.
    starts, lengths : (S,) int64 arrays
        Where each sequence begins in `order`, and its steps.
    ends : (S,) int64 array
        The row of the table that each sequence ends with.
    windows : bool
        True if only the last step of each sequence counts.
    """

    order: Array
    starts: Array
    lengths: Array
    ends: Array
    windows: bool


def plan(groups: Sequence[Any], rows: int, window: int | None, partial: bool) -> Plan:
    """Find the sequences: the rows of each group, or for each of its rows the `window` rows that end there.

    Parameters
    ----------
    groups : sequence
        The group of each row; empty where all rows are one sequence.
    window : int or None
        Steps of the windows; with `partial`, the first rows of a group have shorter ones.

    Raises
    ------
    DataError
        When no group has enough rows for a window.
    """
    codes = np.zeros(rows, np.int64) if not groups else _codes(groups)
    order = np.argsort(codes, kind="stable")
    lengths = np.bincount(codes)
    starts = np.cumsum(lengths) - lengths
    if window is None:
        return Plan(order, starts, lengths, order[starts + lengths - 1], False)
    if not partial:
        check_rows(int((lengths < window).sum()), len(lengths), int(lengths.max()), window)
    place = np.arange(rows) - np.repeat(starts, lengths)  # of each row of `order` in its group
    steps = np.minimum(place + 1, window)
    last = np.flatnonzero(place >= (0 if partial else window - 1))
    last = last[np.argsort(order[last])]  # by the rows of the table
    return Plan(order, last + 1 - steps[last], steps[last], order[last], True)


def _codes(groups: Sequence[Any]) -> Array:
    """Number the groups by their first rows: (T,) int64."""
    index: dict[Any, int] = {}
    return np.fromiter((index.setdefault(group, len(index)) for group in groups), np.int64, len(groups))


def check_rows(short: int, groups: int, most: int, window: int) -> None:
    """Raise DataError where no group fills a window, and warn where some do not.

    Parameters
    ----------
    short, groups : int
        Number of groups that have fewer rows than the window, and of all.
    most : int
        Rows of the longest group, or of the longest of the short ones.
    """
    hint = "--partial also gives the first rows an output, of the rows so far"
    if short == groups:
        what = "input" if short == 1 else "a group"
        raise DataError(f"{what} must have at least {counted(window, 'row')} for --window {window}, got {most}: {hint}")
    if short:
        what = f"{counted(short, 'group')} of {groups:,}"
        verb = "has" if short == 1 else "have"
        warnings.warn(f"{what} {verb} fewer rows than --window {window}, and no output: {hint}", stacklevel=2)


def outputs(model: Running, x: Array, found: Plan, advance: Callable[[int], object]) -> tuple[dict[str, Array], Array]:
    """Run the model over every sequence: each row has the bits of one call with that sequence alone.

    Parameters
    ----------
    x : (T, \\*frame) array
        All rows of the table.
    advance : callable
        Told the number of sequences after each batch.

    Returns
    -------
    outputs : dict of str to array
        A row for each of `rows`.
    rows : (R,) int64 array
        Rows of the table: all of them where the output has a time axis, else the last of each sequence.

    Raises
    ------
    DataError
        When an output has another number of steps than the sequence.
    """
    specs = [*model.outputs.values()]
    timed = not found.windows and all(spec.time for spec in specs)
    made: list[Array | None] = [None] * len(specs)
    for batch in _batches(found.lengths):
        length = int(found.lengths[batch[0]])
        places = found.starts[batch][:, None] + np.arange(length)
        given = model(x[found.order[places]])
        for i, (y, spec) in enumerate(zip(given if isinstance(given, tuple) else (given,), specs, strict=True)):
            if timed and y.shape[1] != length:
                raise DataError(
                    f"output must have a row for each row of the input, got {y.shape[1]} of {length}: --window N gives "
                    "each row the output of the last N"
                )
            if not timed and spec.time:
                y = _last(y, length)
            into = made[i]
            if into is None:
                into = made[i] = np.empty((len(x) if timed else len(found.starts), *y.shape[1 + timed :]), y.dtype)
            into[found.order[places] if timed else batch] = y
        advance(len(batch))
    rows = np.arange(len(x)) if timed else found.ends
    return {name: y for name, y in zip(model.outputs, made, strict=True) if y is not None}, rows


def _last(y: Array, length: int) -> Array:
    """Return the last step of (B, T, ...)."""
    if not y.shape[1]:
        raise DataError(f"output must have a step for each window, got none for {counted(length, 'row')}")
    return y[:, -1]


def _batches(lengths: Array) -> Iterator[Array]:
    """The numbers of sequences of one length, as many as `STEPS_AT_ONCE` allows."""
    order = np.argsort(lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        most = max(1, STEPS_AT_ONCE // max(1, int(lengths[same[0]])))
        for first in range(0, len(same), most):
            yield same[first : first + most]
