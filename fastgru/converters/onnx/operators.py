"""The operators that the importer translates: one table a file, joined here."""

from __future__ import annotations

import onnx

from .activations import MICROSOFT as MICROSOFT_ACTIVATIONS
from .activations import OPERATORS as ACTIVATIONS
from .call import Translator
from .convolutions import OPERATORS as CONVOLUTIONS
from .elementwise import OPERATORS as ELEMENTWISE
from .gathers import OPERATORS as GATHERS
from .norms import OPERATORS as NORMS
from .pools import OPERATORS as POOLS
from .products import MICROSOFT as MICROSOFT_PRODUCTS
from .products import OPERATORS as PRODUCTS
from .quantized import OPERATORS as QUANTIZED
from .recurrent import MICROSOFT as MICROSOFT_RECURRENT
from .recurrent import OPERATORS as RECURRENT
from .reductions import OPERATORS as REDUCTIONS
from .resizing import OPERATORS as RESIZING
from .scatters import OPERATORS as SCATTERS
from .shapes import OPERATORS as SHAPES
from .slices import OPERATORS as SLICES
from .spectral import OPERATORS as SPECTRAL

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
        return f"fastgru/converters/onnx/{domain.replace('.', '_') or 'custom'}.py"
    family = parts[-2] if len(parts) > 1 else "custom"
    return f"fastgru/converters/onnx/{FAMILIES.get(family, family)}.py"
