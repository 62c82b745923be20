"""Time sample paths of a DeepAR beside GluonTS's own: 2 LSTMs of 40 units, 100 paths of 24 steps for 3,000 series.

    python -m bench.forecast            with GluonTS installed, both on one thread; else fastgru alone
    python -m bench.forecast --series 300
    python -m bench.forecast --draw     the pictures of docs/forecasting.md

The network is GluonTS's default for hourly data, with random weights. Before anything is timed, the quantiles of the
first steps of both are compared: they may differ by the noise of their samples alone.
"""

from __future__ import annotations

import argparse
import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import fastgru
from fastgru.cli import _forecast_plot, _pulse_plot
from fastgru.forecasting import Scheme
from fastgru.layers import LSTM, Dense

HORIZON, PATHS, CONTEXT, CHECKED = 24, 100, 48, 8
LAGS = (
    1, 2, 3, 4, 5, 6, 7, 23, 24, 25, 47, 48, 49, 71, 72, 73, 95, 96, 97, 119, 120, 121, 143, 144, 145, 167, 168, 169,
    335, 336, 337, 503, 504, 505, 671, 672, 673, 719, 720, 721,
)  # fmt: skip


def contexts(series: int) -> np.ndarray:
    """Hourly series (B, T) with a day's wave, of levels of their own."""
    rng = np.random.default_rng(0)
    hours = np.arange(CONTEXT + max(LAGS))
    wave = 1 + 0.5 * np.sin(2 * np.pi * hours / 24)
    values: np.ndarray = rng.uniform(5, 50, (series, 1)) * wave * rng.gamma(20.0, 1 / 20, (series, len(hours)))
    return values


def by_hand() -> fastgru.Model:
    """The same network from arrays, where GluonTS is not installed."""
    rng = np.random.default_rng(1)
    scheme = Scheme(
        "student_t", lags=LAGS, calendar=("hour_of_day", "day_of_week", "day_of_month", "day_of_year", "log_age"),
        scaling="mean", scale_inputs=("log_scale",), context=CONTEXT, pad=True,
    )  # fmt: skip
    layers: list[Any] = [
        LSTM.from_torch(rng.normal(size=(160, n)) / 12, rng.normal(size=(160, 40)) / 12) for n in (scheme.width, 40)
    ]
    head = Dense(rng.normal(size=(3, 40)) / 12, [1.5, 0.0, 0.5], activation="softplus")
    return fastgru.Model([*layers, head]).with_forecast(scheme)


def predictor(series: int) -> Any:
    """GluonTS's predictor, untrained, and its data set."""
    import torch
    from gluonts.torch.model.deepar import DeepAREstimator

    torch.set_num_threads(1)
    torch.manual_seed(1)
    estimator = DeepAREstimator(
        freq="h", prediction_length=HORIZON, context_length=CONTEXT, hidden_size=40, num_layers=2,
        lags_seq=list(LAGS), num_parallel_samples=PATHS, batch_size=32,
    )  # fmt: skip
    transformation, network = estimator.create_transformation(), estimator.create_lightning_module()
    return estimator.create_predictor(transformation, network), entries(series)


def entries(series: int) -> Any:
    """The contexts as a data set of GluonTS."""
    from gluonts.dataset.common import ListDataset

    return ListDataset([{"start": "2024-01-01 00", "target": row} for row in contexts(series)], freq="h")


def table(series: int) -> dict[str, np.ndarray]:
    """The contexts as columns."""
    y = contexts(series)
    ds = np.datetime64("2024-01-01T00", "h") + np.arange(y.shape[1])
    return {"unique_id": np.repeat(np.arange(series), y.shape[1]), "ds": np.tile(ds, series), "y": y.ravel()}


def check(model: fastgru.Model, own: Any) -> float:
    """Return how far quantiles of the first series are apart, in standard deviations; AssertionError where too far."""
    theirs = np.stack(
        [f.samples for f, _ in zip(own.predict(entries(CHECKED), num_samples=500), range(CHECKED), strict=False)]
    )
    levels = (0.1, 0.5, 0.9)
    found = model.forecast(table(CHECKED), HORIZON, samples=2000, seed=1, quantiles=levels)
    ours = np.stack([found[f"q{level:g}"] for level in levels], -1).reshape(CHECKED, HORIZON, 3)
    spread = np.diff(np.quantile(theirs, [0.16, 0.84], axis=1), axis=0)[0] / 2
    apart = np.abs(ours - np.moveaxis(np.quantile(theirs, levels, axis=1), 0, -1)) / spread[..., None]
    assert apart.mean() < 0.1, f"quantiles must be those of GluonTS, got {apart.mean():.3f} standard deviations apart"
    return float(apart.mean())


def draw() -> None:
    """Forecast series with a converted DeepAR of tests/data, and draw them for light and for dark pages."""
    folder = Path(__file__).parents[1]
    model = fastgru.load(folder / "tests/data/forecasters/gluonts_student_t.fgru")
    with np.load(folder / "tests/data/forecasters/gluonts_student_t.npz") as stored:
        y = stored["context"][:4]
    days = np.datetime64("2024-01-01") + np.arange(y.shape[1])
    ids = np.repeat(["north", "east", "south", "west"], len(days))
    given = {"unique_id": ids, "ds": np.tile(days, 4), "y": y.ravel()}
    levels = (0.1, 0.5, 0.9)
    found = model.forecast(given, 14, samples=500, seed=1, quantiles=levels)
    for name, theme in (("light", _pulse_plot.LIGHT), ("dark", _pulse_plot.DARK)):
        picture = _forecast_plot.picture(given, found, levels, "svg", theme)
        (folder / f"docs/pictures/forecast-{name}.svg").write_bytes(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ours", action="store_true", help="do not time GluonTS")
    parser.add_argument(
        "--draw", action="store_true", help="draw the pictures of docs/forecasting.md, and time nothing"
    )
    options = parser.parse_args()
    if options.draw:
        draw()
        return
    own = data = None
    if find_spec("gluonts"):
        own, data = predictor(options.series)
        model = fastgru.convert(own)
        print(f"quantiles {check(model, own):.3f} standard deviations apart, over {CHECKED} series")
    else:
        model = by_hand()
    given = table(options.series)
    begin, busy = time.perf_counter(), time.process_time()
    model.forecast(given, HORIZON, samples=PATHS, seed=1, threads=options.threads)
    took = time.perf_counter() - begin
    print(
        f"fastgru: {took:.1f} s ({time.process_time() - busy:.1f} s of CPU), {model.isa}, {options.threads} thread(s)"
    )
    if own is not None and not options.ours:
        begin, busy = time.perf_counter(), time.process_time()
        count = sum(1 for _ in own.predict(data))
        took = time.perf_counter() - begin
        print(f"GluonTS: {took:.1f} s ({time.process_time() - busy:.1f} s of CPU), {count} series, 1 thread")


if __name__ == "__main__":
    main()
