"""Step by step over a table that is still being written: a line out for every line in, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._names import nearest
from ..errors import DataError
from . import _arrays, _sequences, _tables
from ._columns import Wanted

if TYPE_CHECKING:
    from ..graph import Spec
    from ..running import Running

Array = NDArray[Any]
Step = Callable[[Array], "Array | None"]


class Output(NamedTuple):
    """The cells to keep and the output of a row."""

    kept: list[str]
    values: Array


def lines(model: Running, source: str, want: Wanted, window: int | None = None, partial: bool = False) -> Iterator[str]:
    """Yield a line of CSV for every line of `source`, before the next line is read.

    Raises
    ------
    DataError, ValueError
        When the model has several inputs or outputs or cannot stream, for what is wrong with a line, and when no row
        has an output.
    """
    with _arrays.lines_of(source) as text:
        table, rows = steps(model, source, text, want, window, partial)
        for i, row in enumerate(rows):
            if i == 0 and table.has_header:
                yield _tables.header(table.kept, next(iter(model.outputs)), np.size(row.values), want.separator)
            yield _tables.line(row.values, row.kept, want)


def steps(
    model: Running, source: str, text: Iterator[bytes], want: Wanted, window: int | None, partial: bool
) -> tuple[_tables.Table, Iterator[Output]]:
    """Return the table of the lines `text`, and an output for each of its rows that has one."""
    for what, names in (("input", list(model.inputs)), ("output", model.outputs)):
        if len(names) > 1:
            raise DataError(f"model of --stream must have one {what}, got {nearest(None, names)}")
    (spec,) = model.inputs.values()
    make = _maker(model, spec, window, partial)
    with _arrays.naming(source):
        only = make()  # a model that cannot stream is refused before a line is read
    table = _tables.Table(text, _arrays.shown(source), spec, want)
    return table, _outputs(table, source, {(): only}, make, window)


def _outputs(
    table: _tables.Table,
    source: str,
    groups: dict[tuple[str, ...], Step],
    make: Callable[[], Step],
    window: int | None,
) -> Iterator[Output]:
    """Step each row's group, each with a stream of its own, made when it is first met.

    Groups that end without an output are an error or a warning, as of a table that is read whole.
    """
    silent: dict[tuple[str, ...], int] = {}  # rows of the groups without an output so far
    rows = 0
    for rows, row in enumerate(table, 1):
        with _arrays.naming(source):
            step = groups.get(row.group)
            if step is None or rows == 1:
                step = groups[row.group] = groups.pop(()) if () in groups else make()
                silent[row.group] = 0
            y = step(row.values)
        if y is not None:
            silent.pop(row.group, None)
            yield Output(row.kept, y)
        else:
            silent[row.group] += 1
    with _arrays.naming(source):
        if not rows:
            raise DataError("input must have at least one row of numbers, got none")
        if window is not None and silent:
            _sequences.check_rows(len(silent), len(groups), max(silent.values()), window)


def _maker(model: Running, spec: Spec, window: int | None, partial: bool) -> Callable[[], Step]:
    """Return what makes the step of a new group."""
    dtype = np.int64 if spec.dtype == "int" else np.dtype(model.dtype)

    def stream() -> Step:
        state = model.stream()
        return lambda values: np.asarray(state.step(values.astype(dtype)))

    def windows() -> Step:
        assert window is not None
        last: deque[Array] = deque(maxlen=window)

        def step(values: Array) -> Array | None:
            last.append(values.astype(dtype))
            if len(last) < window and not partial:
                return None
            y = np.asarray(model(np.stack(last)))
            if not next(iter(model.outputs.values())).time:
                return y
            if not len(y):
                raise DataError(f"output must have a step for each window, got none for {len(last)} rows")
            return np.asarray(y[-1])

        return step

    return stream if window is None else windows
