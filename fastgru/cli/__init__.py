"""The command line: one row of `COMMANDS` and one file per command.

Errors are one line on stderr: exit status 1 when a model fails its self-test, 2 for everything else that is wrong with
arguments, files or the machine, 130 after Ctrl-C, and 3 when fastgru itself is at fault.
"""

from __future__ import annotations

from typing import Any

from ._ending import one_line, open_standard

COMMANDS = (
    "convert",
    "info",
    "verify",
    "run",
    "generate",
    "forecast",
    "bench",
    "quantize",
    "compile",
    "inspect",
    "demo",
)  # module and function of that name


def build() -> Any:
    """The typer application of all `COMMANDS`."""
    import typer

    from ._app import Group, options

    app = typer.Typer(name="fastgru", cls=Group, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(options)
    return app


def main() -> None:
    """The entry point of ``fastgru`` and ``python -m fastgru``."""
    open_standard()
    with one_line():
        app = build()
    app()
