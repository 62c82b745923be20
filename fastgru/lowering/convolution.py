"""Convolutions and pools: windows of a frame as a view, with channels innermost, and products or folds of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import graph as g
from ..graph import Activation
from ..reference import f64
from .codes import FOLDS, FUNCTIONS
from .elementwise import Lowering
from .instructions import Reduce
from .linear import contract
from .program import Program, Value, order_of
from .shapes import pad, reshape
from .transforms import linear_map
from .views import CONSTANT, View

# Fewer outputs than half a vector, each of few products: packed panels would mostly hold padding.
PRODUCT_UNITS = 8
PRODUCT_WIDTH = 64
LEAST_ROW = 8  # places side by side, from which they serve as lanes
FEW_UNITS = 8  # channels of outputs, below which places serve better: a panel would be mostly padding
FEW_TERMS = 32  # of an output: gathering them for a product takes longer than adding them up
LANES = 16  # of the widest vectors
# To copy an element of a window for a product takes as long as to multiply it by so many channels; of places as lanes,
# a row of full vectors takes so many times as long as a product does (Zen 4, 13 layers of 3x3 and 5x5).
COPY, FULL_ROW = 22, 1.07
FEW_CHANNELS = 128  # to fold at one place: more lie too far apart (256 at AVX2: 1.3 times as long as a product)
LONG_ROW, NEAR_WEIGHTS = 24, 1 << 18  # places; numbers


def channels_last(p: Program, x: Value, before: Any, after: Any, number: float) -> View:
    """x (C, *S) as a view (*S + padding, C), channels side by side."""
    last = x.permuted([*range(1, len(x.shape)), 0])
    if any(before) or any(after):
        return pad(p, last, [*before, 0], [*after, 0], number, range(len(x.shape)))
    view = p.view(last)
    return view if view.shape[-1] == 1 or view.strides[-1] == 1 else p.contiguous(view)


def _counts(sizes: Any, kernel: Any, strides: Any, dilations: Any, before: Any, after: Any) -> tuple[int, ...]:
    """How many windows there are along each axis."""
    return tuple(
        (b + n + a - d * (k - 1) - 1) // step + 1
        for n, k, step, d, b, a in zip(sizes, kernel, strides, dilations, before, after, strict=True)
    )


def windows(view: View, kernel: Any, strides: Any, dilations: Any) -> View:
    """(*S, C) as (*O, *kernel, C): the elements under each position of a kernel."""
    n = len(kernel)
    out = _counts(view.shape[:n], kernel, strides, dilations, [0] * n, [0] * n)
    shape = (*out, *kernel, view.shape[-1])
    steps = (
        *[s * step for s, step in zip(view.strides[:n], strides, strict=True)],
        *[s * d for s, d in zip(view.strides[:n], dilations, strict=True)],
        view.strides[-1],
    )
    return View(view.buffer, shape, steps, view.offset, view.time, view.constant)


def convolve(
    p: Program, x: View, weight: Any, bias: Any, strides: Any, dilations: Any, groups: int, act: Activation,
    to: View | None = None, by_place: bool = False,
) -> View:  # fmt: skip
    """x (*S, C) with weight (O, C / groups, *kernel) to a view (*out, O): a new one, or that given.

    `by_place`: not as a product, for x whose places lie side by side.
    """
    n, units, inner, kernel = weight.ndim - 2, weight.shape[0], weight.shape[1], weight.shape[2:]
    seen = windows(x, kernel, strides, dilations)
    out, width = seen.shape[:n], prod(kernel) * inner
    flat: Value | None = None
    if groups == 1 and not by_place and (units >= PRODUCT_UNITS or width >= PRODUCT_WIDTH):
        flat = seen.reshaped((*out, width)) if x.buffer != CONSTANT else None
        if flat is None or p.view(flat).strides[-1] != 1:
            copied = x.buffer == CONSTANT or not where_they_lie(out, units, width)
            flat = reshape(p, p.contiguous(seen), (*out, width)) if copied else None
    if flat is not None:
        return linear_map(p, flat, np.moveaxis(weight, 1, -1).reshape(units, -1), bias, act, to=to)
    to = p.new((*out, units), x.time) if to is None else to
    each = units // groups
    own = (*seen.strides[:n], inner * seen.strides[-1], 0, *seen.strides[n:])
    a = replace(seen, shape=(*out, groups, each, *kernel, inner), strides=own)
    terms_last = np.moveaxis(f64(weight).reshape(groups, each, inner, *kernel), 2, -1)  # (groups, each, *kernel, inner)
    if by_place:
        b = View.of_constant(terms_last)
    else:  # channels side by side, for lanes
        b = View.of_constant(np.moveaxis(terms_last, (0, 1), (-2, -1))).permuted([n + 1, n + 2, *range(n), n])
    b = b.expanded((*out, groups, each, *kernel, inner))
    grouped = replace(to, shape=(*out, groups, each), strides=(*to.strides[:n], each * to.strides[-1], to.strides[-1]))
    shift = None if bias is None else View.of_constant(f64(bias).reshape(groups, each)).expanded(grouped.shape)
    contract(p, grouped, a, b, [*kernel, inner], shift, act)
    return to


def where_they_lie(out: Sequence[int], units: int, width: int) -> bool:
    """Decide whether windows are multiplied where they lie, channels as lanes and places as rows, or copied first.

    Rows must fill their tiles, and the weights, which each tile reads anew, the L2 cache. Zen 4 (AVX-512; AVX2): 3x3,
    64 channels, 24x24 488 us copied and 442 so (697; 714), 128 channels, 28x28 3438 and 2803 (3417; 3507); 20x20 334
    and 311 (439; 503); 7x7 by every other place 244 and 217 (326; 335).
    """
    return out[-1] >= LONG_ROW and width * units <= NEAR_WEIGHTS


def channels_first(view: View) -> View:
    """(*S, C) as (C, *S)."""
    return view.permuted([view.rank - 1, *range(view.rank - 1)])


def by_places(op: Any, x: Value, counts: Sequence[int]) -> bool:
    """Decide whether the lanes of a convolution, with so many places along each axis, are places, not channels.

    That needs neither another layout than images have nor a copy of every window. Where channels lie side by side
    already, turning them round would take longer. Zen 4 (AVX-512; AVX2): 3x3 over 16 channels 142 us as a product, 95
    so; 5x5, 32 channels, rows of 100 places 1625 and 1176 (1282; 1118); 1x1, 128 channels 187 and 165 (198; 205).
    """
    channels_apart, kernel = order_of(x)[-1] != 0, prod(op.weight.shape[2:])
    if x.shape[-1] < LEAST_ROW or op.strides[-1] > 2:
        return False
    if op.groups > 1:
        return op.groups == x.shape[0] and channels_apart
    units, inner = op.weight.shape[:2]
    if units < FEW_UNITS or not channels_apart:
        return bool(units < FEW_UNITS)
    if kernel * inner < FEW_TERMS:
        return True
    if op.strides[-1] > 1 or counts[-1] < LANES or (kernel == 1 and inner > FEW_CHANNELS):
        return False
    full = counts[-1] / (-(-counts[-1] // LANES) * LANES)
    return bool(full * (1 + COPY / units) >= FULL_ROW)


def places_last(p: Program, x: Value, before: Any, after: Any, number: float = 0.0) -> View:
    """x (C, *S) as a view (*S + padding, C), the places of a channel side by side."""
    if any(before) or any(after):
        view = pad(p, x, [0, *before], [0, *after], number)
    else:
        view = p.view(x)
        view = view if view.strides[-1] == 1 else p.contiguous(view)
    return view.permuted([*range(1, len(x.shape)), 0])


def _conv(p: Program, op: Any, x: Value) -> Value:
    weight, before, after = without_idle_taps(op, x.shape[1:])
    counts = _counts(x.shape[1:], weight.shape[2:], op.strides, op.dilations, before, after)
    to, by_place = None, by_places(op, x, counts)
    if by_place:
        view = places_last(p, x, before, after)
        to = p.new((*counts, weight.shape[0]), view.time, [len(counts), *range(len(counts))])
    else:
        view = channels_last(p, x, before, after, 0.0)
    made = convolve(p, view, weight, op.bias, op.strides, op.dilations, op.groups, op.activation, to, by_place)
    return channels_first(made)


def without_idle_taps(op: Any, sizes: Sequence[int]) -> tuple[Any, list[int], list[int]]:
    """The weight of a Conv, without the rims of its kernel that only ever see padding, and the padding it then needs.

    A kernel of 3 over a frame of 1, as at the end of a pyramid of strides, has one tap that sees anything.
    """
    weight, before, after = op.weight, list(op.before), list(op.after)
    for axis, (n, k, step, d) in enumerate(zip(sizes, weight.shape[2:], op.strides, op.dilations, strict=True)):
        (count,) = _counts([n], [k], [step], [d], [before[axis]], [after[axis]])
        first = np.arange(count) * step - before[axis]  # where tap 0 of each output lies
        live = [j for j in range(k) if ((first + j * d >= 0) & (first + j * d < n)).any()]
        if not live:
            continue
        start, stop = live[0], live[-1] + 1
        ahead = before[axis] - start * d
        behind = max(0, (count - 1) * step + d * (stop - start - 1) + 1 - ahead - n)
        if ahead >= 0 and (ahead + n + behind - d * (stop - start - 1) - 1) // step + 1 == count:
            weight = np.take(weight, np.arange(start, stop), axis + 2)
            before[axis], after[axis] = ahead, behind
    return weight, before, after


class Phase(NamedTuple):
    """The outputs of a transposed convolution, along one axis, that the same taps reach: every `stride`-th.

    Attributes
    ----------
    first, outputs : int
        The first of them, and how many there are.
    taps : list of int
        Those of the kernel, in the order of the inputs that they meet.
    start, dilation : int
        The input that the first tap meets at the first output, and from one tap's input to the next one's.
    """

    first: int
    outputs: int
    taps: list[int]
    start: int
    dilation: int

    @property
    def end(self) -> int:
        """Behind the last input."""
        return self.start + self.outputs + self.dilation * (len(self.taps) - 1)


def phases(size: int, kernel: int, stride: int, dilation: int, before: int) -> list[Phase]:
    """The phases of `size` outputs. Tap j of input i reaches output i * stride + j * dilation - before."""
    found = []
    for first in range(min(size, stride)):
        row, r = divmod(first + before, stride)
        taps = [j for j in reversed(range(kernel)) if (j * dilation - r) % stride == 0]
        ahead = [(j * dilation - r) // stride for j in taps]  # inputs between that of tap j and that of tap 0
        step = ahead[0] - ahead[1] if len(ahead) > 1 else 1
        found.append(Phase(first, -(-(size - first) // stride), taps, row - max(ahead, default=0), step))
    return found


def _conv_transpose(p: Program, op: Any, x: Value) -> Value:
    """A small convolution for each phase of the outputs, as a product with all taps would mostly multiply zeros."""
    n, kernel, sizes = op.weight.ndim - 2, op.weight.shape[2:], x.shape[1:]
    outputs = [
        (s - 1) * step + d * (k - 1) + 1 - b - a + more
        for s, k, step, d, b, a, more in zip(
            sizes, kernel, op.strides, op.dilations, op.before, op.after, op.output_padding, strict=True
        )
    ]
    own = []
    for size, k, *rest in zip(outputs, kernel, op.strides, op.dilations, op.before, strict=True):
        own.append(phases(size, k, *rest) if rest[0] <= k else [])
    if not all(axis and all(phase.taps for phase in axis) for axis in own):
        return _spread(p, op, x)  # some outputs are the bias alone
    before = [max(0, -min(phase.start for phase in axis)) for axis in own]
    after = [max(0, max(phase.end for phase in axis) - size) for axis, size in zip(own, sizes, strict=True)]
    channels, each = op.weight.shape[:2]
    by_place = op.groups == 1 and each < FEW_UNITS and x.shape[-1] >= LEAST_ROW
    view = places_last(p, x, before, after) if by_place else channels_last(p, x, before, after, 0.0)
    weight = op.weight.reshape(op.groups, channels // op.groups, each, *kernel).swapaxes(1, 2)
    weight = weight.reshape(op.groups * each, channels // op.groups, *kernel)
    to = p.new((*outputs, op.groups * each), view.time, [n, *range(n)] if by_place else None)
    for chosen in product(*own):
        seen, part, taps = view, to, weight
        for axis, phase in enumerate(chosen):
            start = phase.start + before[axis]
            seen = seen.sliced(axis, start, phase.end + before[axis])
            part = part.sliced(axis, phase.first, outputs[axis], op.strides[axis])
            taps = np.take(taps, phase.taps, axis + 2)
        steps = [phase.dilation for phase in chosen]
        convolve(p, seen, taps, op.bias, [1] * n, steps, op.groups, op.activation, part, by_place)
    return channels_first(to)


def _spread(p: Program, op: Any, x: Value) -> Value:
    """A convolution of the input with zeros between its elements, the kernel turned round (arXiv:1603.07285)."""
    n = op.weight.ndim - 2
    kernel, view = op.weight.shape[2:], x.permuted([*range(1, len(x.shape)), 0])
    reach = [d * (k - 1) for d, k in zip(op.dilations, kernel, strict=True)]
    before = [r - b for r, b in zip(reach, op.before, strict=True)]
    after = [r - a + o for r, a, o in zip(reach, op.after, op.output_padding, strict=True)]
    spread = [(s - 1) * step + 1 for s, step in zip(view.shape, op.strides, strict=False)]
    room = [max(0, b) + s + max(0, a) for b, s, a in zip(before, spread, after, strict=True)]
    part = to = p.zeros((*room, view.shape[-1]), view.time)
    for axis in range(n):
        start = max(0, before[axis])
        part = part.sliced(axis, start, start + spread[axis], op.strides[axis])
    p.write(view, part)
    for axis in range(n):  # padding larger than the kernel's reach cuts into the input itself
        to = to.sliced(axis, max(0, -before[axis]), room[axis] - max(0, -after[axis]))
    channels, each = op.weight.shape[0], op.weight.shape[1]
    w = op.weight.reshape(op.groups, channels // op.groups, each, *kernel).swapaxes(1, 2)
    w = np.flip(w.reshape(op.groups * each, channels // op.groups, *kernel), tuple(range(2, 2 + n)))
    ones = [1] * n
    return channels_first(convolve(p, to, w, op.bias, ones, op.dilations, op.groups, op.activation))


def _pool(p: Program, op: Any, x: Value) -> Value:
    n = len(op.kernel)
    number = -np.inf if op.mode == "max" else 0.0
    counts = _counts(x.shape[1:], op.kernel, op.strides, op.dilations, op.before, op.after)
    by_place = order_of(x)[-1] != 0 and op.strides[-1] <= 2 and counts[-1] >= LEAST_ROW
    view = (places_last if by_place else channels_last)(p, x, op.before, op.after, number)
    seen = windows(view, op.kernel, op.strides, op.dilations)
    to = p.new((*counts, view.shape[-1]), view.time, [n, *range(n)] if by_place else None)
    order = [*range(n), 2 * n, *range(n, 2 * n)]
    p.nest(Reduce, to, [seen.permuted(order)], folded=list(op.kernel),
           function=FOLDS["max" if op.mode == "max" else "sum"])  # fmt: skip
    if op.mode == "max":
        return channels_first(to)
    around = float(op.count_padding)
    counted = np.pad(np.ones(x.shape[1:]), list(zip(op.before, op.after, strict=True)), constant_values=around)
    within = windows(View.of_constant(counted[..., None]), op.kernel, op.strides, op.dilations).numbers()
    share = 1.0 / within.sum(axis=tuple(range(n, 2 * n)))
    return p.expression(FUNCTIONS["mul"], [channels_first(to), View.of_constant(np.moveaxis(share, -1, 0))])


CONVOLUTIONS: dict[type[g.Op], Lowering] = {g.Conv: _conv, g.ConvTranspose: _conv_transpose, g.Pool: _pool}
