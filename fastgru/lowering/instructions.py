"""The engine's instruction set: every instruction declared once, with its fields.

What else knows them follows from here: `setup.py` writes their codes, and those of the tables below, into
``include/fastgru/codes.h`` and ``fastgru/engine/codes.pxd``; `engine.Plan` reads the fields, and `listing` shows them.
A build runs this file alone, so nothing of the package is imported here.

A new instruction is a dataclass here, in `INSTRUCTIONS` too, what `Plan.load` reads of it, and a row of `fg_ops`.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from numpy.typing import NDArray

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:  # Python 3.10 runs the package; type checkers use a later one

    def dataclass_transform(**_: Any) -> Any:
        return lambda cls: cls


Array = NDArray[Any]
Act = tuple[int, float, float]  # the code of an activation, and its parameters

ABSENT = -2  # the buffer of an operand that is not given
UNBOUNDED = 2**31  # above every id

# What an elementwise program computes; below lie the codes of activations.
FUNCTIONS = {
    name: 32 + i
    for i, name in enumerate(
        ("add", "sub", "mul", "div", "pow", "min", "max", "mod", "fmod", "equal", "less", "less_equal", "greater",
         "greater_equal", "and", "or", "xor", "where", "neg", "abs", "sqrt", "exp", "log", "reciprocal", "floor",
         "ceil", "round", "trunc", "sign", "sin", "cos", "erf", "not", "isnan", "atan", "atan2")
    )
}  # fmt: skip
FOLDS = {name: i for i, name in enumerate(("sum", "max", "min", "prod", "sum_square", "sum_abs"))}
PHASES = {
    name: i
    for i, name in enumerate(
        ("rnn", "gru_after", "gru_after_out", "gru_gates", "gru_gates_out", "gru_candidate", "lstm", "lstm_coupled",
         "project")
    )
}  # fmt: skip


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
    """

    size: int
    time: int
    kind: str = "float"
    base: int = 0
    state: bool = False
    initial: Array | None = None
    apart: bool = False
    line: bool = False
    stays: bool = False
    bound: int = UNBOUNDED
    slot: int = -1
    shape: tuple[int, ...] = ()
    name: str = ""
    dtype: str = ""


class Operand(NamedTuple):
    """The place of a frame in a buffer, or in numbers of the plan."""

    buffer: int
    offset: int = 0
    constant: Array | None = None


class Rows(NamedTuple):
    """Rows in a frame: where the first begins, and the strides of two loops over them."""

    offset: int
    outer: int
    inner: int


class Micro(NamedTuple):
    """One function of an elementwise program, over registers: operands first, then results."""

    function: int
    a: int
    b: int
    c: int
    alpha: float
    beta: float


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True)
class Declared:
    """A frozen dataclass whose fields are given by name.

    One ``__init__`` serves all, as for `fastgru.graph.Op`: that `dataclass` compiles methods for each of thirty classes
    took 28 ms of every import.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    _names: ClassVar[frozenset[str]] = frozenset()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
        own = dataclasses.fields(cls)
        cls._names = frozenset(field.name for field in own)
        cls._defaults = {field.name: field.default for field in own if field.default is not dataclasses.MISSING}

    def __init__(self, **given: Any) -> None:
        held = {**self._defaults, **given}
        if held.keys() != self._names:
            wrong = ", ".join(sorted(held.keys() ^ self._names))
            raise TypeError(
                f"{type(self).__name__}: fields must be those declared, got some missing or unknown: {wrong}"
            )
        self.__dict__.update(held)

    def __setattr__(self, name: str, value: Any) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


class Phase(Declared):
    """A recurrent product and the gates behind it. Weights are (G, units, K), biases (G, units).

    Attributes
    ----------
    tier : int
        Of enum fg_tier: which activations are compiled into the cell.
    x, bias_x
        The input's part; none in what follows from the phase before.
    table : array or None
        (V, G, units): the input's part of each id, in the place of `x`.
    """

    kind: int
    tier: int
    keep_candidate: bool
    act: tuple[Act, ...]
    clip: float
    u: Array
    x: Array | None
    table: Array | None
    bias_x: Array | None
    bias_h: Array | None
    peephole: Array | None


class Layer(Declared):
    """A recurrence, over time or along an axis of a frame."""

    reverse: bool
    last: bool
    carry: bool
    gated_output: bool
    precision: str
    units: int
    features: int
    initial_h: Array | None
    initial_c: Array | None
    phases: tuple[Phase, ...]


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
    """

    code: ClassVar[int]
    mnemonic: ClassVar[str]

    inputs: tuple[int, ...]
    output: int
    outputs: tuple[int, ...] = ()
    held: tuple[int, ...] = ()
    size: int = 0
    node: str = ""
    clock: int = 1

    @property
    def written(self) -> tuple[int, ...]:
        """The buffers it writes, in whole or in part."""
        return (self.output, *self.outputs)


# Over whole rows -----------------------------------------------------------------------------------


class Recurrent(Instruction):
    """A recurrent layer over time; its second input is a mask."""

    layer: Layer


class Dense(Instruction):
    """act(x w' + bias).

    Attributes
    ----------
    input_scale, input_zero
        Of int8_affine: the scale and zero point of all rows of x; with a scale of 0 each has its own.
    """

    w: Array
    bias: Array | None
    act: Act
    softmax: bool
    precision: str
    input_scale: float = 0.0
    input_zero: int = 0


class Embedding(Instruction):
    """The rows of a table with these ids."""

    w: Array
    precision: str


class LayerNorm(Instruction):
    """(x - mean) / sqrt(variance + eps) * scale + shift."""

    scale: Array
    shift: Array
    eps: float


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

    value: float


class ApplyMask(Instruction):
    """Zeros where the mask, its second input, says that a step does not count."""


class Reverse(Instruction):
    """The steps that count, from the last to the first."""


class Concat(Instruction):
    """Rows side by side."""


class Add(Instruction):
    """The sum of the inputs."""


class Multiply(Instruction):
    """The product of the inputs."""


class Average(Instruction):
    """The sum of the inputs, scaled by `act`."""

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

    dims: tuple[int, ...]
    outer: int
    strides: tuple[tuple[int, ...], ...]
    operands: tuple[Operand, ...]
    over_time: bool = False
    some_steps: bool = False


class Map(Nest):
    """An elementwise program; a copy where it is empty."""

    program: tuple[Micro, ...]


class Reduce(Nest):
    """A fold of `FOLDS`."""

    function: int


class Contract(Nest):
    """act(third operand + sum of the products of the first two read)."""

    act: Act


class ArgReduce(Nest):
    """The place of the largest element, or of the smallest; of the last of equals or the first."""

    smallest: bool
    last: bool


class Gather(Nest):
    """Elements `stride` apart, of which there are `count`, by ids."""

    count: int
    stride: int


class Store(Map):
    """A map into a state, behind all that reads the old one."""


# Rows of frames ------------------------------------------------------------------------------------


class FrameRows(Instruction):
    """Rows of a frame: two loops of the lengths `dims` over those read and those written."""

    dims: tuple[int, int]
    read: Rows
    write: Rows


class FrameProduct(FrameRows):
    """`Dense` over rows that may lie anywhere."""

    w: Array
    bias: Array | None
    act: Act
    precision: str
    input_scale: float = 0.0
    input_zero: int = 0


class FrameSoftmax(FrameRows):
    """exp(x - max) / sum."""


class FrameNorm(FrameRows):
    """`LayerNorm` over rows of a frame."""

    scale: Array
    shift: Array
    eps: float


class TopK(FrameRows):
    """The `count` largest, or smallest, of rows of `size`, in order; where they lie is the second output."""

    count: int
    smallest: bool


class Scan(Instruction):
    """A recurrent layer along an axis of the frame, of `steps` by `rows`.

    `operands` are the initial h and c and the lengths; the further outputs the final h and c.
    """

    layer: Layer
    steps: int
    rows: int
    read: Rows
    operands: tuple[Operand, ...]


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

    window: int
    reach: int
    stride: int
    before: int
    after: int
    kept: int
    fill: float = 0.0


class Window(Line):
    """Windows that slide over the steps; of a whole sequence's slice where `bounds` are given."""

    bounds: tuple[int, int | None] | None = None


class OverlapAdd(Line):
    """Frames added into a line, `lead` steps on; `rest` steps are given only at the end of a stream."""

    lead: int
    rest: int


class Mirror(Line):
    """Steps as they come, behind those that the first become, before those that the last become."""


class Wait(Line):
    """Steps kept until the output's clock counts them; `meeting` are the lines of all that wait for each other, and
    the clocks of what they hold."""

    meeting: tuple[tuple[int, int], ...] = ()


class Convert(Instruction):
    """Another kind of number."""


class TimeStep(Instruction):
    """One step of the sequence: the `count`th, or, where `last`, the first of the last `kept`.

    `fewest` steps there must be.
    """

    kept: int
    last: bool
    count: int
    fewest: int


# In the order of their codes, which the engine compares: nests, then rows of frames, then lines lie side by side.
INSTRUCTIONS: tuple[type[Instruction], ...] = (
    Recurrent, Dense, Embedding, LayerNorm, Affine, Activate, Mask, ApplyMask, Reverse, Concat, Add, Multiply, Average,
    Map, Reduce, Contract, ArgReduce, Gather, Store, FrameProduct, FrameSoftmax, FrameNorm, TopK, Scan,
    Window, OverlapAdd, Mirror, Wait, Convert, TimeStep,
)  # fmt: skip


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


for _code, _kind in enumerate(INSTRUCTIONS):
    _kind.code, _kind.mnemonic = _code, _snake(_kind.__name__)

OVER_FRAMES = INSTRUCTIONS[Map.code :]


def codes() -> dict[str, dict[str, int]]:
    """The codes that C and Python share: of each enum, the names in lower case."""
    return {
        "fg_op": {kind.mnemonic: kind.code for kind in INSTRUCTIONS},
        "fg_phase_kind": {**PHASES, "phases": len(PHASES)},
        "fg_function": {**FUNCTIONS, "functions": max(FUNCTIONS.values()) + 1},
        "fg_fold": FOLDS,
    }
