"""Commands of the command line, run in the process of a test."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from fastgru.cli import build


def invoke(*words: Any, code: int = 0, stdin: str | bytes | None = None) -> str:
    """Run a command that ends with the status `code`; return stdout, or the one line of the error without "error: "."""
    result = CliRunner().invoke(build(), [str(word) for word in words], input=stdin)
    assert result.exit_code == code, result.output
    if not code:
        return result.stdout
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr.removeprefix("error: ").rstrip("\n")
