"""A program of one input, whose results are compared with NumPy: what the sources share, with axes in any order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgru.converters.program.builder import Builder
from fastgru.converters.program.emit import Emitter
from fastgru.converters.program.sizes import symbol
from fastgru.converters.program.values import Tensor
from fastgru.converters.program.views import in_order
from fastgru.graph import Spec
from fastgru.reference import run

SIZES = {"B": 2, "T": 5, 0: 3, 1: 4}


class Program(Builder):
    """Ops on one input ``x``."""

    def __init__(self) -> None:
        self.name, self.emit = "y", Emitter()

    def read(self, *labels: str | int) -> Tensor:
        """The input, with a label for each axis."""
        frame = [SIZES[a] for a in (0, 1) if a in labels]
        return self.result(
            self.emit.input("x", Spec(tuple(frame), "T" in labels)),
            [(a if isinstance(a, int) else symbol(a),) for a in labels],
        )

    def run(self, y: Tensor, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A result for the array `x`, whose axes are batch, time and frame; its own are in the order of its labels."""
        y = in_order(self, y)
        graph = self.emit.build({"y": y.value}, self.emit.feedback)
        (found,) = run(graph, {"x": x})[0]
        lead = 1 + y.spec.time
        places = {"B": 0, **{i: lead + i for i in range(len(y.spec.shape))}}
        return found.transpose([places.get(a, 1) for (a,) in y.axes])  # 1: of other numbers of steps


def given(*labels: str | int) -> np.ndarray[Any, Any]:
    """Numbers (B, T, 3, 4)."""
    return np.random.default_rng(0).normal(size=[SIZES[a] for a in labels])
