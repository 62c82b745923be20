"""A look inside of models: what gates, states and layers do, what moves them, and how two models differ.

`Model.trace` and `Stream.trace` show values as a model runs, `Stream.edit` changes them. `profile` says what gates and
memory do on data, `store` keeps that in a model for `drift`, and `compare` finds the layer where two models part.
`attribute` says which inputs an output is owed to, `report` makes a page that shows all of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {  # of the names shown here, each imported when it is first used
    "Trace": "tracing", "Edit": "editing", "edit": "editing",
    "Profile": "profiles", "profile": "profiles", "store": "profiles", "stored": "profiles", "compare": "differences",
    "drift": "differences",
    "attribute": "attribution", "report": "report_html",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(_HOMES)
