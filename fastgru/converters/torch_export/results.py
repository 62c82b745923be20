"""What forward returns: tensors by their places, and what lies beside them, which a model leaves out and notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from enum import Enum
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ...errors import ConvertError
from ..program.sizes import Dim
from ..program.values import Unavailable

# Of Python, which stay what they are in a traced program; and others, which become text there.
PLAIN = (bool, int, float, str, torch.SymInt, torch.SymBool, torch.SymFloat)
NAMED = (complex, bytes, Enum, torch.dtype, torch.device, torch.layout, torch.memory_format)
SIZES = (Dim, Unavailable, torch.SymInt, torch.SymBool, torch.SymFloat)
MOST_SHOWN = 40  # characters of a value in a note


def opened(result: Any) -> Any:
    """Return a result with every dataclass that PyTorch does not look into as a dict of its fields.

    Examples
    --------
    >>> Point = dataclasses.make_dataclass("Point", ["x", "y"])
    >>> opened((Point(1, [2, Point(3, torch.float32)]), None))
    ({'x': 1, 'y': [2, {'x': 3, 'y': 'torch.float32'}]}, None)
    """
    leaves, tree = pytree.tree_flatten(result)
    return pytree.tree_unflatten([_open(leaf) for leaf in leaves], tree)


def _open(leaf: Any) -> Any:
    if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
        return opened({field.name: getattr(leaf, field.name) for field in dataclasses.fields(leaf)})
    return str(leaf) if isinstance(leaf, NAMED) else leaf


def result_names(tree: Any) -> list[str]:
    """Names of the leaves of what a module returns: their keys and places; ``"0"`` for a single tensor."""
    paths, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(range(tree.num_leaves)), tree))
    return [".".join(map(key_of, path)) or "0" for path, _ in paths]


def key_of(entry: Any) -> str:
    """The key, place or name that an entry of a path is."""
    return str(getattr(entry, "key", getattr(entry, "idx", getattr(entry, "name", entry))))


def by_name(result: Any) -> dict[str, Any]:
    """The leaves of what a module returns, by `result_names`."""
    leaves, tree = pytree.tree_flatten(opened(result))
    return dict(zip(result_names(tree), leaves, strict=True))


def traced_results(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the same of what torch.fx has traced, whose lists and dicts PyTorch names no leaves of."""
    if isinstance(value, tuple | list | dict):
        keys = getattr(value, "_fields", None) or range(len(value))
        for key, item in value.items() if isinstance(value, dict) else zip(keys, value, strict=True):
            yield from traced_results(item, (*path, str(key)))
    else:
        yield ".".join(path) or "0", str(value) if isinstance(value, NAMED) else value


def check_results(result: Any) -> None:
    """Raise ConvertError unless forward returns a tensor, and nothing beside it that may hold others."""
    found = by_name(result)
    for name, leaf in found.items():
        if leaf is not None and not isinstance(leaf, (torch.Tensor, *PLAIN)):
            hint = ": return the tensor that it is made of" if type(leaf).__module__ == "numpy" else ""
            raise ConvertError(
                f"forward must return tensors, alone or in tuples, lists, dicts and dataclasses, got a "
                f"{type(leaf).__name__} as output {name!r}{hint}"
            )
    if not any(isinstance(leaf, torch.Tensor) for leaf in found.values()):
        others = ", ".join(f"{leaf!r:.{MOST_SHOWN}}" for leaf in found.values())
        raise ConvertError(f"forward must return a tensor, got {others or 'nothing'}")


def beside(name: str, value: Any) -> str:
    """Say that a result is none of the model's, since it is no tensor."""
    shown = "a number that follows from sizes" if isinstance(value, SIZES) else f"{value!r:.{MOST_SHOWN}}"
    return f"output {name!r} is left out: it is no tensor, but {shown}"
