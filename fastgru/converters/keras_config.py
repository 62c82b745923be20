"""From a Keras model's config and a way to look up its weights to a Graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ConvertError, GraphError, listed
from ..graph import Graph, Spec
from .keras_layers import LAYERS, layer_problems
from .keras_masks import Expression, evaluate, is_operation, steps
from .keras_nodes import Call, Reference, Wiring, wiring
from .keras_values import Array, Context, Layer, Row, Value, Version, shortened

Lookup = Callable[[Layer], list[Array]]
Outputs = dict[tuple[str, int], list[Any]]  # (layer, node) -> its output values or mask expressions
INPUT_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64")
INPUT = Row(
    lambda *a: [], "batch_shape batch_input_shape shape dtype", "optional",
    {"sparse": (False, None), "ragged": (False, None), "type_spec": (None,), "dtype": (None, *INPUT_DTYPES)},
)  # fmt: skip


def graph_of(model: Any, version: Version, lookup: Lookup) -> tuple[Graph, Context]:
    """The graph of a Sequential or Functional model, and the context in which it was built.

    Parameters
    ----------
    model : dict
        What Keras writes as ``config.json`` or ``model_config``: class_name and config.
    version : Version
        The Keras that wrote it.
    lookup : callable
        From a `Layer` to its arrays, in the order in which Keras creates them.

    Raises
    ------
    ConvertError
        When the model cannot be imported faithfully; every layer that is not supported is listed.
    """
    wires = wiring(model)
    _check(wires)
    ctx, outputs = Context(version), Outputs()
    pending = list(wires.calls)
    while pending:
        waiting = [call for call in pending if not _run(call, wires, outputs, lookup, ctx)]
        if len(waiting) == len(pending):
            names = ", ".join(repr(call.layer.name) for call in waiting)
            raise ConvertError(f"layers must read outputs of other layers, without loops, got {names} that cannot")
        pending = waiting
    results = [_output(outputs, r, "output of the model") for r in wires.outputs]
    wrong = [r.layer for r, v in zip(wires.outputs, results, strict=True) if not isinstance(v, Value)]
    if wrong:
        raise ConvertError(f"outputs of the model must be outputs of layers, got masks of {', '.join(wrong)}")
    return ctx.builder.build(*(v.name for v in results)), ctx


def _check(wires: Wiring) -> None:
    """All problems that can be seen without the weights, at once."""
    problems = []
    if len(wires.inputs) != 1:
        problems.append(f"model must have one input, got {len(wires.inputs)}: {', '.join(wires.inputs)}")
    unsupported = False
    for layer in {call.layer.name: call.layer for call in wires.calls}.values():
        if layer.class_name == "InputLayer":
            problems += INPUT.problems(layer)
        elif not is_operation(layer):
            problems += layer_problems(layer)
            unsupported = unsupported or layer.class_name not in LAYERS
    if problems:
        hint = f"\nSupported layers are {', '.join(LAYERS)}." if unsupported else ""
        raise ConvertError(listed(problems) + hint)


def _run(call: Call, wires: Wiring, outputs: Outputs, lookup: Lookup, ctx: Context) -> bool:
    """Convert one call when all that it reads is there; returns whether it was."""
    layer = call.layer
    sources = [r for r in (*call.operands, call.mask) if isinstance(r, Reference)]
    if any((r.layer, r.node) not in outputs for r in sources):
        return False
    operands = [_output(outputs, r, str(layer)) if isinstance(r, Reference) else r for r in call.operands]
    if layer.class_name == "InputLayer":
        result: list[Any] = [_input(layer, wires, ctx)]
    elif is_operation(layer) and not (layer.class_name == "Concatenate" and _all_values(operands)):
        result = [evaluate(layer, operands, ctx)]
    else:
        result = _layer(call, operands, outputs, lookup, ctx)
    outputs[layer.name, call.node] = result
    return True


def _all_values(operands: list[Any]) -> bool:
    return all(isinstance(x, Value) for x in operands)


def _layer(call: Call, operands: list[Any], outputs: Outputs, lookup: Lookup, ctx: Context) -> list[Value]:
    """Convert one call of a layer; errors of the graph come back as errors of the layer."""
    layer = call.layer
    for x in operands:
        if not isinstance(x, Value):
            what = "a mask" if isinstance(x, Expression) else shortened(x)
            raise ConvertError(f"inputs of {layer} must be outputs of layers, got {what}")
    if call.mask is not None:
        mask = steps(layer, _output(outputs, call.mask, str(layer)))
        operands = [Value(x.name, x.spec, mask) for x in operands]
    try:
        return LAYERS[layer.class_name].convert(layer, lookup(layer), operands, ctx)
    except GraphError as error:
        raise ConvertError(f"{layer}: {error}") from error


def _output(outputs: Outputs, reference: Reference, reader: str) -> Any:
    """The value that a reference names; states have none."""
    found = outputs.get((reference.layer, reference.node), [])
    if not 0 <= reference.tensor < len(found):
        what = f"output {reference.tensor} of {reference.layer!r}"
        raise ConvertError(f"{reader} must be a layer's output and not its states, got {what}")
    return found[reference.tensor]


def _input(layer: Layer, wires: Wiring, ctx: Context) -> Value:
    """The input: ids (B, T) where an Embedding reads it, else features (B, T, F) or (B, F)."""
    shape = next((layer.config[k] for k in ("batch_shape", "batch_input_shape") if layer.config.get(k)), None)
    if not isinstance(shape, list | tuple) or not 2 <= len(shape) <= 3:
        expected = "[batch, time, features], [batch, features] or [batch, time] of ids"
        raise ConvertError(f"shape of input {layer.name!r} must be {expected}, got {shortened(shape)}")
    readers = [c.layer for c in wires.calls if any(getattr(o, "layer", None) == layer.name for o in c.operands)]
    if len(shape) == 2 and any(r.class_name == "Embedding" for r in readers):
        spec = Spec((), dtype="int")
    else:
        features = shape[-1]
        if isinstance(features, bool) or not isinstance(features, int) or features < 1:
            raise ConvertError(f"features of input {layer.name!r} must be a positive number, got {features!r}")
        spec = Spec((features,), time=len(shape) == 3)
    return Value(ctx.builder.input(layer.name, spec), spec)
