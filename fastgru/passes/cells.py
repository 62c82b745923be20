"""Unrolled recurrences made layers again: what the matchers of each cell share, and how a match enters the graph.

A matcher (one a cell, in `MATCHERS`) reads the expression of what a state becomes. It only has to be right about
what it finds: each rewrite is run against the nodes it replaces before it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod

from ..errors import GraphError
from ..graph import Graph
from . import cell_gru, cell_lstm, cell_rnn
from .algebra import Algebra
from .editing import Draft
from .forms import Match
from .gathering import Refused, gathered, shaped
from .streaming import accepted, initial_of

MATCHERS: Sequence[Callable[[Algebra, str], Iterable[Match]]] = (cell_lstm.match, cell_gru.match, cell_rnn.match)

LARGEST_STATE = 2**12  # elements: the matrices of an LSTM of as many units are half a gigabyte each


def recover_cells(graph: Graph) -> Graph:
    """`graph` with cells written out in arithmetic, whose states are fed back, as recurrent layers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Activate, Add, Dense, GraphBuilder, Spec, State
    >>> b = GraphBuilder()
    >>> x, h = b.input("x", Spec((3,))), b.add(State(np.zeros(2)), name="h")
    >>> total = b.add(Add(), b.add(Dense(np.ones((2, 3))), x), b.add(Dense(np.eye(2)), h))
    >>> y = b.add(Activate("tanh"), total, name="y")
    >>> recover_cells(b.build(y, feedback={h: y}))
    Graph([y: RNN])
    """
    algebra = Algebra(graph) if graph.feedback else None
    for state in graph.feedback:
        if algebra and state in algebra.graph.feedback and prod(graph.specs[state].shape) <= LARGEST_STATE:
            new = _recovered(algebra, state)
            algebra = Algebra(new) if new else algebra
    return algebra.graph if algebra else graph


def _recovered(algebra: Algebra, state: str) -> Graph | None:
    """The graph with a layer whose cell state, or only state, `state` was."""
    for matcher in MATCHERS:
        for found in matcher(algebra, state):
            new = _entered(algebra, found)
            if new is not None:
                return new
    return None


def _entered(algebra: Algebra, found: Match) -> Graph | None:
    """The graph with a layer in the place of what computes its output; None where that is not the same, or not all."""
    graph, elements = algebra.graph, algebra.elements
    draft = Draft(graph)
    maker = algebra.maker(found.y)
    replaced = elements.same(found.y)
    if maker is None or not replaced:
        return None
    name = maker[0].name
    start = {f"initial_{n}": initial_of(graph, value) for n, value in found.states.items()}
    try:
        x = gathered(draft, elements, found.x, (found.x.size,), name=f"{name}.x")
        y = draft.succeed(maker[0], found.op.replace(**start), x)
        for value in replaced:
            draft.use(shaped(draft, y, (found.y.size,), graph.specs[value].shape, name=f"{name}.y"), of=value)
        return accepted(graph, draft, found.states)
    except (GraphError, Refused):  # x may be the same at every step, which no layer over time takes
        return None
