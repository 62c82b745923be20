"""Names of numbers of steps: what layers over time make of ``"T"``, written out as a formula of it."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

MULTIPLE = re.compile(r"(\d+)\*\((.*)\)")
OFFSET = re.compile(r"(.*?)([+-]\d+)?")
TRIED = range(5040, 5040 + 2048)  # values of T: of every remainder by strides whose product is at most 2048
RULES: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip


def shifted(symbol: str, steps: int) -> str:
    """The name of a number of steps that is `steps` more than another: ``"T-4"``."""
    base, offset = OFFSET.fullmatch(symbol).groups()  # type: ignore[union-attr]
    total = int(offset or 0) + steps
    return f"{base}{total:+d}" if total else str(base)


def windowed(symbol: str, extent: int, stride: int, padding: int) -> str:
    """The name of the number of windows over some steps: (T + padding - extent) // stride + 1."""
    if stride == 1:
        return shifted(symbol, padding - extent + 1)
    return f"({shifted(symbol, padding - extent + stride)})/{stride}"


def overlapped(symbol: str, hop: int, more: int) -> str:
    """The name of the number of steps of windows laid every `hop` of them, and `more`.

    Examples
    --------
    >>> overlapped(windowed("T", 4, 2, 2), 2, 0)
    '2*((T)/2)'
    """
    return shifted(multiple(hop, symbol), more)


def multiple(factor: int, symbol: str) -> str:
    """The name of `factor` times a number of steps; `parted` undoes it."""
    return f"{factor}*({symbol})" if factor > 1 else symbol


def parted(symbol: str) -> tuple[int, str]:
    """A number of steps as a multiple of another.

    Examples
    --------
    >>> parted("2*(T//2)"), parted("2*(T//2)-(1)"), parted("T-1")
    ((2, 'T//2'), (1, '2*(T//2)-(1)'), (1, 'T-1'))
    """
    found = MULTIPLE.fullmatch(symbol)
    if found is None:
        return 1, symbol
    depth = 0
    for c in found[2]:
        depth += {"(": 1, ")": -1}.get(c, 0)
        if depth < 0:  # the parenthesis in front is closed before the end
            return 1, symbol
    return int(found[1]), found[2]


def may_agree(a: str, b: str) -> bool:
    """Whether two numbers of steps are equal for sequences of some length.

    Examples
    --------
    >>> may_agree("T", "2*((T)/2)"), may_agree("T", "T-4")
    (True, False)
    """
    return a == b or any(x == y for x, y in _values(a, b))


def never_more(a: str, b: str) -> bool:
    """Whether the first of two numbers of steps is at most the second for sequences of every length.

    Examples
    --------
    >>> never_more("2*(T//2)", "T"), never_more("T", "2*(T//2)")
    (True, False)
    """
    pairs = _values(a, b)
    return a == b or (len(pairs) > 0 and all(x <= y for x, y in pairs))


def difference(a: str, b: str) -> int | None:
    """By how many steps the first number is larger than the second, where that is the same for every length.

    Examples
    --------
    >>> difference("(T-8)/8+2", "(T-8)/8"), difference("T", "2*(T/2)")
    (2, None)
    """
    found = {x - y for x, y in _values(a, b)}
    return 0 if a == b else found.pop() if len(found) == 1 else None


def _values(a: str, b: str) -> list[tuple[int, int]]:
    """What two names stand for, for many numbers of steps; nothing where one is no formula."""
    try:
        x, y = (ast.parse(text, mode="eval").body for text in (a, b))
        return [(_value(x, length), _value(y, length)) for length in TRIED]
    except (SyntaxError, KeyError, ZeroDivisionError):
        return []


def _value(tree: ast.expr, length: int) -> int:
    """The value of a formula for T steps."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, int):
        return tree.value
    if isinstance(tree, ast.Name):
        return {"T": length}[tree.id]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_value(tree.operand, length)
    if isinstance(tree, ast.BinOp) and type(tree.op) in RULES:
        return RULES[type(tree.op)](_value(tree.left, length), _value(tree.right, length))
    raise KeyError(ast.dump(tree))
