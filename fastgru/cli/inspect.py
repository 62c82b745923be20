"""``fastgru inspect``: a page that shows what a model does with an input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import DataError
from ..files.writing import check_target, replace_file
from ..inspect import report_html, report_plot, report_seen
from ..inspect.attribution import METHODS
from . import _arrays, _progress, _show
from ._columns import wanted
from ._options import Source, one_of

PAGES = (".html", ".htm")


def inspect(
    model: Annotated[Path, typer.Argument(help="A .fgru file.")],
    source: Source,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page to write, a .html file.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help=f"Draw the figures into this file, too ({', '.join(report_plot.FORMATS)}). Needs matplotlib.",
            show_default=False,
        ),
    ] = None,
    row: Annotated[int, typer.Option(help="The sequence of a batch to draw.")] = 0,
    name: Annotated[
        str | None, typer.Option("--explain", help="The output to explain, by name; the first when omitted.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Its unit, e.g. 3, or 3,0 of an output of two axes; the largest when omitted.")
    ] = None,
    step: Annotated[int | None, typer.Option(help="The step to explain; the last when omitted.")] = None,
    method: Annotated[
        str | None, typer.Option(help=f"How: {', '.join(METHODS)}. integrated_gradients when omitted.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of a table to feed, in order: names if it has a header, else numbers from 1."),
    ] = None,
    separator: Annotated[str, typer.Option(help="Character between the cells of a CSV; tab for a tab.")] = ",",
    decimal: Annotated[str, typer.Option(help="Character before fractions in a CSV: . or a comma.")] = ".",
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first line of a CSV holds names.")
    ] = None,
) -> None:
    """Show gates, memory and attribution of a model on an input, as a page of HTML."""
    import fastgru

    one_of("--method", method, METHODS)
    _check(output, PAGES, "--output")
    _check(plot, report_plot.FORMATS, "--plot")
    if output is None and plot is None:
        raise DataError("--output must be the page to write, got none: -o report.html")
    if plot is not None:
        report_plot.library()
    want, chosen = wanted(columns, None, None, separator, decimal, header), _unit(unit)
    loaded = fastgru.load(model)
    if isinstance(loaded, fastgru.CompiledModel):
        raise DataError(f"{model}: model to inspect must be a .fgru file, got a compiled plan")
    with _progress.Shown(f"running {model} over {_arrays.shown(source)}") as shown, _arrays.naming(source):
        x = _arrays.read_inputs(source, loaded.inputs, want)
        seen = report_seen.look(loaded, x, row=row, name=name, step=step, unit=chosen, method=method)
        shown.update("drawing")
        title, told = model.name, Path(source).name if source != "-" else _arrays.shown(source)
        console = _show.stdout()
        if output is not None:
            text = report_html.page(seen, title, told).encode()
            replace_file(output, text)
        if plot is not None:
            replace_file(plot, report_plot.plot(seen, f"{title} over {told}", plot.suffix[1:].lower()))
    if output is not None:
        console.say(f"wrote {output}, {len(text):,} bytes: open it in a browser")
    if plot is not None:
        console.say(f"drew {plot}")


def _check(path: Path | None, endings: tuple[str, ...], option: str) -> None:
    """Raise DataError or OSError unless a file of one of these endings can be written."""
    if path is None:
        return
    if path.suffix.lower() not in endings:
        raise DataError(f"{option} must end in one of {', '.join(endings)}, got {str(path)!r}")
    check_target(path)


def _unit(words: str | None) -> tuple[int, ...] | None:
    """Return the unit to explain as numbers."""
    if words is None:
        return None
    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError:
        raise DataError(f"--unit must be whole numbers such as 3 or 3,0, got {words!r}") from None
