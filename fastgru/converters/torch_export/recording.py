"""An exported program that is run call by call, with PyTorch's own functions in place of what stands for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import fx

from ...errors import ConvertError
from .graph import CHECKS, ExportedProgram
from .inside import Recorder, Seen, seen_in
from .places import name_of
from .program import TRANSFORMS, WHOLE

# What stands in for PyTorch's own functions in a program has shapes alone: these have the numbers, too.
REAL = {packet.default: function for function, packet in (*WHOLE.items(), *TRANSFORMS.items())}
LENGTHS = 9  # where the stand-ins of recurrent layers have the lengths of packed sequences


class Recording:
    """A program that has been translated, as `ExportLayers` runs it."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program, self.buffers = program, program.buffers

    def seen(self) -> Iterator[Seen]:
        """Yield the results of its calls as they were translated."""
        return seen_in(self.program.values, lambda node: (name_of(node), _kind(node)))

    def recorded(self, given: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
        """Return the results of its calls for arguments and buffers, and its own."""
        recorder = _Recorder(self.program.program.graph_module)
        recorder.run(*self._arguments(given, held))
        nodes = {n: o for n, o in self.program.results().items() if isinstance(o, fx.Node)}
        results = {n: recorder.results.get(o.name) for n, o in nodes.items()}
        return {**recorder.tensors(), **results}

    def _arguments(self, given: Mapping[str, Any], held: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the values of the program's placeholders, in their order."""
        program = self.program.program
        fixed = {**program.state_dict, **program.constants}
        names = {place: name for name, place in self.program.places.items()}
        for spec in program.graph_signature.input_specs:
            name = names.get(spec.arg.name)
            if name is not None and name in (found := given if name in given else held):
                yield found[name]
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
