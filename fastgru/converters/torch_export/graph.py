"""Runs through an exported program once, call by call, on labelled values instead of tensors."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence, Set
from typing import Any

import torch
from torch import fx
from torch.export.graph_signature import OutputKind

from ...errors import ConvertError, GraphError
from ..program.sizes import TIME, Size
from ..program.values import Tensor, Unavailable
from .axes import Argument, Layout
from .build import Input
from .call import Call, Session, Skipped, kind_of
from .counting import STACKED, Counted
from .dispatch import Dispatcher, Missing, from_torch
from .loop_body import Body, Step
from .loop_results import all_steps
from .places import name_of, place_of, shown, written_as
from .results import SIZES
from .simplify import independent, simplify
from .sizes import Sizes
from .unrolled import Loop, find

# Checks of what the exporter assumed; nothing reads them.
CHECKS = {"_assert_scalar", "_assert_tensor_metadata", "_assert_async", "sym_constrain_range",
          "sym_constrain_range_for_size"}  # fmt: skip


class ExportedProgram:
    """A program of torch.export, as `build` translates it."""

    def __init__(
        self, program: Any, names: Sequence[str], arguments: Sequence[Argument], layout: Layout,
        counted: Counted,
    ) -> None:  # fmt: skip
        self.program, self.names, self.counted = program, list(names), counted
        simplify(program.graph)
        self.independent = independent(program.graph) if counted.lengths else set()
        signature = program.graph_signature
        self.places = {a.name: signature.user_inputs[a.place] for a in arguments}
        self.inputs = [
            Input(a.name, layout[a.name], tuple(a.example.shape), kind_of(a.example.dtype)) for a in arguments
        ]
        self.buffers = {f"buffer {target}": f"buffer {target}" for target in signature.buffers_to_mutate.values()}
        placeholders = {target: name for name, target in signature.inputs_to_buffers.items()}
        for target in signature.buffers_to_mutate.values():
            array = from_torch(program.state_dict.get(target, program.constants.get(target)))
            own = Input(f"buffer {target}", (None,) * array.ndim, array.shape, kind_of(array.dtype), array)
            self.inputs.append(own)
            self.places[own.name] = placeholders[target]
        if signature.user_inputs_to_mutate:
            changed = ", ".join(signature.user_inputs_to_mutate.values())
            raise ConvertError(f"arguments must be left as they are, got {changed} changed in place")
        self.reached = 0
        self.values: dict[fx.Node, Any] = {}  # what every call was translated to, when it last was

    def nodes(self) -> dict[str, fx.Node]:
        """The nodes by name."""
        return {node.name: node for node in self.program.graph.nodes}

    def sizes(self) -> Sizes:
        """The exporter's symbols for the labelled axes of the arguments."""
        sizes, nodes = Sizes(), self.nodes()
        for i in self.inputs:
            for axis, label in enumerate(i.labels):
                if label is not None:
                    size = nodes[self.places[i.name]].meta["val"].shape[axis]
                    sizes.declare(size, label, f"axis {axis} of {i.name!r}")
        return sizes

    def steps(self) -> Any:
        """The exporter's symbol for the steps of time; None where there are none."""
        nodes = self.nodes()
        axes = [(nodes[self.places[i.name]], i.labels.index(TIME)) for i in self.inputs if TIME in i.labels]
        return axes[0][0].meta["val"].shape[axes[0][1]] if axes else None

    def counts_time(self) -> bool:
        """Return True if the module counts to the steps of time, or to what it makes of them."""
        steps = self.steps()
        symbols = steps.node.expr.free_symbols if isinstance(steps, torch.SymInt) else set()
        return any(symbols & n.node.expr.free_symbols for n in self.counted.lengths.values())

    def results(self) -> dict[str, Any]:
        """Return the outputs of the program, nodes and constants, by our names; behind them new values of buffers."""
        returned: Any = next(node for node in reversed(self.program.graph.nodes) if node.op == "output").args[0]
        specs = self.program.graph_signature.output_specs
        pairs = [(spec, value) for spec, value in zip(specs, returned, strict=True)]
        buffers = {f"buffer {s.target}": v for s, v in pairs if s.kind is OutputKind.BUFFER_MUTATION}
        own = [v for s, v in pairs if s.kind is OutputKind.USER_OUTPUT]
        return {**dict(zip(self.names, own, strict=True)), **buffers}

    def shapes(self) -> dict[str, tuple[Size, ...]]:
        """The shapes of the results, where the exporter tells."""
        sizes = self.sizes()
        found = {n: sizes.shape(o.meta["val"]) for n, o in self.results().items() if isinstance(o, fx.Node)}
        return {n: shape for n, shape in found.items() if shape is not None}

    def run(self, session: Session, values: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[str]]:
        """The results by name, and every problem met."""
        inputs = {self.places[n]: v for n, v in values.items()}
        interpreter = Interpreter(self.program, session, inputs, self.counted, self.independent)
        interpreter.counts_time = self.counts_time()
        interpreter.run()
        self.values = interpreter.values
        returned = self.results()
        results = {n: interpreter.read(o) if isinstance(o, fx.Node) else o for n, o in returned.items()}
        problems = interpreter.dispatcher.report(results)
        numbers = {n for n, o in returned.items() if isinstance(o, fx.Node) and isinstance(o.meta.get("val"), SIZES)}
        lost = {n: v.reason for n, v in results.items() if isinstance(v, Unavailable) and v.reason and n not in numbers}
        problems += [f"output {n!r} must be computed: {reason}" for n, reason in lost.items()]
        self.reached = max(1, 1000 - len(problems))
        return results, problems


class Interpreter:
    """Evaluates the nodes of an exported graph."""

    def __init__(
        self, program: Any, session: Session, inputs: Mapping[str, Tensor], counted: Counted,
        independent: Set[fx.Node],
    ) -> None:  # fmt: skip
        self.program, self.session, self.counted, self.independent = program, session, counted, independent
        self.dispatcher = Dispatcher(session)
        self.values: dict[fx.Node, Any] = {}
        self.inputs = inputs
        self.bodies: dict[Loop, Body] = {}
        self.counts_time = False  # whether the module counts to the steps of time

    def run(self) -> None:
        """Evaluate all that the results need."""
        signature = self.program.graph_signature
        constants = {**self.program.state_dict, **self.program.constants}
        targets = {**signature.inputs_to_parameters, **signature.inputs_to_buffers,
                   **signature.inputs_to_lifted_tensor_constants}  # fmt: skip
        nodes = list(self.program.graph.nodes)
        needed = reached_by(nodes[-1])
        self.values |= {n: self.size(n.meta["val"]) for n in nodes if isinstance(n.meta.get("val"), SIZES)}
        apart = self.independent | self.values.keys()
        calls = [n for n in nodes if n.op == "call_function" and n in needed and n not in apart]
        loops = find(calls, self.counted) if self.counted.lengths else []
        if self.counts_time and not loops:
            raise ConvertError(
                "loop over time must do the same at every step, got steps that differ: where Python chooses by the "
                "number of the step, choose by torch.where of an argument over time"
            )
        first = {loop.body[0]: loop for loop in loops}
        for node in sorted(nodes, key=lambda n: n not in self.independent and n.op != "placeholder"):
            if node in first:
                self.loop(first[node])
            elif node in self.values:
                continue
            elif node.op == "placeholder":
                if node.name in self.inputs:
                    self.values[node] = self.inputs[node.name]
                elif node.name in targets and node in needed:
                    self.values[node] = self.constant(node, constants[targets[node.name]])
            elif node.op == "get_attr":
                self.values[node] = getattr(self.program.graph_module, node.target, None)
            elif node.op == "call_function" and node in needed:
                self.values[node] = self.evaluate(node)

    def constant(self, node: fx.Node, tensor: Any) -> Any:
        """A weight as an array."""
        try:
            return from_torch(tensor)
        except ConvertError as error:
            return self.dispatcher.missing(f"weight {node.name!r}: {error}")

    def read(self, node: fx.Node) -> Any:
        """What a node was translated to; of the steps of a loop the one that is meant."""
        value = self.values.get(node)
        if not isinstance(value, Step):
            return value
        try:
            return value.body.single(value)
        except ConvertError as error:
            return self.failed(node, error)

    def evaluate(self, node: fx.Node) -> Any:
        """What one call returns."""
        if node.target is STACKED.default:
            return self.stacked(node)
        return self.evaluated(node, fx.node.map_arg(node.args, self.read), fx.node.map_arg(node.kwargs, self.read))

    def evaluated(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """What one call returns for these arguments."""
        known = node.meta.get("val")
        if node.target is operator.getitem:
            return args[0] if isinstance(args[0], Unavailable) else args[0][args[1]]
        if not isinstance(node.target, torch._ops.OpOverload):
            if isinstance(known, int | float | bool):
                return known
            name = f"torch.{getattr(node.target, '__name__', node.target)}"
            return self.dispatcher.missing(shown(node), written_as(node) or name)
        shapes = known if isinstance(known, list | tuple) else [known]
        return self.dispatcher.call(
            node.target,
            args,
            kwargs,
            name_of(node),
            shown(node),
            written_as(node),
            [self.session.sizes.shape(v) for v in shapes],
        )

    # Loops over time ------------------------------------------------------------------------------

    def loop(self, loop: Loop) -> None:
        """Translate one step of a loop; its calls stand for all of them."""
        node = loop.body[0]
        length = self.size(loop.length)
        call = Call(name_of(node), self.session)
        body = Body(loop, call, length, self.read, self.evaluated, self.bodies.__getitem__)
        self.bodies[loop] = body
        try:
            if isinstance(length, Unavailable):
                raise ConvertError(str(length.reason))
            missing = body.run()
        except (ConvertError, GraphError) as error:
            missing = self.failed(node, error)
        if missing is not None:
            body.made = [missing] * len(loop.body)
            self.values |= {node: missing for step in loop.steps for node in step if node is not None}
            return
        for number, step in enumerate(loop.steps):
            self.values |= {node: Step(body, i, number) for i, node in enumerate(step) if node is not None}

    def failed(self, node: fx.Node, error: Exception) -> Missing:
        """What stands for a loop: with the problem of what it reads, where that is to blame."""
        if isinstance(error, Skipped) and isinstance(error.value, Missing):
            return error.value
        return self.dispatcher.missing(f"loop at {place_of(node) or node.name}: {error}")

    def stacked(self, node: fx.Node) -> Any:
        """What a loop made at all its steps."""
        items: Any = node.args[0]
        steps = [self.values.get(item) for item in items]
        causes = [s for s in steps if isinstance(s, Missing)]
        try:
            length = self.session.sizes.of(node.args[2].meta["val"])  # type: ignore[union-attr]
            call = Call(name_of(node), self.session)
            return causes[0] if causes else all_steps(call, items, steps, int(node.args[1]), length)  # type: ignore[arg-type]
        except (ConvertError, GraphError) as error:
            return self.failed(node, error)

    def size(self, value: Any) -> Any:
        """A symbolic number; one that is no product of batch and time is only missed where it is used."""
        try:
            if isinstance(value, torch.SymInt):
                return self.session.sizes.of(value)
            return Unavailable("number must not depend on values that are only known when running, got one that does")
        except ConvertError as error:
            return Unavailable(str(error))


def reached_by(output: fx.Node) -> set[fx.Node]:
    """The nodes that the output depends on."""
    found: set[fx.Node] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found
