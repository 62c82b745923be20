"""Tables of layers and consoles, shared by the commands."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import VerificationError
from ..report.summary import WORDS, Summary
from ._ending import escaped

if TYPE_CHECKING:
    from ..checks.comparison import Comparison
    from ..model import Model
    from ..quantization import Report
    from ..report.listing import Row
    from ..report.profile import Profile

PIPE_WIDTH = 200  # columns of what is written to a file or a pipe: names of nodes may be long


class Plain(Console):
    """A console that takes text as it is: no markup and no emoji in it, and control characters as escapes."""

    def __init__(self, file: TextIO, **options: Any) -> None:
        super().__init__(file=file, highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print text and tables; see `rich.console.Console.print`."""
        super().print(*(escaped(o) if isinstance(o, str) else o for o in objects), **options)

    def on_broken_pipe(self) -> None:
        """Let the error reach the end of the command, as one of any other output does; rich would exit with 1."""
        raise  # rich calls it where it handles the error

    def say(self, text: str) -> None:
        """Print text with names in it as one line."""
        self.print(in_a_line(text))


def in_a_line(text: str) -> str:
    """Return `text` without line ends, which names in a file could forge lines of output with."""
    return escaped(text).replace("\n", "\\n")


def stdout() -> Plain:
    """Return the console for results."""
    asked = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = shutil.get_terminal_size((PIPE_WIDTH, 0)).columns if asked else PIPE_WIDTH
    return Plain(sys.stdout, soft_wrap=True, width=width)


def block() -> str:
    """Return the character that bars are drawn with: a full block where stdout can show it."""
    return "█" if is_utf(sys.stdout.encoding) else "#"


def sized(path: Path) -> str:
    """A file and how large it is; the path alone of what is not a regular file."""
    return f"{path} ({path.stat().st_size:,} bytes)" if path.is_file() else str(path)


def is_utf(encoding: str | None) -> bool:
    """True if text of an encoding can hold any character."""
    return (encoding or "").lower().startswith("utf")


def layers(summary: Summary) -> Table:
    """The layers as a rich table with the totals in its footer."""
    return table(summary.headings, summary.cells(), summary.total(), WORDS)


def planned(rows: Sequence[Row]) -> Table:
    """The instructions of a plan as a rich table."""
    from ..report import listing

    total = [""] * (len(listing.HEADINGS) - 1) + [f"{sum(row.weights for row in rows):,}"]
    return table(listing.HEADINGS, [row.cells() for row in rows], total, listing.WORDS)


def profiled(found: Profile) -> Table:
    """The times of instructions as a rich table."""
    from ..report import profile

    total = ["", "", "", f"{sum(row.us for row in found.rows):.2f}", "100.0%", "", "", ""]
    return table(profile.HEADINGS, [row.cells() for row in found.rows], total, profile.WORDS)


def report(found: Report) -> Table:
    """Show the result of `fastgru.quantization.report` as a rich table."""
    from .. import quantization

    return table(quantization.HEADINGS, found.cells(), found.total(), quantization.WORDS)


def traced(model: Model) -> Table:
    """Return a rich table of the error at every node, on the self-test's input."""
    from ..checks import tracing

    test = model.self_test
    if test is None:
        raise VerificationError("model to trace must have a stored self-test, got none")
    rows = tracing.trace(model.graph, test.input, dtype=model.dtype, isa=model.isa)
    rich = table(tracing.HEADINGS, [row.cells() for row in rows], [""] * len(tracing.HEADINGS), tracing.WORDS)
    rich.show_footer = False
    return rich


def compared(found: Comparison) -> Table:
    """Show the result of `fastgru.comparison.compare` as a rich table with a title."""
    rich = table(found.headings, [row.cells() for row in found.rows], [""] * len(found.headings), found.words)
    rich.title, rich.title_justify, rich.show_footer = Text(escaped(found.title)), "left", False
    return rich


def origin(found: Comparison) -> str:
    """Name the row in which most of the error arises."""
    row = found.origin
    if row is None:
        return "no error at any layer"
    what = "node" if found.missing else "layer"
    added = row.error if isnan(row.new) else row.new
    return f"most error arises at {what} {row.name!r} ({row.kind}): {added:.2g} of values to {row.largest:.3g}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str], words: int) -> Table:
    """Rows of text as a rich table: the first `words` columns to the left, the others, numbers, to the right."""
    rich = Table(show_footer=True)
    for i, (heading, footer) in enumerate(zip(headings, total, strict=True)):
        rich.add_column(
            heading, Text(footer), justify="left" if i < words else "right", overflow="fold", no_wrap=0 < i < words
        )
    for row in rows:
        rich.add_row(*(Text(in_a_line(cell)) for cell in row))
    return rich
