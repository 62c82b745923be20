"""A plan as words: what the engine reads, whether it was lowered just now or lies in a file.

A word is an int64 or the bits of a float64. `encode` writes those of every field in the order of the declaration, by
its kind; ``include/fastgru/plan/read.h`` reads them into structs, and `decode` back into dataclasses, for listings.

::

    clocks, bases, latency, macs, then how many there are of each of these:
    arrays: their shapes    values    instructions: code and fields    inputs    outputs
    states: key, number, name, shape    loops: begin, end, clock
"""

from __future__ import annotations

import array
import struct
from collections.abc import Callable, Sequence
from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import GraphError
from .instructions import INSTRUCTIONS, Buffer, Instruction, Layer, Micro, Operand, Phase, Rows
from .kinds import KINDS
from .structs import fields_of

if TYPE_CHECKING:
    from .lower import Lowered

Array = NDArray[Any]
STATE_NAMES = ("", "h", "c", "y", "history", "sums", "held")  # enum fg_name of plan/walk.h
OPEN = 2**63 - 1  # the end of bounds that go on to the last step
FLOAT, WORD = struct.Struct("<d"), struct.Struct("<q")
RECORDS = {"Rows": Rows, "Layer": Layer, "Inner": Layer, "Operands": Operand, "Functions": Micro, "Phases": Phase}


COMMON: Any = Instruction  # the fields that all have


class Program(NamedTuple):
    """The arguments of `engine.Plan`."""

    words: NDArray[np.int64]
    texts: Sequence[str]
    arrays: Sequence[Array] | None  # None: packed before, elsewhere
    blockers: dict[str, str]


class Writer:
    """Words, and the texts and arrays that they name, each once."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.texts: dict[str, int] = {}
        self.places: dict[int, int] = {}
        self.arrays: list[Array] = []

    def text(self, text: str) -> int:
        """Return the number of a text."""
        return self.texts.setdefault(text, len(self.texts))

    def place(self, array: Array | None) -> int:
        """Return the number of an array, -1 of none."""
        if array is None:
            return -1
        if id(array) not in self.places:
            self.places[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return self.places[id(array)]


class Reader:
    """Words that the engine has checked."""

    def __init__(self, words: list[int], texts: Sequence[str]) -> None:
        self.words, self.texts, self.at = words, texts, 0
        self.arrays: list[Array] = []

    def next(self) -> int:
        """Return a word."""
        self.at += 1
        return self.words[self.at - 1]

    def several(self, count: int | None = None) -> list[int]:
        """Return so many words, or those that a number of them stands before."""
        count = self.next() if count is None else count
        self.at += count
        return self.words[self.at - count : self.at]


class Form(NamedTuple):
    """The writer and the reader of a kind of field."""

    write: Callable[[Writer, Any], None]
    read: Callable[[Reader], Any]


def _write_float(to: Writer, value: float) -> None:
    to.words += WORD.unpack(FLOAT.pack(value))


def _read_float(of: Reader) -> float:
    return float(FLOAT.unpack(WORD.pack(of.next()))[0])


def _write_act(to: Writer, value: tuple[int, float, float]) -> None:
    code, alpha, beta = value
    to.words.append(code)
    _write_float(to, alpha)
    _write_float(to, beta)


def _read_act(of: Reader) -> tuple[int, float, float]:
    return of.next(), _read_float(of), _read_float(of)


def _write_acts(to: Writer, value: Any) -> None:
    first, second, third = value
    for act in (first, second, third):
        _write_act(to, act)


def _write_counted(to: Writer, value: Sequence[int]) -> None:
    to.words.append(len(value))
    to.words += value


def _write_strides(to: Writer, value: Sequence[Sequence[int]]) -> None:
    to.words.append(len(value))
    for row in value:
        _write_counted(to, row)


def _write_pair(to: Writer, value: tuple[int, int]) -> None:
    first, second = value
    to.words += (first, second)


def _write_pairs(to: Writer, value: Sequence[tuple[int, int]]) -> None:
    to.words.append(len(value))
    for pair in value:
        _write_pair(to, pair)


def _write_bounds(to: Writer, value: tuple[int, int | None] | None) -> None:
    _write_counted(to, [OPEN if n is None else n for n in value or ()])


def _read_bounds(of: Reader) -> tuple[int, int | None] | None:
    found = of.several()
    return (found[0], None if found[1] == OPEN else found[1]) if found else None


def _read_array(of: Reader) -> Array | None:
    place = of.next()
    return None if place < 0 else of.arrays[place]


def _word(name: str, words: tuple[str, ...]) -> Form:
    def write(to: Writer, value: str) -> None:
        if value not in words:
            raise GraphError(f"{name} must be one of {', '.join(map(repr, words))}, got {value!r}")
        to.words.append(words.index(value))

    return Form(write, lambda of: words[of.next()])


def _record(cls: Any) -> Form:
    made = cls._make if hasattr(cls, "_make") else lambda values: cls(**values)
    named = not hasattr(cls, "_make")

    def read(of: Reader) -> Any:
        values = {name: form.read(of) for name, form in forms(cls)}
        return made(values if named else values.values())

    return Form(lambda to, value: write_fields(to, cls, value), read)


def _records(cls: Any) -> Form:
    one = _record(cls)

    def write(to: Writer, value: Any) -> None:
        to.words.append(len(value))
        for item in value:
            one.write(to, item)

    return Form(write, lambda of: tuple([one.read(of) for _ in range(of.next())]))


INTEGER = Form(lambda to, value: to.words.append(value), Reader.next)
NUMBER = Form(_write_float, _read_float)
ARRAY = Form(lambda to, value: to.words.append(to.place(value)), _read_array)
# Of every kind of `KINDS` that is neither a record nor one of some words.
FORMS = {
    **dict.fromkeys(("int", "Count", "Byte", "Tier", "Index", "Place", "Clock", "Outer"), INTEGER),
    "bool": Form(lambda to, value: to.words.append(bool(value)), lambda of: bool(of.next())),
    **dict.fromkeys(("float", "Finite", "Scale"), NUMBER),
    "Text": Form(lambda to, value: to.words.append(to.text(value)), lambda of: of.texts[of.next()]),
    "Act": Form(_write_act, _read_act),
    "Acts": Form(_write_acts, lambda of: (_read_act(of), _read_act(of), _read_act(of))),
    **dict.fromkeys(
        ("Buffers", "Further", "Codes", "Shape", "Dims"), Form(_write_counted, lambda of: tuple(of.several()))
    ),
    "Strides": Form(_write_strides, lambda of: tuple([tuple(of.several()) for _ in range(of.next())])),
    "Pair": Form(_write_pair, lambda of: tuple(of.several(2))),
    "Pairs": Form(_write_pairs, lambda of: tuple([tuple(of.several(2)) for _ in range(of.next())])),
    "Bounds": Form(_write_bounds, _read_bounds),
    **dict.fromkeys(("Array", "Bias", "Gates", "Table", "Padded", "Matrix", "Panels", "Lookup"), ARRAY),
}


@cache
def form_of(kind: str) -> Form:
    """Return how a kind of `KINDS` is written and read."""
    if KINDS[kind].words:
        return _word(kind.lower(), KINDS[kind].words)
    if kind in RECORDS:
        return (_records if KINDS[kind].most else _record)(RECORDS[kind])
    return FORMS[kind]


@cache
def forms(cls: Any) -> list[tuple[str, Form]]:
    """Return the fields of a class in their order, and how each is written."""
    return [(field.name, form_of(field.kind)) for field in fields_of(cls)]


def write_fields(to: Writer, cls: Any, value: Any) -> None:
    """Write the fields of a record."""
    for name, form in forms(cls):
        form.write(to, getattr(value, name))


# Plans ---------------------------------------------------------------------------------------------


def encode(lowered: Lowered | Any) -> Program:
    """Return a plan as words.

    Raises
    ------
    GraphError
        When a field holds what its kind cannot.
    """
    to = Writer()
    try:
        _write(to, lowered)
        words = array.array("q", _heads(to, lowered) + to.words)
    except (TypeError, ValueError, OverflowError, struct.error, AttributeError) as error:
        raise GraphError(f"plan must hold what its instructions are declared with: {error}") from error
    return Program(np.frombuffer(words, np.int64), list(to.texts), to.arrays, lowered.blockers)


def _write(to: Writer, lowered: Lowered) -> None:
    for value in lowered.values:
        write_fields(to, Buffer, value)
    for ins in lowered.instructions:
        kind: Any = type(ins)
        to.words.append(ins.code)
        write_fields(to, COMMON, ins)
        for name, form in own_forms(kind):
            form.write(to, getattr(ins, name))
    to.words += [*lowered.inputs, *lowered.outputs]
    for key, number, name, shape in lowered.states:
        to.words += (to.text(key), number, STATE_NAMES.index(name))
        _write_counted(to, shape)
    for begin, end, clock in lowered.loops:
        to.words += (begin, end, clock)


@cache
def own_forms(kind: Any) -> list[tuple[str, Form]]:
    """Return the fields of an instruction beside those that all have."""
    return [(name, form) for name, form in forms(kind) if name not in Instruction._names]


def _heads(to: Writer, lowered: Lowered) -> list[int]:
    parts: tuple[Sequence[Any], ...] = (
        to.arrays, lowered.values, lowered.instructions, lowered.inputs, lowered.outputs, lowered.states,
    )  # fmt: skip
    heads = [lowered.clocks, lowered.bases, ceil(lowered.latency), lowered.macs, *[len(part) for part in parts]]
    heads.append(len(lowered.loops))
    for numbers in to.arrays:
        heads += (numbers.ndim, *numbers.shape)
    return heads


def decode(program: Program) -> Lowered:
    """Return the plan that `encode` wrote, with stand-ins for arrays that are elsewhere.

    The words are trusted: an `engine.Plan` must have been made of them first.
    """
    from .lower import Lowered

    of = Reader(program.words.tolist(), program.texts)
    clocks, bases, latency, macs, arrays, values, instructions, inputs, outputs, states, loops = of.several(11)
    shapes = [of.several() for _ in range(arrays)]
    stand_ins = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
    of.arrays = stand_ins if program.arrays is None else [*program.arrays]
    return Lowered(
        [form_of_buffer().read(of) for _ in range(values)], [_read_instruction(of) for _ in range(instructions)],
        of.several(inputs), of.several(outputs),
        [(of.texts[of.next()], of.next(), STATE_NAMES[of.next()], tuple(of.several())) for _ in range(states)],
        program.blockers, macs, tuple([(of.next(), of.next(), of.next()) for _ in range(loops)]), clocks, bases,
        latency,
    )  # fmt: skip


@cache
def form_of_buffer() -> Form:
    """Return how a buffer is read."""
    return _record(Buffer)


def _read_instruction(of: Reader) -> Instruction:
    kind: Any = INSTRUCTIONS[of.next()]
    values = {name: form.read(of) for name, form in (*forms(COMMON), *own_forms(kind))}
    made: Instruction = kind(**values)
    return made
