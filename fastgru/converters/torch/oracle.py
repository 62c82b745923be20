"""PyTorch's own forward pass on batch-first NumPy arrays, for checking an import."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from ..damage import asking

Array = NDArray[Any]
Path = tuple[Any, ...]  # an output's layout, then the keys that lead to it in what forward returns
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


class ModuleOracle:
    """Runs a module whose input has the axes `layout`; outputs are batch first, in the graph's order."""

    def __init__(self, module: nn.Module, layout: str, paths: Sequence[Path], extra: int) -> None:
        self.module, self.layout, self.paths, self.extra = module, layout, paths, extra

    def __call__(self, x: Any) -> tuple[Array, ...]:
        """x: (B, T, I) or ids (B, T). A module of rows (B, I) is given every step as a row of its own."""
        steps = x.shape[:2]
        with evaluating(self.module), asking("PyTorch"):
            result = self.module(*self.arguments(x))
        outputs = []
        for layout, *keys in self.paths:
            output = result
            for key in keys:
                output = output[key]
            if layout.startswith("T"):
                output = output.transpose(0, 1)
            elif "T" not in self.layout:
                output = output.unflatten(0, steps)
            outputs.append(to_array(output))
        return tuple(outputs)

    def arguments(self, x: Any) -> list[Any]:
        """What the module is called with for an array."""
        tensor = to_tensor(self.module, x)
        if self.layout.startswith("T"):
            tensor = tensor.transpose(0, 1)
        elif "T" not in self.layout:
            tensor = tensor.flatten(0, 1)
        return [tensor, *[None] * self.extra]


class CellOracle:
    """Runs a recurrent cell over time."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, x: Any) -> tuple[Array, ...]:
        """x: (B, T, I) to (B, T, H)."""
        state: Any = None
        outputs = []
        with evaluating(self.module), asking("PyTorch"):
            for frame in to_tensor(self.module, x).unbind(1):
                state = self.module(frame, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
        return (to_array(torch.stack(outputs, 1)),)
