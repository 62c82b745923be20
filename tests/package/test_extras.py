"""SciPy is an extra: without it the package imports, runs float32 and names the extra where BLAS is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fastgru
from fastgru.errors import require

PACKAGE = Path(fastgru.__file__).parent.parent
BLOCKED = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "scipy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
import numpy as np
import fastgru
from fastgru.errors import require
from fastgru.layers import GRU

rng = np.random.default_rng(0)
gru = GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))
"""
INSTALL = "which is not installed: pip install 'fastgru[blas]'"


def run(code: str) -> str:
    """Return the output of a process without SciPy: its error's type and message, or its last value."""
    command = [sys.executable, "-c", BLOCKED + code, str(PACKAGE)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def caught(call: str) -> str:
    """Code that prints how a call fails."""
    return f"try:\n    {call}\nexcept fastgru.MissingExtraError as error:\n    print(error)\n"


def test_float32_runs_without_scipy(tmp_path):
    code = f"""
x = rng.normal(size=(5, 3)).astype(np.float32)
model = fastgru.Model([gru])
model.save({str(tmp_path / "m.fgru")!r})
y = fastgru.load({str(tmp_path / "m.fgru")!r}).stream().process(x)
print(np.array_equal(y, model(x)), model.gemm, "scipy" in sys.modules)
"""
    assert run(code) == "True packed False"


@pytest.mark.parametrize(
    ("call", "purpose"),
    [
        ("fastgru.Model([gru], dtype='float64')", "dtype 'float64'"),
        ("fastgru.Model([gru], gemm='blas')", "gemm 'blas'"),
    ],
)
def test_blas_without_scipy_names_the_extra(call, purpose):
    assert run(caught(call)) == f"{purpose} needs the package 'scipy', {INSTALL}"


def test_an_extra_that_fails_to_import_is_named(tmp_path, monkeypatch):
    (tmp_path / "spoilt.py").write_text("raise ValueError('nonsense in a setting')")
    (tmp_path / "lacking.py").write_text("import no_such_part")
    monkeypatch.syspath_prepend(tmp_path)
    for module, why in {
        "spoilt": "which fails to import: ValueError: nonsense in a setting",
        "lacking": "which fails to import: ModuleNotFoundError: No module named 'no_such_part'",
        "none.there": r"which is not installed: pip install 'fastgru\[plot\]'",
    }.items():
        package = module.split(".")[0]
        with pytest.raises(fastgru.MissingExtraError, match=f"a plot needs the package '{package}', {why}"):
            require(module, extra="plot", purpose="a plot")
