"""Long runs in one process: steps, streams, shapes, and states that decay."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator

import numpy as np

import fastgru
from fastgru.layers import GRU

from .models import MODELS, SIZE

PARTS = 40  # of a sequence: its input is made and compared part by part
GROWTH = 2048  # kB: above the allocators' own wavering, below a byte a step


class EnduranceError(AssertionError):
    """A requirement of a long run that does not hold."""


def check(holds: bool, otherwise: str) -> None:
    """Raise EnduranceError with the message `otherwise` unless `holds`."""
    if not holds:
        raise EnduranceError(otherwise)


def resident() -> int:
    """Bytes of memory that this process holds now."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def inputs(steps: int) -> Iterator[np.ndarray]:
    """The same random sequence each time, in parts."""
    for i in range(PARTS):
        size = steps * (i + 1) // PARTS - steps * i // PARTS
        yield np.random.default_rng(i).normal(size=(size, SIZE)).astype(np.float32)


def one_by_one(name: str, stream: fastgru.Stream, x: np.ndarray) -> np.ndarray:
    """The outputs of a part, each step by a call; of the strided network, whose steps may give none, by `process`."""
    if name == "convolutions":
        y, given = np.empty((len(x), 8), np.float32), 0
        for t in range(len(x)):
            part = stream.process(x[t : t + 1])
            y[given : given + len(part)] = part
            given += len(part)
        return y[:given]
    y = np.empty((len(x), 2), np.float32)
    for t in range(len(x)):
        stream.step(x[t], out=y[t])
    return y


def growth(sizes: list[int]) -> int:
    """kB by which memory grew after its first quarter."""
    return (sizes[-1] - sizes[len(sizes) // 4]) // 1024


def many_steps(name: str, steps: int) -> dict[str, object]:
    """Run steps one by one. Their bits must be those of one whole call, and memory must stay."""
    model = MODELS[name]()
    whole = model(np.concatenate(list(inputs(steps))))
    stream, at, done, sizes = model.stream(), 0, 0, []
    began = time.monotonic()
    for x in inputs(steps):
        y = one_by_one(name, stream, x)
        check(np.array_equal(y, whole[at : at + len(y)]), f"{name}: bits differ after step {done}")
        at, done = at + len(y), done + len(x)
        sizes.append(resident())
    seconds = time.monotonic() - began
    check(np.array_equal(stream.flush(), whole[at:]), f"{name}: bits differ at the end")
    check(growth(sizes) < GROWTH, f"{name}: memory grew by {growth(sizes)} kB")
    return {"count": steps, "us each": seconds / steps * 1e6, "grown kB": growth(sizes)}


def many_streams(count: int) -> dict[str, object]:
    """Open, use and close streams of all models; memory must stay."""
    models = [make() for make in MODELS.values()]
    x = np.concatenate(list(inputs(12)))
    wanted, sizes, began = [m.stream().process(x) for m in models], [], time.monotonic()
    for i in range(count):
        y = models[i % len(models)].stream().process(x)
        if i % (count // 20 or 1) == 0:
            check(np.array_equal(y, wanted[i % len(models)]), f"stream {i}: bits differ")
            sizes.append(resident())
    check(growth(sizes) < GROWTH, f"memory grew by {growth(sizes)} kB")
    return {"count": count, "us each": (time.monotonic() - began) / count * 1e6, "grown kB": growth(sizes)}


def many_shapes(count: int) -> dict[str, object]:
    """Call models with another batch and length each time, on one thread and on two; memory must stay."""
    models, rng, sizes = [make() for make in MODELS.values()], np.random.default_rng(0), []
    x, began = np.concatenate(list(inputs(40 * 64))), time.monotonic()
    shapes = sorted({(int(b), int(t)) for b, t in rng.integers(1, (41, 65), size=(4 * count, 2))})[:count]
    check(len(shapes) == count, f"shapes must be at most {len(shapes)}, got {count}")
    for i, (batch, steps) in enumerate(rng.permutation(shapes).tolist()):
        model, given = models[i % len(models)], x[: batch * steps].reshape(batch, steps, SIZE)
        y = model(given)
        check(np.array_equal(model(given, threads=2), y), f"shape {batch} x {steps}: threads give other bits")
        check(np.array_equal(model(given[-1]), y[-1]), f"shape {batch} x {steps}: a row alone gives other bits")
        sizes.append(resident())
    check(growth(sizes) < GROWTH, f"memory grew by {growth(sizes)} kB")
    return {"count": count, "us each": (time.monotonic() - began) / count * 1e6, "grown kB": growth(sizes)}


def subnormal_states(rounds: int) -> dict[str, object]:
    """Time steps whose state has decayed below the normal numbers against steps of a usual one."""
    units = 64
    hold = np.zeros((3 * units, units), np.float32)
    bias = np.concatenate([np.zeros(units), np.full(units, 1.0), np.zeros(units)]).astype(np.float32)  # decays by 0.73
    model = fastgru.Model([GRU.from_torch(np.zeros((3 * units, SIZE), np.float32), hold, bias, np.zeros_like(bias))])
    still, times = np.zeros((2000, SIZE), np.float32), {"normal": [], "subnormal": []}
    for _ in range(rounds):
        for kind, size in (("normal", 1.0), ("subnormal", 1e-40)):
            stream = model.stream()
            key = next(iter(stream.state))
            start = {key: np.full(units, size, np.float32)}
            seconds = 0.0
            for _ in range(200):
                stream.state = start
                began = time.perf_counter()
                stream.process(still[:8])
                seconds += time.perf_counter() - began
            last = np.abs(stream.state[key]).max()
            check(kind == "normal" or 0 < last < np.finfo(np.float32).tiny, f"state must be subnormal, got {last}")
            times[kind].append(seconds)
    ratio = min(times["subnormal"]) / min(times["normal"])
    return {"count": rounds, "times as long": ratio}
