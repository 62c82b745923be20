"""Two graphs held against each other by the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru import reference
from fastgru.graph import Graph

BATCH, STEPS = 2, 12


def feeds(graph: Graph, seed: int = 3, steps: int = STEPS) -> dict[str, Any]:
    """Random inputs: normal numbers, or integers and bools of 0 and 1."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, spec in graph.inputs.items():
        shape = (BATCH, *[steps] * spec.time, *spec.shape)
        found[name] = rng.normal(size=shape) if spec.dtype == "float" else rng.integers(0, 2, size=shape)
    return found


def same(old: Graph, new: Graph, rtol: float = 1e-12, steps: int = STEPS) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both give the same under the same names, to `rtol` of the largest; returns the final states of both."""
    assert new.inputs == old.inputs
    assert new.outputs == old.outputs
    given = feeds(old, steps=steps)
    (before, first), (after, last) = reference.run(old, given), reference.run(new, given)
    for name, a, b in zip(old.outputs, before, after, strict=True):
        assert old.specs[name] == new.specs[name]
        np.testing.assert_allclose(b, a, rtol=0, atol=rtol * np.abs(a).max(initial=0.0), err_msg=name)
    return first, last


def kinds(graph: Graph) -> dict[str, int]:
    """Count the nodes of each op."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        found[type(node.op).__name__] = found.get(type(node.op).__name__, 0) + 1
    return found
