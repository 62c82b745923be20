"""Packed weights of a state_dict that are damaged: each is said, none is taken for another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgru.converters.torch.packed import unpacked
from fastgru.converters.torch.rebuilt import Quantized, Unknown
from fastgru.errors import ConvertError

CELL, LINEAR = "rnn._all_weight_values.0.param", "fc._packed_params._packed_params"


def script(*state: Any) -> Unknown:
    """An object as a pickle has it."""
    made = Unknown("torch.ScriptObject")
    made.state = state
    return made


def cell(kind: Any, biases: Any, *weights: Any) -> Unknown:
    products = [script((w, None), "LinearPackedParamsBase") if isinstance(w, np.ndarray) else w for w in weights]
    return script((kind, biases, [], [], products), "CellParamsBase")


NONE = script((None, None), "LinearPackedParamsBase")
DAMAGED = {
    "no object": ({CELL: 3}, "the packed weights of a quantized LSTM or GRU, got 3: load it into"),
    "no state": ({CELL: Unknown("torch.ScriptObject")}, "packed weights of a quantized LSTM or GRU, got"),
    "another kind": ({CELL: cell("quantized_x", [], np.ones((6, 3)), np.ones((6, 2)))}, "packed weights of a qua"),
    "no kind": ({CELL: cell([], [], np.ones((6, 3)), np.ones((6, 2)))}, "packed weights of a quantized LSTM or GRU"),
    "one product": ({CELL: cell("quantized_fp16", [], np.ones((6, 3)))}, "packed weights of a quantized LSTM or GRU"),
    "no products": ({CELL: cell("quantized_fp16", [], 1, 2)}, "must hold a weight and a bias, got 1 without them"),
    "vectors": ({CELL: cell("quantized_fp16", [], np.ones(3), np.ones(3))}, "must hold two matrices, got (3,), (3,)"),
    "no weights": ({CELL: cell("quantized_fp16", [], NONE, NONE)}, "must hold two matrices"),
    "no fit": ({CELL: cell("quantized_fp16", [], np.ones((6, 3)), np.ones((6, 2))), CELL.replace("0", "1"):
                cell("quantized_fp16", [], np.ones((6, 5)), np.ones((6, 2)))}, "fit neither (2 cells of 2 units"),
    "no tensors": ({LINEAR: (1, 2)}, "must hold the tensors of packed weights, got another object"),
    "a scale": (
        {"conv.weight": Quantized(np.ones((1, 1), np.int8), np.ones(()), np.zeros(()), None), "conv.scale": np.ones(1)},
        "layer 'conv' of file must be a float one, or one of torch.ao.quantization.quantize_dynamic, got one that was",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_said(name: str) -> None:
    nested, message = DAMAGED[name]
    with pytest.raises(ConvertError) as caught:
        unpacked(nested, "file")
    assert message in str(caught.value)


def test_codes_are_numbers_of_their_scales() -> None:
    codes = np.array([[-128, 0, 127], [1, 2, 3]], np.int8)
    whole = Quantized(codes, np.asarray(0.5), np.asarray(2), None)
    assert np.array_equal(whole.numbers(), [[-65, -1, 62.5], [-0.5, 0, 0.5]])
    rows = Quantized(codes, np.array([1.0, 0.25]), np.array([0, 1]), 0)
    assert np.array_equal(rows.numbers(), [[-128, 0, 127], [0, 0.25, 0.5]])
    found, precisions = unpacked({LINEAR: (rows, None), "fc.scale": np.ones(()), "fc.zero_point": np.zeros(())}, "file")
    assert list(found) == ["fc.weight"]
    assert precisions == {"fc": "int8"}
