"""Bounds of every integer, shape and frame: what the engine could not count is refused where it is declared."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from frame_cases import CASES, LATEST, TEMPORAL

from fastgru import FastGruError, GraphError, Model
from fastgru import graph as g
from fastgru.errors import listed
from fastgru.graph import GraphBuilder, Spec
from fastgru.graph.fields import MAX_ENTRIES, MAX_INT, MAX_STEPS
from fastgru.graph.spec import MAX_AXES

HUGE = (2**31, 2**32 + 1, 2**52, 2**63, 2**64, 10**40)
LARGE = (MAX_INT, MAX_STEPS, 2**16, -1, -MAX_STEPS, -MAX_INT)
OPS = {type(op): (op, specs) for _, op, specs in [*CASES, *TEMPORAL, *LATEST]}


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def integers(op: g.Op) -> list[tuple[str, Any]]:
    """The fields of an op that hold integers, and their values."""
    fields = [(f.name, getattr(op, f.name), str(f.type)) for f in dataclasses.fields(op)]
    return [(name, value) for name, value, kind in fields if "int" in kind]


def with_one(value: Any, number: int) -> list[Any]:
    """A field's value with a number in its place, or in that of each of its entries."""
    if not isinstance(value, tuple):
        return [number]
    return [(*value[:i], number, *value[i + 1 :]) for i in range(len(value))]


EACH = [(kind, name) for kind, (op, _) in OPS.items() for name, _ in integers(op)]


@pytest.mark.parametrize(("kind", "name"), EACH, ids=[f"{kind.__name__}-{name}" for kind, name in EACH])
def test_integers_that_32_bits_do_not_hold_are_refused(kind, name):
    op, _ = OPS[kind]
    for number, sign in itertools.product(HUGE, (1, -1)):
        for value in with_one(getattr(op, name), sign * number):
            with pytest.raises(GraphError):
                op.replace(**{name: value})


@pytest.mark.parametrize(("kind", "name"), EACH, ids=[f"{kind.__name__}-{name}" for kind, name in EACH])
def test_large_integers_are_refused_or_leave_a_frame_that_can_be_counted(kind, name):
    op, specs = OPS[kind]
    for number in LARGE:
        for value in with_one(getattr(op, name), number):
            try:
                for spec in op.replace(**{name: value}).infer(tuple(specs)):
                    assert int(np.prod(spec.shape, dtype=object)) <= MAX_INT
            except GraphError:
                continue


BOUNDED = [
    (lambda: g.RFFT(2**20 + 1), "n must be at most 1048576, got 1048577"),
    (lambda: g.TimePad(2**52), "before must be at most 16777216, got 4503599627370496"),
    (lambda: g.TimePad(0, 2**24 + 1, outside="reflect"), "after must be at most 16777216"),
    (lambda: g.OverlapAdd(8, 3, tail=2**24 + 1), "tail must be at most 16777216"),
    (lambda: g.OverlapAdd(8, 3, tail=-(2**40)), "tail must be at least -16777216, got -1099511627776"),
    (lambda: g.OverlapAdd(8, 3, skip=2**24 + 1), "skip must be at most 16777216"),
    (lambda: g.Framing(2**24 + 1, 1), "size must be at most 16777216"),
    (lambda: g.Framing(3, 1, dilation=2**24), "window must reach over at most 16777216 steps, got 33554433"),
    (lambda: g.TimeSlice(stop=-(2**24) - 1), "stop must be at least -16777216, got -16777217"),
    (lambda: g.TimeStep(2**24), "index must be at most 16777215, got 16777216"),
    (lambda: g.TimePool("max", 2, 2**31), "stride must be at most 16777216"),
    (lambda: g.TimeConv(ones(1, 1, 3), dilation=2**24), "window must reach over at most 16777216 steps, got 33554433"),
    (lambda: g.Conv(ones(2, 3, 4), strides=(2**31,)), r"strides must be at most 2147483647, got \(2147483648,\)"),
    (lambda: g.Slice((2**31,), (1,), (1,)), "starts must be at most 2147483647"),
    (lambda: g.Reshape((1,) * 40), f"shape must have at most {MAX_ENTRIES} entries, got 40"),
    (lambda: g.Gather(10**80), "axis must be at most 2147483647, got an integer of more than 60 digits"),
    (lambda: g.Unary("x" * 10**6), r"function must be one of .*, got 'xxx[x]*\.\.\.$"),
    (lambda: g.Pad((0,), (0,), value="x"), "value must be a number, got 'x'"),
    (lambda: g.LayerNorm(ones(2), eps=10**400), "eps must be finite, got an integer of more than 60 digits"),
    (lambda: Spec((1,) * (MAX_AXES + 1)), "shape must be a tuple of at most 16 positive integers"),
    (lambda: Spec((2**16, 2**15)), r"frame must have at most 2147483647 elements, got \(65536, 32768\)"),
    (lambda: Spec((0,)), r"shape must be a tuple of positive integers, got \(0,\)"),
    (lambda: Spec((True,)), "shape must be a tuple of positive integers"),
    (lambda: Spec((2.0,)), "shape must be a tuple of positive integers"),  # type: ignore[arg-type]
    (lambda: Spec(3), "shape must be a tuple of at most 16 positive integers, got 3"),  # type: ignore[arg-type]
    (lambda: Spec((3,), 1), "time must be a bool, got 1"),  # type: ignore[arg-type]
    (lambda: Spec((3,), True, "half"), "dtype must be one of float, int, bool, got 'half'"),
    (lambda: g.Conv(ones(2, 3, 4), before=(2**30,), strides=(2**28,)).infer((Spec((3, 8)),)),
     "frame with its padding must have at most 16777216 elements, got 3221225496"),
    (lambda: g.ConvTranspose(ones(3, 2, 4), strides=(2**30,), before=(2**30 - 9,), after=(2,)).infer((Spec((3, 2)),)),
     "frame with its padding must have at most 16777216 elements"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BOUNDED, ids=range(len(BOUNDED)))
def test_the_bound_is_named(make, message):
    with pytest.raises(GraphError, match=f"(?s){message}") as caught:
        make()
    assert len(str(caught.value)) < 1000


def test_specs_hold_plain_integers():
    assert Spec((np.int64(2), 3)).shape == (2, 3)
    assert type(Spec((np.int64(2),)).shape[0]) is int
    assert Spec([2, 3]).shape == (2, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "op", "specs"), [*CASES, *TEMPORAL, *LATEST], ids=lambda x: x if isinstance(x, str) else ""
)
def test_models_with_large_integers_end_in_a_model_or_an_error_of_ours(name, op, specs):
    for field, value in integers(op):
        for number in (MAX_STEPS, MAX_INT, -MAX_STEPS):
            for changed in with_one(value, number):
                try:
                    b = GraphBuilder()
                    inputs = [b.input(f"x{i}", spec) for i, spec in enumerate(specs)]
                    new = op.replace(**{field: changed})
                    outputs = b.add_many(new, *inputs, outputs=len(new.infer(tuple(specs))))
                    Model(b.build(*outputs))
                except (FastGruError, MemoryError):
                    continue


def test_a_list_of_problems_is_of_bounded_length():
    nodes = [g.Node(f"n{i}", g.Add(), (f"missing{i}",), (f"n{i}",)) for i in range(1_000)]
    with pytest.raises(GraphError, match=r"(?s)^1000 problems:\n  1\. node 'n0' .*\n  50\. .*\n  and 950 more$"):
        g.Graph({"x": Spec((2,))}, nodes, ["n0"])


def test_a_list_of_problems_says_each_once():
    assert listed(["a", "b", "a"]) == "2 problems:\n  1. a\n  2. b"
    assert listed(["a", "a"]) == "a"
