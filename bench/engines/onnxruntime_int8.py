"""ONNX Runtime's dynamically quantised LSTM and MatMul; it has no such GRU."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from ..cases import Problem
from ..onnx_model import OnnxModel
from .onnxruntime_ import OnnxRuntime


class OnnxRuntimeInt8(OnnxRuntime):
    """The float32 model after ``quantize_dynamic``."""

    def supports(self, problem: Problem) -> bool:
        return super().supports(problem) and (problem.case.cell == "lstm" or problem.case.model.startswith("dtln"))

    def model_bytes(self, model: OnnxModel) -> bytes:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        logging.getLogger().setLevel(logging.ERROR)  # it advises on the root logger
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_dynamic(
                onnx.load_from_string(model.data), path, op_types_to_quantize=["LSTM", "MatMul"],
                weight_type=QuantType.QInt8,
            )  # fmt: skip
            quantised = onnx.load(path)
        if not any(node.op_type in ("DynamicQuantizeLSTM", "MatMulInteger") for node in quantised.graph.node):
            raise RuntimeError("nothing was quantised")
        return bytes(quantised.SerializeToString())


ENGINES = [OnnxRuntimeInt8("int8")]
