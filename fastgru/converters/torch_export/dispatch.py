"""One call after the other: folded where all is known, translated by the table, or listed as unsupported."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...errors import ConvertError, GraphError
from ..program.pairs import Scores
from ..program.sizes import Dim, Size
from ..program.values import Array, Tensor, Unavailable
from .call import Call, Complex, Handler, RowOrder, Session
from .complex_numbers import find_complex, is_complex, lifted
from .pairs import find_scored
from .table import find

IGNORED = ("layout", "device", "pin_memory", "memory_format", "non_blocking", "copy", "is_coalesced")
RANDOM = "call must give the same at every time, got random numbers"
MOST_PROBLEMS = 100
MOST_PLACES = 8  # of an operator, in a message
LARGEST_CONSTANT = 2**27  # elements
OPEN = (Tensor, Dim, RowOrder, Complex, Scores)  # what is only known when the model runs


@dataclass(frozen=True)
class Missing(Unavailable):
    """Stands for the result of a call that failed, with the numbers of the problems that are to blame."""

    causes: frozenset[int] = frozenset()


class Dispatcher:
    """Translates calls; problems are collected, and what depends on them is skipped."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.problems: list[tuple[str, str]] = []  # an operator without a translation (or "") and a place, or a message

    def report(self, results: Any) -> list[str]:
        """The problems that `results` depend on; operators without a translation first, each with its places."""
        causes = sorted({n for v in leaves([results]) if isinstance(v, Missing) for n in v.causes})
        unsupported: dict[str, list[str]] = {}
        found = []
        for target, text in (self.problems[n] for n in causes):
            if target:
                unsupported.setdefault(target, []).append(text)
            else:
                found.append(text)
        listed = [
            f"operator must be one that fastgru imports, got {target} at {', '.join(places[:MOST_PLACES])}"
            f"{', ...' * (len(places) > MOST_PLACES)}: write it with other functions of torch, or leave it to code "
            "before or behind the model"
            for target, places in sorted(unsupported.items())
        ]
        listed += dict.fromkeys(found)
        return listed[:MOST_PROBLEMS] + [f"and {len(listed) - MOST_PROBLEMS} more"] * (len(listed) > MOST_PROBLEMS)

    def missing(self, text: str, target: str = "") -> Missing:
        """Note a problem, and return what stands for the result of the call that has it."""
        self.problems.append((target, text))
        return Missing(causes=frozenset([len(self.problems) - 1]))

    def call(
        self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any], name: str, where: str, function: str = "",
        shapes: Sequence[tuple[Size, ...] | None] = (),
    ) -> Any:  # fmt: skip
        """Translate a call, and return its result: values, a list of them, or `Missing`.

        Nodes are called by its `name`; problems tell `where` in the module it stands, and the `function` of PyTorch
        that its owner calls there, where that is known.
        """
        flat = list(leaves([*args, *kwargs.values()]))
        causes = [v.causes for v in flat if isinstance(v, Missing)]
        if causes:
            return Missing(causes=frozenset().union(*causes))
        target = op.name()
        try:
            for value in flat:
                if isinstance(value, Unavailable):
                    raise ConvertError(value.reason or "argument must be there, got none")
            if not any(isinstance(v, OPEN) for v in flat) and target.startswith("aten::"):
                return self._folded(op, args, kwargs)
            handler = find(target)
            call = Call(name, self.session, shapes)
            if any(map(is_complex, flat)):
                args = [lifted(value) for value in args]
                handler = find_complex(target.partition("::")[2].partition(".")[0], handler, next(iter(args), None))
            scored = next((v for v in flat if isinstance(v, Scores)), None)
            if scored is not None:
                handler = find_scored(target.partition("::")[2].partition(".")[0], handler, scored)
            if handler is None and torch.Tag.nondeterministic_seeded in op.tags:
                raise ConvertError(RANDOM)
            if handler is None:
                return self.missing(where, function or target)
            positional, keywords = bound(op._schema, handler, args, kwargs)
            return handler(call, *positional, **keywords)
        except (ConvertError, GraphError) as error:
            own = target.replace("fastgru::", "aten::")  # of what stands in for it while a module is traced
            return self.missing(f"node {where}, {function or own}: {error}")

    def _folded(self, op: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The result of a call whose arguments are all known."""
        if torch.Tag.nondeterministic_seeded in op.tags and not op.name().startswith("aten::dropout"):
            raise ConvertError(RANDOM)
        try:
            result = op(*(to_torch(a) for a in args), **{k: to_torch(v) for k, v in kwargs.items()})
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise ConvertError(f"arguments must fit the operator, got {str(error).splitlines()[0]}") from error
        return from_torch(result)


def leaves(values: Sequence[Any]) -> Iterator[Any]:
    """All values in nested lists and dicts."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from leaves(value)
        elif isinstance(value, dict):
            yield from leaves(list(value.values()))
        else:
            yield value


def to_torch(value: Any) -> Any:
    """Arrays as tensors, also within lists."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, list | tuple):
        return type(value)(to_torch(v) for v in value)
    return value


def from_torch(value: Any) -> Any:
    """Tensors as arrays, floats narrower than float32 as that."""
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_meta:
            raise ConvertError(f"constant must be a dense tensor with data, got {value.dtype} on {value.device}")
        if value.numel() > LARGEST_CONSTANT:
            raise ConvertError(f"constant must have at most {LARGEST_CONSTANT} elements, got {value.numel()}")
        value = value.detach().cpu()
        if value.is_floating_point() and value.dtype != torch.float64:
            value = value.float()
        array: Array = value.resolve_conj().resolve_neg().numpy()
        return array
    if isinstance(value, list | tuple):
        return [from_torch(v) for v in value]
    return value


@functools.cache
def _parameters(handler: Handler) -> tuple[int, frozenset[str], bool]:
    """Return how many positional arguments a handler takes, which keywords, and whether any number is allowed."""
    parameters = list(inspect.signature(handler).parameters.values())[1:]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return (
        len(positional),
        frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY or p in positional),
        any(p.kind is p.VAR_POSITIONAL for p in parameters),
    )


def bound(
    schema: Any, handler: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments as a handler takes them.

    Raises
    ------
    ConvertError
        When one that it does not take is not at its default.
    """
    count, names, more = _parameters(handler)
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for i, argument in enumerate(schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        value = args[i] if i < len(args) else kwargs.get(argument.name, default)
        if argument.name in IGNORED:
            if not argument.kwarg_only and (more or i < count):
                positional.append(value)
        elif not argument.kwarg_only and (more or i < count):
            positional.append(value)
        elif argument.name in names:
            if value is not None or not argument.has_default_value():
                keywords[argument.name] = value
        elif not _same(value, default):
            raise ConvertError(f"{argument.name} must be {default}, got {value}")
    return positional, keywords


def _same(value: Any, default: Any) -> bool:
    return value is None or value is default or (not isinstance(value, Tensor | np.ndarray) and value == default)
