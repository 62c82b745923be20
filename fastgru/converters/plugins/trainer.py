"""JSON of PyTorch weights: as Automated-GuitarAmpModelling writes them (Proteus, NeuralPi), or a state_dict alone."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConvertError
from ...graph import GRU, LSTM, RNN, Add, Dense, Graph, Like, Node, Slice, like
from ..program.values import Array
from ..torch.groups import find_weights
from ..torch.state_dict import build, import_state_dict
from . import fields
from .fields import Fields

UNITS = {"LSTM": like(LSTM, name="rec"), "GRU": like(GRU, name="rec"), "RNN": like(RNN, name="rec", activation="tanh")}


def arrays(file: Fields) -> dict[str, Array]:
    """Return the arrays of a state_dict by name."""
    found = {}
    for name, value in file.value.items():
        what, axes = file.name(str(name)), 0
        if not isinstance(value, list):  # a counter of batches
            found[str(name)] = fields.array([value], what, (1,)).reshape(())
            continue
        inner = value
        while isinstance(inner, list) and inner:
            inner, axes = inner[0], axes + 1
        found[str(name)] = fields.array(value, what, ("...",) * max(axes, 1))
    return found


def read_state_dict(
    file: Fields, layers: Sequence[Like] | None, ignore: Sequence[str], source: str
) -> tuple[Graph, dict[str, str]]:
    """Return the chain of layers of a state_dict, and what its provenance says of them."""
    built = build(find_weights(arrays(file), "state_dict", ignore=ignore), layers, "state_dict")
    built.warn(source)
    return built.graph, built.notes


def read(file: Fields) -> tuple[Graph, dict[str, str]]:
    """Return the graph of a recurrence, a dense layer, and a skip from the input, and what the file says of it."""
    data, weights = file.fields("model_data"), arrays(file.fields("state_dict"))
    if (model := data.text("model", "SimpleRNN")) != "SimpleRNN":
        raise ConvertError(f"model_data.model must be 'SimpleRNN', got {model!r}")
    if (unit := data.text("unit_type")) not in UNITS:
        raise ConvertError(f"model_data.unit_type must be one of {', '.join(UNITS)}, got {unit!r}")
    sizes = {
        "input_size": _matrix(weights, "rec.weight_ih_l0").shape[1],
        "hidden_size": _matrix(weights, "rec.weight_hh_l0").shape[1],
        "output_size": _matrix(weights, "lin.weight").shape[0],
        "num_layers": sum(name.startswith("rec.weight_hh_l") for name in weights),
    }
    for name, size in sizes.items():
        if (got := data.integer(name, size)) != size:
            raise ConvertError(f"model_data.{name} must be that of state_dict, {size}, got {got}")
    skip, outputs = data.integer("skip", 0, least=0), sizes["output_size"]
    if skip > sizes["input_size"] or skip not in (0, 1, outputs):
        raise ConvertError(f"model_data.skip must be 0, 1 or output_size {outputs}, and within the input, got {skip}")
    data.get("bias_fl", True)  # the arrays show it
    data.finish()
    graph = import_state_dict(weights, [UNITS[unit], like(Dense, name="lin")], what="state_dict")
    if skip:
        ((x, _),) = graph.inputs.items()
        first = Node("skip", Slice((0,), (skip,), (1,)), (x,), ("skip",))
        joined = Node("sum", Add(), ("skip", *graph.outputs), ("sum",))
        graph = Graph(graph.inputs, [*graph.nodes, first, joined], ("sum",))
    return graph, fields.told(file.value, file.value.get("metadata"))


def _matrix(weights: dict[str, Array], name: str) -> Array:
    if name not in weights:
        raise ConvertError(f"state_dict must hold {name!r}, got {', '.join(map(repr, weights)) or 'nothing'}")
    if weights[name].ndim != 2:
        raise ConvertError(f"state_dict.{name} must be a matrix, got shape {weights[name].shape}")
    return weights[name]
