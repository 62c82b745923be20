"""A module and the example arguments that it is imported with, as leaves of a tree."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from ..._hints import named
from ...errors import ConvertError
from ..torch.oracle import evaluating
from .axes import Argument, Layout, shown
from .places import raised
from .results import check_results, key_of


@dataclass(frozen=True)
class Source:
    """A module and its arguments.

    Attributes
    ----------
    module : torch.nn.Module
    names : list of str
        Of the parameters that have a value, in order; those by keyword come last.
    leaves : list
        Of all values: tensors, and what is fixed.
    tree : TreeSpec
        Their places in the positional arguments and those by keyword.
    arguments : list of Argument
        The tensors among them.
    """

    module: Any
    names: list[str]
    leaves: list[Any]
    tree: Any
    arguments: list[Argument]

    @property
    def title(self) -> str:
        """The class of the module."""
        return str(getattr(self.module, "original_name", type(self.module).__qualname__))

    @classmethod
    def of(cls, module: Any, signature: inspect.Signature, examples: Any) -> Source:
        """The arguments in order, with names for their tensors.

        Raises
        ------
        ConvertError
            When they do not fit the signature, or have no tensor.
        """
        names, values, keywords = _given(type(module).__name__, signature, examples)
        found, tree = pytree.tree_flatten_with_path((tuple(values), keywords))
        leaves = [torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf for _, leaf in found]
        arguments = [
            Argument(_named(names, path), i, leaf)
            for i, ((path, _), leaf) in enumerate(zip(found, leaves, strict=True))
            if isinstance(leaf, torch.Tensor)
        ]
        if not arguments:
            raise ConvertError(f"{named('example_inputs')} must have a tensor, got none")
        return cls(module, names, leaves, tree, arguments)

    def filled(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """All arguments, positional and by keyword, with these values in the places of tensors."""
        leaves = list(self.leaves)
        for argument in self.arguments:
            leaves[argument.place] = values[argument.name]
        whole: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_unflatten(leaves, self.tree)
        return whole

    def placed(self, values: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """All arguments with these values in the places of tensors, in order."""
        return self.filled(dict(zip((a.name for a in self.arguments), values, strict=True)))

    def free(self, layout: Layout) -> Any:
        """For each argument, positional and by keyword, which axes may have any size."""
        leaves: list[Any] = [None] * len(self.leaves)
        for argument in self.arguments:
            labels = layout[argument.name]
            leaves[argument.place] = {i: torch.export.Dim.AUTO for i, n in enumerate(labels) if n is not None}
        return pytree.tree_unflatten(leaves, self.tree)

    def shown(self, layout: Layout) -> str:
        """A layout for a message."""
        return shown(layout, self.arguments)

    def check(self) -> None:
        """Run the module once on the examples; raise ConvertError when it does not take them, or returns no tensor."""
        fixed: Layout = {a.name: (None,) * a.example.dim() for a in self.arguments}
        try:
            result = self.attempt({a.name: a.example for a in self.arguments}, fixed)
        except ConvertError as error:
            if not isinstance(error.__cause__, Exception):
                raise
            raise ConvertError(
                f"{error}: forward must run by itself on {named('example_inputs')}, mend it or give others"
            ) from error
        check_results(result)

    def _tried(self, values: Mapping[str, torch.Tensor]) -> str:
        """Return the sizes that were tried, where they are not those of the examples."""
        changed = [a for a in self.arguments if values[a.name].shape != a.example.shape]
        shapes = ", ".join(f"{a.name} {tuple(values[a.name].shape)}" for a in changed)
        return f" (for {shapes})" if changed else ""

    def attempt(self, values: Mapping[str, torch.Tensor], layout: Layout) -> Any:
        """Return what the module does for some arguments, and leave it as it was.

        Raises
        ------
        ConvertError
            When it does not take arguments of these sizes, or keeps a tensor that is no buffer.
        """
        # What a script keeps in attributes comes back with no buffer.
        script = isinstance(self.module, torch.jit.ScriptModule)
        module = copy.deepcopy(self.module) if script else self.module
        buffers, held = snapshot(module), _attributes(module)
        try:
            with evaluating(module):
                args, keywords = self.filled({n: t.clone() for n, t in values.items()})
                result = module(*args, **keywords)
                found = _attributes(module)
        except Exception as error:  # whatever a module may raise
            raise ConvertError(
                f"module must take arguments of sizes {self.shown(layout)}, got {raised(error)}{self._tried(values)}"
            ) from error
        finally:
            restore(module, buffers)
        kept = [".".join(filter(None, key)) for key, value in found.items() if held.get(key) is not value]
        if kept:
            raise ConvertError(
                f"states must be arguments and results of forward, got tensors kept in {', '.join(kept)}"
            )
        return result


def _given(what: str, signature: inspect.Signature, examples: Any) -> tuple[list[str], list[Any], dict[str, Any]]:
    """Names of the arguments that are given, and the values of those that are positional and by keyword."""
    try:
        if isinstance(examples, Mapping):
            bound = signature.bind(**examples)
        elif isinstance(examples, tuple | list):
            bound = signature.bind(*examples)
        else:
            bound = signature.bind(examples)
    except TypeError as error:
        raise ConvertError(f"{named('example_inputs')} must fit forward of {what}{signature}, got {error}") from error
    bound.apply_defaults()
    names: list[str] = []
    values: list[Any] = []
    keywords: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{name}.{i}" for i in range(len(value))]
            values += value
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(name)
            values.append(value)
        else:
            keywords |= value if parameter.kind is parameter.VAR_KEYWORD else {name: value}
    return [*names, *keywords], values, keywords


def _named(names: Sequence[str], path: Any) -> str:
    """``"state.0"`` for the first item of the parameter ``state``; a keyword is a name."""
    first = names[path[1].idx] if path[0].idx == 0 else str(path[1].key)
    return ".".join([first, *map(key_of, path[2:])])


def _attributes(module: Any) -> dict[tuple[str, str], torch.Tensor]:
    """The tensors that modules hold as plain attributes."""
    return {
        (path, name): value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, torch.Tensor)
    }


def snapshot(module: Any) -> dict[str, torch.Tensor]:
    """Copies of a module's buffers."""
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def restore(module: Any, buffers: Mapping[str, torch.Tensor]) -> None:
    """Buffers as they were."""
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name in buffers and buffer.shape == buffers[name].shape:
                buffer.copy_(buffers[name])
