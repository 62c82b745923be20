"""Layers of torch.ao.nn.quantized as the layers of torch.nn that they were made of, with the weights that they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..._hints import given
from ...errors import ConvertError

PACKAGES = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
PRECISIONS = {torch.qint8: "int8", torch.quint8: "int8", torch.float16: "float16"}  # of weights: the graph's own


def is_quantized(module: nn.Module) -> bool:
    """Return True for a layer that PyTorch's quantization made."""
    return type(module).__module__.startswith(PACKAGES)


def plain(module: Any, path: str) -> tuple[nn.Module, str]:
    """Return the layer of torch.nn that a dynamically quantized one stands for, and the precision of its weights.

    Raises
    ------
    ConvertError
        For layers that were quantized by calibration, whose activations have fixed scales.
    """
    make = MADE.get(type(module).__name__)
    dynamic = ".dynamic" in type(module).__module__ or isinstance(make, _Table)
    if make is None or not dynamic:
        raise ConvertError(
            f"layer {path!r} must be a float one, or one of torch.ao.quantization.quantize_dynamic (RNN, LSTM, GRU, "
            f"their cells, Linear), got {type(module).__name__} of {type(module).__module__.rpartition('.')[0]}: "
            f"convert the float model, and choose {given('precision', 'int8')}"
        )
    layer, dtype = make(module)
    return layer.eval(), PRECISIONS.get(dtype, "float32")


def _filled(layer: nn.Module, arrays: Mapping[str, Any]) -> nn.Module:
    """Give a layer its weights; codes become the numbers that they stand for."""
    with torch.no_grad():
        for name, value in arrays.items():
            own = value.dequantize() if value.is_quantized else value
            layer.get_parameter(name).copy_(own)
    return layer


def _recurrent(cls: Callable[..., nn.Module]) -> Callable[[Any], tuple[nn.Module, Any]]:
    def make(module: Any) -> tuple[nn.Module, Any]:
        layer = cls(
            module.input_size, module.hidden_size, module.num_layers, bias=module.bias, dropout=module.dropout,
            batch_first=module.batch_first, bidirectional=module.bidirectional,
        )  # fmt: skip
        arrays = {**module.get_weight(), **(module.get_bias() if module.bias else {})}
        return _filled(layer, arrays), module.dtype

    return make


def _cell(cls: Callable[..., nn.Module]) -> Callable[[Any], tuple[nn.Module, Any]]:
    def make(module: Any) -> tuple[nn.Module, Any]:
        options = {"nonlinearity": module.nonlinearity} if cls is nn.RNNCell else {}
        layer = cls(module.input_size, module.hidden_size, bias=module.bias, **options)
        arrays = {**module.get_weight(), **(module.get_bias() if module.bias else {})}
        return _filled(layer, arrays), module.weight_dtype

    return make


def _linear(module: Any) -> tuple[nn.Module, Any]:
    weight, bias = module.weight(), module.bias()
    layer = nn.Linear(module.in_features, module.out_features, bias=bias is not None)
    made = _filled(layer, {"weight": weight, **({} if bias is None else {"bias": bias})})
    return made, weight.dtype if weight.is_quantized else torch.float16


def _linear_relu(module: Any) -> tuple[nn.Module, Any]:
    layer, dtype = _linear(module)
    return nn.Sequential(layer, nn.ReLU()), dtype


class _Table:
    """A look-up, whose codes are its weights alone."""

    def __init__(self, cls: Callable[..., nn.Module]) -> None:
        self.cls = cls

    def __call__(self, module: Any) -> tuple[nn.Module, Any]:
        weight = module.weight()
        options = {"mode": module.mode} if self.cls is nn.EmbeddingBag else {}
        return _filled(self.cls(module.num_embeddings, module.embedding_dim, **options), {"weight": weight}), None


MADE: dict[str, Any] = {
    "LSTM": _recurrent(nn.LSTM), "GRU": _recurrent(nn.GRU), "LSTMCell": _cell(nn.LSTMCell),
    "GRUCell": _cell(nn.GRUCell), "RNNCell": _cell(nn.RNNCell), "Linear": _linear, "LinearReLU": _linear_relu,
    "Embedding": _Table(nn.Embedding), "EmbeddingBag": _Table(nn.EmbeddingBag),
}  # fmt: skip
