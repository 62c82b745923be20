"""The plain fields of ops as JSON: how each is written, and which values are read back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import FileFormatError
from ..graph import Op

# Fields that files were without at first. At their defaults they are not written, so that the file of a model that
# needs none of them is what it was.
LATER = ("precision", "scan", "operands", "axis", "skip", "tail", "outside")


def short(value: Any) -> str:
    """`value` as text of bounded length that any terminal can show."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:77] + "..."


def expect(value: Any, kind: type[Any], what: str) -> Any:
    """`value` if it is of exactly this type."""
    if type(value) is not kind:
        raise FileFormatError(f"{what} must be {kind.__name__}, got {short(value)}")
    return value


def entries(value: Any, names: tuple[str, ...], what: str, *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """`value` if it is an object with these entries and no others."""
    found: dict[str, Any] = expect(value, dict, what)
    if not set(names) <= set(found) <= {*names, *optional}:
        raise FileFormatError(f"{what} must have the entries {', '.join(names)}, got {short(sorted(found))}")
    return found


def _is_float(value: Any) -> bool:
    """Whether `value` is a finite float, or an integer that is one exactly."""
    return math.isfinite(value) if type(value) is float else type(value) is int and abs(value) < 2**53


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**53


def _is_activation(value: Any) -> bool:
    if type(value) is not dict or set(value) != {"name", "alpha", "beta"} or type(value["name"]) is not str:
        return False
    return all(value[k] is None or _is_float(value[k]) for k in ("alpha", "beta"))


def _all(accepts: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and all(map(accepts, value))


class Attribute(NamedTuple):
    """How a field with one annotation is written, and which JSON values it accepts."""

    encode: Callable[[Any], Any]
    accepts: Callable[[Any], bool]
    expected: str


ATTRIBUTES: dict[str, Attribute] = {
    "bool": Attribute(bool, lambda v: type(v) is bool, "a boolean"),
    "str": Attribute(str, lambda v: type(v) is str, "a string"),
    "int": Attribute(int, _is_int, "an integer"),
    "int | None": Attribute(lambda v: v, lambda v: v is None or _is_int(v), "an integer or null"),
    "tuple[int, ...]": Attribute(list, _all(_is_int), "a list of integers"),
    "tuple[str, ...]": Attribute(list, _all(lambda v: type(v) is str), "a list of strings"),
    "float": Attribute(float, _is_float, "a finite number"),
    "float | None": Attribute(
        lambda v: None if v is None else float(v), lambda v: v is None or _is_float(v), "a finite number or null"
    ),
    "Activation": Attribute(dataclasses.asdict, _is_activation, "an object with name, alpha and beta"),
}


def fields_of(op: type[Op]) -> tuple[dict[str, str], dict[str, bool]]:
    """Annotations of an op's attributes, and whether each of its weights is optional."""
    fields = dataclasses.fields(op)
    attributes = {f.name: str(f.type) for f in fields if "axes" not in f.metadata}
    return attributes, {f.name: f.metadata["optional"] for f in fields if "axes" in f.metadata}


def written(op: Op) -> dict[str, str]:
    """Annotations of the attributes that the file of `op` says."""
    defaults = {f.name: f.default for f in dataclasses.fields(op)}
    names = fields_of(type(op))[0]
    return {n: kind for n, kind in names.items() if n not in LATER or getattr(op, n) != defaults[n]}
