"""Look up what a run recorded: for tables and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .cases import PRECISIONS, Section
from .records import Results

OURS = "fastgru"
NAMES = {
    OURS: OURS, "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch", "keras": "Keras",
    "litert": "LiteRT", "tract": "tract", "numpy": "NumPy",
}  # fmt: skip
Entry = dict[str, Any]


def shown(engine: str) -> str:
    """Return the name of an engine for people.

    Examples
    --------
    >>> shown("onnxruntime int8")
    'ONNX Runtime int8'
    """
    family, space, rest = engine.partition(" ")
    return f"{NAMES.get(family, family)}{space}{rest}"


def timed(case: Any) -> dict[str, Entry]:
    """Return the engines of a case whose output was right, by id."""
    return {name: entry for name, entry in case["engines"].items() if entry["status"] == "ok"}


def ours(precision: str) -> str:
    """Return the id of fastgru in a precision."""
    return OURS if precision == "float32" else f"{OURS} {precision}"


def over_floor(entry: Entry) -> float:
    """Return an engine's median over its floor."""
    return float(entry["median_us"] / entry["floor_us"])


def best_peer(case: Any, precisions: Sequence[str] = PRECISIONS, pattern: str = "") -> tuple[str, float] | None:
    """Return the fastest other engine of these precisions whose id matches, and its median; None if there is none."""
    peers = {
        name: entry["median_us"]
        for name, entry in timed(case).items()
        if not name.startswith(OURS) and entry["precision"] in precisions and re.match(pattern, name)
    }
    return min(peers.items(), key=lambda item: item[1]) if peers else None


def describe(case: Any) -> str:
    """Return a case for people: its cell and sizes, or the title of a real model.

    Examples
    --------
    >>> plain = {"title": "", "cell": "gru", "input": 1, "hidden": 32, "steps": 100, "batch": 1, "ragged": None}
    >>> describe(plain)
    'GRU, 1 input, 32 units, 100 steps'
    """
    if case["title"]:
        return str(case["title"])
    parts = [case["cell"].upper()]
    if case["input"] != case["hidden"]:
        parts.append(counted(case["input"], "input"))
    parts.append(counted(case["hidden"], "unit"))
    if case["steps"] > 1 and not case["ragged"]:
        parts.append(counted(case["steps"], "step"))
    if case["batch"] > 1:
        parts.append(f"batch of {case['batch']}")
    return ", ".join(parts)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def number(value: float) -> str:
    """Format with three significant digits at least, thousands apart, without an exponent.

    Examples
    --------
    >>> number(1234.5), number(10.36), number(0.414), number(0.0331)
    ('1,234', '10.4', '0.41', '0.033')
    """
    if value < 0.1:
        return f"{value:.3f}"
    return f"{value:,.{max(0, 2 - len(str(int(value))) + 1)}f}"


def case_named(results: Results, name: str) -> Any:
    """Return a case by its name; None if it was not run."""
    return next((case for case in results["cases"] if case["name"] == name), None)


class Row(NamedTuple):
    """One line of a section: a case in a precision, and what fastgru is compared with there."""

    case: Any
    precision: str
    mine: Entry  # of fastgru
    engine: str  # what it is compared with
    peer_us: float

    @property
    def peer(self) -> str:
        """The other for people."""
        return "fastgru, one thread" if self.engine == OURS else shown(self.engine)

    @property
    def ratio(self) -> float:
        """The other's time over fastgru's."""
        return float(self.peer_us / self.mine["median_us"])


def rows(section: Section, results: Results) -> Iterator[Row]:
    """Yield the lines of a section that were measured.

    float32 is compared with float32, a smaller precision with engines of any, two threads with one.
    """
    cases = {case["name"]: case for case in results["cases"]}
    for name in section.cases:
        for precision in section.precisions:
            row = compared(cases[name], precision, section.peers) if name in cases else None
            if row is not None:
                yield row


def compared(case: Any, precision: str, peers: str = "") -> Row | None:
    """Return a case in a precision beside what it is compared with; None if either was not measured."""
    engines, threads = timed(case), case["threads"]
    mine = engines.get(f"{OURS} {threads} threads" if threads > 1 else ours(precision))
    if threads > 1:
        one = engines.get(OURS)
        return Row(case, precision, mine, OURS, one["median_us"]) if mine and one else None
    peer = best_peer(case, ["float32"] if precision == "float32" else PRECISIONS, peers)
    return Row(case, precision, mine, *peer) if mine and peer else None
