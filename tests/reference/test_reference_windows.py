"""Convolutions, pooling, framing and Fourier transforms: against SciPy, brute force and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from frames import check, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from fastgru import graph as g
from fastgru import reference

QUICK = settings(max_examples=60, deadline=None)


def stretched(array: np.ndarray, factors: tuple[int, ...], first: int) -> np.ndarray:
    """`array` with zeros between the elements of its axes from `first` on."""
    sizes = [(n - 1) * f + 1 for n, f in zip(array.shape[first:], factors, strict=True)]
    y = np.zeros((*array.shape[:first], *sizes))
    y[(..., *(slice(None, None, f) for f in factors))] = array
    return y


def cut(array: np.ndarray, before: tuple[int, ...], after: tuple[int, ...]) -> np.ndarray:
    return array[tuple(slice(b, n - a) for b, a, n in zip(before, after, array.shape, strict=True))]


def conv(op: g.Conv | g.TimeConv, x, strides, dilations, before, after):
    """One frame (C, *spatial) by SciPy, channel by channel."""
    padded = np.pad(x, [(0, 0), *zip(before, after, strict=True)])
    kernels = stretched(np.asarray(op.weight, dtype=float), dilations, 2)
    outputs, inputs = kernels.shape[:2]
    y = []
    for o in range(outputs):
        first = o // (outputs // op.groups) * inputs
        parts = [signal.correlate(padded[first + c], kernels[o, c], "valid", "direct") for c in range(inputs)]
        y.append(sum(parts)[tuple(slice(None, None, s) for s in strides)] + (0 if op.bias is None else op.bias[o]))
    return op.activation(np.array(y))


def conv_transpose(op: g.ConvTranspose, x):
    kernels = stretched(np.asarray(op.weight, dtype=float), op.dilations, 2)
    inputs, outputs = kernels.shape[:2]
    y = []
    for o in range(outputs * op.groups):
        group = o // outputs
        channels = range(group * inputs // op.groups, (group + 1) * inputs // op.groups)
        sparse = {c: stretched(x[c], op.strides, 0) for c in channels}
        total = sum(signal.convolve(sparse[c], kernels[c, o % outputs], "full", "direct") for c in channels)
        total = np.pad(total, [(0, more) for more in op.output_padding])
        y.append(cut(total, op.before, op.after) + (0 if op.bias is None else op.bias[o]))
    return op.activation(np.array(y))


@st.composite
def windowed(draw, *, transpose: bool = False):
    """Fields of a convolution of 1 to 3 axes, and the frame it acts on."""
    rank = draw(st.integers(1, 3))

    def axes(low, high):
        return tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))

    groups, kernel = draw(st.integers(1, 3)), axes(1, 3)
    fields = {"strides": axes(1, 3), "dilations": axes(1, 2), "before": axes(0, 2), "after": axes(0, 2)}
    weight = normal(draw(st.integers(1, 2)), *kernel)[0]
    weight = np.concatenate([weight * (i + 1) for i in range(groups)])
    channels = weight.shape[0] if transpose else weight.shape[1] * groups
    outputs = weight.shape[1] * groups if transpose else weight.shape[0]
    bias = draw(st.sampled_from([None, np.linspace(-1, 1, outputs)]))
    least = [max(1, (k - 1) * d + 1 - b - a) for k, d, b, a in zip(kernel, *list(fields.values())[1:], strict=True)]
    if transpose:
        fields["output_padding"] = axes(0, 1)
        least = [1 + math.ceil(max(0, b + a - (k - 1) * d) / s) for k, s, d, b, a in
                 zip(kernel, *list(fields.values())[:4], strict=True)]  # fmt: skip
    frame = normal(channels, *(n + draw(st.integers(0, 4)) for n in least))
    return {"weight": weight, "bias": bias, "groups": groups, **fields}, frame


@QUICK
@given(windowed(), st.sampled_from(["linear", "relu", "tanh"]))
def test_conv(case, activation):
    fields, x = case
    op = g.Conv(**fields, activation=activation)
    check(op, lambda v: conv(op, v, op.strides, op.dilations, op.before, op.after), x, atol=1e-10)


@QUICK
@given(windowed(transpose=True))
def test_conv_transpose(case):
    fields, x = case
    op = g.ConvTranspose(**fields)
    check(op, lambda v: conv_transpose(op, v), x, atol=1e-10)


@QUICK
@given(windowed())
def test_conv_transpose_is_the_transpose_of_conv(case):
    """<conv x, y> = <x, conv_transpose y>."""
    fields, x = case
    fields["bias"] = None
    (ahead,) = reference.on_frames(g.Conv(**fields), x[0, 0])
    y = np.random.default_rng(0).normal(size=ahead.shape)
    wide = [
        (m - 1) * s + (k - 1) * d + 1 - b - a
        for m, s, d, k, b, a in zip(
            y.shape[1:], fields["strides"], fields["dilations"], fields["weight"].shape[2:], fields["before"],
            fields["after"], strict=True,
        )
    ]  # fmt: skip
    missing = tuple(n - m for n, m in zip(x.shape[3:], wide, strict=True))
    (back,) = reference.on_frames(g.ConvTranspose(**fields, output_padding=missing), y)
    np.testing.assert_allclose((ahead * y).sum(), (x[0, 0] * back).sum(), atol=1e-9)


@QUICK
@given(st.data(), st.sampled_from(["max", "average"]), st.booleans())
def test_pool(data, mode, counting):
    rank = data.draw(st.integers(1, 3))
    kernel, strides, dilations = (
        data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)) for _ in range(3)
    )
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    before, after = ([data.draw(st.integers(0, r - 1)) for r in reach] for _ in range(2))
    sizes = [max(r - b - a, d) + data.draw(st.integers(0, 3))
             for r, b, a, d in zip(reach, before, after, dilations, strict=True)]  # fmt: skip

    def oracle(frame):
        counts = [(n + b + a - r) // s + 1 for n, b, a, r, s in
                  zip(sizes, before, after, reach, strides, strict=True)]  # fmt: skip
        y = np.empty((len(frame), *counts))
        for index in np.ndindex(*y.shape):
            places = [
                [i * s - b + k * d for i, s, b, k, d in zip(index[1:], strides, before, window, dilations, strict=True)]
                for window in np.ndindex(*kernel)
            ]
            inside = [frame[(index[0], *p)] for p in places if all(0 <= i < n for i, n in zip(p, sizes, strict=True))]
            whole = len(places) if counting else len(inside)
            y[index] = max(inside) if mode == "max" else math.fsum(inside) / whole
        return y

    check(g.Pool(mode, kernel, strides, dilations, before, after, counting), oracle, normal(2, *sizes))


# Over time -----------------------------------------------------------------------------------------


def over_time(op: g.Op, x: np.ndarray) -> np.ndarray:
    """The reference's output for x (B, T, *frame)."""
    b = g.GraphBuilder()
    graph = b.build(b.add(op, b.input("x", g.Spec(x.shape[2:]))))
    (y,), _ = reference.run(graph, x)
    (name,) = graph.outputs
    if graph.specs[name].time:
        assert y.shape == (len(x), graph.lengths(x.shape[1])[name], *graph.specs[name].shape)
    return y


def steps(length: int, *frame: int) -> np.ndarray:
    return np.random.default_rng(length).normal(size=(2, length, *frame))


TIMES = st.integers(0, 12)


@QUICK
@given(TIMES, st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 4), st.integers(0, 4),
       st.integers(1, 2))  # fmt: skip
def test_time_conv(length, size, stride, dilation, before, after, groups):
    weight = np.random.default_rng(size).normal(size=(2 * groups, 3, size))
    op = g.TimeConv(weight, np.arange(2.0 * groups), stride, dilation, before, after, groups, "tanh")
    x = steps(length, 3 * groups)
    got = over_time(op, x)
    if length + before + after < (size - 1) * dilation + 1:
        assert got.shape == (2, 0, 2 * groups)
        return
    for row, y in zip(x, got, strict=True):
        want = conv(op, row.T, (stride,), (dilation,), (before,), (after,)).T
        np.testing.assert_allclose(y, want, rtol=0, atol=1e-12)


@QUICK
@given(
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 3),
    st.data(),
    st.sampled_from(["max", "average"]),
    st.booleans(),
)
def test_time_pool(length, size, stride, data, mode, counting):
    before, after = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    x = steps(length, 2, 3)
    want = []
    for start in range(-before, length + after - size + 1, stride):
        inside = x[:, max(0, start) : max(0, start + size)]
        mean = inside.sum(axis=1) / (size if counting else max(1, inside.shape[1]))
        want.append(inside.max(axis=1) if mode == "max" else mean)
    got = over_time(g.TimePool(mode, size, stride, before, after, counting), x)
    np.testing.assert_allclose(got, np.array(want).reshape(-1, 2, 2, 3).swapaxes(0, 1), rtol=0, atol=1e-12)


def test_time_pad():
    x = steps(4, 2)
    y = over_time(g.TimePad(2, 1, 7.0), x)
    np.testing.assert_array_equal(y[:, 2:-1], x)
    assert (y[:, [0, 1, -1]] == 7.0).all()


REDUCED = {
    "sum": math.fsum,
    "mean": lambda v: math.fsum(v) / len(v),
    "max": max,
    "min": min,
    "l2": lambda v: math.hypot(*v),
}


@pytest.mark.parametrize("function", g.TIME_REDUCTIONS)
def test_time_reduce(function):
    x = steps(9, 2, 3)
    got = over_time(g.TimeReduce(function), x)
    np.testing.assert_allclose(got, np.apply_along_axis(REDUCED[function], 1, x), rtol=0, atol=1e-12)


def test_time_softmax():
    x = steps(9, 2, 3) * 300
    y = over_time(g.TimeSoftmax(), x)
    np.testing.assert_allclose(y.sum(axis=1), 1)
    small = over_time(g.TimeSoftmax(), x / 300)
    np.testing.assert_allclose(np.log(small / small[:, :1]), (x - x[:, :1]) / 300, atol=1e-12)


@pytest.mark.parametrize("frame", [(), (1,)])
@pytest.mark.parametrize(
    ("length", "size", "hop"), [(20, 8, 4), (21, 8, 4), (20, 3, 5), (7, 8, 4), (0, 1, 1), (8, 8, 3)]
)
def test_framing(length, size, hop, frame):
    x = steps(length, *frame)
    got, flat = over_time(g.Framing(size, hop), x), x.reshape(2, length)
    want = [flat[:, start : start + size] for start in range(0, length - size + 1, hop)]
    np.testing.assert_array_equal(got, np.array(want).reshape(-1, 2, size).swapaxes(0, 1))


@pytest.mark.parametrize(("frames", "size", "hop"), [(5, 8, 4), (3, 8, 3), (4, 4, 4), (0, 4, 2), (1, 6, 1)])
def test_overlap_add(frames, size, hop):
    x = steps(frames, size)
    want = np.zeros((2, frames * hop))
    for i in range(frames * hop):
        for t in range(frames):
            if 0 <= i - t * hop < size:
                want[:, i] += x[:, t, i - t * hop]
    np.testing.assert_allclose(over_time(g.OverlapAdd(size, hop), x), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("skip", "tail"), [(0, 5), (3, 1), (2, -2), (0, 9), (20, 0)])
@pytest.mark.parametrize("hop", [3, 10])
def test_overlap_add_of_frames_cut_at_both_ends(hop, skip, tail):
    x = steps(4, 8, 2, 3)
    whole = np.zeros((2, 3 * hop + 8 + 30, 2, 3))
    for t in range(4):
        whole[:, t * hop : t * hop + 8] += x[:, t]
    op = g.OverlapAdd(8, hop, skip, tail)
    got = over_time(op, x)
    assert got.shape[1] == op.output_length(4) == max(0, 4 * hop - skip + tail)
    np.testing.assert_allclose(got, whole[:, skip : max(skip, 4 * hop + tail)], rtol=0, atol=1e-12)


@QUICK
@given(st.data())
def test_frames_laid_over_each_other_are_a_transposed_convolution(data):
    """A product for each step and an overlap-add against the transposed convolution along an axis of the frame."""
    taps, stride = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    before, after = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    length = data.draw(st.integers(1, 7))
    if (length - 1) * stride + taps - before - after < 1:
        return
    x, weight = steps(length, 3), np.random.default_rng(5).normal(size=(3, 2, taps))
    inner = g.ConvTranspose(weight, None, (stride,), (1,), (before,), (after,))
    want = over_time(inner, x.swapaxes(1, 2)[:, None])[:, 0]
    frames = np.einsum("btc,cok->btko", x, weight)
    got = over_time(g.OverlapAdd(taps, stride, before, taps - stride - after), frames)
    np.testing.assert_allclose(got.swapaxes(1, 2), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("outside", "first", "last"), [("reflect", [3, 2, 1], [5, 4]), ("edge", [0] * 3, [6, 6])])
def test_time_pad_of_other_than_a_value(outside, first, last):
    x = steps(7, 2)
    got = over_time(g.TimePad(3, 2, outside=outside), x)
    np.testing.assert_array_equal(got, x[:, [*first, *range(7), *last]])


def test_framing_windowing_and_overlap_add_give_the_signal_back():
    b = g.GraphBuilder()
    x = b.input("x", g.Spec(()))
    window = b.add(g.Constant(signal.get_window("hann", 16)))
    spectrum = b.add(g.RFFT(16), b.add(g.Framing(16, 8), x))
    y = b.add(g.OverlapAdd(16, 8), b.add(g.Multiply(), b.add(g.IRFFT(16), spectrum), window))
    data = steps(80)
    (got,), _ = reference.run(b.build(y), data)
    np.testing.assert_allclose(got[:, 8:], data[:, 8:72], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 8, 12])
def test_fourier_transforms(n):
    angles = 2 * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n

    def forward(v):
        return np.stack([v @ np.cos(angles).T, -v @ np.sin(angles).T], axis=-1)

    def backward(v):
        weight = np.where((np.arange(n // 2 + 1) == 0) | (2 * np.arange(n // 2 + 1) == n), 1, 2) / n
        return (v[..., 0] * weight) @ np.cos(angles) - (v[..., 1] * weight) @ np.sin(angles)

    check(g.RFFT(n), forward, normal(3, n))
    check(g.IRFFT(n), backward, normal(3, n // 2 + 1, 2))
