"""States that the body of a Scan or Loop gives as it takes them: for every step they are what they start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import GraphProto, NodeProto


@dataclass(frozen=True)
class Invariants:
    """States of a loop that never change.

    Attributes
    ----------
    states : dict of str to int
        The body's inputs that they are, with their places among the inputs of the loop.
    first : int
        The place of the loop's first state among its inputs.
    before : int
        Outputs of the body before those that are states.
    """

    states: dict[str, int]
    first: int
    before: int

    def rest(self, names: list[str], first: int) -> list[str]:
        """Names of the body's inputs or outputs without those of the invariants; the first state is at `first`."""
        places = {i - self.first + first for i in self.states.values()}
        return [name for i, name in enumerate(names) if i not in places]

    def joined(self, found: list[Any], inputs: list[Any]) -> list[Any]:
        """The outputs of the loop: those of the other states and of every step, and the invariants among them."""
        outputs = list(found)
        for place in sorted(self.states.values()):
            outputs.insert(place - self.first, inputs[place])
        return outputs


def invariants(node: NodeProto, body: GraphProto, sequences: int) -> Invariants:
    """Find the states of a Loop, or of a Scan over some `sequences`, that its body hands on."""
    first, before = (2, 1) if node.op_type == "Loop" else (0, 0)
    count = len(node.input) - first - sequences
    same = {n.output[0]: n.input[0] for n in body.node if n.op_type == "Identity" and n.input and n.output}
    states = {}
    for i in range(count):
        if first + i >= len(body.input) or before + i >= len(body.output):
            break  # the body does not fit, which is said where it is run
        name, value = body.input[first + i].name, body.output[before + i].name
        while value in same:
            value = same[value]
        if value == name:
            states[name] = first + i
    return Invariants(states, first, before)
