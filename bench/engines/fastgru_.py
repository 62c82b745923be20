"""fastgru in each precision, with fast gates, and with two threads."""

from __future__ import annotations

from typing import Any

from fastgru import Model

from ..cases import PRECISIONS, Problem, joined
from ..network import Call, Network
from . import Base, Run


class FastGru(Base):
    """A sequence is a call of the model; a step is a step of a stream that lives on."""

    name = module = "fastgru"

    def __init__(self, precision: str = "float32", threads: int = 1, activations: str | None = None) -> None:
        super().__init__(precision)
        self.threads, self.activations, self.variant = threads, activations, activations or ""

    def supports(self, problem: Problem) -> bool:
        if self.activations is not None and problem.real is not None:
            return False
        threads = problem.case.threads
        return threads == self.threads or (threads > 1 and self.precision == "float32")

    def network(self, network: Network) -> Call:
        model = Model(network.graph)
        if self.precision != "float32":
            model = model.quantize(self.precision)
        frames = network.frames()
        if not network.streaming:
            return lambda: model(frames, threads=self.threads)
        step = model.stream(threads=self.threads).step
        return lambda: step(frames)

    def generated(self, problem: Problem) -> Run:
        case, x = problem.case, problem.x
        model: Any = Model(problem.graph)
        if self.precision != "float32" or self.activations is not None:
            model = model.quantize(self.precision, activations=self.activations)
        options: dict[str, Any] = {"threads": self.threads}
        if case.streaming:
            stream = model.stream(case.batch if case.batch > 1 else None, **options)
            frame, step = x[0, 0] if case.batch == 1 else x[:, 0], stream.step
            return Run(lambda: step(frame), lambda y: joined(y).reshape(case.batch, 1, -1))
        if case.lengths is not None:
            options["lengths"] = case.lengths
        return Run(lambda: model(x, **options), joined)


ENGINES = [
    *(FastGru(precision) for precision in PRECISIONS),
    FastGru(threads=2),
    FastGru(activations="fast"),
    FastGru("int8", activations="fast"),
]
