"""Fixtures shared by the tests: every instruction set of the machine, and the real models where they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cells import ISAS
from hypothesis import settings

from fastgru.lowering import lower, validation
from fastgru.lowering.traced import lower_traced

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

    def check(made: Any) -> None:
        validation.check(
            made.values, made.instructions, inputs=made.inputs, outputs=made.outputs, states=made.states,
            loops=made.loops, clocks=made.clocks, bases=made.bases,
        )  # fmt: skip

    def checked(graph: Any) -> Any:
        made = lower(graph)
        check(made)
        return made

    def checked_traced(graph: Any, values: Any, layers: Any) -> Any:
        shown = lower_traced(graph, values, layers)
        check(shown.lowered)
        return shown

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastgru.lowering.lower", checked)
        patch.setattr("fastgru.inspect.tracing.lower_traced", checked_traced)
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
