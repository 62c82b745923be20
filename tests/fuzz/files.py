"""Mutants of the files of other frameworks: how they are written, tried, and damaged byte by byte."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path
from typing import Any, NamedTuple

import fastgru

from .exercise import FOLDER, exercise

FRAMEWORK = 0.05  # of the mutants whose framework is asked, which costs more than all else


class Mutant(NamedTuple):
    """A file.

    Attributes
    ----------
    data : bytes
    suffix : str
    options : dict
        Of `fastgru.convert`.
    framework : bool
        True if the framework that is installed is asked, too.
    damaged : bool
        True if bytes were changed regardless of their meaning.
    """

    data: bytes
    suffix: str
    options: dict[str, Any]
    framework: bool = False
    damaged: bool = False


def save(mutant: Mutant, path: Path) -> None:
    """Write a mutant beside its reproducer's other files."""
    path.with_name(path.name + mutant.suffix).write_bytes(mutant.data)


def attempt(mutant: Mutant) -> bool:
    """Convert a mutant; exercise the model that comes of it."""
    path = FOLDER / f"fastgru-fuzz-{os.getpid()}{mutant.suffix}"
    path.write_bytes(mutant.data)
    model = fastgru.convert(path, **mutant.options)
    exercise(model, random.Random(len(mutant.data)))
    return True


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some of them changed, cut off, doubled or put in."""
    array = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if not array:
            break
        at, which = rng.randrange(len(array)), rng.random()
        if which < 0.6:
            array[at] = rng.randrange(256)
        elif which < 0.75:
            width = rng.choice("BHIQ")
            most = (1 << 8 * struct.calcsize(width)) - 1
            number = struct.pack(f"<{width}", min(rng.choice((0, 1, 2**31, 2**32, 2**63, 2**64 - 1, len(data))), most))
            array[at : at + len(number)] = number
        elif which < 0.85:
            del array[at : at + rng.randint(1, 64)]
        elif which < 0.95:
            array[at:at] = array[max(0, at - 16) : at]
        else:
            del array[at:]
    return bytes(array)
