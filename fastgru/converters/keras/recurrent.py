"""Keras's recurrent layers: GRU, LSTM, SimpleRNN, their cells in RNN, and Bidirectional.

A layer that reads the model's time becomes a recurrent op that streams. One that reads a sequence along an axis of
the frame (after RepeatVector, in TimeDistributed, or where something else needs the number of steps) becomes the same
op with ``scan``, which also takes initial states and returns the last ones.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from ..._hints import either
from ...errors import ConvertError
from ...graph import MERGE_OPS, Recurrent, Reshape, Reverse, Slice
from .cells import CELLS, CONVOLUTIONAL, INSIDE_RNN, RECURRENT, arrays_of, cells_of, directions
from .conv_lstm import KEYS as CONV_KEYS
from .conv_lstm import STATES, conv_lstm
from .masking import keeps_mask, known_mask, step_mask
from .rows import Row, take
from .starts import ends_held, may_hold, started
from .values import AcrossTime, Array, Context, Later, Layer, Value, as_layer

CELL_KEYS = "units activation recurrent_activation use_bias reset_after"
CELL_HARMLESS = "dropout recurrent_dropout implementation unit_forget_bias"
LAYER_KEYS = "return_sequences return_state go_backwards stateful zero_output_for_mask"
LAYER_HARMLESS = "unroll input_dim input_length use_cudnn"
LAYER_FIXED = {"time_major": (False, None), "num_constants": (0, None), "ragged": (False, None)}


class Run(NamedTuple):
    """One layer in one direction: its output, with outputs at their steps' places, and its last states."""

    output: Value
    states: list[Value | Later]


def problems(layer: Layer) -> list[str]:
    """List the problems of the config of a recurrent layer and of the cells inside."""
    found = []
    for cell in cells_of(layer) if layer.class_name == "RNN" else []:
        if cell.class_name not in INSIDE_RNN:
            way = either(f"custom={{{cell.class_name!r}: function}}", f"--custom {cell.class_name}=module:function")
            found.append(
                f"cell of {layer} must be one of {', '.join(INSIDE_RNN)}, or have a function by {way} that builds a "
                f"step of it, got {cell.class_name}"
            )
        else:
            found += CELL_ROW.problems(cell)
    if layer.class_name == "RNN" and len(cells_of(layer)) > 1:
        stacked = as_layer(layer.get("cell"), where=f"cell of {layer}")
        found += STACKED_ROW.problems(stacked)
    return found


def _run(
    layer: Layer, arrays: list[Array], x: Value, states: list[Value], ctx: Context, *, stem: str, zero: bool,
    hold: bool = False,
) -> Run:  # fmt: skip
    """Add the chain of recurrent nodes of one layer in one direction, which may `hold` states of the model."""
    take(layer, arrays, *arrays_of(layer))
    convolutional = layer.class_name in CONVOLUTIONAL
    cells = [] if convolutional else cells_of(layer)
    expected = STATES if convolutional else sum(CELLS[cell.class_name].states for cell in cells)
    if states and len(states) != expected:
        raise ConvertError(f"initial_state of {layer} must have {expected} values, got {len(states)}")
    timed = x.timed and (convolutional or len(x.frame) == 1)
    if not (timed or convolutional) and (x.timed or len(x.frame) != 2):
        raise ConvertError(f"input of {layer} must have steps and features, got {x.spec}")
    held = hold and timed and may_hold(layer, states, ctx)
    if timed and states and not held and x.steps is not None and not ctx.insist:  # else the frame's can be that of all
        raise AcrossTime(f"{layer} must start from a zero state while its time is the model's, got an initial_state")
    sequences = layer.flag("return_sequences")
    if states and not keeps_mask(layer, ctx):
        x = x.masked(None)
    mask = step_mask(layer, x) if timed else known_mask(layer, x)
    if mask is not None and not timed:
        raise ConvertError(f"{layer} must have no mask where its steps are within a frame, got one")
    # Keras 3 returns zeros instead of the last valid output when the last step is masked.
    if mask is not None and zero and not sequences:
        raise ConvertError(f"zero_output_for_mask of {layer} with a mask must come with return_sequences, got false")
    _note_stateful(layer, ctx, timed=timed)
    if convolutional:
        y, ends = conv_lstm(layer, arrays, x, states, ctx, stem=stem, mask=mask, zero=zero, held=held)
        return Run(
            y.masked(mask if sequences else None), ends_held(layer, y, states, ends, ctx) if held else list(ends)
        )
    finals: list[Value | Later] = []
    at = used = 0
    for i, cell in enumerate(cells):
        row, last = CELLS[cell.class_name], i == len(cells) - 1
        count = len(row.arrays(cell))
        name = stem if last else f"{stem}.{i}"
        op = row.build(
            cell._replace(name=stem if len(cells) == 1 else f"{stem}.{i}"), arrays[at : at + count], ctx,
            reverse=layer.flag("go_backwards"), return_sequences=sequences or not last,
            mask_output="zero" if zero else "carry",
        )  # fmt: skip
        at += count
        if timed:
            x, ended = _timed(op, x, mask, states[used : used + row.states], ctx, name, held=held)
        else:
            x, ended = _scanned(op, x, states[used : used + row.states], ctx, name)
        used += row.states
        finals += ended
    return Run(x.masked(mask if sequences else None), ends_held(layer, x, states, finals, ctx) if held else finals)


def _note_stateful(layer: Layer, ctx: Context, *, timed: bool) -> None:
    if layer.flag("stateful", default=False):
        if not timed:
            raise ConvertError(f"stateful of {layer} must be False where its steps are within a frame, got True")
        if layer.name not in ctx.stateful:
            ctx.stateful.append(layer.name)


def _timed(
    op: Recurrent, x: Value, mask: Value | None, states: list[Value], ctx: Context, name: str, *, held: bool
) -> tuple[Value, list[Value | Later]]:
    """One node along the model's time, whose last state h is its last output; other states are had one by one."""
    if held and any(s.frame != (size,) for s, size in zip(states, op.carried().values(), strict=True)):
        shapes = " and ".join(str(s.frame) for s in states)
        wanted = " and ".join(f"({size},)" for size in op.carried().values())
        raise ConvertError(f"initial_state of layer {name!r} must have shape {wanted}, got {shapes}")
    if states and not held:
        whole, ends = started(op, x, states, ctx, name, mask)
        return (whole if op.return_sequences else ends[0]), list(ends)
    inputs = [x] if mask is None else [x, mask]
    y = ctx.add(op, *inputs, name=name)

    def last() -> Value:
        if not op.return_sequences:
            return y
        return ctx.add(op.replace(return_sequences=False, mask_output="carry"), *inputs, name=f"{name}.h")

    finals: list[Value] = []

    def state(number: int) -> Value:
        if x.steps is not None and not ctx.insist:
            raise AcrossTime(f"states of layer {name!r} must be h alone over the model's time, got c")
        finals[:] = finals or started(op, x, [], ctx, f"{name}.ends", mask)[1]
        return finals[number]

    others = [Later(functools.partial(state, i)) for i in range(1, len(op.carried()))]
    return y, [Later(last), *others]


def _scanned(
    op: Recurrent, x: Value, states: list[Value], ctx: Context, name: str
) -> tuple[Value, list[Value | Later]]:
    """One node along an axis of the frame, (S, I) to (S, R) or (R,)."""
    steps, features = x.frame
    sequences = op.return_sequences
    names = tuple(f"initial_{state}" for state in op.carried()) if states else ()
    op = op.replace(scan=True, operands=names, return_sequences=True, mask_output="zero")
    rows = ctx.add(Reshape((steps, 1, features)), x, name=f"{name}.rows")
    initial = [ctx.add(Reshape((1, *s.frame)), s, name=f"{name}.initial") for s in states]
    y, *ends = ctx.add_many(op, rows, *initial, name=f"{name}.scan")
    chosen = y if sequences else ends[0]
    shape = (steps, op.output_size) if sequences else (op.output_size,)
    output = ctx.add(Reshape(shape), chosen, name=name)

    def flat(end: Value) -> Value:
        return ctx.add(Reshape((end.frame[-1],)), end, name=f"{name}.state")

    return output, [Later(lambda end=end: flat(end)) for end in ends]  # type: ignore[misc]


def _split(layer: Layer, inputs: list[Value]) -> tuple[Value, list[Value]]:
    """The sequence and the initial states, which Keras 2 passes as further inputs."""
    given = layer.call.get("initial_state")
    states = given if isinstance(given, list) else [] if given is None else [given]
    if not inputs or not all(isinstance(s, Value) for s in states):
        raise ConvertError(f"{layer} must read a sequence and initial states of other layers, got something else")
    return inputs[0], [*inputs[1:], *states]


def _outputs(layer: Layer, values: list[Value], states: list[Value | Later]) -> list[Value | Later]:
    return [*values, *(states if layer.flag("return_state", default=False) else [])]


def recurrent(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value | Later]:
    """SimpleRNN, GRU, LSTM, CuDNNGRU, CuDNNLSTM and RNN(cell)."""
    x, states = _split(layer, inputs)
    turned = layer.flag("go_backwards") and layer.flag("return_sequences")
    stem = f"{layer.name}.forward" if turned and not x.timed else layer.name
    zero = layer.flag("zero_output_for_mask", default=False)
    run = _run(layer, arrays, x, states, ctx, stem=stem, zero=zero, hold=True)
    y = run.output
    if turned:
        # Keras returns the sequence in the order in which it was computed, but leaves the mask unturned.
        y = ctx.add(*_reversal(y), name=f"{layer.name}.reverse", mask=y.mask)
    return _outputs(layer, [y], run.states)


def _reversal(y: Value) -> tuple[Reverse | Slice, Value]:
    """The op that turns the order of steps, and its input."""
    if y.timed:
        return Reverse(), y
    steps, *item = y.frame
    rest = [0] * len(item)
    return Slice((steps - 1, *rest), (-steps - 1, *item), (-1, *(1 for _ in rest))), y


def bidirectional_problems(layer: Layer) -> list[str]:
    """List the problems of the configs of the two directions."""
    return [p for part in directions(layer) for p in ROWS[part.class_name].problems(part) + problems(part)]


def bidirectional(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value | Later]:
    """Two recurrent layers and the op that merges them; merge_mode None has two outputs."""
    x, states = _split(layer, inputs)
    parts = directions(layer)
    at = len(arrays_of(parts[0]))
    half = len(states) // 2
    runs = []
    for stem, part, own, initial in (
        ("forward", parts[0], arrays[:at], states[:half]),
        ("backward", parts[1], arrays[at:], states[half:]),
    ):
        zero = ctx.version.zeroes_masked_bidirectional and part.flag("return_sequences")
        runs.append(_run(part, own, x, initial, ctx, stem=f"{layer.name}.{stem}", zero=zero))
    values = [run.output for run in runs]
    merge = layer.config.get("merge_mode", "concat")
    if merge is not None:
        if not isinstance(merge, str) or merge not in MERGE_OPS:
            raise ConvertError(f"merge_mode of {layer} must be one of {', '.join(MERGE_OPS)} or None, got {merge!r}")
        values = [ctx.add(MERGE_OPS[merge](), *values, name=layer.name, mask=values[0].mask)]
    return _outputs(parts[0], values, [s for run in runs for s in run.states])


ROW = Row(
    recurrent, f"{CELL_KEYS} {LAYER_KEYS} cell", f"{CELL_HARMLESS} {LAYER_HARMLESS}", LAYER_FIXED,
    call="initial_state", inner=problems,
)  # fmt: skip
CONV_ROW = Row(
    recurrent, f"{CONV_KEYS} {LAYER_KEYS}", f"{CELL_HARMLESS} {LAYER_HARMLESS}", LAYER_FIXED, call="initial_state"
)
CELL_ROW = Row(recurrent, CELL_KEYS, CELL_HARMLESS)
STACKED_ROW = Row(recurrent, "cells", "reverse_state_order")
ROWS = {
    **{name: CONV_ROW if name in CONVOLUTIONAL else ROW for name in RECURRENT},
    "Bidirectional": Row(
        bidirectional, "layer backward_layer merge_mode", "", {"weights": (None,), "num_constants": (0, None)},
        call="initial_state", inner=bidirectional_problems,
    ),
}  # fmt: skip
