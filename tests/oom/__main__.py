"""Fail the 1st, 2nd, 3rd, ... allocation of each operation; tests/engine/test_oom.py builds and preloads the allocator.

python -m tests.oom --library LIBRARY [--most N] [--all] [OPERATION ...]
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import gc
import json
import sys
from typing import Any

import numpy as np

import fastgru

from .operations import OPERATIONS, Operation, states

# Whose allocations fail: the engine's, and NumPy's. What CPython allocates for Python code is its own to answer for,
# and so is what safetensors does (Rust, which ends the process).
MODULES = b"fastgru/engine/,numpy/"
REPEATS = 8  # runs of a batch: a leak is a block and more each time, batch after batch, than calls leave that succeed
BATCHES = 48  # a leak shows in all of them; what fills caches fades, from 25 blocks a batch to 5 within the first 30
# What CPython says where an extension ends without an error, or with one and a result: NumPy does in some places.
NO_ERROR = ("without setting an exception", "without exception set", "a result with an exception set")


class Allocator:
    """The preloaded library."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        self.library.oom_arm.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p)
        self.library.oom_disarm.restype = self.library.oom_live.restype = ctypes.c_long
        self.library.oom_owner.restype = ctypes.c_char_p
        if not self.library.oom_live():
            raise SystemExit("the library must be preloaded, got no allocation")

    def foreign(self) -> bool:
        """True if NumPy's allocation failed last."""
        return b"fastgru/engine/" not in self.library.oom_owner()

    def live(self) -> int:
        """Blocks that are alive."""
        gc.collect()
        return int(self.library.oom_live())


class Trial:
    """One operation, and what failing its allocations gave."""

    def __init__(self, name: str, operation: Operation, allocator: Allocator, persistent: bool) -> None:
        self.name, self.operation, self.allocator, self.persistent = name, operation, allocator, persistent
        self.outcomes: dict[str, int] = {}
        self.faults: list[str] = []
        for _ in range(20):  # caches fill
            self.wanted = self.look(operation.call(operation.make()))
        self.allocations = self.count()

    def look(self, result: Any) -> list[Any]:
        return [np.array(a) for a in self.operation.look(result)]

    def count(self) -> int:
        """Allocations of one call."""
        subject, arm, disarm = self.operation.make(), self.allocator.library.oom_arm, self.allocator.library.oom_disarm
        arm(0, 0, MODULES)
        self.operation.call(subject)
        return int(disarm())

    def attempt(self, n: int) -> str:
        """Fail allocation `n`; check what is left. Returns the outcome."""
        library, subject, result, outcome = self.allocator.library, self.operation.make(), None, "success"
        before = states(subject.state) if isinstance(subject, fastgru.Stream) else []
        try:
            library.oom_arm(n, self.persistent, MODULES)
            try:
                result = self.operation.call(subject)
            finally:
                library.oom_disarm()
        except MemoryError:
            outcome = "MemoryError"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {str(error)[:200]}"
        if outcome == "success":
            self.compare(n, "a result that was given", self.look(result))
        else:
            if before and not all(map(np.array_equal, before, states(subject.state))):
                self.faults.append(f"allocation {n}: the stream's state has changed")
            if outcome != "MemoryError" and not (self.allocator.foreign() and any(e in outcome for e in NO_ERROR)):
                self.faults.append(f"allocation {n}: {outcome}")
            self.compare(n, "the same call afterwards", self.look(self.operation.call(subject)))
        return outcome

    def compare(self, n: int, what: str, got: list[Any]) -> None:
        if not all(map(np.array_equal, got, self.wanted)):
            self.faults.append(f"allocation {n}: {what} differs")

    def growth(self, n: int, calls: int) -> int:
        """Blocks that so many attempts leave."""
        before = self.allocator.live()
        for _ in range(calls):
            self.attempt(n)
        return self.allocator.live() - before

    def leaks(self, n: int) -> None:
        """Find what is left of each failed call, beyond what fills caches."""
        self.growth(n, 1)
        if self.growth(n, 1) <= 0:
            return
        for _ in range(BATCHES):
            grown = self.growth(n, REPEATS) - max(0, self.growth(0, REPEATS))
            if grown < REPEATS:
                return
        self.faults.append(f"allocation {n}: {grown // REPEATS} blocks leaked by a call")

    def run(self, most: int) -> None:
        """All allocations, or the first half of `most` and as many spread over the others."""
        numbers = list(range(1, self.allocations + 1))
        if most and len(numbers) > most:
            rest = np.linspace(most // 2, self.allocations - 1, most - most // 2).astype(int)
            numbers = numbers[: most // 2] + [numbers[i] for i in dict.fromkeys(rest.tolist())]
        self.tried = len(numbers)
        for n in numbers:
            outcome = self.attempt(n)
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
            self.leaks(n)


def main() -> None:
    """Print a line of JSON for each operation."""
    parser = argparse.ArgumentParser(prog="python -m tests.oom", description=__doc__)
    parser.add_argument("--library", required=True)
    parser.add_argument("--most", type=int, default=0, help="allocations to fail of one operation; 0: all")
    parser.add_argument("--all", action="store_true", help="fail every later allocation of the call, too")
    parser.add_argument("operations", nargs="*", default=list(OPERATIONS))
    options = parser.parse_args()
    faulthandler.enable()
    allocator, unraisable = Allocator(options.library), []
    sys.unraisablehook = lambda given: unraisable.append(repr(given.exc_value))
    for name in options.operations:
        trial = Trial(name, OPERATIONS[name], allocator, options.all)
        trial.run(options.most)
        unexpected = [e for e in unraisable if not e.startswith("MemoryError")]
        row = {"operation": name, "allocations": trial.allocations, "tried": trial.tried, "outcomes": trial.outcomes}
        print(json.dumps({**row, "faults": [*trial.faults, *unexpected]}), flush=True)


if __name__ == "__main__":
    main()
