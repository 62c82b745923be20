"""Cells of CSV that are not as they must be: descriptions of them, and what to do."""

from __future__ import annotations

import re

from .._hints import either
from ._columns import Wanted, is_number, plain

MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-")  # ways to leave a cell out, in lower case


def wrong(cell: str, ids: bool, want: Wanted) -> str:
    """Describe a cell that is no number, and what to do; empty if it is one."""
    if cell.lower() in MISSING:
        got = repr(cell) if cell else "an empty cell"
        return f"{got}: fill in missing values, or leave out their rows"
    try:
        number = int(plain(cell, want.decimal)) if ids else float(plain(cell, want.decimal))
        if not ids or abs(number) < 2**63:
            return ""
    except ValueError:
        pass
    got = repr(cell[:40])
    if want.decimal == "." and re.fullmatch(r"[+-]?\d*,\d+", cell):
        return got + either("", ": --decimal , reads decimal commas")
    if want.decimal == "," and is_number(cell):
        return f"{got}: --decimal , takes numbers without points"
    return got


def other_separator(cell: str, want: Wanted) -> tuple[str, str] | None:
    """Name what separates the cells of a line in place of the separator, and the option or action that reads it."""
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "bars"), (None, "spaces")):
        parts = cell.split(separator)
        if separator == want.separator or separator == want.decimal or len(parts) < 2:
            continue
        if separator:
            return name, f"--separator {'tab' if separator == chr(9) else repr(separator)}"
        if all(map(is_number, parts)):
            return name, "--separator ' '"
    return None
