"""PyTorch, eager, in inference mode."""

from __future__ import annotations

from typing import Any

from ..cases import Problem
from . import Base, Run


class TorchEager(Base):
    """``torch.nn.GRU`` or ``LSTM``; rows of different lengths as a packed sequence."""

    name = module = "torch"

    def module_of(self, problem: Problem) -> Any:
        """The layer with the problem's weights."""
        import torch

        torch.set_num_threads(1)
        case = problem.case
        cls = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[case.cell]
        module = cls(case.input, case.hidden, case.layers, batch_first=True, bidirectional=case.bidirectional).eval()
        arrays = [torch.from_numpy(array) for layer in problem.weights for weights in layer for array in weights]
        with torch.no_grad():
            for parameter, array in zip(module.parameters(), arrays, strict=True):
                parameter.copy_(array)
        return module

    def generated(self, problem: Problem) -> Run:
        module = self.module_of(problem)

        import torch
        from torch.nn.utils import rnn

        case, x = problem.case, torch.from_numpy(problem.x)
        carried: list[Any] = [None]

        def step() -> Any:
            with torch.inference_mode():
                y, carried[0] = module(x, carried[0])
            return y

        def whole() -> Any:
            with torch.inference_mode():
                return module(x)[0]

        def ragged() -> Any:
            with torch.inference_mode():
                packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
                return rnn.pad_packed_sequence(module(packed)[0], batch_first=True, total_length=case.steps)[0]

        if case.lengths is not None:
            lengths = torch.tensor(case.lengths)
            return Run(ragged, lambda y: y.numpy())
        return Run(step if case.streaming else whole, lambda y: y.numpy())


ENGINES = [TorchEager()]
