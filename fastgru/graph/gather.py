"""Ops that integer ids steer."""

from __future__ import annotations

from typing import ClassVar

from .fields import finite, integer
from .op import Op
from .spec import ANY, INT, Spec, check_axis, joint_time, take


class Gather(Op):
    """(data, ids): the elements of data along an axis that the ids name, the ids' frame in the axis's place.

    Negative ids count from the end; those outside of the axis are an error when the model runs.

    Examples
    --------
    >>> Gather(axis=1).infer((Spec((2, 5, 3)), Spec((4,), dtype="int")))
    (Spec(shape=(2, 4, 3), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "gather"
    axis: int

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        data, ids = take(inputs, ANY, INT)
        check_axis(self.axis, len(data.shape))
        shape = (*data.shape[: self.axis], *ids.shape, *data.shape[self.axis + 1 :])
        return (Spec(shape, joint_time(inputs), data.dtype),)


class OneHot(Op):
    """`on` at an id's place along a new axis of `depth`, `off` elsewhere.

    Ids in [-depth, 0) count from the end; others outside of [0, depth) give `off` alone (ONNX).
    """

    kind: ClassVar[str] = "one_hot"
    depth: int = integer(1)
    axis: int = integer(0)
    on: float = 1.0
    off: float = 0.0

    def problems(self) -> list[str]:
        found: list[str] = []
        finite(found, on=self.on, off=self.off)
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (ids,) = take(inputs, INT)
        check_axis(self.axis, len(ids.shape) + 1)
        return (Spec((*ids.shape[: self.axis], self.depth, *ids.shape[self.axis :]), ids.time),)
