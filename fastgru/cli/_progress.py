"""Progress on stderr of what takes more than a second, where that is a terminal."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from rich import progress as bars

from . import _show

PATIENCE = 1.0  # seconds without a word
INTERVAL = 0.5  # seconds between drawings without a thread


class Shown:
    """A line with a spinner, and with a bar where the amount of work is known; gone when the block ends.

    Parameters
    ----------
    text : str
        What is being done.
    total : float, optional
        Amount of work that `advance` will report.
    thread : bool
        False for work that must not be disturbed: the line is drawn by `advance` alone.
    """

    def __init__(self, text: str, total: float | None = None, *, thread: bool = True) -> None:
        self._drawn: bars.Progress | None = None
        self._timer: threading.Timer | None = None
        self._lock, self._started = threading.Lock(), False
        if not sys.stderr.isatty():
            return
        console = _show.Plain(sys.stderr)
        spinner = bars.SpinnerColumn("dots" if _show.is_utf(console.encoding) else "line")
        bar: list[bars.ProgressColumn] = (
            [] if total is None else [bars.BarColumn(), bars.TaskProgressColumn(), bars.TimeRemainingColumn()]
        )
        columns = (spinner, bars.TextColumn("{task.description}", markup=False), *bar)
        self._drawn = bars.Progress(*columns, console=console, transient=True, auto_refresh=thread)
        self._task = self._drawn.add_task(_show.in_a_line(text), total=total)
        self._thread, self._next = thread, time.monotonic() + PATIENCE
        if thread:
            self._timer = threading.Timer(PATIENCE, self._start)
            self._timer.daemon = True

    def __enter__(self) -> Shown:
        if self._timer:
            self._timer.start()
        return self

    def _start(self) -> None:
        with self._lock:
            if self._drawn and not self._started:
                self._started = True
                self._drawn.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer:
            self._timer.cancel()
        with self._lock:
            drawn, self._drawn = self._drawn, None
            if drawn and self._started:
                drawn.stop()

    def update(self, text: str) -> None:
        """Say what is done now."""
        if self._drawn:
            self._drawn.update(self._task, description=_show.in_a_line(text))

    def advance(self, amount: float) -> bool:
        """Report work that is done; True if that was drawn here and now."""
        if not self._drawn:
            return False
        self._drawn.advance(self._task, amount)
        if self._thread or time.monotonic() < self._next:
            return False
        self._start()
        self._drawn.refresh()
        self._next = time.monotonic() + INTERVAL
        return True
