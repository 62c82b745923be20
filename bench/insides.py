"""``python -m bench.insides [MODELS]``: draw what the demo's forecaster remembers, and which units of Silero fire.

MODELS is a folder with ``silero_vad``: its ``silero_vad.onnx``, and ``reference.npz`` with a recording in chunks.
Without it only the forecaster is drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastgru.cli import _pulse
from fastgru.recipes import pulse, silero, silero_units

from .pictures.style import FONT, LIGHT, PLAIN, SMALL, THEMES, Theme, panel, save, sheet

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
CONTEXT = 64  # samples of a chunk of Silero's that it saw before
DRAWN = 12  # units of each kind
HUES = {True: ("#d04e10", "#255bc5", "#089163"), False: ("#fb863e", "#5c8be4", "#32bd8b")}  # light and dark pages


def draw_pulse(found: pulse.Memory, theme: Theme) -> Any:
    """Draw half-lives of units, the weight of each sample of the context, and the error with less of it."""
    hues, ms, cycle = HUES[theme is LIGHT], 1e3 / _pulse.RATE, found.period / _pulse.RATE
    longest = found.half_life.max() * ms
    told = f"The forecaster of a pulse looks seconds back, with units that halve within {longest:.0f} ms"
    figure = sheet(
        theme, (8.3, 5.2), told,
        f"{len(found.half_life)} units, on the part of the recording that was never looked at. Dotted lines are one "
        "typical cycle apart.",
    )  # fmt: skip
    axes = panel(figure, theme, (0.75, 3.05, 3.2, 1.25))
    axes.bar(np.arange(len(found.half_life)), np.sort(found.half_life) * ms, width=0.75, color=hues[0])
    axes.set(xticks=[], xlabel="units, sorted", ylabel="ms")
    _title(axes, theme, "Half-life of each unit, by its update gate")
    axes = panel(figure, theme, (4.85, 3.05, 3.2, 1.25))
    seconds = np.array(pulse.LENGTHS) / _pulse.RATE
    axes.plot(seconds, found.error, color=hues[0], marker="o", markersize=4)
    axes.set(xlim=(0, 4.1), ylim=(0, 65), xlabel="seconds of context", ylabel="of 1,023")
    _title(axes, theme, "Mean error with less context")
    axes = panel(figure, theme, (0.75, 0.5, 7.3, 1.75))
    ages = (np.arange(found.weight.shape[1]) - found.weight.shape[1] + 1) / _pulse.RATE
    for k, hue in zip((0, 2, 4), hues, strict=True):
        label = f"{(pulse.AHEAD[k] + 1) / _pulse.RATE:.2f} s ahead"
        axes.plot(ages, 100 * found.weight[k][::-1].cumsum()[::-1], color=hue, linewidth=1.6, label=label)
    for i in range(1, int(4 / cycle) + 1):
        axes.axvline(-i * cycle, color=theme.muted, linewidth=0.8, linestyle=":")
    axes.set(xlim=(ages[0], 0), ylim=(0, 104), xlabel="seconds before now", ylabel="%")
    axes.legend(loc="lower left", frameon=False, fontsize=PLAIN, labelcolor=theme.ink)
    _title(axes, theme, "Share of the samples since then in a forecast, by the mean size of its slopes")
    return figure


def draw_silero(found: silero_units.Units, theme: Theme) -> Any:
    """Draw the probability of speech over the units that fire most in it, and those that fire most outside of it."""
    from matplotlib.colors import LinearSegmentedColormap

    figure = sheet(
        theme, (8.3, 5.6), "Which units of Silero's voice detector fire at speech",
        f"Of 128 units of its LSTM, the {DRAWN} that fire more in speech and the {DRAWN} that fire more outside of it.",
    )  # fmt: skip
    hues, seconds = HUES[theme is LIGHT], len(found.speech) * 512 / 16_000
    time = np.arange(len(found.speech)) * 512 / 16_000
    axes = panel(figure, theme, (0.75, 4.0, 7.3, 0.75))
    axes.fill_between(time, found.speech, step="post", color=hues[2], alpha=0.35, linewidth=0)
    axes.step(time, found.speech, where="post", color=hues[2], linewidth=1)
    axes.set(xlim=(0, seconds), ylim=(0, 1.02), yticks=[0, 1], xticklabels=[])
    _title(axes, theme, "Probability of speech")
    order, peak = np.argsort(-found.difference()), np.quantile(found.fires, 0.99)
    for chosen, hue, bottom, title in (
        (order[:DRAWN], hues[0], 2.25, "Fire in speech"),
        (order[-DRAWN:][::-1], hues[1], 0.5, "Fire outside of it"),
    ):
        axes = panel(figure, theme, (0.75, bottom, 7.3, 1.4))
        axes.grid(visible=False)
        shades = LinearSegmentedColormap.from_list("fires", [theme.paper, hue])
        box = (0, seconds, DRAWN - 0.5, -0.5)
        axes.imshow(found.fires[:, chosen].T / peak, aspect="auto", extent=box, cmap=shades, vmin=0, vmax=1,
                    interpolation="nearest")  # fmt: skip
        axes.set_yticks(np.arange(DRAWN), [str(unit) for unit in chosen])
        axes.tick_params(axis="y", labelsize=SMALL - 2)
        axes.set(xlabel="seconds" if bottom < 1 else "")
        if bottom > 1:
            axes.set_xticklabels([])
        _title(axes, theme, title)
    return figure


def _title(axes: Any, theme: Theme, text: str) -> None:
    axes.set_title(text, loc="left", color=theme.ink, fontsize=PLAIN, pad=4)


def recorded(folder: Path) -> silero_units.Units:
    """Return what Silero's units do on the recording of its reference."""
    with np.load(folder / "reference.npz") as saved:
        audio = saved["input"][:, CONTEXT:].reshape(-1)
    return silero_units.units(silero.load(folder / "silero_vad.onnx"), audio)


def main(folder: Path | None) -> None:
    """Draw the pictures for light and dark pages."""
    from matplotlib import rc_context

    found = pulse.memory()
    heard = None if folder is None else recorded(folder / "silero_vad")
    if heard is None:
        print("silero is not drawn: python -m bench.insides MODELS names a folder with silero_vad")
    for theme in THEMES:
        with rc_context({"font.family": FONT}):
            drawn = {"pulse-memory": draw_pulse(found, theme)}
            if heard is not None:
                drawn["silero-units"] = draw_silero(heard, theme)
        for name, figure in drawn.items():
            save(figure, PICTURES, name, theme)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
