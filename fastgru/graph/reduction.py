"""Ops that fold frame axes: reductions, the extremes and where they are, running sums and softmax."""

from __future__ import annotations

from typing import ClassVar

from ..errors import GraphError
from .fields import distinct, integer, one_of
from .op import Op
from .spec import FLOAT, NUMBER, Spec, check_axis, take

# function -> the dtypes it takes
REDUCTIONS: dict[str, tuple[str, ...]] = {
    "sum": NUMBER, "mean": FLOAT, "max": NUMBER, "min": NUMBER, "prod": NUMBER, "l1": NUMBER, "l2": FLOAT,
    "sum_square": NUMBER, "log_sum": FLOAT, "log_sum_exp": FLOAT,
}  # fmt: skip


def _folded(shape: tuple[int, ...], axes: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    return tuple(1 if i in axes else n for i, n in enumerate(shape) if keepdims or i not in axes)


class Reduce(Op):
    """Fold one or more frame axes by a function of `REDUCTIONS`.

    Examples
    --------
    >>> Reduce("mean", axes=(0,), keepdims=False).infer((Spec((2, 3)),))
    (Spec(shape=(3,), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "reduce"
    function: str
    axes: tuple[int, ...]
    keepdims: bool = True

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "function", self.function, REDUCTIONS)
        distinct(found, axes=self.axes)
        if not self.axes:
            found.append("axes must have at least one axis, got none")
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, REDUCTIONS[self.function])
        for axis in self.axes:
            check_axis(axis, len(x.shape), "axes")
        return (Spec(_folded(x.shape, self.axes, self.keepdims), x.time, x.dtype),)


class ArgReduce(Op):
    """Where along an axis the largest or smallest element is; of equal ones the first, or with `last` the last."""

    kind: ClassVar[str] = "arg_reduce"
    function: str
    axis: int
    keepdims: bool = True
    last: bool = False

    def problems(self) -> list[str]:
        found: list[str] = []
        one_of(found, "function", self.function, ("argmax", "argmin"))
        return found

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, NUMBER)
        check_axis(self.axis, len(x.shape))
        return (Spec(_folded(x.shape, (self.axis,), self.keepdims), x.time, "int"),)


class TopK(Op):
    """The k largest or smallest elements along an axis, in that order, and where they are: two outputs.

    Of equal elements the first comes first; NaN are larger than all numbers.

    Parameters
    ----------
    k, axis : int
    largest : bool
        Whether the largest come first, else the smallest.

    Examples
    --------
    >>> TopK(2, axis=1).infer((Spec((3, 5)),))
    (Spec(shape=(3, 2), time=True, dtype='float'), Spec(shape=(3, 2), time=True, dtype='int'))
    """

    kind: ClassVar[str] = "top_k"
    k: int = integer(1)
    axis: int = integer(0)
    largest: bool = True

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, NUMBER)
        check_axis(self.axis, len(x.shape))
        if self.k > x.shape[self.axis]:
            raise GraphError(f"k must be at most the {x.shape[self.axis]} elements of the axis, got {self.k}")
        shape = (*x.shape[: self.axis], self.k, *x.shape[self.axis + 1 :])
        return (Spec(shape, x.time, x.dtype), Spec(shape, x.time, "int"))


class CumSum(Op):
    """Running sum along an axis: without the element itself if `exclusive`, from the end if `reverse`."""

    kind: ClassVar[str] = "cum_sum"
    axis: int
    exclusive: bool = False
    reverse: bool = False

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, NUMBER)
        check_axis(self.axis, len(x.shape))
        return (x,)


class Softmax(Op):
    """exp(x) over its sum along an axis, or the logarithm of that."""

    kind: ClassVar[str] = "softmax"
    axis: int
    log: bool = False

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        (x,) = take(inputs, FLOAT)
        check_axis(self.axis, len(x.shape))
        return (x,)
