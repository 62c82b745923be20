"""What Python sees of the BLAS wrapper; tests/test_structure.py holds it against the binary."""

from typing import Any

from numpy.typing import NDArray

def functions() -> object: ...
def add_product(a: NDArray[Any], b: NDArray[Any], c: NDArray[Any]) -> None: ...
