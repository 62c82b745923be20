"""One ONNX node under translation: its inputs, its attributes and who has read them, and the graph it adds to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from ..._hints import option
from ...errors import ConvertError
from ..program.builder import Builder
from ..program.emit import Emitter
from ..program.values import Array, Tensor, Value, is_symbolic
from .reading import Source

FLOATS = tuple(
    getattr(TensorProto, n) for n in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16")
)  # computed alike: nothing is rounded to the narrower ones
INTS = tuple(getattr(TensorProto, p + b) for p in ("INT", "UINT") for b in ("8", "16", "32", "64"))
# Types that a model may hold or be given; nothing is rounded to them, and not every onnx knows them all.
NARROW_FLOATS, NARROW_INTS = (
    tuple(getattr(TensorProto, n) for n in names if hasattr(TensorProto, n))
    for names in (
        ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0", "FLOAT4E2M1"),
        ("INT4", "UINT4", "INT2", "UINT2"),
    )
)
# Narrow integers, whose arithmetic wraps around: the least value and how many there are.
RANGES = {
    TensorProto.INT8: (-128, 256), TensorProto.UINT8: (0, 256),
    TensorProto.INT16: (-32768, 65536), TensorProto.UINT16: (0, 65536),
    **dict(zip(NARROW_INTS, ((-8, 16), (0, 16), (-2, 4), (0, 4)), strict=False)),
}  # fmt: skip


def dtype_of(elem: int) -> str:
    """The graph's kind of number for an element type of ONNX.

    Raises
    ------
    ConvertError
        When the graph has none.
    """
    if elem in FLOATS + NARROW_FLOATS:
        return "float"
    if elem in INTS + NARROW_INTS:
        return "int"
    if elem == TensorProto.BOOL:
        return "bool"
    known = ", ".join(TensorProto.DataType.Name(e).lower() for e in (*FLOATS, *INTS, TensorProto.BOOL))
    name = TensorProto.DataType.Name(elem).lower() if elem in TensorProto.DataType.values() else elem
    raise ConvertError(f"element type must be one of {known}, got {name}")


class NotConstant(ConvertError):
    """A value must be constant; `inputs` of the model are what it is computed from."""

    def __init__(self, message: str, inputs: frozenset[str]) -> None:
        super().__init__(message)
        self.inputs = inputs


class Attributes:
    """The attributes of a node, with a note of those that somebody has read."""

    def __init__(self, node: NodeProto, opset: int, source: Source) -> None:
        self._source = source
        self._given = {a.name: a for a in node.attribute}
        self._read: set[str] = set()
        self._schema: onnx.defs.OpSchema | None = None
        with contextlib.suppress(onnx.defs.SchemaError):
            self._schema = onnx.defs.get_schema(node.op_type, opset, node.domain)

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value: numbers, strings, lists, or an array; `default` where it is not given."""
        self._read.add(name)
        if name not in self._given:
            return default
        declared: Any = self._schema.attributes.get(name) if self._schema else None
        kind = self._given[name].type
        if declared is not None and declared.type.value != kind:
            wanted, got = declared.type.name.lower(), AttributeProto.AttributeType.Name(kind).lower()
            raise ConvertError(f"attribute {name!r} must be of type {wanted}, got {got}")
        return self._value(self._given[name])

    def graph(self, name: str) -> GraphProto:
        """An attribute that is a graph."""
        self._read.add(name)
        if name not in self._given or self._given[name].type != AttributeProto.GRAPH:
            raise ConvertError(f"attribute {name!r} must be a graph, got none")
        graph: GraphProto = self._given[name].g
        return graph

    def _value(self, attribute: AttributeProto) -> Any:
        if attribute.type == AttributeProto.TENSOR:
            return self._source.array(attribute.t, f"attribute {attribute.name!r}")
        try:
            value = helper.get_attribute_value(attribute)
        except ValueError as error:
            raise ConvertError(f"attribute {attribute.name!r} must have a value of a known type, got none") from error
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, list):
            return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]
        return value

    def ignored(self) -> list[str]:
        """What nobody has read though it is not at its default."""
        problems = []
        for name, attribute in self._given.items():
            if name in self._read:
                continue
            declared = self._schema.attributes.get(name) if self._schema else None
            default = declared.default_value if declared is not None else None
            value = self._value(attribute)
            if default is None or default.type == AttributeProto.UNDEFINED or self._value(default) != value:
                problems.append(f"attribute {name!r} must be at its default, got {value!r}")
        return problems


@dataclass
class Call(Builder):
    """A node, as its translator sees it.

    Parameters
    ----------
    node : NodeProto
    name : str
        Of the node, or of its first output where it has none: what is added is named after it.
    inputs : list of Value
        One for each of the node's inputs; None where an optional one is left out.
    attributes : Attributes
    opset : int
        Version of the node's operator set.
    emit : Emitter
        The graph.
    """

    node: NodeProto
    name: str
    inputs: list[Value]
    attributes: Attributes
    opset: int
    emit: Emitter

    @classmethod
    def outside(cls, name: str, source: Source, emit: Emitter) -> Call:
        """A call that stands for no node, to move values that no node moves."""
        return cls(NodeProto(), name, [], Attributes(NodeProto(), 1, source), 1, emit)

    # Inputs and attributes ----------------------------------------------------------------------

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or `default`."""
        return self.attributes.get(name, default)

    def given(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Array | Tensor:
        """An input that must be there."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(value, np.ndarray | Tensor):
            raise ConvertError(f"input {index} must be given, got none")
        return value

    def tensor(self, index: int) -> Tensor:
        """An input as a value of the graph."""
        return self.lift(self.value(index))

    def lift(self, value: Array | Tensor) -> Tensor:
        """Return a value of the graph; an array becomes a constant of it, of ONNX's element type."""
        if isinstance(value, Tensor):
            return value
        if is_symbolic(value):
            raise ConvertError(f"sizes must be fixed to be computed with, got [{', '.join(map(str, value.flat))}]")
        if not value.size:
            raise ConvertError(f"value must have elements to be computed with, got shape {value.shape}")
        elem = int(helper.np_dtype_to_tensor_dtype(value.dtype))
        name = self.constant(value, dtype_of(elem))
        return Tensor(name, tuple((i,) for i in range(value.ndim)), self.emit.specs[name], elem)

    def array(self, index: int, what: str) -> Array:
        """An input that must be constant."""
        value = self.value(index)
        if isinstance(value, Tensor):
            origins = self.emit.origins(value.value)
            told = f": give {', '.join(map(repr, sorted(origins)))} by {option('fix')}" if origins else ""
            raise NotConstant(f"{what} (input {index}) must be constant, got a computed value{told}", origins)
        return value

    def optional(self, index: int, what: str) -> Array | None:
        """A constant input, or None where it is left out."""
        return self.array(index, what) if self.given(index) else None

    def setting(self, name: str, index: int, since: int) -> Any:
        """What was an attribute before opset `since` and has been a constant input from it on; None if not given."""
        if self.opset < since:
            value = self.attr(name)
            return None if value is None else np.asarray(value)
        return self.optional(index, name)

    def ints(self, name: str, index: int, since: int) -> list[int] | None:
        """`setting` as a list of ints."""
        value = self.setting(name, index, since)
        if value is None:
            return None
        if is_symbolic(value):
            raise ConvertError(f"{name} must be fixed, got [{', '.join(map(str, value.flat))}]")
        return [int(n) for n in value.reshape(-1)]

    @staticmethod
    def axis(axis: int, rank: int, what: str = "axis") -> int:
        """A non-negative axis."""
        if not -rank <= axis < rank:
            raise ConvertError(f"{what} must be within [{-rank}, {rank - 1}], got {axis}")
        return int(axis) % rank

    def axes(self, axes: Sequence[int], rank: int) -> list[int]:
        """Distinct non-negative axes."""
        found = [self.axis(a, rank) for a in axes]
        if len(set(found)) < len(found):
            raise ConvertError(f"axes must be distinct, got {list(axes)}")
        return found


Translator = Callable[[Call], "Value | Sequence[Value]"]
