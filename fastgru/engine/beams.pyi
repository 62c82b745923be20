"""What Python sees; tests/package/test_structure.py holds it against the binary."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
F64 = NDArray[np.float64]
Flags = NDArray[np.uint8]

class Beams:
    ids: Ids
    parents: Ids
    beams: Ids
    sums: F64
    order: Ids
    worst: F64
    found: Flags
    rows: int
    step: int
    moved: bool
    def __init__(
        self, size: int, count: int, width: int, *, probabilities: bool = False, normal: bool = True
    ) -> None: ...
    def run(self, y: NDArray[Any], allowed: Flags, enders: Flags) -> int: ...
    def ended(self) -> list[tuple[int, int, int, float, float]]: ...
    def place(self, divisor: float, may_end: bool) -> int: ...
    def sequence(self, row: int, most: int | None = None) -> tuple[Ids, F64]: ...
