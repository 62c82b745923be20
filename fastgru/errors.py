"""Every error the package raises on purpose, and the one way a missing extra is reported."""

from __future__ import annotations

import importlib
from types import ModuleType

MOST_LISTED = 50


class FastGruError(Exception):
    """Base class of the package's own errors."""


class GraphError(FastGruError, ValueError):
    """A layer or a graph is inconsistent; the message lists every problem found."""


class ConvertError(FastGruError, ValueError):
    """A source model cannot be imported faithfully; the message names node, attribute and value."""


class FileFormatError(FastGruError, ValueError):
    """A ``.fgru`` file is malformed, truncated, hostile or of another version."""


class VerificationError(FastGruError, ValueError):
    """A model does not reproduce its stored self-test."""


class IsaError(FastGruError, ValueError):
    """An instruction set is unknown, was not built, or is not supported by this machine."""


class MemoryLimitError(FastGruError, MemoryError):
    """A model or a stream would need more memory than the limit allows; the message names the node that needs most."""


class MissingExtraError(FastGruError, ImportError):
    """An optional dependency is not installed."""


class DataError(FastGruError, ValueError):
    """An input or output of the command line does not fit; the message names file, line and column."""


class OracleError(FastGruError, RuntimeError):
    """The source's own framework cannot be asked what a model computes; the message says why."""


class AttributionError(FastGruError, ArithmeticError):
    """An attribution does not add up to the output that it explains; the message names the gap."""


class CalibrationWarning(UserWarning):
    """Errors were measured on random input, as no typical one was given: real data may give far larger ones."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or say which extra installs it.

    Raises
    ------
    MissingExtraError
        When `module` cannot be found, or is installed and fails to import.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever the code of a package may raise
        package = module.split(".")[0]
        missing = error.name.split(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else None
        if missing == package:
            why = f"which is not installed: pip install 'fastgru[{extra}]'"
        else:
            why = f"which fails to import: {type(error).__name__}: {error}"
        raise MissingExtraError(f"{purpose} needs the package {package!r}, {why}") from error


def listed(problems: list[str]) -> str:
    """Return one message for all problems: a single line, or a numbered list of the first, each once."""
    problems = list(dict.fromkeys(problems))
    if len(problems) == 1:
        return problems[0]
    rows = [f"  {i}. {p}" for i, p in enumerate(problems[:MOST_LISTED], 1)]
    more = [f"  and {len(problems) - MOST_LISTED} more"] if len(problems) > MOST_LISTED else []
    return "\n".join([f"{len(problems)} problems:", *rows, *more])


def __dir__() -> list[str]:
    return [name for name, value in globals().items() if isinstance(value, type) and issubclass(value, Exception)]
