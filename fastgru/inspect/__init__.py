"""A look inside of models: what gates, states and layers do as a model runs, and what becomes of it if they did not.

`Model.trace` and `Stream.trace` show values, `Stream.edit` changes them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {  # of the names shown here, each imported when it is first used
    "Edit": "editing", "Trace": "tracing", "edit": "editing",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)
