"""The process that reads an HDF5 file for `hdf5.read`: run by its path, it imports nothing of the package.

libhdf5 takes sizes, offsets and types from a file as they are: a few bytes can make it allocate gigabytes, loop, or
crash. Here it runs with limits on memory and processor time that follow from the file's size, so that only this
process ends. Standard input holds a line of JSON (the request) and the file where it has no path; standard output gets
a line of JSON for each group and array, each array's bytes after its line, and a last line with ``end``, ``refused`` or
``damaged``.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

DEPTH = 24  # of groups; Keras nests about six
OBJECTS = 100_000
# Keras does not compress. Arrays that others compressed shrink little; only a hostile file unpacks to more.
RATIO = 64
SLACK = 1 << 20
MEMORY = 1 << 26  # bytes beyond `RATIO` times the file's size that libhdf5 may allocate
SECONDS, BYTES_PER_SECOND = 5, 1 << 22  # of processor time: so many, and one more for as many bytes
TRAINING = ("optimizer", "optimizer_weights", "_optimizer")
TEXTS, LISTS = ("name", "model_config", "keras_version", "backend"), ("layer_names", "weight_names")  # attributes


class Refused(Exception):
    """The file holds what is not read; the message is for the user."""


class Walker:
    """Walks a file, keeps count of what it has read, and writes it out."""

    def __init__(self, h5py: Any, out: BinaryIO, budget: int) -> None:
        self.h5py, self.out, self.budget, self.objects = h5py, out, budget, OBJECTS

    def say(self, **line: Any) -> None:
        """Write one line of JSON."""
        self.out.write(json.dumps(line).encode() + b"\n")

    def group(self, source: Any, path: list[str]) -> None:
        """Write a group, and everything in it except the optimizer's state."""
        if len(path) > DEPTH:
            raise Refused(f"groups must be nested at most {DEPTH} deep, got more at {source.name!r}")
        self.say(group=path, attributes=dict(_attributes(source)))
        for name in source:
            if not path and name in TRAINING:
                continue
            self.objects -= 1
            if self.objects < 0:
                raise Refused(f"file must hold at most {OBJECTS} objects, got more")
            link = source.get(name, getlink=True)
            if not isinstance(link, self.h5py.HardLink):
                raise Refused(f"{name!r} must be stored in the file itself, got a {type(link).__name__}")
            item = source[name]
            if isinstance(item, self.h5py.Group):
                self.group(item, [*path, name])
            elif isinstance(item, self.h5py.Dataset):
                self.array(item, [*path, name])

    def array(self, item: Any, path: list[str]) -> None:
        """Write an array of numbers that fits the budget."""
        import numpy as np

        if item.is_virtual or item.external:
            raise Refused(f"array {item.name!r} must be stored in the file itself, got external storage")
        if item.dtype.kind not in "fiub":
            raise Refused(f"array {item.name!r} must hold numbers, got {item.dtype}")
        self.budget -= item.dtype.itemsize * int(np.prod(item.shape or (1,), dtype=object))
        if self.budget < 0:
            limit = f"{RATIO} times the file's size"
            raise Refused(f"arrays must take at most {limit}, got more at {item.name!r} of shape {item.shape}")
        array = np.ascontiguousarray(item[()])
        self.say(array=path, dtype=array.dtype.str, shape=item.shape)
        self.out.write(array.reshape(-1).view(np.uint8).data)


def _attributes(source: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of `TEXTS` and `LISTS` (or numbered parts of them), as JSON can hold them."""
    for key in source.attrs:
        if key in TEXTS or key.rstrip("0123456789") in LISTS:
            value = _plain(source.attrs[key], key)
            if key in TEXTS and not isinstance(value, str):
                raise Refused(f"attribute {key} of {source.name!r} must be text, got {type(value).__name__}")
            yield key, value


def _plain(value: Any, key: str) -> Any:
    """Text, a number, or a list of these."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, list):
        return [_plain(item, key) for item in value]
    if hasattr(value, "tolist"):  # a NumPy array or number
        return _plain(value.tolist(), key)
    if isinstance(value, str | int | float):
        return value
    raise Refused(f"attribute {key} must hold text or numbers, got {type(value).__name__}")


def limit(size: int) -> None:
    """Bound this process's memory and time by the file's size, and end it with its parent, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock alone
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + SECONDS + size // BYTES_PER_SECOND
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        with open("/proc/self/statm", encoding="ascii") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        most = mapped + RATIO * size + MEMORY
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


def answer(h5py: Any, content: Any, size: int, out: BinaryIO) -> None:
    """Write what a file of `size` bytes holds, or why it is not read."""
    walker = Walker(h5py, out, RATIO * size + SLACK)
    try:
        with h5py.File(content, "r") as file:
            walker.group(file, [])
    except Refused as error:
        walker.say(refused=str(error))
    except Exception as error:  # whatever h5py raises on a damaged file; nothing else runs here
        walker.say(damaged=f"one that cannot be read: {error}")
    else:
        walker.say(end=True)


def main() -> None:
    """Answer the one request on standard input."""
    request = json.loads(sys.stdin.buffer.readline())
    sys.path[:] = request["path"]
    source = request["file"]
    content = source if source is not None else io.BytesIO(sys.stdin.buffer.read())
    size = os.stat(source).st_size if source is not None else len(content.getbuffer())
    h5py = importlib.import_module("h5py")
    limit(size)
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        answer(h5py, content, size, out)


if __name__ == "__main__":
    main()
