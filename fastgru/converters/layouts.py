"""Axes of inputs and outputs as the source has them and as the graph has them, in words.

A graph is always (B, [T,] \\*item); a source may have its axes in any order. Every converter says what the axes of its
source are, and `told` says what became of them: one text for `Imported.provenance`, the summary and the commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..graph import Graph, Spec
from .program.sizes import BATCH, TIME
from .program.steps import STEPS
from .program.values import Tensor, is_time


class Axes(NamedTuple):
    """The axes of a tensor of the source.

    Attributes
    ----------
    sizes : tuple of str or int
        ``"B"`` the batch, ``"T"`` time or a formula of it, or a fixed size, in the source's order.
    steps : str
        The formula of the number of steps, where it has time.
    """

    sizes: tuple[str | int, ...]
    steps: str = TIME

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.sizes))})"


class Layouts(NamedTuple):
    """The axes of all that goes in and out of a source.

    Attributes
    ----------
    inputs : mapping of str to Axes or None
        By the names of the source, which are those of the graph's inputs; None for a state whose axes nobody asked.
    outputs : sequence of Axes
        In the order of the graph's outputs.
    states : mapping of str to str or None
        Inputs that are states of the graph to the outputs that are their next values, where there are such.
    left_out : mapping of str to Axes or None
        Outputs that are final states of layers, which the graph does not return; None for axes that nobody asked.
    """

    inputs: Mapping[str, Axes | None]
    outputs: Sequence[Axes]
    states: Mapping[str, str | None] = {}
    left_out: Mapping[str, Axes | None] = {}


def declared(layouts: Layouts) -> str:
    """Return the axes of the inputs in the source: ``"x (T, B, 3), h (1, B, 4)"``."""
    return ", ".join(f"{name} {axes}" for name, axes in layouts.inputs.items() if axes is not None)


def told(graph: Graph, layouts: Layouts, source: str) -> str:
    """Return what became of every input and output of a source.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import Dense, chain
    >>> graph = chain([Dense(np.ones((4, 3)))])
    >>> told(graph, Layouts({"x": Axes(("T", "B", 3))}, [Axes(("B", "T", 4))]), "PyTorch")
    'input x (T, B, 3) in PyTorch, (B, T, 3) here; output dense (B, T, 4) in PyTorch and here'
    """
    parts = [f"input {_source(*item, source)}{_input(*item, graph, layouts)}" for item in layouts.inputs.items()]
    parts += [
        f"output {_source(name, axes, source)}{_here(axes, graph.specs[name])}"
        for name, axes in zip(graph.outputs, layouts.outputs, strict=True)
    ]
    parts += [
        f"output {_source(*item, source)}, left out here as the final state of layers"
        for item in layouts.left_out.items()
    ]
    return "; ".join(parts)


def _source(name: str, axes: Axes | None, source: str) -> str:
    return f"{name} in {source}" if axes is None else f"{name} {axes} in {source}"


def _input(name: str, axes: Axes | None, graph: Graph, layouts: Layouts) -> str:
    if axes is not None and name in graph.inputs:
        return _here(axes, graph.inputs[name])
    return ", a state here" if name in layouts.states else ", no input here"


def _here(axes: Axes, spec: Spec) -> str:
    here = str(Axes((BATCH, *[axes.steps] * spec.time, *spec.shape)))
    return " and here" if here == str(axes) else f", {here} here"


def of_tensor(x: Tensor) -> Axes:
    """Return the axes of a tensor with labels."""
    steps = next((a for axis in x.axes for a in axis if is_time(a)), STEPS)
    return Axes(tuple(n if isinstance(n, int) else str(n) for n in x.sizes()), str(steps))


def of_labels(labels: Iterable[str | None], shape: Iterable[int]) -> Axes:
    """Return the axes of a tensor of some shape, whose axes of open size are labelled."""
    return Axes(tuple(n if label is None else label for label, n in zip(labels, shape, strict=True)))
