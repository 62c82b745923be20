"""The state of a stream: taken at any step it can be set again, and nothing else is accepted or changes anything."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from frame_cases import w

from fastgru import Model
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec
from fastgru.layers import GRU


def strided() -> Model:
    """Windows with strides and padding, a recurrence at a third of the rate, and up again beside what stayed."""
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    low = b.add(g.GRU(w(12, 4), w(12, 4)), b.add(g.TimeConv(w(4, 3, 5), stride=3, before=2), x))
    frames = b.add(g.Reshape((5, 3)), b.add(g.Dense(w(15, 4)), low))
    back = b.add(g.OverlapAdd(5, 3, 1, 0), frames)
    return Model(b.build(b.add(g.Add(), back, b.add(g.TimeConv(w(3, 3, 4)), x))))


def mirrored() -> Model:
    b = GraphBuilder()
    x = b.input("x", Spec((2,)))
    padded = b.add(g.TimePad(6, 3, outside="reflect"), x)
    return Model(b.build(b.add(g.TimeConv(w(3, 2, 9), stride=2), padded)))


def wide_stride() -> Model:
    """Steps between two windows that none of them sees, and a tail that is cut."""
    b = GraphBuilder()
    x = b.input("x", Spec((2,)))
    few = b.add(g.TimeConv(w(8, 2, 2), stride=7, before=1), x)
    return Model(b.build(b.add(g.OverlapAdd(4, 2, 3, -1), b.add(g.Reshape((4, 2)), few))))


def waiting() -> Model:
    """Three values of one rate, each behind the others in another way."""
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    late = b.add(g.TimePool("average", 4, 1), x)
    early = b.add(g.TimePad(3, 0), x)
    mirrored = b.add(g.TimePad(2, 2, outside="edge"), x)
    return Model(b.build(b.add(g.Add(), late, early, mirrored)))


MODELS = {f.__name__: f for f in (strided, mirrored, wide_stride, waiting)}


def steps(model: Model, count: int, rows: int | None = None) -> np.ndarray:
    lead = () if rows is None else (rows,)
    shape = (*lead, count, *model.graph.inputs["x"].shape)
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("rows", [None, 2])
@pytest.mark.parametrize("name", MODELS)
def test_a_state_taken_after_any_step_can_be_set(name, rows):
    model = MODELS[name]()
    x = steps(model, 60, rows)
    whole = model.stream(rows)
    axis = 0 if rows is None else 1
    for t in range(40):
        state = whole.state
        assert np.all(state["steps"] == t)
        twins = [model.stream(rows) for _ in range(2)]
        for twin, taken in zip(twins, (state, pickle.loads(pickle.dumps(state))), strict=True):
            twin.process(x)
            twin.state = taken
            assert same(twin.state, state)
        twins += [whole.copy(), copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))]
        rest = x.take(range(t, 60), axis)
        expected = whole.copy().process(rest)
        for twin in twins:
            assert np.array_equal(twin.process(rest), expected)
        whole.process(x.take([t], axis))


WRONG = [-(10**6), -1, 1, 2, 3, 10**6, 2**31, 2**62, 2.5, -(2**63), np.nan, np.inf, -np.inf, 1e300]


COUNTS = (1, 2, 3, 10**6, 2**31)  # of steps after which every layer may hold the same as now


@pytest.mark.parametrize("name", MODELS)
def test_no_other_count_is_accepted_and_a_refused_state_changes_nothing(name):
    model = MODELS[name]()
    x = steps(model, 40)
    for t in (0, 1, 5, 17):
        stream = model.stream()
        if t:
            stream.process(x[:t])
        state = stream.state
        counts = [k for k in state if k.endswith((".held", "steps"))]
        assert len(counts) > 1
        for key in counts:
            for value in WRONG:
                if value == state[key] or (key == "steps" and value in COUNTS):
                    continue
                with pytest.raises(ValueError, match=rf"state\['{key}'\] must be|after .* steps, got"):
                    stream.state = {**state, key: np.array(value)}
                assert same(stream.state, state)
        twin = model.stream()
        if t:
            twin.process(x[:t])
        assert np.array_equal(stream.process(x[t:]), twin.process(x[t:]))


def test_counts_of_different_steps_do_not_go_together():
    model = waiting()
    x = steps(model, 20)
    early, late = model.stream(), model.stream()
    early.process(x[:2])
    late.process(x[:9])
    state = early.state
    mixed = {k: late.state[k] if k.endswith(".held") else v for k, v in state.items()}
    with pytest.raises(ValueError, match=r"must be \d+ after 2 steps, got \d+"):
        early.state = mixed
    rows = model.stream(2)
    with pytest.raises(ValueError, match="must be one integer"):
        rows.state = {**rows.state, "steps": [0, 1]}


def test_a_state_without_its_steps_or_of_another_model_is_refused():
    stream = strided().stream()
    without = {k: v for k, v in stream.state.items() if k != "steps"}
    with pytest.raises(ValueError, match="state must have the key 'steps', which is missing"):
        stream.state = without
    with pytest.raises(ValueError, match="key of state must be one of"):
        stream.state = mirrored().stream().state
    with pytest.raises(ValueError, match=r"state\['steps'\] must be an array"):
        stream.state = {**stream.state, "steps": [[1], [2, 3]]}
    with pytest.raises(TypeError, match=r"state\['gru.h'\] must be an array without a mask"):
        stream.state = {**stream.state, "gru.h": np.ma.masked_array(np.zeros(4), [1, 0, 0, 0])}


def test_the_state_of_a_sequence_that_has_ended_does_not_go_on():
    model = mirrored()
    _, state = model(steps(model, 20), return_state=True)
    assert state["steps"] == -1
    with pytest.raises(ValueError, match="of a sequence that goes on, got that of a sequence that has ended"):
        model.stream().state = state
    causal = Model(one_causal())
    x = steps(causal, 20)
    _, state = causal(x[:12], return_state=True)
    stream = causal.stream()
    stream.state = state
    assert np.array_equal(stream.process(x[12:]), causal(x)[12:])


def one_causal() -> g.Graph:
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    return b.build(b.add(g.GRU(w(12, 4), w(12, 4)), b.add(g.TimeConv(w(4, 3, 5), before=4), x)))


def test_a_node_called_steps_keeps_its_name():
    b = GraphBuilder()
    x, state = b.input("x", Spec((3,))), b.add(g.State(np.zeros(3)), name="steps")
    seen = b.add(g.TimeConv(w(3, 3, 5), before=4), x)
    graph = b.build(value := b.add(g.Add(), seen, state), feedback={state: value})
    stream = Model(graph).stream()
    stream.process(np.ones((4, 3), np.float32))
    assert stream.state["steps"].shape == (3,)
    assert stream.state["steps.0"] == 4


def conditioned() -> Model:
    """A sequence, a gain and a word: what layers that look ahead still owe is made of all three."""
    b = GraphBuilder()
    x, gain = b.input("x", Spec((2,))), b.input("gain", Spec((2,), time=False))
    word = b.input("word", Spec((), False, "int"))
    seen = b.add(g.TimeConv(w(2, 2, 5), before=2, after=2), x)
    return Model(b.build(b.add(g.Multiply(), seen, b.add(g.Add(), gain, b.add(g.Embedding(w(7, 2)), word)))))


def test_inputs_without_time_are_those_of_the_last_call_when_a_sequence_ends():
    model, gain = conditioned(), np.array([2.0, -3.0], np.float32)
    xs = np.random.default_rng(5).normal(size=(30, 2)).astype(np.float32)
    whole = model((xs, gain, 5))
    stream = model.stream()
    parts = [stream.process((xs[:13], gain, 5)), stream.process((xs[13:], gain, 5))]
    twins = [stream.copy(), pickle.loads(pickle.dumps(stream)), model.stream()]
    twins[2].state = stream.state
    with pytest.raises(ValueError, match="must have ids in"):
        stream.process((xs[:3], gain + 1, 7))
    ends = [each.flush() for each in (stream, *twins)]
    assert np.array_equal(np.concatenate([*parts, ends[0]]), whole)
    assert all(np.array_equal(end, ends[0]) for end in ends)
    assert not stream.flush().any()  # of a new stream, whose gain is 0
    state = stream.state
    for key, wrong in (("word.last", 7), ("word.last", 1.5), ("gain.last", np.zeros(3)), ("gain.last", "x")):
        with pytest.raises((ValueError, TypeError), match=rf"state\['{key}'\] must"):
            stream.state = {**state, key: wrong}
    assert same(stream.state, state)


def test_outputs_without_time_are_there_when_a_sequence_ends():
    b = GraphBuilder()
    x, y = b.input("x", Spec((3, 4))), b.input("y", Spec((4,), time=False))
    model = Model(b.build(b.add(g.Unary("neg"), x), b.add(g.Multiply(), y, y)))
    xs, ys = np.ones((5, 3, 4), np.float32), np.arange(4, dtype=np.float32)
    for stream in (model.stream(), model.stream().copy()):
        stream.process((xs, ys))
        ended = stream.flush()
        assert ended[0].shape == (0, 3, 4)
        assert np.array_equal(ended[1], ys * ys)
    assert not model.stream().flush()[1].any()


def test_a_row_that_begins_anew_leaves_the_others_alone():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    seen = b.add(g.TimeConv(w(3, 3, 5), before=4), x)
    model = Model(b.build(b.add(g.Add(), seen, b.add(g.TimePool("max", 3, 1, before=2), x))))
    a, c = steps(model, 20, 3), steps(model, 20, 3)[:, ::-1].copy()
    for cut in (1, 2, 3, 4, 7, 20):
        stream = model.stream(3)
        stream.process(a[:, :cut])
        stream.reset([1])
        got = stream.process(c)
        for row in (0, 2):
            whole = model(np.concatenate([a[row, :cut], c[row]]))
            assert np.array_equal(got[row], whole[cut:])
        assert np.array_equal(got[1], model(c[1]))


def test_the_last_step_outlives_copies():
    model = Model([GRU.from_torch(w(12, 3), w(12, 4), return_sequences=False)])
    stream = model.stream()
    last = stream.process(steps_of(7))
    for twin in (stream.copy(), pickle.loads(pickle.dumps(stream))):
        assert np.array_equal(twin.flush(), last)
    assert np.array_equal(stream.flush(), last)


def steps_of(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 3)).astype(np.float32)


# A running stream ---------------------------------------------------------------------------------


def refused(touch) -> bool:
    """True if a call is refused since another one is running."""
    try:
        touch()
    except RuntimeError as error:
        return str(error) == "stream is in use: it can serve one call at a time, and another one is running"
    return False


def test_a_running_stream_is_left_alone_by_every_call():
    model = Model([GRU.from_torch(w(768, 64), w(768, 256))])
    stream = model.stream()
    x = np.zeros((400_000, 64), np.float32)
    results: list[np.ndarray] = []
    worker = threading.Thread(target=lambda: results.append(stream.process(x)))
    state = stream.state
    worker.start()
    while not refused(stream.reset):  # until the thread has taken it
        pass
    touches = [
        stream.reset, lambda: stream.reset([0]), stream.copy, lambda: copy.copy(stream), lambda: copy.deepcopy(stream),
        lambda: stream.state, lambda: setattr(stream, "state", state), lambda: pickle.dumps(stream), stream.flush,
        lambda: stream.step(x[0]), lambda: stream.process(x[:3]),
    ]  # fmt: skip
    assert all(map(refused, touches))
    assert not results
    worker.join()
    assert np.array_equal(results[0][:100], model(x[:100]))
    stream.reset()


def test_a_call_that_is_refused_gives_the_stream_back():
    stream = Model(one_causal()).stream()
    for wrong in (lambda: stream.step(np.zeros(4)), lambda: stream.process("a"), lambda: stream.step(1, out=3)):
        with pytest.raises((ValueError, TypeError)):
            wrong()
    assert stream.step(np.zeros(3)).shape == (4,)


def test_an_unknown_key_of_a_state_is_answered_by_the_nearest():
    layers = [GRU(np.ones((12, 4)), np.ones((12, 4))) for _ in range(20)]
    stream = Model(layers).stream()
    with pytest.raises(ValueError, match=r"key of state must be one of gru_1\.h, .* \(20 in all\), got 'gru_1\.x'"):
        stream.state = {**stream.state, "gru_1.x": np.zeros(4)}
