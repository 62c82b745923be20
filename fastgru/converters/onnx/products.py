"""Matrix products."""

from __future__ import annotations

from typing import Any

from ..program.products import Operand, einsum, gemm, matmul
from ..program.values import Tensor
from .call import Call, Translator


def _factor(call: Call, index: int, flag: str) -> Operand:
    """A factor, its last two axes exchanged if `flag` says so."""
    x, exchanged = call.value(index), call.attr(flag, 0)
    rank = x.rank if isinstance(x, Tensor) else x.ndim
    if not exchanged or rank < 2:
        return x
    order = [*range(rank - 2), rank - 1, rank - 2]
    return x.permuted(order) if isinstance(x, Tensor) else x.transpose(order)


def product(call: Call) -> Any:
    """alpha * A B + beta * C, A and B transposed first if so told: Gemm, and Microsoft's FusedMatMul without C."""
    alpha, beta = (float(call.attr(name, 1.0)) for name in ("alpha", "beta"))
    addend = call.value(2) if call.given(2) else None
    return gemm(call, _factor(call, 0, "transA"), _factor(call, 1, "transB"), addend, alpha, beta)


def _matmul(call: Call) -> Any:
    """MatMul, of which scores of all steps by all steps may come."""
    return matmul(call, call.value(0), call.value(1))


OPERATORS: dict[str, Translator] = {
    "MatMul": _matmul, "Gemm": product,
    "Einsum": lambda call: einsum(
        call, str(call.attr("equation")), [call.value(i) for i in range(len(call.inputs))]
    ),
}  # fmt: skip
MICROSOFT: dict[str, Translator] = {"FusedMatMul": product}
