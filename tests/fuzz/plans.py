"""Mutants of compiled plans: their instructions, values and words, with a correct checksum most often, and bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import random
import tempfile
import zlib
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import plan_mutants

import fastgru
from fastgru import CompiledModel, Model
from fastgru.errors import GraphError
from fastgru.files import compiled
from fastgru.lowering.encoding import Program, decode, encode
from fastgru.lowering.instructions import Instruction
from fastgru.lowering.lower import Lowered

from . import values
from .exercise import STEPS, temporary
from .seed_graphs import graphs

MAX_WORK = 1 << 20  # elements of all values of a call
NAMES = ("recurrent", "dense", "map", "float", "int", "bool", "h", "c", "y", "history", "held", "sums")


class Seed(NamedTuple):
    """A plan taken apart: its header as text, its program, and the sections behind."""

    header: str
    program: Program
    body: bytes
    donors: Sequence[Instruction]  # of all seeds


class Draft:
    """A seed that is being changed."""

    def __init__(self, seed: Seed) -> None:
        self.header, self.program, self.donors = json.loads(seed.header), seed.program, seed.donors

    def lower(self, change: Callable[[Any], Any]) -> None:
        """Change the plan that the words tell, where it can be told again."""
        with contextlib.suppress(GraphError):
            plan_mutants.accepted(self.program)  # `decode` trusts words: it read others in circles
            self.program = encode(change(decode(self.program)))._replace(arrays=None)


# Changes -----------------------------------------------------------------------------------------


def anywhere(rng: random.Random, holder: Any) -> None:
    """One value anywhere below a list or an object."""
    while True:
        key = rng.choice(range(len(holder)) if isinstance(holder, list) else list(holder))
        if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.05:
            break
        holder = holder[key]
    holder[key] = values.changed(rng, holder[key], NAMES)


def numpy_of(rng: random.Random) -> np.random.Generator:
    """Choices of plan_mutants, which follow from these."""
    return np.random.default_rng(rng.getrandbits(64))


def plan(rng: random.Random, draft: Draft) -> None:
    """Fields of instructions and values, their order, loops, states, inputs and outputs."""
    draft.lower(lambda made: plan_mutants.mutant(numpy_of(rng), made))


def wiring(rng: random.Random, draft: Draft) -> None:
    """Another value in the place of one that an instruction reads or writes."""

    def change(made: Any) -> Any:
        i, other = rng.randrange(len(made.instructions)), rng.randrange(len(made.values))
        ins = made.instructions[i]
        name = rng.choice(("inputs", "output", "outputs", "held"))
        old = getattr(ins, name)
        new = other if name == "output" else tuple(other if rng.random() < 0.5 else v for v in old)
        made.instructions[i] = dataclasses.replace(ins, **{name: new})
        return made

    draft.lower(change)


def kind(rng: random.Random, draft: Draft) -> None:
    """An instruction of another plan over values of this one, with arrays of this one in the place of its own."""

    def change(made: Any) -> Any:
        i = rng.randrange(len(made.instructions))
        own = made.instructions[i]
        made.instructions[i] = dataclasses.replace(
            rng.choice(draft.donors), inputs=own.inputs, output=own.output, clock=own.clock
        )
        return made

    draft.lower(change)


def words(rng: random.Random, draft: Draft) -> None:
    """Words, whatever they are."""
    draft.program = plan_mutants.other_words(numpy_of(rng), draft.program)


def cut(rng: random.Random, draft: Draft) -> None:
    """Words left out or doubled."""
    i = rng.randrange(len(draft.program.words))
    first, second = draft.program.words[:i], draft.program.words[i + rng.choice((-1, 1)) :]
    draft.program = draft.program._replace(words=np.concatenate([first, second]))


def header(rng: random.Random, draft: Draft) -> None:
    """Texts, the signature, the test."""
    anywhere(rng, draft.header[rng.choice(("texts", "signature", "signature", "test", "blockers"))])


def section(rng: random.Random, draft: Draft) -> None:
    """Where weights lie, and what packing found in them."""
    anywhere(rng, draft.header["sections"])


def nothing(rng: random.Random, draft: Draft) -> None:
    """A sound file."""


CHANGES: tuple[tuple[int, Callable[[random.Random, Draft], None]], ...] = (
    (44, plan), (10, wiring), (6, kind), (26, words), (2, cut), (8, header), (3, section), (1, nothing),
)  # fmt: skip


# The runner calls these ---------------------------------------------------------------------------


def seeds() -> list[Seed]:
    """Plans that have every instruction between them."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.plan"
        for graph, dtype in graphs():
            if dtype == "float32":
                Model(graph).compile(path)
                found.append((path.read_bytes(), compiled.read(path).program))
    donors = [ins for _, program in found for ins in decode(program).instructions]
    parts = []
    for data, program in found:
        _, _, count, length, _ = compiled.PREFIX.unpack(data[: compiled.PREFIX.size])
        text = data[compiled.ALIGN + count :][:length].decode()
        begin = min(row[0] for row in json.loads(text)["sections"].values())
        parts.append(Seed(text, program, data[begin:], donors))
    return parts


def mutate(rng: random.Random, seed: Seed) -> bytes:
    """A plan with one to three changes, whose checksum is right most often."""
    draft = Draft(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        (change,) = rng.choices(CHANGES, [weight for weight, _ in CHANGES])
        try:
            change[1](rng, draft)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):  # an earlier change left no such place
            continue
    made, given = draft.header, draft.program
    if made.get("texts") == seed.program.texts:  # no change of its own
        made["texts"] = list(given.texts)
    found, begin = given.words.tobytes(), min(json.loads(seed.header)["sections"].values())[0]
    text = json.dumps(made, separators=(",", ":")).encode()
    if compiled.ALIGN + len(found) + len(text) > begin:  # the weights move on by whole pages
        begin = -(-(compiled.ALIGN + len(found) + len(text)) // compiled.PAGE) * compiled.PAGE
    crc = zlib.crc32(found + text) if rng.random() > 0.02 else rng.getrandbits(32)
    head = compiled.PREFIX.pack(compiled.MAGIC, compiled.VERSION, len(found), len(text), crc)
    data = bytearray((head.ljust(compiled.ALIGN, b"\0") + found + text).ljust(begin, b"\0") + seed.body)
    if rng.random() < 0.05:
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.02:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def attempt(mutant: bytes) -> bool:
    """Map a plan, and run it in every way."""
    path = temporary()
    path.write_bytes(mutant)
    model = fastgru.load(path)
    assert isinstance(model, CompiledModel)
    exercise(model, random.Random(zlib.crc32(mutant)))
    return True


def exercise(model: CompiledModel, rng: random.Random) -> None:
    """Run a plan whole, on two threads, by chunks and by steps, with states taken and set: whatever it computes."""
    repr(model)
    steps, batch = rng.choice(STEPS), rng.choice((None, 1, 2, 3))
    lowered = decode(model._contents.program)
    sizes = sum(max(1, v.size) for v in lowered.values)
    if sizes * steps * (batch or 1) > MAX_WORK or max(prod(s.shape) for s in model.inputs.values()) > MAX_WORK:
        return
    feeds = feeds_of(model, lowered, rng, steps, batch)
    try:
        model(feeds, threads=1)
        model(feeds, threads=2)
        if not model._plan.blockers and any(spec.time for spec in model.inputs.values()):
            streamed(model, feeds, steps, batch, rng)
    except (ValueError, RuntimeError) as error:  # of so many steps; of a plan that is found inconsistent as it runs
        if isinstance(error, RuntimeError) and "plan" not in str(error):
            raise


def feeds_of(
    model: CompiledModel, lowered: Lowered, rng: random.Random, steps: int, batch: int | None
) -> dict[str, Any]:
    """Inputs that fit: numbers of ordinary size, ids inside the tables."""
    draw = np.random.default_rng(rng.getrandbits(64))
    feeds: dict[str, Any] = {}
    for number, (name, spec) in zip(lowered.inputs, model.inputs.items(), strict=True):
        lead = (() if batch is None else (batch,)) + ((steps,) if spec.time else ())
        if lowered.values[number].kind == "float":
            feeds[name] = draw.standard_normal((*lead, *spec.shape)).astype(np.float32)
        else:
            bound = max(1, min(lowered.values[number].bound, 2**31))
            feeds[name] = draw.integers(0, bound, (*lead, *spec.shape))
    return feeds


def streamed(model: CompiledModel, feeds: Any, steps: int, batch: int | None, rng: random.Random) -> None:
    """Feed a stream by chunks and by steps, and set its state."""
    axis = 0 if batch is None else 1
    timed = {name: spec.time for name, spec in model.inputs.items()}
    cut = lambda a, b: {n: np.take(x, range(a, b), axis) if timed[n] else x for n, x in feeds.items()}  # noqa: E731
    for each in (sorted(rng.choices(range(1, steps + 1), k=2)), range(1, steps)):
        stream = model.stream(batch)
        for a, b in itertools.pairwise(sorted({0, steps, *each})):
            stream.process(cut(a, b))
            stream.state = stream.state
        stream.copy().flush()
        stream.flush()
    stream = model.stream(batch, threads=2)
    for t in range(min(steps, 3)):
        stream.step({n: np.take(x, t, axis) if timed[n] else x for n, x in feeds.items()})
