"""A step taken from the end at which a recurrence stops becomes all that the recurrence returns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..graph import Concat, Dropout, Graph, Node, Recurrent, Reshape, Slice, TimeStep, Transpose
from .editing import Draft, makers_of, uses_of

MOVES = (Concat, Dropout, Reshape, Slice, Transpose)  # ops that give zeros for zeros: of rows without any step


def take_ends(graph: Graph) -> Graph:
    """`graph` with recurrences that return one step where a TimeStep of that step is all that reads them.

    Moves between the two run behind the step: they then move one step and not all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import RNN, chain
    >>> new = take_ends(chain([RNN(np.ones((2, 3)), np.ones((2, 2))), TimeStep()], names=["rnn", "last"]))
    >>> new, new.nodes[0].op.return_sequences
    (Graph([rnn: RNN]), False)
    """
    makers, uses, draft = makers_of(graph), uses_of(graph), Draft(graph)
    for node in graph.nodes:
        if not isinstance(node.op, TimeStep):
            continue
        (value,) = node.inputs
        maker = makers.get(value)
        if maker is None or uses[value] > 1:
            continue
        if _ends_there(maker, node.op):
            last: Any = maker.op.replace(return_sequences=False)
            draft.use(draft.succeed(maker, last, *maker.inputs), of=node.outputs[0])
        elif isinstance(maker.op, MOVES) and all(graph.specs[v].time for v in maker.inputs):
            steps = [draft.add(node.op, v, name=node.name) for v in maker.inputs]
            draft.put(replace(maker, inputs=tuple(steps)))
            draft.use(value, of=node.outputs[0])
    return draft.build() if draft.changed else graph


def _ends_there(node: Node, step: TimeStep) -> bool:
    """True of a recurrence over time whose final output is that step."""
    op = node.op
    whole = isinstance(op, Recurrent) and not op.scan and op.return_sequences and len(node.inputs) == 1
    return bool(whole and step.index == (0 if op.reverse else -1))  # type: ignore[attr-defined]
