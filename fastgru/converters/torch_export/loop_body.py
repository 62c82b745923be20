"""One step of a loop over time, translated once: its states are State nodes, its sequences values with time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import fx
from torch.utils import _pytree as pytree

from ...errors import ConvertError
from ...graph import Reverse
from ..tensors.recurrence import last_of, starting
from ..tensors.values import Array, Dim, Size, Tensor, Unavailable, describe, over_time
from .call import Call
from .dispatch import leaves as leaves_of
from .states import held
from .unrolled import ATEN, Counter, Loop, Other, Own, Previous, Reference, Same, leaves
from .views import canonical, expand, unsqueeze


@dataclass(frozen=True)
class Step:
    """The result of a call of a loop in one of the steps that were written out."""

    body: Body
    call: int
    number: int


@dataclass(frozen=True)
class Written:
    """A sequence that a loop writes step by step, and along which axis."""

    step: Tensor
    dim: int
    backward: bool


@dataclass(eq=False)
class Body:
    """A loop under translation.

    Parameters
    ----------
    loop : Loop
    call : Call
        What adds to the graph in its name.
    length : size
        Steps of what it runs over.
    read : callable
        What stands for a node outside the loop.
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
    states: dict[Previous, Tensor] = field(default_factory=dict)  # what calls read
    held: dict[Previous, Tensor] = field(default_factory=dict)  # values of State nodes
    given: dict[Previous, Array] = field(default_factory=dict)  # the numbers of those that start from the module's own

    def run(self) -> Unavailable | None:
        """Translate every call of the body, and feed the states; what a state cannot become, if that is so.

        Raises
        ------
        ConvertError
            When the loop is none over time, or a state changes its shape.
        """
        for node, reads in zip(self.loop.body, self.loop.reads, strict=True):
            _, tree = leaves(node)
            args, kwargs = pytree.tree_unflatten([self.value(each) for each in reads], tree)
            self.made.append(self.step(node, reads, args, kwargs))
        for previous, state in self.held.items():
            made = self.made[previous.call]
            if isinstance(made, Unavailable):
                return made
            new = self.float_of(self.made[previous.call])
            if (new.axes, new.spec.shape) != (state.axes, state.spec.shape):
                raise ConvertError(f"state must keep its shape, got {state} and then {new}")
            self.call.feed(state.value, new.value)
        return None

    def value(self, reference: Reference) -> Any:
        """Return the value of an argument at every step."""
        if isinstance(reference, Same):
            return self.read(reference.value) if isinstance(reference.value, fx.Node) else reference.value
        if isinstance(reference, Own):
            return self.made[reference.call]
        if isinstance(reference, Other):
            made = self.bodies(reference.loop).made[reference.call]
            if isinstance(made, Tensor) and reference.backward:
                return self.call.result(self.call.add(Reverse(), self.call.timed(made).value), made.axes)
            return made
        if isinstance(reference, Previous):
            return self.state(reference)
        return reference

    def step(self, node: fx.Node, reads: Sequence[Reference], args: Any, kwargs: Any) -> Any:
        """Return the result of a call at every step."""
        flat = list(leaves_of([*args, *kwargs.values()]))
        if self.writes(node, reads):
            return Written(self.call.tensor(args[1]), args[2], args[3].backward)
        if any(isinstance(value, Counter) for value in flat):
            return self.picked(node, args)
        tensors = [value for value in flat if isinstance(value, Tensor)]
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
        """The step of a sequence that has the number of the loop's own."""
        single = node.target is ATEN.select.int and isinstance(args[2], Counter)
        wide = (
            node.target is ATEN.slice.Tensor and len(args) == 4 and all(isinstance(a, Counter) for a in args[2:])
            and args[3] == Counter(args[2].backward, args[2].offset + 1)
        )  # fmt: skip
        if not single and not wide:
            raise ConvertError(f"number of the step must be used as an index alone, got an argument of {node.target}")
        x, counter = self.call.tensor(args[0]), args[2]
        dim = self.call.axis(args[1], x.rank)
        if not x.is_time(dim) or x.size(dim) != self.length or counter.offset:
            at = f"step t{counter.offset:+d}" if counter.offset else describe(x, dim)
            raise ConvertError(f"loop over {self.length} must read step t of a sequence as long, got {at}")
        value = self.call.timed(x).value
        value = self.call.add(Reverse(), value) if counter.backward else value
        row = self.call.result(value, [axis for i, axis in enumerate(x.axes) if i != dim])
        return row if single else unsqueeze(self.call, row, dim)

    # States ----------------------------------------------------------------------------------------

    def state(self, previous: Previous) -> Any:
        """Return the result of a call in the step before."""
        node = self.loop.body[previous.call]
        if node.target is ATEN.select_scatter.default and self.loop.reads[previous.call][0] == previous:
            return Unavailable("sequence that a loop writes must not be read in it")
        if previous not in self.states:
            given = self.value(Same(previous.initial))
            sizes = self.call.session.sizes.shape(node.meta["val"])
            if isinstance(given, Unavailable) or sizes is None:
                return given if isinstance(given, Unavailable) else Unavailable("state of a loop must be a tensor")
            self.states[previous] = self.started(previous, self.call.tensor(given), sizes, node.name)
        return self.states[previous]

    def started(self, previous: Previous, initial: Tensor, sizes: Sequence[Size], name: str) -> Tensor:
        """A state that starts from a value."""
        call = self.call
        if initial.spec.dtype != "float":
            raise ConvertError(f"state must be float, got {initial.spec.dtype}")
        start = canonical(call, initial if initial.sizes() == tuple(sizes) else expand(call, initial, sizes))
        if start.spec.time:
            raise ConvertError(f"state must start from a value without time, got {start}")
        fixed = call.emit.fixed(start.value)
        numbers = held(call, f"{name}.state", [start.value]) if fixed is None else None
        begin = start.value if fixed is None and numbers is None else np.zeros(()) if fixed is None else fixed
        value, read = starting(call.emit, begin, start.spec.shape, f"{name}.state")
        self.held[previous] = call.result(value, start.axes)
        if numbers is not None:  # a state that the module takes is the stream's
            self.given[previous] = numbers[0]
        return call.result(read, start.axes)

    def float_of(self, value: Any) -> Tensor:
        """A value that a state may become."""
        x = canonical(self.call, self.call.timed(self.call.tensor(value)))
        if x.spec.dtype != "float":
            raise ConvertError(f"state must be float, got {x.spec.dtype}")
        return x

    # What the loop gives ---------------------------------------------------------------------------

    def joined(self, made: Any, dim: int, backward: bool) -> Tensor | Unavailable:
        """Return the results of all steps along an axis of time."""
        if isinstance(made, Unavailable):
            return made
        x = self.call.timed(self.call.tensor(made))
        if over_time(x):
            raise ConvertError("loop must join one step at each step, got whole sequences")
        if not isinstance(self.length, Dim) or self.length.factor != 1 or len(self.length.symbols) != 1:
            raise ConvertError(f"loop must run over the steps of time, got {self.length}")
        value = self.call.add(Reverse(), x.value) if backward else x.value
        axes = list(x.axes)
        axes.insert(dim, self.length.symbols)
        return self.call.result(value, axes)

    def single(self, step: Step) -> Any:
        """Return the result of one step, for a call behind the loop."""
        made = self.made[step.call]
        last = len(self.loop.steps) - 1
        if isinstance(made, Written):
            if step.number != last:
                return Unavailable("sequence that a loop writes must be read behind it alone")
            return self.joined(made.step, made.dim % (made.step.rank + 1), made.backward)
        if not isinstance(made, Tensor) or over_time(made) or not made.spec.time:
            return made
        if step.number not in (0, last):
            return Unavailable(
                f"step {step.number} of a loop must be the first or last one, or be joined to all others"
            )
        final = last_of(self.call.emit, made.value, name=self.call.name, reverse=step.number == 0)
        if step.number == 0:
            return self.call.result(final, made.axes)
        self.call.session.finals.add(final)
        for previous, numbers in self.given.items():
            if previous.call == step.call:
                self.call.session.ends[final] = numbers.reshape(self.call.shape(final))
        return self.call.result(final, made.axes)


def all_steps(nodes: Sequence[fx.Node], values: Sequence[Any], dim: int) -> Any:
    """Join the results of a loop, one value for each step, along an axis of time.

    They are those of a call at all steps, in order or from the last one back, or those before each step: then its start
    comes first.

    Raises
    ------
    ConvertError
        When the values are others.
    """
    own = [v for v in values[1:] if isinstance(v, Step)]
    count = len(values)
    one = len(own) == count - 1 and len({(id(s.body), s.call) for s in own}) == 1
    if one and count == len(own[0].body.loop.steps):
        body, call = own[0].body, own[0].call
        numbers = [s.number for s in own]
        first = values[0]
        if isinstance(first, Step) and (first.body, first.call) == (body, call):
            order = [first.number, *numbers]
            if order in (list(range(count)), list(range(count))[::-1]):
                return body.joined(body.made[call], dim, order[0] > 0)
        before = body.states.get(Previous(call, nodes[0]))
        if before is not None and numbers == list(range(count - 1)):
            return body.joined(before, dim, False)
    raise ConvertError("what is joined must be one value of every step, in order, got others")
