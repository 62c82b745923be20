"""End a command with a result, or with one line on stderr and an exit status."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn, TextIO

from ..errors import FastGruError, VerificationError

STATUSES: dict[type[BaseException], int] = {
    VerificationError: 1, FastGruError: 2, OSError: 2, ImportError: 2, MemoryError: 2, Warning: 2,
}  # fmt: skip
FAULT = 3  # any other exception: fastgru itself is wrong
INTERRUPTED, NO_READER = 130, 141  # 128 and the number of SIGINT and of SIGPIPE, as shells have them
ITEM = re.compile(r"\d+\. |and \d+ more$")  # a line of `fastgru.errors.listed`
TRACEBACK = "FASTGRU_TRACEBACK"  # environment variable that shows where a fault arose


class CommandLineError(FastGruError):
    """The words of a command line do not fit together."""


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """End the process with one line on stderr and an exit status where the block raises.

    What the block printed is flushed first: a result that could not be written is an error as well.
    """
    try:
        yield
        sys.stdout.flush()
    except KeyboardInterrupt:
        _end(INTERRUPTED, "interrupted")
    except BrokenPipeError:  # the reader of our output has gone: stop without a word
        _end(NO_READER)
    except Exception as error:
        status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), FAULT)
        if status == FAULT and os.environ.get(TRACEBACK):
            traceback.print_exc()
        _end(status, f"error: {message(error) if status != FAULT else _fault(error)}")


def message(error: BaseException) -> str:
    """Return the message of an error on one line."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return printable(f"{os.fsdecode(error.filename)}: {error.strerror}")
    if isinstance(error, MemoryError) and not isinstance(error, FastGruError):
        said = str(error)
        return printable(f"memory must hold what the command needs, got too little{said and ': '}{said}")
    return printable(str(error)) or type(error).__name__


def _fault(error: BaseException) -> str:
    """Describe an exception that no command should raise."""
    said = f"{type(error).__name__}: {message(error)}"
    return f"fault of fastgru, please report it: {said[:300]} ({TRACEBACK}=1 shows where)"


def printable(text: str) -> str:
    """Return `text` on one line: an item of a list ends with a semicolon, a sentence with a full stop.

    Examples
    --------
    >>> printable("two\\nlines, a bell\\a")
    'two lines, a bell\\\\x07'
    >>> printable("2 problems:\\n  1. a must be 1, got 2\\n  2. b must be there, got none\\nGive both.")
    '2 problems: 1. a must be 1, got 2; 2. b must be there, got none. Give both.'
    """
    lines = [line for line in (" ".join(line.split()) for line in text.splitlines()) if line]
    joined = "".join(f"{line}{_between(line, after)} " for line, after in itertools.pairwise(lines))
    return escaped(joined + "".join(lines[-1:]))


def _between(line: str, after: str) -> str:
    """Return the mark that ends a line of a message in front of the next one; a wrapped sentence has none."""
    if line[-1] in ".:;,!?":
        return ""
    return ";" if ITEM.match(after) else "." if after[0].isupper() else ""


def escaped(text: str) -> str:
    """`text` with escapes for characters that a terminal would obey or cannot show; line ends stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n" else ascii(c)[1:-1] for c in text)


def _end(status: int, text: str = "") -> NoReturn:
    """Exit with `status` after `text` on stderr, if that can be written; Python's own last flush then succeeds."""
    if text:
        with contextlib.suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    raise SystemExit(status) from None


# Standard streams ----------------------------------------------------------------------------------


class _Standard(io.FileIO):
    """A standard stream whose errors name it."""

    def __init__(self, descriptor: int, mode: str, title: str) -> None:
        super().__init__(descriptor, mode, closefd=False)
        self.title = title

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.title) from error

    def write(self, data: Any) -> Any:
        with self._named():
            return super().write(data)

    def readinto(self, buffer: Any) -> Any:
        with self._named():
            return super().readinto(buffer)

    def readall(self) -> Any:
        with self._named():
            return super().readall()


def open_standard() -> None:
    """Make the standard streams usable: none is closed, errors name them, and any text can be printed.

    A file opened later would take the descriptor of a closed stream. In its place comes one on which reading or
    writing fails, so that a command which needs the stream says so; messages to a closed stderr go nowhere.
    """
    for descriptor, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest free descriptor, which is this one
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_Standard(0, "r", "standard input")), encoding="utf-8")
    output = io.BufferedWriter(_Standard(1, "w", "standard output"))
    sys.stdout = io.TextIOWrapper(output, encoding, "backslashreplace", line_buffering=os.isatty(1))
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
    warnings.showwarning = _warn


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as one line; the arguments are those of `warnings.showwarning`."""
    with contextlib.suppress(OSError, ValueError):
        print(f"warning: {printable(str(message))}", file=sys.stderr)
