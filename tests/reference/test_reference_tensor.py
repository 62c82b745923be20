"""The formulas of the ops on frames, each against an oracle of plain Python or NumPy."""

from __future__ import annotations

import itertools
import math

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from frames import check, graph_of, infer, ints, normal, spec_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from fastgru import GraphError, Model, reference
from fastgru import graph as g

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
QUICK = settings(max_examples=40, deadline=None)

# Elementwise ---------------------------------------------------------------------------------------

UNARY = {
    "neg": lambda v: -v,
    "abs": lambda v: v if v >= 0 else -v,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "reciprocal": lambda v: 1 / v,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "sign": lambda v: (v > 0) - (v < 0),
    "sin": math.sin,
    "cos": math.cos,
    "atan": math.atan,
    "erf": lambda v: special.erf(v),
    "not": lambda v: not v,
    "isnan": lambda v: v != v,
}
BINARY = {
    "sub": lambda a, b: a - b,
    "div": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "min": min,
    "max": max,
    "mod": lambda a, b: a % b,
    "atan2": math.atan2,
    "equal": lambda a, b: a == b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "and": lambda a, b: a and b,
    "or": lambda a, b: a or b,
    "xor": lambda a, b: a is not b,
}
INT = {"div": lambda a, b: int(a / b), "pow": lambda a, b: int(float(a) ** b)}


def by_element(function):
    """`function` of Python numbers on whole frames, broadcast."""

    def oracle(*frames):
        arrays = np.broadcast_arrays(*frames)
        values = [function(*(a[i].item() for a in arrays)) for i in np.ndindex(arrays[0].shape)]
        return np.array(values).reshape(arrays[0].shape)

    return oracle


def operands(dtypes: tuple[str, ...], *shapes: tuple[int, ...]):
    """Inputs of each dtype: floats with halves and repeats, so that ties and rounding happen."""
    draws = {
        "float": lambda s, i: np.round(normal(*s, seed=i) * 4) / 2,
        "int": lambda s, i: ints(-5, 6, *s, seed=i),
        "bool": lambda s, i: ints(0, 2, *s, seed=i).astype(bool),
    }
    for dtype in dtypes:
        yield dtype, [draws[dtype](shape, i) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize("function", g.UNARY)
def test_unary(function):
    for dtype, (x,) in operands(g.UNARY[function].dtypes, (3, 4)):
        positive = function in ("sqrt", "log", "reciprocal")
        check(g.Unary(function), by_element(UNARY[function]), np.abs(x) + 0.25 if positive else x)
        assert dtype in g.UNARY[function].dtypes
    assert UNARY.keys() == g.UNARY.keys()


def test_nan_is_found_and_infinities_are_values():
    x = np.array([np.nan, np.inf, -np.inf, 0.0])
    np.testing.assert_array_equal(reference.on_frames(g.Unary("isnan"), x)[0], [True, False, False, False])
    np.testing.assert_array_equal(reference.on_frames(g.Unary("log"), x)[0], [np.nan, np.inf, np.nan, -np.inf])
    np.testing.assert_array_equal(reference.on_frames(g.Unary("reciprocal"), x)[0], [np.nan, 0.0, -0.0, np.inf])


@pytest.mark.parametrize("untimed", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("function", g.BINARY)
def test_binary(function, untimed):
    for dtype, (a, b) in operands(g.BINARY[function].dtypes, (3, 1, 4), (2, 1)):
        if function in ("div", "mod"):
            b = np.where(b == 0, b.dtype.type(3), b)
        if function == "pow":
            a, b = np.abs(a) + 1, np.clip(b, -2, 2)
        own = INT.get(function, BINARY[function]) if dtype == "int" else BINARY[function]
        check(g.Binary(function), by_element(own), a, b, untimed=untimed)


def test_integers_keep_their_digits():
    a, b = np.array([2**53 + 1, -(2**53) - 1]), np.array([3, 3])
    got = reference.on_frames(g.Binary("div"), a, b)[0]
    assert got.tolist() == [(2**53 + 1) // 3, -((2**53 + 1) // 3)]


@QUICK
@given(hnp.mutually_broadcastable_shapes(num_shapes=3, min_dims=0, max_dims=3, max_side=3))
def test_frames_broadcast(shapes):
    a, b, c = (normal(*shape, seed=i) for i, shape in enumerate(shapes.input_shapes))
    assert infer(g.Add(), *shapes.input_shapes) == shapes.result_shape
    check(g.Add(), lambda x, y, z: x + y + z, a, b, c, untimed=(1,))
    check(g.Multiply(), lambda x, y, z: x * y * z, a, b, c, untimed=(0, 2))
    check(g.Average(), lambda x, y, z: (x + y + z) / 3, a, b, c)
    check(g.Where(), lambda x, y, z: np.where(x, y, z), a > 0, b, c, untimed=(1,))


def test_one_input_of_a_sum_or_product_is_itself():
    for op in (g.Add(), g.Multiply(), g.Average(), g.Concat()):
        check(op, lambda x: x, normal(3, 2))


def test_cast():
    x = np.round(normal(4, 5) * 3, 1)
    check(g.Cast("int"), by_element(math.trunc), x)
    check(g.Cast("bool"), by_element(bool), np.round(x))
    check(g.Cast("float"), lambda v: v.astype(float), ints(-3, 3, 4))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax(axis):
    x = normal(3, 4, 2) * 5
    check(g.Softmax(axis), lambda v: special.softmax(v, axis=axis), x)
    check(g.Softmax(axis, log=True), lambda v: special.log_softmax(v, axis=axis), x)
    check(g.Activate("softmax"), lambda v: special.softmax(v, axis=-1), x)


# Reductions ----------------------------------------------------------------------------------------

REDUCE = {
    "sum": math.fsum,
    "mean": lambda v: math.fsum(v) / len(v),
    "max": max,
    "min": min,
    "prod": math.prod,
    "l1": lambda v: math.fsum(map(abs, v)),
    "l2": lambda v: math.hypot(*v),
    "sum_square": lambda v: math.fsum(x * x for x in v),
    "log_sum": lambda v: math.log(math.fsum(v)),
    "log_sum_exp": lambda v: math.log(math.fsum(map(math.exp, v))),
}


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("axes", [(0,), (2,), (0, 2), (1, 0), (0, 1, 2)])
@pytest.mark.parametrize("function", g.REDUCTIONS)
def test_reduce(function, axes, keepdims):
    def oracle(frame):
        moved = np.moveaxis(frame, axes, range(len(axes)))
        flat = moved.reshape(-1, *moved.shape[len(axes) :])
        found = [REDUCE[function](flat[(slice(None), *i)].tolist()) for i in np.ndindex(flat.shape[1:])]
        y = np.array(found).reshape(flat.shape[1:])
        return np.expand_dims(y, sorted(axes)) if keepdims else y

    for _, (x,) in operands(g.REDUCTIONS[function], (2, 3, 2)):
        check(g.Reduce(function, axes, keepdims), oracle, np.abs(x) + 0.5 if function == "log_sum" else x, atol=1e-10)


def test_the_logarithm_of_a_sum_of_exponentials_neither_overflows_nor_loses_minus_infinity():
    x = np.array([[1000.0, 1000.0], [-np.inf, -np.inf]])
    got = reference.on_frames(g.Reduce("log_sum_exp", (1,), keepdims=False), x)[0]
    np.testing.assert_allclose(got, [1000 + math.log(2), -np.inf])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("function", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [0, 1])
def test_arg_reduce(function, axis, last):
    best = max if function == "argmax" else min

    def place(line):
        ties = [i for i, v in enumerate(line) if v == best(line)]
        return ties[-1 if last else 0]

    for x in (ints(0, 3, 4, 5), np.round(normal(4, 5))):
        check(g.ArgReduce(function, axis, False, last), lambda v: np.apply_along_axis(place, axis, v), x)
        check(g.ArgReduce(function, axis, True, last), lambda v: np.apply_along_axis(lambda w: [place(w)], axis, v), x)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(("k", "axis"), [(1, 0), (3, 1), (5, 1), (4, 0)])
def test_top_k(k, axis, largest):
    def extremes(frame):
        places = np.empty((k, *np.delete(frame.shape, axis)), int)
        for i in np.ndindex(*places.shape[1:]):
            line = [float(v) for v in np.moveaxis(frame, axis, 0)[(slice(None), *i)]]
            known = [np.inf if np.isnan(v) else v for v in line]  # no other infinities are drawn
            order = sorted(range(len(line)), key=lambda j: (-known[j] if largest else known[j], j))
            places[(slice(None), *i)] = order[:k]
        return np.moveaxis(places, 0, axis)

    with_nan = np.round(normal(4, 5))
    with_nan[0, 1, ::2, 3] = with_nan[1, 0, 2] = np.nan
    for x in (ints(0, 3, 4, 5), np.round(normal(4, 5)), with_nan):
        graph = graph_of(g.TopK(k, axis, largest), spec_of(x, True), outputs=2)
        for values, places in (reference.run(graph, x)[0], Model(graph)(x)):
            assert values.dtype.kind == x.dtype.kind
            for at in np.ndindex(*x.shape[:2]):
                wanted = extremes(x[at])
                np.testing.assert_array_equal(places[at], wanted)
                np.testing.assert_array_equal(values[at], np.take_along_axis(x[at], wanted, axis))


@pytest.mark.parametrize(("exclusive", "reverse"), list(itertools.product([False, True], repeat=2)))
def test_cum_sum(exclusive, reverse):
    def line(v):
        n = len(v)
        parts = [v[i + exclusive :] if reverse else v[: i + 1 - exclusive] for i in range(n)]
        return [math.fsum(part) for part in parts]

    for axis in (0, 1):
        op = g.CumSum(axis, exclusive, reverse)
        for x in (normal(4, 3), ints(-4, 5, 4, 3)):
            check(op, lambda v, axis=axis: np.apply_along_axis(line, axis, v), x)


# Moving elements -----------------------------------------------------------------------------------


@QUICK
@given(SHAPES, st.data())
def test_transpose_reshape_tile_and_expand(shape, data):
    x, perm = normal(*shape), data.draw(st.permutations(range(len(shape))))
    check(g.Transpose(perm), lambda v: v.transpose(perm), x)
    check(g.Reshape((math.prod(shape), 1)), lambda v: v.ravel()[:, None], x)
    repeats = data.draw(st.lists(st.integers(1, 3), min_size=len(shape), max_size=len(shape)))
    check(g.Tile(repeats), lambda v: v[np.ix_(*(np.arange(n * r) % n for n, r in zip(shape, repeats, strict=True)))], x)
    front = data.draw(st.lists(st.integers(1, 3), max_size=2))
    wide = (*front, *(3 if n == 1 else n for n in shape))
    check(g.Expand(wide), lambda v: v + np.zeros(wide), x)


@QUICK
@given(SHAPES, st.data())
def test_slice(shape, data):
    parts = [data.draw(st.slices(n).filter(lambda s, n=n: len(range(n)[s]))) for n in shape]
    bounds = [part.indices(n) for part, n in zip(parts, shape, strict=True)]
    starts, stops, steps = zip(*bounds, strict=True)
    op = g.Slice(starts, [s if s >= 0 else -n - 1 for s, n in zip(stops, shape, strict=True)], steps)
    check(op, lambda v: v[tuple(parts)], normal(*shape))


@QUICK
@given(SHAPES, st.sampled_from(["constant", "reflect", "edge", "wrap"]), st.data())
def test_pad(shape, mode, data):
    limits = [{"reflect": n - 1, "wrap": n}.get(mode, 3) for n in shape]
    before, after = ([data.draw(st.integers(0, limit)) for limit in limits] for _ in range(2))

    def place(i, n):
        if mode == "reflect":
            return abs(i) if i < n else 2 * (n - 1) - i
        return i % n if mode == "wrap" else min(max(i, 0), n - 1)

    def oracle(v):
        y = np.full([b + n + a for b, n, a in zip(before, shape, after, strict=True)], 2.5)
        for index in np.ndindex(y.shape):
            at = [i - b for i, b in zip(index, before, strict=True)]
            if mode != "constant" or all(0 <= i < n for i, n in zip(at, shape, strict=True)):
                y[index] = v[tuple(place(i, n) for i, n in zip(at, shape, strict=True))]
        return y

    check(g.Pad(before, after, mode, 2.5), oracle, normal(*shape))


def test_integers_are_padded_with_integers():
    check(g.Pad((1,), (2,), value=-3.0), lambda v: np.array([-3, *v, -3, -3]), ints(0, 9, 4))


@pytest.mark.parametrize("axis", [-3, -1, 0, 1, 2])
def test_concat(axis):
    shapes = [[2, 3, 4], [2, 3, 4], [2, 3, 4]]
    for n, shape in zip((1, 2, 5), shapes, strict=True):
        shape[axis] = n
    arrays = [normal(*shape) for shape in shapes]
    check(g.Concat(axis), lambda *v: np.concatenate(v, axis), *arrays, untimed=(1,))
    check(g.Concat(axis), lambda *v: np.concatenate(v, axis), *(a > 0 for a in arrays))


# Ids, products -------------------------------------------------------------------------------------


@pytest.mark.parametrize("untimed", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("ids", [(), (3,), (2, 3)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gather(axis, ids, untimed):
    data, places = normal(4, 4, 4), ints(-4, 4, *ids)
    check(g.Gather(axis), lambda v, i: np.take(v, i, axis), data, places, untimed=untimed)


def test_ids_outside_are_an_error():
    for ids in (4, -5):
        with pytest.raises(GraphError, match=r"ids must be in -4\.\.3"):
            reference.on_frames(g.Gather(0), np.zeros((4, 2)), np.array(ids))
        with pytest.raises(GraphError, match=r"ids must be in 0\.\.3"):
            reference.on_frames(g.Embedding(np.ones((4, 2))), np.array(ids))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_hot(axis):
    def oracle(ids):
        y = np.full((*ids.shape, 5), -1.0)
        for index in np.ndindex(ids.shape):
            if -5 <= ids[index] < 5:
                y[index][ids[index]] = 2.0
        return np.moveaxis(y, -1, axis)

    check(g.OneHot(5, axis, on=2.0, off=-1.0), oracle, ints(-7, 8, 2, 3))


def test_embedding_of_any_frame():
    weight = normal(7)[0].T
    check(g.Embedding(weight), lambda ids: np.array([[weight[i] for i in row] for row in ids]), ints(0, 7, 2, 4))


@pytest.mark.parametrize("untimed", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize(
    ("a", "b", "flags"),
    [
        ((3, 4), (4, 2), (False, False)),
        ((4, 3), (4, 2), (True, False)),
        ((3, 4), (2, 4), (False, True)),
        ((4, 3), (2, 4), (True, True)),
        ((4,), (4, 2), (False, False)),
        ((3, 4), (4,), (False, False)),
        ((4,), (4,), (False, False)),
        ((4,), (5, 4, 2), (False, False)),
        ((2, 1, 3, 4), (5, 4, 2), (False, False)),
        ((2, 5, 4, 3), (4,), (True, False)),
    ],
)
def test_mat_mul(a, b, flags, untimed):
    def oracle(x, y):
        x, y = (v.swapaxes(-1, -2) if flag else v for v, flag in zip((x, y), flags, strict=True))
        return x @ y

    check(g.MatMul(*flags), oracle, normal(*a), normal(*b, seed=1), untimed=untimed)


def test_dense_and_norms_act_on_the_last_axis_of_any_frame():
    weight, bias = normal(4)[0], normal(3)[0, 0]
    x = normal(2, 5, 4)
    dense = g.Dense(weight, bias, "relu")
    check(dense, lambda v: np.maximum(np.einsum("oi,abi->abo", weight, v) + bias, 0), x)
    scale, shift = normal(4)[0, :2]
    check(g.LayerNorm(scale, shift, eps=0), lambda v: standardised(v) * scale + shift, x)
    check(g.BatchNorm(scale, shift**2 + 1, eps=0), lambda v: (v - scale) / np.sqrt(shift**2 + 1), x)


def standardised(v):
    return np.apply_along_axis(lambda w: (w - np.mean(w)) / np.std(w), -1, v)


def test_constants_are_the_same_everywhere():
    b = g.GraphBuilder()
    x = b.input("x", g.Spec((2,)))
    values = {"float": [[1.5, np.inf]], "int": [[3, -4]], "bool": [[True, False]]}
    made = [b.add(g.Constant(value, dtype)) for dtype, value in values.items()]
    y = b.add(g.Add(), x, made[0])
    outs, _ = reference.run(b.build(*made, y), normal(2))
    for got, value in zip(outs, values.values(), strict=False):
        np.testing.assert_array_equal(got, np.broadcast_to(value, (2, 1, 2)))
        assert got.dtype == np.array(value).dtype
    np.testing.assert_array_equal(outs[3], normal(2)[:, :, None] + values["float"])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.ones((5, 3)),
            r"input 'x' must have shape \(B, T, 3\), got \(5, 3\): add the batch axis B in front, x\[None\]",
        ),
        (np.ones((2, 5, 4)), r"input 'x' must have shape \(B, T, 3\), got \(2, 5, 4\)$"),
        (3, r"input 'x' must have shape \(B, T, 3\), got \(\)$"),
        ({"y": np.ones((2, 5, 3))}, "x must have the inputs x, got y"),
    ],
)
def test_inputs_of_other_axes_are_refused(x, message):
    with pytest.raises(GraphError, match=message):
        reference.run(g.chain([g.Dense(np.ones((2, 3)))]), x)
