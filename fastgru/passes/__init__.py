"""Passes: small pure functions from a Graph to a Graph, one a file, in two groups.

`canonical` changes what a network is made of, the names of its states included: importers apply it at the end.
`fused` changes arithmetic alone: inputs, outputs and states stay, numbers move by rounding. It is applied just before
a graph is packed. A pass that finds nothing to do returns the very graph it was given.

Every model loads the second group; the first is as large again, and is loaded when a graph is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import GraphError
from ..graph import Graph
from .activations import fuse_activations
from .dead import drop_dead_but_states
from .identities import drop_identities
from .products import merge_products
from .scales import fold_scales

__all__ = ["FUSED", "canonical", "fused", "until_stable"]

Pass = Callable[[Graph], Graph]
FUSED: tuple[Pass, ...] = (drop_identities, fold_scales, fuse_activations, merge_products, drop_dead_but_states)
MOST_ROUNDS = 1000


def canonical(graph: Graph) -> Graph:
    """What `graph` computes, in the fewest and largest ops that are recognised.

    Constants are folded, nodes that do nothing or whose result nobody needs are gone, states that are packs of several
    are split, and recurrences that a source wrote out are layers again, which keep their state themselves.

    Examples
    --------
    >>> from fastgru.graph import Dense, Dropout, chain
    >>> canonical(chain([Dense([[1.0]]), Dropout(0.5)], names=["dense", "dropout"]))
    Graph([dense: Dense])
    """
    from .canonical_form import CANONICAL

    return until_stable(graph, CANONICAL)


def fused(graph: Graph) -> Graph:
    """`graph` with arithmetic joined: norms and scales in weights, activations in what they follow.

    Examples
    --------
    >>> from fastgru.graph import Activate, Dense, chain
    >>> fused(chain([Dense([[1.0]]), Activate("tanh")], names=["dense", "tanh"]))
    Graph([dense: Dense])
    """
    return until_stable(graph, FUSED)


def until_stable(graph: Graph, passes: Sequence[Pass]) -> Graph:
    """`graph` after all passes, again and again in their order until none changes it.

    Raises
    ------
    GraphError
        When they never cease to change it.
    """
    for _ in range(MOST_ROUNDS):
        before = graph
        for run in passes:
            graph = run(graph)
        if graph is before:
            return graph
    raise GraphError(f"passes must come to an end within {MOST_ROUNDS} rounds, got a graph that still changes")
