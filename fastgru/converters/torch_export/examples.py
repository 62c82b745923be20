"""Example arguments for modules that were given none: of the sizes that their first layer says."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ..._hints import named, option
from ...errors import ConvertError
from ..damage import line_of
from ..torch.oracle import evaluating, to_tensor
from .counting import length_for
from .source import restore, snapshot

ROWS = 2
LONG = 4099  # steps where few are too short: for windows and transforms of thousands, and a prime, as no size is
MOST_LAYERS = 8  # whose sizes are tried
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


def example_for(module: nn.Module, more: int = 0) -> tuple[torch.Tensor, int]:
    """Return an argument that a module of one runs on, and how many steps it has.

    The module may take `more` arguments behind it that are None.

    Layers are tried in the order in which the module has them, since the first that it calls is not known.

    Raises
    ------
    ConvertError
        When the module takes several arguments, or runs on nothing that its layers suggest.

    Examples
    --------
    >>> example, steps = example_for(nn.Sequential(nn.Conv1d(3, 4, 2), nn.ReLU()))
    >>> example.shape, steps
    (torch.Size([2, 3, 13]), 13)
    """
    names = _required(module)
    why = f"takes {' and '.join(names) if len(names) == 2 else ', '.join(names)}"
    if len(names) == 1 + more:
        why, first = "calls no layer that says what it takes", None
        short = length_for({n for tensor in (*module.parameters(), *module.buffers()) for n in tensor.shape})
        for steps in (short, LONG):
            for example in suggestions(module, steps):
                problem = _problem(module, example, *[None] * more)
                if problem is None:
                    return example, steps
                if first is None:
                    first = why = f"does not run on what its layers suggest, such as {tuple(example.shape)}: {problem}"
    wanted = "{" + ", ".join(f"{name!r}: torch.zeros(2, 50, 40)" for name in names) + "}"
    raise ConvertError(
        f"{named('example_inputs')} must be given for {type(module).__name__}, whose forward {why}: such as "
        f"{option('example_inputs')}{wanted}, with the sizes that it takes, here 2 rows of 50 steps of 40 features"
    )


def _required(module: nn.Module) -> list[str]:
    """The names of the parameters of forward that have no default."""
    parameters = inspect.signature(module.forward).parameters.values()
    given = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in given] or ["x"]


def suggestions(module: nn.Module, steps: int = LONG) -> Iterator[torch.Tensor]:
    """Arguments that one of the layers says, each once; at last a sequence of numbers, of which a module makes others.

    What runs through a layer of a fixed size is what the module takes, whoever suggested it.
    """
    layers = ((layer, shapes) for layer in module.modules() for cls, shapes in TAKEN if isinstance(layer, cls))
    found: dict[tuple[torch.dtype, Shape], None] = {}
    for layer, shapes in itertools.islice(layers, MOST_LAYERS):
        kind = torch.int64 if isinstance(layer, nn.Embedding) else torch.float64
        found |= dict.fromkeys((kind, shape) for shape in shapes(layer, steps))
    if found:
        found[torch.float64, (ROWS, steps)] = None
    for kind, shape in found:
        yield to_tensor(module, torch.zeros(shape, dtype=kind).numpy())


def _problem(module: nn.Module, *arguments: Any) -> str | None:
    """Return what a module raises for arguments, None where it takes them; the module is left as it was."""
    buffers = snapshot(module)
    try:
        with evaluating(module):
            module(*arguments)
    except Exception as error:  # whatever a module may raise
        return f"{type(error).__name__}: {line_of(error)}"
    finally:
        restore(module, buffers)
    return None
