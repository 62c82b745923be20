"""The searches of decoders in C, without Python: the same bits in any room, and with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_frame_kernels import COMPILER

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Iinclude")
SANITIZED = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="needs a C compiler")
@pytest.mark.parametrize("flags", [("-O2",), SANITIZED], ids=["as built", "sanitized"])
def test_searches_follow_all_paths(tmp_path, flags):
    binary = str(tmp_path / "check")
    command = [*COMPILER, *FLAGS, *flags, "tests/kernels/decode_check.c", "-lm", "-o", binary]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([binary, "300"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
