"""Packed sequences against PyTorch: padded with a number, to a length, in any order, batch or time first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru.errors import ConvertError

torch = pytest.importorskip("torch")
cases = pytest.importorskip("torch_export_cases")
nn, F = torch.nn, torch.nn.functional
rnn = torch.nn.utils.rnn
gru, lstm = cases.gru, cases.lstm


def packed(m: Any, x: Any, n: Any, first: bool = True, sorted_: bool = False) -> Any:
    return rnn.pack_padded_sequence(x, n, batch_first=first, enforce_sorted=sorted_)


def filled(m: Any, x: Any, n: Any) -> Any:
    return rnn.pad_packed_sequence(m.rnn(packed(m, x, n))[0], True, -5.0, x.shape[1])[0]


def time_first(m: Any, x: Any, n: Any) -> Any:
    y = m.rnn(packed(m, x, n, first=False))[0]
    return rnn.pad_packed_sequence(y, padding_value=2.0, total_length=x.shape[0])[0]


def mixed_order(m: Any, x: Any, n: Any) -> Any:
    """Packed batch first and padded time first."""
    y = m.rnn(packed(m, x, n))[0]
    return rnn.pad_packed_sequence(y, padding_value=1.0, total_length=x.size(1))[0]


def descending(m: Any, x: Any, n: Any) -> Any:
    return rnn.pad_packed_sequence(m.rnn(packed(m, x, n, sorted_=True))[0], True, 0.5, x.shape[1])[0]


def from_states(m: Any, x: Any, n: Any) -> Any:
    h = x.new_full((2, x.shape[0], 3), 0.5)
    return rnn.pad_packed_sequence(m.rnn(packed(m, x, n), h)[0], True, -5.0, x.shape[1])[0]


def twice(m: Any, x: Any, n: Any) -> Any:
    """Two layers, with a number between them that the second does not see."""
    y, _ = rnn.pad_packed_sequence(m.rnn(packed(m, x, n))[0], True, 9.0, x.shape[1])
    return rnn.pad_packed_sequence(m.upper(packed(m, y, n))[0], True, -5.0, x.shape[1])[0]


def on_data(m: Any, x: Any, n: Any) -> Any:
    """A Linear on the packed data, behind which zeros are zeros."""
    y = m.rnn(packed(m, x, n))[0]
    y = rnn.PackedSequence(torch.relu(m.fc(y.data)), y.batch_sizes, y.sorted_indices, y.unsorted_indices)
    return rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0]


def largest(m: Any, x: Any, n: Any) -> Any:
    """The maximum over the steps that count."""
    y = rnn.pad_packed_sequence(m.rnn(packed(m, x, n))[0], True, float("-inf"), x.shape[1])[0]
    return m.fc(y.max(1)[0])


def plain(m: Any, x: Any, n: Any) -> Any:
    return m.fc(rnn.pad_packed_sequence(m.rnn(packed(m, x, n))[0], True, total_length=x.shape[1])[0])


both = {"num_layers": 2, "bidirectional": True}
CASES: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    "filled": (filled, lambda: {"rnn": gru(4, 3)}),
    "filled, both ways": (filled, lambda: {"rnn": lstm(4, 3, **both)}),
    "time first": (time_first, lambda: {"rnn": nn.GRU(4, 3, 2)}),
    "mixed order": (mixed_order, lambda: {"rnn": lstm(4, 3)}),
    "descending": (descending, lambda: {"rnn": nn.RNN(4, 3, batch_first=True)}),
    "from states": (from_states, lambda: {"rnn": gru(4, 3, num_layers=2)}),
    "twice": (twice, lambda: {"rnn": gru(4, 3), "upper": lstm(3, 2, bidirectional=True)}),
    "on data": (on_data, lambda: {"rnn": gru(4, 3), "fc": nn.Linear(3, 2)}),
    "largest": (largest, lambda: {"rnn": lstm(4, 3, bidirectional=True), "fc": nn.Linear(6, 2)}),
}


def build(name: str) -> Any:
    torch.manual_seed(0)
    body, layers = CASES[name]
    return cases.WithLengths(body, **layers()).eval()


@pytest.mark.parametrize("name", CASES)
def test_packed(name: str) -> None:
    net = build(name)
    turned = name == "time first"

    def pair(steps: int) -> tuple[Any, Any]:
        x = torch.randn(3, steps, 4)
        return x.transpose(0, 1) if turned else x, torch.tensor([steps, 4, 2])

    model = fastgru.convert(net, example_inputs=pair(9))
    for steps in (9, 6, 17):
        x, n = pair(steps)
        if name != "descending":
            n = n[[1, 0, 2]]
        with torch.no_grad():
            expected = net(x, n)
        expected = expected.transpose(0, 1) if turned or name == "mixed order" else expected
        y = model(((x.transpose(0, 1) if turned else x).numpy(), n.numpy()))
        np.testing.assert_allclose(y, expected, atol=2e-6)


def test_a_length_alone_needs_no_lengths() -> None:
    torch.manual_seed(0)
    net = cases.WithLengths(plain, rnn=gru(4, 3), fc=nn.Linear(3, 2)).eval()
    x, n = torch.randn(3, 9, 4), torch.tensor([4, 9, 2])
    model = fastgru.convert(net, example_inputs=(x, n))
    assert list(model.graph.inputs) == ["x"]  # the lengths of a call tell it
    with torch.no_grad():
        np.testing.assert_allclose(model(x.numpy(), lengths=n.numpy()), net(x, n), atol=2e-6)


@pytest.mark.parametrize("total", [9, 40])
@pytest.mark.parametrize("padding", [0.0, -5.0])
@pytest.mark.parametrize("kind", [gru, lstm])
def test_a_length_of_its_own_fixes_the_steps(kind: Any, padding: float, total: int) -> None:
    def body(m: Any, x: Any, n: Any) -> Any:
        y, ends = m.rnn(packed(m, x, n))
        y = rnn.pad_packed_sequence(y, True, padding, total)[0]
        return y, ends[0] if isinstance(ends, tuple) else ends

    torch.manual_seed(0)
    net = cases.WithLengths(body, rnn=kind(4, 3, num_layers=2, bidirectional=True)).eval()
    model = fastgru.convert(net, example_inputs=(torch.randn(3, 9, 4), torch.tensor([4, 9, 2])))
    assert model.provenance["axes"] == "x (B, 9, 4), lengths (B)"
    x, n = torch.randn(4, 9, 4), torch.tensor([1, 5, 9, 8])
    with torch.no_grad():
        expected, ends = net(x, n)
    y, last = model((x.numpy(), n.numpy()))
    np.testing.assert_allclose(y, expected, atol=2e-6)
    np.testing.assert_allclose(last, ends.transpose(0, 1), atol=2e-6)


def test_a_length_of_its_own_is_no_shorter_than_the_input() -> None:
    def body(m: Any, x: Any, n: Any) -> Any:
        return rnn.pad_packed_sequence(m.rnn(packed(m, x, n))[0], batch_first=True, total_length=40)[0]

    net = cases.WithLengths(body, rnn=gru(4, 3)).eval()
    example = torch.randn(3, 9, 4), torch.tensor([4, 9, 2])
    with pytest.raises(ConvertError, match=r"total_length must be the number of steps of the input.*, got 40"):
        fastgru.convert(net, example_inputs=example, axes={"x": ("B", "T", None), "lengths": ("B",)})
    example = torch.randn(3, 50, 4), torch.tensor([4, 50, 2])
    with pytest.raises(ConvertError, match=r"Expected total_length to be at least the length of the longest"):
        fastgru.convert(net, example_inputs=example)


def test_lengths_are_known_by_their_name() -> None:
    torch.manual_seed(0)
    net = cases.WithLengths(plain, rnn=gru(4, 3), fc=nn.Linear(3, 2)).eval()
    x, n = torch.randn(3, 9, 4), torch.tensor([4, 9, 2])
    model = fastgru.convert(net, example_inputs=(x, n))
    assert model.provenance["lengths"] == "lengths"
    with torch.no_grad():
        expected = net(x, n)
    given = (x.numpy(), n.numpy())
    for y in (model({"x": given[0], "lengths": given[1]}), model(given), model(given[0], lengths=given[1])):
        np.testing.assert_allclose(y, expected, atol=2e-6)


def test_a_stream_takes_no_lengths_of_a_call() -> None:
    torch.manual_seed(0)
    net = cases.WithLengths(plain, rnn=gru(4, 3), fc=nn.Linear(3, 2)).eval()
    x, n = torch.randn(3, 9, 4).numpy(), np.array([4, 9, 2])
    model = fastgru.convert(net, example_inputs=(torch.randn(3, 9, 4), torch.from_numpy(n)))
    stream, whole = model.stream(3), model(x, lengths=n)
    message = r"x must come without lengths \('lengths'\) in a stream, .* up to its last step, .* with reset\(rows\)"
    for feed, given in ((stream.process, x[:, :4]), (stream.step, x[:, 0])):
        for both in ((given, n), {"x": given, "lengths": n}):
            with pytest.raises(ValueError, match=message):
                feed(both)
    with pytest.raises(ValueError, match=message):
        model.stream().step((x[0, 0], n[0]))
    y = stream.process(x)  # what the message says
    for row, length in enumerate(n):
        assert np.array_equal(y[row, :length], whole[row, :length])
    assert model.stream(3).process(tuple(x)).shape == y.shape  # rows in a tuple are rows


@pytest.mark.parametrize("name", ["filled", "twice", "from states"])
def test_a_stream_takes_lengths_that_are_an_input(name: str) -> None:
    body, layers = CASES[name]
    torch.manual_seed(0)
    parts = layers() | ({"upper": lstm(3, 2)} if name == "twice" else {})
    net = cases.WithLengths(body, **parts).eval()
    x, n = torch.randn(3, 9, 4), torch.tensor([4, 9, 2])
    model = fastgru.convert(net, example_inputs=(x, n))
    stream = model.stream(3)
    chunks = [stream.process((x[:, a:b].numpy(), n.numpy())) for a, b in ((0, 1), (1, 6), (6, 9))]
    with torch.no_grad():
        np.testing.assert_allclose(np.concatenate(chunks, 1), net(x, n), atol=2e-6)
