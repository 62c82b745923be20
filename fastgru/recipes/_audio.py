"""Recordings: WAV files in and out, at the rate that a network was trained on."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from ..errors import DataError, require
from ..files.writing import check_target, replace_file

if TYPE_CHECKING:
    from .. import Model

Audio = NDArray[np.float32]
RATE = 16_000
RATES = (4_000, 384_000)
CHANNELS = 32
LOUDEST = 100.0  # full scale is 1: what is far above was never scaled
# What SciPy raises for a file that is cut short or of something else.
BROKEN = (ValueError, TypeError, KeyError, ArithmeticError, LookupError, EOFError, UnboundLocalError, struct.error)


def read(path: Path, rate: int = RATE) -> Audio:
    """The samples of a WAV file as (channels, T) at `rate`, full scale at 1.

    Raises
    ------
    DataError
        When it is no WAV file, holds no samples or some that are not finite, or its rate or channels are out of bounds.
    """
    wavfile = require("scipy.io.wavfile", extra="recipes", purpose="reading a WAV file")
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", wavfile.WavFileWarning)
        warnings.filterwarnings("ignore", "Chunk", wavfile.WavFileWarning)  # of notes about the recording
        try:
            found, samples = wavfile.read(file)
        except (*BROKEN, wavfile.WavFileWarning) as error:
            raise DataError(f"{path}: recording must be a whole WAV file, got another: {error}") from error
    audio = _scaled(np.atleast_2d(samples.T))
    problems = _problems(audio, found)
    if problems:
        raise DataError(f"{path}: {'; '.join(problems)}")
    common = gcd(found, rate)
    if found != rate:
        signal = require("scipy.signal", extra="recipes", purpose="another sample rate")  # takes a second
        audio = signal.resample_poly(audio, rate // common, found // common, axis=1)
    return np.ascontiguousarray(audio, np.float32)


def _scaled(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Samples of any type as numbers whose full scale is 1."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    return (samples - half * (samples.dtype.kind == "u")) / half


def _problems(audio: NDArray[np.float64], rate: int) -> list[str]:
    found = []
    if not RATES[0] <= rate <= RATES[1]:
        found.append(f"sample rate must be {RATES[0]} to {RATES[1]} Hz, got {rate}")
    if len(audio) > CHANNELS:
        found.append(f"channels must be at most {CHANNELS}, got {len(audio)}")
    if not audio.size:
        return [*found, "recording must have at least one sample, got none"]
    wrong = np.argwhere(~(np.abs(audio) <= LOUDEST))
    if len(wrong):
        channel, at = wrong[0]
        value = f"{audio[channel, at]:g} at sample {at} of channel {channel}"
        found.append(f"samples must be finite and at most {LOUDEST:g} times full scale, got {value}")
    return found


def write(path: Path, audio: Audio, rate: int = RATE) -> int:
    """Write (channels, T) as a WAV file of 16 bits, whole or not at all; returns how many samples were clipped."""
    wavfile = require("scipy.io.wavfile", extra="recipes", purpose="writing a WAV file")
    scaled = np.rint(audio * 32767.0)
    clipped = int((np.abs(scaled) > 32767).sum())
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, np.clip(scaled, -32767, 32767).astype(np.int16).T)
    replace_file(path, buffer.getvalue())
    return clipped


def through(model: Model, padded: Audio, chunk: int = RATE) -> Audio:
    """What a model of samples to samples makes of (channels, T): each channel a row, `chunk` samples at a time."""
    stream = model.stream(len(padded))
    parts = [stream.process(padded[:, i : i + chunk]) for i in range(0, padded.shape[1], chunk)]
    return np.concatenate([*parts, stream.flush()], axis=1)


def level(audio: Audio) -> str:
    """The mean power in dB of full scale."""
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    return f"{10 * np.log10(power):.1f} dB" if power else "silence"


def denoise(noisy: Path, clean: Path, enhance: Callable[[Audio], Audio]) -> None:
    """Write what `enhance` makes of a recording, and print how loud both are."""
    from ..cli import _show

    if clean.suffix.lower() != ".wav":
        raise DataError(f"recording to write must end in .wav, got {os.fspath(clean)!r}")
    check_target(clean)
    audio = read(noisy)
    made, seconds = enhance(audio), audio.shape[1] / RATE
    if not np.isfinite(made).all():
        raise DataError(f"{noisy}: cleaned samples must be finite, got some that are not")
    clipped = write(clean, made)
    table = Table("", "seconds", "channels", "level")
    for path, samples in ((noisy, audio), (clean, made)):
        table.add_row(Text(os.fspath(path)), f"{seconds:.2f}", str(len(audio)), level(samples))
    console = _show.stdout()
    console.print(table)
    if clipped:
        console.print(f"{clipped} samples were louder than full scale and are clipped")
