"""Measure the memory and start of a worker, and the CPU time of a sequence, under the engines of docs/scale.md.

    python -m bench.scale               every engine that is installed, on Linux; some ten minutes
    python -m bench.scale ENGINE ...    only these: direct, ray, dask, pyspark, joblib; --rounds 1 is quicker

Every figure of time is CPU time, which other work on the machine changes less than wall time. "direct" is the model in
this process: CPU seconds of `predict` by sequence, the median of rounds; and fresh processes that load it and run a
batch, as a worker does. The programs of the page then run as they stand there, on two sizes of one folder of Parquet
files. The CPU time of all their processes, daemons and Java among them, is a line over the number of sequences: its
slope is the cost of a sequence, what remains at none that of starting. A worker's memory is its largest PSS (pages that
N processes share count a N-th to each), the median of the processes that have loaded the engine of fastgru.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tests.clusters import FEATURES, PROGRAMS, start, write
from tests.pages import DOCS, blocks

import fastgru
from fastgru.layers import GRU, Dense

from .machine import cpu_name

STEPS, UNITS = 20, (24, 64, 256)  # steps of a sequence, sizes of the models; the programs run that of 64 units
FILES = 8
FEW, MOST = 8_000, 64_000  # sequences
EVERY, SELDOM = 0.1, 4  # seconds between looks at processes; every so many of them reads their memory, which is slow
TICK = os.sysconf("SC_CLK_TCK")
WORKER = """
import time, numpy
before = memory(), time.process_time()
import fastgru
model = fastgru.load("model.fgru")
loaded = memory(), time.process_time()
model.predict(list(numpy.zeros((256, {steps}, {features}), "f")))
after = memory(), time.process_time()
print(*before, *loaded, *after)
"""
MEMORY = """
def memory():
    return int(next(r for r in open("/proc/self/smaps_rollup") if r.startswith("Pss:")).split()[1]) / 1024
"""


class Run(NamedTuple):
    """Hold what a program took.

    Attributes
    ----------
    cpu, wall : float
        Seconds, of all its processes together, and until its first process ended.
    memory : float
        The largest PSS of a worker in MB, median over the workers.
    """

    cpu: float
    wall: float
    memory: float


def network(units: int) -> fastgru.Model:
    """Make a GRU with a Dense layer of five outputs behind it."""
    rng = np.random.default_rng(0)
    w, u = rng.normal(size=(3 * units, FEATURES)) / 8, rng.normal(size=(3 * units, units)) / np.sqrt(units)
    return fastgru.Model([GRU.from_torch(w, u), Dense(rng.normal(size=(5, units)) / 8)])


def print_direct(folder: Path) -> None:
    """Print the CPU time of a sequence in this process, and the memory and start of a process with the model."""
    x = list(np.random.default_rng(0).normal(size=(1024, STEPS, FEATURES)).astype(np.float32))
    for units in UNITS:
        model = network(units)
        taken = []
        for _ in range(15):
            begun = time.process_time()
            model.predict(x)
            taken.append((time.process_time() - begun) / len(x))
        each = statistics.median(taken)
        print(f"GRU-{units}: {1e6 * each:7.2f} us a sequence, {1e9 * each / 3600:7.1f} CPU hours for 1e9", flush=True)
        model.save(folder / "model.fgru")
        code = MEMORY + WORKER.format(steps=STEPS, features=FEATURES)
        rows = [
            [float(n) for n in subprocess.check_output([sys.executable, "-c", code], cwd=folder).split()]
            for _ in range(7)
        ]
        numpy, numpy_cpu, loaded, loaded_cpu, after, _ = (
            statistics.median(column) for column in zip(*rows, strict=True)
        )
        print(
            f"  a process: {numpy:.1f} MB and {1e3 * numpy_cpu:.0f} ms of CPU with NumPy, fastgru and the model "
            f"{loaded - numpy:+.1f} MB and {1e3 * (loaded_cpu - numpy_cpu):.0f} ms, a batch {after - loaded:+.1f} MB",
            flush=True,
        )


# Programs -----------------------------------------------------------------------------------------


def descendants() -> dict[int, float]:
    """Return the CPU seconds of every process below this one, by its number."""
    parents, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        parents[int(path.parent.name)] = int(fields[1])
        seconds[int(path.parent.name)] = (int(fields[11]) + int(fields[12])) / TICK
    below, grown = {os.getpid()}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below |= more
        grown = bool(more)
    return {pid: seconds[pid] for pid in below if pid != os.getpid() and pid in seconds}


def worker_memory(pid: int) -> float:
    """Return the PSS of a process in MB; 0 of one without the engine of fastgru."""
    try:
        if "/_engine." not in Path(f"/proc/{pid}/maps").read_text():
            return 0.0
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return next((int(row.split()[1]) for row in rows if row.startswith("Pss:")), 0) / 1024


def measured(folder: Path, text: str) -> Run:
    """Run a program, watching all its processes until the last has ended."""
    begun = time.monotonic()
    with open(folder / "printed", "w") as printed:
        first = start(folder, text, Path(fastgru.__file__).parents[1], output=printed)
        wall, looked, cpu, memory = 0.0, 0, dict[int, float](), dict[int, float]()
        while True:
            running = descendants()
            cpu |= running
            looked += 1
            for pid in running.keys() - {first.pid} if looked % SELDOM == 0 else ():
                memory[pid] = max(memory.get(pid, 0.0), worker_memory(pid))
            if not wall and first.poll() is not None:
                wall = time.monotonic() - begun
            adopted = list(running.keys() - {first.pid})
            for pid in adopted:  # orphans whose parent is this process: this waits for those that have ended
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue
            if wall and not adopted:
                break
            time.sleep(EVERY)
    if first.returncode:
        raise RuntimeError(f"program must succeed, got:\n{(folder / 'printed').read_text()[-4000:]}")
    workers = [m for m in memory.values() if m]
    return Run(sum(cpu.values()), wall, statistics.median(workers) if workers else 0.0)


def print_program(call: str, text: str, root: Path, sizes: tuple[int, int], rounds: int) -> None:
    """Print the cost of starting, of a sequence and of a worker under a program of the page."""
    found: list[list[Run]] = []
    for size in sizes:
        found.append([])
        for i in range(rounds):
            folder = root / f"{call}-{size}-{i}"
            folder.mkdir()
            for name in ("sequences", "windows", "model.fgru"):
                (folder / name).symlink_to(root / (name if name == "model.fgru" else str(size)))
            found[-1].append(measured(folder, text))
    low, high = (statistics.median(run.cpu for run in runs) for runs in found)
    each = (high - low) / (sizes[1] - sizes[0])
    quick = min(run.wall for run in found[0])
    memory = statistics.median(run.memory for runs in found for run in runs)
    print(
        f"{PROGRAMS[call].engine:8s} {call:18s} start {low - each * sizes[0]:6.1f} s of CPU, a sequence "
        f"{1e6 * each:7.1f} us, {1e9 * each / 3600:6.1f} CPU hours for 1e9; a worker {memory:6.1f} MB; "
        f"{sizes[0]:,} sequences in {quick:.1f} s at best",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="*", metavar="ENGINE")
    parser.add_argument("--rounds", type=int, default=3, help="runs of a program with each number of sequences")
    parser.add_argument("--most", type=int, default=MOST, help="sequences of the longer runs")
    options = parser.parse_args()
    sizes = (FEW, options.most)
    engines = options.engines or ["direct", *dict.fromkeys(p.engine for p in PROGRAMS.values() if find_spec(p.engine))]
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: daemons stay below this process
    print(f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores; load {os.getloadavg()[0]:.1f}; "
          f"sequences of {STEPS} steps of {FEATURES} features")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        if "direct" in engines:
            print_direct(root)
        network(64).save(root / "model.fgru")
        rng = np.random.default_rng(0)
        for size in sizes:
            part = size // FILES
            for i in range(FILES):
                x = list(rng.normal(size=(part, STEPS, FEATURES)).astype(np.float32))
                write(root / str(size) / f"part-{i}.parquet", i * part, x)
        for call, program in PROGRAMS.items():
            if program.engine in engines:
                (text,) = [block.text for block in blocks(DOCS / "scale.md") if f"{call}(" in block.text]
                print_program(call, text, root, sizes, options.rounds)


if __name__ == "__main__":
    main()
