"""The parent: forks the workers, watches their time, forks another when one dies, and keeps reproducers."""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .figures import Figures
from .formats import FORMATS, mutant_of
from .worker import FAILED, READY, Task, Verdict, work

SAVED = 3  # reproducers of each kind of failure
BEGIN = 120.0  # seconds that a worker may take before its first mutant
PATIENCE = 8  # times a mutant's limit of processor time that it may take by the clock on the wall
LOG = 4000  # characters of a worker's log that are kept with a crash


class Worker:
    """A forked process, the number of the mutant it is at, and the time since its last verdict."""

    def __init__(self, task: Task, seeds: Sequence[Any]) -> None:
        self.task, self.next, self.ended = task, task.first, False
        self.log = tempfile.TemporaryFile()  # noqa: SIM115, closed by `close`
        self.pipe, end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            work(task, seeds, end, self.log.fileno())
        os.close(end)
        self.rest = b""
        self.begun = False
        self._note()

    def verdicts(self) -> list[Verdict]:
        """Read the verdicts that have come through the pipe; set `ended` if it is closed."""
        data = os.read(self.pipe, 1 << 16)
        self.ended = not data
        *lines, self.rest = (self.rest + data).split(b"\n")
        if lines:
            self.begun = True
            self._note()
        found = [Verdict(*json.loads(line)) for line in lines if line != READY]
        if found:
            self.next = found[-1].number + self.task.step
        return found

    def _note(self) -> None:
        """Remember the time of the last verdict, on the wall and of the worker's processors."""
        self.heard, self.worked = time.monotonic(), self._processor()

    def _processor(self) -> float:
        """Return the seconds that the worker's threads have computed."""
        return time.clock_gettime((~self.pid << 3) | 2)  # Linux's clock of another process; also of one that has ended

    def late(self) -> bool:
        """True if the mutant takes longer than it may, however busy the machine is."""
        waited = time.monotonic() - self.heard
        if not self.begun:
            return waited > BEGIN
        limit = FORMATS[self.task.name].seconds
        return waited > PATIENCE * limit or (waited > limit and self._processor() - self.worked > limit)

    def abort(self) -> None:
        """End the process, with a traceback in its log where it can still write one."""
        os.kill(self.pid, signal.SIGABRT)
        for _ in range(20):
            time.sleep(0.05)
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> tuple[int, str]:
        """Wait for the end: the exit status (negative: a signal), and the end of the log."""
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.pipe)
        size = self.log.seek(0, os.SEEK_END)
        self.log.seek(max(0, size - LOG))
        text = self.log.read().decode(errors="replace")
        self.log.close()
        return code, text

    def kill(self) -> None:
        """End the process, whatever it is at."""
        os.kill(self.pid, signal.SIGKILL)
        self.close()


class Run:
    """One run of a fuzzer."""

    def __init__(self, name: str, seed: int, *, seconds: float, mutants: int | None, jobs: int, save: Path) -> None:
        self.name, self.seed, self.seconds, self.mutants, self.jobs, self.save = (
            name, seed, seconds, mutants, jobs, save,
        )  # fmt: skip
        self.fuzzer = FORMATS[name].load()
        self.seeds = self.fuzzer.seeds()
        self.figures = Figures()
        self.workers: list[Worker] = []

    def run(self, *, begin: int = 0) -> Figures:
        """Run mutants until the time, or the number of them, is over."""
        self.started = time.monotonic()
        with selectors.DefaultSelector() as selector:
            try:
                for j in range(self.jobs):
                    self._start(selector, begin + j)
                while self.workers and time.monotonic() - self.started < self.seconds:
                    for key, _ in selector.select(0.2):
                        self._listen(selector, key.data)
                    for worker in [w for w in self.workers if w.late()]:
                        worker.abort()
                        self._end(selector, worker, "took too long")
            finally:
                for worker in self.workers:
                    worker.kill()
        return self.figures

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.started

    def _start(self, selector: selectors.BaseSelector, first: int) -> None:
        if self.mutants is not None and first >= self.mutants:
            return
        worker = Worker(Task(self.name, self.seed, first, self.jobs, self.mutants), self.seeds)
        self.workers.append(worker)
        selector.register(worker.pipe, selectors.EVENT_READ, worker)

    def _listen(self, selector: selectors.BaseSelector, worker: Worker) -> None:
        for verdict in worker.verdicts():
            self._count(verdict)
        if worker.ended:
            self._end(selector, worker, "")

    def _end(self, selector: selectors.BaseSelector, worker: Worker, why: str) -> None:
        """Count what a worker died of, and start another after it."""
        selector.unregister(worker.pipe)
        self.workers.remove(worker)
        code, log = worker.close()
        if code == 0 and not why:
            self._start(selector, worker.next)
            return
        died = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        places = [line.strip() for line in log.splitlines() if "/fastgru/" in line and "File" in line]
        where = f" at {places[0].partition('/fastgru/')[2]}" if places else ""
        seconds = time.monotonic() - worker.heard
        self._count(Verdict(worker.next, FAILED, f"{why or 'died of ' + died}{where}", seconds, 0.0, log))
        self._start(selector, worker.next + self.jobs)

    def _count(self, verdict: Verdict) -> None:
        self.figures.add(verdict)
        if verdict.verdict != FAILED:
            return
        places = self.figures.failures.setdefault(verdict.kind, [])
        if len(places) < SAVED:
            places.append(self._keep(verdict))

    def _keep(self, verdict: Verdict) -> str:
        """Save a mutant that failed; returns how to run it again and where it is."""
        self.save.mkdir(parents=True, exist_ok=True)
        path = self.save / f"{self.name}-{self.seed}-{verdict.number}"
        mutant = mutant_of(self.name, self.seeds, self.seed, verdict.number)
        if hasattr(self.fuzzer, "save"):
            self.fuzzer.save(mutant, path)
        else:
            path.write_bytes(mutant if isinstance(mutant, bytes) else pickle.dumps(mutant))
        path.with_name(path.name + ".txt").write_text(verdict.details)
        return f"python -m tests.fuzz {self.name} --seed {self.seed} --only {verdict.number}  # {path}"
