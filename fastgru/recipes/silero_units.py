"""``python -m fastgru.recipes.silero_units speech.wav``: which units of Silero's LSTM fire where there is speech."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from .. import Model
from ..cli import _show
from ..errors import DataError
from ..graph import LSTM as Lstm
from ..graph import Conv
from . import _audio, silero
from ._terminal import ruler, start, strip

SPEECH = 0.5  # probability from which a chunk counts as speech
WIDTH, LISTED = 60, 5


class Units(NamedTuple):
    """Outputs of the 128 units of the LSTM, one chunk of 32 ms after the other.

    Attributes
    ----------
    speech : (T,) array
        Probability of speech.
    fires : (T, 128) array
        What the ReLU behind the LSTM lets through of each unit.
    weight : (128,) array
        Of each unit in the logit of speech.
    """

    speech: NDArray[Any]
    fires: NDArray[Any]
    weight: NDArray[Any]

    @property
    def spoken(self) -> NDArray[np.bool_]:
        """True where there is speech, (T,)."""
        return np.asarray(self.speech >= SPEECH)

    def difference(self) -> NDArray[Any]:
        """Return how much more each unit fires in speech than outside of it, (128,), negative where it fires less."""
        spoken = self.spoken
        return np.asarray(self.fires[spoken].mean(axis=0) - self.fires[~spoken].mean(axis=0))

    def gain(self) -> NDArray[Any]:
        """Return what that adds to the logit of speech, (128,); the sum is what the logit differs by."""
        return np.asarray(self.difference() * self.weight)


def units(model: Model, audio: _audio.Audio) -> Units:
    """Run the network over samples (T,) and return what its units do.

    Raises
    ------
    DataError
        Unless there are chunks of speech and chunks without.
    """
    new = silero.CHUNKS[_audio.RATE][1]
    cell = next(node for node in model.graph.nodes if isinstance(node.op, Lstm))
    last = [node for node in model.graph.nodes if isinstance(node.op, Conv)][-1]
    y, trace = model.trace(np.pad(audio, (0, -len(audio) % new)), [f"{cell.name}.hidden"])
    found = Units(y, np.maximum(next(iter(trace.values())), 0), last.op.weights()["weight"].reshape(-1))
    if found.spoken.all() or not found.spoken.any():
        raise DataError(f"recording must have speech and silence, got {'speech' if found.spoken.all() else 'silence'}")
    return found


def main(
    recording: Annotated[Path, typer.Argument(help="WAV file.")],
    model: Annotated[Path | None, typer.Option(help="silero_vad.onnx.")] = None,
) -> None:
    """Print the units that fire most in speech, and those that fire most outside of it, over time."""
    found = units(silero.load(model), _audio.read(recording).mean(axis=0))
    console, order, gain = _show.stdout(), np.argsort(-found.difference()), found.gain()
    peak = found.fires.max()
    table = Table("unit", "in speech", "outside", "adds to the logit", "over time")
    for unit in [*order[:LISTED], *order[-LISTED:]]:
        means = (found.fires[part, unit].mean() for part in (found.spoken, ~found.spoken))
        told = strip(found.fires[:, unit] / peak, WIDTH)
        table.add_row(str(unit), *(f"{mean:.2f}" for mean in means), f"{gain[unit]:+.2f}", told)
    console.print(table)
    drawn = strip(found.speech, WIDTH)
    seconds = len(found.speech) * silero.CHUNKS[_audio.RATE][1] / _audio.RATE
    console.print("probability of speech", drawn, ruler(seconds, len(drawn)), sep="\n")
    helped = int((gain > 0).sum())
    console.print(f"{helped} of {len(gain)} units raise the logit in speech; the first {count_of(gain)} make up 90 %")


def count_of(gain: NDArray[Any], share: float = 0.9) -> int:
    """Return how many units make up a share of the sum, the largest first."""
    return int(np.searchsorted(np.cumsum(np.sort(gain)[::-1]), share * gain.sum()) + 1)


if __name__ == "__main__":
    start(main)
