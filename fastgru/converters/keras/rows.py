"""The row that each class of layers has in the table: how it converts, and what its config may say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ...errors import ConvertError
from .values import AcrossTime, Array, Convert, Layer, Value, shortened

# Keras keeps these in a layer's config, but they say nothing about what it computes at inference.
HARMLESS = {"name", "trainable", "batch_input_shape", "batch_shape", "input_shape", "input_dtype", "seed"}
HARMLESS_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# Policies under which the stored arrays are the weights. A quantized policy (int8, float8, GPTQ) is none of them.
DTYPES = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")
LORA = {"quantization_config": (None,), "lora_rank": (None,), "lora_alpha": (None,)}


class Row(NamedTuple):
    """One class of layers: how it converts and which keys its config may have.

    `handled` keys change the result, `harmless` ones do not, `fixed` ones must have one of the
    values listed. Any other key is an error, for it may mean anything.
    """

    convert: Convert
    handled: str = ""
    harmless: str = ""
    fixed: Mapping[str, tuple[Any, ...]] = {}
    call: str = ""  # keyword arguments that a call may have
    inner: Callable[[Layer], list[str]] | None = None  # problems of the layers inside

    def problems(self, layer: Layer) -> list[str]:
        """Every key of the config that is unknown or has a value that is not supported."""
        known = HARMLESS | set(self.handled.split()) | set(self.harmless.split())
        found = []
        for key, value in layer.config.items():
            if key in self.fixed:
                allowed = self.fixed[key]
                if not any(value == v for v in allowed):
                    expected = " or ".join(map(repr, allowed))
                    found.append(f"{key} of {layer} must be {expected}, got {shortened(value)}")
            elif key == "dtype":
                found += _dtype_problems(layer, value)
            elif key not in known and not key.endswith(HARMLESS_ENDINGS):
                found.append(f"config of {layer} must have only known keys, got {key}={shortened(value)}")
        return found


def _dtype_problems(layer: Layer, value: Any) -> list[str]:
    config = value.get("config") if isinstance(value, dict) else None
    name = config.get("name") if isinstance(config, dict) else value
    quantized = isinstance(config, dict) and {"mode", "source_name"} & set(config)
    if value is None or (name in DTYPES and not quantized):
        return []
    return [f"dtype of {layer} must be one of {', '.join(DTYPES)}, got {shortened(value)}"]


def take(layer: Layer, arrays: list[Array], *names: str) -> list[Array]:
    """`arrays`, checked to be as many as `names`."""
    if len(arrays) != len(names):
        got = ", ".join(str(a.shape) for a in arrays) or "none"
        expected = f"{len(names)} arrays ({', '.join(names)})" if names else "no arrays"
        raise ConvertError(f"{layer} must have {expected}, got {len(arrays)} of shapes {got}")
    return arrays


def shaped(layer: Layer, array: Array, name: str, shape: tuple[int, ...]) -> Array:
    """`array`, checked to have a shape."""
    if array.shape != shape:
        raise ConvertError(f"{name} of {layer} must have shape {shape}, got {array.shape}")
    return array


def one(layer: Layer, inputs: list[Value]) -> Value:
    """The only input of a layer."""
    if len(inputs) != 1:
        raise ConvertError(f"{layer} must have one input, got {len(inputs)}")
    return inputs[0]


# Axes --------------------------------------------------------------------------------------------


def axes_of(layer: Layer, x: Value, value: Any, *, key: str = "axis") -> tuple[int, ...]:
    """One or several axes as Keras counts them, as axes of the frame in ascending order; -1 stands for time."""
    axes = value if isinstance(value, list | tuple) else [value]
    found = []
    for axis in axes:
        if isinstance(axis, bool) or not isinstance(axis, int) or not -x.rank < axis < x.rank or axis == 0:
            raise ConvertError(f"{key} of {layer} must be an axis of {x.spec} after the first, got {shortened(value)}")
        found.append((axis if axis > 0 else axis + x.rank) - 1 - x.timed)
    if len(set(found)) != len(found) or not found:
        raise ConvertError(f"{key} of {layer} must be distinct axes after the first, got {shortened(value)}")
    return tuple(sorted(found))


def frame_axes(layer: Layer, x: Value, value: Any, *, key: str = "axis") -> tuple[int, ...]:
    """The same, where none is time.

    Raises
    ------
    AcrossTime
        When one is.
    """
    axes = axes_of(layer, x, value, key=key)
    if axes[0] < 0:
        raise AcrossTime(f"{key} of {layer} must not be the time axis, got {shortened(value)}")
    return axes


def frame_axis(layer: Layer, x: Value, value: Any, *, key: str = "axis") -> int:
    """The same of a single axis."""
    axes = frame_axes(layer, x, value, key=key)
    if len(axes) != 1:
        raise ConvertError(f"{key} of {layer} must be one axis, got {shortened(value)}")
    return axes[0]
