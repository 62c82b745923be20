"""``fastgru demo``: import a trained GRU, verify it against PyTorch's own output, and forecast sunspots with it."""

from __future__ import annotations

import io
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.table import Table

from .. import selftest
from .._files import check_target, replace_file
from ..errors import DataError, MissingExtraError, VerificationError, require
from ..layers import GRU, Dense, like
from . import _show, bench

if TYPE_CHECKING:
    from .. import Model

TORCH_TOLERANCE = 1e-5  # float32 on both sides, normalised values of order 1, over 280 steps
FORMATS = (".png", ".svg", ".pdf")
CYCLE = 11  # years, for the baseline that repeats the last cycle


class Series(NamedTuple):
    """The yearly sunspot numbers and what PyTorch made of them; fields as tests/data/make_demo.py saves them."""

    years: Any
    activity: Any
    known: int
    mean: float
    scale: float
    torch_output: Any
    torch_forecast: Any
    torch_version: str

    def encode(self) -> Any:
        """All years as the network takes them: (T, 1) float32."""
        return ((np.sqrt(self.activity) - self.mean) / self.scale)[:, None].astype(np.float32)

    @property
    def held_back(self) -> Any:
        """The years after the known ones."""
        return self.activity[self.known :]

    def decode(self, y: Any) -> Any:
        """Sunspot numbers out of the network's values."""
        return np.maximum(y * self.scale + self.mean, 0.0) ** 2


def demo(
    plot: Annotated[Path, typer.Option(help="Where to draw the forecast, if matplotlib is installed.")] = Path(
        "sunspots.png"
    ),
) -> None:
    """Forecast sunspots with a GRU trained in PyTorch, and say how good that is."""
    import fastgru

    if plot.suffix.lower() not in FORMATS:
        raise DataError(f"plot must end in one of {', '.join(FORMATS)}, got {str(plot)!r}")
    check_target(plot)
    console, series = _show.stdout(), load_series()
    with as_file(files("fastgru.data") / "sunspots.pt") as path:
        model = fastgru.convert(str(path), like=[like(GRU), like(Dense)])
    parameters = model.summary().totals.parameters
    console.print(f"imported sunspots.pt, {parameters:,} parameters; self-test {selftest.verify(model)}")
    error = check(model, series)
    console.print(f"same as PyTorch {series.torch_version} over {series.known} years: max error {error:.1e}")
    forecast = series.decode(free_run(model, series))
    console.print(_table(series, forecast))
    console.print(_scores(series, {"GRU, its own output fed back": forecast, **far(series)}, "all years ahead"))
    ahead = series.decode(one_ahead(model, series))
    console.print(_scores(series, {"GRU, told each year's truth": ahead, **near(series)}, "one year ahead"))
    us = bench.measure(model, batch=1, calls=5000, warmup=500).percentiles()
    console.print(f"one step of the stream: median {us['p50']:.2f} us, p99 {us['p99']:.2f} us ({model.isa})")
    try:
        draw(series, forecast, plot)
        console.print(f"drew {plot.resolve()}")
    except MissingExtraError as missing:
        console.print(f"no plot: {missing}")


def load_series() -> Series:
    """The series and PyTorch's outputs out of the package."""
    with np.load(io.BytesIO((files("fastgru.data") / "sunspots.npz").read_bytes())) as saved:
        values = {name: saved[name] for name in Series._fields}
    return Series(**{name: v.item() if v.ndim == 0 else v for name, v in values.items()})


def check(model: Model, series: Series) -> float:
    """Largest difference from PyTorch over the known years.

    Raises
    ------
    VerificationError
        When it is more than `TORCH_TOLERANCE`.
    """
    error = float(np.abs(model(series.encode()[: series.known])[:, 0] - series.torch_output).max())
    if not error <= TORCH_TOLERANCE:
        raise VerificationError(f"demo must be within {TORCH_TOLERANCE} of PyTorch, got an error of {error:.3g}")
    return error


def free_run(model: Model, series: Series) -> Any:
    """Forecasts of the years held back, (T,), each one fed back as the next input."""
    stream = model.stream()
    forecast = [stream.process(series.encode()[: series.known])[-1]]
    for _ in series.years[series.known + 1 :]:
        forecast.append(stream.step(forecast[-1]))
    return np.stack(forecast)[:, 0]


def one_ahead(model: Model, series: Series) -> Any:
    """Forecasts of the years held back, (T,), each from the true values of all years before it."""
    return model(series.encode()[:-1])[series.known - 1 :, 0]


def far(series: Series) -> dict[str, Any]:
    """Forecasts of all years held back that need no network."""
    known, ahead = series.activity[: series.known], len(series.held_back)
    return {
        f"{series.years[series.known - 1]} repeated": np.full(ahead, known[-1]),
        f"last {CYCLE} years repeated": np.resize(known[-CYCLE:], ahead),
    }


def near(series: Series) -> dict[str, Any]:
    """Forecasts of one year from the years before it that need no network."""
    start, end = series.known, len(series.years)
    return {
        "the year before": series.activity[start - 1 : end - 1],
        f"{CYCLE} years before": series.activity[start - CYCLE : end - CYCLE],
    }


def _scores(series: Series, forecasts: dict[str, Any], what: str) -> str:
    """Mean absolute errors, the best first."""
    errors = {name: float(np.abs(values - series.held_back).mean()) for name, values in forecasts.items()}
    ranked = sorted(errors.items(), key=lambda item: item[1])
    return f"mean absolute error, {what}: " + "; ".join(f"{name} {mae:.1f}" for name, mae in ranked)


def _table(series: Series, forecast: Any) -> Table:
    table = Table(title=f"Sunspot numbers after {series.years[series.known - 1]}, which the network never saw")
    for heading in ("year", "forecast", "observed", "error"):
        table.add_column(heading, justify="right")
    for year, said, truth in zip(series.years[series.known :], forecast, series.held_back, strict=True):
        table.add_row(str(year), f"{said:.1f}", f"{truth:.1f}", f"{said - truth:+.1f}")
    return table


def draw(series: Series, forecast: Any, path: Path) -> None:
    """Plot observed and forecast years into `path`.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    """
    figure_module = require("matplotlib.figure", extra="plot", purpose="a plot")
    figure = figure_module.Figure(figsize=(10, 4), layout="constrained")
    axes, known = figure.add_subplot(), series.known
    shown = slice(known - 80, None)
    axes.plot(series.years[shown], series.activity[shown], color="black", label="observed")
    axes.plot(series.years[known:], forecast, color="tab:orange", label="GRU forecast, fed back")
    axes.axvline(series.years[known] - 0.5, color="grey", linestyle=":")
    axes.set(xlabel="year", ylabel="sunspot number", title="Yearly sunspots; years right of the line are held back")
    axes.legend(loc="upper left")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format=path.suffix[1:].lower())
    replace_file(path, buffer.getvalue())
