"""The report: one page of HTML that shows what a model does with an input, readable without a network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from .._names import counted
from . import report_sections as sections
from .report_drawing import drawing
from .report_page import STYLE
from .report_seen import Seen, look

if TYPE_CHECKING:
    from ..model import Model

MOST_BYTES = 500_000  # of a page
COLUMNS = (600, 400, 240, 120)  # of heat maps: the next fewer where a page is too large


def report(
    model: Model,
    x: Any,
    *,
    title: str = "model",
    source: str = "input",
    row: int = 0,
    name: str | None = None,
    step: int | None = None,
    unit: Any = None,
    method: str | None = None,
) -> str:
    """Return a page of HTML that shows what a model does with an input.

    It shows the network, the gates of every recurrent layer over time above the input, how often gates are closed and
    open, how long units remember, the input's part in an output, and the units that move most. It needs no other file,
    no network and no script, and has at most 500 kB: long sequences and wide layers are reduced, and it says how.

    Parameters
    ----------
    model : Model
    x : (T, I) or (B, T, I) array; ids: (T,) or (B, T)
        As a call of the model takes it.
    title, source : str
        What the page calls the model and the input.
    row : int
        The sequence of a batch whose gates are drawn; shares and half-lives are of all.
    name, step, unit, method
        The output to explain, as for `fastgru.inspect.attribute`: the largest unit of the first output at the last
        step when omitted, by integrated gradients.

    Raises
    ------
    ValueError, TypeError
        When an argument does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru import Model
    >>> from fastgru.layers import GRU
    >>> model = Model([GRU(np.ones((12, 3)), np.ones((12, 4)))])
    >>> report(model, np.zeros((9, 3), np.float32)).startswith("<!doctype html>")
    True
    """
    return page(look(model, x, row=row, name=name, step=step, unit=unit, method=method), title, source)


def page(seen: Seen, title: str, source: str) -> str:
    """Return the page of what was seen, with as many columns as fit."""
    for columns in COLUMNS:
        text = _page(seen, title, source, columns)
        if len(text.encode()) <= MOST_BYTES:
            break
    return text


def _page(seen: Seen, title: str, source: str, columns: int) -> str:
    size = sections.Size.of(seen, columns)
    svg, left_out = drawing(seen.graph)
    body = [
        f"<header><h1>{escape(title)}</h1><p>{_opening(seen, source)}</p></header>",
        _section("network", "The network", f'<div class="scroll">{svg}</div><p class="note">{left_out}</p>', _NETWORK),
        *(_section(f"layer-{i}", *part) for i, part in enumerate(sections.layers(seen, size))),
        _section("saturation", "How often gates are shut or open", *sections.saturation(seen)),
        _section("memory", "How long units remember", *sections.memory(seen)),
        _section("attribution", "What the output owes to the input", *sections.attribution(seen, size)),
        _section("active", "The units that move most", *sections.active(seen, size)),
        f"<footer><p>{_CLOSING}</p></footer>",
    ]
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: a look inside</title><style>{STYLE}</style></head><body><main>"
    )
    return head + "\n".join(filter(None, body)) + "</main></body></html>\n"


def _section(key: str, heading: str, figure: str, text: str) -> str:
    """Return a section: a heading, what its figure shows in words, the figure; nothing where there is no figure."""
    if not figure:
        return ""
    return f'<section id="{key}"><h2>{escape(heading)}</h2><p>{text}</p>{figure}</section>'


def _opening(seen: Seen, source: str) -> str:
    """Say what was run."""
    shapes = ", ".join(f"{n} {tuple(a.shape)}" for n, a in seen.inputs.items())
    timed = [len(a) for n, a in seen.inputs.items() if seen.graph.inputs[n].time]
    steps = f" of {counted(timed[0], 'step')}" if timed else ""
    whole = f"sequence {seen.row} of the {seen.rows} in" if seen.rows > 1 else "the sequence in"
    shown = f"{len(seen.layers)} recurrent layer{'' if len(seen.layers) == 1 else 's'}"
    others = " Shares and half-lives are over all sequences." if seen.rows > 1 else ""
    return (
        f"This page shows what happens inside of the network while it runs over {whole} <b>{escape(source)}</b>"
        f"{steps} ({escape(shapes)}): {shown}, gates and states as they were computed.{others}"
    )


_NETWORK = (
    "Data flows from top to bottom. Blue boxes are recurrent layers, which keep a state from step to step; green ones "
    "have weights; a dashed line is a value that comes back one step later."
)
_CLOSING = (
    "Made by <code>fastgru inspect</code>. Gates and states are those of the engine that runs the model, in its own "
    "precision. Attributions are of its float64 reference, with the weights as they are rounded."
)

__all__ = ["report"]


def __dir__() -> list[str]:
    return __all__
