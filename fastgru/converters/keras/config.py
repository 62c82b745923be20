"""From a Keras model's config and a way to look up its weights to a Graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..._hints import either
from ..._names import nearest
from ...errors import ConvertError, GraphError, listed
from ...graph import Graph, Spec
from . import custom as keras_custom
from .held import hold_states
from .layers import LAYERS, inner_layer, layer_problems
from .masks import Expression, evaluate, is_mask, makes_mask
from .masks import steps as steps_mask
from .nodes import as_model
from .operations import convert, is_operation
from .program import HIDE, SHOW, Program, Source, Step, program
from .recurrent import Later
from .rows import Row
from .values import SPARE, AcrossTime, Array, Context, Layer, Seen, Value, Version, shortened

Lookup = Callable[[Layer], list[Array]]
INPUT_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "float16", "float32", "float64")
INPUT = Row(
    lambda *a: [], "batch_shape batch_input_shape shape dtype", "optional",
    {"sparse": (False, None), "ragged": (False, None), "type_spec": (None,), "dtype": (None, *INPUT_DTYPES)},
)  # fmt: skip
ANYWHERE = ("mask", "training")  # keyword arguments that every call may have
MANY = 4  # inputs whose time may each be an axis of the frame or not
# Layers that pass ids on as they are.
MOVES = ("Reshape", "Flatten", "Permute", "RepeatVector", "Dropout", "Identity", "Concatenate", HIDE, SHOW)


def graph_of(
    model: Any, version: Version, lookup: Lookup, *, custom: Mapping[str, Any] | None = None, stored: int = 0
) -> tuple[Graph, Context]:
    """The graph of a Sequential or Functional model, and the context in which it was built.

    Axis 1 of an input becomes the graph's time wherever every layer can work on it step by step, or at least without
    knowing how many steps there are. Where one cannot (Flatten, say), and the model says their number, the axis
    becomes one of the frame.

    Parameters
    ----------
    model : dict
        What Keras writes as ``config.json`` or ``model_config``: class_name and config.
    version : Version
        The Keras that wrote it.
    lookup : callable
        From a `Layer` to its arrays, in the order in which Keras creates them.
    custom : mapping, optional
        See `fastgru.converters.keras.custom`.
    stored : int
        Bytes of all weights.

    Raises
    ------
    ConvertError
        When the model cannot be imported faithfully; every layer that is not supported is listed.
    """
    work, held = hold_states(program(as_model(model)))
    custom = dict(custom or {})
    _check(work, custom, version)
    shapes = [_shape(work.steps[i].layer) for i in work.inputs]
    ids = _ids(work)
    inputs = [(i, _Input(work.steps[i].layer, shape, i in ids)) for i, shape in zip(work.inputs, shapes, strict=True)]
    may = [each.spec(whole=True) != each.spec(whole=False) for _, each in inputs]
    refused: list[ConvertError] = []
    for whole in _choices(may):
        ctx = Context(version, custom, budget=SPARE + 16 * stored, held=held)
        specs = {i: each.spec(whole=frame) for (i, each), frame in zip(inputs, whole, strict=True)}
        steps = {
            i: each.shape[0] if spec.time else None for (i, each), spec in zip(inputs, specs.values(), strict=True)
        }
        try:
            return _build(work, specs, steps, lookup, ctx), ctx
        except ConvertError as error:
            if not refused and not isinstance(error, AcrossTime):
                raise
            refused.append(error)
    if len(refused) == 1:
        raise ConvertError(f"{refused[0]} (the model leaves the number of steps open)") from refused[0]
    raise ConvertError(f"{refused[0]}; with time as an axis of the frame, {refused[-1]}") from refused[-1]


def _choices(may: list[bool]) -> list[tuple[bool, ...]]:
    """For every input whether its time is an axis of the frame: first for none, then for ever more that may."""
    if sum(may) > MANY:
        return [(False,) * len(may), tuple(may)]
    found = itertools.product(*[(False, True) if open_ else (False,) for open_ in may])
    return sorted(found, key=sum)


def _check(work: Program, custom: Mapping[str, Any], version: Version) -> None:
    """All problems that can be seen without the weights, at once."""
    problems, unsupported, classes = [], False, []
    for layer in {step.layer.path: step.layer for step in work.steps}.values():
        if layer.class_name == "InputLayer":
            problems += INPUT.problems(layer)
        elif not (_internal(layer, version) or any(name in custom for name in keras_custom.names_of(layer))):
            problems += layer_problems(layer)
            if layer.class_name not in LAYERS:
                unsupported = True
                classes.append(layer.class_name)
    for step in work.steps:
        allowed = (*ANYWHERE, *LAYERS[step.layer.class_name].call.split()) if step.layer.class_name in LAYERS else ()
        for key, value in step.options.items():
            if value is not None and allowed and key not in allowed:
                problems.append(f"{step.layer} must be called without {key}, got {key}={shortened(value)}")
    if problems:
        hint = ""
        if unsupported:
            names = list(dict.fromkeys(classes))
            example = either(
                f"custom={{{', '.join(f'{name!r}: function' for name in names)}}}",
                " ".join(f"--custom {name}=module:function" for name in names),
            )
            hint = (
                f"\nGive {example}: each function is called with the layer's config and arrays and returns "
                "what it is, see fastgru.converters.keras.custom. Layers that need none: "
                f"{nearest(names[0], LAYERS)}."
            )
        raise ConvertError(listed(problems) + hint)


def _internal(layer: Layer, version: Version) -> bool:
    return layer.class_name in (HIDE, SHOW) or is_mask(layer) or is_operation(layer, version)


# Inputs ------------------------------------------------------------------------------------------


def _shape(layer: Layer) -> tuple[int | None, ...]:
    """The shape of an input without its batch."""
    shape = next((layer.config[k] for k in ("batch_shape", "batch_input_shape") if layer.config.get(k)), None)
    good = isinstance(shape, list | tuple) and 1 <= len(shape) <= 6
    if not good or not all(n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in shape or ()):
        expected = "[batch, ...] of numbers or null"
        raise ConvertError(f"shape of input {layer.name!r} must be {expected}, got {shortened(shape)}")
    return tuple(shape[1:]) if shape else ()


class _Input(NamedTuple):
    """An input: ids where an Embedding reads it; time is the first axis of ids, and of inputs of two or more axes."""

    layer: Layer
    shape: tuple[int | None, ...]
    embedded: bool

    def spec(self, *, whole: bool) -> Spec:
        """What the graph's input is, with time as an axis of the frame if `whole`."""
        declared, shape = self.layer.config.get("dtype"), self.shape
        ids = self.embedded or (isinstance(declared, str) and "int" in declared)
        time = bool(shape) and (shape[0] is None or (not whole and (len(shape) > 1 or ids)))
        frame = shape[1:] if time else shape
        wrong = [n for n in frame if n is None or n < 1]
        if wrong:
            name = self.layer.name
            raise ConvertError(f"features of input {name!r} must be a positive number, got {wrong[0]!r}")
        try:
            return Spec(tuple(n for n in frame if n is not None), time, "int" if ids else "float")
        except GraphError as error:
            raise ConvertError(f"shape of input {self.layer.name!r}: {error}") from error


def _ids(work: Program) -> set[int]:
    """The steps whose outputs an Embedding reads, itself or through layers that only move numbers."""
    found: set[int] = set()
    for number, step in reversed(list(enumerate(work.steps))):
        inner = step.layer.class_name == "TimeDistributed" and inner_layer(step.layer).class_name
        if "Embedding" in (step.layer.class_name, inner) or (step.layer.class_name in MOVES and number in found):
            found.update(o.step for o in step.operands if isinstance(o, Source))
    return found


# Steps -------------------------------------------------------------------------------------------


def _build(
    work: Program, specs: Mapping[int, Spec], steps: Mapping[int, int | None], lookup: Lookup, ctx: Context
) -> Graph:
    outputs: list[list[Any]] = []
    for number, step in enumerate(work.steps):
        layer = step.layer
        if layer.class_name == "InputLayer":
            if layer.name in ctx.held.inputs:
                outputs.append([])
                continue
            if number not in specs:
                raise ConvertError(f"input {layer.name!r} must be one of input_layers, got one that is not")
            spec = specs[number]
            outputs.append([Value(ctx.builder.input(layer.name, spec), spec, None, steps[number])])
            continue
        operands = [_given(o, work, outputs, str(layer)) for o in step.operands]
        options = {key: _given(v, work, outputs, str(layer)) for key, v in step.options.items()}
        outputs.append(_run(step._replace(options=options), operands, lookup, ctx))
    results = [_given(source, work, outputs, "output of the model") for source in work.outputs]
    wrong = [source.step for source, v in zip(work.outputs, results, strict=True) if not isinstance(v, Value)]
    if wrong:
        names = ", ".join(work.steps[number].layer.name for number in wrong)
        raise ConvertError(f"outputs of the model must be outputs of layers, got masks of {names}")
    ctx.seen += [
        Seen(step.trail, i, v.name)
        for step, values in zip(work.steps, outputs, strict=True)
        for i, v in enumerate(values)
        if step.trail and isinstance(v, Value) and v.spec.dtype == "float"
    ]
    return ctx.builder.build(*(v.name for v in results), feedback=ctx.feedback)


def _run(step: Step, operands: list[Any], lookup: Lookup, ctx: Context) -> list[Any]:
    """Convert one call."""
    layer = step.layer
    if layer.class_name in (HIDE, SHOW):
        return [_time_distributed(layer, operands)]
    if makes_mask(layer, operands):
        return [evaluate(layer, operands, ctx)]
    if is_operation(layer, ctx.version):
        return [_located(layer, lambda: convert(layer, operands, ctx))]
    return _layer(layer._replace(call=step.options), operands, lookup, ctx)


def _time_distributed(layer: Layer, operands: list[Value]) -> Value:
    """Both ends of a TimeDistributed around a model, which sees frames alone."""
    x = operands[0]
    if layer.class_name == HIDE:
        if not x.timed:
            raise ConvertError(f"input of {layer.name!r} (TimeDistributed) must have the model's time, got {x.spec}")
        return x.seen(True)
    return x.seen(False).masked(operands[1].mask)


def _layer(layer: Layer, operands: list[Any], lookup: Lookup, ctx: Context) -> list[Any]:
    """Convert one call of a layer; errors of the graph come back as errors of the layer."""
    for x in operands:
        if not isinstance(x, Value):
            what = "a mask" if isinstance(x, Expression) else shortened(x)
            raise ConvertError(f"inputs of {layer} must be outputs of layers, got {what}")
    masks = layer.call.get("mask")
    if masks is not None:
        given = masks if isinstance(masks, list) else [masks] * len(operands)
        if len(given) != len(operands):
            raise ConvertError(f"mask of {layer} must be one for each of {len(operands)} inputs, got {len(given)}")
        operands = [x if m is None else x.masked(steps_mask(layer, m)) for x, m in zip(operands, given, strict=True)]
    own = keras_custom.hook(ctx, *keras_custom.names_of(layer)) is not None
    if not own and layer.class_name not in LAYERS:  # an operation on masks
        raise ConvertError(f"inputs of {layer} must be masks, got outputs of layers")
    made = keras_custom.convert if own else LAYERS[layer.class_name].convert
    values: list[Any] = _located(layer, lambda: list(made(layer, lookup(layer), operands, ctx)))
    return values


def _located(layer: Layer, make: Callable[[], Any]) -> Any:
    """What `make` makes; errors of the graph come back as errors of the layer."""
    try:
        return make()
    except AcrossTime as error:
        raise AcrossTime(f"{layer}: {error}" if layer.name not in str(error) else str(error)) from error
    except GraphError as error:
        raise ConvertError(f"{layer}: {error}") from error


def _given(tree: Any, work: Program, outputs: list[list[Any]], reader: str) -> Any:
    """The values that sources, also within lists, name."""
    if isinstance(tree, list):
        return [_given(item, work, outputs, reader) for item in tree]
    if not isinstance(tree, Source):
        return tree
    found = outputs[tree.step]
    if not 0 <= tree.tensor < len(found):
        layer = work.steps[tree.step].layer
        raise ConvertError(f"{reader} must read one of {len(found)} outputs of {layer}, got output {tree.tensor}")
    value = found[tree.tensor]
    if isinstance(value, Later):
        found[tree.tensor] = value = value.make()
    return value
