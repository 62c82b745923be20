"""Cells of CSV that are not as they must be: descriptions of them, and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._hints import either
from ._columns import Wanted, is_number, plain

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-")  # ways to leave a cell out, in lower case
BEYOND = 2.0**128 - 2.0**103  # the least number that is infinite in float32
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
GROUPED = re.compile(
    r"[+-]?\d{1,3}(?P<mark>[,.' _\u00a0\u202f])\d{3}((?P=mark)\d{3})*(?P<fraction>(?!(?P=mark))[.,]\d*)?"
)


def are_finite(numbers: Any) -> bool:
    """True if every number is finite in float32."""
    return bool((np.abs(numbers) < BEYOND).all())  # False of NaN


def wrong(cell: str, ids: bool, want: Wanted) -> str:
    """Describe a cell that is no number, or too large for one, and what to do; empty if it is a good one."""
    if cell.lower() in MISSING:
        got = repr(cell) if cell else "an empty cell"
        return f"{got}: {want.words.missing}"
    try:
        number = int(plain(cell, want.decimal)) if ids else float(plain(cell, want.decimal))
        if abs(number) < 2**63 if ids else are_finite(number):
            return ""
    except ValueError:
        pass
    return repr(cell[:40]) + either("", _hint(cell, want.decimal))


def _hint(cell: str, decimal: str) -> str:
    """Return what to do about a number written in another way: in groups of digits, or with another decimal mark."""
    grouped = GROUPED.fullmatch(cell)
    remove = "thousands separators must be removed"
    if decimal == "." and DECIMAL_COMMA.fullmatch(cell):
        return ": --decimal , reads decimal commas" + (f", or {remove}" if grouped else "")
    if decimal == "," and is_number(cell) and "_" not in cell:
        return ": --decimal , takes numbers without points" + (f": {remove}" if grouped else "")
    if not grouped:
        return ""
    other = grouped["fraction"] and grouped["fraction"][0] != decimal
    return f": {remove}" + (f", and --decimal {grouped['fraction'][0]} given" if other else "")


def decimal_commas(cells: Sequence[str], want: Wanted, least: int) -> tuple[str, str] | None:
    """Name semicolons between numbers whose decimal commas were taken for separators, and the options for them."""
    parts = ",".join(cells).split(";")
    if want.separator != "," or len(parts) < least:
        return None
    return "semicolons", "--separator ';' --decimal ,"


def other_separator(cell: str, want: Wanted, least: int) -> tuple[str, str] | None:
    """Name what separates the cells of a line in place of the separator, and the option or action that reads it.

    Spaces, which names may hold, count where they make numbers, or the `least` number of columns that are wanted.
    """
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "bars"), (None, "spaces")):
        parts = cell.split(separator)
        if separator == want.separator or separator == want.decimal or len(parts) < 2:
            continue
        if separator:
            return name, f"--separator {'tab' if separator == chr(9) else repr(separator)}"
        if all(map(is_number, parts)) or len(parts) >= least:
            return name, "--separator ' '"
    return None
