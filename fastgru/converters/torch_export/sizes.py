"""The symbolic sizes of torch.export as those of the tensor program: the batch, steps, and what follows of them."""

from __future__ import annotations

from functools import reduce
from operator import add, floordiv
from typing import Any

import torch

from ...errors import ConvertError
from ..program.sizes import BATCH, Size, product, size_of, symbol

# Functions of the exporter's formulas by their names, each of sizes.
FUNCTIONS: dict[str, Any] = {
    "Add": lambda *sizes: reduce(add, sizes), "Mul": lambda *sizes: product(sizes), "FloorDiv": floordiv,
    "CleanDiv": floordiv, **dict.fromkeys(("Mod", "PythonMod"), lambda size, n: size - size // n * n),
    "Pow": lambda size, times: product([size] * int(times)),
}  # fmt: skip


class Sizes:
    """Knows which of the exporter's symbols is the batch and which the steps of time."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}  # exporter's symbol -> label

    def declare(self, size: Any, label: str, what: str) -> None:
        """Say that an axis of an input is `label`.

        Raises
        ------
        ConvertError
            When the module lets it have one size only, or a function of another axis.
        """
        expression = size.node.expr if isinstance(size, torch.SymInt) else size
        if isinstance(size, int) or expression.is_Integer:
            raise ConvertError(f"{what} must be free to be {label!r}, got a module that works for one size alone")
        if not expression.is_Symbol:
            raise ConvertError(f"{what} must be free to be {label!r}, got a module that ties it to another size")
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

    def _size(self, expression: Any) -> Size:
        if expression.is_Integer:
            return int(expression)
        if expression.is_Symbol and str(expression) in self._labels:
            return size_of(symbol(self._labels[str(expression)]))
        function = FUNCTIONS.get(type(expression).__name__)
        if function is None or not expression.free_symbols:
            raise ConvertError(f"size must be of batch or of time, got {expression}")
        size: Size = function(*map(self._size, expression.args))
        return size


def is_batch(size: Any) -> bool:
    """Return True if a size is the number of rows."""
    return bool(size == size_of(BATCH))
