"""Numbers of steps and sizes that are not known yet follow the arithmetic of integers, for sequences of any length."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.converters.program.sizes import BATCH, Dim, difference, equal, extreme, less, product, quotient, size_of
from fastgru.converters.program.steps import STEPS, Length, overlapped, windowed
from fastgru.errors import ConvertError

TRIED = range(1, 200)
LARGE = math.lcm(*range(1, 7)) ** 3


def deeper(inner):
    """Formulas made of one or two others."""
    numbers, divisors = st.integers(-9, 9), st.integers(1, 6)
    pairs, with_number, divided = st.tuples(inner, inner), st.tuples(inner, numbers), st.tuples(inner, divisors)
    return st.one_of(
        pairs.map(lambda p: lambda t: p[0](t) + p[1](t)), pairs.map(lambda p: lambda t: p[0](t) - p[1](t)),
        with_number.map(lambda p: lambda t: p[0](t) + p[1]), with_number.map(lambda p: lambda t: p[1] - p[0](t)),
        with_number.map(lambda p: lambda t: p[1] * p[0](t)), divided.map(lambda p: lambda t: p[0](t) // p[1]),
        divided.map(lambda p: lambda t: p[0](t) % p[1]), inner.map(lambda f: lambda t: -f(t)),
    )  # fmt: skip


# Formulas of the number of steps: what Python computes of an integer or a length.
FORMULAS = st.recursive(st.just(lambda t: t), deeper, max_leaves=5)


def values(formula, lengths=TRIED):
    """The values of a formula for integers."""
    return [formula(t) for t in lengths]


@settings(deadline=None)
@given(FORMULAS)
def test_lengths_have_the_values_of_integers(formula):
    length = formula(STEPS)
    assert [length.at(t) for t in TRIED] == values(formula)
    assert length.at(np.array(TRIED)).tolist() == values(formula)
    assert [length.at(STEPS * 3 - 1).at(t) for t in TRIED] == values(formula, range(2, 599, 3))


@settings(deadline=None)
@given(FORMULAS, FORMULAS)
def test_lengths_compare_as_their_values_do(f, g):
    a, b = f(STEPS), g(STEPS)
    apart = a - b
    lengths = range(1, apart.period + 400)  # beyond which the differences of one period come again
    if len(lengths) > 3000:
        return
    differences = [x - y for x, y in zip(values(f, lengths), values(g, lengths), strict=True)]
    assert (a == b) == (set(differences) == {0})
    assert a != b or hash(a) == hash(b)
    assert apart.fixed == (differences[0] if len(set(differences)) == 1 else None)
    low, high = apart.bounds()
    assert low <= min(differences)
    assert high >= max(differences)
    if apart.rate == 0:
        assert (low, high) == (min(differences), max(differences))
        assert a.may_be(b) == (0 in differences)
    assert a.never_exceeds(b) == (high <= 0)


@settings(deadline=None)
@given(FORMULAS)
def test_a_length_repeats_after_its_period(formula):
    length = formula(STEPS)
    for t in (0, 1, 7, 50):
        assert length.at(t + length.period) - length.at(t) == length.rate * length.period


@settings(deadline=None)
@given(FORMULAS)
def test_texts_of_lengths_are_formulas_of_python(formula):
    text = compile(str(formula(STEPS)), "formula", "eval")
    assert [eval(text, {"T": t}) for t in TRIED] == values(formula)


@settings(deadline=None)
@given(FORMULAS)
def test_a_length_is_a_multiple_of_its_part(formula):
    length = formula(STEPS)
    factor, part = length.parted()
    assert part * factor == length
    size = size_of(length)
    assert size == length.offset if not length.terms else size.steps == length


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_windows_are_counted_as_a_convolution_does(extent, stride, padding):
    length = windowed(STEPS, extent, stride, padding)
    for t in TRIED:
        if t + padding >= extent:
            assert length.at(t) == len(range(0, t + padding - extent + 1, stride))
    assert overlapped(length, stride, extent - stride).at(200) == (length.at(200) - 1) * stride + extent


def test_lengths_are_written_as_short_as_they_can_be():
    t = STEPS
    cases = {
        "T - 4": t - 4, "T": t - 4 + 4, "T // 2 - 1": windowed(t, 4, 2, 0), "3 * T - 1": overlapped(t - 1, 3, 2),
        "2 * (T // 2)": overlapped(windowed(t, 4, 2, 2), 2, 0), "(T + 1) // 2": (t - 1) // 2 + 1, "T // 6": t // 2 // 3,
        "T + T // 2": 3 * t // 2, "-T + 3": 3 - t, "T - 2 * (T // 2)": t % 2, "0": t - t,
    }  # fmt: skip
    assert {text: str(length) for text, length in cases.items()} == {text: text for text in cases}


def test_a_length_is_divided_by_1_or_more():
    with pytest.raises(ValueError, match="divided by 1 or more, got 0"):
        STEPS // 0


def test_a_period_that_is_too_long_is_not_tried():
    long = STEPS // 2**30
    assert long.bounds() == (-math.inf, math.inf)
    assert (long * 2**30 - STEPS).fixed is None
    assert not (long * 2**30).may_be(STEPS)
    assert long == STEPS // 2**15 // 2**15


# Sizes -------------------------------------------------------------------------------------------

B, T = size_of(BATCH), size_of(STEPS)


@settings(deadline=None)
@given(FORMULAS, FORMULAS, st.integers(1, 6))
def test_sizes_of_steps_follow_lengths(f, g, n):
    a, b = size_of(f(STEPS)), size_of(g(STEPS))
    sized = {"+": a + b, "-": a - b, "*": a * n, "//": a // n}
    lengths = {"+": f(STEPS) + g(STEPS), "-": f(STEPS) - g(STEPS), "*": f(STEPS) * n, "//": f(STEPS) // n}
    assert sized == {name: size_of(length) for name, length in lengths.items()}
    assert difference(a, b) == (f(STEPS) - g(STEPS)).fixed


def test_sizes_multiply_and_divide():
    assert product([B, 4, T]) == Dim(4, (BATCH, STEPS))
    assert quotient(product([B, 4, T]), product([2, T])) == Dim(2, (BATCH,))
    assert quotient(product([B, 4]), B) == 4
    assert product([B, 0]) == 0
    assert B + 3 * B == 4 * B
    assert B - B == 0
    assert product([2, T + 2]) == T * 2 + 4
    for bottom in (3, T):
        with pytest.raises(ConvertError, match="must be a multiple of"):
            quotient(product([B, 4]), bottom)
    with pytest.raises(ConvertError, match=r"size must be fixed here, got 4 \* B"):
        int(product([B, 4]))


@pytest.mark.parametrize(
    "work", [lambda: B + 1, lambda: B + T, lambda: T - B, lambda: B // 2, lambda: T // T // 0, lambda: B % 2,
             lambda: 4 // B, lambda: T // B, lambda: T % T, lambda: B * T + T],
)  # fmt: skip
def test_other_results_are_no_sizes(work):
    with pytest.raises((ConvertError, ZeroDivisionError)):
        work()


def test_sizes_are_ordered_where_that_holds_for_all_lengths():
    assert T > T - 1
    assert T + T // 2 >= T + 0
    assert T > 0
    assert B >= 1 and 0 < B  # noqa: PT018, SIM300 - both sides
    assert T // 2 <= T
    assert T // 2 < T + 1
    assert equal((T + 1) // 2, T - T // 2)
    assert not equal(T, T + 1)
    assert not equal(B, 0)
    assert extreme([1, T], 1) == T
    assert extreme([1, B], -1) == 1
    assert extreme([T, T - 3, T + 2], 1) == T + 2
    for a, b in ((T, 4), (B, T), (B, 2)):
        with pytest.raises(ConvertError, match="sizes must be known to be compared"):
            less(a, b)
        with pytest.raises(ConvertError, match="sizes must be known to be compared"):
            equal(a, b)


def test_texts_of_sizes():
    shown = [str(n) for n in (B * T * 4, T * 2, (T - 1) * 2, product([B, T - 4]), T // 2, B)]
    assert shown == ["4 * B * T", "2 * T", "2 * (T - 1)", "B * (T - 4)", "T // 2", "B"]


def test_a_length_is_none_of_a_batch():
    assert (B.steps, (B * T).steps, (T * 3).steps) == (None, None, STEPS * 3)
    assert isinstance(T.steps, Length)
