"""Ranges with a number for each step of the input, or of what a stride left of it."""

from __future__ import annotations

import numpy as np
import pytest
from program_of_one import Program
from streamed import check_streamed

from fastgru.converters.program.lengths import numbered
from fastgru.converters.program.sizes import size_of
from fastgru.converters.program.steps import STEPS, Length
from fastgru.errors import ConvertError
from fastgru.reference import run

LENGTHS: tuple[Length, ...] = (
    STEPS, STEPS - 2, STEPS // 2, STEPS // 4 - 1, (STEPS + 1) // 2, (STEPS + 5) // 3 + 2, (STEPS // 2 - 1) // 3,
)  # fmt: skip


@pytest.mark.parametrize("length", LENGTHS, ids=str)
@pytest.mark.parametrize(("start", "step"), [(0, 1), (16, 16), (-3, 2)])
def test_a_number_for_every_step(start: int, step: int, length: Length) -> None:
    b = Program()
    b.read("B", "T")
    found = numbered(b, start, size_of(length) * step + start, step)
    assert found.sizes() == (size_of(length),)
    graph = b.emit.build({"y": b.cast(found.value, "float")}, b.emit.feedback)
    for steps in range(8, 40):
        (y,) = run(graph, {"x": np.zeros((1, steps))})[0]
        assert np.array_equal(y[0], start + step * np.arange(length.at(steps)))
    check_streamed(graph, {"x": np.zeros((1, 23), np.float32)})


def test_a_range_of_other_steps_is_refused() -> None:
    b = Program()
    b.read("B", "T")
    with pytest.raises(
        ConvertError, match=r"range must have fixed ends, or a number for every step .*0 to 3 \* T by 2"
    ):
        numbered(b, 0, size_of(STEPS) * 3, 2)
