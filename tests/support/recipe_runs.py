"""Helpers of the tests of recipes: recipes run as a user runs them, and streams fed in chunks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import fastgru

LIMITS = {"silero": 1e-5, "gtcrn": 1e-4, "dtln": 1e-5, "rnnoise": 1e-5, "gait": 1e-5, "textgen": 1e-5}


def recipe(name, *words, code=0, cache=None):
    """Standard output of a recipe, or its one line of error."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100"}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    command = [sys.executable, "-m", f"fastgru.recipes.{name}", *map(str, words)]
    home = Path(fastgru.__file__).parents[1]  # not the source tree, where what is installed lies elsewhere
    done = subprocess.run(
        command, cwd=home, capture_output=True, text=True, encoding="utf-8", env=environment, check=False
    )
    assert done.returncode == code, done.stderr
    if not code:
        assert not done.stderr
        return done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def in_chunks(model, x, cuts, *, batch=None):
    """The output of a stream fed `x` cut at `cuts` along time, flushed."""
    stream, axis = model.stream(batch), 0 if batch is None else 1
    parts = [stream.process(part) for part in np.split(x, cuts, axis=axis)]
    parts.append(stream.flush())
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate(outputs, axis=axis) for outputs in zip(*parts, strict=True))
    return np.concatenate(parts, axis=axis)


def steps(model, x, *, batch=None):
    """The output of a stream fed `x` step by step."""
    stream, axis = model.stream(batch), 0 if batch is None else 1
    parts = [stream.step(frame) for frame in np.moveaxis(x, axis, 0)]
    if isinstance(parts[0], tuple):
        return tuple(np.stack(outputs, axis=axis) for outputs in zip(*parts, strict=True))
    return np.stack(parts, axis=axis)


def same_bits(a, b):
    """True if two outputs, or tuples of them, are equal bit by bit."""
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same_bits, a, b))
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def overlap_add(frames, hop):
    """Frames (T, size) summed every `hop` samples, float64."""
    size = frames.shape[1]
    out = np.zeros(hop * (len(frames) - 1) + size)
    for i, frame in enumerate(frames.astype(np.float64)):
        out[hop * i : hop * i + size] += frame
    return out
