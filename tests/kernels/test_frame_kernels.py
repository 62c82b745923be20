"""The C kernels of frame ops, without Python around them: exact sums on random nests, and errors of functions."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cells import ISAS

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shlex.split(os.environ.get("CC", "cc"))
FLAGS = {
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"),
    "avx2": ("-mavx2", "-mfma"),
    "portable": ("-Wno-psabi",),
    "neon": (),
}
DTYPES = {"float32": (), "float64": ("-DFG_DOUBLE",)}
PROGRAMS = {"frame_check": "2000", "function_check": "40"}  # and how much of it to run
KERNELS = ["-O3", "-ffp-contract=fast", "-fno-trapping-math", "-Wno-unused-function"]
CHECKS = ["-O2", "-ffp-contract=off"]

pytestmark = pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason="needs a C compiler")


def compile_c(isa: str, dtype: str, *arguments: object) -> None:
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-fno-math-errno", "-Iinclude", "-DFG_TABLE=fg_table"]
    flags += [*FLAGS[isa], *DTYPES[dtype]]
    done = subprocess.run([*COMPILER, *flags, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def outputs(tmp_path_factory) -> dict[tuple[str, str, str], subprocess.CompletedProcess[str]]:
    """The output of each program for the kernels of each instruction set and element type."""
    folder = tmp_path_factory.mktemp("frame")

    def run(isa: str, dtype: str) -> dict[tuple[str, str, str], subprocess.CompletedProcess[str]]:
        kernels = folder / f"{isa}_{dtype}.o"
        compile_c(isa, dtype, *KERNELS, "-c", "tests/kernels/frame_kernels.c", "-o", kernels)
        done = {}
        for program, amount in PROGRAMS.items():
            binary = folder / f"{program}_{isa}_{dtype}"
            compile_c(isa, dtype, *CHECKS, f"tests/kernels/{program}.c", kernels, "-o", binary, "-lm")
            done[program, isa, dtype] = subprocess.run([binary, amount], capture_output=True, text=True, timeout=300)
        return done

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(run, isa, dtype) for isa in ISAS for dtype in DTYPES]
        return {key: value for job in jobs for key, value in job.result().items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_kernels_keep_their_word(program, dtype, isa, outputs):
    """Sums agree to the bit with plain loops in the documented order, functions with libm up to their bounds."""
    done = outputs[program, isa, dtype]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hash" in done.stdout.splitlines()[-1]


@pytest.mark.skipif(not {"avx2", "avx512"} <= set(ISAS), reason="needs a machine with AVX2 and AVX-512")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_avx2_and_avx512_give_the_same_bits(program, dtype, outputs):
    wide, narrow = (outputs[program, isa, dtype].stdout.splitlines()[-1].split()[-1] for isa in ("avx512", "avx2"))
    assert wide == narrow
