"""Layers of a source beside the values that they became: what the table says, and what is said without a source."""

from __future__ import annotations

from importlib.resources import files
from math import isinf, isnan

import numpy as np
import pytest
from cells import make_cell
from test_frames import looped

from fastgru.checks import comparison, selftest
from fastgru.converters import WEIGHTS_ONLY, Imported, LayerOutput
from fastgru.errors import OracleError
from fastgru.graph import Activate, Dense, Dropout, Graph, State, chain
from fastgru.graph.dialects import reorder
from fastgru.layers import GRU, like
from fastgru.reference import run

RNG = np.random.default_rng(3)
GRU_CELL = make_cell("gru-after", 3, 8)
NAMES = ("gru", "dense", "activate")
LAYERS = [GRU_CELL, Dense(RNG.normal(size=(4, 8))), Activate("softmax")]
SWAPPED = GRU_CELL.replace(
    **{f: reorder(getattr(GRU_CELL, f), "rzn", "zrn") for f in ("weight_x", "weight_h", "bias", "bias_h")}
)


def told(graph, names=None, **changed):
    """The layers of a source that computes the same as `graph`, but for the values in `changed`."""
    names = [v for node in graph.nodes for v in node.outputs] if names is None else names

    def layers(x):
        found = run(Graph(graph.inputs, graph.nodes, names, graph.feedback), x)[0]
        return tuple(
            LayerOutput(f"their {v}", "Theirs", v, changed[v](y) if v in changed else y)
            for v, y in zip(names, found, strict=True)
        )

    return layers


@pytest.fixture
def compared(monkeypatch):
    """Compare a graph with what a source tells."""

    def compare(graph, layers, missing=""):
        found = Imported(graph, {"framework": "Theirs 1.0"}, lambda x: run(graph, x)[0], layers, missing)
        monkeypatch.setattr(comparison, "to_graph", lambda source, caller, **options: found)
        return comparison.compare("model")

    return compare


def test_a_right_import_differs_nowhere(compared):
    found = compared(chain(LAYERS), told(chain(LAYERS)))
    assert [(row.name, row.kind, row.value) for row in found.rows] == [(f"their {n}", "Theirs", n) for n in NAMES]
    assert all(row.error == row.new == 0.0 for row in found.rows)
    assert all(0 < row.engine < 3e-6 for row in found.rows)
    assert found.origin is None
    assert found.title.endswith("against Theirs 1.0")


def test_a_wrong_layer_is_the_first_and_the_only_one_that_adds(compared):
    wrong = chain([SWAPPED, *LAYERS[1:]])
    found = compared(wrong, told(chain(LAYERS)))
    assert all(row.error > 1e-3 and row.engine > 1e-3 for row in found.rows)
    assert [row.new > 1e-3 for row in found.rows] == [True, False, False]
    assert found.origin is found.rows[0]
    behind = compared(chain([*LAYERS[:1], Dense(RNG.normal(size=(4, 8))), *LAYERS[2:]]), told(chain(LAYERS)))
    assert [row.error > 1e-3 for row in behind.rows] == [False, True, True]
    assert behind.origin is behind.rows[1]


def test_what_only_passes_a_value_on_adds_nothing(compared):
    found = compared(chain([SWAPPED]), lambda x: told(chain([GRU_CELL]))(x) * 2)
    assert found.rows[0].new > 1e-3
    assert found.rows[1].new == 0.0
    assert found.rows[0].error == found.rows[1].error


def test_layers_between_those_told_count_with_the_next(compared):
    wrong = chain([SWAPPED, *LAYERS[1:]])
    (row,) = compared(wrong, told(chain(LAYERS), ["activate"])).rows
    assert row.new == row.error > 1e-3


def test_values_that_passes_remove_have_no_engine_error(compared):
    graph = chain([Dense(np.ones((2, 3))), Dropout(0.5)])
    found = compared(graph, told(graph))
    (gone,) = [row for row in found.rows if isnan(row.engine)]
    assert gone.cells()[-1] == "-"


def test_another_shape_is_an_infinite_error(compared):
    found = compared(chain(LAYERS), told(chain(LAYERS), dense=lambda y: y[..., :2]))
    assert [isinf(row.error) for row in found.rows] == [False, True, False]
    assert found.rows[2].new < 1e-6
    assert found.origin is found.rows[1]


def test_nan_is_an_infinite_error(compared):
    found = compared(chain(LAYERS), told(chain(LAYERS), dense=lambda y: np.where(y > 1e-3, np.nan, y)))
    assert [isinf(row.error) for row in found.rows] == [False, True, False]
    assert isinf(found.rows[1].engine)
    assert found.origin is found.rows[1]


def test_outputs_that_no_layer_tells_are_rows(compared):
    found = compared(chain(LAYERS), told(chain(LAYERS), ["gru"]))
    assert [(row.name, row.kind, row.value) for row in found.rows[1:]] == [("activate", "output", "activate")]


def test_states_are_known_by_what_they_are_fed(compared):
    graph = looped()
    names = [v for node in graph.nodes if not isinstance(node.op, State) for v in node.outputs]
    found = compared(graph, told(graph, names, new=lambda y: y + 0.25))
    (row,) = [row for row in found.rows if row.value == "new"]
    assert abs(row.error - 0.25) < 1e-9
    assert all(not isnan(row.new) for row in found.rows)
    assert all(row.new < 1e-9 for row in compared(graph, told(graph, ["new"])).rows)


def test_a_loop_that_is_not_shown_is_said_to_be_unknown(compared):
    graph = looped()
    (value,) = [node.outputs[0] for node in graph.nodes if graph.feedback["h"] in node.outputs]
    part = comparison._Known(graph, selftest.make_input(graph))
    part.values.update({value: np.zeros(1)})
    assert part.part(value) is None


def test_without_layers_the_engine_is_held_against_the_reference(compared):
    found = compared(chain(LAYERS), None, "only its weights are at hand")
    assert [row.name for row in found.rows] == list(NAMES)
    assert found.title.endswith("not Theirs 1.0: only its weights are at hand")
    assert found.headings[0] == "node"


def test_a_framework_that_cannot_be_asked_says_why(compared):
    def layers(x):
        raise OracleError("theirs is not installed")

    found = compared(chain(LAYERS), layers)
    assert found.missing == "theirs is not installed"
    assert [len(row.cells()) for row in found.rows] == [len(found.headings)] * 3


def test_files_of_weights_have_no_source():
    described = [like(GRU), like(Dense)]
    found = comparison.compare(files("fastgru.data") / "pulse.pt", like=described)
    assert found.missing == WEIGHTS_ONLY
    assert all(row.error < 1e-5 for row in found.rows)
