"""``python -m fastgru.recipes.rnnoise features.npy --model weights.hdf5``: what RNNoise lets pass of each band.

Networks of rnnoise_nu, ``models/*/weights.hdf5`` of https://github.com/GregorR/rnnoise-models. A frame has 42 features
and lasts 10 ms; RNNoise's own ``denoise_training`` computes them from recordings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from .. import Model, convert
from ..cli import _arrays, _show
from ..errors import DataError
from ..graph import Spec
from . import _graphs
from ._terminal import ruler, start, strip

FEATURES, BANDS, FRAME = 42, 22, 0.01
# Hz at which the bands peak (rnnoise, denoise.c: eband5ms, in steps of 200 Hz).
CENTRES = 200 * np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 34, 40, 48, 60, 78, 100])
WIDTH = 72


def load(path: Path) -> Model:
    """The network: features (T, 42) to gains (T, 22) and voice activity (T, 1)."""
    model = convert(path)
    _graphs.expect(model.graph, [(FEATURES,)], [(BANDS,), (1,)], f"{path}: network")
    return model


def main(
    features: Annotated[Path, typer.Argument(help="(T, 42) features as .npy or CSV.")],
    model: Annotated[Path, typer.Option(help="weights.hdf5 of rnnoise_nu.")],
    out: Annotated[str | None, typer.Option(help="Where to write gains and voice activity: .npz.")] = None,
) -> None:
    """Print the mean gain of every band and where there is a voice."""
    x = _arrays.read(str(features), Spec((FEATURES,))).astype(np.float32)
    if x.ndim != 2 or x.shape[1] != FEATURES or not len(x) or not np.isfinite(x).all():
        values = "finite" if np.isfinite(x).all() else "some not finite"
        raise DataError(f"{features}: features must be (T, {FEATURES}), finite, got {x.shape}, {values}")
    write = _arrays.writer(out) if out else None
    stream = load(model).stream()
    steps = [stream.step(frame) for frame in x]  # as in a call, frame by frame
    gains, voice = (np.stack(part) for part in zip(*steps, strict=True))
    if out and write:
        _arrays.write(out, write({"gains": gains, "vad": voice}))
    show(gains, voice[:, 0])


def show(gains: np.ndarray, voice: np.ndarray) -> None:
    """The table of bands, and voice activity over time."""
    console = _show.stdout()
    table = Table("band", "Hz", "mean gain", "")
    for band, (centre, gain) in enumerate(zip(CENTRES, gains.mean(axis=0), strict=True)):
        table.add_row(str(band), str(centre), f"{gain:.2f}", "█" * round(float(gain) * 30))
    console.print(table)
    drawn = strip(voice, WIDTH)
    console.print(f"voice {(voice > 0.5).mean():.0%} of {len(voice) * FRAME:.2f} s")
    console.print(drawn, ruler(len(voice) * FRAME, len(drawn)), sep="\n")


if __name__ == "__main__":
    start(main)
