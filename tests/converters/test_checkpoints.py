"""Weights in files and dicts of every kind, read without PyTorch: what is found, and what mistakes are told."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_cases import FILES
from torch_pickles import tensor, text, write

import fastgru
from fastgru import ConvertError
from fastgru._hints import command_line
from fastgru.converters.torch.checkpoint import read_checkpoint
from fastgru.layers import GRU, Dense, TimeConv, like

RNG = np.random.default_rng(0)
SHAPES = {"rnn.weight_ih_l0": (12, 3), "rnn.weight_hh_l0": (12, 4), "rnn.bias_ih_l0": (12,), "rnn.bias_hh_l0": (12,),
          "fc.weight": (2, 4), "fc.bias": (2,)}  # fmt: skip
ARRAYS = {name: RNG.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
X = RNG.normal(size=(7, 3)).astype(np.float32)
Y = fastgru.convert(ARRAYS)(X)


def refused(source: Any, **options: Any) -> str:
    with pytest.raises(ConvertError) as caught:
        fastgru.convert(source, **options)
    return str(caught.value)


def test_the_format_before_zip_is_read() -> None:
    old, new = (read_checkpoint(FILES / name) for name in ("legacy.pth", "gru.pt"))
    assert list(old) == list(new)


@pytest.mark.parametrize("size", [2, 30, 150, 400, 700, -1, -9])
def test_truncated_files_before_zip_are_refused(size: int, tmp_path: Path) -> None:
    (tmp_path / "short.pt").write_bytes((FILES / "legacy.pth").read_bytes()[:size])
    assert "short.pt' must be" in refused(tmp_path / "short.pt")


def test_flipped_bytes_before_zip_never_crash(tmp_path: Path) -> None:
    content, rng = (FILES / "legacy.pth").read_bytes(), np.random.default_rng(1)
    for _ in range(300):
        changed = bytearray(content)
        for at in rng.integers(len(content), size=rng.integers(1, 6)):
            changed[at] = rng.integers(256)
        (tmp_path / "flipped.pt").write_bytes(changed)
        try:
            read_checkpoint(tmp_path / "flipped.pt")
        except ConvertError:
            continue


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_plain_pickles(order: Any, protocol: int, tmp_path: Path) -> None:
    nested = {"params": {n: np.asarray(a, order=order) for n, a in ARRAYS.items()}, "big": np.arange(3, dtype=">i4"),
              "half": np.float16(2.5), "text": np.array(["a"]), "records": np.zeros(2, "i4,f4")}  # fmt: skip
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(nested, protocol))
    np.testing.assert_array_equal(fastgru.convert(tmp_path / "net.pkl")(X), Y)
    found = read_checkpoint(tmp_path / "net.pkl")
    np.testing.assert_array_equal(found["big"], [0, 1, 2])
    assert found["half"] == 2.5
    assert not isinstance(found["text"], np.ndarray)


def test_npz_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", **ARRAYS)
    model = fastgru.convert(tmp_path / "net.npz")
    np.testing.assert_array_equal(model(X), Y)
    assert (model.provenance["framework"], model.provenance["source"]) == ("NumPy", "net.npz")
    np.savez(tmp_path / "no_names.npz", *ARRAYS.values())
    assert "must have the names of a state_dict, got arr_0, arr_1, arr_2" in refused(tmp_path / "no_names.npz")
    np.savez(tmp_path / "dict.npz", model=ARRAYS)
    assert "got objects, such as a dict: save them with np.savez(path, **arrays)" in refused(tmp_path / "dict.npz")
    for size in (0, 10, 300, -30):
        (tmp_path / "short.npz").write_bytes((tmp_path / "net.npz").read_bytes()[:size])
        assert "must be one that np.savez wrote" in refused(tmp_path / "short.npz")


def npz(path: Path, header: bytes, data: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weight.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data)
    return path


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776)}",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        b"{'descr': '|O', 'fortran_order': False, 'shape': ()}",
        b"{'descr': '<f4', 'shape': ()}",
        b"__import__('os').system('true')",
        b"(" * 5000,
        b"",
    ],
)
def test_headers_of_npz_files_are_checked(header: bytes, tmp_path: Path) -> None:
    assert "array 'weight' of file" in refused(npz(tmp_path / "hostile.npz", header, bytes(8)))


def test_a_file_of_zeros_that_unpacks_to_all_of_memory_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(2**22))
    fastgru.set_memory_limit(2**20)
    try:
        with pytest.raises(fastgru.MemoryLimitError, match=r"unpacking '.*bomb.npz'"):
            fastgru.convert(tmp_path / "bomb.npz")
    finally:
        fastgru.set_memory_limit(None)


def test_dicts_that_share_a_dict_are_searched_once(tmp_path: Path) -> None:
    nested: Any = {}
    for _ in range(60):
        nested = {str(i): nested for i in range(50)}
    assert "must hold weights" in refused(nested)


MISTAKES: tuple[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]], ...] = (
    ({}, {}, ("the dict must hold weights, arrays by name, got an empty one",)),
    ({"epoch": 3, "loss": [1.0]}, {}, ("or a dict of them under state_dict, model_state_dict,", "'epoch' (int)")),
    ({"a": ARRAYS, "b": ARRAYS}, {}, ("got one under each of 'a', 'b': say which by key='a'",)),
    ({"a": ARRAYS}, {"key": "c"}, ("key must be one that holds weights in the dict (a), got 'c'",)),
    ({n: a for n, a in ARRAYS.items() if "hh" not in n}, {}, ("weight_hh_l0 must be there",)),
    ({**ARRAYS, "mean": np.ones(3)}, {}, ("got mean (3,): leave them out by ignore=['mean']",)),
    ({**ARRAYS, **{f"aux.{i}.weight": np.ones((3, 3)) for i in range(70)}}, {"like": [like(GRU), like(Dense)]},
     ("or be left out by ignore=['aux.0'], got left over aux.0.weight,", ", ... (70 in all)")),
    (ARRAYS, {"like": [like(GRU, name="gru"), like(Dense, name="fc")]},
     ("name in like must be a layer of the file, got 'gru', not one of 'rnn', 'fc'",)),
    (ARRAYS, {"like": [like(GRU, name="rnn"), like(TimeConv, name="fc")]},
     ("layer 'fc': arrays of TimeConv must be weight (3-D) and maybe bias (1-D), got weight (2, 4), bias (2,)",)),
    (ARRAYS, {"like": [like(GRU, name="rnn", inputs=["y"]), like(Dense, name="fc")]},
     ("inputs of 'rnn' in like must be layers before it (x), got y",)),
    ({"fc._packed_params._packed_params": (1, 2), "fc.scale": np.ones(1)}, {}, ("packed weights, got another object",)),
    ({**ARRAYS, "fc.weight": ARRAYS["fc.weight"].astype(complex)}, {}, ("must be of real numbers, got complex128",)),
)  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes_are_told_in_short(number: int) -> None:
    source, options, parts = MISTAKES[number]
    message = refused(source, **options)
    for part in parts:
        assert part in message
    assert len(message) < 2200


def test_a_whole_module_is_named_with_what_to_do(tmp_path: Path) -> None:
    message = refused(FILES / "whole_module.pt")
    assert "got a whole module of class torch.nn.modules.rnn.GRU, whose code is not in the file: where its" in message
    assert "convert torch.load(path, weights_only=False), or save its weights by torch.save(" in message
    with command_line():
        message = refused(FILES / "whole_module.pt")
    assert (
        "save it with torch.export first: torch.export.save(torch.export.export(model.eval(), (x,)), 'model" in message
    )
    assert "weights_only" not in message
    body = b"}" + text("model") + b"c__main__\nNet\n)\x81}" + text("_parameters") + b"}sbs"
    assert "got a whole module under 'model' of class Net," in refused(write(tmp_path / "module.ckpt", body))


def test_the_command_line_is_told_options() -> None:
    with command_line():
        assert "say which by --key 'the first'" in refused({"the first": ARRAYS, "second": ARRAYS})
        assert "--key must be one that holds weights in the dict (a), got 'c'" in refused({"a": ARRAYS}, key="c")


def test_quantized_and_complex_weights_are_named(tmp_path: Path) -> None:
    from torch_pickles import storage

    body = b"}" + text("fc.weight") + tensor((2,), (1,), stored=storage("ComplexFloatStorage")) + b"s"
    assert "'fc.weight' of checkpoint" in (message := refused(write(tmp_path / "net.pt", body)))
    assert "must be a dense tensor of real numbers, got torch.ComplexFloatStorage" in message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "got an empty file"),
        (b"PK\x03\x04", "got a truncated one: copy or download it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "got a pointer of Git LFS: git lfs pull brings the file itself",
        ),
        (b"<!DOCTYPE html>", "got a page of the web: download the file itself"),
        (b"\x1f\x8b\x08", "got one that gzip compressed: unpack it first"),
        (b"junk", "got another format or a damaged file"),
    ],
)
def test_files_of_other_kinds_are_named(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "net.ckpt").write_bytes(content)
    assert told in refused(tmp_path / "net.ckpt")


def test_a_pickle_of_tensors_without_their_storages_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pkl").write_bytes(b"\x80\x02" + tensor((2,), (1,)) + b".")
    assert "must hold the elements of its tensors, got a pickle alone" in refused(tmp_path / "net.pkl")


def test_arrays_within_pickles_must_have_their_bytes(tmp_path: Path) -> None:
    good = pickle.dumps({"fc.weight": np.ones((2, 3), np.float32)}, 2)
    at = good.index(b"K\x02K\x03\x86")  # the shape
    (tmp_path / "net.pkl").write_bytes(good[: at + 1] + b"\x09" + good[at + 2 :])
    assert "must have (9, 3) elements, got 24 bytes of float32" in refused(tmp_path / "net.pkl")
