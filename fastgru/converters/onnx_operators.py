"""The operators that the importer translates: one table a file, joined here."""

from __future__ import annotations

import onnx

from . import (
    onnx_activations,
    onnx_convolutions,
    onnx_elementwise,
    onnx_gathers,
    onnx_norms,
    onnx_pools,
    onnx_products,
    onnx_quantized,
    onnx_recurrent,
    onnx_reductions,
    onnx_resizing,
    onnx_scatters,
    onnx_shapes,
    onnx_slices,
    onnx_spectral,
)
from .onnx_call import Translator

MICROSOFT = "com.microsoft"
OPERATORS: dict[tuple[str, str], Translator] = {
    ("", name): translator
    for module in (
        onnx_activations, onnx_convolutions, onnx_elementwise, onnx_gathers, onnx_norms, onnx_pools, onnx_products,
        onnx_quantized, onnx_recurrent, onnx_reductions, onnx_resizing, onnx_scatters, onnx_shapes, onnx_slices,
        onnx_spectral,
    )
    for name, translator in module.OPERATORS.items()
}  # fmt: skip
OPERATORS.update(
    ((MICROSOFT, name), translator)
    for module in (onnx_activations, onnx_products, onnx_recurrent)
    for name, translator in module.MICROSOFT.items()
)

# Families of operators in onnx's own sources -> the file of this package that would hold another one of them.
FAMILIES = {
    "math": "elementwise", "logical": "elementwise", "nn": "convolutions", "rnn": "recurrent", "tensor": "shapes",
    "reduction": "reductions", "quantization": "quantized", "controlflow": "control", "sequence": "sequences",
    "optional": "sequences",
}  # fmt: skip


def file_for(domain: str, op_type: str, opset: int) -> str:
    """The file of the package that would hold the translation of an operator."""
    try:
        parts = onnx.defs.get_schema(op_type, opset, domain).file.replace("\\", "/").split("/")
    except onnx.defs.SchemaError:
        return f"fastgru/converters/onnx_{domain.replace('.', '_') or 'custom'}.py"
    family = parts[-2] if len(parts) > 1 else "custom"
    return f"fastgru/converters/onnx_{FAMILIES.get(family, family)}.py"
