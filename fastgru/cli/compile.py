"""``fastgru compile``: a .fgru file to a plan that processes map instead of packing its weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DataError
from ..files.compiled import SUFFIX
from ..files.writing import check_target
from . import _models, _progress, _show


def compile(  # the command's name
    model: Annotated[Path, typer.Argument(help="A .fgru file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The plan to write, a .plan file.")],
    isa: Annotated[
        str | None,
        typer.Option(help="Instruction sets, e.g. avx2,avx512,neon, also of other machines; this one's when omitted."),
    ] = None,
) -> None:
    """Write the instructions and packed weights of a model: ready at once, and shared by processes.

    A plan runs with the fastgru that made it. Keep the .fgru file, to compile it again.
    """
    check_target(output)
    if output.suffix.lower() != SUFFIX and not output.exists():
        raise DataError(
            f"--output must end in {SUFFIX}, got {str(output)!r}: write {str(output.with_suffix(SUFFIX))!r}"
        )
    loaded = _models.whole(model, "compile")
    with _progress.Shown(f"compiling {model}"):
        loaded.compile(output, isa)
    _show.stdout().say(f"{output}: {os.path.getsize(output):,} bytes, for {isa or loaded.isa}")
