"""``python -m fastgru.recipes.gtcrn noisy.wav clean.wav --model gtcrn_simple.onnx``: speech with less noise.

The streaming network ``stream/onnx_models/gtcrn_simple.onnx`` of https://github.com/Xiaobin-Rong/gtcrn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import Model
from ..converters import to_graph
from ..graph import IRFFT, RFFT, Constant, Framing, Graph, GraphBuilder, Multiply, OverlapAdd, Reshape, Spec
from ..passes import canonical
from . import _audio, _graphs
from ._audio import Audio
from ._terminal import start

SIZE, HOP = 512, 256
BINS = (SIZE // 2 + 1, 2)
WINDOW = np.sqrt(np.hanning(SIZE + 1)[:-1])  # periodic; its square and itself shifted by HOP add up to 1


def network(path: Path) -> Graph:
    """Spectra (T, 1, 257, 1, 2) to those of the speech in them."""
    frame = (1, BINS[0], 1, BINS[1])
    return _graphs.expect(canonical(to_graph(path).graph), [frame], [frame], f"{path}: network")


def load(path: Path) -> Model:
    """Samples at 16 kHz to those of the speech in them, 256 at a time, and in all 512 - 256 more at the end."""
    b, enhancer = GraphBuilder(), network(path)
    window = b.add(Constant(WINDOW), name="window")
    frames = b.add(Multiply(), b.add(Framing(SIZE, HOP), b.input("noisy", Spec(()))), window)
    spectrum = b.add(Reshape((1, BINS[0], 1, 2)), b.add(RFFT(SIZE), frames))
    (speech,), feedback = _graphs.insert(b, enhancer, spectrum)
    clean = b.add(Multiply(), b.add(IRFFT(SIZE), b.add(Reshape(BINS), speech)), window)
    return Model(b.build(b.add(OverlapAdd(SIZE, HOP), clean), feedback=feedback))


def enhance(model: Model, noisy: Audio) -> Audio:
    """(channels, T) without its noise; mirrored at its ends, as the network was trained."""
    length, half = noisy.shape[1], SIZE // 2
    whole = np.pad(noisy, ((0, 0), (0, -length % HOP)))
    padded = np.pad(whole, ((0, 0), (half, half)), mode="reflect")
    return _audio.through(model, padded)[:, half : half + length]


def main(
    noisy: Annotated[Path, typer.Argument(help="WAV file; every channel is cleaned on its own.")],
    clean: Annotated[Path, typer.Argument(help="WAV file to write: 16 kHz, 16 bits.")],
    model: Annotated[Path, typer.Option(help="gtcrn_simple.onnx.")],
) -> None:
    """Write a recording without its noise."""
    _audio.denoise(noisy, clean, lambda audio: enhance(load(model), audio))


if __name__ == "__main__":
    start(main)
