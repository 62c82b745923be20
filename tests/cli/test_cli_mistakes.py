"""Mistakes on the command line: messages in its words, warnings on stderr."""

from __future__ import annotations

import numpy as np
import pytest
from commands import invoke

RNG = np.random.default_rng(0)
ENCODER = {"enc.weight_ih_l0": RNG.normal(size=(12, 3)), "enc.weight_hh_l0": RNG.normal(size=(12, 4))}
DECODER = {f"dec.{name}.weight": RNG.normal(size=(2, 4)) for name in ("a", "b")}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_part_of_a_checkpoint_is_said_to_be_one():
    np.savez("m.npz", **ENCODER, **DECODER)
    with pytest.warns(UserWarning, match="unused") as said:
        invoke("convert", "m.npz", "-o", "m.fgru", "--like", "GRU name=enc")
    assert str(said[0].message) == (
        "m.npz: 2 of 4 arrays are unused, of dec: the model is only a part of what the file holds. Describe every "
        "layer in --like, or say that this is meant: --ignore dec"
    )
    printed = invoke("convert", "m.npz", "-o", "m.fgru", "--like", "GRU name=enc", "--ignore", "dec")
    assert "unused" not in printed
