"""Activations moved into the nodes that give what they act on."""

from __future__ import annotations

from dataclasses import replace

from ..graph import SOFTMAX, Activate, Conv, ConvTranspose, Dense, Graph, Node, TimeConv
from .editing import Draft
from .neighbours import Neighbours, ends_linear

WITH_ACTIVATION = (Dense, Conv, ConvTranspose, TimeConv)


def fuse_activations(graph: Graph) -> Graph:
    """`graph` with every activation of a linear node's value alone in that node.

    Examples
    --------
    >>> from fastgru.graph import chain
    >>> fuse_activations(chain([Dense([[1.0]]), Activate("tanh")], names=["dense", "tanh"]))
    Graph([dense: Dense])
    """
    around, draft = Neighbours(graph), Draft(graph)
    for node in graph.nodes:
        giver = around.behind(node.inputs[0]) if isinstance(node.op, Activate) else None
        if giver is not None and isinstance(giver.op, WITH_ACTIVATION) and ends_linear(giver) and _fits(node, giver):
            draft.put(replace(giver, op=giver.op.replace(activation=node.op.activation)))  # type: ignore[attr-defined]
            draft.use(node.inputs[0], of=node.outputs[0])
    return draft.build() if draft.changed else graph


def _fits(node: Node, giver: Node) -> bool:
    """Whether an activation is one that the giver can have, and no scale, which its weights take."""
    name = node.op.activation.name  # type: ignore[attr-defined]
    if name == SOFTMAX:  # of the rows of a Dense
        return isinstance(giver.op, Dense) and node.inputs[0] == giver.outputs[0]
    return str(name) != "affine"
