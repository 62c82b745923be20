"""The process that runs mutants: one after the other, each verdict a line of JSON in a pipe."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import re
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fastgru import FastGruError, memory

from .formats import FORMATS, mutant_of

LIFE = 50_000  # mutants of one process
KIND = 160  # characters of a kind of error
READY = b"ready"  # the line before the first verdict
ACCEPTED, REFUSED, FAILED = "accepted", "refused", "failed"


class Verdict(NamedTuple):
    """The outcome of one mutant."""

    number: int
    verdict: str
    kind: str
    seconds: float
    megabytes: float  # the most resident memory that the process ever had
    details: str = ""


class Refused(Exception):
    """A mutant was refused by the error that is the argument, and what followed held."""


class Task(NamedTuple):
    """The mutants of one worker: every `step`-th number from `first` to before `stop`, which None leaves open."""

    name: str
    seed: int
    first: int
    step: int
    stop: int | None

    def numbers(self) -> Iterator[int]:
        """The numbers of one life."""
        for i in range(LIFE):
            number = self.first + i * self.step
            if self.stop is not None and number >= self.stop:
                return
            yield number


def kind_of(error: BaseException) -> str:
    """The class and the message of an error without names and numbers, so that errors of one kind are equal.

    Examples
    --------
    >>> kind_of(ValueError("shape of 'a' must be (2, 3), got (-1.5e3,)"))
    "ValueError: shape of '_' must be (N), got (N)"
    """
    first, *more = str(error).split("\n")
    text = f"several, {more[0].strip()}" if more and first.endswith("problems:") else first
    text = re.sub(r"^/\S+: ", "", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'_'", text)
    text = re.sub(r"(?<![\w.])[-+]?\d[\d_.]*(e[-+]?\d+)?j?", "N", text)
    text = re.sub(r"N(, ?N)+,?|N,(?=\))", "N", text)
    return f"{type(error).__name__}: {text}"[:KIND]


def run_one(fuzzer: Any, mutant: Any) -> tuple[str, str, str]:
    """Try a mutant: verdict, kind of error and, of a failure, its traceback."""
    try:
        return (ACCEPTED if fuzzer.attempt(mutant) else REFUSED), "", ""
    except Refused as refused:
        return REFUSED, kind_of(refused.args[0]), ""
    except (FastGruError, MemoryError) as error:
        return REFUSED, kind_of(error), ""
    except Exception as error:
        place = [frame for frame in traceback.extract_tb(error.__traceback__) if "/fastgru/" in frame.filename]
        where = f" in {os.path.basename(place[-1].filename)}:{place[-1].name}" if place else ""
        return FAILED, kind_of(error) + where, traceback.format_exc()


def prepare(name: str) -> Any:
    """The module of a format, ready to try mutants in this process."""
    fuzzer = FORMATS[name].load()
    memory.set_memory_limit(os.environ.get("FASTGRU_MEMORY_LIMIT", "256M"))
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", RuntimeWarning)
    if hasattr(fuzzer, "prepare"):
        fuzzer.prepare()
    return fuzzer


def sanitized() -> bool:
    """True under AddressSanitizer or ThreadSanitizer, whose shadow memory no limit of address space leaves room for."""
    return any(hasattr(ctypes.CDLL(None), name) for name in ("__asan_init", "__tsan_init"))


def resident() -> float:
    """The most resident memory this process ever had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(task: Task, seeds: Sequence[Any], verdicts: int, log: int) -> None:
    """Run mutants until the task or this process's life ends; never returns.

    Parameters
    ----------
    verdicts, log : int
        File descriptors: of the pipe, and of the file that takes what is printed and the traceback of a crash.
    """
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    faulthandler.enable(2, all_threads=True)
    code = 1
    with contextlib.suppress(KeyboardInterrupt):
        try:
            code = _work(task, seeds, verdicts)
        except BaseException:
            traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _work(task: Task, seeds: Sequence[Any], verdicts: int) -> int:
    row, fuzzer = FORMATS[task.name], prepare(task.name)
    gc.collect()
    gc.freeze()
    if not sanitized():
        limit = _address_space() + 4 * (row.megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resident() + row.megabytes
    _write(verdicts, READY + b"\n")
    for number in task.numbers():
        started = time.perf_counter()
        verdict, kind, details = run_one(fuzzer, mutant_of(task.name, seeds, task.seed, number))
        seconds, megabytes = time.perf_counter() - started, resident()
        if megabytes > most and verdict != FAILED:
            verdict, kind = FAILED, f"memory over {row.megabytes} MB ({verdict}{': ' * bool(kind)}{kind})"
        line = json.dumps(Verdict(number, verdict, kind, round(seconds, 4), round(megabytes, 1), details[-4000:]))
        _write(verdicts, line.encode() + b"\n")
        if megabytes > most:
            break  # a new process begins with little memory
    return 0


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
