"""Rows of unequal length in ONNX files: lengths as inputs, constants or computed; packed sequences of PyTorch."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import helper
from onnx_models import GATES, H, I, model, recurrent_model, saved

import fastgru
from fastgru.errors import ConvertError

B, T = 4, 7
LENGTHS = np.array([4, 0, 7, 1])
KINDS, DIRECTIONS = ("GRU", "LSTM", "RNN"), ("forward", "reverse", "bidirectional")
RNG = np.random.default_rng(5)
node = helper.make_node


def w(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / shape[-1] ** 0.5).astype(np.float32)


def outputs(path, feeds):
    session = onnxruntime.InferenceSession(path)
    return dict(zip((v.name for v in session.get_outputs()), session.run(None, feeds), strict=True))


def compared(proto, folder, feeds, batch, **options):
    """Import a model, and compare it by ONNX Runtime; `batch` says at which axis each array has its rows."""
    path = saved(proto, folder)
    imported = fastgru.convert(path, **options)
    assert "unchecked" not in imported.provenance
    want = outputs(path, feeds)
    given = {n: np.moveaxis(a, batch[n], 0) for n, a in feeds.items()}
    found = imported(given)
    found = found if isinstance(found, tuple) else (found,)
    for name, y in zip(imported.outputs, found, strict=True):
        np.testing.assert_allclose(y, np.moveaxis(want[name], batch[name], 0), rtol=0, atol=3e-6, err_msg=name)
    return imported, given, found


@pytest.mark.parametrize(("kind", "direction", "initial"), [*itertools.product(KINDS, DIRECTIONS, (False, True))])
def test_lengths_given_at_run_time(tmp_path, kind, direction, initial):
    """Rows of length zero give zeros, and end in zeros whatever they start from."""
    proto = recurrent_model(kind, {}, direction, ["T", "B", I], initial=initial, lengths=True)
    d = 1 + (direction == "bidirectional")
    feeds = {"x": w(T, B, I), "lengths": LENGTHS.astype(np.int32)}
    feeds |= {n: w(d, B, H) for n in ("h0", "c0")[: 1 + (kind == "LSTM")] if initial}
    batch = {"x": 1, "lengths": 0, "h0": 1, "c0": 1, "y": 2, "yh": 1, "yc": 1}
    compared(proto, tmp_path, feeds, batch, states={})


@pytest.mark.parametrize(("kind", "direction"), [*itertools.product(KINDS, DIRECTIONS)])
def test_lengths_of_rows_that_a_file_fixes(tmp_path, kind, direction):
    proto = recurrent_model(kind, {}, direction, [T, B, I], initial=True, lengths=True)
    d = 1 + (direction == "bidirectional")
    feeds = {"x": w(T, B, I), "lengths": LENGTHS.astype(np.int32)}
    feeds |= {n: w(d, B, H) for n in ("h0", "c0")[: 1 + (kind == "LSTM")]}
    path = saved(proto, tmp_path)
    imported = fastgru.convert(path, states={})
    found = imported({n: a[None] for n, a in feeds.items()})
    for name, y in zip(imported.outputs, found, strict=True):
        np.testing.assert_allclose(y[0], outputs(path, feeds)[name], rtol=0, atol=3e-6)


def test_lengths_that_steer_all_layers_are_those_of_a_call(tmp_path):
    proto = recurrent_model("GRU", {}, "bidirectional", ["T", "B", I], lengths=True)
    feeds = {"x": w(T, B, I), "lengths": LENGTHS.astype(np.int32)}
    imported, given, (y,) = compared(proto, tmp_path, feeds, {"x": 1, "lengths": 0, "y": 2})
    assert list(imported.inputs) == ["x"]
    assert imported.provenance["lengths"] == "lengths"
    for other in (
        imported((given["x"], LENGTHS)),
        imported(given["x"], lengths=LENGTHS),
        imported.predict(given, batch_size=2),
    ):
        assert np.array_equal(other, y)
    with pytest.raises(ValueError, match=r"lengths must lie in 0\.\.7, got 9"):
        imported({"x": given["x"], "lengths": LENGTHS + 2})
    with pytest.raises(ValueError, match=r"inputs 'x', and 'lengths' for lengths if any, got \['x', 'length'\]"):
        imported({"x": given["x"], "length": LENGTHS})
    with pytest.raises(ValueError, match="lengths must be given once, got them as 'lengths' in x, too"):
        imported(given, lengths=LENGTHS)
    imported.save(tmp_path / "m.fgru")
    assert np.array_equal(fastgru.load(tmp_path / "m.fgru")(given), y)


def test_layers_with_lengths_of_their_own(tmp_path):
    """One layer reads some, one others, one none."""
    nodes, constants = [], {"one": np.array([1])}
    for i, (lengths, width) in enumerate((("n", I), ("m", H), ("", H))):
        constants |= {f"W{i}": w(1, 3 * H, width), f"R{i}": w(1, 3 * H, H)}
        nodes += [
            node("GRU", [f"x{i}" if i else "x", f"W{i}", f"R{i}", "", lengths], [f"y{i}"], hidden_size=H),
            node("Squeeze", [f"y{i}", "one"], [f"x{i + 1}"]),
        ]
    inputs = {"x": ["T", "B", I], "n": ["B"], "m": ["B"]}
    proto = model(nodes, inputs, ["x3"], constants, types={"n": "INT32", "m": "INT32"})
    feeds = {"x": w(T, B, I), "n": np.array([4, 0, 7, 1], np.int32), "m": np.array([6, 2, 7, 0], np.int32)}
    imported, *_ = compared(proto, tmp_path, feeds, {"x": 1, "n": 0, "m": 0, "x3": 1})
    assert list(imported.inputs) == ["x", "n", "m"]


def test_lengths_stream(tmp_path):
    """Each row ends at its own step, in chunks of any size."""
    proto = recurrent_model("LSTM", {}, "forward", ["T", "B", I], initial=True, lengths=True)
    del proto.graph.output[1:]
    feeds = {"x": w(T, B, I), "lengths": LENGTHS.astype(np.int32), "h0": w(1, B, H), "c0": w(1, B, H)}
    batch = {"x": 1, "lengths": 0, "h0": 1, "c0": 1, "y": 2}
    imported, given, (y,) = compared(proto, tmp_path, feeds, batch, states={})
    stream = imported.stream(batch=B)
    parts = [stream.process({**given, "x": given["x"][:, a:b]}) for a, b in ((0, 1), (1, 5), (5, T))]
    assert np.array_equal(np.concatenate(parts, 1), y)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_lengths(tmp_path, kind):
    """The same for all rows of an open batch, or one for each that a file fixes."""
    constants = {"W": w(1, GATES[kind] * H, I), "R": w(1, GATES[kind] * H, H)}
    nodes = [node(kind, ["x", "W", "R", "", "n"], ["y", "yh"], hidden_size=H)]
    for steps, rows, lengths in (("T", 1, [3]), (T, B, LENGTHS)):
        n = np.array(lengths, np.int32)
        path = saved(model(nodes, {"x": [steps, rows, I]}, ["y", "yh"], {**constants, "n": n}), tmp_path)
        x = w(T, rows, I)
        imported = fastgru.convert(path, states={})
        for y, name in zip(imported(x[None]), ("y", "yh"), strict=True):
            np.testing.assert_allclose(y[0], outputs(path, {"x": x})[name], rtol=0, atol=3e-6)


def test_lengths_that_are_all_steps_change_nothing(tmp_path):
    """As TensorFlow's exports have them: the number of steps, once for each row."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "zero", "one"], ["t"]), node("Slice", ["s", "one", "two"], ["b"]),
        node("Expand", ["t", "b"], ["n0"]), node("Cast", ["n0"], ["n"], to=6),
        node("GRU", ["x", "W", "R", "", "n"], ["y"], hidden_size=H),
    ]  # fmt: skip
    constants = {
        "W": w(1, 3 * H, I),
        "R": w(1, 3 * H, H),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
    }
    proto = model(nodes, {"x": ["T", "B", I]}, ["y"], constants)
    imported, *_ = compared(proto, tmp_path, {"x": w(T, B, I)}, {"x": 1, "y": 2})
    assert [n.op.kind for n in imported.graph.nodes if n.op.kind == "gru"] == ["gru"]
    assert not imported.graph.not_streamable()


# ReverseSequence -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("time", "rows"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("kind", KINDS)
def test_sequences_turned_round_by_lengths(tmp_path, kind, time, rows):
    """What exports of bidirectional layers write: turned round, run, and turned back."""
    nodes = [node("ReverseSequence", ["x", "n"], ["xr"], batch_axis=rows, time_axis=time)]
    nodes += [node("Transpose", ["xr"], ["xt"], perm=[1, 0, 2])] if time else []
    nodes += [
        node(kind, ["xt" if time else "xr", "W", "R"], ["y"], hidden_size=H), node("Squeeze", ["y", "ax"], ["ys"]),
        node("ReverseSequence", ["ys", "n"], ["z"], batch_axis=1, time_axis=0),
    ]  # fmt: skip
    constants = {"W": w(1, GATES[kind] * H, I), "R": w(1, GATES[kind] * H, H), "ax": np.array([1])}
    shape = ["T", "B", I] if time == 0 else ["B", "T", I]
    proto = model(nodes, {"x": shape, "n": ["B"]}, ["z"], constants, types={"n": "INT64"})
    feeds = {"x": w(T, B, I) if time == 0 else w(B, T, I), "n": np.array([4, 1, 7, 2])}
    imported, given, (z,) = compared(proto, tmp_path, feeds, {"x": rows, "n": 0, "z": 1})
    assert list(imported.inputs) == ["x", "n"]
    with pytest.raises(ValueError, match="turns time round"):
        imported.stream()
    one = imported({name: a[1] for name, a in given.items()})  # a row without its batch axis
    np.testing.assert_allclose(one, z[1], rtol=0, atol=1e-6)


def test_constant_lengths_turn_all_rows_alike(tmp_path):
    nodes = [node("ReverseSequence", ["x", "n"], ["y"], batch_axis=1, time_axis=0)]
    proto = model(nodes, {"x": ["T", 1, I]}, ["y"], {"n": np.array([3])})
    path, x = saved(proto, tmp_path), w(T, 1, I)
    assert np.array_equal(fastgru.convert(path)(x[None])[0], outputs(path, {"x": x})["y"])


# Packed sequences of PyTorch ---------------------------------------------------------------------------

torch = pytest.importorskip("torch")


class Packed(torch.nn.Module):
    """Padded sequences through pack_padded_sequence, a layer, and pad_packed_sequence."""

    def __init__(self, cell, sorted_, returned, **options):
        super().__init__()
        self.rnn, self.sorted, self.returned = cell(I, H, **options), sorted_, returned
        self.batch_first = options.get("batch_first", False)

    def forward(self, x, n):
        utils = torch.nn.utils.rnn
        packed = utils.pack_padded_sequence(x, n, batch_first=self.batch_first, enforce_sorted=self.sorted)
        y, last = self.rnn(packed)
        y, lengths = utils.pad_packed_sequence(y, batch_first=self.batch_first)
        last = last if isinstance(last, tuple) else (last,)
        return {"y": (y,), "last": last, "all": (y, *last, lengths)}[self.returned]


PACKED = [
    ("LSTM", False, "y", {"batch_first": True}),
    ("LSTM", False, "all", {"batch_first": True, "bidirectional": True, "num_layers": 2}),
    ("LSTM", True, "y", {"bidirectional": True}),
    ("LSTM", True, "last", {"num_layers": 2}),
    ("GRU", False, "last", {"batch_first": True, "num_layers": 2}),
    ("GRU", False, "y", {"bidirectional": True, "num_layers": 2}),
    ("GRU", True, "all", {"batch_first": True}),
    ("RNN", False, "all", {"bidirectional": True}),
    ("RNN", True, "y", {"batch_first": True, "num_layers": 2}),
]


@pytest.mark.parametrize(("cell", "ordered", "returned", "options"), PACKED, ids=str)
def test_packed_sequences(tmp_path, cell, ordered, returned, options):
    """Sorted by length or not; their numbers are those of the first rows of a longer batch, too."""
    torch.manual_seed(0)
    net = Packed(getattr(torch.nn, cell), ordered, returned, **options).eval()
    first = options.get("batch_first", False)
    n = torch.tensor([7, 4, 2] if ordered else [2, 7, 4])
    x = torch.randn(3, T, I) if first else torch.randn(T, 3, I)
    axes = {0: "b", 1: "t"} if first else {0: "t", 1: "b"}
    path = str(tmp_path / "m.onnx")
    names = {"y": ["y"], "last": ["h", "c"][: 1 + (cell == "LSTM")]}
    names["all"] = [*names["y"], *names["last"], "l"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (x, n), path, input_names=["x", "n"], output_names=names[returned], dynamo=False, opset_version=17,
            dynamic_axes={"x": axes, "n": {0: "b"}},
        )  # fmt: skip
        want = dict(zip(names[returned], net(x, n), strict=True))
    imported = fastgru.convert(path, states={})
    assert "unchecked" not in imported.provenance
    found = imported({"x": np.moveaxis(x.numpy(), 0 if first else 1, 0), "n": n.numpy()})
    for name, got in zip(imported.outputs, found if isinstance(found, tuple) else (found,), strict=True):
        rows = 0 if name == "l" or (name == "y" and first) else 1
        np.testing.assert_allclose(got, np.moveaxis(want[name].detach().numpy(), rows, 0), rtol=0, atol=3e-6)
    assert set(imported.outputs) == set(names[returned])


@pytest.mark.parametrize("axes", [None, {"x": ("B", "T", None), "n": ("B",)}])
def test_packed_sequences_of_sizes_that_a_file_fixes(tmp_path, axes):
    """All in one step where nothing is said of time, else as with open axes."""
    torch.manual_seed(0)
    net = Packed(torch.nn.LSTM, False, "y", batch_first=True, bidirectional=True).eval()
    n, x, path = torch.tensor([2, 7, 4]), torch.randn(3, T, I), str(tmp_path / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x, n), path, input_names=["x", "n"], dynamo=False, opset_version=17)
        (want,) = net(x, n)
    feeds = {"x": x.numpy(), "n": n.numpy()}
    imported = fastgru.convert(path, **({"axes": axes} if axes else {}))
    assert ("unchecked" in imported.provenance) == bool(
        axes
    )  # of the self-test's steps ONNX Runtime takes no file of 7
    y = imported(feeds) if axes else imported({name: a[None] for name, a in feeds.items()})[0]
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=0, atol=3e-6)


def sorting(nodes, outputs_):
    """Rows sorted by lengths n, and these nodes behind."""
    first = [
        node("Shape", ["n"], ["k"]), node("TopK", ["n", "k"], ["sorted", "order"], axis=0),
        node("Gather", ["x", "order"], ["xs"], axis=1),
    ]  # fmt: skip
    constants = {"W": w(1, 3 * H, I), "R": w(1, 3 * H, H), "one": np.array([1])}
    inputs = {"x": ["T", "B", I], "n": ["B"]}
    return model([*first, *nodes], inputs, outputs_, constants, types={"n": "INT64"})


GRU = [node("Cast", ["sorted"], ["s32"], to=6), node("GRU", ["xs", "W", "R", "", "s32"], ["y"], hidden_size=H)]


def test_rows_back_by_sorting_their_order(tmp_path):
    nodes = [
        *GRU,
        node("TopK", ["order", "k"], ["unused", "back"], axis=0, largest=0),
        node("Gather", ["y", "back"], ["z"], axis=2),
    ]
    feeds = {"x": w(T, B, I), "n": LENGTHS}
    compared(sorting(nodes, ["z"]), tmp_path, feeds, {"x": 1, "n": 0, "z": 2})


@pytest.mark.parametrize(
    ("nodes", "returned", "message"),
    [
        (GRU, "y", "rows of output 'y' must be in the order of the inputs, got them sorted by length"),
        ([node("Add", ["x", "xs"], ["y"])], "y", "rows that meet at node 'y' must be in one order"),
        ([node("Gather", ["xs", "order"], ["y"], axis=1)], "y", "rows at node 'y' must not be put in order twice"),
        ([node("Neg", ["order"], ["y"])], "y", r"node 'y' \(Neg\): numbers of rows must only put rows in order"),
    ],
)
def test_rows_that_stay_sorted_are_refused(tmp_path, nodes, returned, message):
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(saved(sorting(nodes, [returned]), tmp_path))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (np.array([3, 4], np.int32), "lengths must be of the rows of the sequence, the batch, got size 2"),
    ],
)
def test_lengths_that_are_refused(tmp_path, lengths, message):
    nodes = [node("GRU", ["x", "W", "R", "", "n"], ["y"], hidden_size=H)]
    proto = model(nodes, {"x": ["T", "B", I]}, ["y"], {"W": w(1, 3 * H, I), "R": w(1, 3 * H, H), "n": lengths})
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(saved(proto, tmp_path))
