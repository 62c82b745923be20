"""PyTorch's own results for inputs as the imported graph takes them: row by row and step by step where need be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..damage import asking
from ..program.sizes import BATCH, TIME, Atom
from ..program.values import Array, Tensor
from ..torch.oracle import evaluating, to_array
from .axes import Labels

Arrays = dict[str, Array]
Run = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Port:
    """An argument of the module: where it goes, and what its axes are."""

    name: str
    labels: Labels
    example: torch.Tensor
    feeds: str | None = None  # the result that a state becomes
    every_step: bool = False  # whether its rows are the steps of sequences


class ExportOracle:
    """Runs a module on batch-first arrays.

    Parameters
    ----------
    module : torch.nn.Module
    start : callable
        Lends, for a new stream, what runs it on tensors by name and returns its results by name.
    ports : sequence of Port
    results : mapping of str to Tensor
        The graph's outputs, with the axes of what the module returns.
    whole : bool
        True if a call is a whole sequence or a row; else it is a step.
    """

    def __init__(
        self,
        module: nn.Module,
        start: Callable[[], AbstractContextManager[Run]],
        ports: Sequence[Port],
        results: Mapping[str, Tensor],
        whole: bool,
    ) -> None:
        self.module, self.start, self.ports, self.results, self.whole = module, start, ports, dict(results), whole

    @property
    def apart(self) -> bool:
        """True if arguments may have numbers of steps of their own: none says how long the others are."""
        return self.whole and all(p.feeds or p.labels != (BATCH,) or p.example.is_floating_point() for p in self.ports)

    def __call__(self, x: Any) -> tuple[Array, ...]:
        """x: an array, or arrays by name; (B, T, \\*frame) or (B, \\*frame) each."""
        own = [p.name for p in self.ports if not p.feeds]
        feeds = {n: np.asarray(a) for n, a in x.items()} if isinstance(x, Mapping) else {own[0]: np.asarray(x)}
        rows = next(iter(feeds.values())).shape[0]
        alone = any(BATCH not in p.labels for p in self.ports if p.name in feeds)
        groups = [slice(i, i + 1) for i in range(rows)] if alone else [slice(None)]
        with evaluating(self.module):
            parts = []
            for group in groups:
                with asking("PyTorch"), self.start() as call:
                    parts.append(self._rows(call, {n: a[group] for n, a in feeds.items()}))
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def _rows(self, call: Run, feeds: Arrays) -> list[Array]:
        rows = next(iter(feeds.values())).shape[0]
        state = {p.name: self._zeros(p, rows) for p in self.ports if p.feeds}
        if self.whole:
            given = {p.name: self._argument(p, feeds, None) for p in self.ports if not p.feeds}
            found = call({**self._lengths(given, feeds), **state})
            return [self._result(found[n], y, rows) for n, y in self.results.items()]
        steps = []
        for t in range(next(iter(feeds.values())).shape[1]):
            given = {p.name: self._argument(p, feeds, t) for p in self.ports if not p.feeds}
            found = call({**given, **state})
            steps.append([self._result(found[n], y, rows) for n, y in self.results.items()])
            state = {p.name: found[p.feeds] for p in self.ports if p.feeds}
        timed = [y.spec.time for y in self.results.values()]
        return [np.stack(y, 1) if t else y[0] for t, *y in zip(timed, *steps, strict=True)]

    def _zeros(self, port: Port, rows: int) -> Any:
        shape = [rows if label == BATCH else n for n, label in zip(port.example.shape, port.labels, strict=True)]
        return port.example.new_zeros(shape)

    def _lengths(self, given: dict[str, Any], feeds: Arrays) -> dict[str, Any]:
        """Fill in lengths of sequences, which are no input of the graph: all rows are as long as the longest."""
        steps = next((a.shape[1] for n, a in feeds.items() if n in given and a.ndim > 1), 1)
        rows = next(iter(feeds.values())).shape[0]
        return {n: torch.full((rows,), steps) if a is None else a for n, a in given.items()}

    def _argument(self, port: Port, feeds: Arrays, step: int | None) -> Any:
        """An array with its axes in the module's order."""
        if port.name not in feeds:
            return None
        array = feeds[port.name] if step is None else feeds[port.name][:, step]
        array = array.reshape(-1, *array.shape[2:]) if port.every_step else array
        order = iter(range(1 + (TIME in port.labels), array.ndim))
        places = {label: i for i, label in enumerate((BATCH, TIME))}
        axes = [places[label] if label is not None else next(order) for label in port.labels]
        moved = array.transpose([*([0] if BATCH not in port.labels else []), *axes])
        # In C order, as a module is called: an exported program may hold views that take no other.
        return torch.from_numpy(np.array(moved if BATCH in port.labels else moved[0], order="C")).to(port.example)

    def _result(self, tensor: Any, like: Tensor, rows: int) -> Array:
        """A result with the batch first, then time, then the frame; as it is where its size is another."""
        atoms = [a for axis in like.axes for a in axis]
        sizes = [rows if a == BATCH else like.spec.shape[a] if isinstance(a, int) else -1 for a in atoms]
        array = to_array(tensor)
        try:
            array = array.reshape(sizes)
        except ValueError:
            return array
        order = sorted(range(len(atoms)), key=lambda i: _place(atoms[i]))
        array = array.transpose(order)
        if BATCH in atoms:
            return array
        return np.broadcast_to(array, (rows, *array.shape))


def _place(atom: Atom) -> int:
    """Return a key that sorts the batch first, then time, then the axes of the frame."""
    return atom if isinstance(atom, int) else -2 if atom == BATCH else -1
