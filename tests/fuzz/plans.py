"""Mutants of compiled plans: fields of their instructions and values, with a correct checksum most often, and bytes."""

from __future__ import annotations

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

import fastgru
from fastgru import CompiledModel, Model
from fastgru.files import compiled

from . import values
from .exercise import STEPS, temporary
from .seed_graphs import graphs

MAX_WORK = 1 << 20  # elements of all values of a call
NAMES = ("recurrent", "dense", "map", "float", "int", "bool", "h", "c", "y", "history", "held", "sums")


class Seed(NamedTuple):
    """A plan taken apart: its header as text, and all that lies behind it."""

    header: str
    body: bytes
    donors: Sequence[Any]  # instructions of all seeds


# Changes -----------------------------------------------------------------------------------------


def anywhere(rng: random.Random, holder: Any) -> None:
    """One value anywhere below a list or an object."""
    while True:
        key = rng.choice(range(len(holder)) if isinstance(holder, list) else list(holder))
        if not isinstance(holder[key], dict | list) or not holder[key] or rng.random() < 0.05:
            break
        holder = holder[key]
    holder[key] = values.changed(rng, holder[key], NAMES)


def instruction(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """A field of an instruction."""
    anywhere(rng, rng.choice(header["instructions"])[1])


def wiring(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """Another value in the place of one that an instruction reads or writes."""
    fields, count = rng.choice(header["instructions"])[1], len(header["values"])
    where = rng.choice([key for key in ("inputs", "output", "outputs", "held", "operands", "window") if key in fields])
    other = rng.randrange(count)
    if isinstance(fields[where], int):
        fields[where] = other
    elif where == "operands":
        rng.choice(fields[where])[0] = rng.choice((other, -1, -2))
    elif fields[where]:
        fields[where][rng.randrange(len(fields[where]))] = other


def value(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """A field of a value, or one that it had by default."""
    chosen = rng.choice(header["values"])
    name = rng.choice(("size", "time", "kind", "state", "line", "stays", "slot", "bound", "shape", "initial"))
    plain = {"kind": "int", "state": True, "line": True, "stays": True, "slot": rng.randrange(4), "initial": 0,
             "bound": rng.choice((0, 1, 5, 2**40)), "shape": [2], "size": 3, "time": rng.randrange(4)}  # fmt: skip
    chosen[name] = values.changed(rng, chosen[name], NAMES) if name in chosen else plain[name]


def shape(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """A shape of an array."""
    anywhere(rng, header["arrays"])


def order(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """Two instructions exchanged, one repeated, or one gone."""
    rows, which = header["instructions"], rng.random()
    i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
    if which < 0.4:
        rows[i], rows[j] = rows[j], rows[i]
    elif which < 0.7:
        rows.insert(j, json.loads(json.dumps(rows[i])))
    else:
        del rows[i]


def kind(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """Another instruction with the fields of one that is there, or one of another plan over values of this one."""
    row, other = rng.choice(header["instructions"]), json.loads(json.dumps(rng.choice(donors)))
    if rng.random() < 0.3:
        row[0] = other[0]
        return
    keep = {key: row[1][key] for key in ("inputs", "output", "clock") if key in row[1]}
    row[:] = [other[0], {**other[1], **keep}]


def frame(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """What belongs to the plan as a whole."""
    name = rng.choice(("inputs", "outputs", "states", "loops", "clocks", "bases", "latency", "macs", "signature"))
    if isinstance(header[name], dict | list) and header[name]:
        anywhere(rng, header[name])
    else:
        header[name] = [[0, 1, 1]] if name == "loops" else values.changed(rng, header[name], NAMES)


def section(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """Where weights lie, and what packing found in them."""
    anywhere(rng, header["sections"])


def nothing(rng: random.Random, header: Any, donors: Sequence[Any]) -> None:
    """A sound file."""


CHANGES: tuple[tuple[int, Callable[[random.Random, Any, Sequence[Any]], None]], ...] = (
    (40, instruction), (16, wiring), (14, value), (6, shape), (6, order), (6, kind), (8, frame), (3, section),
    (1, nothing),
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
                found.append(path.read_bytes())
    parts = []
    for data in found:
        length = compiled.PREFIX.unpack(data[: compiled.PREFIX.size])[2]
        text = data[compiled.PREFIX.size :][:length].decode()
        begin = min(row[0] for row in json.loads(text)["sections"].values())
        parts.append((text, data[begin:]))
    donors = [row for text, _ in parts for row in json.loads(text)["instructions"]]
    return [Seed(text, body, donors) for text, body in parts]


def mutate(rng: random.Random, seed: Seed) -> bytes:
    """A plan with one to three changes, whose checksum is right most often."""
    header = json.loads(seed.header)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        (change,) = rng.choices(CHANGES, [weight for weight, _ in CHANGES])
        try:
            change[1](rng, header, seed.donors)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):  # an earlier change left no such place
            continue
    text = json.dumps(header, separators=(",", ":")).encode()
    begin = min(json.loads(seed.header)["sections"].values())[0]
    if compiled.PREFIX.size + len(text) > begin:  # the weights move on by whole pages
        begin = -(-(compiled.PREFIX.size + len(text)) // compiled.PAGE) * compiled.PAGE
    crc = zlib.crc32(text) if rng.random() > 0.02 else rng.getrandbits(32)
    head = compiled.PREFIX.pack(compiled.MAGIC, compiled.VERSION, len(text), crc) + text
    data = bytearray(head + bytes(begin - len(head)) + seed.body)
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
    sizes = sum(max(1, v.size) for v in model._contents.lowered.values)
    if sizes * steps * (batch or 1) > MAX_WORK or max(prod(s.shape) for s in model.inputs.values()) > MAX_WORK:
        return
    feeds = feeds_of(model, rng, steps, batch)
    try:
        model(feeds, threads=1)
        model(feeds, threads=2)
        if not model._plan.blockers and any(spec.time for spec in model.inputs.values()):
            streamed(model, feeds, steps, batch, rng)
    except (ValueError, RuntimeError) as error:  # of so many steps; of a plan that is found inconsistent as it runs
        if isinstance(error, RuntimeError) and "plan" not in str(error):
            raise


def feeds_of(model: CompiledModel, rng: random.Random, steps: int, batch: int | None) -> dict[str, Any]:
    """Inputs that fit: numbers of ordinary size, ids inside the tables."""
    draw = np.random.default_rng(rng.getrandbits(64))
    lowered, feeds = model._contents.lowered, {}
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
