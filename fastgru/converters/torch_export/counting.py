"""Loops over time while a module is traced: lengths that Python counts to, and what it joins from the steps.

The exporter knows a length by a symbol, but a loop needs a number: it gets that of the example, which must then differ
from all other sizes of the module. What the loop collects is joined by an operator that has the symbol again.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

LIBRARY: Any = torch.library.Library("fastgru", "FRAGMENT")  # type: ignore[no-untyped-call]
LENGTHS = (13, 11, 17, 19, 23, 29, 31, 37, 41)  # steps that a loop is written out for: the first that fits


class LoopMet(Exception):
    """A module counts to a length that must stay open."""


def _stacked(xs: Sequence[Any], dim: int, length: Any) -> Any:
    shape = list(xs[0].shape)
    shape.insert(dim, length)
    return xs[0].new_empty(shape)


LIBRARY.define("stacked(Tensor[] xs, int dim, SymInt length) -> Tensor")
torch.library.register_fake("fastgru::stacked", _stacked, lib=LIBRARY)
STACKED: Any = torch.ops.fastgru.stacked


class Counting:
    """The lengths that a module counts to.

    Parameters
    ----------
    allowed : bool
        Whether it may: LoopMet is raised where not.

    Attributes
    ----------
    lengths : dict of int to SymInt
        The number that stood for each.
    """

    def __init__(self, allowed: bool) -> None:
        self.allowed = allowed
        self.lengths: dict[int, Any] = {}

    def number(self, size: Any) -> int:
        """The number that stands for a symbolic size."""
        if not self.allowed:
            raise LoopMet
        hint = int(size.node.hint)
        self.lengths[hint] = size
        return hint

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While sizes that a module's own code takes for numbers are noted."""
        usual: Callable[[Any], int] = torch.SymInt.__index__

        def index(size: Any) -> int:
            file = sys._getframe(1).f_code.co_filename.replace("\\", "/")
            return usual(size) if "/torch/" in file or not _is_open(size) else self.number(size)

        torch.SymInt.__index__ = index  # type: ignore[method-assign]
        try:
            yield
        finally:
            torch.SymInt.__index__ = usual  # type: ignore[method-assign]

    def call(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a function that joins the steps of a loop or takes a sequence apart; NotImplemented for any other."""
        function = _FUNCTIONS.get(func)
        return NotImplemented if function is None else function(self, *args, **kwargs)

    # Functions, with PyTorch's own names of their parameters -----------------------------------------

    def stack(self, tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
        """The steps of a loop side by side."""
        length = self.lengths.get(len(tensors)) if isinstance(tensors, list | tuple) else None
        if length is None or out is not None:
            return NotImplemented
        return STACKED(list(tensors), dim % (tensors[0].dim() + 1), length)

    def cat(self, tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
        """The steps of a loop, each with an axis of one step, one behind the other."""
        length = self.lengths.get(len(tensors)) if isinstance(tensors, list | tuple) else None
        if length is None or out is not None or any(x.shape[dim] != 1 for x in tensors):
            return NotImplemented
        return STACKED([x.squeeze(dim) for x in tensors], dim % tensors[0].dim(), length)

    def unbind(self, input: Any, dim: int = 0) -> Any:
        """Every step of a sequence."""
        size = input.shape[dim] if input.dim() else 0
        return tuple(input.select(dim, t) for t in range(self.number(size))) if _is_open(size) else NotImplemented

    def iterate(self, input: Any) -> Any:
        """Every step of a sequence, its first axis."""
        found = self.unbind(input)
        return found if found is NotImplemented else iter(found)

    def split(self, tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
        """Every step of a sequence, with an axis of one step."""
        size = tensor.shape[dim] if tensor.dim() else 0
        if split_size_or_sections != 1 or not _is_open(size):
            return NotImplemented
        return tuple(tensor.narrow(dim, t, 1) for t in range(self.number(size)))


def _split_method(counting: Counting, tensor: Any, split_size: Any, dim: int = 0) -> Any:
    return counting.split(tensor, split_size, dim)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.stack: Counting.stack,
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), Counting.cat),
    **dict.fromkeys((torch.unbind, torch.Tensor.unbind), Counting.unbind),
    torch.Tensor.__iter__: Counting.iterate,
    torch.split: Counting.split,
    torch.Tensor.split: _split_method,
}


def _is_open(size: Any) -> bool:
    """Return True if the exporter has a symbol for a size."""
    return isinstance(size, torch.SymInt) and not size.node.expr.is_number


def length_for(sizes: set[int]) -> int:
    """A number of steps that is none of the sizes of a module."""
    return next((n for n in LENGTHS if n not in sizes), LENGTHS[-1])
