"""fastgru beside PyTorch and ONNX Runtime: outputs checked first, then interleaved timings and their ratios.

Run on one pinned core, with BLAS as users have it::

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE taskset -c 1 python bench/compare.py
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch

import fastgru
from fastgru.layers import GRU, LSTM


class Case(NamedTuple):
    """One row: a cell with input size and hidden size H, T steps, B rows."""

    cell: str
    hidden: int
    steps: int
    batch: int


CASES = [
    *(Case(cell, h, 1, 1) for cell in ("GRU", "LSTM") for h in (16, 64, 128, 256, 512)),
    *(Case(cell, h, 100, 1) for cell in ("GRU", "LSTM") for h in (64, 128, 256)),
    *(Case(cell, h, 100, 32) for cell in ("GRU", "LSTM") for h in (128, 256)),
]
ONNX_ORDER = {"GRU": "zrn", "LSTM": "iofg"}
TORCH_ORDER = {"GRU": "rzn", "LSTM": "ifgo"}
TOLERANCE = 5e-6  # float32, 100 steps of outputs in [-1, 1]


def onnx_session(case: Case, weights: list[np.ndarray]) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session of one recurrent node, state carried by the caller, one thread."""

    def reorder(array: np.ndarray) -> np.ndarray:
        blocks = dict(zip(TORCH_ORDER[case.cell], np.split(array, len(TORCH_ORDER[case.cell])), strict=True))
        return np.concatenate([blocks[g] for g in ONNX_ORDER[case.cell]])

    w_ih, w_hh, b_ih, b_hh = map(reorder, weights)
    constants = {"W": w_ih[None], "R": w_hh[None], "B": np.concatenate([b_ih, b_hh])[None]}
    states = ["h"] + ["c"] * (case.cell == "LSTM")
    attributes = {"linear_before_reset": 1} if case.cell == "GRU" else {}
    node = onnx.helper.make_node(
        case.cell, ["x", "W", "R", "B", "", *states], ["y", *(f"{s}_out" for s in states)], hidden_size=case.hidden,
        **attributes,
    )  # fmt: skip

    def value(name: str, shape: list[int]) -> onnx.ValueInfoProto:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    shape = [1, case.batch, case.hidden]
    graph = onnx.helper.make_graph(
        [node], "case", [value("x", [case.steps, case.batch, case.hidden]), *(value(s, shape) for s in states)],
        [value("y", [case.steps, 1, case.batch, case.hidden]), *(value(f"{s}_out", shape) for s in states)],
        [onnx.numpy_helper.from_array(a, n) for n, a in constants.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def engines(case: Case, x: np.ndarray) -> dict[str, Callable[[], Any]]:
    """One call per engine, each returning the output (B, T, H) or (T, B, H)-squeezed to compare."""
    torch.manual_seed(0)
    module = getattr(torch.nn, case.cell)(case.hidden, case.hidden, batch_first=True).eval()
    weights = [p.detach().numpy() for p in module.parameters()]
    model = fastgru.Model([{"GRU": GRU, "LSTM": LSTM}[case.cell].from_torch(*weights)])
    session = onnx_session(case, weights)
    x_torch, x_onnx = torch.from_numpy(x), np.ascontiguousarray(x.transpose(1, 0, 2))
    zeros = np.zeros((1, case.batch, case.hidden), np.float32)
    feeds = {"x": x_onnx, **{i.name: zeros for i in session.get_inputs()[1:]}}

    def run_torch() -> np.ndarray:
        with torch.inference_mode():
            return module(x_torch)[0].numpy()

    calls = {"torch": run_torch, "onnxruntime": lambda: session.run(None, feeds)[0][:, 0].transpose(1, 0, 2)}
    if case.steps == 1 and case.batch == 1:
        stream, frame = model.stream(), x[0, 0]

        def step() -> np.ndarray:
            return stream.step(frame)

        stream.reset()
        return {"fastgru": step, **calls}
    return {"fastgru": lambda: model(x), **calls}


def measure(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Median microseconds of each call, in turn: A B C A B C ..."""
    repeats = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter_ns()
        call()
        repeats[name] = max(1, int(200_000 / max(1, time.perf_counter_ns() - start)))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(samples.values()))) < 7:
        for name, call in calls.items():
            n = repeats[name]
            start = time.perf_counter_ns()
            for _ in range(n):
                call()
            samples[name].append((time.perf_counter_ns() - start) / n / 1000)
    return {name: float(np.median(s)) for name, s in samples.items()}


def run(case: Case, seconds: float) -> dict[str, Any]:
    """Check that all engines agree, then time them."""
    x = np.random.default_rng(0).normal(size=(case.batch, case.steps, case.hidden)).astype(np.float32)
    calls = engines(case, x)
    outputs = {name: np.asarray(call()).reshape(x.shape) for name, call in calls.items()}
    for name, y in outputs.items():
        error = float(np.abs(y - outputs["torch"]).max())
        if not error <= TOLERANCE:
            raise SystemExit(f"{name} must agree with torch within {TOLERANCE}, got {error} for {case}")
    times = measure(calls, seconds)
    return {**case._asdict(), **times, "over_onnxruntime": times["onnxruntime"] / times["fastgru"]}


def main() -> None:
    """Print a line per case; with --json, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="time per case")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    versions = {"fastgru": fastgru.__version__, "torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    machine = {"machine": platform.machine(), "isa": fastgru.cpu_info()["selected"], **versions}
    print(", ".join(f"{k} {v}" for k, v in machine.items()), "- medians in us, one thread")
    print(
        f"{'cell':5} {'I=H':>4} {'T':>4} {'B':>3} {'fastgru':>10} {'torch':>10} {'onnxrt':>10} {'onnxrt/fastgru':>15}"
    )
    rows = []
    for case in CASES:
        row = run(case, options.seconds)
        rows.append(row)
        print(
            f"{case.cell:5} {case.hidden:4} {case.steps:4} {case.batch:3} {row['fastgru']:10.2f} {row['torch']:10.2f} "
            f"{row['onnxruntime']:10.2f} {row['over_onnxruntime']:14.1f}x",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
