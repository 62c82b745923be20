"""ONNX Runtime, float32, through an I/O binding: faster than ``session.run`` by 2 to 3 us a call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases import Problem
from ..network import Call, Network
from ..onnx_model import OnnxModel, build, shipped
from . import Base, Run


class OnnxRuntime(Base):
    """Inputs and outputs bound to NumPy arrays once; a carried state swaps between two of them."""

    name = module = "onnxruntime"
    needs = ("onnx",)
    reads = "onnx"

    def model_bytes(self, model: OnnxModel) -> bytes:
        """What the session loads."""
        return model.data

    def generated(self, problem: Problem) -> Run:
        model = build(problem)
        return Run(self.bound(model), model.read)

    def network(self, network: Network) -> Call:
        return self.bound(shipped(network))

    def bound(self, model: OnnxModel) -> Call:
        """A call that returns the first output."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(self.model_bytes(model), options, providers=["CPUExecutionProvider"])
        bindings, result = [], next(iter(model.outputs))
        arrays = {n: np.zeros(shape, np.float32) for n, shape in model.outputs.items() if n not in model.carried}
        states = [{i: model.inputs[i].copy() for i in model.carried.values()} for _ in range(2)]
        wrap = onnxruntime.OrtValue.ortvalue_from_numpy
        for turn in range(2 if model.carried else 1):
            binding = session.io_binding()
            before, after = states[turn], states[1 - turn]
            for name, array in {**model.inputs, **before}.items():
                binding.bind_ortvalue_input(name, wrap(array))
            for name, array in {**arrays, **{o: after[i] for o, i in model.carried.items()}}.items():
                binding.bind_ortvalue_output(name, wrap(array))
            bindings.append(binding)
        keep = (states, arrays, model.inputs)  # the bindings alias this memory
        return _calls(session.run_with_iobinding, bindings, arrays[result], keep)


def _calls(run: Any, bindings: list[Any], y: Any, keep: Any) -> Call:
    """A call that runs the bindings in turn and returns `y`."""
    if len(bindings) == 1:
        (binding,) = bindings

        def whole(keep: Any = keep) -> Any:
            run(binding)
            return y

        return whole
    now, then = bindings

    def step(keep: Any = keep) -> Any:
        nonlocal now, then
        run(now)
        now, then = then, now
        return y

    return step


ENGINES = [OnnxRuntime()]
