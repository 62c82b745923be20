"""What a process pays for before it runs a model: the modules that are loaded, and the classes that are made."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

from fastgru.graph import OPS, Dense, Op


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
        (lambda: Dense(np.ones((2, 3)), activatoin="tanh"), "Dense: got an unexpected keyword argument 'activatoin'"),
        (lambda: Dense(np.ones((2, 3)), None, "tanh", "float32", 1), "Dense: too many positional arguments"),
        (lambda: Dense(np.ones((2, 3)), weight=1), "Dense: multiple values for argument 'weight'"),
    ],
)
def test_wrong_arguments_of_an_op_name_it(make, message):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == message
