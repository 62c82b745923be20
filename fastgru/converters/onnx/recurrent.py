"""GRU, LSTM and RNN: over time they keep a stream's state, over an axis of fixed size they are scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..._names import counted
from ...errors import ConvertError, GraphError
from ...graph import GRU, LSTM, RNN, Concat, Recurrent
from ..program.emit import Start
from ..program.held import StandIn
from ..program.lengths import counted_steps, not_empty, of_rows
from ..program.recurrence import looped_alone
from ..program.sizes import BATCH
from ..program.values import Array, Axis, Tensor, describe, frames_of, is_symbolic
from ..program.views import ordered, sliced, view, with_ones
from .activations import ACTIVATIONS
from .call import Call, Translator
from .dynamic import NOTE, PRECISION
from .quantized import dequantized

CLASSES: dict[str, tuple[type[Recurrent], tuple[str, ...]]] = {
    "RNN": (RNN, ("Tanh",)),
    "GRU": (GRU, ("Sigmoid", "Tanh")),
    "LSTM": (LSTM, ("Sigmoid", "Tanh", "Tanh")),
}
FIELDS = {
    "RNN": ("activation",),
    "GRU": ("gate_activation", "activation"),
    "LSTM": ("gate_activation", "activation", "output_activation"),
}
ONE: list[int | None] = [None]  # a frame axis of size 1, where rows are the batch
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass
class Layer:
    """A recurrent node.

    Parameters
    ----------
    kind : {"RNN", "GRU", "LSTM"}
    ops : list of Recurrent
        One per direction, without initial states.
    x : Tensor
        (S, N, I), whatever the node's layout.
    lengths : Tensor, array or None
        (N,)
    initial : dict of str to Tensor or array
        ``"h"`` and ``"c"`` where given, (D, N, H).
    batch_first : bool
        The node's layout.
    """

    kind: str
    ops: list[Recurrent]
    x: Tensor
    lengths: Any
    initial: dict[str, Any]
    batch_first: bool


def recurrent(call: Call) -> list[Tensor]:
    """A recurrent node of ONNX."""
    w, r, b = call.array(1, "W"), call.array(2, "R"), call.optional(3, "B")
    p = call.optional(7, "P") if call.node.op_type == "LSTM" else None
    return _translate(call, call.node.op_type, w, r, b, p)


def quantized_lstm(call: Call) -> list[Tensor]:
    """Microsoft's DynamicQuantizeLSTM: activations rounded, and weights in matrices the other way around."""
    w, r = (
        dequantized(
            call.array(i, name), call.array(j, f"{name} scale"), call.array(j + 1, f"{name} zero point"), axis=-1
        )
        for i, j, name in ((1, 8, "W"), (2, 10, "R"))
    )
    b, p = call.optional(3, "B"), call.optional(7, "P")
    call.emit.notes.setdefault(NOTE)
    return _translate(call, "LSTM", w.swapaxes(1, 2), r.swapaxes(1, 2), b, p, PRECISION)


def _translate(
    call: Call, kind: str, w: Array, r: Array, b: Array | None, p: Array | None, precision: str = "float32"
) -> list[Tensor]:
    x = call.tensor(0)
    if x.rank != 3:
        raise ConvertError(f"input X must have 3 axes, got {x}")
    layout = call.attr("layout", 0)
    if layout not in (0, 1):
        raise ConvertError(f"layout must be 0 or 1, got {layout}")
    direction = str(call.attr("direction", "forward")).lower()
    if direction not in DIRECTIONS:
        raise ConvertError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
    initial = {n: call.value(i) for n, i in (("h", 5), ("c", 6)) if call.given(i) and (n == "h" or kind == "LSTM")}
    if layout:
        x = x.permuted([1, 0, 2])
        initial = {n: v.permuted([1, 0, 2]) if isinstance(v, Tensor) else v.swapaxes(0, 1) for n, v in initial.items()}
    initial = {n: v for n, v in initial.items() if not _zeros(call, v)}
    ops = [op.replace(precision=precision) for op in _ops(call, kind, DIRECTIONS[direction], w, r, b, p)]
    lengths = call.value(4) if call.given(4) else None
    layer = Layer(kind, ops, x, lengths, initial, bool(layout))
    if x.is_time(0):
        return _over_time(call, layer)
    if x.is_frame(0):
        return _scanned(call, layer)
    raise ConvertError(f"axis of X that is the sequence must be time or of fixed size, got {describe(x, 0)}")


def _zeros(call: Call, value: Any) -> bool:
    """Return True for an initial state of zeros, which is taken when there is none."""
    array = call.emit.fixed(value.value) if isinstance(value, Tensor) else value
    return array is not None and not np.any(array)


def _ops(
    call: Call, kind: str, reverse: Sequence[bool], w: Array, r: Array, b: Array | None, p: Array | None
) -> list[Recurrent]:
    """One op per direction."""
    cls, _ = CLASSES[kind]
    arrays = {"W": w, "R": r, "B": b} | ({"P": p} if kind == "LSTM" else {})
    for name, array in arrays.items():
        if array is not None and (array.ndim != (3 if name in "WR" else 2) or array.shape[0] != len(reverse)):
            raise ConvertError(
                f"{name} must have a first axis of {counted(len(reverse), 'direction')}, got {array.shape}"
            )
    hidden = call.attr("hidden_size", r.shape[2])
    if hidden != r.shape[2]:
        raise ConvertError(f"hidden_size must be that of R, {r.shape[2]}, got {hidden}")
    clip = call.attr("clip")
    if clip is not None and not clip > 0:
        raise ConvertError(f"clip must be positive, got {clip}")
    extra = {"linear_before_reset": call.attr("linear_before_reset", 0)} if kind == "GRU" else {}
    extra |= {"input_forget": call.attr("input_forget", 0)} if kind == "LSTM" else {}
    try:
        return [
            cls.from_onnx(  # type: ignore[attr-defined]
                **{n: None if a is None else a[i : i + 1] for n, a in arrays.items()},
                direction="reverse" if backwards else "forward", clip=clip, **activations, **extra,
            )
            for (i, backwards), activations in zip(
                enumerate(reverse), _activations(call, kind, len(reverse)), strict=True
            )
        ]  # fmt: skip
    except GraphError as error:
        raise ConvertError(str(error)) from error


def _activations(call: Call, kind: str, directions: int) -> list[dict[str, Any]]:
    """Fields of the ops: parameters are consumed in order by the functions that have them."""
    defaults = CLASSES[kind][1]
    names = call.attr("activations") or list(defaults * directions)
    if len(names) != len(defaults) * directions:
        raise ConvertError(f"activations must be {len(defaults) * directions} names, got {names}")
    lists = {key: list(call.attr(f"activation_{key}") or []) for key in ("alpha", "beta")}
    known = {name.lower(): name for name in ACTIVATIONS}
    found = []
    for given in names:
        name = known.get(str(given).lower())
        if name is None:
            raise ConvertError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {given!r}")
        target, parameters = ACTIVATIONS[name]
        chosen = {key: lists[key].pop(0) if lists[key] else default for key, default in parameters.items()}
        found.append({"name": target, **chosen})
    over = {key: values for key, values in lists.items() if values}
    if over:
        raise ConvertError(f"parameters of activations must be for one that has them, got {over} left over")
    size = len(defaults)
    return [dict(zip(FIELDS[kind], found[i : i + size], strict=True)) for i in range(0, len(found), size)]


# Over an axis of fixed size ------------------------------------------------------------------------


def _scanned(call: Call, layer: Layer) -> list[Tensor]:
    """As ops with `scan`, whose rows are N where that is fixed."""
    x = layer.x
    rows = [a for a in x.axes[1] if isinstance(a, int)]
    value = view(call, x, [x.frame_axis(0), *(rows or ONE), x.frame_axis(2)])
    steps = call.shape(value)[0]
    label = tuple(0 if isinstance(a, int) else a for a in x.axes[1])
    parts: list[list[Tensor]] = []  # of each direction y and the final states
    for i, op in enumerate(layer.ops):
        operands = {f"initial_{n}": _initial(call, call.lift(v), i) for n, v in layer.initial.items()}
        lengths = layer.lengths
        if lengths is not None and (isinstance(lengths, Tensor) or not np.all(lengths == steps)):
            own = call.lift(lengths)
            operands["lengths"] = view(call, own, frames_of(own.axes) or ONE)
        op = replace(op, scan=True, operands=tuple(operands))
        y, *finals = call.add_many(op, value, *operands.values(), name=call.name + _suffix(layer, i))
        if "lengths" in operands and layer.initial:
            some = not_empty(call.emit, operands["lengths"], call.name)
            some = call.reshape(some, (*call.shape(some), 1))
            finals = [call.where(some, v, 0.0) for v in finals]
        made = [y, *finals]
        if not rows:
            made = [
                call.reshape(v, [n for k, n in enumerate(call.shape(v)) if k != len(call.shape(v)) - 2]) for v in made
            ]
        parts.append([call.result(made[0], [(0,), _plus(label, 1), (1 + len(rows),)], x.elem)])
        parts[-1] += [call.result(v, [label, (len(rows),)], x.elem) for v in made[1:]]
    return _outputs(call, layer, parts)


def _suffix(layer: Layer, direction: int) -> str:
    """Return the ending that tells the two ops of a bidirectional layer apart."""
    return (".forward", ".backward")[direction] if len(layer.ops) > 1 else ""


def _initial(call: Call, given: Tensor, direction: int) -> str:
    """One direction's initial state, (N, H), with one row where N is the batch."""
    own = sliced(call, given, 0, direction, direction + 1)
    return view(call, own, [*(frames_of(own.axes[1:2]) or ONE), own.frame_axis(2)])


def _plus(axis: Axis, n: int) -> Axis:
    return tuple(a + n if isinstance(a, int) else a for a in axis)


def _outputs(call: Call, layer: Layer, parts: list[list[Tensor]]) -> list[Tensor]:
    """Y (S, D, N, H), Y_h (D, N, H) and of an LSTM Y_c, in the node's layout."""
    y, *finals = (_directions(call, same, at) for same, at in zip(zip(*parts, strict=True), (1, 0, 0), strict=False))
    if not layer.batch_first:
        return [y, *finals]
    return [y.permuted([2, 0, 1, 3]), *(final.permuted([1, 0, 2]) for final in finals)]


def _directions(call: Call, parts: Sequence[Tensor], at: int) -> Tensor:
    """One tensor from one per direction, side by side before the last axis, labelled as axis `at`."""
    first = parts[0]
    if len(parts) == 1:
        return with_ones(call, first, [at])
    k = len(first.spec.shape) - 1
    both = call.add(Concat(axis=k), *(p.value for p in parts))
    value = call.reshape(both, (*first.spec.shape[:k], len(parts), first.spec.shape[k]))
    axes = [*first.axes[:-1], (k + 1,)]
    return call.result(value, [*axes[:at], (k,), *axes[at:]], first.elem)


# Over time -----------------------------------------------------------------------------------------


def _over_time(call: Call, layer: Layer) -> list[Tensor]:
    """As layers of the stream, whose rows are the batch."""
    x = layer.x
    if x.axes[1] != (BATCH,) and x.size(1) != 1:
        raise ConvertError(f"rows of a sequence over time must be the batch or one, got {describe(x, 1)}")
    value = ordered(call, x, [2])
    lengths = _lengths(call, layer)
    mask = [] if lengths is None else [counted_steps(call.emit, lengths, call.name)]
    parts = []
    apart = call.emit.apart
    for i, op in enumerate(layer.ops):
        starts = {n: _start(call, v, i) for n, v in layer.initial.items()}
        if apart and (any(call.node.output[2:]) or any(isinstance(v, str) for v in starts.values())):
            made = _apart(call, layer, op, value, starts, _suffix(layer, i), lengths)
            row = x.axes[1] if x.axes[1] == (BATCH,) else None
            parts.append([_with_rows(call, t, row) for t in made])
            continue
        op = op.replace(**{f"initial_{n}": v for n, v in starts.items() if isinstance(v, np.ndarray)})
        (y,) = call.add_many(op, value, *mask, name=call.name + _suffix(layer, i))
        finals = {"h": call.add(replace(op, return_sequences=False), value, *mask)} if _ends(call, starts) else {}
        if finals and layer.kind == "LSTM":
            finals["c"] = call.add(StandIn((op.hidden_size,)), y)
        call.emit.finals.update(finals.values())
        call.emit.starts += [Start(call.name, v, [finals[n]]) for n, v in starts.items() if isinstance(v, str)]
        row = x.axes[1] if x.axes[1] == (BATCH,) else None
        made = [call.result(y, [x.axes[0], (0,)], x.elem)]
        made += [call.result(v, [(0,)], x.elem) for v in finals.values()]
        parts.append([_with_rows(call, t, row) for t in made])
    return _outputs(call, layer, parts)


def _apart(
    call: Call, layer: Layer, op: Recurrent, value: str, starts: dict[str, Any], suffix: str, lengths: str | None
) -> list[Tensor]:
    """One direction with its states in State nodes: Y and all final states, without N."""
    name, emit = call.name + suffix, call.emit
    begins = [starts.get(n, np.zeros(size, np.float32)) for n, size in op.carried().items()]
    mask = None if lengths is None else counted_steps(emit, lengths, call.name)
    y, finals = looped_alone(emit, op, value, begins, name, mask)
    if lengths is not None:
        some = not_empty(emit, lengths, name)
        finals = [call.where(some, v, 0.0) for v in finals]
    made = [call.result(y, [layer.x.axes[0], (0,)], layer.x.elem)]
    return made + [call.result(v, [(0,)], layer.x.elem) for v in finals]


def _with_rows(call: Call, x: Tensor, row: Axis | None) -> Tensor:
    """With N before the last axis: the batch, or one row."""
    if row is None:
        return with_ones(call, x, [x.rank - 1])
    return x.with_axes([*x.axes[:-1], row, x.axes[-1]])


def _ends(call: Call, starts: dict[str, Any]) -> bool:
    """Return True if anything needs the final states."""
    return any(call.node.output[1:]) or any(isinstance(v, str) for v in starts.values())


def _start(call: Call, given: Any, direction: int) -> Any:
    """Return the start of one direction: (H,), the same for all rows, or the name of a computed value."""
    if isinstance(given, Tensor) and call.emit.fixed(given.value) is None:
        own = sliced(call, given, 0, direction, direction + 1)
        return ordered(call, own, [2])
    value = _initial(call, call.lift(given), direction)
    array = call.emit.fixed(value)
    if array is None or np.any(array != array[:1]):
        raise ConvertError("initial state over time must be the same for all rows, got different ones")
    return array[0].astype(np.float32)


def _lengths(call: Call, layer: Layer) -> str | None:
    """Return how many steps of each row count; None where all do, or as many as the lengths of a model's call say."""
    lengths, emit, steps = layer.lengths, call.emit, layer.x.axes[0]
    if lengths is None or _all_steps(lengths, layer.x):
        emit.unpaced.add(call.name)
        return None
    if isinstance(lengths, Tensor) and lengths.value in emit.inputs and not (emit.masked or emit.apart):
        emit.lengths.add(lengths.value)
        return None
    return of_rows(emit, call.lift(lengths), layer.x.axes[1], steps, call.name)


def _all_steps(lengths: Any, x: Tensor) -> bool:
    """True of lengths that are the number of steps, of every row."""
    return is_symbolic(lengths) and all(n == x.size(0) for n in lengths.flat)


OPERATORS: dict[str, Translator] = {"RNN": recurrent, "GRU": recurrent, "LSTM": recurrent}
MICROSOFT: dict[str, Translator] = {"DynamicQuantizeLSTM": quantized_lstm}
