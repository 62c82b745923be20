"""From a Graph to what the engine packs: values become buffers and views of them, ops become instructions.

Ops over whole rows (recurrent layers, Dense, norms) have a row in `rows.LOWERINGS`; ops over frames of any rank
have one in `FRAMES`: a view, an expression that later ops may join, or a nest of loops. `lower` is all that
`Model` calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from .. import graph as g
from ..errors import GraphError
from ..graph.activations import SOFTMAX
from . import schedule
from .attention import ATTENTION
from .convolution import CONVOLUTIONS
from .elementwise import ELEMENTWISE, Lowering
from .instructions import (
    OVER_FRAMES,
    Attend,
    Buffer,
    Convert,
    Instruction,
    Line,
    Recurrent,
    Reverse,
    Scan,
    Store,
    Window,
)  # fmt: skip
from .linear import LINEAR
from .program import ANY_CLOCK, Expr, Program, Value, joint_time
from .reductions import REDUCING
from .rows import LOWERINGS, Between, with_table
from .scan import SCANS
from .shapes import SHAPES, not_negative, take
from .spectral import SPECTRAL
from .temporal import TEMPORAL, aligned
from .transforms import TRANSFORMS, transform_of
from .views import CONSTANT, View, contiguous

if TYPE_CHECKING:
    from fractions import Fraction

__all__ = ["FRAMES", "Lowered", "lower", "renumbered"]

FRAMES: dict[type[g.Op], Lowering] = {
    **ELEMENTWISE,
    **SHAPES,
    **LINEAR,
    **CONVOLUTIONS,
    **REDUCING,
    **TEMPORAL,
    **ATTENTION,
    **SPECTRAL,
    **TRANSFORMS,
    g.Embedding: lambda p, op, ids: take(p, View.of_constant(op.weight), p.view(not_negative(p, ids)), 0),
}
MOST_OF_TABLE = 1 << 22  # numbers in a table of products: 16 MB
# Padded buffers have memory of their own, and zeros around them for ever, where a model needs at most so many times the
# memory that its values need at once. Of a single depthwise convolution (64 channels of 32 x 32) the zeros take 12 % of
# the time when every call writes them, of networks of several layers 0 to 2 %.
SPARE = 1.25
KEPT = 4096  # elements of a padded frame below which it always has: an instruction more is a part of such a step
DTYPES = {"float": "", "int": "int64", "bool": "bool"}  # of outputs; that of the model
OF_RECURRENCES = ("h", "c", "y")  # names of states
ONLY_ROWS = (g.Mask, g.ApplyMask, g.Reverse)
JOINING = (*ELEMENTWISE, g.Activate, g.Concat, g.Pad, g.Transpose, *CONVOLUTIONS)  # that take expressions


class Lowered(NamedTuple):
    """The arguments of `engine.Plan`."""

    values: list[Buffer]
    instructions: list[Instruction]
    inputs: list[int]
    outputs: list[int]
    states: list[tuple[str, int, str, tuple[int, ...]]]
    blockers: dict[str, str]
    macs: int
    loops: tuple[tuple[int, int, int], ...]  # from and to before which instruction, and the clock
    clocks: int
    bases: int
    latency: int | Fraction


class Lowerer:
    """One graph on its way to a plan."""

    def __init__(self, graph: g.Graph) -> None:
        self.graph = graph
        self.program = Program(max(graph.bases.values(), default=0) + 1)
        self.values: dict[str, Value] = {}
        self.recurrences = 0
        self.inputs: set[int] = set()
        self.looked_up: dict[str, tuple[View, g.Embedding]] = {}  # outputs of embeddings: their ids, and their table
        self.given: set[int] = set()  # buffers of outputs
        self.base_of: dict[int, int] = {}  # of the buffers of states
        # A graph over rows (B, F) has no recurrence, so each row may as well be a step: (T, F).
        self.only_rows = not any(spec.time for spec in graph.inputs.values()) and not graph.feedback
        self.units = {node.name: unit for unit in graph.units() for node in unit.nodes}
        self.readers: dict[str, list[g.Node]] = {}
        self.uses = Counter([*graph.outputs, *graph.feedback.values()])
        for node in graph.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
                self.uses[name] += 1

    def time(self, name: str) -> int:
        """The clock of an input, 0 where it has no time."""
        return self.graph.bases.get(name, 0) + 1 if self.graph.specs[name].time or self.only_rows else 0

    def run(self) -> Lowered:
        """Lower inputs, nodes, feedback and outputs, then put the instructions in order."""
        p, graph = self.program, self.graph
        inputs = [self.input(name) for name in graph.inputs]
        self.inputs.update(inputs)
        for node in graph.nodes:
            self.node(node)
        outputs = [self.output(name) for name in graph.outputs]
        held = self.feedback()
        self.keep_borders()
        clocks = self.resolve_clocks(held)
        self.show_ended(clocks)
        together = [[v for v in held if clocks[v] == clock] for clock in dict.fromkeys(clocks.values())]
        instructions, spans = schedule.order(p.instructions, together, self.levels(held))
        states = renumbered(p.states, p.instructions, instructions)
        loops = [(begin, end, self.check_loop(instructions[begin:end], clocks)) for begin, end in spans]
        framed = any(isinstance(ins, OVER_FRAMES) for ins in instructions)
        places = [-1] * len(p.values)
        if framed:
            lines = [i for i, v in enumerate(p.values) if v.line or v.apart]
            sizes = [(v.time > 0, v.size) for v in p.values]  # what has time has as many frames as a block has steps
            life = schedule.lives(instructions, spans)
            places = schedule.slots(life, sizes, [*inputs, *outputs, *held, *lines])
        for value, place in zip(p.values, places, strict=True):
            value.slot = place
        instructions = [replace(ins, clock=self.clock_of(ins)) for ins in instructions]
        return Lowered(
            p.values, instructions, inputs, outputs, states, graph.not_streamable(),
            sum(node.op.macs_for(tuple(graph.specs[v] for v in node.inputs)) for node in graph.nodes),
            tuple(loops), len(p.clocks), max(self.graph.bases.values(), default=0) + 1,
            max(0, *(p.clock(max(1, p.values[v].time)).latency for v in outputs)),
        )  # fmt: skip

    def keep_borders(self) -> None:
        """Write the borders of padded buffers once and for all, or, where that costs much memory, in every call."""
        p = self.program
        sizes = [value.size for value in p.values]
        life = schedule.lives(p.instructions, ())
        small = [v for v in p.borders if sizes[v] < KEPT]
        others = {v: span for v, span in life.items() if v not in p.borders}
        apart = sum(sizes[v] for v in p.borders) + schedule.most(others, sizes)
        kept = list(p.borders) if apart <= SPARE * schedule.most(life, sizes) else small
        gone = {id(ins) for v in kept for ins in p.borders[v]}
        p.instructions = [ins for ins in p.instructions if id(ins) not in gone]
        for v in p.borders.keys() - set(kept):
            p.values[v].apart = False

    def clock_of(self, instruction: Instruction) -> int:
        """Return the clock of an instruction: that of the first buffer that has time."""
        buffers = (self.program.values[v] for v in (*instruction.inputs, instruction.output))
        return next((b.time for b in buffers if b.time), 1)

    def resolve_clocks(self, held: list[int]) -> dict[int, int]:
        """Give values that follow from states alone the clock of what the states follow; return that of each state."""
        values, states = self.program.values, set(held)
        parents: dict[int, int] = {}  # of states and what follows from them alone, to one that has the same steps
        found: dict[int, int] = {}  # the clock of those that have no parent

        def root(v: int) -> int:
            while v in parents:
                v = parents[v]
            return v

        def clock(v: int) -> int:
            return found.get(root(v), self.base_of.get(v, values[v].base) + 1)

        met = [[*ins.inputs, *ins.written] for ins in self.program.instructions]
        follow = [[v for v in some if v in states or values[v].time == ANY_CLOCK] for some in met]
        for some in follow:
            for v in some[1:]:
                if root(v) != root(some[0]):
                    parents[root(v)] = root(some[0])
        for ins in self.program.instructions:
            if isinstance(ins, Store) and (time := values[ins.inputs[0]].time) > 0:
                found[root(ins.output)] = time
        for ins, some, all_ in zip(self.program.instructions, follow, met, strict=True):
            if some and {values[v].time for v in all_} - {0, ANY_CLOCK, clock(some[0])}:
                raise GraphError(
                    f"values that meet at node {ins.node!r} must have the steps of the states it reads, got others"
                )
        clocks = {v: clock(v) for v in held}
        for v, value in enumerate(values):
            if value.time == ANY_CLOCK:
                value.time = clock(v)
        return clocks

    def check_loop(self, instructions: schedule.Instructions, clocks: dict[int, int]) -> int:
        """Return the clock of a loop, all of whose values have it."""
        values = self.program.values
        clock = next(clocks[ins.output] for ins in instructions if isinstance(ins, Store))
        for ins in instructions:
            if isinstance(ins, Window) and values[ins.output].time == clock:
                values[ins.output].stays = True  # the windows of each step are shown at the same place
            elif isinstance(ins, Line | Reverse | Attend):
                raise GraphError("layers between a state and what becomes of it must give a step for every step")
            times = {values[v].time for v in (*ins.inputs, *ins.written)}
            if times - {0, clock}:
                raise GraphError(
                    f"values that meet at node {ins.node!r} must have the steps of the states it reads, got others"
                )
        return clock

    def input(self, name: str) -> int:
        """The buffer of an input: ids as integers where all that read them are lookups by row."""
        spec = self.graph.inputs[name]
        by_row = not spec.shape and all(type(n.op) in (g.Embedding, g.Mask) for n in self.readers.get(name, []))
        kind = "int" if spec.dtype == "int" and by_row else "float"
        size = 0 if kind == "int" else prod(spec.shape)
        time = self.time(name)
        number = self.program.buffer(size, time, kind, shape=tuple(spec.shape), name=name)
        self.values[name] = View(number, spec.shape, contiguous(spec.shape), 0, time)
        return number

    def node(self, node: g.Node) -> None:
        """Lower one node by rows where its inputs lie so, else by frames."""
        p, op = self.program, node.op
        p.node, p.base = node.name, self.graph.bases.get(node.outputs[0], 0)
        args: list[Value] = []
        for name in node.inputs:
            if self.by_table(name, node):
                args.append(self.looked_up[name][0])
                continue
            value = self.values[name]
            if isinstance(value, Expr) and (self.uses[name] > 1 or type(op) not in JOINING):
                value = self.values[name] = p.view(value)
            args.append(value)
        if len({a.time for a in args if a.time > 0}) > 1:
            args = aligned(p, [self.as_floats(a) for a in args])
        if isinstance(op, g.State):
            self.values[node.outputs[0]] = self.state(node)
        elif self.by_rows(op, args):
            self.row(node, args)
        elif isinstance(op, g.Recurrent):
            results = SCANS[type(op)](p, op, *map(self.as_floats, args))
            self.values.update(zip(node.outputs, results, strict=True))
            self.recurrences += 1
        elif type(op) in FRAMES:
            made = FRAMES[type(op)](p, op, *map(self.as_floats, args))
            self.values.update(zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True))
        else:
            raise GraphError(f"node {node.name!r} must be one the engine runs, got {type(op).__name__}")

    def by_table(self, name: str, node: g.Node) -> bool:
        """Whether a recurrent layer reads an embedding's output: a table of products then takes the place of both."""
        op = node.op
        if name not in self.looked_up or not isinstance(op, g.Recurrent) or name not in node.inputs[:1]:
            return False
        rows = self.looked_up[name][1].weight.shape[0]
        return not op.scan and op.precision == "float32" and rows * op.weight_x.shape[0] <= MOST_OF_TABLE

    def as_floats(self, value: Value) -> Value:
        """A value as floats where the row ops have integers or masks of their own."""
        if isinstance(value, Expr) or value.buffer == CONSTANT:
            return value
        return value if self.program.values[value.buffer].kind == "float" else self.converted(value, "float")

    def converted(self, view: View, kind: str) -> View:
        """A scalar frame as another kind of number."""
        p, source = self.program, view.buffer
        if p.values[source].kind == "float":
            source = p.whole(view)
        number = p.buffer(int(kind == "float"), p.values[source].time, kind)
        p.emit(Convert(inputs=(source,), output=number))
        return View(number, view.shape, view.strides, 0, view.time)

    def by_rows(self, op: g.Op, args: list[Value]) -> bool:
        """Whether the op runs over whole rows without moving a number first."""
        if type(op) not in LOWERINGS:
            return False
        if isinstance(op, g.Recurrent):
            return not op.scan
        if isinstance(op, ONLY_ROWS):
            return True
        whole = [isinstance(a, View) and self.program.is_whole(a) for a in args]
        if isinstance(op, g.Embedding):
            return self.program.values[args[0].buffer].kind == "int" if isinstance(args[0], View) else False
        if any(len(a.shape) != 1 for a in args):
            return False
        if isinstance(op, g.Dense):
            return op.precision != "float32" or transform_of(op.weight) is None
        if isinstance(op, g.LayerNorm) or (isinstance(op, g.Activate) and op.activation.name == SOFTMAX):
            return True
        alike = len({a.shape for a in args}) == 1 or isinstance(op, g.Concat)
        return all(whole) and alike and len({a.time for a in args}) == 1 and len(args) <= 8

    def row(self, node: g.Node, args: list[Value]) -> None:
        """Append the instruction of a row op."""
        p, op, name = self.program, node.op, node.outputs[0]
        spec = self.graph.specs[name]
        if isinstance(op, g.Embedding):
            ids = p.values[args[0].buffer]  # type: ignore[union-attr]
            ids.bound = min(ids.bound, op.weight.shape[0])
            if op.precision == "float32":
                self.looked_up[name] = (p.view(args[0]), op)
            readers = self.readers.get(name, [])
            if len(readers) == self.uses[name] and all(self.by_table(name, reader) for reader in readers):
                return
        if len(args) == 2 and isinstance(op, g.Recurrent | g.ApplyMask):
            mask = p.view(args[1])
            args = [args[0], mask if p.values[mask.buffer].kind == "bool" else self.converted(mask, "bool")]
        inputs = [
            a.buffer if isinstance(a, View) and self.program.values[a.buffer].kind != "float" else p.whole(a)
            for a in args
        ]
        kind = spec.dtype if isinstance(op, g.Mask) else "float"
        size = 0 if kind == "bool" else prod(spec.shape)
        time = joint_time(args) if spec.time or self.only_rows else 0
        output = p.buffer(size, time, kind)
        compared = p.values[inputs[0]].size if isinstance(op, g.Mask) else size
        made = LOWERINGS[type(op)](Between(tuple(inputs), output, compared), op)
        if isinstance(made, Recurrent) and self.by_table(node.inputs[0], node):
            made = replace(made, layer=with_table(made.layer, self.looked_up[node.inputs[0]][1]))
        p.emit(made)
        self.values[name] = View(output, spec.shape, contiguous(spec.shape), 0, time)
        if isinstance(op, g.Recurrent):
            sizes = dict(op.states())
            if len(node.inputs) == 2 or not op.return_sequences:  # the last valid output is given again later
                sizes["y"] = op.output_size
            p.states += [(f"{node.name}.{n}", self.recurrences, n, (size,)) for n, size in sizes.items()]
            self.recurrences += 1

    def state(self, node: g.Node) -> View:
        """The buffer in which a State lives from step to step."""
        p, op = self.program, node.op
        initial = op.initial  # type: ignore[attr-defined]
        number = p.buffer(max(1, initial.size), 0, state=True, initial=initial)
        self.base_of[number] = p.base
        p.states.append((node.name, -1 - number, "", initial.shape))
        return View(number, initial.shape, contiguous(initial.shape), 0, self.steps_of(node))

    def steps_of(self, node: g.Node) -> int:
        """The clock of a State: that of what its loop reads, `ANY_CLOCK` where this is of several or comes later."""
        unit = self.units[node.name]
        nodes = unit.nodes if unit.is_loop else ()
        made = {v for n in nodes for v in n.outputs}
        reads = {self.graph.feedback[node.outputs[0]], *(v for n in nodes for v in n.inputs)} - made
        timed = [v for v in reads if self.graph.specs[v].time]
        times = {self.values[v].time if v in self.values else ANY_CLOCK for v in timed} or {self.program.base + 1}
        return times.pop() if len(times) == 1 else ANY_CLOCK

    def feedback(self) -> list[int]:
        """Store what each State becomes, after all that reads the old one; returns the states' buffers."""
        p = self.program
        targets = {p.view(self.values[state]).buffer: value for state, value in self.graph.feedback.items()}
        stores = []
        for number, value in targets.items():
            p.base = self.base_of[number]
            view = p.view(self.values[value])
            if view.buffer in targets or view.buffer == CONSTANT:
                view = self.moved(view)
            stores.append((number, view))
        for number, view in stores:
            to = View(number, view.shape, contiguous(view.shape), 0, 0)
            p.copy(view, to, Store)
        return list(targets)

    def levels(self, held: list[int]) -> list[int]:
        """Behind how many loops each instruction runs."""
        values = self.program.values
        return schedule.levels_of(self.program.instructions, held, lambda v: values[v].time)

    def show_ended(self, clocks: dict[int, int]) -> None:
        """Give what runs behind the loop of a state a copy of all steps of it: the state itself has gone on."""
        p, copies = self.program, dict[int, int]()
        levels = self.levels(list(clocks))
        instructions, copied = list(p.instructions), list[Instruction]()
        own = {ins.output: at for ins, at in zip(instructions, levels, strict=True) if isinstance(ins, Store)}
        for i, (ins, at) in enumerate(zip(instructions, levels, strict=True)):
            gone = {v for v in ins.inputs if own.get(v, at) < at}
            for state in gone - copies.keys():
                size = p.values[state].size
                to = p.new((size,), clocks[state])
                p.copy(View(state, (size,), (1,), 0, 0), to)
                copied.append(p.instructions.pop())
                copies[state] = to.buffer
            if gone:
                instructions[i] = reading(ins, {v: copies[v] for v in gone})
        p.instructions = [*copied, *instructions]  # before the states are stored anew

    def moved(self, view: View) -> View:
        """A copy, so that no store reads what another has already overwritten."""
        to = self.program.new(view.shape, view.time or ANY_CLOCK)
        self.program.copy(view, to)
        return to

    def output(self, name: str) -> int:
        """A buffer of its own for an output of the graph."""
        p, value, spec = self.program, self.values[name], self.graph.specs[name]
        taken = self.given | self.inputs
        wanted = spec.time or self.only_rows
        p.base = self.graph.bases.get(name, 0)
        time = value.time or (p.base + 1 if wanted else 0)  # of a constant: the inputs' own
        number = -1
        if (
            isinstance(value, View)
            and self.program.is_whole(value)
            and value.buffer not in taken
            and value.time == time
        ):
            own = p.values[value.buffer]
            number = -1 if own.state or own.line or own.apart else value.buffer
        if number < 0:
            to = p.new(spec.shape, time)
            if isinstance(value, Expr):
                p.compute(value, to)
                self.values[name] = to
            else:
                p.write(self.as_floats(value), to)
            number = to.buffer
        own = p.values[number]
        own.shape, own.name, own.dtype = tuple(spec.shape), name, DTYPES[spec.dtype]
        self.given.add(number)
        return number


def reading(instruction: Instruction, instead: dict[int, int]) -> Instruction:
    """The instruction with other buffers in the place of some that it reads."""
    inputs = tuple(instead.get(v, v) for v in instruction.inputs)
    own = getattr(instruction, "operands", None)
    if own is None:
        return replace(instruction, inputs=inputs)
    operands = tuple(o._replace(buffer=instead.get(o.buffer, o.buffer)) for o in own)
    return replace(instruction, inputs=inputs, operands=operands)  # type: ignore[call-arg]


def renumbered(
    states: Sequence[tuple[str, int, str, tuple[int, ...]]], made: Sequence[Instruction], run: Sequence[Instruction]
) -> list[tuple[str, int, str, tuple[int, ...]]]:
    """Return the states with the numbers that recurrences have in the order in which they run, not were made."""
    places = {id(ins): n for n, ins in enumerate(ins for ins in run if isinstance(ins, Recurrent | Scan))}
    numbers = [places[id(ins)] for ins in made if isinstance(ins, Recurrent | Scan)]
    return [(key, numbers[n] if name in OF_RECURRENCES else n, name, shape) for key, n, name, shape in states]


def lower(graph: g.Graph) -> Lowered:
    """The plan's arguments for `graph`.

    Raises
    ------
    GraphError
        When the graph has what the engine cannot run, naming the node.
    """
    return Lowerer(graph).run()
