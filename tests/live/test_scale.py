"""The programs of docs/scale.md on local clusters: a worker is killed in the middle, a file is empty, the bits hold."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from clusters import FEATURES, PROGRAMS, start, write
from pages import DOCS, ENGINES, blocks, prepare, run_page

import fastgru
from fastgru.layers import GRU

SECONDS = 600  # of one program: 308 were too few for Ray beside twelve other busy processes on two cores
PAGE = DOCS / "scale.md"
PACKAGE = Path(fastgru.__file__).parents[1]
FILES, EMPTY, ROWS = 6, 2, 60  # files of sequences, the one without any, how many are in each of the others
MARKED = 123.25  # first number of the sequence whose worker is killed

# Runs as every Python process starts. The worker that has run the marked sequence dies before it gives the result back.
PLANTED = f"""
import os, pathlib, signal
import fastgru

predict, bullet = fastgru.Model.predict, pathlib.Path(os.environ["BULLET"])

def planted(model, x, **options):
    y = predict(model, x, **options)
    if any(one[0, 0] == {MARKED} for one in x):
        try:
            bullet.unlink()
        except FileNotFoundError:
            return y
        os.kill(os.getpid(), signal.SIGKILL)
    return y

fastgru.Model.predict = planted
"""


def write_files(folder: Path) -> None:
    """Write sequences of 5 to 60 steps, or windows of 20, one of the fourth file marked; the third file has none."""
    rng = np.random.default_rng(0)
    low, high = (20, 21) if folder.name == "windows" else (5, 61)
    for i in range(FILES):
        lengths = rng.integers(low, high, 0 if i == EMPTY else ROWS)
        sequences = [rng.normal(size=(steps, FEATURES)).astype(np.float32) for steps in lengths]
        if i == 3:
            sequences[ROWS // 2][0, 0] = MARKED
        write(folder / f"part-{i}.parquet", i * ROWS, sequences)


def run(folder: Path, text: str) -> tuple[int, str]:
    """Run a program, the first time with the fault planted; return its exit status and what it printed."""
    program = start(folder, text, folder / "planted", PACKAGE, BULLET=str(folder / "bullet"))
    try:
        printed, _ = program.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        printed, _ = program.communicate()
        raise AssertionError(f"program must end within {SECONDS} s, printed:\n{printed[-4000:]}") from None
    return program.returncode, printed


def test_every_program_is_in_the_table():
    found = [(call, block.engines()) for block in blocks(PAGE) for call in PROGRAMS if f"{call}(" in block.text]
    assert sorted(found) == sorted((call, {program.engine}) for call, program in PROGRAMS.items())
    assert len(found) == sum(bool(block.engines()) for block in blocks(PAGE))
    assert {program.engine for program in PROGRAMS.values()} == set(ENGINES)


@pytest.mark.parametrize("call", PROGRAMS)
def test_a_program_survives_a_killed_worker_and_an_empty_file(call, tmp_path, monkeypatch):
    program = PROGRAMS[call]
    pq = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip(program.engine)
    if program.engine == "pyspark" and shutil.which("java") is None:
        pytest.skip("needs a Java runtime, in Debian default-jre-headless")
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    run_page(PAGE)  # makes the model
    write_files(tmp_path / program.folder)
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "sitecustomize.py").write_text(PLANTED)
    (tmp_path / "bullet").touch()
    (text,) = [block.text for block in blocks(PAGE) if f"{call}(" in block.text]

    status, printed = run(tmp_path, text)
    assert not (tmp_path / "bullet").exists(), printed
    if not program.retries:
        assert status != 0
        assert "TerminatedWorkerError" in printed
        status, printed = run(tmp_path, text)  # goes on from what is done
    assert status == 0, printed
    assert re.search(program.progress, printed), printed

    model = fastgru.load("model.fgru")
    given = pq.read_table(program.folder).sort_by("id")
    got = pq.read_table("scores").sort_by("id")
    assert len(given) == (FILES - 1) * ROWS
    assert got["id"].to_pylist() == given["id"].to_pylist()
    for x, y in zip(given["x"].to_numpy(), got["y"].to_numpy(), strict=True):
        np.testing.assert_array_equal(y, model(x.reshape(-1, FEATURES)).ravel(), strict=True)


def score(model: fastgru.Model, x: np.ndarray) -> bytes:
    """Return the bits of a call on two threads."""
    return model(x, threads=2).tobytes()


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("embed", [False, True])
def test_joblib_gives_the_same_bits(backend, embed, tmp_path):
    joblib = pytest.importorskip("joblib")
    rng = np.random.default_rng(0)
    fastgru.Model([GRU.from_torch(rng.normal(size=(192, 40)) / 8, rng.normal(size=(192, 64)) / 8)]).save(
        tmp_path / "model.fgru"
    )
    model = fastgru.load(tmp_path / "model.fgru", embed=embed)
    x = rng.normal(size=(6, 4, 50, 40)).astype(np.float32)
    expected = [score(model, one) for one in x]  # and starts the pool of threads, which children do not inherit
    assert joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(score)(model, one) for one in x) == expected
