"""Kinds of fields: what an annotation of `instructions` is in Python and in C, and how many items it holds at most.

Each name in `KINDS` is an annotation. `structs` makes members of C structs of them; `encoding` writes a value as words,
and ``include/fastgru/plan/read.h`` reads those into the structs and checks their range. Arrays differ in how they are
packed. A build runs this file and `instructions` alone, so nothing else of the package is imported here.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, ClassVar, NamedTuple

from numpy.typing import NDArray

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:  # Python 3.10 runs the package; type checkers use a later one

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


LIMIT = 1 << 40  # integers lie below it: sums and products of a few stay far below 2**63
NUMBERS = ("float", "int", "bool")  # of a buffer
STORED = ("", "int64", "bool")  # how an output is given; "" as the model computes
PRECISIONS = ("float32", "float16", "bfloat16", "int8", "int8_affine")  # of `graph.precision`
LIMITS = {
    "rank": 12,  # loops of a nest, of which two are over steps and rows
    "operands": 8,
    "program": 32,  # functions of an elementwise program
    "max_clocks": 32,  # of values with steps counted apart
    "max_loops": 32,  # of states, one behind another
}

Array = NDArray[Any]  # packed as numbers of the plan's dtype
Matrix = Array  # (N, K), packed for products, of the `precision` beside it
Panels = Array  # (G, H, K), likewise
Lookup = Array  # (V, E), rows of that precision
Bias = Array  # (N,), beside a Matrix
Gates = Array  # (G, H), beside Panels
Table = Array  # (V, G, H), beside Panels
Padded = Array  # (N, H), every row in whole vectors

Act = tuple[int, float, float]  # the code of an activation, and its parameters
Acts = tuple[Act, ...]  # of gates, candidate and output
Index = int  # a code, or the number of a buffer
Place = int  # the number of a line or clock, 0 and more
Clock = int  # counted from 1; in C from 0
Count = int  # not negative
Byte = int
Tier = int
Outer = int
Finite = float  # not negative
Scale = float  # of codes; 0.0 where there is none
Text = str  # in C its number among all texts of a plan
Number = str  # one of `NUMBERS`
Stored = str  # one of `STORED`
Precision = str  # one of `PRECISIONS`
Buffers = tuple[int, ...]
Further = tuple[int, ...]
Codes = tuple[int, ...]
Shape = tuple[int, ...]
Dims = tuple[int, ...]
Strides = tuple[tuple[int, ...], ...]
Pair = tuple[int, int]
Pairs = tuple[tuple[int, int], ...]
Bounds = tuple[int, int | None] | None


class Kind(NamedTuple):
    """A row of `KINDS`.

    Attributes
    ----------
    plain : str
        The annotation without an alias.
    c : str
        The type of its member, "" where it has none.
    must : str
        What messages say that it must be, where a range or a type may be missed.
    least, greatest : int
        The range of an integer.
    most : int
        Of a tuple of any length: its most items, whose number is the member ``n_NAME``.
    items : str
        What messages call these.
    dims : str
        Behind the member's name.
    member : str
        Its name, where fields share one.
    words : tuple of str
        What a text may be, where there are few: in C its place among them.
    """

    plain: str
    c: str
    must: str = ""
    least: int = 0
    greatest: int = 0
    most: int = 0
    items: str = ""
    dims: str = ""
    member: str = ""
    words: tuple[str, ...] = ()


INT = (1 - LIMIT, LIMIT - 1)
COUNT = (0, LIMIT - 1)
SMALL = (-(2**31), 2**31 - 1)  # an int in C
PLACE = (0, 2**31 - 1)
WHOLE, WHOLE_COUNT = "an integer below 2**40", "an integer of 0 and more below 2**40"
ARRAY = "an array of numbers"


def _several(plain: str, c: str, most: int, items: str, each: str = "", of: tuple[int, int] = INT) -> Kind:
    return Kind(plain, c, f"integers of {of[0]} to {of[1]}", *of, most, items, f"[{most}]{each}")


def _one_of(*words: str) -> Kind:
    return Kind("str", "int", f"one of {', '.join(map(repr, words))}", 0, len(words) - 1, words=words)


KINDS = {
    "int": Kind("int", "fg_idx", WHOLE, *INT),
    "bool": Kind("bool", "int", "a truth value", 0, 1),
    "float": Kind("float", "double"),
    "Finite": Kind("float", "double", "a finite float of 0 and more"),
    "Scale": Kind("float", "double", "0.0 or a scale within 2**-100 and 2**100"),
    "Act": Kind("Act", "fg_act", "the code of an activation and its two finite parameters"),
    "Acts": Kind("tuple[Act, ...]", "fg_act", "the codes and finite parameters of three activations", dims="[3]"),
    "Count": Kind("int", "fg_idx", WHOLE_COUNT, *COUNT),
    "Byte": Kind("int", "fg_idx", "an integer of 0 to 255", 0, 255),
    "Tier": Kind("int", "int", "an integer of 0 to 2", 0, 2),  # enum fg_tier
    "Index": Kind("int", "int", "an integer below 2**31", *SMALL),
    "Place": Kind("int", "int", "an integer of 0 and more below 2**31", *PLACE),
    "Clock": Kind("int", "int", "an integer of 0 and more below 2**31", *PLACE),
    "Text": Kind("str", "int", "the number of a text"),
    "Number": _one_of(*NUMBERS),
    "Stored": _one_of(*STORED),
    "Precision": _one_of(*PRECISIONS),
    "Buffers": _several("tuple[int, ...]", "int", LIMITS["operands"], "inputs", of=SMALL),
    "Further": _several("tuple[int, ...]", "int", 2, "buffers written or kept", of=SMALL),
    "Codes": _several("tuple[int, ...]", "int", LIMITS["operands"], "parts shown", of=SMALL),
    "Shape": _several("tuple[int, ...]", "fg_idx", LIMITS["rank"], "axes of an item", of=COUNT),
    "Dims": Kind("tuple[int, ...]", "fg_nest", WHOLE, *INT, LIMITS["rank"] - 2, "loops", member="nest"),
    "Outer": Kind("int", "fg_nest", "an integer of 0 and more", *PLACE, member="nest"),
    "Strides": Kind(
        "tuple[tuple[int, ...], ...]", "fg_nest", WHOLE, *INT, LIMITS["operands"], "operands", member="nest"
    ),
    "Pair": Kind("tuple[int, int]", "fg_idx", WHOLE, *INT, dims="[2]"),
    "Pairs": _several(
        "tuple[tuple[int, int], ...]", "int", LIMITS["operands"], "inputs that wait for each other", "[2]", SMALL
    ),
    "Bounds": _several("tuple[int, int | None] | None", "fg_idx", 2, "bounds"),
    "Rows": Kind("Rows", "fg_strides"),
    "Operands": _several("tuple[Operand, ...]", "fg_operand", LIMITS["operands"], "operands"),
    "Functions": Kind("tuple[Micro, ...]", "fg_micro *", most=LIMITS["program"], items="functions"),
    "Layer": Kind("Layer", "fg_layer"),
    "Inner": Kind("Layer", "fg_instruction *"),
    "Phases": _several("tuple[Phase, ...]", "fg_phase", 2, "phases"),
    **dict.fromkeys(("Matrix", "Panels", "Lookup"), Kind("Array", "fg_matrix", ARRAY)),
    **dict.fromkeys(("Array", "Bias", "Gates", "Table", "Padded"), Kind("Array", "const void *", ARRAY)),
}


class Needs(NamedTuple):
    """Checks that the engine makes of an instruction from a file before it runs; see ``include/fastgru/plan/``.

    Attributes
    ----------
    inputs, outputs : (int, int)
        The fewest and the most inputs, and further outputs.
    time : str
        ``time_<time>`` of ``walk.h``: which of its buffers have time.
    check : str
        ``check_<check>`` of ``needs.h``: the rest; the mnemonic where it has one of its own.
    kinds : tuple
        Which `NUMBERS` the first input may have, and those behind it.
    made : str
        Those of the output, "" for any.
    whole : bool
        Whether it fills its output, and nothing else does.
    """

    inputs: tuple[int, int] = (1, 1)
    time: str = "alike"
    check: str = ""
    outputs: tuple[int, int] = (0, 0)
    kinds: tuple[tuple[str, ...], ...] = (("float",),)
    made: str = "float"
    whole: bool = True


OPTIONAL = " | None"  # behind the annotation of an array: NULL, or a matrix without data


def kind_of(annotation: str) -> str:
    """Return the name in `KINDS` of an annotation."""
    return annotation.removesuffix(OPTIONAL)


def plain(annotation: str) -> str:
    """Return an annotation without its alias."""
    name = kind_of(annotation)
    return KINDS[name].plain + annotation[len(name) :]


def snake(name: str) -> str:
    """Return the name of a class as C has it."""
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True)
class Declared:
    """A frozen dataclass whose fields are given by name.

    One ``__init__`` serves all, as for `fastgru.graph.Op`: that `dataclass` compiles methods for each of thirty classes
    took 28 ms of every import.

    Attributes
    ----------
    derived : dict of str to str
        Further members of the struct in C, with their types, which the loader works out.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    _names: ClassVar[frozenset[str]] = frozenset()
    _defaults: ClassVar[dict[str, Any]] = {}
    derived: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
        own = dataclasses.fields(cls)
        cls._names = frozenset(field.name for field in own)
        cls._defaults = {field.name: field.default for field in own if field.default is not dataclasses.MISSING}

    def __init__(self, **given: Any) -> None:
        held = {**self._defaults, **given}
        if held.keys() != self._names:
            wrong = ", ".join(sorted(held.keys() ^ self._names))
            raise TypeError(
                f"{type(self).__name__}: fields must be those declared, got some missing or unknown: {wrong}"
            )
        self.__dict__.update(held)

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
