"""ConvLSTM1D, 2D and 3D: an LSTM whose products are convolutions over the item of a step.

Over the model's time it is a loop whose states lie in State nodes, after the convolution of the inputs, which needs no
state. Along an axis of the frame, whose length is fixed, its steps are written out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...errors import ConvertError
from ...graph import Activate, Activation, Concat, Conv, Reverse, Transpose
from ..program.recurrence import last_of, reversed_mask, starting
from ..program.sizes import BATCH
from ..program.windows import Window, same
from .activations import gate
from .cells import arrays_of
from .convolutions import channels_last, padded, rank_of
from .draft import Draft
from .rows import shaped, take
from .values import Array, Context, Layer, Value

GATES = 4  # i, f, c, o
STATES = 2
KEYS = "filters kernel_size strides padding data_format dilation_rate activation recurrent_activation use_bias"


class Step(NamedTuple):
    """One step on items (F, *spatial): the gates' part of the states, and what the gates do."""

    recurrent: Conv
    gate: Activation
    activation: Activation

    def __call__(self, b: Draft, z: str, h: str, c: str) -> tuple[str, str]:
        """The next h and c from the gates' part of the input."""
        gates, filters = b.plus(z, b.add(self.recurrent, h)), b.shape(h)[0]
        i, f, n, o = (b.cut(gates, 0, k * filters, (k + 1) * filters) for k in range(GATES))
        i, f, o = (b.add(Activate(self.gate), v) for v in (i, f, o))
        c = b.plus(b.times(f, c), b.times(i, b.add(Activate(self.activation), n)))
        return b.times(o, b.add(Activate(self.activation), c)), c


def conv_lstm(
    layer: Layer,
    arrays: list[Array],
    x: Value,
    states: list[Value],
    ctx: Context,
    *,
    stem: str,
    mask: Value | None,
    zero: bool,
    held: bool,
) -> tuple[Value, list[Value]]:
    """One layer in one direction: its output, with outputs at their steps' places, and its last states.

    Where it holds the states that it starts from, it starts from zeros.

    Raises
    ------
    ConvertError
        When the input or the arrays are not those of such a layer.
    """
    rank = rank_of(layer)
    if x.rank != rank + 3:
        raise ConvertError(f"input of {layer} must have {rank + 3} axes with the batch's, got {x.spec}")
    item = x.inside()
    kernel, recurrent, *biases = take(layer, arrays, *arrays_of(layer))
    bias = biases[0] if biases else None
    filters, size = layer.integer("filters"), layer.integers("kernel_size", rank)
    channels = item.frame[-1 if channels_last(layer) else 0]
    weight = np.moveaxis(shaped(layer, kernel, "kernel", (*size, channels, GATES * filters)), (-1, -2), (0, 1))
    own = np.moveaxis(shaped(layer, recurrent, "recurrent_kernel", (*size, filters, GATES * filters)), (-1, -2), (0, 1))
    if bias is not None:
        shaped(layer, bias, "bias", (GATES * filters,))
    strides, dilations = (layer.integers(k, rank, default=1) for k in ("strides", "dilation_rate"))
    windows = padded(layer, item, [Window(*each) for each in zip(size, strides, dilations, strict=True)])
    inner = _to_channels(layer._replace(name=stem), item, ctx)
    z = ctx.add(Conv(weight, bias, strides, dilations, *_sides(windows)), inner, name=f"{stem}.gates").outside(x, ctx)
    shape = (filters, *z.frame[-rank:])
    around = [same(Window(k), n) for k, n in zip(size, shape[1:], strict=True)]
    version = ctx.version
    step = Step(
        Conv(own, None, (), (), *_sides(around)), gate(layer, "recurrent_activation", version),
        gate(layer, "activation", version),
    )  # fmt: skip
    starts = [_to_channels(layer._replace(name=f"{stem}.start"), s, ctx) for s in states]
    for start in starts:
        if start.frame != shape:
            raise ConvertError(f"initial_state of {layer} must have an item of shape {shape}, got {start.spec}")
    b = Draft(stem, ctx)
    firsts: list[Any] = [] if held else [b.read(start).value for start in starts]
    firsts = firsts or [np.zeros(shape, np.float32)] * STATES
    if x.timed:
        y, ends = _over_time(b, step, b.read(z).value, firsts, mask, layer.flag("go_backwards"), zero=zero)
    else:
        y, ends = _written_out(b, step, b.read(z).value, firsts, layer.flag("go_backwards"))
    last = [_finished(layer, b, end, f"{stem}.{state}") for end, state in zip(ends, "hc", strict=True)]
    if not layer.flag("return_sequences"):
        return last[0], last
    return _finished(layer, b, y, stem, x), last


def _sides(windows: list[Window]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros before and behind every axis."""
    return tuple(w.before for w in windows), tuple(w.after for w in windows)


def _to_channels(layer: Layer, x: Value, ctx: Context) -> Value:
    """A frame (*spatial, C) as (C, *spatial); no op where it is so."""
    if not channels_last(layer):
        return x
    rank = len(x.frame)
    return ctx.add(Transpose((rank - 1, *range(rank - 1))), x, name=f"{layer.name}.channels")


def _from_channels(y: Value, ctx: Context, name: str) -> Value:
    """The way back."""
    return ctx.add(Transpose((*range(1, len(y.frame)), 0)), y, name=name)


def _finished(layer: Layer, b: Draft, value: str, name: str, x: Value | None = None) -> Value:
    """A value of the model with the axes in Keras's order; those of the steps of `x` stand in front."""
    b.name = f"{name}.channels"
    made = b.finish(b.result(value, [(BATCH,), *((i,) for i in range(len(b.shape(value))))]))
    own = made if x is None or x.timed else made.inside()
    y = _from_channels(own, b.ctx, name) if channels_last(layer) else own
    return y if own is made or x is None else y.outside(x, b.ctx)


def _over_time(
    b: Draft, step: Step, z: str, firsts: list[Any], mask: Value | None, reverse: bool, *, zero: bool
) -> tuple[str, list[str]]:
    """All steps of the model's time, and the last states."""
    shape = (b.shape(z)[0] // GATES, *b.shape(z)[1:])
    keep = None if mask is None else b.read(mask).value
    if reverse:
        z, keep = b.add(Reverse(), z), None if keep is None else reversed_mask(b.emit, keep, f"{b.name}.reversed")
    pairs = [starting(b.emit, first, shape, f"{b.name}.{state}") for first, state in zip(firsts, "hc", strict=True)]
    made = list(step(b, z, *(read for _, read in pairs)))
    y = made[0]
    if keep is not None:
        made = [b.where(keep, new, read) for new, (_, read) in zip(made, pairs, strict=True)]
        y = b.where(keep, y, 0.0) if zero else made[0]
    for (held, _), new in zip(pairs, made, strict=True):
        b.feed(held, new)
    ends = [last_of(b.emit, new, name=f"{b.name}.last") for new in made]
    return (b.add(Reverse(), y) if reverse else y), ends


def _written_out(b: Draft, step: Step, z: str, firsts: list[Any], reverse: bool) -> tuple[str, list[str]]:
    """The same of all steps along the first axis of the frame, one after the other."""
    steps, *item = b.shape(z)
    h, c = (first if isinstance(first, str) else b.constant(first) for first in firsts)
    outputs = {}
    for t in reversed(range(steps)) if reverse else range(steps):
        h, c = step(b, b.reshape(b.cut(z, 0, t, t + 1), item), h, c)
        outputs[t] = b.reshape(h, (1, *b.shape(h)))
    rows = [outputs[t] for t in range(steps)]
    return (b.add(Concat(0), *rows) if steps > 1 else rows[0]), [h, c]
