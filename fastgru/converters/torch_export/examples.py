"""Example arguments for modules that were given none: of the sizes that the layers say which forward calls first."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from ..._hints import named, option
from ...errors import ConvertError
from .. import Imported
from ..torch.oracle import evaluating, to_tensor
from .counting import length_for
from .places import raised
from .source import restore, snapshot

ROWS = 2
LONG = 4099  # steps where few are too short: for windows and transforms of thousands, and a prime, as no size is
MOST_LAYERS = 8  # whose sizes are tried
SHOWN_STEPS = 50  # of an example to write
Shape = tuple[int, ...]
Shapes = Callable[[Any, int], Sequence[Shape]]


def _recurrent(layer: Any, steps: int) -> Sequence[Shape]:
    size = layer.input_size
    return [(ROWS, steps, size) if layer.batch_first else (steps, ROWS, size), *_one_feature(size, steps)]


def _cell(layer: Any, steps: int) -> Sequence[Shape]:
    return _features(layer.input_size, steps)


def _linear(layer: Any, steps: int) -> Sequence[Shape]:
    return _features(layer.in_features, steps)


def _features(size: int, steps: int) -> Sequence[Shape]:
    return [(ROWS, steps, size), (ROWS, size, steps), (ROWS, size), *_one_feature(size, steps)]


def _channels(layer: Any, steps: int) -> Sequence[Shape]:
    size = layer.in_channels
    return [(ROWS, size, steps), (ROWS, steps, size), *_one_feature(size, steps)]


def _one_feature(size: int, steps: int) -> list[Shape]:
    """A sequence of numbers, which a module gives the axis of its one feature."""
    return [(ROWS, steps)] if size == 1 else []


# What a layer takes, by its class; a floating-point number, or ids where it is an Embedding.
TAKEN: tuple[tuple[type[nn.Module], Shapes], ...] = (
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _cell),
    (nn.Linear, _linear),
    (nn.Conv1d, _channels),
    (nn.ConvTranspose1d, _channels),
    (nn.Embedding, lambda layer, steps: [(ROWS, steps)]),
    (nn.LayerNorm, lambda layer, steps: [(ROWS, steps, *layer.normalized_shape)]),
    (nn.BatchNorm1d, lambda layer, steps: [(ROWS, layer.num_features, steps), (ROWS, layer.num_features)]),
    (nn.MultiheadAttention, lambda layer, steps: [(ROWS, steps, layer.embed_dim)]),
)


@dataclass(frozen=True)
class Suggestion:
    """An argument that layers suggest.

    Attributes
    ----------
    example : torch.Tensor
    steps : int
    layers : dict of torch.nn.Module to str
        That take such an argument, with their paths; none where it is a sequence of numbers.
    parameter : str
        Of forward.
    called : sequence of torch.nn.Module
        Layers that forward called for it, in their order.
    """

    example: torch.Tensor
    steps: int
    layers: dict[nn.Module, str]
    parameter: str
    called: Sequence[nn.Module] = field(default=())

    @property
    def unused(self) -> bool:
        """True if forward calls no layer that suggests it."""
        return bool(self.layers) and self.layers.keys().isdisjoint(self.called)

    def __str__(self) -> str:
        what = f"{self.parameter} of shape {tuple(self.example.shape)}"
        if not self.layers:
            return f"{what}, guessed as sequences of numbers"
        layer = next((n for n in self.called if n in self.layers), next(iter(self.layers)))
        kind, path = type(layer).__name__, self.layers[layer]
        where = f"layer {path!r} ({kind})" if path else kind
        return f"{what}, guessed from {where}{', which forward does not call' * self.unused}"

    def noted(self, imported: Imported) -> Imported:
        """Return an import with a note where forward calls none of the layers that its sizes were guessed from."""
        if not self.unused:
            return imported
        notes = [*filter(None, [imported.provenance.get("notes")]), f"traced with {self}"]
        return imported._replace(provenance={**imported.provenance, "notes": "; ".join(notes)})

    def line(self) -> str:
        """Say how to give another one, and what its axes are."""
        marks = {ROWS: ("B", ROWS), self.steps: ("T", SHOWN_STEPS)}
        axes = [marks.get(n, (None, n)) for n in self.example.shape]
        shape = ", ".join(str(n) for _, n in axes)
        kind = "" if self.example.is_floating_point() else ", dtype=torch.long"
        labels = ", ".join(repr(label) for label, _ in axes)
        return (
            f"{option('example_inputs')}{{{self.parameter!r}: torch.zeros({shape}{kind})}}, and what its axes are by "
            f"{option('axes')}{{{self.parameter!r}: ({labels})}}"
        )


class NoExample(ConvertError):
    """No argument was found; `suggestion` is the one with which forward came farthest, if any."""

    def __init__(self, message: str, suggestion: Suggestion | None) -> None:
        super().__init__(message)
        self.suggestion = suggestion


def example_for(module: nn.Module, more: int = 0) -> Suggestion:
    """Return an argument that a module of one runs on.

    The module may take `more` arguments behind it that are None.

    The layers that forward calls say what it takes, the first ahead of the others; which these are is seen when it
    runs. Layers that it does not call come last: it may read their weights.

    Raises
    ------
    NoExample
        When the module takes several arguments, or runs on nothing that its layers suggest.

    Examples
    --------
    >>> suggestion = example_for(nn.Sequential(nn.Conv1d(3, 4, 2), nn.ReLU()))
    >>> suggestion.example.shape, suggestion.steps
    (torch.Size([2, 3, 13]), 13)
    >>> str(suggestion)
    "input of shape (2, 3, 13), guessed from layer '0' (Conv1d)"
    """
    names = _required(module)
    why = f"takes {' and '.join(names) if len(names) == 2 else ', '.join(names)}"
    wanted = "{" + ", ".join(f"{name!r}: torch.zeros(2, 50, 40)" for name in names) + "}"
    failed: Suggestion | None = None
    if len(names) == 1 + more:
        why = "calls no layer that says what it takes"
        short = length_for({n for tensor in (*module.parameters(), *module.buffers()) for n in tensor.shape})
        for steps in (short, LONG):
            doubtful = None
            for suggestion, problem in _trials(module, more, steps):
                if problem is None and suggestion.layers and not suggestion.unused:
                    return suggestion
                if problem is None:
                    doubtful = doubtful or suggestion
                elif failed is None or len(suggestion.called) > len(failed.called):
                    failed, why = suggestion, f"does not run on {suggestion}: {problem}"
            if doubtful is not None:
                return doubtful
    raise NoExample(
        f"{named('example_inputs')} must be given for {type(module).__name__}, whose forward {why}: such as "
        f"{option('example_inputs')}{wanted}, with the sizes that it takes, here 2 rows of 50 steps of 40 features",
        failed,
    )


def _trials(module: nn.Module, more: int, steps: int) -> Iterator[tuple[Suggestion, str | None]]:
    """Yield the arguments that layers suggest, each with what the module raises for it, or None."""
    called: dict[nn.Module, None] = {}
    tried: set[tuple[torch.dtype, Shape]] = set()
    while True:
        left = (s for s in suggestions(module, steps, called) if (s.example.dtype, s.example.shape) not in tried)
        suggestion = next(left, None)
        if suggestion is None:
            return
        tried.add((suggestion.example.dtype, suggestion.example.shape))
        seen, problem = _run(module, suggestion.example, *[None] * more)
        called |= dict.fromkeys(seen)
        yield replace(suggestion, called=seen), problem


def _required(module: nn.Module) -> list[str]:
    """The names of the parameters of forward that have no default."""
    parameters = inspect.signature(module.forward).parameters.values()
    given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in given] or ["x"]


def suggestions(module: nn.Module, steps: int = LONG, first: Iterable[nn.Module] = ()) -> Iterator[Suggestion]:
    """Yield arguments that one of the layers says, each once; at last a sequence of numbers, of which others are made.

    Layers that are known to be called come `first`. What runs through a layer of a fixed size is what the module takes,
    whoever suggested it.
    """
    paths = {layer: path for path, layer in module.named_modules()}
    ordered = dict.fromkeys((*(layer for layer in first if layer in paths), *paths))
    layers = ((layer, shapes) for layer in ordered for cls, shapes in TAKEN if isinstance(layer, cls))
    found: dict[tuple[torch.dtype, Shape], dict[nn.Module, str]] = {}
    for layer, shapes in itertools.islice(layers, MOST_LAYERS):
        kind = torch.int64 if isinstance(layer, nn.Embedding) else torch.float64
        for shape in shapes(layer, steps):
            found.setdefault((kind, shape), {})[layer] = paths[layer]
    if found:
        found.setdefault((torch.float64, (ROWS, steps)), {})
    for (kind, shape), own in found.items():
        example = to_tensor(module, torch.zeros(shape, dtype=kind).numpy())
        yield Suggestion(example, steps, own, _required(module)[0])


def _run(module: nn.Module, *arguments: Any) -> tuple[list[nn.Module], str | None]:
    """Return the layers that a module calls for arguments, and what it raises, if anything; it is left as it was."""
    buffers, called = snapshot(module), dict[nn.Module, None]()
    own = set(module.modules())
    hook = register_module_forward_pre_hook(lambda layer, _: called.setdefault(layer) if layer in own else None)
    try:
        with evaluating(module):
            module(*arguments)
    except Exception as error:  # whatever a module may raise
        return [*called], raised(error)
    finally:
        hook.remove()
        restore(module, buffers)
    return [*called], None
