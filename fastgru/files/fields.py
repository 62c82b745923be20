"""Instructions as data: fields of the dataclasses of `lowering.instructions` to JSON and back, by their plain types.

An array is its place in a list of shapes: its numbers lie packed elsewhere in the file. What is read is of the types
that their kinds say, and nothing is known of its values: `lowering.validation` looks at those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileFormatError
from ..lowering.instructions import INSTRUCTIONS, Buffer, Instruction, Layer, Micro, Operand, Phase, Rows
from ..lowering.kinds import plain

Array = NDArray[Any]
Kind = Callable[[Any, Sequence[Array]], Any]  # a value of JSON, and the stand-ins of all arrays -> a field's value
MOST_ITEMS = 1 << 16  # of one list


class Arrays:
    """The arrays that instructions name, each once, in the order in which they were met."""

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self.held: list[Array] = []

    def place(self, array: Array) -> int:
        """The number of an array."""
        if id(array) not in self.places:
            self.places[id(array)] = len(self.held)
            self.held.append(array)
        return self.places[id(array)]


def encoded(value: Any, arrays: Arrays) -> Any:
    """Return a field's value as JSON knows it."""
    if isinstance(value, np.ndarray):
        return arrays.place(value)
    if isinstance(value, Layer | Phase):
        return {field.name: encoded(getattr(value, field.name), arrays) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [encoded(item, arrays) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def encoded_instruction(ins: Instruction, arrays: Arrays) -> list[Any]:
    """Return ``[mnemonic, {field: value}]``, without the fields that have their defaults."""
    return [ins.mnemonic, _told(ins, arrays)]


def encoded_buffer(buffer: Buffer, arrays: Arrays) -> dict[str, Any]:
    """Return the fields of a buffer that have not their defaults."""
    return _told(buffer, arrays)


def _told(of: Any, arrays: Arrays) -> dict[str, Any]:
    found = {}
    for field in fields(of):
        value = getattr(of, field.name)
        if value is not field.default and (isinstance(value, np.ndarray) or value != field.default):
            found[field.name] = encoded(value, arrays)
    return found


# Reading -----------------------------------------------------------------------------------------


def decoded_instruction(value: Any, arrays: Sequence[Array]) -> Instruction:
    """Return the instruction that `encoded_instruction` made."""
    mnemonic, given = _several(value, 2)
    kind = _by_mnemonic().get(mnemonic) if isinstance(mnemonic, str) else None
    if kind is None:
        raise FileFormatError(f"instruction must be one of {', '.join(_by_mnemonic())}, got {_short(mnemonic)}")
    return _made(kind, given, arrays, f"instruction {mnemonic}")  # type: ignore[no-any-return]


def decoded_buffer(value: Any, arrays: Sequence[Array]) -> Buffer:
    """Return the buffer that `encoded_buffer` made."""
    return _made(Buffer, value, arrays, "value")  # type: ignore[no-any-return]


@cache
def _by_mnemonic() -> dict[str, type[Instruction]]:
    return {kind.mnemonic: kind for kind in INSTRUCTIONS}


@cache
def _kinds(cls: Any) -> dict[str, Kind]:
    """How each field of a class is read."""
    return {field.name: KINDS[plain(str(field.type))] for field in fields(cls)}


def _made(cls: Any, given: Any, arrays: Sequence[Array], what: str) -> Any:
    if type(given) is not dict:
        raise FileFormatError(f"{what} must be an object of fields, got {_short(given)}")
    kinds, found = _kinds(cls), {}
    for name, value in given.items():
        kind = kinds.get(name)
        if kind is None:
            raise FileFormatError(f"{what} must have fields of {', '.join(kinds)}, got {_short(name)}")
        try:
            found[name] = kind(value, arrays)
        except FileFormatError as error:
            raise FileFormatError(f"{name} of {what}: {error}") from error
    try:
        return cls(**found)
    except TypeError as error:
        raise FileFormatError(f"{what} must have all its fields, got {', '.join(found)}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _exactly(kind: type[Any]) -> Kind:
    def read(value: Any, arrays: Sequence[Array]) -> Any:
        if type(value) is not kind:
            raise FileFormatError(f"must be of type {kind.__name__}, got {_short(value)}")
        return value

    return read


def _number(value: Any, arrays: Sequence[Array]) -> float:
    if type(value) is not float and type(value) is not int:
        raise FileFormatError(f"must be a number, got {_short(value)}")
    return float(value)


def _array(value: Any, arrays: Sequence[Array]) -> Array:
    if type(value) is not int or not 0 <= value < len(arrays):
        raise FileFormatError(f"must be the number of an array below {len(arrays)}, got {_short(value)}")
    return arrays[value]


def _several(value: Any, count: int | None = None) -> list[Any]:
    if type(value) is not list or len(value) > MOST_ITEMS or (count is not None and len(value) != count):
        raise FileFormatError(f"must be a list{'' if count is None else f' of {count}'}, got {_short(value)}")
    return value


def _optional(kind: Kind) -> Kind:
    return lambda value, arrays: None if value is None else kind(value, arrays)


def _items(kind: Kind) -> Kind:
    return lambda value, arrays: tuple([kind(item, arrays) for item in _several(value)])


def _row(*kinds: Kind, made: Callable[..., Any] = lambda *items: items) -> Kind:
    def read(value: Any, arrays: Sequence[Array]) -> Any:
        items = _several(value, len(kinds))
        return made(*[kind(item, arrays) for kind, item in zip(kinds, items, strict=True)])

    return read


def _object(cls: type[Any]) -> Kind:
    return lambda value, arrays: _made(cls, value, arrays, cls.__name__.lower())


_int, _float = _exactly(int), _number
_act = _row(_int, _float, _float)
_operand = _row(_int, _int, _optional(_array), made=Operand)
_micro = _row(_int, _int, _int, _int, _float, _float, made=Micro)
# Of the plain type of every kind in `lowering.kinds`.
KINDS: dict[str, Kind] = {
    "int": _int,
    "float": _float,
    "bool": _exactly(bool),
    "str": _exactly(str),
    "Array": _array,
    "Array | None": _optional(_array),
    "Act": _act,
    "tuple[Act, ...]": _items(_act),
    "Rows": _row(_int, _int, _int, made=Rows),
    "tuple[int, int]": _row(_int, _int),
    "tuple[int, ...]": _items(_int),
    "tuple[tuple[int, ...], ...]": _items(_items(_int)),
    "tuple[tuple[int, int], ...]": _items(_row(_int, _int)),
    "tuple[int, int | None] | None": _optional(_row(_int, _optional(_int))),
    "tuple[Operand, ...]": _items(_operand),
    "tuple[Micro, ...]": _items(_micro),
    "Layer": _object(Layer),
    "tuple[Phase, ...]": _items(_object(Phase)),
}
