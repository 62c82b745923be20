"""``fastgru verify``: replay the self-test in a .fgru file on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..checks import selftest
from ..errors import DataError
from . import _progress, _show
from ._arrays import naming


def verify(
    model: Annotated[Path, typer.Argument(help="A .fgru file, or a compiled plan.")],
    trace: Annotated[bool, typer.Option("--trace", help="Show the error at every node.")] = False,
) -> None:
    """Run a model on its stored input; exit with 1 when it does not reproduce the stored output."""
    import fastgru

    console = _show.stdout()
    loaded = fastgru.load(model)
    if isinstance(loaded, fastgru.CompiledModel):
        if trace:
            raise DataError(f"{model}: --trace must be of a .fgru file, got a compiled plan")
        with _progress.Shown(f"reading all of {model}"), naming(str(model)):
            loaded.verify()
        console.say(f"{model}: the weights are those written, the outputs have the bits of then, on {loaded.isa}")
        return
    if trace:
        with _progress.Shown(f"tracing {model}"):
            table = _show.traced(loaded)
        console.print(table)
    with _progress.Shown(f"replaying the self-test of {model}"):
        report = selftest.verify(loaded)
    console.say(f"{model}: {report} on {loaded.isa}")
