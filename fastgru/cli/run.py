"""``fastgru run``: a model over a file or a pipe, whole or step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from ..errors import DataError
from . import _arrays, _tables

if TYPE_CHECKING:
    from .. import Model
    from ..graph import Spec


def run(
    model: Annotated[str, typer.Argument(help="A .fgru file.")],
    source: Annotated[
        str,
        typer.Argument(
            help="Input: .npy or .npz of shape (T, I) or (B, T, I); CSV with a step a line; - for standard input."
            " Several inputs: one .npz with an array of each name."
        ),
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="Output: .csv, .npy, .npz, or - for CSV on standard output.")
    ] = "-",
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of a CSV to feed, in order: names if it has a header, else numbers from 1."),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="Columns of a CSV to copy in front of the output, e.g. a date.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Run step by step: read a line of CSV, write a line.")
    ] = False,
) -> None:
    """Run a model over an input, and write its output."""
    import fastgru

    encode, want = _arrays.writer(output), _tables.wanted(columns, keep)
    if want.keep and encode is not _arrays.as_csv:
        raise DataError(f"output must be CSV for --keep, got {output!r}")
    loaded = fastgru.load(model)
    if stream and output == "-":
        for line in _lines(loaded, source, want):
            _arrays.write("-", f"{line}\n".encode(errors="backslashreplace"))
        return
    outputs, kept = (_steps if stream else _whole)(loaded, source, want)
    if encode is _arrays.as_csv:
        data = _arrays.as_csv(_in_rows(loaded, outputs), kept if want.keep else None)
    else:
        data = encode(outputs)
    _arrays.write(output, data)


def _whole(model: Model, source: str, want: _tables.Wanted) -> tuple[dict[str, Any], _arrays.Kept]:
    """The outputs of one call, and the columns to keep."""
    inputs = model.graph.inputs
    x: Any
    if len(inputs) == 1:
        x, kept = _arrays.read_rows(source, next(iter(inputs.values())), want)
    elif want != _tables.EVERYTHING:
        raise DataError(f"model must have one input to choose columns of a CSV for, got {', '.join(inputs)}")
    else:
        x, kept = _arrays.read_inputs(source, inputs), _arrays.Kept([], [])
    with _arrays.naming(source):
        y = model(x)
    return _named(model, y if isinstance(y, tuple) else (y,)), kept


def _steps(model: Model, source: str, want: _tables.Wanted) -> tuple[dict[str, Any], _arrays.Kept]:
    """The outputs of a stream that is fed step by step, and the columns to keep."""
    with _arrays.lines_of(source) as lines:
        table, steps = _step(model, source, lines, want)
        rows = list(steps)
    if not rows:
        raise DataError(f"{_arrays.shown(source)}: input must have at least one row, got none")
    kept = _arrays.Kept(table.kept, [cells for cells, _ in rows])
    return _named(model, (np.stack([y for _, y in rows]),)), kept


def _lines(model: Model, source: str, want: _tables.Wanted) -> Iterator[str]:
    """A line of CSV for every line of `source`, before the next line is read."""
    with _arrays.lines_of(source) as lines:
        table, steps = _step(model, source, lines, want)
        for i, (cells, y) in enumerate(steps):
            if i == 0 and table.kept:
                yield _tables.header(table.kept, model.graph.outputs[0], np.size(y))
            yield _tables.line(y, cells)


def _step(
    model: Model, source: str, lines: Iterator[bytes], want: _tables.Wanted
) -> tuple[_tables.Table, Iterator[tuple[list[str], Any]]]:
    """The table of `lines`, and the cells to keep and the output of each of its rows."""
    for what, names in (("input", list(model.graph.inputs)), ("output", model.graph.outputs)):
        if len(names) > 1:
            raise DataError(f"model of --stream must have one {what}, got {', '.join(names)}")
    (spec,) = model.graph.inputs.values()
    with _arrays.naming(source):
        stream = model.stream()
    table = _tables.Table(lines, _arrays.shown(source), spec, want)

    def steps() -> Iterator[tuple[list[str], Any]]:
        for row in table:
            with _arrays.naming(source):
                y = stream.step(_fed(row.values, spec, model.dtype))
            yield row.kept, y

    return table, steps()


def _fed(values: Any, spec: Spec, dtype: str) -> Any:
    """A row as the engine reads it."""
    return values if spec.dtype == "int" else values.astype(dtype)


def _named(model: Model, arrays: tuple[Any, ...]) -> dict[str, Any]:
    """The outputs by name."""
    return dict(zip(model.graph.outputs, arrays, strict=True))


def _in_rows(model: Model, outputs: dict[str, Any]) -> dict[str, Any]:
    """The outputs with a row a step, also where a step is one number."""
    specs = model.graph.specs
    return {name: y[..., None] if specs[name].time and not specs[name].shape else y for name, y in outputs.items()}
