"""The real models that fastgru imports: their graphs, an input, and the files other engines read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastgru.converters import to_graph
from fastgru.graph import Concat, Graph, Node, chain
from fastgru.layers import GRU, LSTM, Dense, Embedding, like

from .cases import Case, Problem

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"


def arrays(*path: str) -> dict[str, Any]:
    """The arrays of an .npz file."""
    with np.load(MODELS.joinpath(*path)) as file:
        return dict(file)


def dtln(case: Case) -> Problem:
    """DTLN's first network: the magnitudes of 257 bins to their mask through two LSTMs of 128 units."""
    folder = MODELS / "dtln"
    layers = [like(LSTM, name="lstm"), like(LSTM, name="lstm_1"), like(Dense, name="dense", activation="sigmoid")]
    graph = to_graph(folder / "model.h5", like=layers).graph
    block = arrays("dtln", "reference.npz")["blocks_in"][200]  # in the middle of the recording
    x = np.abs(np.fft.rfft(block)).astype(np.float32)[None, None]
    files = {name: folder / f"model_{stem}" for name, stem in
             (("tflite", "1.tflite"), ("tflite int8", "quant_1.tflite"), ("onnx", "1.onnx"))}  # fmt: skip
    return Problem(case, graph, x, files=files)


def rnnoise(case: Case) -> Problem:
    """RNNoise's gains: 42 features a frame through three GRUs, two outputs."""
    folder = "beguiling-drafter-2018-08-30"
    graph = to_graph(MODELS / "rnnoise_nu" / folder / "weights.hdf5").graph
    x = arrays("rnnoise_nu", folder, "reference.npz")["features"][500]
    return Problem(case, graph, x[None, None])


def g2p(case: Case) -> Problem:
    """The encoder of g2p_en over a word of nine letters and the end mark."""
    a = arrays("g2p_en", "checkpoint20.npz")
    gru = GRU.from_torch(a["enc_w_ih"], a["enc_w_hh"], a["enc_b_ih"], a["enc_b_hh"])
    ids = [ord(letter) - ord("a") + 3 for letter in "recurrent"] + [2]
    return Problem(case, chain([Embedding(a["enc_emb"]), gru]), np.array([ids]))


def textgenrnn(case: Case) -> Problem:
    """textgenrnn up to its attention: the embedding and both LSTMs' outputs, side by side."""
    path = MODELS / "textgenrnn" / "textgenrnn_weights.hdf5"
    names = ("embedding", "rnn_1", "rnn_2")
    layers = [like(Embedding, name=names[0]), *(like(LSTM, name=n, layout="cudnn") for n in names[1:])]
    graph = to_graph(path, like=layers).graph
    parts = tuple(value for node in graph.nodes for value in node.outputs)
    joined = Node("concat", Concat(), parts, ("concat",))
    graph = Graph(graph.inputs, [*graph.nodes, joined], ["concat"])
    return Problem(case, graph, arrays("textgenrnn", "reference.npz")["ids"][:1])


REAL: dict[str, Callable[[Case], Problem]] = {
    "dtln-1": dtln,
    "rnnoise-nu": rnnoise,
    "g2p-en": g2p,
    "textgenrnn": textgenrnn,
}
