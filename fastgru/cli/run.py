"""``fastgru run``: a model over a file or a pipe, whole or step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from .._names import nearest
from ..errors import DataError
from . import _arrays, _progress, _sequences, _streaming
from ._columns import Wanted, wanted
from ._options import Source, whole

if TYPE_CHECKING:
    from ..graph import Spec
    from ..running import Running

MOST_STEPS = 1 << 24  # of a window


def run(
    model: Annotated[str, typer.Argument(help="A .fgru file.")],
    source: Source,
    output: Annotated[
        str, typer.Option("-o", "--output", help="Output: .csv, .parquet, .npy, .npz, or - for CSV on standard output.")
    ] = "-",
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of a table to feed, in order: names if it has a header, else numbers from 1."),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="Columns of a table to copy in front of the output, e.g. a date.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Columns that name the sequence of a row, e.g. a store; copied to the output as well."),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            parser=whole("--window", 1, MOST_STEPS),
            metavar="N",
            help="Give each row the model's last output over the N rows of its group up to it. Rows with fewer before"
            " them are left out.",
        ),
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="With --window: run the first rows of a group on the rows so far.")
    ] = False,
    separator: Annotated[
        str, typer.Option(help="Character between the cells of a CSV, in and out; tab for a tab.")
    ] = ",",
    decimal: Annotated[str, typer.Option(help="Character before fractions in a CSV, in and out: . or a comma.")] = ".",
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="Whether the first line of a CSV holds names of columns, also if they are numbers such as years. When"
            " omitted: yes if a column is asked for by name, if no cell of the line is a number, or if one is a word"
            " above a number in the next line.",
        ),
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Run step by step: read a line of CSV, write a line.")
    ] = False,
) -> None:
    """Run a model over an input, and write its output.

    Rows of a group may be anywhere in the table; the output has the order of the input. A model that returns its last
    step alone gives a row for each group, with the cells of the group's last row, or with --window one for each row.
    """
    import fastgru

    encode, want = _arrays.writer(output), wanted(columns, keep, group, separator, decimal, header)
    if partial and window is None:
        raise DataError("--window must be given with --partial, got none")
    if want.carried and encode in (_arrays.as_npy, _arrays.as_npz):
        raise DataError(f"output must be CSV or .parquet for {want.carried[0][0]}, got {output!r}")
    loaded = fastgru.load(model)
    if stream and output == "-":
        for line in _streaming.lines(loaded, source, want, window, partial):
            _arrays.write("-", f"{line}\n".encode(errors="backslashreplace"))
        return
    if stream:
        outputs, kept = _steps(loaded, source, want, window, partial)
    else:
        outputs, kept = _whole(loaded, source, want, window, partial)
    if encode in (_arrays.as_csv, _arrays.as_parquet):
        listed = stream or window is not None or bool(want.group)
        outputs = {name: _in_rows(loaded.outputs[name], y, listed) for name, y in outputs.items()}
        carried = kept if want.carried or kept.header else None
        data = _arrays.as_csv(outputs, carried, want) if encode is _arrays.as_csv else encode(outputs, carried)
    else:
        data = encode(outputs)
    _arrays.write(output, data)


def _whole(
    model: Running, source: str, want: Wanted, window: int | None, partial: bool
) -> tuple[dict[str, Any], _arrays.Kept]:
    """The outputs over all of the input, and the columns to keep."""
    inputs = model.inputs
    with _progress.Shown(f"reading {_arrays.shown(source)}") as shown:
        if len(inputs) > 1:
            if window is not None:
                raise DataError(f"model of --window must have one input, got {nearest(None, inputs)}")
            x: Any = _arrays.read_inputs(source, inputs, want)
            found = _arrays.Input(np.empty(0), _arrays.Kept([], []))
        else:
            found = _arrays.read_input(source, next(iter(inputs.values())), want)
            x = found.values
        if window is None and not want.group:
            shown.update(f"running {next(iter(model.outputs))} over {_arrays.shown(source)}")
            with _arrays.naming(source):
                y = model(x)
            named = _named(model, y if isinstance(y, tuple) else (y,))
            return named, _of_last_row(model, found.kept, len(x)) if want.carried else found.kept
    _check_sequence(model, x, window, source)
    with _arrays.naming(source):
        plan = _sequences.plan(found.groups, len(x), window, partial)
        with _progress.Shown(f"running over {_arrays.shown(source)}", len(plan.starts)) as shown:
            named, rows = _sequences.outputs(model, x, plan, shown.advance)
    return named, found.kept.take(rows)


def _of_last_row(model: Running, kept: _arrays.Kept, rows: int) -> _arrays.Kept:
    """The cells of the last row where the model returns its last step alone."""
    timed = any(spec.time for spec in model.outputs.values())
    return kept if timed else kept.take(np.array([rows - 1]))


def _check_sequence(model: Running, x: Any, window: int | None, source: str) -> None:
    """Raise DataError unless the input is one sequence of steps."""
    (spec,) = model.inputs.values()
    if not spec.time or x.shape[1:] != spec.shape:
        option = "--group" if window is None else f"--window {window}"
        expected = ", ".join(map(str, ("T", *spec.shape)))
        raise DataError(f"{_arrays.shown(source)}: input of {option} must have shape ({expected}), got {x.shape}")


def _steps(
    model: Running, source: str, want: Wanted, window: int | None, partial: bool
) -> tuple[dict[str, Any], _arrays.Kept]:
    """The outputs of a stream that is fed step by step, and the columns to keep."""
    with _arrays.lines_of(source) as text, _progress.Shown(f"streaming {_arrays.shown(source)}"):
        table, steps = _streaming.steps(model, source, text, want, window, partial)
        rows = list(steps)
    kept = [list(cells) for cells in zip(*(row.kept for row in rows), strict=True)]
    return _named(model, (np.stack([row.values for row in rows]),)), _arrays.Kept(table.kept, kept, table.has_header)


def _named(model: Running, arrays: tuple[Any, ...]) -> dict[str, Any]:
    """The outputs by name."""
    return dict(zip(model.outputs, arrays, strict=True))


def _in_rows(spec: Spec, y: Any, listed: bool) -> Any:
    """Return an output with a row a step, or a row a sequence where they are `listed`, also of single numbers."""
    return y[..., None] if not spec.shape and (spec.time or listed) else y
