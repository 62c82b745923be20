"""LiteRT (TensorFlow Lite) on the ``.tflite`` files that real models ship, float32 and int8."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np

from ..cases import Case, Problem
from . import Base, Run

FILES = {"float32": "tflite", "int8": "tflite int8"}


class LiteRt(Base):
    """A frame and a state in, a frame and a state out."""

    name, module = "litert", "ai_edge_litert.interpreter"

    def version(self) -> str:
        return importlib.metadata.version("ai-edge-litert")

    def supports(self, case: Case) -> bool:
        return case.model == "dtln-1"

    def prepare(self, problem: Problem) -> Run:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(problem.files[FILES[self.precision]]), num_threads=1)
        interpreter.allocate_tensors()
        frame, state = (d["index"] for d in interpreter.get_input_details())
        y, after = (d["index"] for d in interpreter.get_output_details())
        shape = interpreter.get_input_details()[1]["shape"]
        carried, x = np.zeros(shape, np.float32), problem.x
        put, get, invoke = interpreter.set_tensor, interpreter.get_tensor, interpreter.invoke

        def call() -> Any:
            nonlocal carried
            put(frame, x)
            put(state, carried)
            invoke()
            carried = get(after)
            return get(y)

        return Run(call, lambda array: array)


ENGINES = [LiteRt(precision) for precision in FILES]
