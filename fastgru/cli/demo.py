"""``fastgru demo``: import a trained GRU, verify it, score its forecasts of a pulse, and run it live."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from ..checks import selftest
from ..errors import DataError, MissingExtraError
from ..files.writing import check_target, replace_file
from . import _live, _pulse, _pulse_plot, _show

if TYPE_CHECKING:
    from .. import Model

FORMATS = (".png", ".svg", ".pdf")


def demo(
    plot: Annotated[
        Path | None,
        typer.Option(
            help=f"Where to draw the forecast ({', '.join(FORMATS)}); a new temporary file when omitted. "
            "Needs matplotlib.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Forecast a pulse with a GRU trained in PyTorch, score it against simpler forecasts, and time it live."""
    if plot is not None:
        if plot.suffix.lower() not in FORMATS:
            raise DataError(f"--plot must end in one of {', '.join(FORMATS)}, got {str(plot)!r}")
        check_target(plot)
        _pulse_plot.library()
    console, series, model = _show.stdout(), _pulse.load_series(), _pulse.load_model()
    parameters = model.summary().totals.parameters
    console.print(f"imported pulse.pt, {parameters:,} parameters; self-test {selftest.verify(model)}")
    console.print(f"same as PyTorch {series.torch_version}: max error {_pulse.check(model, series):.1e}")
    typical, scores, words = evaluate(model, series)
    for line in (*words[:1], _table(scores), *words[1:]):
        console.print(line)
    for row in live(model, series):
        console.print(row)
    try:
        console.say(f"drew {_draw(typical, scores, plot)}")
    except MissingExtraError as missing:
        console.print(f"no picture: {missing}")


def evaluate(model: Model, series: _pulse.Series) -> tuple[_pulse_plot.Typical, list[_pulse.Score], list[str]]:
    """Score all forecasters on the test part: the median window, the scores, and lines that say what they mean."""
    contexts, futures = _pulse.windows(series.encode(series.test), _pulse.HORIZON)
    forecast = _pulse.forecasts(model, series, contexts)
    scores = _pulse.score(series, forecast, futures)
    best = next(one for one in scores if one.name != _pulse.NETWORK)
    ours = next(one for one in scores if one.name == _pulse.NETWORK)
    said, truth = series.decode(forecast[_pulse.NETWORK]), series.decode(futures)
    edges = _pulse.band(model, series)
    gain, held = 1 - ours.error / best.error, _pulse.covered(said, truth, edges)
    words = [
        f"the next {_pulse.HORIZON / _pulse.RATE:.0f} s of an optical pulse sensor from the last "
        f"{_pulse.CONTEXT / _pulse.RATE:.0f} s, in {len(contexts)} windows that neither training nor choices saw:",
        f"the GRU's error is {abs(gain):.0%} {'smaller' if gain > 0 else 'larger'} than that of the best other; its "
        f"{_pulse.COVERAGE:.0%} band, made from other data, held {held:.0%} of the values",
    ]
    at = int(np.argsort(np.abs(said - truth).mean(axis=1))[len(said) // 2])
    rival = series.decode(forecast[best.name][at])
    seen = series.decode(contexts[at])
    return _pulse_plot.Typical(seen, truth[at], said[at], rival, edges, len(said)), scores, words


def _table(scores: Sequence[_pulse.Score]) -> Table:
    table = Table()
    table.add_column("forecast")
    table.add_column(f"mean absolute error, of {_pulse.FULL_SCALE:,}", justify="right")
    table.add_column("GRU closer in", justify="right")
    for one in scores:
        table.add_row(one.name, f"{one.error:.1f}", "" if np.isnan(one.beaten) else f"{one.beaten:.0%} of windows")
    return table


def live(model: Model, series: _pulse.Series) -> list[str]:
    """Run the test part sample by sample; lines that say how long the steps took."""
    ns = _live.run(model, series.encode(series.test)[:, None])
    peak, macs = _live.peak(), model.summary().totals.macs
    p50, p99 = (float(np.percentile(ns, p, method="inverted_cdf")) / 1e3 for p in (50, 99))
    return [
        f"live: the same {len(ns):,} samples one at a time, a new forecast after each ({model.isa}, one thread)",
        *_live.histogram(ns, 2 * macs / peak.flops * 1e9, _show.block()),
        f"a step takes {p50:.2f} us (p99 {p99:.2f} us), and the next sample comes {1e3 / _pulse.RATE:.0f} ms later; "
        f"its {macs:,} multiply-adds alone would take {2e6 * macs / peak.flops:.2f} us at {peak.flops / 1e9:.0f} "
        f"Gflop/s, the fastest matrix product found on a core ({peak.source})",
    ]


def _draw(typical: _pulse_plot.Typical, scores: Sequence[_pulse.Score], plot: Path | None) -> Path:
    """Draw to `plot`, or to a new file in the system's folder for temporary ones; the path."""
    picture = _pulse_plot.draw(typical, scores, "png" if plot is None else plot.suffix[1:].lower())
    if plot is None:
        plot = Path(tempfile.mkdtemp(prefix="fastgru-")) / "pulse.png"
    replace_file(plot, picture)
    return plot.resolve()
