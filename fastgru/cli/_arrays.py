"""Arrays in files and pipes: tables (a row a time step), .npy, and .npz of one array in; the same out."""

from __future__ import annotations

import contextlib
import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._names import nearest
from ..errors import DataError
from ..files.writing import check_target, replace_file
from ..files.writing import naming as naming_file
from ..graph import Spec
from . import _parquet, _tables
from ._columns import EVERYTHING, Wanted

Array = NDArray[Any]
NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the second of an empty archive
WORKBOOK = "xl/workbook.xml"  # an entry of every .xlsx
PLAIN = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
)  # what NumPy writes; others may hold more than 1,032 times their size


class Kept(NamedTuple):
    """Columns of the input that go to the output.

    Attributes
    ----------
    names : list of str
        Their names; empty where the table has no header.
    columns : list
        The cells of each: a list of str, or an array of pyarrow.
    header : bool
        True if the table has a header, and the output gets one.
    """

    names: list[str]
    columns: list[Any]
    header: bool = False

    def take(self, rows: Array) -> Kept:
        """Return the cells of `rows` (N,) int64 alone."""
        return Kept(self.names, [_taken(column, rows) for column in self.columns], self.header)

    def texts(self) -> list[list[str]]:
        """Return the cells of each column as text."""
        return [c if isinstance(c, list) else _parquet.texts(c) for c in self.columns]


def _taken(column: Any, rows: Array) -> Any:
    return [column[i] for i in rows.tolist()] if isinstance(column, list) else column.take(rows)


class Input(NamedTuple):
    """An input read whole: its array, the columns to keep, and the name of each row's group where there are any."""

    values: Array
    kept: Kept
    groups: Sequence[Any] = ()


# In ----------------------------------------------------------------------------------------------


def read(source: str, spec: Spec, want: Wanted = EVERYTHING) -> Array:
    """Read all of `source`, a path or ``-``: (T, I) from a table, any shape from .npy or .npz; ids without I.

    Raises
    ------
    DataError
        When it is empty, no array of numbers, or not as wide as `spec` says.
    """
    return read_input(source, spec, want).values


def read_input(source: str, spec: Spec, want: Wanted) -> Input:
    """Read `source` as `read` does, from the columns of `want` where it is a table, and the columns to keep.

    Raises
    ------
    DataError
        As `read`, when columns are not there, and when there are any to choose and `source` is no table.
    """
    name, data = shown(source), _bytes(source)
    if not data.startswith((NPY_MAGIC, *ZIP_MAGIC)):
        if _parquet.is_parquet(source, data):
            with whole(f"{name}: input", "a whole Parquet file"):
                table = _parquet.read(data, name, spec, want)
            found = Input(table.values, Kept(table.names, table.kept, True), table.groups)
        else:
            lines = _tables.Table(iter(io.BytesIO(data).readline, b""), name, spec, want)
            columns = lines.whole(data)
            found = Input(columns.values, Kept(lines.kept, columns.kept, lines.has_header), columns.groups)
        if not len(found.values):
            raise DataError(f"{name}: input must have at least one row of numbers, got none")
        return found
    if want != EVERYTHING:
        raise DataError(f"{name}: input must be a table (CSV or Parquet) to choose columns from, got a NumPy file")
    kind = ".npz" if data.startswith(ZIP_MAGIC) else ".npy"
    with whole(f"{name}: input", f"a whole {kind} file of numbers"):
        if data.startswith(NPY_MAGIC):
            return Input(_numbers(np.load(io.BytesIO(data), allow_pickle=False), spec, f"{name}: input"), Kept([], []))
        archive = _archive(data, name)
        if len(archive.files) != 1:
            raise DataError(f"{name}: input must be a .npz file of one array, got {nearest(None, archive.files)}")
        return Input(_numbers(archive[archive.files[0]], spec, f"{name}: input"), Kept([], []))


def _bytes(source: str) -> bytes:
    """Read all of `source`; the first line alone where that has no end, so that reading ends."""
    with contextlib.ExitStack() as stack:
        file = sys.stdin.buffer if source == "-" else stack.enter_context(open(source, "rb"))
        with naming_file(source):
            first = file.readline(_tables.LONGEST)
            endless = len(first) >= _tables.LONGEST and not first.startswith((NPY_MAGIC, *ZIP_MAGIC, _parquet.MAGIC))
            return first if endless else first + file.read()


def read_inputs(source: str, inputs: Mapping[str, Spec], want: Wanted = EVERYTHING) -> Array | dict[str, Array]:
    """Read the input of a model: one array, or for several inputs a .npz file with an array of each name.

    Raises
    ------
    DataError
        As `read`, and when the names are others.
    """
    if len(inputs) == 1:
        return read(source, next(iter(inputs.values())), want)
    if want != EVERYTHING:
        raise DataError(f"model must have one input to choose columns of a table for, got {nearest(None, inputs)}")
    name, data = shown(source), _bytes(source)
    if not data.startswith(ZIP_MAGIC):
        raise DataError(f"{name}: input must be a .npz file of the arrays {', '.join(inputs)}, got another file")
    with whole(f"{name}: input", "a whole .npz file of numbers"):
        archive = _archive(data, name)
        if set(archive.files) != set(inputs):
            got = nearest(None, archive.files)
            raise DataError(f"{name}: input must be a .npz file of the arrays {', '.join(inputs)}, got {got}")
        return {key: _numbers(archive[key], spec, f"{name}: input {key!r}") for key, spec in inputs.items()}


def _archive(data: bytes, name: str) -> Any:
    """A .npz file, whose arrays are read when they are asked for."""
    archive = np.load(io.BytesIO(data), allow_pickle=False)
    if WORKBOOK in archive.zip.namelist():
        raise DataError(f"{name}: input must be CSV, Parquet, .npy or .npz, got an Excel workbook: save it as CSV")
    other = [info.filename for info in archive.zip.infolist() if info.compress_type not in PLAIN]
    if other:
        raise DataError(f"{name}: arrays of a .npz file must be stored or deflated, got {other[0]!r} packed otherwise")
    return archive


@contextmanager
def whole(what: str, expected: str) -> Iterator[None]:
    """Turn whatever NumPy raises for a file that is damaged, or of something else, into an error that names it."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{what} must fit into memory, got {error}") from error
    except Exception as error:  # the header is Python, the archive a zip file: the list of what these raise is long
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{what} must be {expected}: {error}") from error


def _numbers(array: Any, spec: Spec, what: str) -> Array:
    """Return `array` if its numbers are of the kind that an input takes."""
    if not isinstance(array, np.ndarray):
        raise DataError(f"{what} must be a .npz file of arrays, got another file in it")
    kinds, expected = {"int": ("iu", "integer ids"), "bool": ("b", "bools")}.get(spec.dtype, ("fiu", "real numbers"))
    if array.dtype.kind not in kinds:
        raise DataError(f"{what} must be {expected}, got {array.dtype}")
    return array


@contextmanager
def lines_of(source: str) -> Iterator[Iterator[bytes]]:
    """The lines of `source`, a path or ``-``, each when it is asked for and none longer than `_tables.LONGEST`."""
    if source == "-":
        yield iter(lambda: sys.stdin.buffer.readline(_tables.LONGEST), b"")
        return
    with open(source, "rb") as file:
        yield iter(lambda: _line(file, source), b"")


def _line(file: BinaryIO, source: str) -> bytes:
    with naming_file(source):
        return file.readline(_tables.LONGEST)


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the name of the input in front of errors about it, but of those that begin with it."""
    name = shown(source)
    try:
        yield
    except (ValueError, TypeError) as error:
        if isinstance(error, DataError) and str(error).startswith(f"{name}: "):
            raise
        raise DataError(f"{name}: {error}") from error


def shown(source: str) -> str:
    """Return the name of `source` in messages."""
    return "standard input" if source == "-" else source


# Out ---------------------------------------------------------------------------------------------


def as_csv(outputs: dict[str, Array], kept: Kept | None = None, want: Wanted = EVERYTHING) -> bytes:
    """One output (O,), (T, O) or (1, T, O) as CSV, behind the cells of `kept` and under their names.

    Raises
    ------
    DataError
        When there are several outputs or sequences, or not a row of the output for each of `kept`.
    """
    rows = _rows(_only(outputs, "CSV"), "CSV")
    if kept is None:
        return _tables.encode(rows, (), want).encode()
    _check_count(rows, kept)
    head = f"{_tables.header(kept.names, next(iter(outputs)), rows.shape[1], want.separator)}\n" if kept.header else ""
    return (head + _tables.encode(rows, kept.texts(), want)).encode(errors="backslashreplace")


def as_parquet(outputs: dict[str, Array], kept: Kept | None = None) -> bytes:
    """Outputs such as those of `as_csv`, of one number of rows, as Parquet behind the columns of `kept`.

    Raises
    ------
    DataError
        As `as_csv`, and when two columns have one name.
    MissingExtraError
        Without pyarrow.
    """
    kept = kept or Kept([], [])
    named = list(zip(kept.names or map(str, range(1, len(kept.columns) + 1)), kept.columns, strict=True))
    for output, array in outputs.items():
        rows = _rows(array, "Parquet")
        if kept.columns:
            _check_count(rows, kept)
        named += zip(_tables.titles(output, rows.shape[1]), rows.T, strict=True)
    return _parquet.encode(named)


def _rows(array: Array, what: str) -> Array:
    """Return an output as (T, O)."""
    array = array[0] if array.ndim == 3 and array.shape[0] == 1 else array
    if array.ndim > 2:
        raise DataError(
            f"output as {what} must have one row of sequences, got shape {array.shape}: write it to a .npy file with -o"
        )
    return np.atleast_2d(array)


def _check_count(rows: Array, kept: Kept) -> None:
    """Raise DataError unless each row of the output stands behind cells of the input."""
    if any(len(column) != len(rows) for column in kept.columns):
        raise DataError(
            f"output must have a row for each row of the input to keep columns, got {len(rows)} of "
            f"{len(kept.columns[0])}: --window N gives each row the output of the last N"
        )


def as_npy(outputs: dict[str, Array]) -> bytes:
    """One output as .npy."""
    buffer = io.BytesIO()
    np.save(buffer, _only(outputs, ".npy"), allow_pickle=False)
    return buffer.getvalue()


def as_npz(outputs: dict[str, Array]) -> bytes:
    """Every output by its name as .npz.

    Raises
    ------
    DataError
        When a name cannot be that of a file in an archive.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # NumPy's savez takes no array of the name of its own arguments
        for name, array in outputs.items():
            if not name.isprintable():
                raise DataError(f"name of an output in a .npz file must be printable, got {name!r}")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def _only(outputs: dict[str, Array], what: str) -> Array:
    if len(outputs) != 1:
        raise DataError(
            f"output as {what} must be one array, got {nearest(None, outputs)}: write them to a .npz file with -o"
        )
    return next(iter(outputs.values()))


WRITERS: dict[str, Callable[..., bytes]] = {
    ".csv": as_csv, ".npy": as_npy, ".npz": as_npz, ".parquet": as_parquet
}  # fmt: skip


def writer(target: str) -> Callable[..., bytes]:
    """Return the encoder for `target`: CSV for ``-``, else by suffix.

    Raises
    ------
    DataError, OSError, MissingExtraError
        When the suffix is another, nothing can be written there, or the package that writes it is not installed.
    """
    suffix = ".csv" if target == "-" else Path(target).suffix.lower()
    if suffix not in WRITERS:
        raise DataError(f"output must be - or end in one of {', '.join(WRITERS)}, got {target!r}")
    if suffix == ".parquet":
        _parquet.library(f"writing {target}")
    if target != "-":
        check_target(target)
    return WRITERS[suffix]


def write(target: str, data: bytes) -> None:
    """Put `data` at `target`, whole or not at all; ``-`` is standard output."""
    if target != "-":
        return replace_file(target, data)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return None
