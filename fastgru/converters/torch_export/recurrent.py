"""ATen's recurrent layers and cells: over time a layer of the stream, over a fixed axis a scan of each frame."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..._hints import option
from ...errors import ConvertError
from ...graph import GRU, LSTM, RNN, Bidirectional, Binary, Expand, Recurrent
from ..program.recurrence import looped
from ..program.sizes import size_of
from ..program.steps import STEPS
from ..program.values import Tensor, describe, frames_of
from ..program.views import canonical, in_order, renumbered, view
from ..torch.layers import build_stack
from .call import Call, Handler
from .elementwise import pointwise
from .joins import concatenate, select, stack
from .states import hold, may_hold, stand_in
from .time import counter
from .views import squeeze, unsqueeze

STEMS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Layer(NamedTuple):
    """One direction of one layer of a stack: its op, its name, and which of the states is its own."""

    op: Recurrent
    name: str
    state: int


class Run(NamedTuple):
    """The results of one direction: all its outputs, and its final states."""

    outputs: Tensor
    finals: tuple[Tensor, ...]


def layers_of(
    call: Call, cls: type[Recurrent], params: Sequence[Any], biases: bool, bidirectional: bool, **attributes: Any
) -> list[list[Layer]]:
    """The directions of every layer, lowest first, from the flat weights of a module."""
    arrays = [call.array(p, "weights of a recurrent layer") for p in params]
    stems = STEMS[: 4 if biases else 2]
    ways = ["", "_reverse"][: 1 + bidirectional]
    projected = cls is LSTM and arrays[1].shape[1] * 4 != arrays[1].shape[0]
    stems = (*stems, "weight_hr") if projected else stems
    count = len(arrays) // (len(stems) * len(ways))
    names = [f"{stem}_l{k}{way}" for k in range(count) for way in ways for stem in stems]
    found = []
    stacked = build_stack(cls, dict(zip(names, arrays, strict=True)), attributes=attributes)
    for k, (suffix, layer) in enumerate(stacked):
        stem = call.name + suffix
        if isinstance(layer, Bidirectional):
            pair = ((layer.forward, "forward"), (layer.backward, "backward"))
            found.append([Layer(op, f"{stem}.{way}", 2 * k + i) for i, (op, way) in enumerate(pair)])
        else:
            found.append([Layer(layer, stem, k)])
    return found


def recurrent(
    call: Call, cls: type[Recurrent], x: Any, states: Sequence[Any], params: Sequence[Any], biases: bool,
    bidirectional: bool, batch_first: bool, lengths: Any = None, **attributes: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """A stack over the second axis of x (N, T, I), or the first without `batch_first`; (y, h) or (y, h, c)."""
    x = call.tensor(x)
    if x.rank != 3:
        raise ConvertError(f"input must have 3 axes, got {x}")
    x = x if batch_first else x.permuted((1, 0, 2))
    mask = _mask(call, x, lengths)
    finals: list[list[Tensor]] = [[] for _ in states]
    for directions in layers_of(call, cls, params, biases, bidirectional, **attributes):
        runs = [
            _direction(call, x, layer, [select(call, s, 0, layer.state) for s in states], mask) for layer in directions
        ]
        stem = Call(directions[0].name.removesuffix(".forward"), call.session)
        x = concatenate(stem, [run.outputs for run in runs], 2)
        for run in runs:
            for found, final in zip(finals, run.finals, strict=True):
                found.append(final)
    return (x if batch_first else x.permuted((1, 0, 2)), *(_stacked(call, found) for found in finals))


def _stacked(call: Call, finals: Sequence[Tensor]) -> Tensor:
    """Final states (N, R) side by side on a first axis."""
    return unsqueeze(call, finals[0], 0) if len(finals) == 1 else stack(call, finals, 0)


def _mask(call: Call, x: Tensor, lengths: Any) -> str | None:
    """Return which steps count, from how many do; None where the lengths of a call of the model say so.

    Over an axis of fixed size, how many steps of each row count.
    """
    if lengths is None:
        call.session.unpacked |= x.is_time(1)
        return None
    lengths = call.tensor(lengths)
    if x.is_frame(1):
        call.session.masked = True  # which are an input of the model
        return call.reshape(lengths.value, call.shape(lengths.value) or (1,))
    if not x.is_time(1) or x.size(1) != size_of(STEPS):
        raise ConvertError(f"packed sequences must be over the time of the input, got {describe(x, 1)}")
    if x.is_frame(0):
        raise ConvertError(f"packed sequences must be rows of a batch of any size: name it 'B' by {option('axes')}")
    if not call.session.masked and lengths.value in call.emit.inputs:
        call.emit.lengths.add(lengths.value)
        return None
    valid = pointwise(call, Binary("less"), (unsqueeze(call, counter(call), 0), unsqueeze(call, lengths, 1)))
    return call.reshape(valid.value, ())


def _direction(call: Call, x: Tensor, layer: Layer, initial: Sequence[Tensor], mask: str | None) -> Run:
    """One direction of one layer."""
    x = canonical(call, x)
    if not x.is_frame(2):
        raise ConvertError(f"features must be an axis of fixed size, got {describe(x, 2)}")
    if x.is_time(1):
        return _over_time(call, x, layer, initial, mask)
    if not x.is_frame(1):
        raise ConvertError(f"recurrent layer must run over time or an axis of fixed size, got {describe(x, 1)}")
    return _over_frame(call, x, layer, initial, mask)


# Over time ---------------------------------------------------------------------------------------


def _over_time(call: Call, x: Tensor, layer: Layer, initial: Sequence[Tensor], mask: str | None) -> Run:
    rows = frames_of(x.axes[:1])
    x = call.timed(x)
    value = view(call, x, [*rows, x.frame_axis(2)])
    many = prod(call.shape(value)[:-1])
    fixed = [_fixed(call, s) for s in initial]
    constant = all(f is not None for f in fixed)
    if many == 1 and layer.name not in call.session.unfused:
        given = [] if constant else [s.value for s in initial]
        if constant or may_hold(call, layer.name, given):
            op = layer.op.replace(**_starts(layer.op, fixed)) if constant else layer.op
            return _plain(call, x, value, layer._replace(op=op), mask, given)
    if mask is not None:
        raise ConvertError("packed sequences must start from zeros or states of the model, and end in no cell state")
    return _by_states(call, x, value, layer, [s if f is None else f for s, f in zip(initial, fixed, strict=True)])


def _fixed(call: Call, state: Tensor) -> Any:
    """The one row that an initial state is for all rows, or None."""
    array = call.emit.fixed(state.value)
    width = state.spec.shape[frames_of(state.axes)[-1]]
    if array is None:
        return None
    flat = array.reshape(-1, width)
    return flat[0] if (flat == flat[0]).all() else None


def _starts(op: Recurrent, fixed: Sequence[Any]) -> dict[str, Any]:
    """Initial states other than zeros, as fields of the op."""
    return {f"initial_{n}": f for n, f in zip(op.carried(), fixed, strict=True) if np.any(f)}


def _plain(call: Call, x: Tensor, value: str, layer: Layer, mask: str | None, given: Sequence[str]) -> Run:
    """A layer that keeps its state itself; `value` has a frame of features behind axes of size 1.

    It starts from the values `given`, states of the module, if there are any.
    """
    inputs = [call.reshape(value, call.shape(value)[-1:]), *([mask] if mask else [])]
    y = call.add(layer.op, *inputs, name=layer.name)
    finals = []
    for i, (state, size) in enumerate(layer.op.carried().items()):
        if state != "h":
            last = stand_in(call, (size,), layer.name)
        elif call.session.timed:
            last = call.add(layer.op.replace(return_sequences=False), *inputs, name=layer.name + call.session.ending)
        else:
            last = y
        if call.session.timed:
            call.emit.finals.add(last)
        if given:
            hold(call, layer.name, given[i], last)
        finals.append(_rowwise(call, x, last))
    outputs = _rowwise(call, x, y)
    return Run(call.result(outputs.value, [outputs.axes[0], x.axes[1], outputs.axes[1]]), tuple(finals))


def _rowwise(call: Call, x: Tensor, value: str) -> Tensor:
    """A value of features (R,) as (N, R), N being the rows of x."""
    row, *_ = renumbered(x.axes[:1], frames := frames_of(x.axes[:1]))
    return call.result(call.reshape(value, (*[1] * len(frames), *call.shape(value))), [row, (len(frames),)])


def _by_states(call: Call, x: Tensor, value: str, layer: Layer, initial: Sequence[Any]) -> Run:
    """A layer whose state is that of State nodes: of several rows within a frame, or with a start that is computed."""
    lead, width = call.shape(value)[:-1], call.shape(value)[-1]
    rows = prod(lead)
    starts = [_rows(call, s, rows) if isinstance(s, Tensor) else s for s in initial]
    y, finals = looped(call.emit, layer.op, call.reshape(value, (rows, width)), starts, layer.name)
    row_axis = renumbered([x.axes[0]], frames_of(x.axes[:1]))[0]
    features = (len(lead),)
    wide = [call.reshape(v, (*lead, call.shape(v)[-1])) for v in (y, *finals)]
    outputs = call.result(wide[0], [row_axis, x.axes[1], features])
    call.emit.finals.update(wide[1:])
    return Run(outputs, tuple(call.result(v, [row_axis, features]) for v in wide[1:]))


def _rows(call: Call, state: Tensor, rows: int) -> str:
    """An initial state (N, R) as a frame (rows, R)."""
    ordered = in_order(call, state)
    width = ordered.spec.shape[-1]
    value = call.reshape(ordered.value, (prod(ordered.spec.shape[:-1]), width))
    return value if call.shape(value)[0] == rows else call.add(Expand((rows, width)), value)


# Over a fixed axis -------------------------------------------------------------------------------


def _over_frame(call: Call, x: Tensor, layer: Layer, initial: Sequence[Tensor], lengths: str | None) -> Run:
    rows, seq = frames_of(x.axes[:1]), x.frame_axis(1)
    value = view(call, x, [seq, *rows, x.frame_axis(2)])
    steps, *lead, width = call.shape(value)
    many = prod(lead)
    if steps == 1 and lengths is None:
        layer = layer._replace(op=layer.op.replace(reverse=False))
    one = steps == many == 1 and lengths is None
    given = [s.value for s in initial]
    if one and not call.session.timed and x.spec.time and may_hold(call, layer.name, given):
        run = _plain(call, x, value, layer, None, given)
        rows_alone = call.result(run.outputs.value, [run.outputs.axes[0], run.outputs.axes[2]])
        return run._replace(outputs=unsqueeze(call, rows_alone, 1))
    zeros = [(fixed := _fixed(call, s)) is not None and not fixed.any() for s in initial]
    starts = {f"initial_{n}": s for n, s, zero in zip(layer.op.carried(), initial, zeros, strict=True) if not zero}
    counted = {} if lengths is None else {"lengths": lengths}
    op = layer.op.replace(scan=True, operands=(*starts, *counted))
    operands = [*(_rows(call, s, many) for s in starts.values()), *counted.values()]
    values = call.add_many(op, call.reshape(value, (steps, many, width)), *operands, name=layer.name)
    row_axis = tuple(n + 1 if isinstance(n, int) else n for n in renumbered([x.axes[0]], rows)[0])
    y = call.reshape(values[0], (steps, *lead, call.shape(values[0])[-1]))
    outputs = call.result(y, [row_axis, (0,), (len(lead) + 1,)])
    axes = [renumbered([x.axes[0]], rows)[0], (len(lead),)]
    finals = (call.result(call.reshape(v, (*lead, call.shape(v)[-1])), axes) for v in values[1:])
    return Run(outputs, tuple(finals))


# Handlers ----------------------------------------------------------------------------------------


def _refuse_dropout(dropout: float, train: bool) -> None:
    if train and dropout:
        raise ConvertError(f"dropout must be 0 or the module in eval mode, got {dropout} in training")


def _single_state(cls: type[Recurrent], **attributes: Any) -> Handler:
    """A GRU or RNN, with one state."""

    def run(
        call: Call, x: Any, hx: Any, params: Any, biases: bool, layers: int, dropout: float, train: bool,
        bidirectional: bool, batch_first: bool, lengths: Any = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        _refuse_dropout(dropout, train)
        return recurrent(call, cls, x, [hx], params, biases, bidirectional, batch_first, lengths, **attributes)

    return run


def _lstm(
    call: Call, x: Any, hx: Any, params: Any, biases: bool, layers: int, dropout: float, train: bool,
    bidirectional: bool, batch_first: bool, lengths: Any = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    _refuse_dropout(dropout, train)
    return recurrent(call, LSTM, x, list(hx), params, biases, bidirectional, batch_first, lengths)


def _cell(cls: type[Recurrent], **attributes: Any) -> Handler:
    """A cell: one step of a row, x (N, I)."""

    def run(call: Call, x: Any, hx: Any, *weights: Any) -> Any:
        params = [w for w in weights if w is not None]
        states = [unsqueeze(call, s, 0) for s in (hx if isinstance(hx, list | tuple) else [hx])]
        x = unsqueeze(call, x, 1)
        _, *finals = recurrent(call, cls, x, states, params, len(params) == 4, False, True, **attributes)
        last = [squeeze(call, f, 0) for f in finals]
        return tuple(last) if len(last) > 1 else last[0]

    return run


_PLAIN = {"gru": _single_state(GRU), "lstm": _lstm, "rnn_tanh": _single_state(RNN, activation="tanh"),
          "rnn_relu": _single_state(RNN, activation="relu")}  # fmt: skip
TABLE: dict[str, Handler] = {
    **{f"{name}.input": handler for name, handler in _PLAIN.items()},
    **{f"fastgru::{name}": handler for name, handler in _PLAIN.items()},
    "gru_cell": _cell(GRU), "lstm_cell": _cell(LSTM), "rnn_tanh_cell": _cell(RNN, activation="tanh"),
    "rnn_relu_cell": _cell(RNN, activation="relu"),
}  # fmt: skip
