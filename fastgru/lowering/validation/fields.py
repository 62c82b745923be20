"""Types and ranges of the fields of buffers and instructions, by the plain type of their kinds.

A plan read from a file may hold anything in any field. A kind of a new type needs a row in `TYPES`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from ...graph.activations import ACTIVATIONS, LARGEST_SCALE, MOST_CODE, SMALLEST_SCALE
from ..codes import FUNCTIONS, PHASES
from ..instructions import Instruction, Layer, Micro, Operand, Phase, Rows
from ..kinds import plain

LIMIT = 1 << 40  # of any integer: sums and products of a few stay far below 2**63
MOST_TIER = 2  # of enum fg_tier
ACTIVATION_CODES = frozenset(row.code for row in ACTIVATIONS.values())
MICRO_CODES = ACTIVATION_CODES | frozenset(FUNCTIONS.values())
PHASE_CODES = frozenset(PHASES.values())
FAKE_QUANTIZE = ACTIVATIONS["fake_quantize"].code


def is_int(x: Any) -> bool:
    """True if x is an integer within the limit."""
    return type(x) is int and -LIMIT < x < LIMIT


def is_count(x: Any) -> bool:
    """True if x is an integer within the limit that is not negative."""
    return type(x) is int and 0 <= x < LIMIT


def is_flag(x: Any) -> bool:
    """True if x is a truth value."""
    return type(x) is bool


def is_number(x: Any) -> bool:
    """True if x is a float, NaN and infinities included."""
    return type(x) is float


def is_finite(x: Any) -> bool:
    """True if x is a finite float."""
    return type(x) is float and math.isfinite(x)


def is_text(x: Any) -> bool:
    """True if x is a string."""
    return type(x) is str


def is_ints(x: Any) -> bool:
    """True if x is a tuple of integers within the limit."""
    if type(x) is not tuple:
        return False
    for n in x:  # noqa: SIM110 - half the time of `all`
        if type(n) is not int or not -LIMIT < n < LIMIT:
            return False
    return True


def is_int_rows(x: Any) -> bool:
    """True if x is a tuple of tuples of integers."""
    if type(x) is not tuple:
        return False
    for row in x:  # noqa: SIM110 - as above
        if not is_ints(row):
            return False
    return True


def is_pair(x: Any) -> bool:
    """True if x is a tuple of two integers."""
    return is_ints(x) and len(x) == 2


def is_pairs(x: Any) -> bool:
    """True if x is a tuple of tuples of two integers."""
    return type(x) is tuple and all(map(is_pair, x))


def is_bounds(x: Any) -> bool:
    """True if x is None or the first step of a slice and the one behind its last, or None for that."""
    return x is None or (type(x) is tuple and len(x) == 2 and is_int(x[0]) and (x[1] is None or is_int(x[1])))


def is_array(x: Any) -> bool:
    """True if x is an array of numbers with at least one element."""
    return isinstance(x, np.ndarray) and x.dtype.kind in "fiu" and x.size > 0


def is_optional_array(x: Any) -> bool:
    """True if x is None or an array of numbers."""
    return x is None or is_array(x)


def has_parameters(code: int, alpha: Any, beta: Any) -> bool:
    """True if alpha and beta are parameters that the activation or function of this code takes."""
    if not (is_finite(alpha) and is_finite(beta)):
        return False
    return code != FAKE_QUANTIZE or (SMALLEST_SCALE <= alpha <= LARGEST_SCALE and abs(beta) <= MOST_CODE)


def is_act(x: Any) -> bool:
    """True if x is the code of an activation and its two parameters."""
    return (
        type(x) is tuple and len(x) == 3 and type(x[0]) is int and x[0] in ACTIVATION_CODES and has_parameters(*x)
    )  # fmt: skip


def is_acts(x: Any) -> bool:
    """True if x is a tuple of the three activations of a cell."""
    return type(x) is tuple and len(x) == 3 and all(map(is_act, x))


def is_rows(x: Any) -> bool:
    """True if x is a Rows of three integers."""
    return type(x) is Rows and is_int(x[0]) and is_int(x[1]) and is_int(x[2])


def is_operands(x: Any) -> bool:
    """True if x is a tuple of Operand."""
    if type(x) is not tuple:
        return False
    for o in x:
        if type(o) is not Operand or type(o[0]) is not int or type(o[1]) is not int or not -LIMIT < o[1] < LIMIT:
            return False
        if o[2] is not None and not is_array(o[2]):
            return False
    return True


def is_program(x: Any) -> bool:
    """True if x is a tuple of Micro, each of a function there is."""
    if type(x) is not tuple:
        return False
    for m in x:
        if not (type(m) is Micro and type(m[0]) is int and m[0] in MICRO_CODES and has_parameters(m[0], m[4], m[5])):
            return False
        if not (is_count(m[1]) and is_count(m[2]) and is_count(m[3])):
            return False
    return True


def is_layer(x: Any) -> bool:
    """True if x is a Layer."""
    return type(x) is Layer


def is_phases(x: Any) -> bool:
    """True if x is a tuple of one or two Phase."""
    return type(x) is tuple and 1 <= len(x) <= 2 and all(type(p) is Phase for p in x)


# Plain type: the test, and what the field must be.
TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (is_int, "an integer below 2**40"),
    "bool": (is_flag, "a truth value"),
    "float": (is_number, "a float"),
    "str": (is_text, "a string"),
    "tuple[int, ...]": (is_ints, "a tuple of integers below 2**40"),
    "tuple[int, int]": (is_pair, "a tuple of two integers below 2**40"),
    "tuple[tuple[int, ...], ...]": (is_int_rows, "a tuple of tuples of integers below 2**40"),
    "tuple[tuple[int, int], ...]": (is_pairs, "a tuple of pairs of integers below 2**40"),
    "tuple[int, int | None] | None": (is_bounds, "None or a pair of integers below 2**40"),
    "Array": (is_array, "an array of numbers that is not empty"),
    "Array | None": (is_optional_array, "None or an array of numbers that is not empty"),
    "Act": (is_act, "the code of an activation and its two finite parameters"),
    "tuple[Act, ...]": (is_acts, "the codes and finite parameters of three activations"),
    "Rows": (is_rows, "a Rows of integers below 2**40"),
    "tuple[Operand, ...]": (is_operands, "a tuple of Operand"),
    "tuple[Micro, ...]": (is_program, "a tuple of Micro with functions, registers and finite parameters there are"),
    "Layer": (is_layer, "a Layer"),
    "tuple[Phase, ...]": (is_phases, "a tuple of one or two Phase"),
}
COUNT = (is_count, "an integer of 0 and more below 2**40")
FINITE = (lambda x: is_finite(x) and x >= 0, "a finite float of 0 and more")
# Fields of a narrower range than their annotation says, wherever they are declared.
NARROWER: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("outer", "count", "fewest", "kept", "reach", "after", "lead", "rest", "window"), COUNT),
    **dict.fromkeys(("units", "features", "steps", "rows"), COUNT),
    "eps": FINITE,
    "clip": FINITE,
    "input_scale": (
        lambda x: is_finite(x) and (x == 0 or SMALLEST_SCALE <= x <= LARGEST_SCALE),
        "0.0 or a scale within 2**-100 and 2**100",
    ),
    "input_zero": (lambda x: type(x) is int and 0 <= x <= 255, "an integer of 0 to 255"),
    "tier": (lambda x: type(x) is int and 0 <= x <= MOST_TIER, f"an integer of 0 to {MOST_TIER}"),
}


def test_of(annotation: str) -> tuple[Callable[[Any], bool], str]:
    """Return the row of `TYPES` of an annotation, whatever alias it goes by."""
    return TYPES[plain(annotation)]


@cache
def tests_of(cls: type) -> tuple[tuple[str, Callable[[Any], bool], str], ...]:
    """The name, the test and the words of each field of a class; of an instruction, of those beyond what all have."""
    common = Instruction._names if issubclass(cls, Instruction) else frozenset()
    return tuple(
        (field.name, *(NARROWER.get(field.name) or test_of(str(field.type))))
        for field in dataclasses.fields(cls)
        if field.name not in common
    )
