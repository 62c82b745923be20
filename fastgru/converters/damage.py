"""Errors that libraries raise on damaged files and odd models, turned into those of the package."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ConvertError, FastGruError, GraphError, OracleError

# zipfile: of its own, of the decompressors, and of headers that it unpacks and seeks by as they are. An encrypted entry
# is a RuntimeError, an unknown method a NotImplementedError.
ZIPPED = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, LookupError,
          OSError, OverflowError, RuntimeError, ValueError)  # fmt: skip
# Python and NumPy: of a value that is not of the kind that a sound file has in its place. RecursionError is a
# RuntimeError; MemoryError is not here, since sizes that a file declares are checked before they are used.
MALFORMED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

# Of a zip archive's entries to the file, and bytes beyond that: code and configs shrink by a few times.
RATIO, SLACK = 64, 1 << 20


@contextmanager
def naming(name: str, what: str) -> Iterator[None]:
    """Put the file's name in front of errors of the package; `MALFORMED` says that the file is not `what`."""
    try:
        yield
    except (ConvertError, GraphError) as error:
        raise ConvertError(f"{name}: {error}") from error
    except FastGruError:
        raise
    except MALFORMED as error:
        raise ConvertError(f"{name} must be {what}, got {type(error).__name__}: {error}") from error


@contextmanager
def asking(framework: str) -> Iterator[None]:
    """Turn what a framework raises when it runs a model into an OracleError: its exceptions have no common base."""
    try:
        yield
    except (OracleError, MemoryError):
        raise
    except Exception as error:
        raise OracleError(f"{framework} does not run the model: {line_of(error)}") from error


def line_of(error: BaseException) -> str:
    """The line of an error's message that says most: the first, or the last where TorchScript shows its own trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if "TorchScript interpreter" in lines[0] else 0][:500]
