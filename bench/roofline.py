"""The roofline of this machine, measured in the same run, and each case's floor under it.

The floor of a product is the larger of two times: reading its weights once at the bandwidth of a working set of their
size, and its arithmetic at the FMA peak, `flops = 2 * weights * rows`. Over a whole case:

- one step (T = 1): all weights of the network are one working set, read once; `flops` over all of them;
- a sequence: per node, the input product of all steps is one product that reads its weights once, and the recurrent
  product reads its weights in each of the T steps: `T * max(bytes / bandwidth(bytes), 2 * weights * B / peak)`, with
  the rows that count in place of `B` where lengths differ.

Weights of a reduced precision have fewer bytes; as its peak is not measured, its floor is that of reading alone.
Activation functions and the call itself are free under a floor. Two threads halve it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fastgru.graph import Dense, Recurrent

from .cases import Problem

SOURCE = Path(__file__).with_name("roofline.c")
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast"]
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
Roofline = dict[str, Any]


def measure() -> Roofline:
    """FMA peak in flop/s and [bytes, bytes/s] pairs, or ``{"missing": why}``."""
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        return {"missing": "no C compiler found"}
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "roofline")
        try:
            subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", program], check=True, capture_output=True, text=True)
            done = subprocess.run([program], check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return {"missing": f"{error}: {getattr(error, 'stderr', '')}".strip()}
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    return {**json.loads(done.stdout), "compiler": version.partition("\n")[0], "flags": " ".join(FLAGS)}


def bandwidth(roofline: Roofline, size: float) -> float:
    """Bytes a second from a working set of `size` bytes, between the measured sizes linear in log(size)."""
    sizes, rates = np.array(roofline["bandwidth"]).T
    return float(np.interp(np.log(size), np.log(sizes), rates))


def products(problem: Problem) -> list[tuple[int, int]]:
    """(weights, times they are read) of every product of the network."""
    steps = 1 if problem.case.streaming else problem.x.shape[1]
    found = []
    for node in problem.graph.nodes:
        if isinstance(node.op, Recurrent):
            found += [(node.op.weight_x.size, 1), (node.op.weight_h.size, steps)]
        elif isinstance(node.op, Dense):
            found.append((node.op.weight.size, 1))
    return found


def counted_rows(problem: Problem) -> int:
    """Rows times steps, only those that count."""
    lengths = problem.case.lengths
    return sum(lengths) if lengths is not None else int(problem.x.shape[0] * problem.x.shape[1])


def flops(problem: Problem) -> float:
    """Of all products of one call."""
    return 2.0 * counted_rows(problem) * sum(weights for weights, _ in products(problem))


def floor(problem: Problem, roofline: Roofline, precision: str, threads: int = 1) -> float | None:
    """The least seconds of one call; None without a roofline."""
    if "missing" in roofline:
        return None
    size, rows = BYTES[precision], counted_rows(problem)
    peak = roofline["flops"] if precision == "float32" else float("inf")
    found = products(problem)
    if problem.case.streaming:
        total = sum(weights for weights, _ in found)
        return max(total * size / bandwidth(roofline, total * size), 2 * total * rows / peak) / threads
    parts = [max(n * w * size / bandwidth(roofline, w * size), 2 * w * rows / peak) for w, n in found]
    return sum(parts) / threads
