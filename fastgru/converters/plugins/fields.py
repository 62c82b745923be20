"""What a JSON file holds, checked as it is read: each message names the field and says what it must be."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConvertError
from ...graph.fields import MAX_STEPS, short
from ..program.values import Array

MOST_AXES = 4  # of an array in a file
MOST_SHOWN = 40  # characters of a text, and entries of a mapping, that provenance keeps
_MISSING: Any = object()


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    ConvertError
        When it is no JSON.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except UnicodeDecodeError:
        raise ConvertError("file must be JSON in UTF-8, got other bytes") from None
    except json.JSONDecodeError as error:
        raise ConvertError(f"file must be whole JSON, got text that ends or breaks off: {error}") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits, or lists in lists without end
        raise ConvertError(f"file must be JSON of plain numbers and lists, got {error}") from None


def said(value: Any) -> str:
    """Return a value as a message shows it: scalars as they are, of others the kind."""
    if isinstance(value, Mapping):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return short(value)


def array(value: Any, what: str, shape: tuple[int | str, ...]) -> Array:
    """Return nested lists of numbers as float32; the `shape` holds sizes, or names of sizes that may be any.

    Raises
    ------
    ConvertError
        When there is anything else in them, or the shape is another.
    """
    flat, sizes = _flat(value, what)
    expected = f"an array of shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
    if len(sizes) != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, sizes, strict=True)):
        raise ConvertError(f"{what} must be {expected}, got shape {sizes}")
    if 0 in sizes:
        raise ConvertError(f"{what} must be {expected} without an empty axis, got shape {sizes}")
    return numbers(flat, what).reshape(sizes)


def numbers(flat: list[Any], what: str) -> Array:
    """Return a list of numbers as float32."""
    for i, number in enumerate(flat):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConvertError(f"{what} must hold numbers alone, got {said(number)} as number {i}")
    try:
        with np.errstate(over="ignore"):
            found = np.array(flat, np.float64).astype(np.float32)
    except OverflowError:  # an integer of more than 308 digits
        raise ConvertError(f"{what} must hold numbers that are finite in float32, got a larger one") from None
    if not np.isfinite(found).all():
        i = int(np.flatnonzero(~np.isfinite(found))[0])
        raise ConvertError(f"{what} must hold numbers that are finite in float32, got {flat[i]} as number {i}")
    return found


def _flat(value: Any, what: str) -> tuple[list[Any], tuple[int, ...]]:
    """Return the items of nested lists, and the sizes of these."""
    if not isinstance(value, list):
        raise ConvertError(f"{what} must be a list, got {said(value)}")
    flat, sizes = value, [len(value)]
    while flat and isinstance(flat[0], list):
        if len(sizes) == MOST_AXES:
            raise ConvertError(f"{what} must be a list of at most {MOST_AXES} axes, got more")
        inner = len(flat[0])
        if not all(isinstance(row, list) and len(row) == inner for row in flat):
            raise ConvertError(f"{what} must be an array, got lists of unequal lengths")
        sizes.append(inner)
        flat = [item for row in flat for item in row]
    return flat, tuple(sizes)


class Fields:
    """An object of the file; fields that nobody asked for are refused by `finish`.

    Parameters
    ----------
    value : mapping
    where : str
        What messages call it, such as ``"config"``; empty for the file itself.
    """

    def __init__(self, value: Any, where: str = "") -> None:
        if not isinstance(value, Mapping):
            raise ConvertError(f"{where or 'file'} must be an object of JSON, got {said(value)}")
        self.value, self.where = value, where
        self.asked: set[str] = set()

    def name(self, field: str) -> str:
        """Return what messages call a field."""
        return f"{self.where}.{field}" if self.where else field

    def __contains__(self, field: str) -> bool:
        """True if the field is there and not null."""
        return self.value.get(field) is not None

    def get(self, field: str, default: Any = _MISSING) -> Any:
        """Return a field, or `default` where it is missing or null."""
        self.asked.add(field)
        found = self.value.get(field)
        if found is None:
            if default is _MISSING:
                state = "null" if field in self.value else "none"
                raise ConvertError(f"{self.name(field)} must be given, got {state}")
            return default
        return found

    def integer(self, field: str, default: Any = _MISSING, *, least: int = 1) -> int:
        """Return a size."""
        return integer(self.get(field, default), self.name(field), least)

    def integers(self, field: str) -> list[int]:
        """Return a list of one or more sizes."""
        found = self.items(field)
        return [integer(n, f"{self.name(field)}[{i}]") for i, n in enumerate(found)]

    def number(self, field: str, default: Any = _MISSING) -> float:
        """Return a finite number."""
        found = self.get(field, default)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise ConvertError(f"{self.name(field)} must be a number, got {said(found)}")
        try:
            value = float(found)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise ConvertError(f"{self.name(field)} must be finite, got {short(found)}")
        return value

    def flag(self, field: str, default: Any = _MISSING) -> bool:
        """Return true or false."""
        found = self.get(field, default)
        if not isinstance(found, bool):
            raise ConvertError(f"{self.name(field)} must be true or false, got {said(found)}")
        return found

    def text(self, field: str, default: Any = _MISSING) -> str:
        """Return a text."""
        found = self.get(field, default)
        if not isinstance(found, str):
            raise ConvertError(f"{self.name(field)} must be a text, got {said(found)}")
        return found

    def items(self, field: str) -> list[Any]:
        """Return a list of one or more items."""
        found = self.get(field)
        if not isinstance(found, list) or not found:
            raise ConvertError(f"{self.name(field)} must be a list of one or more, got {said(found)}")
        return found

    def fields(self, field: str) -> Fields:
        """Return an object in this one."""
        return Fields(self.get(field), self.name(field))

    def finish(self, *harmless: str) -> None:
        """Refuse fields that say something and were not read, but for the `harmless`."""
        silent: tuple[Any, ...] = (None, False, "", [], {})
        left = [k for k, v in self.value.items() if k not in {*self.asked, *harmless} and v not in silent]
        if left:
            got = ", ".join(f"{self.name(str(k))}={said(self.value[k])}" for k in left[:MOST_SHOWN])
            raise ConvertError(f"fields must be those that fastgru knows, got {got}")


def integer(value: Any, what: str, least: int = 1) -> int:
    """Return a size, checked."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConvertError(f"{what} must be an integer, got {said(value)}")
    if not least <= value <= MAX_STEPS:
        raise ConvertError(f"{what} must be from {least} to {MAX_STEPS}, got {short(value)}")
    return value


def told(*sources: Any) -> dict[str, str]:
    """Return what the file says of its model, texts and numbers alone, as provenance; later sources count first."""
    found: dict[str, str] = {}
    for source in sources:
        pairs: Iterable[tuple[Any, Any]] = source.items() if isinstance(source, Mapping) else ()
        found.update(
            (str(k)[:MOST_SHOWN], str(v)[:MOST_SHOWN])
            for k, v in pairs
            if isinstance(v, str | int | float) and not isinstance(v, bool)
        )
    rate = next((found.pop(k) for k in ("sample_rate", "samplerate") if k in found), None)
    said_of_it = ", ".join(f"{k} {v}" for k, v in [*found.items()][:MOST_SHOWN])
    return {k: v for k, v in (("sample_rate", rate), ("metadata", said_of_it)) if v}
