"""Feedback: which nodes lie in loops through states, and whether states are fed what they can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .spec import Spec
from .tensor import State

if TYPE_CHECKING:
    from .graph import Node

Links = dict[str, list[str]]  # node -> nodes


def _components(links: Links) -> list[list[str]]:
    """The sets of nodes that all reach each other, each node in one (Tarjan, doi:10.1137/0201010)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}  # in order of discovery
    lowest: dict[str, int] = {}  # of what a node reaches and no set has yet
    open_: dict[str, None] = {}  # nodes in no set yet, in order
    for start in links:
        trail = [] if start in number else [(start, iter(links[start]))]
        while trail:
            name, following = trail[-1]
            if name not in number:
                number[name] = lowest[name] = len(number)
                open_[name] = None
            for other in following:
                if other not in number:
                    trail.append((other, iter(links[other])))
                    break
                if other in open_:
                    lowest[name] = min(lowest[name], number[other])
            else:
                trail.pop()
                if trail:
                    lowest[trail[-1][0]] = min(lowest[trail[-1][0]], lowest[name])
                if lowest[name] == number[name]:
                    found.append(_taken(open_, name))
    return found


def _taken(open_: dict[str, None], last: str) -> list[str]:
    """Take names from the end, down to `last`."""
    taken: list[str] = []
    while not taken or taken[-1] != last:
        taken.append(open_.popitem()[0])
    return taken


class Unit(NamedTuple):
    """Nodes that are evaluated together, in execution order: those of a feedback loop, or one alone."""

    nodes: tuple[Node, ...]
    is_loop: bool


def units(nodes: Sequence[Node], feedback: Mapping[str, str]) -> list[Unit]:
    """All nodes, each unit behind those whose values it reads or is fed.

    A state that is only a delay, fed by what does not depend on it, is in no loop.
    """
    if not feedback:
        return [Unit((node,), False) for node in nodes]
    makers = {value: node.name for node in nodes for value in node.outputs}
    behind: Links = {}
    for node in nodes:
        reads = [*node.inputs, *(feedback[v] for v in node.outputs if v in feedback)]
        behind[node.name] = [makers[v] for v in reads if v in makers]
    place = {node.name: i for i, node in enumerate(nodes)}
    return [
        Unit(
            tuple(nodes[i] for i in sorted(map(place.__getitem__, names))),
            len(names) > 1 or names[0] in behind[names[0]],
        )
        for names in _components(behind)
    ]


def loops(nodes: Sequence[Node], feedback: Mapping[str, str]) -> tuple[tuple[Node, ...], ...]:
    """The sets of nodes of which each makes, steps later, what all of a set read; in execution order."""
    return tuple(unit.nodes for unit in units(nodes, feedback) if unit.is_loop) if feedback else ()


def problems(nodes: Sequence[Node], specs: Mapping[str, Spec], feedback: Mapping[str, str]) -> list[str]:
    """What is wrong with the feedback of a graph whose nodes and specs are sound."""
    states = {value: None for node in nodes if isinstance(node.op, State) for value in node.outputs}
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
