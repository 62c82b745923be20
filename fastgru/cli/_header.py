"""The first line of a table of CSV: names of columns, or data."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence

from ._cells import MISSING
from ._columns import Layout, Wanted, is_index, is_number

YEAR = re.compile(r"(19|20)\d\d")


def is_header(cells: Sequence[str], following: Callable[[], Sequence[str]], want: Wanted) -> bool:
    """True if the first line of a table holds the names of its columns.

    It does where the options say so; where a column is asked for by a name, or by a number that only a name can be;
    where none of its cells is a number; and where one is a word above a number.

    Parameters
    ----------
    following : callable
        Return the cells of the next line, which is read only where the first holds both numbers and words.
    """
    if want.header is not None:
        return want.header
    titles = [cell.strip() for cell in cells]
    words = (*(want.columns or ()), *want.keep, *want.group)
    if not all(map(is_index, words)):
        return True
    if any(int(word) > len(titles) for word in words) and set(words) <= set(titles):
        return True
    if not any(is_number(title, want.decimal) and title.lower() != "nan" for title in titles):
        return any(title.lower() not in MISSING for title in titles)
    if not any(map(_is_word, titles)):
        return False
    return any(_is_word(a) and is_number(b, want.decimal) for a, b in zip(titles, following(), strict=False))


def _is_word(cell: str) -> bool:
    """True if a cell begins with a letter and stands for no number, not even a missing one."""
    first = next(filter(str.isalnum, cell), "")
    return first.isalpha() and not is_number(cell) and cell.lower() not in MISSING


def warn_of_years(cells: Sequence[str], layout: Layout, want: Wanted, where: str) -> None:
    """Warn where a first line taken for data has years in the columns to feed, which may be their names."""
    years = [cells[i].strip() for i in layout.features]
    if want.header is None and 1 < len(years) == len(set(years)) and all(map(YEAR.fullmatch, years)):
        warnings.warn(
            f"{where} is read as data, though its numbers look like years: --header reads it as names of columns, "
            "--no-header as data without this warning",
            stacklevel=2,
        )
