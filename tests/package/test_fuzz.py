"""The fuzzers: a few hundred mutants of each, and the harness itself against mutants that misbehave."""

from __future__ import annotations

import os
import random
import signal
import time
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from fuzz import fgru, formats, runner, seed_graphs, states, worker
from fuzz.formats import FORMATS, Format, mutant_of

from fastgru import GraphError
from fastgru.graph import OPS

MUTANTS = {"fgru": 300, "states": 300}
NEEDS = {"onnx": ("onnx",), "keras": ("torch", "keras")}  # frameworks whose files the modules make


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants(name, tmp_path):
    run = runner.Run(name, 0, seconds=300.0, mutants=MUTANTS[name], jobs=1, save=tmp_path)
    figures = run.run()
    print(figures.report(name, 0, run.elapsed))
    assert not figures.failures
    assert figures.total == MUTANTS[name]
    assert figures.verdicts["accepted"] > MUTANTS[name] // 20


def test_seeds_have_every_op():
    found = {node.op.kind for graph, _ in seed_graphs.graphs() for node in graph.nodes}
    assert found == set(OPS)


@pytest.mark.parametrize("name", ["fgru", "states"])
def test_a_mutant_follows_from_its_seed_and_number(name):
    seeds = FORMATS[name].load().seeds()
    again = FORMATS[name].load().seeds()
    mutants = [mutant_of(name, seeds, 1, i) for i in range(200)]
    assert mutants == [mutant_of(name, again, 1, i) for i in range(200)]
    assert len({str(m) for m in mutants}) > 150
    assert mutants != [mutant_of(name, seeds, 2, i) for i in range(200)]


def test_every_change_of_a_file_is_made():
    seeds = fgru.seeds()
    for _, change in fgru.CHANGES:
        if change is fgru.nothing:
            continue
        made = 0
        for i in range(60):
            rng = random.Random(i)
            draft = fgru.Draft(rng, rng.choice(seeds))
            before = str(draft.header), {n: a.tobytes() for n, a in draft.tensors.items()}
            try:
                change(draft)
            except (IndexError, ValueError):
                continue
            made += before != (str(draft.header), {n: a.tobytes() for n, a in draft.tensors.items()})
        assert made > 5, change.__name__


def test_a_sound_file_is_accepted():
    seed = fgru.seeds()[0]
    draft = fgru.Draft(random.Random(0), seed)
    draft.header["crc32"] = fgru.checksum(draft.header, draft.tensors)
    assert fgru.attempt(fgru.packed(draft.header, draft.tensors, random.Random(1)))


def test_every_call_is_made():
    names = {name for i in range(300) for name, _ in states.mutate(random.Random(i), 0).calls}
    assert names == set(states.CALLS)


# The harness -------------------------------------------------------------------------------------


def _misbehave(mutant: int) -> bool:
    """Crash, hang, take memory, raise or be refused, by number."""
    which = mutant % 10
    if which == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if which == 2:
        time.sleep(60)
    if which == 3:
        raise KeyError("not ours")
    if which == 4:
        raise GraphError("refused: 17 of 'x'")
    if which == 5:
        return bool(bytearray(os.urandom(1)) * (200 << 20)) and False
    if which == 6:
        raise MemoryError
    if which == 7:
        os._exit(3)
    if which == 8:
        raise worker.Refused(ValueError("an argument"))
    return True


class Misbehaving(NamedTuple):
    """A row of the table with a module of its own."""

    seconds: float = 1.0
    megabytes: int = 150

    def load(self) -> Any:
        """Return the module."""
        return SimpleNamespace(seeds=lambda: [0], mutate=lambda rng, seed: rng.number, attempt=_misbehave)


class _Numbered(random.Random):
    number: int


def _numbered(name: str, seed: int, number: int) -> random.Random:
    rng = _Numbered(number)
    rng.number = number
    return rng


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(FORMATS, "misbehaving", Misbehaving())  # type: ignore[misc]
    monkeypatch.setattr(formats, "generator", _numbered)
    return "misbehaving"


def test_the_harness_sees_and_survives(misbehaving, tmp_path):
    run = runner.Run(misbehaving, 0, seconds=120.0, mutants=10, jobs=2, save=tmp_path)
    figures = run.run()
    assert figures.total == 10
    assert figures.verdicts == {"accepted": 2, "refused": 3, "failed": 5}
    kinds = {kind.partition(" at ")[0].partition(" in ")[0]: count for kind, count in figures.kinds.items()}
    assert kinds.pop("GraphError: refused: N of '_'") == 1
    assert kinds.pop("MemoryError: ") == 1
    assert kinds.pop("ValueError: an argument") == 1
    assert kinds.pop("died of SIGSEGV") == 1
    assert kinds.pop("died of exit status 3") == 1
    assert kinds.pop("took too long") == 1
    assert kinds.pop("KeyError: '_'") == 1
    assert kinds.pop("memory over 150 MB (refused)") == 1
    assert not kinds
    numbers = {path.name for path in tmp_path.iterdir() if path.suffix != ".txt"}
    assert numbers == {f"misbehaving-0-{n}" for n in (1, 2, 3, 5, 7)}
    report = figures.report(misbehaving, 0, 1.0)
    assert "10 mutants" in report
    assert "python -m tests.fuzz misbehaving --seed 0 --only 1 " in report


def test_time_ends_a_run(misbehaving, tmp_path):
    run = runner.Run(misbehaving, 0, seconds=0.2, mutants=None, jobs=1, save=tmp_path)
    run.run(begin=2)
    assert run.elapsed < 10


@pytest.mark.parametrize("name", FORMATS)
def test_formats_have_modules(name):
    for framework in NEEDS.get(name, ()):
        pytest.importorskip(framework)
    row = FORMATS[name]
    assert isinstance(row, Format)
    assert all(hasattr(row.load(), name) for name in ("seeds", "mutate", "attempt"))
