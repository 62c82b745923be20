"""Kinds of fields: what an annotation of `instructions` is in Python and in C, and how many items it holds at most.

Each name in `KINDS` is an annotation. `structs` makes members of C structs of them, and `engine.Plan` has for each one
way to store a value; `files.fields` and `validation.fields` go by the plain type. Arrays differ in how they are packed.
A build runs this file and `instructions` alone, so nothing else of the package is imported here.
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
Index = int  # a code, or the number of a buffer or line
Clock = int  # counted from 1; in C from 0
Outer = int
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
    most : int
        Of a tuple of any length: its most items, whose number is the member ``n_NAME``.
    items : str
        What messages call these.
    dims : str
        Behind the member's name.
    member : str
        Its name, where fields share one.
    """

    plain: str
    c: str
    most: int = 0
    items: str = ""
    dims: str = ""
    member: str = ""


def _several(plain: str, c: str, most: int, items: str, each: str = "") -> Kind:
    return Kind(plain, c, most, items, f"[{most}]{each}")


KINDS = {
    "int": Kind("int", "fg_idx"),
    "bool": Kind("bool", "int"),
    "float": Kind("float", "double"),
    "str": Kind("str", ""),  # C knows nodes by number, and precisions by the format of a matrix
    "Act": Kind("Act", "fg_act"),
    "Acts": Kind("tuple[Act, ...]", "fg_act", dims="[3]"),
    "Index": Kind("int", "int"),
    "Clock": Kind("int", "int"),
    "Buffers": _several("tuple[int, ...]", "int", LIMITS["operands"], "inputs"),
    "Further": _several("tuple[int, ...]", "int", 2, "buffers written or kept"),
    "Codes": _several("tuple[int, ...]", "int", LIMITS["operands"], "parts shown"),
    "Shape": _several("tuple[int, ...]", "fg_idx", LIMITS["rank"], "axes of an item"),
    "Dims": Kind("tuple[int, ...]", "fg_nest", LIMITS["rank"] - 2, "loops", member="nest"),
    "Outer": Kind("int", "fg_nest", member="nest"),
    "Strides": Kind("tuple[tuple[int, ...], ...]", "fg_nest", LIMITS["operands"], "operands", member="nest"),
    "Pair": Kind("tuple[int, int]", "fg_idx", dims="[2]"),
    "Pairs": _several(
        "tuple[tuple[int, int], ...]", "int", LIMITS["operands"], "inputs that wait for each other", "[2]"
    ),
    "Bounds": _several("tuple[int, int | None] | None", "fg_idx", 2, "bounds"),
    "Rows": Kind("Rows", "fg_strides"),
    "Operands": _several("tuple[Operand, ...]", "fg_operand", LIMITS["operands"], "operands"),
    "Functions": Kind("tuple[Micro, ...]", "fg_micro *", LIMITS["program"], "functions"),
    "Layer": Kind("Layer", "fg_layer"),
    "Inner": Kind("Layer", "fg_instruction *"),
    "Phases": _several("tuple[Phase, ...]", "fg_phase", 2, "phases"),
    "Matrix": Kind("Array", "fg_matrix"),
    "Panels": Kind("Array", "fg_matrix"),
    "Lookup": Kind("Array", "fg_matrix"),
    **dict.fromkeys(("Array", "Bias", "Gates", "Table", "Padded"), Kind("Array", "const void *")),
}
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
