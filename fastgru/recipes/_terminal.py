"""The command lines of recipes: start them, and draw small pictures in text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cli._ending import one_line, open_standard

SHADES = " ▁▂▃▄▅▆▇█"


def application(command: Callable[..., None]) -> Any:
    """`command` as a program whose errors are one line, with the exit statuses of ``fastgru``."""
    import typer

    from ..cli._app import Command

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=Command)(command)
    return app


def start(command: Callable[..., None]) -> None:
    """Run `command` on the arguments of the command line."""
    open_standard()
    with one_line():
        app = application(command)
    spec = sys.modules["__main__"].__spec__
    app(prog_name=f"python -m {spec.name}" if spec else sys.argv[0])


def strip(values: NDArray[Any], width: int) -> str:
    """Values in 0..1 as a line of at most `width` bars, each the largest of its share.

    Examples
    --------
    >>> strip(np.array([0.0, 0.1, 0.5, 1.0]), 4)
    ' ▁▄█'
    """
    shares = np.array_split(np.asarray(values), min(width, len(values)))
    heights = np.array([share.max() for share in shares]).clip(0, 1) * (len(SHADES) - 1)
    return "".join(SHADES[round(float(height))] for height in heights)


def ruler(seconds: float, width: int) -> str:
    """The ends of a time axis below a strip of that width.

    Examples
    --------
    >>> ruler(2.5, 10)
    '0     2.5s'
    """
    end = f"{seconds:.1f}s"
    return "0" + end.rjust(max(width - 1, len(end)))
