"""Recipes that look inside networks: the demo's forecaster, and the units of Silero's LSTM."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")

from fastgru.cli import _pulse
from fastgru.errors import DataError
from fastgru.recipes import pulse, silero, silero_units

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_what_the_forecaster_remembers():
    found = pulse.memory()
    assert found.half_life.shape == (48,)
    assert found.half_life.max() < 2  # samples, as docs/pulse.md says
    np.testing.assert_allclose(found.weight.sum(axis=1), 1)
    shares = found.cycles()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert 0.65 < shares[0, 0] < 0.75
    assert 0.45 < shares[-1, 0] < 0.55
    errors = dict(zip(pulse.LENGTHS, found.error, strict=True))
    assert errors[15] > 1.4 * errors[100]
    assert abs(errors[60] - errors[100]) < 0.5
    assert found.period / _pulse.RATE == pytest.approx(0.6, abs=0.01)


@pytest.fixture
def heard(real_models):
    pytest.importorskip("onnx")
    folder = real_models / "silero_vad"
    with np.load(folder / "reference.npz") as saved:
        audio, expected = saved["input"][:, 64:].reshape(-1), saved["prob"]
    model = silero.load(folder / "silero_vad.onnx")
    return model, audio, expected, silero_units.units(model, audio)


def test_units_that_fire_at_speech(heard):
    _, _, expected, found = heard
    np.testing.assert_allclose(found.speech, expected, atol=2e-6)
    logit = np.log(found.speech / (1 - found.speech.astype(np.float64)))
    rest = found.fires.astype(np.float64) @ found.weight - logit  # the bias alone
    inner = (found.speech > 1e-4) & (found.speech < 1 - 1e-4)  # where float32 holds the logit
    assert np.ptp(rest[inner]) < 0.01
    gain = found.gain()
    assert (found.difference()[33] == found.difference().max(), (gain > 0).sum()) == (True, 98)
    assert silero_units.count_of(gain) == 50
    order = np.argsort(-found.difference())
    assert (found.weight[order[-12:]] < 0).all()
    assert np.argmax(gain) != order[0]
    rows = [line for line in (DOCS / "silero.md").read_text().splitlines() if line.startswith("| unit")]
    assert len(rows) == 5
    for row in rows:
        unit, *told = (cell.strip() for cell in row.removeprefix("| unit").strip("|").split("|"))
        i = int(unit)
        means = [f"{found.fires[part, i].mean():.2f}" for part in (found.spoken, ~found.spoken)]
        assert told == [*means, f"{gain[i]:+.2f}"]


def test_a_recording_must_have_both(heard):
    model = heard[0]
    with pytest.raises(DataError, match="recording must have speech and silence, got silence"):
        silero_units.units(model, np.zeros(5120, np.float32))


def test_commands_print_what_they_find(heard, tmp_path, real_models):
    from typer.testing import CliRunner

    from fastgru.recipes import _terminal

    shown = CliRunner().invoke(_terminal.application(pulse.main), []).stdout
    page = (DOCS / "pulse.md").read_text()
    assert shown.splitlines()[0].strip() in page
    for line in page.splitlines():
        if line.startswith(("the last cycle", "cycle ")):
            assert any(line.split() == row.replace("│", " ").split() for row in shown.splitlines()), line
    wav = tmp_path / "speech.wav"
    with wave.open(str(wav), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((heard[1].clip(-1, 1) * 32767).astype("<i2").tobytes())
    words = [str(wav), "--model", str(real_models / "silero_vad" / "silero_vad.onnx")]
    shown = CliRunner().invoke(_terminal.application(silero_units.main), words).stdout
    assert "98 of 128 units raise the logit in speech; the first 50 make up 90 %" in shown.replace("\n", " ")
