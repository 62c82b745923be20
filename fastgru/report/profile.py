"""Where the time of a model goes: its instructions, measured as they run."""

from __future__ import annotations

from math import prod
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import engine
from ..engine import probe
from ..lowering.instructions import Buffer, Contract, Dense, FrameProduct, Instruction, Layer, Recurrent, Scan
from ..model import Model, measured

if TYPE_CHECKING:
    from ..lowering.lower import Lowered

HEADINGS = ("#", "instruction", "node", "us", "share", "GFLOP/s", "of best", "GB/s")
WORDS = 3  # the first columns, to the left
BEST = 256  # rows, inputs and outputs of the product that others are compared with
CALLS = 5  # at least


class Row(NamedTuple):
    """An instruction, in one call.

    Attributes
    ----------
    us : float
        Microseconds: the median of the calls.
    share : float
        Of the time of all instructions, 0 to 1.
    gflops, gigabytes : float
        Floating-point operations of its products, and bytes that it reads and writes, its weights once for each
        time that it runs: 10^9 a second. 0 where it has none.
    of_best : float
        Its products' share of what `Profile.best` says can be had.
    """

    number: int
    instruction: str
    node: str
    us: float
    share: float
    gflops: float
    of_best: float
    gigabytes: float

    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        product = (f"{self.gflops:.1f}", f"{self.of_best:.0%}") if self.gflops else ("", "")
        return (
            str(self.number), self.instruction, self.node, f"{self.us:.2f}", f"{self.share:.1%}", *product,
            f"{self.gigabytes:.1f}",
        )  # fmt: skip


class Profile(NamedTuple):
    """The instructions of a model in the order in which they run.

    Attributes
    ----------
    us : float
        Microseconds of a call, by the clock around it, instructions being measured.
    best : float
        GFLOP/s of a product of 256 rows, inputs and outputs in float32, measured beside it.
    """

    rows: list[Row]
    us: float
    best: float


def profile(model: Model, x: Any, *, seconds: float = 1.0) -> Profile:
    """Measure the instructions of calls of a model on one thread.

    What lies between them (conversion of arguments, Python) is the difference of `Profile.us` and the sum of rows.
    Instructions of a loop that run as one have their time in the first of them.

    Parameters
    ----------
    x : array, tuple or mapping of arrays
        As for a call of the model; of a model that streams, one sequence or a batch of them.
    seconds : float
        How long to repeat the call.

    Examples
    --------
    >>> from fastgru.layers import GRU, Dense
    >>> model = Model([GRU(np.ones((24, 3)), np.ones((24, 8))), Dense(np.ones((2, 8)))])
    >>> [row.instruction for row in profile(model, np.ones((5, 3)), seconds=0.01).rows]
    ['recurrent', 'dense']
    """
    lowered, counted = measured(model.graph, model.dtype)
    model(x)  # leaves the stream that further calls take
    stream = model._idle[-1]
    spent = probe.profile(stream)
    whole: list[float] = []
    each: list[Any] = []
    begun = perf_counter()
    while len(whole) < CALLS or perf_counter() - begun < seconds:
        spent[:] = 0
        start = perf_counter()
        model(x)
        whole.append(perf_counter() - start)
        each.append(spent.copy())
    model._idle.clear()  # which goes on measuring
    ns, calls = np.median(each, axis=0).T
    ns = np.maximum(0, ns - calls * engine.timer_ns())
    best, due, batch = best_gflops(model), probe.steps_due(stream), stream.batch or 1
    rows = []
    for i, (ins, weights) in enumerate(zip(lowered.instructions, counted.packed_bytes, strict=True)):
        times = batch * (due[ins.clock - 1] if runs_over_steps(ins, lowered) else 1)
        flops, moved = times * operations(ins), times * moved_by(ins, lowered.values) + calls[i] * weights
        taken = max(1.0, ns[i])
        rate = flops / taken
        rows.append(
            Row(i, ins.mnemonic, ins.node, ns[i] / 1e3, ns[i] / max(1.0, ns.sum()), rate, rate / best, moved / taken)
        )
    return Profile(rows, float(np.median(whole)) * 1e6, best)


def best_gflops(model: Model) -> float:
    """Return the rate of a large product as the model's own instruction set makes it."""
    from ..graph import Dense as Layer
    from ..graph import chain

    product = Model(chain([Layer(np.ones((BEST, BEST), np.float32))]), isa=model.isa)
    x = np.ones((BEST, BEST), np.float32)
    out = product(x)
    times = []
    for _ in range(20):
        start = perf_counter()
        product(x, out=out)
        times.append(perf_counter() - start)
    return 2e-9 * BEST**3 / min(times)


def runs_over_steps(ins: Instruction, lowered: Lowered) -> bool:
    """True of an instruction that does something for every step."""
    return any(lowered.values[v].time for v in (*ins.inputs, *ins.written) if v >= 0)


def operations(ins: Instruction) -> int:
    """Floating-point operations of the products of an instruction, for one row and step."""
    if isinstance(ins, Recurrent):
        return of_layer(ins.layer)
    if isinstance(ins, Scan):
        return ins.steps * ins.rows * of_layer(ins.layer)
    if isinstance(ins, Dense):
        return 2 * ins.w.size
    if isinstance(ins, FrameProduct):
        return 2 * ins.w.size * prod(ins.dims)
    return 2 * prod(ins.dims) if isinstance(ins, Contract) else 0


def of_layer(layer: Layer) -> int:
    """Floating-point operations of a step of a recurrence."""
    return 2 * sum(phase.u.size + (0 if phase.x is None else phase.x.size) for phase in layer.phases)


def moved_by(ins: Instruction, values: list[Buffer]) -> int:
    """Bytes of the frames that an instruction reads and writes, for one row and step."""
    return sum(4 * max(1, values[v].size) for v in (*ins.inputs, *ins.written) if v >= 0)
