"""The machine, and pinning to its cores. Imports no NumPy, whose libraries must load pinned."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FORCED_BLAS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # set on some machines; not what users have


def cpu_name() -> str:
    """The CPU as its vendor names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cores() -> list[int]:
    """The cores this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


@contextmanager
def pinned(use: list[int]) -> Iterator[None]:
    """On these cores only, where the system can do that; as before afterwards."""
    if not use:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, use)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def leave_blas_alone() -> None:
    """Drop what forces BLAS kernels, before NumPy loads."""
    for name in FORCED_BLAS:
        os.environ.pop(name, None)


def description() -> dict[str, object]:
    """CPU, system and Python."""
    return {
        "cpu": cpu_name(), "machine": platform.machine(), "system": platform.system(), "cores": len(cores()),
        "python": sys.version.split()[0],
    }  # fmt: skip
