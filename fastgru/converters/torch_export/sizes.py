"""The symbolic sizes of torch.export as those of labelled axes: ``B``, ``T``, and what layers make of ``T``."""

from __future__ import annotations

import re
from typing import Any

import torch

from ...errors import ConvertError
from ..tensors.values import BATCH, TIME, Dim, Size, product


class Sizes:
    """Knows which of the exporter's symbols is the batch and which the steps of time."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}  # exporter's symbol -> label
        self._steps: dict[str, Any] = {}  # name of a number of steps -> its expression

    def declare(self, size: Any, label: str, what: str) -> None:
        """Say that an axis of an input is `label`.

        Raises
        ------
        ConvertError
            When the module lets it have one size only, or a function of another axis.
        """
        expression = size.node.expr if isinstance(size, torch.SymInt) else size
        if isinstance(size, int) or expression.is_Integer:
            raise ConvertError(f"{what} must be free to be {label!r}, got a module that fixes it at {expression}")
        if not expression.is_Symbol:
            raise ConvertError(f"{what} must be free to be {label!r}, got a module that ties it to {expression}")
        if self._labels.setdefault(str(expression), label) != label:
            raise ConvertError(f"{what} must be one label, got {self._labels[str(expression)]!r} and {label!r}")

    def of(self, size: Any) -> Size:
        """A size of the exporter as one of ours."""
        return self._size(size.node.expr) if isinstance(size, torch.SymInt) else int(size)

    def shape(self, value: Any) -> tuple[Size, ...] | None:
        """The sizes of an exporter's tensor; None of anything else, or where one is neither batch nor time."""
        if not isinstance(value, torch.Tensor):
            return None
        try:
            return tuple(self.of(n) for n in value.shape)
        except ConvertError:
            return None

    def difference(self, a: Size, b: Size) -> int | None:
        """a - b, where that is a number."""
        pair = [self._expression(n) for n in (a, b)]
        if None in pair:
            return None
        difference = pair[0] - pair[1]
        return int(difference) if difference.is_Integer else None

    def parts(self, whole: str, some: str) -> int | None:
        """n, where a number of steps is one n-th of another."""
        a, b = self._steps.get(whole), self._steps.get(some)
        if a is None or b is None or type(b).__name__ != "FloorDiv" or b.args[0] != a or not b.args[1].is_Integer:
            return None
        return int(b.args[1])

    def _expression(self, size: Size) -> Any:
        if isinstance(size, int):
            return size
        return self._steps.get(size.symbols[0]) if size.factor == 1 and len(size.symbols) == 1 else None

    def _size(self, expression: Any) -> Size:
        if expression.is_Integer:
            return int(expression)
        if expression.is_Symbol and str(expression) in self._labels:
            label = self._labels[str(expression)]
            if label == TIME:
                self._steps.setdefault(TIME, expression)
            return Dim(1, (label,))
        if expression.is_Mul:
            return product(self._size(factor) for factor in expression.args)
        labels = {self._labels.get(str(symbol)) for symbol in expression.free_symbols}
        if labels != {TIME}:
            shown = ", ".join(sorted(label or "another axis" for label in labels))
            raise ConvertError(f"size must be of batch or of time, got {expression} of {shown}")
        text = str(expression)
        for symbol in expression.free_symbols:
            text = re.sub(rf"\b{symbol}\b", TIME, text)
        self._steps.setdefault(text, expression)
        return Dim(1, (text,))


def is_batch(size: Any) -> bool:
    """Whether a size is the number of rows."""
    return isinstance(size, Dim) and size == Dim(1, (BATCH,))
