"""``fastgru forecast``: the steps after those of a table, for each of its series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from ..errors import DataError
from ..graph import Spec
from . import _arrays, _forecast_plot, _progress, _tables
from ._columns import Wanted, wanted
from ._options import whole

if TYPE_CHECKING:
    from ..forecasting import Scheme


MOST_STEPS = 1 << 20
ID, TIME, VALUE = "unique_id", "ds", "y"  # as `Model.forecast` calls them


def forecast(
    model: Annotated[str, typer.Argument(help="A .fgru file, or a compiled plan.")],
    source: Annotated[
        str,
        typer.Argument(help="Table of what is known, CSV or .parquet: a row for each series and step; - for stdin."),
    ],
    horizon: Annotated[
        int, typer.Option(parser=whole("--horizon", 1, MOST_STEPS), metavar="N", help="Steps to forecast.")
    ],
    output: Annotated[
        str, typer.Option("-o", "--output", help="Output: .csv, .parquet, or - for CSV on standard output.")
    ] = "-",
    covariates: Annotated[
        str | None,
        typer.Option(help="Table of the covariates of the steps to come, with the same columns of id and time."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            parser=whole("--samples", 0, 1 << 20),
            metavar="N",
            help="Paths to draw from the model's distribution; 100 where it has one, else 0: points alone.",
            show_default=False,
        ),
    ] = None,
    quantiles: Annotated[str, typer.Option(help="Levels of the quantiles of the paths.")] = "0.1,0.5,0.9",
    seed: Annotated[
        int | None,
        typer.Option(parser=whole("--seed", 0, 2**64 - 1), metavar="N", help="The same seed gives the same paths."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help=f"Where to draw the first series ({', '.join(_forecast_plot.FORMATS)}). Needs matplotlib."),
    ] = None,
    id_column: Annotated[str, typer.Option("--id", help="Column that names the series of a row.")] = ID,
    time_column: Annotated[str, typer.Option("--time", help="Column of the time of a row.")] = TIME,
    value_column: Annotated[str, typer.Option("--value", help="Column of the values.")] = VALUE,
    separator: Annotated[
        str, typer.Option(help="Character between the cells of a CSV, in and out; tab for a tab.")
    ] = ",",
    decimal: Annotated[str, typer.Option(help="Character before fractions in a CSV, in and out: . or a comma.")] = ".",
) -> None:
    """Forecast the series of a table, and write a row for each step to come.

    The table has a column that names the series, one of times and one of values, and those of the covariates by their
    names in the model. Rows of a series may be anywhere, and its times must be evenly spaced: months and working days
    count as such.
    """
    import fastgru
    from fastgru.forecasting import scheme as schemes

    encode, levels = _arrays.writer(output), _levels(quantiles)
    if encode not in (_arrays.as_csv, _arrays.as_parquet):
        raise DataError(f"--output must be - or end in .csv or .parquet, got {output!r}")
    if plot is not None:
        _forecast_plot.check(plot)
    loaded = fastgru.load(model)
    scheme = schemes.of_model(loaded.provenance, loaded.inputs, loaded.outputs)
    samples = _samples(samples, scheme)
    names = (id_column, time_column)
    table = _read(source, names, (value_column, *scheme.covariates), separator, decimal)
    table[VALUE] = table.pop(value_column)
    later = None
    if covariates is not None:
        varying = tuple(name for name in scheme.covariates if name not in scheme.static)
        if not varying:
            raise DataError("--covariates must be omitted, as the model reads none that change, got some")
        later = _read(covariates, names, varying, separator, decimal)
    with _arrays.naming(source), _progress.Shown(f"forecasting {_arrays.shown(source)}"):
        found = loaded.forecast(
            table, horizon, covariates=later, samples=samples, quantiles=levels, seed=seed
        )  # fmt: skip
    _arrays.write(output, _encoded(found, encode, names, wanted(None, separator=separator, decimal=decimal)))
    if plot is not None:
        _forecast_plot.draw(plot, table, found, levels)


def _levels(text: str) -> tuple[float, ...]:
    try:
        levels = tuple(float(word) for word in text.split(","))
    except ValueError:
        levels = ()
    if not levels or not all(0 <= level <= 1 for level in levels):
        raise DataError(f"--quantiles must be numbers from 0 to 1 such as 0.1,0.5,0.9, got {text!r}")
    return levels


def _samples(given: int | None, scheme: Scheme) -> int:
    point = scheme.distribution == "point"
    if given and point:
        raise DataError(
            f"--samples must be omitted, as the output of the model is a point and no distribution, got {given}"
        )
    return (0 if point else 100) if given is None else given


def _read(
    source: str, names: tuple[str, str], columns: tuple[str, ...], separator: str, decimal: str
) -> dict[str, Any]:
    """Read the columns of a table, those of names as `Model.forecast` calls them."""
    identifier, time = names
    want = wanted(None, None, None, separator, decimal, header=True)
    want = want._replace(columns=tuple(columns), keep=(identifier, time))
    with _progress.Shown(f"reading {_arrays.shown(source)}"):
        found = _arrays.read_input(source, Spec((len(columns),)), want)
    if not found.kept.columns:
        raise DataError(f"{_arrays.shown(source)}: input must be a table (CSV or Parquet), got a NumPy file")
    table: dict[str, Any] = {own: _plain(column) for own, column in zip((ID, TIME), found.kept.columns, strict=True)}
    return {**table, **{name: found.values[:, i] for i, name in enumerate(columns)}}


def _plain(column: Any) -> Any:
    """Return a column as NumPy: the words of a CSV, or the values of Parquet with their type."""
    if isinstance(column, list):
        return np.array([cell.strip() for cell in column], object)
    from ..forecasting.tables import as_numpy

    return as_numpy(column)


def _encoded(found: dict[str, Any], encode: Any, names: tuple[str, str], want: Wanted) -> bytes:
    """Write the forecast, the columns of names as the user calls them."""
    titles = dict(zip((ID, TIME), names, strict=True))
    kept = [found[name] for name in titles]
    numbers = {name: column for name, column in found.items() if name not in titles}
    if encode is _arrays.as_parquet:
        from . import _parquet

        return _parquet.encode([*zip(names, map(_plain_again, kept), strict=True), *numbers.items()])
    texts = [list(map(str, column.tolist())) for column in kept]
    head = _tables.record([*names, *numbers], want.separator)
    rows = _tables.encode(np.stack(list(numbers.values()), axis=1), texts, want)
    return f"{head}\n{rows}".encode(errors="backslashreplace")


def _plain_again(column: Any) -> Any:
    return column.tolist() if column.dtype.kind == "O" else column
