"""State_dicts to graphs: against PyTorch's own outputs, and every way in which a file leaves something open."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from torch_cases import CASES, FILES, FORWARDS, Forward, assert_close, golden

from fastgru import convert
from fastgru.converters import to_graph
from fastgru.converters.torch.state_dict import import_state_dict
from fastgru.errors import ConvertError
from fastgru.graph import Concat
from fastgru.layers import (
    GRU,
    LSTM,
    RNN,
    Add,
    BatchNorm,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Scaler,
    like,
)


def arrays_of(**shapes: tuple[int, ...]) -> dict[str, Any]:
    """Arrays of ones; a double underscore in a name stands for a dot."""
    return {name.replace("__", "."): np.ones(shape, np.float32) for name, shape in shapes.items()}


GRU_ARRAYS = arrays_of(gru__weight_ih_l0=(6, 3), gru__weight_hh_l0=(6, 2))
BOTH_WAYS = GRU_ARRAYS | arrays_of(gru__weight_ih_l0_reverse=(6, 3), gru__weight_hh_l0_reverse=(6, 2))
LINEAR = arrays_of(fc__weight=(1, 2), fc__bias=(1,))


def refuse(arrays: Any, like: Any = None, **options: Any) -> str:
    """The message of the error that importing must raise."""
    with pytest.raises(ConvertError) as caught:
        import_state_dict(arrays, like, what="file", **options)
    return str(caught.value)


@pytest.mark.parametrize(("forward", "key", "tolerance"), FORWARDS)
@pytest.mark.parametrize("case", CASES)
def test_checkpoint_computes_what_torch_does(case: str, forward: Forward, key: str, tolerance: float) -> None:
    chain, names = CASES[case]
    imported = to_graph(FILES / f"{case}.pt", like=chain)
    arrays = golden(case)
    assert [node.name for node in imported.graph.nodes] == names
    assert ("assumed" in imported.provenance) == (chain is None)
    assert {k: v for k, v in imported.provenance.items() if k != "assumed"} == {
        "framework": "PyTorch", "source": f"{case}.pt"
    }  # fmt: skip
    assert imported.oracle is None
    assert_close(forward(imported.graph, arrays["x"]), [arrays[key]], tolerance)


def test_every_checkpoint_is_tested() -> None:
    assert {path.stem for path in FILES.glob("*.npz")} == set(CASES)


@pytest.mark.parametrize(("ratio", "kind"), [(1, "rnn"), (3, "gru"), (4, "lstm")])
@pytest.mark.parametrize("end", ["", "_l0"])
def test_rows_per_unit_say_the_cell(ratio: int, kind: str, end: str) -> None:
    arrays = {f"weight_ih{end}": np.ones((5 * ratio, 2)), f"weight_hh{end}": np.ones((5 * ratio, 5))}
    chain = [like(RNN, activation="tanh")] if kind == "rnn" else None
    (node,) = import_state_dict(arrays, chain, what="file").nodes
    assert (node.name, node.op.kind) == (kind, kind)
    assert node.op.weights()["weight_x"].dtype == np.float64


def test_order_is_that_of_the_file() -> None:
    first = import_state_dict(LINEAR | arrays_of(a__weight=(4, 1), a__bias=(4,)), None, what="file")
    assert [node.name for node in first.nodes] == ["fc", "a"]


def test_wrappings_and_prefixes_are_removed() -> None:
    imported = to_graph(FILES / "wrapped.pt")
    assert [node.name for node in imported.graph.nodes] == ["gru"]
    nested = {"epoch": 1, "model": {"state_dict": {f"_orig_mod.module.{n}": a for n, a in GRU_ARRAYS.items()}}}
    assert import_state_dict(nested, None, what="file").nodes[0].name == "gru"
    mixed = {f"model._orig_mod.{n}" if "ih" in n else f"module.{n}": a for n, a in GRU_ARRAYS.items()}
    assert import_state_dict(mixed, None, what="file").nodes[0].name == "gru"


@pytest.mark.parametrize(
    ("nested", "message"),
    [
        ({}, "file must hold weights, arrays by name, got an empty one"),
        ([1], "file must hold a state_dict, got list"),
        (np.ones(3), "file must hold a state_dict, got array (3,)"),
        (
            {"model": GRU_ARRAYS, "state_dict": GRU_ARRAYS},
            "one under each of 'state_dict', 'model': say which by key='state_dict'",
        ),
        ({"optimizer": {0: {"exp_avg": np.ones(2)}}, "lr": 1.0}, "got 'optimizer' (dict), 'lr' (float)"),
        ({3: np.ones(2)}, "got '3' (array (2,))"),
        ({"num_batches_tracked": np.ones(())}, "weights of at least one layer, got none"),
    ],
)
def test_what_is_no_state_dict_is_refused(nested: Any, message: str) -> None:
    assert message in refuse(nested)


def test_a_dict_inside_itself_is_refused() -> None:
    nested: dict[str, Any] = {}
    nested["model"] = nested
    assert "must hold weights" in refuse(nested)


@pytest.mark.parametrize(
    ("arrays", "message", "line"),
    [
        (arrays_of(rnn__weight_ih_l0=(2, 3), rnn__weight_hh_l0=(2, 2)), "layer 'rnn': activation must be said",
         "like=[like(RNN, name='rnn', activation='tanh')]"),
        (arrays_of(weight_ih=(2, 3), weight_hh=(2, 2)), "the layer without a name: activation must be said",
         "like=[like(RNN, activation='tanh')]"),
        (GRU_ARRAYS | arrays_of(out__weight=(3, 2)), "layer 'out': class must be said, Embedding or Dense",
         "like=[like(GRU, name='gru'), like(Embedding, name='out')]"),
        (arrays_of(norm__weight=(3,)), "class must be said, LayerNorm or PReLU or another",
         "like(LayerNorm, name='norm')"),
        (arrays_of(conv__weight=(3, 2, 5), conv__bias=(3,)), "class must be said, TimeConv or Conv or ConvTranspose or",
         "like(TimeConv, name='conv')"),
        (arrays_of(m__weight_g=(3, 1), m__bias=(3,)), "(3,): leave them out by ignore=['m']", "name='m'"),
        (arrays_of(a__weight_ih_l0=(6, 3)), "weight_hh_l0 must be there", "name='a'"),
        (GRU_ARRAYS | arrays_of(gru__bias_ih_l0=(6,)), "bias_ih_l0 and bias_hh_l0 must both be there", "name='gru'"),
        (arrays_of(a__weight_ih_l1=(6, 3), a__weight_hh_l1=(6, 2)), "numbered from 0", "name='a'"),
        (arrays_of(a__weight_ih_l99999=(6, 3)), "numbered from 0", "name='a'"),
        (arrays_of(a__weight_ih_l0=(4, 3), a__weight_hh_l0=(4, 2)), "1 (RNN), 3 (GRU) or 4 (LSTM), got 2", "name='a'"),
        (arrays_of(a__weight_ih_l0=(0, 3), a__weight_hh_l0=(0, 0)), "a matrix that is not empty", "name='a'"),
        (GRU_ARRAYS | arrays_of(gru__weight_ih_l1=(8, 2), gru__weight_hh_l1=(8, 2)), "be of one kind", "name='gru'"),
        (BOTH_WAYS | arrays_of(gru__weight_ih_l1=(6, 4), gru__weight_hh_l1=(6, 2)), "cell _l1_reverse must be there",
         "name='gru'"),
    ],
)  # fmt: skip
def test_what_a_file_leaves_open_is_asked_for(arrays: Any, message: str, line: str) -> None:
    said = refuse(arrays)
    assert message in said
    assert line in said


def test_all_open_questions_are_asked_at_once() -> None:
    arrays = arrays_of(a__weight=(3, 2), b__weight=(4, 3), c__weight_ih=(2, 4), c__weight_hh=(2, 2))
    assert refuse(arrays).startswith("file: 4 problems:")


def test_layers_that_do_not_fit_are_refused() -> None:
    message = refuse(GRU_ARRAYS | arrays_of(fc__weight=(1, 7), fc__bias=(1,)))
    assert "layers must fit each other in the order gru, fc:" in message
    assert "node 'fc' (Dense): input must have 7 features, got 2" in message


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (
            [like(GRU)],
            "or be left out by ignore=['fc'], got left over fc.weight, fc.bias",
        ),
        ([like(GRU), like(Dense), like(Dense)], "Dense in like must have arrays in the file, got none left"),
        ([like(GRU, name="gru"), like(Dense, name="top")], "got 'top', not one of 'gru', 'fc'"),
        ([like(GRU, name="gru"), like(GRU, name="gru"), like(Dense)], "got 'gru', taken twice"),
        ([like(LSTM), like(Dense)], "rows per unit must be 4 for LSTM, got 3, which is GRU"),
        ([like(Dense, name="gru"), like(Dense)], "arrays of Dense must be weight (2-D) and maybe bias (1-D), got"),
        ([like(GRU), like(Embedding)], "arrays of Embedding must be weight (2-D) and maybe nothing"),
        ([like(GRU), like(Scaler)], "class in like must be one of"),
        ([like(Bidirectional, inner=like(GRU)), like(Dense)], "Bidirectional must have arrays named ..._reverse"),
        ([like(GRU, reverse=True), like(Dense)], "reverse must be left to the names of the arrays"),
        ([like(GRU, layout="cudnn"), like(Dense)], "layout must be omitted for arrays from PyTorch, got 'cudnn'"),
        ([like(RNN), like(Dense)], "activation of RNN must be said in like"),
        ([like(GRU, clip=-1.0), like(Dense)], "clip must be positive"),
    ],
)
def test_like_that_does_not_match_is_refused(chain: Any, message: str) -> None:
    assert message in refuse(GRU_ARRAYS | LINEAR, chain)


def test_like_gives_order_attributes_and_layers_without_arrays() -> None:
    chain = [like(GRU, name="gru", activation="relu"), like(Dropout, rate=0.1), like(Dense, activation="sigmoid")]
    graph = import_state_dict(LINEAR | GRU_ARRAYS, chain, what="file")
    assert [node.name for node in graph.nodes] == ["gru", "dropout", "fc"]
    assert graph.nodes[0].op.activation.name == "relu"
    assert graph.nodes[2].op.activation.name == "sigmoid"


@pytest.mark.parametrize(("merge", "width"), [("concat", 4), ("sum", 2), ("mul", 2), ("ave", 2)])
def test_like_covers_both_directions(merge: str, width: int) -> None:
    chain = [like(Bidirectional, inner=like(GRU, return_sequences=False), merge=merge)]
    graph = import_state_dict(BOTH_WAYS, chain, what="file")
    spec = graph.specs[graph.outputs[0]]
    assert (spec.shape, spec.time) == ((width,), False)


def test_attributes_of_the_last_layer_leave_those_below_alone() -> None:
    arrays = BOTH_WAYS | {n.replace("_l0", "_l1"): np.ones((6, 4 if "ih" in n else 2)) for n in BOTH_WAYS}
    chain = [like(Bidirectional, inner=like(GRU, return_sequences=False, clip=2.0), merge="sum")]
    graph = import_state_dict(arrays, chain, what="file")
    cells = [node.op for node in graph.nodes if isinstance(node.op, GRU)]
    assert [cell.return_sequences for cell in cells] == [True, True, False, False]
    assert {cell.clip for cell in cells} == {2.0}
    assert [type(node.op) for node in graph.nodes if not isinstance(node.op, GRU)] == [Concat, Add]


def test_norms_are_told_apart() -> None:
    batch = {f"n.{name}": np.ones(3) for name in ("weight", "bias", "running_mean", "running_var")}
    counted = {**batch, "n.num_batches_tracked": np.array(7)}
    assert isinstance(import_state_dict(counted, None, what="file").nodes[0].op, BatchNorm)
    layer = import_state_dict(arrays_of(n__weight=(3,), n__bias=(3,)), [like(LayerNorm, eps=1e-3)], what="file")
    assert layer.nodes[0].op.eps == 1e-3


def test_safetensors_need_the_order() -> None:
    path = FILES / "two_layers.safetensors"
    with pytest.raises(ConvertError, match="order of the layers must be said"):
        to_graph(path)
    with pytest.raises(ConvertError, match=re.escape("GRU in like must have a name, got none")):
        to_graph(path, like=[like(GRU), like(Dense)])
    graph = to_graph(path, like=[like(GRU, name="b_first"), like(Dense, name="a_second")]).graph
    same = to_graph(FILES / "two_layers.pt").graph
    assert [node.name for node in graph.nodes] == [node.name for node in same.nodes] == ["b_first", "a_second"]
    for a, b in zip(graph.nodes, same.nodes, strict=True):
        for name, array in a.op.weights().items():
            np.testing.assert_array_equal(array, b.op.weights()[name])


def test_a_part_of_a_file_is_said_to_be_one() -> None:
    path = FILES / "two_layers.safetensors"
    with pytest.warns(UserWarning, match=r"^two_layers.safetensors: 2 of 6 arrays are unused, of a_second:") as said:
        model = convert(path, like=[like(GRU, name="b_first")])
    assert said[0].filename == __file__
    assert model.provenance["unused"] == "a_second.bias, a_second.weight"
    assert "unused" not in convert(path, like=[like(GRU, name="b_first")], ignore=["a_second"]).provenance


def test_safetensors_bfloat16_is_widened() -> None:
    imported = to_graph(FILES / "bfloat16.safetensors")
    assert imported.provenance["source"] == "bfloat16.safetensors"
    weights = imported.graph.nodes[0].op.weights()
    np.testing.assert_array_equal(weights["weight_x"], np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(weights["weight_h"], [[0.0], [4.0], [8.0]])


@pytest.mark.parametrize("size", [0, 4, 40, -1])
def test_damaged_safetensors_are_refused(size: int, tmp_path: Any) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes((FILES / "bfloat16.safetensors").read_bytes()[:size])
    with pytest.raises(ConvertError, match="must be intact, got one that cannot be read"):
        to_graph(path)


def test_a_cell_of_no_units_is_refused(tmp_path: Any) -> None:
    from safetensors.numpy import save_file

    shapes = {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 0), "bias_ih_l0": (12,), "bias_hh_l0": (12,)}
    path = tmp_path / "none.safetensors"
    save_file({f"gru.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}, path)
    with pytest.raises(ConvertError, match=r"weight_hh_l0 must be a matrix that is not empty, got shape \(12, 0\)"):
        to_graph(path)
    with pytest.raises(ConvertError, match=r"got shape|rows per unit must be"):
        to_graph(path, like=[like(GRU, name="gru")])
