"""What Python sees; tests/package/test_structure.py holds it against the binary."""

from typing import Any

from numpy.typing import NDArray

INT8_INNER: dict[str, int]
FORMATS: dict[str, int]
GROUPS: dict[str, int]
SPARSE_FORMATS: dict[str, int]
SPARSE_DENSITY: dict[str, tuple[float, float]]

def offsets(codes: NDArray[Any]) -> NDArray[Any]: ...
