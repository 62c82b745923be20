"""Bases of time: which inputs must have one number of steps, since values made of them meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .spec import Spec

if TYPE_CHECKING:
    from .graph import Node

MOST = 6  # names in a message


def steps_differ(what: str, counts: Mapping[str, int]) -> str:
    """Return the message about values that must have one number of steps, where `counts` says how many each has.

    Examples
    --------
    >>> steps_differ("inputs of node 'add'", {"fast": 16, "slow": 8, "slower": 8})
    "inputs of node 'add' must have one number of steps, got 8 of 'slow', 'slower' and 16 of 'fast'"
    """
    told = []
    for count in sorted(set(counts.values())):
        names = [repr(name) for name, steps in counts.items() if steps == count]
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        told.append(f"{count} of {', '.join(names[:MOST])}{more}")
    return f"{what} must have one number of steps, got {' and '.join(told)}"


def bases(
    inputs: Mapping[str, Spec], nodes: Sequence[Node], specs: Mapping[str, Spec], feedback: Mapping[str, str]
) -> dict[str, int]:
    """Return for every value with time the number of its base, counted in the order of the inputs.

    Values that meet at a node, or in a state, share one. An encoder and a decoder that starts from the encoder's last
    state have two, and with them numbers of steps of their own. What follows no input, as what a state counts by
    itself, has the first.
    """
    timed = [name for name, spec in inputs.items() if spec.time]
    if len(timed) < 2:
        return {name: 0 for name, spec in specs.items() if spec.time}
    above = {name: name for name, spec in specs.items() if spec.time}

    def root(name: str) -> str:
        while above[name] != name:
            above[name] = name = above[above[name]]
        return name

    for node in nodes:
        fed = [feedback[value] for value in node.outputs if value in feedback]
        first, *others = [v for v in (*node.inputs, *node.outputs, *fed) if v in above] or [""]
        for other in others:
            above[root(other)] = root(first)
    numbers: dict[str, int] = {}
    for name in timed:
        numbers.setdefault(root(name), len(numbers))
    return {name: numbers.get(root(name), 0) for name in above}
