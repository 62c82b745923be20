"""``fastgru run``: a model over a file or a pipe, whole or frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from . import _arrays

if TYPE_CHECKING:
    from .. import Model


def run(
    model: Annotated[str, typer.Argument(help="A .fgru file.")],
    source: Annotated[
        str,
        typer.Argument(
            help="Input: .npy or .npz (T, I) or (B, T, I), CSV of one step a line, or -; of several, .npz by name."
        ),
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="Output: .csv, .npy, .npz, or - for CSV.")] = "-",
    stream: Annotated[bool, typer.Option("--stream", help="Frame by frame: a line of CSV in, a line out.")] = False,
) -> None:
    """Run a model over an input, and write its output."""
    import fastgru

    encode = _arrays.writer(output)
    loaded = fastgru.load(model)
    if stream and output == "-":
        for row in _step(loaded, source):
            print(_arrays.line(row), flush=True)
        return
    if stream:
        rows = list(_step(loaded, source))
        if not rows:
            raise _arrays.DataError(f"{_arrays.shown(source)}: input must have at least one row, got none")
        outputs = {loaded.graph.outputs[0]: np.stack(rows)}
    else:
        x = _arrays.read_inputs(source, loaded.graph.inputs)
        with _arrays.naming(source):
            y = loaded(x)
        outputs = dict(zip(loaded.graph.outputs, y if isinstance(y, tuple) else (y,), strict=True))
    _arrays.write(output, encode(outputs))


def _step(model: Model, source: str) -> Iterator[Any]:
    """One output row for every line of CSV, before the next line is read."""
    if len(model.graph.inputs) > 1:
        raise _arrays.DataError(f"model of --stream must have one input, got {', '.join(model.graph.inputs)}")
    (spec,) = model.graph.inputs.values()
    name = _arrays.shown(source)
    if len(model.graph.outputs) > 1:
        raise _arrays.DataError(f"model of --stream must have one output, got {', '.join(model.graph.outputs)}")
    with _arrays.naming(source):
        stream = model.stream()
    dtype = np.int64 if spec.dtype == "int" else model.dtype
    with _arrays.open_lines(source) as file:
        for frame in _arrays.frames(file, name, spec):
            with _arrays.naming(source):
                row = stream.step(frame.astype(dtype))
            yield row
