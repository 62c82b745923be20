"""Values that are sequences of tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..program.steps import Length
from ..program.values import Tensor


@dataclass(frozen=True)
class Listed:
    """Values one by one."""

    items: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Parted:
    """The steps of a value along an axis of time, each with that axis if it is `kept`."""

    source: Tensor
    axis: int
    kept: bool


@dataclass(frozen=True)
class Growing:
    """A list inside of a loop over time, state `number` of it: empty before the first step."""

    number: int


@dataclass(frozen=True)
class Grown:
    """That list with a value of the step at its end, or at its front."""

    number: int
    item: Any
    front: bool


@dataclass(frozen=True)
class Steps:
    """The values that a loop over `length` steps has appended: `item` at each, the last one first if `front`."""

    item: Tensor
    length: Length
    front: bool


KINDS = (Listed, Parted, Growing, Grown, Steps)
