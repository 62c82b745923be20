"""Kernel sizes, strides and padding of convolutions and pools, in all of ONNX's ways to say them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ConvertError
from ..tensors.values import Tensor, is_time
from .call import Call

AUTO = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


@dataclass
class Window:
    """One entry per spatial axis.

    Parameters
    ----------
    kernel, strides, dilations, before, after : list of int
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    def extent(self, i: int) -> int:
        """Elements that the window reaches over."""
        return self.dilations[i] * (self.kernel[i] - 1) + 1

    def trivial(self, i: int) -> bool:
        """Whether the window leaves an axis as it is."""
        return (self.kernel[i], self.strides[i], self.before[i], self.after[i]) == (1, 1, 0, 0)

    def without(self, i: int) -> Window:
        """The window along the other axes."""
        return Window(*([n for j, n in enumerate(field) if j != i] for field in self.fields()))

    def fields(self) -> tuple[list[int], ...]:
        """All five."""
        return self.kernel, self.strides, self.dilations, self.before, self.after


def sizes(x: Tensor) -> list[int | None]:
    """Sizes of the spatial axes, which follow batch and channels; None for time."""
    return [None if x.is_time(i) else x.spec.shape[x.frame_axis(i)] for i in range(2, x.rank)]


def window(call: Call, x: Tensor, kernel: Sequence[int]) -> Window:
    """The window that a node's attributes describe.

    Raises
    ------
    ConvertError
        When they do not fit the input, or padding depends on how many steps there will be.
    """
    rank = x.rank - 2
    if rank < 1 or len(kernel) != rank:
        raise ConvertError(f"kernel must have an entry for each spatial axis of {x}, got {list(kernel)}")
    strides, dilations = (list(call.attr(n) or [1] * rank) for n in ("strides", "dilations"))
    pads = list(call.attr("pads") or [0] * (2 * rank))
    auto = call.attr("auto_pad", "NOTSET")
    for name, value, count in (("strides", strides, rank), ("dilations", dilations, rank), ("pads", pads, 2 * rank)):
        if len(value) != count or min(value) < (0 if name == "pads" else 1):
            raise ConvertError(f"{name} must be {count} entries of at least {int(name != 'pads')}, got {value}")
    if auto not in AUTO:
        raise ConvertError(f"auto_pad must be one of {', '.join(AUTO)}, got {auto!r}")
    found = Window(list(kernel), strides, dilations, pads[:rank], pads[rank:])
    if auto != "NOTSET":
        found.before, found.after = [0] * rank, [0] * rank
    if auto.startswith("SAME"):
        for i, n in enumerate(sizes(x)):
            if n is None and strides[i] > 1:
                raise ConvertError(f"auto_pad over time must have stride 1, got {strides[i]}")
            missing = found.extent(i) - 1 if n is None else (-(-n // strides[i]) - 1) * strides[i] + found.extent(i) - n
            half, rest = divmod(max(missing, 0), 2)
            found.before[i] = half + rest * (auto == "SAME_LOWER")
            found.after[i] = half + rest * (auto == "SAME_UPPER")
    return found


def time_axis(x: Tensor) -> int | None:
    """Which of the spatial axes is time."""
    found = [i - 2 for i in range(2, x.rank) if len(x.axes[i]) == 1 and is_time(x.axes[i][0])]
    return found[0] if found else None


def check_kernel(call: Call, kernel: Sequence[int]) -> None:
    """The attribute must say what the weights do."""
    given = call.attr("kernel_shape")
    if given is not None and list(given) != list(kernel):
        raise ConvertError(f"kernel_shape must be that of the weights, {list(kernel)}, got {list(given)}")
