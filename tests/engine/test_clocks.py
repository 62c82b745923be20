"""Values whose steps are counted apart: what strides down, comes up again, and meets what went neither way."""

from __future__ import annotations

import numpy as np
import pytest
from frame_cases import w
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru import Model, reference
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec

ROWS, TOLERANCE = 2, 3e-6
QUICK = settings(max_examples=60, deadline=None)


def up(b: GraphBuilder, value: str, units: int, channels: int, op: g.OverlapAdd) -> str:
    """A transposed convolution: a product for each step, then frames laid over each other."""
    frames = b.add(g.Reshape((op.size, channels)), b.add(g.Dense(w(op.size * channels, units)), value))
    return b.add(op, frames)


def hourglass(conv: g.TimeConv, size: int, skip: int):
    """x plus what a strided, a recurrent and a transposed layer make of it, for lengths that the stride divides."""
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    low = b.add(g.GRU(w(12, 4), w(12, 4)), b.add(conv, x))
    count = (conv.before + conv.after - conv.extent) // conv.stride + 1  # frames beyond those of the stride alone
    back = up(b, low, 4, 3, g.OverlapAdd(size, conv.stride, skip, skip - count * conv.stride))
    return b.build(b.add(g.Add(), x, back, b.add(g.Activate("tanh"), x)), back)


def joined(model: Model, x: np.ndarray, cuts: list[int], rows: int = ROWS) -> list[np.ndarray]:
    s, parts = model.stream(rows), []
    for a, b in zip([0, *cuts], [*cuts, x.shape[1]], strict=True):
        parts.append(s.process(x[:, a:b]))
        s = s.copy()
    parts.append(s.flush())
    return [np.concatenate([p[i] for p in parts], axis=1) for i in range(len(parts[0]))]


def check(graph: g.Graph, x: np.ndarray, cuts: list[int]) -> None:
    """The reference's numbers, and the same bits in chunks, row by row and on threads."""
    model = Model(graph)
    whole = model(x)
    for got, wanted in zip(whole, reference.run(graph, x)[0], strict=True):
        assert got.shape == wanted.shape
        assert np.abs(got - wanted).max(initial=0) <= TOLERANCE * max(1.0, float(np.abs(wanted).max(initial=0)))
    for chunks in (cuts, list(range(1, x.shape[1]))):
        assert all(map(np.array_equal, joined(model, x, chunks), whole))
    assert all(np.array_equal(a[0], b[1]) for a, b in zip(model(x[1:]), whole, strict=True))


@QUICK
@given(st.data())
def test_what_comes_up_again_meets_what_stayed(data):
    stride = data.draw(st.integers(1, 5), "stride")
    taps, dilation = data.draw(st.integers(1, 7), "taps"), data.draw(st.integers(1, 2), "dilation")
    before, after = (data.draw(st.integers(0, 8), name) for name in ("before", "after"))
    size, skip = data.draw(st.integers(1, 9), "size"), data.draw(st.integers(0, 8), "skip")
    steps = stride * data.draw(st.integers(3, 6), "steps")
    conv = g.TimeConv(w(4, 3, taps), stride=stride, dilation=dilation, before=before, after=after)
    if conv.output_length(steps) == 0:
        return
    cuts = sorted(data.draw(st.sets(st.integers(1, steps - 1), max_size=4), "cuts"))
    check(hourglass(conv, size, skip), np.random.default_rng(0).normal(size=(ROWS, steps, 3)).astype("f"), cuts)


@pytest.mark.parametrize(
    ("taps", "before", "size", "skip"),
    [
        (8, 0, 8, 0),  # Conv-TasNet and Demucs: all that waits is x
        (4, 3, 4, 0),  # causal: the frames of one step are ahead of x, which they wait for
        (3, 1, 4, 1),  # now one is ahead, now the other
    ],
)
def test_each_waits_for_the_other(taps, before, size, skip):
    conv = g.TimeConv(w(4, 3, taps), stride=4, before=before, after=4)
    check(hourglass(conv, size, skip), np.random.default_rng(1).normal(size=(ROWS, 24, 3)).astype("f"), [3, 4, 9, 10])


def test_a_network_of_two_levels():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    first = b.add(g.TimeConv(w(5, 3, 4), stride=2, before=1, after=1, activation="relu"), x)
    second = b.add(g.TimeConv(w(6, 5, 4), stride=2, before=1, after=1), first)
    back = up(b, b.add(g.LSTM(w(24, 6), w(24, 6)), second), 6, 5, g.OverlapAdd(4, 2, 1, 1))
    joint = b.add(g.Dense(w(5, 10)), b.add(g.Concat(), back, first))
    y = up(b, joint, 5, 3, g.OverlapAdd(4, 2, 1, 1))
    graph = b.build(b.add(g.Add(), y, x), joint)
    check(graph, np.random.default_rng(2).normal(size=(ROWS, 20, 3)).astype("f"), [1, 6, 7])
    s = Model(graph).stream()
    got = np.cumsum([len(s.process(np.zeros((1, 3), "f"))[0]) for _ in range(40)])
    assert s.latency == max(np.arange(1, 41) - got) == 9


def test_latency_of_what_comes_up():
    def latency(**cut: int) -> int:
        b = GraphBuilder()
        x = b.add(g.Reshape((4, 2)), b.input("x", Spec((8,))))
        return Model(b.build(b.add(g.OverlapAdd(4, 2, **cut), x))).stream().latency

    assert latency(tail=2) == latency(tail=0) == 0
    assert latency(skip=1, tail=1) == 1  # the second step of every two is of the next frame
    assert latency(tail=-2) == 1
    assert latency(skip=2, tail=-2) == 2


@pytest.mark.parametrize("outside", ["value", "reflect", "edge"])
def test_frames_centred_on_their_steps_meet_what_they_are_of(outside):
    """As torch.stft and istft lay them: padded by half a frame, half a frame cut off."""
    b = GraphBuilder()
    x = b.input("x", Spec(()))
    frames = b.add(g.Framing(16, 4), b.add(g.TimePad(8, 8, outside=outside), x))
    y = b.add(g.OverlapAdd(16, 4, 8, 4), b.add(g.Dense(w(16, 16)), frames))
    graph = b.build(b.add(g.Add(), x, y), y)
    check(graph, np.random.default_rng(4).normal(size=(ROWS, 40)).astype("f"), [3, 9, 10, 30])
    if outside == "value":
        return
    padded = GraphBuilder()
    x = padded.input("x", Spec(()))
    s = Model(padded.build(padded.add(g.Framing(16, 4), padded.add(g.TimePad(8, 8, outside=outside), x)))).stream()
    given = 4 * np.cumsum([len(s.process(np.zeros(1, "f"))) for _ in range(40)])
    assert s.latency == max(np.arange(1, 41) - given) == (8 if outside == "reflect" else 7)


def test_too_few_steps_to_mirror_are_refused():
    model = Model(g.chain([g.Dense(w(3, 3)), g.TimePad(3, 5, outside="reflect")], names=["d", "pad"]))
    with pytest.raises(ValueError, match="sequence to pad by node 'pad' must have at least 6 steps, got 5"):
        model(np.zeros((5, 3), "f"))
    s = model.stream()
    assert s.flush().shape == (0, 3)
    assert s.process(np.zeros((5, 3), "f")).shape == (0, 3)
    assert s.process(np.zeros((1, 3), "f")).shape == (9, 3)
    assert s.flush().shape == (5, 3)


def test_other_lengths_are_refused_when_the_sequence_ends():
    model = Model(hourglass(g.TimeConv(w(4, 3, 4), stride=4), 4, 0))
    with pytest.raises(ValueError, match="inputs of node 'add' must have one number of steps, got 1 more of one than"):
        model(np.zeros((1, 9, 3), "f"))
    s = model.stream()
    s.process(np.zeros((9, 3), "f"))
    with pytest.raises(ValueError, match="inputs of node 'add' must have one number of steps"):
        s.flush()
    assert s.process(np.zeros((3, 3), "f"))[0].shape == (4, 3)
    assert s.flush()[0].shape == (0, 3)


def test_rows_begin_anew_only_where_all_count_alike():
    b = GraphBuilder()
    x = b.add(g.Reshape((4, 2)), b.input("x", Spec((8,))))
    rng = np.random.default_rng(0)
    for cut, apart in (({"tail": 2}, True), ({"skip": 1, "tail": 1}, False)):
        model, data = Model(b.build(b.add(g.OverlapAdd(4, 2, **cut), x))), rng.normal(size=(2, 5, 8)).astype("f")
        s = model.stream(2)
        s.process(data)
        if not apart:
            with pytest.raises(ValueError, match="single rows can be reset only if"):
                s.reset([0])
            continue
        s.reset([0])
        y = np.concatenate([s.process(data), s.flush()], axis=1)
        assert np.array_equal(y[0], model(data[0]))
        assert not np.array_equal(y[1], model(data[1]))


@pytest.mark.parametrize("threads", [2, 3])
def test_windows_on_threads_give_the_same_bits(threads):
    b = GraphBuilder()
    x = b.input("x", Spec((64,)))
    low = b.add(g.TimeConv(w(128, 64, 8), stride=4, before=2, after=2), x)
    y = b.add(g.OverlapAdd(8, 4, 2, 2), b.add(g.Reshape((8, 64)), b.add(g.Dense(w(512, 128)), low)))
    model, x = Model(b.build(b.add(g.Add(), x, y))), np.random.default_rng(3).normal(size=(7, 80, 64)).astype("f")
    whole = model(x)
    for _ in range(20):  # threads meet differently each time
        assert np.array_equal(model(x, threads=threads), whole)
    s = model.stream(7, threads=threads)
    parts = [s.process(part) for part in np.array_split(x, 3, axis=1)]
    assert np.array_equal(np.concatenate([*parts, s.flush()], axis=1), whole)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_recurrence_between_strides_on_threads_gives_the_same_bits(threads):
    """Its blocks have fewer steps than those of the input: threads share out what is there."""
    b = GraphBuilder()
    x = b.input("x", Spec((16,)))
    low = b.add(g.TimeConv(w(32, 16, 6), stride=3, before=2, after=2), x)
    h = b.add(g.LSTM(w(160, 32), w(160, 40)), low)
    y = b.add(g.OverlapAdd(7, 3), b.add(g.Reshape((7, 8)), b.add(g.Dense(w(56, 40)), h)))
    model, x = Model(b.build(y)), np.random.default_rng(5).normal(size=(5, 361, 16)).astype("f")
    whole = model(x)
    for _ in range(5):
        assert np.array_equal(model(x, threads=threads), whole)


@pytest.mark.parametrize("function", ["sum", "mean", "max", "min", "l2"])
def test_a_fold_of_no_steps_is_refused(function):
    b = GraphBuilder()
    pooled = b.add(g.TimePool("max", 2, stride=2), b.input("x", Spec((4,))))
    model = Model(b.build(b.add(g.TimeReduce(function), pooled), pooled))
    x = np.ones((3, 2, 4), np.float32)
    whole = model(x)
    with pytest.raises(
        ValueError, match="sequence to fold by node 'time_reduce' must have at least one step, got none"
    ):
        model(x[:, :1])
    assert all(map(np.array_equal, model(x), whole))


def test_a_softmax_over_no_steps_has_none():
    b = GraphBuilder()
    pooled = b.add(g.TimePool("max", 2, stride=2), b.input("x", Spec((4,))))
    assert Model(b.build(b.add(g.TimeSoftmax(), pooled)))(np.ones((3, 1, 4), np.float32)).shape == (3, 0, 4)


def same_convolution(layer: g.Op) -> g.Graph:
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    return b.build(b.add(layer, b.add(g.TimeConv(w(4, 3, 5), before=2, after=2), x)))


@pytest.mark.parametrize(
    "layer",
    [
        g.GRU(w(12, 4), w(12, 4)),
        g.LSTM(w(20, 4), w(20, 5), mask_output="carry"),
        g.GRU(w(12, 4), w(12, 4), reverse=True),
    ],
)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_lengths_count_the_steps_of_layers_behind_windows(layer, threads):
    """Their steps come later than those of the input, which is run in many blocks."""
    graph, rng = same_convolution(layer), np.random.default_rng(3)
    model, steps = Model(graph), 30_000
    x = rng.normal(size=(3, steps, 3)).astype(np.float32)
    assert steps > 2 * model._plan.block(3)
    lengths = np.array([steps, 17_001, 5])
    mask = np.arange(steps) < lengths[:, None]
    wanted = reference.run(graph, x, mask=mask)[0][0]
    assert np.abs(model(x, lengths=lengths, threads=threads) - wanted).max() <= TOLERANCE
    holes = rng.random((3, steps)) < 0.5
    wanted = reference.run(graph, x, mask=holes)[0][0]
    assert np.abs(model(x, mask=holes, threads=threads) - wanted).max() <= TOLERANCE


@pytest.mark.parametrize(
    "op", [g.TimePad(2, 0), g.TimePad(0, 3), g.TimePool("max", 2, 2), g.TimePad(3, 3, outside="reflect")]
)
def test_lengths_are_refused_where_a_layer_runs_over_other_steps(op):
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    model = Model(b.build(b.add(g.GRU(w(12, 3), w(12, 4)), b.add(op, x))))
    with pytest.raises(ValueError, match=r"lengths and mask must be omitted when .*: 'gru' has \d+, x has 8"):
        model(np.zeros((2, 8, 3), np.float32), lengths=[3, 8])
    assert model(np.zeros((2, 8, 3), np.float32)).shape[0] == 2
