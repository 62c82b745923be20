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

LARGEST = 2**62  # what stands for "to the end" of a slice
ATEN: Any = torch.ops.aten
# Tensors of the dtype of another one.
NEW = (ATEN.new_zeros.default, ATEN.new_ones.default, ATEN.new_full.default, ATEN.new_empty.default)


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
    """The result of the call of this number in the step before; in the first step another value."""

    call: int
    initial: Any


@dataclass(frozen=True)
class Counter:
    """The number of the step: from 0 on, or with `backward` from the last one down."""

    backward: bool
    offset: int  # which is added


@dataclass(frozen=True)
class Other:
    """The result of a call of another loop in its step of the same number, or with `backward` counted from its end."""

    loop: Loop
    call: int
    backward: bool


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
    """

    steps: Sequence[Sequence[fx.Node | None]]
    reads: Sequence[Sequence[Reference]]

    @property
    def body(self) -> list[fx.Node]:
        """The calls of the first step."""
        return [node for node in self.steps[0] if node is not None]


def leaves(node: fx.Node) -> tuple[list[Any], Any]:
    """The arguments of a call as a flat list, and how they lie in it."""
    flat, tree = pytree.tree_flatten((node.args, node.kwargs))
    return flat, tree


def simplify(graph: fx.Graph) -> set[fx.Node]:
    """Take out calls that give what they are given, or what one before made; return those that read no tensor.

    Given back are slices of everything, and copies over a whole tensor. What reads no tensor is the same in and before
    a loop: zeros to start from, made in its first step, are none of its calls.
    """
    made: dict[str, fx.Node] = {}
    inputs: dict[Any, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op == "placeholder" and isinstance(node.meta.get("val"), torch.Tensor):
            inputs.setdefault(_dtype(node), node)
        source = _given_back(node)
        if isinstance(source, fx.Node):
            node.replace_all_uses_with(source)
        elif node.op == "call_function":
            if node.target in NEW and isinstance(node.args[0], fx.Node) and _dtype(node.args[0]) in inputs:
                node.update_arg(0, inputs[_dtype(node.args[0])])  # of which it takes the dtype alone
            if _reads_no_tensor(node):
                key = f"{node.target} {node.args} {node.kwargs}"
                if made.setdefault(key, node) is not node:
                    node.replace_all_uses_with(made[key])
    return set(made.values())


def _reads_no_tensor(node: fx.Node) -> bool:
    if not isinstance(node.meta.get("val"), torch.Tensor):
        return False
    read = node.all_input_nodes[1 if node.target in NEW else 0 :]
    return all(isinstance(n.meta.get("val"), torch.SymInt) for n in read)


def _given_back(node: fx.Node) -> Any:
    args = node.args
    if node.target is ATEN.slice.Tensor and _is_whole(args, 2):
        return args[0]
    if node.target is ATEN.slice_scatter.default and _is_whole(args, 3):
        return args[1] if _same_shape(args[0], args[1]) else None
    if node.target is ATEN.copy.default:
        return args[1] if _same_shape(args[0], args[1]) and _dtype(args[0]) == _dtype(args[1]) else None
    return None


def _is_whole(args: Sequence[Any], at: int) -> bool:
    start, end, step = (args[i] if i < len(args) else None for i in range(at, at + 3))
    return start in (None, 0) and step in (None, 1) and (end is None or (isinstance(end, int) and end >= LARGEST))


def _same_shape(a: Any, b: Any) -> bool:
    shapes = [getattr(v.meta.get("val"), "shape", None) if isinstance(v, fx.Node) else None for v in (a, b)]
    return None not in shapes and str(shapes[0]) == str(shapes[1])


def _dtype(value: Any) -> Any:
    return value.meta["val"].dtype


def find(calls: Sequence[fx.Node], lengths: Mapping[int, Any]) -> list[Loop]:
    """The loops among calls, of as many steps as `lengths` has numbers, each with the exporter's size it stands for."""
    found: list[Loop] = []
    homes: dict[fx.Node, Home] = {}
    at = 0
    while at < len(calls):
        searches = (_Search(n, lengths[n], homes) for n in sorted(lengths)[::-1])
        loop = next((loop for search in searches if (loop := search.at(calls, at))), None)
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
    """For a loop of `count` steps, which stands for `length`; `homes` are the places of calls in other loops."""

    count: int
    length: Any
    homes: Mapping[fx.Node, Home]

    def at(self, calls: Sequence[fx.Node], at: int) -> Loop | None:
        """The loop that begins with a call."""
        whole = self.count - 1  # of the last step the exporter leaves out what nobody reads
        for size in range(1, (len(calls) - at) // whole + 1):
            if all(calls[i].target is calls[i + size].target for i in range(at, at + size * (whole - 1))):
                steps: list[Sequence[fx.Node]] = [calls[at + t * size : at + (t + 1) * size] for t in range(whole)]
                reads = self.references(steps)
                if reads and any(isinstance(each, Counter | Other) for row in reads for each in row):
                    last = self.last(steps, reads, calls[at + size * whole : at + size * self.count])
                    return Loop([*steps, last], reads)
        return None

    def references(self, steps: Sequence[Sequence[fx.Node]]) -> list[list[Reference]] | None:
        """Classify every argument of every call; None where steps differ otherwise than those of a loop."""
        places = {node: (t, i) for t, step in enumerate(steps) for i, node in enumerate(step)}
        found: list[list[Reference]] = []
        for calls in zip(*steps, strict=True):
            flat = [leaves(node) for node in calls]
            if any(tree != flat[0][1] for _, tree in flat):
                return None
            row = [self.reference(values, places) for values in zip(*(each for each, _ in flat), strict=True)]
            known = [each for each in row if each is not None]
            if len(known) < len(row):
                return None
            found.append(known)
        return found

    def reference(self, values: Sequence[Any], places: Mapping[fx.Node, tuple[int, int]]) -> Reference | None:
        """Classify an argument by its values at all steps but the last."""
        numbers = [n for n in map(self.number, values) if n is not None]
        if len(numbers) == len(values) and numbers[0] != numbers[1]:
            return self.counter(numbers)
        own = [places.get(v) if isinstance(v, fx.Node) else None for v in values]
        first = values[0]
        if all(v is first or (not isinstance(v, fx.Node) and v == first) for v in values):
            return Same(first) if own[0] is None else None
        if (behind := own[1]) is not None:
            t, call = behind
            if t == 1 and all(place == (i, call) for i, place in enumerate(own)):
                return Own(call)
            if t == 0 and own[0] is None and all(place == (i, call) for i, place in enumerate(own[1:])):
                return Previous(call, first)
            return None
        homes = [self.homes.get(v) if isinstance(v, fx.Node) else None for v in values]
        return self.other([home for home in homes if home is not None]) if None not in homes else None

    def number(self, value: Any) -> int | None:
        """An integer, or what a size is where `count` stands for the length."""
        if type(value) is int:
            return value
        size = value.meta.get("val") if isinstance(value, fx.Node) else None
        if not isinstance(size, torch.SymInt):
            return None
        ahead = size.node.expr - self.length.node.expr
        return self.count + int(ahead) if ahead.is_Integer else None

    def counter(self, numbers: Sequence[int]) -> Counter | None:
        """The number of the step."""
        first, step = numbers[0], numbers[1] - numbers[0]
        if abs(step) != 1 or any(n != first + step * t for t, n in enumerate(numbers)):
            return None
        return Counter(step < 0, first if step == 1 else first - (self.count - 1 if first >= 0 else -1))

    def other(self, homes: Sequence[Home]) -> Other | None:
        """A call of another loop."""
        loop, _, call = homes[0]
        for backward in (False, True):
            order = [self.count - 1 - i if backward else i for i in range(len(homes))]
            if len(loop.steps) == self.count and all(h == (loop, i, call) for i, h in zip(order, homes, strict=True)):
                return Other(loop, call, backward)
        return None

    def last(
        self, steps: Sequence[Sequence[fx.Node]], reads: Sequence[Sequence[Reference]], calls: Sequence[fx.Node]
    ) -> list[fx.Node | None]:
        """The calls of the last step, None for those that are left out."""
        found: list[fx.Node | None] = []
        waiting = list(calls)
        for node, row in zip(steps[0], reads, strict=True):
            same = bool(waiting) and waiting[0].target is node.target and self.fits(waiting[0], node, row, steps, found)
            found.append(waiting.pop(0) if same else None)
        return found

    def fits(
        self, node: fx.Node, first: fx.Node, row: Sequence[Reference], steps: Sequence[Sequence[fx.Node]],
        last: Sequence[fx.Node | None],
    ) -> bool:  # fmt: skip
        """Return True if a call reads what that of the last step would."""
        flat, tree = leaves(node)
        return bool(tree == leaves(first)[1]) and all(
            self.expected(each, value, steps, last) for each, value in zip(row, flat, strict=True)
        )

    def expected(
        self, reference: Reference, value: Any, steps: Sequence[Sequence[fx.Node]], last: Sequence[fx.Node | None]
    ) -> bool:
        """Return True if a value is that of an argument in the last step."""
        end = self.count - 1
        if isinstance(reference, Same):
            return value is reference.value or (not isinstance(value, fx.Node) and bool(value == reference.value))
        if isinstance(reference, Own):
            return value is last[reference.call]
        if isinstance(reference, Previous):
            return value is steps[-1][reference.call]
        if isinstance(reference, Counter):
            number = self.number(value)
            at = (0 if reference.backward else end) + reference.offset
            return number is not None and number in (at, at - self.count)
        return self.homes.get(value) == (reference.loop, 0 if reference.backward else end, reference.call)
