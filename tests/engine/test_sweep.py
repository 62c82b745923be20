"""Every op on 1, 2 and 3 threads, whole and in chunks; every cell with lengths and masks: calls that are large enough
to be split. The bits are those of one thread; under FASTGRU_GUARD=1 every buffer's end is looked at, too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells import CELLS, make_cell
from frame_cases import CASES, LATEST, TEMPORAL, WHOLE, F, I, w
from test_frames import as_tuple, feeds, graph_of

from fastgru import Model
from fastgru import graph as g

THREADS = (2, 3)
SPLIT_MACS = 1_000_000  # below which a call runs on one thread
ROWS, MOST_STEPS = 3, 6000
# Of kinds that need other inputs than the cases of test_frames give.
OTHERS = [
    ("embedding", g.Embedding(w(7, 12)), [I()]),
    ("embedding-int8", g.Embedding(w(7, 12), precision="int8"), [I()]),
    ("where", g.Where(), [g.Spec((3, 4), dtype="bool"), F(3, 4), F(4)]),
    ("cast", g.Cast("int"), [F(3, 4)]),
    ("mask", g.Mask(0.0), [F(5)]),
    ("apply-mask", g.ApplyMask(), [F(5), g.Spec((), dtype="bool")]),
    ("dropout", g.Dropout(), [F(5)]),
    ("int8", g.Dense(w(40, 33), precision="int8"), [F(33)]),
    ("bfloat16", g.Dense(w(40, 33), precision="bfloat16"), [F(33)]),
    ("float16", g.Dense(w(40, 33), precision="float16"), [F(33)]),
]
OPS = [*CASES, *TEMPORAL, *WHOLE, *LATEST, *OTHERS]
# Kinds that no case of their own has: nodes of every graph with states, see tests/engine/test_tensor_ops.py.
INNER = {"constant", "state"}


def bools(found: dict[str, np.ndarray], specs: list[g.Spec]) -> dict[str, np.ndarray]:
    """The feeds, with truth values where an input has them."""
    return {k: v > 0 if s.dtype == "bool" else v for (k, v), s in zip(found.items(), specs, strict=True)}


def steps_for(model: Model) -> int:
    """Steps that make a call worth splitting, as far as it stays quick."""
    return min(MOST_STEPS, 1 + SPLIT_MACS // (ROWS * max(1, model._plan.macs)))


def equal(a: Any, b: Any) -> bool:
    return all(map(np.array_equal, as_tuple(a), as_tuple(b)))


@pytest.mark.parametrize(("name", "op", "specs"), OPS, ids=lambda v: v if isinstance(v, str) else "")
def test_ops_on_threads_and_in_chunks(name, op, specs):
    model = Model(graph_of(op, specs))
    steps = max(40, steps_for(model))
    x = bools(feeds(specs, ROWS, steps), specs)
    whole = as_tuple(model(x))
    for threads in THREADS:
        assert equal(model(x, threads=threads), whole)
        if model._plan.blockers:
            continue  # needs the whole sequence
        stream, parts = model.stream(ROWS, threads=threads), []
        for a, b in ((0, 1), (1, 8), (8, steps)):
            chunk = {k: v[:, a:b] if s.time else v for (k, v), s in zip(x.items(), specs, strict=True)}
            parts.append(as_tuple(stream.process(chunk)))
        parts.append(as_tuple(stream.flush()))
        timed = [model.graph.specs[name].time for name in model.graph.outputs]
        for i, wanted in enumerate(whole):  # an overlap-add's flush gives what lies behind the end, too
            joined = np.concatenate([p[i] for p in parts], axis=1)[:, : wanted.shape[1]] if timed[i] else parts[-1][i]
            assert np.array_equal(joined, wanted)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_cells_with_lengths_and_masks_on_threads(name, reverse):
    model = Model([make_cell(name, 24, 40), make_cell(name, 20 if "projection" in name else 40, 33, reverse=reverse)])
    steps = steps_for(model)
    x = np.random.default_rng(1).normal(size=(ROWS, steps, 24)).astype(np.float32)
    lengths = np.array([0, steps // 2, steps])
    mask = np.random.default_rng(2).random((ROWS, steps)) < 0.7
    wanted = model(x), model(x, lengths=lengths), model(x, mask=mask)
    assert np.isfinite(wanted[2]).all()
    for threads in THREADS:
        got = (
            model(x, threads=threads),
            model(x, lengths=lengths, threads=threads),
            model(x, mask=mask, threads=threads),
        )
        assert equal(got, wanted)
        assert equal(model(x[0], threads=threads), wanted[0][0])


def test_every_kind_of_op_is_here():
    kinds = {op.kind for _, op, _ in OPS} | {cls.kind for cls, *_ in CELLS.values()} | INNER
    assert kinds == set(g.OPS)
