"""Measure what processes that run one model cost: memory of their own, time until they are ready, the pace of two.

    python -m bench.workers [--workers 4]

makes an int8 model of 20 MB (three LSTMs of 1,280 units), saves it and compiles it, and starts so many processes one
after the other, each of which loads it (the .fgru file, then the plan) and runs ten steps of a stream. Shown are the
median time of `fastgru.load`, the resident memory, and the private memory of each (Pss and Private of
/proc/PID/smaps_rollup, when all run) beyond that of a process that has made a small model; of plans also the pace of
two processes beside each other against each alone. Outputs are checked to have the bits of the model first.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fastgru import Model
from fastgru.layers import GRU, LSTM

from .machine import cpu_name, leave_blas_alone

UNITS = 1280
WORKER = """
import sys, time, zlib
import numpy as np, fastgru
from fastgru.layers import Dense
fastgru.Model([Dense(np.ones((2, 3), np.float32))]).stream().step(np.ones(3, np.float32))
room = {row.split(":")[0]: int(row.split()[1]) for row in open("/proc/self/smaps_rollup").readlines()[1:]}
print(room["Pss"], room["Private_Clean"] + room["Private_Dirty"], room["Rss"], flush=True)
times = []
for _ in range(int(sys.argv[2])):
    begun = time.perf_counter()
    model = fastgru.load(sys.argv[1])
    times.append(time.perf_counter() - begun)
stream, x = model.stream(), np.ones(next(iter(model.inputs.values())).shape, np.float32)
y = [stream.step(x) for _ in range(10)]
print(min(times), sorted(times)[len(times) // 2], zlib.crc32(np.stack(y).tobytes()), flush=True)
for line in sys.stdin:
    if line == "room\\n":
        room = {row.split(":")[0]: int(row.split()[1]) for row in open("/proc/self/smaps_rollup").readlines()[1:]}
        print(room["Pss"], room["Private_Clean"] + room["Private_Dirty"], room["Rss"], flush=True)
    else:
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < float(line):
            for _ in range(20):
                stream.step(x)
            count += 20
        print(count / (time.perf_counter() - begun), flush=True)
"""


class Worker:
    """A process that has loaded a model."""

    def __init__(self, path: Path, loads: int = 1) -> None:
        self.process: Any = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(loads)], stdin=-1, stdout=-1, text=True
        )
        self.bare = self.numbers()
        least, median, crc = self.process.stdout.readline().split()
        self.least, self.median, self.crc = float(least), float(median), int(crc)

    def numbers(self) -> list[int]:
        """Kilobytes: Pss, private, resident."""
        return [int(n) for n in self.process.stdout.readline().split()]

    def tell(self, line: str) -> None:
        """Write a line to it."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def room(self) -> list[int]:
        """Kilobytes now."""
        self.tell("room")
        return self.numbers()

    def end(self) -> None:
        """Let it end."""
        self.process.stdin.close()
        self.process.wait()


def network() -> Model:
    """An int8 model of 20 MB."""
    rng = np.random.default_rng(0)

    def w(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / 30).astype(np.float32)

    layers = [LSTM.from_torch(w(4 * UNITS, 64 if i == 0 else UNITS), w(4 * UNITS, UNITS)) for i in range(2)]
    return Model([*layers, GRU.from_torch(w(192, UNITS), w(192, 64))]).quantize("int8")


def pace(workers: list[Worker], seconds: float) -> list[float]:
    """Steps a second of each, running beside each other."""
    for worker in workers:
        worker.tell(str(seconds))
    return [float(worker.process.stdout.readline()) for worker in workers]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    count = parser.parse_args().workers
    leave_blas_alone()
    model = network()
    stream, x = model.stream(), np.ones(64, np.float32)
    expected = zlib.crc32(np.stack([stream.step(x) for _ in range(10)]).tobytes())
    print(f"{cpu_name()}; weights {model.summary().totals.bytes / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as folder:
        paths = {"model.fgru": Path(folder, "model.fgru"), "model.plan": Path(folder, "model.plan")}
        model.save(paths["model.fgru"])
        model.compile(paths["model.plan"])
        for name, path in paths.items():
            workers = [Worker(path, 21) for _ in range(count)]
            if any(worker.crc != expected for worker in workers):
                raise SystemExit(f"{name}: outputs differ from the model's")
            first, *others = (worker.room() for worker in workers)
            more = [[now - then for now, then in zip(found, workers[i + 1].bare, strict=True)]
                    for i, found in enumerate(others)]  # fmt: skip
            pss, private, resident = (statistics.median(column) / 1e3 for column in zip(*more, strict=True))
            load = statistics.median(worker.median for worker in workers) * 1e3
            print(f"{name}: load {load:.2f} ms; each further worker: private {private:.2f} MB, Pss {pss:.2f} MB, "
                  f"resident {resident:.2f} MB beyond a process with a small model (first: private "
                  f"{(first[1] - workers[0].bare[1]) / 1e3:.2f} MB)")  # fmt: skip
            if name.endswith(".plan") and count > 1:
                ratios = []
                for _ in range(5):
                    alone = [pace([worker], 1.0)[0] for worker in workers[:2]]
                    both = pace(workers[:2], 1.0)
                    ratios.append(sum(both) / sum(alone))
                print(f"two workers beside each other run at {statistics.median(ratios):.3f} of each alone")
            for worker in workers:
                worker.end()


if __name__ == "__main__":
    main()
