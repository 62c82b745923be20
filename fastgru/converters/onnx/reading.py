"""Reads an ONNX file: nothing in it is trusted before its sizes, paths and names have been looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from ... import memory
from ...errors import ConvertError, listed
from ..program.values import Array, elements

OLDEST_OPSET = 7
DEEPEST = 32  # graphs within graphs
DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Source:
    """A model that has been read.

    Parameters
    ----------
    proto : ModelProto
    folder : Path or None
        Where its external data must lie.
    size : int
        Bytes of the file and of the external data.
    """

    proto: ModelProto
    folder: Path | None
    size: int

    @property
    def opsets(self) -> dict[str, int]:
        """Version of every operator set that the model imports."""
        return {_domain(o.domain): o.version for o in self.proto.opset_import}

    @property
    def functions(self) -> Mapping[tuple[str, str], FunctionProto]:
        """The model's own functions by domain and name."""
        return {(_domain(f.domain), f.name): f for f in self.proto.functions}

    @property
    def precision(self) -> str:
        """The narrowest type in which the model computes: "bfloat16", "float16", or "float32" for all others."""
        found = {TensorProto.DataType.Name(t).lower() for t in _elements(self.proto)}
        return next((name for name in ("bfloat16", "float16") if name in found), "float32")

    def array(self, tensor: TensorProto, what: str) -> Array:
        """The numbers of a tensor of the file."""
        return _array(tensor, what, self.folder)


def _domain(name: str) -> str:
    return "" if name in DEFAULT_DOMAINS else name


def read(source: str | os.PathLike[str] | bytes | ModelProto) -> Source:
    """Read and check a model.

    Raises
    ------
    ConvertError
        When it is no ONNX model, or a malformed one; the message lists every problem.
    """
    folder, size, what = None, 0, "bytes"
    if isinstance(source, ModelProto):
        proto, size = source, source.ByteSize()
    else:
        if not isinstance(source, bytes):
            folder, what, source = Path(source).parent, os.fspath(source), Path(source).read_bytes()
        size = len(source)
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

        try:
            proto = onnx.load_model_from_string(source)
        except (DecodeError, ValueError, RecursionError) as error:
            raise ConvertError(f"{what} must be an ONNX model, got something else: {error}") from error
    if not proto.HasField("graph") or not proto.graph.output:
        got = "an empty file" if not size else "none"
        raise ConvertError(f"{what} must be an ONNX model with a graph, got {got}")
    problems = _model_problems(proto)
    if problems:
        raise ConvertError(listed(problems))
    size += sum(_external_sizes(proto, folder))
    memory.check(size, f"reading {what} with its external data", None)
    return Source(proto, folder, size)


def _model_problems(proto: ModelProto) -> list[str]:
    versions = {_domain(o.domain): o.version for o in proto.opset_import}
    newest, version = onnx.defs.onnx_opset_version(), versions.get("")
    problems = []
    if version is None or not OLDEST_OPSET <= version <= newest:
        problems.append(f"opset of the model must be {OLDEST_OPSET} to {newest} (the newest that the installed "
                        f"onnx {onnx.__version__} knows), got {version}")  # fmt: skip
    try:
        for graph, where in [(proto.graph, "graph"), *_nested(proto.graph.node, 1)]:
            problems += _name_problems(graph, where)
        for function in proto.functions:
            problems += [p for graph, where in _nested(function.node, 1) for p in _name_problems(graph, where)]
    except ConvertError as error:
        problems.append(str(error))
    return problems


def _texts(graph: GraphProto) -> Iterator[Any]:
    """Every name in a graph, which protobuf gives as bytes where it is no UTF-8."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (text for a in node.attribute for text in (a.name, a.ref_attr_name))
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    yield from (t.name for t in graph.initializer)


def _nested(nodes: Any, depth: int) -> Iterator[tuple[GraphProto, str]]:
    """Every graph in the attributes of nodes, at any depth."""
    for node in nodes:
        for attribute in node.attribute:
            graphs = [attribute.g] if attribute.type == AttributeProto.GRAPH else list(attribute.graphs)
            for graph in graphs:
                if depth > DEEPEST:
                    raise ConvertError(f"graphs must be nested at most {DEEPEST} deep, got more at node {node.name!r}")
                yield graph, f"{attribute.name} of node {node.name!r}"
                yield from _nested(graph.node, depth + 1)


def _name_problems(graph: GraphProto, where: str) -> list[str]:
    """Values that are written twice, or at a node before it has what it reads: a cycle, or no order of execution."""
    if any(not isinstance(text, str) for text in _texts(graph)):
        return [f"names in the {where} must be UTF-8, got other bytes"]
    problems = []
    inputs = [v.name for v in graph.input]
    fixed = [t.name for t in graph.initializer] + [t.values.name for t in graph.sparse_initializer]
    written = [v for node in graph.node for v in node.output if v]
    ahead = set(written)
    for names, what in ((inputs, "input"), (fixed, "initializer"), (written, "value")):
        seen: set[str] = set()
        twice = sorted({n for n in names if n in seen or seen.add(n)})  # type: ignore[func-returns-value]
        problems += [f"{what} of the {where} must be there once, got {n!r} twice" for n in twice]
    given = {*inputs, *fixed}
    problems += [f"value must be written once, got {n!r}, an input, again in the {where}" for n in given & ahead]
    for node in graph.node:
        early = sorted({v for v in node.input if v in ahead})
        if early:
            problems.append(
                f"node {_name(node)!r} must read values written before it (no cycles), "
                f"got {', '.join(map(repr, early))}"
            )
        ahead.difference_update(node.output)
    return problems


def _name(node: NodeProto) -> str:
    return node.name or next(iter(node.output), node.op_type)


def needed_by(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> set[str]:
    """The values that `outputs` depend on, by the nodes of one graph and the graphs within them."""
    needed = set(outputs)
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed.update(reads(node))
    return needed


def reads(node: NodeProto) -> set[str]:
    """Names that a node may read, with those that the graphs in its attributes take from outside."""
    found, waiting = set(node.input), [a.g for a in node.attribute if a.type == AttributeProto.GRAPH]
    while waiting:
        graph = waiting.pop()
        found.update(o.name for o in graph.output)
        for inner in graph.node:
            found.update(inner.input)
            waiting += [a.g for a in inner.attribute if a.type == AttributeProto.GRAPH]
    return found


def _elements(proto: ModelProto) -> Iterator[int]:
    """Element types of inputs, outputs and tensors, and those that are cast to."""
    graphs = [proto.graph, *(graph for graph, _ in _nested(proto.graph.node, 1))]
    for graph in graphs:
        yield from (value.type.tensor_type.elem_type for value in (*graph.input, *graph.output))
        yield from (tensor.data_type for tensor in graph.initializer)
    for nodes in (*(graph.node for graph in graphs), *(function.node for function in proto.functions)):
        for node in nodes:
            for attribute in node.attribute:
                if node.op_type == "Cast" and attribute.name == "to":
                    yield attribute.i
                elif attribute.type == AttributeProto.TENSOR:
                    yield attribute.t.data_type


# Tensors -----------------------------------------------------------------------------------------


def _array(tensor: TensorProto, what: str, folder: Path | None) -> Array:
    """The numbers of a tensor, after its sizes are known to fit what is there."""
    kind, dims = tensor.data_type, list(tensor.dims)
    if kind not in TensorProto.DataType.values() or kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise ConvertError(f"{what} must hold numbers, got element type {kind}")
    if any(n < 0 for n in dims):
        raise ConvertError(f"{what} must have sizes of at least 0, got {dims}")
    if tensor.data_location == TensorProto.EXTERNAL:
        tensor = _external(tensor, what, folder)
    else:
        there = max(len(tensor.raw_data) * 2, *(len(getattr(tensor, f)) * 8 for f in _TYPED))  # two int4 to a byte
        if elements(dims) > there:
            raise ConvertError(f"{what} must have the numbers of shape {dims}, got at most {there}")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ConvertError(f"{what} must have the numbers of shape {dims}, got {error}") from error
    if array.dtype.kind == "c":
        raise ConvertError(f"{what} must be of real numbers, got {array.dtype}")
    return array.astype(np.float32) if kind == TensorProto.BFLOAT16 else array  # a type that NumPy does not have


_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def _location(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _external_path(tensor: TensorProto, what: str, folder: Path | None) -> Path:
    """The file of external data, which must lie in the model's folder."""
    location = _location(tensor).get("location", "")
    if folder is None:
        raise ConvertError(f"{what} must be in the model, which came from no file, got external data {location!r}")
    root, path = folder.resolve(), Path(location)
    if not location or path.is_absolute() or "\0" in location or not (root / path).resolve().is_relative_to(root):
        raise ConvertError(f"external data of {what} must be in the model's folder, got {location!r}")
    return (root / path).resolve()


def _external_place(tensor: TensorProto, what: str, folder: Path | None) -> tuple[Path, int, int]:
    """The file of external data, and where in it the bytes of a tensor begin and how many they are."""
    path, entries = _external_path(tensor, what, folder), _location(tensor)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "none"
        raise ConvertError(
            f"file {entries['location']!r} of external data must be in the folder of the model, got {got}: copy it "
            "there under that name, or save the model again as one file"
        )
    size = path.stat().st_size
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", max(size - offset, 0)))
    except ValueError as error:
        raise ConvertError(f"offset and length of {what} must be integers, got {entries}") from error
    if not 0 <= offset <= offset + length <= size or elements(tensor.dims) > 2 * length:
        raise ConvertError(
            f"external data of {what} must hold shape {list(tensor.dims)} within the {size} bytes of "
            f"{entries['location']!r}, got {length} from {offset}: is that the file of this model, and whole?"
        )
    return path, offset, length


def _external(tensor: TensorProto, what: str, folder: Path | None) -> TensorProto:
    """The tensor with its external bytes in it."""
    path, offset, length = _external_place(tensor, what, folder)
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(length)
    return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=data)


def _external_sizes(proto: ModelProto, folder: Path | None) -> list[int]:
    """Bytes of every external file of the initializers; one that cannot hold them is an error at once."""
    found, problems = {}, []
    for tensor in proto.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            what = f"initializer {tensor.name!r}"
            try:
                path, _, _ = _external_place(tensor, what, folder)
                found[path] = path.stat().st_size
            except ConvertError as error:
                problems.append(str(error))
    if problems:
        raise ConvertError(listed(problems))
    return list(found.values())
