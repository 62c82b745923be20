"""GRU, LSTM and RNN: over time they keep a stream's state, over an axis of fixed size they are scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ConvertError, GraphError
from ..graph import GRU, LSTM, RNN, Concat, Recurrent
from .onnx_activations import ACTIVATIONS
from .onnx_call import Call, Translator
from .onnx_emit import Start
from .onnx_quantized import dequantized
from .onnx_states import FinalState
from .onnx_values import BATCH, Array, Axis, Tensor, describe
from .onnx_views import renumbered, sliced, view, with_ones

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
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
NEEDED = {"Affine": ("alpha", "beta"), "ScaledTanh": ("alpha", "beta")}  # these have no defaults in a recurrence


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
    """Microsoft's DynamicQuantizeLSTM: its weights as the floats they stand for, in matrices the other way around."""
    w, r = (
        dequantized(call.array(i, name), call.array(j, f"{name} scale"), call.array(j + 1, f"{name} zero point"), axis=-1)
        for i, j, name in ((1, 8, "W"), (2, 10, "R"))
    )
    b, p = call.optional(3, "B"), call.optional(7, "P")
    return _translate(call, "LSTM", w.swapaxes(1, 2), r.swapaxes(1, 2), b, p)


def _translate(call: Call, kind: str, w: Array, r: Array, b: Array | None, p: Array | None) -> list[Tensor]:
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
    ops = _ops(call, kind, DIRECTIONS[direction], w, r, b, p)
    lengths = call.value(4) if call.given(4) else None
    layer = Layer(kind, ops, x, lengths, initial, bool(layout))
    if x.is_time(0):
        return _over_time(call, layer)
    if x.is_frame(0):
        return _scanned(call, layer)
    raise ConvertError(f"axis of X that is the sequence must be time or of fixed size, got {describe(x, 0)}")


def _zeros(call: Call, value: Any) -> bool:
    """Whether an initial state is the one that is taken when there is none."""
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
            raise ConvertError(f"{name} must have a first axis of {len(reverse)} direction(s), got {array.shape}")
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
            for i, (backwards, activations) in enumerate(zip(reverse, _activations(call, kind, len(reverse)), strict=True))
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


# Over an axis of fixed size --------------------------------------------------------------------------


def _scanned(call: Call, layer: Layer) -> list[Tensor]:
    """As ops with `scan`, whose rows are N where that is fixed."""
    x = layer.x
    rows = [a for a in x.axes[1] if isinstance(a, int)]
    slot = rows[0] if rows else None
    value = view(call, x, [x.frame_axis(0), slot, x.frame_axis(2)])
    steps, count, _ = call.shape(value)
    results = []
    for i, op in enumerate(layer.ops):
        names, values = [], [value]
        for state, given in layer.initial.items():
            names.append(f"initial_{state}")
            values.append(_initial(call, call.lift(given), i, count))
        lengths = layer.lengths
        if lengths is not None and (isinstance(lengths, Tensor) or not np.all(lengths == steps)):
            names.append("lengths")
            values.append(_lengths(call, call.lift(lengths), count))
        results.append(call.add_many(replace(op, scan=True, operands=tuple(names)), *values))
    label: Axis = tuple(1 if isinstance(a, int) else a for a in x.axes[1]) if rows else x.axes[1]
    outputs = [_joined(call, layer, [r[0] for r in results], [(0,), label, (2 if slot is not None else 1,)], slot is None)]
    finals: Axis = tuple(0 if isinstance(a, int) else a for a in label)
    for k in range(1, len(results[0])):
        last = (1 if slot is not None else 0,)
        outputs.append(_final(call, layer, [r[k] for r in results], finals, last, slot is None))
    return outputs
