"""A model that also returns the values inside: what a translation went through is noted, then made outputs."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from ..program.values import Tensor, Value
from .reading import Source, needed_by


class Seen(NamedTuple):
    """An output of a node that is a value of the graph; `output` is its name where branches are in place of Ifs."""

    name: str
    kind: str
    output: str
    tensor: Tensor


class Trail:
    """What a translation goes through: the outputs of nodes, and the branches that Ifs take.

    A function that a node calls is that node: what is inside of it is not noted.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.taken: dict[str, str] = {}
        self._prefix = ""
        self._functions = 0

    def note(self, node: NodeProto, name: str, outputs: Sequence[Value]) -> None:
        """Note what a node gave; of an If its branch has been."""
        if not self._functions and node.op_type != "If":
            self.seen += [
                Seen(name, node.op_type, self._prefix + output, value)
                for output, value in zip(node.output, outputs, strict=False)
                if isinstance(value, Tensor) and output
            ]

    @contextmanager
    def branch(self, node: NodeProto, attribute: str) -> Iterator[None]:
        """While the nodes of a branch are gone through."""
        before = self._prefix
        key = _key(node, before)
        if not self._functions:
            self.taken[key] = attribute
        self._prefix = f"{key}/"
        try:
            yield
        finally:
            self._prefix = before

    @contextmanager
    def function(self) -> Iterator[None]:
        """While the nodes of a function are gone through."""
        self._functions += 1
        try:
            yield
        finally:
            self._functions -= 1


def exposed(source: Source, taken: Mapping[str, str], names: Sequence[str]) -> ModelProto:
    """The model with the nodes of the branches that are taken in place of Ifs, which also returns the values `names`.

    Parameters
    ----------
    source : Source
    taken : mapping of str to str
        The first output of an If to the attribute with its branch, as `Trail` notes them.
    names : sequence of str
        Values as `Seen.output` has them.
    """
    model = ModelProto()
    model.CopyFrom(source.proto)
    graph = model.graph
    tensors = list(graph.initializer)
    nodes = list(_flat(graph.node, ChainMap(), "", taken, tensors))
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(_stored(t, source) for t in tensors)
    returned = {o.name for o in graph.output}
    graph.output.extend(ValueInfoProto(name=n) for n in dict.fromkeys(names) if n not in returned)
    return model


def reduced(source: Source, taken: Mapping[str, str]) -> ModelProto | None:
    """The model without what its outputs do not need, which may be as costly as a file likes; None where all is needed.

    Branches that are taken are in place of Ifs.
    """
    graph = source.proto.graph
    parts = [(graph.node, [o.name for o in graph.output]), *((f.node, f.output) for f in source.proto.functions)]
    if not taken and not any(_dead(*part) for part in parts):
        return None
    model = exposed(source, taken, ())
    for part in (model.graph, *model.functions):
        outputs = [o if isinstance(o, str) else o.name for o in part.output]
        dead = _dead(part.node, outputs)
        kept = [node for i, node in enumerate(part.node) if i not in dead]
        del part.node[:]
        part.node.extend(kept)
    return model


def _dead(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> set[int]:
    """Numbers of the nodes that outputs do not depend on."""
    needed = needed_by(nodes, outputs)
    return {i for i, node in enumerate(nodes) if needed.isdisjoint(node.output)}


def _stored(tensor: TensorProto, source: Source) -> TensorProto:
    """An initializer with its numbers in it."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return tensor
    return numpy_helper.from_array(source.array(tensor, f"initializer {tensor.name!r}"), tensor.name)


def _flat(
    nodes: Sequence[NodeProto], names: ChainMap[str, str], prefix: str, taken: Mapping[str, str],
    tensors: list[TensorProto],
) -> Iterator[NodeProto]:  # fmt: skip
    """Copies of nodes with the values that they write under `prefix`; initializers of branches join `tensors`."""
    for node in nodes:
        branch = taken.get(_key(node, prefix)) if node.op_type == "If" else None
        if branch is not None:
            yield from _taken(node, branch, names.new_child(), prefix, taken, tensors)
        else:
            copy = NodeProto()
            copy.CopyFrom(node)
            rename(copy, names)
            copy.output[:] = [o and prefix + o for o in node.output]
            yield copy
        names.update({o: prefix + o for o in node.output if o})


def _taken(
    node: NodeProto, branch: str, names: ChainMap[str, str], prefix: str, taken: Mapping[str, str],
    tensors: list[TensorProto],
) -> Iterator[NodeProto]:  # fmt: skip
    """The nodes of an If's branch, and those that hand on its outputs."""
    graph, own = next(a.g for a in node.attribute if a.name == branch), f"{_key(node, prefix)}/"
    for tensor in graph.initializer:
        names[tensor.name] = own + tensor.name
        copy = TensorProto()
        copy.CopyFrom(tensor)
        copy.name = own + tensor.name
        tensors.append(copy)
    yield from _flat(graph.node, names, own, taken, tensors)
    for output, value in zip(node.output, graph.output, strict=True):
        if output:
            yield helper.make_node("Identity", [names.get(value.name, value.name)], [prefix + output])


def rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """What a node reads, and the graphs within it from outside, by other names."""
    node.input[:] = [names.get(n, n) for n in node.input]
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
            own = {v.name for v in (*graph.input, *graph.initializer)} | {o for n in graph.node for o in n.output}
            outer = {n: new for n, new in names.items() if n not in own}
            for inner in graph.node:
                rename(inner, outer)
            for output in graph.output:
                output.name = outer.get(output.name, output.name)


def _key(node: NodeProto, prefix: str) -> str:
    """What an If is known by."""
    return prefix + next((o for o in node.output if o), "")
