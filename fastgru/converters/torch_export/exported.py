"""Any live torch.nn.Module to a Graph, through torch.export and example arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import nn

from ..._hints import either, named, option
from ...errors import ConvertError, GraphError
from ...graph import TimeStep
from .. import Imported
from ..layouts import Axes, Layouts, of_labels, of_tensor
from ..program.sizes import BATCH, TIME
from ..program.steps import STEPS
from ..program.values import Tensor
from .axes import Layout, candidates, enlarged, of_steps
from .branches import other_ways
from .build import Program, Translation, translate
from .chain import Chain, ChainProgram
from .counting import Counting, LoopMet, length_for, numbers_of
from .examples import NoExample, Suggestion, example_for, suggestions
from .graph import ExportedProgram
from .inside import ExportLayers
from .oracle import ExportOracle, Port, Run
from .program import exported
from .recording import Recording
from .results import by_name, result_names
from .source import Source, restore, snapshot

UNCHECKABLE = "PyTorch takes no sequence of no step, which masks of packed sequences may leave"
CLOSED = "TorchScript does not show the values inside a module, and its outputs are checked as a whole"
MOST_GROWTH, FEW_WEIGHTS = 4, 10_000  # times a module's own weights, and what the ops of a small one may need
MOST_REPEATED = 3  # times that all weights are in a graph
THE_BATCH = ("the batch", "loop over B ")  # in reasons: an axis that is taken for it has another part in the module
TRACED = 2  # how far the translation of a layout came that could be traced
MOST_OTHERS = 3  # layouts whose failures a message tells beside the first
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
            fixed = _numbers(source)
            counting = Counting(allowed=True, fixed=fixed)
            examples = of_steps(length_for(fixed), layout, source.arguments)
            traced = exported(module, source.placed(examples), source.free(layout), counting)
        names = result_names(traced.call_spec.out_spec)
        return ExportedProgram(traced, names, source.arguments, layout, counting)

    @contextmanager
    def fresh() -> Iterator[Any]:
        before = snapshot(module)
        restore(module, buffers)
        try:
            yield module
        finally:
            restore(module, before)

    return import_program(source, program, fresh, axes, states)


def import_chain(module: nn.Module, examples: Any = None) -> Imported:
    """Import a module in calls of known layers, which torch.fx traces.

    Further arguments without a default are initial states, which start from zeros. The input is called ``x``, and a
    module that takes rows alone runs on every step.

    Raises
    ------
    ConvertError
        When it is no such module.
    """
    chain = Chain.of(module)
    suggestion = _example(chain) if examples is None else None
    if suggestion is not None:
        examples = (suggestion.example, *[None] * len(chain.states))
    source = Source.of(chain.root, inspect.signature(chain.root.forward), examples)
    if len(source.arguments) != 1:
        raise ConvertError(f"chain of layers must take one tensor, got {len(source.arguments)}")
    source = replace(source, arguments=[replace(source.arguments[0], name="x")])

    @contextmanager
    def fresh() -> Iterator[Any]:
        yield chain.root

    imported = import_program(source, partial(ChainProgram, chain, source), fresh, None, None)
    found = imported.layouts
    assert found is not None
    given = dict.fromkeys(chain.states)
    layouts = found._replace(inputs={**found.inputs, **given}, states={**found.states, **given})
    provenance = {**imported.provenance, "source": type(module).__qualname__}
    if chain.cell:  # which knows nothing of time, nor of the layer that it is here
        layouts = Layouts(
            {n: x and _of_one_step(x) for n, x in found.inputs.items()}, [*map(_of_one_step, found.outputs)]
        )
        provenance.pop("notes", None)
    imported = imported._replace(provenance=provenance, layouts=layouts)
    return imported if suggestion is None else suggestion.noted(imported)


def _example(chain: Chain) -> Suggestion:
    """Return an argument that a chain runs on; errors say what does not fit, where that can be told."""
    try:
        return example_for(chain.root, len(chain.states))
    except NoExample as error:
        for suggestion in [error.suggestion] if error.suggestion else suggestions(chain.root):
            examples = (suggestion.example, *[None] * len(chain.states))
            source = Source.of(chain.root, inspect.signature(chain.root.forward), examples)
            translate(ChainProgram(chain, source, candidates(chain.root, source.arguments, {})[0]), None)
        raise


def _of_one_step(axes: Axes) -> Axes:
    return Axes(tuple(n for n in axes.sizes if n != TIME))


def _numbers(source: Source) -> set[int]:
    """The sizes of a module's tensors and the numbers in its code, for none of which steps of a loop must be taken."""
    tensors = [*source.module.parameters(), *source.module.buffers(), *(a.example for a in source.arguments)]
    return numbers_of(source.module.modules()) | {n for tensor in tensors for n in tensor.shape}


@dataclass(frozen=True)
class Failure:
    """Why a layout of a module's arguments is none.

    Attributes
    ----------
    layout : str
        As messages show it.
    error : Exception
    reached : int
        Progress of the translation: the greater, the farther it came.
    """

    layout: str
    error: Exception
    reached: int

    def __str__(self) -> str:
        text, axes = str(self.error), f"axes: {self.layout}"
        return f"{text}\n{axes}" if "\n" in text else f"{text} ({axes})"

    def rank(self) -> tuple[bool, bool, int]:
        """Return a key that is more for the layout that is likelier meant: no batch is in the way of its calls."""
        return self.reached >= TRACED, not any(map(str(self.error).__contains__, THE_BATCH)), self.reached


def _option(layout: Layout) -> str:
    """Return the option that gives a layout."""
    words = (f"{named('axes')} {name}={','.join(n or '-' for n in labels)}" for name, labels in layout.items())
    return either(f"{named('axes')}={layout}", " ".join(words))


def _refusal(failures: Sequence[Failure], likeliest: Layout) -> str:
    """Return why no layout is taken: the reason of the one that came farthest, and how to give another.

    The others' follow where that is not the likeliest.
    """
    first = max(failures, key=Failure.rank)
    lines = [str(first)]
    if first is not failures[0]:
        reasons = {str(first.error): first.layout}
        taken = [f for f in failures if f.reached or first.reached < TRACED]  # by the module, where it takes one
        for failure in taken:
            reasons.setdefault(str(failure.error), failure.layout)
        others = [f"  {axes}: {reason.splitlines()[0]}" for reason, axes in reasons.items()][1 : 1 + MOST_OTHERS]
        lines += ["Other axes were tried, too:", *others] if others else []
    return "\n".join([*lines, f"If other axes are meant, give them like this: {_option(likeliest)}"])


def counts_time(program: Program) -> bool:
    """Return True if a loop of the module counts to the number of steps."""
    return isinstance(program, ExportedProgram) and program.counts_time()


@dataclass(frozen=True)
class Guess:
    """A translation of a module, for one layout of its arguments."""

    source: Source
    layout: Layout
    made: Program
    found: Translation

    @cached_property
    def doubts(self) -> tuple[int, ...]:
        """Return how much speaks for another layout that may be meant, the gravest first."""
        layers = [m for m in self.source.module.modules() if isinstance(m, nn.RNNBase)]
        whole = any(m.bidirectional for m in layers)
        return (
            self.repeats_weights(),
            self.grows(),
            not self.fits_example(),
            bool(layers) and not self.found.recurrent,
            self.found.laid * (1 + any(TIME in labels for labels in self.layout.values())),
            self.picks_steps(),
            not whole and bool(self.found.graph.not_streamable()),
        )

    def rank(self) -> tuple[int, ...]:
        """Return a key that is less for the better of two: no batch is worse than less time, that than no stream."""
        *others, stays = self.doubts
        timed, batched = (sum(label in labels for labels in self.layout.values()) for label in (TIME, BATCH))
        return (*others, batched == 0, -timed, stays)

    def own_weights(self) -> int:
        """Count the numbers of the module's parameters and buffers."""
        return sum(t.numel() for t in (*self.source.module.parameters(), *self.source.module.buffers()))

    def arrays(self) -> list[Any]:
        """Return the weights of all nodes, but single numbers."""
        return [array for node in self.found.graph.nodes for array in node.op.weights().values() if array.size > 1]

    def grows(self) -> bool:
        """Return True if the graph has several times the module's weights."""
        return self.single() > MOST_GROWTH * self.own_weights() + FEW_WEIGHTS

    def repeats_weights(self) -> bool:
        """Return True if nodes read the same weights over and over, as the steps of a loop that was written out do."""
        whole: int = sum(a.size for a in self.arrays())
        return whole > MOST_REPEATED * self.single()

    def single(self) -> int:
        """Count the numbers of all weights, those that nodes share once."""
        return sum({id(a): a.size for a in self.arrays()}.values())

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

    def picks_steps(self) -> bool:
        """Return True if single steps from the front are all that counts of time, as features are picked by number."""
        graph = self.found.graph
        timed = {name for name, spec in graph.inputs.items() if spec.time}
        readers = [node.op for node in graph.nodes if timed.intersection(node.inputs)]
        return bool(readers) and all(isinstance(op, TimeStep) and op.index >= 0 for op in readers)

    def refusal(self, failures: Sequence[Failure]) -> str:
        """Return why no layout is taken: the reason of the one that came farthest, and how to have this one."""
        reason = max(failures, key=Failure.rank)
        return (
            f"{reason}; with {self.source.shown(self.layout)} the model would take a fixed number of steps, written "
            f"out one by one: {_option(self.layout)} asks for that"
        )


def import_program(
    source: Source, program: Callable[[Layout], Program], fresh: Fresh, axes: Mapping[str, Any] | None,
    states: Mapping[str, str] | None,
) -> Imported:  # fmt: skip
    """The first layout of a module's arguments that can be meant; errors begin with the one that came farthest."""
    failures: list[Failure] = []
    found: list[Guess] = []
    layouts = candidates(source.module, source.arguments, axes or {})
    if not layouts:
        raise ConvertError(
            f"{named('example_inputs')} must have one number of rows and one of steps, got others: give "
            f"{option('axes')}"
        )
    source.check()
    loops = False  # whether a layout failed whose time the module counts to
    for layout in layouts:
        stage = 0
        try:
            values = zip((a.name for a in source.arguments), enlarged(layout, source.arguments), strict=True)
            source.attempt(dict(values), layout)
            stage = 1
            made = program(layout)
            stage = TRACED
            guess = Guess(source, layout, made, translate(made, states))
        except (ConvertError, GraphError) as error:
            reached = stage + (made.reached if stage == TRACED else 0)
            loops |= stage == TRACED and counts_time(made)
            failures.append(Failure(source.shown(layout), error, reached))
            continue
        found.append(guess)
        out = loops and not counts_time(made)  # the loop is written out for the steps of the example
        if axes or (not any(guess.doubts) and min(found, key=Guess.rank) is guess and not out):
            return _imported(guess, fresh, failures)
    best = min(found, key=Guess.rank, default=None)
    if best is None:
        raise ConvertError(str(failures[0]) if axes else _refusal(failures, layouts[0]))
    if loops and (best.doubts[0] or not counts_time(best.made)):
        raise ConvertError(best.refusal(failures))
    return _imported(best, fresh, failures)


def _without_time(layout: Layout, failures: Sequence[Failure]) -> list[str]:
    """Say why a model that is given steps of time takes those of the example alone."""
    if any(TIME in labels for labels in layout.values()):
        return []
    reasons = [failure for failure in failures if f"{TIME}," in failure.layout]
    if not reasons:
        return []
    why, *more = str(max(reasons, key=Failure.rank).error).split("\n")
    why = f"{more[0].strip().removeprefix('1. ')}, and more" if more else why
    return [f"all sizes but the batch are those of the example: {why}"]


def _imported(guess: Guess, fresh: Fresh, failures: Sequence[Failure]) -> Imported:
    source, layout, made, found = guess.source, guess.layout, guess.made, guess.found
    notes = [*found.notes, *_without_time(layout, failures)]
    rows = {i.name for i in made.inputs if i.every_step}
    ports = [Port(a.name, layout[a.name], a.example, found.pairs.get(a.name), a.name in rows) for a in source.arguments]

    @contextmanager
    def start() -> Iterator[Run]:
        with fresh() as module:

            def call(given: dict[str, Any]) -> dict[str, Any]:
                args, keywords = source.filled(given)
                return by_name(module(*args, **keywords))

            yield call

    provenance = {
        "framework": f"PyTorch {torch.__version__}", "source": source.title,
        **({"notes": "; ".join(notes)} if notes else {}),
        **({"lengths": ", ".join(sorted(found.emit.lengths))} if found.emit.lengths else {}),
    }  # fmt: skip
    imported = Imported(found.graph, provenance, layouts=_layouts(guess))
    if not found.checkable:
        return imported._replace(missing=UNCHECKABLE)
    oracle = ExportOracle(source.module, start, ports, found.results, found.whole)
    imported = imported._replace(oracle=oracle)
    if isinstance(made, ChainProgram):
        return imported._replace(layers=ExportLayers(made, found, oracle), missing="")
    if not isinstance(made, ExportedProgram):
        return imported._replace(missing=CLOSED)
    others = other_ways(made.steps(), made.counted.asked)
    if made.counted.lengths:
        others[LOOP_CHECKED] = "loop must do the same at every step"
        return imported._replace(missing=LOOPED, others=others)
    return imported._replace(layers=ExportLayers(Recording(made), found, oracle), missing="", others=others)


def _layouts(guess: Guess) -> Layouts:
    """Return the axes of the arguments and results of a module."""
    inputs = {a.name: of_labels(guess.layout[a.name], a.example.shape) for a in guess.source.arguments}
    found = guess.found
    outputs = [_axes_of(y) for y in found.results.values()]
    return Layouts(inputs, outputs, found.pairs, {n: _axes_of(y) for n, y in found.left_out.items()})


def _axes_of(y: Tensor) -> Axes:
    """Return the axes of a result; where every step is a row, the module knows of rows alone."""
    return of_tensor(y.with_axes((BATCH,) if axis == (BATCH, STEPS) else axis for axis in y.axes))
