"""Writing files: a regular file whole or not at all, a device or FIFO as it is."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator

PATIENCE = 5.0  # seconds that a FIFO may take to get a reader
BINARY = getattr(os, "O_BINARY", 0)
NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def replace_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` at `path` in one step: no reader, and no failure, ever sees a part of it.

    An existing file keeps its mode, and its owner and group where this process may give files away; of a symbolic
    link, the file that it points to is replaced. What is not a regular file stays what it is: a device or FIFO is
    opened and written to, and so is an open descriptor (``/dev/stdout``, ``/dev/fd/3``).

    Raises
    ------
    OSError
        When `data` cannot be written; it names `path`, or the folder in which no file can be made. A regular file
        that was there is then untouched.
    """
    name = os.fsdecode(path)
    found = check_target(name)
    try:
        if found is not None and (not stat.S_ISREG(found.st_mode) or _is_descriptor(name)):
            _write_through(name, data, stat.S_ISFIFO(found.st_mode))
        else:
            _replace(os.path.realpath(name), data, found)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, name) from error


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put `path` into errors of the system that name no file: those of reading, unlike those of opening."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, os.fsdecode(path)) from error


def check_target(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of what is at `path`, None for a new file.

    Called before long work as well, so that a path nothing can be written to is refused at once.

    Raises
    ------
    OSError
        When a file at `path` can neither be made nor replaced; it names `path`, or the folder.
    """
    name = os.fsdecode(path)
    try:
        found = os.stat(name)
    except FileNotFoundError:
        found = None
    if found is not None and not stat.S_ISREG(found.st_mode):
        if stat.S_ISDIR(found.st_mode):
            raise _error(errno.EISDIR, name)
        if stat.S_ISSOCK(found.st_mode):
            raise OSError(errno.ENXIO, "a socket cannot be written to as a file", name)
        return found
    if not name or name.endswith(tuple(filter(None, (os.sep, os.altsep)))):
        raise _error(errno.EISDIR if name else errno.ENOENT, name)
    if found is not None and not os.access(name, os.W_OK):
        raise _error(errno.EACCES, name)
    if found is None or not _is_descriptor(name):
        real = os.path.realpath(name) if os.path.islink(name) else name
        _check_folder(os.path.dirname(real) or os.curdir, found is not None)
    return found


def _check_folder(folder: str, replaces: bool) -> None:
    """Raise OSError unless files can be made in `folder`."""
    if not os.path.isdir(folder):
        raise _error(errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT, folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        why = ": the new file is first written beside the one it replaces" if replaces else ""
        raise OSError(errno.EACCES, os.strerror(errno.EACCES) + why, folder)


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _is_descriptor(path: str) -> bool:
    """True if `path` is a name of an open descriptor, such as ``/dev/stdout``: a new file there would miss it."""
    for _ in range(40):  # as many links as Linux follows
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.realpath(folder).startswith("/proc/") or os.path.realpath(folder) == "/dev/fd":
            return True
        if not os.path.islink(path):
            return False
        path = os.path.join(folder, os.readlink(path))
    return False


def _replace(target: str, data: bytes, old: os.stat_result | None) -> None:
    """Write a temporary file beside `target` and rename it; `old` is the status of the file to replace."""
    temporary = os.path.join(os.path.dirname(target), f".{os.urandom(8).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY
    try:
        with os.fdopen(os.open(temporary, flags, 0o666 if old is None else 0o600), "wb") as file:
            file.write(data)
            file.flush()
            if old is not None:
                _keep_owner(temporary, old)
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _keep_owner(temporary: str, old: os.stat_result) -> None:
    """Give the new file the mode of the old one, and its owner and group if possible."""
    mode = stat.S_IMODE(old.st_mode)
    new = os.stat(temporary)
    if hasattr(os, "chown") and (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.chown(temporary, old.st_uid, old.st_gid)
        except OSError:
            mode &= 0o777  # a file of another owner must not run with that owner's rights
    os.chmod(temporary, mode)


def _write_through(path: str, data: bytes, fifo: bool) -> None:
    """Open what is at `path` and write to it."""
    descriptor = _open_through(path, fifo)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        if NONBLOCK:
            os.set_blocking(descriptor, True)
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]


def _open_through(path: str, fifo: bool) -> int:
    """Open for writing without waiting for ever: a FIFO must get a reader within `PATIENCE` seconds."""
    flags = os.O_WRONLY | os.O_APPEND | NONBLOCK | BINARY | getattr(os, "O_NOCTTY", 0)
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return os.open(path, flags)
        except OSError as error:
            if not (fifo and error.errno == errno.ENXIO):
                raise
        if time.monotonic() > give_up:
            raise OSError(errno.ENXIO, f"nothing reads from the FIFO, waited {PATIENCE:g} s", path)
        time.sleep(0.02)
