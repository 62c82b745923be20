"""Every engine that can run a case. One engine is one file; each lists its variants in ``ENGINES``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..cases import Problem
from ..network import Call, Network


class Run(NamedTuple):
    """An engine ready to run a problem."""

    call: Callable[[], Any]  # what is timed: one call as a user makes it
    read: Callable[[Any], Any]  # from what `call` returns to (B, T, features)


class Engine(Protocol):
    """What the benchmark asks of an engine."""

    name: str
    precision: str  # of the weights: a name of `bench.cases.PRECISIONS`
    threads: int
    variant: str  # what else sets it apart; empty as a rule

    def version(self) -> str:
        """The version that runs."""
        ...

    def available(self) -> str | None:
        """None, or why this engine cannot run here."""
        ...

    def supports(self, problem: Problem) -> bool:
        """Whether the engine has what the case needs."""
        ...

    def prepare(self, problem: Problem) -> Run:
        """Build the network, its state at the start."""
        ...


class Base:
    """What most engines share: a module to import, one thread; networks of real models one by one, put together.

    An engine has `generated` for networks of given sizes, and `reads` and `network` for those of real models.
    """

    name = ""
    module = ""  # what must be importable
    needs: tuple[str, ...] = ()  # and what else
    threads = 1
    variant = ""
    reads = ""  # a key of `Network.files`; no real models where there is none

    def __init__(self, precision: str = "float32") -> None:
        self.precision = precision

    def version(self) -> str:
        return str(importlib.import_module(self.module).__version__)

    def available(self) -> str | None:
        try:
            for module in (self.module, *self.needs):
                importlib.import_module(module)
        except ImportError as error:
            return f"not installed: {error}"
        return None

    def supports(self, problem: Problem) -> bool:
        real = problem.real
        if problem.case.threads > 1:
            return False
        if real is None or self.name in real.own:
            return True
        return real.glue is not None and all(map(self.has, real.networks))

    def has(self, network: Network) -> bool:
        """Whether `network` can be asked for."""
        return self.reads in network.files

    def prepare(self, problem: Problem) -> Run:
        real = problem.real
        if real is None:
            return self.generated(problem)
        if own := real.own.get(self.name):
            return Run(own(self.precision), real.read)
        if real.glue is None:
            raise ValueError(f"{self.name} must have a call of its own for {problem.case.name}, got none")
        return Run(real.glue([self.network(network) for network in real.networks]), real.read)

    def generated(self, problem: Problem) -> Run:
        """A network of given sizes."""
        raise NotImplementedError(f"{self.name} runs no networks of given sizes")

    def network(self, network: Network) -> Call:
        """One network of a real model, its state at the start."""
        raise NotImplementedError(f"{self.name} runs no networks of real models")


def label(engine: Engine) -> str:
    """The id of an engine: its name, its precision unless float32, its threads unless one, what else is special."""
    precision = "" if engine.precision == "float32" else engine.precision
    threads = f"{engine.threads} threads" if engine.threads > 1 else ""
    return " ".join(filter(None, (engine.name, precision, threads, engine.variant)))


def discover() -> list[Engine]:
    """All engines of this folder, fastgru's first."""
    names = sorted((m.name for m in pkgutil.iter_modules(__path__)), key=lambda name: (name != "fastgru_", name))
    return [engine for name in names for engine in importlib.import_module(f".{name}", __name__).ENGINES]
