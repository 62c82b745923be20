"""Where leaving out the zero blocks of pruned weights pays: a step, dense against sparse, by the share of blocks kept.

    python -m bench.sparse

prints, for GRUs of several sizes, the time of the sparse product over the dense one's at each density, for one row and
for 32. `SPARSE_DENSITY` and `SPARSE_INT8_DENSITY` in fastgru/engine/weights.pyx are the densities where it passes 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from fastgru import Model
from fastgru.engine import weights
from fastgru.layers import GRU

SIZES = (64, 128, 256, 512)
BATCHES = (1, 32)
DENSITIES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
STEPS, ROUNDS, SECONDS = 50, 5, 0.005


def pruned(rng: np.random.Generator, rows: int, inner: int, density: float) -> np.ndarray:
    """A matrix (rows, inner) of which a share of 8 x 4 blocks is not zero."""
    mask = np.repeat(np.repeat(rng.random((rows // 8, inner // 4)) < density, 8, axis=0), 4, axis=1)
    return (rng.uniform(-1, 1, (rows, inner)) * mask / np.sqrt(inner)).astype(np.float32)


def model(hidden: int, density: float, precision: str, *, sparse: bool) -> Model:
    """One GRU of pruned weights, packed one way or the other."""
    rng = np.random.default_rng(0)
    w, u = (pruned(rng, 3 * hidden, hidden, density) for _ in range(2))
    measured = weights.SPARSE_DENSITY
    weights.SPARSE_DENSITY = dict.fromkeys(measured, (1.0, 0.0) if sparse else (-1.0, 0.0))
    try:
        return Model([GRU.from_torch(w, u, precision=precision)])
    finally:
        weights.SPARSE_DENSITY = measured


def fastest(calls: list[Callable[[], object]]) -> list[float]:
    """The least seconds a call of each took, turn by turn."""
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            count, start = 0, time.perf_counter()
            while time.perf_counter() - start < SECONDS:
                call()
                count += 1
            best[i] = min(best[i], (time.perf_counter() - start) / count)
    return best


def ratio(hidden: int, batch: int, density: float, precision: str) -> float:
    """Sparse over dense; both must give the same bits."""
    x = np.random.default_rng(1).normal(size=(batch, STEPS, hidden)).astype(np.float32)
    sparse, dense = (model(hidden, density, precision, sparse=s) for s in (True, False))
    if not np.array_equal(sparse(x), dense(x)):
        raise AssertionError(f"sparse {precision} of {hidden} units must have the bits of the dense product")
    times = fastest([lambda: sparse(x), lambda: dense(x)])
    return times[0] / times[1]


def main() -> None:
    """Print the table."""
    print("time of sparse over dense     density " + "".join(f"{d:7.2f}" for d in DENSITIES))
    for precision in weights.SPARSE_DENSITY:
        for hidden in SIZES:
            for batch in BATCHES:
                row = "".join(f"{ratio(hidden, batch, d, precision):7.2f}" for d in DENSITIES)
                print(f"{precision:8s} GRU {hidden:4d}  batch {batch:2d}             {row}", flush=True)


if __name__ == "__main__":
    main()
