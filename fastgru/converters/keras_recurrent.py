"""Keras's recurrent layers: GRU, LSTM, SimpleRNN, their cells in RNN, and Bidirectional."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import ConvertError
from ..graph import GRU, LSTM, MERGE_OPS, RNN, Recurrent, Reverse, Spec, dialects
from .keras_activations import named
from .keras_values import Array, Context, Layer, Row, Value, as_layer, one, take

MASK_SPEC = Spec((), True, "bool")
CELL_KEYS = "units activation recurrent_activation use_bias reset_after"
CELL_HARMLESS = "dropout recurrent_dropout implementation unit_forget_bias"
LAYER_KEYS = "return_sequences return_state go_backwards stateful zero_output_for_mask"
LAYER_HARMLESS = "unroll input_dim input_length use_cudnn"
LAYER_FIXED = {"time_major": (False, None), "num_constants": (0, None), "ragged": (False, None)}


class Cell(NamedTuple):
    """How one class of Keras cells becomes a recurrent op."""

    op: type[Recurrent]
    gates: int
    cudnn: bool = False

    def arrays(self, layer: Layer) -> tuple[str, ...]:
        """Names of the arrays that the cell has."""
        bias = self.cudnn or layer.flag("use_bias")
        return ("kernel", "recurrent_kernel", *(["bias"] if bias else []))

    def attributes(self, layer: Layer, ctx: Context) -> dict[str, Any]:
        """Activations and the GRU's variant; cuDNN has only one of each."""
        if self.cudnn:
            return {"reset_after": True} if self.op is GRU else {}
        found: dict[str, Any] = {"activation": named(layer, "activation", ctx.version)}
        if self.op is not RNN:
            found["gate_activation"] = named(layer, "recurrent_activation", ctx.version)
        if self.op is LSTM:
            found["output_activation"] = found["activation"]
        if self.op is GRU:
            # Keras before 2.2 had no such key and no such variant; Keras 3 always writes it.
            found["reset_after"] = layer.flag("reset_after", default=ctx.version.major >= 3)
        return found

    def build(self, layer: Layer, arrays: list[Array], ctx: Context, **attributes: Any) -> Recurrent:
        """The op from Keras's arrays (I, G*H), (H, G*H) and bias (G*H,) or (2, G*H).

        Raises
        ------
        ConvertError
            When number or shape of the arrays is not that of the config.
        """
        names = self.arrays(layer)
        kernel, recurrent, bias = [*take(layer, arrays, *names), None][:3]
        width = self.gates * layer.number("units")
        for name, array in zip(names, arrays, strict=True):
            flat = self.cudnn and name == "bias"
            if array.ndim == 0 or array.shape[-1] != (2 * width if flat else width):
                expected = f"{int(width)} columns" if not flat else f"{int(2 * width)} entries"
                raise ConvertError(f"{name} of {layer} must have {expected}, got shape {array.shape}")
        if self.cudnn:
            kernel, recurrent, bias = dialects.uncudnn(kernel, recurrent, bias, gates=self.gates)
        op: Recurrent = self.op.from_keras(kernel, recurrent, bias, **self.attributes(layer, ctx), **attributes)  # type: ignore[attr-defined]
        return op


CELLS = {
    "SimpleRNN": Cell(RNN, 1),
    "GRU": Cell(GRU, 3),
    "LSTM": Cell(LSTM, 4),
    "CuDNNGRU": Cell(GRU, 3, cudnn=True),
    "CuDNNLSTM": Cell(LSTM, 4, cudnn=True),
    "SimpleRNNCell": Cell(RNN, 1),
    "GRUCell": Cell(GRU, 3),
    "LSTMCell": Cell(LSTM, 4),
}
INSIDE_RNN = tuple(name for name in CELLS if name.endswith("Cell"))


def cells_of(layer: Layer) -> list[Layer]:
    """The layers that hold the weights: the layer itself, or the cells inside RNN and StackedRNNCells."""
    if layer.class_name != "RNN":
        return [layer]
    cell = as_layer(layer.get("cell"), where=f"cell of {layer}")
    if cell.class_name != "StackedRNNCells":
        return [cell]
    cells = cell.get("cells")
    if not isinstance(cells, list) or not cells:
        raise ConvertError(f"cells of {layer} must be a list of cells, got {cells!r}")
    return [as_layer(c, where=f"cells of {layer}") for c in cells]


def problems(layer: Layer) -> list[str]:
    """What is wrong with the config of a recurrent layer and of the cells inside."""
    found = []
    for cell in cells_of(layer) if layer.class_name == "RNN" else []:
        if cell.class_name not in INSIDE_RNN:
            found.append(f"cell of {layer} must be one of {', '.join(INSIDE_RNN)}, got {cell.class_name}")
        else:
            found += CELL_ROW.problems(cell)
    if layer.class_name == "RNN" and len(cells_of(layer)) > 1:
        stacked = as_layer(layer.get("cell"), where=f"cell of {layer}")
        found += STACKED_ROW.problems(stacked)
    return found


def _run(layer: Layer, arrays: list[Array], x: Value, ctx: Context, *, stem: str, zero: bool) -> Value:
    """Add the chain of recurrent nodes of one layer in one direction; outputs stay at their steps' places."""
    cells = cells_of(layer)
    sequences, backwards = layer.flag("return_sequences"), layer.flag("go_backwards")
    # Keras 3 returns zeros instead of the last valid output when the last step is masked.
    if x.mask is not None and zero and not sequences:
        raise ConvertError(f"zero_output_for_mask of {layer} with a mask must come with return_sequences, got false")
    if layer.flag("stateful", default=False):
        ctx.stateful.append(layer.name)
    take(layer, arrays, *(name for cell in cells for name in CELLS[cell.class_name].arrays(cell)))
    at, mask = 0, x.mask
    for i, cell in enumerate(cells):
        row, last = CELLS[cell.class_name], i == len(cells) - 1
        count = len(row.arrays(cell))
        op = row.build(
            cell._replace(name=stem if len(cells) == 1 else f"{stem}.{i}"), arrays[at : at + count], ctx,
            reverse=backwards, return_sequences=sequences or not last, mask_output="zero" if zero else "carry",
        )  # fmt: skip
        at += count
        inputs = [x] if mask is None else [x, Value(mask, MASK_SPEC)]
        x = ctx.add(op, *inputs, name=stem if last else f"{stem}.{i}")
    return Value(x.name, x.spec, mask if sequences else None)


def recurrent(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """SimpleRNN, GRU, LSTM, CuDNNGRU, CuDNNLSTM and RNN(cell)."""
    x = _sequence(layer, inputs)
    y = _run(layer, arrays, x, ctx, stem=layer.name, zero=layer.flag("zero_output_for_mask", default=False))
    if layer.flag("go_backwards") and layer.flag("return_sequences"):
        # Keras returns the sequence in the order in which it was computed, but leaves the mask unturned.
        y = ctx.add(Reverse(), y, name=f"{layer.name}.reverse", mask=y.mask)
    return [y]


def directions(layer: Layer) -> tuple[Layer, Layer]:
    """The forward and the backward layer of a Bidirectional.

    Raises
    ------
    ConvertError
        When they are not recurrent layers, or do not run opposite ways with equal outputs.
    """
    ahead = as_layer(layer.get("layer"), where=f"layer of {layer}")
    given = layer.config.get("backward_layer")
    if given is None:
        back = ahead._replace(config={**ahead.config, "go_backwards": not ahead.flag("go_backwards")})
    else:
        back = as_layer(given, where=f"backward_layer of {layer}")
    for way, part, backwards in (("layer", ahead, False), ("backward_layer", back, True)):
        if part.class_name not in RECURRENT:
            raise ConvertError(f"{way} of {layer} must be one of {', '.join(RECURRENT)}, got {part.class_name}")
        if part.flag("go_backwards") is not backwards:
            raise ConvertError(f"go_backwards in {way} of {layer} must be {backwards}, got {not backwards}")
    for key in ("return_sequences", "return_state"):
        a, b = ahead.flag(key, default=False), back.flag(key, default=False)
        if a != b:
            raise ConvertError(f"{key} of {layer} must be the same in both directions, got {a} and {b}")
    return ahead, back


def bidirectional_problems(layer: Layer) -> list[str]:
    """What is wrong with the configs of the two directions."""
    return [p for part in directions(layer) for p in RECURRENT[part.class_name].problems(part) + problems(part)]


def bidirectional(layer: Layer, arrays: list[Array], inputs: list[Value], ctx: Context) -> list[Value]:
    """Two recurrent layers and the op that merges them; merge_mode None has two outputs."""
    x = _sequence(layer, inputs)
    parts = directions(layer)
    at = sum(len(CELLS[c.class_name].arrays(c)) for c in cells_of(parts[0]))
    merge = layer.config.get("merge_mode", "concat")
    values = []
    for stem, part, own in (("forward", parts[0], arrays[:at]), ("backward", parts[1], arrays[at:])):
        zero = ctx.version.zeroes_masked_bidirectional and part.flag("return_sequences")
        values.append(_run(part, own, x, ctx, stem=f"{layer.name}.{stem}", zero=zero))
    if merge is None:
        return values
    if not isinstance(merge, str) or merge not in MERGE_OPS:
        raise ConvertError(f"merge_mode of {layer} must be one of {', '.join(MERGE_OPS)} or None, got {merge!r}")
    return [ctx.add(MERGE_OPS[merge](), *values, name=layer.name, mask=values[0].mask)]


ROW = Row(recurrent, f"{CELL_KEYS} {LAYER_KEYS} cell", f"{CELL_HARMLESS} {LAYER_HARMLESS}", LAYER_FIXED)
RECURRENT = dict.fromkeys([*(name for name in CELLS if name not in INSIDE_RNN), "RNN"], ROW)
CELL_ROW = Row(recurrent, CELL_KEYS, CELL_HARMLESS)
STACKED_ROW = Row(recurrent, "cells", "reverse_state_order")
BIDIRECTIONAL = Row(
    bidirectional, "layer backward_layer merge_mode", "", {"weights": (None,), "num_constants": (0, None)}
)


def _sequence(layer: Layer, inputs: list[Value]) -> Value:
    if len(inputs) > 1:
        raise ConvertError(f"{layer} must start from a zero state, got initial_state from other layers")
    return one(layer, inputs)
