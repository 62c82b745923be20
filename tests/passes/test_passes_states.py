"""States that are packs come apart; recurrences over one step become layers over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
import pytest
from graph_pairs import kinds, same

from fastgru import graph as g
from fastgru import reference
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.passes import canonical

RNG = np.random.default_rng(11)
H = 4


def normal(*shape: int) -> Any:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


def slice_(b: GraphBuilder, x: str, *parts: tuple[int, int]) -> str:
    return b.add(g.Slice([p[0] for p in parts], [p[1] for p in parts], [1] * len(parts)), x)


def parts_of(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Names and frames of the State nodes."""
    return {node.name: graph.specs[node.outputs[0]].shape for node in graph.nodes if isinstance(node.op, g.State)}


def pack(parts: int, split: Callable[[GraphBuilder, str], Sequence[str]],
         join: Callable[[GraphBuilder, Sequence[str]], str], shape: tuple[int, ...]) -> Graph:  # fmt: skip
    """A state of which each part, a vector of H, is changed by an op of its own with the input."""
    b = GraphBuilder()
    x, s = b.input("x", Spec((H,))), b.add(g.State(normal(*shape)), name="s")
    ops = (g.Add, g.Multiply, g.Average)
    new = [b.add(g.Activate("tanh"), b.add(ops[i % 3](), x, b.add(g.Reshape((H,)), part)))
           for i, part in enumerate(split(b, s))]  # fmt: skip
    assert len(new) == parts
    return b.build(*new, feedback={s: join(b, new)})


def stack(b: GraphBuilder, values: Sequence[str], rank: int, axis: int) -> str:
    """Vectors of H along a new axis."""
    shape = [1] * rank
    shape[-1 if axis < rank - 1 else 0] = H
    return b.add(g.Concat(axis), *(b.add(g.Reshape(shape), v) for v in values))


def scattered(b: GraphBuilder, values: Sequence[str]) -> str:
    """As ScatterND is imported: parts written one by one into the whole, by a Gather from both side by side."""
    whole = "s"
    for i, value in enumerate(values):
        flat = b.add(g.Reshape((len(values) * H,)), whole)
        both = b.add(g.Concat(0), flat, value)
        ids = np.arange(len(values) * H)
        ids[i * H : (i + 1) * H] = len(values) * H + np.arange(H)
        whole = b.add(g.Reshape((len(values), H)), b.add(g.Gather(0), both, b.add(g.Constant(ids, "int"))))
    return whole


def gathered(b: GraphBuilder, s: str, i: int) -> str:
    return b.add(g.Gather(0), s, b.add(g.Constant(i, "int")))


PACKS: dict[str, Graph] = {
    "silero": pack(2, lambda b, s: [slice_(b, s, (i, i + 1), (0, 1), (0, H)) for i in range(2)],
                   lambda b, new: stack(b, new, 3, 0), (2, 1, H)),
    "last_axis": pack(3, lambda b, s: [slice_(b, s, (0, H), (i, i + 1)) for i in range(3)],
                      lambda b, new: stack(b, new, 2, 1), (H, 3)),
    "by_id": pack(2, lambda b, s: [gathered(b, s, i) for i in (1, 0)],
                  lambda b, new: stack(b, new[::-1], 2, 0), (2, H)),
    "flat": pack(2, lambda b, s: [slice_(b, b.add(g.Reshape((2 * H,)), s), (i, i + H)) for i in (0, H)],
                 lambda b, new: b.add(g.Reshape((2, 2, 2)), b.add(g.Concat(), *new)), (2, 2, 2)),
    "transposed": pack(2, lambda b, s: [slice_(b, b.add(g.Transpose((1, 0)), s), (i, i + 1), (0, H)) for i in (0, 1)],
                       lambda b, new: b.add(g.Transpose((1, 0)), stack(b, new, 2, 0)), (H, 2)),
    "scattered": pack(3, lambda b, s: [gathered(b, s, i) for i in range(3)], scattered, (3, H)),
}  # fmt: skip


@pytest.mark.parametrize("old", PACKS.values(), ids=PACKS)
def test_a_pack_comes_apart(old):
    new = canonical(old)
    count = len(old.outputs)
    assert {name: prod(shape) for name, shape in parts_of(new).items()} == {f"s.{i}": H for i in range(count)}
    assert kinds(new).keys() <= {"State", "Add", "Multiply", "Average", "Activate", "Reshape"}
    before, after = same(old, new)
    assert sorted(np.concatenate([after[name][0].ravel() for name in after])) == sorted(before["s"][0].ravel())


def test_parts_start_from_their_elements():
    old = PACKS["last_axis"]
    initial = next(node.op.initial for node in old.nodes if node.name == "s")
    found = [node.op.initial for node in canonical(old).nodes if isinstance(node.op, g.State)]
    np.testing.assert_array_equal(np.stack(found, axis=1), initial)


# Shift registers -----------------------------------------------------------------------------------


def caches(b: GraphBuilder, s: str, x: str, layout: Sequence[tuple[int, int]], write: Any) -> tuple[list[str], str]:
    """Convolutions over what a cache of (1, 2, T, 3) keeps of the last steps; `layout` says where each keeps it."""
    whole, outputs = s, []
    for start, stop in layout:
        frame = b.add(g.Reshape((2, 1, 3)), x)
        kept = b.add(g.Reshape((2, stop - start, 3)), slice_(b, whole, (0, 1), (0, 2), (start, stop), (0, 3)))
        joined = b.add(g.Concat(1), kept, frame)
        x = b.add(g.Conv(normal(2, 2, stop - start + 1, 3), normal(2), before=(0, 1), after=(0, 1)), joined)
        outputs.append(b.add(g.Reshape((2, 3)), x))
        x = outputs[-1]
        whole = write(b, whole, slice_(b, joined, (0, 2), (1, stop - start + 1), (0, 3)), start, stop)
    return outputs, whole


def write_by_ids(b: GraphBuilder, whole: str, part: str, start: int, stop: int, size: int = 7) -> str:
    """A ScatterND of steps `start` to `stop`."""
    ids = np.arange(6 * size).reshape(2, size, 3)
    n = 6 * (stop - start)
    ids[:, start:stop] = 6 * size + np.arange(n).reshape(2, stop - start, 3)
    flat = [b.add(g.Reshape((k,)), v) for v, k in ((whole, 6 * size), (part, n))]
    found = b.add(g.Gather(0), b.add(g.Concat(0), *flat), b.add(g.Constant(ids, "int")))
    return b.add(g.Reshape((1, 2, size, 3)), found)


def write_by_slices(b: GraphBuilder, whole: str, part: str, start: int, stop: int, size: int = 7) -> str:
    rows = [b.add(g.Reshape((1, 2, stop - start, 3)), part)]
    if start:
        rows.insert(0, slice_(b, whole, (0, 1), (0, 2), (0, start), (0, 3)))
    if stop < size:
        rows.append(slice_(b, whole, (0, 1), (0, 2), (stop, size), (0, 3)))
    return b.add(g.Concat(2), *rows)


@pytest.mark.parametrize("write", [write_by_ids, write_by_slices])
def test_caches_of_convolutions_come_apart_and_stay_whole_themselves(write):
    b = GraphBuilder()
    x, s = b.input("x", Spec((2, 3))), b.add(g.State(normal(1, 2, 7, 3)), name="cache")
    outputs, new = caches(b, s, x, [(0, 2), (2, 6), (6, 7)], write)
    old = b.build(*outputs, feedback={s: new})
    found = canonical(old)
    assert parts_of(found) == {"cache.0": (2, 2, 3), "cache.1": (2, 4, 3), "cache.2": (2, 3)}
    assert kinds(found).get("Gather", 0) == 0
    assert kinds(found)["Concat"] == 3
    same(old, found)


def test_a_register_is_no_pack():
    """Every element comes from the one beside it, and in the end from one value."""
    b = GraphBuilder()
    x, s = b.input("x", Spec((2,))), b.add(g.State(normal(5, 2)), name="s")
    joined = b.add(g.Concat(0), s, b.add(g.Reshape((1, 2)), x))
    first, last = (b.add(g.Reduce("sum", (0,)), slice_(b, s, rows, (0, 2))) for rows in ((0, 1), (3, 5)))
    old = b.build(first, last, feedback={s: slice_(b, joined, (1, 6), (0, 2))})
    assert canonical(old) is old


def test_what_is_overlapped_and_added_is_no_pack():
    """One sum writes all of it, though its first part leaves and the rest is read again."""
    b = GraphBuilder()
    x, s = b.input("x", Spec((6,))), b.add(g.State(normal(6)), name="s")
    rest = b.add(g.Pad((0,), (2,)), slice_(b, s, (2, 6)))
    old = b.build(slice_(b, s, (0, 2)), feedback={s: b.add(g.Add(), rest, x)})
    assert parts_of(canonical(old)) == {"s": (6,)}
    same(old, canonical(old))


def test_what_one_op_reads_of_two_writers_is_no_pack():
    b = GraphBuilder()
    x, s = b.input("x", Spec((4,))), b.add(g.State(normal(8)), name="s")
    y = b.add(g.Dense(normal(3, 8)), s)
    new = b.add(g.Concat(), b.add(g.Activate("tanh"), x), b.add(g.Activate("relu"), x))
    old = b.build(y, feedback={s: new})
    assert parts_of(canonical(old)) == {"s": (8,)}


def test_a_pack_that_is_also_read_as_a_whole_is_joined_where_it_is_read():
    b = GraphBuilder()
    x, s = b.input("x", Spec((H,))), b.add(g.State(normal(2 * H)), name="s")
    first, last = (slice_(b, s, (i, i + H)) for i in (0, H))
    new = b.add(g.Activate("tanh"), b.add(g.Add(), first, x)), b.add(g.Multiply(), last, x)
    seen = b.add(g.Dense(normal(3, 2 * H)), s)
    old = b.build(seen, *new, feedback={s: b.add(g.Concat(), *new)})
    found = canonical(old)
    assert parts_of(found) == {"s.0": (H,), "s.1": (H,)}
    assert kinds(found)["Concat"] == 1
    same(old, found)


def test_parts_that_nobody_reads_are_gone_and_those_never_written_stay():
    b = GraphBuilder()
    x, s = b.input("x", Spec((H,))), b.add(g.State(normal(3 * H)), name="s")
    first, last = slice_(b, s, (0, H)), slice_(b, s, (2 * H, 3 * H))
    new = b.add(g.Add(), first, x)
    old = b.build(new, b.add(g.Multiply(), last, x), feedback={s: b.add(g.Concat(), new, x, last)})
    found = canonical(old)
    assert parts_of(found) == {"s.0": (H,), "s.1": (H,)}
    assert found.feedback["s.1"] == "s.1"
    same(old, found)


def test_a_state_that_a_part_of_another_feeds_reads_that_part():
    """A delay of a part of a pack."""
    b = GraphBuilder()
    x, s, late = b.input("x", Spec((H,))), *(b.add(g.State(normal(n * H)), name=f"s{n}") for n in (2, 1))
    first, last = (slice_(b, s, (i, i + H)) for i in (0, H))
    new = b.add(g.Add(), first, x), b.add(g.Multiply(), last, x)
    old = b.build(*new, b.add(g.Add(), late, x), feedback={s: b.add(g.Concat(), *new), late: first})
    found = canonical(old)
    assert found.feedback == {"s2.0": new[0], "s2.1": new[1], "s1": "s2.0"}
    same(old, found)


# Recurrences over one step --------------------------------------------------------------------------


def operator(op: g.Recurrent, *, rows: int = 1, steps: int = 1, crossed: bool = False, sequence: bool = False) -> Graph:
    """A scan whose states are fed back, as ONNX has it: x (S, N, I), states (1, N, H)."""
    b = GraphBuilder()
    x = b.input("x", Spec((rows, steps, op.input_size)))
    sizes = op.carried()
    held = {n: b.add(g.State(normal(1, rows, size)), name=n) for n, size in sizes.items()}
    start = [b.add(g.Reshape((rows, sizes[n])), held[n]) for n in sizes]
    turned = b.add(g.Transpose((1, 0, 2)), x)
    y, *ends = b.add_many(op.replace(scan=True, operands=tuple(f"initial_{n}" for n in sizes)), turned, *start,
                          outputs=1 + len(sizes), name="cell")  # fmt: skip
    ends = ends[::-1] if crossed else [y, *ends[1:]] if sequence else ends
    back = {held[n]: b.add(g.Reshape((1, rows, sizes[n])), v) for n, v in zip(sizes, ends, strict=True)}
    return b.build(b.add(g.Activate("relu"), y), feedback=back)


OPERATORS = {
    "rnn": g.RNN(normal(H, 3), normal(H, H)),
    "gru": g.GRU(normal(3 * H, 3), normal(3 * H, H), normal(3 * H), normal(3 * H)),
    "reversed": g.GRU(normal(3 * H, 3), normal(3 * H, H), reset_after=False, reverse=True, clip=0.5),
    "lstm": g.LSTM(normal(4 * H, 3), normal(4 * H, H), peephole=normal(3, H)),
    "projected": g.LSTM(normal(4 * H, 3), normal(4 * H, 2), projection=normal(2, H), precision="int8"),
}


@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("sequence", [False, True])
def test_a_recurrence_over_one_step_becomes_a_layer(op, sequence):
    old = operator(op, sequence=sequence)
    new = canonical(old)
    (node,) = [node for node in new.nodes if isinstance(node.op, g.Recurrent)]
    assert node.name == "cell"
    assert not new.feedback
    held = {n.name: n.op.initial.ravel() for n in old.nodes if isinstance(n.op, g.State)}
    expected = op.replace(reverse=False, **{f"initial_{n}": a for n, a in held.items()})
    assert node.op.attributes() == expected.attributes()
    for name, array in expected.weights().items():
        np.testing.assert_array_equal(getattr(node.op, name), array, err_msg=name)
    before, after = same(old, new)
    for name in held:
        np.testing.assert_allclose(after[f"cell.{name}"], before[name].reshape(2, -1), rtol=1e-12)


def test_states_that_start_at_zero_need_no_initial():
    old = operator(OPERATORS["lstm"])
    old = old.with_ops(lambda n: g.State(np.zeros_like(n.op.initial)) if isinstance(n.op, g.State) else n.op)
    (node,) = [node for node in canonical(old).nodes if isinstance(node.op, g.Recurrent)]
    assert node.op.initial_h is node.op.initial_c is None


@pytest.mark.parametrize("how", [{"rows": 2}, {"steps": 2}, {"crossed": True}], ids=str)
def test_other_recurrences_stay(how):
    op = OPERATORS["lstm"] if "crossed" in how else OPERATORS["gru"]
    old = operator(op, **how)
    new = canonical(old)
    (node,) = [node for node in new.nodes if isinstance(node.op, g.Recurrent)]
    assert node.op.scan
    assert len(parts_of(new)) == len(op.carried())
    same(old, new)


def test_a_recurrence_whose_cell_state_is_read_stays():
    b = GraphBuilder()
    x, h, c = b.input("x", Spec((1, 1, 3))), *(b.add(g.State(normal(1, H)), name=n) for n in "hc")
    op = OPERATORS["lstm"].replace(scan=True, operands=("initial_h", "initial_c"))
    y, new_h, new_c = b.add_many(op, x, h, c, outputs=3)
    old = b.build(y, b.add(g.Activate("tanh"), new_c), feedback={h: new_h, c: new_c})
    assert len(parts_of(canonical(old))) == 2
    same(old, canonical(old))


def test_a_recurrence_that_starts_anew_every_step_stays():
    b = GraphBuilder()
    x, h = b.input("x", Spec((1, 1, 3))), b.add(g.State(normal(1, H)), name="h")
    op = OPERATORS["lstm"].replace(scan=True, operands=("initial_h",))
    y, new_h, _ = b.add_many(op, x, h, outputs=3)
    old = b.build(y, feedback={h: new_h})
    assert parts_of(canonical(old)) == {"h": (1, H)}


def test_a_pack_of_an_operator_is_its_layer():
    """h and c of one LSTM in one state, as in silero."""
    b = GraphBuilder()
    x, s = b.input("x", Spec((3,))), b.add(g.State(normal(2, 1, H)), name="state")
    h, c = (b.add(g.Reshape((1, H)), slice_(b, s, (i, i + 1), (0, 1), (0, H))) for i in range(2))
    op = OPERATORS["lstm"].replace(scan=True, operands=("initial_h", "initial_c"))
    y, *ends = b.add_many(op, b.add(g.Reshape((1, 1, 3)), x), h, c, outputs=3, name="lstm")
    new = b.add(g.Concat(0), *(b.add(g.Reshape((1, 1, H)), v) for v in ends))
    old = b.build(b.add(g.Reshape((H,)), y), feedback={s: new})
    found = canonical(old)
    assert kinds(found) == {"LSTM": 1}
    assert [state.key for state in found.states()] == ["lstm.h", "lstm.c"]
    same(old, found)


def test_a_wrong_split_is_refused(monkeypatch):
    from fastgru.passes import states

    wrong = states._Split.feed
    monkeypatch.setattr(states._Split, "feed", lambda self, part: wrong(self, self.parts[-1]))
    old = PACKS["silero"]
    assert parts_of(canonical(old)) == {"s": (2, 1, H)}


def test_states_given_from_without_go_on_as_before():
    """A stream taken up in the middle: the parts of a state in the places of the whole."""
    old = PACKS["silero"]
    new = canonical(old)
    rng = np.random.default_rng(0)
    x, start = rng.normal(size=(2, 5, H)), rng.normal(size=(2, 2, 1, H))
    expected = reference.run(old, x, state={"s": start})[0]
    found = reference.run(new, x, state={"s.0": start[:, 0, 0], "s.1": start[:, 1, 0]})[0]
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


def begun(first: g.Op, second: g.Op | None = None) -> Graph:
    """A sum so far that starts from a matrix of one step of its input, or of some of its steps."""
    b = GraphBuilder()
    x = b.input("x", Spec((H,)))
    start = b.add(g.Dense(normal(H, H)), b.add(first, x if second is None else b.add(second, x)))
    begun, held = b.add(g.State(np.zeros(())), name="begun"), b.add(g.State(np.zeros(H)), name="held")
    one = b.add(g.Activate(g.Activation("affine", alpha=0.0, beta=1.0)), begun)
    total = b.add(g.Add(), b.add(g.Where(), b.add(g.Cast("bool"), begun), held, start), x)
    return b.build(total, feedback={held: total, begun: one})


@pytest.mark.parametrize(
    ("parts", "followed"),
    [((g.TimeStep(0),), True), ((g.TimeStep(-1),), False), ((g.TimeStep(0), g.TimeSlice(1, None, 1)), False)],
)
def test_a_start_from_a_first_step_follows_the_sequence(parts, followed):
    graph = begun(*parts)
    new = canonical(graph)
    assert any(isinstance(node.op, g.TimeStep) for node in new.nodes) != followed
    x = normal(2, 9, H)
    for a, b in zip(reference.run(graph, x)[0], reference.run(new, x)[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
