"""Models that a command changes or looks into, which a compiled plan can't be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError

if TYPE_CHECKING:
    from ..model import Model


def whole(path: Path, command: str) -> Model:
    """Load a .fgru file; DataError where it is a compiled plan."""
    import fastgru

    loaded = fastgru.load(path)
    if isinstance(loaded, fastgru.CompiledModel):
        raise DataError(
            f"{path}: fastgru {command} must be given a .fgru file, got a compiled plan: give what it was made of"
        )
    return loaded
