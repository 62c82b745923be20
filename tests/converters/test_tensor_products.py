"""Products, attention, joins and elements by indices that all sources share, against NumPy, with axes in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from program_of_one import SIZES, Program, given

from fastgru.converters.program import attention, gathers, joins, products, reductions, scatters
from fastgru.converters.program.values import NeedsSequenceLength, Tensor
from fastgru.errors import ConvertError

LABELS = ("B", "T", 0, 1)
# An equation, and its operands: labels of the input, summed over the others, or the shape of a constant.
EINSUMS: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("btfg,gk->btfk", [("B", "T", 0, 1), (4, 5)]), ("kg,tbgf->kbft", [(5, 4), ("T", "B", 1, 0)]),
    ("btfg,fgk->tkb", [("B", "T", 0, 1), (3, 4, 5)]), ("btfg,fk", [("B", "T", 0, 1), (3, 5)]),
    ("btfg,bthg->btfh", [("B", "T", 0, 1), ("B", "T", 0, 1)]),
    ("btfg,bthk->bfghk", [("B", "T", 0, 1), ("B", "T", 0, 1)]),
    ("bgtf,bgtf->bt", [("B", 1, "T", 0), ("B", 1, "T", 0)]), ("btfg->gb", [("B", "T", 0, 1)]),
    ("btg,bg->btg", [("B", "T", 1), ("B", 1)]), ("bt,btfg->bgf", [("B", "T"), ("B", "T", 0, 1)]),
    ("btf,bg->btfg", [("B", "T", 0), ("B", 1)]), ("btf,bg->tb", [("B", "T", 0), ("B", 1)]),
    ("...g,g->...", [("B", "T", 0, 1), (4,)]), ("b...g,gf...->fb...", [("B", 0, 1), (4, 6, 3)]),
    ("btfg,fm,gn->btmn", [("B", "T", 0, 1), (3, 2), (4, 5)]),
    ("...i,oij,...j->...o", [("B", "T", 1), (6, 4, 4), ("B", "T", 1)]),
    ("btfg,btfg,fg->tb", [("B", "T", 0, 1), ("B", "T", 0, 1), (3, 4)]), ("kk,btf->btfk", [(5, 5), ("B", "T", 0)]),
    ("af,bfg->bg", [(1, 3), ("B", 0, 1)]), ("btfg,afk->btgka", [("B", "T", 0, 1), (1, 1, 5)]),
    ("bf,->bf", [("B", 0), ()]),
]  # fmt: skip


def operand(b: Program, x: Tensor, array: Any, labels: tuple[Any, ...]) -> tuple[Tensor, Any]:
    """The input summed over the axes whose labels are not among some, in their order: of the program and of NumPy."""
    gone = tuple(i for i, a in enumerate(LABELS) if a not in labels)
    left = [a for a in LABELS if a in labels]
    order = [left.index(a) for a in labels]
    return reductions.reduced(b, x, gone, "sum", False).permuted(order), array.sum(axis=gone).transpose(order)


@pytest.mark.parametrize(("equation", "shapes"), EINSUMS, ids=[equation for equation, _ in EINSUMS])
def test_a_sum_over_letters_is_that_of_numpy(equation: str, shapes: list[tuple[Any, ...]]) -> None:
    b, x, rng = Program(), given(*LABELS), np.random.default_rng(1)
    own = b.read(*LABELS)
    pairs: list[Any] = [
        operand(b, own, x, s) if "B" in s else (array := rng.normal(size=s), array) for s in shapes
    ]  # fmt: skip
    y = products.einsum(b, equation, [tensor for tensor, _ in pairs])
    expected = np.einsum(equation, *(array for _, array in pairs))
    np.testing.assert_allclose(b.run(y, x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("labels", [("B", "T", 0, 1), ("B", 1, "T", 0), ("T", 0, "B", 1), ("B", 0, 1, "T")])
@pytest.mark.parametrize("shape", [(5,), (5, 7), (4, 5, 7), (2, 1, 5, 7), ()])
def test_a_matrix_product_is_that_of_numpy(labels: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    """Of a constant in front of the input, and behind it; the sizes that are summed are made to fit."""
    for front in (True, False):
        b, x, rng = Program(), given(*LABELS), np.random.default_rng(1)
        tensor, array = operand(b, b.read(*LABELS), x, labels)
        summed = labels[-2 if front else -1]
        sizes = list(shape)
        if sizes:
            sizes[-1 if front or len(sizes) == 1 else -2] = SIZES[summed]
        if len(sizes) == 4:
            sizes = [1, 1, *sizes[2:]]
        if len(sizes) == 3:
            sizes[0] = 1
        other = rng.normal(size=sizes)
        pair = (other, tensor) if front else (tensor, other)
        if not shape or isinstance(summed, str):
            with pytest.raises(NeedsSequenceLength if shape and summed == "T" else ConvertError):
                products.matmul(b, *pair)
            continue
        expected = np.matmul(*((other, array) if front else (array, other)))
        np.testing.assert_allclose(b.run(products.matmul(b, *pair), x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("btf,bsg->bts", "product must have time on one axis of its inputs, got it on 2 that differ"),
        ("btf,asg->f", "the batch"), ("btf", "letters of 2 operands"), ("btf,bt1->b", "must be letters"),
        ("bt,btg->b", "must fit the operands' 3, 3 axes"), ("btf,btg->btff", "each once"),
        ("btf,btg->btk", "letters before it"), ("bff,btg->bt", "of fixed size, got time"),
    ],
)  # fmt: skip
def test_what_a_sum_over_letters_cannot_be(equation: str, message: str) -> None:
    b = Program()
    x = b.read("B", "T", 0)
    with pytest.raises(ConvertError, match=message):
        products.einsum(b, equation, [x, x])


# Attention, joins, elements by indices --------------------------------------------------------------


def near(found: Any, expected: Any) -> None:
    """Compare within what constants of float32 allow."""
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("queries", ["T", 0])
@pytest.mark.parametrize("masked", ["none", "constant", "computed", "nothing", "added"])
def test_attention_is_that_of_numpy(queries: Any, masked: str) -> None:
    """Queries of time, or of a frame; of a query that sees nothing the result is zero."""
    b, x, rng = Program(), given(*LABELS), np.random.default_rng(2)
    labels = ("B", "T", 1) if queries == "T" else ("B", 0, 1)
    query, q = operand(b, b.read(*LABELS), x, labels)
    keys, values = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    scores = 0.3 * q @ keys.T
    mask: Any = None
    seen: Any = np.ones(scores.shape, bool)
    if masked == "constant":
        mask = seen = np.array([True, False, True, True, False])
    elif masked == "nothing":
        mask = seen = np.zeros(5, bool)
    elif masked == "added":
        mask = rng.normal(size=5)
    elif masked == "computed":
        mask = products.matmul(b, query, keys.T)
        mask = b.like(mask, b.binary("greater", mask.value, 0.5))
        seen = q @ keys.T > 0.5
    y, _ = attention.attend(b, attention.dot_scores(b, query, b.lift(keys), 0.3), b.lift(values), mask)
    weights = softmax(np.where(seen, scores + (mask if masked == "added" else 0.0), -1e30))
    near(b.run(y, x), np.where(seen.any(-1, keepdims=True), weights @ values, 0.0))


def test_masks_of_distance() -> None:
    assert np.array_equal(attention.near(4, 6, after=0), np.tri(4, 6, dtype=bool))
    far = abs(np.arange(6) - np.arange(4)[:, None])
    assert np.array_equal(attention.near(4, 6, 2, 2), far <= 2)
    with pytest.raises(NeedsSequenceLength, match="fixed numbers of steps, got T and 4"):
        attention.near(Program().read("B", "T", 1).size(1), 4, after=0)


@pytest.mark.parametrize("labels", [("B", "T", 0, 1), ("B", 1, "T", 0), ("T", 0, "B", 1)])
def test_joined_and_parted(labels: tuple[Any, ...]) -> None:
    b, x = Program(), given(*LABELS)
    own, array = operand(b, b.read(*LABELS), x, labels)
    axis = labels.index(1)
    first, second = joins.split(b, own, joins.parts_of(4, 3), axis)
    y = joins.joined(b, [second, own, first], axis)
    near(b.run(y, x), np.concatenate([array.take([3], axis), array, array.take([0, 1, 2], axis)], axis))
    b = Program()
    own, _ = operand(b, b.read(*LABELS), x, labels)
    near(b.run(joins.stacked(b, [own, own], 3), x), np.stack([array, array], 3))


@pytest.mark.parametrize("labels", [("B", "T", 0, 1), ("B", 1, "T", 0), ("T", 0, "B", 1)])
@pytest.mark.parametrize("ids", [2, [0, 2], [3, 1], [[0, 3, 3], [1, -1, 0]], [-4]])
def test_elements_at_places(labels: tuple[Any, ...], ids: Any) -> None:
    x, axis = given(*LABELS), labels.index(1)
    for constant in (True, False):
        b = Program()
        own, array = operand(b, b.read(*LABELS), x, labels)
        places = np.array(ids)
        y = gathers.at(b, own, places, axis) if constant else gathers.taken(b, own, b.lift(places % 4), axis)
        near(b.run(y, x), array.take(places, axis, mode="wrap"))


@pytest.mark.parametrize("labels", [("B", "T", 0, 1), ("B", 1, "T", 0)])
def test_elements_of_each_place(labels: tuple[Any, ...]) -> None:
    b, x, axis = Program(), given(*LABELS), labels.index(1)
    own, array = operand(b, b.read(*LABELS), x, labels)
    ids = reductions.place(b, own, axis, "argmin", True)
    near(b.run(gathers.gather_elements(b, own, ids, axis), x), array.min(axis, keepdims=True))


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("places", [[2], [3, 0], [0, 1, 2, 3], [1, 1, 3, 1]])
def test_what_is_written_along_an_axis(reduction: str, places: list[int]) -> None:
    b, x = Program(), given(*LABELS)
    own, array = operand(b, b.read(*LABELS), x, ("B", "T", 1, 0))
    new, numbers = b.like(own, b.affine(own.value, -2.0, 0.5)), -2.0 * array + 0.5
    count = len(places)
    y = scatters.along(b, own, 2, np.array(places), joins.split(b, new, [count, 4 - count] if count < 4 else [4], 2)[0],
                       reduction)  # fmt: skip
    expected = array.copy()
    apply = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum, "none": lambda old, new: new}
    for i, place in enumerate(places):
        expected[:, :, place] = apply[reduction](expected[:, :, place], numbers[:, :, i])
    near(b.run(y, x), expected)


def test_one_hot() -> None:
    b, x = Program(), given(*LABELS)
    own, array = operand(b, b.read(*LABELS), x, ("B", "T", 1))
    ids = reductions.place(b, own, 2, "argmax", False)
    y = gathers.one_hot(b, ids, 4, 1, -0.5, 2.0)
    near(b.run(y, x), np.where(np.arange(4)[:, None] == array.argmax(2)[:, None], 2.0, -0.5))
