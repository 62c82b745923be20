"""Columns of a table: the options that choose them, and their places in a header or a first line."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Sequence
from typing import NamedTuple

from .._hints import either
from .._names import SHOWN, counted, nearest
from ..errors import DataError
from ..graph import Spec

FEW = 6  # columns that an example names one by one
CLOSE = 0.5  # likeness of difflib from which a column of the header is suggested
TAB = ("tab", "\\t")  # words for a separator that is hard to type


class Words(NamedTuple):
    """Words of messages for the columns of a table.

    Attributes
    ----------
    options : tuple of (str, str)
        Columns and the options that name them, where these are others than ``--columns``, ``--keep`` and ``--group``.
    learned : tuple of str
        Columns that no option names: those that the model was trained with.
    group : str
        The sequence that a row belongs to.
    missing : str
        What to do about a missing cell.
    """

    options: tuple[tuple[str, str], ...] = ()
    learned: tuple[str, ...] = ()
    group: str = "group"
    missing: str = "fill in missing values, or leave out their rows"

    def option(self, column: str, usual: str) -> str:
        """Return the option that names a column."""
        return dict(self.options).get(column, usual)


class Wanted(NamedTuple):
    """The columns of a table to read, and how its cells are written.

    Attributes
    ----------
    columns : tuple of str or None
        The features in the order of the model's, by name, or by number from 1 where there is no header; all columns
        that are neither kept nor the group's when None.
    keep : tuple of str
        Columns carried to the output.
    group : tuple of str
        Columns whose cells name the sequence that a row belongs to; carried to the output in front of `keep`.
    separator, decimal : str
        The character between cells, and the one before the fraction of a number.
    header : bool or None
        Whether the first line of a CSV holds the names of its columns; None to find out.
    optional : tuple of str
        Those of `keep` and `group` that the table need not have.
    words : Words
    """

    columns: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()
    group: tuple[str, ...] = ()
    separator: str = ","
    decimal: str = "."
    header: bool | None = None
    optional: tuple[str, ...] = ()
    words: Words = Words()

    @property
    def carried(self) -> tuple[tuple[str, str], ...]:
        """Each column of the output once, as the option that asks for it and its name."""
        group = [(self.words.option(name, "--group"), name) for name in self.group if name not in self.keep]
        return (*group, *((self.words.option(name, "--keep"), name) for name in self.keep))

    def there(self, header: Sequence[str] | None) -> Wanted:
        """Return the same without the optional columns that a header lacks."""
        left = [name for name in self.optional if name not in (header or ())]
        keep, group = (tuple(name for name in names if name not in left) for names in (self.keep, self.group))
        return self._replace(keep=keep, group=group) if left else self


EVERYTHING = Wanted()


def wanted(
    columns: str | None,
    keep: str | None = None,
    group: str | None = None,
    separator: str = ",",
    decimal: str = ".",
    header: bool | None = None,
) -> Wanted:
    """Read the options ``--columns``, ``--keep``, ``--group``, ``--separator``, ``--decimal`` and ``--header``.

    Raises
    ------
    DataError
        When a list is empty or names a column twice, a character cannot separate cells or begin a fraction, or names
        are given for a table without a header.

    Examples
    --------
    >>> wanted('price,"a, b"').columns
    ('price', 'a, b')
    """
    separator = "\t" if separator in TAB else separator
    if decimal not in (".", ","):
        raise DataError(f"--decimal must be . or a comma, got {decimal!r}")
    if len(separator) != 1 or separator.isalnum() or separator in '"\r\n+-._\0':
        raise DataError(f"--separator must be one character such as ; or |, or the word tab, got {separator!r}")
    if separator == decimal:
        raise DataError("--separator must be another character than --decimal, got a comma for both: --separator ';'")
    given = [
        None if text is None else names(text, option)
        for option, text in (("--columns", columns), ("--keep", keep), ("--group", group))
    ]
    named = [word for words in given for word in words or () if not is_index(word)]
    if named and header is False:
        raise DataError(f"columns must be numbers from 1 with --no-header, got {named[0]!r}")
    return Wanted(given[0], given[1] or (), given[2] or (), separator, decimal, header)


def names(text: str, option: str) -> tuple[str, ...]:
    """Return the names of columns in the value of an option."""
    try:
        found = tuple(name.strip() for row in csv.reader([text], strict=True) for name in row)
    except csv.Error as error:
        raise DataError(f"{option} must be names of columns separated by commas, got {text!r}: {error}") from error
    if not all(found) or not found:
        raise DataError(f"{option} must be names of columns separated by commas, got {text!r}")
    twice = [name for name in dict.fromkeys(found) if found.count(name) > 1]
    if twice:
        raise DataError(f"{option} must name each column once, got {twice[0]!r} twice")
    return found


class Layout(NamedTuple):
    """The places of the wanted columns in a table.

    Attributes
    ----------
    features, carried, group : list of int
        Places of the columns to feed, of those carried to the output, and of those that name a row's sequence.
    width : int
        Number of columns of the table.
    names : list of str
        Names of the columns carried to the output; empty without a header.
    """

    features: list[int]
    carried: list[int]
    group: list[int]
    width: int
    names: list[str]


def layout(want: Wanted, spec: Spec, header: Sequence[str] | None, width: int, where: str) -> Layout:
    """Find the wanted columns by the names in `header`, or by number where there is none.

    Parameters
    ----------
    spec : Spec
        The input of the model.
    where : str
        File, and line of the header, for messages.

    Raises
    ------
    DataError
        When a column is not there, or there are not as many as the model takes.
    """
    want = want.there(header)
    words = want.words
    carried = [_place(word, header, width, f"{where}: column of {option}", want) for option, word in want.carried]
    group = [
        _place(word, header, width, f"{where}: column of {words.option(word, '--group')}", want) for word in want.group
    ]
    _check_learned(words.learned, header, where)
    features = _features(want, spec, header, width, set(carried), where)
    return Layout(features, carried, group, width, [] if header is None else [header[i] for i in carried])


def _check_learned(learned: Sequence[str], header: Sequence[str] | None, where: str) -> None:
    """Raise DataError unless a header has the columns that the model was trained with."""
    absent = [name for name in learned if name not in (header or ())]
    if absent:
        raise DataError(
            f"{where} must have the columns {', '.join(learned)}, which the model reads beside the values, got no "
            f"{' and no '.join(map(repr, absent))} ({_titles(header or ())})"
        )


def _features(
    want: Wanted, spec: Spec, header: Sequence[str] | None, width: int, others: set[int], where: str
) -> list[int]:
    """Return the places of the model's features."""
    expected = spec.shape[0] if spec.shape else 1
    if want.columns is not None:
        if len(want.columns) != expected:
            got = f"{len(want.columns)}: {', '.join(want.columns)}"
            raise DataError(f"--columns must name {counted(expected, 'column')}, as many as the model takes, got {got}")
        options = [want.words.option(word, "--columns") for word in want.columns]
        return [
            _place(word, header, width, f"{where}: column of {option}", want)
            for word, option in zip(want.columns, options, strict=True)
        ]
    left = [i for i in range(width) if i not in others]
    if len(left) != expected:
        group, keep = len(want.group), len(others) - len(want.group)
        more = (f" and {group} for --group" if group else "") + (f" and {keep} to keep" if keep else "")
        names = nearest(None, header or (), 10)
        told = either(f": the header has {names}", f": --columns chooses from {names}")
        if not header:
            first = f"1,2,...,{expected}" if expected > FEW else ",".join(map(str, range(1, expected + 1)))
            told = either("", f": choose {expected} with --columns, such as {first}")
        hint = told if len(left) > expected else ""
        raise DataError(f"{where} must have {counted(expected, 'column')}{more}, got {width}{hint}")
    return left


def _place(word: str, header: Sequence[str] | None, width: int, what: str, want: Wanted) -> int:
    """Return the index of a wanted column."""
    if header is None:
        if not 1 <= int(word) <= width:
            raise DataError(f"{what} must be in 1..{width}, got {word}")
        return int(word) - 1
    places = [i for i, title in enumerate(header) if title == word]
    if len(places) > 1:
        numbers = " and ".join(str(i + 1) for i in places)
        raise DataError(f"{what} must be in the header once, got {word!r} as columns {numbers}")
    if not places:
        raise DataError(f"{what} must be one of the header, got {word!r} ({_suggestion(word, header, want)})")
    return places[0]


def _suggestion(word: str, header: Sequence[str], want: Wanted) -> str:
    """Name the columns that may be meant."""
    if want.header and any(is_number(title, want.decimal) for title in header):
        return f"line 1, which must name the columns, has {nearest(None, header, 10)}"
    if all(map(is_number, header)):
        return f"line 1 holds numbers, no header: choose columns by number, 1 to {len(header)}"
    near = difflib.get_close_matches(word.lower(), [title.lower() for title in header], 3, CLOSE)
    said = [title[:SHOWN] for title in header if title.lower() in near]
    return f"nearest: {', '.join(said)}" if said else _titles(header)


def _titles(header: Sequence[str]) -> str:
    return f"the header has {nearest(None, header, 10)}"


def is_index(word: str) -> bool:
    """True if `word` can be the number of a column."""
    return word.isascii() and word.isdigit() and len(word) < 10


def is_number(cell: str, decimal: str = ".") -> bool:
    """True if `cell` is a number of Python's, with `decimal` before its fraction."""
    try:
        float(plain(cell, decimal))
    except ValueError:
        return False
    return True


def plain(cell: str, decimal: str) -> str:
    """Return a cell's number with a point before its fraction; ValueError for digits in groups.

    Python would read ``1_000``, and ``1.234`` where the comma begins a fraction, as other numbers than are meant.
    """
    if "_" in cell or (decimal == "," and "." in cell):
        raise ValueError
    return cell.replace(",", ".") if decimal == "," else cell
