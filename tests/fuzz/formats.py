"""The table of formats: the module that makes and tries mutants, and the limits of one mutant."""

from __future__ import annotations

import importlib
import random
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Fuzzer(Protocol):
    """Functions that the module of a format defines.

    It may define `save(mutant, path)`, too, where a mutant is not bytes, and `prepare()`, which is called once in
    each process that runs mutants.
    """

    def seeds(self) -> Sequence[Any]:
        """Return sound inputs to mutate, the same ones in the same order every time."""

    def mutate(self, rng: random.Random, seed: Any) -> Any:
        """Return a mutant of a seed, determined by `rng` alone; the seed stays as it is."""

    def attempt(self, mutant: Any) -> bool:
        """Return True if the mutant was accepted and all that was done with it held, False if it was refused.

        FastGruError and MemoryError may leave it: they refuse the mutant. Any other exception is a failure.
        """


class Format(NamedTuple):
    """One format.

    Attributes
    ----------
    module : str
        A module of this package, a `Fuzzer`.
    seconds : float
        Processor time of one mutant at most; by the clock on the wall, `runner.PATIENCE` times as much.
    megabytes : int
        By which resident memory may grow. The address space may grow by four times as much.
    """

    module: str
    seconds: float = 10.0
    megabytes: int = 1024

    def load(self) -> Any:
        """Import the module."""
        return importlib.import_module(f".{self.module}", __package__)


FORMATS: dict[str, Format] = {
    "fgru": Format("fgru"),
    "plan": Format("plans"),
    "states": Format("states"),
    "onnx": Format("onnx_files"),
    "keras": Format("keras_files", seconds=30.0),
    "torch": Format("torch_files"),
    "safetensors": Format("safetensors_files"),
}


def generator(name: str, seed: int, number: int) -> random.Random:
    """The source of all choices of one mutant."""
    return random.Random(f"{name}/{seed}/{number}")


def mutant_of(name: str, seeds: Sequence[Any], seed: int, number: int) -> Any:
    """Mutant `number` of a run, as the worker saw it."""
    rng = generator(name, seed, number)
    return FORMATS[name].load().mutate(rng, seeds[rng.randrange(len(seeds))])
