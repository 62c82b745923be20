"""A TorchScript module or file to a Graph: its graph is run once with known branches, its attributes are states."""

from __future__ import annotations

import copy
import inspect
import os
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from ..._hints import either, named
from ...errors import ConvertError
from ...graph import Like, Spec
from .. import Imported
from ..damage import MALFORMED, RATIO, SLACK, ZIPPED, line_of
from ..program.emit import Emitter
from ..program.sizes import BATCH, TIME, Size
from ..program.values import Tensor
from .axes import Layout
from .build import Input
from .call import Session, kind_of
from .exported import import_program
from .script_graph import Attributes, ScriptInterpreter
from .sizes import Sizes
from .source import Source

Key = tuple[str, str]


def import_script(
    source: Any,
    like: Sequence[Like] | None = None,
    *,
    example_inputs: Any = None,
    axes: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
    fix: Mapping[str, Any] | None = None,
) -> Imported:
    """Import a TorchScript module, or the file that ``torch.jit.save`` made of one.

    Parameters
    ----------
    source : path or torch.jit.ScriptModule
        Left as it is.
    like : None
        A script describes itself.
    example_inputs, axes, states
        As for `import_exported`.
    fix : mapping of str to value, optional
        Further arguments by name, which are no inputs of the graph: ``{"sr": 16000}``.

    Raises
    ------
    ConvertError
        As `import_exported`; also when a branch depends on what is computed.
    """
    if like is not None:
        raise ConvertError(
            f"{named('like')} must be {either('None', 'omitted')} for TorchScript, which describes itself, got "
            f"{len(like)} layers"
        )
    module = source if isinstance(source, torch.jit.ScriptModule) else _load(source)
    if not hasattr(module, "forward"):
        raise ConvertError(
            f"script must have one forward, got {module.original_name}, which has one for each kind of argument"
        )
    if example_inputs is None:
        raise ConvertError(
            f"{named('example_inputs')} must be given for TorchScript, got none: the sizes of the arguments are "
            f"not in it{either('', ' (such as --example 1,100,40 for each)')}"
        )
    module = copy.deepcopy(module).eval()
    fresh = copy.deepcopy(module)
    own = Source.of(module, _signature(module), _joined(example_inputs, fix or {}, _signature(module)))

    def program(layout: Layout) -> ScriptProgram:
        return ScriptProgram(fresh, own, layout)

    return import_program(own, program, lambda: nullcontext(copy.deepcopy(fresh)), axes, states)


def _load(path: Any) -> Any:
    """The module of a file, whose entries may not take far more than the file."""
    size = os.path.getsize(path)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > RATIO * size + SLACK:
            raise ConvertError(
                f"{os.fspath(path)!r} must unpack to at most {RATIO} times its {size} bytes, got {unpacked}"
            )
        return torch.jit.load(os.fspath(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except ConvertError:
        raise
    except (*ZIPPED, *MALFORMED) as error:
        raise ConvertError(f"file must be one of torch.jit.save, got {os.fspath(path)!r}: {line_of(error)}") from error


def _signature(module: Any) -> inspect.Signature:
    """The parameters of a script's forward."""
    parameters = []
    for argument in module.forward.schema.arguments[1:]:
        default = argument.default_value if argument.has_default_value() else inspect.Parameter.empty
        parameters.append(inspect.Parameter(argument.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default))
    return inspect.Signature(parameters)


def _joined(examples: Any, fixed: Mapping[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Examples and fixed arguments by name."""
    unknown = [n for n in fixed if n not in signature.parameters]
    if unknown:
        raise ConvertError(
            f"{named('fix')} must name parameters ({', '.join(signature.parameters)}), got {', '.join(unknown)}"
        )
    if isinstance(examples, Mapping):
        return {**examples, **fixed}
    given = list(examples) if isinstance(examples, tuple | list) else [examples]
    free = [n for n in signature.parameters if n not in fixed]
    if len(given) > len(free):
        raise ConvertError(
            f"{named('example_inputs')} must be at most {len(free)} for {', '.join(free)}, got {len(given)}"
        )
    return {**dict(zip(free, given, strict=False)), **fixed}


class ScriptProgram:
    """A script with its arguments, as `build` translates it.

    What it stores in attributes is learnt from a first run on the attributes it has; values of the graph among them are
    states, which start from zeros.
    """

    def __init__(self, module: Any, source: Source, layout: Layout) -> None:
        self.module, self.source = module, source
        self.inputs = [
            Input(a.name, layout[a.name], tuple(a.example.shape), kind_of(a.example.dtype)) for a in source.arguments
        ]
        self.reached = 0
        self.stored: Attributes = {}
        self.states: dict[str, Key] = {}
        first = self.trial()
        self.results = self.named(first[0])
        self.problems = first[1].dispatcher.report([self.results, [first[1].stored[key] for key in first[1].set]])
        if not self.problems:
            self._learn(first[1])
        self.buffers = {name: name for name in self.states}

    def trial(self) -> tuple[Any, ScriptInterpreter]:
        """A run in a graph of its own, with every argument an input."""
        session = Session(Emitter(), Sizes(), timed=any(TIME in i.labels for i in self.inputs))
        values = {}
        for i in self.inputs:
            value = session.emit.input(i.name, Spec(i.frame, TIME in i.labels, i.kind))
            values[i.name] = Tensor(value, i.axes, session.emit.specs[value], 0)
        interpreter = ScriptInterpreter(self.module, session, {})
        return interpreter.run(self.arguments(values)), interpreter

    def _learn(self, run: ScriptInterpreter) -> None:
        """Make inputs of attributes that are states, and keep what others hold from the second call on."""
        for key in run.set:
            value = run.stored[key]
            if not isinstance(value, Tensor):
                self.stored[key] = value
                continue
            name = ".".join(part for part in key if part)
            labels = [value.axes[i][0] if not value.is_frame(i) else None for i in range(value.rank)]
            if any(label not in (None, BATCH) for label in labels):
                raise ConvertError(f"state {name!r} must be of batch and fixed sizes, got {value}")
            shape = tuple(n if isinstance(n, int) else 1 for n in value.sizes())
            own = Input(name, tuple(labels), shape, value.spec.dtype)  # type: ignore[arg-type]
            self.inputs.append(Input(name, own.labels, shape, own.kind, np.zeros(own.frame, np.float32)))
            self.states[name] = key

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values by the names of the script's parameters."""
        return dict(zip(self.source.names, self.source.filled(values)[0], strict=True))

    def sizes(self) -> Sizes:
        """No symbols of an exporter."""
        return Sizes()

    def shapes(self) -> dict[str, tuple[Size, ...]]:
        """The shapes of the results of the first run."""
        return {n: y.sizes() for n, y in self.results.items() if isinstance(y, Tensor)}

    def run(self, session: Session, values: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[str]]:
        """The results by name, attributes among them, and every problem met."""
        if self.problems:
            return {}, self.problems
        stored = {**self.stored, **{key: values[name] for name, key in self.states.items()}}
        interpreter = ScriptInterpreter(self.module, session, stored)
        given = {n: v for n, v in values.items() if n not in self.states}
        results = self.named(interpreter.run(self.arguments(given)))
        results |= {name: interpreter.stored[key] for name, key in self.states.items()}
        problems = interpreter.dispatcher.report(results)
        self.reached = max(1, 1000 - len(problems))
        return results, problems

    def named(self, result: Any) -> dict[str, Any]:
        """The leaves of a result by their keys."""
        if isinstance(result, Mapping):
            return {f"{k}": v for k, v in result.items()}
        if isinstance(result, tuple | list):
            found: dict[str, Any] = {}
            for i, item in enumerate(result):
                inner = self.named(item)
                found.update({str(i) if k == "0" and len(inner) == 1 else f"{i}.{k}": v for k, v in inner.items()})
            return found
        return {"0": result}
