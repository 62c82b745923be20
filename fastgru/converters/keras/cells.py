"""Keras's recurrent cells: how the arrays and the config of each become a recurrent op."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import ConvertError
from ...graph import GRU, LSTM, RNN, Recurrent, dialects
from .activations import gate
from .rows import take
from .values import Array, Context, Layer, as_layer


class Cell(NamedTuple):
    """How one class of Keras cells becomes a recurrent op."""

    op: type[RNN] | type[GRU] | type[LSTM]
    gates: int
    cudnn: bool = False

    @property
    def states(self) -> int:
        """How many states one step hands to the next."""
        return 2 if self.op is LSTM else 1

    def arrays(self, layer: Layer) -> tuple[str, ...]:
        """Names of the arrays that the cell has."""
        bias = self.cudnn or layer.flag("use_bias")
        return ("kernel", "recurrent_kernel", *(["bias"] if bias else []))

    def attributes(self, layer: Layer, ctx: Context) -> dict[str, Any]:
        """Activations and the GRU's variant; cuDNN has only one of each."""
        if self.cudnn:
            return {"reset_after": True} if self.op is GRU else {}
        found: dict[str, Any] = {"activation": gate(layer, "activation", ctx.version)}
        if self.op is not RNN:
            found["gate_activation"] = gate(layer, "recurrent_activation", ctx.version)
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
        return self.op.from_keras(kernel, recurrent, bias, **self.attributes(layer, ctx), **attributes)


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
CONVOLUTIONAL = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
RECURRENT = (*(name for name in CELLS if name not in INSIDE_RNN), "RNN", *CONVOLUTIONAL)


def arrays_of(layer: Layer) -> tuple[str, ...]:
    """Names of the arrays of a recurrent layer, of one cell after the other."""
    if layer.class_name in CONVOLUTIONAL:
        return ("kernel", "recurrent_kernel", *["bias"] * layer.flag("use_bias"))
    return tuple(name for cell in cells_of(layer) for name in CELLS[cell.class_name].arrays(cell))


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
