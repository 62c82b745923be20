"""What Python sees of the engine; tests/test_structure.py holds it against the binary."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .lowering.instructions import Buffer, Instruction

MAX_INPUTS: int

INT8_INNER: int
FORMATS: dict[str, int]
GROUPS: dict[str, int]
SPARSE_FORMATS: dict[str, int]
SPARSE_DENSITY: dict[str, tuple[float, float]]

def isas() -> list[tuple[str, bool, int, str]]: ...
def offsets(codes: NDArray[Any]) -> NDArray[Any]: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def worker_threads() -> int: ...
def checked_threads(n: object) -> int: ...
def make_stream(
    plan: Plan,
    batch: int | None = None,
    *,
    model: Any = None,
    block: int = 0,
    threads: int | None = None,
    measure: bool = False,
) -> Stream: ...

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
        values: list[Buffer],
        instructions: list[Instruction],
        inputs: list[int],
        outputs: list[int],
        states: list[tuple[str, int, str, tuple[int, ...]]],
        blockers: dict[str, str],
        *,
        isa: str,
        dtype: str,
        macs: int,
        loops: tuple[tuple[int, int, int], ...] = (),
        clocks: int = 1,
        bases: int = 1,
        latency: int = 0,
        gemm: object | None = None,
        measure: bool = False,
    ) -> None: ...
    @property
    def lanes(self) -> int: ...
    def panels(self, array: NDArray[Any], group: int = 1) -> NDArray[Any]: ...
    def side_by_side(self, array: NDArray[Any]) -> NDArray[Any]: ...
    def block(self, batch: int) -> int: ...
    def stream_bytes(self, batch: int | None = None) -> tuple[int, str | None]: ...

class Stream:
    batch: int | None
    model: Any
    threads: int | None
    def step(self, x: Any, out: Any = None) -> Any: ...
    def process(self, x: Any, out: Any = None) -> Any: ...
    def flush(self) -> Any: ...
    def _convert(self, x: Any, chunk: bool, name: str = "x") -> tuple[NDArray[Any], ...]: ...
    def _serves(self, batch: int | None, block: int, threads: int | None) -> bool: ...
    def _run_again(self, x: Any, out: Any) -> Any: ...
    def _run_converted(
        self, inputs: tuple[NDArray[Any], ...], T: int, out: Any, mask: NDArray[np.bool_] | None, chunk: bool = True
    ) -> Any: ...
    @property
    def latency(self) -> int: ...
    @property
    def state(self) -> dict[str, NDArray[Any]]: ...
    @state.setter
    def state(self, given: Mapping[str, ArrayLike]) -> None: ...
    def reset(self, rows: ArrayLike | None = None) -> None: ...
    def copy(self) -> Stream: ...
    def __copy__(self) -> Stream: ...
    def __deepcopy__(self, memo: Any) -> Stream: ...
