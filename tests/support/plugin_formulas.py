"""Formulas in NumPy of what audio plugins run, of one row (T, I), and the check of a file against them."""

from __future__ import annotations

from typing import Any

import numpy as np
from streamed import check_streamed

import fastgru
from fastgru import reference
from fastgru.converters import to_graph

RNG = np.random.default_rng(15)


def normal(*shape: int) -> Any:
    return (RNG.normal(size=shape) / 2).astype(np.float32)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def samples(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def gru(x: Any, w: Any, u: Any, b: Any, c: Any) -> Any:
    """PyTorch's GRU, gates r, z, n, of one row (T, I)."""
    h, out = np.zeros(u.shape[1]), []
    for step in x:
        a, s = np.split(w @ step + b, 3), np.split(u @ h + c, 3)
        r, z = sigmoid(a[0] + s[0]), sigmoid(a[1] + s[1])
        h = (1 - z) * np.tanh(a[2] + r * s[2]) + z * h
        out.append(h)
    return np.array(out)


def lstm(x: Any, w: Any, u: Any, b: Any, h: Any, c: Any) -> Any:
    """An LSTM, gates i, f, g, o, of one row (T, I)."""
    out = []
    for step in x:
        i, f, g, o = np.split(w @ step + u @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def conv(x: Any, weight: Any, bias: Any, dilation: int = 1, groups: int = 1) -> Any:
    """A convolution (O, C / groups, K) of one row (T, C) that sees zeros before it."""
    outputs, inner, kernel = weight.shape
    padded = np.concatenate([np.zeros((dilation * (kernel - 1), x.shape[1])), x])
    y = np.zeros((len(x), outputs))
    for o in range(outputs):
        first = o // (outputs // groups) * inner
        for k in range(kernel):
            part = padded[k * dilation : k * dilation + len(x), first : first + inner]
            y[:, o] += part @ weight[o, :, k].astype(np.float64)
    return y + (0 if bias is None else bias)


def check(path: Any, x: Any, wanted: Any, tolerance: float = 1e-6) -> Any:
    """Import a file, compare its reference and its engine with `wanted`, whole and streamed; returns the import."""
    imported = to_graph(path)
    ((name, spec),) = imported.graph.inputs.items()
    assert spec.shape == x.shape[1:]
    got = reference.run(imported.graph, x[None])[0][0][0]
    assert np.abs(got - wanted).max() <= tolerance * max(1.0, np.abs(wanted).max())
    check_streamed(imported.graph, {name: np.stack([x, x[::-1]])})
    model = fastgru.convert(path)
    stream = model.stream()
    steps = np.array([stream.step(frame) for frame in x[:4]])
    assert np.array_equal(steps, model(x)[:4])
    return imported
