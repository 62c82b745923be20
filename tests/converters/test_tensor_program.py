"""The tensors that all sources share: every formula, fold and norm against NumPy, with the axes in any order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from program_of_one import SIZES, Program, given

from fastgru.converters.program import formulas, norms, reductions
from fastgru.converters.program.formulas import FORMULAS
from fastgru.converters.program.steps import STEPS
from fastgru.converters.program.values import NeedsSequenceLength
from fastgru.errors import ConvertError
from fastgru.graph import ACTIVATIONS, UNARY, Spec

# Labels of an array's axes: the frame's may be in any order, between batch and time.
ORDERS = [("B", "T", 0, 1), ("B", 1, "T", 0), ("T", "B", 1, 0)]
erf = np.vectorize(math.erf)


# Formulas ------------------------------------------------------------------------------------------

EXPECTED: dict[str, Callable[..., Any]] = {
    "clip": lambda x: np.clip(x, -0.5, 2.0), "relu6": lambda x: np.clip(x, 0, 6),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "elu": lambda x: 1.5 * np.where(x > 0, x, 0.7 * np.expm1(2 * np.minimum(x, 0))),
    "celu": lambda x: np.where(x > 0, x, 0.7 * np.expm1(np.minimum(x, 0) / 0.7)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "shrink": lambda x: np.where(x < -0.3, x + 0.2, np.where(x > 0.3, x - 0.2, 0)),
    "hard_shrink": lambda x: np.where(abs(x) > 0.5, x, 0),
    "soft_shrink": lambda x: np.sign(x) * np.maximum(abs(x) - 0.3, 0),
    "tanh_shrink": lambda x: x - np.tanh(x), "threshold": lambda x: np.where(x > 0.3, x, -2),
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x)),
    "sparse_sigmoid": lambda x: np.clip(x / 2 + 0.5, 0, 1),
    "gelu": lambda x: x / 2 * (1 + erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-1.7 * x)), "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "mish": lambda x: x * np.tanh(np.logaddexp(x, 0)), "softplus": lambda x: np.logaddexp(2 * x, 0) / 2,
    "log_sigmoid": lambda x: -np.logaddexp(-x, 0), "squareplus": lambda x: (x + np.sqrt(x * x + 2)) / 2,
    "square": np.square, "rsqrt": lambda x: 1 / np.sqrt(x), "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "exp2": np.exp2, "expm1": np.expm1, "erfc": lambda x: 1 - erf(x), "trunc": np.trunc,
    "frac": lambda x: x - np.trunc(x), "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "sinh": np.sinh,
    "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
}  # fmt: skip
NUMBERS: dict[str, dict[str, float]] = {
    "clip": {"low": -0.5, "high": 2.0}, "elu": {"alpha": 0.7, "scale": 1.5, "input_scale": 2.0},
    "celu": {"alpha": 0.7}, "shrink": {"lambd": 0.3, "bias": 0.2}, "soft_shrink": {"lambd": 0.3},
    "threshold": {"threshold": 0.3, "value": -2.0}, "silu": {"alpha": 1.7}, "softplus": {"beta": 2.0},
    "squareplus": {"spread": 2.0},
}  # fmt: skip
UNIT = np.linspace(-1, 1, 41)
DOMAINS = {"asin": UNIT, "acos": UNIT, "atanh": UNIT[1:-1], "tan": UNIT, "acosh": 10.0 ** np.arange(0, 30)}
SMALL = np.concatenate([np.linspace(-20, 20, 81), [1e-7, -1e-7, 1e-3, -1e-3]])
POSITIVE = 10.0 ** np.arange(-9, 9)


def test_every_formula_is_here():
    own = set(FORMULAS) - set(UNARY) - set(ACTIVATIONS)
    assert own | {"elu", "softplus"} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_formulas(name):
    x = DOMAINS.get(name, POSITIVE if name in ("rsqrt", "log2", "log10", "log1p") else SMALL)
    program = Program()
    y = formulas.apply(program, program.result(program.emit.input("x", Spec(())), [("B",), (STEPS,)]), name,
                       **NUMBERS.get(name, {}))  # fmt: skip
    found = program.run(y, x[None])[0]
    np.testing.assert_allclose(found, EXPECTED[name](x), rtol=1e-6 if name == "asinh" else 1e-9, atol=1e-15)


@pytest.mark.parametrize(("name", "x", "expected"), [
    ("asinh", [1e25, -1e25], np.arcsinh([1e25, -1e25])), ("sinh", [800.0, -800.0], [np.inf, -np.inf]),
    ("expm1", [800.0, -800.0], [np.inf, -1.0]), ("atanh", [1.0, -1.0], [np.inf, -np.inf]),
])  # fmt: skip
def test_formulas_at_the_ends(name, x, expected):
    program = Program()
    y = formulas.apply(program, program.result(program.emit.input("x", Spec(())), [("B",), (STEPS,)]), name)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(program.run(y, np.array([x]))[0], expected)


def test_an_elu_of_a_negative_scale_is_refused():
    program = Program()
    with pytest.raises(ConvertError, match="scale of an elu's input must be positive, got -2"):
        formulas.apply(program, program.read("B", "T", 0, 1), "elu", input_scale=-2.0)


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("log", [False, True])
def test_softmax(labels, log):
    x = given("B", "T", 0, 1) * 200  # exponentials underflow and overflow unless they are of differences
    for axis, label in enumerate(labels):
        if label == "B":
            continue
        program = Program()
        y = program.run(formulas.softmax(program, program.read(*labels), axis, log=log), x)
        at = x.transpose([("B", "T", 0, 1).index(a) for a in labels])
        below = at - at.max(axis, keepdims=True)
        expected = below - np.log(np.exp(below).sum(axis, keepdims=True))
        np.testing.assert_allclose(y, expected if log else np.exp(expected), rtol=1e-9, atol=1e-12 if log else 1e-300)


# Folds and norms -------------------------------------------------------------------------------------

FOLDS: dict[str, Callable[..., Any]] = {
    "sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min, "prod": np.prod,
    "l1": lambda x, **given: np.abs(x).sum(**given), "l2": lambda x, **given: np.sqrt((x * x).sum(**given)),
    "sum_square": lambda x, **given: (x * x).sum(**given), "log_sum": lambda x, **given: np.log(x.sum(**given)),
    "log_sum_exp": lambda x, **given: np.log(np.exp(x).sum(**given)),
}  # fmt: skip
AXES = [axes for n in (1, 2, 3) for axes in itertools.combinations(range(4), n)]


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("function", FOLDS)
def test_folds(function, labels):
    x = np.abs(given("B", "T", 0, 1)) + 0.1
    at = x.transpose([("B", "T", 0, 1).index(a) for a in labels])
    for axes, keep in itertools.product(AXES, (False, True)):
        program = Program()
        folded = [labels[a] for a in axes]
        if "B" in folded or ("T" in folded and function == "prod"):
            kind = ConvertError if "B" in folded else NeedsSequenceLength
            with pytest.raises(kind, match=r"axes to reduce must be|reduction over time must be"):
                reductions.reduced(program, program.read(*labels), axes, function, keep)
            continue
        y = program.run(reductions.reduced(program, program.read(*labels), axes, function, keep), x)
        np.testing.assert_allclose(y, FOLDS[function](at, axis=axes, keepdims=keep), rtol=1e-12)


@pytest.mark.parametrize("value", [-np.inf, np.inf])
def test_a_log_sum_exp_over_time_of_what_is_infinite(value):
    program = Program()
    x = given("B", "T", 0, 1)
    x[:, :, 0] = value
    with np.errstate(all="ignore"):
        y = program.run(reductions.reduced(program, program.read("B", "T", 0, 1), [1], "log_sum_exp", False), x)
    assert (y[:, 0] == value).all()
    np.testing.assert_allclose(y[:, 1:], np.log(np.exp(x[:, :, 1:]).sum(1)))


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize(("exclusive", "reverse"), [*itertools.product((False, True), repeat=2)])
def test_sums_so_far(labels, exclusive, reverse):
    x = given("B", "T", 0, 1)
    at = x.transpose([("B", "T", 0, 1).index(a) for a in labels])
    for axis in [a for a, label in enumerate(labels) if label != "B"]:
        program = Program()
        y = reductions.cumulative(program, program.read(*labels), axis, exclusive=exclusive, reverse=reverse)
        ahead = np.flip(at, axis) if reverse else at
        expected = np.cumsum(ahead, axis) - (ahead if exclusive else 0)
        expected = np.flip(expected, axis) if reverse else expected
        np.testing.assert_allclose(program.run(y, x), expected, atol=1e-6)  # states are float32


RUNNING = {"prod": np.multiply, "max": np.maximum, "min": np.minimum, "log_sum_exp": np.logaddexp}


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize(("exclusive", "reverse"), [*itertools.product((False, True), repeat=2)])
@pytest.mark.parametrize("function", reductions.RUNNING)
def test_running_folds(labels, exclusive, reverse, function):
    x = given("B", "T", 0, 1)
    at = x.transpose([("B", "T", 0, 1).index(a) for a in labels])
    for axis in (i for i, label in enumerate(labels) if label != "B"):
        program = Program()
        y = reductions.running(program, program.read(*labels), axis, function, exclusive=exclusive, reverse=reverse)
        rows = np.flip(at, axis) if reverse else at
        expected = RUNNING[function].accumulate(rows, axis)
        cut = [slice(None)] * 4
        if exclusive:  # of the first there is nothing to fold: only of products is that a number to compare
            first = np.full_like(np.take(expected, [0], axis), 1 if function == "prod" else -np.inf)
            expected = np.concatenate([first, np.delete(expected, -1, axis)], axis)
            cut[axis] = slice(None) if function == "prod" else slice(1, None)
        found = program.run(y, x)
        found = np.flip(found, axis) if reverse else found
        np.testing.assert_allclose(found[tuple(cut)], expected[tuple(cut)], rtol=1e-5)  # states are float32


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("weights", [False, True])
def test_norms_of_axes(labels, weights):
    x, eps = given("B", "T", 0, 1), 0.1
    at = x.transpose([("B", "T", 0, 1).index(a) for a in labels])
    for axes in [axes for axes in AXES if "B" not in [labels[a] for a in axes]]:
        sizes = tuple(1 if labels[a] == "T" else at.shape[a] for a in axes)
        scale, shift = (np.arange(math.prod(sizes)).reshape(sizes) - n for n in (1.5, 0.5))
        wide = [1 if a not in axes or labels[a] == "T" else at.shape[a] for a in range(4)]
        factor, offset = (w.reshape(wide) if weights else n for w, n in ((scale, 1), (shift, 0)))
        centred = at - at.mean(axes, keepdims=True)
        cases = {
            norms.layer_norm: (centred / np.sqrt((centred**2).mean(axes, keepdims=True) + eps)) * factor + offset,
            norms.rms_norm: at / np.sqrt((at**2).mean(axes, keepdims=True) + eps) * factor,
        }
        for function, expected in cases.items():
            program = Program()
            more = ((scale, shift) if weights else (None, None))[: 1 + (function is norms.layer_norm)]
            y = function(program, program.read(*labels), axes, *more, eps)
            np.testing.assert_allclose(program.run(y, x), expected, atol=1e-12)


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_norms_of_groups(axis, groups):
    labels: list[Any] = ["B", "T", 0]
    labels.insert(axis, 1)
    x = given("B", "T", 0, 1)
    at = np.moveaxis(x.transpose([("B", "T", 0, 1).index(a) for a in labels]), axis, 1)
    parts = at.reshape(2, groups, 4 // groups, *at.shape[2:])
    centred = parts - parts.mean((2, 3, 4), keepdims=True)
    scale, shift = np.arange(4.0), np.arange(4.0) - 2
    expected = (centred / np.sqrt((centred**2).mean((2, 3, 4), keepdims=True) + 0.1)).reshape(at.shape)
    expected = np.moveaxis(expected * scale[:, None, None] + shift[:, None, None], 1, axis)
    program = Program()
    y = norms.group_norm(program, program.read(*labels), groups, scale, shift, 0.1, axis=axis)
    np.testing.assert_allclose(program.run(y, x), expected, atol=1e-12)
    with pytest.raises(ConvertError, match="groups must divide the 4 channels, got 3"):
        norms.group_norm(program, program.read(*labels), 3, None, None, 0.1, axis=axis)


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("label", [0, 1])
def test_norms_by_stored_statistics_are_exact(labels, label):
    x = given("B", "T", 0, 1)
    at, axis = x.transpose([("B", "T", 0, 1).index(a) for a in labels]), labels.index(label)
    mean, spread, scale, shift = (np.linspace(0.1, n, SIZES[label]) for n in (1, 2, 3, 4))
    wide = [-1 if a == axis else 1 for a in range(4)]
    expected = (at - mean.reshape(wide)) / np.sqrt(spread + 0.1).reshape(wide) * scale.reshape(wide)
    program = Program()
    y = norms.batch_norm(program, program.read(*labels), axis, mean, spread, scale, shift, 0.1)
    np.testing.assert_allclose(program.run(y, x), expected + shift.reshape(wide), atol=1e-12)
    with pytest.raises(ConvertError, match="channels"):
        norms.batch_norm(program, program.read(*labels), axis, mean[:1], spread[:1], None, None, 0.1)
