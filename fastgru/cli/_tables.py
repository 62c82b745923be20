"""Tables of CSV: a row a time step, columns chosen by name or number, others carried to the output as they are."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..graph import Spec

Array = NDArray[Any]
LONGEST = 64 << 20  # bytes of a line: one without an end must be an error
NEAREST = 3  # names that a message about an unknown column suggests


class Wanted(NamedTuple):
    """The columns of a table to read.

    Attributes
    ----------
    columns : tuple of str or None
        The features in the order of the model's, by name, or by number from 1 where there is no header; all columns
        that are not kept when None.
    keep : tuple of str
        Columns carried to the output.
    """

    columns: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()


EVERYTHING = Wanted()


def wanted(columns: str | None, keep: str | None) -> Wanted:
    """The columns of ``--columns`` and ``--keep``.

    Raises
    ------
    DataError
        When a list is empty, or names a column twice.

    Examples
    --------
    >>> wanted('price,"a, b"', None)
    Wanted(columns=('price', 'a, b'), keep=())
    """
    return Wanted(None if columns is None else _names(columns, "--columns"), _names(keep, "--keep") if keep else ())


def _names(text: str, option: str) -> tuple[str, ...]:
    try:
        names = tuple(name.strip() for row in csv.reader([text], strict=True) for name in row)
    except csv.Error as error:
        raise DataError(f"{option} must be names of columns separated by commas, got {text!r}: {error}") from error
    if not all(names) or not names:
        raise DataError(f"{option} must be names of columns separated by commas, got {text!r}")
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"{option} must name each column once, got {twice[0]!r} twice")
    return names


class Row(NamedTuple):
    """A row of a table: the features (I,), or one id (), and the cells to carry to the output."""

    values: Array
    kept: list[str]


class Table:
    """A table being read: the first line when it is made, and a row for each line as it arrives.

    A first line is a header where columns are wanted by name, or none of its cells is a number.

    Attributes
    ----------
    kept : list of str
        Names of the columns carried to the output; empty without a header.
    """

    def __init__(self, lines: Iterator[bytes], name: str, spec: Spec, want: Wanted = EVERYTHING) -> None:
        if len(spec.shape) > 1:
            shape = "".join(f", {n}" for n in spec.shape)
            raise DataError(f"{name}: input of shape (T{shape}) must be a .npy or .npz file, got CSV")
        self.name, self.spec, self.want = name, spec, want
        self._records = _records(lines, name)
        self._first = next(self._records, None)
        self.kept: list[str] = []
        if self._first is None:
            return
        line, cells = self._first
        header = [cell.strip() for cell in cells] if self._is_header(cells) else None
        self._width = len(cells)
        self._kept = [self._place(word, header, line, "--keep") for word in want.keep]
        self._columns = self._features(header, line, cells)
        self._titles = [f"column {i + 1 if header is None else repr(header[i])}" for i in range(len(cells))]
        if header is not None:
            self.kept = [header[i] for i in self._kept]
            self._first = None

    def _is_header(self, cells: Sequence[str]) -> bool:
        words = (*(self.want.columns or ()), *self.want.keep)
        return not all(map(_is_index, words)) or not any(map(_is_number, cells))

    def _features(self, header: list[str] | None, line: int, cells: list[str]) -> list[int]:
        """Return the places of the model's features."""
        expected = self.spec.shape[0] if self.spec.shape else 1
        if self.want.columns is not None:
            if len(self.want.columns) != expected:
                got = f"{len(self.want.columns)}: {', '.join(self.want.columns)}"
                raise DataError(f"--columns must name {expected} column(s), as many as the model takes, got {got}")
            return [self._place(word, header, line, "--columns") for word in self.want.columns]
        left = [i for i in range(self._width) if i not in self._kept]
        if len(left) != expected:
            kept = f" and {len(self._kept)} to keep" if self._kept else ""
            hint = f": --columns chooses from {_listed(header)}" if header and len(left) > expected else ""
            if self._width == 1 and (other := _other_separator(cells[0])):
                hint = f": cells must be separated by commas, got {other}"
            raise DataError(f"{self.name}: line {line} must have {expected} column(s){kept}, got {self._width}{hint}")
        return left

    def _place(self, word: str, header: list[str] | None, line: int, option: str) -> int:
        """Return the index of a wanted column."""
        where = f"{self.name}: line {line}: column of {option}"
        if header is None:
            if not 1 <= int(word) <= self._width:
                raise DataError(f"{where} must be in 1..{self._width}, got {word}")
            return int(word) - 1
        places = [i for i, title in enumerate(header) if title == word]
        if len(places) > 1:
            numbers = " and ".join(str(i + 1) for i in places)
            raise DataError(f"{where} must be in the header once, got {word!r} as columns {numbers}")
        if not places:
            near = difflib.get_close_matches(word.lower(), [title.lower() for title in header], NEAREST, 0.5)
            said = [title for title in header if title.lower() in near]
            hint = f"nearest: {_listed(said)}" if said else f"the header has {_listed(header)}"
            if all(map(_is_number, header)):
                hint = f"line 1 holds numbers, no header: choose columns by number, 1 to {self._width}"
            raise DataError(f"{where} must be one of the header, got {word!r} ({hint})")
        return places[0]

    def __iter__(self) -> Iterator[Row]:
        if self._first is not None:
            yield self._row(*self._first)
        for line, cells in self._records:
            yield self._row(line, cells)

    def _row(self, line: int, cells: list[str]) -> Row:
        if len(cells) != self._width:
            raise DataError(f"{self.name}: line {line} must have {self._width} column(s), got {len(cells)}")
        parse, dtype = (int, np.int64) if self.spec.dtype == "int" else (float, np.float64)
        try:
            array = np.array([parse(cells[i]) for i in self._columns], dtype)
        except (ValueError, OverflowError):
            raise self._fault(line, cells, parse) from None
        return Row(array if self.spec.shape else array[0], [cells[i] for i in self._kept])

    def _fault(self, line: int, cells: list[str], parse: Callable[[str], float]) -> DataError:
        """The error of the first cell that is no number."""
        kind = "an integer id below 2**63" if parse is int else "a number"
        wrong = next(i for i in self._columns if not _fits(cells[i], parse))
        got = repr(cells[wrong].strip()[:40])
        return DataError(f"{self.name}: line {line}, {self._titles[wrong]} must be {kind}, got {got}")


def _other_separator(cell: str) -> str:
    """Return the name of what separates numbers in a line without commas; empty if there are none."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), (None, "spaces")):
        parts = cell.split(separator)
        if len(parts) > 1 and (separator or all(map(_is_number, parts))):
            return name
    return ""


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(name[:40] or "''" for name in names[:most]) + more


# Lines ---------------------------------------------------------------------------------------------


def _records(lines: Iterator[bytes], name: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the line where a record begins, and its cells; empty lines are left out."""
    text = _Text(lines, name)
    reader, begin = csv.reader(text, strict=True), 1
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
            if self.number == 1 and line.startswith((b"\x93NUMPY", b"PK\x03\x04")):
                raise DataError(f"{self.name}: input of --stream must be CSV, got a NumPy file") from error
            raise DataError(f"{self.name}: line {self.number} must be text in UTF-8, got {line[:20]!r}") from error


def _is_index(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10


def _is_number(cell: str) -> bool:
    return _fits(cell, float)


def _fits(cell: str, parse: Callable[[str], float]) -> bool:
    """True if `cell` is a number, or an id that 64 bits hold."""
    try:
        value = parse(cell)
    except ValueError:
        return False
    return parse is float or abs(value) < 2**63


# Out -----------------------------------------------------------------------------------------------


def line(row: Array, kept: Sequence[str] = ()) -> str:
    """A row (O,) as CSV behind the cells `kept`: the shortest digits that read back as the same number of its type."""
    return record([*kept, *map(str, np.atleast_1d(row))])


def header(kept: Sequence[str], output: str, width: int) -> str:
    """The names of the columns of `line`: those of `kept`, then the output's, numbered from 1 where it has several.

    Examples
    --------
    >>> header(["date"], "dense", 2)
    'date,dense.1,dense.2'
    """
    return record([*kept, *([output] if width == 1 else [f"{output}.{i}" for i in range(1, width + 1)])])


def record(cells: Sequence[str]) -> str:
    """Cells as a line of CSV, quoted where they must be."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # cells with either of these are quoted
    return text.getvalue().removesuffix("\r\n")
