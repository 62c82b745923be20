"""``fastgru verify``: replay the self-test in a .fgru file on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import selftest


def verify(model: Annotated[Path, typer.Argument(help="A .fgru file.")]) -> None:
    """Run a model on its stored input; exit with 1 when it does not reproduce the stored output."""
    import fastgru

    loaded = fastgru.load(model)
    report = selftest.verify(loaded)
    print(f"{model}: {report} on {loaded.isa}")
