"""An ONNX graph as calls and steps of sequences, among which loops that were written out are found."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...errors import ConvertError
from ..damage import MALFORMED
from ..program.calls import Call, Step
from ..program.values import elements
from .reading import DEFAULT_DOMAINS, Source, needed_by, reads

SHOWN = 64  # elements up to which constants are shown to shape inference
LONGEST = 2**22  # size of an axis beyond which nothing is inferred: as a shape it would be a list of so many sizes
RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
TO_END = 2**31 - 1  # or more: where exporters let slices end that take all that is left
Shape = tuple[int | str | None, ...]


class Reading:
    """The nodes of a graph as calls.

    Attributes
    ----------
    nodes : dict of str to NodeProto
        By the first value that they make.
    names : dict of str to str
        Values that are others by another name: of Identity, equal constants, and what does the same twice.
    calls : list of Call
    steps : dict of str to Step
    shapes : dict of str to Shape
        As far as they are known.
    """

    def __init__(self, source: Source, nodes: Sequence[NodeProto], shapes: Mapping[str, Shape]) -> None:
        self.source, self.shapes = source, shapes
        graph = source.proto.graph
        self.names: dict[str, str] = {}
        self.constants: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        self.nodes: dict[str, NodeProto] = {}
        self.steps: dict[str, Step] = {}
        self.splits: dict[str, tuple[str, int]] = {}  # sequences of tensors: what is taken apart, and along which axis
        self.lists: dict[str, tuple[str, ...]] = {}  # sequences of tensors that are named one by one
        self.calls: list[Call] = []
        self.made: dict[str, Call] = {}  # by the values that they make
        needed = needed_by(nodes, [o.name for o in graph.output])
        alive = [node for node in nodes if not needed.isdisjoint(node.output)]
        for node in alive:
            if _is(node, "Constant") and (tensor := _constant(node)) is not None:
                self.constants[node.output[0]] = tensor
        self._same_constants()
        table: dict[Any, Call] = {}
        for i, node in enumerate(alive):
            self._read(i, node, table)

    def own(self, value: str) -> str:
        """Return the name of a value."""
        return self.names.get(value, value)

    def array(self, value: str) -> Any:
        """A small constant, or None."""
        tensor = self.constants.get(self.own(value))
        if tensor is None or elements(tensor.dims) > SHOWN or tensor.data_location == TensorProto.EXTERNAL:
            return None
        try:
            return self.source.array(tensor, value)
        except ConvertError:
            return None

    def _same_constants(self) -> None:
        """Equal constants by one name."""
        alike: dict[Any, list[str]] = defaultdict(list)
        for name, tensor in self.constants.items():
            alike[tensor.data_type, tuple(tensor.dims)].append(name)
        for names in alike.values():
            first: dict[bytes, str] = {}
            for name in names if len(names) > 1 else ():
                own = first.setdefault(_digest(self.constants[name]), name)
                if own != name:
                    self.names[name] = own

    def _read(self, number: int, node: NodeProto, table: dict[Any, Call]) -> None:
        if _is(node, "Identity") and node.input[0]:
            self.names[node.output[0]] = self.own(node.input[0])
            return
        if node.output[0] in self.constants:
            self.nodes[node.output[0]] = node
            return
        if _is(node, "If") and self._inlined(number, node, table):
            return
        inner = has_graphs(node)
        given = sorted(reads(node)) if inner else list(node.input)
        taken = tuple(self.own(v) for v in given)
        makes = tuple(v or f"{node.output[0]}\0{i}" for i, v in enumerate(node.output))
        kind: Any = (node.domain, node.op_type, len(makes), _attributes(node))
        if inner or node.op_type in RANDOM:
            kind = (*kind, number)
        call = Call(kind, taken, makes)
        first = table.setdefault((kind, taken), call)
        if first is not call:
            self.names.update(zip(makes, first.makes, strict=True))
            return
        self.nodes[makes[0]] = node
        self.made.update(dict.fromkeys(makes, call))
        self.calls.append(call)
        try:
            self._note(node, call)
        except (*MALFORMED, ConvertError):  # what is wrong with a node is told when it is translated
            return

    def _inlined(self, number: int, node: NodeProto, table: dict[Any, Call]) -> bool:
        """Read the branch in the place of an If that asks whether a step has one element along its sequence's axis.

        So PyTorch exports a squeeze of an axis whose size it does not know.
        """
        equal = self.maker(node.input[0], "Equal")
        gather = self.maker(equal.reads[0], "Gather") if equal and _one(self.array(equal.reads[1])) else None
        sizes = self.maker(gather.reads[0], "Shape") if gather and _one(self.array(gather.reads[1])) else None
        step = self.steps.get(sizes.reads[0]) if sizes else None
        if equal is None or gather is None or step is None or not step.form:
            return False
        if int(self.array(gather.reads[1]).flat[0]) != step.axis:
            return False
        one = int(self.array(equal.reads[1]).flat[0]) == 1
        branch = attribute(node, "then_branch" if one else "else_branch", None)
        own = [v for inner in branch.node for v in inner.output]
        if branch.initializer or len(branch.output) != len(node.output) or any(v in self.made for v in own):
            return False
        for inner in branch.node:
            if _is(inner, "Constant") and (tensor := _constant(inner)) is not None:
                self.constants[inner.output[0]] = tensor
            self._read(number, inner, table)
        self.names.update((o, self.own(v.name)) for o, v in zip(node.output, branch.output, strict=True))
        return True

    def maker(self, value: str, kind: str) -> Call | None:
        """The call of an operator that makes a value."""
        call = self.made.get(self.own(value))
        return call if call is not None and _is(self.nodes[call.makes[0]], kind) else None

    # Steps -----------------------------------------------------------------------------------------

    def _note(self, node: NodeProto, call: Call) -> None:
        """Note the steps that a node takes of a sequence."""
        found: list[tuple[str, int, int, bool]] = []
        handler = _TAKING.get(node.op_type) if node.domain in DEFAULT_DOMAINS else None
        if call.reads and self.maker(call.reads[0], "Shape"):
            return  # sizes are no sequence
        if handler is not None:
            found = handler(self, node, call)
        for made, (source, axis, number, kept) in zip(call.makes, found, strict=bool(found)):
            self.steps[made] = Step(source, axis, number, kept)

    def place(self, value: str, axis: int, number: int) -> tuple[int, int] | None:
        """An axis and a place on it, both counted from the front; None where that cannot be told."""
        shape = self.shapes.get(value)
        if axis < 0:
            if shape is None:
                return None
            axis += len(shape)
        size = shape[axis] if shape is not None and axis < len(shape) else None
        if number < 0:
            if not isinstance(size, int):
                return None
            number += size
        return axis, number

    def lengths(self) -> dict[tuple[str, int], int]:
        """Sizes of the axes of which steps are taken, where they are fixed."""
        found = {}
        for step in self.steps.values():
            shape = self.shapes.get(step.source, ())
            size = shape[step.axis] if step.axis < len(shape) else None
            if isinstance(size, int):
                found[step.source, step.axis] = size
        return found


Taken = list[tuple[str, int, int, bool]]


def _gather(reading: Reading, node: NodeProto, call: Call) -> Taken:
    ids = reading.array(call.reads[1])
    place = reading.place(call.reads[0], attribute(node, "axis", 0), int(ids.flat[0])) if _one(ids) else None
    return [(call.reads[0], *place, ids.ndim == 1)] if place and ids.ndim < 2 else []


def _slice(reading: Reading, node: NodeProto, call: Call) -> Taken:
    names = ("starts", "ends", "axes", "steps")
    given: dict[str, Any] = {n: reading.array(v) for n, v in zip(names, call.reads[1:], strict=False) if v}
    if len(call.reads) < 3:
        given = {n: np.asarray(a) for n in names[:3] if (a := attribute(node, n, None)) is not None}
    given = {"axes": np.zeros(1, np.int64), "steps": np.ones(1, np.int64), **given}
    if not all(_one(given.get(n)) for n in names) or int(given["steps"].flat[0]) != 1:
        return []
    first, last, axis = (int(given[n].flat[0]) for n in names[:3])
    place = reading.place(call.reads[0], axis, first)
    single = last >= TO_END if first == -1 else last == first + 1
    return [(call.reads[0], *place, True)] if place and single else []


def _split(reading: Reading, node: NodeProto, call: Call) -> Taken:
    sizes = reading.array(call.reads[1]) if len(call.reads) > 1 else attribute(node, "split", None)
    place = reading.place(call.reads[0], attribute(node, "axis", 0), 0)
    if place is None:
        return []
    shape = reading.shapes.get(call.reads[0])
    ones = shape is not None and shape[place[0]] == len(call.makes) if sizes is None else set(np.ravel(sizes)) == {1}
    return [(call.reads[0], place[0], t, True) for t in range(len(call.makes))] if ones else []


def _squeeze(reading: Reading, node: NodeProto, call: Call) -> Taken:
    step = reading.steps.get(call.reads[0])
    axes = reading.array(call.reads[1]) if len(call.reads) > 1 else np.asarray(attribute(node, "axes", []))
    if step is None or not step.form or not _one(axes):
        return []
    shape = reading.shapes.get(step.source)
    axis = int(axes.flat[0])
    axis = axis + len(shape) if axis < 0 and shape is not None else axis
    return [(step.source, step.axis, step.number, False)] if axis == step.axis else []


def _split_to_sequence(reading: Reading, node: NodeProto, call: Call) -> Taken:
    place = reading.place(call.reads[0], attribute(node, "axis", 0), 0)
    sizes = reading.array(call.reads[1]) if len(call.reads) > 1 else np.array(1)
    single = sizes is not None and sizes.ndim == 0 and int(sizes) == 1
    if place is not None and single and not attribute(node, "keepdims", 1):
        reading.splits[call.makes[0]] = (call.reads[0], place[0])
    return []


def _sequence_at(reading: Reading, node: NodeProto, call: Call) -> Taken:
    ids, split = reading.array(call.reads[1]), reading.splits.get(call.reads[0])
    place = reading.place(*split, int(ids.flat[0])) if split and _one(ids) else None
    return [(split[0], *place, False)] if split and place else []


def _sequence_construct(reading: Reading, node: NodeProto, call: Call) -> Taken:
    reading.lists[call.makes[0]] = call.reads
    return []


_TAKING = {
    "SequenceConstruct": _sequence_construct, "Gather": _gather, "Slice": _slice, "Split": _split, "Squeeze": _squeeze,
    "SplitToSequence": _split_to_sequence, "SequenceAt": _sequence_at,
}  # fmt: skip


def _one(array: Any) -> bool:
    return array is not None and array.size == 1


# Nodes -----------------------------------------------------------------------------------------------


def attribute(node: NodeProto, name: str, default: Any) -> Any:
    """An attribute's value."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def has_graphs(node: NodeProto) -> bool:
    """True for a node with a body or branches."""
    return any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute)


def _is(node: NodeProto, kind: str) -> bool:
    return node.op_type == kind and node.domain in DEFAULT_DOMAINS


def _attributes(node: NodeProto) -> tuple[Any, ...]:
    return tuple(sorted((a.name, a.SerializeToString(deterministic=True)) for a in node.attribute))


def _constant(node: NodeProto) -> TensorProto | None:
    for a in node.attribute:
        if a.name == "value":
            tensor: TensorProto = a.t
            return tensor
        if a.name in ("value_int", "value_ints"):
            return numpy_helper.from_array(np.asarray(helper.get_attribute_value(a), np.int64), node.output[0])
        if a.name in ("value_float", "value_floats"):
            return numpy_helper.from_array(np.asarray(helper.get_attribute_value(a), np.float32), node.output[0])
    return None


def _digest(tensor: TensorProto) -> bytes:
    """Return the key that tells a constant from others of its type and shape."""
    if tensor.data_location == TensorProto.EXTERNAL:
        return b"".join(e.SerializeToString(deterministic=True) for e in tensor.external_data)
    if tensor.raw_data:
        return blake2b(tensor.raw_data).digest()
    copy = TensorProto()
    copy.CopyFrom(tensor)
    copy.ClearField("name")
    copy.ClearField("doc_string")
    return blake2b(copy.SerializeToString(deterministic=True)).digest()


# Shapes ----------------------------------------------------------------------------------------------


def _sizes(value: Any) -> list[int]:
    """The fixed sizes that are declared of an input."""
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def inferred(proto: ModelProto) -> tuple[dict[str, Shape], dict[str, int]]:
    """The shapes and types of a model's values as far as ONNX infers them, without a look at large constants.

    Functions of the model are left out: what a few of them unfold to has no bound.
    """
    model = ModelProto()
    model.ir_version = proto.ir_version
    model.opset_import.extend(proto.opset_import)
    graph = model.graph
    graph.name = "shapes"
    graph.node.extend(proto.graph.node)
    graph.output.extend(proto.graph.output)
    fixed = {t.name for t in proto.graph.initializer}
    graph.input.extend(v for v in proto.graph.input if v.name not in fixed)
    for tensor in proto.graph.initializer:
        if elements(tensor.dims) <= SHOWN and tensor.data_location != TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    if all(n <= LONGEST for v in graph.input for n in _sizes(v)):
        with contextlib.suppress(
            onnx.shape_inference.InferenceError, RuntimeError, ValueError
        ):  # what is declared is known
            graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    infos = [v for v in (*graph.input, *graph.value_info, *graph.output) if v.type.HasField("tensor_type")]
    tensors = {v.name: v.type.tensor_type for v in infos}
    shapes: dict[str, Shape] = {
        name: tuple(d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim)
        for name, tensor in tensors.items() if tensor.HasField("shape")
    }  # fmt: skip
    shapes.update((t.name, tuple(t.dims)) for t in proto.graph.initializer)
    return shapes, {name: tensor.elem_type for name, tensor in tensors.items()}
