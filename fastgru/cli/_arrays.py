"""Arrays in files and pipes: CSV (a row a time step), .npy, and .npz of one array in; the same out."""

from __future__ import annotations

import io
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import FastGruError
from ..fileformat import replace_file
from ..graph import Spec

Array = NDArray[Any]
NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
# What NumPy raises for a file that is cut short, changed, or of something else.
BROKEN = (
    ValueError, EOFError, SyntaxError, OverflowError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class DataError(FastGruError, ValueError):
    """An input or output of the command line does not fit; the message names file, line and column."""


# In ----------------------------------------------------------------------------------------------


def read(source: str, spec: Spec) -> Array:
    """All of `source`, a path or ``-``: (T, I) from CSV, whatever it is from .npy or .npz; ids without I.

    Raises
    ------
    DataError
        When it is empty, no array of numbers, or not as wide as `spec` says.
    """
    name, data = shown(source), _bytes(source)
    if not data.startswith((NPY_MAGIC, ZIP_MAGIC)):
        rows = list(frames(io.BytesIO(data), name, spec))
        if not rows:
            raise DataError(f"{name}: input must have at least one row of numbers, got none")
        return np.stack(rows)
    with _whole(name, ".npy" if data.startswith(NPY_MAGIC) else ".npz"):
        array = np.load(io.BytesIO(data), allow_pickle=False)
        if data.startswith(ZIP_MAGIC):
            if len(array.files) != 1:
                got = ", ".join(array.files) or "none"
                raise DataError(f"{name}: input must be a .npz file of one array, got {got}")
            array = array[array.files[0]]
        return _numbers(array, spec, f"{name}: input")


def read_inputs(source: str, inputs: Mapping[str, Spec]) -> Array | dict[str, Array]:
    """What a model of these inputs is called with: of several, a .npz file with an array of each name.

    Raises
    ------
    DataError
        As `read`, and when the names are others.
    """
    if len(inputs) == 1:
        return read(source, *inputs.values())
    name, data = shown(source), _bytes(source)
    if not data.startswith(ZIP_MAGIC):
        raise DataError(f"{name}: input must be a .npz file of the arrays {', '.join(inputs)}, got another file")
    with _whole(name, ".npz"):
        archive = np.load(io.BytesIO(data), allow_pickle=False)
        if set(archive.files) != set(inputs):
            got = ", ".join(archive.files) or "none"
            raise DataError(f"{name}: input must be a .npz file of the arrays {', '.join(inputs)}, got {got}")
        return {key: _numbers(archive[key], spec, f"{name}: input {key!r}") for key, spec in inputs.items()}


@contextmanager
def _whole(name: str, kind: str) -> Iterator[None]:
    """What NumPy says of a damaged file, as an error that names it."""
    try:
        yield
    except DataError:
        raise
    except BROKEN as error:
        raise DataError(f"{name}: input must be a whole {kind} file of numbers, got another: {error}") from error


def _numbers(array: Any, spec: Spec, what: str) -> Array:
    """Of the kind that an input takes."""
    if not isinstance(array, np.ndarray):
        raise DataError(f"{what} must be a .npz file of arrays, got another file in it")
    if array.dtype.kind not in ("iu" if spec.dtype == "int" else "fiu"):
        kind = "integer ids" if spec.dtype == "int" else "real numbers"
        raise DataError(f"{what} must be {kind}, got {array.dtype}")
    return array


def frames(file: BinaryIO, name: str, spec: Spec) -> Iterator[Array]:
    """One frame (I,) or one id () a line of CSV as it arrives; a first line of words is a heading."""
    width = spec.shape[0] if spec.shape else 1
    for number, line in enumerate(iter(file.readline, b""), 1):
        try:
            cells = line.decode("utf-8-sig" if number == 1 else "utf-8").strip().split(",")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: line {number} must be text in UTF-8, got {line[:20]!r}") from error
        if cells == [""] or (number == 1 and not any(map(_is_number, cells))):
            continue
        if len(cells) != width:
            raise DataError(f"{name}: line {number} must have {width} column(s), got {len(cells)}")
        parse = int if spec.dtype == "int" else float
        values = [_number(cell, parse, f"{name}: line {number}, column {i}") for i, cell in enumerate(cells, 1)]
        yield np.array(values if spec.shape else values[0], dtype=np.int64 if spec.dtype == "int" else np.float64)


def open_lines(source: str) -> BinaryIO:
    """`source`, a path or ``-``, to be read line by line."""
    return sys.stdin.buffer if source == "-" else open(source, "rb")


@contextmanager
def naming(source: str) -> Iterator[None]:
    """What is said to be wrong with an input, with the name of the input before it."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise DataError(f"{shown(source)}: {error}") from error


def shown(source: str) -> str:
    """How messages call `source`."""
    return "standard input" if source == "-" else source


def _bytes(source: str) -> bytes:
    with open_lines(source) as file:
        return file.read()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, parse: Callable[[str], float], where: str) -> float:
    try:
        value = parse(cell)
    except ValueError as error:
        kind = "an integer id" if parse is int else "a number"
        raise DataError(f"{where} must be {kind}, got {cell.strip()[:40]!r}") from error
    if isinstance(value, int) and abs(value) >= 2**63:
        raise DataError(f"{where} must be an integer id, got one of {len(cell)} digits")
    return value


# Out ---------------------------------------------------------------------------------------------


def line(row: Array) -> str:
    """A row (O,) as CSV: the shortest digits that read back as the same number of its type."""
    return ",".join(map(str, np.atleast_1d(row)))


def as_csv(outputs: dict[str, Array]) -> bytes:
    """One output (O,), (T, O) or (1, T, O) as CSV."""
    array = _only(outputs, "CSV")
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim > 2:
        raise DataError(f"output as CSV must have one row of sequences, got shape {array.shape}: name a .npy file")
    return "".join(f"{line(row)}\n" for row in np.atleast_2d(array)).encode()


def as_npy(outputs: dict[str, Array]) -> bytes:
    """One output as .npy."""
    buffer = io.BytesIO()
    np.save(buffer, _only(outputs, ".npy"), allow_pickle=False)
    return buffer.getvalue()


def as_npz(outputs: dict[str, Array]) -> bytes:
    """Every output by its name as .npz."""
    if "file" in outputs:
        raise DataError("output in a .npz file must have another name than 'file', got that one")
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(outputs)
    np.savez(buffer, **named)
    return buffer.getvalue()


def _only(outputs: dict[str, Array], what: str) -> Array:
    if len(outputs) != 1:
        raise DataError(f"output as {what} must be one array, got {', '.join(outputs)}: name a .npz file")
    return next(iter(outputs.values()))


WRITERS: dict[str, Callable[[dict[str, Array]], bytes]] = {".csv": as_csv, ".npy": as_npy, ".npz": as_npz}


def writer(target: str) -> Callable[[dict[str, Array]], bytes]:
    """How `target` is written: CSV to ``-``, else by suffix."""
    suffix = ".csv" if target == "-" else "." + target.rpartition(".")[2].lower()
    if suffix not in WRITERS:
        raise DataError(f"output must be - or end in one of {', '.join(WRITERS)}, got {target!r}")
    return WRITERS[suffix]


def write(target: str, data: bytes) -> None:
    """Put `data` at `target`, whole or not at all; ``-`` is standard output."""
    if target != "-":
        return replace_file(target, data)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    return None
