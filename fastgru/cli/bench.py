"""``fastgru bench``: how long one step of a model takes on this machine."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from .._names import counted
from ..checks.selftest import make_input
from ..errors import DataError
from . import _models, _progress, _show
from ._collection import no_collection
from ._options import whole

if TYPE_CHECKING:
    from .. import Model

Inputs = dict[str, NDArray[Any]]  # by name, (B, T, *frame), or (B, *frame) without a time axis
SEQUENCE = 16  # steps of the whole sequences that a model which cannot stream is timed on
LONG = 100  # steps of the sequences that two models are compared on
ROUNDS, STEPS_A_ROUND, SEQUENCES_A_ROUND = 20, 50, 3  # of `compare`
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}
BINS, BAR = 16, 40
TAIL = 99.9  # percentile up to which calls are drawn in bins
AT_ONCE, AFTER_DRAWING = 1000, 20  # calls between looks whether to draw progress, and those not timed after it
MOST_CALLS, MOST_ROWS = 10_000_000, 1 << 24


class Timing(NamedTuple):
    """Times of single calls: `ns` (calls,) int64, rows per call, steps per call, and an empty timing's median."""

    ns: Any
    batch: int
    steps: int
    empty_ns: int

    def percentiles(self) -> dict[str, float]:
        """Microseconds by nearest rank: a time that was measured, never one between two."""
        return {name: float(_percentile(self.ns, p)) / 1e3 for name, p in PERCENTILES.items()}

    def throughput(self) -> float:
        """Steps of single rows a second where every call takes the median: pauses of the machine do not count."""
        return self.batch * self.steps / (self.percentiles()["p50"] / 1e6)


def bench(
    model: Annotated[Path, typer.Argument(help="A .fgru file.")],
    batch: Annotated[
        int, typer.Option(parser=whole("--batch", 1, MOST_ROWS), metavar="N", help="Number of rows of a step.")
    ] = 1,
    steps: Annotated[
        int, typer.Option(parser=whole("--steps", 1, MOST_CALLS), metavar="N", help="Number of calls to time.")
    ] = 5000,
    warmup: Annotated[
        int, typer.Option(parser=whole("--warmup", 0, MOST_CALLS), metavar="N", help="Number of calls before them.")
    ] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    profiled: Annotated[
        int | None,
        typer.Option(
            "--profile",
            min=1,
            max=MOST_ROWS,
            help="Show where the time of a sequence of so many steps goes (1 without time).",
        ),
    ] = None,
) -> None:
    """Time single steps with the state carried on, one call at a time; whole calls of a model without time."""
    loaded = _models.whole(model, "bench")
    if profiled is not None:
        _profile(loaded, profiled, batch, as_json)
        return
    timing = measure(loaded, batch=batch, calls=steps, warmup=warmup)
    timed = has_time(loaded)
    what = "call" if not timed else "step" if timing.steps == 1 else f"sequence of {timing.steps} steps"
    if as_json:
        facts = {"model": str(model), "isa": loaded.isa, "dtype": loaded.dtype, "call": what, "batch": batch}
        facts |= {"calls": steps, "warmup": warmup, "us": timing.percentiles()}
        facts |= {"steps_per_second" if timed else "rows_per_second": timing.throughput()}
        facts |= {"timer_us": timing.empty_ns / 1e3}
        print(json.dumps(facts, indent=2))
        return
    console = _show.stdout()
    setting = f"{loaded.dtype} on {loaded.isa}, {steps:,} calls"
    console.say(f"{model}: one {what} of {counted(batch, 'row')}, {setting}")
    console.say("  ".join(f"{name} {us:.2f} us" for name, us in timing.percentiles().items()))
    rate, timer = timing.throughput(), timing.empty_ns / 1e3
    console.say(
        f"{rate:,.0f} {'steps' if timed else 'rows'}/s at the median (one timer read, {timer:.2f} us, is included)"
    )
    for row in histogram(timing.ns, _show.block()):
        console.print(row)


def _profile(model: Model, steps: int, batch: int, as_json: bool) -> None:
    """Show the instructions of a sequence with their times."""
    from ..report.profile import profile

    specs = model.graph.inputs
    if steps > 1 and not has_time(model):
        raise DataError(f"--profile must be 1 for a model without a time axis, got {steps}")
    x = {name: np.repeat(a[:1], batch, axis=0) for name, a in _inputs(model).items()}
    x = {name: np.resize(a, (batch, steps, *a.shape[2:])) if specs[name].time else a for name, a in x.items()}
    with _progress.Shown("measuring"):
        found = profile(model, x if len(x) > 1 else next(iter(x.values())))
    if as_json:
        rows = [row._asdict() for row in found.rows]
        print(json.dumps({"us": found.us, "best_gflops": found.best, "instructions": rows}, indent=2))
        return
    console = _show.stdout()
    console.print(_show.profiled(found))
    what = f"{counted(batch, 'row')} of {counted(steps, 'step')}" if has_time(model) else counted(batch, "row")
    console.say(f"{what} on {model.isa}: {found.us:.1f} us, one thread")
    console.say(f"best: {found.best:.1f} GFLOP/s, of a product of 256 rows, inputs and outputs in float32")


def measure(model: Model, *, batch: int, calls: int, warmup: int) -> Timing:
    """Time `calls` calls after `warmup` ones, with the garbage collector off and outputs allocated before."""
    one, steps = _call(model, {name: np.repeat(x[:1], batch, axis=0) for name, x in _inputs(model).items()})
    ns = np.zeros(calls, dtype=np.int64)
    with _progress.Shown("timing", warmup + calls, thread=False) as shown:
        for part in _parts(warmup):
            for _ in range(part):
                one()
            shown.advance(part)
        with no_collection():
            first = 0
            for part in _parts(calls):
                _time(one, ns[first : first + part])
                first += part
                if shown.advance(part):  # what was drawn took the caches: the next calls would be slower
                    for _ in range(AFTER_DRAWING):
                        one()
    with no_collection():
        empty = sorted(-(perf_counter_ns() - perf_counter_ns()) for _ in range(1001))[500]
    return Timing(ns, batch, steps, empty)


def _parts(calls: int) -> Iterator[int]:
    """The numbers of calls between looks at the clock of what is shown."""
    return (min(AT_ONCE, calls - first) for first in range(0, calls, AT_ONCE))


def has_time(model: Model) -> bool:
    """Return whether a call runs steps: some input has a time axis."""
    return any(spec.time for spec in model.graph.inputs.values())


def _inputs(model: Model) -> Inputs:
    """The seeded inputs, as the engine reads them."""
    specs, x = model.graph.inputs, make_input(model.graph)
    named = x if isinstance(x, dict) else dict.fromkeys(specs, x)
    return {name: a if a.dtype.kind == "i" else a.astype(model.dtype) for name, a in named.items()}


def _given(model: Model, x: Inputs, part: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """The argument to call a model with: `part` of the inputs that have a time axis, the others whole."""
    specs = model.graph.inputs
    arrays = tuple(np.ascontiguousarray(part(x[name]) if spec.time else x[name]) for name, spec in specs.items())
    return arrays[0] if len(arrays) == 1 else arrays


def compare(models: Sequence[Model]) -> dict[str, list[float]]:
    """Median microseconds of each model for one step (where it streams) and one sequence of `LONG` steps, or a call.

    Models take turns, a short round each, so that what else the machine does meets all of them.
    """
    specs, x = models[0].graph.inputs, {name: x[:1] for name, x in _inputs(models[0]).items()}
    x = {name: np.resize(a, (1, LONG, *a.shape[2:])) if specs[name].time else a for name, a in x.items()}
    what = f"sequence of {LONG} steps" if has_time(models[0]) else "call"
    timed = {what: ([_sequence(model, x, LONG) for model in models], SEQUENCES_A_ROUND)}
    if has_time(models[0]) and not models[0].graph.not_streamable():
        timed = {"step": ([_call(model, x)[0] for model in models], STEPS_A_ROUND), **timed}
    return {what: _interleaved(calls, each) for what, (calls, each) in timed.items()}


def _interleaved(calls: list[Callable[[], Any]], each: int) -> list[float]:
    """Median microseconds of each call over `ROUNDS` rounds of `each`, after one round that does not count."""
    ns = np.zeros((len(calls), ROUNDS + 1, each), dtype=np.int64)
    with no_collection():
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


def _call(model: Model, x: Inputs) -> tuple[Callable[[], Any], int]:
    """The call to time, and how many steps it runs."""
    if not has_time(model):
        return _sequence(model, x, 1), 1
    if model.graph.not_streamable():
        return _sequence(model, x, SEQUENCE), SEQUENCE
    batch = len(next(iter(x.values())))
    step, frame = model.stream(batch=batch).step, _given(model, x, lambda a: a[:, 0])
    out = _like(step(frame))
    return lambda: step(frame, out), 1


def _sequence(model: Model, x: Inputs, steps: int) -> Callable[[], Any]:
    """A run over so many steps."""
    whole = _given(model, x, lambda a: a[:, :steps])
    out = _like(model(whole))
    return lambda: model(whole, out=out)


def _like(y: Any) -> Any:
    """Arrays for outputs such as these."""
    return tuple(map(np.empty_like, y)) if isinstance(y, tuple) else np.empty_like(y)


def _percentile(ns: Any, p: float) -> Any:
    """Return the percentile of `ns` (calls,) by nearest rank."""
    return np.sort(ns)[max(1, math.ceil(round(p * len(ns), 6) / 100)) - 1]


def histogram(ns: Any, block: str = "█") -> list[str]:
    """Lines of a histogram over the logarithm of the time up to the `TAIL` percentile; bins without calls are left out.

    The last line counts the slower calls.
    """
    us = np.maximum(ns, 1) / 1e3
    high = float(_percentile(us, TAIL))
    edges = np.geomspace(us.min() * 0.999, high * 1.001, BINS + 1)
    counts = [*np.histogram(us, edges)[0], int((us > edges[-1]).sum())]
    names = [f"{edge:.2f} us" for edge in edges[:-1]] + [f"{edges[-1]:.2f} us or more"]
    rows = [(name, n) for name, n in zip(names, counts, strict=True) if n]
    wide = max(len(name) for name, _ in rows)
    return [f"{name:>{wide}} |{block * max(1, round(BAR * n / max(counts)))} {n:,}" for name, n in rows]
