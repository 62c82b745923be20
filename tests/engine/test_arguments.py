"""Arguments of another type than a function takes are errors that name them, whichever they are."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru
from fastgru import ConvertError, FastGruError, GraphError, MemoryLimitError, Model
from fastgru import graph as g
from fastgru.files import fgru
from fastgru.graph import Activation, Graph, GraphBuilder, Node, Spec

EYE = np.eye(3)
NO_NAMES = (3, [3], {1: 2}, np.zeros(2), b"tanh", {"name": [1]}, {"names": "tanh"}, {})


@pytest.mark.parametrize("value", NO_NAMES, ids=repr)
def test_an_activation_that_is_none(value):
    for make in (g.Activate, lambda value: g.Dense(EYE, activation=value), Activation.of):
        with pytest.raises(GraphError, match=r"activation must be a|name of an activation must be a string"):
            make(value)


@pytest.mark.parametrize("value", ["1", [1.0], 1j, True, np.ones(1), {}, object()], ids=str)
def test_a_parameter_of_an_activation_that_is_no_number(value):
    with pytest.raises(GraphError, match="alpha of activation 'affine' must be a number, got"):
        g.Activate({"name": "affine", "alpha": value})


@pytest.mark.parametrize("value", [10**400, -(10**400), float("inf"), float("nan"), np.longdouble("1e4000")], ids=str)
def test_a_parameter_of_an_activation_beyond_all_numbers(value):
    with np.errstate(over="ignore"), pytest.raises(GraphError, match="beta of activation 'affine' must be finite, got"):
        g.Activate({"name": "affine", "beta": value})


def test_numbers_of_numpy_are_parameters_of_activations():
    assert Activation("affine", np.float32(0.5), np.int8(2)) == Activation("affine", 0.5, 2.0)


def test_weights_beyond_float32_become_infinite_without_a_warning():
    assert np.isinf(g.Dense(np.full((2, 3), np.longdouble("1e4000"))).weight).all()


@pytest.mark.parametrize("name", ["dtype", "gemm", "isa"])
@pytest.mark.parametrize("value", [np.zeros(3), [1], 3, b"x", {}], ids=str)
def test_options_of_a_model_that_are_no_text(name, value):
    with pytest.raises((ValueError, FastGruError), match=f"^{name} must be one of"):
        Model([g.Dense(EYE)], **{name: value})


def test_what_comes_with_a_model():
    with pytest.raises(TypeError, match="provenance must be a mapping of names to text, got list"):
        Model([g.Dense(EYE)], provenance=["x"])
    with pytest.raises(TypeError, match="self_test must be a SelfTest, got dict"):
        Model([g.Dense(EYE)], self_test={})
    for layers in (None, 3, EYE.sum()):
        with pytest.raises(GraphError, match="layers must be a list of layers, got"):
            Model(layers)


def test_layers_of_a_generator():
    model = Model(layer for layer in [g.Dense(EYE), g.Activate("tanh")])
    assert np.array_equal(model(np.zeros((2, 3), np.float32)), np.zeros((2, 3)))


@pytest.mark.parametrize("layers", ["dense", 3, [3], [["dense"]], np.zeros(2), object()], ids=str)
def test_layers_to_quantize_that_are_no_names(layers):
    with pytest.raises(GraphError, match="layers must be a sequence of names, got"):
        Model([g.Dense(EYE)]).quantize("int8", layers=layers)


@pytest.mark.parametrize("activations", [3, ["fast"], np.zeros(2), {}], ids=str)
def test_tiers_that_are_no_names(activations):
    with pytest.raises(GraphError, match="activations must be one of exact, fast, got"):
        Model([g.GRU(np.ones((6, 3)), np.ones((6, 2)))]).quantize(activations=activations)


def test_an_error_that_no_float_holds_allows_all():
    with pytest.warns(fastgru.CalibrationWarning):
        assert "int8" in repr(Model([g.Dense(EYE)]).quantize("int8", max_error=10**400))


# Graphs ----------------------------------------------------------------------------------------------

X = Spec((2,))
TANH = g.Activate("tanh")
NODE = Node("a", TANH, ("x",), ("a",))
GRAPHS = (
    (([("x", X)], [NODE], ["a"]), "inputs must be a mapping"),
    (({1: X}, [NODE], ["a"]), "inputs must be a mapping"),
    (({"x": (2,)}, [NODE], ["a"]), "input 'x' must be a Spec"),
    (({"x": X}, None, ["a"]), "nodes must be a sequence"),
    (({"x": X}, [TANH], ["a"]), "node must be a Node"),
    (({"x": X}, [Node(3, TANH, ("x",), ("a",))], ["a"]), "name of a node must be a string"),
    (({"x": X}, [Node("a", "tanh", ("x",), ("a",))], ["a"]), "op of node 'a' must be an op"),
    (({"x": X}, [Node("a", g.Activate, ("x",), ("a",))], ["a"]), "op of node 'a' must be an op"),
    (({"x": X}, [Node("a", TANH, "x", ("a",))], ["a"]), "inputs and outputs of node 'a' must be sequences"),
    (({"x": X}, [Node("a", TANH, (["x"],), ("a",))], ["a"]), "inputs and outputs of node 'a' must be sequences"),
    (({"x": X}, [Node("a", TANH, ("x",), None)], ["a"]), "inputs and outputs of node 'a' must be sequences"),
    (({"x": X}, [NODE], "a"), "outputs must be a sequence"),
    (({"x": X}, [NODE], [["a"]]), "outputs must be a sequence"),
    (({"x": X}, [NODE], ["a"], 3), "feedback must be a mapping"),
    (({"x": X}, [NODE], ["a"], {"a": ["x"]}), "feedback must be a mapping"),
)


@pytest.mark.parametrize(("parts", "message"), GRAPHS, ids=[message for _, message in GRAPHS])
def test_graphs_of_what_makes_none(parts, message):
    with pytest.raises(GraphError, match=f"^{message}"):
        Graph(*parts)


def test_a_builder_of_what_makes_no_graph():
    for name in (None, 3, b"x", ["x"]):
        with pytest.raises(GraphError, match="name must be a string, got"):
            GraphBuilder().input(name, X)
    for spec in (None, (2,), "x"):
        with pytest.raises(GraphError, match="spec must be a Spec, got"):
            GraphBuilder().input("x", spec)
    b = GraphBuilder()
    x = b.input(np.str_("x"), X)
    assert type(x) is str
    for op in (None, "tanh", g.Activate):
        with pytest.raises(GraphError, match=r"op must be an op of fastgru\.graph, got"):
            b.add(op, x)
    cell = g.RNN(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(GraphError, match="got Bidirectional: add it with add_layer"):
        b.add(g.Bidirectional(cell, cell.replace(reverse=True)), x)
    for outputs in (0, -1, 1.5, None, "x", True):
        with pytest.raises(GraphError, match="outputs must be a positive integer, got"):
            b.add_many(TANH, x, outputs=outputs)
    for wrong in (["x"], None):
        with pytest.raises(GraphError, match="outputs must be a sequence of names"):
            b.build(wrong)


# Files -----------------------------------------------------------------------------------------------


def sparse(path, size=1 << 42):
    """Make a file as long as that, which takes no room."""
    with path.open("ab") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".pt", ".h5", ".keras", ".jit"])
def test_files_larger_than_memory_are_refused_before_they_are_read(suffix, tmp_path):
    path = sparse(tmp_path / f"large{suffix}")
    with pytest.raises(MemoryLimitError, match=r"memory of reading '.*' must be at most .*, got 4 TiB"):
        fastgru.convert(path)


def test_a_model_file_larger_than_memory(tmp_path):
    Model([g.Dense(EYE)]).save(tmp_path / "m.fgru")
    sparse(tmp_path / "m.fgru", fgru.MAX_FILE)
    fastgru.set_memory_limit("1G")
    try:
        with pytest.raises(MemoryLimitError, match="memory of reading the model must be at most 1 GiB, got 32 GiB"):
            fastgru.load(tmp_path / "m.fgru")
    finally:
        fastgru.set_memory_limit(None)


def test_a_folder_and_a_missing_file_to_convert(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises((ConvertError, OSError)):
        fastgru.convert(tmp_path / "folder.onnx")
    with pytest.raises(FileNotFoundError):
        fastgru.convert(tmp_path / "none.onnx")
