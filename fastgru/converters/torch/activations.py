"""PyTorch's activations that are ours: one table for its modules, functions, methods and ATen's operators.

Rows are named as ATen's operators; the parameters of a row are those of the operator, in its order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from ...errors import ConvertError
from ...graph import Activation


class Row(NamedTuple):
    """An activation.

    Attributes
    ----------
    make : callable
        From the operator's parameters to ours.
    module : type
        The torch.nn class.
    attributes : tuple of str
        Where the module has the parameters.
    functions : tuple
        The same of a tensor, with the parameters behind it.
    """

    make: Callable[..., Activation]
    module: type[nn.Module]
    attributes: tuple[str, ...] = ()
    functions: tuple[Any, ...] = ()

    def of(self, module: nn.Module) -> Activation:
        """Return the activation of a module."""
        return self.make(*(getattr(module, name) for name in self.attributes))


def _threshold(threshold: float, value: float) -> Activation:
    if value != 0:
        raise ConvertError(f"value must be 0, got {value}")
    return Activation("thresholded_relu", alpha=float(threshold))


def _softplus(beta: float = 1, threshold: float = 20) -> Activation:
    """Ours differs from x above the threshold by less than exp(-threshold)."""
    if beta != 1:
        raise ConvertError(f"beta must be 1, got {beta}")
    if threshold < 20:
        raise ConvertError(f"threshold must be at least 20, got {threshold}")
    return Activation("softplus")


def _elu(alpha: float = 1.0) -> Activation:
    return Activation("elu", alpha=float(alpha))


def _leaky_relu(negative_slope: float = 0.01) -> Activation:
    return Activation("leaky_relu", alpha=float(negative_slope))


ROWS: dict[str, Row] = {
    "sigmoid": Row(lambda: Activation("sigmoid"), nn.Sigmoid, (), (torch.sigmoid, F.sigmoid)),
    "tanh": Row(lambda: Activation("tanh"), nn.Tanh, (), (torch.tanh, F.tanh)),
    "relu": Row(lambda: Activation("relu"), nn.ReLU, (), (torch.relu, F.relu)),
    "softsign": Row(lambda: Activation("softsign"), nn.Softsign, (), (F.softsign,)),
    "hardsigmoid": Row(lambda: Activation("hard_sigmoid", alpha=1 / 6, beta=0.5), nn.Hardsigmoid, (), (F.hardsigmoid,)),
    "softplus": Row(_softplus, nn.Softplus, ("beta", "threshold"), (F.softplus,)),
    "elu": Row(_elu, nn.ELU, ("alpha",), (F.elu,)),
    "leaky_relu": Row(_leaky_relu, nn.LeakyReLU, ("negative_slope",), (F.leaky_relu,)),
    "threshold": Row(_threshold, nn.Threshold, ("threshold", "value"), (F.threshold, torch.threshold)),
}
