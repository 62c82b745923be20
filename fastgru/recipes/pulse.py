"""``python -m fastgru.recipes.pulse``: what the demo's forecaster remembers, by its gates and slopes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from .. import inspect
from ..cli import _pulse, _show
from ._terminal import start

AHEAD = (0, 6, 12, 18, 24)  # steps of a forecast that are explained
LENGTHS = (8, 15, 30, 45, 60, 75, 100)  # samples of context that the error is measured with


class Memory(NamedTuple):
    """The forecaster's memory, measured on the demo's test part.

    Attributes
    ----------
    half_life : (H,) array
        Of each unit, in samples, by the mean of its update gate.
    weight : (len(AHEAD), CONTEXT) array
        The mean size of the slope of each forecast with each sample of the context, as shares that sum to 1.
    error : (len(LENGTHS),) array
        Mean absolute error, in the sensor's units, where the network sees the last samples of the context alone.
    period : int
        Samples of a typical cycle, as the demo's seasonal forecast has it.
    """

    half_life: NDArray[Any]
    weight: NDArray[Any]
    error: NDArray[Any]
    period: int

    def cycles(self) -> NDArray[Any]:
        """Return the share of the last cycle in each forecast, of the one before, and so on, (len(AHEAD), cycles)."""
        latest = self.weight[:, ::-1]
        starts = range(self.period, latest.shape[1], self.period)
        return np.stack([part.sum(axis=1) for part in np.split(latest, starts, axis=1)], axis=1)


def memory() -> Memory:
    """Measure what the forecaster remembers."""
    series, model = _pulse.load_series(), _pulse.load_model()
    contexts, futures = _pulse.windows(series.encode(series.test), _pulse.HORIZON)
    found = inspect.profile(model, contexts[..., None])
    slopes = [np.abs(inspect.attribute(model, contexts[..., None], k, "gradient"))[..., 0].mean(axis=0) for k in AHEAD]
    truth = series.decode(futures)
    errors = [np.abs(series.decode(_pulse.network(model, contexts[:, -n:])) - truth).mean() for n in LENGTHS]
    return Memory(
        next(iter(found.layers.values())).half_life,
        np.stack([slope / slope.sum() for slope in slopes]),
        np.array(errors),
        int(series.period),
    )


def main() -> None:
    """Print half-lives of units, the weight of past cycles, and the error with less context."""
    found, console = memory(), _show.stdout()
    ms = 1e3 / _pulse.RATE
    low, middle, high = np.percentile(found.half_life, [0, 50, 100]) * ms
    console.print(
        f"half-lives of the {len(found.half_life)} units by their update gates: {low:.0f} to {high:.0f} ms, median "
        f"{middle:.0f} ms; a cycle takes {found.period * ms:.0f} ms"
    )
    shares = found.cycles()
    table = Table("weight of", *(f"{(k + 1) * ms:.0f} ms ahead" for k in AHEAD))
    for i, column in enumerate(shares.T):
        name = "the last cycle" if not i else f"cycle {i + 1} from the end"
        table.add_row(name, *(f"{share:.0%}" for share in column))
    console.print(table)
    table = Table("context, samples", "seconds", "mean absolute error")
    for n, error in zip(LENGTHS, found.error, strict=True):
        table.add_row(str(n), f"{n / _pulse.RATE:.1f}", f"{error:.1f}")
    console.print(table)


if __name__ == "__main__":
    start(main)
