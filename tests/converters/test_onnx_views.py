"""Labelled values move as the tensors that they stand for, wherever batch and time are."""

from __future__ import annotations

import itertools
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.converters.program.emit import Emitter
from fastgru.converters.program.sizes import product, size_of, symbol
from fastgru.converters.program.steps import STEPS
from fastgru.converters.program.values import Tensor
from fastgru.converters.program.views import align, in_order, reshaped, with_ones, without
from fastgru.errors import ConvertError
from fastgru.graph import Add, Op, Spec
from fastgru.reference import run

B, T = 2, 3
SIZES = {"B": B, "T": T}


class Adder:
    """The least that adds to a graph."""

    def __init__(self) -> None:
        self.emit = Emitter()

    def add(self, op: Op, *values: str) -> str:
        return self.emit.add(op, *values, name=op.kind)[0]

    def shape(self, value: str) -> tuple[int, ...]:
        return self.emit.specs[value].shape

    def reshape(self, value: str, shape: Any) -> str:
        return self.emit.reshape(value, shape, name="reshape")

    def transpose(self, value: str, perm: Any) -> str:
        return self.emit.transpose(value, perm, name="transpose")

    def cut(self, value: str, axis: int, start: int | None, stop: int | None, step: int = 1) -> str:
        return self.emit.slice(value, {axis: slice(start, stop, step)}, name="slice")

    def result(self, value: str, axes: Any, elem: int) -> Tensor:
        return Tensor(value, tuple(axes), self.emit.specs[value], elem)

    def input(self, name: str, layout: Any) -> Tensor:
        """An input with an axis for each letter or size of `layout`."""
        shape = tuple(n for n in layout if isinstance(n, int))
        frames = itertools.count()
        axes = tuple((symbol(n),) if isinstance(n, str) else (next(frames),) for n in layout)
        self.emit.input(name, Spec(shape, "T" in layout))
        return Tensor(name, axes, self.emit.specs[name], 1)

    def evaluate(self, y: Tensor, arrays: dict[str, Any]) -> Any:
        """The ONNX tensor that `y` is, given those of the inputs."""
        feeds = {}
        for name, (layout, array) in arrays.items():
            lead = [s for s in ("B", "T") if s in layout]
            order = [layout.index(s) for s in lead] + [i for i, n in enumerate(layout) if isinstance(n, int)]
            moved = np.transpose(array, order)
            feeds[name] = moved if "B" in layout else np.repeat(moved[None], B, axis=0)
        graph = self.emit.build({"y": y.value}, {})
        value = run(graph, feeds)[0][0]
        atoms = [a for axis in y.axes for a in axis]
        if not y.spec.time:
            value = np.repeat(value[:, None], T, axis=1)
        keep = [i for i, s in enumerate(("B", STEPS)) if s in atoms]
        value = value[tuple(slice(None) if i in keep else 0 for i in range(2))]
        places = [2 + a if isinstance(a, int) else ["B", STEPS].index(a) for a in atoms]
        ranks = sorted(places)
        value = value.transpose([ranks.index(p) for p in places])
        return value.reshape([int(np.prod([y.spec.shape[a] if isinstance(a, int) else SIZES[str(a)] for a in axis]))
                              for axis in y.axes])  # fmt: skip


def numbers(layout: Any, seed: int = 0) -> Any:
    shape = [SIZES[n] if isinstance(n, str) else n for n in layout]
    return np.random.default_rng(seed).normal(size=shape)


def real(sizes: Any) -> list[int]:
    """Sizes with those of batch and time put in."""
    return [n if isinstance(n, int) else n.factor * prod(B if s == "B" else s.at(T) for s in n.symbols) for n in sizes]


@st.composite
def layouts(draw: Any) -> list[Any]:
    frames = draw(st.lists(st.sampled_from([1, 2, 4, 6]), min_size=0, max_size=3))
    symbols = draw(st.sampled_from([[], ["B"], ["T"], ["B", "T"]]))
    return list(draw(st.permutations([*frames, *symbols])))


@given(layout=layouts(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_reshape_merges_splits_and_keeps_batch_and_time(layout, data):
    """Any permutation, then any merging of neighbours and splitting of fixed sizes, with axes of 1 anywhere."""
    call, array = Adder(), numbers(layout)
    x = call.input("x", layout)
    perm = data.draw(st.permutations(range(len(layout))))
    target: list[Any] = []
    for size in x.permuted(perm).sizes():
        if target and data.draw(st.booleans()):
            target[-1] = product([target[-1], size])
        elif isinstance(size, int) and size % 2 == 0 and data.draw(st.booleans()):
            target += [2, size // 2]
        else:
            target.append(size)
        if data.draw(st.integers(0, 4)) == 0:
            target.append(1)
    wanted = list(target)
    if target and data.draw(st.booleans()):
        wanted[data.draw(st.integers(0, len(target) - 1))] = -1
    y = reshaped(call, x.permuted(perm), wanted)
    assert list(y.sizes()) == target
    got = call.evaluate(y, {"x": (layout, array)})
    np.testing.assert_array_equal(got, array.transpose(perm).reshape(real(target)))


@pytest.mark.parametrize(
    ("layout", "target"),
    [
        (["B", "T", 4], [size_of(STEPS), size_of("B"), 4]),
        ([4, "B"], [2, size_of("B") * 2]),
        (["B", 6], [6, size_of("B")]),
    ],
)
def test_reshape_across_batch_or_time_is_refused(layout, target):
    """All but the second would mix rows; the second is (4, B) as (2, 2 B), which is a view."""
    call = Adder()
    x = call.input("x", layout)
    if layout == [4, "B"]:
        y, array = reshaped(call, x, target), numbers(layout)
        np.testing.assert_array_equal(call.evaluate(y, {"x": (layout, array)}), array.reshape(2, 2 * B))
        return
    with pytest.raises(ConvertError, match="must keep batch and time whole"):
        reshaped(call, x, target)


@given(layout=layouts(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_elementwise_inputs_are_aligned(layout, data):
    """The other input has some of the axes, of their own size or of 1, and comes with them in another order."""
    call = Adder()
    cut = data.draw(st.integers(0, len(layout)))
    axes_of_z = [1 if data.draw(st.integers(0, 2)) == 0 else n for n in layout[cut:]]
    stored = data.draw(st.permutations(range(len(axes_of_z))))
    back = [stored.index(i) for i in range(len(stored))]
    layout_of_z = [axes_of_z[i] for i in stored]
    a, b = numbers(layout), numbers(layout_of_z, 1)
    x, z = call.input("x", layout), call.input("z", layout_of_z).permuted(back)
    values, axes = align(call, [x, z])
    y = call.result(call.add(Add(), *values), axes, 1)
    got = call.evaluate(y, {"x": (layout, a), "z": (layout_of_z, b)})
    np.testing.assert_array_equal(got, a + b.transpose(back))


def test_axes_that_differ_are_not_aligned():
    call = Adder()
    x, z = call.input("x", ["B", "T", 4]), call.input("z", ["T", 4])
    with pytest.raises(ConvertError, match=r"inputs must agree in axis 1, got 4 and T"):
        align(call, [x.permuted([0, 2, 1]), z])
    with pytest.raises(ConvertError, match=r"inputs must agree in axis 1, got 4 and 3"):
        align(call, [call.input("p", ["B", 4]), call.input("q", ["B", 3])])


@given(layout=layouts(), data=st.data())
@settings(max_examples=100, deadline=None)
def test_axes_of_one_come_and_go(layout, data):
    call, array = Adder(), numbers(layout)
    x = call.input("x", layout)
    count = data.draw(st.integers(1, 2))
    places = sorted(data.draw(st.sets(st.integers(0, len(layout) + count - 1), min_size=count, max_size=count)))
    y = with_ones(call, x, places)
    assert y.sizes() == tuple(1 if i in places else n for i, n in enumerate(y.sizes()))
    np.testing.assert_array_equal(call.evaluate(y, {"x": (layout, array)}), np.expand_dims(array, tuple(places)))
    back = without(call, y, places)
    assert (back.value, back.axes) == ("x", x.axes)  # nothing was left in between


def test_orders_are_restored_by_one_transpose():
    call = Adder()
    x = call.input("x", ["B", 2, 3, 4])
    y = in_order(call, in_order(call, x.permuted([0, 3, 1, 2])).permuted([0, 2, 3, 1]))
    assert y.value == "x"
