"""Unrolled recurrences made layers again: what the matchers of each cell share, and how a match enters the graph.

A matcher (one a cell, in `MATCHERS`) reads the expression of what a state becomes. It only has to be right about
what it finds: each rewrite is run against the nodes it replaces before it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from math import prod

import numpy as np

from ..errors import GraphError
from ..graph import Graph
from . import cell_gru, cell_lstm, cell_rnn
from .algebra import Algebra
from .batches import Parts, Rewrite, applied
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
    waiting = {state: 0 for state in graph.feedback if prod(graph.specs[state].shape) <= LARGEST_STATE}
    while waiting:
        algebra, parts = Algebra(graph), Parts(graph)
        rewrites: list[Rewrite] = []
        later: dict[str, int] = {}
        taken: set[str] = set()  # states and nodes of the rewrites
        for state, refused in waiting.items():
            found = _candidate(algebra, state, refused) if state in graph.feedback else None
            if found is None:
                continue
            later[state] = refused + 1
            rewrite = _rewrite(algebra, found) if taken.isdisjoint(found.states.values()) else None
            if rewrite and rewrite.name not in taken and _proven(parts, algebra, found):
                rewrites.append(rewrite)
                taken |= {rewrite.name, *found.states.values()}
        graph, waiting = applied(graph, rewrites), later
    return graph


def _candidates(algebra: Algebra, state: str) -> Iterator[Match]:
    """The layers whose cell state, or only state, `state` may be."""
    for matcher in MATCHERS:
        yield from matcher(algebra, state)


def _candidate(algebra: Algebra, state: str, number: int) -> Match | None:
    return next(islice(_candidates(algebra, state), number, None), None)


def _proven(parts: Parts, algebra: Algebra, found: Match) -> bool:
    """True if a layer computes what the nodes do that it replaces, cut out of the graph."""
    elements = algebra.elements
    owners = np.unique(elements.owners(found.x)).tolist()
    try:
        local = Algebra(parts.cut(elements.same(found.y), map(elements.owner_name, owners)))
    except GraphError:  # x may be the same at every step, which no layer over time takes
        return False
    return all(s in local.graph.feedback for s in found.states.values()) and any(
        each.states == found.states and type(each.op) is type(found.op) and _replaced(local, each)
        for state in found.states.values()
        for each in _candidates(local, state)
    )


def _replaced(algebra: Algebra, found: Match) -> bool:
    """True if a graph with a layer in the place of what computes its output is the same, and has not its states."""
    rewrite, draft = _rewrite(algebra, found), Draft(algebra.graph)
    try:
        if rewrite is not None:
            rewrite.enter(draft)
        return rewrite is not None and accepted(algebra.graph, draft, rewrite.states) is not None
    except (GraphError, Refused):
        return False


def _rewrite(algebra: Algebra, found: Match) -> Rewrite | None:
    """The change that puts a layer in the place of what computes its output; None where nothing is that."""
    graph, elements = algebra.graph, algebra.elements
    maker, replaced = algebra.maker(found.y), elements.same(found.y)
    if maker is None or not replaced:
        return None
    node = maker[0]
    start = {f"initial_{n}": initial_of(elements.makers[value]) for n, value in found.states.items()}

    def enter(draft: Draft) -> None:
        x = gathered(draft, elements, found.x, (found.x.size,), name=f"{node.name}.x")
        y = draft.succeed(node, found.op.replace(**start), x)
        for value in replaced:
            draft.use(shaped(draft, y, (found.y.size,), graph.specs[value].shape, name=f"{node.name}.y"), of=value)

    return Rewrite(node.name, [*found.states.values()], enter)
