"""Reading PyTorch's zip checkpoints without torch: what is in them, and every hostile file refused."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_cases import FILES
from torch_pickles import BODIES, GLOBAL_TENSOR, SKIPPED, numbers, storage, tensor, text, write

from fastgru.converters.torch import archive
from fastgru.converters.torch.checkpoint import read_checkpoint
from fastgru.converters.torch.rebuilt import Unknown
from fastgru.errors import ConvertError

BASE = np.arange(24.0).reshape(2, 3, 4)
NUMPY = {
    "float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": np.float32, "int64": np.int64,
    "int32": np.int32, "int16": np.int16, "int8": np.int8, "uint8": np.uint8,
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hostile.pt"


def refused(path: Path) -> str:
    with pytest.raises(ConvertError) as caught:
        read_checkpoint(path)
    return str(caught.value)


# What torch writes --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 4])
def test_every_type_is_read(protocol: int) -> None:
    content = read_checkpoint(FILES / f"types_{protocol}.pt")
    for name, dtype in NUMPY.items():
        assert content[name].dtype == dtype, name
        np.testing.assert_array_equal(content[name], BASE.astype(dtype))
    assert content["bool"].dtype == np.bool_
    np.testing.assert_array_equal(content["bool"], BASE > 5)
    assert content["scalar"].shape == ()
    assert content["scalar"] == 2.5
    assert content["empty"].shape == (0, 3)
    np.testing.assert_array_equal(content["parameter"], BASE)
    np.testing.assert_array_equal(content["strided"], BASE.transpose(2, 0, 1)[1:, :, ::2])
    np.testing.assert_array_equal(content["expanded"], np.ones((4, 5)))
    assert content["dtype"] == "bfloat16"
    assert content["size"] == (2, 3)
    assert content["list"] == [1, -(2**40), 2.5, None, True, ("a", 1, 2, 3)]


def test_shared_storage_is_read_once_and_never_written() -> None:
    content = read_checkpoint(FILES / "types_2.pt")
    assert np.shares_memory(content["float32"], content["strided"])
    with pytest.raises(ValueError, match="read-only"):
        content["float32"][0] = 1


def test_state_dict_keeps_its_order_and_loses_its_metadata() -> None:
    content = read_checkpoint(FILES / "gru.pt")
    assert list(content) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]


def test_handmade_pickle_is_read(file: Path) -> None:
    data = np.arange(6, dtype="<f4").tobytes()
    np.testing.assert_array_equal(read_checkpoint(write(file, tensor((2, 2), (1, 2), 1), data=data)), [[1, 3], [2, 4]])


def test_big_endian_is_read(file: Path) -> None:
    data = np.arange(6, dtype=">f4").tobytes()
    array = read_checkpoint(write(file, tensor((6,), (1,)), data=data, byteorder=b"big"))
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.arange(6))


# What must be refused -----------------------------------------------------------------------------


class Evil:
    """Runs a command when unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("echo hacked > hacked",)


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_named_and_not_run(protocol: int, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Evil()}, protocol))
    found = read_checkpoint(file)["a"]
    assert isinstance(found, Unknown)
    assert found.name == f"{os.system.__module__}.system"
    assert not (file.parent / "hacked").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gru.npz", "must hold one data.pkl, got 0"),
        ("bfloat16.safetensors", "must be one that torch.save wrote, got another format or a damaged file"),
    ],
)
def test_other_files_are_refused(name: str, message: str) -> None:
    assert message in refused(FILES / name)


@pytest.mark.parametrize("name", BODIES)
def test_hostile_pickle_is_refused(name: str, file: Path) -> None:
    body, message = BODIES[name]
    if message == SKIPPED:
        assert set(map(type, read_checkpoint(write(file, b"(" + body + b"l"))[:1])) <= {Unknown, dict}
    else:
        assert message in refused(write(file, body))


def test_expansion_is_bounded_not_forbidden(file: Path) -> None:
    assert read_checkpoint(write(file, tensor((2**20, 4), (0, 0)))).shape == (2**20, 4)
    assert archive.SPARE == 2**24


def test_compressed_entries_are_refused(file: Path) -> None:
    body = text("a" * 1000)
    assert "must unpack to at most its" in refused(write(file, body, compression=zipfile.ZIP_DEFLATED))
    assert "got it compressed" in refused(write(file, text("ab"), data=b"", compression=zipfile.ZIP_DEFLATED))


def test_wrong_byteorder_is_refused(file: Path) -> None:
    assert "byteorder of" in refused(write(file, b"}", byteorder=b"middle"))


def test_two_checkpoints_in_one_are_refused(file: Path) -> None:
    assert "must hold one data.pkl, got 2" in refused(write(file, b"}", **{"sub/data.pkl": b""}))


def test_large_pickle_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgru.converters.torch.pickle.MAX_OPCODES", 100)
    assert "must have at most 100 opcodes" in refused(write(file, b"(" + b"N" * 100 + b"t"))


def test_nested_memo_does_not_multiply(file: Path) -> None:
    nested = b")q\x00"
    for _ in range(60):  # a tuple of ten times the one before
        nested = b"(" + nested + b"h\x00" * 9 + b"tq\x00"
    assert len(read_checkpoint(write(file, b"}" + text("v") + nested + b"s"))["v"]) == 10
    assert read_checkpoint(write(file, b"}" + nested + text("v") + b"s")) == {}


@pytest.mark.parametrize("size", [0, 1, 3, 4, 30, 200, 700, -1, -22, -60])
def test_truncated_files_are_refused(size: int, file: Path) -> None:
    file.write_bytes((FILES / "gru.pt").read_bytes()[:size])
    assert refused(file)


def test_corrupt_storage_is_refused(file: Path) -> None:
    content = (FILES / "gru.pt").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        stored = archive.read("gru/data/0")
    assert content.count(stored) == 1
    file.write_bytes(content.replace(stored, stored[:-1] + bytes([stored[-1] ^ 1])))
    assert "cannot be read: Bad CRC-32" in refused(file)


def read_or_refuse(path: Path) -> None:
    try:
        read_checkpoint(path)
    except ConvertError:
        return


FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(edits=st.lists(st.tuples(st.integers(0, 2740), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes_never_crash(edits: list[tuple[int, int]], file: Path) -> None:
    content = bytearray((FILES / "gru.pt").read_bytes())
    for at, value in edits:
        content[at % len(content)] = value
    file.write_bytes(content)
    read_or_refuse(file)


def test_an_archive_that_says_it_spans_disks_is_refused(file: Path) -> None:
    content = bytearray((FILES / "gru.pt").read_bytes())
    content[content.rindex(b"PK\x06\x07") + 16] = 2  # disks, in the ZIP64 locator
    file.write_bytes(content)
    assert "must be intact" in refused(file)


OPCODES = b"".join(opcode.code.encode("latin1") for opcode in pickletools.opcodes)


@FUZZ
@given(
    parts=st.lists(
        st.sampled_from([tensor((2, 3), (3, 1)), storage(), numbers(1, 2), text("a"), GLOBAL_TENSOR, b"}", b"]", b"("])
        | st.sampled_from(list(OPCODES)).map(lambda code: bytes([code]))
        | st.binary(max_size=6),
        max_size=30,
    )
)
def test_random_pickles_never_crash(parts: list[bytes], file: Path) -> None:
    read_or_refuse(write(file, b"".join(parts)))


def test_plain_containers_round_trip(file: Path) -> None:
    nested = {"a": [1, 2.5, {"b": (None, False, "ü")}], "c": OrderedDict(), 3: ()}
    for protocol in (2, 3, 4, 5):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("x/data.pkl", pickle.dumps(nested, protocol))
        assert read_checkpoint(file) == nested


def test_deep_values_are_named_in_short(file: Path) -> None:
    """Nesting has no limit in a pickle, Python's own text of it has."""
    deep = b"N" + b"\x85" * 20_000
    for body in (deep + b")R", GLOBAL_TENSOR + b"(" + storage() + numbers(0)[1:-1] + deep + deep + b"\x89}tR"):
        write(file, body)
        assert len(refused(file)) < 1000
