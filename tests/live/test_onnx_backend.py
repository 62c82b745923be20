"""ONNX's own tests of operators, run through `fastgru.backends.onnx`.

``tests/data/onnx_refused.txt`` lists the tests whose operators, types or forms are refused; write it anew with
``python tests/live/test_onnx_backend.py``.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx.version_converter")

from onnx import numpy_helper  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402
from onnx.backend.test.runner import Runner  # noqa: E402

from fastgru.backends.onnx import FastGruBackend  # noqa: E402
from fastgru.errors import ConvertError  # noqa: E402

LIST = Path(__file__).parents[1] / "data" / "onnx_refused.txt"
OLDEST = 7
# What these expect in place of an exact 0 is 1.9e-7.
NOISY = {"test_dft_inverse", "test_dft_inverse_opset19"}
# One quotient in these is a tie in float32 and none in float64: one code may be off by one.
TIED = {"test_dynamicquantizelinear", "test_dynamicquantizelinear_expanded"}
# Floats beyond the range of the integers they become, which the standard leaves open: here and in ONNX Runtime they
# wrap around, in the arrays that a test makes with ml_dtypes 0.7 they are the last of the range.
BEYOND = re.compile(r"test_cast(like)?_FLOAT(16)?_to_(U?)INT([24])(_expanded)?")


def recorded() -> tuple[str, set[str]]:
    """The version of onnx that the list is of, and the names on it."""
    version, *names = LIST.read_text().split()
    return version, set(names)


def cases() -> list[Any]:
    """Tests of single nodes, and the models on disk, among them what old PyTorch exported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tests' own arithmetic
        kinds = ("node", "simple", "pytorch-converted", "pytorch-operator")
        return [case for kind in kinds for case in load_model_tests(kind=kind)]


CASES = cases()
VERSION, REFUSED = recorded() if LIST.is_file() else ("", set())


def read(case: Any) -> tuple[Any, list[tuple[list[Any], list[Any]]]]:
    """A test's model, of an opset that is read, and its inputs and outputs."""
    if case.model_dir is None:
        return case.model, [tuple([_array(v) for v in values] for values in pair) for pair in case.data_sets]
    folder = Path(case.model_dir)
    proto = onnx.load(folder / "model.onnx")
    if proto.opset_import[0].version < OLDEST and not proto.opset_import[0].domain:
        proto = onnx.version_converter.convert_version(proto, OLDEST)
    sets = []
    for data in sorted(folder.glob("test_data_set*")):
        counts = [(kind, len(list(data.glob(f"{kind}_*.pb")))) for kind in ("input", "output")]
        sets.append(tuple([_loaded(data / f"{kind}_{i}.pb") for i in range(n)] for kind, n in counts))
    return proto, sets


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _loaded(path: Path) -> Any:
    try:
        return numpy_helper.to_array(onnx.load_tensor(path))
    except (TypeError, ValueError):  # a sequence: the model is refused before it would be given
        return None


def outcome(case: Any) -> str | None:
    """Run a test: None when it passes, or why the model is refused.

    Raises
    ------
    AssertionError
        When the outputs are not those expected.
    """
    proto, sets = read(case)
    try:
        prepared = FastGruBackend.prepare(proto)
        results = [prepared.run(inputs) for inputs, _ in sets]
    except ConvertError as error:
        return str(error)
    for got, (inputs, expected) in zip(results, sets, strict=True):
        wanted = expected
        if case.name in TIED:
            wanted = [_settled(a, b) for a, b in zip(expected, got, strict=True)]
        elif beyond := BEYOND.fullmatch(case.name):
            wanted = [_within(inputs[0], expected[0], got[0], signed=not beyond[3], bits=int(beyond[4]))]
        Runner.assert_similar_outputs(wanted, got, case.rtol, 1e-6 if case.name in NOISY else case.atol)
    return None


def _within(x: Any, expected: Any, got: Any, *, signed: bool, bits: int) -> Any:
    """The expected integers where x lies in their range, else those got."""
    least = -(2 ** (bits - 1)) if signed else 0
    x = np.rint(x.astype(np.float64))
    inside = (x >= least) & (x < least + 2**bits)
    assert inside.sum() >= 2 ** (bits - 1)
    return np.where(inside, expected.astype(np.int64), got.astype(np.int64)).astype(expected.dtype)


def _settled(expected: Any, got: Any) -> Any:
    """The expected codes with the one that is off by one, if it is the only one, as it was got."""
    if expected.dtype.kind not in "iu":
        return expected
    apart = np.abs(expected.astype(int) - got.astype(int))
    return got if apart.sum() == apart.max() <= 1 else expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_of_onnx(case):
    reason = outcome(case)
    if case.name in REFUSED:
        assert reason is not None, f"{case.name} passes: {LIST.name} is out of date"
    elif reason is not None:
        # A later onnx has tests that the list cannot know.
        assert onnx.__version__ != VERSION, f"{case.name} must pass or be on {LIST.name}, got: {reason}"


def test_every_recurrence_is_supported():
    names = [c.name for c in CASES if c.name.startswith(("test_gru_", "test_lstm_", "test_rnn_", "test_simple_rnn_"))]
    assert len(names) >= 18
    assert not REFUSED.intersection(names)


def test_sizes_may_be_left_open():
    """They are those of each call; an input that must be constant is taken as it is given."""
    helper = onnx.helper
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("ReduceSum", ["r", "a"], ["y"])]
    infos = [helper.make_tensor_value_info("x", 1, ["m", None]), helper.make_tensor_value_info("s", 7, [2]),
             helper.make_tensor_value_info("a", 7, ["k"])]  # fmt: skip
    graph = helper.make_graph(nodes, "open", infos, [helper.make_tensor_value_info("y", 1, None)])
    prepared = FastGruBackend.prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    for shape, target, axis in (((2, 6), (3, 4), 0), ((4, 2), (8, 1), 1), ((4, 2), (2, 4), 1)):
        x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        (y,) = prepared.run([x, np.array(target), np.array([axis])])
        np.testing.assert_allclose(y, x.reshape(target).sum(axis, keepdims=True), rtol=1e-6)
    with pytest.raises(ValueError, match="inputs must be 3 arrays, got 1"):
        prepared.run([np.zeros(3)])


def test_single_nodes():
    node = onnx.helper.make_node("Split", ["x", "s"], ["a", "b"], axis=1)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    a, b = FastGruBackend.run_node(node, [x, np.array([1, 3])])
    np.testing.assert_array_equal(a, x[:, :1])
    np.testing.assert_array_equal(b, x[:, 1:])
    old = onnx.helper.make_node("Squeeze", ["x"], ["y"], axes=[0])
    (y,) = FastGruBackend.run_node(old, [x[None]], opset_version=11)
    np.testing.assert_array_equal(y, x)
    (y,) = FastGruBackend.run_node(
        onnx.helper.make_node("ArgMax", ["x"], ["y"], axis=1), {"x": x}, outputs_info=[(np.int64, (2, 1))]
    )
    assert (y.dtype, y.tolist()) == (np.int64, [[3], [3]])


def test_devices():
    assert FastGruBackend.supports_device("CPU")
    assert not FastGruBackend.supports_device("CUDA")
    with pytest.raises(ValueError, match="device must be 'CPU', got 'CUDA'"):
        FastGruBackend.prepare(CASES[0].model, "CUDA")


def test_compatibility():
    by_name = {case.name: case.model for case in CASES}
    assert FastGruBackend.is_compatible(by_name["test_gru_defaults"])
    assert not FastGruBackend.is_compatible(by_name["test_nonzero_example"])


if __name__ == "__main__":
    reasons = {case.name: outcome(case) for case in CASES}
    refused = sorted(name for name, reason in reasons.items() if reason is not None)
    LIST.write_text("\n".join([onnx.__version__, *refused]) + "\n")
    kinds = Counter(n.op_type for c in CASES if reasons[c.name] and c.model_dir is None for n in c.model.graph.node)
    print(f"{len(CASES) - len(refused)} pass, {len(refused)} are refused; operators of those refused: {dict(kinds)}")
