"""``fastgru bench``: how long one step of a model takes on this machine."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from ..selftest import make_input
from . import _show
from ._arrays import DataError

if TYPE_CHECKING:
    from .. import Model

SEQUENCE = 16  # steps of the whole sequences that a model which cannot stream is timed on
LONG = 100  # steps of the sequences that two models are compared on
ROUNDS, STEPS_A_ROUND, SEQUENCES_A_ROUND = 20, 50, 3  # of `compare`
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
BINS, BAR = 16, 40


class Timing(NamedTuple):
    """Times of single calls: `ns` (calls,) int64, rows per call, steps per call, and an empty timing's median."""

    ns: Any
    batch: int
    steps: int
    empty_ns: int

    def percentiles(self) -> dict[str, float]:
        """Microseconds by nearest rank: a time that was measured, never one between two."""
        ordered = np.sort(self.ns)
        ranks = {name: max(1, math.ceil(p / 100 * len(ordered))) for name, p in PERCENTILES.items()}
        return {name: float(ordered[rank - 1]) / 1e3 for name, rank in ranks.items()}

    def throughput(self) -> float:
        """Steps of single rows a second."""
        return len(self.ns) * self.batch * self.steps / (float(self.ns.sum()) / 1e9)


def bench(
    model: Annotated[Path, typer.Argument(help="A .fgru file.")],
    batch: Annotated[int, typer.Option(min=1, help="Rows stepped together.")] = 1,
    steps: Annotated[int, typer.Option(min=1, max=10_000_000, help="Calls that are timed.")] = 5000,
    warmup: Annotated[int, typer.Option(min=0, help="Calls before them that are not.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Time single steps with the state carried on, one call at a time."""
    import fastgru

    loaded = fastgru.load(model)
    timing = measure(loaded, batch=batch, calls=steps, warmup=warmup)
    what = "step" if timing.steps == 1 else f"sequence of {timing.steps} steps"
    if as_json:
        facts = {"model": str(model), "isa": loaded.isa, "dtype": loaded.dtype, "call": what, "batch": batch}
        facts |= {"calls": steps, "warmup": warmup, "us": timing.percentiles()}
        facts |= {"steps_per_second": timing.throughput(), "timer_us": timing.empty_ns / 1e3}
        print(json.dumps(facts, indent=2))
        return
    console = _show.stdout()
    setting = f"{loaded.dtype} on {loaded.isa}, {steps:,} calls"
    console.print(f"{model}: one {what} of {batch} row(s), {setting}", markup=False)
    console.print("  ".join(f"{name} {us:.2f} us" for name, us in timing.percentiles().items()))
    console.print(f"{timing.throughput():,.0f} steps/s (one timer read {timing.empty_ns / 1e3:.2f} us, included above)")
    for row in histogram(timing.ns):
        console.print(row, markup=False)


def measure(model: Model, *, batch: int, calls: int, warmup: int) -> Timing:
    """Time `calls` calls after `warmup` ones, with the garbage collector off and outputs allocated before."""
    frame = _input(model)[0]
    frame = frame if frame.dtype.kind == "i" else frame.astype(model.dtype)
    one, steps = _call(model, np.repeat(frame[None], batch, axis=0))
    ns = np.zeros(calls, dtype=np.int64)
    for _ in range(warmup):
        one()
    with _no_collection():
        _time(one, ns)
        empty = sorted(-(perf_counter_ns() - perf_counter_ns()) for _ in range(1001))[500]
    return Timing(ns, batch, steps, empty)


def _input(model: Model) -> NDArray[Any]:
    """The seeded input of a model that has one."""
    x = make_input(model.graph)
    if isinstance(x, dict):
        raise DataError(f"model to bench must have one input, got {', '.join(x)}")
    return x


def compare(models: Sequence[Model]) -> dict[str, list[float]]:
    """Median microseconds of each model for one step (where it streams) and one sequence of `LONG` steps.

    Models take turns, a short round each, so that what else the machine does meets all of them.
    """
    frame = _input(models[0])[:1]
    x = np.resize(frame, (1, LONG, *frame.shape[2:]))
    timed = {f"sequence of {LONG} steps": ([_sequence(model, x) for model in models], SEQUENCES_A_ROUND)}
    if not models[0].graph.not_streamable():
        timed = {"step": ([_call(model, x)[0] for model in models], STEPS_A_ROUND), **timed}
    return {what: _interleaved(calls, each) for what, (calls, each) in timed.items()}


def _interleaved(calls: list[Callable[[], Any]], each: int) -> list[float]:
    """Median microseconds of each call over `ROUNDS` rounds of `each`, after one round that does not count."""
    ns = np.zeros((len(calls), ROUNDS + 1, each), dtype=np.int64)
    with _no_collection():
        for turn in range(ROUNDS + 1):
            for call, times in zip(calls, ns, strict=True):
                _time(call, times[turn])
    return [float(np.median(times[1:])) / 1e3 for times in ns]


def _time(call: Callable[[], Any], ns: Any) -> None:
    """Call once for every place of `ns` (calls,) int64 and put the nanoseconds there."""
    for i in range(len(ns)):
        start = perf_counter_ns()
        call()
        ns[i] = perf_counter_ns() - start


@contextmanager
def _no_collection() -> Iterator[None]:
    """With the garbage collector off."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _call(model: Model, x: Any) -> tuple[Callable[[], Any], int]:
    """What is timed, and how many steps it runs: x is (B, T, I) or (B, T)."""
    (spec,) = model.graph.inputs.values()
    if not spec.time:
        raise DataError("model to bench must have an input with a time axis, got one without")
    if model.graph.not_streamable():
        return _sequence(model, x[:, :SEQUENCE]), SEQUENCE
    step, frame = model.stream(batch=len(x)).step, np.ascontiguousarray(x[:, 0])
    specs = [model.graph.specs[name] for name in model.graph.outputs]
    out = _outputs(model, [(len(x), *s.shape) for s in specs])
    return lambda: step(frame, out), 1


def _sequence(model: Model, x: Any) -> Callable[[], Any]:
    """A run over the whole of x, (B, T, I) or (B, T)."""
    specs = [model.graph.specs[name] for name in model.graph.outputs]
    whole = np.ascontiguousarray(x)
    out = _outputs(model, [(*x.shape[: 1 + s.time], *s.shape) for s in specs])
    return lambda: model(whole, out=out)


def _outputs(model: Model, shapes: list[tuple[int, ...]]) -> Any:
    arrays = tuple(np.empty(shape, dtype=model.dtype) for shape in shapes)
    return arrays[0] if len(arrays) == 1 else arrays


def histogram(ns: Any) -> list[str]:
    """Lines of a histogram over the logarithm of the time, from the fastest call to the slowest."""
    us = np.maximum(ns, 1) / 1e3
    edges = np.geomspace(us.min() * 0.999, us.max() * 1.001, BINS + 1)
    counts = np.histogram(us, edges)[0]
    bars = [max(1, round(BAR * n / counts.max())) if n else 0 for n in counts]
    return [
        f"{low:10.2f} us |{'█' * bar:<{BAR}} {n:,}".rstrip()
        for low, bar, n in zip(edges[:-1], bars, counts, strict=True)
    ]
