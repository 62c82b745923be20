"""Matrix products."""

from __future__ import annotations

import numpy as np

from ...errors import ConvertError
from ...graph import Add, Dense, MatMul, Multiply, TimeReduce
from ..tensors.values import Array, Tensor, elements, frames_of, symbols_of
from ..tensors.views import align, renumbered, view, with_ones, without
from .call import Call, Translator
from .reductions import reduced


def matmul(call: Call) -> Tensor:
    """MatMul: a Dense where the second factor is a constant matrix."""
    b = call.value(1)
    if not isinstance(b, Tensor) and b.ndim == 2:
        return dense(call, call.tensor(0), b.T, None)
    return multiply(call, call.tensor(0), call.lift(b))


def dense(call: Call, x: Tensor, weight: Array, bias: Array | None) -> Tensor:
    """x by weight (O, I) along its last axis."""
    last = x.rank - 1
    if x.rank < 1:
        raise ConvertError(f"input must have at least one axis, got {x}")
    frame = x.frame_axis(last)
    rest = [i for i in range(len(x.spec.shape)) if i != frame]
    value = call.transpose(x.value, [*rest, frame])
    y = call.add(Dense(weight, bias), value)
    return call.result(y, renumbered(x.axes, [*rest, frame]), x.elem)


def multiply(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The matrix product of two computed values, over any leading axes."""
    vectors = (a.rank == 1, b.rank == 1)
    a = with_ones(call, a, [0]) if vectors[0] else a
    b = with_ones(call, b, [1]) if vectors[1] else b
    y = _over_time(call, a, b) if a.is_time(a.rank - 1) and b.is_time(b.rank - 2) else _matrices(call, a, b)
    y = without(call, y, [y.rank - 2]) if vectors[0] else y
    return without(call, y, [y.rank - 1]) if vectors[1] else y


def _matrices(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """The product of stacks of matrices; rows or columns that are batch or time become axes of the stack."""
    if not b.is_frame(b.rank - 1):
        if not a.is_frame(a.rank - 2):
            raise ConvertError(f"product must have rows or columns of fixed number, got {a} and {b}")
        return _exchanged(_matrices(call, _exchanged(b), _exchanged(a)))
    single = not a.is_frame(a.rank - 2)
    if single:
        a, b = with_ones(call, a, [a.rank - 1]), with_ones(call, b, [b.rank - 2])
    values, axes = align(call, [a, b], tail=2)
    symbols = symbols_of(axes)
    if len(set(symbols)) < len(symbols):
        raise ConvertError(f"product must not pair batch or time with itself, got {a} and {b}")
    y = call.add(MatMul(), *values)
    count = len(frames_of(axes))
    product = call.result(y, [*axes, (count,), (count + 1,)], a.elem)
    return without(call, product, [product.rank - 2]) if single else product


def _exchanged(x: Tensor) -> Tensor:
    return x.permuted([*range(x.rank - 2), x.rank - 1, x.rank - 2])


def _over_time(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """(..., M, T) by (..., T, N): the sum over time of every step's outer product."""
    a = with_ones(call, _exchanged(a), [a.rank])
    b = with_ones(call, b, [b.rank - 1])
    values, axes = align(call, [a, b])
    y = call.add(TimeReduce("sum"), call.add(Multiply(), *values))
    return call.result(y, [*axes[:-3], *axes[-2:]], a.elem)


def gemm(call: Call) -> Tensor:
    """alpha * A B + beta * C, A and B transposed first if so told."""
    alpha, beta = float(call.attr("alpha", 1.0)), float(call.attr("beta", 1.0))
    a, b = call.tensor(0), call.value(1)
    a = a.permuted([1, 0]) if call.attr("transA", 0) else a
    transposed = call.attr("transB", 0)
    c = call.value(2) if call.given(2) else None
    if isinstance(b, Tensor):
        y = multiply(call, a, b.permuted([1, 0]) if transposed else b)
        if alpha != 1.0:
            y = call.result(call.activate(y.value, "affine", alpha=alpha), y.axes, y.elem)
    else:
        weight = (b if transposed else b.T) * b.dtype.type(alpha)
        row = isinstance(c, np.ndarray) and c.size in (1, weight.shape[0]) and c.shape[:-1] in ((), (1,))
        bias = None
        if row and isinstance(c, np.ndarray):
            bias, c = np.broadcast_to(c.reshape(-1) * c.dtype.type(beta), weight.shape[:1]), None
        y = dense(call, a, weight, bias)
    if c is None:
        return y
    addend = call.lift(c)
    if beta != 1.0:
        addend = call.result(call.activate(addend.value, "affine", alpha=beta), addend.axes, addend.elem)
    values, axes = align(call, [y, addend])
    return call.result(call.add(Add(), *values), axes, y.elem)


def fused_matmul(call: Call) -> Tensor:
    """Microsoft's MatMul with transposes and a factor."""
    a, b = call.tensor(0), call.tensor(1)
    a = _exchanged(a) if call.attr("transA", 0) else a
    b = _exchanged(b) if call.attr("transB", 0) else b
    y = multiply(call, a, b)
    return call.result(call.activate(y.value, "affine", alpha=float(call.attr("alpha", 1.0))), y.axes, y.elem)


def einsum(call: Call) -> Tensor:
    """Einsum of one or two operands that is a product of matrices with axes in another order."""
    equation = str(call.attr("equation")).replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    names = {c for c in left if c.isalpha()}
    right = right if arrow else "".join(c for c in sorted(names) if left.count(c) == 1)
    simple = all(len(set(t)) == len(t) and set(t) <= names for t in terms) and len(set(right)) == len(right)
    if simple and len(terms) == 1 and set(right) <= names:
        return _rearranged(call, call.tensor(0), left, right)
    if not simple or len(terms) != 2 or len(terms) != len(call.inputs) or not set(right) <= names:
        raise ConvertError(f"equation must be a product of two operands without repeats and '...', got {equation!r}")
    (s, t), (a, b) = terms, (call.tensor(0), call.tensor(1))
    if a.rank != len(s) or b.rank != len(t):
        raise ConvertError(f"equation must fit the inputs' {a.rank} and {b.rank} axes, got {equation!r}")
    both, free_a, free_b = ([c for c in s if c in t and c in right], [c for c in s if c not in t],
                            [c for c in t if c not in s])  # fmt: skip
    summed = [c for c in s if c in t and c not in right]
    if any(c not in right for c in free_a + free_b):
        raise ConvertError(f"equation must sum over axes of both operands alone, got {equation!r}")
    left_value = view(call, a, [a.frame_axis(s.index(c)) for c in both + free_a + summed])
    right_value = view(call, b, [b.frame_axis(t.index(c)) for c in both + summed + free_b])
    size = {c: x.spec.shape[x.frame_axis(i)] for term, x in ((s, a), (t, b)) for i, c in enumerate(term)}
    m, k, n = (elements(size[c] for c in group) for group in (free_a, summed, free_b))
    batch = [size[c] for c in both]
    y = call.add(MatMul(), call.reshape(left_value, [*batch, m, k]), call.reshape(right_value, [*batch, k, n]))
    order = both + free_a + free_b
    y = call.reshape(y, [size[c] for c in order])
    return call.result(y, [(order.index(c),) for c in right], a.elem)


def _rearranged(call: Call, x: Tensor, left: str, right: str) -> Tensor:
    """Axes in another order, those left out summed."""
    if x.rank != len(left):
        raise ConvertError(f"equation must fit the input's {x.rank} axes, got {left!r}")
    y = reduced(call, x, [i for i, c in enumerate(left) if c not in right], "sum", False)
    rest = [c for c in left if c in right]
    return y.permuted([rest.index(c) for c in right])


OPERATORS: dict[str, Translator] = {"MatMul": matmul, "Gemm": gemm, "Einsum": einsum}
MICROSOFT: dict[str, Translator] = {"FusedMatMul": fused_matmul}
