"""Fork in every state of the pool, exit beside running threads, spawn: each in a fresh child, which must end well."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import fastgru

from .steps import check

PACKAGE = Path(fastgru.__file__).parents[1]
SECONDS = 120  # after which a child hangs
PREAMBLE = """
import os, sys, threading, time, warnings
import numpy as np
import fastgru
from fastgru import engine
from fastgru.layers import GRU
warnings.simplefilter("ignore")  # Python warns of forking beside threads from 3.12 on: that is what is tested
w = np.random.default_rng(0).normal(size=(3 * 128, 128)).astype(np.float32) / 11
model = fastgru.Model([GRU(w, w)])
x = np.random.default_rng(1).normal(size=(4, 100, 128)).astype(np.float32)
y = model(x)

def forked(run):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if run() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

def works(threads):
    return engine.worker_threads() == 0 and (model(x, threads=threads) == y).all()

def busy(threads, stop):
    while not stop.is_set():
        assert (model(x, threads=threads) == y).all()

def beside(run, threads):
    stop = threading.Event()
    other = threading.Thread(target=busy, args=(threads, stop))
    other.start()
    run()
    stop.set()
    other.join()
"""
LONG = """
long = np.ones((4, 200_000, 128), np.float32)
def run():
    while True:
        model(long, threads=THREADS)
threading.Thread(target=run, daemon=True).start()
time.sleep(DELAY)
"""
# name -> program
FORKS = {
    "before any thread": "forked(lambda: works(1)); forked(lambda: works(2)); assert works(1)",
    "beside idle workers": "model(x, threads=3); forked(lambda: works(3)); forked(lambda: works(1)); "
    "assert (model(x, threads=2) == y).all()",
    "in a child of a child": "model(x, threads=2); forked(lambda: works(2) and forked(lambda: works(2)) is None)",
    "while a thread runs on one": "beside(lambda: [forked(lambda: works(n)) for n in (1, 2) * 20], 1)",
    "while a thread runs on three": "beside(lambda: [forked(lambda: works(n)) for n in (1, 3) * 20], 3)",
    "of a stream in use": "s = model.stream(4, threads=2); a = s.process(x[:, :50]); "
    "forked(lambda: (s.process(x[:, 50:]) == y[:, 50:]).all()); assert (s.process(x[:, 50:]) == y[:, 50:]).all()",
}
EXITS = {
    "beside a call on one thread": LONG.replace("THREADS", "1").replace("DELAY", "0.3"),
    "beside a call on three threads": LONG.replace("THREADS", "3").replace("DELAY", "0.3"),
    "as a call begins": LONG.replace("THREADS", "3").replace("DELAY", "0"),
    "with idle workers": "model(x, threads=3)",
    "by sys.exit beside a call": LONG.replace("THREADS", "2").replace("DELAY", "0.3") + "sys.exit(0)",
    "with a stream that lives on": "sys.keep = model.stream(4, threads=2); sys.keep.process(x)",
}
SPAWNS = {
    "all start methods": """
import multiprocessing, pickle

def child(given, queue):
    model, stream = given
    queue.put((model(x, threads=2), stream.process(x[0, 50:])))

if __name__ == "__main__":
    s = model.stream(); s.process(x[0, :50])
    for method in ("spawn", "forkserver", "fork"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        processes = [context.Process(target=child, args=((model, s), queue)) for _ in range(2)]
        for p in processes: p.start()
        for got, rest in (queue.get(timeout=100) for _ in processes):
            assert (got == y).all() and (rest == model(x[0])[50:]).all(), method
        for p in processes:
            p.join(); assert p.exitcode == 0, method
""",
}


def ends_well(program: str, folder: Path) -> None:
    """Run a program in a fresh Python; fail unless it exits with 0 in time."""
    script = folder / "program.py"
    script.write_text(PREAMBLE + program)
    command = [sys.executable, "-X", "faulthandler", str(script)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")])),
    }
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        check(False, f"a child hangs:\n{program}")
    check(done.returncode == 0, f"a child ended with {done.returncode}:\n{program}\n{done.stderr[-2000:]}")


def all_end_well(programs: dict[str, str], rounds: int) -> dict[str, object]:
    """Run each program so many times."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for program in programs.values():
                ends_well(program, Path(folder))
    return {"count": rounds * len(programs)}
