"""Names of numbers of steps: what layers over time make of ``"T"``, written out as a formula of it."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable

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
    '((T)/2)*2'
    """
    return shifted(f"({symbol})*{hop}" if hop > 1 else symbol, more)


def may_agree(a: str, b: str) -> bool:
    """Whether two numbers of steps are equal for sequences of some length.

    Examples
    --------
    >>> may_agree("T", "((T)/2)*2"), may_agree("T", "T-4")
    (True, False)
    """
    if a == b:
        return True
    try:
        trees = [ast.parse(text, mode="eval").body for text in (a, b)]
        return any(len({_value(tree, length) for tree in trees}) == 1 for length in TRIED)
    except (SyntaxError, KeyError, ZeroDivisionError):  # a name that is no formula
        return False


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
