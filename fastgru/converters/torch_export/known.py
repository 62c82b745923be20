"""Layers of torch.nn and functions of torch by the operators of ATen that they are: one row for each.

What an operator means is in `table`. A module that only calls what is here need not be exported to be read.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import ConvertError
from ..program.sizes import Dim

INPUT = object()  # where a row of a layer has what it reads, if that is not first


class Row(NamedTuple):
    """A layer, and the functions that do the same.

    Attributes
    ----------
    operator : str
        Its name in ATen.
    arguments : tuple
        The arguments behind the input: attributes of the module by name, or other values.
    functions : tuple
        Of the input and these arguments.
    """

    operator: str
    arguments: tuple[Any, ...] = ()
    functions: tuple[Any, ...] = ()


LAYERS: dict[type[nn.Module], Row] = {
    nn.Linear: Row("linear", ("weight", "bias")),
    nn.Embedding: Row("embedding", ("weight", INPUT)),
    nn.LayerNorm: Row("layer_norm", ("normalized_shape", "weight", "bias", "eps")),
    nn.BatchNorm1d: Row("batch_norm", ("weight", "bias", "running_mean", "running_var", False, "momentum", "eps")),
    nn.Sigmoid: Row("sigmoid", (), (torch.sigmoid, F.sigmoid)),
    nn.Tanh: Row("tanh", (), (torch.tanh, F.tanh)),
    nn.ReLU: Row("relu", (), (torch.relu, F.relu)),
    nn.Softsign: Row("softsign", (), (F.softsign,)),
    nn.Hardsigmoid: Row("hardsigmoid", (), (F.hardsigmoid,)),
    nn.Softplus: Row("softplus", ("beta", "threshold"), (F.softplus,)),
    nn.ELU: Row("elu", ("alpha",), (F.elu,)),
    nn.LeakyReLU: Row("leaky_relu", ("negative_slope",), (F.leaky_relu,)),
    nn.Threshold: Row("threshold", ("threshold", "value"), (F.threshold, torch.threshold)),
    nn.Softmax: Row("softmax", ("dim",), (F.softmax, torch.softmax)),
    nn.LogSoftmax: Row("log_softmax", ("dim",), (F.log_softmax, torch.log_softmax)),
}
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.AlphaDropout)
SAME = (nn.Identity,)
CELLS: dict[type[nn.Module], Any] = {nn.RNNCell: nn.RNN, nn.GRUCell: nn.GRU, nn.LSTMCell: nn.LSTM}
RECURRENT: dict[type[nn.Module], str] = {nn.RNN: "rnn", nn.GRU: "gru", nn.LSTM: "lstm"}
KNOWN: tuple[type[nn.Module], ...] = (*LAYERS, *DROPOUTS, *SAME, *CELLS, *RECURRENT)

FUNCTIONS: dict[Any, str] = {
    **{function: row.operator for row in LAYERS.values() for function in row.functions},
    F.dropout: "dropout",
    **dict.fromkeys((operator.add, torch.add), "add"), **dict.fromkeys((operator.sub, torch.sub), "sub"),
    **dict.fromkeys((operator.mul, torch.mul, torch.multiply), "mul"),
    **dict.fromkeys((operator.truediv, torch.div), "div"),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), "cat"),
    **dict.fromkeys((torch.transpose, torch.swapaxes, torch.swapdims), "transpose"),
    torch.permute: "permute", torch.squeeze: "squeeze", torch.flip: "flip", torch.zeros: "zeros",
    torch.zeros_like: "zeros_like",
}  # fmt: skip
METHODS: dict[str, str] = {
    **{name: name for name in ("relu", "sigmoid", "tanh", "softmax", "log_softmax", "add", "mul", "sub", "div",
                               "transpose", "permute", "squeeze", "flip", "contiguous", "detach", "clone",
                               "new_zeros")},
    "multiply": "mul", "swapaxes": "transpose",
}  # fmt: skip
MOVES = ("to", "cuda", "cpu", "type_as", "requires_grad_")  # of zeros, to where a module is
# Calls whose result may share memory with their input: what an in-place call behind them changes.
VIEWS = (operator.getitem, torch.transpose, torch.swapaxes, torch.swapdims, torch.permute, torch.squeeze, F.dropout,
         "transpose", "swapaxes", "permute", "squeeze", "contiguous", "detach")  # fmt: skip
RENAMED = {"training": "train"}  # parameters of functions that ATen calls otherwise
SILENT = ("_stacklevel", "inplace")  # and those that it has not; what is changed in place nothing else reads


def known_class(module: nn.Module) -> type[nn.Module] | None:
    """Return the torch.nn class whose forward a module runs, if it is known.

    A subclass counts when it keeps the forward of its base, as weights under ``torch.nn.utils.parametrizations`` do.
    """
    if getattr(module, "max_norm", None) is not None:  # an Embedding that changes its own weights
        return None
    for cls in type(module).__mro__:
        if cls in KNOWN:
            return cls if type(module).forward is cls.forward else None
    return None


def refuse_changed_calls(module: nn.Module) -> None:
    """Raise when a call of `module` or of one inside it does more than its class's forward."""
    for path, part in module.named_modules():
        hooks = len(part._forward_hooks) + len(part._forward_pre_hooks)
        if hooks or "forward" in vars(part):
            raise ConvertError(f"forward of {path or 'the module'!r} must be its class's, without hooks")


def as_layer(cell: nn.Module) -> nn.Module:
    """Return the layer that runs a recurrent cell over time."""
    cls = known_class(cell)
    made: nn.Module = CELLS[cls](  # type: ignore[index]
        cell.input_size, cell.hidden_size, batch_first=True, bias=cell.bias,
        **({"nonlinearity": cell.nonlinearity} if cls is nn.RNNCell else {}), device="meta",
    )  # fmt: skip
    for name, weight in cell.named_parameters():
        setattr(made, f"{name}_l0", weight)
    return made


def arguments_of(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a function or method by the names that ATen has for them."""
    if isinstance(target, FunctionType):
        given = dict(inspect.signature(target).bind(*args, **kwargs).arguments)
        args, kwargs = [given.pop(next(iter(given)))], given
    named = {RENAMED.get(k, k): v for k, v in kwargs.items() if v is not None and k not in SILENT}
    return list(args), named


def schema_of(name: str, args: list[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return the schema of an overload that takes these arguments, lists of numbers in `args` joined; None without."""
    packet = getattr(torch.ops.aten, name, None)
    for overload in packet.overloads() if packet is not None else ():
        schema = getattr(packet, overload)._schema
        places = [a for a in schema.arguments if not a.kwarg_only]
        own = _listed(args, places)
        names = {a.name for a in schema.arguments[len(own) :]}
        missing = {a.name for a in places[len(own) :] if not a.has_default_value()} - kwargs.keys()
        numbers = all(isinstance(v, int | Dim) for a, v in zip(places, own, strict=False) if str(a.type) == "int")
        fits = len(own) <= len(places) and kwargs.keys() <= names and not missing and numbers
        if fits and "Dimname" not in str(schema):
            args[:] = own
            return schema
    return None


def _listed(args: Sequence[Any], places: Sequence[Any]) -> list[Any]:
    """Return arguments with the last ones as a list, where that is what a call takes and they are written out."""
    for i, (value, place) in enumerate(zip(args, places, strict=False)):
        if str(place.type) in ("List[int]", "List[SymInt]") and not isinstance(value, list | tuple):
            return [*args[:i], list(args[i:])]
    return list(args)
