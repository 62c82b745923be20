"""What several commands show: tables of layers, and where messages go."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from ..summary import HEADINGS, Summary


def stdout() -> Console:
    """Where results go."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def stderr() -> Console:
    """Where progress goes."""
    return Console(file=sys.stderr, highlight=False)


def layers(summary: Summary) -> Table:
    """The layers as a rich table with the totals in its footer."""
    table = Table(show_footer=True)
    totals = ["total", "", "", *(f"{n:,}" for n in summary.totals[:3])]
    for i, (heading, footer) in enumerate(zip(HEADINGS, totals, strict=True)):
        table.add_column(heading, footer, justify="left" if i < 3 else "right", overflow="fold")
    for row in summary.rows:
        table.add_row(*(cell if isinstance(cell, str) else f"{cell:,}" for cell in row))
    return table
