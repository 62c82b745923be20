"""Tables of CSV: a row a time step, columns chosen by name or number, others carried to the output as they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._hints import either
from .._names import counted
from ..errors import DataError
from ..graph import Spec
from ._cells import MISSING, are_finite, decimal_commas, other_separator, wrong
from ._collection import no_collection
from ._columns import EVERYTHING, Wanted, is_number, layout, plain
from ._header import is_header, warn_of_years

Array = NDArray[Any]
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # how it begins
LONGEST = 64 << 20  # bytes of a line: one without an end must be an error
AT_ONCE = 1 << 12  # records that are parsed together: enough to spend no time on Python, few enough for the cache


class Row(NamedTuple):
    """A row of a table: the features (I,), or one id (), the cells to carry to the output, and those of its group."""

    values: Array
    kept: list[str]
    group: tuple[str, ...] = ()


class Columns(NamedTuple):
    """A table read whole.

    Attributes
    ----------
    values : (T, I) float64 or int64 array, or (T,) for one number a row
    kept : list of list of str
        The cells of each column carried to the output.
    groups : list
        The cell that names each row's sequence, a tuple of several; empty without groups.
    """

    values: Array
    kept: list[list[str]]
    groups: list[Any]


class Table:
    """A table being read: the first line when it is made, and a row for each line as it arrives.

    A first line is a header or data as `is_header` says.

    Attributes
    ----------
    kept : list of str
        Names of the columns carried to the output; empty without a header.
    has_header : bool
    """

    def __init__(self, lines: Iterator[bytes], name: str, spec: Spec, want: Wanted = EVERYTHING) -> None:
        if len(spec.shape) > 1:
            shape = "".join(f", {n}" for n in spec.shape)
            raise DataError(f"{name}: input of shape (T{shape}) must be a .npy or .npz file, got CSV")
        self.name, self.spec, self.want = name, spec, want
        self._records: Iterator[tuple[int, list[str]]] = _records(lines, name, want.separator)
        self._first = next(self._records, None)
        self.kept: list[str] = []
        self.has_header = False
        if self._first is None:
            return
        line, cells = self._first
        header = [cell.strip() for cell in cells] if is_header(cells, self._following, want) else None
        self._check_separator(line, cells)
        self._layout = layout(want, spec, header, len(cells), f"{name}: line {line}")
        self._titles = [f"column {i + 1 if header is None else repr(header[i])}" for i in range(len(cells))]
        self.kept = self._layout.names
        self.has_header = header is not None
        if self.has_header:
            self._first = None
        else:
            warn_of_years(cells, self._layout, want, f"{name}: line {line}")

    def _following(self) -> list[str]:
        """Return the cells of the next record, which is then read again; none at the end."""
        record = next(self._records, None)
        if record is None:
            return []
        self._records = chain([record], self._records)
        return record[1]

    def _check_separator(self, line: int, cells: Sequence[str]) -> None:
        """Raise DataError where one cell holds what looks like several, and more than one column is wanted."""
        named = len(self.want.columns or ()) + len(self.want.carried)
        least = named if self.want.columns is not None else (self.spec.shape or (1,))[0] + named
        other = None
        if len(cells) == 1 and least > 1:
            other = other_separator(cells[0], self.want, least)
        elif len(cells) < least:
            other = decimal_commas(cells, self.want, least)
        if other is not None:
            given = {",": "commas", ";": "semicolons", "\t": "tabs"}.get(self.want.separator, self.want.separator)
            raise DataError(
                f"{self.name}: line {line} must have cells separated by {given}, got {counted(len(cells), 'column')} "
                f"with {other[0]} in {'it' if len(cells) == 1 else 'them'}" + either("", f": {other[1]}")
            )

    def __iter__(self) -> Iterator[Row]:
        if self._first is not None:
            yield self._row(*self._first)
        for line, cells in self._records:
            yield self._row(line, cells)

    def _row(self, line: int, cells: list[str]) -> Row:
        if len(cells) != self._layout.width:
            columns = counted(self._layout.width, "column")
            raise DataError(f"{self.name}: line {line} must have {columns}, got {len(cells)}")
        parse, dtype = (int, np.int64) if self.spec.dtype == "int" else (float, np.float64)
        features = self._layout.features
        try:
            array = np.array([parse(plain(cells[i], self.want.decimal)) for i in features], dtype)
        except (ValueError, OverflowError):
            raise self._fault(line, cells) from None
        if dtype is np.float64 and not are_finite(array):
            raise self._fault(line, cells)
        group = tuple(cells[i].strip() for i in self._layout.group)
        if "" in group:
            column = self._titles[self._layout.group[group.index("")]]
            named = f"must name the {self.want.words.group} of the row, got an empty cell"
            raise DataError(f"{self.name}: line {line}, {column} {named}")
        return Row(array if self.spec.shape else array[0], [cells[i] for i in self._layout.carried], group)

    def _fault(self, line: int, cells: list[str]) -> DataError:
        """Return the error of the first cell that is no number, or too large for one."""
        ids = self.spec.dtype == "int"
        for place in self._layout.features:
            what = wrong(cells[place].strip(), ids, self.want)
            if what:
                break
        large = is_number(cells[place], self.want.decimal) and cells[place].strip().lower() not in MISSING
        kind = "an integer id below 2**63" if ids else "a finite float32 number" if large else "a number"
        return DataError(f"{self.name}: line {line}, {self._titles[place]} must be {kind}, got {what}")

    def whole(self, data: bytes) -> Columns:
        """Parse `data`, the table from its first line on, by columns; as iterating does, ten times as fast.

        Raises
        ------
        DataError
            As iterating does, which finds the line and column of what is wrong.
        """
        if self._first is None and not self.has_header:
            return Columns(np.empty(0), [], [])
        try:
            with no_collection():
                return self._by_columns(data)
        except (ValueError, OverflowError, csv.Error):  # UnicodeDecodeError is a ValueError
            rows = list(self)
        values = np.stack([row.values for row in rows]) if rows else np.empty(0)
        kept = [list(cells) for cells in zip(*(row.kept for row in rows), strict=True)]
        return Columns(values, kept, [row.group for row in rows] if self._layout.group else [])

    def _by_columns(self, data: bytes) -> Columns:
        """Parse every record of `data`; ValueError where one is not as it must be."""
        text = io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="\n")
        reader = csv.reader(text, strict=True, delimiter=self.want.separator)
        records = filter(None, reader)  # without empty lines
        if self.has_header:
            next(records)
        parts: list[Array] = []
        kept: list[list[str]] = [[] for _ in self._layout.carried]
        groups: list[Any] = []
        while rows := list(islice(records, AT_ONCE)):
            if set(map(len, rows)) != {self._layout.width}:
                raise ValueError
            columns = list(zip(*rows, strict=True))
            parts.append(np.stack([self._numbers(columns[i]) for i in self._layout.features], axis=1))
            for cells, place in zip(kept, self._layout.carried, strict=True):
                cells.extend(columns[place])
            names = [list(map(str.strip, columns[i])) for i in self._layout.group]
            if any("" in cells for cells in names):
                raise ValueError
            if names:
                groups += zip(*names, strict=True) if len(names) > 1 else names[0]
        if not parts:
            return Columns(np.empty(0), kept, groups)
        values = np.concatenate(parts)
        return Columns(values if self.spec.shape else values[:, 0], kept, groups)

    def _numbers(self, cells: tuple[str, ...]) -> Array:
        """Parse the cells of a column; ValueError where one is no number."""
        joined = "\n".join(cells)
        if "_" in joined or (self.want.decimal == "," and "." in joined):
            raise ValueError
        given: Iterable[str] = joined.replace(",", ".").split("\n") if self.want.decimal == "," else cells
        if self.spec.dtype == "int":
            return np.array(list(map(int, given)), np.int64)
        numbers = np.fromiter(map(float, given), np.float64)
        if len(numbers) != len(cells) or not are_finite(numbers):
            raise ValueError
        return numbers


# Lines ---------------------------------------------------------------------------------------------


def _records(lines: Iterator[bytes], name: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where a record begins, and its cells; empty lines are left out."""
    text = _Text(lines, name)
    reader, begin = csv.reader(text, strict=True, delimiter=separator), 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{name}: line {begin} {_broken(str(error))}") from error
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield begin, cells
        begin = text.number + 1


def _broken(said: str) -> str:
    """Describe the fault of a line that the csv module refuses."""
    if "field limit" in said:
        return f"must have cells of at most {csv.field_size_limit()} characters, got a longer one"
    if "new-line" in said:
        return "must end in LF or CRLF, got CR alone"
    if "unexpected end" in said:
        return "must close the quotes that it opens, got the end of the file"
    return f"must be CSV: {said}"


class _Text:
    """Lines of bytes as text, each read when it is asked for."""

    def __init__(self, lines: Iterator[bytes], name: str) -> None:
        self.lines, self.name, self.number = lines, name, 0

    def __iter__(self) -> _Text:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        if len(line) >= LONGEST:
            raise DataError(f"{self.name}: line {self.number} must be shorter than {LONGEST} bytes, got a longer one")
        try:
            return line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            if self.number == 1 and line.startswith((b"\x93NUMPY", b"PK\x03\x04", b"PAR1")):
                kind = "Parquet" if line.startswith(b"PAR1") else "NumPy"
                raise DataError(f"{self.name}: input of --stream must be CSV, got a {kind} file") from error
            got = "UTF-16" if self.number == 1 and line.startswith(UTF16) else repr(line[:20])
            if self.number == 1 and b"\0" in line and got != "UTF-16":
                told = f"{self.name}: input must be CSV, Parquet, .npy or .npz, got another kind of file"
                raise DataError(told) from error
            told = f"{self.name}: line {self.number} must be text in UTF-8, got {got}: save the table again in UTF-8"
            raise DataError(told) from error


# Out -----------------------------------------------------------------------------------------------


def line(row: Array, kept: Sequence[str] = (), want: Wanted = EVERYTHING) -> str:
    """A row (O,) as CSV behind the cells `kept`: the shortest digits that read back as the same number of its type."""
    return record([*kept, *_texts(np.atleast_1d(row), want.decimal)], want.separator)


def header(kept: Sequence[str], output: str, width: int, separator: str = ",") -> str:
    """The names of the columns of `line`.

    Examples
    --------
    >>> header(["date"], "dense", 2)
    'date,dense.1,dense.2'
    """
    return record([*kept, *titles(output, width)], separator)


def titles(output: str, width: int) -> list[str]:
    """Return the names of an output's columns: its own, numbered from 1 where it has several."""
    return [output] if width == 1 else [f"{output}.{i}" for i in range(1, width + 1)]


def record(cells: Sequence[str], separator: str = ",") -> str:
    """Cells as a line of CSV, quoted where they must be."""
    return separator.join(_quoted(cells, separator)) or '""'


def _quoted(cells: Sequence[str], separator: str) -> Sequence[str]:
    """Return cells with quotes around those that hold one, a separator or the end of a line."""
    special = (separator, '"', "\r", "\n")
    joined = "".join(cells)  # most columns need none: looked through at once
    if not any(c in joined for c in special):
        return cells
    quotes = ('"{}"' if any(c in cell for c in special) else "{}" for cell in cells)
    return [quoted.format(cell.replace('"', '""')) for quoted, cell in zip(quotes, cells, strict=True)]


def encode(rows: Array, kept: Sequence[Sequence[str]] = (), want: Wanted = EVERYTHING) -> str:
    """Write rows (T, O) as lines of CSV behind the columns `kept`; each is what `line` makes."""
    columns = [_quoted(cells, want.separator) for cells in kept]
    columns += [_texts(column, want.decimal) for column in np.asarray(rows).T]
    return "".join(f"{text}\n" for text in map(want.separator.join, zip(*columns, strict=True)))


def _texts(numbers: Array, decimal: str) -> list[str]:
    """Return the digits of each number."""
    texts = list(map(str, numbers))
    return [text.replace(".", ",") for text in texts] if decimal == "," else texts
