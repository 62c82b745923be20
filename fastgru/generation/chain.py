"""A chain of choices: what it leaves out at each step, and how its last one chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from .._hints import either
from .choices import Beam, Choice, Forbid, Force, Greedy, Sample, Values

Flags = NDArray[np.uint8]
F64 = NDArray[np.float64]
CHOICES = (Greedy, Sample, Beam, Values)
EXPECTED = (
    "choose must be Greedy(), Sample(), Beam() or Values() of fastgru.generation, or a list that ends with one, behind "
    "Forbid(), Force() or functions"
)


class Chain:
    """What a chain does at each step.

    Attributes
    ----------
    last : Choice
    functions : list of callables
        From scores (R, V) and the ids of each row so far to other scores.
    """

    def __init__(self, choose: Any, *, default: Choice) -> None:
        if choose is None:
            choose = default
        items = list(choose) if isinstance(choose, list | tuple) else [choose]
        if not items or not isinstance(items[-1], CHOICES):
            items.append(default) if items and _filters(items) else _refuse(items[-1] if items else choose)
        self.last: Choice = items[-1]
        filters = items[:-1]
        for item in filters:
            if not _filters([item]):
                _refuse(item)
        if filters and isinstance(self.last, Values):
            raise ValueError(
                f"choose must be Values() alone, as values have no ids to leave out, got {filters[0]!r} too"
            )
        self.forbidden = [item for item in filters if isinstance(item, Forbid)]
        self.forced = {step: i for item in filters if isinstance(item, Force) for step, i in item.steps.items()}
        self.functions: list[Callable[..., Any]] = [f for f in filters if not isinstance(f, Forbid | Force)]
        self.size = 0
        self._masks: dict[tuple[bool, ...], Flags | None] = {}

    def of_size(self, size: int) -> None:
        """Raise ValueError unless the chain fits V ids."""
        self.size = size
        for item in self.forbidden:
            _inside(item.ids, size, either("ids of Forbid", "ids of --forbid"))
        _inside(self.forced.values(), size, "ids of Force")
        if isinstance(self.last, Beam):
            if self.last.width > size:
                width = either("width of a beam", "--beam")
                raise ValueError(f"{width} must be at most the {size} ids of the model, got {self.last.width}")
            for row in self._prefixes():
                _inside(row, size, "prefix")
        if self.forbidden and self._mask(()) is not None and not self._mask(()).any():  # type: ignore[union-attr]
            forbid = either("Forbid", "--forbid")
            raise ValueError(f"{forbid} must leave at least one of the {size} ids, got all of them")

    def reach(self) -> int:
        """Return one more than the highest id that is chosen at any step."""
        never = {i for item in self.forbidden if item.before is None for i in item.ids}  # type: ignore[union-attr]
        sure: list[int] = [*self.forced.values(), *(i for row in self._prefixes() for i in row)]
        free: list[int] = [i for i in range(self.size) if i not in never]
        return 1 + max(free + sure)

    def _prefixes(self) -> list[Any]:
        """Return the sequences of ids that a beam begins with."""
        if not isinstance(self.last, Beam) or not self.last.prefix:
            return []
        return list(self.last.prefix) if isinstance(self.last.prefix[0], tuple) else [self.last.prefix]

    def allowed(self, step: int) -> Flags | None:
        """Return the ids that may be chosen at a step, (V,) flags; None where all may be."""
        if step in self.forced:
            flags = np.zeros(self.size, np.uint8)
            flags[self.forced[step]] = 1
            return flags
        return self._mask(tuple(item.before is None or step < item.before for item in self.forbidden))

    def _mask(self, active: tuple[bool, ...]) -> Flags | None:
        """Return the flags where some of the forbidding choices are active; the lasting ones for no tuple."""
        if not active:
            active = tuple(item.before is None for item in self.forbidden)
        if active not in self._masks:
            found = [item for item, now in zip(self.forbidden, active, strict=True) if now]
            flags = np.ones(self.size, np.uint8) if found else None
            for item in found:
                flags[list(item.ids)] = 0  # type: ignore[index, arg-type]
            self._masks[active] = flags
        return self._masks[active]

    @property
    def changing(self) -> bool:
        """True if what is allowed changes from step to step."""
        return bool(self.forced) or any(item.before is not None for item in self.forbidden)

    def scores(self, log_p: F64, tokens: list[NDArray[np.int64]]) -> F64:
        """Return the scores that the functions make of logarithms of probabilities (R, V)."""
        for function in self.functions:
            made = as_array(function(log_p.copy(), tokens), "scores of a function in choose")
            if made.shape != log_p.shape or made.dtype.kind not in "fiu":
                got = f"{made.dtype} of shape {made.shape}"
                raise ValueError(f"function in choose must return scores of shape {log_p.shape}, got {got}")
            log_p = np.ascontiguousarray(made, np.float64)
        return log_p


def log_probabilities(y: NDArray[Any], *, probabilities: bool) -> F64:
    """Return the logarithms of the probabilities that scores (R, V) give."""
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.log(y.astype(np.float64)) if probabilities else y.astype(np.float64)
        most = x.max(axis=1, keepdims=True)
        return np.asarray(x - (most + np.log(np.exp(x - most).sum(axis=1, keepdims=True))))


def _filters(items: Sequence[Any]) -> bool:
    """True of items that may stand before the last one; classes are none, though they can be called."""
    return all(isinstance(i, Forbid | Force) or (callable(i) and not isinstance(i, type)) for i in items)


def _inside(ids: Any, size: int, name: str) -> None:
    wrong = next((i for i in ids if not 0 <= i < size), None)
    if wrong is not None:
        raise ValueError(f"{name} must lie in 0..{size - 1}, got {wrong}")


def _refuse(item: Any) -> None:
    if isinstance(item, type):
        raise TypeError(f"{EXPECTED}, got the class {item.__name__}: write {item.__name__}()")
    raise TypeError(f"{EXPECTED}, got {item!r}")
