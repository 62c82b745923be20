"""Ops over frames of any rank in the engine: against the reference, on every instruction set, in any chunks."""

from __future__ import annotations

import numpy as np
import pytest
from cells import CELLS, ISAS, make_cell
from frame_cases import CASES, LATEST, TEMPORAL, WHOLE, w

from fastgru import Model, reference
from fastgru import graph as g
from fastgru.errors import GraphError
from fastgru.graph import GraphBuilder, Op, Spec
from fastgru.graph.activations import ACTIVATIONS
from fastgru.lowering.lower import lower

TOLERANCE = {"float32": 3e-6, "float64": 1e-13}
ROWS, STEPS = 3, 13
NAMED = pytest.mark.parametrize(
    ("name", "op", "specs"), [*CASES, *TEMPORAL, *WHOLE, *LATEST], ids=lambda v: v if isinstance(v, str) else ""
)


def graph_of(op: Op, specs: list[Spec]):
    b = GraphBuilder()
    inputs = [b.input(f"x{i}", s) for i, s in enumerate(specs)]
    outputs = b.add_many(op, *inputs, outputs=len(op.infer(tuple(specs))))
    return b.build(*outputs)


def feeds(specs: list[Spec], rows: int = ROWS, steps: int = STEPS) -> dict[str, np.ndarray]:
    rng, found = np.random.default_rng(1), {}
    for i, s in enumerate(specs):
        shape = (rows, steps, *s.shape) if s.time else (rows, *s.shape)
        whole = s.dtype == "int"
        found[f"x{i}"] = rng.integers(0, 7, shape) if whole else rng.normal(size=shape).astype(np.float32)
    return found


def as_tuple(y):
    return y if isinstance(y, tuple) else (y,)


@pytest.mark.parametrize("isa", ISAS)
@NAMED
def test_follows_the_reference(name, op, specs, isa):
    x = feeds(specs)
    graph = graph_of(op, specs)
    expected = reference.run(graph, x)[0]
    for got, wanted in zip(as_tuple(Model(graph, isa=isa)(x)), expected, strict=True):
        assert got.shape == wanted.shape
        scale = max(1.0, float(np.abs(wanted).max()))
        assert np.abs(got.astype(np.float64) - wanted).max() <= TOLERANCE["float32"] * scale


@NAMED
def test_follows_the_reference_in_float64(name, op, specs):
    x = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in feeds(specs).items()}
    graph = graph_of(op, specs)
    for got, wanted in zip(as_tuple(Model(graph, dtype="float64")(x)), reference.run(graph, x)[0], strict=True):
        scale = max(1.0, float(np.abs(wanted).max()))
        assert np.abs(got.astype(np.float64) - wanted).max() <= TOLERANCE["float64"] * scale


@pytest.mark.parametrize(("name", "op", "specs"), [*CASES, *TEMPORAL], ids=lambda v: v if isinstance(v, str) else "")
def test_any_chunks_and_rows_give_the_same_bits(name, op, specs):
    model, x = Model(graph_of(op, specs)), feeds(specs)
    whole = as_tuple(model(x))
    for row in (0, 2):
        alone = as_tuple(model({k: v[row : row + 1] for k, v in x.items()}))
        assert all(np.array_equal(a[0], w[row]) for a, w in zip(alone, whole, strict=True))
    for cuts in ([5, 6], [1, 2, 3, 4], list(range(1, STEPS))):
        s, parts = model.stream(ROWS), []
        for a, b in zip([0, *cuts], [*cuts, STEPS], strict=True):
            chunk = {k: v[:, a:b] if spec.time else v for (k, v), spec in zip(x.items(), specs, strict=True)}
            parts.append(as_tuple(s.process(chunk)))
        parts.append(as_tuple(s.flush()))
        for i, wanted in enumerate(whole):
            joined = np.concatenate([p[i] for p in parts], axis=1)[:, : wanted.shape[1]]
            assert np.array_equal(joined, wanted)


# States ----------------------------------------------------------------------------------------------


def looped():
    """Two states, one the other delayed, with ops before, inside and behind the loop, which makes no error larger."""
    b = GraphBuilder()
    x = b.input("x", Spec((3, 4)))
    ahead = b.add(g.Conv(w(4, 3, 2), before=(1,)), x)
    h = b.add(g.State(np.full((4, 4), 0.5)), name="h")
    late = b.add(g.State(np.zeros((4, 4))), name="late")
    kept = b.add(g.Activate(g.Activation("affine", alpha=0.25)), b.add(g.Add(), b.add(g.Transpose((1, 0)), h), late))
    new = b.add(g.Activate("tanh"), b.add(g.Add(), ahead, kept), name="new")
    out = b.add(g.Multiply(), b.add(g.Reduce("sum", (0,)), new), b.add(g.Slice((1, 0), (2, 4), (1, 1)), late))
    behind = b.add(g.Add(), out, ahead)
    return b.build(behind, late, feedback={h: new, late: h})


def one_loop_behind_another():
    """A loop that starts from the last step of another one, and a third that starts from that of the second."""
    b = GraphBuilder()
    value, feedback = b.input("x", Spec((4,))), {}
    x, start = value, None
    for name in ("first", "second", "third"):
        held = b.add(g.State(np.full(4, 0.25)), name=name)
        read = held
        if start is not None:
            begun = b.add(g.State(np.zeros(())), name=f"{name}.begun")
            feedback[begun] = b.add(g.Activate(g.Activation("affine", alpha=0.0, beta=1.0)), begun)
            read = b.add(g.Where(), b.add(g.Cast("bool"), begun), held, start)
        mixed = b.add(g.Add(), x, b.add(g.Dense(w(4, 4)), read))
        value = feedback[held] = b.add(g.Activate("tanh"), mixed, name=f"{name}.y")
        start = b.add(g.TimeStep(), value)
        x = b.add(g.Multiply(), x, value)
    return b.build(value, start, feedback=feedback)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("isa", ISAS)
def test_a_loop_starts_at_the_end_of_another(isa, threads):
    graph, x = one_loop_behind_another(), feeds([Spec((4,))])["x0"]
    model = Model(graph, isa=isa)
    for got, wanted in zip(model(x, threads=threads), reference.run(graph, x)[0], strict=True):
        assert np.abs(got - wanted).max() <= TOLERANCE["float32"]
    assert all(np.array_equal(a[0], b) for a, b in zip(model(x), model(x[0]), strict=True))
    assert set(graph.not_streamable())


def loops_in_a_row(count: int):
    """As many loops as said, each from the end of the one before, and delays that follow the last one the wrong way."""
    b = GraphBuilder()
    x, feedback = b.input("x", Spec((2,))), {}
    last = None
    for _ in range(count):
        held = read = b.add(g.State(np.zeros(2)))
        if last is not None:
            begun = b.add(g.State(np.zeros(())))
            feedback[begun] = b.add(g.Activate(g.Activation("affine", alpha=0.0, beta=1.0)), begun)
            read = b.add(g.Where(), b.add(g.Cast("bool"), begun), held, last)
        value = feedback[held] = b.add(g.Activate("tanh"), b.add(g.Add(), x, read))
        last = b.add(g.TimeStep(), value)
    delays = [b.add(g.State(np.zeros(2))) for _ in range(400)]
    feedback.update(zip(delays, [*delays[1:], b.add(g.Add(), x, last)], strict=True))
    return b.build(value, delays[0], feedback=feedback)


def test_loops_one_behind_another_have_a_limit():
    graph, x = loops_in_a_row(31), np.full((3, 2), 0.5, np.float32)
    for got, wanted in zip(Model(graph)(x), reference.run(graph, x[None])[0], strict=True):
        assert np.abs(got - wanted[0]).max() <= 1e-5
    with pytest.raises(GraphError, match="loops of states must be at most 32 one behind another"):
        Model(loops_in_a_row(34))


def loops_at_random(seed: int):
    """States, delays, last steps and reversals that meet in any way; None where a loop would start at its own end."""
    rng, b, feedback = np.random.default_rng(seed), GraphBuilder(), {}
    timed, ends = [b.input("x", Spec((3,)))], []
    states = [b.add(g.State(rng.normal(size=3))) for _ in range(rng.integers(1, 5))]
    for _ in range(rng.integers(4, 14)):
        both = [timed, states, *([ends] if ends else [])]
        first, second = (str(rng.choice(both[rng.integers(len(both))])) for _ in range(2))
        if first in ends and second in ends:
            continue
        value = b.add(g.Add() if rng.random() < 0.7 else g.Multiply(), first, second)
        value = b.add(g.Activate("tanh"), b.add(g.Dense(w(3, 3) / 2), value) if rng.random() < 0.4 else value)
        timed.append(b.add(g.Reverse(), value) if rng.random() < 0.15 else value)
        if rng.random() < 0.35:
            last = g.TimeStep(rng.choice((-1, -1, -2, 0, 1)))
            ends.append(b.add(last, value))
    feedback = {state: str(rng.choice([*timed, *states])) for state in states}
    try:
        return b.build(timed[-1], *(v for v in {*timed[1:-1], *ends} if rng.random() < 0.4), feedback=feedback)
    except GraphError:
        return None


@pytest.mark.parametrize("seed", range(150))
def test_loops_that_meet_in_any_way_follow_the_reference(seed):
    graph = loops_at_random(seed)
    if graph is not None:
        x = np.random.default_rng(seed).normal(size=(2, 7, 3)).astype(np.float32)
        for got, wanted in zip(as_tuple(Model(graph)(x)), reference.run(graph, x)[0], strict=True):
            assert np.abs(got - wanted).max() <= 1e-4


def test_a_state_is_read_behind_its_loop():
    """What loops made is gone when another one runs: a delay of the input, and the state of the loop itself."""
    b = GraphBuilder()
    x, h, late = b.input("x", Spec((4,))), b.add(g.State(np.zeros(4))), b.add(g.State(np.ones(4)))
    value = b.add(g.Activate("tanh"), b.add(g.Add(), x, h, late))
    last = b.add(g.TimeStep(), value)
    graph = b.build(
        b.add(g.Add(), late, last), b.add(g.Dense(w(2, 4)), b.add(g.Multiply(), h, last)), feedback={h: value, late: x}
    )
    given = feeds([Spec((4,))])["x0"]
    for got, wanted in zip(Model(graph)(given), reference.run(graph, given)[0], strict=True):
        assert np.abs(got - wanted).max() <= TOLERANCE["float32"]


def test_a_loop_follows_another_one_turned_round():
    """The two directions of a layer whose states lie in State nodes, and a layer over both."""
    b, feedback = GraphBuilder(), {}

    def cell(x, size):
        held = b.add(g.State(np.zeros(3)))
        feedback[held] = b.add(g.Dense(w(3, 3 + size) / 2, activation="tanh"), b.add(g.Concat(), x, held))
        return feedback[held]

    x = b.input("x", Spec((4,)))
    both = b.add(g.Concat(), cell(x, 4), b.add(g.Reverse(), cell(b.add(g.Reverse(), x), 4)))
    graph = b.build(b.add(g.Reverse(), cell(b.add(g.Reverse(), both), 6)), cell(both, 6), feedback=feedback)
    given = feeds([Spec((4,))])["x0"]
    for got, wanted in zip(Model(graph)(given), reference.run(graph, given)[0], strict=True):
        assert np.abs(got - wanted).max() <= TOLERANCE["float32"]


def test_a_state_must_not_start_from_its_own_end():
    b = GraphBuilder()
    x, held = b.input("x", Spec((4,))), b.add(g.State(np.zeros(4)), name="held")
    value = b.add(g.Add(), x, held)
    last = b.add(g.TimeStep(), value)
    with pytest.raises(GraphError):
        Model(b.build(value, feedback={held: b.add(g.Add(), value, last)}))


@pytest.mark.parametrize("isa", ISAS)
def test_states_follow_the_reference(isa):
    graph, x = looped(), feeds([Spec((3, 4))])["x0"]
    expected, _ = reference.run(graph, x)
    model = Model(graph, isa=isa)
    for got, wanted in zip(model(x), expected, strict=True):
        assert np.abs(got - wanted).max() <= TOLERANCE["float32"] * max(1.0, float(np.abs(wanted).max()))
    whole, s = model(x[0]), model.stream()
    for t in range(STEPS):
        for a, b in zip(s.step(x[0, t]), whole, strict=True):
            assert np.array_equal(a, b[t])


def test_states_can_be_taken_along_and_put_back():
    model, x = Model(looped()), feeds([Spec((3, 4))])["x0"][0]
    s = model.stream()
    s.process(x[:5])
    state = s.state
    assert {k: v.shape for k, v in state.items()} == {"h": (4, 4), "late": (4, 4)}
    rest = s.process(x[5:])
    twin = model.stream()
    twin.state = state
    assert all(np.array_equal(a, b) for a, b in zip(twin.process(x[5:]), rest, strict=True))
    twin.reset()
    assert np.array_equal(twin.state["h"], np.full((4, 4), 0.5, np.float32))


def test_rows_behind_their_end_keep_their_states():
    model, x = Model(looped()), feeds([Spec((3, 4))])["x0"]
    _, state = model(x, lengths=[4, 13, 1], return_state=True)
    for i, n in enumerate([4, 13, 1]):
        _, alone = model(x[i, :n], return_state=True)
        assert all(np.array_equal(alone[k], state[k][i]) for k in alone)


@pytest.mark.parametrize(("name", "op", "specs"), TEMPORAL, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("cut", range(1, 9))
def test_windows_can_be_taken_along_and_put_back(name, op, specs, cut):
    model, x = Model(graph_of(op, specs)), feeds(specs)["x0"]
    s = model.stream(ROWS)
    s.process(x[:, :cut])
    twin = s.copy()
    for a, b in zip((s.process(x[:, cut:]), s.flush()), (twin.process(x[:, cut:]), twin.flush()), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(s.process(x), model.stream(ROWS).process(x))


def skipping(op, *around):
    """x beside what layers make of it."""
    b = GraphBuilder()
    x = value = b.input("x", Spec((3,)))
    for layer in (op, *around):
        value = b.add(layer, value)
    return b.build(b.add(g.Add(), value, x, b.add(g.TimeConv(w(3, 3, 2), before=1), x)), value)


@pytest.mark.parametrize(
    "ops",
    [
        [g.TimeConv(w(3, 3, 5), before=4)],
        [g.TimeConv(w(3, 3, 5), before=2, after=2)],
        [g.TimeConv(w(3, 3, 3), after=2), g.TimeConv(w(3, 3, 3), before=1, after=1)],
        [g.TimePad(2, 0), g.TimeConv(w(3, 3, 3))],
    ],
)
def test_layers_that_look_ahead_meet_what_waits_for_them(ops):
    graph, x = skipping(*ops), feeds([Spec((3,))])["x0"]
    model = Model(graph)
    whole = model(x)
    for got, wanted in zip(whole, reference.run(graph, x)[0], strict=True):
        assert np.abs(got - wanted).max() <= TOLERANCE["float32"] * max(1.0, float(np.abs(wanted).max()))
    for cuts in ([5, 6], [1, 2, 3, 4], list(range(1, STEPS))):
        s = model.stream(ROWS)
        parts = [s.process(x[:, a:b]) for a, b in zip([0, *cuts], [*cuts, STEPS], strict=True)]
        s = s.copy()
        parts.append(s.flush())
        for i, wanted in enumerate(whole):
            assert np.array_equal(np.concatenate([p[i] for p in parts], axis=1), wanted)


def test_a_causal_window_may_lie_in_a_loop():
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    h = b.add(g.State(np.zeros(3)), name="h")
    seen = b.add(g.TimeConv(w(3, 3, 4), before=3), b.add(g.Add(), x, h))
    graph = b.build(new := b.add(g.Activate("tanh"), seen), feedback={h: new})
    model, x = Model(graph), feeds([Spec((3,))])["x0"]
    whole = model(x)
    assert np.abs(whole - reference.run(graph, x)[0][0]).max() <= TOLERANCE["float32"]
    s = model.stream(ROWS)
    assert np.array_equal(np.stack([s.step(x[:, t]) for t in range(STEPS)], axis=1), whole)


def test_inputs_by_another_name_are_refused():
    model = Model(graph_of(g.Add(), [Spec((3,)), Spec((3,))]))
    x = np.zeros((2, 4, 3), np.float32)
    for wrong, got in (({"x0": x, "y": x}, r"\['x0', 'y'\]"), ({"y": x}, r"\['y'\]"), (x, "ndarray"), ((x,), "1")):
        with pytest.raises(ValueError, match=f"x must (be|have) .*'x0'.*got {got}"):
            model(wrong)
    with pytest.raises(ValueError, match=r"same number of steps, got .*'x0': 4, 'x1': 3"):
        model((x, x[:, :3]))


def test_latency_counts_steps_of_the_input():
    def latency(*ops):
        b = GraphBuilder()
        value = b.input("x", Spec((3,)))
        for op in ops:
            value = b.add(op, value)
        return Model(b.build(value)).stream().latency

    causal, ahead = g.TimeConv(w(3, 3, 5), before=4), g.TimeConv(w(3, 3, 5), before=2, after=2)
    assert latency(causal) == 0
    assert latency(ahead) == 2
    assert latency(g.TimeConv(w(3, 3, 4), stride=4, before=0), ahead) == 3 + 4 * 2


# Ids as the input of a recurrence -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_an_embedding_in_front_of_a_recurrence_becomes_a_table(cell, dtype):
    layer, ids = make_cell(cell, 6, 9), np.random.default_rng(2).integers(0, 11, (3, 12))
    graph = g.chain([g.Embedding(w(11, 6)), layer])
    model = Model(graph, dtype=dtype)
    assert len(lower(graph).instructions) == 1
    tolerance = TOLERANCE[dtype]
    for lengths in (None, [12, 3, 7]):
        mask = None if lengths is None else np.arange(12) < np.array(lengths)[:, None]
        expected = reference.run(graph, ids, mask=mask)[0][0]
        assert np.abs(model(ids, lengths=lengths) - expected).max() <= tolerance
    assert np.array_equal(model(ids, threads=2), model(ids))
    if not graph.not_streamable() and dtype == "float32":
        s = model.stream(3)
        assert np.array_equal(np.stack([s.step(ids[:, t]) for t in range(12)], axis=1), model(ids))
    with pytest.raises(ValueError, match=r"ids in 0\.\.10"):
        model(ids + 5)


def test_an_embedding_that_others_read_stays():
    b = GraphBuilder()
    e = b.add(g.Embedding(w(11, 6)), b.input("ids", Spec((), True, "int")))
    graph = b.build(b.add(g.Concat(), e, b.add(make_cell("lstm", 6, 9), e)), e)
    ids = np.random.default_rng(2).integers(0, 11, (3, 12))
    for got, wanted in zip(Model(graph)(ids), reference.run(graph, ids)[0], strict=True):
        assert np.abs(got - wanted).max() <= TOLERANCE["float32"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_runs_over_items_of_two_axes(name):
    b = GraphBuilder()
    graph = b.build(b.add(g.Activate(name), b.add(g.Unary("neg"), b.input("x", Spec((3, 5))))))
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    assert np.abs(Model(graph)(x) - reference.run(graph, x)[0][0]).max() < 3e-6


def test_numbers_that_no_integer_has_and_weights_beyond_float32_run_without_a_warning():
    b = GraphBuilder()
    graph = b.build(
        b.add(g.Cast("int"), b.add(g.Add(), b.input("x", Spec((3,))), b.add(g.Constant(np.full(3, 1e300)))))
    )
    assert Model(graph)(np.zeros((2, 3), np.float32)).dtype == np.int64


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("wrong", [-1, -5, 5, 10**6, np.nan, np.inf])
def test_computed_ids_outside_of_a_table_are_refused_and_change_nothing(wrong, threads):
    b = GraphBuilder()
    x = b.input("x", Spec(()))
    embedded = b.add(g.Embedding(w(5, 4)), b.add(g.Cast("int"), x))
    model = Model(b.build(b.add(g.GRU(w(12, 4), w(12, 4)), embedded)))
    ids = np.array([[0, 4, 2, 1], [3, 3, 0, 0]], np.float32)
    stream = model.stream(2, threads=threads)
    stream.process(ids)
    before = stream.state
    with pytest.raises(ValueError, match="ids that the model looks up must lie inside their table"):
        stream.process(np.array([[0, 4, 2, 1], [3, wrong, 0, 0]], np.float32))
    assert all(np.array_equal(v, before[k]) for k, v in stream.state.items())
    assert np.array_equal(model(ids), model(ids, threads=threads))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 40])
def test_a_product_of_two_values_has_the_same_bits_in_any_chunk(size):
    b = GraphBuilder()
    x = b.input("x", Spec((3,)))
    left, right = b.add(g.Dense(w(size, 3)), x), b.add(g.Unary("sin"), b.add(g.Dense(w(size, 3)), x))
    model = Model(b.build(b.add(g.MatMul(), left, right)))
    xs = np.random.default_rng(0).normal(size=(3, 50, 3)).astype(np.float32)
    whole = model(xs)
    for rows in (1, 3):
        stream = model.stream(rows)
        assert np.array_equal(np.stack([stream.step(xs[:rows, t]) for t in range(50)], 1), whole[:rows])
        stream.reset()
        assert np.array_equal(
            np.concatenate([stream.process(xs[:rows, i : i + 7]) for i in range(0, 50, 7)], 1), whole[:rows]
        )
    assert np.array_equal(model(xs[1:2], threads=2), whole[1:2])
