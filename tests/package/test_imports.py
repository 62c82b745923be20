"""What a process pays for before it runs a model: the modules that are loaded, and the classes that are made."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys

import numpy as np
import pytest

from fastgru import Model, __version__
from fastgru.graph import OPS, Bidirectional, Dense, GraphBuilder, Op
from fastgru.layers import GRU, LSTM

LOADED = "print(*sorted(set(sys.modules) - before))"
# Of messages, writing, imports, checks and tables: none is needed to load a model and run it.
HEAVY = (
    "typer", "rich", "scipy", "difflib", "secrets", "random", "hashlib", "fractions", "decimal", "fastgru.cli",
    "fastgru.checks.comparison", "fastgru.checks.tracing", "fastgru.converters", "fastgru.passes.algebra",
    "fastgru.passes.canonical_form", "fastgru.passes.cells", "fastgru.passes.states", "fastgru.quantization",
    "fastgru.report.drawing",
)  # fmt: skip


def printed(code: str) -> list[str]:
    """The words that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    gru = GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))
    lstm = LSTM(rng.normal(size=(16, 3)), rng.normal(size=(16, 4)), reverse=True)
    graph = GraphBuilder()
    both = graph.add_layer(Bidirectional(gru, gru), graph.input("x", gru.input_spec()))
    head = graph.add(Dense(rng.normal(size=(3, 8)), activation="tanh"), *both)
    Model(graph.build(graph.add(lstm, head))).save(tmp_path / "m.fgru")
    return tmp_path / "m.fgru"


def test_a_model_loads_and_runs_without_heavy_modules(path):
    run = f"fastgru.load({str(path)!r})(numpy.ones((2, 5, 3), 'f'))"
    loaded = printed(f"import sys, numpy; before = set(sys.modules); import fastgru; {run}; {LOADED}")
    assert "fastgru.model" in loaded
    assert not set(HEAVY).intersection(loaded)


def test_the_version_is_said_without_numpy():
    words = "sys.argv = ['fastgru', '--version']; from fastgru.cli import main"
    version, number, *loaded = printed(f"import sys; before = set(sys.modules); {words}; main(); {LOADED}")
    assert (version, number) == ("fastgru", __version__)
    assert "fastgru.cli._app" in loaded
    assert not {"numpy", "fastgru.engine", "fastgru.cli.info"}.intersection(loaded)


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.__name__)
def test_no_op_has_methods_of_its_own_to_compile(op):
    assert op.__init__ is Op.__init__
    assert op.__setattr__ is Op.__setattr__
    names = [field.name for field in dataclasses.fields(op)]
    assert list(inspect.signature(op).parameters) == names == list(op.__match_args__)


def test_ops_are_frozen():
    dense = Dense(np.ones((2, 3)))
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'bias'"):
        dense.bias = np.ones(2)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'bias'"):
        del dense.bias


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Dense, "Dense: missing a required argument: 'weight'"),
        (
            lambda: Dense(np.ones((2, 3)), activatoin="tanh"),
            "Dense: got an unexpected keyword argument 'activatoin': did you mean activation?",
        ),
        (
            lambda: GRU.from_torch(np.ones((12, 3)), np.ones((12, 4)), return_sequence=False),
            "GRU: got an unexpected keyword argument 'return_sequence': did you mean return_sequences?",
        ),
        (lambda: Dense(np.ones((2, 3)), None, "tanh", "float32", None, 0, 1), "Dense: too many positional arguments"),
        (lambda: Dense(np.ones((2, 3)), weight=1), "Dense: multiple values for argument 'weight'"),
    ],
)
def test_wrong_arguments_of_an_op_name_it(make, message):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == message
