"""The tensors that all sources share: windows, padding, slices and resizing against NumPy, with axes in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from test_tensor_program import ORDERS, Program, given

from fastgru.converters.program.convolutions import convolve, transposed
from fastgru.converters.program.padding import pad, repeat
from fastgru.converters.program.resizing import Resizing, resized
from fastgru.converters.program.time import steps_between
from fastgru.converters.program.values import NeedsSequenceLength
from fastgru.converters.program.windows import Window, pool, same, unfold
from fastgru.errors import ConvertError

Labels = tuple[str | int, ...]
WINDOWS = [
    (Window(2), Window(3, 2, 1, 1, 1)), (Window(3, 2, 1, 0, 1), Window(1)), (Window(2, 1, 2, 1, 1), Window(2, 2)),
    (Window(2, 3, 1, 1, 0), Window(2, 1, 2, 0, 1)),
]  # fmt: skip


def whole() -> np.ndarray[Any, Any]:
    """Numbers (B, T, 3, 4)."""
    return given("B", "T", 0, 1)


def ordered(x: Any, labels: Labels) -> Any:
    """`x` (B, T, 3, 4) with its axes in the order of labels."""
    return x.transpose([("B", "T", 0, 1).index(a) for a in labels])


def pooled(x: Any, axis: int, window: Window, mode: str, count: bool, ceil: bool) -> Any:
    """One axis by the words of ONNX and PyTorch."""
    n, (size, stride, dilation, before, after, _) = x.shape[axis], window
    starts = list(range(-before, n + after - window.extent + 1, stride))
    if ceil and starts[-1] + window.extent < n + after and starts[-1] + stride < n:
        starts.append(starts[-1] + stride)
    parts = []
    for start in starts:
        places = [start + k * dilation for k in range(size)]
        inside = [k for k in places if 0 <= k < n]
        counted = sum(k < n + after for k in places) if count else len(inside)
        some = np.take(x, inside, axis)
        parts.append(some.max(axis) if mode == "max" else some.sum(axis) / counted)
    return np.stack(parts, axis)


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("ceil", [False, True])
def test_pools(labels: Labels, windows: Sequence[Window], ceil: bool) -> None:
    axes = [labels.index("T"), labels.index(1)]
    for mode, count in (("max", False), ("average", False), ("average", True)):
        program = Program()
        y = pool(program, program.read(*labels), mode, windows, axes, count_padding=count, ceil=ceil)
        expected = ordered(whole(), labels)
        for axis, window in zip(axes, windows, strict=True):
            expected = pooled(expected, axis, window, mode, count, ceil)
        np.testing.assert_allclose(program.run(y, whole()), expected, rtol=1e-12)


def convolved(x: Any, weight: Any, windows: Sequence[Window]) -> Any:
    """Of (B, C, \\*spatial), product by product."""
    widths = [(0, 0), (0, 0), *((w.before, w.after) for w in windows)]
    x = np.pad(x, widths)
    sizes = [(n - w.extent) // w.stride + 1 for n, w in zip(x.shape[2:], windows, strict=True)]
    y = 0
    for k in np.ndindex(weight.shape[2:]):
        cut = tuple(slice(i * w.dilation, i * w.dilation + (n - 1) * w.stride + 1, w.stride)
                    for i, w, n in zip(k, windows, sizes, strict=True))  # fmt: skip
        y = y + np.einsum("oc,bc...->bo...", weight[(..., *k)], x[(slice(None), slice(None), *cut)])
    return y


def spread(x: Any, weight: Any, windows: Sequence[Window]) -> Any:
    """The transpose of a convolution of (B, C, \\*spatial), product by product."""
    sizes = [(n - 1) * w.stride + w.extent + w.extra for n, w in zip(x.shape[2:], windows, strict=True)]
    y = np.zeros((len(x), weight.shape[1], *sizes))
    for k in np.ndindex(weight.shape[2:]):
        at = tuple(slice(i * w.dilation, i * w.dilation + (n - 1) * w.stride + 1, w.stride)
                   for i, w, n in zip(k, windows, x.shape[2:], strict=True))  # fmt: skip
        y[(slice(None), slice(None), *at)] += np.einsum("co,bc...->bo...", weight[(..., *k)], x)
    return y[(..., *(slice(w.before, n - w.after) for w, n in zip(windows, sizes, strict=True)))]


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_convolutions_over_time_and_frames(labels: Labels, windows: Sequence[Window]) -> None:
    rng = np.random.default_rng(1)
    axes, channels = [labels.index("T"), labels.index(1)], labels.index(0)
    kernel = [w.size for w in windows]
    x, back = whole().transpose(0, 2, 1, 3), [("B", 0, "T", 1).index(a) for a in labels]
    for run, define, shape in ((convolve, convolved, (5, 3)), (transposed, spread, (3, 5))):
        weight = rng.normal(size=(*shape, *kernel))
        program = Program()
        y = run(program, program.read(*labels), weight, None, windows, axes, channels=channels)
        np.testing.assert_allclose(
            program.run(y, whole()), define(x, weight, windows).transpose(back), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("window", [Window(3, 2, 1, 2, 0), Window(1), Window(2, 1, 2, 1, 1)], ids=str)
def test_convolutions_of_rows(labels: Labels, window: Window) -> None:
    """Channels and time, the other axis of the frame being rows."""
    rng = np.random.default_rng(1)
    x = whole().transpose(0, 3, 2, 1)  # (B, 4, 3 rows, T)
    windows = [Window(1), window]
    for run, define, shape in ((convolve, convolved, (5, 4)), (transposed, spread, (4, 5))):
        weight, program = rng.normal(size=(*shape, window.size)), Program()
        axes, channels = [labels.index("T")], labels.index(1)
        y = run(program, program.read(*labels), weight, None, [window], axes, channels=channels)
        expected = define(x, weight[:, :, None], windows).transpose([("B", 1, 0, "T").index(a) for a in labels])
        np.testing.assert_allclose(program.run(y, whole()), expected, rtol=1e-9, atol=1e-12)


def test_same_padding_of_time_begins_alike_for_every_length_or_is_refused() -> None:
    assert same(Window(4, 2), None) == Window(4, 2, before=1, after=2)
    assert same(Window(5, 2), None, lower=True) == Window(5, 2, before=2, after=2)
    assert same(Window(3, 2), 5) == Window(3, 2, before=1, after=1)
    with pytest.raises(NeedsSequenceLength, match="SAME padding of time by windows of 3 with stride 2 must know"):
        same(Window(3, 2), None)


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize(
    ("mode", "fill"), [("constant", 0.0), ("constant", 2.5), ("constant", -np.inf), ("reflect", 0.0), ("edge", 0.0)]
)
def test_pads(labels: Labels, mode: str, fill: float) -> None:
    sides = {"T": (2, -1), 0: (-1, 0), 1: (1, 2)} if mode != "reflect" else {"T": (2, 1), 1: (1, 2)}
    program = Program()
    y = pad(program, program.read(*labels), {labels.index(a): pair for a, pair in sides.items()}, mode, fill)
    x = ordered(whole(), labels)
    for label, (before, after) in sides.items():
        axis = labels.index(label)
        x = np.take(x, range(max(-before, 0), x.shape[axis] - max(-after, 0)), axis)
    widths = [tuple(max(n, 0) for n in sides.get(a, (0, 0))) for a in labels]
    options = {"constant_values": fill} if mode == "constant" else {}
    np.testing.assert_array_equal(program.run(y, whole()), np.pad(x, widths, mode, **options))


def test_time_is_not_padded_by_its_other_end() -> None:
    program = Program()
    with pytest.raises(NeedsSequenceLength, match=r"padding of time must be .*, got wrap \(circular\)"):
        pad(program, program.read("B", "T", 0), {1: (1, 1)}, "wrap")


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize(
    "cut", [(1, None, 1), (1, -1, 2), (0, -2, 1), (-3, None, 1), (-3, -1, 1), (1, 3, 1), (-1, None, -1), (-2, 0, -2)]
)
def test_slices_of_time(labels: Labels, cut: tuple[int, int | None, int]) -> None:
    program, axis = Program(), labels.index("T")
    y = program.run(steps_between(program, program.read(*labels), axis, *cut), whole())
    at = tuple(slice(*cut) if i == axis else slice(None) for i in range(4))
    np.testing.assert_array_equal(y, ordered(whole(), labels)[at])


def test_a_slice_of_time_that_is_not_counted_from_an_end_is_refused() -> None:
    program = Program()
    with pytest.raises(ConvertError, match="begin near its end and end near its beginning"):
        steps_between(program, program.read("B", "T", 0), 1, -2, 3)


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("label", ["T", 0])
def test_windows_and_repetition(labels: Labels, label: str | int) -> None:
    axis, x = labels.index(label), ordered(whole(), labels)
    program = Program()
    y = program.run(unfold(program, program.read(*labels), axis, 2, 1), whole())
    np.testing.assert_array_equal(y, np.lib.stride_tricks.sliding_window_view(x, 2, axis))
    program = Program()
    y = program.run(repeat(program, program.read(*labels), axis, 3), whole())
    np.testing.assert_array_equal(y, np.repeat(x, 3, axis))


@pytest.mark.parametrize("labels", ORDERS)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_time_is_resized_as_frames_are(labels: Labels, mode: str) -> None:
    """The axis of three in place of time, for whole factors and whole parts."""
    for scale in (2.0, 3.0, 0.5):
        how, x = Resizing(mode), whole()[:, :3]
        program = Program()
        y = program.run(resized(program, program.read(*labels), labels.index("T"), None, scale, how), x)
        program, turned = Program(), x.swapaxes(1, 2)  # (B, 3 as T, T as 0, 4)
        swapped = tuple({"T": 0, 0: "T"}.get(a, a) for a in labels)
        z = program.run(resized(program, program.read(*swapped), labels.index("T"), None, scale, how), turned)
        np.testing.assert_allclose(y, z, rtol=1e-5, atol=1e-6)


def test_time_is_resized_by_whole_factors_alone() -> None:
    program = Program()
    with pytest.raises(NeedsSequenceLength, match=r"time must be resized to a whole number .*, got 1.5 times"):
        resized(program, program.read("B", "T", 0), 1, None, 1.5, Resizing("linear"))
