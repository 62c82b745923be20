"""The bodies of instructions, without Python around them: plain loops over whole sequences give the same numbers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from test_frame_kernels import COMPILER

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("tests/kernels/ops_check.c", *(f"fastgru/_native/{name}.c" for name in ("ops", "traced", "pool")))
FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-pthread")
BUILDS = {
    "as built": ("-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    "sanitized": ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
}

pytestmark = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, subprocess.CompletedProcess[str]]:
    """What the check said in each build of it."""
    folder, done = tmp_path_factory.mktemp("ops"), {}
    for name, flags in BUILDS.items():
        binary = str(folder / name.replace(" ", "_"))
        command = [*COMPILER, *FLAGS, *flags, *SOURCES, "-lm", "-o", binary]
        built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        done[name] = subprocess.run([binary, "300"], capture_output=True, text=True, timeout=300)
    return done


@pytest.mark.parametrize("build", BUILDS)
def test_bodies_follow_plain_loops(build, outputs):
    done = outputs[build]
    assert done.returncode == 0, done.stdout + done.stderr


def test_sanitized_bodies_give_the_same_bits(outputs):
    assert len({done.stdout for done in outputs.values()}) == 1
