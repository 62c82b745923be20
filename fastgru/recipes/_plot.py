"""Recordings over time as a picture, where matplotlib is installed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, require
from ..files.writing import check_target, replace_file
from ._audio import RATE, Audio

FORMATS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """Raise DataError or OSError unless a plot can be written to `path`."""
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"--plot must end in one of {', '.join(FORMATS)}, got {path.name!r}")
    check_target(path)


def timeline(path: Path, audio: Audio, curves: Mapping[str, NDArray[Any]], spans: Sequence[tuple[int, int]]) -> None:
    """Plot samples (T,), curves in 0..1 over the same time, and spans of samples into `path`.

    Raises
    ------
    DataError
        When the suffix of `path` is none of `FORMATS`.
    MissingExtraError
        When matplotlib is not installed.
    """
    check(path)
    figure = require("matplotlib.figure", extra="plot", purpose="a plot").Figure((10, 4), layout="constrained")
    axes, seconds = figure.add_subplot(), len(audio) / RATE
    axes.plot(np.arange(len(audio)) / RATE, audio, color="silver", linewidth=0.5, label="samples")
    for label, curve in curves.items():
        axes.step(np.linspace(0, seconds, len(curve), endpoint=False), curve, where="post", label=label)
    for begin, end in spans:
        axes.axvspan(begin / RATE, end / RATE, color="tab:green", alpha=0.2)
    axes.set(xlabel="seconds", xlim=(0, seconds))
    axes.legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=120, format=path.suffix[1:].lower())
    replace_file(path, buffer.getvalue())
