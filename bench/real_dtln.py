"""DTLN: its two networks, and a hop of 128 samples with the transforms and the overlap-add around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fastgru.converters import to_graph
from fastgru.recipes import dtln

from .network import MODELS, Array, Call, Network, OnnxFile, Real, arrays

SIZE, HOP = dtln.SIZE, dtln.HOP
FOLDER = MODELS / "dtln"
HOPS = 200  # that are checked
FIRST, SECOND = slice(2, 5), slice(8, None)  # of the recipe's layers: those of each network
# Layers of the file that have weights, by the part they belong to.
WEIGHTS = (["lstm", "lstm_1", "dense"], ["conv1d", "layer_normalization", "lstm_2", "lstm_3", "dense_1", "conv1d_1"])


def spectra() -> Array:
    """Of all blocks of the recording: (400, 257) complex."""
    return np.fft.rfft(arrays("dtln", "reference.npz")["blocks_in"])


def first() -> Network:
    """Magnitudes to their mask."""
    return _stage(FIRST, 1, dtln.BINS, {"tf_op_layer_stack_2": "input_3"})


def second() -> Network:
    """Blocks to the speech in them."""
    return _stage(SECOND, 2, SIZE, {"tf_op_layer_stack_5": "input_5"})


def _stage(layers: slice, number: int, size: int, states: dict[str, str]) -> Network:
    graph = to_graph(FOLDER / "model.h5", like=dtln.LAYERS[layers], ignore=WEIGHTS[2 - number]).graph
    onnx = OnnxFile(FOLDER / f"model_{number}.onnx", (1, 1, size), states=states)
    tflite = {"tflite": f"model_{number}.tflite", "tflite int8": f"model_quant_{number}.tflite"}
    files = {"onnx": onnx, **{key: FOLDER / name for key, name in tflite.items()}}
    return Network(graph, np.zeros((1, 1, size), np.float32), True, files)


def hops(streaming: bool) -> Real:
    """Samples in, samples out, 128 at a time: fastgru has all of it in one graph, others the loop of `looped`."""
    return _hops(one_graph=True)


def looped(streaming: bool) -> Real:
    """The same with that loop, of NumPy's transforms around two networks, for fastgru too."""
    return _hops(one_graph=False)


def _hops(*, one_graph: bool) -> Real:
    file = arrays("dtln", "reference.npz")
    stages, samples = [first(), second()], np.zeros(HOP, np.float32)
    inputs = list(file["blocks_in"][:HOPS, -HOP:])
    expected = np.zeros((HOPS - 1) * HOP + SIZE)
    for i, block in enumerate(file["blocks_out"][:HOPS]):
        expected[i * HOP : i * HOP + SIZE] += block

    def put(hop: Array) -> None:
        samples[...] = hop

    own = {"fastgru": _graph_of_all(samples)} if one_graph else {}
    return Real(stages, inputs, expected[: HOPS * HOP].reshape(HOPS, HOP), put, _between(samples, stages), own)


def _between(samples: Array, stages: Sequence[Network]) -> Callable[[Sequence[Call]], Call]:
    """The loop of DTLN's authors, around any two networks: shift, transform, mask, transform back, add."""
    magnitudes, masked = (stage.x.reshape(-1) for stage in stages)

    def glue(calls: Sequence[Call]) -> Call:
        mask, clean = calls
        block, out = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)

        def call() -> Array:
            block[:-HOP] = block[HOP:]
            block[-HOP:] = samples
            spectrum = np.fft.rfft(block)
            np.abs(spectrum, out=magnitudes)
            spectrum *= mask().reshape(-1)
            masked[...] = np.fft.irfft(spectrum)
            out[:-HOP] = out[HOP:]
            out[-HOP:] = 0
            np.add(out, clean().reshape(-1), out=out)
            return out[:HOP]

        return call

    return glue


def _graph_of_all(samples: Array) -> Callable[[str], Call]:
    """fastgru's call: all of it is one graph."""

    def make(precision: str) -> Call:
        model = dtln.load(FOLDER / "model.h5")
        if precision != "float32":
            model = model.quantize(precision)
        stream = model.stream()
        stream.process(np.zeros(SIZE - HOP, np.float32))
        return lambda: stream.process(samples)

    return make
