"""A graph as `lower` makes it, which shows gates, states and values on the way: the same instructions, the same bits.

Recurrent layers become `Traced`, whose arithmetic is theirs; what they show and other values become further outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import graph as g
from .codes import PHASE_GATES, SHOWN
from .instructions import Buffer, Recurrent, Traced
from .lower import Lowered, Lowerer
from .rows import LOWERINGS, Between
from .views import View, contiguous

NAMES = {  # of the gates of a cell, by their letters in `graph.dialects`
    "rnn": {}, "gru": {"z": "update", "r": "reset", "n": "candidate", "o": "output"},
    "lstm": {"i": "input", "f": "forget", "g": "candidate", "o": "output"},
}  # fmt: skip


def parts(op: g.Recurrent) -> dict[str, int]:
    """Return the gates and states that a layer can show, by their names in the order of the field, and their codes.

    Examples
    --------
    >>> import numpy as np
    >>> list(parts(g.LSTM(np.ones((16, 3)), np.ones((16, 4)))))
    ['input', 'forget', 'candidate', 'output', 'cell', 'hidden']
    """
    order = g.dialects.CANONICAL[op.cell]
    if isinstance(op, g.GRU) and not op.reset_after:  # the candidate is a phase of its own
        codes = {gate: i for i, gate in enumerate(order.replace("n", ""))} | {"n": PHASE_GATES}
    else:
        codes = {gate: i for i, gate in enumerate(order)}
    if isinstance(op, g.LSTM) and op.coupled:
        codes["f"] = SHOWN["forget"]  # 1 - i
    found = {name: codes[gate] for gate, name in NAMES[op.kind].items() if gate in codes}
    if isinstance(op, g.LSTM):
        found["cell"] = SHOWN["cell"]
    return {**found, "hidden": SHOWN["hidden"]}


class Shown(NamedTuple):
    """A plan that shows what it computes.

    Attributes
    ----------
    lowered : Lowered
        Its outputs are those of the graph, then those of `values` that are no outputs, then one for each layer shown.
    values : dict of str to int
        The place among the outputs of every value asked for.
    layers : dict of str to (int, dict of str to slice)
        The same of a layer by its node, and where each part lies in a row.
    """

    lowered: Lowered
    values: dict[str, int]
    layers: dict[str, tuple[int, dict[str, slice]]]


def lower_traced(graph: g.Graph, values: Sequence[str], layers: Mapping[str, Sequence[str]]) -> Shown:
    """Lower a graph so that it shows these values, and these parts of recurrent layers by their nodes.

    Raises
    ------
    GraphError
        As `lower` does.
    """
    return _Lowerer(graph, values).show(layers)


class _Lowerer(Lowerer):
    """A graph on its way to a plan, with further outputs: they change none of the decisions about the others."""

    def __init__(self, graph: g.Graph, wanted: Sequence[str]) -> None:
        super().__init__(graph)
        self.wanted = [name for name in wanted if name not in graph.outputs]
        self.shown: list[int] = []

    def feedback(self) -> list[int]:
        """Give buffers to the further outputs, behind those of the graph, then do as every lowerer does."""
        for name in self.wanted:
            if name not in self.values:
                self.look_up(name)
            self.shown.append(self.output(name))
        return super().feedback()

    def look_up(self, name: str) -> None:
        """Compute the output of an embedding that its readers have as a table of products."""
        p, node = self.program, next(n for n in self.graph.nodes if name in n.outputs)
        ids, spec = self.values[node.inputs[0]], self.graph.specs[name]
        p.node = node.name
        output = p.buffer(spec.shape[0], ids.time, "float")
        assert isinstance(ids, View)
        p.emit(LOWERINGS[type(node.op)](Between((ids.buffer,), output, spec.shape[0]), node.op))
        self.values[name] = View(output, spec.shape, contiguous(spec.shape), 0, ids.time)

    def show(self, layers: Mapping[str, Sequence[str]]) -> Shown:
        """Lower the graph, and let its recurrent layers show parts."""
        lowered = self.run()
        values, outputs = list(lowered.values), [*lowered.outputs, *self.shown]
        for v in self.shown:
            values[v].slot = -1  # the caller's
        found: dict[str, tuple[int, dict[str, slice]]] = {}
        ops: dict[str, Any] = {node.name: node.op for node in self.graph.nodes}
        instructions = list(lowered.instructions)
        for i, ins in enumerate(instructions):
            if not isinstance(ins, Recurrent):
                continue
            op, names = ops[ins.node], layers.get(ins.node, ())
            at, places, codes = 0, {}, parts(op)
            for name in names:
                size = op.output_size if name == "hidden" else op.hidden_size
                places[name], at = slice(at, at + size), at + size
            if names:
                found[ins.node] = len(outputs), places
                outputs.append(len(values))
                values.append(Buffer(at, ins.clock, shape=(at,), name=f"{ins.node} (gates)"))
            written = (outputs[-1],) if names else ()
            instructions[i] = Traced(**{**vars(ins), "outputs": written, "shown": tuple(codes[n] for n in names)})
        at_of = {name: len(lowered.outputs) + i for i, name in enumerate(self.wanted)}
        at_of |= {name: i for i, name in enumerate(self.graph.outputs)}
        return Shown(lowered._replace(values=values, instructions=instructions, outputs=outputs), at_of, found)
