"""Checks of options that several commands take."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..errors import ConvertError, DataError
from ..files.writing import check_target

NOTHING = "none"  # of --state: no input carries on an output


def one_of(option: str, value: str | None, allowed: Iterable[str]) -> None:
    """Raise DataError unless `value` is one of the allowed ones, or not given."""
    if value is not None and value not in allowed:
        raise DataError(f"{option} must be one of {', '.join(allowed)}, got {value!r}")


def model_target(output: Path) -> None:
    """Raise DataError or OSError unless a model can be written to `output`: a new .fgru file, one to replace, a device.

    Called before long work.
    """
    found = check_target(output)
    if (found is None or stat.S_ISREG(found.st_mode)) and output.suffix.lower() != ".fgru":
        raise DataError(f"--output must end in .fgru, got {str(output)!r}: write {str(output.with_suffix('.fgru'))!r}")


def positive(option: str, value: float | None) -> None:
    """Raise DataError unless `value` is above zero, or not given."""
    if value is not None and not value > 0:
        raise DataError(f"{option} must be a positive number, got {value:g}")


def pairs(option: str, texts: list[str] | None, read: Callable[[str], Any]) -> dict[str, Any] | None:
    """Parse ``name=value`` texts into a dict, which the word ``none`` leaves empty; None where there are no texts."""
    if texts == [NOTHING]:
        return {}
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, word = text.partition("=")
        try:
            if not name or not equals:
                raise ValueError
            value = read(word)
        except ValueError:
            raise ConvertError(f"{option} must be NAME=VALUE, got {text!r}") from None
        if name in found:
            raise ConvertError(f"{option} must give each name once, got {name!r} twice")
        found[name] = value
    return found or None


def number(text: str) -> int | float:
    """Parse an integer where the text is one, else a float."""
    try:
        return int(text)
    except ValueError:
        return float(text)
