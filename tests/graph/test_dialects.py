"""Layers made from every source's layout, against formulas written out here by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru import GraphError, Model
from fastgru.layers import GRU, LSTM, RNN, Bidirectional

H, I, T = 5, 3, 7
RNG = np.random.default_rng(8)
X = RNG.normal(size=(T, I))


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def draw(*shape):
    return RNG.normal(size=shape) * 0.5


def run(layer):
    return Model([layer], dtype="float64")(X)


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", ["hx", "xh"])
@pytest.mark.parametrize("update_keeps", ["candidate", "state"])
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("output", [False, True])
def test_gru_from_gates_is_the_textbook(order, update_keeps, reset_after, output):
    gates = {name: (draw(H, H + I), draw(H)) for name in ("update", "reset", "candidate", "output")}
    h, want = np.zeros(H), []
    for x in X:
        joined = np.concatenate([h, x] if order == "hx" else [x, h])
        z, r, o = (sigmoid(gates[k][0] @ joined + gates[k][1]) for k in ("update", "reset", "output"))
        w, b = gates["candidate"]
        if reset_after:
            u, v = (w[:, :H], w[:, H:]) if order == "hx" else (w[:, I:], w[:, :I])
            n = np.tanh(v @ x + b + r * (u @ h))
        else:
            n = np.tanh(w @ np.concatenate([r * h, x] if order == "hx" else [x, r * h]) + b)
        h = (1 - z) * h + z * n if update_keeps == "candidate" else z * h + (1 - z) * n
        want.append(o * np.tanh(h) if output else h)
    if not output:
        del gates["output"]
    close(run(GRU.from_gates(**gates, order=order, reset_after=reset_after, update_keeps=update_keeps)), want)


@pytest.mark.parametrize("coupled", [False, True])
def test_lstm_and_rnn_from_gates(coupled):
    gates = {name: (draw(H, H + I), draw(H)) for name in ("input", "forget", "candidate", "output")}
    h, c, want = np.zeros(H), np.zeros(H), []
    for x in X:
        a = {k: w @ np.concatenate([h, x]) + b for k, (w, b) in gates.items()}
        i = sigmoid(a["input"])
        f = 1 - i if coupled else sigmoid(a["forget"])
        c = f * c + i * np.tanh(a["candidate"])
        h = sigmoid(a["output"]) * np.tanh(c)
        want.append(h)
    if coupled:
        del gates["forget"]
    close(run(LSTM.from_gates(**gates)), want)
    w, b = gates["candidate"]
    h, want = np.zeros(H), []
    for x in X:
        h = np.tanh(w @ np.concatenate([x, h]) + b)
        want.append(h)
    close(run(RNN.from_gates((w, b), order="xh")), want)


@pytest.mark.parametrize("linear_before_reset", [0, 1])
def test_gru_from_onnx(linear_before_reset):
    w, r, b = draw(1, 3 * H, I), draw(1, 3 * H, H), draw(1, 6 * H)
    (wz, wr, wh), (rz, rr, rh) = np.split(w[0], 3), np.split(r[0], 3)
    bz, br, bh, cz, cr, ch = np.split(b[0], 6)
    h, want = np.zeros(H), []
    for x in X:
        z, reset = sigmoid(wz @ x + bz + rz @ h + cz), sigmoid(wr @ x + br + rr @ h + cr)
        inner = reset * (rh @ h + ch) if linear_before_reset else rh @ (reset * h) + ch
        h = (1 - z) * np.tanh(wh @ x + bh + inner) + z * h
        want.append(h)
    close(run(GRU.from_onnx(w, r, b, linear_before_reset=linear_before_reset)), want)


@pytest.mark.parametrize("input_forget", [0, 1])
def test_lstm_from_onnx_with_peepholes(input_forget):
    w, r, b, p = draw(1, 4 * H, I), draw(1, 4 * H, H), draw(1, 8 * H), draw(1, 3 * H)
    wb, rb = np.split(b[0], 2)
    pi, po, pf = np.split(p[0], 3)
    h, c, want = np.zeros(H), np.zeros(H), []
    for x in X:
        i, o, f, g = np.split(w[0] @ x + wb + r[0] @ h + rb, 4)
        i = sigmoid(i + pi * c)
        f = 1 - i if input_forget else sigmoid(f + pf * c)
        c = f * c + i * np.tanh(g)
        h = sigmoid(o + po * c) * np.tanh(c)
        want.append(h)
    close(run(LSTM.from_onnx(w, r, b, P=p, input_forget=input_forget)), want)


def test_both_directions_from_onnx():
    w, r = draw(2, H, I), draw(2, H, H)
    layer = RNN.from_onnx(w, r, direction="bidirectional")
    assert isinstance(layer, Bidirectional)
    parts = [run(RNN.from_onnx(w[i : i + 1], r[i : i + 1], direction=d)) for i, d in enumerate(("forward", "reverse"))]
    close(run(layer), np.concatenate(parts, axis=-1))


@pytest.mark.parametrize("reset_after", [False, True])
def test_gru_from_keras(reset_after):
    kernel, recurrent, bias = draw(I, 3 * H), draw(H, 3 * H), draw(2, 3 * H) if reset_after else draw(3 * H)
    b, c = bias if reset_after else (bias, np.zeros(3 * H))
    (kz, kr, kh), (uz, ur, uh) = np.split(kernel, 3, axis=1), np.split(recurrent, 3, axis=1)
    (bz, br, bh), (cz, cr, ch) = np.split(b, 3), np.split(c, 3)
    h, want = np.zeros(H), []
    for x in X:
        z, r = sigmoid(x @ kz + bz + h @ uz + cz), sigmoid(x @ kr + br + h @ ur + cr)
        inner = r * (h @ uh + ch) if reset_after else (r * h) @ uh
        h = z * h + (1 - z) * np.tanh(x @ kh + bh + inner)
        want.append(h)
    close(run(GRU.from_keras(kernel, recurrent, bias, reset_after=reset_after)), want)


BAD = [
    (
        lambda: GRU.from_torch(draw(15, I), draw(15, H), draw(14)),
        r"first axis must be a multiple of 3 gates .* \(14,\)",
    ),
    (
        lambda: GRU.from_keras(draw(I, 15), draw(H, 15), draw(15)),
        r"bias must have shape \(2, 3H\) with reset_after=True",
    ),
    (lambda: GRU.from_onnx(draw(2, 15, I), draw(1, 15, H)), r"W must have 1 direction .* got shape \(2, 15, 3\)"),
    (lambda: GRU.from_onnx(draw(1, 15, I), draw(1, 15, H), linear_before_reset=2), "must be 0 or 1, got 2"),
    (lambda: RNN.from_onnx(draw(1, 5, I), draw(1, 5, H), direction="up"), "direction must be .* got 'up'"),
    (lambda: RNN.from_gates((draw(H, H), None)), r"W of candidate must have shape \(H, H\+I\)"),
    (lambda: RNN.from_gates((draw(H, H + I), None), order="hh"), "order must be 'hx' or 'xh', got 'hh'"),
    (lambda: RNN(draw(H, I), draw(H, H), activation="softmax"), "must be elementwise, got 'softmax'"),
    (lambda: RNN(draw(H, I), draw(H, H), clip=-1.0), "clip must be positive, got -1.0"),
    (
        lambda: LSTM(draw(4 * H, I), draw(4 * H, H), peephole=draw(2, H)),
        r"peephole must have shape \(3, 5\), got \(2, 5\)",
    ),
    (lambda: LSTM(draw(4 * H, I), draw(4 * H, 2)), r"weight_h must have 5 columns, got \(20, 2\)"),
]


@pytest.mark.parametrize(("build", "message"), BAD, ids=range(len(BAD)))
def test_errors_name_the_array(build, message):
    with pytest.raises(GraphError, match=message):
        build()
