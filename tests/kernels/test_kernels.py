"""The activation kernels over all of their range, and the numbers that C and Python share."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastgru import IsaError, Model, cpu_info, engine
from fastgru.graph import ACTIVATIONS, TIERS, Activation, chain
from fastgru.layers import Activate, Dense

ROOT = Path(__file__).resolve().parents[2]
# Largest error allowed over every float32 exponent and both signs, |got - exact| / max(1, |exact|), and in
# brackets the largest measured on the three x86 builds. float64: the same table times 4e-9.
BOUNDS = {"softplus": 1.8e-7, "fast_tanh": 4e-7, "fast_sigmoid": 2.2e-7}  # (1.5e-7, 3.6e-7, 1.9e-7)
DEFAULT_BOUND = 1.2e-7  # sigmoid (8.9e-8), tanh (8.9e-8), softsign (8.6e-8), leaky_relu (7.9e-8), elu (4.2e-8)
FLOAT64 = 4e-9  # (2.2e-16)


def every_magnitude(dtype: type) -> np.ndarray:
    """Points of every exponent up to 2**100, dense where the activations bend, signs, zeros, infinities."""
    x = np.concatenate([np.ldexp(np.linspace(1, 2, 257), e) for e in range(-126, 101)])
    x = np.concatenate([x, np.linspace(0, 30, 400_001), [0.0, np.inf]])
    return np.concatenate([x, -x]).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_error(name, dtype, isa):
    activation = Activation(name)
    x = every_magnitude(dtype)
    graph = chain([Dense(np.ones((1, 1))), Activate(activation)])
    got = Model(graph, dtype=np.dtype(dtype).name, isa=isa)(x[:, None])[:, 0].astype(np.float64)
    with np.errstate(invalid="ignore"):
        want = activation(x.astype(np.float64))
    bound = BOUNDS.get(name, DEFAULT_BOUND) * (1 if dtype is np.float32 else FLOAT64)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0, np.abs(got - want) / np.maximum(1, np.abs(want)))
    assert error.max() <= bound, f"{name}: {error.max()} at {x[error.argmax()]}"
    assert np.isnan(Model(graph, isa=isa)(np.array([[np.nan]], np.float32))).all()


@pytest.mark.parametrize(("name", "bound", "least"), [("sigmoid", 1e-6, 0.0), ("tanh", 2e-6, -1.0)])
def test_the_fast_tier_errs_no_more_than_documented(name, bound, least, isa):
    x = every_magnitude(np.float32)
    fast = Activation(name).in_tier("fast")
    got = Model(chain([Dense(np.ones((1, 1))), Activate(fast)]), isa=isa)(x[:, None])[:, 0]
    assert np.abs(got - Activation(name)(x.astype(np.float64))).max() <= bound  # (6.9e-7, 1.3e-6)
    assert least <= got.min()
    assert got.max() <= 1
    assert fast.in_tier("exact") == Activation(name)


def c_enum(text: str, prefix: str) -> dict[str, int]:
    return {name.lower(): int(value) for name, value in re.findall(rf"\b{prefix}(\w+) = (\d+)", text)}


def test_numbers_shared_with_c_agree():
    header = (ROOT / "include/fastgru/fastgru.h").read_text()
    enums = {name: c_enum(body, "FG_") for name, body in re.findall(r"enum (\w+) \{(.*?)\}", header, re.DOTALL)}
    assert enums["fg_act_kind"] == {name: row.code for name, row in ACTIVATIONS.items()}
    assert list(enums["fg_tier"].items()) == [("any", 0), ("usual", 1), ("fast", 2), ("traced", 4), ("tiers", 8)]
    assert len(TIERS) + 1 <= enums["fg_tier"]["traced"]


def test_isa_errors(monkeypatch):
    layer = [Dense(np.ones((1, 1)))]
    with pytest.raises(IsaError, match=r"isa must be one of .*, got 'mmx'"):
        Model(layer, isa="mmx")
    absent = next(i for i in ("neon", "avx512") if i not in cpu_info()["built"])
    with pytest.raises(IsaError, match=f"got '{absent}', which was not built"):
        Model(layer, isa=absent)
    monkeypatch.setattr(engine, "isas", lambda: [("avx512", False, 16, "vnni"), ("portable", True, 4, "plain")])
    with pytest.raises(IsaError, match="one this machine supports"):
        Model(layer, isa="avx512")
    monkeypatch.setenv("FASTGRU_ISA", "sse9")
    with pytest.raises(IsaError, match=r"FASTGRU_ISA must be one of .*, got 'sse9'"):
        Model(layer)


def test_options_are_checked():
    layer = [Dense(np.ones((1, 1)))]
    with pytest.raises(ValueError, match="dtype must be one of"):
        Model(layer, dtype="float16")
    with pytest.raises(ValueError, match=r"gemm must be one of blas for dtype 'float64', got 'packed'"):
        Model(layer, dtype="float64", gemm="packed")


def test_import_loads_numpy_and_nothing_heavy():
    code = (
        "import sys, fastgru; heavy = {'scipy', 'torch', 'keras', 'onnx', 'h5py', 'rich', 'typer', 'matplotlib', "
        "'safetensors'}; print(sorted(heavy & {m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
