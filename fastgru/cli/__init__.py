"""The command line: one row of `COMMANDS` and one file per command.

Errors of the package are one line on stderr: exit status 1 when a model fails its self-test, else 2.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from ..errors import FastGruError, VerificationError

COMMANDS = ("convert", "info", "verify", "run", "bench", "quantize", "demo")  # module and function of that name
STATUSES: dict[type[Exception], int] = {VerificationError: 1, FastGruError: 2, OSError: 2, MemoryError: 2}


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with the errors of `STATUSES` as one line on stderr and an exit status."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except BrokenPipeError:  # the reader of our output has gone: stop without a word
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(141) from None
        except tuple(STATUSES) as error:
            status = next(s for kind, s in STATUSES.items() if isinstance(error, kind))
            print(f"error: {message(error)}", file=sys.stderr)
            raise SystemExit(status) from None

    return run


def message(error: BaseException) -> str:
    """What an error says, on one line."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def build() -> Any:
    """The typer application of all `COMMANDS`."""
    import typer

    app = typer.Typer(
        name="fastgru", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
        help="Run trained recurrent networks on the CPU.",
    )  # fmt: skip
    for name in COMMANDS:
        module = importlib.import_module(f".{name}", __name__)
        app.command(name)(guarded(getattr(module, name)))
    return app


def main() -> None:
    """The entry point of ``fastgru`` and ``python -m fastgru``."""
    build()()
