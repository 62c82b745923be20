"""The product of two values."""

from __future__ import annotations

from math import prod
from typing import ClassVar

from ..errors import GraphError
from .op import Op
from .spec import FLOAT, Spec, joint_shape, joint_time, take


class MatMul(Op):
    """(a, b): ``numpy.matmul`` of the frames, each with its last two axes exchanged first if so told.

    Examples
    --------
    >>> MatMul(transpose_b=True).infer((Spec((4, 2, 3)), Spec((5, 3), time=False)))
    (Spec(shape=(4, 2, 5), time=True, dtype='float'),)
    """

    kind: ClassVar[str] = "mat_mul"
    transpose_a: bool = False
    transpose_b: bool = False

    def infer(self, inputs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        a, b = take(inputs, FLOAT, FLOAT)
        (*many_a, rows, inner), (*many_b, inner_b, columns) = self.operands(a.shape, b.shape)
        if inner != inner_b:
            raise GraphError(f"frames must agree in the axis that is summed, got {inner} and {inner_b}")
        kept = joint_shape([tuple(many_a), tuple(many_b)])
        kept += (rows,) if len(a.shape) > 1 else ()
        kept += (columns,) if len(b.shape) > 1 else ()
        return (Spec(kept, joint_time(inputs)),)

    def operands(self, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The frames as stacks of matrices (..., N, K) and (..., K, M): exchanged, and vectors with an axis of 1."""
        pairs = (("a", a, self.transpose_a), ("b", b, self.transpose_b))
        for name, shape, exchanged in pairs:
            if len(shape) < 1 + exchanged:
                raise GraphError(f"{name} must have at least {1 + exchanged} frame axes, got {shape}")
        a, b = ((*s[:-2], s[-1], s[-2]) if exchanged else s for _, s, exchanged in pairs)
        return (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))

    def macs_for(self, inputs: tuple[Spec, ...]) -> int:
        inner = self.operands(inputs[0].shape, inputs[1].shape)[0][-1]
        return inner * prod(self.infer(inputs)[0].shape)
