"""The sections of the report: a figure each, and the words that a reader needs to understand it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._names import counted
from .profiles import GATES
from .report_figures import bars, binned, curves, data_uri, enveloped, heat, number, points
from .report_seen import Explained, Layer, Seen

Array = NDArray[Any]
DRAWN = 8  # layers whose gates are drawn
LINES = 6  # units or features as curves
TOKENS, ALIGNED = 80, 40  # ids that are shown as text, and those that stand under their columns
NAMED = 6  # layers in a sentence
BARS = 8  # doublings of a half-life
PIXELS = 200_000  # of all heat maps together
MOST_ROWS, FEWEST_ROWS = 64, 12  # units in a heat map

MEANING = {
    ("GRU", "update"): "near {keep} the unit keeps its state, near {take} it takes the candidate instead",
    ("GRU", "reset"): "near 0 the candidate is made without the state, near 1 with all of it",
    ("GRU", "candidate"): "what the unit would take over, from -1 to 1",
    ("GRU", "output"): "the share of the state that the unit shows",
    ("LSTM", "input"): "near 1 the unit writes the candidate into its cell",
    ("LSTM", "forget"): "near 1 the cell keeps what it holds, near 0 it forgets it",
    ("LSTM", "candidate"): "what the unit would write, from -1 to 1",
    ("LSTM", "output"): "near 1 the unit shows what its cell holds",
    ("LSTM", "cell"): "what the unit holds",
}


class Size(NamedTuple):
    """How large heat maps may be."""

    columns: int
    rows: int

    @classmethod
    def of(cls, seen: Seen, columns: int) -> Size:
        """Share the pixels of a page among its heat maps."""
        maps = sum(len(layer.parts) for layer in seen.layers[:DRAWN]) + 2 * len(seen.inputs)
        steps = max([len(layer.hidden) for layer in seen.layers] or [columns])
        rows = PIXELS // (max(1, maps) * min(columns, steps))
        return cls(columns, min(MOST_ROWS, max(FEWEST_ROWS, rows)))


# Rows over time --------------------------------------------------------------------------------------


def _row(label: str, note: str, figure: str) -> str:
    return f'<div class="row"><div>{escape(label)} <small>{note}</small></div><div>{figure}</div></div>'


def _map(values: Array, largest: float, size: Size, label: str) -> str:
    """A heat map of (T, rows)."""
    image = heat(binned(values, size.columns).T, largest)
    height = min(12.0, max(1.5, (0.9 if values.shape[1] <= LINES else 0.28) * values.shape[1]))
    return f'<img style="height:{height:.1f}rem" alt="{escape(label)}" src="{data_uri(image)}">'


def _key(signed: bool, largest: float) -> str:
    """The key of a heat map's colours."""
    if signed:
        top = number(largest)
        return f'<span class="scale">-{top}<span class="key two"></span>{top}</span>'
    return f'<span class="scale">0<span class="key one"></span>{number(largest)}</span>'


def _axis(steps: int, first: int = 0) -> str:
    """The steps under a figure over time."""
    marks = sorted({first + round(i * (steps - 1) / 4) for i in range(5)}) if steps > 1 else [first]
    words = [f"step {marks[0]:,}", *(f"{m:,}" for m in marks[1:])]
    return _row("", "", f'<div class="axis">{"".join(f"<span>{w}</span>" for w in words)}</div>')


def _input(name: str, values: Array, size: Size, dtype: str) -> str:
    """An input under the gates."""
    if dtype != "float" and values.ndim == 1:
        if dtype == "int" and len(values) <= TOKENS:
            return _row(f"input {name}", "ids, in order", _ids([f"<span>{int(v)}</span>" for v in values]))
        line = enveloped(values.astype(np.float64), 2 * size.columns)
        low, high = float(line.min()), float(line.max())
        note = f"ids {low:.0f} to {high:.0f}" if dtype == "int" else "true above, false below"
        return _row(f"input {name}", note, curves([line], low, high, f"input {name}"))
    flat = values.reshape(len(values), -1).astype(np.float64)
    if flat.shape[1] <= LINES:
        lines = [enveloped(flat[:, i], size.columns) for i in range(flat.shape[1])]
        low, high = float(flat.min()), float(flat.max())
        note = f"{number(low)} to {number(high)}" + _legend(range(flat.shape[1]), flat.shape[1])
        return _row(f"input {name}", note, curves(lines, low, high, f"input {name} over time"))
    shown = binned(flat.T, size.rows).T
    least = "" if shown.shape[1] == flat.shape[1] else f", neighbours averaged to {shown.shape[1]} rows"
    largest = float(np.abs(shown).max())
    note = f"{flat.shape[1]} features, the first on top{least}<br>{_key(True, largest)}"
    return _row(f"input {name}", note, _map(shown, largest, size, f"input {name} over time"))


def _ids(spans: Sequence[str]) -> str:
    """Ids as text: each under its column where there are few."""
    flat = f' flat" style="--n:{len(spans)}' if len(spans) <= ALIGNED else ""
    return f'<div class="ids{flat}">{"".join(spans)}</div>'


def _legend(units: Sequence[int], count: int, what: str = "") -> str:
    if count < 2:
        return ""
    dot = '<span class="named"><span class="dot" style="background:var(--c{})"></span>{}{}</span> '
    dots = "".join(dot.format(i % LINES, what, unit) for i, unit in enumerate(units))
    return f"<br>{dots}"


def _inputs(seen: Seen, size: Size) -> str:
    """All inputs with time, and their steps."""
    timed = {n: a for n, a in seen.inputs.items() if seen.graph.inputs[n].time}
    rows = [_input(n, a, size, seen.graph.inputs[n].dtype) for n, a in timed.items()]
    return "".join(rows) + (_axis(len(next(iter(timed.values())))) if timed else "")


# Sections --------------------------------------------------------------------------------------------


def layers(seen: Seen, size: Size) -> Iterator[tuple[str, str, str]]:
    """Each recurrent layer: heading, figure, words."""
    for layer in seen.layers[:DRAWN]:
        rows = [_part(layer, part, size) for part in layer.parts]
        figure = "".join(rows) + _inputs(seen, size) + _reduced(layer, size)
        half = layer.half_lives()
        text = (
            f"Each row of a map is one of the layer's {counted(layer.units, 'unit')}, each column a step, from left to "
            "right; what came in at that step is under it. The stronger the colour, the larger the number: blue above "
            f"zero, orange below.{' Units that remember longest are on top.' if half is not None else ''}"
            f"{' This layer runs from the last step to the first.' if layer.backwards else ''}"
        )
        gates = len(layer.parts) > 1
        yield f"{layer.name}: {f'gates and state of the {layer.kind}' if gates else 'its state'}", figure, text
    if len(seen.layers) > DRAWN:
        left = ", ".join(layer.name for layer in seen.layers[DRAWN : DRAWN + NAMED])
        figure = f'<p class="note">{len(seen.layers) - DRAWN} more: {escape(left)}</p>'
        yield "Further recurrent layers", figure, "Their gates are not drawn here; the figures below count them too."


def _part(layer: Layer, part: str, size: Size) -> str:
    """The heat map of a gate or a state."""
    shown = layer.parts[part][:, layer.order(part, size.rows)].astype(np.float64)
    gate = part in GATES
    largest = 1.0 if gate else float(np.abs(shown).max()) or 1.0
    keep, take = (1, 0) if layer.keeps == "update" else (0, 1)
    words = MEANING.get((layer.kind, part), "").format(keep=keep, take=take)
    note = f"{words}<br>{_key(not gate, largest)}" if words else _key(not gate, largest)
    title = "state" if part == "hidden" else part + (" gate" if gate else "")
    return _row(title, note, _map(shown, largest, size, f"{title} of {layer.name} over time"))


def _reduced(layer: Layer, size: Size) -> str:
    """Say how heat maps were reduced."""
    said, steps = [], len(layer.hidden)
    if size.rows < layer.units:
        said.append(f"Of {layer.units} units the {size.rows} that move most are drawn.")
    if steps > size.columns:
        said.append(f"Each column is the mean of about {steps / size.columns:.3g} of the {steps:,} steps.")
    return f'<p class="note">{" ".join(said)}</p>' if said else ""


def _panels(panels: Sequence[tuple[str, str, str]]) -> str:
    """Figures side by side, each with a title and a few words."""
    drawn = [f"<figure><figcaption><b>{escape(t)}</b><br>{w}</figcaption>{svg}</figure>" for t, w, svg in panels]
    return f'<div class="panels">{"".join(drawn)}</div>' if drawn else ""


def saturation(seen: Seen) -> tuple[str, str]:
    """How often gates are shut and open."""
    panels = []
    for layer in seen.layers:
        below, above = (layer.profile.below, layer.profile.above) if layer.profile else ({}, {})
        for gate in below:
            title, shut, wide = f"{layer.name}, {gate} gate", below[gate], above[gate]
            words = f"shut {shut.mean():.0%} of the time, open {wide.mean():.0%}"
            panels.append((title, words, points(shut, wide, "shut: share below 0.1", "open: share above 0.9", title)))
        if "forget" in layer.means and "input" in layer.means:
            title = f"{layer.name}, forget against input"
            words = "top left: units that hold what they have; bottom right: units that follow the input"
            kept, taken = layer.means["forget"], layer.means["input"]
            panels.append(
                (title, words, points(taken, kept, "mean of the input gate", "mean of the forget gate", title))
            )
    text = (
        "A gate is a number between 0 and 1 for each unit and step. Each point is a unit: how far right it lies says "
        "how often its gate was shut (below 0.1), how far up how often it was open (above 0.9). Points at the bottom "
        "left are gates that stay half open; points near the line are nearly always either shut or open. Larger points "
        "are several units in one place. Plots of this kind are from Karpathy, Johnson and Fei-Fei 2015, "
        "arXiv:1506.02078."
    )
    return _panels(panels), text


def memory(seen: Seen) -> tuple[str, str]:
    """Half-lives of units."""
    panels = []
    for layer in seen.layers:
        half = layer.half_lives()
        if half is None:
            continue
        ends = half[np.isfinite(half)]
        last = math.ceil(math.log2(max(4.0, float(ends.max())))) if ends.size else BARS
        edges = [2.0**i for i in range(min(last, BARS) + 1)]
        counts = np.bincount(np.searchsorted(edges, half, side="right"), minlength=len(edges) + 1).tolist()
        names = ["<1", *(f"{edge:.0f}" for edge in edges[:-1]), f"{edges[-1]:.0f}+"]
        longest = int(np.argmax(half))
        words = f"the unit in the middle: {number(float(np.median(half)))} steps; the longest, unit {longest}: "
        words += number(float(half[longest]))
        panels.append((layer.name, words, bars(counts, names, f"half-lives of the units of {layer.name}")))
    text = (
        "At each step a gate decides which share of a unit's state is kept. From the mean of that share follows a "
        "half-life: after so many steps half of what the unit held is left, as far as that gate alone decides. Bars "
        "count units. A half-life longer than the input is a guess."
    )
    return _panels(panels), text


def attribution(seen: Seen, size: Size) -> tuple[str, str]:
    """The input's part in an output."""
    found = seen.explained
    if isinstance(found, str):
        return (
            f'<p class="note">{escape(found)}</p>',
            "This figure would show what each number of the input contributed to.",
        )
    figure = []
    for name, values in found.inputs.items():
        spec = seen.graph.inputs[name]
        if spec.dtype == "bool":
            continue
        x = seen.inputs[name][found.first :] if spec.time else seen.inputs[name][None]
        x = x[: len(values)] if spec.time else x
        figure += _attributed(name, values if spec.time else values[None], x, size, spec.dtype, spec.time)
        if spec.time:
            figure.append(_axis(len(values), found.first))
    return "".join(figure), _told(seen, found)


def _attributed(name: str, values: Array, x: Array, size: Size, dtype: str, timed: bool) -> list[str]:
    flat = values.reshape(len(values), -1)
    shown = binned(flat.T, size.rows).T * (flat.shape[1] / min(size.rows, flat.shape[1]))
    largest = float(np.abs(shown).max()) or 1.0
    label = f"part of input {name} in the output"
    if dtype == "int" and flat.shape[1] == 1 and len(flat) <= TOKENS:
        tokens = [_token(int(i), float(v) / largest) for i, v in zip(x.reshape(-1), flat[:, 0], strict=True)]
        return [_row(f"input {name}", f"ids, in order<br>{_key(True, largest)}", _ids(tokens))]
    rows = f"{flat.shape[1]} features" if flat.shape[1] > 1 else ""
    note = f"{rows}<br>{_key(True, largest)}" if rows else _key(True, largest)
    found = [_row(f"part of {name}", note, _map(shown, largest, size, label))]
    if timed:
        each = flat.sum(axis=1)
        line = enveloped(each, size.columns)
        low, high = min(0.0, float(line.min())), max(0.0, float(line.max()))
        found.append(
            _row(
                "sum of each step" if rows else "the same as a curve",
                f"{number(low)} to {number(high)}",
                curves([line], low, high, label),
            )
        )
    if timed:
        found.append(_input(name, x, size, dtype))
    return found


def _token(identity: int, share: float) -> str:
    ink = "var(--above)" if share > 0 else "var(--below)"
    part = f"color-mix(in srgb,{ink} {abs(share) * 70:.0f}%,transparent)"
    return f'<span style="background:{part}">{identity}</span>'


METHODS = {
    "gradient": "how fast the output changes with each number of the input: raise it where it is blue, and it rises",
    "integrated_gradients": "how much each number of the input adds to the output, compared with an input of zeros",
    "lrp": "how the output divides among the numbers of the input; what belongs to biases is not drawn",
}


def _told(seen: Seen, found: Explained) -> str:
    """Say what was explained, and what it adds up to."""
    spec, parts = seen.graph.specs[found.name], found.parts
    unit = found.unit[0] if len(found.unit) == 1 else found.unit
    where = f"unit {unit} of " if found.unit and math.prod(spec.shape) > 1 else ""
    at = f" at step {found.step:,}" if spec.time else ""
    said = [
        f"The map shows {METHODS[found.method]}. Explained is {where}the output <b>{escape(found.name)}</b>{at}, which "
        f"is {number(float(parts.output[0]))}. Blue speaks for it, orange against."
    ]
    if found.method == "integrated_gradients":
        total = float(parts.output[0] - parts.baseline[0])
        said.append(
            f"For an input of zeros it is {number(float(parts.baseline[0]))}; all numbers of the map sum to the "
            f"difference, {number(total)}, but for {abs(float(parts.gap[0])):.0e}."
        )
    if found.method == "lrp":
        biases = float(sum(a[0] for a in parts.biases.values()))
        said.append(f"Biases account for {number(biases)} of it.")
    if found.first:
        said.append(
            f"Only the last steps, from {found.first:,} on, are explained; the state before them is taken as given."
        )
    return " ".join(said)


def active(seen: Seen, size: Size) -> tuple[str, str]:
    """The units whose state moves most."""
    rows = []
    for layer in seen.layers[:DRAWN]:
        spread = layer.activity()
        top = np.argsort(-spread, kind="stable")[:LINES]
        lines = [enveloped(layer.hidden[:, u].astype(np.float64), size.columns) for u in top]
        low, high = float(min(map(np.min, lines))), float(max(map(np.max, lines)))
        share = spread[top].sum() / spread.sum() if spread.sum() else 0.0
        still = int(layer.profile.constant.sum()) if layer.profile else 0
        note = f"{number(low)} to {number(high)}{_legend([int(u) for u in top], 2, 'unit ')}"
        rows.append(_row(layer.name, note, curves(lines, low, high, f"the most active units of {layer.name}")))
        words = f"{counted(len(top), 'unit')} of {layer.units} make {share:.0%} of all movement"
        words += f"; {counted(still, 'unit')} never {'moves' if still == 1 else 'move'}" if still else ""
        rows.append(_row("", "", f'<span class="scale">{words}.</span>'))
    text = (
        "The states of the units that change most over time, as curves above the input. A unit that rises when "
        "something happens in the input is a good place to look."
    )
    return "".join(rows) + _inputs(seen, size) if rows else "", text
