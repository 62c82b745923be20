"""One step of a loop over time, translated once: its states are State nodes, its sequences values with time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import fx
from torch.utils import _pytree as pytree

from ...errors import ConvertError
from ...graph import Reverse, TimePad, Where
from ..program.recurrence import last_of, starting
from ..program.sizes import Size, difference, size_of, steps_in
from ..program.steps import STEPS
from ..program.values import Array, Tensor, Unavailable, describe, over_time
from ..program.views import canonical
from .call import Call, Complex, First
from .complex_numbers import by_parts, lifted, parts, whole_parts
from .dispatch import leaves as leaves_of
from .elementwise import affine
from .joins import concatenate
from .shifts import begun, behind, delayed, like, shortened, starting_with
from .states import hold, may_hold
from .time import counter as step_number
from .unrolled import ATEN, Counter, Loop, Other, Own, Previous, Reference, Same, leaves
from .views import expand, unsqueeze

MOST_STEPS = 64  # of a sequence that are read at each step
MIDDLE = "step of a loop that is read behind it must be the first or last, or all must be joined"


@dataclass(frozen=True)
class Step:
    """The result of a call of a loop in one of the steps that were written out."""

    body: Body
    call: int
    number: int


@dataclass(frozen=True)
class Held:
    """A state of a loop, of complex numbers its real part (0) or its imaginary one (1)."""

    previous: Previous
    part: int | None = None

    def fed_by(self, call: int, before: int) -> bool:
        """Return True if it becomes the result of a call so many steps before."""
        return self.previous.call == call and len(self.previous.initials) == before + 1


@dataclass(frozen=True)
class Written:
    """A sequence that a loop writes step by step: along which axis, at which numbers, and what was in it before."""

    step: Any
    dim: int
    counter: Counter
    before: Any


@dataclass(eq=False)
class Body:
    """A loop under translation.

    Parameters
    ----------
    loop : Loop
    call : Call
        The call that adds to the graph in its name.
    length : size
        Steps of what it runs over.
    read : callable
        The value of a node outside the loop.
    evaluate : callable
        Translates a call of these arguments.
    bodies : callable
        The translation of another loop.
    """

    loop: Loop
    call: Call
    length: Size
    read: Callable[[fx.Node], Any]
    evaluate: Callable[[fx.Node, Any, Any], Any]
    bodies: Callable[[Loop], Body]
    made: list[Any] = field(default_factory=list)
    states: dict[Previous, Tensor | Complex] = field(default_factory=dict)  # what calls read
    held: dict[Held, Tensor] = field(default_factory=dict)  # values of State nodes
    begins: dict[Held, str] = field(default_factory=dict)  # what they start from just before the first own step
    given: dict[Held, tuple[str, str]] = field(default_factory=dict)  # the module's own: names and values
    base: Size = 0  # steps of the sequences that it reads
    ahead: int = 0  # of them before its own first one: range(1, T) has one

    def run(self) -> Unavailable | None:
        """Translate every call of the body, and feed the states; what a state cannot become, if that is so.

        Raises
        ------
        ConvertError
            When the loop is none over time, or a state changes its shape.
        """
        self.place()
        for node, reads in zip(self.loop.body, self.loop.reads, strict=True):
            _, tree = leaves(node)
            args, kwargs = pytree.tree_unflatten([self.value(each) for each in reads], tree)
            self.made.append(self.step(node, reads, args, kwargs))
        for own, state in self.held.items():
            later = own.previous.later
            made = self.made[own.previous.call] if later is None else self.states[later]
            if isinstance(made, Unavailable):
                return made
            new = self.float_of(made if own.part is None else whole_parts(self.call, made)[own.part])
            if (new.axes, new.spec.shape) != (state.axes, state.spec.shape):
                raise ConvertError(f"state must keep its shape, got {state} and then {new}")
            begin = self.begins.get(own)
            value = new.value if begin is None else self.after(self.ahead, new.value, begin)
            self.call.feed(state.value, value)
        return None

    def place(self) -> None:
        """Find the steps of time that the loop runs over: where it has fewer, the last ones."""
        call, time = self.call, size_of(STEPS)
        found: list[Size] = []
        for node, reads in zip(self.loop.body, self.loop.reads, strict=True):
            found += [self.bodies(each.loop).base for each in reads if isinstance(each, Other)]
            x = self.value(reads[0]) if _picks(node, reads) else None
            x = parts(call, x)[0]
            found += [x.size(call.axis(reads[1].value, x.rank))] if isinstance(x, Tensor) else []  # type: ignore[union-attr]
        more = {size: difference(size, self.length) for size in (time, *found)}
        known = {size: n for size, n in more.items() if n is not None and n >= 0}
        if len(known) < len(set(found)) or not known:
            longest = next((size for size in found if size not in known), self.length)
            raise ConvertError(f"loop over {self.length} must read sequences as long, got {longest} steps")
        own = {size: n for size, n in known.items() if not found or size in found}
        self.base = min(own, key=own.__getitem__)
        if time in known and known[time] <= own[self.base]:
            self.base = time
        self.ahead = known[self.base]

    def value(self, reference: Reference) -> Any:
        """Return the value of an argument at every step."""
        if isinstance(reference, Same):
            return self.read(reference.value) if isinstance(reference.value, fx.Node) else reference.value
        if isinstance(reference, Own):
            return self.made[reference.call]
        if isinstance(reference, Other):
            return self.of_other(reference)
        if isinstance(reference, Previous):
            return self.state(reference)
        return reference

    def step(self, node: fx.Node, reads: Sequence[Reference], args: Any, kwargs: Any) -> Any:
        """Return the result of a call at every step."""
        flat = list(leaves_of([*args, *kwargs.values()]))
        if self.writes(node, reads):
            before = reads[0].initials[0]  # type: ignore[union-attr]
            return Written(args[1], args[2], args[3], before)
        if _picks(node, reads):
            return by_parts(lambda part: self.picked(node, [part, *args[1:]]), self.call, args[0])
        if any(isinstance(value, Counter) for value in flat):
            args, kwargs = pytree.tree_map(self.numbered, (args, kwargs), is_leaf=lambda v: isinstance(v, Counter))
        tensors = [part for value in flat for part in parts(self.call, value) if isinstance(part, Tensor)]
        if any(map(over_time, tensors)) and any(x.spec.time and not over_time(x) for x in tensors):
            raise ConvertError("loop must read one step of a sequence at each step, got a call that reads all of it")
        return self.evaluate(node, args, kwargs)

    def writes(self, node: fx.Node, reads: Sequence[Reference]) -> bool:
        """Return True if a call puts a step into the sequence that it put the one before into."""
        if node.target is not ATEN.select_scatter.default or not isinstance(reads[3], Counter):
            return False
        before = reads[0]
        return isinstance(before, Previous) and self.loop.body[before.call] is node

    def picked(self, node: fx.Node, args: Sequence[Any]) -> Tensor:
        """The step of a sequence that has the number of the loop's own, or some around it."""
        x, counter = self.call.tensor(args[0]), args[2]
        dim = self.call.axis(args[1], x.rank)
        if node.target is ATEN.select.int:
            return self.element(x, dim, counter)
        ends = args[3] if len(args) == 4 else None
        if not (isinstance(counter, Counter) and isinstance(ends, Counter) and counter.step == ends.step):
            raise ConvertError("loop must read as many steps of a sequence at each step, got others")
        numbers = range(int(ends.first - counter.first))
        if not 0 < len(numbers) <= MOST_STEPS:
            raise ConvertError(f"loop must read 1 to {MOST_STEPS} steps at each step, got {len(numbers)}")
        rows = [self.element(x, dim, Counter(counter.first + i, counter.step)) for i in numbers]
        return concatenate(self.call, [unsqueeze(self.call, row, dim) for row in rows], dim)

    def element(self, x: Tensor, dim: int, counter: Counter) -> Tensor:
        """The element of a sequence that a counter names."""
        size = x.size(dim)
        if not x.is_time(dim) or not counter.is_index:
            raise ConvertError(f"loop over {self.length} must read one step after the other, got {describe(x, dim)}")
        value = self.run_of(self.call.timed(x).value, size, counter)
        return self.call.result(value, [axis for i, axis in enumerate(x.axes) if i != dim])

    def run_of(self, value: str, size: Size, counter: Counter) -> str:
        """Steps of a value of `size` of them in the order of a counter, as many as the loop has."""
        rest = difference(size, self.length)
        if rest is None:
            raise ConvertError(f"loop over {self.length} must read sequences as long, got {size} steps")
        steps = len(self.loop.steps) + rest
        first = int(counter.first) + (steps if counter.first < 0 else 0)
        low = first if counter.step > 0 else steps - 1 - first
        if not 0 <= low <= rest:
            at = "steps before the first"
            if counter.step > 0:
                at = f"step t{counter.first:+d}, which at first is the last: begin later, or read another value then"
            raise ConvertError(f"loop over {self.length} must read steps within a sequence of {size}, got {at}")
        value = self.call.add(Reverse(), value) if counter.step < 0 else value
        low -= self.ahead
        value = shortened(self.call, value, max(0, low), rest - self.ahead - max(0, low))
        return delayed(self.call, value, max(0, -low))

    def of_other(self, reference: Other) -> Any:
        """The results of a call of another loop, each in the step that a counter names."""
        body = self.bodies(reference.loop)
        counter = Counter(int(reference.counter.first) + body.ahead, reference.counter.step)

        def steps_of(made: Any) -> Any:
            if not isinstance(made, Tensor):
                return made
            return self.call.result(self.run_of(self.call.timed(made).value, body.base, counter), made.axes)

        return by_parts(steps_of, self.call, body.made[reference.call])

    def numbered(self, value: Any) -> Any:
        """Return what is computed of the number of the step, as a value."""
        if not isinstance(value, Counter):
            return value
        if self.base != size_of(STEPS):
            raise ConvertError(f"number of the step must be that of time, got one of a loop over {self.length}")
        if value.symbolic or value.step < 0:
            raise ConvertError("number of the step must be counted from the first to be computed with, got another")
        number = self.call.result(step_number(self.call).value, [])
        if value == Counter(self.ahead, 1):
            return number
        real = self.call.result(self.call.cast(number.value, "float"), [])
        scaled = affine(self.call, real, float(value.step), float(value.first - value.step * self.ahead))
        whole = isinstance(value.first, int) and isinstance(value.step, int)
        return self.call.result(self.call.cast(scaled.value, "int"), []) if whole else scaled

    # States ----------------------------------------------------------------------------------------

    def state(self, previous: Previous) -> Any:
        """Return the result of a call in the step before, or in one before that."""
        later = None if previous.later is None else self.state(previous.later)
        if isinstance(later, Unavailable):
            return later
        node = self.loop.body[previous.call]
        if node.target is ATEN.select_scatter.default and self.loop.reads[previous.call][0] == previous:
            return Unavailable("sequence that a loop writes must not be read in it")
        if previous not in self.states:
            given = lifted(self.value(Same(previous.initials[0])))
            sizes = self.call.session.sizes.shape(node.meta["val"])
            if isinstance(given, Unavailable) or sizes is None:
                return given if isinstance(given, Unavailable) else Unavailable("state of a loop must be a tensor")
            if node.meta["val"].is_complex():
                both = whole_parts(self.call, given)
                states = [self.started(Held(previous, i), x, sizes, f"{node.name}.{i}") for i, x in enumerate(both)]
                self.states[previous] = Complex(None, *states)
            else:
                self.states[previous] = self.started(Held(previous), given, sizes, node.name)
        return self.states[previous]

    def started(self, own: Held, given: Any, sizes: Sequence[Size], name: str) -> Tensor:
        """A state that starts from a value."""
        call = self.call
        initial = call.tensor(float(given) if isinstance(given, int | float) else given)  # 0, to which one is added
        if initial.spec.dtype != "float":
            raise ConvertError(f"state must be float, got {initial.spec.dtype}")
        start = canonical(call, initial if initial.sizes() == tuple(sizes) else expand(call, initial, sizes))
        if start.spec.time:
            raise ConvertError(f"state must start from a value without time, got {start}")
        fixed = call.emit.fixed(start.value)
        of_module = fixed is None and may_hold(call, f"{name}.state", [start.value])
        if of_module:
            fixed = np.zeros(())
        begin: Array | str = begun(call, start.value, self.base, max(0, self.ahead - 1)) if fixed is None else fixed
        if self.ahead:
            self.begins[own] = call.constant(begin) if isinstance(begin, np.ndarray) else begin
            begin = np.zeros(())
        value, read = starting(call.emit, begin, start.spec.shape, f"{name}.state")
        self.held[own] = call.result(value, start.axes)
        if of_module:  # a state that the module takes is the stream's
            self.given[own] = f"{name}.state", start.value
        return call.result(read, start.axes)

    def float_of(self, value: Any) -> Tensor:
        """A value that a state may become."""
        x = canonical(self.call, self.call.timed(self.call.tensor(value)))
        if x.spec.dtype != "float":
            raise ConvertError(f"state must be float, got {x.spec.dtype}")
        return x

    # What the loop gives ---------------------------------------------------------------------------

    def joined(self, made: Any, dim: int, numbers: range, length: Size) -> Any:
        """Return the results of some steps, one behind the other, along an axis of time that is so long."""
        if isinstance(made, Unavailable):
            return made
        if isinstance(made, Complex):
            return by_parts(lambda part: self.joined(part, dim, numbers, length), self.call, made)
        x = self.call.timed(self.call.tensor(made))
        if over_time(x):
            raise ConvertError("loop must join one step at each step, got whole sequences")
        first, last = sorted((numbers[0], numbers[-1]))
        value = shortened(self.call, x.value, self.ahead + first, len(self.loop.steps) - 1 - last)
        axes = list(x.axes)
        axes.insert(dim, (steps_in(length),))
        return self.call.result(self.call.add(Reverse(), value) if numbers.step < 0 else value, axes)

    def single(self, step: Step) -> Any:
        """Return the result of one step, for a call behind the loop."""
        made = self.made[step.call]
        before = len(self.loop.steps) - 1 - step.number
        if isinstance(made, Written):
            if before:
                return Unavailable("sequence that a loop writes must be read behind it alone")
            node = self.loop.body[step.call]
            return by_parts(lambda part: self.written(replace(made, step=part), node), self.call, made.step)
        if before and step.number:
            lags = {len(p.initials): state for p, state in self.states.items() if p.call == step.call}
            made = lags.get(before, Unavailable(MIDDLE))
        numbers = {own.part: n for own, n in self.given.items() if own.fed_by(step.call, before)}
        if isinstance(made, Complex):
            both = [self.one_of(x, step.number, numbers.get(i)) for i, x in enumerate(whole_parts(self.call, made))]
            return Complex(None, *both)
        return self.one_of(made, step.number, numbers.get(None))

    def one_of(self, made: Any, number: int, given: tuple[str, str] | None) -> Any:
        """Return the first result of a loop for the number 0, else the last, which the module's own states become."""
        if not isinstance(made, Tensor) or over_time(made) or not made.spec.time:
            return made
        value = made.value if number else shortened(self.call, made.value, self.ahead, 0)
        final = last_of(self.call.emit, value, name=self.call.name, reverse=number == 0)
        if number:
            self.call.emit.finals.add(final)
            if given is not None:
                hold(self.call, *given, final)
        else:
            self.call.session.firsts[final] = First(value, self.length, 0)
        return self.call.result(final, made.axes)

    def written(self, made: Written, node: fx.Node) -> Any:
        """Return a sequence that the loop has written: before and behind its steps what was in it."""
        count, dim = len(self.loop.steps), made.dim % (self.call.tensor(made.step).rank + 1)
        length = self.call.session.sizes.of(node.meta["val"].shape[dim])
        rest = difference(length, self.length)
        if rest is None or not made.counter.is_index:
            raise ConvertError(f"loop over {self.length} must write one step after the other, got {length} steps")
        size = count + rest
        low = int(min(made.counter.first, made.counter.at(count - 1))) % size
        numbers = range(count) if made.counter.step > 0 else range(count - 1, -1, -1)
        if not rest:
            return self.joined(made.step, dim, numbers, length)
        fill, starts = self.found_in(made.before, dim, low)
        if low == rest == self.ahead and numbers.step > 0 and length == self.base:
            return self.in_front(made.step, dim, starts, length)
        if fill is None:
            raise ConvertError("sequence that a loop writes must hold one number at the steps that it does not write")
        inner = self.joined(made.step, dim, numbers, self.length)
        if isinstance(inner, Unavailable):
            return inner
        free = [] if all(start is starts[0] for start in starts) else starts
        pad = TimePad(low - len(free), rest - low, value=fill)
        row = [axis for i, axis in enumerate(inner.axes) if i != dim]
        value = self.call.add(pad, inner.value) if pad.before or pad.after else inner.value
        return starting_with(self.call, self.call.result(value, row), dim, free, length)

    def in_front(self, made: Any, dim: int, starts: Sequence[Tensor], length: Size) -> Any:
        """Return the results of all steps behind values that lie where the loop does not run yet."""
        x = canonical(self.call, self.call.timed(self.call.tensor(made)))
        value = x.value
        for i, start in reversed(list(enumerate(starts))):
            if over_time(start):  # the steps themselves that the sequence held
                step = self.call.result(start.value, [axis for j, axis in enumerate(start.axes) if j != dim])
                value = self.after(i + 1, value, like(self.call, step, x))
                continue
            value = self.after(i + 1, value, begun(self.call, like(self.call, start, x), self.base, i))
        axes = list(x.axes)
        axes.insert(dim, (steps_in(length),))
        return self.call.result(value, axes)

    def after(self, steps: int, value: str, before: str) -> str:
        """A value from a step on, and another before it."""
        return self.call.add(Where(), behind(self.call, value, steps), value, before)

    def found_in(self, node: fx.Node, dim: int, low: int) -> tuple[float | None, list[Tensor]]:
        """The number that a sequence was filled with, and what its first steps hold.

        Of one that holds other steps: None, and in the place of those that were not written the sequence itself.
        """
        found: dict[int, Tensor] = {}
        while node.target is ATEN.select_scatter.default and isinstance(node.args[3], int):
            source, part, _, index = node.args[:4]
            if not 0 <= index < low:  # type: ignore[operator]
                break
            found.setdefault(index, self.call.tensor(self.read(part)))  # type: ignore[arg-type]
            node = source  # type: ignore[assignment]
        before = self.call.tensor(self.read(node))
        fixed = self.call.emit.fixed(before.value)
        if fixed is None or fixed.size == 0 or np.any(fixed != fixed.flat[0]):
            return None, [found.get(i, before) for i in range(low)]
        fill = float(fixed.flat[0])
        other = self.call.tensor(fill)
        return fill, [found.get(i, other) for i in range(low)]


def _picks(node: fx.Node, reads: Sequence[Reference]) -> bool:
    """Return True if a call reads the step of a sequence that has the number of the loop's."""
    single = node.target is ATEN.select.int and isinstance(reads[2], Counter)
    return single or (node.target is ATEN.slice.Tensor and any(isinstance(each, Counter) for each in reads[2:]))
