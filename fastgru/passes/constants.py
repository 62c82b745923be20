"""Constant folding: nodes that read constants alone are evaluated once, by the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph import Constant, Graph, Node
from ..reference import on_frames
from .editing import Draft

LARGEST_GROWTH = 64 * 2**20  # bytes of float32 that folding may add to what it reads


def fold_constants(graph: Graph) -> Graph:
    """`graph` with the results of nodes that read constants alone in their place, floats rounded to float32."""
    draft, known, growth = Draft(graph), dict[str, Any](), 0
    folded = False
    for node in graph.nodes:
        if isinstance(node.op, Constant):
            known[node.outputs[0]] = node.op.value
        elif node.inputs and all(v in known for v in node.inputs):
            arrays = [known[v] for v in node.inputs]
            made = sum(prod(graph.specs[v].shape) for v in node.outputs)
            more = max(0, 4 * (made - sum(a.size for a in arrays)))
            results = _results(graph, node, arrays) if growth + more <= LARGEST_GROWTH else None
            if results is not None:
                growth += more
                folded = True
                known.update((v, op.value) for v, op in zip(node.outputs, results, strict=True))
                _place(draft, node, results)
    return draft.build() if folded else graph


def _results(graph: Graph, node: Node, arrays: Sequence[Any]) -> list[Constant] | None:
    """Every output as a Constant; None where one is none, or the node fails as it would when the model runs."""
    given = [_typed(a, graph.specs[v].dtype) for a, v in zip(arrays, node.inputs, strict=True)]
    try:
        values = on_frames(node.op, *given)
        return [_constant(y, graph.specs[v].dtype) for y, v in zip(values, node.outputs, strict=True)]
    except GraphError:
        return None


def _typed(array: Any, dtype: str) -> Any:
    return np.asarray(array, dtype={"float": np.float64, "int": np.int64, "bool": np.bool_}[dtype])


def _constant(y: Any, dtype: str) -> Constant:
    if dtype != "float":
        return Constant(y, dtype)
    with np.errstate(over="ignore"):  # what overflows float32 is infinite in the engine too
        return Constant(np.asarray(y, dtype=np.float32))


def _place(draft: Draft, node: Node, results: Sequence[Constant]) -> None:
    """A constant for each output: the first under the node's name."""
    draft.put(replace(node, op=results[0], inputs=(), outputs=node.outputs[:1]))
    for value, op in zip(node.outputs[1:], results[1:], strict=True):
        name = draft.unique(f"{value}.constant")
        draft.put(Node(name, op, (), (value,)))
