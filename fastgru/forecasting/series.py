"""Contexts and covariates as a caller gives them in arrays: one series, a batch, or a list of unequal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from .._names import counted
from ._calendar import TIMELESS
from .scheme import TRANSFORMS, Scheme

Array = NDArray[Any]
LARGEST = float(np.finfo(np.float32).max)


class Series(NamedTuple):
    """What is known of each of N series.

    Attributes
    ----------
    values : list of (T, D) float64 arrays
        As the user sees them.
    names : sequence
        What messages call them.
    keys : (N,) uint64 array
        Numbers that stand for them in random draws.
    covariates : list of (T + horizon, C) arrays
        The scheme's, then those of its calendar that are given as numbers; C may be 0.
    given : int
        How many columns of the calendar are among them.
    times : list of (T + horizon,) datetime64 arrays, or None
    """

    values: list[Array]
    names: Sequence[str]
    keys: Array
    covariates: list[Array]
    given: int = 0
    times: list[Array] | None = None


class Shape(NamedTuple):
    """How the arrays of a result look: with a batch axis, and with an axis of the values of a step."""

    batch: bool
    axis: bool

    def cut(self, array: Array, targets: int) -> Array:
        """Return an array (B, ..., D, ...) of the result as the context was, the axis of D at `targets`."""
        array = array if self.axis else np.take(array, 0, axis=targets)
        return array if self.batch else array[0]


def of_arrays(context: Any, covariates: Any, horizon: int, scheme: Scheme) -> tuple[Series, Shape]:
    """Return the series in arrays, checked.

    Raises
    ------
    ValueError, TypeError
        Naming the series and the place.
    """
    values, shape = _contexts(context, scheme.targets)
    names = [f"context[{i}]" for i in range(len(values))] if shape.batch else ["context"]
    check_values(values, names, scheme)
    clocks = [name for name in scheme.calendar if name not in TIMELESS]
    wanted = [*scheme.covariates, *clocks]
    found = _covariates(covariates, values, horizon, scheme, wanted, shape)
    keys = np.arange(len(values), dtype=np.uint64)
    return Series(values, names, keys, found, given=len(clocks)), shape


def _contexts(context: Any, targets: int) -> tuple[list[Array], Shape]:
    if isinstance(context, list | tuple) and context and np.ndim(context[0]) > (0 if targets == 1 else 1):
        arrays = [_numbers(item, f"context[{i}]") for i, item in enumerate(context)]
        axes = [a.ndim for a in arrays]
        axis = targets > 1 or axes[0] == 2
        for i, array in enumerate(arrays):
            _check_shape(array, f"context[{i}]", targets, axis=axis)
        return [a.reshape(len(a), targets) for a in arrays], Shape(True, axis)
    array = _numbers(context, "context")
    single = 1 if targets == 1 else 2
    if targets == 1 and array.ndim == 2 and array.shape[1] == 1 and len(array) > 1:
        raise ValueError(
            f"context must be one series (T,) or several (B, T), got shape {array.shape}, which may be either: give "
            "context[:, 0] for one series"
        )
    if array.ndim == single:
        _check_shape(array, "context", targets, axis=targets > 1)
        return [array.reshape(len(array), targets)], Shape(False, targets > 1)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != targets):
        expected = "(T,), (B, T) or (B, T, 1)" if targets == 1 else f"(T, {targets}) or (B, T, {targets})"
        raise ValueError(f"context must have shape {expected}, got {array.shape}")
    if array.shape[1] == 0 or len(array) == 0:
        raise ValueError(f"context must have at least one series and one value, got shape {array.shape}")
    return list(array.reshape(len(array), -1, targets)), Shape(True, array.ndim == 3)


def _numbers(given: Any, what: str) -> Array:
    array = as_array(given, what, ragged="give a list of arrays, one for each series")
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{what} must be an array of numbers, or a table with the columns unique_id, ds and y, got {array.dtype}"
        )
    return array.astype(np.float64)


def _check_shape(array: Array, what: str, targets: int, *, axis: bool) -> None:
    expected = f"(T, {targets})" if axis else "(T,)"
    if array.ndim != 1 + axis or (axis and array.shape[1] != targets):
        raise ValueError(f"{what} must have shape {expected}, got {array.shape}")
    if not len(array):
        raise ValueError(f"{what} must have at least one value, got none")


def check_values(values: Sequence[Array], names: Sequence[str], scheme: Scheme) -> None:
    """Raise ValueError for a value that is no number, or none that the network can take; for a context that is short.

    Names the series and the step.
    """
    least = TRANSFORMS[scheme.transform][2]
    for array, name in zip(values, names, strict=True):
        good = np.abs(array) <= LARGEST
        if not good.all():
            place = np.argwhere(~good)[0]
            raise ValueError(
                f"{name} must hold finite numbers of float32, got {array[tuple(place)]} at {_where(place, array)}: "
                "fill in missing values, or leave out the steps up to the last one"
            )
        if least > -np.inf and not (array > least).all():
            place = np.argwhere(~(array > least))[0]
            raise ValueError(
                f"{name} must hold numbers above {least:g} for the transform {scheme.transform}, got "
                f"{array[tuple(place)]} at {_where(place, array)}"
            )
        needed = 1 if scheme.pad else max(1, scheme.reach)
        why = "its largest lag"
        if scheme.window and not scheme.pad:
            needed = max(1, (scheme.context or 1) + scheme.reach - 1)
            why = f"a window of {scheme.context} steps" + (f" and a lag of {scheme.reach}" if scheme.reach > 1 else "")
        if len(array) < needed:
            raise ValueError(
                f"{name} must have at least {counted(needed, 'value')}, as many as {why}, got {len(array)}"
            )


def _where(place: Array, array: Array) -> str:
    return f"step {place[0]} of {len(array)}" + (f", value {place[1]}" if array.shape[1] > 1 else "")


def _covariates(
    given: Any, values: Sequence[Array], horizon: int, scheme: Scheme, wanted: Sequence[str], shape: Shape
) -> list[Array]:
    """Return an array (T + horizon, C) for each series."""
    lead = horizon - scheme.covariate_lag
    if not wanted:
        if given is not None:
            raise ValueError("covariates must be omitted, as the model reads none, got some")
        return [np.zeros((len(a) + lead, 0)) for a in values]
    listed = ", ".join(wanted)
    if given is None:
        first = len(values[0])
        raise ValueError(
            f"covariates must be given, as the model reads {listed}: for each series an array of {len(wanted)} columns "
            f"over its {first} steps of context and {lead} to forecast, got none"
        )
    arrays = _per_series(given, len(values), len(wanted), shape)
    for i, (array, y) in enumerate(zip(arrays, values, strict=True)):
        what = f"covariates[{i}]" if shape.batch else "covariates"
        if array.ndim != 2 or array.shape[1] != len(wanted):
            raise ValueError(f"{what} must have shape ({len(y) + lead}, {len(wanted)}), of {listed}, got {array.shape}")
        check_reach(len(array), len(y), lead, what)
        used = array[: len(y) + lead]
        if not (np.abs(used) <= LARGEST).all():
            step, column = np.argwhere(~(np.abs(used) <= LARGEST))[0]
            raise ValueError(
                f"{what} must hold finite numbers of float32, got {used[step, column]} for {wanted[column]} at step "
                f"{step}"
            )
        check_ids(used, scheme, what)
    return [array[: len(y) + lead] for array, y in zip(arrays, values, strict=True)]


def check_ids(array: Array, scheme: Scheme, what: str) -> None:
    """Raise ValueError unless the columns of ids among covariates (T, C) hold some of theirs."""
    for k, (name, count) in enumerate(zip(scheme.covariates, scheme.ids, strict=False)):
        column = array[:, k]
        bad = (column < 0) | (column >= count) | (column != np.floor(column))
        if count and bad.any():
            got = f"{column[bad][0]:g} at step {int(np.argmax(bad))}"
            raise ValueError(f"{name!r} of {what} must hold ids from 0 to {count - 1}, got {got}")


def check_reach(got: int, steps: int, lead: int, what: str) -> None:
    """Raise ValueError unless covariates go as far as the forecast."""
    if got < steps + lead:
        ahead = f"{max(0, got - steps)} of the {lead} to forecast"
        raise ValueError(
            f"{what} must cover {counted(steps, 'step')} of context and {lead} to forecast, {steps + lead} in all, got "
            f"{got}: they reach {ahead}"
        )


def _per_series(given: Any, count: int, columns: int, shape: Shape) -> list[Array]:
    """Return covariates as an array for each series, of any form that fits."""
    if isinstance(given, list | tuple) and given and np.ndim(given[0]) > 0 and shape.batch:
        arrays = [_numbers(item, f"covariates[{i}]") for i, item in enumerate(given)]
    else:
        whole = _numbers(given, "covariates")
        single = columns == 1 and whole.ndim == 1 + shape.batch
        whole = whole[..., None] if single else whole
        if whole.ndim != 2 + shape.batch:
            expected = "(B, T + horizon, C)" if shape.batch else "(T + horizon, C)"
            raise ValueError(f"covariates must have shape {expected} with C = {columns}, got {whole.shape}")
        arrays = list(whole) if shape.batch else [whole]
    if len(arrays) != count:
        raise ValueError(f"covariates must be of {count} series, as the context is, got {len(arrays)}")
    return [a[:, None] if a.ndim == 1 and columns == 1 else a for a in arrays]
