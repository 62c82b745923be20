"""Loops over time that tracing wrote out step by step, found again in the list of calls.

Calls come in the order in which they were made, so the steps of a loop are blocks of one length, call for call the same
but for what they read: the step before, another element of a sequence, or what no step changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from .counting import Counted

ATEN: Any = torch.ops.aten
COMMUTATIVE = (ATEN.add.Tensor, ATEN.mul.Tensor, ATEN.maximum.default, ATEN.minimum.default)
MOST_BEFORE = 8  # steps before its own that a step may read
ROUNDING = 1e-9  # of numbers that Python computes of that of the step


@dataclass(frozen=True)
class Same:
    """A value that is the same at every step: made before the loop, or a constant."""

    value: Any


@dataclass(frozen=True)
class Own:
    """The result of the call of this number in the same step."""

    call: int


@dataclass(frozen=True)
class Previous:
    """The result of the call of this number in the step before, or one before that; in the first steps other values.

    Attributes
    ----------
    call : int
    initials : tuple
        Read in the steps that have none before them: one value for the step before, two for that before it.
    """

    call: int
    initials: tuple[Any, ...]

    @property
    def later(self) -> Previous | None:
        """The same one step later; None for the result of the step itself."""
        return Previous(self.call, self.initials[1:]) if len(self.initials) > 1 else None


@dataclass(frozen=True)
class Counter:
    """A number that changes by as much from each step to the next: that of the step, or what is computed of it."""

    first: float
    step: float
    symbolic: bool = False  # computed of a length

    @property
    def is_index(self) -> bool:
        """True if it goes from one whole number to the next, or to the one before."""
        return isinstance(self.first, int) and self.step in (1, -1)

    def at(self, t: int) -> float:
        """The number at a step."""
        return self.first + self.step * t


@dataclass(frozen=True)
class Other:
    """The result of a call of another loop, in its step of the number that a counter gives."""

    loop: Loop
    call: int
    counter: Counter


Reference = Same | Own | Previous | Counter | Other
Home = tuple["Loop", int, int]  # a loop, a step of it, a call of that


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop over time.

    Attributes
    ----------
    steps : sequence of sequence of Node
        The calls of every step, in order; None in the last one for what is left out, as nobody reads it.
    reads : sequence of sequence
        For every call of a step what each leaf of its arguments is.
    length : SymInt
        The size that the number of its steps stands for.
    """

    steps: Sequence[Sequence[fx.Node | None]]
    reads: Sequence[Sequence[Reference]]
    length: Any

    @property
    def body(self) -> list[fx.Node]:
        """The calls of the first step."""
        return [node for node in self.steps[0] if node is not None]


def leaves(node: fx.Node) -> tuple[list[Any], Any]:
    """The arguments of a call as a flat list, and how they lie in it."""
    flat, tree = pytree.tree_flatten((node.args, node.kwargs))
    return flat, tree


def find(calls: Sequence[fx.Node], counted: Counted) -> list[Loop]:
    """The loops among calls, of as many steps as the module counts to, or a few less or more."""
    found: list[Loop] = []
    homes: dict[fx.Node, Home] = {}
    search, at = _Search(counted, homes), 0
    while at < len(calls):
        loop = search.at(calls, at)
        if loop is None:
            at += 1
            continue
        found.append(loop)
        places = ((node, (loop, t, i)) for t, step in enumerate(loop.steps) for i, node in enumerate(step))
        homes.update((node, home) for node, home in places if node is not None)
        at += sum(node is not None for step in loop.steps for node in step)
    return found


@dataclass(frozen=True)
class _Search:
    """For a loop; `homes` are the places of calls in those that were found."""

    counted: Counted
    homes: Mapping[fx.Node, Home]

    def at(self, calls: Sequence[fx.Node], at: int) -> Loop | None:
        """The loop that begins with a call."""
        fewest = self.counted.fewest() - 1  # of the last step the exporter leaves out what nobody reads
        for size in range(1, (len(calls) - at) // fewest + 1):
            if all(calls[i].target is calls[i + size].target for i in range(at, at + size * (fewest - 1))):
                loop = self.of_size(calls[at:], size)
                if loop is not None:
                    return loop
        return None

    def of_size(self, calls: Sequence[fx.Node], size: int) -> Loop | None:
        """The loop whose steps are so many calls, from the first one on."""
        enough = min(self.counted.fewest() - 1, MOST_BEFORE + 1)  # steps, by which those of the loop are known
        reads = self.references([calls[t * size : (t + 1) * size] for t in range(enough)])
        if reads is None:
            return None
        steps: list[list[fx.Node | None]] = []
        while True:
            step = self.matching(calls[len(steps) * size : (len(steps) + 1) * size], calls, reads, steps)
            if None in step:
                break
            steps.append(step)
        if any(node is not None for node in step):
            if not _may_read(calls[:size], reads, len(steps)):
                return None  # the loop begins with a later call
            steps.append(step)
            length = self.counted.length(len(steps))
        else:
            length = self.counted.lengths.get(len(steps))
            more = self.counted.lengths.get(len(steps) + 1)  # with a last step of which nobody reads anything
            if length is None and more is not None and _may_read(calls[:size], reads, len(steps)):
                steps.append(step)
                length = more
            elif length is None:
                length = self.counted.length(len(steps))
        return None if length is None else Loop(steps, reads, length)

    def references(self, steps: Sequence[Sequence[fx.Node]]) -> list[list[Reference]] | None:
        """Classify every argument of every call by the first steps; None where they differ otherwise than a loop's."""
        places = {node: (t, i) for t, step in enumerate(steps) for i, node in enumerate(step)}
        found: list[list[Reference]] = []
        for calls in zip(*steps, strict=True):
            flat = [leaves(node) for node in calls]
            if any(tree != flat[0][1] for _, tree in flat):
                return None
            rows = [list(each) for each, _ in flat]
            row = self.row(rows, places)
            if row is None and _may_turn(calls[0]):  # 0 + h, and then sum + h
                row = self.row([rows[0][::-1], *rows[1:]], places)
            if row is None:
                return None
            found.append(row)
        return found

    def row(self, rows: Sequence[Sequence[Any]], places: Mapping[fx.Node, tuple[int, int]]) -> list[Reference] | None:
        """Classify every argument of a call."""
        found = [self.reference(values, places) for values in zip(*rows, strict=True)]
        known = [each for each in found if each is not None]
        return known if len(known) == len(found) else None

    def reference(self, values: Sequence[Any], places: Mapping[fx.Node, tuple[int, int]]) -> Reference | None:
        """Classify an argument by its values at the first steps."""
        numbers = [n for n in map(self.number, values) if n is not None]
        if len(numbers) == len(values) and numbers[0] != numbers[1]:
            return _counter(numbers, any(isinstance(v, fx.Node) for v in values))
        own = [places.get(v) if isinstance(v, fx.Node) else None for v in values]
        first = values[0]
        if all(v is first or (not isinstance(v, fx.Node) and v == first) for v in values):
            return Same(first) if own[0] is None else None
        begin = next((t for t, place in enumerate(own) if place is not None), None)
        if begin is not None:
            _, call = own[begin]  # type: ignore[misc]
            if own[begin:] != [(t, call) for t in range(len(own) - begin)]:
                return None
            return Previous(call, tuple(values[:begin])) if begin else Own(call)
        homes = [self.homes.get(v) if isinstance(v, fx.Node) else None for v in values]
        return _other([home for home in homes if home is not None]) if None not in homes else None

    def number(self, value: Any) -> float | None:
        """A number, or what a size is in the example."""
        if type(value) in (int, float):
            return float(value) if type(value) is float else int(value)
        size = value.meta.get("val") if isinstance(value, fx.Node) else None
        return self.counted.number(size) if isinstance(size, torch.SymInt) else None

    def matching(
        self, block: Sequence[fx.Node], calls: Sequence[fx.Node], reads: Sequence[Sequence[Reference]],
        steps: Sequence[Sequence[fx.Node | None]],
    ) -> list[fx.Node | None]:  # fmt: skip
        """The calls of the step behind `steps`, None for those that are left out."""
        found: list[fx.Node | None] = []
        waiting = list(block)
        for first, row in zip(calls, reads, strict=False):
            same = bool(waiting) and self.fits(waiting[0], first, row, steps, found)
            found.append(waiting.pop(0) if same else None)
        return found

    def fits(
        self, node: fx.Node, first: fx.Node, row: Sequence[Reference], steps: Sequence[Sequence[fx.Node | None]],
        step: Sequence[fx.Node | None],
    ) -> bool:  # fmt: skip
        """Return True if a call is that of the first step, and reads what it would behind `steps`."""
        flat, tree = leaves(node)
        if node.target is not first.target or tree != leaves(first)[1]:
            return False
        orders = [flat, flat[::-1]] if not steps and _may_turn(node) else [flat]
        return any(all(self.expected(*pair, steps, step) for pair in zip(row, own, strict=True)) for own in orders)

    def expected(
        self, reference: Reference, value: Any, steps: Sequence[Sequence[fx.Node | None]],
        step: Sequence[fx.Node | None],
    ) -> bool:  # fmt: skip
        """Return True if a value is that of an argument in the step behind `steps`."""
        t = len(steps)
        if isinstance(reference, Same) or (isinstance(reference, Previous) and t < len(reference.initials)):
            first = reference.value if isinstance(reference, Same) else reference.initials[t]
            return value is first or (not isinstance(value, fx.Node) and bool(value == first))
        if isinstance(reference, Own):
            return value is step[reference.call]
        if isinstance(reference, Previous):
            return value is steps[-len(reference.initials)][reference.call] and value is not None
        if isinstance(reference, Counter):
            number = self.number(value)
            return number is not None and _near(number, reference.at(t))
        return self.homes.get(value) == (reference.loop, reference.counter.at(t), reference.call)


def _may_turn(node: fx.Node) -> bool:
    """Return True if the arguments of a call may change places."""
    return node.target in COMMUTATIVE and len(node.args) == 2 and not node.kwargs


def _counter(numbers: Sequence[float], symbolic: bool = False) -> Counter | None:
    """Numbers that change by as much from each to the next."""
    found = Counter(numbers[0], numbers[1] - numbers[0], symbolic)
    return found if all(_near(n, found.at(t)) for t, n in enumerate(numbers)) else None


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= ROUNDING * max(1.0, abs(b))


def _other(homes: Sequence[Home]) -> Other | None:
    """A call of another loop."""
    loop, _, call = homes[0]
    counter = _counter([t for _, t, _ in homes])
    one = counter is not None and counter.is_index and all((home[0], home[2]) == (loop, call) for home in homes)
    return Other(loop, call, counter) if one and counter is not None else None


def _may_read(body: Sequence[fx.Node], reads: Sequence[Sequence[Reference]], t: int) -> bool:
    """Return True if sequences have an element for one more step, also those that are written."""
    for node, row in zip(body, reads, strict=True):
        if any(isinstance(each, Other) and not 0 <= each.counter.at(t) < len(each.loop.steps) for each in row):
            return False
        counter: Any = row[-1]
        if node.target not in (ATEN.select.int, ATEN.select_scatter.default) or not isinstance(counter, Counter):
            continue
        long: Any = row[0].value if isinstance(row[0], Same) else None
        if node.target is ATEN.select_scatter.default:
            long = node
        if long is None:
            continue
        dim: Any = row[-2]
        size = long.meta["val"].shape[dim.value]
        size = int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)
        if not (0 if counter.first >= 0 else -size) <= counter.at(t) < (size if counter.first >= 0 else 0):
            return False
    return True
