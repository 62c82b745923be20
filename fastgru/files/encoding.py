"""The JSON header of a ``.fgru`` file: from a graph and its self-test to plain values and tensors, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks.samples import MOST_ID, id_bound
from ..checks.selftest import SelfTest
from ..errors import FileFormatError, GraphError
from ..graph import OPS, PRECISIONS, Graph, Node, Op, Spec, precision_of
from ..graph.op import held
from . import matrices
from .attributes import ATTRIBUTES, entries, expect, fields_of, short, written

Array = NDArray[Any]

FORMAT_VERSION = 2
UNSHARED_VERSION = 1  # of files in which each tensor is used once, so that readers that know no other can read them
MODEL_DTYPES = ("float32", "float64")
SPEC_DTYPES = ("float", "int", "bool")
REQUIRED = dataclasses.MISSING  # the default of a field that has none
MAX_NODES = 10_000
MAX_AXES = 6  # of an input's frame: a tensor of the file has up to 8
INPUT_TYPES = {"float": matrices.FLOATS, "int": ("int64",), "bool": ("int8",)}
ENTRIES = ("format_version", "graph", "options", "provenance", "self_test", "crc32")


def _name(value: Any, what: str) -> str:
    """`value` if it is text that can be written as UTF-8."""
    name: str = expect(value, str, what)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FileFormatError(f"{what} must be valid Unicode, got {short(name)}") from error
    return name


def _names(value: Any, what: str) -> tuple[str, ...]:
    return tuple(_name(item, what) for item in expect(value, list, what))


# Encoding ----------------------------------------------------------------------------------------


def encode(
    graph: Graph, dtype: str, provenance: Mapping[str, str], self_test: SelfTest | None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The header without its checksum, and the tensors it names."""
    found = _Written()
    inputs = [
        {"name": name, "shape": [int(n) for n in spec.shape], "time": spec.time, "dtype": spec.dtype}
        for name, spec in graph.inputs.items()
    ]
    nodes = [_encode_node(node, found) for node in graph.nodes]
    if len(nodes) > MAX_NODES:
        raise FileFormatError(f"number of nodes must be at most {MAX_NODES}, got {len(nodes)}")
    if dtype not in MODEL_DTYPES:
        raise FileFormatError(f"dtype must be one of {', '.join(MODEL_DTYPES)}, got {short(dtype)}")
    _check_precisions(graph, dtype)
    parts = {"inputs": inputs, "nodes": nodes, "outputs": list(graph.outputs)}
    header = {
        "format_version": FORMAT_VERSION if found.shared else UNSHARED_VERSION,
        "graph": {**parts, "feedback": graph.feedback} if graph.feedback else parts,
        "options": {"dtype": dtype},
        "provenance": _provenance(dict(provenance)),
        "self_test": None if self_test is None else _encode_test(self_test, found.tensors),
    }
    for value in graph.specs:
        _name(value, "name of a value")
    return header, found.tensors


class _Written:
    """The tensors of a file while it is made: one for each array of the graph and each precision that stores it.

    Attributes
    ----------
    tensors : dict of str to array
    shared : bool
        True if any of them stores the weights of several fields.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Array] = {}
        self.shared = False
        self._names: dict[tuple[int, str], list[str]] = {}

    def weight(self, op: Op, field: str, stem: str) -> dict[str, str]:
        """The names of the tensors that store a field, by key; `stem` begins those of new ones."""
        array, precision = op.weights()[field], op.stored_as(field)
        names = self._names.get((id(array), precision))
        if names is None:
            packed = matrices.pack(op, field)
            names = [self._store(f"{stem}.{key}", part) for key, part in packed.items()]
            self._names[id(array), precision] = names
        else:
            self.shared = True
        return dict(zip(matrices.layout(type(op), field, precision), names, strict=True))

    def _store(self, name: str, array: Array) -> str:
        """Put `array` under `name`, or one like it: a node "a.weight" may have the "scale" that int8 gives "a"."""
        while name in self.tensors:
            name += "_"
        self.tensors[name] = array
        return name


def _encode_node(node: Node, tensors: _Written) -> dict[str, Any]:
    op, where = node.op, f"node {short(node.name)}"
    if OPS.get(op.kind) is not type(op):
        raise FileFormatError(f"{where} must be one of {', '.join(OPS)}, got {type(op).__name__}")
    attributes = {}
    for name, annotation in written(op).items():
        row = ATTRIBUTES[annotation]
        attributes[name] = row.encode(getattr(op, name))
        if not row.accepts(attributes[name]):
            raise FileFormatError(f"{name} of {where} must be {row.expected}, got {short(attributes[name])}")
    stem = _name(node.name, "name of a node")
    weights = {key: name for field in op.weights() for key, name in tensors.weight(op, field, stem).items()}
    return {
        "name": node.name, "op": op.kind, "attributes": attributes, "weights": weights,
        "inputs": list(node.inputs), "outputs": list(node.outputs),
    }  # fmt: skip


def _check_precisions(graph: Graph, dtype: str) -> None:
    """Refuse reduced weights in a model that computes in float64."""
    for node in graph.nodes:
        if dtype != "float32" and (precision := precision_of(node.op)) != "float32":
            raise FileFormatError(f"precision of node {short(node.name)} must be float32 in {dtype}, got {precision!r}")


def _encode_test(test: SelfTest, tensors: dict[str, Array]) -> dict[str, Any]:
    outputs = [f"self_test.outputs.{i}" for i in range(len(test.outputs))]
    tensors.update(zip(outputs, map(np.ascontiguousarray, test.outputs), strict=True))
    inputs: Any = "self_test.input"
    if isinstance(test.input, Mapping):
        inputs = {name: f"{inputs}.{name}" for name in test.input}
        tensors.update((inputs[name], _stored(array)) for name, array in test.input.items())
    else:
        tensors[inputs] = _stored(test.input)
    source = _name(test.source, "source of the self-test")
    return {"seed": int(test.seed), "source": source, "input": inputs, "outputs": outputs}


def _stored(array: Array) -> Array:
    """An input as a tensor: masks as int8."""
    return np.ascontiguousarray(array, dtype=np.int8 if array.dtype == bool else None)


def _provenance(value: Any) -> dict[str, str]:
    found = expect(value, dict, "provenance")
    return {_name(k, "key of provenance"): _name(v, f"provenance {short(k)}") for k, v in found.items()}


# Decoding ----------------------------------------------------------------------------------------


class _Tensors:
    """The tensors of a file: all must be taken, those of the self-test once, and weights as often as nodes share them.

    In a file of the version before sharing, every tensor is taken once.
    """

    def __init__(self, tensors: Mapping[str, Array], version: int) -> None:
        self._all, self._left = tensors, set(tensors)
        self._shares = version > UNSHARED_VERSION
        self._weights: dict[tuple[str, ...], Array] = {}
        self._again = False  # whether any was taken twice

    def take(self, name: Any, what: str, types: tuple[str, ...] = matrices.FLOATS, *, weight: bool = False) -> Array:
        name = expect(name, str, f"tensor name of {what}")
        again = weight and self._shares
        if name not in (self._all if again else self._left):
            expected = "a tensor of the file" if again else "a tensor not used before"
            raise FileFormatError(f"{what} must name {expected}, got {short(name)}")
        self._again = self._again or name not in self._left
        self._left.discard(name)
        array = self._all[name]
        if array.dtype.name not in types:
            raise FileFormatError(f"{what} must be a tensor of {' or '.join(types)}, got {array.dtype}")
        return array

    def weight(self, key: tuple[str, ...], make: Callable[[], Array]) -> Array:
        """The one array that tensors hold, `key` their names and how they store it; made when first asked for."""
        if key not in self._weights:
            self._weights[key] = held(make())
        return self._weights[key]

    def finish(self) -> None:
        if self._left:
            unused = short(sorted(self._left))
            raise FileFormatError(f"every tensor must be used by a node or the self-test, got {unused}")
        if self._shares and not self._again:
            raise FileFormatError(
                f"format_version must be {UNSHARED_VERSION}, got {FORMAT_VERSION}: no nodes share a tensor"
            )


def decode(header: dict[str, Any], arrays: Mapping[str, Array]) -> tuple[Graph, str, dict[str, str], SelfTest | None]:
    """Graph, dtype, provenance and self-test out of a header and the file's tensors.

    Raises
    ------
    FileFormatError
        When they do not fit each other or this version.
    """
    version = header.get("format_version")
    if type(version) is not int or version not in (UNSHARED_VERSION, FORMAT_VERSION):
        known = f"{UNSHARED_VERSION} or {FORMAT_VERSION}"
        raise FileFormatError(f"format_version must be {known}, got {short(version)}")
    entries(header, ENTRIES, "header")
    dtype = entries(header["options"], ("dtype",), "options")["dtype"]
    if dtype not in MODEL_DTYPES:
        raise FileFormatError(f"dtype in options must be one of {', '.join(MODEL_DTYPES)}, got {short(dtype)}")
    tensors = _Tensors(arrays, version)
    graph = _decode_graph(header["graph"], tensors)
    _check_precisions(graph, dtype)
    test = None if header["self_test"] is None else _decode_test(header["self_test"], graph, tensors)
    tensors.finish()
    return graph, dtype, _provenance(header["provenance"]), test


def _decode_graph(value: Any, tensors: _Tensors) -> Graph:
    parts = entries(value, ("inputs", "nodes", "outputs"), "graph", optional=("feedback",))
    inputs: dict[str, Spec] = {}
    for item in expect(parts["inputs"], list, "inputs of the graph"):
        name, spec = _decode_input(item)
        if name in inputs:
            raise FileFormatError(f"name of an input must be unique, got {short(name)} twice")
        inputs[name] = spec
    items = expect(parts["nodes"], list, "nodes of the graph")
    if len(items) > MAX_NODES:
        raise FileFormatError(f"number of nodes must be at most {MAX_NODES}, got {len(items)}")
    nodes = [_decode_node(i, item, tensors) for i, item in enumerate(items)]
    fed = expect(parts.get("feedback", {}), dict, "feedback of the graph")
    feedback = {name: _name(source, f"feedback of {short(name)}") for name, source in fed.items()}
    try:
        return Graph(inputs, nodes, _names(parts["outputs"], "outputs of the graph"), feedback)
    except GraphError as error:
        raise FileFormatError(f"graph: {error}") from error


def _decode_input(item: Any) -> tuple[str, Spec]:
    parts = entries(item, ("name", "shape", "time", "dtype"), "input of the graph")
    name = _name(parts["name"], "name of an input")
    where = f"of input {short(name)}"
    shape = expect(parts["shape"], list, f"shape {where}")
    if len(shape) > MAX_AXES or not all(type(n) is int and 0 < n < 2**31 for n in shape):
        raise FileFormatError(f"shape {where} must be up to {MAX_AXES} positive integers, got {short(shape)}")
    if parts["dtype"] not in SPEC_DTYPES:
        raise FileFormatError(f"dtype {where} must be one of {', '.join(SPEC_DTYPES)}, got {short(parts['dtype'])}")
    time = expect(parts["time"], bool, f"time {where}")
    try:
        return name, Spec(tuple(shape), time, parts["dtype"])
    except GraphError as error:
        raise FileFormatError(f"shape {where}: {error}") from error


def _decode_node(index: int, item: Any, tensors: _Tensors) -> Node:
    parts = entries(item, ("name", "op", "attributes", "weights", "inputs", "outputs"), f"node {index}")
    name = _name(parts["name"], f"name of node {index}")
    where = f"node {short(name)}"
    kind = expect(parts["op"], str, f"op of {where}")
    if kind not in OPS:
        raise FileFormatError(f"op of {where} must be one of {', '.join(OPS)}, got {short(kind)}")
    annotations = fields_of(OPS[kind])[0]
    fields = dict(expect(parts["attributes"], dict, f"attributes of {where}"))
    for field, value in fields.items():
        if field not in annotations:
            allowed = f"one of {', '.join(annotations)}" if annotations else f"omitted for {kind}"
            raise FileFormatError(f"attribute of {where} must be {allowed}, got {short(field)}")
        row = ATTRIBUTES[annotations[field]]
        if not row.accepts(value):
            raise FileFormatError(f"{field} of {where} must be {row.expected}, got {short(value)}")
    required = [f.name for f in dataclasses.fields(OPS[kind]) if f.name in annotations and f.default is REQUIRED]
    if missing := [field for field in required if field not in fields]:
        raise FileFormatError(f"attributes of {where} must have {', '.join(required)}, got no {', '.join(missing)}")
    precision = fields.get("precision", "float32")
    if precision not in PRECISIONS:
        raise FileFormatError(f"precision of {where} must be one of {', '.join(PRECISIONS)}, got {short(precision)}")
    fields.update(_decode_weights(OPS[kind], precision, parts["weights"], tensors, where))
    try:
        op = OPS[kind](**fields)
    except GraphError as error:
        raise FileFormatError(f"{where}: {error}") from error
    inputs, outputs = (_names(parts[key], f"{key} of {where}") for key in ("inputs", "outputs"))
    return Node(name, op, inputs, outputs)


def _decode_weights(op: type[Op], precision: str, value: Any, tensors: _Tensors, where: str) -> dict[str, Array]:
    """The arrays of an op's fields out of the tensors that `value` names by key."""
    weights = expect(value, dict, f"weights of {where}")
    optional = fields_of(op)[1]
    keys = {field: matrices.layout(op, field, precision) for field in optional}
    allowed = [key for each in keys.values() for key in each]
    wanted = {key for field, each in keys.items() if field in weights or not optional[field] for key in each}
    if set(weights) != wanted:
        raise FileFormatError(f"weights of {where} must be of {', '.join(allowed)}, got {short(sorted(weights))}")
    found = {}
    for field, each in keys.items():
        if field not in weights:
            continue
        stored = {
            key: tensors.take(weights[key], f"{key} of {where}", types, weight=True) for key, types in each.items()
        }
        reduced = precision if field in op.matrices else "float32"
        found[field] = tensors.weight(
            (reduced, *(weights[key] for key in each)), partial(_decoded, stored, field, reduced, where)
        )
    return found


def _decoded(stored: Mapping[str, Array], field: str, precision: str, where: str) -> Array:
    return stored[field] if precision == "float32" else matrices.unpack(stored, field, precision, where)


def _decode_test(value: Any, graph: Graph, tensors: _Tensors) -> SelfTest:
    parts = entries(value, ("seed", "source", "input", "outputs"), "self_test")
    names = expect(parts["outputs"], list, "outputs of self_test")
    given = dict.fromkeys(graph.inputs, parts["input"])
    if len(graph.inputs) > 1:
        given = entries(parts["input"], tuple(graph.inputs), "input of self_test")
    if len(names) != len(graph.outputs):
        counts = f"{len(graph.inputs)} input and {len(graph.outputs)} outputs"
        raise FileFormatError(f"self_test must be of {counts}, got {len(given)} and {len(names)}")
    inputs = {name: _decode_test_input(name, spec, given[name], tensors) for name, spec in graph.inputs.items()}
    _check_test_ids(graph, inputs)
    outputs = tuple(tensors.take(name, f"output {i} of self_test") for i, name in enumerate(names))
    _check_test_shapes(graph, inputs, outputs)
    x = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    return SelfTest(expect(parts["seed"], int, "seed"), x, outputs, _name(parts["source"], "source of self_test"))


def _decode_test_input(name: str, spec: Spec, tensor: Any, tensors: _Tensors) -> Array:
    what = f"input {short(name)} of self_test"
    x = tensors.take(tensor, what, INPUT_TYPES[spec.dtype])
    if spec.dtype == "int" and not (x.min() >= -(2**31) and x.max() <= 2**31):
        raise FileFormatError(f"ids of {what} must be small, got {int(x.min())}..{int(x.max())}")
    if spec.dtype == "bool" and not np.isin(x, (0, 1)).all():
        raise FileFormatError(f"{what} must be 0 and 1, got {int(x.max())}")
    return x.astype(bool) if spec.dtype == "bool" else x


def _check_test_ids(graph: Graph, inputs: Mapping[str, Array]) -> None:
    """Raise unless ids lie inside the tables that look them up by the input itself."""
    for name, x in inputs.items():
        bound = id_bound(graph, name, MOST_ID) if graph.inputs[name].dtype == "int" else MOST_ID
        if bound < MOST_ID and not (x.min() >= -bound and x.max() < bound):
            got = f"{int(x.min())}..{int(x.max())}"
            raise FileFormatError(f"ids of input {short(name)} of self_test must be below {bound}, got {got}")


def _check_test_shapes(graph: Graph, inputs: Mapping[str, Array], outputs: tuple[Array, ...]) -> None:
    """Raise unless inputs and outputs have one batch, and the steps and frames of the graph."""
    rows = {name: (x, graph.inputs[name]) for name, x in inputs.items()}
    rows.update((name, (y, graph.specs[name])) for name, y in zip(graph.outputs, outputs, strict=True))
    wrong = {n: x.shape for n, (x, spec) in rows.items() if x.ndim != 1 + spec.time + len(spec.shape)}
    try:
        lengths = graph.lengths(
            {name: 0 if name in wrong else x.shape[1] for name, x in inputs.items() if graph.inputs[name].time}
        )
    except GraphError as error:
        raise FileFormatError(f"self_test must fit the graph, got: {error}") from error
    batch = next(iter(inputs.values())).shape[:1]
    for name, (x, spec) in rows.items():
        leading = (*batch, lengths[name]) if spec.time else batch
        if name in wrong or x.shape != (*leading, *spec.shape):
            what = "input" if name in inputs and len(inputs) == 1 else name
            raise FileFormatError(f"self_test must have {short(what)} of shape {spec}, got {x.shape}")
