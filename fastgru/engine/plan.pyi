"""What Python sees; tests/package/test_structure.py holds it against the binary."""

import numpy as np
from numpy.typing import NDArray

from ..lowering.encoding import Program

class Plan:
    inputs: list[int]
    outputs: list[int]
    states: list[tuple[str, int, str, tuple[int, ...]]]
    blockers: dict[str, str]
    sizes: list[tuple[int, bool, str]]
    shapes: list[tuple[int, ...]]
    names: list[str]
    dtypes: dict[int, str]
    isa: str
    dtype: str
    macs: int
    bases: int
    latency: int
    bytes: int
    packed_bytes: list[int]
    measure: bool
    def __init__(
        self,
        program: Program,
        *,
        isa: str,
        dtype: str,
        gemm: object | None = None,
        measure: bool = False,
        stored: tuple[NDArray[np.uint8], list[int]] | None = None,
        lanes: int = 0,
        check: bool = False,
    ) -> None: ...
    @property
    def lanes(self) -> int: ...
    def packed(self) -> tuple[list[NDArray[np.uint8]], list[int]]: ...
    def bound(self, name: str) -> int: ...
    def block(self, batch: int) -> int: ...
