"""PyTorch's own forward pass on batch-first NumPy arrays, for checking an import."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from ...errors import ConvertError

Array = NDArray[Any]
WIDENED = "fastgru_widened"  # attribute of the copy in float32 of a module of half precision
HALVES = (torch.float16, torch.bfloat16)


class _Wide(TorchFunctionMode):
    """Computes in float32 where code asks for half precision."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func = torch.Tensor.float if func in (torch.Tensor.half, torch.Tensor.bfloat16) else func
        return func(*map(_wide, args), **{name: _wide(value) for name, value in (kwargs or {}).items()})


def _wide(value: Any) -> Any:
    return torch.float32 if isinstance(value, torch.dtype) and value in HALVES else value


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every submodule's own mode, and its other attributes, come back afterwards.

    Quiet: what a module warns of, its owner hears when running it; an import would say it again for every trial.
    """
    before = [(m, dict(vars(m))) for m in module.modules()]
    module.eval()
    try:
        with warnings.catch_warnings(), torch.no_grad(), _Wide() if WIDENED in vars(module) else nullcontext():
            warnings.simplefilter("ignore")
            yield
    finally:
        for m, attributes in before:
            vars(m).clear()
            vars(m).update(attributes)


def to_tensor(module: nn.Module, x: Any) -> torch.Tensor:
    """`x` on the module's device, floats in the module's dtype."""
    tensor = x.clone() if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
    weight = next((p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()), tensor)
    return tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else torch.int64)


def to_array(tensor: torch.Tensor) -> Array:
    """A tensor as float32 or float64."""
    array: Array = (tensor if tensor.dtype == torch.float64 else tensor.float()).cpu().numpy()
    return array


def to_numpy(tensor: torch.Tensor) -> Array:
    """A parameter as an array: float64 stays, everything narrower becomes float32."""
    if tensor.is_meta or tensor.is_complex() or tensor.layout is not torch.strided:
        raise ConvertError(f"weights must be real dense tensors with data, got {tensor.dtype} on {tensor.device}")
    return to_array(tensor.detach())
