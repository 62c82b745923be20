"""``python -m fastgru.recipes.dtln noisy.wav clean.wav --model model.h5``: speech with less noise.

DTLN: ``pretrained_model/model.h5``, or ``model_1.onnx`` with ``model_2.onnx`` beside it, of
https://github.com/breizhn/DTLN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from .. import Model
from ..converters import to_graph
from ..graph import Graph, GraphBuilder, Spec
from ..layers import (
    IRFFT,
    LSTM,
    RFFT,
    Dense,
    Framing,
    LayerNorm,
    Multiply,
    OverlapAdd,
    Reduce,
    Reshape,
    like,
)
from ..passes import canonical
from . import _audio, _graphs
from ._audio import Audio
from ._terminal import start

SIZE, HOP = 512, 128
BINS = SIZE // 2 + 1
LAYERS = [
    like(RFFT, name="spectrum", n=SIZE),
    like(Reduce, function="l2", axes=(1,), keepdims=False),
    like(LSTM, name="lstm"),
    like(LSTM, name="lstm_1"),
    like(Dense, name="dense", activation="sigmoid"),
    like(Reshape, name="mask", shape=(BINS, 1)),
    like(Multiply, inputs=["spectrum", "mask"]),
    like(IRFFT, n=SIZE),
    like(Dense, name="conv1d"),
    like(LayerNorm, name="layer_normalization", eps=1e-7),
    like(LSTM, name="lstm_2"),
    like(LSTM, name="lstm_3"),
    like(Dense, name="dense_1", activation="sigmoid"),
    like(Multiply, inputs=["conv1d", "dense_1"]),
    like(Dense, name="conv1d_1"),
]


def network(path: Path) -> Graph:
    """Blocks (T, 512) every 128 samples to the speech in them."""
    graph = canonical(to_graph(path, like=LAYERS).graph) if path.suffix != ".onnx" else _of_stages(path)
    return _graphs.expect(graph, [(SIZE,)], [(SIZE,)], f"{path}: network")


def _of_stages(path: Path) -> Graph:
    """The network of two ONNX files: a mask for the spectrum, then one for what a layer makes of the block."""
    b = GraphBuilder()
    spectrum = b.add(RFFT(SIZE), b.input("block", Spec((SIZE,))))
    size = b.add(Reduce("l2", axes=(1,), keepdims=False), spectrum)
    mask, states = _stage(b, path, size, {"input_3": "tf_op_layer_stack_2"}, BINS)
    block = b.add(IRFFT(SIZE), b.add(Multiply(), spectrum, b.add(Reshape((BINS, 1)), mask)))
    second = path.with_name(path.name.replace("1", "2"))
    clean, further = _stage(b, second, block, {"input_5": "tf_op_layer_stack_5"}, SIZE)
    return b.build(b.add(Reshape((SIZE,)), clean), feedback=states | further)


def _stage(b: GraphBuilder, path: Path, x: str, states: dict[str, str], size: int) -> tuple[str, dict[str, str]]:
    """Add the network of an ONNX file; returns its output and its feedback."""
    frame = (1, 1, size)
    graph = _graphs.expect(canonical(to_graph(path, states=states).graph), [frame], [frame], f"{path}: network")
    (y,), feedback = _graphs.insert(b, graph, b.add(Reshape(frame), x))
    return y, feedback


def load(path: Path) -> Model:
    """Samples at 16 kHz to those of the speech in them, 128 at a time, and in all 512 - 128 more at the end."""
    b = GraphBuilder()
    blocks = b.add(Framing(SIZE, HOP), b.input("noisy", Spec(())))
    (clean,), feedback = _graphs.insert(b, network(path), blocks)
    return Model(b.build(b.add(OverlapAdd(SIZE, HOP), clean), feedback=feedback))


def enhance(model: Model, noisy: Audio) -> Audio:
    """(channels, T) without its noise, from blocks that begin before it and end after it."""
    length, lead = noisy.shape[1], SIZE - HOP
    padded = np.pad(noisy, ((0, 0), (lead, lead - length % -HOP)))
    return _audio.through(model, padded)[:, lead : lead + length]


def main(
    noisy: Annotated[Path, typer.Argument(help="WAV file; every channel is cleaned on its own.")],
    clean: Annotated[Path, typer.Argument(help="WAV file to write: 16 kHz, 16 bits.")],
    model: Annotated[Path, typer.Option(help="model.h5, or model_1.onnx with model_2.onnx beside it.")],
) -> None:
    """Write a recording without its noise."""
    _audio.denoise(noisy, clean, lambda audio: enhance(load(model), audio))


if __name__ == "__main__":
    start(main)
