"""Arrays in files and pipes: CSV (a row a time step), .npy, and .npz of one array in; the same out."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._files import check_target, replace_file
from .._files import naming as naming_file
from ..errors import DataError
from ..graph import Spec
from . import _tables

Array = NDArray[Any]
NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the second of an empty archive
PLAIN = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
)  # what NumPy writes; others may hold more than 1,032 times their size


class Kept(NamedTuple):
    """Cells of the input that go to the output: their names, where there is a header, and those of each row."""

    names: list[str]
    rows: list[list[str]]


# In ----------------------------------------------------------------------------------------------


def read(source: str, spec: Spec) -> Array:
    """Read all of `source`, a path or ``-``: (T, I) from CSV, any shape from .npy or .npz; ids without I.

    Raises
    ------
    DataError
        When it is empty, no array of numbers, or not as wide as `spec` says.
    """
    return read_rows(source, spec, _tables.EVERYTHING)[0]


def read_rows(source: str, spec: Spec, want: _tables.Wanted) -> tuple[Array, Kept]:
    """Read `source` as `read` does, from the columns of `want` where it is CSV, and the columns to keep.

    Raises
    ------
    DataError
        As `read`, when columns are not there, and when there are any to choose and `source` is no CSV.
    """
    name = shown(source)
    with lines_of(source) as lines:
        first = next(lines, b"")
        if not first.startswith((NPY_MAGIC, *ZIP_MAGIC)):
            table = _tables.Table(chain([first] if first else [], lines), name, spec, want)
            rows = list(table)
            if not rows:
                raise DataError(f"{name}: input must have at least one row of numbers, got none")
            return np.stack([row.values for row in rows]), Kept(table.kept, [row.kept for row in rows])
        data = b"".join([first, *lines])
    if want != _tables.EVERYTHING:
        raise DataError(f"{name}: input must be CSV to choose columns from, got a NumPy file")
    kind = ".npz" if data.startswith(ZIP_MAGIC) else ".npy"
    with whole(f"{name}: input", f"a whole {kind} file of numbers"):
        if data.startswith(NPY_MAGIC):
            return _numbers(np.load(io.BytesIO(data), allow_pickle=False), spec, f"{name}: input"), Kept([], [])
        archive = _archive(data, name)
        if len(archive.files) != 1:
            got = ", ".join(archive.files) or "none"
            raise DataError(f"{name}: input must be a .npz file of one array, got {got}")
        return _numbers(archive[archive.files[0]], spec, f"{name}: input"), Kept([], [])


def read_inputs(source: str, inputs: Mapping[str, Spec]) -> Array | dict[str, Array]:
    """Read the input of a model: one array, or for several inputs a .npz file with an array of each name.

    Raises
    ------
    DataError
        As `read`, and when the names are others.
    """
    if len(inputs) == 1:
        return read(source, *inputs.values())
    name = shown(source)
    with lines_of(source) as lines:
        first = next(lines, b"")
        if not first.startswith(ZIP_MAGIC):
            raise DataError(f"{name}: input must be a .npz file of the arrays {', '.join(inputs)}, got another file")
        data = b"".join([first, *lines])
    with whole(f"{name}: input", "a whole .npz file of numbers"):
        archive = _archive(data, name)
        if set(archive.files) != set(inputs):
            got = ", ".join(archive.files) or "none"
            raise DataError(f"{name}: input must be a .npz file of the arrays {', '.join(inputs)}, got {got}")
        return {key: _numbers(archive[key], spec, f"{name}: input {key!r}") for key, spec in inputs.items()}


def _archive(data: bytes, name: str) -> Any:
    """A .npz file, whose arrays are read when they are asked for."""
    archive = np.load(io.BytesIO(data), allow_pickle=False)
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
    """Put the name of the input in front of errors about it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise DataError(f"{shown(source)}: {error}") from error


def shown(source: str) -> str:
    """Return the name of `source` in messages."""
    return "standard input" if source == "-" else source


# Out ---------------------------------------------------------------------------------------------


def as_csv(outputs: dict[str, Array], kept: Kept | None = None) -> bytes:
    """One output (O,), (T, O) or (1, T, O) as CSV, behind the cells of `kept` and under their names.

    Raises
    ------
    DataError
        When there are several outputs or sequences, or not a row of the output for each of `kept`.
    """
    array = _only(outputs, "CSV")
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim > 2:
        raise DataError(
            f"output as CSV must have one row of sequences, got shape {array.shape}: write it to a .npy file with -o"
        )
    rows = np.atleast_2d(array)
    if kept is None:
        return "".join(f"{_tables.line(row)}\n" for row in rows).encode()
    if len(rows) != len(kept.rows):
        raise DataError(
            f"output must have a row for each row of the input to keep columns, got {len(rows)} of {len(kept.rows)}"
        )
    lines = [_tables.header(kept.names, next(iter(outputs)), rows.shape[1])] if kept.names else []
    lines += [_tables.line(row, cells) for row, cells in zip(rows, kept.rows, strict=True)]
    return "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")


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
            f"output as {what} must be one array, got {', '.join(outputs)}: write them to a .npz file with -o"
        )
    return next(iter(outputs.values()))


WRITERS: dict[str, Callable[[dict[str, Array]], bytes]] = {".csv": as_csv, ".npy": as_npy, ".npz": as_npz}


def writer(target: str) -> Callable[[dict[str, Array]], bytes]:
    """Return the encoder for `target`: CSV for ``-``, else by suffix.

    Raises
    ------
    DataError, OSError
        When the suffix is another, or nothing can be written there.
    """
    suffix = ".csv" if target == "-" else "." + target.rpartition(".")[2].lower()
    if suffix not in WRITERS:
        raise DataError(f"output must be - or end in one of {', '.join(WRITERS)}, got {target!r}")
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
