"""What Python sees; tests/package/test_structure.py holds it against the binary."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
F64 = NDArray[np.float64]
Flags = NDArray[np.uint8]

def uniforms(keys: NDArray[np.uint64], places: NDArray[np.uint32], step: int, first: int, count: int) -> F64: ...

class Chooser:
    ids: Ids
    log_p: F64
    seen: Flags | None
    def __init__(
        self,
        size: int,
        *,
        probabilities: bool = False,
        greedy: bool = True,
        temperature: float = 1,
        top_k: int = 0,
        top_p: float = 1,
        min_p: float = 0,
        penalty: float = 1,
    ) -> None: ...
    def bind(
        self,
        y: NDArray[Any],
        keys: NDArray[np.uint64],
        places: NDArray[np.uint32],
        *,
        seen: Flags | None = None,
        scored: bool = False,
    ) -> None: ...
    def see(self, y: NDArray[Any]) -> None: ...
    def limit(self, allowed: Flags | None, enders: Flags | None) -> None: ...
    def run(self, step: int) -> int: ...
