"""Values that no input gives: constants, and the states of feedback loops."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import numpy as np

from .._arrays import as_array
from ..errors import GraphError
from .fields import one_of
from .op import REST, Op, param
from .precision import Array
from .spec import ANY, Spec

EXACT = 2**53  # integers up to here are numbers of float64


def _none(inputs: tuple[Spec, ...]) -> None:
    if inputs:
        raise GraphError(f"number of inputs must be 0, got {len(inputs)}")


class Constant(Op):
    """The same frame for every row and step.

    Parameters
    ----------
    value : array of any rank
        Integers and bools are kept as the floats they equal.
    dtype : {"float", "int", "bool"}
        Of the value in the graph.

    Examples
    --------
    >>> Constant([[1, 2]], dtype="int").infer(())
    (Spec(shape=(1, 2), time=False, dtype='int'),)
    """

    kind: ClassVar[str] = "constant"
    value: Array = param(REST)
    dtype: str = "float"

    def __post_init__(self) -> None:
        value = as_array(self.value, "Constant value")
        if value.dtype.kind in "biu":
            object.__setattr__(self, "value", value.astype(np.float64))
        super().__post_init__()

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "dtype", self.dtype, ANY)
        whole = np.isfinite(self.value) & (self.value == np.floor(self.value)) & (np.abs(self.value) <= EXACT)
        allowed = {"int": whole, "bool": (self.value == 0) | (self.value == 1)}.get(self.dtype)
        if allowed is not None and not allowed.all():
            what = "integers within +-2**53" if self.dtype == "int" else "0 or 1"
            found.append(f"value must be {what} for dtype {self.dtype!r}, got {self.value[~allowed][0]}")
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        _none(inputs)
        return (Spec(self.value.shape, False, self.dtype),)

    def macs(self) -> int:
        return 0


class State(Op):
    """What `Graph.feedback` wrote one step before; at the first step `initial`, an array of the frame's shape.

    Examples
    --------
    >>> State(np.zeros((2, 3))).infer(())
    (Spec(shape=(2, 3), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "state"
    initial: Array = param(REST)

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        _none(inputs)
        return (Spec(self.initial.shape),)

    def states(self) -> dict[str, int]:
        return {"": prod(self.initial.shape)}

    def macs(self) -> int:
        return 0
