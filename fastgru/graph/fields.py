"""The plain fields of ops: one row per annotation, and a range for every integer.

So every op holds ints, bools, floats and tuples of them alone, and none that the engine could not count with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple

import numpy as np

from .._names import nearest

MAX_INT = 2**31 - 1  # of every integer of an op, and of the elements of a frame
MAX_STEPS = 2**24  # that an op reaches over, skips, adds or leaves out: more than four minutes of audio samples
MAX_ENTRIES = 32  # of a tuple; a frame has fewer axes


class Range(NamedTuple):
    """The least and the largest that an integer, or each of a tuple of them, may be."""

    least: int = -MAX_INT
    most: int = MAX_INT


def integer(least: int = -MAX_INT, most: int = MAX_INT, *, default: Any = dataclasses.MISSING) -> Any:
    """A dataclass field that holds an integer, None or a tuple of integers, each in a range.

    Examples
    --------
    >>> integer(1).metadata["range"]
    Range(least=1, most=2147483647)
    """
    return dataclasses.field(default=default, metadata={"range": Range(least, most)})


class Kind(NamedTuple):
    """What a field with one annotation holds: how it is made of what the caller gave, and what it must be."""

    make: Callable[[Any], Any]
    expected: str


def _int(value: Any) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError
    return int(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError
    return bool(value)


def _float(value: Any) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError
    return float(value)


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _tuple_of(make: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def build(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list | np.ndarray):
            raise TypeError
        return tuple(make(item) for item in value)

    return build


KINDS: dict[str, Kind] = {
    "int": Kind(_int, "an int"),
    "int | None": Kind(lambda value: None if value is None else _int(value), "an int or None"),
    "bool": Kind(_bool, "a bool"),
    "float": Kind(_float, "a number"),
    "float | None": Kind(lambda value: None if value is None else _float(value), "a number or None"),
    "str": Kind(_str, "a string"),
    "tuple[int, ...]": Kind(_tuple_of(_int), "a tuple of ints"),
    "tuple[str, ...]": Kind(_tuple_of(_str), "a tuple of strings"),
}


def short(value: Any) -> str:
    """Return `value` as text of bounded length.

    Examples
    --------
    >>> short("a" * 1000)[-5:]
    'aa...'
    """
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**60 else "an integer of more than 60 digits"
    return text if len(text) <= 200 else text[:197] + "..."


def within(problems: list[str], name: str, value: Any, allowed: Range) -> None:
    """Append a problem when an int of `value`, an op's field, leaves the range, or a tuple has too many entries."""
    entries = value if isinstance(value, tuple) else (value,)
    if len(entries) > MAX_ENTRIES:
        problems.append(f"{name} must have at most {MAX_ENTRIES} entries, got {len(entries)}")
    numbers = [n for n in entries if type(n) is int]
    if min(numbers, default=allowed.least) < allowed.least:
        problems.append(f"{name} must be at least {allowed.least}, got {short(value)}")
    if max(numbers, default=allowed.most) > allowed.most:
        problems.append(f"{name} must be at most {allowed.most}, got {short(value)}")


def one_of(problems: list[str], name: str, value: Any, allowed: Iterable[str]) -> None:
    """Append a problem when `value` is none of `allowed`."""
    if value not in (names := tuple(allowed)):
        problems.append(f"{name} must be one of {nearest(value, names)}, got {short(value)}")


def finite(problems: list[str], **values: float) -> None:
    """Append a problem for each of `values` that is no finite number."""
    problems += [f"{n} must be finite, got {v!r}" for n, v in values.items() if not math.isfinite(v)]


def distinct(problems: list[str], **values: Container[Any]) -> None:
    """Append a problem for each tuple that has an entry twice."""
    for name, value in values.items():
        if len(set(value)) != len(value):  # type: ignore[call-overload, arg-type]
            problems.append(f"{name} must be distinct, got {value}")
