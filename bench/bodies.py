"""Recurrences of other cells than GRU, LSTM and RNN: ONNX's Scan here and in ONNX Runtime, the same loop in PyTorch.

    python -m bench.bodies [--seconds 0.5]      needs onnx, onnxruntime and torch

prints for each cell the time of a step in a sequence of 100 steps of one row, in microseconds, and beside it the time
of the matrix products of that step alone: those with the input over all steps at once, those with the state step by
step. Outputs are checked against ONNX Runtime's before the clock starts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastgru
from fastgru import Model
from fastgru.graph import Concat, Dense, GraphBuilder, Slice, Spec, State

from .machine import cores, leave_blas_alone, pinned

UNITS, STEPS, MEMORY = 64, 100, 20
LEAST = 15  # samples of each engine
TOLERANCE = 1e-5
Array = np.ndarray[Any, Any]
Shape = tuple[int, int]  # of a matrix: outputs, inputs


@dataclass(frozen=True)
class Body:
    """A cell.

    Attributes
    ----------
    text : str
        The body of a Scan in ONNX's textual form: reads ``h`` (and ``c``), and ``x``, and gives ``h2`` (and ``c2``).
    step : callable
        The same in torch: weights by name, x and the states to the states behind it.
    weights : dict of str to shape
    states : int
        How many of UNITS numbers; the first is the output.
    before, inside : sequence of shapes
        The matrices of products with the input, and with what follows from a state.
    """

    text: str
    step: Callable[..., Any]
    weights: Mapping[str, tuple[int, ...]]
    states: int
    before: Sequence[Shape]
    inside: Sequence[Shape]


def _norm_lstm(w: Any, x: Any, h: Any, c: Any) -> Any:
    from torch.nn.functional import layer_norm

    z = layer_norm(x @ w["W"], (4 * UNITS,)) * w["gw"] + layer_norm(h @ w["R"], (4 * UNITS,)) * w["gr"] + w["b"]
    i, f, g, o = z.split(UNITS, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * layer_norm(c, (UNITS,)).mul(w["gc"]).tanh(), c


def _attention(w: Any, x: Any, h: Any) -> Any:
    scores = (w["M"] @ (h @ w["Q"]).transpose(0, 1)).transpose(0, 1)
    context = scores.softmax(-1) @ w["M"]
    return ((x @ w["W"] + context @ w["C"]) + h @ w["R"]).tanh()


BODIES = {
    "LayerNorm-LSTM": Body(
        """
        zx = MatMul(x, W)  nx = LayerNormalization<axis = -1>(zx, gw)
        zh = MatMul(h, R)  nh = LayerNormalization<axis = -1>(zh, gr)
        s = Add(nx, nh)  z = Add(s, b)
        i, f, g, o = Split<axis = -1, num_outputs = 4>(z)
        si = Sigmoid(i)  sf = Sigmoid(f)  tg = Tanh(g)  so = Sigmoid(o)
        k = Mul(sf, c)  n = Mul(si, tg)  c2 = Add(k, n)
        nc = LayerNormalization<axis = -1>(c2, gc)  t = Tanh(nc)  h2 = Mul(so, t)
        """,
        _norm_lstm,
        {"W": (UNITS, 4 * UNITS), "R": (UNITS, 4 * UNITS), "b": (4 * UNITS,), "gw": (4 * UNITS,), "gr": (4 * UNITS,),
         "gc": (UNITS,)},
        2, [(4 * UNITS, UNITS)], [(4 * UNITS, UNITS)],
    ),
    "IndRNN": Body(
        "a = MatMul(x, W)  p = Add(a, b)  k = Mul(h, u)  s = Add(p, k)  h2 = Relu(s)",
        lambda w, x, h: (x @ w["W"] + w["b"] + h * w["u"]).relu(),
        {"W": (UNITS, UNITS), "b": (UNITS,), "u": (UNITS,)}, 1, [(UNITS, UNITS)], [],
    ),
    "minGRU": Body(
        "a = MatMul(x, Z)  z = Sigmoid(a)  n = MatMul(x, W)  d = Sub(n, h)  m = Mul(z, d)  h2 = Add(h, m)",
        lambda w, x, h: h + (x @ w["Z"]).sigmoid() * (x @ w["W"] - h),
        {"Z": (UNITS, UNITS), "W": (UNITS, UNITS)}, 1, [(2 * UNITS, UNITS)], [],
    ),
    "attention decoder": Body(
        """
        q = MatMul(h, Q)  qt = Transpose<perm = [1, 0]>(q)  st = MatMul(M, qt)  s = Transpose<perm = [1, 0]>(st)
        p = Softmax<axis = -1>(s)  v = MatMul(p, M)
        a = MatMul(x, W)  e = MatMul(v, C)  k = Add(a, e)  r = MatMul(h, R)  m = Add(k, r)  h2 = Tanh(m)
        """,
        _attention,
        {"M": (MEMORY, UNITS), **dict.fromkeys("QWCR", (UNITS, UNITS))}, 1, [(UNITS, UNITS)],
        [(UNITS, UNITS), (MEMORY, UNITS), (UNITS, MEMORY), (UNITS, UNITS), (UNITS, UNITS)],
    ),
}  # fmt: skip


def scan(body: Body, weights: Mapping[str, Array]) -> Any:
    """Return the ONNX model that runs a body over x (T, UNITS), one row, from states of zeros."""
    import onnx
    from onnx import helper, numpy_helper, parser

    states = [("h", "h2"), ("c", "c2")][: body.states]
    nodes = "\n".join(line.replace("  ", "\n") for line in map(str.strip, body.text.splitlines()) if line)
    size = f"float[1, {UNITS}]"
    inner = parser.parse_graph(
        f"body ({', '.join(f'{size} {old}' for old, _ in states)}, {size} x) => "
        f"({', '.join(f'{size} {new}' for _, new in states)}, {size} y) {{\n{nodes}\ny = Identity(h2)\n}}"
    )
    zeros = [numpy_helper.from_array(np.zeros((1, UNITS), np.float32), f"{old}0") for old, _ in states]
    node = helper.make_node(
        "Scan", [*(f"{old}0" for old, _ in states), "xs"], [*(f"{old}_end" for old, _ in states), "ys"], body=inner,
        num_scan_inputs=1,
    )  # fmt: skip
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node], "loop",
        [helper.make_tensor_value_info("xs", kind, ["T", 1, UNITS])],
        [helper.make_tensor_value_info("ys", kind, ["T", 1, UNITS])],
        [*zeros, *(numpy_helper.from_array(array, name) for name, array in weights.items())],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def products(shapes: Sequence[Shape], *, looped: bool) -> Model:
    """Return a model that makes these products of a frame at every step, one after the other where `looped`."""
    rng = np.random.default_rng(1)
    b, feedback = GraphBuilder(), dict[str, str]()
    x = b.input("x", Spec((UNITS,)))
    value = b.add(State(np.zeros(UNITS, np.float32))) if looped else x
    state, width = value, UNITS
    made = []
    for n, k in shapes:
        value = value if width == k else b.add(Slice((0,), (k,), (1,)), value)
        made.append(b.add(Dense(rng.normal(size=(n, k)) / k), value))
        value, width = (made[-1], n) if looped else (x, UNITS)
    if looped:
        feedback[state] = value if width == UNITS else b.add(Slice((0,), (UNITS,), (1,)), value)
    out = made[-1] if len(made) == 1 else b.add(Concat(), *made)
    return Model(b.build(out, feedback=feedback))


def timed(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Return the median time of a step by each call, in microseconds, all in turn, each behind a call of its own."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < end or min(map(len, times.values())) < LEAST:
        for name, call in calls.items():
            call()  # the others have emptied the caches
            begun = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) * 1e6 / STEPS for name, values in times.items()}


def show(name: str, body: Body, seconds: float) -> None:
    """Print the row of a cell."""
    import onnxruntime
    import torch

    rng = np.random.default_rng(0)
    weights = {n: (rng.normal(size=s) / np.sqrt(s[0])).astype(np.float32) for n, s in body.weights.items()}
    proto = scan(body, weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "loop.onnx"
        path.write_bytes(proto.SerializeToString())
        model = fastgru.convert(path)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    tensors = {n: torch.from_numpy(a) for n, a in weights.items()}
    x = rng.normal(size=(STEPS, 1, UNITS)).astype(np.float32)
    steps = torch.from_numpy(x)

    @torch.inference_mode()
    def in_torch() -> Any:
        states, found = [torch.zeros(1, UNITS)] * body.states, []
        for t in range(STEPS):
            made = body.step(tensors, steps[t], *states)
            states = list(made) if isinstance(made, tuple) else [made]
            found.append(states[0])
        return torch.stack(found)

    expected = session.run(None, {"xs": x})[0]
    rows = x.reshape(STEPS, UNITS)
    for engine, y in (("fastgru", model(x)), ("PyTorch", in_torch().numpy())):
        if not np.abs(np.reshape(y, expected.shape) - expected).max() <= TOLERANCE:
            raise SystemExit(f"{name}: {engine} must give what ONNX Runtime does, got other numbers")
    alone = [
        products(shapes, looped=looped) for shapes, looped in ((body.before, False), (body.inside, True)) if shapes
    ]
    found = timed(
        {
            "fastgru": lambda: model(x), "products": lambda: [each(rows) for each in alone],
            "ONNX Runtime": lambda: session.run(None, {"xs": x}), "PyTorch": in_torch,
        },
        seconds,
    )  # fmt: skip
    ratio = found["fastgru"] / found["products"]
    print(f"{name:18s}" + "".join(f"{found[key]:14.2f}" for key in found) + f"{ratio:12.2f}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each engine and cell (default 0.5)")
    seconds = parser.parse_args(arguments).seconds
    leave_blas_alone()
    with pinned(cores()[-1:]):
        import torch

        torch.set_num_threads(1)
        headings = ("fastgru", "its products", "ONNX Runtime", "PyTorch")
        print(f"{'us a step':18s}{''.join(f'{h:>14s}' for h in headings)}{'of products':>12s}")
        for name, body in BODIES.items():
            show(name, body, seconds)


if __name__ == "__main__":
    main()
