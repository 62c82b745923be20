"""The pictures of a run, each for light and for dark pages, as SVG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..records import Results
from . import by_size, floor, precision, real_models, slowest_calls, step_time
from .style import FONT, THEMES, Theme, save


class Picture(NamedTuple):
    """A picture: the name of its files, what it shows in words, and how it is drawn."""

    name: str
    alt: str
    figure: Callable[[Results, Theme], Any]  # None where the results have no cases for it


PICTURES = (
    Picture("step-time", step_time.TITLE, step_time.draw),
    Picture(
        "gru-by-size", "GRU layers of each size: other engines' time over fastgru's",
        lambda results, theme: by_size.draw(results, theme, "gru"),
    ),
    Picture(
        "lstm-by-size", "LSTM layers of each size: other engines' time over fastgru's",
        lambda results, theme: by_size.draw(results, theme, "lstm"),
    ),
    Picture("real-models", real_models.TITLE, real_models.draw),
    Picture("slowest-calls", slowest_calls.TITLE, slowest_calls.draw),
    Picture("precision", precision.TITLE, precision.draw),
    Picture("floor", floor.TITLE, floor.draw),
)  # fmt: skip


def figures(results: Results, theme: Theme) -> dict[str, Any]:
    """Return the figures of the pictures that the results have cases for, by name."""
    from matplotlib import rc_context

    with rc_context({"font.family": FONT}):
        drawn = {picture.name: picture.figure(results, theme) for picture in PICTURES}
    return {name: figure for name, figure in drawn.items() if figure is not None}


def draw(results: Results, folder: Path) -> list[Picture]:
    """Draw NAME-light.svg and NAME-dark.svg for every picture the results have cases for; return those pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = set()
    for theme in THEMES:
        for name, figure in figures(results, theme).items():
            save(figure, folder, name, theme)
            drawn.add(name)
    return [picture for picture in PICTURES if picture.name in drawn]
