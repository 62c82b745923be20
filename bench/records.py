"""The results of a run as a JSON file, one line per engine: small and readable as a diff.

What a case or an engine has by default is left out, and there again once it is read.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .cases import Case

FORMAT = 3
DIGITS = 5  # significant ones of a time; runs differ by more than a percent
KEYS = {"machine", "versions", "unavailable", "seconds_per_case", "roofline", "cases"}
Results = dict[str, Any]
CASE: dict[str, Any] = json.loads(json.dumps(asdict(Case(""))))
ENTRY = {"threads": 1, "status": "ok"}


def rounded(value: float, digits: int = DIGITS) -> float:
    """Round to significant digits.

    Examples
    --------
    >>> rounded(0.0123456), rounded(251289.4321)
    (0.012346, 251290.0)
    """
    return float(f"{value:.{digits}g}")


def said(error: object) -> str:
    """Return the start of what an error says, on one line."""
    return " ".join(str(error).split())[:200]


def write(results: Results, path: Path) -> None:
    """Write the results to a file."""
    head = [f'"{key}": {_line(value)},' for key, value in results.items() if key != "cases"]
    cases = ",\n".join(_case(case) for case in results["cases"])
    path.write_text("\n".join(["{", *head, '"cases": [', cases, "]", "}"]) + "\n")


def _case(case: dict[str, Any]) -> str:
    facts = _line(_lean({key: value for key, value in case.items() if key != "engines"}, CASE))
    entries = ",\n".join(f"  {_line(name)}: {_line(_lean(entry, ENTRY))}" for name, entry in case["engines"].items())
    return f'{facts[:-1]},"engines":{{\n{entries}\n}}}}' if entries else f'{facts[:-1]},"engines":{{}}}}'


def _lean(given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """Leave out what has its default."""
    return {key: value for key, value in given.items() if key not in usual or _line(value) != _line(usual[key])}


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def read(path: Path) -> Results:
    """Read the results of `write`.

    Raises
    ------
    ValueError
        If the file is not of this format, or lacks a part.
    """
    try:
        results = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must be the JSON that python -m bench writes, got: {error}") from None
    found = results.get("format") if isinstance(results, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path} must be results of format {FORMAT}, got {found!r}: run python -m bench again")
    if missing := sorted(KEYS - results.keys()):
        raise ValueError(f"{path} must have {', '.join(sorted(KEYS))}, got no {', '.join(missing)}")
    for case in results["cases"]:
        case.update({**CASE, **case})
        for entry in case["engines"].values():
            entry.update({**ENTRY, **entry})
    return dict(results)
