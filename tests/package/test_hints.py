"""Messages speak of options as they are written where they appear: Python's arguments, or words of the command line."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from commands import invoke

import fastgru
from fastgru import ConvertError
from fastgru._hints import command_line, either, like_item, like_option, option
from fastgru.cli import _example, _like
from fastgru.graph import Bidirectional
from fastgru.layers import GRU, Dense

DATA = Path(__file__).parents[1] / "data"
PYTHON = re.compile(r"\b(like|shapes|fix|axes|states|example_inputs|custom|max_error|calibration)=(?!=)")


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Run a command in an empty folder; returns stdout, or the line of the error."""
    monkeypatch.chdir(tmp_path)

    return invoke


def literals(path: Path):
    """The text of a file that messages may hold: string literals that are no docstrings, with their lines."""
    tree = ast.parse(path.read_text())
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def test_no_message_of_an_import_is_in_python_alone():
    folder = Path(fastgru.__file__).parent
    files = [
        *(folder / "converters").rglob("*.py"),
        *(folder / "passes").rglob("*.py"),
        folder / "checks" / "selftest.py",
    ]
    found = [f"{path.name}:{line}: {text}" for path in files for line, text in literals(path) if PYTHON.search(text)]
    assert [line for line in found if "states={}" not in line and "custom={" not in line] == []  # said by `either`


SOURCES = {
    "keras/plain.weights.h5": "--like",
    "torch/two_layers.safetensors": "--like 'Dense name=a_second' --like 'GRU name=b_first'",
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_words_that_an_error_suggests_are_those_that_work(cli, source):
    with pytest.raises(ConvertError) as caught:
        fastgru.convert(DATA / source)
    assert "for example like=[like(" in str(caught.value)
    text = cli("convert", DATA / source, "-o", "m.fgru", code=2)
    words = text[text.rindex("for example ") + len("for example ") :]
    assert words.startswith(SOURCES[source])
    assert not PYTHON.search(text.split(words)[0])
    if ".h5" in source:
        pytest.importorskip("h5py")
    items = shlex.split(words)[1::2][
        ::-1
    ]  # the files keep no order: that in which the layers run is the reader's to say
    like = [word for item in items for word in ("--like", item)]
    assert "wrote m.fgru" in cli("convert", DATA / source, "-o", "m.fgru", *like)


def test_what_weights_do_not_say_is_assumed_aloud(cli):
    source = DATA / "torch" / "gru.pt"
    text = cli("convert", source, "-o", "m.fgru")
    (said,) = [line for line in text.splitlines() if line.startswith("assumed")]
    head, _, words = said.partition("say it with ")
    assert head == ("assumed, as a file of weights does not say: every recurrent layer returns all its steps; if not, ")
    assert "wrote m.fgru" in cli("convert", source, "-o", "m.fgru", *shlex.split(words))
    model = fastgru.load("m.fgru")
    assert "assumed" not in model.provenance
    assert not model.graph.specs[model.graph.outputs[0]].time
    told = fastgru.convert(source).provenance["assumed"]
    assert "say it with like=[like(GRU" in told
    assert "return_sequences=False" in told


def test_items_of_like_read_back():
    with command_line():
        texts = [
            like_item("GRU", name="a b", reset_after=False),
            like_item("Dense", name="7"),
            like_item("Bidirectional", name="both", inner=like_item("GRU", activation="tanh")),
        ]
        words = shlex.split(like_option(texts))
    assert words[::2] == ["--like"] * 3
    gru, dense, both = map(_like.parse, words[1::2])
    assert (gru.op, gru.name, gru.attributes) == (GRU, "a b", {"reset_after": False})
    assert (dense.op, dense.name) == (Dense, "7")
    assert (both.op, both.name, both.inner.attributes) == (Bidirectional, "both", {"activation": "tanh"})


def test_the_language_is_that_of_the_block():
    assert (either("a", "b"), option("example_inputs")) == ("a", "example_inputs=")
    with command_line():
        assert (either("a", "b"), option("example_inputs")) == ("b", "--example")
        assert option("max_error") == "--max-error"
    assert either("a", "b") == "a"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["m.onnx", "--custom", "math:cos"],
         "options for ONNX must be among --fix, --shape, --axes, --state, got --custom"),
        (["m.pt", "--example", "1,3"], "options for PyTorch checkpoint must be among --key, --ignore, got --example"),
        (["m.keras", "--shape", "x=1,2"], "options for Keras archive must be among --custom, --ignore, got --shape"),
        (["m.fgru"],
         "file to convert must be one of another framework, got 'm.fgru': it is one already, see fastgru info"),
    ],
)  # fmt: skip
def test_options_of_other_sources_are_named_as_they_are_written(cli, words, message):
    assert cli("convert", *words, "-o", "out.fgru", code=2) == message


def test_models_are_written_under_names_of_their_own(cli, tmp_path):
    fastgru.Model([Dense(np.ones((2, 3)))]).save("m.fgru")
    for words in (("convert", DATA / "torch" / "gru.pt"), ("quantize", "m.fgru")):
        text = cli(*words, "-o", "s.onnx", code=2)
        assert text == "--output must end in .fgru, got 's.onnx': write 's.fgru'"
    assert [path.name for path in tmp_path.iterdir()] == ["m.fgru"]
    assert "wrote /dev/null" in cli("quantize", "m.fgru", "-o", "/dev/null", "--precision", "float16")


# --example -----------------------------------------------------------------------------------------------


def test_examples_have_the_sizes_types_and_values_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.arange(6.0).reshape(1, 2, 3))
    np.save("ids.npy", np.array([[1, 2]]))
    x, ids, drawn, scalar, zeros = _example.read(["x.npy", "ids.npy", "1,2,3", ":bool", "2:int64"])
    np.testing.assert_array_equal(x, np.arange(6, dtype=np.float32).reshape(1, 2, 3), strict=True)
    np.testing.assert_array_equal(ids, np.array([[1, 2]]), strict=True)
    assert (drawn.shape, drawn.dtype, scalar.shape, scalar.dtype) == ((1, 2, 3), np.float32, (), bool)
    assert len(np.unique(drawn)) == 6
    np.testing.assert_array_equal(zeros, np.zeros(2, np.int64), strict=True)
    assert list(_example.read(["x=1,2", "h=x.npy"])) == ["x", "h"]
    assert _example.read(None) is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([""], "--example must be sizes such as 1,100,40 or a .npy file, got ''"),
        (["1,x"], "--example must be sizes such as 1,100,40 or a .npy file, got '1,x'"),
        (["x="], "--example must be sizes such as 1,100,40 or a .npy file, got 'x='"),
        (["1,0"], "sizes of --example must be at least 1, and 268435456 elements in all at most, got '1,0'"),
        (["100000,100000"], "at most, got '100000,100000'"),
        (["1:int4"], "type of --example must be one of float32, float64, int32, int64, bool, got 'int4'"),
        (["x=1", "2"], "--example must be given with names for all arguments or for none, got some of both"),
        (["x=1", "x=2"], "--example must give each name once, got 'x' twice"),
        (["text.npy"], "text.npy: example must be an array of numbers, got <U1"),
        (["junk.npy"], "junk.npy: example must be a whole .npy file of numbers: "),
    ],
)
def test_examples_that_are_none(tmp_path, monkeypatch, texts, message):
    monkeypatch.chdir(tmp_path)
    np.save("text.npy", np.array(["a"]))
    Path("junk.npy").write_bytes(b"junk")
    with pytest.raises(ValueError, match=re.escape(message)):
        _example.read(texts)


# --custom ------------------------------------------------------------------------------------------------


MODULE = '''
"""Functions for a layer of the user's."""
from test_keras_custom import squeeze

SqueezeLayer = lambda config, weights: squeeze(config, weights)
SqueezeLayer.__name__ = "SqueezeLayer"
LAYERS = {"SqueezeLayer": squeeze}
WRONG = {"SqueezeLayer": 3}
NUMBER = 3
'''


@pytest.fixture
def squeezed(cli, tmp_path, monkeypatch):
    """A Keras file with a layer of the user's, beside modules with functions for it."""
    pytest.importorskip("h5py")
    import sys

    from test_keras_custom import squeeze_file

    (tmp_path / "mine13.py").write_text(MODULE)
    (tmp_path / "broken13.py").write_text("1 / 0\n")
    (tmp_path / "needs13.py").write_text("import nothing_of_this_name\n")
    yield squeeze_file(tmp_path)
    for name in ("mine13", "broken13", "needs13"):
        sys.modules.pop(name, None)


PLACES = ["SqueezeLayer=mine13:squeeze", "mine13:LAYERS", "mine13:SqueezeLayer", "squeeze=mine13:squeeze"]


@pytest.mark.parametrize("place", PLACES)
def test_functions_for_layers_come_from_modules_of_the_current_folder(cli, squeezed, place):
    from test_keras_custom import squeeze

    assert "wrote m.fgru" in cli("convert", squeezed, "-o", "m.fgru", "--custom", place)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    expected = fastgru.convert(squeezed, custom={"SqueezeLayer": squeeze})(x)
    np.testing.assert_array_equal(fastgru.load("m.fgru")(x), expected, strict=True)


def test_the_error_of_an_unknown_layer_says_how_to_give_a_function(cli, squeezed):
    text = cli("convert", squeezed, "-o", "m.fgru", code=2)
    assert "got SqueezeLayer. Give --custom SqueezeLayer=module:function: each function, in a file module.py of" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mine13", "--custom must be module:function or MyLayer=module:function, got 'mine13'"),
        ("=mine13:squeeze", "--custom must be module:function or MyLayer=module:function"),
        ("absent13:f", "of --custom absent13:f must be in the current folder or installed, got none named 'absent13'"),
        ("needs13:f", "must import without an error, got ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("broken13:f", "--custom broken13:f must import without an error, got ZeroDivisionError: division by zero"),
        ("mine13:sqeeze", "name in --custom mine13:sqeeze must be one of squeeze, SqueezeLayer, "),
        ("mine13:NUMBER", "--custom mine13:NUMBER must name a function or a dict of functions, got int"),
        ("A=mine13:NUMBER", "--custom A=mine13:NUMBER must name a function, got int"),
        ("mine13:WRONG", "dict of --custom mine13:WRONG must be of names and functions, got 'SqueezeLayer': int"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_named(cli, squeezed, text, message):
    assert message in cli("convert", squeezed, "-o", "m.fgru", "--custom", text, code=2)
