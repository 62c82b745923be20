"""Run every accepted model: whole, by step, in chunks, on two threads and quantized; then save it."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import pickle
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import fastgru
from fastgru import FastGruError, GraphError, Model, VerificationError
from fastgru import graph as g
from fastgru.checks import selftest
from fastgru.checks.samples import id_bound

STEPS = (1, 2, 5, 11, 24)
MAX_WORK = 1 << 22  # a model whose calls make more elements is only made
FOLDER = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())


class Mismatch(AssertionError):
    """Two ways to run a model that must agree do not."""


def temporary() -> Path:
    """A file of this process alone, removed by nobody but overwritten by the next mutant."""
    return FOLDER / f"fastgru-fuzz-{os.getpid()}.fgru"


def feeds_of(model: Model, rng: random.Random, steps: int, batch: int | None) -> dict[str, Any]:
    """Inputs that fit a model: numbers of ordinary size, ids inside the tables."""
    draw = np.random.default_rng(rng.getrandbits(64))
    feeds = {}
    for name, spec in model.graph.inputs.items():
        lead = (() if batch is None else (batch,)) + ((steps,) if spec.time else ())
        if spec.dtype == "float":
            feeds[name] = draw.standard_normal((*lead, *spec.shape)).astype(model.dtype)
        else:
            feeds[name] = draw.integers(0, max(1, id_bound(model.graph, name, 2)), (*lead, *spec.shape))
            feeds[name] = feeds[name].astype(bool) if spec.dtype == "bool" else feeds[name]
    return feeds


def outputs(y: Any) -> tuple[Any, ...]:
    """The outputs of a model as a tuple."""
    return y if isinstance(y, tuple) else (y,)


def same(what: str, got: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    """Raise Mismatch unless the arrays have the same shapes, types and bits (NaN equal each other)."""
    for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise Mismatch(f"{what}: output {i} is {a.dtype} {a.shape} and not {b.dtype} {b.shape}")
        if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            raise Mismatch(f"{what}: bits of output {i} differ")


def alike(model: Model, what: str, got: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    """`same` where the model promises bits; of a model through BLAS, numbers near each other."""
    if model.gemm == "packed":
        same(what, got, wanted)
        return
    for i, (a, b) in enumerate(zip(got, wanted, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise Mismatch(f"{what}: output {i} is {a.dtype} {a.shape} and not {b.dtype} {b.shape}")
        finite = (
            a.dtype.kind == "f" and np.isfinite(a).all() and np.isfinite(b).all() and np.abs(b).max(initial=0) < 1e6
        )
        if finite and not np.allclose(a, b, rtol=1e-6, atol=1e-6):
            raise Mismatch(f"{what}: output {i} differs by {np.abs(a - b).max()}")


def work_of(model: Model, steps: int) -> int:
    """Elements that a call makes and multiplies, roughly; 0 where so many steps do not fit."""
    graph = model.graph
    try:
        lengths = graph.lengths(steps)
    except GraphError:
        return 0
    sizes = (lengths.get(name, 1) * math.prod(spec.shape) for name, spec in graph.specs.items())
    return sum(sizes) + steps * model._plan.macs


def exercise(model: Model, rng: random.Random) -> None:
    """Run a model in every way and compare the bits."""
    repr(model)
    str(model.summary())
    steps, batch = rng.choice(STEPS), rng.choice((None, 1, 2, 3))
    if work_of(model, steps) > MAX_WORK:
        return
    feeds = feeds_of(model, rng, steps, batch)
    try:
        whole = outputs(model(feeds, threads=1))
    except ValueError as error:  # of so many steps
        if "Traceback" in str(error):
            raise
        whole = None
    if whole is not None:
        alike(model, "two threads", outputs(model(feeds, threads=2)), whole)
        same("again", outputs(model(feeds, threads=1)), whole)
        streamed(model, feeds, whole, rng, steps, batch)
    saved(model, feeds if whole is not None else None, whole, rng)
    if model.dtype == "float32" and model.gemm == "packed":
        quantized(model, feeds if whole is not None else None)


def loose(model: Model) -> bool:
    """True if flushing a stream gives steps that a whole sequence has not."""
    return any(isinstance(node.op, g.OverlapAdd) and node.op.tail is None for node in model.graph.nodes)


def streamed(model: Model, feeds: Mapping[str, Any], whole: Any, rng: random.Random, steps: int, batch: Any) -> None:
    """Compare a stream fed by chunks and by steps with the whole call."""
    if model.graph.not_streamable() or not any(spec.time for spec in model.graph.inputs.values()):
        return
    axis = 0 if batch is None else 1
    timed = {name: spec.time for name, spec in model.graph.inputs.items()}
    cut = lambda a, b: {n: np.take(x, range(a, b), axis) if timed[n] else x for n, x in feeds.items()}  # noqa: E731
    cuts = [sorted(rng.choices(range(1, steps + 1), k=2)), [*range(1, steps)]]
    for each in cuts:
        edges = sorted({0, steps, *each})
        stream, parts = model.stream(batch), []
        for a, b in itertools.pairwise(edges):
            parts.append(outputs(stream.process(cut(a, b))))
        parts.append(outputs(stream.flush()))
        if not loose(model):
            joined(model, parts, whole, axis)
    stream = model.stream(batch, threads=2)
    for t in range(min(steps, 3)):
        frame = {n: np.take(x, t, axis) if timed[n] else x for n, x in feeds.items()}
        try:
            found = outputs(stream.step(frame))
        except ValueError as error:
            if not str(error).startswith("step must give one step"):
                raise
            return
        for i, name in enumerate(model.graph.outputs):
            if model.graph.specs[name].time and whole[i].shape[axis] == steps and model.graph.nodes:
                late = getattr(stream, "latency", 0)
                if not late:
                    alike(model, "step", (found[i],), (np.take(whole[i], t, axis),))


def joined(model: Model, parts: list[Any], whole: Any, axis: int) -> None:
    """Compare the outputs of chunks, joined, with those of the whole call; of outputs without time the last chunk's."""
    for i, name in enumerate(model.graph.outputs):
        if model.graph.specs[name].time:
            alike(model, "chunks", (np.concatenate([part[i] for part in parts], axis),), (whole[i],))


def saved(model: Model, feeds: Any, whole: Any, rng: random.Random) -> None:
    """Save and load: the same bits, and the same file again."""
    path = temporary()
    try:
        model.save(path)
    except FastGruError:  # a model whose outputs are not finite has no self-test
        return
    first = path.read_bytes()
    again = fastgru.load(path)
    if whole is not None:
        same("loaded", outputs(again(feeds, threads=1)), whole)
    again.save(path)
    if path.read_bytes() != first:
        raise Mismatch("a file that is saved again differs")
    with contextlib.suppress(VerificationError):  # of a mutated self-test, or of values beyond float32
        selftest.verify(again)
    if rng.random() < 0.1:
        copy = pickle.loads(pickle.dumps(model))
        if whole is not None:
            same("pickled", outputs(copy(feeds, threads=1)), whole)


def quantized(model: Model, feeds: Any) -> None:
    """Quantize to int8 and run that."""
    try:
        small = model.quantize("int8")
    except FastGruError:
        return
    if feeds is not None and small is not model:
        whole = outputs(small(feeds, threads=1))
        same("int8 on two threads", outputs(small(feeds, threads=2)), whole)
