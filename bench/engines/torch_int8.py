"""PyTorch's dynamic int8 quantisation."""

from __future__ import annotations

import warnings
from typing import Any

from ..cases import Problem
from .torch_eager import TorchEager


class TorchInt8(TorchEager):
    """The eager layer after ``quantize_dynamic``."""

    def module_of(self, problem: Problem) -> Any:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch.ao.quantization is deprecated: it is what users have
            inside = torch.nn.Sequential(super().module_of(problem))  # it converts children, not the module itself
            layers = {torch.nn.GRU, torch.nn.LSTM}
            quantise: Any = torch.ao.quantization.quantize_dynamic
            return quantise(inside, layers, torch.qint8)[0]


ENGINES = [TorchInt8("int8")]
