"""ATen's products of tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ConvertError
from ..program import products
from ..program.attention import attend, dot_scores, grouped, near
from ..program.pairs import Scores
from ..program.values import Tensor, over_time
from ..program.views import expanded, reshaped, with_ones
from .call import Call, Handler
from .elementwise import add


def _operand(call: Call, x: Any) -> Any:
    return x if isinstance(x, np.ndarray | Scores) else call.tensor(x)


def linear(call: Call, x: Any, weight: Any, bias: Any = None) -> Any:
    """x W' + b along the last axis."""
    if isinstance(weight, Tensor):
        return products.gemm(call, _operand(call, x), weight.permuted(range(weight.rank)[::-1]), bias)
    return products.gemm(call, _operand(call, x), weight.T, bias)


def matmul(call: Call, x: Any, y: Any) -> Any:
    """numpy.matmul, batch and time among the axes."""
    return products.matmul(call, _operand(call, x), _operand(call, y))


def _addmm(call: Call, bias: Any, x: Any, y: Any, beta: Any = 1, alpha: Any = 1) -> Any:
    addend = None if beta == 0 else bias
    return products.gemm(call, _operand(call, x), _operand(call, y), addend, float(alpha), float(beta))


def _sum_over(equation: str) -> Handler:
    """A handler for a product of tensors with an equation of its own."""
    return lambda call, *operands: products.einsum(call, equation, [_operand(call, x) for x in operands])


def _einsum(call: Call, equation: str, operands: Sequence[Any], path: Any = None) -> Any:
    return products.einsum(call, equation, [_operand(call, x) for x in operands])


def _bilinear(call: Call, x: Any, y: Any, weight: Any, bias: Any = None) -> Tensor:
    product = _sum_over("...i,oij,...j->...o")(call, x, weight, y)
    return product if bias is None else add(call, product, bias)


def _tensordot(call: Call, x: Any, y: Any, first: Sequence[int], second: Sequence[int]) -> Tensor:
    a, b = _operand(call, x), _operand(call, y)
    ranks = [z.ndim if isinstance(z, np.ndarray) else z.rank for z in (a, b)]
    pairs = [(call.axis(i, ranks[0]), call.axis(j, ranks[1])) for i, j in zip(first, second, strict=True)]
    return products.tensordot(call, a, b, pairs)


def _inner(call: Call, x: Any, y: Any) -> Tensor:
    return _tensordot(call, x, y, [-1], [-1])


def _attention(
    call: Call, query: Any, key: Any, value: Any, mask: Any = None, dropout: float = 0.0, causal: bool = False, *,
    scale: Any = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q k' * scale + mask) v; with grouped queries, several heads of them look at one of the keys."""
    if dropout:
        raise ConvertError(f"attention must be without dropout, got {dropout}")
    q, k, v = (call.tensor(x) for x in (query, key, value))
    sizes, width = q.sizes(), int(q.size(q.rank - 1))
    seen = near(sizes[-2], k.size(k.rank - 2), after=0) if causal else None if mask is None else _operand(call, mask)
    if enable_gqa:
        groups = int(k.size(k.rank - 3))
        q, k, v = grouped(call, q, groups), with_ones(call, k, [k.rank - 2]), with_ones(call, v, [v.rank - 2])
        if over_time(k):  # of which each head has its own
            k, v = (expanded(call, x, (*q.sizes()[:-2], *x.sizes()[-2:])) for x in (k, v))
        if seen is not None and not causal:
            m = call.tensor(seen)
            seen = (
                grouped(call, m, groups) if m.rank > 2 and m.size(m.rank - 3) != 1 else with_ones(call, m, [m.rank - 2])
            )
    scores = dot_scores(call, q, k, 1.0 / math.sqrt(width) if scale is None else float(scale))
    y, _ = attend(call, scores, v, seen)
    return reshaped(call, y, (*sizes[:-1], y.size(y.rank - 1))) if enable_gqa else y


TABLE: dict[str, Handler] = {
    "scaled_dot_product_attention": _attention,
    "linear": linear, **dict.fromkeys(("matmul", "mm", "bmm", "mv"), matmul),
    **dict.fromkeys(("addmm", "addmv", "baddbmm"), _addmm), "einsum": _einsum, "tensordot": _tensordot,
    **dict.fromkeys(("dot", "vdot"), _sum_over("i,i->")), **dict.fromkeys(("outer", "ger"), _sum_over("i,j->ij")),
    "inner": _inner, "bilinear": _bilinear,
}  # fmt: skip
