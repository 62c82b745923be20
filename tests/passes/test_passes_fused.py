"""Arithmetic that is joined: scales and norms in weights, activations in epilogues, products of products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from graph_pairs import kinds, same

from fastgru import Model, reference
from fastgru import graph as g
from fastgru.graph import Graph, GraphBuilder, Spec
from fastgru.passes import fused

RNG = np.random.default_rng(9)


def normal(*shape: int) -> Any:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


def build(spec: Spec, *ops: g.Op | tuple[g.Op, Any]) -> Graph:
    """A chain of ops from an input of this spec; those in a pair with an array have it as a second, constant input."""
    b = GraphBuilder()
    value = b.input("x", spec)
    for i, op in enumerate(ops):
        if isinstance(op, tuple):
            value = b.add(op[0], value, b.add(g.Constant(op[1])), name=f"op{i}")
        else:
            value = b.add(op, value, name=f"op{i}")
    return b.build(value)


def norm(features: int) -> g.BatchNorm:
    return g.BatchNorm(normal(features), np.abs(normal(features)) + 0.1, normal(features), normal(features))


# op, the spec of its input, and constants of its channels in the frames of its input and its output
LINEAR: dict[str, tuple[g.Op, Spec, tuple[int, ...], tuple[int, ...]]] = {
    "dense": (g.Dense(normal(4, 3), normal(4)), Spec((3,)), (3,), (4,)),
    "dense_of_a_frame": (g.Dense(normal(4, 3)), Spec((2, 5, 3), False), (3,), (1, 4)),
    "time_conv": (g.TimeConv(normal(4, 3, 2)), Spec((3,)), (3,), (4,)),
    "time_conv_groups": (g.TimeConv(normal(4, 3, 3), normal(4), 2, 2, groups=2), Spec((6,)), (6,), (4,)),
    "conv1": (g.Conv(normal(4, 3, 2), normal(4)), Spec((3, 6)), (3, 1), (4, 1)),
    "conv2_groups": (g.Conv(normal(6, 2, 2, 3), strides=(2, 1), dilations=(1, 2), groups=2), Spec((4, 6, 7)),
                     (4, 1, 1), (6, 1, 1)),
    "depthwise": (g.Conv(normal(3, 1, 2, 2), normal(3), groups=3), Spec((3, 4, 4)), (3, 1, 1), (3, 1, 1)),
    "transposed": (g.ConvTranspose(normal(3, 4, 2), normal(4), strides=(2,)), Spec((3, 5)), (3, 1), (4, 1)),
    "transposed_groups": (g.ConvTranspose(normal(4, 3, 2, 2), groups=2), Spec((4, 3, 3)), (4, 1, 1), (6, 1, 1)),
}  # fmt: skip
ARITHMETIC = {"multiply": g.Multiply(), "add": g.Add(), "sub": g.Binary("sub"), "div": g.Binary("div")}


def nonzero(*shape: int) -> Any:
    array = normal(*shape)
    return np.sign(array) * (np.abs(array) + np.float32(0.25))


@pytest.mark.parametrize("arithmetic", ARITHMETIC.values(), ids=ARITHMETIC)
@pytest.mark.parametrize("case", LINEAR.values(), ids=LINEAR)
def test_constants_behind_a_product_are_folded(case, arithmetic):
    op, spec, _, channels = case
    old = build(spec, op, (arithmetic, nonzero(*channels)))
    new = fused(old)
    assert [(node.name, type(node.op)) for node in new.nodes] == [("op0", type(op))]
    same(old, new)


@pytest.mark.parametrize("arithmetic", ARITHMETIC.values(), ids=ARITHMETIC)
@pytest.mark.parametrize("case", LINEAR.values(), ids=LINEAR)
def test_constants_before_a_product_are_folded(case, arithmetic):
    """But for a shift before a transposed convolution, which is not the same at its borders."""
    op, spec, channels, _ = case
    old = build(spec, (arithmetic, nonzero(*channels)), op)
    new = fused(old)
    shifted = isinstance(op, g.ConvTranspose) and not isinstance(arithmetic, g.Multiply) and arithmetic.kind != "div"
    left = shifted and getattr(arithmetic, "function", "add") in ("add", "sub")
    assert len(new.nodes) == (3 if left else 1)
    same(old, new)


PADDED = {
    "conv": (g.Conv(normal(4, 3, 3), before=(1,), after=(1,)), Spec((3, 6)), (3, 1)),
    "time_conv": (g.TimeConv(normal(4, 3, 3), before=2), Spec((3,)), (3,)),
}


@pytest.mark.parametrize("case", PADDED.values(), ids=PADDED)
def test_padding_is_scaled_but_not_shifted(case):
    op, spec, channels = case
    scaled, shifted = (build(spec, (how, nonzero(*channels)), op) for how in (g.Multiply(), g.Add()))
    assert len(fused(scaled).nodes) == 1
    assert fused(shifted) is shifted
    same(scaled, fused(scaled))


RECURRENT = {
    "rnn": g.RNN(normal(2, 3), normal(2, 2)),
    "gru": g.GRU(normal(6, 3), normal(6, 2), normal(6), normal(6), clip=0.5),
    "lstm": g.LSTM(normal(8, 3), normal(8, 2), normal(8)),
    "scan": g.RNN(normal(2, 3), normal(2, 2), scan=True),
}


@pytest.mark.parametrize("op", RECURRENT.values(), ids=RECURRENT)
def test_a_norm_before_a_recurrence_is_in_its_input_weights(op):
    b = GraphBuilder()
    x = b.input("x", Spec((4, 2, 3) if op.scan else (3,)))
    old = b.build(b.add_many(op, b.add(norm(3), x), outputs=2 if op.scan else 1, name="cell")[0])
    new = fused(old)
    assert [node.name for node in new.nodes] == ["cell"]
    assert [s[:2] for s in new.states()] == [s[:2] for s in old.states()]
    same(old, new)


def test_a_norm_behind_a_convolution_is_in_it_whatever_views_lie_between():
    """Channels last for the norm, and back: as Keras models have it."""
    old = build(
        Spec((3, 4, 5)), g.Conv(normal(6, 3, 2, 2), normal(6)), g.Transpose((1, 2, 0)), norm(6), g.Reshape((12, 6)),
        (g.Multiply(), nonzero(6)), g.Activate("relu"), g.Transpose((1, 0)),
    )  # fmt: skip
    new = fused(old)
    assert kinds(new) == {"Conv": 1, "Transpose": 2, "Reshape": 1}
    assert new.nodes[0].op.activation.name == "relu"
    same(old, new)


def test_chains_of_arithmetic_fold_one_after_the_other():
    old = build(
        Spec((3,)), (g.Add(), normal(3)), g.Unary("neg"), (g.Multiply(), nonzero(1)), g.Dense(normal(4, 3)), norm(4),
        g.Activate({"name": "affine", "alpha": 2.0, "beta": -1.0}), (g.Binary("sub"), normal(4)), g.Activate("tanh"),
    )  # fmt: skip
    new = fused(old)
    assert kinds(new) == {"Dense": 1}
    same(old, new)


def test_weights_are_folded_in_float64():
    """Rounded to float32 they would be off by 1e-8, and the biases of a stack with them."""
    old = build(Spec((64,)), g.Dense(normal(64, 64)), norm(64), g.Dense(normal(64, 64)), norm(64))
    assert fused(old).nodes[0].op.weight.dtype == np.float64
    same(old, fused(old), 1e-13)


@pytest.mark.parametrize("case", LINEAR.values(), ids=LINEAR)
def test_the_engine_runs_what_is_fused(case):
    op, spec, before, behind = case
    old = build(spec, (g.Multiply(), nonzero(*before)), op, (g.Add(), normal(*behind)), g.Activate("tanh"))
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2, *[6] * spec.time, *spec.shape)).astype(np.float32)
    np.testing.assert_allclose(Model(fused(old))(x), reference.run(old, x)[0][0], rtol=0, atol=1e-5)


def test_a_number_minus_a_product_is_folded():
    b = GraphBuilder()
    x, one = b.input("x", Spec((3,))), b.add(g.Constant(normal(2)))
    old = b.build(b.add(g.Binary("sub"), one, b.add(g.Dense(normal(2, 3), normal(2)), x)))
    assert kinds(fused(old)) == {"Dense": 1}
    same(old, fused(old))


STAYS = {
    "each_element": build(Spec((3, 6)), g.Conv(normal(4, 3, 2)), (g.Multiply(), nonzero(4, 5)), g.Unary("abs")),
    "along_space": build(Spec((3, 6)), g.Conv(normal(4, 3, 2)), (g.Multiply(), nonzero(5)), g.Unary("abs")),
    "behind_activation": build(Spec((3,)), g.Dense(normal(4, 3), activation="tanh"), (g.Add(), normal(4))),
    "int8": build(Spec((3,)), (g.Add(), normal(3)), g.Dense(normal(4, 3), precision="int8"), (g.Multiply(), normal(4))),
    "growing_frame": build(Spec((3,)), g.Dense(normal(4, 3)), (g.Multiply(), nonzero(2, 4))),
    "divided_by_zero": build(Spec((3,)), g.Dense(normal(4, 3)), (g.Binary("div"), np.zeros(4))),
    "reciprocal": build(Spec((3,)), g.Dense(normal(4, 3)), (g.Binary("pow"), np.ones(4))),
    "softmax_of_channels": build(Spec((3, 6)), g.Conv(normal(4, 3, 2)), g.Transpose((1, 0)), g.Activate("softmax")),
    "softmax_of_a_view": build(Spec((2, 3)), g.Dense(normal(4, 3)), g.Transpose((1, 0)), g.Activate("softmax")),
}


@pytest.mark.parametrize("old", STAYS.values(), ids=STAYS)
def test_what_is_not_of_a_channel_stays(old):
    assert fused(old) is old


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_a_bias_is_added_to_products_of_any_precision(precision):
    shift = normal(4)
    old = build(Spec((3,)), g.Dense(normal(4, 3), precision=precision), (g.Add(), shift))
    (node,) = fused(old).nodes
    np.testing.assert_allclose(node.op.bias, shift, atol=1e-12)
    assert node.op.precision == precision


@pytest.mark.parametrize("twice", ["read", "output", "fed"])
def test_what_others_need_as_it_was_stays(twice):
    b = GraphBuilder()
    x, h = b.input("x", Spec((3,))), b.add(g.State(np.zeros(4)), name="h")
    y = b.add(g.Dense(normal(4, 3)), x)
    bent, scaled = b.add(g.Activate("tanh"), y), b.add(g.Multiply(), h, b.add(g.Constant(nonzero(4))))
    outputs = [bent, scaled, *([b.add(g.Unary("abs"), y)] if twice == "read" else [y] if twice == "output" else [])]
    old = b.build(*outputs, feedback={h: y if twice == "fed" else bent})
    assert fused(old) is old


@pytest.mark.parametrize("activation", ["tanh", "softmax", {"name": "leaky_relu", "alpha": 0.3}])
def test_an_activation_is_in_the_dense_before_it(activation):
    old = build(Spec((2, 3)), g.Dense(normal(4, 3)), g.Activate(activation))
    (node,) = fused(old).nodes
    assert node.op.activation == g.Activation.of(activation)
    same(old, fused(old))


@pytest.mark.parametrize("case", LINEAR.values(), ids=LINEAR)
def test_an_activation_is_in_the_product_before_it(case):
    op, spec, *_ = case
    old = build(spec, op, g.Activate("tanh"))
    (node,) = fused(old).nodes
    assert node.op.activation.name == "tanh"
    same(old, fused(old))


@pytest.mark.parametrize(("inner", "nodes"), [(2, 2), (3, 1), (8, 1)])
def test_two_products_are_one_where_that_is_less_work(inner, nodes):
    """4 x 3 numbers against 3 times the inner size and 4 times that: from 2 on, equal to 14."""
    first, second = g.Dense(normal(inner, 5), normal(inner)), g.Dense(normal(4, inner), activation="tanh")
    old = build(Spec((5,)), first, second)
    new = fused(old)
    assert len(new.nodes) == nodes
    same(old, new)


def test_three_products_in_a_row():
    old = build(Spec((3,)), *(g.Dense(normal(8, n), normal(8)) for n in (3, 8, 8)))
    assert [(node.name, node.op.weight.shape) for node in fused(old).nodes] == [("op2", (8, 3))]
    same(old, fused(old))


@pytest.mark.parametrize("activation", ["linear", "softmax"])
def test_an_embedding_before_a_dense_is_a_table_of_products(activation):
    b = GraphBuilder()
    ids = b.input("ids", Spec((3,), dtype="int"))
    looked_up = b.add(g.Embedding(normal(7, 4)), ids)
    old = b.build(b.add(g.Dense(normal(5, 4), normal(5), activation), looked_up, name="dense"))
    (node,) = fused(old).nodes
    assert (node.name, node.op.kind, node.op.weight.shape) == ("dense", "embedding", (7, 5))
    same(old, fused(old))


def test_a_norm_behind_an_embedding_is_in_its_table():
    b = GraphBuilder()
    ids = b.input("ids", Spec((), dtype="int"))
    old = b.build(b.add(norm(4), b.add(g.Embedding(normal(7, 4)), ids)))
    assert kinds(fused(old)) == {"Embedding": 1}
    same(old, fused(old))


def test_a_table_is_not_made_larger_than_it_may_be(monkeypatch):
    from fastgru.passes import products

    b = GraphBuilder()
    ids = b.input("ids", Spec((), dtype="int"))
    old = b.build(b.add(g.Dense(normal(5, 4)), b.add(g.Embedding(normal(7, 4)), ids)))
    monkeypatch.setattr(products, "LARGEST_TABLE", 34)
    assert fused(old) is old
    monkeypatch.setattr(products, "LARGEST_TABLE", 35)
    assert kinds(fused(old)) == {"Embedding": 1}


# Shared weights -------------------------------------------------------------------------------------


def calls(weight: Any, *behind: g.Op) -> Graph:
    """A layer called once for each op behind it, each call with a copy of its weights."""
    b = GraphBuilder()
    x = b.input("x", Spec((weight.shape[1],)))
    for op in behind:
        x = b.add(op, b.add(g.Dense(weight.copy(), np.ones(len(weight))), x))
        x = b.add(g.Activate("tanh"), x)
    return b.build(x)


def matrices(graph: Graph) -> int:
    """Different matrices that a graph holds."""
    return len({id(a) for node in graph.nodes for a in node.op.weights().values() if a.ndim > 1})


def test_scales_that_are_alike_leave_a_shared_matrix_one():
    weight, behind = normal(4, 4), norm(4)
    graph = calls(weight, *[behind] * 3)
    assert kinds(fused(graph)) == {"Dense": 3}
    assert matrices(fused(graph)) == 1
    same(graph, fused(graph))


def test_scales_that_differ_are_not_folded_into_a_shared_matrix():
    weight = normal(4, 4)
    graph = calls(weight, norm(4), norm(4), norm(4))
    assert matrices(fused(graph)) == 1
    assert kinds(fused(graph))["BatchNorm"] == 3
    same(graph, fused(graph))


def test_a_scale_at_one_of_the_nodes_that_share_a_matrix():
    b, weight = GraphBuilder(), normal(4, 4)
    x = b.input("x", Spec((4,)))
    y = b.add(g.Activate("tanh"), b.add(norm(4), b.add(g.Dense(weight), x)))
    graph = b.build(b.add(g.Dense(weight.copy(), activation="tanh"), y))
    assert matrices(fused(graph)) == 1
    same(graph, fused(graph))


def test_matrices_apart_are_scaled_beside_those_that_nodes_share():
    b, weight = GraphBuilder(), normal(4, 4)
    x = b.input("x", Spec((4,)))
    for w in (weight, weight.copy(), normal(4, 4)):
        x = b.add(g.Activate("tanh"), b.add(norm(4), b.add(g.Dense(w), x)))
    graph = b.build(x)
    assert matrices(fused(graph)) == 2
    assert kinds(fused(graph))["BatchNorm"] == 2
    same(graph, fused(graph))


def test_room_for_matrices_that_are_scaled_apart_is_bounded(monkeypatch):
    from fastgru.passes import scales

    monkeypatch.setattr(scales, "ROOM", 40)
    graph = calls(normal(4, 4), *[norm(4) for _ in range(6)])
    assert matrices(fused(graph)) == 1
    same(graph, fused(graph))


def test_products_of_shared_matrices_are_made_once():
    first, second = normal(3, 8), normal(4, 3)
    b = GraphBuilder()
    x = b.input("x", Spec((8,)))
    pairs = [b.add(g.Dense(second.copy(), activation="tanh"), b.add(g.Dense(first.copy()), x)) for _ in range(3)]
    graph = b.build(b.add(g.Add(), *pairs))
    assert matrices(fused(graph)) == 1
    same(graph, fused(graph))


def test_products_that_would_repeat_a_shared_matrix_are_not_made():
    shared = normal(20, 24)
    b = GraphBuilder()
    x = b.input("x", Spec((24,)))
    ends = [b.add(g.Dense(normal(40, 20), activation="tanh"), b.add(g.Dense(shared.copy()), x)) for _ in range(4)]
    graph = b.build(b.add(g.Add(), *ends))
    assert kinds(fused(graph))["Dense"] == 8  # 480 + 4 * 800 numbers, which are fewer than 4 * 960
    same(graph, fused(graph))
