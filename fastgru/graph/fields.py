"""The plain fields of ops: one row per annotation, so that every op holds ints, bools and tuples of them alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from typing import Any, NamedTuple

import numpy as np


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
    "tuple[int, ...]": Kind(_tuple_of(_int), "a tuple of ints"),
    "tuple[str, ...]": Kind(_tuple_of(_str), "a tuple of strings"),
}


def one_of(problems: list[str], name: str, value: Any, allowed: Iterable[str]) -> None:
    """Append a problem when `value` is none of `allowed`."""
    if value not in (names := tuple(allowed)):
        problems.append(f"{name} must be one of {', '.join(names)}, got {value!r}")


def at_least(problems: list[str], least: int, **values: int | tuple[int, ...]) -> None:
    """Append a problem for each of `values`, an int or a tuple of them, with one below `least`."""
    for name, value in values.items():
        if min(value if isinstance(value, tuple) else (value,), default=least) < least:
            problems.append(f"{name} must be at least {least}, got {value}")


def finite(problems: list[str], **values: float) -> None:
    """Append a problem for each of `values` that is no finite number."""
    problems += [f"{n} must be finite, got {v!r}" for n, v in values.items() if not math.isfinite(v)]


def distinct(problems: list[str], **values: Container[Any]) -> None:
    """Append a problem for each tuple that has an entry twice."""
    for name, value in values.items():
        if len(set(value)) != len(value):  # type: ignore[call-overload, arg-type]
            problems.append(f"{name} must be distinct, got {value}")
