"""What an exported program computes inside, call by call, as the graph has it."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx

from ...errors import ConvertError, OracleError
from .. import LayerOutput
from ..program.values import Tensor
from ..torch.inside import Recorder
from .build import Translation
from .graph import CHECKS, ExportedProgram, name_of
from .oracle import ExportOracle, Run
from .program import TRANSFORMS, WHOLE

# What stands in for PyTorch's own functions in a program has shapes alone: these have the numbers, too.
REAL = {packet.default: function for function, packet in (*WHOLE.items(), *TRANSFORMS.items())}
LENGTHS = 9  # where the stand-ins of recurrent layers have the lengths of packed sequences


class ExportLayers:
    """Runs an exported program as an oracle runs its module, and tells the values of its graph.

    Parameters
    ----------
    program : ExportedProgram
        Which has been translated.
    found : Translation
    oracle : ExportOracle
        What it is run on.
    """

    def __init__(self, program: ExportedProgram, found: Translation, oracle: ExportOracle) -> None:
        self.program, self.found, self.oracle = program, found, oracle

    def __call__(self, x: Any) -> tuple[LayerOutput, ...]:
        own = self.oracle
        tensors = {key: tensor for key, _, tensor in self._seen()}
        try:
            arrays = ExportOracle(own.module, self._start, own.ports, tensors, own.whole)(x)
        except OracleError as error:
            raise OracleError(f"its layers do not run one by one: {error}") from error
        told = [self.found.emit.told(t.value, array) for t, array in zip(tensors.values(), arrays, strict=True)]
        return tuple(
            LayerOutput(name_of(node), _kind(node), *values)
            for (_, node, _), values in zip(self._seen(), told, strict=True)
            if values is not None
        )

    def _seen(self) -> Iterator[tuple[str, fx.Node, Tensor]]:
        """The tensors that calls return and that are float values of the graph, by names of their own."""
        for node, value in self.program.values.items():
            if node.op == "call_function" and node.target is not operator.getitem:
                for i, tensor in enumerate(value if isinstance(value, list | tuple) else [value]):
                    if isinstance(tensor, Tensor) and tensor.spec.dtype == "float":
                        yield f"{node.name}:{i}", node, tensor

    @contextmanager
    def _start(self) -> Iterator[Run]:
        held: dict[str, Any] = {}  # what has become of buffers

        def call(given: dict[str, Any]) -> dict[str, Any]:
            recorder = _Recorder(self.program.program.graph_module)
            recorder.run(*self._arguments(given, held))
            results = {n: recorder.results.get(o) for n, o in self.program.results().items() if isinstance(o, str)}
            held.update((name, results[name]) for name in self.program.buffers)
            inside = {
                f"{name}:{i}": tensor
                for name, result in recorder.results.items()
                for i, tensor in enumerate(result if isinstance(result, list | tuple) else [result])
            }
            return {**inside, **results}

        yield call

    def _arguments(self, given: dict[str, Any], held: dict[str, Any]) -> Iterator[Any]:
        """What the program's placeholders are given, in their order."""
        program = self.program.program
        fixed = {**program.state_dict, **program.constants}
        names = {place: name for name, place in self.program.places.items()}
        for spec in program.graph_signature.input_specs:
            name = names.get(spec.arg.name)
            if name in given:
                yield given[name]
            elif name in held:
                yield held[name]
            else:
                yield fixed[spec.target] if spec.target is not None else getattr(spec.arg, "value", None)


class _Recorder(Recorder):
    """Runs what stands in for PyTorch's own functions by these, and no checks of what the exporter assumed."""

    def run_node(self, n: fx.Node) -> Any:
        """The result of one call."""
        packet = getattr(n.target, "_overloadpacket", None)
        return None if getattr(packet, "__name__", "") in CHECKS else super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a function."""
        if target not in REAL:
            return super().call_function(target, args, kwargs)
        args, lengths = args[:LENGTHS], args[LENGTHS] if len(args) > LENGTHS else None
        if lengths is not None and not bool((lengths == args[0].shape[1 if args[8] else 0]).all()):
            raise ConvertError("lengths must be those of the whole sequences, got shorter ones")
        result = REAL[target](*args, **kwargs)
        # As the stand-ins lie in memory: a view of it may follow.
        return tuple(y.contiguous() for y in result) if isinstance(result, tuple) else result.contiguous()


def _kind(node: fx.Node) -> str:
    """The operator of a call."""
    target: Any = node.target
    return str(target).removeprefix("aten.").removeprefix("fastgru.").removesuffix(".default")
