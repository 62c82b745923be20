"""Products: Dense over any frame, convolutions as products over windows, and sums of products of two values."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from .. import graph as g
from ..graph import SOFTMAX, Activation
from ..reference import f64
from .elementwise import Lowering, activation
from .program import FOLDS, FUNCTIONS, Program, Value, collapsed, joint_time
from .reductions import softmax
from .rows import _act
from .shapes import pad, reshape
from .views import View

PRODUCT_UNITS = 8  # fewer outputs than half a vector: a product over packed panels would work on padding


def dense(
    p: Program, x: Value, weight: Any, bias: Any, act: Activation, precision: str = "float32", out: View | None = None
) -> View:
    """act(x w' + bias) over the last axis: rows of x may lie anywhere, overlapping ones too."""
    units, inner = weight.shape
    view = p.with_last_contiguous(x, 2)
    to = out if out is not None else p.new((*view.shape[:-1], units), view.time)
    loops, apart = shared_loops(p, view, to)
    if loops is None:
        view = p.contiguous(view)
        loops, apart = shared_loops(p, view, to)
    assert loops is not None
    p.emit(
        "frame_product", [view.buffer], to.buffer,
        dims=loops, read=(view.offset, *apart[0]), write=(to.offset, *apart[1]), size=units,
        w=f64(weight), bias=None if bias is None else f64(bias), act=_act(act), precision=precision,
    )  # fmt: skip
    return to


def shared_loops(p: Program, a: View, b: View) -> tuple[list[int] | None, list[list[int]]]:
    """The two loops over the rows of both views and the strides of each; None when there are more."""
    dims, strides, _ = collapsed(list(a.shape[:-1]), [list(a.strides[:-1]), list(b.strides[:-1])], a.rank - 1)
    if len(dims) > 2:
        return None, strides
    missing = 2 - len(dims)
    return [1] * missing + dims, [[0] * missing + s for s in strides]


def _dense(p: Program, op: g.Dense, x: Value) -> Value:
    rows = op.activation.name == SOFTMAX
    y = dense(p, x, op.weight, op.bias, Activation("linear") if rows else op.activation, op.precision)
    return softmax(p, y, y.rank - 1) if rows else y


def contract(
    p: Program, out: View, a: View, b: View, folded: list[int], bias: View | None = None, act: Activation | None = None
) -> None:
    """out = act(bias + sum of a b over the folded loops)."""
    reads = [a, b]
    if bias is not None:
        reads.append(View(bias.buffer, (*bias.shape, *folded), (*bias.strides, *[0] * len(folded)), bias.offset,
                          bias.time, bias.constant))  # fmt: skip
    p.nest("contract", out, reads, folded=folded, act=_act(act or Activation("linear")))


def _matmul(p: Program, op: Any, a: Value, b: Value) -> Value:
    """NumPy's matmul of two values that the model computes."""
    left, right = p.view(a), p.view(b)
    vector_a, vector_b = left.rank == 1, right.rank == 1
    left = left.with_axis(0, 1, 0) if vector_a else left
    right = right.with_axis(1, 1, 0) if vector_b else right
    swap = lambda v: v.permuted([*range(v.rank - 2), v.rank - 1, v.rank - 2])  # noqa: E731
    left = swap(left) if op.transpose_a else left
    right = swap(right) if op.transpose_b else right
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    M, K, N = left.shape[-2], left.shape[-1], right.shape[-1]
    left, right = left.expanded((*batch, M, K)), right.expanded((*batch, K, N))
    if right.strides[-1] != 1 and N > 1 and right.strides[-2] != 1:
        right = p.contiguous(right)
    to = p.new((*batch, M, N), joint_time([left, right]))
    n = len(batch)
    loops = [*range(n), n, n + 1, n + 2]  # batch, m, n, k
    a_view = left.with_axis(n + 1, N, 0)
    b_view = right.permuted([*range(n), n + 1, n]).with_axis(n, M, 0)
    assert len(loops) == a_view.rank == b_view.rank
    contract(p, to, a_view, b_view, [K])
    shape = [m for m, dropped in zip(to.shape, [*[False] * n, vector_a, vector_b], strict=True) if not dropped]
    return reshape(p, to, shape)


# Convolutions, with channels innermost -------------------------------------------------------------


def channels_last(p: Program, x: Value, before: Any, after: Any, number: float, *, groups: int) -> View:
    """x (C, *S) as a view (*S + padding, C), channels side by side."""
    view = p.view(x)
    view = view.permuted([*range(1, view.rank), 0])
    if any(before) or any(after):
        return pad(p, view, [*before, 0], [*after, 0], number)
    return view if view.shape[-1] == 1 or view.strides[-1] == 1 else p.contiguous(view)


def windows(view: View, kernel: Any, strides: Any, dilations: Any) -> View:
    """(*S, C) as (*O, *kernel, C): the elements under each position of a kernel."""
    n = len(kernel)
    out = [(s - d * (k - 1) - 1) // step + 1 for s, k, step, d in
           zip(view.shape, kernel, strides, dilations, strict=False)]  # fmt: skip
    shape = (*out, *kernel, view.shape[-1])
    steps = (
        *[s * step for s, step in zip(view.strides[:n], strides, strict=True)],
        *[s * d for s, d in zip(view.strides[:n], dilations, strict=True)],
        view.strides[-1],
    )
    return View(view.buffer, shape, steps, view.offset, view.time, view.constant)


def convolve(p: Program, x: View, weight: Any, bias: Any, strides: Any, dilations: Any, groups: int,
             act: Activation) -> View:  # fmt: skip
    """x (*S, C) with weight (O, C / groups, *kernel) to a view (*out, O)."""
    n = weight.ndim - 2
    units, inner, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
    seen = windows(x, kernel, strides, dilations)
    out, plain = seen.shape[:n], Activation("linear")
    elementwise = plain if act.name == SOFTMAX else act
    if groups == 1 and (units >= PRODUCT_UNITS or prod(kernel) * inner >= 64):
        flat = seen.reshaped((*out, prod(kernel) * inner)) if x.buffer >= 0 else None
        if flat is None or flat.strides[-1] != 1:
            flat = reshape(p, p.contiguous(seen), (*out, prod(kernel) * inner))
        ordered = np.moveaxis(f64(weight), 1, -1).reshape(units, -1)
        return dense(p, flat, ordered, bias, elementwise)
    to = p.new((*out, units), x.time)
    each = units // groups
    # a: (*out, group, unit | *kernel, channel); b: weights with the units of a group side by side
    a = View(x.buffer, (*out, groups, each, *kernel, inner),
             (*seen.strides[:n], inner * seen.strides[-1], 0, *seen.strides[n:]), x.offset, x.time, x.constant)  # fmt: skip
    w = np.moveaxis(f64(weight).reshape(groups, each, inner, *kernel), (2, 0, 1), (-3, -2, -1))  # (*kernel, inner, G, each)
    b = View.of_constant(w)
    b = b.permuted([n + 1, n + 2, *range(n), n])
    for _ in range(n):
        b = b.with_axis(0, 1, 0)
    b = b.expanded((*out, groups, each, *kernel, inner))
    grouped = View(to.buffer, (*out, groups, each), (*to.strides[:n], each, 1), to.offset, to.time)
    shift = None if bias is None else View.of_constant(f64(bias).reshape(groups, each)).expanded(grouped.shape)
    contract(p, grouped, a, b, [*kernel, inner], shift, elementwise)
    return to


def channels_first(view: View) -> View:
    """(*S, C) as (C, *S)."""
    return view.permuted([view.rank - 1, *range(view.rank - 1)])


def _conv(p: Program, op: Any, x: Value) -> Value:
    view = channels_last(p, x, op.before, op.after, 0.0, groups=op.groups)
    return channels_first(convolve(p, view, op.weight, op.bias, op.strides, op.dilations, op.groups, op.activation))


def _conv_transpose(p: Program, op: Any, x: Value) -> Value:
    """A convolution of the input with zeros between its elements, the kernel turned round (Dumoulin, arXiv:1603.07285)."""
    n = op.weight.ndim - 2
    kernel, view = op.weight.shape[2:], p.view(x)
    view = view.permuted([*range(1, view.rank), 0])
    reach = [d * (k - 1) for d, k in zip(op.dilations, kernel, strict=True)]
    before = [r - b for r, b in zip(reach, op.before, strict=True)]
    after = [r - a + o for r, a, o in zip(reach, op.after, op.output_padding, strict=True)]
    spread = [(s - 1) * step + 1 for s, step in zip(view.shape, op.strides, strict=False)]
    room = [max(0, b) + s + max(0, a) for b, s, a in zip(before, spread, after, strict=True)]
    to = p.new((*room, view.shape[-1]), view.time)
    p.fill(to, 0.0)
    part = to
    for axis in range(n):
        start = max(0, before[axis])
        part = part.sliced(axis, start, start + spread[axis], op.strides[axis])
    p.copy(view, part)
    for axis in range(n):  # padding larger than the kernel's reach cuts into the input itself
        to = to.sliced(axis, max(0, -before[axis]), room[axis] - max(0, -after[axis]))
    channels, each = op.weight.shape[0], op.weight.shape[1]
    w = f64(op.weight).reshape(op.groups, channels // op.groups, each, *kernel).swapaxes(1, 2)
    w = np.flip(w.reshape(op.groups * each, channels // op.groups, *kernel), tuple(range(2, 2 + n)))
    ones = [1] * n
    return channels_first(convolve(p, to, w, op.bias, ones, op.dilations, op.groups, op.activation))


def _pool(p: Program, op: Any, x: Value) -> Value:
    n = len(op.kernel)
    number = -np.inf if op.mode == "max" else 0.0
    view = channels_last(p, x, op.before, op.after, number, groups=1)
    seen = windows(view, op.kernel, op.strides, op.dilations)
    out = seen.shape[:n]
    to = p.new((*out, view.shape[-1]), view.time)
    order = [*range(n), 2 * n, *range(n, 2 * n)]
    p.nest("reduce", to, [seen.permuted(order)], folded=list(op.kernel),
           function=FOLDS["max" if op.mode == "max" else "sum"])  # fmt: skip
    if op.mode == "max":
        return channels_first(to)
    ones = np.ones((*x.shape[1:],))
    if op.count_padding:
        ones = np.ones(view.shape[:-1])
        counted = ones
    else:
        counted = np.pad(ones, list(zip(op.before, op.after, strict=True)))
    counts = windows(View.of_constant(counted[..., None]), op.kernel, op.strides, op.dilations).numbers()
    share = 1.0 / counts.sum(axis=tuple(range(n, 2 * n)))
    return p.expression(FUNCTIONS["mul"], [channels_first(to), View.of_constant(np.moveaxis(share, -1, 0))])


def dft(n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(2 (n // 2 + 1), n): real and imaginary part of each frequency in turn."""
    angle = -2.0 * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(-1, n)


def inverse_dft(n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(n, 2 (n // 2 + 1)): a real signal from the frequencies that `dft` gives."""
    weight = np.full((n // 2 + 1, 2), 2.0)
    weight[0] = 1.0
    if n % 2 == 0:
        weight[-1] = 1.0
    weight[:, 1] *= -1.0
    angle = 2.0 * np.pi * np.outer(np.arange(n), np.arange(n // 2 + 1)) / n
    parts = np.stack([np.cos(angle), np.sin(angle)], axis=2) * weight * [1.0, 1.0]
    return (parts / n).reshape(n, -1)


def _rfft(p: Program, op: Any, x: Value) -> Value:
    y = dense(p, x, dft(op.n), None, Activation("linear"))
    return reshape(p, y, (*y.shape[:-1], op.n // 2 + 1, 2))


def _irfft(p: Program, op: Any, x: Value) -> Value:
    flat = reshape(p, x, (*x.shape[:-2], x.shape[-2] * 2))
    return dense(p, flat, inverse_dft(op.n), None, Activation("linear"))


LINEAR: dict[type[g.Op], Lowering] = {
    g.Dense: _dense,
    g.MatMul: _matmul,
    g.Conv: _conv,
    g.ConvTranspose: _conv_transpose,
    g.Pool: _pool,
    g.RFFT: _rfft,
    g.IRFFT: _irfft,
}
__all__ = ["LINEAR", "activation", "dense"]
