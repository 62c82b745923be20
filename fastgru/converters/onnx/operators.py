"""The operators that the importer translates: one table a file, joined here."""

from __future__ import annotations

from .activations import MICROSOFT as MICROSOFT_ACTIVATIONS
from .activations import OPERATORS as ACTIVATIONS
from .call import Translator
from .dynamic import OPERATORS as DYNAMIC
from .elementwise import OPERATORS as ELEMENTWISE
from .gathers import OPERATORS as GATHERS
from .norms import OPERATORS as NORMS
from .products import MICROSOFT as MICROSOFT_PRODUCTS
from .products import OPERATORS as PRODUCTS
from .quantized import OPERATORS as QUANTIZED
from .recurrent import MICROSOFT as MICROSOFT_RECURRENT
from .recurrent import OPERATORS as RECURRENT
from .reductions import OPERATORS as REDUCTIONS
from .requantized import MICROSOFT as MICROSOFT_QUANTIZED
from .resizing import OPERATORS as RESIZING
from .scatters import OPERATORS as SCATTERS
from .shapes import OPERATORS as SHAPES
from .slices import OPERATORS as SLICES
from .spectral import OPERATORS as SPECTRAL
from .windows import OPERATORS as WINDOWS

# fmt: off
TABLES = (
    ("", (ACTIVATIONS, DYNAMIC, ELEMENTWISE, GATHERS, NORMS, PRODUCTS, QUANTIZED, RECURRENT, REDUCTIONS, RESIZING,
          SCATTERS, SHAPES, SLICES, SPECTRAL, WINDOWS)),
    ("com.microsoft", (MICROSOFT_ACTIVATIONS, MICROSOFT_PRODUCTS, MICROSOFT_QUANTIZED, MICROSOFT_RECURRENT)),
)
# fmt: on
OPERATORS: dict[tuple[str, str], Translator] = {
    (domain, name): translator for domain, tables in TABLES for table in tables for name, translator in table.items()
}
