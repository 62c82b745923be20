"""Lowered plans with fields changed at random, and a run of whatever `check` accepts of them.

As a program, outside of the suite: ``FASTGRU_GUARD=1 python -m tests.plan_mutants --mutants 100000 --seed 1``; with
tests/sanitize.sh, which alone sees reads out of bounds: ``bash tests/sanitize.sh address --run -m tests.plan_mutants``.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

# As a program: for the graphs of the tests.
sys.path.extend(str(Path(__file__).resolve().parent / room) for room in (".", "support", "engine", "lowering"))

import random_graphs
from cells import CELLS, make_cell
from frame_cases import F, w
from fuzz import seed_graphs, stream_graphs
from hypothesis import HealthCheck, Phase, given, settings
from tensor_graphs import every_frame_op
from test_clocks import hourglass
from test_instructions import graphs as instruction_graphs

from fastgru import graph as g
from fastgru.engine import Plan, blas, make_stream
from fastgru.errors import FastGruError, GraphError
from fastgru.graph import Graph, GraphBuilder
from fastgru.isa import select_isa
from fastgru.lowering.encoding import Program, decode, encode
from fastgru.lowering.instructions import INSTRUCTIONS, Instruction
from fastgru.lowering.lower import Lowered, lower
from fastgru.lowering.traced import lower_traced, parts
from fastgru.memory import get_memory_limit, set_memory_limit
from fastgru.passes import fused

FIELDS = ("values", "instructions", "inputs", "outputs", "states", "loops", "clocks", "bases")
MEMORY = "64M"
REFUSED = (ValueError, TypeError, RuntimeError, MemoryError, OverflowError, FastGruError)  # plain errors of a call
INTS = (0, 1, -1, 2, 3, 1 << 31, 1 << 39, 1 << 41, -(1 << 39))
WORDS = np.array([0, 1, -1, 2, 2**31 - 1, 2**31, -(2**31) - 1, 2**40 - 1, 2**40, 2**62, 2**63 - 1, -(2**63)], np.int64)
MOST_NUMBERS = 1 << 22  # in the arrays of a mutant that runs
TEXTS = ("", "float", "int", "bool", "int8", "int8_affine", "bfloat16", "h", "c", "y", "held", "history", "sums")


def timed() -> list[Graph]:
    """Graphs with several clocks, whose values wait for one of them or for each other."""
    found = [
        hourglass(g.TimeConv(w(4, 3, taps), stride=4, before=before, after=4), size, skip)
        for taps, before, size, skip in ((8, 0, 8, 0), (4, 3, 4, 0), (3, 1, 4, 1))
    ]
    for before in (2, 3):
        b = GraphBuilder()
        x = b.add(g.GRU(w(9, 3), w(9, 3)), b.add(g.TimePad(before, 0), b.input("x", F(3))))
        seen = b.add(g.TimeConv(w(3, 3, 3), before=1, after=1), x)
        found.append(b.build(b.add(g.Add(), seen, x)))
    for hop in (2, 3):
        b = GraphBuilder()
        x, z = b.input("x", F(2)), b.input("z", F(2))
        cut = b.add(g.TimeConv(w(2, 2, 5)), b.add(g.TimePad(2, 2, outside="reflect"), x))
        pooled = b.add(g.TimePool("max", 3, stride=1, before=1, after=1), z)
        found.append(b.build(b.add(g.Add(), cut, pooled)))
        b = GraphBuilder()
        x = b.input("x", F(2))
        frames = b.add(g.Framing(2 * hop, hop, before=hop, after=hop), x)
        found.append(b.build(b.add(g.OverlapAdd(2 * hop, hop, skip=1), frames)))
    return found


def random(count: int) -> list[Graph]:
    """Graphs of random ops."""
    found: list[Graph] = []

    @settings(
        max_examples=count, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(random_graphs.graphs())
    def collect(graph: Graph) -> None:
        found.append(graph)

    collect()
    return found


def lowered(randoms: int = 100) -> list[Lowered]:
    """Plans of many graphs."""
    graphs = [*instruction_graphs(), *(graph for graph, _ in stream_graphs.streaming()), *timed(), *random(randoms)]
    graphs += [every_frame_op(), *(graph for graph, _ in seed_graphs.graphs())]
    return [*(lower(fused(graph)) for graph in graphs), *traced()]


def traced() -> list[Lowered]:
    """Plans that show every gate and state of each cell."""
    found = []
    for name in CELLS:
        graph = g.chain([make_cell(name, 3, 4)])
        shown = {node.name: tuple(parts(node.op)) for node in graph.nodes if isinstance(node.op, g.Recurrent)}
        found.append(lower_traced(fused(graph), [], shown).lowered)
    return found


def checked(plan: Any) -> None:
    """Raise unless the engine accepts a plan as if it came from a file."""
    accepted(encode(plan))


def accepted(program: Program) -> None:
    """Raise unless the engine accepts words as if they came from a file."""
    Plan(program, isa="", dtype="float32", lanes=16, measure=True, check=True)


# Mutation ---------------------------------------------------------------------------------------


def other_int(rng: Any, n: int, values: int) -> int:
    """Another integer, often near by or the number of a value."""
    near = [n + 1, n - 1, 2 * n, -n, n + 2, n // 2, int(rng.integers(max(1, values)))]
    return int(near[rng.integers(len(near))] if rng.random() < 0.8 else INTS[rng.integers(len(INTS))])


def other_array(rng: Any, x: np.ndarray) -> Any:
    """An array of another shape."""
    which = rng.integers(5)
    if which == 0:
        return None
    if which == 1:
        return x[: max(1, len(x) - 1)] if x.ndim else x
    if which == 2:
        return np.concatenate([x, x]) if x.ndim else x
    if which == 3:
        return x.T
    return x.reshape(-1)


def other(rng: Any, x: Any, values: int) -> Any:
    """Something else in the place of a field."""
    if rng.random() < 0.01:
        return (None, 1.5, "x", True, (), np.nan, np.ones(3))[rng.integers(7)]
    if isinstance(x, bool):
        return not x
    if isinstance(x, int):
        return other_int(rng, x, values)
    if isinstance(x, float):
        return (0.0, np.nan, np.inf, -1.0, 1e30)[rng.integers(5)]
    if isinstance(x, str):
        return TEXTS[rng.integers(len(TEXTS))]
    if isinstance(x, np.ndarray):
        return other_array(rng, x)
    if dataclasses.is_dataclass(x):
        return changed(rng, x, values)
    if isinstance(x, tuple):
        return other_tuple(rng, x, values)
    return (None, 0, 1, np.ones(4, np.float32))[rng.integers(4)]


def other_tuple(rng: Any, x: tuple[Any, ...], values: int) -> tuple[Any, ...]:
    """A tuple with one item changed, left out, repeated or in another place."""
    items = list(x)
    named = hasattr(x, "_fields")
    which = 0 if named or rng.random() < 0.75 else rng.integers(1, 4)
    if not items:
        items = [int(rng.integers(max(1, values)))]
    elif which == 0:
        i = rng.integers(len(items))
        items[i] = other(rng, items[i], values)
    elif which == 1:
        items.pop(rng.integers(len(items)))
    elif which == 2:
        items.append(items[rng.integers(len(items))])
    else:
        i, j = rng.integers(len(items), size=2)
        items[i], items[j] = items[j], items[i]
    return type(x)(*items) if named else tuple(items)


def changed(rng: Any, record: Any, values: int) -> Any:
    """A record with one field changed; an instruction, at times, as one of another kind."""
    names = [field.name for field in dataclasses.fields(record)]
    if isinstance(record, Instruction) and rng.random() < 0.05:
        kind = INSTRUCTIONS[rng.integers(len(INSTRUCTIONS))]
        held = {name: record.__dict__[name] for name in names if name in kind._names}
        missing = kind._names - held.keys() - kind._defaults.keys()
        return record if missing else kind(**held)
    name = names[rng.integers(len(names))]
    return dataclasses.replace(record, **{name: other(rng, getattr(record, name), values)})


def mutant(rng: Any, plan: Lowered) -> SimpleNamespace:
    """A copy of a plan with one to three changes."""
    made = SimpleNamespace(
        **{name: getattr(plan, name) for name in FIELDS}, blockers=plan.blockers, macs=plan.macs, latency=0
    )
    for name in ("values", "instructions", "inputs", "outputs", "states"):
        setattr(made, name, list(getattr(made, name)))
    for _ in range(rng.integers(1, 4)):
        which, n = rng.random(), len(made.values)
        if which < 0.62:
            i = rng.integers(len(made.instructions))
            made.instructions[i] = changed(rng, made.instructions[i], n)
        elif which < 0.78:
            i = rng.integers(n)
            made.values[i] = changed(rng, made.values[i], n)
        elif which < 0.88:
            reorder(rng, made.instructions)
        elif which < 0.93 and made.states:
            i = rng.integers(len(made.states))
            made.states[i] = other(rng, made.states[i], n)
        elif which < 0.95:
            made.loops = other(rng, made.loops, len(made.instructions)) if made.loops else ((0, 1, 1),)
        elif which < 0.97:
            name = ("clocks", "bases")[rng.integers(2)]
            setattr(made, name, other_int(rng, getattr(made, name), n))
        else:
            name = ("inputs", "outputs")[rng.integers(2)]
            setattr(made, name, list(other_tuple(rng, tuple(getattr(made, name)), n)))
    if rng.random() < 0.3:
        made.blockers = {}
    return made


def reorder(rng: Any, items: list[Any]) -> None:
    """Drop, repeat or move an item."""
    i, j = rng.integers(len(items), size=2)
    which = rng.integers(3)
    if which == 0 and len(items) > 1:
        items.pop(i)
    elif which == 1:
        items.insert(j, items[i])
    else:
        items.insert(j, items.pop(i))


def other_words(rng: Any, program: Program) -> Program:
    """A program with one to three words changed: neighbours, other words of it, and extremes."""
    words = program.words.copy()
    for _ in range(rng.integers(1, 4)):
        i = int(rng.integers(len(words)))
        near = min(max(int(words[i]) + int(rng.integers(-2, 3)), -(2**63)), 2**63 - 1)
        value = (near, words[rng.integers(len(words))], WORDS[rng.integers(len(WORDS))])
        words[i] = value[rng.integers(3)]
    return program._replace(words=words, arrays=None)


def checked_mutant(rng: Any, made: Any) -> Any:
    """The plan, or one with some of its words changed; GraphError unless the engine accepts it."""
    program = encode(made)
    if rng.random() < 0.6:
        accepted(program)
        return made
    program = other_words(rng, program)
    accepted(program)
    return SimpleNamespace(**decode(program)._asdict())


# Runs -------------------------------------------------------------------------------------------


def numbers(rng: Any, plan: Plan, made: Any, batch: int | None, steps: int) -> tuple[np.ndarray, ...]:
    """Inputs of so many steps, or of one where that is 0."""
    found = []
    for v in made.inputs:
        own = made.values[v]
        shape = (() if batch is None else (batch,)) + ((steps,) if own.time and steps else ()) + own.shape
        if own.kind == "int":
            found.append(rng.integers(0, max(1, min(own.bound, 1 << 40)), shape, dtype=np.int64))
        else:
            x = rng.normal(size=shape) * (3 if rng.random() < 0.9 else 1e30)
            found.append(np.asarray(x).astype(plan.dtype))
    return tuple(found)


def attempt(calls: collections.Counter[str], run: Any, *arguments: Any) -> Any:
    """Call, and count how it ended; errors that a caller may meet are no fault."""
    try:
        result = run(*arguments)
    except REFUSED as error:
        kind = type(error).__name__
        calls["misfit" if "not consistent" in str(error) else kind] += 1
        return None
    calls["ran"] += 1
    return result


def exercise(rng: Any, made: Any, calls: collections.Counter[str], isa: str | None = None) -> None:
    """Run a plan that was accepted: whole, in chunks, on threads, and its states."""
    wide = rng.random() < 0.4  # as if it were a large one, so that threads take part
    dtype, gemm = (("float32", None), ("float32", blas.functions()), ("float64", blas.functions()))[rng.integers(3)]
    if wide:
        made.macs = 10**9
    plan = attempt(
        calls,
        lambda: Plan(encode(made), isa=select_isa(isa), dtype=dtype, gemm=gemm),
    )
    if plan is None:
        return
    batch = (None, 1, 2, 3)[rng.integers(4)]
    block, threads = int((0, 1, 2, 3, 7)[rng.integers(5)]), (None, 1, 2)[rng.integers(3)]
    stream = attempt(calls, lambda: make_stream(plan, batch, block=block, threads=threads))
    if stream is None:
        return
    steps = int(rng.integers(1, 14))
    mask = rng.random((1 if batch is None else batch, steps)) < 0.7 if rng.random() < 0.3 and batch else None
    whole = numbers(rng, plan, made, batch, steps)
    attempt(calls, lambda: stream._run_converted(whole, steps, None, mask))
    attempt(calls, stream.reset)
    use(rng, calls, plan, made, stream, batch)


def use(rng: Any, calls: collections.Counter[str], plan: Plan, made: Any, stream: Any, batch: int | None) -> None:
    """Run chunks and steps, and carry the state over."""
    for _ in range(rng.integers(1, 5)):
        which = rng.integers(6)
        x = numbers(rng, plan, made, batch, 0 if which == 0 else int(rng.integers(1, 9)))
        given = x if len(x) > 1 else x[0]
        attempt(calls, stream.step if which == 0 else stream.process, given)
        if which == 1:
            state = attempt(calls, getattr, stream, "state")
            if state is not None:
                attempt(calls, setattr, stream, "state", state)
                attempt(calls, setattr, stream, "state", {key: array * 2 for key, array in state.items()})
        elif which == 2:
            stream = attempt(calls, stream.copy) or stream
        elif which == 3 and batch:
            attempt(calls, stream.reset, [0])
        elif which == 4:
            attempt(calls, stream.flush)
    attempt(calls, stream.flush)


def run(plans: list[Lowered], count: int, seed: int, *, first: int = 0, say: Any = None) -> collections.Counter[str]:
    """Check mutants and run those accepted; return how many of what there were. A fault raises or ends the process."""
    counts: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    limit = get_memory_limit()
    set_memory_limit(MEMORY)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for number in range(first, first + count):
                rng = np.random.default_rng([seed, number])
                plan = plans[rng.integers(len(plans))]
                made = mutant(rng, plan)
                if say:
                    say(number)
                try:
                    made = checked_mutant(rng, made)
                except GraphError:
                    counts["refused"] += 1
                    continue
                counts["accepted"] += 1
                if sum(array.size for array in encode(made).arrays or ()) < MOST_NUMBERS:
                    exercise(rng, made, calls)
    finally:
        set_memory_limit(limit)
    return counts + calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--log", help="file for the number of each mutant: of a crash, the last one")
    options = parser.parse_args()
    say = None
    if options.log:
        file = open(options.log, "w", buffering=1)  # noqa: SIM115
        say = lambda number: (file.seek(0), file.write(f"{number:9}"))  # noqa: E731
    print(dict(run(lowered(), options.mutants, options.seed, first=options.first, say=say)))


if __name__ == "__main__":
    main()
