"""Out of memory: an allocation of every operation fails, each in turn, and it ends in MemoryError with nothing changed.

The children run with an allocator of the tests' own, tests/oom/allocator.c. `python -m tests.oom` says how much of it
is tried; here it is the first allocations of each operation and a sample of the others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
# The ones that allocate most first: two children of about the same length.
OPERATIONS = {
    "made": ["load", "convert", "convert to int8", "model", "model with clocks", "model unpickled", "quantize",
             "model of shared weights"],
    "run": [
        "call", "call with lengths", "call with clocks", "stream", "stream with clocks", "step", "step converted",
        "process", "process converted", "process of a batch", "process with clocks", "flush", "state", "state set",
        "reset", "copy", "copy with clocks", "stream pickled", "threads, rows", "threads, layers", "threads, panels",
    ],
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or COMPILER is None or "LD_PRELOAD" in os.environ,
    reason="needs Linux, a C compiler and no other allocator, such as a sanitizer's",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The allocator to preload."""
    path = str(tmp_path_factory.mktemp("oom") / "allocator.so")
    flags = ["-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([str(COMPILER), *flags, "-o", path, "tests/oom/allocator.c", "-ldl"], cwd=ROOT, check=True)
    return path


def run(library: str, *arguments: str) -> list[dict[str, object]]:
    """The rows of `python -m tests.oom`, one for each operation."""
    environment = {**os.environ, "LD_PRELOAD": library, "PYTHONMALLOC": "malloc"}
    command = [sys.executable, "-m", "tests.oom", "--library", library, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("group", OPERATIONS)
def test_every_failed_allocation_is_a_memory_error_and_changes_nothing(library, group):
    for row in run(library, "--most", "12", *OPERATIONS[group]):
        assert row["faults"] == [], row
        assert row["tried"] == min(12, row["allocations"]), row
        assert "MemoryError" in row["outcomes"], row


def test_memory_that_stays_out_is_a_memory_error(library):
    names = ["stream", "step converted", "process", "copy", "call", "threads, rows"]
    for row in run(library, "--all", "--most", "12", *names):
        assert row["faults"] == [], row
        assert set(row["outcomes"]) <= {"MemoryError", "success"}, row


def test_no_operation_is_left_out():
    code = "from tests.oom.operations import OPERATIONS; print(*OPERATIONS, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == sorted(OPERATIONS["made"] + OPERATIONS["run"])
