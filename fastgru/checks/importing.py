"""What `fastgru.convert` checks of an import, and what becomes of one that is not as it must be."""

from __future__ import annotations

from typing import Any

from ..converters import Imported
from ..errors import ConvertError, MemoryLimitError, OracleError
from ..graph import Graph
from . import selftest

# In a provenance: how an import is known to be other than its source, and why it was not compared with it.
DIFFERS, UNCHECKED = "differs", "unchecked"


def make_test(
    imported: Imported, graph: Graph, dtype: str, *, check: bool
) -> tuple[selftest.SelfTest | None, dict[str, str]]:
    """Return the self-test of an import, and its provenance with what was found.

    Parameters
    ----------
    check : bool
        Whether to refuse what differs from its source, and what cannot be checked at all. If not, the provenance says
        it, and there is no self-test where none can be made.

    Raises
    ------
    ConvertError, MemoryLimitError
    """
    provenance, oracle = imported.provenance, imported.oracle
    try:
        if oracle is None:
            raise OracleError(imported.missing)
        test = selftest.make(graph, oracle, provenance, dtype=dtype, steps=imported.steps)
        selftest.check_others(graph, oracle, provenance, imported.others)
        return test, provenance
    except selftest.Disagreement as why:
        if check:
            raise ConvertError(str(why)) from why
        provenance = {**provenance, DIFFERS: str(why)}
    except OracleError as why:
        provenance = {**provenance, UNCHECKED: str(why)}
    except (ConvertError, MemoryLimitError) as why:
        if check:
            raise
        return None, {**provenance, UNCHECKED: str(why)}
    try:
        return selftest.make(graph, None, provenance, dtype=dtype), provenance
    except (ConvertError, MemoryLimitError) as why:
        if check:
            raise
        return None, {**provenance, UNCHECKED: str(why)}


def engine_differs(model: Any, *, check: bool) -> str:
    """Return how the engine departs from a model's self-test: empty where it does not, or where there is none.

    Raises
    ------
    ConvertError
        If it does, with `check`.
    """
    if model.self_test is None:
        return ""
    try:
        selftest.check_engine(model)
    except selftest.Disagreement as why:
        if check:
            raise ConvertError(str(why)) from why
        return str(why)
    return ""
