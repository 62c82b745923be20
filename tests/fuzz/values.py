"""Values that break things: extreme, negative, huge, wrongly typed; and mutation of plain JSON."""

from __future__ import annotations

import random
from typing import Any

INTS = (
    0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 32, 33, 64, 100, 127, 128, 255, 256, 1000, 4096, 65535, 65536, 10**6, 2**24, 2**28,
    2**30, 2**31 - 2, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**52, 2**53 - 1, 2**53, 2**60, 2**62,
    2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30,
)  # fmt: skip
FLOATS = (
    0.0, -0.0, 0.5, 1.0, -1.0, 1e-3, 1e-7, 1e-30, 1e-38, 1e-45, 1e-300, 5e-324, 1e3, 1e7, 1e30, 3.4e38, 3.5e38, 1e300,
    1.7e308, float("inf"), float("-inf"), float("nan"), 0.1, 2.0**53, 2.0**63, -(2.0**63),
)  # fmt: skip
TEXTS = (
    "", "x", "float", "int", "bool", "linear", "softmax", "tanh", "max", "average", "\x00", "é", "\ud800", "a" * 300,
    "../x", "__metadata__", "NaN", "1",
)  # fmt: skip
ODD = (None, True, False, [], {}, "", 0, 1.5, [[]], [None], {"a": 1})


def integer(rng: random.Random, old: int) -> int:
    """An integer near the old one, or an extreme."""
    which = rng.random()
    if which < 0.5:
        return old + rng.choice((-2, -1, 1, 2, old))
    return rng.choice(INTS) * rng.choice((1, 1, 1, -1))


def number(rng: random.Random, old: float) -> float:
    """A float near the old one, or an extreme."""
    return old * rng.choice((-1.0, 0.5, 2.0, 1e10, 1e-10)) if rng.random() < 0.4 else rng.choice(FLOATS)


def changed(rng: random.Random, value: Any, texts: tuple[str, ...] = TEXTS) -> Any:
    """Another JSON value in place of `value`, most often of its type."""
    if rng.random() < 0.06:
        return rng.choice(ODD)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return integer(rng, value)
    if isinstance(value, float):
        return number(rng, value)
    if isinstance(value, str):
        return rng.choice(texts)
    if isinstance(value, list):
        return _changed_list(rng, value, texts)
    if isinstance(value, dict):
        return _changed_dict(rng, value, texts)
    return rng.choice((0, 1, 5, -1, 0.5, True, "x", [1], *INTS))


def _changed_list(rng: random.Random, value: list[Any], texts: tuple[str, ...]) -> list[Any]:
    value, which = list(value), rng.randrange(6)
    if which == 0 or not value:
        value.insert(rng.randint(0, len(value)), rng.choice(value) if value else integer(rng, 1))
    elif which == 1:
        del value[rng.randrange(len(value))]
    elif which == 2:
        rng.shuffle(value)
    else:
        i = rng.randrange(len(value))
        value[i] = changed(rng, value[i], texts)
    return value


def _changed_dict(rng: random.Random, value: dict[str, Any], texts: tuple[str, ...]) -> dict[str, Any]:
    value, which = dict(value), rng.randrange(5)
    if which == 0 or not value:
        value[rng.choice(texts)] = rng.choice(ODD)
        return value
    key = rng.choice(list(value))
    if which == 1:
        del value[key]
    elif which == 2:
        value[rng.choice(texts)] = value.pop(key)
    else:
        value[key] = changed(rng, value[key], texts)
    return value
