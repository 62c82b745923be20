"""If on a computed condition, loops from the last step to the first, and arithmetic on sizes: beside ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime
from onnx import TensorProto, helper
from onnx_models import model, refused, saved

import fastgru
from fastgru.errors import ConvertError

I, H = 6, 4
RNG = np.random.default_rng(7)
node = helper.make_node


def w(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) / shape[-1] ** 0.5).astype(np.float32)


def output(path, feeds):
    return onnxruntime.InferenceSession(path).run(None, feeds)[0]


# If ------------------------------------------------------------------------------------------------


def branch(name, nodes, returned):
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(returned, TensorProto.FLOAT, None)])


GRU = [node("GRU", ["x", "W", "R"], ["g"], hidden_size=I), node("Squeeze", ["g", "one"], ["b"])]
WEIGHTS = {"W": w(1, 3 * I, I), "R": w(1, 3 * I, I), "one": np.array([1]), "zero": np.float32(0)}


def choosing(before, inputs, *, second=GRU, types=None):
    """An If between -x and a GRU of x, on the value c."""
    then = branch("then", [node("Neg", ["x"], ["a"])], "a")
    chosen = node("If", ["c"], ["y"], name="choice", then_branch=then, else_branch=branch("else", second, "b"))
    return model([*before, chosen], inputs, ["y"], WEIGHTS, types=types)


SUM = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"])]


@pytest.mark.parametrize("shape", [[7, 2, I], ["T", 1, I]], ids=str)
def test_a_condition_on_all_of_the_input(tmp_path, shape):
    """Both branches run, the recurrent one too, and one is chosen."""
    path = saved(choosing(SUM, {"x": shape}), tmp_path)
    imported = fastgru.convert(path)
    assert "unchecked" not in imported.provenance
    assert imported.provenance["notes"].startswith("both branches of choice run, and its condition chooses")
    for sign in (1, -1):
        x = np.abs(w(7, shape[1], I)) * sign
        np.testing.assert_allclose(imported(x[None])[0], output(path, {"x": x}), rtol=0, atol=3e-6)


@pytest.mark.parametrize("shape", [[], [1]], ids=str)
def test_a_condition_that_is_an_input(tmp_path, shape):
    """Each row has one of its own, where the source has one for all."""
    path = saved(choosing([], {"x": ["T", "B", I], "c": shape}, types={"c": "BOOL"}), tmp_path)
    imported, x = fastgru.convert(path), w(7, 2, I)
    assert "unchecked" not in imported.provenance
    each = [output(path, {"x": x, "c": np.array(c).reshape(shape)}) for c in (True, False)]
    y = imported({"x": x.swapaxes(0, 1), "c": np.array([True, False]).reshape(2, *shape)})
    np.testing.assert_allclose(y, [each[0][:, 0], each[1][:, 1]], rtol=0, atol=3e-6)
    for value in (True, False):
        fixed = fastgru.convert(path, fix={"c": np.array(value).reshape(shape)})
        np.testing.assert_allclose(fixed(x.swapaxes(0, 1)), each[1 - value].swapaxes(0, 1), rtol=0, atol=3e-6)
        assert "notes" not in fixed.provenance


def test_branches_of_other_shapes_are_refused(tmp_path):
    second = [node("ReduceSum", ["x", "one"], ["b"], keepdims=1)]
    message = r"node 'choice' \(If\): branches must give one shape where the condition is computed, got \(7, 2, 6\) "
    refused(choosing(SUM, {"x": [7, 2, I]}, second=second), tmp_path, message)
    proto = choosing([], {"x": [7, 2, I], "c": []}, second=second, types={"c": "BOOL"})
    refused(proto, tmp_path, r"fix= for 'c' takes one")


def test_a_branch_that_cannot_be_imported_is_told_with_what_leaves_it_out(tmp_path):
    proto = choosing([], {"x": [7, 2, I], "c": []}, second=[node("Det", ["x"], ["b"])], types={"c": "BOOL"})
    message = r"1. operator must .* got Det .*\n  2. node 'choice' \(If\): both branches .*; fix= for 'c' takes one"
    refused(proto, tmp_path, message)
    fastgru.convert(saved(proto, tmp_path), fix={"c": True})


def test_a_condition_for_each_row_is_refused(tmp_path):
    proto = choosing([], {"x": ["T", "B", I], "c": ["B"]}, types={"c": "BOOL"})
    refused(proto, tmp_path, r"condition must be one truth value for all rows, got \(B\)")


# Loops -----------------------------------------------------------------------------------------------

LAST_FIRST = {
    "T-1-t": [node("Sub", ["last", "i"], ["at"])],
    "T-t-1": [node("Sub", ["T", "i"], ["i1"]), node("Sub", ["i1", "one"], ["at"])],
    "T-(t+1)": [node("Add", ["i", "one"], ["i1"]), node("Sub", ["T", "i1"], ["at"])],
    "t*-1+T-1": [node("Mul", ["i", "minus"], ["i1"]), node("Add", ["i1", "last"], ["at"])],
    "T-1+(-t)": [node("Neg", ["i"], ["i1"]), node("Add", ["last", "i1"], ["at"])],
}


def loop(index):
    """A recurrence of tanh over T steps that reads x at the step `at`."""
    inner = [
        *index, node("Gather", ["x", "at"], ["xt"]), node("MatMul", ["xt", "A"], ["a"]),
        node("MatMul", ["h", "C"], ["b"]), node("Add", ["a", "b"], ["s"]), node("Tanh", ["s"], ["new"]),
        node("Identity", ["new"], ["each"]), node("Identity", ["goes"], ["on"]),
    ]  # fmt: skip
    types = {"i": TensorProto.INT64, "goes": TensorProto.BOOL, "on": TensorProto.BOOL}
    info = lambda n: helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), [] if n in types else None)  # noqa: E731
    body = helper.make_graph(inner, "body", [*map(info, ("i", "goes", "h"))], [*map(info, ("on", "new", "each"))])
    nodes = [
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "zero"], ["T"]), node("Sub", ["T", "one"], ["last"]),
        node("Loop", ["T", "true", "h0"], ["end", "y"], body=body),
    ]  # fmt: skip
    constants = {"A": w(I, H), "C": w(H, H), "zero": np.array(0), "one": np.array(1), "minus": np.array(-1)}
    return model(nodes, {"x": ["T", "B", I], "h0": ["B", H]}, ["y"], {**constants, "true": np.array(True)})


@pytest.mark.parametrize("index", LAST_FIRST)
def test_loops_from_the_last_step_to_the_first(tmp_path, index):
    path = saved(loop(LAST_FIRST[index]), tmp_path)
    imported, x, h0 = fastgru.convert(path), w(9, 2, I), w(2, H)
    assert "unchecked" not in imported.provenance
    y = imported({"x": x.swapaxes(0, 1), "h0": h0})
    np.testing.assert_allclose(y, output(path, {"x": x, "h0": h0}).swapaxes(0, 1), rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    ("index", "step"),
    [
        ([node("Sub", ["T", "i"], ["at"])], "T-t"),
        ([node("Sub", ["i", "last"], ["at"])], "t-T"),
        ([node("Add", ["i", "one"], ["at"])], r"t\+1"),
    ],
)
def test_loops_over_other_steps_are_refused(tmp_path, index, step):
    refused(
        loop(index), tmp_path, rf"must read step t of a sequence as long, got step {step} |number of the step must be"
    )


# Arithmetic on sizes ---------------------------------------------------------------------------------

BEHIND = [
    node("Unsqueeze", ["r", "end"], ["wide"]),
    node("Cast", ["wide"], ["f"], to=1),
    node("Add", ["x", "f"], ["y"]),
]
JOINED = [
    node("Unsqueeze", ["b", "front"], ["b1"]), node("Unsqueeze", ["k", "front"], ["k1"]),
    node("Concat", ["b1", "k1", "six"], ["s"], axis=0), node("Reshape", ["x", "s"], ["y"]),
]  # fmt: skip
SIZES = {
    "larger": [node("Max", ["t", "n1"], ["k"]), *JOINED],
    "larger-of-three": [node("Max", ["n0", "t", "n1"], ["k"]), *JOINED],
    "smaller": [node("Min", ["t", "n1"], ["m"]), node("Mul", ["t", "m"], ["k"]), *JOINED],
    "remainder": [
        node("Mul", ["t", "n2"], ["d"]), node("Mod", ["d", "n2"], ["m"]), node("Add", ["t", "m"], ["k"]), *JOINED,
    ],
    "more-and-less": [node("Add", ["t", "n2"], ["m"]), node("Sub", ["m", "n2"], ["k"]), *JOINED],
    "steps": [node("Range", ["n0", "t", "n1"], ["r"]), *BEHIND],
    "steps-from-one": [node("Add", ["t", "n1"], ["m"]), node("Range", ["n1", "m", "n1"], ["r"]), *BEHIND],
    "steps-back": [node("Sub", ["t", "n1"], ["m"]), node("Range", ["m", "minus", "minus"], ["r"]), *BEHIND],
    "chosen": [
        node("Equal", ["shape", "unknown"], ["e"]), node("Where", ["e", "ones", "shape"], ["s"]),
        node("Expand", ["x", "s"], ["y"]),
    ],
    "compared": [
        node("Greater", ["t", "n0"], ["e"]), node("Where", ["e", "t", "n1"], ["k"]), *JOINED,
    ],
}  # fmt: skip


def sized(nodes):
    first = [
        node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "n0"], ["b"]), node("Gather", ["shape", "n1"], ["t"]),
    ]  # fmt: skip
    constants = {f"n{i}": np.array(i) for i in range(3)}
    constants |= {"minus": np.array(-1), "unknown": np.array([-1]), "ones": np.ones(3, np.int64)}
    constants |= {"front": np.array([0]), "end": np.array([-1]), "six": np.array([I])}
    return model([*first, *nodes], {"x": ["B", "T", I]}, ["y"], constants)


@pytest.mark.parametrize("name", SIZES)
def test_arithmetic_on_sizes(tmp_path, name):
    path, x = saved(sized(SIZES[name]), tmp_path), w(2, 7, I)
    imported = fastgru.convert(path)
    assert "unchecked" not in imported.provenance
    for steps in (3, 7):
        np.testing.assert_allclose(imported(x[:, :steps]), output(path, {"x": x[:, :steps]}), rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [node("Max", ["t", "n2"], ["k"]), *JOINED],
            "sizes must be known to be compared, got T and 2: fix them with shape",
        ),
        ([node("Mod", ["t", "n2"], ["k"]), *JOINED], "size must be a multiple of 2, got T: fix it by shapes="),
        (
            [node("Range", ["n0", "t", "n2"], ["r"]), *BEHIND],
            "range must .* a number for every step of the input, got 0 to T by 2",
        ),
    ],
)
def test_sizes_that_depend_on_the_steps_are_refused(tmp_path, nodes, message):
    with pytest.raises(ConvertError, match=message):
        fastgru.convert(saved(sized(nodes), tmp_path), axes={"x": ("B", "T", None)})
