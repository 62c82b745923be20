"""Any live torch.nn.Module to a Graph, through torch.export and example arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..._hints import either, named, option
from ...errors import ConvertError, GraphError
from .. import Imported
from ..tensors.values import TIME
from .axes import Layout, candidates, enlarged, of_steps
from .build import Program, Translation, translate
from .counting import Counting, LoopMet, length_for
from .graph import ExportedProgram
from .inside import ExportLayers
from .oracle import ExportOracle, Port, Run
from .program import exported
from .source import Source, restore, result_names, snapshot

UNCHECKABLE = "PyTorch takes no sequence of no step, which masks of packed sequences may leave"
CLOSED = "TorchScript does not show the values inside a module, and its outputs are checked as a whole"
MOST_GROWTH, FEW_WEIGHTS = 4, 10_000  # times a module's own weights, and what the ops of a small one may need
MOST_REPEATED = 3  # times that all weights are in a graph
LOOP_CHECKED = 131  # steps: more than numbers by which a loop may be cut, such as 16, 64 or 128
LOOPED = "a loop of Python is traced for a few steps alone, and the outputs are checked as a whole"
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
        examples = enlarged(layout, source.arguments)
        try:
            counting = Counting(allowed=False)
            traced = exported(module, source.placed(examples), source.free(layout), counting)
        except LoopMet:
            counting = Counting(allowed=True)
            examples = of_steps(_loop_length(source), layout, source.arguments)
            traced = exported(module, source.placed(examples), source.free(layout), counting)
        names = result_names(traced.call_spec.out_spec)
        return ExportedProgram(traced, names, source.arguments, layout, counting.lengths)

    @contextmanager
    def fresh() -> Iterator[Any]:
        before = snapshot(module)
        restore(module, buffers)
        try:
            yield module
        finally:
            restore(module, before)

    return import_program(source, program, fresh, axes, states)


def _loop_length(source: Source) -> int:
    """For how many steps loops are written out: a number that is no size of the module's tensors."""
    tensors = [*source.module.parameters(), *source.module.buffers(), *(a.example for a in source.arguments)]
    return length_for({n for tensor in tensors for n in tensor.shape})


@dataclass(frozen=True)
class Guess:
    """A translation of a module, for one layout of its arguments."""

    source: Source
    layout: Layout
    made: Program
    found: Translation

    def doubts(self) -> tuple[bool, ...]:
        """Return reasons why another layout may be meant, the gravest first."""
        layers = [m for m in self.source.module.modules() if isinstance(m, nn.RNNBase)]
        whole = any(m.bidirectional for m in layers)
        return (
            self.repeats_weights(),
            self.grows(),
            not self.fits_example(),
            bool(layers) and not self.found.recurrent,
            not whole and bool(self.found.graph.not_streamable()),
        )

    def rank(self) -> tuple[int, ...]:
        """Return a key that is less for the better of two: less over time is worse than no stream."""
        *others, stays = self.doubts()
        return (*others, -sum(TIME in labels for labels in self.layout.values()), stays)

    def own_weights(self) -> int:
        """How many numbers the module's parameters and buffers hold."""
        return sum(t.numel() for t in (*self.source.module.parameters(), *self.source.module.buffers()))

    def arrays(self) -> list[Any]:
        """The weights of all nodes."""
        return [array for node in self.found.graph.nodes for array in node.op.weights().values()]

    def grows(self) -> bool:
        """Return True if the graph has several times the module's weights."""
        size: int = sum(a.size for a in self.arrays())
        return size > MOST_GROWTH * self.own_weights() + FEW_WEIGHTS

    def repeats_weights(self) -> bool:
        """Return True if nodes hold the same weights over and over, as the steps of a loop that was written out do."""
        arrays = [a for a in self.arrays() if a.size > 1]
        single: int = sum({(a.shape, a.dtype.str, a.tobytes()): a.size for a in arrays}.values())
        whole: int = sum(a.size for a in arrays)
        return whole > MOST_REPEATED * single

    def fits_example(self) -> bool:
        """Return True if the example itself has enough steps."""
        steps = {
            a.example.shape[labels.index(TIME)]
            for a in self.source.arguments
            if TIME in (labels := self.layout[a.name])
        }
        try:
            return all(self.found.graph.lengths(n) is not None for n in steps)
        except GraphError:
            return False

    def refusal(self, failures: Sequence[tuple[int, ConvertError]]) -> str:
        """Why no layout is taken: the reason of the one that came farthest, and how to have this one."""
        reason = max(failures, key=lambda failure: failure[0])[1]
        words = (f"{named('axes')} {name}={','.join(n or '-' for n in labels)}" for name, labels in self.layout.items())
        asked = either(f"{named('axes')}={self.layout}", " ".join(words))
        return (
            f"{reason}; with {self.source.shown(self.layout)} the model would run over a fixed number of steps and "
            f"hold its weights once for each: {asked} asks for that"
        )


def import_program(
    source: Source, program: Callable[[Layout], Program], fresh: Fresh, axes: Mapping[str, Any] | None,
    states: Mapping[str, str] | None,
) -> Imported:  # fmt: skip
    """The first layout of a module's arguments that can be meant; errors are of the one that came farthest."""
    failures: list[tuple[int, ConvertError]] = []
    found: list[Guess] = []
    layouts = candidates(source.module, source.arguments, axes or {})
    if not layouts:
        raise ConvertError(
            f"{named('example_inputs')} must have one number of rows and one of steps, got others: give "
            f"{option('axes')}"
        )
    loops = False  # whether a layout failed whose time the module counts to
    for layout in layouts:
        stage = 0
        try:
            values = zip((a.name for a in source.arguments), enlarged(layout, source.arguments), strict=True)
            source.attempt(dict(values), layout)
            stage = 1
            made = program(layout)
            stage = 2
            guess = Guess(source, layout, made, translate(made, states))
        except (ConvertError, GraphError) as error:
            reached = stage + (made.reached if stage == 2 else 0)
            loops |= stage == 2 and isinstance(made, ExportedProgram) and bool(made.lengths)
            axes_tried = f"axes: {source.shown(layout)}"
            text = f"{error}\n{axes_tried}" if "\n" in str(error) else f"{error} ({axes_tried})"
            failures.append((reached, ConvertError(text)))
            continue
        found.append(guess)
        if axes or (not any(guess.doubts()) and min(found, key=Guess.rank) is guess):
            return _imported(guess, fresh)
    best = min(found, key=Guess.rank, default=None)
    if best is None:
        raise max(failures, key=lambda failure: failure[0])[1]
    if loops and best.repeats_weights():
        raise ConvertError(best.refusal(failures))
    return _imported(best, fresh)


def _imported(guess: Guess, fresh: Fresh) -> Imported:
    source, layout, made, found = guess.source, guess.layout, guess.made, guess.found
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
    if isinstance(made, ExportedProgram) and made.lengths:
        return Imported(found.graph, provenance, oracle, missing=LOOPED, longer=LOOP_CHECKED)
    if isinstance(made, ExportedProgram):
        return Imported(found.graph, provenance, oracle, ExportLayers(made, found, oracle), "")
    return Imported(found.graph, provenance, oracle, missing=CLOSED)
