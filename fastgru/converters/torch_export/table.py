"""The ATen operators that the importer translates: one table a file, joined here."""

from __future__ import annotations

from . import (
    activations,
    choices,
    complex_numbers,
    elementwise,
    indexing,
    joins,
    norms,
    products,
    recurrent,
    reductions,
    spectral,
    stft,
    views,
    windows,
    writes,
)
from .call import Handler

TABLE: dict[str, Handler] = {
    name: handler
    for module in (
        activations, choices, complex_numbers, elementwise, indexing,
        joins, norms, products, recurrent, reductions, spectral, stft, views, windows, writes,
    )
    for name, handler in module.TABLE.items()
}  # fmt: skip


def find(target: str) -> Handler | None:
    """The translation of ``"namespace::name.overload"``."""
    space, _, full = target.partition("::")
    if space != "aten":
        return TABLE.get(target.partition(".")[0])
    name, _, overload = full.partition(".")
    return TABLE.get(f"{name}.{overload or 'default'}") or TABLE.get(name)
