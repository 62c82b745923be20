"""Products of rounded activations by quantized weights, computed on their integers."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Activate, Activation, Dense, Graph, Node
from ..graph.affine import LEVELS, MOST_INPUTS, is_scale, lattice
from .editing import Draft


def multiply_integers(graph: Graph) -> Graph:
    """`graph` with every Dense of what fake_quantize gives in int8_affine, where its weights are codes, too.

    Of each row of weights, numbers -255..255 times one scale. What alone is read by such products is no longer rounded
    on its own.

    Examples
    --------
    >>> from fastgru.graph import chain
    >>> rounded = Activate(Activation("fake_quantize", alpha=0.5, beta=-128))
    >>> found = multiply_integers(chain([rounded, Dense([[2.0, -3.0]])], names=["x", "dense"]))
    >>> found, found.nodes[0].op.input_scale, found.nodes[0].op.input_zero
    (Graph([dense: Dense]), 0.5, 128)
    """
    draft, rounded = Draft(graph), {node.outputs[0]: node for node in graph.nodes if _rounds(node)}
    found = [node for node in graph.nodes if node.inputs[:1] and node.inputs[0] in rounded and _is_integer(node)]
    for node in found:
        giver = rounded[node.inputs[0]]
        act: Activation = giver.op.activation  # type: ignore[attr-defined]
        scale, least = act.parameters
        op = node.op.replace(precision="int8_affine", input_scale=scale, input_zero=round(-least))
        draft.put(replace(node, op=op, inputs=giver.inputs))
    return draft.build() if found else graph


def multiply_floats(graph: Graph) -> Graph:
    """`graph` with every Dense of a given scale as fake_quantize and a Dense in float32: the way back.

    Examples
    --------
    >>> from fastgru.graph import chain
    >>> rounded = Dense([[2.0, -3.0]], precision="int8_affine", input_scale=0.5, input_zero=128)
    >>> multiply_floats(chain([rounded], names=["dense"]))
    Graph([dense_input: Activate, dense: Dense])
    """
    draft, found = Draft(graph), [n for n in graph.nodes if isinstance(n.op, Dense) and n.op.input_scale is not None]
    for node in found:
        op: Dense = node.op  # type: ignore[assignment]
        rounded = Activate(Activation("fake_quantize", op.input_scale, -op.input_zero))
        value = draft.add(rounded, node.inputs[0], name=f"{node.name}_input")
        draft.put(replace(node, op=op.replace(**op.in_precision("float32")), inputs=(value,)))
    return draft.build() if found else graph


def _rounds(node: Node) -> bool:
    """Return True if a node rounds to codes that int8_affine has."""
    if not isinstance(node.op, Activate) or node.op.activation.name != "fake_quantize":
        return False
    scale, least = node.op.activation.parameters
    return is_scale(scale) and -LEVELS <= least <= 0 and least == round(least)


def _is_integer(node: Node) -> bool:
    """Return True if a node multiplies by quantized weights in float32."""
    op = node.op
    if not isinstance(op, Dense) or op.precision != "float32" or op.weight.shape[1] > MOST_INPUTS:
        return False
    return bool(lattice(op.weight.astype("float32"))[2].all())
