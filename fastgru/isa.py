"""Which instruction set models use: asked for, forced by the environment, or the best that the machine runs."""

from __future__ import annotations

import os
from typing import Any

from . import engine
from .errors import IsaError

LANES = {"avx512": 16, "avx2": 8, "neon": 4, "portable": 4}  # float32 numbers of a vector
KNOWN_ISAS = tuple(LANES)
ISA_VARIABLE = "FASTGRU_ISA"


def cpu_info() -> dict[str, Any]:
    """The instruction sets of this build and machine.

    Returns
    -------
    dict
        ``built`` and ``supported``, lists of names, best first; ``selected``, the one models use
        unless told otherwise; ``lanes``, float32 elements per vector of each; ``dot_products``, the
        instructions that int8 and bfloat16 weights use with each here.

    Examples
    --------
    >>> sorted(cpu_info())
    ['built', 'dot_products', 'lanes', 'selected', 'supported']
    """
    rows = engine.isas()
    return {
        "built": [name for name, *_ in rows],
        "supported": [name for name, supported, *_ in rows if supported],
        "selected": select_isa(None),
        "lanes": {name: lanes for name, _, lanes, _ in rows},
        "dot_products": {name: dots for name, *_, dots in rows},
    }


def select_isa(isa: str | None) -> str:
    """`isa`, or what the environment variable FASTGRU_ISA forces, or the best one supported.

    Raises
    ------
    IsaError
        When the name is unknown, was not built, or is not supported here: three different errors.
    """
    rows = {name: supported for name, supported, *_ in engine.isas()}
    what = "isa"
    if isa is None and (isa := os.environ.get(ISA_VARIABLE) or None) is not None:
        what = ISA_VARIABLE
    if isa is None:
        return next(name for name, supported in rows.items() if supported)
    if not isinstance(isa, str) or isa not in KNOWN_ISAS:
        raise IsaError(f"{what} must be one of {', '.join(KNOWN_ISAS)}, got {isa!r}")
    if isa not in rows:
        raise IsaError(f"{what} must be one this build has ({', '.join(rows)}), got {isa!r}, which was not built")
    if not rows[isa]:
        supported = ", ".join(name for name, ok in rows.items() if ok)
        raise IsaError(f"{what} must be one this machine supports ({supported}), got {isa!r}")
    return isa
