"""A state that starts from the first step of a sequence reads the sequence, of which the first step counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from ..errors import GraphError
from ..graph import Activate, Cast, Graph, Node, Recurrent, Reverse, State, Temporal, TimeStep, Where
from .editing import Draft, makers_of

LENGTHS = (5, 16, 33)  # steps of inputs for which two values must have as many


def follow_starts(graph: Graph) -> Graph:
    """`graph` with values that count at a first step alone made step by step, where they follow from first steps.

    The first step of a sequence is only known apart from the others once all of it is there; the sequence is known as
    it comes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Activation, Spec
    >>> once = Activate(Activation("affine", alpha=0.0, beta=1.0))
    >>> nodes = [Node("first", TimeStep(0), ("x",), ("first",)), Node("held", State(np.zeros(2)), (), ("held",)),
    ...          Node("begun", State(np.zeros(())), (), ("begun",)), Node("one", once, ("begun",), ("one",)),
    ...          Node("flag", Cast("bool"), ("begun",), ("flag",)),
    ...          Node("h", Where(), ("flag", "held", "first"), ("h",))]
    >>> old = Graph({"x": Spec((2,))}, nodes, ["h"], {"held": "x", "begun": "one"})
    >>> follow_starts(old).nodes[-1].inputs
    ('flag', 'held', 'x')
    """
    makers = makers_of(graph)
    starts = [node for node in graph.nodes if _starts(graph, makers, node)]
    if not starts:
        return graph
    draft, changed = Draft(graph), False
    lengths = _lengths(graph)
    for node in starts:
        cone = _cone(graph, makers, node.inputs[2])
        if cone is None or any(not _as_long(graph, lengths, leaf, node.outputs[0]) for leaf in cone.values()):
            continue
        following = _made_again(draft, makers, node.inputs[2], cone)
        draft.put(replace(node, inputs=(*node.inputs[:2], following)))
        changed = True
    return draft.build() if changed else graph


def _starts(graph: Graph, makers: Mapping[str, Node], node: Node) -> bool:
    """True for a choice of a value without time at the first step, and of others behind it."""
    if not isinstance(node.op, Where) or graph.specs[node.inputs[2]].time:
        return False
    flag = makers.get(node.inputs[0])
    state = makers.get(flag.inputs[0]) if flag is not None and isinstance(flag.op, Cast) else None
    if state is None or not isinstance(state.op, State) or np.any(state.op.initial):
        return False
    fed = makers.get(graph.feedback[state.outputs[0]])
    shape = getattr(getattr(fed, "op", None), "activation", None)
    constant = fed is not None and isinstance(fed.op, Activate) and getattr(shape, "name", "") == "affine"
    return bool(constant and shape.alpha == 0 and shape.beta)  # type: ignore[union-attr]


def _cone(graph: Graph, makers: Mapping[str, Node], value: str) -> dict[str, str] | None:
    """The first steps that a value follows from, and their sequences; None where it follows from more."""
    found: dict[str, str] = {}
    waiting, seen = [value], set[str]()
    while waiting:
        if (name := waiting.pop()) in seen:
            continue
        seen.add(name)
        node = makers.get(name)
        if (
            node is None
            or isinstance(node.op, State | Reverse)
            or (isinstance(node.op, Recurrent) and not node.op.scan)
        ):
            return None
        if isinstance(node.op, TimeStep) and node.op.index == 0 and graph.specs[node.inputs[0]].time:
            found[name] = node.inputs[0]
        elif isinstance(node.op, Temporal) or any(graph.specs[v].time for v in node.inputs):
            return None
        else:
            waiting += node.inputs
    return found or None


def _lengths(graph: Graph) -> list[dict[str, int]]:
    """The steps of all values for some numbers of steps of the inputs that the graph takes."""
    found = []
    for steps in LENGTHS:
        try:
            found.append(graph.lengths(steps))
        except GraphError:
            continue
    return found


def _as_long(graph: Graph, lengths: Iterable[Mapping[str, int]], first: str, second: str) -> bool:
    known = list(lengths)
    same = graph.bases[first] == graph.bases[second] and all(steps[first] == steps[second] for steps in known)
    return bool(known) and same


def _made_again(draft: Draft, makers: Mapping[str, Node], value: str, cone: Mapping[str, str]) -> str:
    """A value made of the sequences in the place of their first steps."""
    made = dict(cone)
    waiting = [value]
    while waiting:
        node = makers[waiting[-1]]
        missing = [v for v in node.inputs if v not in made] if waiting[-1] not in made else []
        if missing:
            waiting += missing
        elif waiting.pop() not in made:
            inputs = tuple(made[v] for v in node.inputs)
            if inputs == node.inputs:  # which no step changes
                made.update((v, v) for v in node.outputs)
                continue
            outputs = tuple(map(draft.unique, node.outputs))
            draft.put(Node(draft.unique(node.name), node.op, inputs, outputs))
            made.update(zip(node.outputs, outputs, strict=True))
    return made[value]
