"""The roofline of this machine, measured in the same run, and each case's floor under it.

The floor of a product is the larger of two times: reading its weights once at the bandwidth of a working set of their
size, and its arithmetic at the FMA peak, `flops = 2 * weights * rows`. Over a whole case:

- one step (T = 1): all weights of the network are one working set, read once; `flops` over all of them;
- a sequence: per node, the input product of all steps is one product that reads its weights once, and the recurrent
  product reads its weights in each of the T steps: `T * max(bytes / bandwidth(bytes), 2 * weights * B / peak)`, with
  the rows that count in place of `B` where lengths differ;
- convolutions and products over frames: their weights once, and all their multiply-accumulates.

Weights of a reduced precision have fewer bytes. float16 is multiplied as float32 is, int8 at the measured peak of dot
products; that of bfloat16 is not measured, so that its floor is that of reading alone.
Activation functions and the call itself are free under a floor. Under that of two threads lies what two cores reach
together, each on half of the memory.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastgru.graph import Constant, Graph, Recurrent

from .cases import Problem
from .machine import pinned

SOURCE = Path(__file__).with_name("roofline.c")
INCLUDE = SOURCE.parents[1] / "include"
FLAGS = ["-O3", "-march=native", "-ffp-contract=fast", "-pthread"]
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "int8_affine": 1}
# What `measure` calls the arithmetic of each.
PEAKS = {"float32": "flops", "float16": "flops", "int8": "dots", "int8_affine": "dots"}
Roofline = dict[str, Any]


def measure(cores: list[int]) -> Roofline:
    """Peaks in operations a second and [bytes, bytes/s] pairs of one core, and of two; or ``{"missing": why}``."""
    compiler = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
    if compiler is None:
        return {"missing": "no C compiler found"}
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "roofline")
        try:
            build = [compiler, *FLAGS, f"-I{INCLUDE}", str(SOURCE), "-o", program]
            subprocess.run(build, check=True, capture_output=True, text=True)
            found: Roofline = json.loads(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
            if len(cores) > 1:
                with pinned(cores[-2:]):
                    both = subprocess.run([program, "2"], check=True, capture_output=True, text=True)
                found["two_cores"] = json.loads(both.stdout)
        except (OSError, subprocess.CalledProcessError) as error:
            return {"missing": f"{error}: {getattr(error, 'stderr', '')}".strip()}
        version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    return {**found, "compiler": version.partition("\n")[0], "flags": " ".join(FLAGS)}


def bandwidth(roofline: Roofline, size: float) -> float:
    """Bytes a second from a working set of `size` bytes, between the measured sizes linear in log(size)."""
    sizes, rates = np.array(roofline["bandwidth"]).T
    return float(np.interp(np.log(size), np.log(sizes), rates))


class Product(NamedTuple):
    """One product of a call: its weights, how often they are read, and its multiply-accumulates."""

    weights: int
    reads: int
    macs: float


def products(problem: Problem) -> list[Product]:
    """Every product of one call."""
    case = problem.case
    if problem.real is None:
        batch, steps = problem.x.shape[0], 1 if case.streaming else problem.x.shape[1]
        rows = batch * steps if case.lengths is None else sum(case.lengths)
        return list(_products(problem.graph, batch, steps, rows))
    found: list[Product] = []
    for network in problem.real.networks:
        batch = network.batch or 1
        timed = not network.streaming and any(spec.time for spec in network.graph.inputs.values())
        steps = network.frames().shape[0 if network.batch is None else 1] if timed else 1
        found += network.calls * list(_products(network.graph, batch, steps, batch * steps))
    return found


def _products(graph: Graph, batch: int, steps: int, rows: int) -> Iterator[Product]:
    """Those of a graph on a batch of sequences, of which `rows` steps count."""
    constants = {n.outputs[0]: prod(graph.specs[n.outputs[0]].shape) for n in graph.nodes if isinstance(n.op, Constant)}
    for node in graph.nodes:
        specs = tuple(graph.specs[value] for value in node.inputs)
        if isinstance(node.op, Recurrent):
            scanned = specs[0].shape[0] if node.op.scan else 1
            along = prod(specs[0].shape[:-1])
            yield Product(node.op.weight_x.size, 1, node.op.weight_x.size * along * rows)
            yield Product(node.op.weight_h.size, steps * scanned, node.op.weight_h.size * along * rows)
        elif macs := node.op.macs_for(specs):
            own = sum(w.size for w in node.op.weights().values() if w.ndim > 1)
            weights = own + sum(constants.get(value, 0) for value in node.inputs)
            yield Product(weights, 1, macs * (rows if any(spec.time for spec in specs) else batch))


def flops(problem: Problem) -> float:
    """Of all products of one call."""
    return 2.0 * sum(product.macs for product in products(problem))


def floor(problem: Problem, roofline: Roofline, precision: str, threads: int = 1) -> float | None:
    """The least seconds of one call; None without a roofline."""
    if "missing" in roofline:
        return None
    size, shared = BYTES[precision], threads == 2 and "two_cores" in roofline
    roofline = roofline["two_cores"] if shared else roofline
    peak = roofline[PEAKS[precision]] if precision in PEAKS else float("inf")
    found = products(problem)
    if problem.case.streaming:
        found = [Product(sum(p.weights for p in found), 1, sum(p.macs for p in found))]
    sizes = [max(1, p.weights * size) for p in found]
    reading = [p.reads * n / bandwidth(roofline, n) for p, n in zip(found, sizes, strict=True)]
    whole = sum(max(read, 2 * p.macs / peak) for read, p in zip(reading, found, strict=True))
    return whole if shared else whole / threads
