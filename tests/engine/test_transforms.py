"""Weights that are a windowed Fourier transform: recognised by their numbers, run as one, and only those."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru import Model, reference
from fastgru import graph as g
from fastgru.graph import GraphBuilder, Spec
from fastgru.lowering.instructions import Dense, FrameProduct
from fastgru.lowering.lower import lower
from fastgru.lowering.transforms import transform_of

rng = np.random.default_rng(0)
WINDOWS = {
    "hann": lambda n: 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n),
    "boxcar": np.ones,
    "any": lambda n: np.random.default_rng(n).normal(size=n),  # of either sign
}
ORDERS = ("real", "imaginary", "halves", "pairs")


def basis(n, window, order="halves", sign=-1.0, count=None, width=None):
    """The rows of a short-time Fourier transform as float32, as networks carry them."""
    k, t = np.arange(n // 2 + 1 if count is None else count), np.arange(n if width is None else width)
    angle = 2 * np.pi * np.outer(k, t) / n
    real, imaginary = window * np.cos(angle), sign * window * np.sin(angle)
    rows = {"real": real, "imaginary": imaginary, "halves": np.concatenate([real, imaginary])}
    rows["pairs"] = np.stack([real, imaginary], axis=1).reshape(-1, len(t))
    return rows[order].astype(np.float32)


def weights_of(graph):
    """Count the weights that the plan holds."""
    return sum(i.w.size for i in lower(graph).instructions if isinstance(i, Dense | FrameProduct))


def conv_of(weight, bias=None, activation="linear", hop=24, frames=3):
    """A convolution over a frame of samples, as Silero's."""
    b = GraphBuilder()
    x = b.input("x", Spec((1, weight.shape[1] + (frames - 1) * hop)))
    return b.build(b.add(g.Conv(weight[:, None], bias, strides=(hop,), activation=activation), x))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("n", [16, 20, 48, 256, 512])
def test_a_transform_is_recognised_and_gives_what_its_weights_give(n, window, order):
    w = WINDOWS[window](n)
    w = np.abs(w) if order == "imaginary" else w  # whose sign cannot be told from the sines alone
    for sign in (-1.0, 1.0):
        weight = basis(n, w, order, sign)
        found = transform_of(weight)
        assert (found.n, found.frequencies, found.order) == (n, n // 2 + 1, order)
        bias = rng.normal(size=len(weight)).astype(np.float32)
        graph = conv_of(weight, bias, "tanh")
        x = (rng.normal(size=(2, 5, *graph.specs["x"].shape)) / n).astype(np.float32)
        (expected,), _ = reference.run(graph, {"x": x})
        assert np.abs(Model(graph)(x) - expected).max() < 1e-6
        whole = Model(graph, dtype="float64")(x.astype(np.float64))
        assert np.abs(whole - expected).max() < 1e-6  # the weights' own rounding to float32
        assert weights_of(graph) < 0.75 * weight.size


@pytest.mark.parametrize(("count", "width"), [(129, 200), (128, 256), (65, 256), (100, 256)])
def test_fewer_frequencies_and_shorter_windows(count, width):
    """Without the highest frequencies; or a window of 200 in a transform of 256, padded by zeros."""
    weight = basis(256, np.hanning(width + 2)[1:-1], count=count, width=width)
    assert transform_of(weight).frequencies == count
    graph = conv_of(weight)
    x = rng.normal(size=(1, 4, *graph.specs["x"].shape)).astype(np.float32)
    (expected,), _ = reference.run(graph, {"x": x})
    assert np.abs(Model(graph)(x) - expected).max() < 1e-6 * np.abs(expected).max()


def test_long_transforms_take_two_rounds():
    weight = basis(1024, np.hanning(1024))
    assert weights_of(conv_of(weight)) < 0.05 * weight.size


@pytest.mark.parametrize("change", ["trained", "coarse", "swapped", "noise", "zero", "half"])
def test_what_is_not_quite_a_transform_stays_a_product(change):
    weight = basis(64, np.hanning(64)).astype(np.float64)
    if change == "trained":
        weight[17, 5] += 2e-6
    elif change == "coarse":  # of angles computed in half precision
        angle = (2 * np.pi * np.outer(np.arange(33), np.arange(64)) / 64).astype(np.float16).astype(np.float64)
        weight = np.concatenate([np.hanning(64) * np.cos(angle), -np.hanning(64) * np.sin(angle)])
    elif change == "swapped":
        weight[[3, 4]] = weight[[4, 3]]
    elif change == "noise":
        weight = rng.normal(size=weight.shape)
    elif change == "zero":
        weight = np.zeros_like(weight)
    else:
        weight = weight.astype(np.float16).astype(np.float64)
    assert transform_of(weight) is None
    graph = conv_of(weight)
    assert weights_of(graph) == weight.size


@pytest.mark.parametrize("n", [64, 512])
def test_a_transform_of_a_stream_gives_the_same_bits_in_any_chunks(n):
    """Framing over time and a Dense, as a spectrogram in front of a recurrent layer."""
    b = GraphBuilder()
    frames = b.add(g.Framing(size=n, hop=n // 4), b.input("x", Spec(())))
    spectrum = b.add(g.Dense(basis(n, WINDOWS["hann"](n)), np.full(n + 2, 0.1)), frames)
    model = Model(b.build(spectrum))
    assert weights_of(model.graph) < 0.6 * (n + 2) * n
    x = rng.normal(size=(2, 6 * n)).astype(np.float32)
    whole = model(x)
    (expected,), _ = reference.run(model.graph, {"x": x})
    assert np.abs(whole - expected).max() < 1e-6 * np.abs(expected).max()
    for chunks in ([1] * (6 * n), [7] * (6 * n // 7) + [6 * n % 7], [n // 4 + 1, 5 * n, 3 * n // 4 - 1]):
        stream = model.stream(batch=2)
        parts = [stream.process(x[:, at - c : at]) for at, c in zip(np.cumsum(chunks), chunks, strict=True)]
        assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert np.array_equal(model(x[1:]), whole[1:])
    assert np.array_equal(model(x, threads=2), whole)


def test_quantized_weights_stay_a_product():
    b = GraphBuilder()
    model = Model(b.build(b.add(g.Dense(basis(64, np.hanning(64))), b.input("x", Spec((64,))))))
    x = rng.normal(size=(3, 64)).astype(np.float32)
    assert weights_of(model.graph) < 66 * 64
    for precision in ("int8", "float16", "bfloat16"):
        smaller = model.quantize(precision)
        assert weights_of(smaller.graph) == 66 * 64
        assert 0 < np.abs(smaller(x) - model(x)).max() < 0.2


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "before", "after", "taps"),
    [(1, 3, 1, 1, 1, 1, 1), (2, 3, 2, 1, 1, 1, 2), (4, 3, 1, 1, 1, 1, 3), (3, 7, 1, 1, 6, 0, 3), (2, 5, 1, 2, 4, 4, 1),
     (5, 3, 3, 4, 4, 4, 2), (1, 4, 2, 3, 5, 6, 1)],
)  # fmt: skip
def test_taps_that_only_see_padding_are_left_out(size, kernel, stride, dilation, before, after, taps):
    b = GraphBuilder()
    weight = rng.normal(size=(16, 8, kernel))
    op = g.Conv(weight, strides=(stride,), dilations=(dilation,), before=(before,), after=(after,))
    graph = b.build(b.add(op, b.input("x", Spec((8, size)))))
    x = rng.normal(size=(2, 3, 8, size)).astype(np.float32)
    (expected,), _ = reference.run(graph, {"x": x})
    got = Model(graph)(x)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 1e-6 * np.abs(expected).max()
    assert weights_of(graph) == taps * 16 * 8


@pytest.mark.parametrize("n", [6, 8, 14, 16, 20, 36, 48, 256, 512])
def test_the_ends_of_a_spectrum_are_real(n):
    """As NumPy's: a phase of pi must not become one of -pi by rounding."""
    b = GraphBuilder()
    model = Model(b.build(b.add(g.RFFT(n), b.input("x", Spec((n,))))))
    x = rng.normal(size=(3, 50, n)).astype(np.float32)
    ends = model(x)[..., [0, n // 2], 1]
    assert not ends.any()
    assert not np.signbit(ends).any()
    want = np.angle(np.fft.rfft(x.astype(np.float64)))
    got = model(x)
    turn = np.arctan2(got[..., 1], got[..., 0]) - want
    assert np.abs(turn[..., [0, n // 2]]).max() < 1e-6
