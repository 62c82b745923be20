"""What the Keras importer passes around: layers of a config, values of the graph, and the checks on both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ConvertError
from ..graph import GraphBuilder, Op, Spec

Array = NDArray[Any]

# Keras keeps these in a layer's config, but they say nothing about what it computes at inference.
HARMLESS = {"name", "trainable", "batch_input_shape", "batch_shape", "input_shape", "input_dtype", "seed"}
HARMLESS_ENDINGS = ("_initializer", "_regularizer", "_constraint")
# Policies under which the stored arrays are the weights. A quantized policy (int8, float8, GPTQ) is none of them.
DTYPES = ("float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16")


class Layer(NamedTuple):
    """One layer of a config: its class, its name, what it is made of, and the module of its class."""

    class_name: str
    name: str
    config: dict[str, Any]
    module: str | None = None

    def __str__(self) -> str:
        return f"layer {self.name!r} ({self.class_name})"

    def get(self, key: str, *, default: Any = None) -> Any:
        """`config[key]`, or `default` when there is one; else an error that names layer and key."""
        if key in self.config:
            return self.config[key]
        if default is None:
            raise ConvertError(f"{self} must have {key!r} in its config, got none")
        return default

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """A boolean of the config."""
        value = self.get(key, default=default)
        if not isinstance(value, bool):
            raise ConvertError(f"{key} of {self} must be true or false, got {value!r}")
        return value

    def number(self, key: str, *, default: float | None = None) -> float:
        """A finite number of the config; arrays of one element count, as TensorFlow writes some."""
        value = self.get(key, default=default)
        if isinstance(value, dict) and value.get("class_name") == "__numpy__":
            value = value.get("config", {}).get("value")
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise ConvertError(f"{key} of {self} must be a number, got {value!r}")
        return float(array.reshape(()))


def as_layer(value: Any, *, where: str) -> Layer:
    """A `Layer` from the dict that Keras writes for one.

    Raises
    ------
    ConvertError
        When it is none.
    """
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        raise ConvertError(f"{where} must be a layer's config with a class_name, got {shortened(value)}")
    config = value.get("config")
    if not isinstance(config, dict):
        raise ConvertError(f"config of {value['class_name']} in {where} must be an object, got {shortened(config)}")
    name = value.get("name", config.get("name"))
    name = name if isinstance(name, str) else value["class_name"]
    module = value.get("module")
    if value.get("registered_name") not in (None, value["class_name"]):
        module = str(value["registered_name"])
    return Layer(value["class_name"], name, config, module if isinstance(module, str) else None)


def shortened(value: Any) -> str:
    """`repr` of a value from a file, at most 80 characters of it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Version(NamedTuple):
    """The Keras that wrote a model: it decides what some names mean."""

    major: int
    minor: int
    tensorflow: bool  # written by tf.keras while a Keras without TensorFlow still existed

    @classmethod
    def of(cls, text: Any) -> Version:
        """From ``"2.2.4-tf"`` or ``"3.13.2"``."""
        match = re.match(r"(\d+)\.(\d+)", text) if isinstance(text, str) else None
        if match is None:
            raise ConvertError(f"keras_version must be like '2.2.4', got {text!r}")
        return cls(int(match[1]), int(match[2]), text.endswith("-tf"))

    @property
    def zeroes_masked_bidirectional(self) -> bool:
        """Whether Bidirectional writes zeros at masked steps: all but the Keras before it became tf.keras."""
        return self.tensorflow or (self.major, self.minor) >= (2, 4)


@dataclass(frozen=True)
class Value:
    """A value of the graph, its spec, and the value of the mask that travels with it in Keras."""

    name: str
    spec: Spec
    mask: str | None = None


@dataclass
class Context:
    """What converting one layer needs to know of the model."""

    version: Version
    builder: GraphBuilder = field(default_factory=GraphBuilder)
    stateful: list[str] = field(default_factory=list)
    masks: dict[tuple[str, float], str] = field(default_factory=dict)

    def add(self, op: Op, *inputs: Value, name: str | None, mask: str | None = None) -> Value:
        """Add a node; shapes are inferred at once so that an error falls on the layer that causes it."""
        specs = op.infer(tuple(x.spec for x in inputs))
        value = self.builder.add(op, *(x.name for x in inputs), name=name)
        return Value(value, specs[0], mask)


Convert = Callable[[Layer, list[Array], list[Value], Context], list[Value]]


class Row(NamedTuple):
    """One class of layers: how it converts and which keys its config may have.

    `handled` keys change the result, `harmless` ones do not, `fixed` ones must have one of the
    values listed. Any other key is an error, for it may mean anything.
    """

    convert: Convert
    handled: str = ""
    harmless: str = ""
    fixed: Mapping[str, tuple[Any, ...]] = {}
    rowwise: bool = False  # works on every step alone, so TimeDistributed changes nothing

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


def one(layer: Layer, inputs: list[Value]) -> Value:
    """The only input of a layer."""
    if len(inputs) != 1:
        raise ConvertError(f"{layer} must have one input, got {len(inputs)}")
    return inputs[0]


def last_axis(layer: Layer, x: Value) -> None:
    """Check that the layer's axis is the last of `x`, counted from either end or in a list of one."""
    axis = layer.get("axis", default=-1)
    axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if axis not in (-1, len(x.spec.shape) + x.spec.time):
        raise ConvertError(f"axis of {layer} must be the last (-1), got {layer.get('axis')!r}")
