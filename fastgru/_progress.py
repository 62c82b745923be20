"""A bar for long work, shown on a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

AFTER = 1.0  # seconds of work before a bar appears


@contextmanager
def counting(total: int | None, what: str, *, show: bool = True) -> Iterator[Callable[[int], None]]:
    """Give a function that counts finished items; a bar on stderr shows them once the work has taken a second.

    Nothing is shown when stderr is no terminal or rich is not installed.

    Parameters
    ----------
    total : int or None
        Items in all; None where that is not known.
    what : str
        What the items are, e.g. ``"sequences"``.
    show : bool
        False counts in silence.

    Examples
    --------
    >>> with counting(10, "sequences", show=False) as count:
    ...     count(10)
    """
    bar = _bar() if show and sys.stderr is not None and sys.stderr.isatty() else None
    if bar is None:
        yield lambda n: None
        return
    task, began, started = bar.add_task(what, total=total), monotonic(), False

    def count(n: int) -> None:
        nonlocal started
        bar.update(task, advance=n)
        if not started and monotonic() - began > AFTER:
            bar.start()
            started = True

    try:
        yield count
    finally:
        if started:
            bar.stop()


def _bar() -> Any:
    """Make a bar of rich; None without rich."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
