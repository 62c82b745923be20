"""The real models: what is fed to them, what they must return, and the files other engines read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgru import reference
from fastgru.graph import Graph
from fastgru.recipes import gait, gtcrn, rnnoise, silero, textgen

from . import real_dtln, real_g2p
from .network import MODELS, Array, Network, OnnxFile, Real, alone, arrays

SILERO_PLAIN = MODELS / "silero_vad" / "silero_vad_16k_sequence.onnx"
CHECKED = 200  # steps of a stream whose outputs are checked
CHECKED_SLOWLY = 40  # where the float64 reference says what is right, step by step


def silero_chunks(rate: int) -> Callable[[bool], Real]:
    """Silero VAD chunk by chunk; at 8 kHz every other sample of the recording.

    At 16 kHz, other engines read the file that its authors export for whole recordings: ONNX Runtime takes 50 us a
    chunk with that, and 64 us with the one for both rates, which fastgru reads.
    """

    def make(streaming: bool) -> Real:
        path = MODELS / "silero_vad" / "silero_vad.onnx"
        file = arrays("silero_vad", "reference.npz")
        graph = silero.network(path, rate)
        chunks = np.ascontiguousarray(file["input"][:, None, :: 16_000 // rate])
        if rate == 16_000:
            expected = file["prob"][:CHECKED, None]
            onnx = OnnxFile(SILERO_PLAIN, (1,), states={"hn": "h", "cn": "c"})
        else:
            expected = by_reference(graph, chunks[:CHECKED_SLOWLY])
            onnx = OnnxFile(path, (1, 1), states={"stateN": "state"}, settings={"sr": np.array(rate)})
        network = Network(graph, chunks[0].copy(), streaming, {"onnx": onnx})
        return alone(network, chunks[: len(expected)], expected)

    return make


def silero_recording(streaming: bool) -> Real:
    """Silero VAD over all chunks of a recording at once."""
    file = arrays("silero_vad", "reference.npz")
    chunks, expected = file["input"], file["prob"]
    onnx = OnnxFile(SILERO_PLAIN, expected.shape, states={"hn": "h", "cn": "c"})
    network = Network(silero.network(SILERO_PLAIN), chunks, streaming, {"onnx": onnx})
    return alone(network, chunks[None].copy(), expected[:, None])


def gtcrn_frames(streaming: bool) -> Real:
    """GTCRN: spectra of 257 bins to those of the speech in them."""
    path, frame = MODELS / "gtcrn" / "gtcrn_simple.onnx", (1, 257, 1, 2)
    file = arrays("gtcrn", "reference.npz")
    noisy, clean = (file[name][0].transpose(1, 0, 2)[:CHECKED] for name in ("stft_in", "stft_out"))
    states = {f"{name}_out": name for name in ("conv_cache", "tra_cache", "inter_cache")}
    network = Network(
        gtcrn.network(path), np.empty(frame, np.float32), streaming, {"onnx": OnnxFile(path, frame, states=states)}
    )
    return alone(network, noisy, clean.reshape(len(clean), -1))


def rnnoise_frames(name: str) -> Callable[[bool], Real]:
    """RNNoise's gains: 42 features of 10 ms to 22 gains and voice activity."""

    def make(streaming: bool) -> Real:
        file = arrays("rnnoise_nu", name, "reference.npz")
        graph = rnnoise.load(MODELS / "rnnoise_nu" / name / "weights.hdf5").graph
        expected = np.concatenate([file["gains"], file["vad"]], axis=1)[:CHECKED]
        network = Network(graph, np.empty((1, 1, 42), np.float32), streaming)
        return alone(network, file["features"][:CHECKED], expected)

    return make


def gait_windows(name: str, tflite: str) -> Callable[[bool], Real]:
    """The gait phase over windows of 200 steps of a hip sensor; `tflite` is the key of what is in the file."""

    def make(streaming: bool) -> Real:
        folder = MODELS / "ao_gru" / name
        file = arrays("ao_gru", name, "reference.npz")
        files = {"keras": folder / "gru_model.keras", tflite: folder / "gru_model_edge.tflite"}
        graph = gait.load(files["keras"]).graph
        network = Network(graph, np.empty((1, *file["x"].shape[1:]), np.float32), streaming, files)
        return alone(network, file["x"], file["y"].reshape(-1, 2))

    return make


def textgenrnn_window(streaming: bool) -> Real:
    """textgenrnn: the last 40 characters to the probabilities of the next."""
    file = arrays("textgenrnn", "reference.npz")
    graph = textgen.load(MODELS / "textgenrnn" / "textgenrnn_weights.hdf5").graph
    return alone(Network(graph, np.empty((1, 40), np.int64), streaming), file["ids"], file["probs"])


def dtln_masks(streaming: bool) -> Real:
    """DTLN's first network: magnitudes of 257 bins to their mask."""
    network = real_dtln.first()
    magnitudes = np.abs(real_dtln.spectra()[:CHECKED]).astype(np.float32)
    return alone(network, magnitudes, by_reference(network.graph, magnitudes))


def dtln_blocks(streaming: bool) -> Real:
    """DTLN's second network: blocks of 512 samples, of the masked spectra, to those of the speech in them."""
    spectra = real_dtln.spectra()[:CHECKED]
    masks = by_reference(real_dtln.first().graph, np.abs(spectra).astype(np.float32))
    blocks = np.fft.irfft(spectra * masks).astype(np.float32)
    return alone(real_dtln.second(), blocks, arrays("dtln", "reference.npz")["blocks_out"][:CHECKED])


def by_reference(graph: Graph, frames: Array) -> Array:
    """What the float64 reference makes of frames (T, ...): (T, features)."""
    (spec,) = graph.inputs.values()
    outputs: Any = reference.run(graph, frames.reshape(1, -1, *spec.shape))[0]
    y = outputs[0]
    return np.asarray(y).reshape(len(frames), -1)


REAL: dict[str, Callable[[bool], Real]] = {
    "silero-16k": silero_chunks(16_000),
    "silero-8k": silero_chunks(8_000),
    "silero-16k-recording": silero_recording,
    "gtcrn": gtcrn_frames,
    "dtln-1": dtln_masks,
    "dtln-2": dtln_blocks,
    "dtln": real_dtln.hops,
    "dtln-loop": real_dtln.looped,
    "rnnoise-nu-drafter": rnnoise_frames("beguiling-drafter-2018-08-30"),
    "rnnoise-nu-hogwash": rnnoise_frames("somnolent-hogwash-2018-09-01"),
    "ao-gru-steps": gait_windows("2026_03_26_21_56_0.0534", "tflite"),
    "ao-gru-last": gait_windows("BEST_0.1753_gru_32_bs_128_k_20_f_16_p_5", "tflite int8"),
    "textgenrnn": textgenrnn_window,
    "g2p": real_g2p.words,
}
