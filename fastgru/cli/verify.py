"""``fastgru verify``: replay the self-test in a .fgru file on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import selftest
from . import _progress, _show


def verify(
    model: Annotated[Path, typer.Argument(help="A .fgru file.")],
    trace: Annotated[bool, typer.Option("--trace", help="Show the error at every node.")] = False,
) -> None:
    """Run a model on its stored input; exit with 1 when it does not reproduce the stored output."""
    import fastgru

    loaded = fastgru.load(model)
    console = _show.stdout()
    if trace:
        with _progress.Shown(f"tracing {model}"):
            table = _show.traced(loaded)
        console.print(table)
    with _progress.Shown(f"replaying the self-test of {model}"):
        report = selftest.verify(loaded)
    console.say(f"{model}: {report} on {loaded.isa}")
