"""How many instructions one step costs from Python, by callgrind: the same number on a noisy machine.

    python -m bench.instructions

runs `Stream.step` of small GRUs under valgrind (which knows no AVX-512: AVX2 kernels) for two numbers of steps and
prints the difference a step, Python's loop included. On x86-64, Python 3.11, NumPy 2:

    I=H=8    2690 with a new array, 1970 with out=     (about 1200 of them are the kernels and their row addresses)
    I=H=64   8860 with a new array, 8170 with out=

A look-up of `np.ndarray`, and lists made of the outputs to see whether one overlaps an input, cost 1500 with out=.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import repeat

import numpy as np

from fastgru import Model
from fastgru.layers import GRU

SIZES = (8, 64)
STEPS = (1000, 5000)


def run(hidden: int, steps: int, reuse: bool) -> None:
    """What is counted."""
    rng = np.random.default_rng(0)
    w, u = (rng.normal(size=(3 * hidden, hidden)) for _ in range(2))
    step = Model([GRU.from_torch(w, u)], isa="avx2").stream().step
    x = np.ones(hidden, np.float32)
    out = np.empty(hidden, np.float32) if reuse else None
    for _ in repeat(None, steps):
        step(x, out)


def count(hidden: int, steps: int, reuse: bool) -> int:
    """Instructions of a process that runs so many steps."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m",
               "bench.instructions", str(hidden), str(steps), str(int(reuse))]  # fmt: skip
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"valgrind must say what it collected, got {done.stderr[-300:]!r}")
    return int(found[1])


def main() -> None:
    """Print the table, or be the process that is counted."""
    if len(sys.argv) == 4:
        run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")
        return
    for hidden in SIZES:
        for reuse in (False, True):
            few, many = (count(hidden, steps, reuse) for steps in STEPS)
            each = (many - few) / (STEPS[1] - STEPS[0])
            print(f"I=H={hidden:<3d} {'out=' if reuse else 'new array':9s} {each:8.0f} instructions a step", flush=True)


if __name__ == "__main__":
    main()
