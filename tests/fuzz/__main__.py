"""Mutate files of a format, or calls of streams, and check that each ends well: in a result or in a named error."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from ..results import record
from .formats import FORMATS, mutant_of
from .runner import Run
from .worker import prepare

SAVE = Path(tempfile.gettempdir()) / "fastgru-fuzz"


def main() -> int:
    """Run a fuzzer and print its figures; 1 if a mutant failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("format", choices=[*FORMATS], help="what to mutate: files, or calls of streams (states)")
    parser.add_argument("--seconds", type=float, help="stop after this many seconds (default 60, none with --mutants)")
    parser.add_argument("--mutants", type=int, help="stop after this many mutants")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random choices (default 0)")
    parser.add_argument("--begin", type=int, default=0, help="number of the first mutant (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes to run side by side (default 1)")
    parser.add_argument("--only", type=int, help="run this mutant alone, in this process")
    parser.add_argument("--save", type=Path, default=SAVE, help=f"folder for reproducers (default {SAVE})")
    parser.add_argument("--record", action="store_true", help="write the figures to docs/testing.json")
    given = parser.parse_args()
    if given.only is not None:
        return only(given.format, given.seed, given.only)
    seconds = given.seconds or (60.0 if given.mutants is None else float("inf"))
    stop = None if given.mutants is None else given.begin + given.mutants
    run = Run(given.format, given.seed, seconds=seconds, mutants=stop, jobs=given.jobs, save=given.save)
    figures = run.run(begin=given.begin)
    print(figures.report(given.format, given.seed, run.elapsed))
    if given.record:
        record("fuzz", given.format, figures.as_dict())
    return 1 if figures.failures else 0


def only(name: str, seed: int, number: int) -> int:
    """Run one mutant in this process, with whatever it raises."""
    fuzzer = prepare(name)
    mutant = mutant_of(name, fuzzer.seeds(), seed, number)
    started = time.perf_counter()
    accepted = fuzzer.attempt(mutant)
    print(f"mutant {number}: {'accepted' if accepted else 'refused'} in {time.perf_counter() - started:.3f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
