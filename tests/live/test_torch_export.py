"""Modules imported through torch.export against PyTorch's own results."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from streamed import check_streamed
from torch_cases import assert_close, run_engine64, run_reference

import fastgru
from fastgru.checks import selftest
from fastgru.converters import Imported, to_graph

torch = pytest.importorskip("torch")
cases = pytest.importorskip("torch_export_cases")
nn = torch.nn
CASES, One, gru = cases.CASES, cases.One, cases.gru

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
    pytest.mark.filterwarnings("ignore:The reduce argument of torch.scatter:UserWarning"),
]
TOLERANCE = 1e-9  # of modules in float64; weights folded at import (batch norms, say) may round once more


def in_double(values: Any) -> Any:
    """Arguments with floats in float64."""
    if isinstance(values, torch.Tensor):
        return values.double() if values.is_floating_point() else values
    return type(values)(map(in_double, values)) if isinstance(values, tuple) else values


def build(case: Any) -> Any:
    """The module in float64, in train mode as a user may leave it."""
    torch.manual_seed(0)
    module = case.build().double()
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2.0)
    return module


@functools.cache
def imported(name: str) -> Imported:
    """The module of a case, imported; once for all tests, as it takes a second."""
    case = CASES[name]
    return to_graph(build(case), example_inputs=in_double(case.examples()), **case.given)


@pytest.mark.parametrize("name", CASES)
def test_modules(name: str) -> None:
    case = CASES[name]
    found = imported(name)
    x = selftest.make_input(found.graph)
    expected = found.oracle(x)
    for forward in (run_reference, run_engine64):
        assert_close(forward(found.graph, x), expected, TOLERANCE)
    if "axes" in found.provenance:  # else it was a chain of layers
        assert found.provenance["axes"] == case.axes
    assert (not found.graph.not_streamable()) == case.streams


@pytest.mark.parametrize(
    "name",
    ["down and up with skips", "down and up over both axes", "transposed convolutions over time",
     "bands up by themselves", "cut to the length of its input", "short-time transforms",
     "other short-time transforms", "mirrored and repeated ends"],
)  # fmt: skip
def test_what_comes_up_again_streams(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    graph = to_graph(case.build(), example_inputs=case.examples(), **case.given).graph
    feeds = selftest.make_input(graph)
    check_streamed(graph, feeds if isinstance(feeds, dict) else {next(iter(graph.inputs)): feeds})


def test_float32_modules_stay_float32() -> None:
    case = CASES["conv1d and both directions"]
    graph = to_graph(case.build(), example_inputs=case.examples()).graph
    assert {w.dtype for node in graph.nodes for w in node.op.weights().values()} == {np.dtype("float32")}


def test_names_are_the_layers_paths() -> None:
    graph = imported("conv1d and both directions").graph
    names = [f"gru.l{k}{way}" for k in (0, 1) for way in (".forward", ".backward", "")]
    assert [node.name for node in graph.nodes] == ["conv", "norm", "relu", *names, "fc"]
    assert graph.outputs == ("fc",)
    assert imported("several outputs by name").graph.outputs == ("y", "best", "most", "log")


def test_chains_are_walked_all_the_same() -> None:
    chain = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    assert to_graph(chain, example_inputs=torch.zeros(2, 5, 3)).provenance == to_graph(chain).provenance
    rows = to_graph(chain, example_inputs=torch.zeros(2, 3))
    assert str(rows.graph) == str(to_graph(chain).graph)
    assert rows.provenance["layout"].startswith("input x (B, 3) in PyTorch, (B, T, 3) here; output 1 (B, 4)")


def test_an_example_of_half_precision_is_taken_as_it_is() -> None:
    chain = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).bfloat16()
    assert to_graph(chain, example_inputs=torch.zeros(2, 5, 3, dtype=torch.bfloat16)).graph.outputs == ("1",)


def test_module_is_left_as_it_is() -> None:
    module = cases.Buffered()
    modes = [m.training for m in module.modules()]
    found = to_graph(module, example_inputs=torch.ones(1, 4, 1), axes={"x": (None, None, None)})
    found.oracle(selftest.make_input(found.graph))
    assert [m.training for m in module.modules()] == modes
    assert not module.h.any()
    assert not module.cache.any()
    assert "check_forward_args" not in vars(nn.GRU)
    with torch.no_grad():
        assert nn.GRU(2, 3)(torch.zeros(4, 2))[0].shape == (4, 3)


# Against the module itself, without the importer's own oracle ---------------------------------------


def test_axes_are_the_modules_own() -> None:
    module = build(CASES["conv2d, time last"])
    graph = to_graph(module, example_inputs=torch.randn(2, 2, 6, 20, dtype=torch.float64)).graph
    x = torch.randn(3, 2, 6, 11, dtype=torch.float64)
    with torch.no_grad():
        expected = module.eval()(x)
    (y,) = run_reference(graph, x.permute(0, 3, 1, 2).numpy())
    np.testing.assert_allclose(y, expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["state", "states of an LSTM", "cache of a convolution"])
def test_states_are_the_streams(name: str) -> None:
    """Chunk by chunk the module hands its states on; the graph is given all chunks as one sequence."""
    case = CASES[name]
    module, graph = build(case).eval(), imported(name).graph
    assert list(graph.inputs) == ["x"]
    time = 2 if name.startswith("cache") else 1
    _, *states = in_double(case.examples())
    chunks = [torch.randn(*(n if i == time else m for i, m in enumerate(case.examples()[0].shape)), dtype=torch.float64)
              for n in (3, 1, 4)]  # fmt: skip
    outputs, states = [], [torch.zeros_like(s) for s in states]
    with torch.no_grad():
        for chunk in chunks:
            y, *states = module(chunk, *states)
            outputs.append(y)
    (y,) = run_reference(graph, torch.cat(chunks, time).movedim(time, 1).numpy())
    np.testing.assert_allclose(y, torch.cat(outputs, time).movedim(time, 1), atol=TOLERANCE)


class GoesOnElsewhere(nn.Module):  # type: ignore[misc,name-defined]
    """A GRU that does not start from its own last end alone."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self.start, self.one, self.other = start, nn.GRU(3, 4, batch_first=True), nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Any, state: Any) -> Any:
        more = torch.zeros_like(state) if self.start == "of zeros" else state
        y, end = self.one(x, state if self.start == "two layers" else torch.cat([state, more], -1))
        return (y + self.other(x, state)[0], end) if self.start == "two layers" else (y, end[..., :2])


@pytest.mark.parametrize("start", ["two layers", "of zeros", "twice"])
def test_a_state_that_no_layer_can_hold_alone(start: str) -> None:
    """A stream goes on as the module does that is given its own state again."""
    module = GoesOnElsewhere(start).eval()
    x, state = torch.randn(1, 10, 3), torch.zeros(1, 1, 4 if start == "two layers" else 2)
    stream = fastgru.convert(module, example_inputs=(x[:, :5], state)).stream()
    for chunk in x.split(5, 1):
        with torch.no_grad():
            y, state = module(chunk, state)
        assert np.abs(stream.step(chunk[0].numpy()) - y[0].numpy()).max() <= 1e-5


@pytest.mark.parametrize(
    "name", ["step of an LSTM cell", "step that reads the cell state", "cache of a convolution, step by step"]
)
def test_steps_stream(name: str) -> None:
    case = CASES[name]
    module = build(case).eval()
    found = to_graph(module, example_inputs=in_double(case.examples()), **case.given)
    x, *states = in_double(case.examples())
    stream = fastgru.Model(found.graph, dtype="float64").stream()
    states = [
        torch.zeros(*(1 if n == 2 and i < 2 else n for i, n in enumerate(s.shape)), dtype=s.dtype) for s in states
    ]
    with torch.no_grad():
        for _ in range(5):
            frame = torch.randn_like(x[:1])
            y, *states = module(frame, *states)
            np.testing.assert_allclose(stream.step(frame[0].numpy()), y[0], atol=TOLERANCE)


@pytest.mark.parametrize("name", ["packed", "packed, final states"])
def test_lengths_are_those_of_a_call(name: str) -> None:
    module, graph = build(CASES[name]).eval(), imported(name).graph
    assert list(graph.inputs) == ["x"]
    x, lengths = torch.randn(3, 7, 4, dtype=torch.float64), torch.tensor([2, 7, 5])
    with torch.no_grad():
        expected = module(x, lengths)
    y = fastgru.Model(graph, dtype="float64")(x.numpy(), lengths=lengths.numpy())
    np.testing.assert_allclose(y, expected, atol=TOLERANCE)


def test_lengths_are_an_input_where_layers_differ() -> None:
    def body(m: Any, x: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return m.upper(nn.utils.rnn.pad_packed_sequence(m.lower(packed)[0], batch_first=True)[0])[0]

    module = cases.WithLengths(body, lower=gru(4, 3, bidirectional=True), upper=gru(6, 3)).double().eval()
    x, lengths = torch.randn(3, 7, 4, dtype=torch.float64), torch.tensor([2, 7, 5])
    found = to_graph(module, example_inputs=(x, lengths))
    assert found.oracle is None  # PyTorch takes no sequence of length 0
    with torch.no_grad():
        expected = module(x, lengths)
    (y,) = run_reference(found.graph, {"x": x.numpy(), "lengths": lengths.numpy()})
    np.testing.assert_allclose(y, expected, atol=TOLERANCE)


def test_element_of_each_row() -> None:
    """By the row's own index: the last valid step, as an index and as a gather."""

    def body(m: Any, x: Any, lengths: Any) -> Any:
        y, _ = m.gru(x)
        rows = torch.arange(x.shape[0])
        wide = (lengths - 1).view(-1, 1, 1).expand(-1, 1, 3)
        return y[rows, lengths - 1], y.gather(1, wide).squeeze(1)

    module = cases.WithLengths(body, gru=gru(4, 3)).double().eval()
    x, lengths = torch.randn(3, 7, 4, dtype=torch.float64), torch.tensor([2, 7, 5])
    found = to_graph(module, example_inputs=(x, lengths))
    with torch.no_grad():
        expected = module(x, lengths)
    for y, wanted in zip(
        run_reference(found.graph, {"x": x.numpy(), "lengths": lengths.numpy()}), expected, strict=True
    ):
        np.testing.assert_allclose(y, wanted, atol=TOLERANCE)


def test_final_states_are_left_out_unless_asked_for() -> None:
    module = One(lambda m, x: m.gru(m.conv(x.transpose(1, 2)).transpose(1, 2)), conv=nn.Conv1d(4, 4, 2), gru=gru(4, 3))
    found = to_graph(module, example_inputs=torch.randn(2, 6, 4))
    assert len(found.graph.outputs) == 1
    assert "output '1' is left out: it is the final state of layers" in found.provenance["notes"]
    assert len(to_graph(module, example_inputs=torch.randn(2, 6, 4), states={}).graph.outputs) == 2


def test_steps_are_cut_off_where_they_were_padded() -> None:
    module = One(lambda m, x: torch.relu(m.conv(x))[:, :, :-2] * 2, conv=nn.Conv1d(4, 4, 3, padding=2))
    graph = to_graph(module, example_inputs=torch.randn(2, 4, 9), axes={"x": ("B", None, "T")}).graph
    (conv,) = [node.op for node in graph.nodes if node.op.kind == "time_conv"]
    assert (conv.before, conv.after) == (2, 0)


def test_convert_stores_a_self_test() -> None:
    case = CASES["state"]
    model = fastgru.convert(case.build(), example_inputs=case.examples())
    assert model.self_test.source == f"PyTorch {torch.__version__}"
    assert selftest.verify(model).ok


def test_onnx_is_not_needed() -> None:
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "import torch; from fastgru.converters import to_graph\n"
        "to_graph(torch.nn.Conv1d(3, 4, 2), example_inputs=torch.zeros(2, 3, 9))"
    )
    subprocess.run([sys.executable, "-I", "-W", "ignore", "-c", code], check=True)
