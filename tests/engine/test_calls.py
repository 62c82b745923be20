"""A call like the last one takes a short way: it must give what the long one does, and refuse what that refuses."""

from __future__ import annotations

import numpy as np
import pytest

from fastgru import Model
from fastgru.graph import Activation, Dense, GraphBuilder, Spec
from fastgru.layers import GRU


def rowwise() -> Model:
    """A model without time."""
    rng, b = np.random.default_rng(0), GraphBuilder()
    x = b.input("x", Spec((5,), time=False))
    return Model(b.build(b.add(Dense(rng.normal(size=(3, 5)), rng.normal(size=3), Activation("tanh")), x)))


def timed() -> Model:
    """A model with a state."""
    rng = np.random.default_rng(0)
    return Model([GRU.from_torch(rng.normal(size=(12, 5)), rng.normal(size=(12, 4)))])


SHAPES = [(rowwise, (5,)), (rowwise, (7, 5)), (timed, (6, 5)), (timed, (7, 6, 5))]


@pytest.mark.parametrize(("make", "shape"), SHAPES)
@pytest.mark.parametrize("threads", [None, 1, 2])
def test_a_call_like_the_last_gives_what_the_first_of_a_new_model_gives(make, shape, threads):
    inputs = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    model = make()
    for x in inputs:
        y, out = model(x, threads=threads), np.empty_like(make()(x))
        assert np.array_equal(y, make()(x))
        assert model(x, threads=threads, out=out) is out
        assert np.array_equal(out, y)


@pytest.mark.parametrize(("make", "shape"), SHAPES)
def test_a_call_of_another_shape_or_with_other_threads_is_not_like_the_last(make, shape):
    rng, model = np.random.default_rng(2), make()
    for lead in ((), (2,), (3,), (2,)):
        x = rng.normal(size=(*lead, *shape[-1:]) if make is rowwise else (*lead, *shape[-2:])).astype(np.float32)
        for threads in (None, 1, 2, 1, None):
            assert np.array_equal(model(x, threads=threads), make()(x))
    for wrong in (x[..., :4], x[None, None]):
        with pytest.raises(ValueError, match="x must"):
            model(wrong)


@pytest.mark.parametrize(("make", "shape"), SHAPES)
@pytest.mark.parametrize("threads", [0, -1, True, 1.0, "2"])
def test_threads_are_checked_at_every_call(make, shape, threads):
    model, x = make(), np.zeros(shape, np.float32)
    for _ in range(2):
        model(x, threads=1)
        with pytest.raises((TypeError, ValueError), match="threads must be"):
            model(x, threads=threads)
