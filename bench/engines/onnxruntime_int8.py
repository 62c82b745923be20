"""ONNX Runtime's dynamically quantised LSTM and MatMul; it has no such GRU."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from fastgru import cpu_info

from ..cases import Problem
from ..onnx_model import OnnxModel
from .onnxruntime_ import OnnxRuntime


class OnnxRuntimeInt8(OnnxRuntime):
    """The float32 model after ``quantize_dynamic``, its weights of 7 bits where there is no VNNI.

    There its kernels add pairs of products in 16 bits, where those of 8 bits do not fit: outputs are off by 0.2.
    """

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
                weight_type=QuantType.QInt8, reduce_range=not multiplies_bytes(),
            )  # fmt: skip
            quantised = onnx.load(path)
        if not any(node.op_type in ("DynamicQuantizeLSTM", "MatMulInteger") for node in quantised.graph.node):
            raise RuntimeError("nothing was quantised")
        return bytes(quantised.SerializeToString())


def multiplies_bytes() -> bool:
    """Return True if the processor has dot products of bytes."""
    info = cpu_info()
    return bool(info["dot_products"][info["selected"]] != "plain")


ENGINES = [OnnxRuntimeInt8("int8")]
