"""The figures of long runs: written by the commands that run them, read by `tests.figures`.

python -m tests.results KIND NAME KEY=VALUE ...     for commands that are no Python
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "testing.json"


def read() -> dict[str, dict[str, Any]]:
    """Kind of run -> name -> figures."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def record(kind: str, name: str, figures: dict[str, object]) -> None:
    """Replace the figures of one run."""
    results = read()
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    results.setdefault(kind, {})[name] = {**rounded, "date": date.today().isoformat()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    kind, name, *pairs = sys.argv[1:]
    record(kind, name, dict(pair.split("=", 1) for pair in pairs))
