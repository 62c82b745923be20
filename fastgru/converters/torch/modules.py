"""torch.nn modules to ops, one row of `OPS` or `ACTIVATIONS` for each class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ...errors import ConvertError
from ...graph import GRU, LSTM, RNN, Activate, Activation, Dropout, Op, Recurrent
from . import layers as torch_layers
from .activations import ROWS


def to_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """A parameter as an array: float64 stays, everything narrower becomes float32."""
    if tensor.is_meta or tensor.is_complex() or tensor.layout is not torch.strided:
        raise ConvertError(f"weights must be real dense tensors with data, got {tensor.dtype} on {tensor.device}")
    tensor = tensor.detach().cpu()
    array: NDArray[Any] = (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()
    return array


def arrays_of(module: nn.Module, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays of a module by name; what the module has as None is left out."""
    tensors = ((name, getattr(module, name)) for name in names)
    return {name: to_numpy(tensor) for name, tensor in tensors if tensor is not None}


def demand(module: nn.Module, **expected: Any) -> None:
    """Raise unless each attribute of `module` has the one value that can be imported."""
    for name, value in expected.items():
        got = getattr(module, name)
        if got != value:
            raise ConvertError(f"{name} must be {value!r}, got {got!r}")


# Rows of features --------------------------------------------------------------------------------


def _linear(module: Any) -> Op:
    return torch_layers.build_dense(arrays_of(module, "weight", "bias"), {})


def _embedding(module: Any) -> Op:
    demand(module, max_norm=None)
    return torch_layers.build_embedding(arrays_of(module, "weight"), {})


def _layer_norm(module: Any) -> Op:
    if len(module.normalized_shape) != 1:
        raise ConvertError(f"normalized_shape must have one axis, got {tuple(module.normalized_shape)}")
    arrays = arrays_of(module, "weight", "bias")
    arrays.setdefault("weight", np.ones(module.normalized_shape, np.float32))
    return torch_layers.build_layer_norm(arrays, {"eps": module.eps})


def _batch_norm(module: Any) -> Op:
    if module.running_mean is None or module.running_var is None:
        raise ConvertError("track_running_stats must be True, got a module without running statistics")
    arrays = arrays_of(module, "running_mean", "running_var", "weight", "bias")
    return torch_layers.build_batch_norm(arrays, {"eps": module.eps})


OPS: dict[type[nn.Module], Callable[[Any], Op]] = {
    nn.Linear: _linear,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.AlphaDropout), lambda module: Dropout(module.p)),
}
ACTIVATIONS: dict[type[nn.Module], Callable[[Any], Activation]] = {
    **{row.module: row.of for row in ROWS.values()},
    nn.Softmax: lambda module: Activation("softmax"),  # its dim is checked against the input by `calls`
}
CELLS: dict[type[nn.Module], type[Recurrent]] = {nn.RNNCell: RNN, nn.GRUCell: GRU, nn.LSTMCell: LSTM}
RECURRENT: dict[type[nn.Module], type[Recurrent]] = {nn.RNN: RNN, nn.GRU: GRU, nn.LSTM: LSTM}
SAME: tuple[type[nn.Module], ...] = (nn.Identity,)
_KNOWN: tuple[type[nn.Module], ...] = (*OPS, *ACTIVATIONS, *CELLS, *RECURRENT, *SAME)


def known_class(module: nn.Module) -> type[nn.Module] | None:
    """The torch.nn class whose forward the module runs, where it can be imported.

    A subclass counts when it keeps the forward of its base, as weights under
    ``torch.nn.utils.parametrizations`` do.
    """
    for cls in type(module).__mro__:
        if cls in _KNOWN:
            return cls if type(module).forward is cls.forward else None
    return None


def refuse_changed_calls(module: nn.Module) -> None:
    """Raise when a call of `module` or of one inside it does more than its class's forward."""
    for path, part in module.named_modules():
        hooks = len(part._forward_hooks) + len(part._forward_pre_hooks)
        if hooks:
            raise ConvertError(
                f"forward hooks of {path or 'the module'!r} must be removed first "
                f"(torch.nn.utils.remove_weight_norm for the old weight_norm), got {hooks}"
            )
        if "forward" in vars(part):
            raise ConvertError(f"forward of {path or 'the module'!r} must be its class's, got one set on the object")


def to_op(module: nn.Module) -> Op:
    """The op of a module that is not recurrent."""
    cls = known_class(module)
    if cls in OPS:
        return OPS[cls](module)
    if cls in ACTIVATIONS:
        return Activate(ACTIVATIONS[cls](module))
    raise ConvertError(
        "class must be one of torch.nn's recurrent layers, Linear, Embedding, LayerNorm, BatchNorm1d, dropouts and "
        f"activations, got {type(module).__name__}"
    )


def recurrent_layers(module: Any) -> torch_layers.Layers:
    """The layers of an RNN, GRU or LSTM module or cell, lowest first, with the ends of their names."""
    cls = known_class(module)
    stems = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
    attributes = {"activation": module.nonlinearity} if cls in (nn.RNN, nn.RNNCell) else {}
    if cls in CELLS:
        return torch_layers.build_stack(CELLS[cls], arrays_of(module, *stems), attributes=attributes)
    stems += ["weight_hr"] if module.proj_size else []
    ends = [f"_l{k}{way}" for k in range(module.num_layers) for way in ["", "_reverse"][: 1 + module.bidirectional]]
    arrays = arrays_of(module, *(stem + end for end in ends for stem in stems))
    op = RECURRENT[cls] if cls else RNN
    return torch_layers.build_stack(op, arrays, attributes=attributes)
