"""States that change at different rates, or count different steps: each has a loop of its own, in their order."""

from __future__ import annotations

import numpy as np
import pytest
from frame_cases import w

from fastgru import Model
from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.reference import run


def running(b: GraphBuilder, feedback: dict[str, str], x: str, keep: float = 0.9, size: int = 3) -> str:
    """A leaky sum of the steps up to each."""
    state = b.add(g.State(np.full(size, 0.5, np.float32)))
    kept = b.add(g.Activate(g.Activation("affine", alpha=keep, beta=0.1)), state)
    feedback[state] = b.add(g.Add(), x, kept)
    return feedback[state]


def delayed(b: GraphBuilder, feedback: dict[str, str], x: str, size: int = 3) -> str:
    """Each step one later."""
    state = b.add(g.State(np.zeros(size, np.float32)))
    feedback[state] = x
    return state


def one_step_more(b, feedback, x):
    """Sums of T steps, and of T + 1 that follow from them, as a parallel scan from a start has them."""
    sums = b.add(g.TimePad(1, 0), running(b, feedback, x))
    steps = b.add(g.TimePad(1, 0, value=2.0), x)
    folded = running(b, feedback, b.add(g.Binary("sub"), steps, sums), 0.5)
    return b.add(g.TimeSlice(1), b.add(g.Add(), folded, sums))


def at_both_ends(b, feedback, x):
    """T steps, then T + 3, then T again."""
    wide = b.add(g.TimePad(1, 2), running(b, feedback, x))
    cut = b.add(g.TimeSlice(1, -2), running(b, feedback, wide, 0.5))
    return running(b, feedback, b.add(g.Add(), cut, x), 0.25)


def behind_strides(b, feedback, x):
    """A delay line of the input, one behind a convolution with a stride, and a sum of the steps laid out again."""
    low = b.add(g.TimeConv(w(4, 3, 4), stride=2, before=2), delayed(b, feedback, x))
    late = b.add(g.Add(), running(b, feedback, low, size=4), delayed(b, feedback, low, 4))
    frames = b.add(g.Reshape((2, 3)), b.add(g.Dense(w(6, 4)), late))
    return running(b, feedback, b.add(g.OverlapAdd(2, 2, tail=0), frames))


def of_states_alone(b, feedback, x):
    """Windows over the step before, and over the number of the step, each of which is a State's own value."""
    number = b.add(g.State(np.zeros(3, np.float32)))
    feedback[number] = b.add(g.Activate(g.Activation("affine", alpha=1.0, beta=0.1)), number)
    late = b.add(g.TimePool("average", 4, 2, before=1, after=1), delayed(b, feedback, x))
    return running(b, feedback, b.add(g.Add(), late, b.add(g.TimePool("max", 4, 2, before=1, after=1), number)))


def side_by_side(b, feedback, x):
    """Two that do not follow from one another."""
    low = running(b, feedback, b.add(g.TimePool("max", 3, 3), x))
    y = b.add(g.OverlapAdd(3, 3, tail=0), b.add(g.Expand((3, 3)), b.add(g.Reshape((1, 3)), low)))
    return b.add(g.Add(), y, b.add(g.TimePad(0, 0), running(b, feedback, x)))


def recurrent(b, feedback, x):
    """A layer inside a loop at a third of the rate, which starts anew from what a loop of all steps gives."""
    low = b.add(g.TimeConv(w(3, 3, 3), stride=3), running(b, feedback, x))
    state = b.add(g.State(np.zeros(3, np.float32)))
    y = b.add(g.GRU(w(9, 3), w(9, 3)), b.add(g.Add(), low, state))
    feedback[state] = b.add(g.Activate(g.Activation("tanh")), y)
    return y


CASES = {f.__name__: f for f in (one_step_more, at_both_ends, behind_strides, of_states_alone, side_by_side, recurrent)}


def made(name: str) -> Graph:
    b, feedback = GraphBuilder(), dict[str, str]()
    y = CASES[name](b, feedback, b.input("x", Spec((3,))))
    return b.build(y, feedback=feedback)


@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("name", CASES)
def test_states_of_several_rates_have_the_values_of_the_reference(name, rows):
    graph = made(name)
    model = Model(graph)
    x = np.random.default_rng(1).normal(size=(rows or 1, 66, 3)).astype(np.float32)
    (expected,), _ = run(graph, {"x": x})
    got = model(x) if rows else model(x[0])[None]
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
    for size in (1, 5, 66):
        stream = model.stream(rows)
        given = x if rows else x[0]
        parts = [stream.process(given[..., i : i + size, :]) for i in range(0, 66, size)]
        np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()], axis=-2), got if rows else got[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_and_threads_change_nothing(threads):
    model = Model(made("one_step_more"))
    x = np.random.default_rng(1).normal(size=(2, 5000, 3)).astype(np.float32)
    y = model.predict(x, threads=threads)
    np.testing.assert_array_equal(y[1], model(x[1]))
