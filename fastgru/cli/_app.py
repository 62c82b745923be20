"""The typer classes of programs whose errors, those of wrong arguments too, are one line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .. import __version__
from .._hints import command_line
from . import COMMANDS
from ._ending import CommandLineError, one_line

# click's base class of errors; newer releases of typer hold a copy of click, so it is found through typer.
ClickException: type[Any] = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


class _OneLine:
    """Replace click's `main`, which prints errors as several lines and drops some of Python's."""

    make_context: Callable[..., Any]
    invoke: Callable[..., Any]
    empty: tuple[str, ...] = ()  # the words that no words stand for
    language: Callable[[], AbstractContextManager[None]] = nullcontext  # that errors speak of options in

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: Any) -> None:
        with one_line(), type(self).language():
            words = list(sys.argv[1:] if args is None else args) or list(self.empty)
            try:
                with self.make_context(prog_name or "fastgru", words) as context:
                    self.invoke(context)
            except typer.Exit as end:
                if end.exit_code:
                    raise SystemExit(end.exit_code) from None
            except ClickException as error:
                raise CommandLineError(_said(error)) from error


def _said(error: Any) -> str:
    """Return the message of a click error, with the command whose help says more."""
    context = getattr(error, "ctx", None)
    hint = f" (see '{context.command_path} --help')" if context is not None else ""
    return f"{error.format_message().rstrip('.')}{hint}"


class Command(_OneLine, TyperCommand):  # type: ignore[misc] # click's main is declared to return anything
    """A program of one command."""


class Group(_OneLine, TyperGroup):  # type: ignore[misc]
    """The program of all `COMMANDS`, each imported when it is asked for."""

    empty = ("--help",)
    language = command_line

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        for name in [cmd_name] if cmd_name in COMMANDS else COMMANDS:  # all, of which the nearest are suggested
            if name not in self.commands:
                app = typer.Typer(add_completion=False)
                app.command(name)(getattr(importlib.import_module(f".{name}", __package__), name))
                self.add_command(typer.main.get_command(app), name)
        return super().get_command(ctx, cmd_name)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"fastgru {__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run trained recurrent networks on the CPU."""
