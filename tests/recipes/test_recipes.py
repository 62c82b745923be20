"""Recipes: real networks against their reference outputs, whole and streamed, and what they print."""

from __future__ import annotations

import json

import numpy as np
import pytest
from recipe_runs import LIMITS, in_chunks, overlap_add, recipe, same_bits, steps
from scipy.io import wavfile

from fastgru import Model
from fastgru.errors import ConvertError
from fastgru.generation import Beam
from fastgru.recipes import dtln, g2p, gait, rnnoise, textgen

RNNOISE = ("beguiling-drafter-2018-08-30", "somnolent-hogwash-2018-09-01")
GAIT = ("2026_03_26_21_56_0.0534", "BEST_0.1753_gru_32_bs_128_k_20_f_16_p_5")


def test_g2p_pronounces_every_word_of_the_reference(real_models):
    models = g2p.load(real_models / "g2p_en" / "checkpoint20.npz")
    want = json.loads((real_models / "g2p_en" / "reference_pronunciations.json").read_text())
    assert len(want) == 15
    assert {word: g2p.pronounce(word, *models) for word in want} == want


def test_g2p_prints_phonemes(real_models):
    path = real_models / "g2p_en" / "checkpoint20.npz"
    printed = recipe("g2p", "Hello, recurrent QUOKKA!", "--model", path)
    for line in ("hello | HH EH1 L OW0", "recurrent | R IH0 K ER1 AH0 N T", "quokka | K W OW1 K AH0"):
        assert line in " ".join(printed.replace("│", "|").split())


def test_g2p_beams_find_what_is_at_least_as_probable(real_models):
    """Of the 15 words three have a more probable pronunciation than the greedy one; a beam of one is greedy."""
    models = g2p.load(real_models / "g2p_en" / "checkpoint20.npz")
    want = json.loads((real_models / "g2p_en" / "reference_pronunciations.json").read_text())
    narrow, wide = (g2p.search(list(want), *models, Beam(width, n_best=width)) for width in (1, 10))
    assert [best[0][1] for best in narrow] == list(want.values())
    assert all(b[0][0] >= a[0][0] - 1e-6 for a, b in zip(narrow, wide, strict=True))
    other = {word for word, best in zip(want, wide, strict=True) if best[0][1] != want[word]}
    assert other == {"activationist", "anthropic", "tensorflowing"}


def test_textgen_probabilities_and_greedy_text(real_models):
    folder = real_models / "textgenrnn"
    reference = np.load(folder / "reference.npz")
    model = textgen.load(folder / "textgenrnn_weights.hdf5")
    y = model(reference["ids"])
    assert np.abs(y - reference["probs"]).max() <= LIMITS["textgen"]
    assert all(same_bits(model(ids), row) for ids, row in zip(reference["ids"], y, strict=True))
    want, begin = (folder / "reference_greedy.txt").read_text(encoding="utf-8"), "[Specific] Can someone"
    assert want.startswith(begin)
    ids = textgen.load_vocabulary(folder / "textgenrnn_vocab.json")
    made = textgen.continuation(model, ids, begin, len(want) - len(begin))
    assert begin + "".join(made) == want


def test_textgen_prints_the_same_text_for_the_same_seed(real_models):
    weights = real_models / "textgenrnn" / "textgenrnn_weights.hdf5"
    options = ("--temperature", 0.5, "--length", 30, "--model", weights)
    first, again, other = (recipe("textgen", "I am", *options, "--seed", seed) for seed in (1, 1, 2))
    assert first.startswith("I am")
    assert first == again != other


@pytest.mark.parametrize("name", RNNOISE)
def test_rnnoise_whole_and_frame_by_frame(real_models, name):
    folder = real_models / "rnnoise_nu" / name
    reference = np.load(folder / "reference.npz")
    model, x = rnnoise.load(folder / "weights.hdf5"), reference["features"]
    whole = model(x)
    for y, want in zip(whole, (reference["gains"], reference["vad"]), strict=True):
        assert np.abs(y - want).max() <= LIMITS["rnnoise"]
    assert same_bits(steps(model, x), whole)
    assert same_bits(in_chunks(model, x, [1, 2, 9, 500]), whole)


def test_rnnoise_prints_bands_and_writes_gains(real_models, tmp_path):
    folder = real_models / "rnnoise_nu" / RNNOISE[0]
    reference = np.load(folder / "reference.npz")
    np.save(tmp_path / "x.npy", reference["features"])
    out = tmp_path / "y.npz"
    printed = recipe("rnnoise", tmp_path / "x.npy", "--model", folder / "weights.hdf5", "--out", out)
    written = np.load(out)
    assert np.abs(written["gains"] - reference["gains"]).max() <= LIMITS["rnnoise"]
    assert np.abs(written["vad"] - reference["vad"]).max() <= LIMITS["rnnoise"]
    assert f"voice {(reference['vad'] > 0.5).mean():.0%} of 10.00 s" in printed
    assert all(f"{gain:.2f}" in printed for gain in reference["gains"].mean(axis=0))


@pytest.mark.parametrize("name", GAIT)
def test_gait_windows_and_steps(real_models, name):
    folder = real_models / "ao_gru" / name
    reference, model = np.load(folder / "reference.npz"), gait.load(folder / "gru_model.keras")
    x, whole = reference["x"], model(reference["x"])
    assert np.abs(whole - reference["y"]).max() <= LIMITS["gait"]
    live = steps(model, x, batch=len(x))
    assert same_bits(live if whole.ndim == 3 else live[:, -1], whole)
    assert same_bits(model(x[5]), whole[5])


def test_gait_prints_phases_of_the_recording(real_models, tmp_path):
    folder, out = real_models / "ao_gru", tmp_path / "phase.npy"
    words = (folder / "test.csv", "--model", folder / GAIT[0] / "gru_model.keras", "--every", 500, "--out", out)
    assert "12 phases" in recipe("gait", *words)
    windows = np.load(out)
    assert windows[0, 0] == pytest.approx(1.99)
    model, x = gait.load(folder / GAIT[0] / "gru_model.keras"), gait.read(folder / "test.csv")
    assert windows[3, 1] == gait.phase_of(model(x[1500:1700])[-1])
    recipe("gait", *words, "--stream")
    turned = np.abs(np.angle(np.exp(1j * (np.load(out) - windows)[:, 1])))
    assert np.median(turned) < 0.05  # rad: what a GRU of 8 units keeps of more than 2 s ago


def test_dtln_blocks_and_samples(real_models):
    reference, path = np.load(real_models / "dtln" / "reference.npz"), real_models / "dtln" / "model.h5"
    blocks, want = reference["blocks_in"], reference["blocks_out"]
    model = Model(dtln.network(path))
    whole = model(blocks)
    assert np.abs(whole - want).max() <= LIMITS["dtln"]
    assert same_bits(steps(model, blocks), whole)
    samples, audio = np.concatenate([blocks[0], *blocks[1:, -dtln.HOP :]]), dtln.load(path)
    made = in_chunks(audio, samples, [])
    assert np.abs(made - overlap_add(want, dtln.HOP)).max() <= LIMITS["dtln"]
    for cuts in ([1, 2, 3, 511, 512, 700, 20_000], range(128, len(samples), 128)):
        assert same_bits(in_chunks(audio, samples, cuts), made)


def test_dtln_cleans_both_channels_of_a_recording(real_models, tmp_path):
    rate, mono = wavfile.read(real_models / "gtcrn" / "mix.wav")
    assert rate == 16_000
    mono = mono[: 3 * rate]
    both = np.stack([mono, np.roll(mono, 1000) // 2], axis=1)
    wavfile.write(tmp_path / "noisy.wav", rate, both)
    recipe("dtln", tmp_path / "noisy.wav", tmp_path / "clean.wav", "--model", real_models / "dtln" / "model.h5")
    rate, clean = wavfile.read(tmp_path / "clean.wav")
    assert (rate, clean.shape, clean.dtype) == (16_000, both.shape, np.int16)
    model = dtln.load(real_models / "dtln" / "model.h5")
    for channel in range(2):
        want = dtln.enhance(model, (both[:, channel] / 32768).astype(np.float32)[None])[0]
        assert np.abs(clean[:, channel] / 32767 - want).max() <= 0.51 / 32767
    quiet = slice(0, 8000)  # half a second before anyone speaks
    assert np.square(clean[quiet, 0], dtype=float).mean() < 0.1 * np.square(mono[quiet], dtype=float).mean()


def test_networks_of_another_kind_are_refused(real_models):
    path = real_models / "ao_gru" / GAIT[0] / "gru_model.keras"
    with pytest.raises(ConvertError, match=r"network must make frames of \(42,\) to \(22,\) and \(1,\), got one of"):
        rnnoise.load(path)
    with pytest.raises(ConvertError, match=r"file must have one layer named 'lstm'"):
        dtln.load(real_models / "textgenrnn" / "textgenrnn_weights.hdf5")
