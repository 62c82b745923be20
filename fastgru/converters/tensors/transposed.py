"""Transposed convolutions over time: a product for each step, the frames of which are laid over each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ...graph import ConvTranspose, Dense, Op, OverlapAdd, Reshape, TimeConv, Transpose
from ...graph.convolution import extent
from .values import Array, room


class Along(NamedTuple):
    """What a transposed convolution does along one axis; `before` and `after` are cut off, `extra` is added behind."""

    stride: int
    dilation: int = 1
    before: int = 0
    after: int = 0
    extra: int = 0


def over_time(weight: Array, along: Along, rest: Sequence[Along], groups: int, frame: Sequence[int]) -> Iterator[Op]:
    """The ops, each on the output of the one before, of a transposed convolution without its bias.

    Parameters
    ----------
    weight : (C, O / groups, K, \\*kernel) array
        Its first spatial axis is the one along time.
    along : Along
        Over time.
    rest : sequence of Along
        Over the other spatial axes.
    groups : int
    frame : sequence of int
        That of the input, (C, \\*spatial).

    Examples
    --------
    >>> [op.kind for op in over_time(np.ones((8, 3, 4)), Along(2, before=1, after=1), [], 1, (8,))]
    ['dense', 'reshape', 'overlap_add']
    """
    channels, each, taps = weight.shape[:3]
    size = extent(taps, along.dilation)
    if not rest and (along.stride, along.extra) == (1, 0) and max(along.before, along.after) < size:
        yield _turned(weight, along, groups)
        return
    if along.dilation > 1:  # steps that no tap reaches get zeros
        room(channels, each, size, *weight.shape[3:])
        spread = np.zeros((channels, each, size, *weight.shape[3:]), dtype=weight.dtype)
        spread[:, :, :: along.dilation] = weight
        weight = spread
    weight = np.moveaxis(weight, 2, 1)  # (C, size, O / groups, *kernel): the steps of a frame as channels
    units = size * each
    if not rest and groups == 1:
        yield Dense(weight.reshape(channels, units).T)
        spatial: tuple[int, ...] = ()
    else:
        if not rest:
            yield Reshape((channels, 1))
        kernel = weight.shape[3:] or (1,)
        strides, dilations, before, after, extra = zip(*(rest or [Along(1)]), strict=True)
        weight = weight.reshape(channels, units, *kernel)
        yield ConvTranspose(weight, None, strides, dilations, before, after, extra, groups)
        spatial = tuple(
            (n - 1) * a.stride + extent(k, a.dilation) - a.before - a.after + a.extra
            for n, k, a in zip(frame[1:], kernel, rest, strict=False)
        )
    if groups > 1:
        yield Reshape((groups, size, each, *spatial))
        yield Transpose((1, 0, 2, *range(3, 3 + len(spatial))))
    yield Reshape((size, groups * each, *spatial))
    yield OverlapAdd(size, along.stride, along.before, size - along.stride - along.after + along.extra)


def _turned(weight: Array, along: Along, groups: int) -> TimeConv:
    """Of stride 1: a convolution whose kernel is turned round."""
    channels, each, taps = weight.shape
    blocks = weight.reshape(groups, channels // groups, each, taps).swapaxes(1, 2)[..., ::-1]
    reach = along.dilation * (taps - 1)
    turned = blocks.reshape(groups * each, channels // groups, taps)
    return TimeConv(turned, None, 1, along.dilation, reach - along.before, reach - along.after, groups)
