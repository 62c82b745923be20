"""Loops over time while a module is traced: lengths that Python counts to, and what it joins from the steps.

The exporter knows a length by a symbol, but a loop needs a number: it gets that of the example, which must then differ
from all other sizes of the module. What the loop collects is joined by an operator that has the symbol again.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

LIBRARY: Any = torch.library.Library("fastgru", "FRAGMENT")  # type: ignore[no-untyped-call]
LENGTHS = (13, 11, 17, 19, 23, 29, 31, 37, 41)  # steps that a loop is written out for: the first that fits
FEWER = 3  # steps that a loop may have less than a length that is counted to, or more: range(1, T), range(T - 1)
PYTORCH = os.path.join(os.path.dirname(torch.__file__), "")  # the folder of the package
COMPARISONS = ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__")


Place = tuple[str, int]  # a file and a line


class LoopMet(Exception):
    """A module counts to a length that must stay open."""


def _stacked(xs: Sequence[Any], dim: int, length: Any) -> Any:
    shape = list(xs[0].shape)
    shape.insert(dim, length)
    return xs[0].new_empty(shape)


LIBRARY.define("stacked(Tensor[] xs, int dim, SymInt length) -> Tensor")
torch.library.register_fake("fastgru::stacked", _stacked, lib=LIBRARY)
STACKED: Any = torch.ops.fastgru.stacked


@dataclass
class Counted:
    """The lengths that a module counts to.

    Attributes
    ----------
    fixed : set of int
        Sizes and numbers of the module's own, which say nothing of a length.
    lengths : dict of int to SymInt
        The number that stood for each.
    asked : dict of Place or condition to Place
        Where the module's own code asks for a size, by the place that the exporter notes or by what is asked.
    """

    fixed: set[int] = field(default_factory=set)
    lengths: dict[int, Any] = field(default_factory=dict)
    asked: dict[Any, Place] = field(default_factory=dict)

    def fewest(self) -> int:
        """The fewest steps that a loop may have."""
        return max(4, min(self.lengths) - FEWER)

    def length(self, steps: int) -> Any:
        """The length that a number of steps stands for; None where there is none."""
        nearest = min(self.lengths, key=lambda n: abs(n - steps), default=None)
        if nearest is None or abs(nearest - steps) > FEWER:
            return None
        if nearest != steps and (steps in self.fixed or nearest <= 2 * FEWER):
            return None
        return self.lengths[nearest] + (steps - nearest)

    def number(self, size: Any) -> int | None:
        """Return a size of the example, if it is less or more than a length by a number."""
        known = any((size.node.expr - own.node.expr).is_Integer for own in self.lengths.values())
        return int(size.node.hint) if known else None


class Counting(Counted):
    """Learns which lengths a module counts to, while it is traced.

    Parameters
    ----------
    allowed : bool
        True if it may: LoopMet is raised where not.
    fixed : set of int
    """

    def __init__(self, allowed: bool, fixed: Collection[int] = ()) -> None:
        super().__init__(set(fixed))
        self.allowed = allowed
        self.compared: dict[tuple[Any, int], Any] = {}  # places in code: the number that a size was compared with
        self.grown: dict[int, tuple[Any, list[Any]]] = {}  # tensors that steps were added to, by id, and the steps

    def take(self, size: Any) -> int:
        """The number that stands for a symbolic size, which the module counts to."""
        if not self.allowed:
            raise LoopMet
        hint = int(size.node.hint)
        self.lengths[hint] = size
        return hint

    def repeated(self, frame: Any, other: Any) -> bool:
        """Return True if a size is compared with one number after the other at a place, as `while t < T` does."""
        place = (frame, frame.f_lasti)
        again = place in self.compared and self.compared[place] != other
        self.compared[place] = other
        return again

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While sizes that a module's own code takes for numbers are noted."""
        usual = {name: getattr(torch.SymInt, name) for name in ("__index__", "__bool__", *COMPARISONS)}

        def index(size: Any) -> int:
            own = _is_own(sys._getframe(1)) and _is_open(size)
            return self.take(size) if own else int(usual["__index__"](size))

        def comparing(name: str) -> Callable[[Any, Any], Any]:
            def compare(size: Any, other: Any) -> Any:
                frame = sys._getframe(1)
                if type(other) in (int, torch.SymInt) and _is_own(frame) and _is_open(size):
                    if type(other) is int and self.repeated(frame, other):
                        return getattr(self.take(size), name)(other)
                    self.asked[_place(frame)] = _place(frame)
                return usual[name](size, other)

            return compare

        def truth(size: Any) -> bool:
            frame = sys._getframe(1)
            guards = size.node.shape_env.guards if _is_own(frame) and _is_open(size) else []
            before = len(guards)
            result = bool(usual["__bool__"](size))  # which the exporter notes as asked here
            self.asked.update((guard.expr, _place(frame)) for guard in guards[before:])
            return result

        torch.SymInt.__index__, torch.SymInt.__bool__ = index, truth  # type: ignore[method-assign]
        for name in COMPARISONS:
            setattr(torch.SymInt, name, comparing(name))
        try:
            yield
        finally:
            for name, function in usual.items():
                setattr(torch.SymInt, name, function)
            self.compared.clear()
            self.grown.clear()

    def call(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a function that joins the steps of a loop or takes a sequence apart; NotImplemented for any other."""
        function = _FUNCTIONS.get(func)
        return NotImplemented if function is None else function(self, *args, **kwargs)

    # Functions, with PyTorch's own names of their parameters -----------------------------------------

    def stack(self, tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
        """The steps of a loop side by side."""
        length = self.length(len(tensors)) if isinstance(tensors, list | tuple) else None
        if length is None or out is not None:
            return NotImplemented
        return STACKED(list(tensors), dim % (tensors[0].dim() + 1), length)

    def cat(self, tensors: Any, dim: int = 0, *, out: Any = None) -> Any:
        """The steps of a loop one behind the other, or one more behind those before."""
        if not isinstance(tensors, list | tuple) or out is not None:
            return NotImplemented
        parts = [part for x in tensors for part in self.parts(x, dim)]
        length = self.length(len(parts))
        if length is not None and len({str(x.shape) for x in parts}) == 1:
            dim %= parts[0].dim()
            whole = STACKED(list(parts), dim, length).flatten(dim, dim + 1)
        elif len(tensors) == 2 and self.lengths:
            whole = torch.cat(tensors, dim)
        else:
            return NotImplemented
        self.grown[id(whole)] = (whole, [dim, *parts])
        return whole

    def parts(self, x: Any, dim: int) -> list[Any]:
        """Return the tensors that one was joined of along an axis, or itself."""
        _, (own, *parts) = self.grown.get(id(x), (None, [None]))
        if own is not None and own % x.dim() == dim % x.dim():
            return parts
        size = x.shape[dim] if -x.dim() <= dim < x.dim() else 1
        return [] if isinstance(size, int) and size == 0 else [x]

    def hstack(self, tensors: Any, *, out: Any = None) -> Any:
        """The same along the second axis."""
        flat = isinstance(tensors, list | tuple) and tensors[0].dim() < 2
        return NotImplemented if flat else self.cat(tensors, 1, out=out)

    def unbind(self, input: Any, dim: int = 0) -> Any:
        """Every step of a sequence."""
        size = input.shape[dim] if input.dim() else 0
        return tuple(input.select(dim, t) for t in range(self.take(size))) if _is_open(size) else NotImplemented

    def iterate(self, input: Any) -> Any:
        """Every step of a sequence, its first axis."""
        found = self.unbind(input)
        return found if found is NotImplemented else iter(found)

    def split(self, tensor: Any, split_size_or_sections: Any, dim: int = 0) -> Any:
        """Every step of a sequence, with an axis of one step."""
        size = tensor.shape[dim] if tensor.dim() else 0
        if split_size_or_sections != 1 or not _is_open(size):
            return NotImplemented
        return tuple(tensor.narrow(dim, t, 1) for t in range(self.take(size)))

    def chunk(self, input: Any, chunks: Any, dim: int = 0) -> Any:
        """As many parts as there are steps."""
        size: Any = input.shape[dim] if input.dim() else 0
        if not (_is_open(size) and _is_open(chunks)) or size.node.expr != chunks.node.expr:
            return NotImplemented
        return self.split(input, 1, dim)


def _split_method(counting: Counting, tensor: Any, split_size: Any, dim: int = 0) -> Any:
    return counting.split(tensor, split_size, dim)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    torch.stack: Counting.stack,
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), Counting.cat), torch.hstack: Counting.hstack,
    **dict.fromkeys((torch.unbind, torch.Tensor.unbind), Counting.unbind),
    **dict.fromkeys((torch.chunk, torch.Tensor.chunk), Counting.chunk),
    torch.Tensor.__iter__: Counting.iterate,
    torch.split: Counting.split,
    torch.Tensor.split: _split_method,
}  # fmt: skip


def _place(frame: Any) -> Place:
    return frame.f_code.co_filename, frame.f_lineno


def _is_own(frame: Any) -> bool:
    return is_own(frame.f_code.co_filename)


def is_own(file: str) -> bool:
    """Return True for a file that is none of PyTorch's, of this machine or another: also below a folder named torch."""
    return not file.startswith(PYTORCH) and "-packages/torch/" not in file.replace("\\", "/")


def _is_open(size: Any) -> bool:
    """Return True if the exporter has a symbol for a size."""
    return isinstance(size, torch.SymInt) and not size.node.expr.is_number


def numbers_of(modules: Iterable[Any]) -> set[int]:
    """The numbers that modules hold, and those in the code of their forwards."""
    found: set[int] = set()
    for module in modules:
        code = getattr(getattr(type(module).forward, "__code__", None), "co_consts", ())
        found |= {n for n in (*vars(module).values(), *code) if type(n) is int}
    return found


def length_for(fixed: Collection[int]) -> int:
    """A number of steps that is none of the numbers of a module; nor one more or less, where that can be."""
    apart = [n for n in LENGTHS if n not in fixed]
    far = [n for n in apart if n - 1 not in fixed and n + 1 not in fixed]
    return next(iter(far or apart or LENGTHS[-1:]))
