"""Runs a TorchScript graph once, branch by known branch, on labelled values instead of tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...errors import ConvertError, listed
from ..program.sizes import Dim
from ..program.values import Tensor, Unavailable
from .call import Session
from .dispatch import Dispatcher, Missing, from_torch, leaves
from .places import public
from .script_scalars import CONTAINERS, DTYPES, OF_TENSORS, PLAIN, is_array, is_open

BRANCHING = ("prim::RaiseException", "prim::If", "prim::Loop")
MOST_STEPS = 100_000  # nodes run, loops unrolled
Attributes = dict[tuple[str, str], Any]  # what the module has stored: path and name of an attribute to its value
# What hands on its only argument.
SAME = {"prim::unchecked_cast", "prim::unchecked_unwrap_optional", "aten::_unwrap_optional", "prim::data"}
SILENT = {"aten::warn", "prim::Print", "aten::_assert"}
VIEWS = {f"aten::{name}" for name in ("slice", "select", "expand", "narrow", "unbind", "chunk", "split", "diagonal")}
WHOLE_VIEWS = {
    f"aten::{name}"
    for name in (
        "view",
        "reshape",
        "flatten",
        "transpose",
        "permute",
        "squeeze",
        "unsqueeze",
        "t",
        "contiguous",
        "detach",
    )
}


class _Unsafe(ConvertError):
    """A change in place that later reads could miss."""


class Object:
    """A module that the script reads attributes of."""

    def __init__(self, path: str, module: Any) -> None:
        self.path, self.module = path, module


class ScriptInterpreter:
    """Evaluates the nodes of a graph whose calls are inlined.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        Whose attributes are read.
    session : Session
    stored : dict
        Attributes that a run before this one has set; this one adds its own.
    """

    def __init__(self, module: Any, session: Session, stored: Attributes) -> None:
        self.module, self.session, self.stored = module, session, dict(stored)
        self.dispatcher = Dispatcher(session)
        self.values: dict[str, Any] = {}
        self.paths: dict[int, str] = {}  # of arrays, by identity
        self.kept: list[Any] = []  # so that no identity is used twice
        self.set: dict[tuple[str, str], None] = {}  # attributes that are assigned, in order
        self.count = 0

    def run(self, arguments: Mapping[str, Any]) -> Any:
        """Run the graph on arguments by name, and return its result."""
        graph = self.module.inlined_graph.copy()
        torch._C._jit_pass_dce(graph)
        own, *inputs = graph.inputs()
        self.values[own.debugName()] = Object("", self.module)
        names = [a.name for a in self.module.forward.schema.arguments][1:]
        for value, name in zip(inputs, names, strict=True):
            self.values[value.debugName()] = arguments[name]
        self.block(graph)
        (result,) = (self.values[v.debugName()] for v in graph.outputs())
        return result

    def block(self, block: Any) -> None:
        """All nodes of a graph or of a branch."""
        for node in block.nodes():
            self.count += 1
            if self.count > MOST_STEPS:
                raise ConvertError(f"script must run within {MOST_STEPS} calls, got more")
            try:
                results = self.evaluate(node)
            except (ConvertError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                if isinstance(error, _Unsafe) or (isinstance(error, ConvertError) and node.kind() in BRANCHING):
                    raise
                results = [self.dispatcher.missing(f"node {self.shown(node)}: {error}")] * node.outputsSize()
            for value, result in zip(node.outputs(), results, strict=True):
                self.values[value.debugName()] = result

    def shown(self, node: Any) -> str:
        """A node for a message."""
        return f"{node.kind()} ({place})" if (place := place_of(node)) else str(node.kind())

    def evaluate(self, node: Any) -> Sequence[Any]:
        """The results of one node."""
        kind: str = node.kind()
        if kind == "prim::Constant":
            return [self.constant(node)]
        args = [self.values[v.debugName()] for v in node.inputs()]
        if kind.startswith("prim::") and (method := getattr(self, f"_{kind[6:]}", None)):
            results: Sequence[Any] = method(node, args)
            return results
        if kind in SAME:
            return args[:1]
        if kind in SILENT:
            return [None] * node.outputsSize()
        lost = [v.causes for v in leaves(args) if isinstance(v, Missing)]
        if lost:
            return [Missing(causes=frozenset().union(*lost))] * node.outputsSize()
        if kind in CONTAINERS and (
            isinstance(args[0], list | tuple | dict) or kind in ("aten::__is__", "aten::__isnot__")
        ):
            return [CONTAINERS[kind](*args)]
        if kind in OF_TENSORS and (any(isinstance(a, Tensor | np.ndarray) for a in args) or kind.startswith("prim::")):
            return [OF_TENSORS[kind](*args)]
        name = kind.partition("::")[2]
        args = [a.item() if isinstance(a, np.ndarray) and a.ndim == 0 and any(isinstance(b, Dim) for b in args) else a
                for a in args]  # fmt: skip
        if name in PLAIN and not any(is_open(a) or is_array(a) for a in args):
            return [PLAIN[name](*args)]
        return self.call(node, kind, args)

    def constant(self, node: Any) -> Any:
        """A constant of the graph."""
        value = node.output().toIValue() if node.outputsSize() else None
        return from_torch(value) if isinstance(value, torch.Tensor | list) else value

    def call(self, node: Any, kind: str, args: list[Any]) -> Sequence[Any]:
        """The results of an operator on tensors; one that changes its input in place gives that input its result."""
        schema = torch._C.parse_schema(node.schema())
        name = schema.name.partition("::")[2]
        in_place = name.endswith("_") and not name.endswith("__")
        if in_place:
            name = name[:-1]
            _check_alone(node)
        elif schema.is_mutable:
            raise _Unsafe(f"call must not change its arguments, got {self.shown(node)}")
        op = _Operator(schema, name)
        positional = []
        keywords = {}
        for argument, value in zip(schema.arguments, args, strict=True):
            if argument.name == "dtype" and isinstance(value, int):
                value = DTYPES[value]
            if argument.kwarg_only:
                keywords[argument.name] = value
            else:
                positional.append(value)
        own, place = self.name(name, args), place_of(node)
        where = f"{own!r}{f' ({place})' * bool(place)}"
        result = self.dispatcher.call(op, positional, keywords, own, where, public(name))
        if in_place:
            self.values[node.inputsAt(0).debugName()] = result
        if isinstance(result, Unavailable):
            return [result] * node.outputsSize()
        return list(result) if node.outputsSize() > 1 else [result]

    def name(self, operator: str, args: Sequence[Any]) -> str:
        """The path of the module whose weights a call has, else the operator's name."""
        for value in args:
            path = self.paths.get(id(value), "")
            if "." in path:
                return path.rpartition(".")[0]
        return operator

    # What is no operator ------------------------------------------------------------------------

    def _GetAttr(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        name = node.s("name")
        key = (args[0].path, name)
        if key in self.stored:
            return [self.stored[key]]
        path = f"{args[0].path}.{name}".lstrip(".")
        value = getattr(args[0].module, name)
        if isinstance(value, torch.nn.Module | torch.jit.ScriptModule):
            return [Object(path, value)]
        value = from_torch(value)
        for array in leaves([value]):
            self.paths[id(array)] = path
        self.kept.append(value)
        return [value]

    def _SetAttr(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        key = (args[0].path, node.s("name"))
        self.stored[key] = args[1]
        self.set[key] = None
        return []

    def _If(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        if not isinstance(args[0], bool):
            if problems := self.dispatcher.report(args[0]):
                raise ConvertError(f"condition must be known: {listed(problems)}")
            raise ConvertError(f"condition must be known, got one that is computed ({place_of(node)})")
        branch = list(node.blocks())[0 if args[0] else 1]
        self.block(branch)
        return [self.values[v.debugName()] for v in branch.outputs()]

    def _Loop(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        (body,) = node.blocks()
        count, going, *carried = args
        if not isinstance(count, int) or not isinstance(going, bool):
            raise ConvertError(f"number of repetitions must be known, got {count} ({place_of(node)})")
        counter, *inputs = body.inputs()
        i = 0
        while i < count and going:
            self.values[counter.debugName()] = i
            for value, given in zip(inputs, carried, strict=True):
                self.values[value.debugName()] = given
            self.block(body)
            going, *carried = (self.values[v.debugName()] for v in body.outputs())
            if not isinstance(going, bool):
                raise ConvertError(f"condition of a loop must be known, got one that is computed ({place_of(node)})")
            i += 1
        return carried

    def _RaiseException(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        raise ConvertError(f"script must take its arguments, got an error that it raises: {args[0]} ({place_of(node)})")

    def _Uninitialized(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        return [Unavailable("value must be set before it is read")]

    def _ListConstruct(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        return [list(args)]

    def _TupleConstruct(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        return [tuple(args)]

    def _DictConstruct(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        return [dict(zip(args[::2], args[1::2], strict=True))]

    def _TupleIndex(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        return [args[0] if isinstance(args[0], Unavailable) else args[0][args[1]]]

    def _TupleUnpack(self, node: Any, args: Sequence[Any]) -> Sequence[Any]:
        return [args[0]] * node.outputsSize() if isinstance(args[0], Unavailable) else list(args[0])

    _ListUnpack = _TupleUnpack


class _Operator:
    """An operator as the dispatcher takes it: that of torch.ops where it is there."""

    def __init__(self, schema: Any, name: str) -> None:
        self._schema, self._name = schema, name
        self._overload = schema.overload_name

    @property
    def tags(self) -> Sequence[Any]:
        """The tags that PyTorch gives it."""
        found: Sequence[Any] = self._found().tags
        return found

    def name(self) -> str:
        """Its full name."""
        return f"aten::{self._name}" + f".{self._overload}" * bool(self._overload)

    def _found(self) -> Any:
        packet = getattr(torch.ops.aten, self._name)
        return getattr(packet, self._overload or "default", None) or packet.default

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._found()(*args, **kwargs)


def _check_alone(node: Any) -> None:
    """Raise unless what a call changes in place is seen by nothing but through its value.

    It may be a view of all of another tensor, if nothing else reads that one; and no view of it may be there already.
    """
    value = node.inputsAt(0)
    while value.node().kind() in WHOLE_VIEWS:
        value = value.node().inputsAt(0)
        if len(value.uses()) > 1:
            raise _Unsafe(f"call must not change a tensor in place that is read elsewhere too, got {node.kind()}")
    if value.node().kind() in VIEWS:
        raise _Unsafe(f"call must not change a part of a tensor in place, got {node.kind()} of {value.node().kind()}")
    value = node.inputsAt(0)
    for use in value.uses():
        if use.user.kind() in (*VIEWS, *WHOLE_VIEWS) and use.user.isBefore(node):
            raise _Unsafe(f"call must not change a tensor in place of which there is a view, got {node.kind()}")


def place_of(node: Any) -> str:
    """The line of source that a node comes from."""
    found = re.findall(r'File "([^"]+)", line (\d+)|([^\s:]+\.py):(\d+)', node.sourceRange())
    if not found:
        return ""
    file, line, other, number = found[-1]
    return f"line {line or number} of {(file or other).replace(chr(92), '/').rpartition('/')[2]}"
