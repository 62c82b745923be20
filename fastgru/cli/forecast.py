"""``fastgru forecast``: the steps after those of a table, for each of its series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer

from ..errors import DataError
from ..forecasting import tables
from ..graph import Spec
from . import _arrays, _forecast_plot, _progress, _tables
from ._columns import Wanted, Words, wanted
from ._options import whole

if TYPE_CHECKING:
    from ..forecasting import Scheme


MOST_STEPS = 1 << 20
ID, TIME, VALUE = tables.ID, tables.TIME, tables.VALUE  # as `Model.forecast` calls the columns
OPTIONS = {ID: "--id", TIME: "--time", VALUE: "--value"}
MISSING = "fill in missing values, as each step of a series must have its row, or leave out the rows at its end"


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
    id_column: Annotated[
        str | None,
        typer.Option(
            "--id",
            help=f"Column that names the series of a row. {ID} when omitted, if there is one, else all rows are one"
            " series.",
            show_default=False,
        ),
    ] = None,
    time_column: Annotated[str, typer.Option("--time", help="Column of the time of a row.")] = TIME,
    value_column: Annotated[str, typer.Option("--value", help="Column of the values.")] = VALUE,
    separator: Annotated[
        str, typer.Option(help="Character between the cells of a CSV, in and out; tab for a tab.")
    ] = ",",
    decimal: Annotated[str, typer.Option(help="Character before fractions in a CSV, in and out: . or a comma.")] = ".",
) -> None:
    """Forecast the series of a table, and write a row for each step to come.

    The table has a column of times and one of values, those of the covariates by their names in the model, and, if it
    holds several series, one that names them. Rows of a series may be anywhere, and its times must be evenly spaced:
    months and working days count as such.
    """
    import fastgru
    from fastgru.forecasting import scheme as schemes

    if output != "-" and Path(output).suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"--output must be - or end in .csv or .parquet, got {output!r}")
    encode, levels = _arrays.writer(output), _levels(quantiles)
    if plot is not None:
        _forecast_plot.check(plot)
    loaded = fastgru.load(model)
    scheme = schemes.of_model(loaded.provenance, loaded.inputs, loaded.outputs)
    samples = _samples(samples, scheme)
    titles = _titles(id_column, time_column, value_column, scheme)
    at = _At(titles, id_column is None, separator, decimal)
    table = _read(source, at, scheme.covariates, values=True)
    later = None
    if covariates is not None:
        varying = tuple(name for name in scheme.covariates if name not in scheme.static)
        if not varying:
            raise DataError("--covariates must be omitted, as the model reads none that change, got some")
        if ID not in table:
            at = at._replace(titles={TIME: time_column, VALUE: value_column})
        later = _read(covariates, at._replace(optional=False), varying, values=False)
    with _arrays.naming(source), _progress.Shown(f"forecasting {_arrays.shown(source)}"):
        found = loaded.forecast(
            table, horizon, covariates=later, samples=samples, quantiles=levels, seed=seed
        )  # fmt: skip
    _arrays.write(output, _encoded(found, encode, titles, wanted(None, separator=separator, decimal=decimal)))
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


class _At(NamedTuple):
    """Names of a table's columns, by `ID`, `TIME` and `VALUE`, and the way its cells are written."""

    titles: dict[str, str]
    optional: bool  # of the column that names the series
    separator: str
    decimal: str


def _titles(identifier: str | None, time: str, value: str, scheme: Scheme) -> dict[str, str]:
    """Return what the user calls the columns, which must be different ones."""
    titles = {ID: ID if identifier is None else identifier, TIME: time, VALUE: value}
    if len(set(titles.values())) < len(titles):
        twice = next(name for name in titles.values() if list(titles.values()).count(name) > 1)
        raise DataError(f"--id, --time and --value must be different columns, got {twice!r} twice")
    if value in scheme.covariates:
        raise DataError(f"--value must be another column than the model's covariates, got {value!r}")
    return titles


def _option(name: str, title: str) -> str:
    """Return the option that names a column, with its default where that is taken."""
    return OPTIONS[name] + (f" ({name} when omitted)" if title == name else "")


def _read(source: str, at: _At, columns: tuple[str, ...], *, values: bool) -> tables.Titled:
    """Read times, series and `columns` of a table, and its values, by the names of `Model.forecast`."""
    titles = at.titles
    series = tuple(titles[name] for name in (ID,) if name in titles)
    features = (titles[VALUE], *columns) if values else columns
    words = Words(
        options=tuple((titles[name], _option(name, titles[name])) for name in OPTIONS if name in titles),
        learned=columns, group="series", missing=MISSING,
    )  # fmt: skip
    want = wanted(None, None, None, at.separator, at.decimal, header=True)._replace(
        columns=features, keep=(*series, titles[TIME]), group=series, optional=series if at.optional else (),
        words=words,
    )  # fmt: skip
    with _progress.Shown(f"reading {_arrays.shown(source)}"):
        found = _arrays.read_input(source, Spec((len(features),)), want)
    if not found.kept.columns:
        raise DataError(f"{_arrays.shown(source)}: input must be a table (CSV or Parquet), got a NumPy file")
    own = (ID, TIME) if len(found.kept.columns) > 1 else (TIME,)
    table: dict[str, Any] = {name: _plain(column) for name, column in zip(own, found.kept.columns, strict=True)}
    names = (VALUE, *columns) if values else columns
    return tables.Titled({**table, **{name: found.values[:, i] for i, name in enumerate(names)}}, titles)


def _plain(column: Any) -> Any:
    """Return a column as NumPy: the words of a CSV, or the values of Parquet with their type."""
    if isinstance(column, list):
        return np.array([cell.strip() for cell in column], object)
    from ..forecasting.tables import as_numpy

    return as_numpy(column)


def _encoded(found: dict[str, Any], encode: Any, titles: dict[str, str], want: Wanted) -> bytes:
    """Write the forecast, the columns of series and time as the user calls them."""
    own = [name for name in (ID, TIME) if name in found]
    names, kept = [titles[name] for name in own], [found[name] for name in own]
    numbers = {name: column for name, column in found.items() if name not in own}
    if encode is _arrays.as_parquet:
        from . import _parquet

        return _parquet.encode([*zip(names, map(_plain_again, kept), strict=True), *numbers.items()])
    texts = [list(map(str, column.tolist())) for column in kept]
    head = _tables.record([*names, *numbers], want.separator)
    rows = _tables.encode(np.stack(list(numbers.values()), axis=1), texts, want)
    return f"{head}\n{rows}".encode(errors="backslashreplace")


def _plain_again(column: Any) -> Any:
    return column.tolist() if column.dtype.kind == "O" else column
