"""float32 fidelity: fastgru's error against a float64 run is at most 2e-6, or twice the framework's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cells import SIZES

import fastgru

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

FLOOR = 2e-6
BATCH, TIME, INPUTS = 3, 12, 6
# oneDNN says so of every projected LSTM it does not run.
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

TORCH = {
    "rnn-tanh": lambda h: torch.nn.RNN(INPUTS, h, batch_first=True),
    "rnn-relu": lambda h: torch.nn.RNN(INPUTS, h, batch_first=True, nonlinearity="relu"),
    "gru": lambda h: torch.nn.GRU(INPUTS, h, batch_first=True),
    "gru-two-layers-both-ways": lambda h: torch.nn.GRU(INPUTS, h, 2, batch_first=True, bidirectional=True),
    "gru-no-bias": lambda h: torch.nn.GRU(INPUTS, h, batch_first=True, bias=False),
    "lstm": lambda h: torch.nn.LSTM(INPUTS, h, batch_first=True),
    "lstm-both-ways": lambda h: torch.nn.LSTM(INPUTS, h, 2, batch_first=True, bidirectional=True),
    "lstm-projection": lambda h: torch.nn.LSTM(INPUTS, h + 1, batch_first=True, proj_size=max(1, h // 2)),
}

SEQUENCE = {"return_sequences": True}
KERAS = {
    "rnn": lambda h, **k: keras.layers.SimpleRNN(h, **SEQUENCE, **k),
    "rnn-relu": lambda h, **k: keras.layers.SimpleRNN(h, activation="relu", **SEQUENCE, **k),
    "gru-after": lambda h, **k: keras.layers.GRU(h, **SEQUENCE, **k),
    "gru-before": lambda h, **k: keras.layers.GRU(h, reset_after=False, **SEQUENCE, **k),
    "gru-hard": lambda h, **k: keras.layers.GRU(
        h, recurrent_activation="hard_sigmoid", activation="softsign", **SEQUENCE, **k
    ),
    "gru-backwards": lambda h, **k: keras.layers.GRU(h, go_backwards=True, **SEQUENCE, **k),
    "gru-last": lambda h, **k: keras.layers.GRU(h, **k),
    "lstm": lambda h, **k: keras.layers.LSTM(h, **SEQUENCE, **k),
    "lstm-relu": lambda h, **k: keras.layers.LSTM(
        h, activation="softplus", recurrent_activation="elu", **SEQUENCE, **k
    ),
    "bidirectional": lambda h, **k: keras.layers.Bidirectional(
        keras.layers.LSTM(h, **SEQUENCE, **k), merge_mode="ave", **k
    ),
}


def check(exact: np.ndarray, own: np.ndarray, model: fastgru.Model, x: np.ndarray) -> None:
    """fastgru's largest error is within the floor, or twice the framework's."""
    got = model(x)
    allowed = max(FLOOR, 2 * float(np.abs(own - exact).max()))
    assert got.shape == exact.shape
    assert float(np.abs(got - exact).max()) <= allowed


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("name", TORCH)
def test_torch(name: str, hidden: int) -> None:
    torch.manual_seed(hidden)
    x = np.random.default_rng(hidden).normal(size=(BATCH, TIME, INPUTS)).astype(np.float32)
    module = TORCH[name](hidden).eval()
    model = fastgru.convert(module)
    with torch.no_grad():
        own = module(torch.from_numpy(x))[0].numpy()
        exact = module.double()(torch.from_numpy(x).double())[0].numpy()
    check(exact, own, model, x)


def build(name: str, hidden: int, dtype: str) -> Any:
    net = keras.Sequential([keras.Input((None, INPUTS), dtype=dtype), KERAS[name](hidden, dtype=dtype)])
    rng = np.random.default_rng(hidden)
    net.set_weights([rng.uniform(-1, 1, w.shape).astype(np.float32) / np.sqrt(hidden) for w in net.get_weights()])
    return net


@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("name", KERAS)
def test_keras(name: str, hidden: int) -> None:
    x = np.random.default_rng(hidden).normal(size=(BATCH, TIME, INPUTS)).astype(np.float32)
    single, double = (build(name, hidden, dtype) for dtype in ("float32", "float64"))
    model = fastgru.convert(single)
    exact = double.predict(x.astype(np.float64), verbose=0)
    check(exact, single.predict(x, verbose=0), model, x)
