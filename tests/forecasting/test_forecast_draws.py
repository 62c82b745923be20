"""Random numbers of forecasts: published vectors, independence of what is drawn with them, and their distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fastgru.forecasting import DISTRIBUTIONS
from fastgru.forecasting._random import Draws, philox
from fastgru.forecasting.distributions import between, distribution_of, gamma, log_factorial, normal, poisson

MANY = 200_000  # draws, of 400 series


def draws(step=0, lane=0, samples=500, series=MANY // 500, seed=7):
    return Draws(seed, np.arange(series, dtype=np.uint64), samples, step, lane)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # of Random123's file of known answers
        ((0, 0, 0, 0), 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, 2**64 - 1, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), 0x299F31D0A4093822,
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)  # fmt: skip
def test_philox_gives_the_published_words(counter, key, words):
    found = philox([[c] for c in counter], key)[:, 0]
    assert " ".join(f"{w:08x}" for w in found) == words


def test_a_number_does_not_depend_on_what_is_drawn_with_it():
    keys = np.array([3, 2**63 + 5, 9], np.uint64)
    whole = Draws(1, keys, 101, 4).pair(2)
    for i, key in enumerate(keys):
        alone = Draws(1, np.array([key]), 101, 4).pair(2)
        fewer = Draws(1, np.array([key]), 7, 4).pair(2)
        for a, b, c in zip(whole, alone, fewer, strict=True):
            assert np.array_equal(a.reshape(3, 101)[i], b)
            assert np.array_equal(b[:7], c)
    rows = np.array([0, 1, 100, 101, 150, 302])
    for some, all_ in zip(Draws(1, keys, 101, 4).pair(2, rows), whole, strict=True):
        assert np.array_equal(some, all_[rows])


@pytest.mark.parametrize("other", [{"step": 1}, {"lane": 1}, {"seed": 8}, {"seed": 7 + 2**32}], ids=str)
def test_other_places_have_other_numbers(other):
    assert not np.any(draws(samples=6, series=2).pair()[0] == draws(samples=6, series=2, **other).pair()[0])
    assert not np.any(draws(samples=6, series=2).pair(0)[0] == draws(samples=6, series=2).pair(1)[0])


def test_pairs_are_uniform_and_independent():
    u, v = draws().pair()
    assert min(u.min(), v.min()) > 0
    assert max(u.max(), v.max()) < 1
    for numbers in (u, v, (u + v) % 1, (u[1:] + v[:-1]) % 1, (u[:-1] - u[1:]) % 1):
        assert stats.kstest(numbers, "uniform").pvalue > 1e-3


def continuous(numbers, law):
    assert stats.kstest(numbers, law.cdf).pvalue > 1e-3


def discrete(numbers, law):
    """Hold counts against the masses of a law, those that are expected less than 10 times put together."""
    assert np.array_equal(numbers, np.floor(numbers))
    top = int(law.ppf(1 - 10 / len(numbers)))
    bottom = int(law.ppf(10 / len(numbers)))
    edges = np.arange(bottom, top + 1)
    expected = np.concatenate([[law.cdf(bottom)], law.pmf(edges[1:]), [law.sf(top)]]) * len(numbers)
    got = np.bincount(np.clip(numbers, bottom, top + 1).astype(int) - bottom, minlength=len(expected))
    rare = expected < 5
    expected, got = np.append(expected[~rare], expected[rare].sum()), np.append(got[~rare], got[rare].sum())
    if expected[-1] == 0:
        expected, got = expected[:-1], got[:-1]
    assert stats.chisquare(got, expected * got.sum() / expected.sum()).pvalue > 1e-3


LAWS = {
    "normal": [((2.0, 3.0), lambda loc, scale: stats.norm(loc, scale))],
    "laplace": [((-1.0, 0.5), lambda loc, scale: stats.laplace(loc, scale))],
    "student_t": [
        ((df, 1.0, 2.0), lambda df, loc, scale: stats.t(df, loc, scale)) for df in (0.5, 2.1, 4.0, 30.0, 1e6)
    ],
    "poisson": [((rate,), lambda rate: stats.poisson(rate)) for rate in (1e-3, 0.4, 3.0, 9.99, 10.0, 35.5, 1e4)],
    "negative_binomial": [
        ((mean, alpha), lambda mean, alpha: stats.nbinom(1 / alpha, 1 / (1 + alpha * mean)))
        for mean, alpha in ((0.3, 4.0), (2.0, 0.5), (40.0, 0.1), (300.0, 1.5))
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters", "law"),
    [pytest.param(name, p, law, id=f"{name}-{p}") for name, rows in LAWS.items() for p, law in rows],
)
def test_draws_have_their_distribution(name, parameters, law):
    row = DISTRIBUTIONS[name]
    arrays = [np.full(MANY, p) for p in parameters]
    drawn = row.draw(*arrays, draws())
    (discrete if row.counts else continuous)(drawn, law(*parameters))
    mean = law(*parameters).mean()
    if np.isfinite(mean) and name != "student_t":
        assert row.mean(*arrays)[0] == pytest.approx(mean)


def test_every_distribution_is_tested():
    assert set(LAWS) == set(DISTRIBUTIONS) - {"point", "quantiles"}


@pytest.mark.parametrize("shape", [0.05, 0.7, 1.0, 3.5, 200.0])
def test_gamma(shape):
    continuous(gamma(np.full(MANY, shape), draws()), stats.gamma(shape))


@pytest.mark.parametrize("name", ["negative_binomial", "poisson"])
def test_rows_that_draw_again_leave_the_others_alone(name):
    rng = np.random.default_rng(0)
    parameters = [rng.gamma(1.0, size=60) * scale for scale in (30.0, 1.0)][: len(DISTRIBUTIONS[name].parameters)]
    draw = DISTRIBUTIONS[name].draw
    whole = draw(*parameters, draws(samples=20, series=3)).reshape(3, 20)
    for i in range(3):
        part = [p.reshape(3, 20)[i] for p in parameters]
        assert np.array_equal(draw(*part, Draws(7, np.array([i], np.uint64), 20, 0)), whole[i])


def test_no_spread_is_poisson():
    mean = np.full(1000, 3.0)
    got = DISTRIBUTIONS["negative_binomial"].draw(mean, np.zeros(1000), draws(samples=1000, series=1))
    assert np.array_equal(got, poisson(mean, draws(samples=1000, series=1), 128))


def test_numbers_of_none_end():
    bad = np.full(4, np.nan)
    assert np.isnan(gamma(bad, draws(samples=4, series=1))).all()
    assert np.isnan(poisson(bad, draws(samples=4, series=1))).all()


def test_log_factorials():
    k = np.array([0, 1, 2, 14, 15, 16, 17, 100, 1e6])
    from scipy.special import gammaln

    np.testing.assert_allclose(log_factorial(k), gammaln(k + 1), rtol=1e-12, atol=1e-10)


def test_quantile_heads():
    levels = np.array([0.1, 0.5, 0.9])
    values = np.tile([1.0, 2.0, 10.0], (6, 1))
    u = np.array([0.05, 0.1, 0.3, 0.5, 0.7, 0.95])
    np.testing.assert_allclose(between(levels, values, u), [1, 1, 1.5, 2, 6, 10])
    np.testing.assert_allclose(between(levels, values[:, ::-1], u), [1, 1, 1.5, 2, 6, 10])  # crossed ones are sorted
    head = distribution_of("quantiles", (0.1, 0.9))
    assert head.mean(np.array([1.0]), np.array([2.0])) == pytest.approx(1.5)
    drawn = head.draw(np.full(MANY, 1.0), np.full(MANY, 2.0), draws())
    np.testing.assert_allclose(np.quantile(drawn, [0.25, 0.5, 0.8]), [1.1875, 1.5, 1.875], atol=0.01)


def test_normal_has_no_bias_in_its_tails():
    z = normal(*draws().pair())
    for level in (1e-4, 1e-3, 0.999, 0.9999):
        share = np.mean(z < stats.norm.ppf(level))
        assert share == pytest.approx(level, abs=5 * np.sqrt(level * (1 - level) / MANY))
