"""Tables of Parquet, where pyarrow is installed: columns chosen as of CSV, others carried with their types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, require
from ..graph import Spec
from ._cells import BEYOND, are_finite
from ._columns import Wanted, layout

Array = NDArray[Any]
MAGIC = b"PAR1"
SUFFIXES = (".parquet", ".pq")


class Columns(NamedTuple):
    """A table read whole: features (T, I), names and arrays of pyarrow to keep, and the cells that name each group."""

    values: Array
    names: list[str]
    kept: list[Any]
    groups: list[tuple[Any, ...]]


def library(purpose: str) -> Any:
    """Import pyarrow with its Parquet; MissingExtraError where it is not installed."""
    require("pyarrow.parquet", extra="parquet", purpose=purpose)
    return require("pyarrow", extra="parquet", purpose=purpose)


def is_parquet(source: str, data: bytes) -> bool:
    """True for a path that says so, and for bytes of such a file, as a pipe may bring them."""
    return source.lower().endswith(SUFFIXES) or (data.startswith(MAGIC) and data.endswith(MAGIC))


def read(data: bytes, name: str, spec: Spec, want: Wanted) -> Columns:
    """Read the columns of `want` out of the bytes of a file.

    Raises
    ------
    DataError
        When columns are not there, hold no numbers, or have missing cells.
    MissingExtraError
        Without pyarrow.
    """
    arrow = library(f"reading {name}")
    if len(spec.shape) > 1:
        shape = "".join(f", {n}" for n in spec.shape)
        raise DataError(f"{name}: input of shape (T{shape}) must be a .npy or .npz file, got Parquet")
    file = arrow.parquet.ParquetFile(arrow.BufferReader(data))
    titles = list(file.schema_arrow.names)
    if want.header is False:
        raise DataError(f"{name}: --no-header must be omitted for Parquet, whose columns have names, got it")
    place = layout(want, spec, [title.strip() for title in titles], len(titles), f"{name}: schema")
    used = sorted({*place.features, *place.carried, *place.group})
    _check_names(titles, used, name)
    table = file.read(columns=[titles[i] for i in used])
    features = [_numbers(arrow, table.column(titles[i]), spec, f"{titles[i]!r}", name, want) for i in place.features]
    values = np.stack(features, axis=1) if spec.shape else features[0]
    groups = [_filled(arrow, table.column(titles[i]), titles[i], name, want) for i in place.group]
    kept = [titles[i] for i in place.carried]
    return Columns(values, kept, [table.column(title) for title in kept], list(zip(*groups, strict=True)))


def _check_names(titles: Sequence[str], used: Sequence[int], name: str) -> None:
    """Raise DataError where a column that is read shares its name with another."""
    for title in (titles[i] for i in used):
        places = [str(i + 1) for i, other in enumerate(titles) if other == title]
        if len(places) > 1:
            raise DataError(
                f"{name}: columns of Parquet must have names of their own, got {title!r} as columns "
                f"{' and '.join(places)}: rename one"
            )


def _numbers(arrow: Any, column: Any, spec: Spec, title: str, name: str, want: Wanted) -> Array:
    """Return a column of numbers as float64, of ids as int64."""
    types, kind = arrow.types, column.type
    ids = spec.dtype == "int"
    if not (types.is_integer(kind) or (not ids and (types.is_floating(kind) or types.is_decimal(kind)))):
        raise DataError(f"{name}: column {title} must hold {'integer ids' if ids else 'numbers'}, got {kind}")
    if column.null_count:
        _missing(column.is_null().to_numpy(), title, name, "null", want)
    if ids:
        return _ids(column, title, name)
    array: Array = column.cast(arrow.float64(), safe=False).to_numpy()  # integers beyond 2**53 are rounded, as of CSV
    if np.isnan(array).any():
        _missing(np.isnan(array), title, name, "NaN", want)
    if not are_finite(array):
        row = int(np.argmax(~(np.abs(array) < BEYOND)))
        raise DataError(f"{name}: row {row + 1}, column {title} must be a finite float32 number, got {array[row]}")
    return array


def _ids(column: Any, title: str, name: str) -> Array:
    """Return a column of integers as int64."""
    array: Array = column.to_numpy()
    if array.dtype == np.uint64 and (array >= 1 << 63).any():
        row = int(np.argmax(array >= 1 << 63))
        raise DataError(f"{name}: row {row + 1}, column {title} must be an integer id below 2**63, got {array[row]}")
    return array.astype(np.int64)


def _missing(where: Array, title: str, name: str, got: str, want: Wanted) -> None:
    """Raise DataError for the first missing cell."""
    row = int(np.flatnonzero(where)[0]) + 1
    raise DataError(f"{name}: row {row}, column {title} must be a number, got {got}: {want.words.missing}")


def _filled(arrow: Any, column: Any, title: str, name: str, want: Wanted) -> list[Any]:
    """Return the cells of a column of ``--group``, or of the option in its place."""
    option = want.words.option(title, "--group")
    if arrow.types.is_nested(column.type):
        raise DataError(
            f"{name}: column {title!r} of {option} must hold one name a row, got {column.type}: make it text or numbers"
        )
    cells: list[Any] = column.to_pylist()
    for row, cell in enumerate(cells, 1):
        if cell is None or cell != cell or (isinstance(cell, str) and not cell.strip()):
            got = "null" if cell is None else "an empty cell" if isinstance(cell, str) else "NaN"
            named = f"must name the {want.words.group} of the row, got {got}"
            raise DataError(f"{name}: row {row}, column {title!r} {named}")
    return cells


def texts(column: Any) -> list[str]:
    """Return the cells of a column as text; dates as in ISO 8601, nulls empty."""
    return ["" if cell is None else str(cell) for cell in column.to_pylist()]


def encode(columns: Sequence[tuple[str, Any]]) -> bytes:
    """Write named columns, of text, NumPy or pyarrow, as Parquet with their types.

    Raises
    ------
    DataError
        When two have one name.
    MissingExtraError
        Without pyarrow.
    """
    arrow = library("writing Parquet")
    names = [name for name, _ in columns]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"columns of Parquet must have names of their own, got {twice[0]!r} twice: leave one out of --keep"
        )
    arrays = [c if hasattr(c, "type") else arrow.array(_contiguous(c)) for _, c in columns]
    sink = arrow.BufferOutputStream()
    arrow.parquet.write_table(arrow.Table.from_arrays(arrays, names), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _contiguous(column: Any) -> Any:
    return column if isinstance(column, list) else np.ascontiguousarray(column)
