"""Products: by a weight over the last axis of any frame, and of two values."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import graph as g
from ..graph import Activation
from ..reference import f64
from .elementwise import Lowering
from .instructions import Contract, FrameProduct, Rows
from .program import Program, Value, collapsed, joint_time
from .rows import IN_FLOAT32
from .rows import act as coded
from .shapes import reshape
from .views import View

# A product of two values makes lanes of the second one's columns, which must lie side by side for it: they are copied
# so from this many rows of the first on. 16 numbers of 100 queries and 100 keys, four heads (Zen 4, AVX-512): 151 us as
# dot products of what lies side by side already, one output at a time, and 30 us so.
ROWS_TO_TURN = 4


def dense(
    p: Program, x: Value, weight: Any, bias: Any, act: Activation, how: dict[str, Any] = IN_FLOAT32,
    out: View | None = None,
) -> View:  # fmt: skip
    """act(x w' + bias) over the last axis: rows of x may lie anywhere, overlapping ones too."""
    units = weight.shape[0]
    view = p.with_last_contiguous(x, 2)
    to = out if out is not None else p.new((*view.shape[:-1], units), view.time)
    loops, apart = shared_loops(p, view, to)
    if loops is None:
        view = p.contiguous(view)
        loops, apart = shared_loops(p, view, to)
    assert loops is not None
    p.emit(
        FrameProduct(
            inputs=(view.buffer,), output=to.buffer, size=units,
            dims=loops, read=Rows(view.offset, *apart[0]), write=Rows(to.offset, *apart[1]),
            w=weight, bias=None if bias is None else f64(bias), act=coded(act), **how,
        )
    )  # fmt: skip
    return to


def shared_loops(p: Program, a: View, b: View) -> tuple[tuple[int, int] | None, list[list[int]]]:
    """The two loops over the rows of both views and the strides of each; None when there are more."""
    dims, strides, _ = collapsed(list(a.shape[:-1]), [list(a.strides[:-1]), list(b.strides[:-1])], a.rank - 1)
    if len(dims) > 2:
        return None, strides
    missing = 2 - len(dims)
    first, second = [1] * missing + dims
    return (first, second), [[0] * missing + s for s in strides]


def contract(
    p: Program, out: View, a: View, b: View, folded: list[int], bias: View | None = None, act: Activation | None = None
) -> None:
    """out = act(bias + sum of a b over the folded loops)."""
    reads = [a, b]
    if bias is not None:
        reads.append(View(bias.buffer, (*bias.shape, *folded), (*bias.strides, *[0] * len(folded)), bias.offset,
                          bias.time, bias.constant))  # fmt: skip
    p.nest(Contract, out, reads, folded=folded, act=coded(act or Activation("linear")))


def swapped(view: View) -> View:
    """The last two axes exchanged."""
    return view.permuted([*range(view.rank - 2), view.rank - 1, view.rank - 2])


def matrices(p: Program, left: View, right: View) -> View:
    """left (..., M, K) times right (..., K, N), of the same leading axes."""
    n, M, (K, N) = left.rank - 2, left.shape[-2], right.shape[-2:]
    to = p.new((*left.shape[:n], M, N), joint_time([left, right]))
    contract(p, to, left.with_axis(n + 1, N, 0), swapped(right).with_axis(n, M, 0), [K])  # loops: lead, m, n, k
    return to


def _matmul(p: Program, op: Any, a: Value, b: Value) -> Value:
    """NumPy's matmul of two values that the model computes."""
    left, right = p.view(a), p.view(b)
    vector_a, vector_b = left.rank == 1, right.rank == 1
    left = left.with_axis(0, 1, 0) if vector_a else left
    right = right.with_axis(1, 1, 0) if vector_b else right
    left = swapped(left) if op.transpose_a else left
    right = swapped(right) if op.transpose_b else right
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    M, K, N = left.shape[-2], left.shape[-1], right.shape[-1]
    if right.strides[-1] != 1 and N > 1 and M >= ROWS_TO_TURN:
        right = p.contiguous(right)
    left, right = left.expanded((*batch, M, K)), right.expanded((*batch, K, N))
    if right.strides[-1] != 1 and N > 1 and right.strides[-2] != 1:
        right = p.contiguous(right)
    to = matrices(p, left, right)
    shape = [m for m, dropped in zip(to.shape, [*[False] * len(batch), vector_a, vector_b], strict=True) if not dropped]
    return reshape(p, to, shape)


LINEAR: dict[type[g.Op], Lowering] = {g.MatMul: _matmul}
