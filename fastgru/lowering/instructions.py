"""The engine's instruction set: every instruction declared once, with its fields.

What else knows them follows from here: `structs` declares them for C and Cython when fastgru is built, the
engine reads and checks the fields by the tables made beside that, and `report.listing` and `encoding` go through them.
The annotation of a field is one of `kinds.KINDS`. A build runs this file, so nothing but that is imported here.

A new instruction is a dataclass here, in `INSTRUCTIONS` too, and in C a function ``execute_<mnemonic>`` and, where what
it needs of its fields is not that of another, ``check_<mnemonic>``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from .codes import UNBOUNDED

from .kinds import (  # isort: skip
    LIMITS, Act, Acts, Array, Bias, Bounds, Buffers, Byte, Clock, Codes, Count, Declared, Dims, Finite, Further, Gates,
    Index, Lookup, Matrix, Needs, Number, Outer, Padded, Pair, Pairs, Panels, Place, Precision, Scale, Shape, Stored,
    Strides, Table, Text, Tier, snake,
)  # fmt: skip


@dataclass
class Buffer:
    """A value: a frame of numbers for every step and row of the batch.

    Attributes
    ----------
    size : int
        Elements of the frame; 0 of ids and masks.
    time : int
        0: one frame for all steps; else the clock that counts its steps.
    kind : {"float", "int", "bool"}
    base : int
        Of what follows from a state alone: which inputs' steps it will have.
    state : bool
        Kept from call to call; it begins with `initial`, or with zeros.
    apart : bool
        Shares its memory with no other buffer.
    line : bool
        Its rows are windows over a line of steps.
    stays : bool
        Shown at the same place at every step of a loop.
    bound : int
        Of ids: they lie below it.
    slot : int
        Memory it shares with buffers that are not alive at the same time, or -1.
    shape, name, dtype
        Of an input or output; no dtype for that of the model.

    In C, `item` are the bytes of a number, `clock` counts from 0, `given` lies in an array of the caller, and `node` is
    the number of the one that writes it.
    """

    derived: ClassVar = {"item": "fg_idx", "clock": "int", "given": "int", "node": "int"}

    size: Count
    time: Place
    kind: Number = "float"
    base: Count = 0
    state: bool = False
    initial: Array | None = None
    apart: bool = False
    line: bool = False
    stays: bool = False
    bound: Count = UNBOUNDED
    slot: Index = -1
    shape: Shape = ()
    name: Text = ""
    dtype: Stored = ""


class Operand(NamedTuple):
    """The place of a frame in a buffer, or in numbers of the plan."""

    buffer: Index
    offset: int = 0
    constant: Array | None = None


class Rows(NamedTuple):
    """Rows in a frame: where the first begins, and the strides of two loops over them."""

    offset: int
    outer: int
    inner: int


class Micro(NamedTuple):
    """One function of an elementwise program, over registers: operands first, then results."""

    function: Index
    a: Index
    b: Index
    c: Index
    alpha: float
    beta: float


Operands = tuple[Operand, ...]
Functions = tuple[Micro, ...]


class Phase(Declared):
    """A recurrent product and the gates behind it. Weights are (G, units, K), biases (G, units).

    Attributes
    ----------
    tier : int
        Of enum fg_tier: which activations are compiled into the cell.
    x, bias_x
        The input's part; none in what follows from the phase before.
    table : array or None
        (V, G, units): the input's part of each id, in the place of `x` and `bias_x`.
    """

    kind: Index
    tier: Tier
    keep_candidate: bool
    act: Acts
    clip: Finite
    u: Panels
    bias_h: Gates | None
    peephole: Padded | None
    table: Table | None
    x: Panels | None
    bias_x: Gates | None


Phases = tuple[Phase, ...]


class Layer(Declared):
    """A recurrence, over time or along an axis of a frame.

    In C, `state` is its number among those of a stream.
    """

    derived: ClassVar = {"units_padded": "fg_idx", "features_padded": "fg_idx", "state": "int"}

    reverse: bool
    last: bool
    carry: bool
    gated_output: bool
    precision: Precision
    units: Count
    features: Count
    initial_h: Array | None
    initial_c: Array | None
    phases: Phases


Inner = Layer  # in C an instruction of its own, over values 0, the input, 1, the output, and 2, the mask


class Instruction(Declared):
    """The fields that every instruction has.

    Attributes
    ----------
    inputs, output : buffers
    outputs : buffers
        Further ones that it writes.
    held : buffers
        Those in which it keeps numbers from call to call.
    size : int
        Elements written to each row.
    node : str
        Of the graph, for messages.
    clock : int
        Which steps it runs over.
    needs : Needs
        What is asked of one that comes from a file.
    body : str
        ``execute_<body>`` of ``fastgru/_native/ops.c`` runs it; the mnemonic where it has one of its own.

    In C, `slice` are the rows that may run before signals are looked at.
    """

    code: ClassVar[int]
    mnemonic: ClassVar[str]
    body: ClassVar[str] = ""
    needs: ClassVar[Needs] = Needs()
    derived: ClassVar = {"op": "int", "slice": "fg_idx"}

    node: Text = ""  # first: messages about the rest name it
    inputs: Buffers
    output: Index
    outputs: Further = ()
    held: Further = ()
    size: Count = 0
    clock: Clock = 1

    @property
    def written(self) -> tuple[int, ...]:
        """The buffers it writes, in whole or in part."""
        return (self.output, *self.outputs)


MANY = (1, LIMITS["operands"])
READS = (0, LIMITS["operands"] - 1)  # of a nest, arrays of the plan aside
SPREAD = Needs(READS, "spread", whole=False)
ROWS = Needs(time="spread", whole=False)
ANY, TRUTH = ("float", "int", "bool"), ("bool",)

# Over whole rows -----------------------------------------------------------------------------------


class Recurrent(Instruction):
    """A recurrent layer over time; its second input is a mask."""

    needs = Needs((1, 2), "followed", kinds=(("float", "int"), TRUTH))

    layer: Layer


class Traced(Recurrent):
    """A recurrent layer that shows gates and states: `shown`, side by side in each row of its second output."""

    needs = Needs((1, 2), "shown", outputs=(0, 1), kinds=(("float", "int"), TRUTH))

    shown: Codes = ()


class Dense(Instruction):
    """act(x w' + bias).

    Attributes
    ----------
    input_scale, input_zero
        Of int8_affine: the scale and zero point of all rows of x; with a scale of 0 each has its own.
    """

    w: Matrix
    bias: Bias | None
    act: Act
    softmax: bool
    precision: Precision
    input_scale: Scale = 0.0
    input_zero: Byte = 0


class Embedding(Instruction):
    """The rows of a table with these ids."""

    needs = Needs(kinds=(("int",),))

    w: Lookup
    precision: Precision


class LayerNorm(Instruction):
    """(x - mean) / sqrt(variance + eps) * scale + shift."""

    scale: Array
    shift: Array
    eps: Finite


class Affine(Instruction):
    """x scale + shift."""

    scale: Array
    shift: Array


class Activate(Instruction):
    """act(x + shift), or a softmax."""

    act: Act
    softmax: bool = False
    shift: Array | None = None


class Mask(Instruction):
    """True for steps with another number than `value` among the `size` of their frame."""

    needs = Needs(time="timed", kinds=(("float", "int"),), made="bool")

    value: float


class ApplyMask(Instruction):
    """Zeros where the mask, its second input, says that a step does not count."""

    needs = Needs((2, 2), "timed", kinds=(("float",), TRUTH))


class Reverse(Instruction):
    """The steps that count, from the last to the first."""

    needs = Needs((1, 2), "turned")


class Concat(Instruction):
    """Rows side by side."""

    needs = Needs(MANY)


class Add(Instruction):
    """The sum of the inputs."""

    body = "merge"
    needs = Needs(MANY, check="same_size")


class Multiply(Instruction):
    """The product of the inputs."""

    body = "merge"
    needs = Needs(MANY, check="same_size")


class Average(Instruction):
    """The sum of the inputs, scaled by `act`."""

    body = "merge"
    needs = Needs(MANY, check="same_size")

    act: Act


# Loop nests over frames ----------------------------------------------------------------------------


class Nest(Instruction):
    """Loops over frames, the outermost first.

    Attributes
    ----------
    dims : tuple of int
    outer : int
        The first loops run over the output; the others are folded into each of its elements.
    operands, strides
        The output's first, then those read; a stride for each loop.
    over_time, some_steps : bool
        Whether all steps are folded, too, and whether there must be one.
    """

    body = "frame"
    needs = SPREAD

    dims: Dims
    outer: Outer
    strides: Strides
    operands: Operands
    over_time: bool = False
    some_steps: bool = False


class Map(Nest):
    """An elementwise program; a copy where it is empty."""

    program: Functions


class Reduce(Nest):
    """A fold of `FOLDS`."""

    needs = Needs(READS, "folded", whole=False)

    function: Index


class Contract(Nest):
    """act(third operand + sum of the products of the first two read)."""

    act: Act


class ArgReduce(Nest):
    """The place of the largest element, or of the smallest; of the last of equals or the first."""

    smallest: bool
    last: bool


class Gather(Nest):
    """Elements `stride` apart, of which there are `count`, by ids."""

    count: Count
    stride: int


class Store(Map):
    """A map into a state, behind all that reads the old one."""

    body = "store"
    needs = Needs(READS, "stored", check="map", whole=False)


# Rows of frames ------------------------------------------------------------------------------------


class FrameRows(Instruction):
    """Rows of a frame: two loops of the lengths `dims` over those read and those written."""

    body = "rows"
    needs = ROWS

    dims: Pair
    read: Rows
    write: Rows


class FrameProduct(FrameRows):
    """`Dense` over rows that may lie anywhere."""

    w: Matrix
    bias: Bias | None
    act: Act
    precision: Precision
    input_scale: Scale = 0.0
    input_zero: Byte = 0


class FrameSoftmax(FrameRows):
    """exp(x - max) / sum."""


class FrameNorm(FrameRows):
    """`LayerNorm` over rows of a frame."""

    scale: Array
    shift: Array
    eps: Finite


class TopK(FrameRows):
    """The `count` largest, or smallest, of rows of `size`, in order; where they lie is the second output."""

    body = "top_k"
    needs = Needs(time="spread", outputs=(1, 1))

    count: Count
    smallest: bool


class Scan(Instruction):
    """A recurrent layer along an axis of the frame, of `steps` by `rows`.

    `operands` are the initial h and c and the lengths; the further outputs the final h and c.
    """

    needs = Needs((1, 4), "spread", outputs=(1, 2))

    layer: Inner
    steps: Count
    rows: Count
    read: Rows
    operands: Operands


# Steps ---------------------------------------------------------------------------------------------


class Line(Instruction):
    """Steps in a line of memory that is kept from call to call.

    Attributes
    ----------
    window : int
        The number of the line.
    reach, stride : int
        Steps of a window, and from one to the next.
    before, after : int
        Steps of `fill` around the sequence; a negative `before` leaves out its first ones.
    kept : int
        The most steps that stay from call to call.
    """

    needs = Needs(time="lined")

    window: Place
    reach: Count
    stride: int
    before: int
    after: Count
    kept: Count
    fill: float = 0.0


class Window(Line):
    """Windows that slide over the steps; of a whole sequence's slice where `bounds` are given."""

    bounds: Bounds = None


class OverlapAdd(Line):
    """Frames added into a line, `lead` steps on; `rest` steps are given only at the end of a stream."""

    lead: Count
    rest: Count


class Mirror(Line):
    """Steps as they come, behind those that the first become, before those that the last become."""


class Wait(Line):
    """Steps kept until the output's clock counts them.

    `meeting` are the lines of all that wait for each other, and the clocks of what they hold.
    """

    needs = Needs(MANY, "lined", kinds=(("float",), ANY))

    meeting: Pairs = ()


class Convert(Instruction):
    """Another kind of number."""

    needs = Needs(time="spread", kinds=(ANY,), made="")


class TimeStep(Instruction):
    """One step of the sequence: the `count`th, or, where `last`, the first of the last `kept`.

    `fewest` steps there must be.
    """

    needs = Needs((2, 3), "ended")

    kept: Count
    last: bool
    count: Count
    fewest: Count


class Attend(Instruction):
    """Of every step the mean of all steps' values, by a softmax of the products of its queries with their keys.

    The inputs are queries, keys and values of `heads`, of `width` numbers each but for the values, and perhaps a number
    of each step, or one for each head, that is added to its products. They are scaled then; with `causal` none behind a
    step is seen. The further outputs are room for the scores of some steps, and for the keys of a head.
    """

    needs = Needs((3, 4), "timed", outputs=(2, 2))

    heads: int
    width: int
    scale: float
    causal: bool


# In the order of their codes, which the engine compares: recurrent layers, nests, rows of frames and lines lie side by
# side each.
INSTRUCTIONS: tuple[type[Instruction], ...] = (
    Recurrent, Traced, Dense, Embedding, LayerNorm, Affine, Activate, Mask, ApplyMask, Reverse, Concat, Add, Multiply,
    Average, Map, Reduce, Contract, ArgReduce, Gather, Store, FrameProduct, FrameSoftmax, FrameNorm, TopK, Scan,
    Window, OverlapAdd, Mirror, Wait, Convert, TimeStep, Attend,
)  # fmt: skip

for _code, _kind in enumerate(INSTRUCTIONS):
    _kind.code, _kind.mnemonic = _code, snake(_kind.__name__)

OVER_FRAMES = INSTRUCTIONS[Map.code :]
