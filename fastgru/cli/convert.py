"""``fastgru convert``: import a trained network and write a verified .fgru file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import selftest
from ..errors import ConvertError
from ..graph import PRECISIONS
from . import _like, _show


def convert(
    source: Annotated[Path, typer.Argument(help="The trained model: .keras .h5 .pt .pth .safetensors")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .fgru file to write.")],
    like: Annotated[list[str] | None, typer.Option(help=_like.HELP)] = None,
    dtype: Annotated[str, typer.Option(help="What the model computes in: float32 or float64.")] = "float32",
    precision: Annotated[str, typer.Option(help="Of the weights: float32, float16, bfloat16 or int8.")] = "float32",
) -> None:
    """Import a trained network, check it against its self-test and write it as a .fgru file."""
    import fastgru

    console = _show.stdout()
    described = [_like.parse(text) for text in like] if like else None
    if dtype not in fastgru.model.DTYPES:
        raise ConvertError(f"--dtype must be one of {', '.join(fastgru.model.DTYPES)}, got {dtype!r}")
    if precision not in PRECISIONS:
        raise ConvertError(f"--precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if dtype != "float32" and precision != "float32":
        raise ConvertError(f"--dtype must be float32 for --precision {precision}, got {dtype!r}")
    with _show.stderr().status(f"importing {source}") as status:
        model = fastgru.convert(str(source), like=described, dtype=dtype, precision=precision)
        status.update("replaying the self-test")
        report = selftest.verify(model)
        status.update(f"writing {output}")
        model.save(output)
    console.print(_show.layers(model.summary()))
    console.print(f"self-test {report}", markup=False)
    console.print(f"wrote {output} ({output.stat().st_size:,} bytes)", markup=False)
