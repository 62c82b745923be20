"""Find which axes of a module's arguments are the batch and time: as told, or every order that may be meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import nn

from ..._hints import either, labelled, named
from ..._names import nearest
from ...errors import ConvertError, listed
from ..program.sizes import BATCH, TIME
from .states import is_carried, is_nameless

Labels = tuple[str | None, ...]  # of one argument: "B", "T", or None for a fixed size, for each axis
Layout = dict[str, Labels]

MOST_CANDIDATES = 24
FEWEST_ROWS, FEWEST_STEPS = 2, 16  # of the examples: the exporter fixes sizes of 1, windows reach over several steps
B, T = BATCH, TIME
# What axes may be, by their number, the likeliest first.
FLOATS: dict[int, tuple[Labels, ...]] = {
    0: ((),),
    1: ((B,), (T,), (None,)),
    2: ((B, T), (B, None), (T, None)),
    3: ((B, T, None), (B, None, T), (T, B, None), (B, None, None)),
    4: ((B, None, T, None), (B, None, None, T), (B, T, None, None), (B, None, None, None)),
    5: ((B, T, None, None, None), (B, None, T, None, None), (B, None, None, None, None)),
}
INTS: dict[int, tuple[Labels, ...]] = {
    0: ((),), 1: ((B,), (T,), (None,)), 2: ((B, T), (T, B), (B, None)), 3: ((B, T, None), (B, None, None)),
}  # fmt: skip
STATES: dict[int, tuple[Labels, ...]] = {0: ((),), 1: ((B,), (None,)), 2: ((B, None), (None, None)),
                                         3: ((None, B, None), (B, None, None))}  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """A tensor among a module's arguments.

    Attributes
    ----------
    name : str
        Of the parameter, with the keys that lead to it behind: ``"state.0"``.
    place : int
        Among the leaves of all arguments.
    example : torch.Tensor
    """

    name: str
    place: int
    example: torch.Tensor


def candidates(module: nn.Module, arguments: Sequence[Argument], given: Mapping[str, Any]) -> list[Layout]:
    """The layouts that may be meant; just one where `given` has every argument.

    Raises
    ------
    ConvertError
        Listing everything wrong with `given`.
    """
    names = [a.name for a in arguments]
    problems = [
        f"{named('axes')} must name arguments ({nearest(n, names)}), got {n!r}" for n in given if n not in names
    ]
    for argument in arguments:
        labels, rank = given.get(argument.name), argument.example.dim()
        if labels is None:
            continue
        if not isinstance(labels, tuple | list) or len(labels) != rank or any(n not in (B, T, None) for n in labels):
            others = either("None", "-")
            problems.append(
                f"axes of {argument.name!r} must be {rank} of 'B', 'T' and {others}, got {labelled(labels)}"
            )
        elif any(list(labels).count(n) > 1 for n in (B, T)):
            problems.append(
                f"axes of {argument.name!r} must have 'B' and 'T' once at most, got {labelled(tuple(labels))}"
            )
    if problems:
        raise ConvertError(listed(problems))
    options = [
        (tuple(given[a.name]),) if a.name in given else _options(module, a, first=i == 0)
        for i, a in enumerate(arguments)
    ]
    found = []
    for labels in product(*options):
        layout = dict(zip(names, labels, strict=True))
        likeliest = all(label == each[0] for label, each in zip(labels, options, strict=True))
        if _consistent(
            layout, arguments, apart=likeliest and all(a.name in given or _is_sequence(a) for a in arguments)
        ):
            found.append(layout)
    return found[:MOST_CANDIDATES]


def _options(module: nn.Module, argument: Argument, *, first: bool) -> tuple[Labels, ...]:
    rank = argument.example.dim()
    rest: Labels = (B, *[None] * (rank - 1))
    if not first and is_carried(argument.name):
        return STATES.get(rank, (rest,))
    if not argument.example.is_floating_point():
        return INTS.get(rank, (rest,))
    options = FLOATS.get(rank, (rest,))
    if not first and rank == 3 and is_nameless(argument.name):
        options = (*options, STATES[3][0])
    layers = [m for m in module.modules() if isinstance(m, nn.RNNBase)]
    if rank == 2 and not any(isinstance(m, nn.RNNBase | nn.Conv1d | nn.ConvTranspose1d) for m in module.modules()):
        return (options[1], options[0], options[2])
    if rank == 3 and layers and not any(m.batch_first for m in layers):
        return (options[2], options[0], options[1], options[3])
    return options


def _consistent(layout: Layout, arguments: Sequence[Argument], *, apart: bool) -> bool:
    """Return True if the examples have one number of rows, and one of steps, or `apart` several.

    Several are taken only of the likeliest layout, which one that is told is: what differs in size is else no time.
    """
    rows = {a.example.shape[layout[a.name].index(B)] for a in arguments if B in layout[a.name]}
    steps = {a.example.shape[layout[a.name].index(T)] for a in arguments if T in layout[a.name]}
    return len(rows) <= 1 and (len(steps) <= 1 or apart)


def _is_sequence(argument: Argument) -> bool:
    """Return True if an example looks like frames or ids over time, or has no time that could differ."""
    x = argument.example
    return x.dim() == 2 + x.is_floating_point() or x.dim() == 0


def enlarged(layout: Layout, arguments: Sequence[Argument]) -> list[torch.Tensor]:
    """Examples with more steps than given, and several rows."""
    return [_enlarged(a.example, layout[a.name]) for a in arguments]


def _enlarged(x: torch.Tensor, labels: Labels) -> torch.Tensor:
    for axis, label in enumerate(labels):
        n = x.shape[axis]
        if label == B and n < FEWEST_ROWS:
            x = x.repeat_interleave(FEWEST_ROWS, axis)
        elif label == T:
            x = torch.cat([x] * max(2, -(-FEWEST_STEPS // n)), axis)
    return x.clone()


def of_steps(steps: int, layout: Layout, arguments: Sequence[Argument]) -> list[torch.Tensor]:
    """Examples of so many steps, and of several rows."""
    found = []
    for x, labels in zip(enlarged(layout, arguments), (layout[a.name] for a in arguments), strict=True):
        if T in labels:
            axis = labels.index(T)
            x = torch.cat([x] * -(-steps // x.shape[axis]), axis).narrow(axis, 0, steps).clone()
        found.append(x)
    return found


def shown(layout: Layout, arguments: Sequence[Argument]) -> str:
    """A layout for a message: ``x (B, T, 40)``."""
    return ", ".join(f"{a.name} ({', '.join(map(str, _sizes(a, layout)))})" for a in arguments)


def _sizes(argument: Argument, layout: Layout) -> Iterator[Any]:
    return (
        n if label is None else label for n, label in zip(argument.example.shape, layout[argument.name], strict=True)
    )
