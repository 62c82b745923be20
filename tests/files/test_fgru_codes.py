"""The codes and scales of a .fgru file: what no writer makes is named."""

from __future__ import annotations

import numpy as np
import pytest
from fgru_files import attribute, edit, normal, rebuilt, write

from fastgru.errors import FileFormatError
from fastgru.files import fgru
from fastgru.graph import (
    Dense,
    LayerNorm,
    chain,
)

CODES = np.array([[127, 0, -5], [1, 2, -127]], dtype=np.int8)
SCALE = np.array([0.5, 2.0], dtype=np.float32)
BAD_CODES = [
    (
        "int8",
        {"dense.weight": CODES.astype(np.float32)},
        "weight of node 'dense' must be a tensor of int8, got float32",
    ),
    (
        "int8",
        {"dense.weight.scale": SCALE.astype(np.float64)},
        "weight.scale of node 'dense' must be a tensor of float32, got",
    ),
    ("int8", {"dense.weight.scale": SCALE[:1]}, r"weight.scale of node 'dense' must have shape \(2,\), got \(1,\)"),
    (
        "int8",
        {"dense.weight.scale": SCALE[:, None]},
        r"weight.scale of node 'dense' must have shape \(2,\), got \(2, 1\)",
    ),
    ("int8", {"dense.weight.scale": SCALE * 0}, "weight.scale of node 'dense' must be positive and finite, got 0.0"),
    ("int8", {"dense.weight.scale": -SCALE}, "weight.scale of node 'dense' must be positive and finite, got -0.5"),
    (
        "int8",
        {"dense.weight.scale": SCALE * np.nan},
        "weight.scale of node 'dense' must be positive and finite, got nan",
    ),
    (
        "int8",
        {"dense.weight.scale": SCALE * np.inf},
        "weight.scale of node 'dense' must be positive and finite, got inf",
    ),
    ("int8", {"dense.weight": CODES - np.int8(1)}, "weight of node 'dense' must be codes of -127..127, got -128"),
    ("int8", {"dense.weight": CODES // 2}, "weight(.scale)? of node 'dense' must be what int8 stores for its values"),
    (
        "int8",
        {"dense.weight.scale": np.array([0.1, 2], np.float32)},
        "weight.scale of node 'dense' must be what int8 stores",
    ),
    ("int8", {"dense.weight.scale": np.array([3e38, 2], np.float32)}, "weight of node 'dense' must be finite, got inf"),
    ("int8", {"dense.weight.scale": np.array([1e-44, 2], np.float32)}, "must be what int8 stores"),
    ("int8", {"dense.weight": CODES[0]}, r"weight of node 'dense' must have 2 axes, got shape \(3,\)"),
    (
        "float16",
        {"dense.weight": CODES.astype(np.uint16)},
        "weight of node 'dense' must be a tensor of float16, got uint16",
    ),
    (
        "float16",
        {"dense.weight": np.full((2, 3), np.inf, np.float16)},
        "weight of node 'dense' must be finite, got inf",
    ),
    (
        "float16",
        {"dense.weight": np.full((2, 3), np.nan, np.float16)},
        "weight of node 'dense' must be finite, got nan",
    ),
    (
        "bfloat16",
        {"dense.weight": CODES.astype(np.float16)},
        "weight of node 'dense' must be a tensor of uint16, got float16",
    ),
    (
        "bfloat16",
        {"dense.weight": np.full((2, 3), 0x7F80, np.uint16)},
        "weight of node 'dense' must be finite, got inf",
    ),
    (
        "bfloat16",
        {"dense.weight": np.full((2, 3), 0xFFFF, np.uint16)},
        "weight of node 'dense' must be finite, got nan",
    ),
    (
        "bfloat16",
        {"dense.weight": np.full((2, 3), 1, np.uint16)},
        "weight of node 'dense' must be what bfloat16 stores",
    ),
]


@pytest.mark.parametrize(("precision", "arrays", "message"), BAD_CODES)
def test_codes_that_no_writer_makes_are_named(tmp_path, precision, arrays, message):
    path, good = tmp_path / "m", {"dense.weight": CODES, "dense.weight.scale": SCALE} if precision == "int8" else {}
    rebuilt(path, attributes={"precision": precision}, **{**good, **arrays})
    with pytest.raises(FileFormatError, match=message):
        fgru.read(path)


def test_the_good_codes_of_these_cases_are_read(tmp_path):
    rebuilt(tmp_path / "m", **{"dense.weight": CODES, "dense.weight.scale": SCALE})
    weight = fgru.read(tmp_path / "m").graph.nodes[0].op.weight
    np.testing.assert_array_equal(weight, CODES.astype(np.float32) * SCALE[:, None], strict=True)


def test_a_missing_scale_and_an_unknown_precision_are_named(tmp_path):
    path = tmp_path / "m"
    rebuilt(path, remove=("weight.scale",))
    with pytest.raises(FileFormatError, match=r"weights of node 'dense' must be of weight, weight\.scale, bias, got"):
        fgru.read(path)
    rebuilt(path)
    edit(path, attribute("precision", "int4"))
    with pytest.raises(FileFormatError, match=r"precision of node 'dense' must be one of float32, .*got 'int4'"):
        fgru.read(path)
    rebuilt(path)
    edit(path, lambda h: h["graph"]["nodes"][0]["attributes"].pop("precision"))
    with pytest.raises(FileFormatError, match=r"weights of node 'dense' must be of weight, bias, got .*weight\.scale"):
        fgru.read(path)


def test_only_matrices_may_have_codes(tmp_path):
    path = tmp_path / "m"
    write(path, chain([LayerNorm(np.ones(3)), Dense(normal(2, 3), precision="float16")]))
    edit(path, lambda h: [n["weights"].update(v) for n, v in zip(h["graph"]["nodes"], SWAPPED, strict=True)])
    with pytest.raises(FileFormatError, match="scale of node 'layer_norm' must be a tensor of float32 or float64"):
        fgru.read(path)


SWAPPED = ({"scale": "dense.weight"}, {"weight": "layer_norm.scale"})


def test_codes_are_of_one_type_and_each_has_its_scale(tmp_path):
    write(tmp_path / "m", chain([Dense(normal(3, 3), precision=p) for p in ("int8", "int8", "int8", "float32")]))
    for i, key, name, message in (
        (1, "weight.scale", "dense_2.weight.scale", "every tensor must be used .*dense_1.weight.scale"),
        (3, "weight", "dense.weight", "weight of node 'dense_3' must be a tensor of float32 or float64, got int8"),
        (1, "weight", "dense_3.weight", "weight of node 'dense_1' must be a tensor of int8, got float32"),
    ):
        data = (tmp_path / "m").read_bytes()
        edit(tmp_path / "m", lambda h, i=i, k=key, n=name: (
            h.update(format_version=2), h["graph"]["nodes"][i]["weights"].update({k: n})))  # fmt: skip
        with pytest.raises(FileFormatError, match=message):
            fgru.read(tmp_path / "m")
        (tmp_path / "m").write_bytes(data)
