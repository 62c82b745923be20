"""Any live torch.nn.Module to a Graph, through torch.export and example arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..._hints import named, option
from ...errors import ConvertError, GraphError
from .. import Imported
from .axes import Layout, candidates, enlarged
from .build import Program, Translation, translate
from .graph import ExportedProgram
from .inside import ExportLayers
from .oracle import ExportOracle, Port, Run
from .program import exported
from .source import Source, restore, result_names, snapshot

UNCHECKABLE = "PyTorch takes no sequence of no step, which masks of packed sequences may leave"
CLOSED = "TorchScript does not show the values inside a module, and its outputs are checked as a whole"
Fresh = Callable[[], AbstractContextManager[Any]]  # lends a module as it is at the start of a stream


def import_exported(
    module: nn.Module, examples: Any, axes: Mapping[str, Any] | None = None, states: Mapping[str, str] | None = None
) -> Imported:
    """Import a module by what it does with example arguments.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it is.
    examples : tensor, sequence or mapping
        Arguments of its forward: one, in order, or by name. Tensors are inputs of the graph, others are fixed.
    axes : mapping of str to sequence, optional
        For a parameter what each axis is: ``"B"`` the batch, ``"T"`` time, None for a fixed size. Without it, every
        order that is usual is tried.
    states : mapping of str to str, optional
        Parameters to the results (by place or key, ``"1"`` or ``"1.0"``) that they become at the next call. Found by
        names and shapes where omitted, and final states that no parameter takes are then left out.

    Raises
    ------
    ConvertError
        Listing every operator without a translation, and whatever else is wrong, with names and lines.

    Examples
    --------
    >>> import_exported(nn.Conv1d(3, 4, 2), torch.zeros(1, 3, 9)).graph
    Graph([conv1d: TimeConv])
    """
    source = Source.of(module, inspect.signature(module.forward), examples)
    buffers = snapshot(module)

    def program(layout: Layout) -> Program:
        values = dict(zip((a.name for a in source.arguments), enlarged(layout, source.arguments), strict=True))
        traced = exported(module, source.filled(values), source.free(layout))
        return ExportedProgram(traced, result_names(traced.call_spec.out_spec), source.arguments, layout)

    @contextmanager
    def fresh() -> Iterator[Any]:
        before = snapshot(module)
        restore(module, buffers)
        try:
            yield module
        finally:
            restore(module, before)

    return import_program(source, program, fresh, axes, states)


def import_program(
    source: Source, program: Callable[[Layout], Program], fresh: Fresh, axes: Mapping[str, Any] | None,
    states: Mapping[str, str] | None,
) -> Imported:  # fmt: skip
    """The first layout of a module's arguments that can be imported; errors are of the one that came farthest."""
    failures: list[tuple[int, ConvertError]] = []
    others: list[
        tuple[Layout, Program, Translation]
    ] = []  # that run no recurrent layer over time, though there are some
    layers = any(isinstance(m, nn.RNNBase) for m in source.module.modules())
    layouts = candidates(source.module, source.arguments, axes or {})
    if not layouts:
        raise ConvertError(
            f"{named('example_inputs')} must have one number of rows and one of steps, got others: give "
            f"{option('axes')}"
        )
    for layout in layouts:
        stage = 0
        try:
            values = zip((a.name for a in source.arguments), enlarged(layout, source.arguments), strict=True)
            source.attempt(dict(values), layout)
            stage = 1
            made = program(layout)
            stage = 2
            found = translate(made, states)
        except (ConvertError, GraphError) as error:
            reached = stage + (made.reached if stage == 2 else 0)
            axes_tried = f"axes: {source.shown(layout)}"
            text = f"{error}\n{axes_tried}" if "\n" in str(error) else f"{error} ({axes_tried})"
            failures.append((reached, ConvertError(text)))
            continue
        if found.recurrent or not layers or axes:
            return _imported(source, layout, made, found, fresh)
        others.append((layout, made, found))
    if others:
        return _imported(source, *others[0], fresh)
    raise max(failures, key=lambda failure: failure[0])[1]


def _imported(source: Source, layout: Layout, made: Program, found: Translation, fresh: Fresh) -> Imported:
    ports = [Port(a.name, layout[a.name], a.example, found.pairs.get(a.name)) for a in source.arguments]

    @contextmanager
    def start() -> Iterator[Run]:
        with fresh() as module:

            def call(given: dict[str, Any]) -> dict[str, Any]:
                leaves, tree = pytree.tree_flatten(module(*source.filled(given)))
                return dict(zip(result_names(tree), leaves, strict=True))

            yield call

    provenance = {
        "framework": f"PyTorch {torch.__version__}", "source": source.title, "axes": source.shown(layout),
        **({"notes": "; ".join(found.notes)} if found.notes else {}),
    }  # fmt: skip
    if not found.checkable:
        return Imported(found.graph, provenance, missing=UNCHECKABLE)
    oracle = ExportOracle(source.module, start, ports, found.results, found.whole)
    if isinstance(made, ExportedProgram):
        return Imported(found.graph, provenance, oracle, ExportLayers(made, found, oracle), "")
    return Imported(found.graph, provenance, oracle, missing=CLOSED)
