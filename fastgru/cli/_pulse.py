"""The demo's pulse recording, the forecasts of the GRU and of its rivals, and their scores."""

from __future__ import annotations

import io
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import VerificationError
from ..layers import GRU, Dense, like

if TYPE_CHECKING:
    from .. import Model

RATE = 100.42 / 4  # Hz: HeartPy's sample rate of the recording; each sample here is the sum of four
CONTEXT, HORIZON = 100, 25  # samples that every forecaster sees, and samples that it forecasts: 4 s and 1 s
FULL_SCALE = 1023  # the sensor's largest value
COVERAGE = 0.8  # share of truths that a band from the validation errors is made for
TORCH_TOLERANCE = 1e-5  # float32 on both sides, normalised values of order 1, over 100 steps
NETWORK = "GRU"


class Series(NamedTuple):
    """The contents of pulse.npz: two parts of the recording, the rivals' settings, and PyTorch's output."""

    validation: Any  # (T,) int16: chose all settings; the band comes from its errors
    test: Any  # (T,) int16: never looked at before the settings were final
    mean: float
    scale: float
    linear: Any  # (CONTEXT + 1, HORIZON) float32: the best linear autoregression, its last row constant
    period: int  # samples that the best seasonal forecast repeats
    torch_output: Any  # (CONTEXT, HORIZON) float32: on the first context of `validation`
    torch_version: str

    def encode(self, samples: Any) -> Any:
        """Return samples as the network takes them, float32."""
        return ((samples - self.mean) / self.scale).astype(np.float32)

    def decode(self, y: Any) -> Any:
        """Return values of the network in the sensor's units, 0 to `FULL_SCALE`."""
        return (np.asarray(y, dtype=np.float64) * self.scale + self.mean) / 4


class Score(NamedTuple):
    """The errors of one forecaster over all windows."""

    name: str
    error: float  # mean absolute error, in the sensor's units
    by_horizon: Any  # (HORIZON,): the same for each sample ahead
    beaten: float  # share of the windows in which the GRU's error is smaller; NaN for the GRU itself


def load_series() -> Series:
    """Return the recording out of the package."""
    with np.load(io.BytesIO((files("fastgru.data") / "pulse.npz").read_bytes())) as saved:
        values = {name: saved[name] for name in Series._fields}
    return Series(**{name: v.item() if v.ndim == 0 else v for name, v in values.items()})


def load_model() -> Model:
    """Import the trained forecaster from PyTorch's file, without PyTorch."""
    import fastgru

    with as_file(files("fastgru.data") / "pulse.pt") as path:
        return fastgru.convert(str(path), like=[like(GRU), like(Dense)])


def check(model: Model, series: Series) -> float:
    """Return the largest difference from PyTorch's own output.

    Raises
    ------
    VerificationError
        When it is more than `TORCH_TOLERANCE`.
    """
    x = series.encode(series.validation[:CONTEXT])[:, None]
    error = float(np.abs(model(x) - series.torch_output).max())
    if not error <= TORCH_TOLERANCE:
        raise VerificationError(f"demo must be within {TORCH_TOLERANCE} of PyTorch, got an error of {error:.3g}")
    return error


def windows(values: Any, stride: int) -> tuple[Any, Any]:
    """Cut `values` (T,) into contexts (N, CONTEXT) and the futures (N, HORIZON) after them, `stride` samples apart."""
    cut = np.lib.stride_tricks.sliding_window_view(values, CONTEXT + HORIZON)[::stride]
    return cut[:, :CONTEXT], cut[:, CONTEXT:]


def repeat(contexts: Any, period: int) -> Any:
    """Forecast (N, HORIZON) that the last `period` samples of each context come again."""
    return contexts[:, CONTEXT - period + np.arange(HORIZON) % period]


def network(model: Model, contexts: Any) -> Any:
    """Forecast (N, HORIZON) by the GRU, its state zero before each context."""
    return np.asarray(model(contexts[..., None]))[:, -1]


def forecasts(model: Model, series: Series, contexts: Any) -> dict[str, Any]:
    """Every forecaster's (N, HORIZON) values from the same contexts (N, CONTEXT), as the network's are scaled."""
    order = int(np.flatnonzero(series.linear[:-1].any(axis=1)).size)
    return {
        NETWORK: network(model, contexts),
        f"linear autoregression, {order} samples": contexts @ series.linear[:-1] + series.linear[-1],
        f"last {series.period / RATE:.1f} s repeated": repeat(contexts, series.period),
        "last value kept": np.repeat(contexts[:, -1:], HORIZON, axis=1),
    }


def score(series: Series, forecast: dict[str, Any], futures: Any) -> list[Score]:
    """Score forecasts against the truth (N, HORIZON); the least error first."""
    truth = series.decode(futures)
    errors = {name: np.abs(series.decode(y) - truth) for name, y in forecast.items()}
    ours = errors[NETWORK].mean(axis=1)
    scores = [
        Score(name, float(e.mean()), e.mean(axis=0),
              float("nan") if name == NETWORK else float((ours < e.mean(axis=1)).mean()))
        for name, e in errors.items()
    ]  # fmt: skip
    return sorted(scores, key=lambda one: one.error)


def band(model: Model, series: Series) -> Any:
    """Quantiles (2, HORIZON) of the validation errors, to be added to a forecast: a band for `COVERAGE` of truths."""
    contexts, futures = windows(series.encode(series.validation), HORIZON // 5)
    tail = (1 - COVERAGE) / 2
    errors = series.decode(futures) - series.decode(network(model, contexts))
    return np.quantile(errors, [tail, 1 - tail], axis=0)


def covered(forecast: Any, truth: Any, edges: Any) -> float:
    """Share of the truths (N, HORIZON) that lie between forecast and `edges` (2, HORIZON) around it."""
    return float(((truth >= forecast + edges[0]) & (truth <= forecast + edges[1])).mean())
