"""Fixtures shared by the tests: every instruction set of the machine, and the real models where they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import ISAS
from hypothesis import settings

from fastgru.engine import Plan
from fastgru.lowering.encoding import Program, encode
from fastgru.lowering.lower import Lowered

sys.path.append(str(Path(__file__).resolve().parents[1]))  # for bench and tests; what is installed goes first
MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
os.environ.pop("COLUMNS", None)  # pytest-xdist tells its workers a width, which tables of commands then keep to
# The same examples in every run, so that a failure is of what has changed; FASTGRU_EXAMPLES=random looks for others.
settings.register_profile("fastgru", derandomize=os.environ.get("FASTGRU_EXAMPLES") != "random")
settings.load_profile("fastgru")
os.environ.setdefault("KERAS_BACKEND", "torch")  # for tests/live, before anything imports Keras


@pytest.fixture(autouse=True, scope="session")
def _plans_are_checked() -> Iterator[None]:
    """Check the plan of every model that a test makes as if it came from a file."""

    def checked(lowered: Lowered) -> Program:
        made = encode(lowered)
        Plan(made, isa="", dtype="float32", lanes=1, measure=True, check=True)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastgru.lowering.encoding.encode", checked)
        yield


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> str:
    """Each instruction set that this build has and this machine runs."""
    return str(request.param)


@pytest.fixture
def real_models() -> Path:
    """The folder of real trained networks beside the checkout."""
    if not MODELS.is_dir():
        pytest.skip("needs the real models of ../shared/models, which are not beside this checkout")
    return MODELS
