"""An imported graph in the engine: the reference's numbers, the same bits in chunks of any length and row by row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastgru import Model, reference
from fastgru.graph import Graph


def check_streamed(graph: Graph, feeds: Mapping[str, Any], *, tolerance: float = 1e-5) -> None:
    """Raise unless the engine follows the reference, whole and streamed."""
    model, steps = Model(graph), {feeds[n].shape[1] for n, spec in graph.inputs.items() if spec.time}
    assert len(steps) == 1, "inputs must have time, and one number of steps"
    (length,) = steps
    rows = next(iter(feeds.values())).shape[0]
    whole = _tuple(model(feeds))
    for got, wanted in zip(whole, reference.run(graph, feeds)[0], strict=True):
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max(initial=0) <= tolerance * max(1.0, float(np.abs(wanted).max(initial=0)))
    for cuts in ([], [1, 4], list(range(1, length))):
        s, parts = model.stream(rows), []
        for a, b in zip([0, *cuts], [*cuts, length], strict=True):
            parts.append(_tuple(s.process({n: x[:, a:b] if graph.inputs[n].time else x for n, x in feeds.items()})))
            s = s.copy()
        parts.append(_tuple(s.flush()))
        for i, wanted in enumerate(whole):
            assert np.array_equal(np.concatenate([p[i] for p in parts], axis=1), wanted)
    alone = _tuple(model({n: x[:1] for n, x in feeds.items()}))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(alone, whole, strict=True))


def _tuple(y: Any) -> tuple[Any, ...]:
    return y if isinstance(y, tuple) else (y,)
