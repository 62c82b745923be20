"""The limit on what a model and its streams may allocate: checked before they do."""

from __future__ import annotations

import os

from ._hints import either
from .errors import FastGruError, MemoryLimitError

__all__ = ["check", "get_memory_limit", "parse_size", "set_memory_limit"]

VARIABLE = "FASTGRU_MEMORY_LIMIT"
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_limit: int | None = None  # None: not set yet


def set_memory_limit(limit: int | str | None) -> None:
    """Set the most memory that a model together with one of its streams may allocate.

    Models and streams compute what they need before they allocate it, and raise `MemoryLimitError` above the limit.

    Parameters
    ----------
    limit : int, str or None
        Bytes, or a text such as ``"512M"`` or ``"8G"`` (powers of 1024). None returns to the default: the environment
        variable FASTGRU_MEMORY_LIMIT where it is set, else half of the machine's memory.

    Raises
    ------
    ValueError
        When `limit` is no positive size.

    Examples
    --------
    >>> set_memory_limit("512M")
    >>> get_memory_limit()
    536870912
    >>> set_memory_limit(None)
    """
    global _limit
    _limit = _default() if limit is None else parse_size(limit, "limit")


def get_memory_limit() -> int:
    """Return the limit in bytes."""
    global _limit
    if _limit is None:
        _limit = _default()
    return _limit


def parse_size(size: int | str, name: str) -> int:
    """Return a size in bytes.

    Raises
    ------
    ValueError
        When it is neither a positive integer nor a text of one with K, M, G or T behind it.

    Examples
    --------
    >>> parse_size("2G", "limit")
    2147483648
    """
    if isinstance(size, str):
        digits = size.strip().upper().removesuffix("B")
        unit = digits[-1:] if digits[-1:] in UNITS else ""
        digits = digits.removesuffix(unit)
        if digits.isascii() and digits.isdigit() and len(digits) < 19 and int(digits):
            return int(digits) * UNITS[unit]
    elif isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    raise ValueError(f"{name} must be a positive number of bytes or a text such as '512M', got {size!r}")


def check(needed: int, what: str, node: str | None) -> None:
    """Raise MemoryLimitError if `what` needs more bytes than the limit; `node` is the one that needs most of them."""
    limit = get_memory_limit()
    if needed <= limit:
        return
    blame = "" if node is None else f"; node {node!r} needs most"
    raise MemoryLimitError(
        f"memory of {what} must be at most {shown(limit)}, got {shown(needed)}{blame} "
        f"(raise the limit with {either('fastgru.set_memory_limit or ', '')}the environment variable {VARIABLE})"
    )


def shown(size: int) -> str:
    """Return a size as text, e.g. ``"1.5 GiB"``."""
    if size >= 1 << 59:  # where the engine stops counting
        return "more than can be counted"
    power = max(0, min(4, (size.bit_length() - 1) // 10))
    return f"{size} bytes" if power == 0 else f"{size / (1 << 10 * power):.4g} {'KMGT'[power - 1]}iB"


def _default() -> int:
    if text := os.environ.get(VARIABLE, ""):
        try:
            return parse_size(text, f"environment variable {VARIABLE}")
        except ValueError as error:
            raise FastGruError(str(error)) from error
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return 4 << 30
