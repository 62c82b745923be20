"""From a Keras model's config and a way to look up its weights to a Graph."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..._hints import either
from ..._names import nearest
from ...errors import ConvertError, GraphError, listed
from ...graph import Cast, Graph, Spec
from ..layouts import Layouts
from ..program.emit import Emitter
from . import custom as keras_custom
from .inputs import INPUT, MOVES, Input, id_steps, mask_steps, shape_of, state_steps
from .layers import LAYERS, layer_problems, unwrapped
from .masks import Expression, evaluate, is_mask, makes_mask
from .masks import steps as steps_mask
from .nodes import as_model
from .operations import convert, is_operation
from .program import HIDE, SHOW, Program, Source, Step, program
from .starts import NotHeld, hold_states
from .values import SPARE, AcrossTime, Array, Context, Later, Layer, Seen, Value, Version, axes_of, shortened
from .whole import at_once

Lookup = Callable[[Layer], list[Array]]
ANYWHERE = ("mask", "training")  # keyword arguments that every call may have
MANY = 4  # inputs whose time may each be an axis of the frame or not


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
        The content of what Keras writes as ``config.json`` or ``model_config``: class_name and config.
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
    work = program(as_model(model))
    custom = dict(custom or {})
    _check(work, custom, version)
    shapes = [shape_of(work.steps[i].layer) for i in work.inputs]
    ids, masks, states = id_steps(work), mask_steps(work), state_steps(work)
    inputs = [
        (i, Input(work.steps[i].layer, shape, i in ids, i in masks, i in states))
        for i, shape in zip(work.inputs, shapes, strict=True)
    ]
    refused: dict[tuple[bool, ...], ConvertError] = {}
    choices = _choices([each.spec(whole=True) != each.spec(whole=False) for _, each in inputs])
    given: set[str] = set()  # inputs that layers cannot hold
    tries = [*((choice, False) for choice in choices), (choices[0], True)]
    while tries:
        whole, insist = tries[0]
        ctx = Context(version, custom, Emitter(SPARE + 16 * stored), insist=insist)
        specs = {i: each.spec(whole=frame) for (i, each), frame in zip(inputs, whole, strict=True)}
        steps = {
            i: each.shape[0] if spec.time else None for (i, each), spec in zip(inputs, specs.values(), strict=True)
        }
        try:
            graph = _build(work, specs, steps, lookup, ctx, given)
            _check_lengths(graph, [each for _, each in inputs])
        except NotHeld as error:
            given.update(error.inputs)
        except ConvertError as error:
            if not any(whole) and not insist and not isinstance(error, AcrossTime):
                raise
            refused.setdefault(whole, error)
            del tries[0]
        else:
            keras_custom.check_met(custom, ctx.met, _names(work))
            known = {n for n in steps.values() if n is not None}
            ctx.steps = known.pop() if ctx.gathered and len(known) == 1 else 0
            return graph, ctx
    first = refused.pop(min(refused, key=sum))  # of the fewest inputs without time
    if not refused:
        raise ConvertError(
            f"{first} (the model leaves the number of steps open; where its Input fixes it, as keras.Input((50, 6)) "
            "does, a layer can be given all steps at once: build the model so, and load its weights)"
        ) from first
    last = refused[max(refused, key=sum)]
    raise ConvertError(f"{first}; with time as an axis of the frame, {last}") from last


def _names(work: Program) -> dict[str, None]:
    """Return what layers are called: the names of their classes and their own."""
    layers = [step.layer for step in work.steps if step.layer.class_name not in ("InputLayer", HIDE, SHOW)]
    return dict.fromkeys(name for layer in layers for name in reversed(keras_custom.names_of(layer)))


def _choices(may: list[bool]) -> list[tuple[bool, ...]]:
    """Return, for every input, whether its time is an axis of the frame: first for none, then for ever more."""
    if sum(may) > MANY:
        return [(False,) * len(may), tuple(may)]
    found = itertools.product(*[(False, True) if open_ else (False,) for open_ in may])
    return sorted(found, key=sum)


def _check_lengths(graph: Graph, inputs: Sequence[Input]) -> None:
    """Raise AcrossTime where inputs that meet step by step have known numbers of steps that differ."""
    found: dict[int, dict[int, str]] = {}  # of each base
    for each in inputs:
        name, steps = each.layer.name, each.shape[0] if each.shape else None
        if name in graph.bases and steps is not None:
            found.setdefault(graph.bases[name], {})[steps] = name
    for lengths in found.values():
        if len(lengths) > 1:
            told = ", ".join(f"{name!r} {steps}" for steps, name in lengths.items())
            raise AcrossTime(f"inputs that meet at a step must have one number of steps, got {told}")


def _check(work: Program, custom: Mapping[str, Any], version: Version) -> None:
    """All problems that can be seen without the weights, at once."""
    problems, unsupported, classes = [], False, []
    for layer in {step.layer.path: step.layer for step in work.steps}.values():
        if layer.class_name == "InputLayer":
            problems += INPUT.problems(layer)
            continue
        inner = unwrapped(layer)
        called = (*keras_custom.names_of(layer), *keras_custom.names_of(inner))
        if not (_internal(layer, version) or any(name in custom for name in called)):
            problems += layer_problems(layer)
            if inner.class_name not in LAYERS:
                unsupported = True
                classes.append(inner.class_name)
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
            place = either("", ", in a file module.py of the current folder,")
            more = either(", see fastgru.converters.keras.custom", "")
            hint = (
                f"\nGive {example}: each function{place} is called with the layer's config and arrays and returns "
                f"a layer of fastgru.layers that computes the same{more}. Layers that need none: "
                f"{nearest(names[0], LAYERS)}."
            )
            unmet = [name for name in custom if name not in _names(work)]
            if unmet:
                hint += f"\nNo layer or class is called {', '.join(map(repr, unmet))}, for which there is a function."
        raise ConvertError(listed(problems) + hint)


def _internal(layer: Layer, version: Version) -> bool:
    return layer.class_name in (HIDE, SHOW) or is_mask(layer) or is_operation(layer, version)


# Steps -------------------------------------------------------------------------------------------


def _build(
    work: Program, specs: Mapping[int, Spec], steps: Mapping[int, int | None], lookup: Lookup, ctx: Context,
    given: Collection[str],
) -> Graph:  # fmt: skip
    """Return the graph of a program; inputs that are `given` at every call are held by no layer.

    Raises
    ------
    NotHeld
        Naming more of these inputs.
    """
    emit, outputs = ctx.emit, list[list[Any]]()
    ends: dict[Source, Value] = {}  # what the model returns in the place of states that layers may hold
    for number, step in enumerate(work.steps):
        layer = step.layer
        if layer.class_name == "InputLayer":
            if number not in specs:
                raise ConvertError(f"input {layer.name!r} must be one of input_layers, got one that is not")
            spec = specs[number]
            name = emit.input(emit.unique(layer.name), spec)
            outputs.append([Value(name, spec, None, steps[number])])
            if name not in given and not spec.time and spec.dtype == "float":
                ctx.states.append(name)
            continue
        operands = [_given(o, work, outputs, str(layer)) for o in step.operands]
        options = {key: _given(v, work, outputs, str(layer)) for key, v in step.options.items()}
        made = _run(step._replace(options=options), operands, lookup, ctx)
        ends.update((Source(number, i), v.end) for i, v in enumerate(made) if isinstance(v, Later) and v.end)
        outputs.append(made)
    results = [ends.get(source) or _given(source, work, outputs, "output of the model") for source in work.outputs]
    wrong = [source.step for source, v in zip(work.outputs, results, strict=True) if not isinstance(v, Value)]
    if wrong:
        names = ", ".join(work.steps[number].layer.name for number in wrong)
        raise ConvertError(f"outputs of the model must be outputs of layers, got masks of {names}")
    named = [s.layer for s in work.steps if s.layer.class_name == "InputLayer"]
    ctx.held = hold_states(ctx, [v.name for v in results])
    kept = results if ctx.held.outputs is None else [results[i] for i in ctx.held.outputs]
    ctx.layouts = Layouts(
        {layer.name: axes_of(shape_of(layer)) for layer in named}, [v.axes for v in kept], ctx.held.inputs
    )
    inputs = {name: spec for name, spec in emit.inputs.items() if name not in ctx.held.inputs}
    needed = emit.needed([v.name for v in kept], emit.feedback)
    nodes = [node for node in emit.order if node.name in needed]
    feedback = {state: v for state, v in emit.feedback.items() if emit.producers[state].name in needed}
    graph = Graph(inputs, nodes, [v.name for v in kept], feedback)
    ctx.seen += [
        Seen(step.trail, i, v.name)
        for step, values in zip(work.steps, outputs, strict=True)
        for i, v in enumerate(values)
        if step.trail and isinstance(v, Value) and v.spec.dtype == "float" and not v.lead and v.name in graph.specs
    ]
    return graph


def _run(step: Step, operands: list[Any], lookup: Lookup, ctx: Context) -> list[Any]:
    """Convert one call."""
    layer = step.layer
    if layer.class_name in (HIDE, SHOW):
        return [_time_distributed(layer, operands, ctx)]
    if makes_mask(layer, operands):
        return [evaluate(layer, operands, ctx)]
    if is_operation(layer, ctx.version):
        made: list[Any] = at_once(ctx, operands, lambda given: _located(layer, lambda: convert(layer, given, ctx)))
        return made
    return _layer(layer._replace(call=step.options), operands, lookup, ctx)


def _time_distributed(layer: Layer, operands: list[Value], ctx: Context) -> Value:
    """Both ends of a TimeDistributed around a model, which sees single steps alone."""
    return operands[0].inside() if layer.class_name == HIDE else operands[0].outside(operands[1], ctx)


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
    if not own and layer.class_name not in MOVES:
        operands = [_counted(layer, x, ctx) for x in operands]
    if not own and layer.class_name not in LAYERS:  # an operation on masks
        raise ConvertError(f"inputs of {layer} must be masks, got outputs of layers")
    made = keras_custom.convert if own else LAYERS[layer.class_name].convert
    values: list[Any] = at_once(
        ctx, operands, lambda given: _located(layer, lambda: list(made(layer, lookup(layer), given, ctx)))
    )
    return values


def _counted(layer: Layer, x: Value, ctx: Context) -> Value:
    """Truth values and whole numbers as the numbers that layers calculate with."""
    to = "int" if unwrapped(layer).class_name == "Embedding" else "float"
    return x if x.spec.dtype in ("float", to) else ctx.add(Cast(to), x, name=f"{layer.name}.{to}", mask=x.mask)


def _located(layer: Layer, make: Callable[[], Any]) -> Any:
    """Call `make`, and let its errors name the layer."""
    try:
        return make()
    except ConvertError as error:
        if f"'{layer.name}" in str(error):
            raise
        raise (AcrossTime if isinstance(error, AcrossTime) else ConvertError)(f"{layer}: {error}") from error
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
