"""Reading HDF5 into plain dicts of NumPy arrays: by a process of its own, whose memory and time the file's size bounds.

`hdf5_child` says what is read, and within which limits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ...errors import ConvertError, require
from . import hdf5_child
from .hdf5_child import OBJECTS
from .values import Array, shortened

# Seconds by the clock: so many, and one more for as many bytes. The child's processor time has a tighter bound.
PATIENCE, BYTES_PER_SECOND = 60, 1 << 20


@dataclass
class Group:
    """A group of an HDF5 file, read: subgroups, arrays and the attributes that Keras writes."""

    groups: dict[str, Group] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)

    def at(self, path: str) -> Group:
        """The subgroup at ``"a/b"``, or an empty one."""
        here = self
        for part in path.split("/"):
            here = here.groups.get(part, Group())
        return here

    def array(self, path: str) -> Array | None:
        """The array at ``"a/b/c"``, or None."""
        head, _, tail = path.rpartition("/")
        return (self.at(head) if head else self).arrays.get(tail)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Every array below with its path; numbered names in the order of their numbers."""
        for name in sorted(self.arrays, key=lambda n: (len(n), n) if n.isdigit() else (0, n)):
            yield prefix + name, self.arrays[name]
        for name, group in self.groups.items():
            yield from group.walk(f"{prefix}{name}/")

    def strings(self, attribute: str) -> list[str] | None:
        """A list of strings; HDF5 limits an attribute's size, so Keras splits long ones into name0, name1, ..."""
        whole = self.attributes.get(attribute)
        if whole is None:
            parts = [self.attributes[k] for i in range(OBJECTS) if (k := f"{attribute}{i}") in self.attributes]
            whole = [s for part in parts for s in part] if parts else None
        if whole is None or (isinstance(whole, list) and all(isinstance(s, str) for s in whole)):
            return whole
        raise ConvertError(f"{attribute} must be a list of strings, got {shortened(whole)}")


def read(source: str | os.PathLike[str] | bytes) -> Group:
    """All of an HDF5 file except the optimizer's state.

    Parameters
    ----------
    source : path or bytes
        A file, or its content.

    Raises
    ------
    ConvertError
        When the file is damaged, holds links, foreign storage, other than numbers, or unpacks to far more than its
        size; when reading it takes more memory or time than its size allows.
    MissingExtraError
        When h5py is not installed.
    """
    require("h5py", extra="keras", purpose="reading Keras weights")
    size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    request = {
        "path": [str(folder) for folder in sys.path],
        "file": None if isinstance(source, bytes) else os.path.abspath(source),
    }
    content = json.dumps(request).encode() + b"\n" + (source if isinstance(source, bytes) else b"")
    with _started() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        clock = threading.Timer(PATIENCE + size // BYTES_PER_SECOND, process.kill)
        clock.start()
        try:
            _send(process.stdin, content)
            return Answer(process.stdout, lambda: _ended(process.wait(), size)).group()
        finally:
            process.kill()
            clock.cancel()
            clock.join()


def _started() -> subprocess.Popen[bytes]:
    """The child, waiting for its request."""
    if getattr(sys, "frozen", False) or not sys.executable:
        raise ConvertError(
            "HDF5 must be read by a Python interpreter apart, got a program that has none: convert first"
        )
    command = [sys.executable, "-I", "-S", "-B", hdf5_child.__file__]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # whose threads would count as memory
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
    except OSError as error:
        raise ConvertError(f"process that reads HDF5 could not be started: {error}") from error


def _send(stream: IO[bytes], content: bytes) -> None:
    """Give the child its request; if it has ended, reading its answer says why."""
    try:
        with stream:
            stream.write(content)
    except BrokenPipeError:
        return


def _ended(status: int, size: int) -> str:
    """Why the child ended before its answer did."""
    if status in (-signal.SIGKILL, -getattr(signal, "SIGXCPU", 0)):
        return f"file must be read in the time that its {size} bytes allow, got a reader that had to be ended"
    return f"file must be undamaged HDF5, got one that ended its reader with status {status}"


class Answer:
    """The output of the child process.

    Parameters
    ----------
    stream : binary file
    ended : callable
        Tells why it has ended too early.
    """

    def __init__(self, stream: IO[bytes], ended: Callable[[], str]) -> None:
        self.stream, self.ended = stream, ended

    def group(self) -> Group:
        """The whole file."""
        root = Group()
        while True:
            line = self.line()
            if "group" in line:
                _place(root, line["group"]).attributes.update(line["attributes"])
            elif "array" in line:
                *parents, name = line["array"]
                *above, leaf = name.split("\\")
                _place(root, [*parents, *above]).arrays[leaf] = self.array(line)
            elif "refused" in line:
                raise ConvertError(line["refused"])
            elif "damaged" in line:
                raise ConvertError(f"file must be undamaged HDF5, got {line['damaged']}")
            else:
                return root

    def line(self) -> dict[str, Any]:
        """The next line."""
        text = self.stream.readline()
        if not text.endswith(b"\n"):
            raise ConvertError(self.ended())
        line: dict[str, Any] = json.loads(text)
        return line

    def array(self, line: dict[str, Any]) -> Array:
        """The array that a line announces."""
        array: Array = np.empty(line["shape"], line["dtype"])
        flat = array.reshape(-1).view(np.uint8)
        at = 0
        while at < flat.size:
            count = self.stream.readinto(flat[at:].data)  # type: ignore[attr-defined]
            if not count:
                raise ConvertError(self.ended())
            at += count
        return array


def _place(root: Group, path: list[str]) -> Group:
    """The group at a path, made where it is missing; TensorFlow on Windows wrote paths with backslashes as one name."""
    here = root
    for name in path:
        for part in name.split("\\"):
            here = here.groups.setdefault(part, Group())
    return here
