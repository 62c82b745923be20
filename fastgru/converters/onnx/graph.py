"""Runs through an ONNX graph once: folds what is known, inlines branches and functions, translates the rest."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TypeProto, helper

from ..._hints import option
from ...errors import ConvertError, GraphError
from ..damage import MALFORMED
from ..program.emit import Emitter
from ..program.sizes import Dim
from ..program.values import Array, Tensor, Unavailable, Value, is_symbolic
from . import control, counting, dynamic, pairs, sequences, sorting, symbols
from .call import Attributes, Call, NotConstant
from .exposed import Trail
from .folding import Folder
from .invariants import invariants
from .operators import OPERATORS
from .reading import DEEPEST, DEFAULT_DOMAINS, Source, needed_by

MOST_NODES = 50_000  # functions may call functions: what a small file can unfold to has no other bound
MOST_PROBLEMS = 100

# Values that are no tensors, and the function that translates the nodes that read them; where it gives None, they are
# like others.
STEPWISE: tuple[tuple[type, Any], ...] = (
    (counting.StepNumber, counting.by_number), (counting.Lasting, counting.lasting),
    (dynamic.Pending, dynamic.reading), *((kind, pairs.translated) for kind in pairs.PAIRS),
)  # fmt: skip

Scope = ChainMap[str, Value]


class TooLarge(ConvertError):
    """A model unfolds to more than is worth a look at the rest of it."""


class Translator:
    """Translates nodes in order; problems are collected, and what depends on them is skipped."""

    def __init__(self, source: Source, emit: Emitter) -> None:
        self.source = source
        self.emit = emit
        self.problems: list[str] = []
        self.variable: frozenset[str] = frozenset()  # inputs that would have to be constant
        self.notes: list[str] = []  # what a user should know
        self.unsupported: dict[tuple[str, str], list[str]] = {}
        self.trail = Trail()
        self.folder = Folder(source.opsets, source.size)
        self._functions = source.functions
        self._nodes = 0
        self._bodies = 0  # of loops that are being gone through

    def report(self) -> list[str]:
        """Every problem met so far; operators without a translation first, each with its nodes."""
        found = [
            f"operator must be one that fastgru imports, got {f'{domain}::' * bool(domain)}{kind} at "
            f"node{'s' * (len(names) > 1)} {', '.join(map(repr, names[:20]))}{', ...' * (len(names) > 20)} "
            "(onnx.utils.extract_model takes the part of a model before or behind a node)"
            for (domain, kind), names in sorted(self.unsupported.items())
        ]
        found += self.problems
        return found[:MOST_PROBLEMS] + [f"and {len(found) - MOST_PROBLEMS} more"] * (len(found) > MOST_PROBLEMS)

    def graph(self, graph: GraphProto, scope: Scope) -> list[Value]:
        """The outputs of a graph whose inputs, and outer values, are in `scope`, which its own values join."""
        outputs = [output.name for output in graph.output]
        needed = needed_by(graph.node, outputs)
        for tensor in graph.initializer:
            if tensor.name in needed and tensor.name not in scope:
                scope[tensor.name] = self._initializer(tensor)
        for sparse in graph.sparse_initializer:
            if sparse.values.name in needed:
                self.problems.append(f"initializer {sparse.values.name!r} must be dense, got a sparse one")
                scope[sparse.values.name] = Unavailable()
        self.nodes(graph.node, needed, scope, self.source.opsets, 0)
        return [self._returned(scope, name, "output") for name in outputs]

    def _returned(self, scope: Scope, name: str, what: str) -> Value:
        """An output of a graph, which is a tensor."""
        value = self._found(scope, name, what)
        pending: Any = value  # of a kind that no value of the shared program is
        if not isinstance(pending, dynamic.Pending):
            return value
        try:
            return pending.tensor(Call.outside(name, self.source, self.emit))
        except ConvertError as error:
            self.problems.append(f"{what} {name!r}: {error}")
            return Unavailable()

    def _initializer(self, tensor: Any) -> Value:
        try:
            return self.source.array(tensor, f"initializer {tensor.name!r}")
        except ConvertError as error:
            self.problems.append(str(error))
            return Unavailable()

    def _found(self, scope: Scope, name: str, what: str) -> Value:
        if name not in scope:
            self.problems.append(f"{what} must be a value of the graph, got {name!r}")
            scope[name] = Unavailable()
        return scope[name]

    def nodes(
        self, nodes: Sequence[NodeProto], needed: set[str], scope: Scope, opsets: Mapping[str, int], depth: int,
        stem: str | None = None,
    ) -> None:  # fmt: skip
        """Evaluate the nodes that are needed, writing their outputs to `scope`."""
        if depth > DEEPEST:
            raise TooLarge(f"functions and branches must be nested at most {DEEPEST} deep, got more")
        for node in nodes:
            if needed.isdisjoint(node.output):
                continue
            if not depth:
                self._spend(1)
            if node.domain in DEFAULT_DOMAINS and node.domain:
                copy = NodeProto()
                copy.CopyFrom(node)
                copy.domain = ""
                node = copy
            name = stem or node.name or next((o for o in node.output if o), node.op_type)
            inputs = [self._found(scope, n, f"input of node {name!r}") if n else None for n in node.input]
            outputs = self._checked(node, name, inputs, scope, opsets, depth)
            self.trail.note(node, name, outputs)
            outputs += [Unavailable(f"output {i} of {node.op_type} is not computed") for i in
                        range(len(outputs), len(node.output))]  # fmt: skip
            scope.update((n, v) for n, v in zip(node.output, outputs, strict=False) if n)

    def _spend(self, nodes: int) -> None:
        """Count nodes that are looked at, of functions and branches all of them."""
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise TooLarge(f"model must have at most {MOST_NODES} nodes when unfolded, got more")

    def _checked(
        self, node: NodeProto, name: str, inputs: list[Value], scope: Scope, opsets: Mapping[str, int], depth: int
    ) -> list[Value]:
        """A node's outputs, or unavailable ones and a note of what is wrong."""
        failed: list[Value] = [Unavailable()] * len(node.output)
        missing = [v for v in inputs if isinstance(v, Unavailable)]
        if missing:
            self.problems += [f"node {name!r} ({node.op_type}): {v.reason}" for v in missing if v.reason]
            return failed
        try:
            outputs = self._evaluate(node, name, inputs, scope, opsets, depth)
        except TooLarge:
            raise
        except (ConvertError, GraphError) as error:
            self.problems.append(f"node {name!r} ({node.op_type}): {error}")
            self.variable |= getattr(error, "inputs", frozenset())
            return failed
        except MALFORMED as error:
            self.problems.append(
                f"node {name!r} ({node.op_type}): attributes and inputs must fit the operator, "
                f"got {type(error).__name__}: {error}"
            )
            return failed
        if outputs is None:
            self.unsupported.setdefault((node.domain, node.op_type), []).append(name)
            return failed
        return outputs

    def _evaluate(
        self, node: NodeProto, name: str, inputs: list[Value], scope: Scope, opsets: Mapping[str, int], depth: int
    ) -> list[Value] | None:
        key = (node.domain, node.op_type)
        version = opsets.get(node.domain, 1)
        call = Call(node, name, inputs, Attributes(node, version, self.source), version, self.emit)
        if key == ("", "If"):
            return self._branch(call, scope, opsets, depth)
        if key in (("", "Scan"), ("", "Loop")):
            dynamic.settled(call)
            return self._looped(call, scope, opsets, depth)
        if node.domain == "" and (listed := sequences.translated(call)) is not None:
            return listed
        if node.domain == "" and (rows := sorting.translated(call)) is not None:
            return rows
        special = next((handler for kind, handler in STEPWISE if any(isinstance(v, kind) for v in inputs)), None)
        if special is not None:
            found: list[Value] | None = special(call)
            if found is not None:
                return found
            inputs = call.inputs
        if self._bodies:
            control.refuse_mixed(inputs)
        if key in self._functions:
            return self._inline(self._functions[key], node, inputs, depth, name)
        if all(not isinstance(v, Tensor) for v in inputs):
            known = self._known(call)
            if known is not None:
                return known
        if key in OPERATORS:
            result: Any = OPERATORS[key](call)
            ignored = call.attributes.ignored()
            if ignored:
                raise ConvertError("; ".join(ignored))
            return list(result) if isinstance(result, tuple | list) else [result]
        body = _defined_function(node, version, inputs)
        return None if body is None else self._inline(body, node, inputs, depth, name)

    def _known(self, call: Call) -> list[Value] | None:
        """The outputs of a node with no computed input."""
        if (call.node.domain, call.node.op_type) == ("", "Constant"):
            return [_constant(call)]
        if any(is_symbolic(v) for v in call.inputs):
            symbolic = symbols.evaluate(call)
            return None if symbolic is None else list(symbolic)
        arrays = [v if isinstance(v, np.ndarray) else None for v in call.inputs]
        folded = self.folder.fold(call.node, arrays)
        return None if folded is None else list(folded)

    def _branch(self, call: Call, scope: Scope, opsets: Mapping[str, int], depth: int) -> list[Value]:
        """The outputs of the branch that an If takes, or of both where that is only known when the model runs."""
        condition = call.value(0)
        if isinstance(condition, Tensor):
            return self._either(call, condition, scope, opsets, depth)
        if is_symbolic(condition):
            raise ConvertError("condition must be constant, got sizes of batch or time")
        branch = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
        with self.trail.branch(call.node, branch):
            return self._through(call, branch, scope, opsets, depth)

    def _either(
        self, call: Call, condition: Tensor, scope: Scope, opsets: Mapping[str, int], depth: int
    ) -> list[Value]:
        """Return what a condition chooses of the outputs of both branches."""
        if any(n != 1 for n in condition.sizes()):
            raise ConvertError(f"condition must be one truth value for all rows, got {condition}")
        branches, before = [], (len(self.problems), len(self.unsupported))
        for branch in ("then_branch", "else_branch"):
            with self.trail.function():
                branches.append(self._through(call, branch, scope, opsets, depth))
        origins = call.emit.origins(condition.value)
        told = f"; {option('fix')} for {', '.join(map(repr, sorted(origins)))} takes one" if origins else ""
        if (len(self.problems), len(self.unsupported)) != before:
            self.problems.insert(
                before[0],
                f"node {call.name!r} (If): both branches must be imported where the condition is computed{told}",
            )
            self.variable |= origins
        chosen = call.reshape(call.cast(condition.value, "bool"), ())
        try:
            found = [control.chosen(call, chosen, a, b) for a, b in zip(*branches, strict=True)]
        except ConvertError as error:
            raise NotConstant(f"{error}{told}", origins) from error
        self.notes.append(f"both branches of {call.name} run, and its condition chooses between their outputs")
        return found

    def _through(self, call: Call, branch: str, scope: Scope, opsets: Mapping[str, int], depth: int) -> list[Value]:
        """The outputs of a branch."""
        graph = call.attributes.graph(branch)
        self._spend(len(graph.node))
        inner = scope.new_child()
        names = [output.name for output in graph.output]
        needed = needed_by(graph.node, names)
        inner.update((t.name, self._initializer(t)) for t in graph.initializer if t.name in needed)
        self.nodes(graph.node, needed, inner, opsets, depth + 1)
        return [self._returned(inner, n, "output of a branch") for n in names]

    def _looped(self, call: Call, scope: Scope, opsets: Mapping[str, int], depth: int) -> list[Value]:
        """The outputs of a Scan or a Loop."""
        graph = call.attributes.graph("body")
        scan = call.node.op_type == "Scan"
        sequences = int(call.attr("num_scan_inputs", 0)) if scan else 0
        same = invariants(call.node, graph, sequences)
        names = same.rest([output.name for output in graph.output], same.before)
        given = same.rest([v.name for v in graph.input], same.first)
        needed = needed_by(graph.node, names)
        inputs = call.inputs
        call.inputs = [v for i, v in enumerate(inputs) if i not in same.states.values()]

        def body(values: Sequence[Any]) -> list[Any]:
            self._spend(len(graph.node))
            if len(values) != len(given):
                raise ConvertError(
                    f"body must have {len(values) + len(same.states)} inputs, got {len(given) + len(same.states)}"
                )
            inner = scope.new_child()
            inner.update((t.name, self._initializer(t)) for t in graph.initializer if t.name in needed)
            inner.update((name, inputs[place]) for name, place in same.states.items())
            inner.update(zip(given, values, strict=True))
            self._bodies += 1
            with self.trail.function():
                self.nodes(graph.node, needed, inner, opsets, depth + 1)
            self._bodies -= 1
            return [self._returned(inner, n, "output of a body") for n in names]

        found = control.scan(call, sequences, len(names), body) if scan else control.loop(call, body)
        broken = [v for v in found if isinstance(v, Unavailable) and v.reason is None]
        return [Unavailable()] * len(call.node.output) if broken else same.joined(found, inputs)

    def _inline(
        self, function: FunctionProto, node: NodeProto, inputs: list[Value], depth: int, name: str
    ) -> list[Value]:
        """The outputs of a function called by `node`."""
        self._spend(len(function.node))
        scope: Scope = ChainMap(dict.fromkeys(function.input))
        scope.update(zip(function.input, inputs, strict=False))
        given = {a.name: a for a in function.attribute_proto} | {a.name: a for a in node.attribute}
        opsets = {("" if o.domain in DEFAULT_DOMAINS else o.domain): o.version for o in function.opset_import}
        body = [_with_attributes(n, given) for n in function.node]
        needed = needed_by(body, [n for n, o in zip(function.output, node.output, strict=False) if o])
        with self.trail.function():
            self.nodes(body, needed, scope, {**self.source.opsets, **opsets}, depth + 1, name)
        wanted = [n if o else "" for n, o in zip(function.output, node.output, strict=False)]
        return [self._found(scope, n, "output of a function") if n else None for n in wanted]


def _constant(call: Call) -> Array:
    """The value of a Constant node."""
    for name, dtype in (("value_float", np.float32), ("value_int", np.int64), ("value_floats", np.float32),
                        ("value_ints", np.int64)):  # fmt: skip
        if name in call.attributes:
            return np.asarray(call.attr(name), dtype=dtype)
    if "value" not in call.attributes:
        raise ConvertError("constant must be a tensor or numbers, got none")
    return np.asarray(call.attr("value"))


def _with_attributes(node: NodeProto, given: Mapping[str, AttributeProto]) -> NodeProto:
    """A node of a function's body with the attributes that refer to the function's own."""
    if not any(a.ref_attr_name for a in node.attribute):
        return node
    copy = NodeProto()
    copy.CopyFrom(node)
    del copy.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            copy.attribute.append(attribute)
        elif attribute.ref_attr_name in given:
            copy.attribute.append(given[attribute.ref_attr_name])
            copy.attribute[-1].name = attribute.name
    return copy


# Functions that define an operator in onnx itself --------------------------------------------------


def _defined_function(node: NodeProto, version: int, inputs: Sequence[Value]) -> FunctionProto | None:
    """The body by which ONNX defines an operator, if it does."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return None
    function = FunctionProto()
    fixed, typed = (
        [v for v in versions if v <= version] or list(versions)[:1]
        for versions in (schema.function_opset_versions, schema.context_dependent_function_opset_versions)
    )
    if fixed:
        function.ParseFromString(schema.get_function_with_opset_version(max(fixed)))
    elif typed:
        types = [_type(v).SerializeToString() for v in inputs]
        data = schema.get_context_dependent_function_with_opset_version(max(typed), node.SerializeToString(), types)
        function.ParseFromString(data)
    if not function.node:
        return None
    given = {a.name for a in function.attribute_proto}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.type != AttributeProto.UNDEFINED:
            function.attribute_proto.append(attribute.default_value)
    return function


def _type(value: Value) -> TypeProto:
    if isinstance(value, Tensor):
        shape = [str(n) if isinstance(n, Dim) else n for n in value.sizes()]
        return helper.make_tensor_type_proto(value.elem, shape)
    if isinstance(value, np.ndarray):
        return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
    return TypeProto()
