"""Checks of options that several commands take."""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConvertError, DataError
from ..files.writing import check_target
from ._ending import CommandLineError

Source = Annotated[
    str,
    typer.Argument(
        help="Input: a table with a step a row, CSV or .parquet; .npy or .npz of shape (T, I) or (B, T, I); - for"
        " standard input. Several inputs: one .npz with an array of each name."
    ),
]
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


def whole(option: str, least: int, most: float = math.inf) -> Callable[[Any], int]:
    """Return a parser of the whole numbers that an option takes, which raises CommandLineError for other words."""
    return _parser(option, int, f"a whole number {_limits(least, most)}", lambda value: least <= value <= most)


def real(option: str, least: float, most: float = math.inf) -> Callable[[Any], float]:
    """Return the same of real numbers."""
    return _parser(option, float, f"a number {_limits(least, most)}", lambda value: least <= value <= most)


def positive(option: str) -> Callable[[Any], float]:
    """Return the same of numbers above zero."""
    return _parser(option, float, "a positive number such as 0.01", lambda value: value > 0)


def _limits(least: float, most: float) -> str:
    return f"of at least {least}" if most == math.inf else f"from {least} to {most}"


def _parser(
    option: str, kind: Callable[[str], Any], expected: str, fits: Callable[[Any], bool]
) -> Callable[[Any], Any]:
    """Return a function that makes a `kind` of a word; typer also gives it the default, which is no text."""

    def parse(word: Any) -> Any:
        try:
            value = kind(str(word))
            if fits(value):
                return value
        except ValueError:
            pass
        raise CommandLineError(f"{option} must be {expected}, got {str(word)!r}")

    return parse


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
