"""Recurrences that an ONNX file has step by step, beside ONNX Runtime and PyTorch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_scripted_modules import SCRIPTED, FromTheSecond
from onnx_unrolled_modules import CONTEXT, MASKED, NO_RECURRENCES, ONE, STREAMING, H, I, Loop, Parts

import fastgru
from fastgru.errors import ConvertError
from fastgru.graph import GRU, LSTM, RNN

T = 7
KINDS = {"rnn": RNN, "gru": GRU, "lstm": LSTM}
FIXED, BATCH, BOTH = None, {0: "batch"}, {0: "batch", 1: "seq"}
RNG = np.random.default_rng(3)
node = helper.make_node


def exported(module: Any, args: Any, path: Path, axes: Any, opset: int = 17) -> str:
    """The file of a module whose inputs have these open axes."""
    names = ["x", "c"][: len(args)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), args, str(path), input_names=names, opset_version=opset, dynamo=False,
            dynamic_axes={n: {i: a for i, a in axes.items() if i < x.dim()} for n, x in zip(names, args, strict=True)}
            if axes else None,
        )  # fmt: skip
    return str(path)


def close(
    path: str, args: Any, module: Any = None, *, longer: Any = None, time_first: bool = False, **options: Any
) -> Any:
    """Convert and compare with ONNX Runtime for the steps of the file, and with PyTorch for `longer` arguments."""
    made = fastgru.convert(path, **options)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [v.name for v in session.get_inputs()]
    expected = session.run(None, {n: x.numpy() for n, x in zip(names, args, strict=True)})
    _equal(made, names, args, expected, time_first)
    if longer is not None:
        with torch.no_grad():
            wanted = module(*longer)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        _equal(made, names, longer, [y.numpy() for y in wanted], time_first)
    return made


def _equal(made: Any, names: Any, args: Any, expected: Any, time_first: bool) -> None:
    feeds = {n: x.numpy() for n, x in zip(names, args, strict=True)}
    if time_first:
        feeds["x"] = feeds["x"].swapaxes(0, 1).copy()
    got = made(feeds if len(feeds) > 1 else feeds["x"])
    got = got if isinstance(got, tuple) else (got,)
    assert len(got) == len(expected)
    for y, wanted in zip(got, expected, strict=True):
        wanted = wanted.swapaxes(0, 1) if time_first and wanted.ndim > 2 else wanted
        assert y.shape == wanted.shape
        assert np.abs(y - wanted).max() <= 1e-5


def kinds(made: Any) -> list[type]:
    return [type(n.op) for n in made.graph.nodes]


def drawn(*shape: int) -> Any:
    return torch.from_numpy(RNG.normal(size=shape).astype(np.float32))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return tmp_path / "model.onnx"


@pytest.mark.parametrize("axes", [FIXED, BATCH, BOTH, {0: "unk__1", 1: "unk__2"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_in_a_loop_is_a_layer_over_time(file, kind, axes):
    module, x = Loop(kind), drawn(2, T, I)
    if kind != "rnn" and axes and len(axes) > 1:
        module.way = "unbind"  # the exporter knows no chunk of a step whose size it does not know
    made = close(exported(module, (x,), file, axes), (x,), module, longer=(drawn(3, 12, I),))
    assert kinds(made) == [KINDS[kind]]
    assert made.provenance["axes"] == f"x (B, T, {I})"
    assert made.self_test.source.startswith("ONNX")
    stream, row = made.stream(), drawn(1, 9, I).numpy()
    whole = made(row)[0]
    assert all(np.array_equal(stream.step(v), y) for v, y in zip(row[0], whole, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"way": "unbind"}, {"way": "split"}, {"way": "slice"}, {"gives": "joined"}, {"gives": "last"},
        {"gives": "both"},
        {"gives": "states"}, {"gives": "head"}, {"start": "parameter"}, {"reverse": True}, {"bias": False},
        {"reverse": True, "gives": "last"}, {"layers": 2}, {"layers": 2, "together": True},
        {"layers": 2, "reverse": True},
        {"layers": 3, "together": True, "gives": "last"}, {"start": "parameter", "gives": "last"},
    ],
    ids=str,
)  # fmt: skip
def test_ways_to_write_a_loop(file, kind, options):
    module, x = Loop(kind, **options), drawn(2, T, I)
    made = close(exported(module, (x,), file, BATCH), (x,), module, longer=(drawn(3, 12, I),))
    if options.get("gives") != "states":
        assert kinds(made).count(KINDS[kind]) >= options.get("layers", 1)
        assert not made.graph.has_state_nodes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("axes", [FIXED, {1: "batch"}, {0: "seq", 1: "batch"}], ids=str)
def test_time_first(file, kind, axes):
    module, x = Loop(kind, axis=0, way="unbind"), drawn(T, 2, I)
    path = exported(module, (x,), file, axes)
    made = close(path, (x,), module, longer=(drawn(12, 3, I),), time_first=True)
    assert kinds(made) == [KINDS[kind]]


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
def test_operator_sets(file, opset):
    module, x = Loop("lstm"), drawn(2, T, I)
    made = close(exported(module, (x,), file, BATCH, opset), (x,), module, longer=(drawn(2, 10, I),))
    assert kinds(made) == [LSTM]


@pytest.mark.parametrize("count", [3, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_few_steps(file, kind, count):
    module, x = Loop(kind), drawn(2, count, I)
    assert kinds(close(exported(module, (x,), file, BATCH), (x,), module, longer=(drawn(2, 10, I),))) == [KINDS[kind]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_computed_start(file, kind):
    module, args = Loop(kind, start="computed"), (drawn(2, T, I), drawn(2, 3))
    close(exported(module, args, file, BATCH), args, module, longer=(drawn(3, 12, I), drawn(3, 3)))


@pytest.mark.parametrize("axes", [BATCH, BOTH], ids=["batch", "both"])
@pytest.mark.parametrize("body", ONE, ids=lambda f: f.__name__)
def test_bodies(file, body, axes):
    module, x = Parts(body), drawn(2, T, I)
    made = (
        close(exported(module, (x,), file, axes), (x,), module, longer=(drawn(3, 12, I),))
        if not (axes is BOTH and body.__name__ == "behind_a_convolution")
        else fastgru.convert(exported(module, (x,), file, axes))
    )
    weights = sum(p.numel() for p in module.parameters())
    assert made.summary().totals.parameters <= 2 * weights


@pytest.mark.parametrize("body", STREAMING, ids=lambda f: f.__name__)
def test_a_start_from_the_first_step_streams(file, body):
    module, x = Parts(body), drawn(3, 12, I)
    made = fastgru.convert(exported(module, (drawn(2, T, I),), file, BOTH))
    stream, y = made.stream(3), made(x.numpy())
    assert np.array_equal(np.concatenate([stream.process(x[:, t : t + 1].numpy().copy()) for t in range(12)], 1), y)


@pytest.mark.parametrize("axes", [BATCH, BOTH], ids=["batch", "both"])
@pytest.mark.parametrize("body", MASKED, ids=lambda f: f.__name__)
def test_masks(file, body, axes):
    module = Parts(body)
    args, longer = ((drawn(2, n, I), drawn(2, n) > 0) for n in (T, 12))
    if body.__name__ == "weighted":
        args, longer = ((x, mask.float()) for x, mask in (args, longer))
    args = tuple(args)
    close(exported(module, args, file, axes), args, module, longer=longer)


@pytest.mark.parametrize("body", CONTEXT, ids=lambda f: f.__name__)
def test_a_value_that_all_steps_read(file, body):
    module, args = Parts(body), (drawn(2, T, I), drawn(2, 3))
    made = close(exported(module, args, file, BATCH), args, module, longer=(drawn(3, 12, I), drawn(3, 3)))
    assert kinds(made).count(RNN) == 1


@pytest.mark.parametrize("body", NO_RECURRENCES, ids=lambda f: f.__name__)
def test_other_uses_of_steps_stay_as_they_are(file, body):
    module, x = Parts(body), drawn(2, T, I)
    made = close(exported(module, (x,), file, BATCH), (x,), module)
    assert made.provenance["axes"] == f"x (B, {T}, {I})"


@pytest.mark.parametrize("kind", KINDS)
def test_an_axis_that_is_told_to_be_fixed(file, kind):
    module, x = Loop(kind), drawn(2, T, I)
    close(exported(module, (x,), file, BATCH), (x,), axes={"x": ("B", None, None)})


# Written by hand -------------------------------------------------------------------------------------


def weights(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / shape[-1] ** 0.5).astype(np.float32)


def written(nodes: Any, constants: Any, outputs: Any, path: Path, *, shuffled: bool = False) -> str:
    """A file; `shuffled` in another order and with names that tell nothing."""
    info = helper.make_tensor_value_info
    fixed = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    if shuffled:
        nodes = _shuffled(nodes, list(constants))
        names = {
            v: f"v{i}" for i, v in enumerate(RNG.permutation([o for n in nodes for o in n.output if o not in outputs]))
        }
        for each in nodes:
            each.input[:] = [names.get(v, v) for v in each.input]
            each.output[:] = [names.get(v, v) for v in each.output]
    graph = helper.make_graph(nodes, "g", [info("x", TensorProto.FLOAT, ["B", T, I])],
                              [info(n, TensorProto.FLOAT, None) for n in outputs], fixed)  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return str(path)


def _shuffled(nodes: Any, known: Any) -> Any:
    """Nodes in another order in which they can run."""
    left, have, found = list(nodes), {"x", "", *known}, []
    while left:
        ready = [n for n in left if have.issuperset(n.input)]
        chosen = ready[RNG.integers(len(ready))]
        left.remove(chosen)
        found.append(chosen)
        have.update(chosen.output)
    return found


def gru(t: int, h: str, w: Any) -> list[Any]:
    """One step of a GRU, gate by gate; `w` names its weights."""
    p = f"s{t}_"

    def gate(g, a):
        return [
            node("MatMul", [p + "x", w(f"W{g}")], [f"{p}{g}a"]), node("MatMul", [a, w(f"R{g}")], [f"{p}{g}r"]),
            node("Add", [f"{p}{g}a", f"{p}{g}r"], [f"{p}{g}s"]), node("Add", [f"{p}{g}s", w(f"b{g}")], [f"{p}{g}z"]),
        ]  # fmt: skip

    return [
        node("Gather", ["x", f"t{t}"], [p + "x"], axis=1),
        *gate("r", h), node("Sigmoid", [p + "rz"], [p + "r"]), *gate("z", h), node("Sigmoid", [p + "zz"], [p + "z"]),
        node("Mul", [p + "r", h], [p + "rh"]), *gate("n", p + "rh"), node("Tanh", [p + "nz"], [p + "n"]),
        node("Sub", ["1", p + "z"], [p + "k"]), node("Mul", [p + "k", p + "n"], [p + "kn"]),
        node("Mul", [p + "z", h], [p + "zh"]), node("Add", [p + "kn", p + "zh"], [p + "h"]),
    ]  # fmt: skip


@pytest.mark.parametrize("shuffled", [False, True], ids=["", "shuffled"])
@pytest.mark.parametrize("again", [False, True], ids=["", "constants of each step"])
def test_a_gru_gate_by_gate(file, again, shuffled):
    own = {f"{a}{g}": weights(*shape) for g in "rzn" for a, shape in (("W", (I, H)), ("R", (H, H)), ("b", (H,)))}
    constants = {"h": np.zeros((1, H), np.float32), "1": np.ones((), np.float32), "one": np.array([1])}
    nodes, h = [], "h"
    for t in range(T):
        suffix = f".{t}" if again else ""
        constants |= {f"t{t}": np.array(t), **{k + suffix: v for k, v in own.items()}}
        nodes += [
            *gru(t, h, lambda name, suffix=suffix: name + suffix),
            node("Unsqueeze", [f"s{t}_h", "one"], [f"y{t}"]),
        ]
        h = f"s{t}_h"
    nodes.append(node("Concat", [f"y{t}" for t in range(T)], ["y"], axis=1))
    made = close(written(nodes, constants, ["y"], file, shuffled=shuffled), (drawn(3, T, I),))
    assert kinds(made) == [GRU]
    assert made.summary().totals.parameters <= 3 * (I + H + 2) * H


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "with a state"])
def test_a_first_step_whose_product_with_the_start_is_folded(file, folded):
    R, start = weights(H, H), weights(1, H)
    constants = {"W": weights(I, H), "R": R, "h": start, "p": start @ R, "one": np.array([1]), "half": np.float32(0.5)}
    nodes, h = [], "h"
    for t in range(T):
        constants[f"t{t}"] = np.array(t)
        nodes += [
            node("Gather", ["x", f"t{t}"], [f"x{t}"], axis=1), node("MatMul", [f"x{t}", "W"], [f"a{t}"]),
            *([] if folded and not t else [node("MatMul", [h, "R"], [f"r{t}"])]),
            node("Add", [f"a{t}", "p" if folded and not t else f"r{t}"], [f"s{t}"]), node("Tanh", [f"s{t}"], [f"n{t}"]),
            node("Mul", [h, "half"], [f"k{t}"]), node("Add", [f"n{t}", f"k{t}"], [f"h{t}"]),
            node("Unsqueeze", [f"h{t}", "one"], [f"y{t}"]),
        ]  # fmt: skip
        h = f"h{t}"
    nodes.append(node("Concat", [f"y{t}" for t in range(T)], ["y"], axis=1))
    made = close(written(nodes, constants, ["y"], file), (drawn(3, T, I),))
    assert made.provenance["axes"] == f"x (B, T, {I})"


def test_a_weight_that_is_another_one_in_one_step_is_no_loop(file):
    constants = {"W": weights(I, H), "R": weights(H, H), "S": weights(H, H), "h": np.zeros((1, H), np.float32)}
    nodes, h = [], "h"
    for t in range(T):
        constants[f"t{t}"] = np.array(t)
        nodes += [
            node("Gather", ["x", f"t{t}"], [f"x{t}"], axis=1), node("MatMul", [f"x{t}", "W"], [f"a{t}"]),
            node("MatMul", [h, "S" if t == 4 else "R"], [f"r{t}"]), node("Add", [f"a{t}", f"r{t}"], [f"s{t}"]),
            node("Tanh", [f"s{t}"], [f"h{t}"]),
        ]  # fmt: skip
        h = f"h{t}"
    made = close(written(nodes, constants, [h], file), (drawn(3, T, I),))
    assert made.provenance["axes"] == f"x (B, {T}, {I})"


# Loops that TorchScript keeps --------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [BATCH, BOTH], ids=["batch", "both"])
@pytest.mark.parametrize("kind", SCRIPTED, ids=lambda c: c.__name__)
def test_loops_with_sequences_of_tensors(file, kind, axes):
    module, x = kind().eval(), drawn(2, T, I)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        scripted = torch.jit.script(module)
    made = close(exported(scripted, (x,), file, axes), (x,), module, longer=(drawn(3, 12, I),))
    assert made.provenance["axes"] == f"x (B, T, {I})"
    assert made.summary().totals.parameters <= 2 * sum(p.numel() for p in module.parameters()) + H * H


def test_a_loop_from_the_second_step(file):
    module, x = FromTheSecond().eval(), drawn(3, 12, I)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        scripted = torch.jit.script(module)
    made = close(exported(scripted, (x,), file, BOTH), (x,), module, longer=(drawn(3, 20, I),))
    stream = made.stream(3)
    parts = [stream.process(x[:, t : t + 1].numpy().copy()) for t in range(12)]
    assert np.array_equal(np.concatenate(parts, 1), made(x.numpy()))


# Axes and messages -------------------------------------------------------------------------------------


class Recurrent(torch.nn.Module):
    """A GRU over an axis of 3."""

    def __init__(self, turned: bool = False, first: bool = False, flat: bool = False) -> None:
        super().__init__()
        self.turned, self.flat = turned, flat
        self.gru = torch.nn.GRU(2 * I if flat else I, H, batch_first=not first)

    def forward(self, x: Any) -> Any:
        x = x.flatten(2) if self.flat else x
        return self.gru(x.transpose(1, 2) if self.turned else x)[0]


@pytest.mark.parametrize(
    ("options", "shape", "axes", "shown"),
    [
        ({}, (2, T, I), {0: "unk__1", 1: "unk__2"}, "x (B, T, 5)"),
        ({}, (2, T, I), {0: "N", 1: "M"}, "x (B, T, 5)"),
        ({}, (2, T, I), {0: "s", 1: "b"}, "x (B, T, 5)"),
        ({"first": True}, (T, 2, I), {0: "unk__1", 1: "unk__2"}, "x (T, B, 5)"),
        ({"first": True}, (T, 2, I), {0: "N", 1: "M"}, "x (T, B, 5)"),
        ({"first": True}, (T, 1, I), {0: "N"}, "x (T, 1, 5)"),
        ({"turned": True}, (2, I, T), {0: "a", 2: "b"}, "x (B, 5, T)"),
        ({"flat": True}, (2, T, I, 2), {0: "a", 1: "b"}, "x (B, T, 5, 2)"),
    ],
)
def test_the_layout_that_works_is_taken_whatever_axes_are_called(file, options, shape, axes, shown):
    made = fastgru.convert(exported(Recurrent(**options), (drawn(*shape),), file, axes))
    assert made.provenance["axes"] == shown
    assert kinds(made).count(GRU) == 1
    assert not made.graph.not_streamable()


def test_what_to_write_is_shown_where_axes_cannot_be_told(file):
    path = exported(Recurrent(), (drawn(2, T, I),), file, {0: "u", 1: "v", 2: "w"})
    with pytest.raises(ConvertError, match=r"\('B', 'T', None\)"):
        fastgru.convert(path)
    made = fastgru.convert(path, axes={"x": ("B", "T", None)}, shapes={"x": (None, None, I)})
    assert kinds(made) == [GRU]


def test_steps_that_are_no_recurrence_are_taken_as_they_are(file):
    """Steps 0, 2, 4 and 6 of a sequence of any length, as the file takes them."""
    path = exported(Parts(NO_RECURRENCES[0]), (drawn(2, T, I),), file, BOTH)
    close(path, (drawn(2, T, I),))
    close(path, (drawn(2, T + 5, I),))
    close(path, (drawn(2, T, I),), shapes={"x": (None, T, None)})
