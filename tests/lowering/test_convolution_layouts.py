"""Transposed and depthwise convolutions, however their frames lie, beside their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastgru import Model, reference
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec
from fastgru.lowering.convolution import phases
from fastgru.report.listing import plan_of

AXIS = st.tuples(
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 4), st.integers(0, 4),
    st.integers(0, 2),
)  # fmt: skip


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(0, 5))
def test_each_tap_meets_the_inputs_that_its_definition_says(outputs, kernel, stride, dilation, before):
    found = set()
    for phase in phases(outputs, kernel, stride, dilation, before):
        for q in range(phase.outputs):
            for t, tap in enumerate(phase.taps):
                found.add((phase.first + q * stride, tap, phase.start + q + t * phase.dilation))
    every = range(-outputs - 30, outputs + 30)
    assert found == {
        (outcome, tap, i)
        for outcome in range(outputs)
        for tap in range(kernel)
        for i in every
        if i * stride + tap * dilation - before == outcome
    }


@settings(deadline=None, max_examples=60)
@given(st.lists(AXIS, min_size=1, max_size=3), st.sampled_from([1, 2]), st.sampled_from([1, 3, 9]))
def test_transposed_convolutions_compute_their_definition(axes, groups, units):
    size, kernel, strides, dilations, before, after, more = map(tuple, zip(*axes, strict=True))
    wide = [(n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)]
    assume(all(w - b - a + m >= 1 for w, b, a, m in zip(wide, before, after, more, strict=True)))
    rng = np.random.default_rng(len(axes))
    op = g.ConvTranspose(
        rng.normal(size=(2 * groups, units, *kernel)).astype(np.float32), rng.normal(size=units * groups),
        strides=strides, dilations=dilations, before=before, after=after, output_padding=more, groups=groups,
        activation=g.Activation("tanh"),
    )  # fmt: skip
    b = GraphBuilder()
    graph = b.build(b.add(op, b.input("x", Spec((2 * groups, *size)))))
    x = rng.normal(size=(2, 3, 2 * groups, *size)).astype(np.float32)
    np.testing.assert_allclose(Model(graph)(x), reference.run(graph, x)[0][0], atol=1e-5)


@pytest.mark.parametrize("channels", [2, 64])
def test_convolutions_behind_each_other_move_few_numbers(channels):
    """A residual block over frames (C, T): one copy for its padding, none between layouts; where it is large, zeros."""
    b = GraphBuilder()
    x = b.input("x", Spec((200, channels)))
    y = b.add(g.Transpose((1, 0)), x)
    for dilation in (1, 2, 4):
        padded = b.add(g.Pad((0, 2 * dilation), (0, 0)), y)
        made = b.add(g.Conv(np.ones((channels, 1, 3)), dilations=(dilation,), groups=channels), padded)
        y = b.add(g.Add(), made, y)
    names = [row.instruction for row in plan_of(b.build(b.add(g.Transpose((1, 0)), y)), "float32")[0]]
    padding = ["map"] if channels == 2 else ["map", "map"]
    assert names == [*padding, "contract", "map"] * 3


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(6, 20), st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(0, 3)),
             min_size=1, max_size=3),
    st.sampled_from([1, 2]), st.booleans(),
)  # fmt: skip
def test_depthwise_convolutions_compute_their_definition_in_either_layout(axes, each, last):
    size, kernel, strides, dilations, around = map(tuple, zip(*axes, strict=True))
    rng = np.random.default_rng(len(axes))
    op = g.Conv(
        rng.normal(size=(5 * each, 1, *kernel)).astype(np.float32), rng.normal(size=5 * each), strides=strides,
        dilations=dilations, before=around, after=around, groups=5, activation=g.Activation("relu"),
    )  # fmt: skip
    b = GraphBuilder()
    shape = (*size, 5) if last else (5, *size)
    x = b.input("x", Spec(shape))
    x = b.add(g.Transpose((len(size), *range(len(size)))), x) if last else x
    graph = b.build(b.add(op, x))
    given_x = rng.normal(size=(2, 3, *shape)).astype(np.float32)
    np.testing.assert_allclose(Model(graph)(given_x), reference.run(graph, given_x)[0][0], atol=1e-5)
