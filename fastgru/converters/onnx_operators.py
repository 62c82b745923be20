"""The operators that the importer translates: one table a file, joined here."""

from __future__ import annotations

import onnx

from .onnx_activations import MICROSOFT as MICROSOFT_ACTIVATIONS
from .onnx_activations import OPERATORS as ACTIVATIONS
from .onnx_call import Translator
from .onnx_convolutions import OPERATORS as CONVOLUTIONS
from .onnx_elementwise import OPERATORS as ELEMENTWISE
from .onnx_gathers import OPERATORS as GATHERS
from .onnx_norms import OPERATORS as NORMS
from .onnx_pools import OPERATORS as POOLS
from .onnx_products import MICROSOFT as MICROSOFT_PRODUCTS
from .onnx_products import OPERATORS as PRODUCTS
from .onnx_quantized import OPERATORS as QUANTIZED
from .onnx_recurrent import MICROSOFT as MICROSOFT_RECURRENT
from .onnx_recurrent import OPERATORS as RECURRENT
from .onnx_reductions import OPERATORS as REDUCTIONS
from .onnx_resizing import OPERATORS as RESIZING
from .onnx_scatters import OPERATORS as SCATTERS
from .onnx_shapes import OPERATORS as SHAPES
from .onnx_slices import OPERATORS as SLICES
from .onnx_spectral import OPERATORS as SPECTRAL

# fmt: off
TABLES = (
    ("", (ACTIVATIONS, CONVOLUTIONS, ELEMENTWISE, GATHERS, NORMS, POOLS, PRODUCTS, QUANTIZED, RECURRENT, REDUCTIONS,
          RESIZING, SCATTERS, SHAPES, SLICES, SPECTRAL)),
    ("com.microsoft", (MICROSOFT_ACTIVATIONS, MICROSOFT_PRODUCTS, MICROSOFT_RECURRENT)),
)
# fmt: on
OPERATORS: dict[tuple[str, str], Translator] = {
    (domain, name): translator for domain, tables in TABLES for table in tables for name, translator in table.items()
}

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
