"""LiteRT (TensorFlow Lite) on the ``.tflite`` files that real models ship, float32 and int8."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import numpy as np

from ..cases import Problem
from ..network import Call, Network
from . import Base

FILES = {"float32": "tflite", "int8": "tflite int8"}


class LiteRt(Base):
    """Files whose first input and output are of the frame, the others the states, in order."""

    name, module = "litert", "ai_edge_litert.interpreter"

    def __init__(self, precision: str) -> None:
        super().__init__(precision)
        self.reads = FILES[precision]

    def version(self) -> str:
        return importlib.metadata.version("ai-edge-litert")

    def supports(self, problem: Problem) -> bool:
        return problem.real is not None and super().supports(problem)

    def network(self, network: Network) -> Call:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(network.files[self.reads]), num_threads=1)
        interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        frame, y, x = inputs[0]["index"], outputs[0]["index"], network.x
        states = [(a["index"], b["index"]) for a, b in zip(inputs[1:], outputs[1:], strict=True)]
        put, get, invoke = interpreter.set_tensor, interpreter.get_tensor, interpreter.invoke
        for detail in inputs[1:]:
            put(detail["index"], np.zeros(detail["shape"], np.float32))

        def call() -> Any:
            put(frame, x)
            invoke()
            for before, after in states:
                put(before, get(after))
            return get(y)

        return call


ENGINES = [LiteRt(precision) for precision in FILES]
