"""Feedback: which nodes lie in loops through states, and whether states are fed what they can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .spec import Spec
from .tensor import State

if TYPE_CHECKING:
    from .graph import Node

Links = dict[str, list[str]]  # node -> nodes


def _reached(start: str, links: Links) -> set[str]:
    """All nodes at the end of one or more links from `start`."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in links[waiting.pop()]:
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def loops(nodes: Sequence[Node], feedback: Mapping[str, str]) -> tuple[tuple[Node, ...], ...]:
    """The sets of nodes of which each makes, steps later, what all of a set read; in execution order.

    A state that is only a delay, fed by what does not depend on it, is in none.
    """
    makers = {value: node.name for node in nodes for value in node.outputs}
    behind: Links = {}
    ahead: Links = {node.name: [] for node in nodes}
    for node in nodes:
        reads = [*node.inputs, *(feedback[v] for v in node.outputs if v in feedback)]
        behind[node.name] = [makers[v] for v in reads if v in makers]
        for maker in behind[node.name]:
            ahead[maker].append(node.name)
    found: list[tuple[Node, ...]] = []
    placed: set[str] = set()
    for value in feedback:
        if (state := makers[value]) not in placed:
            members = _reached(state, behind) & _reached(state, ahead)
            placed |= members
            found.append(tuple(node for node in nodes if node.name in members))
    return tuple(members for members in found if members)


def problems(nodes: Sequence[Node], specs: Mapping[str, Spec], feedback: Mapping[str, str]) -> list[str]:
    """What is wrong with the feedback of a graph whose nodes and specs are sound."""
    states = [value for node in nodes if isinstance(node.op, State) for value in node.outputs]
    found = [f"feedback must name a value for the state {v!r}, got none" for v in states if v not in feedback]
    found += [f"feedback must be of a State node, got {v!r}" for v in feedback if v not in states]
    known = {v: source for v, source in feedback.items() if v in states}
    found += _unfit(known, specs)
    return found or [
        f"node {node.name!r} must give step t of the steps up to t, as it lies in a feedback loop, got {node.op!r}"
        for members in loops(nodes, known)
        for node in members
        if not node.op.stepwise
    ]


def _unfit(feedback: Mapping[str, str], specs: Mapping[str, Spec]) -> Iterable[str]:
    for state, source in feedback.items():
        if source not in specs:
            yield f"feedback of {state!r} must be a value of the graph, got {source!r}"
        elif specs[source] != specs[state]:
            yield f"feedback of {state!r} must be {specs[state]}, got {source!r} of {specs[source]}"
