"""Numbers of steps for which a module may go another way than for its example: where its code asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .counting import Place

FEW = range(1, 65)  # numbers of steps that are tried for a condition that is no bound
MOST = 4096  # steps of a sequence that the import is compared for


def other_ways(steps: Any, asked: Mapping[Any, Place]) -> dict[int, str]:
    """Numbers of steps for which conditions of a module's code do not hold, and what it must do for the import's sake.

    Parameters
    ----------
    steps : SymInt or None
        The steps of time, by the exporter: it follows one way through the code, and notes on which conditions.
    asked : mapping of Place or condition to Place
        Where the module's own code asks for a size, by the place that the exporter notes or by what is asked.
    """
    if not isinstance(steps, torch.SymInt) or not steps.node.expr.is_Symbol:
        return {}
    symbol, environment = steps.node.expr, steps.node.shape_env
    hint = int(steps.node.hint)
    bounds = environment.var_to_range.get(symbol)
    ends = [bounds.lower - 1, bounds.upper + 1] if bounds is not None else []
    tried = sorted({*FEW, *(int(n) for n in ends if n.is_Integer and 0 < n <= MOST)}, key=lambda n: abs(n - hint))
    found: dict[int, str] = {}
    for guard in environment.guards:
        noted: Any = getattr(guard.sloc, "framework_loc", None)
        place = asked.get(guard.expr) or asked.get((noted and noted.filename, noted and noted.lineno))
        if guard.expr.free_symbols != {symbol} or place is None:
            continue
        other = next((n for n in tried if guard.expr.subs(symbol, n) == False), None)  # noqa: E712
        if other is not None:
            line = f"line {place[1]} of {Path(place[0]).name}"
            found.setdefault(other, f"forward must go one way for every number of steps, which {line} asks for")
    return found
