"""Program: the engine's values and instructions while a graph is lowered, and how views become buffers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import chain, count
from math import prod
from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph.sharing import Sharing
from .clocks import Clock
from .codes import FUNCTIONS
from .instructions import Activate, Buffer, Instruction, Map, Micro, Nest, Operand
from .kinds import LIMITS, Act
from .views import CONSTANT, View, contiguous

ANY_CLOCK = -1  # of what follows from a state alone, until it is known what the states follow
MAX_OPERANDS = LIMITS["operands"]  # of a nest
MAX_STEPS = LIMITS["program"]  # of an elementwise program
MAX_LOOPS = LIMITS["rank"] - 2  # the executor adds those over steps and rows


@dataclass(frozen=True, eq=False)
class Expr:
    """Elementwise arithmetic that has not been given a buffer yet, so that what follows can join its loop."""

    function: int
    args: tuple[Any, ...]  # View or Expr
    shape: tuple[int, ...]
    time: int
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def steps(self) -> int:
        """Instructions of the program."""
        return 1 + sum(a.steps for a in self.args if isinstance(a, Expr))

    def permuted(self, perm: Sequence[int]) -> Expr:
        """Axis i of the result is axis ``perm[i]``."""
        args = tuple((a.expanded(self.shape) if isinstance(a, View) else a).permuted(perm) for a in self.args)
        return Expr(self.function, args, tuple(self.shape[i] for i in perm), self.time, self.alpha, self.beta)

    def views(self) -> list[View]:
        """What it reads, in order, each once."""
        found: list[View] = []
        for a in self.args:
            for view in a.views() if isinstance(a, Expr) else [a]:
                if not any(view.reads_like(f) for f in found):
                    found.append(view)
        return found


Value = View | Expr


class Program:
    """What the lowering of each op adds to.

    Attributes
    ----------
    values : list of Buffer
    instructions : list of Instruction
    borders : dict of int to list of Instruction
        What writes zeros around the middle of a buffer that has memory of its own, where they would stay for ever.

    Parameters
    ----------
    bases : int
        How many numbers of steps the inputs may have: the first clocks count them.
    """

    def __init__(self, bases: int = 1) -> None:
        self.values: list[Buffer] = []
        self.instructions: list[Instruction] = []
        self.borders: dict[int, list[Instruction]] = {}
        self.clocks = [Clock(base=base) for base in range(bases)]  # of `time` 1, 2, ...
        self.base = 0  # of what is being lowered, as far as it has time
        self.states: list[tuple[str, int, str, tuple[int, ...]]] = []
        self._keys: set[str] = set()  # of the first `_counted` states
        self._counted = 0
        self.windows = 0
        self.node = ""  # the name of the one being lowered
        self._sharing = Sharing()

    def new_clock(self, clock: Clock) -> int:
        """The `time` of values with a clock of their own."""
        self.clocks.append(clock)
        return len(self.clocks)

    def clock(self, time: int) -> Clock:
        """The clock of values with this `time`."""
        if time == ANY_CLOCK:
            raise GraphError("layers over what follows from states alone must give a step for every step")
        return self.clocks[time - 1]

    def new_window(self, states: dict[str, tuple[int, ...]]) -> int:
        """The number of a line of steps kept from call to call, shown as these states of the node."""
        stem = self._free_stem(states)
        self.states += [(f"{stem}.{name}", self.windows, name, shape) for name, shape in states.items()]
        self.windows += 1
        return self.windows - 1

    def new_states(self, states: dict[str, tuple[int, ...]]) -> list[int]:
        """Buffers kept from call to call, of zeros at first, shown as these states of the node."""
        stem, found = self._free_stem(states), []
        for name, shape in states.items():
            found.append(self.buffer(max(1, prod(shape)), 0, state=True, apart=True))
            self.states.append((f"{stem}.{name}", -1 - found[-1], "", shape))
        return found

    def _free_stem(self, names: Iterable[str]) -> str:
        """The node's name, with a number behind it where states of these names are another's already."""
        self._keys.update(key for key, *_ in self.states[self._counted :])
        self._counted = len(self.states)
        stems = chain((self.node,), (f"{self.node}.{i}" for i in count(1)))
        return next(s for s in stems if all(f"{s}.{name}" not in self._keys for name in names))

    def buffer(self, size: int, time: int, kind: str = "float", **more: Any) -> int:
        """The number of a new value."""
        self.values.append(Buffer(size, time, kind, base=self.base, **more))
        return len(self.values) - 1

    def new(self, shape: Sequence[int], time: int, order: Sequence[int] | None = None) -> View:
        """A view of a whole new buffer, in which the axes lie in C order, or in this one, outermost first."""
        order = range(len(shape)) if order is None else order
        lying = tuple(shape[i] for i in order)
        view = View(0, lying, contiguous(lying), 0, time)
        return replace(view, buffer=self.buffer(view.size, time)).permuted(np.argsort(order).tolist())

    def zeros(self, shape: Sequence[int], time: int, order: Sequence[int] | None = None) -> View:
        """A view of a whole new buffer that holds zeros wherever nothing is written: it shares its memory with none."""
        view = self.new(shape, time, order)
        self.values[view.buffer].apart = True
        return view

    def write(self, value: Value, to: View) -> None:
        """Compute or copy a value into an existing view."""
        if isinstance(value, View):
            self.copy(value, to)
        else:
            self.compute(value, to)

    def emit(self, instruction: Instruction) -> None:
        """Append an instruction. Equal arrays of all instructions become one, which the engine packs once."""
        self.instructions.append(replace(self._shared(instruction), node=self.node))

    def _shared(self, value: Any) -> Any:
        """`value`, an array or a dataclass or tuple with some, with the first of equal arrays in the place of each."""
        if isinstance(value, np.ndarray):
            return self._sharing.array(value)
        if is_dataclass(value) and not isinstance(value, type):
            items = {field.name: getattr(value, field.name) for field in fields(value)}
            held = {name: shared for name, item in items.items() if (shared := self._shared(item)) is not item}
            return replace(value, **held) if held else value
        if isinstance(value, tuple):
            shared_items = [self._shared(item) for item in value]
            if all(new is old for new, old in zip(shared_items, value, strict=True)):
                return value
            return type(value)(*shared_items) if hasattr(value, "_fields") else tuple(shared_items)
        return value

    # Frames ----------------------------------------------------------------------------------------

    def nest(
        self, kind: type[Nest], out: View, reads: Sequence[View], *, folded: Sequence[int] = (), **own: Any
    ) -> None:
        """Append a loop nest over `out` and, inside, over loops of the lengths `folded`.

        Every view of `reads` has the axes of `out` and then the folded ones; `out` itself has only its own.
        """
        if issubclass(kind, Map):  # in any order: as what is written lies
            order = layout(out.shape, [out])
            out, reads = out.permuted(order), [v.permuted(order) for v in reads]
        dims = [*out.shape, *folded]
        strides = [[*out.strides, *[0] * len(folded)], *[list(v.strides) for v in reads]]
        dims, strides, outer = collapsed(dims, strides, out.rank)
        if len(dims) > MAX_LOOPS:
            raise GraphError(f"loops of {kind.mnemonic} must be at most {MAX_LOOPS}, got {len(dims)}")
        self.emit(
            kind(
                inputs=tuple(v.buffer for v in reads if v.buffer != CONSTANT),
                output=out.buffer,
                dims=tuple(dims),
                outer=outer,
                strides=tuple(map(tuple, strides)),
                operands=tuple(Operand(v.buffer, v.offset, v.constant) for v in (out, *reads)),
                **own,
            )
        )

    def copy(self, source: View, to: View, kind: type[Map] = Map) -> None:
        """Copy the elements of one view into another of the same shape."""
        self.nest(kind, to, [source], program=())

    def fill(self, to: View, number: float) -> None:
        """Set every element of a view."""
        self.copy(View.of_constant(number).expanded(to.shape), to)

    def view(self, value: Value) -> View:
        """`value` in a buffer: an expression is computed now."""
        if isinstance(value, View):
            return value
        to = self.new(value.shape, value.time, layout(value.shape, value.views()))
        self.compute(value, to)
        return to

    def compute(self, value: Expr, to: View) -> None:
        """Run an expression's program into an existing view."""
        reads = value.views()
        if (found := self._added_row(value)) and self.is_whole(to) and to.time == found[0].time:
            x, row, act = found
            self.emit(Activate(inputs=(x.buffer,), output=to.buffer, size=to.size, act=act, shift=row))
            return
        program: list[Micro] = []
        self._linear(value, reads, program)
        self.nest(Map, to, [v.expanded(value.shape) for v in reads], program=tuple(program))

    def _added_row(self, value: Expr) -> tuple[View, Any, Act] | None:
        """The row, the constant and the activation of act(row + constant), in place of a program over their loops."""
        act: Act = (0, 0.0, 0.0)
        if value.function < FUNCTIONS["add"] and isinstance(value.args[0], Expr):
            act, value = (value.function, value.alpha, value.beta), value.args[0]
        if value.function != FUNCTIONS["add"] or len(value.shape) != 1 or any(isinstance(a, Expr) for a in value.args):
            return None
        for x, row in (value.args, value.args[::-1]):
            if row.buffer == CONSTANT and row.shape == value.shape == x.shape and self.is_whole(x):
                return x, row.numbers(), act
        return None

    def _linear(self, value: Value, reads: list[View], program: list[Micro]) -> int:
        """Append the steps of `value`; returns the register of its result."""
        if isinstance(value, View):
            return next(i for i, v in enumerate(reads) if v.reads_like(value))
        registers = [self._linear(a, reads, program) for a in value.args]
        a, b, c = registers + [0] * (3 - len(registers))
        program.append(Micro(value.function, a, b, c, value.alpha, value.beta))
        return len(reads) + len(program) - 1

    def contiguous(self, value: Value) -> View:
        """`value` with its elements in C order, one after the other."""
        view = self.view(value)
        if view.is_contiguous and view.buffer != CONSTANT:
            return view
        to = self.new(view.shape, view.time)
        self.copy(view, to)
        return to

    def whole(self, value: Value) -> int:
        """The number of a buffer that holds exactly `value`, as the ops on whole rows need it."""
        view = self.view(value)
        if self.is_whole(view):
            return view.buffer
        to = self.new(view.shape, view.time)
        self.copy(view, to)
        return to.buffer

    def is_whole(self, view: View) -> bool:
        """Whether a view is all of a buffer, step by step."""
        if view.buffer == CONSTANT or not view.is_contiguous or view.offset:
            return False
        own = self.values[view.buffer]
        return view.size == own.size and view.time == own.time

    def with_last_contiguous(self, value: Value, loops: int) -> View:
        """`value` with elements of the last axis side by side, and at most `loops` loops over the others."""
        view = self.view(value)
        joined = self.row_loops(view)
        good = view.buffer != CONSTANT and (view.shape[-1] == 1 or view.strides[-1] == 1) and len(joined) <= loops
        return view if good else self.contiguous(view)

    def row_loops(self, view: View) -> list[tuple[int, int]]:
        """The loops over all axes of a view but the last."""
        dims, strides, _ = collapsed(list(view.shape[:-1]), [list(view.strides[:-1])], view.rank - 1)
        return list(zip(dims, strides[0], strict=True))

    def expression(self, function: int, args: Sequence[Value], alpha: float = 0.0, beta: float = 0.0) -> Expr:
        """Elementwise `function` of values that broadcast; joins the programs of those that allow it."""
        shape = np.broadcast_shapes(*[a.shape for a in args])
        joined: list[Value] = []
        steps, views = 1, 0
        for a in args:
            if isinstance(a, Expr) and (
                a.shape != shape or steps + a.steps > MAX_STEPS or views + len(a.views()) + len(args) >= MAX_OPERANDS
            ):
                a = self.view(a)
            steps += a.steps if isinstance(a, Expr) else 0
            views += len(a.views()) if isinstance(a, Expr) else 1
            joined.append(a)
        return Expr(function, tuple(joined), shape, joint_time(joined), alpha, beta)


def joint_time(values: Sequence[Value]) -> int:
    """The clock of what is made of these values."""
    clocks = {v.time for v in values if v.time > 0}
    if not clocks:
        return min((v.time for v in values), default=0)
    if len(clocks) > 1:
        raise GraphError(f"values that meet must have steps at the same rate, got {len(clocks)} rates")
    return max(clocks)


def collapsed(
    dims: Sequence[int], strides: Sequence[Sequence[int]], outer: int
) -> tuple[list[int], list[list[int]], int]:
    """The fewest loops that visit the same elements in the same order; loops never merge across `outer`."""
    loops: list[tuple[int, list[int]]] = []
    kept = 0
    for axis, n in enumerate(dims):
        if axis == outer:
            kept = len(loops)
        if n == 1:
            continue
        own = [s[axis] for s in strides]
        if len(loops) > kept * (axis >= outer) and all(a == b * n for a, b in zip(loops[-1][1], own, strict=True)):
            loops[-1] = (loops[-1][0] * n, own)
        else:
            loops.append((n, own))
    outer = len(loops) if len(dims) <= outer else kept
    return [n for n, _ in loops], [[own[i] for _, own in loops] for i in range(len(strides))], outer


def order_of(value: Value) -> list[int]:
    """The axes of a value, outermost first, as it lies or would."""
    return layout(value.shape, [value] if isinstance(value, View) else value.views())


def layout(shape: Sequence[int], reads: Sequence[View]) -> list[int]:
    """The axes, outermost first, in which a result is best stored: as the first operand of its shape lies."""
    same = [v for v in reads if v.shape == tuple(shape) and v.buffer != CONSTANT]
    if not same:
        return list(range(len(shape)))
    model = same[0]
    return sorted(range(len(shape)), key=lambda i: (-abs(model.strides[i]) if shape[i] > 1 else -(2**62), i))
