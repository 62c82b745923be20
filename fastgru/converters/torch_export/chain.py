"""A module that torch.fx can trace into calls of known layers: a chain or any directed graph of them.

torch.export takes any module, but takes seconds to load and many times as long to trace. What the calls mean is what
they mean there: each is a row that names an operator of ATen, whose translation is in `table`.
"""

from __future__ import annotations

import inspect
import operator
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ..._names import FreeNames
from ...errors import ConvertError, GraphError
from ...graph import Dropout, Node, Recurrent
from ..damage import MALFORMED
from ..program.sizes import BATCH, TIME, Size
from ..program.values import Tensor, over_time
from ..torch.oracle import evaluating
from .axes import Labels, Layout
from .build import Input
from .call import Call, Handler, Session, kind_of
from .dispatch import bound, from_torch, leaves
from .graph import reached_by
from .inside import Recorder, Seen, seen_in
from .known import (
    CELLS,
    DROPOUTS,
    FUNCTIONS,
    INPUT,
    LAYERS,
    METHODS,
    MOVES,
    RECURRENT,
    SAME,
    VIEWS,
    arguments_of,
    as_layer,
    known_class,
    refuse_changed_calls,
    schema_of,
)  # fmt: skip
from .places import raised
from .results import traced_results
from .sizes import Sizes
from .source import Source
from .table import find

_ALL = slice(None)
# The axes that an argument may have. A row without time is one step.
LAYOUTS: tuple[Labels, ...] = (
    (BATCH, TIME, None), (BATCH, None, TIME), (TIME, BATCH, None), (BATCH, None), (BATCH, TIME), (TIME, BATCH),
)  # fmt: skip


class Given:
    """An argument beside the first: the initial state of a recurrent layer, which starts from zeros."""


class _Tracer(fx.Tracer):
    """Looks into every module but those of torch.nn."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return known_class(m) is not None or super().is_leaf_module(m, module_qualified_name)


def title(node: fx.Node) -> str:
    """The path of the module that is called, else the tracer's name of the call."""
    return str(node.target) if node.op == "call_module" else node.name


@dataclass
class Chain:
    """A module in calls of known layers.

    Attributes
    ----------
    root : torch.nn.Module
    graph : torch.fx.Graph
    cell : bool
        True if it is one recurrent cell, which runs over time.
    states : list of str
        Arguments behind the first that have no default: initial states, which are None.
    """

    root: nn.Module
    graph: fx.Graph
    cell: bool = False
    states: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, module: nn.Module) -> Chain:
        """Trace a module.

        Raises
        ------
        ConvertError
            When it is none in known layers.
        """
        refuse_changed_calls(module)
        own, name = known_class(module), type(module).__name__.lower()
        # A single layer is traced inside a chain of one, so that its forward is not looked into.
        layer = as_layer(module) if own in CELLS else module
        root = nn.Sequential(OrderedDict([(name, layer)])) if _Tracer().is_leaf_module(module, name) else module
        parameters = list(inspect.signature(root.forward).parameters.values())
        if not parameters or any(p.kind not in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY) for p in parameters):
            raise ConvertError(f"forward of {type(module).__name__} must take positional arguments, got {parameters}")
        defaults = {p.name: p.default for p in parameters[1:] if p.default is not p.empty}
        try:
            with evaluating(root):
                traced = _Tracer().trace(root, concrete_args=defaults)
        except Exception as error:  # whatever forward may raise, for what torch.fx gives it in place of tensors, too
            got = str(error) if isinstance(error, fx.proxy.TraceError) else raised(error)
            raise ConvertError(
                f"forward of {type(module).__name__} must be a chain of layers that torch.fx can trace, got {got}"
            ) from error
        states = [p.name for p in parameters[1:] if p.name not in defaults]
        for node in traced.nodes:
            if node.op == "placeholder" and node.target in states:
                _refuse_other_uses(node, dict(root.named_modules()))
        return cls(root, traced, own in CELLS, states)


def _refuse_other_uses(state: fx.Node, modules: Mapping[str, nn.Module]) -> None:
    """Raise unless an argument is the initial state of recurrent layers alone, which may return it."""
    for user in state.users:
        layer = modules.get(str(user.target)) if user.op == "call_module" else None
        if user.op != "output" and (known_class(layer) not in RECURRENT if layer is not None else True):
            raise ConvertError(
                f"node {title(user)!r} ({describe(user, modules)}): input must be a tensor, got an initial state"
            )


class ChainProgram:
    """A chain, as `build` translates it."""

    def __init__(self, chain: Chain, source: Source, layout: Layout) -> None:
        self.chain = chain
        (argument,) = source.arguments
        labels, example = layout[argument.name], argument.example
        if labels not in LAYOUTS:
            raise ConvertError("argument of a chain of layers must have the batch, and time or features or both")
        rows = labels == (BATCH, None)
        self.inputs = [Input(argument.name, labels, tuple(example.shape), kind_of(example.dtype), every_step=rows)]
        self.buffers: dict[str, str] = {}
        self.reached = 0
        self.values: dict[fx.Node, Any] = {}
        self.lasts: dict[fx.Node, str] = {}

    def sizes(self) -> Sizes:
        """No symbols: sizes are those of the tensors themselves."""
        return Sizes()

    def shapes(self) -> dict[str, tuple[Size, ...]]:
        """Nothing is known before it is translated."""
        return {}

    def run(self, session: Session, values: Mapping[str, Tensor]) -> tuple[dict[str, Any], list[str]]:
        """The results by name, and the problem met."""
        (x,) = values.values()
        reader = _Reader(self.chain, session, x)
        self.values, self.lasts = reader.values, reader.lasts
        try:
            return reader.run(), []
        except (ConvertError, GraphError) as error:
            return {}, [str(error)]
        finally:
            self.reached = len(self.values)

    # The values inside -------------------------------------------------------------------------

    def seen(self) -> Iterator[Seen]:
        """Return what its calls gave when it was translated."""
        modules = dict(self.chain.root.named_modules())
        for node, layer in self.lasts.items():
            yield Seen(f"{node.name}:0", layer, type(modules[layer]).__name__, self.values[node])
        yield from seen_in(self.values, lambda node: (title(node), describe(node, modules)))

    def recorded(self, given: Mapping[str, Any], held: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the calls give for these arguments."""
        recorder = Recorder(fx.GraphModule(self.chain.root, self.chain.graph))
        recorder.run(*given.values(), *[None] * len(self.chain.states))
        return recorder.tensors()


def describe(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    """The class of the module, or the function, that is called."""
    if node.op == "call_module":
        return type(modules[str(node.target)]).__name__
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


class _Reader:
    """Evaluates traced calls on values of the tensor program."""

    def __init__(self, chain: Chain, session: Session, x: Tensor) -> None:
        self.chain, self.session, self.x = chain, session, x
        session.ending = ""  # the last step of a layer that gives nothing else is called as the layer
        self.modules = dict(chain.root.named_modules())
        self.values: dict[fx.Node, Any] = {}
        self.layers: dict[str, str] = {}  # outputs of recurrent layers to the layers
        self.lasts: dict[fx.Node, str] = {}  # calls that take the last step, of layers that give no other
        self.names = FreeNames()

    def run(self) -> dict[str, Any]:
        """Return the results of forward, by their places."""
        nodes = list(self.chain.graph.nodes)
        used = reached_by(nodes[-1])
        for node in nodes:
            try:
                self.refuse_in_place(node)
                if node in used:
                    self.values[node] = self.evaluate(node)
            except (ConvertError, GraphError) as error:
                raise ConvertError(f"node {title(node)!r} ({describe(node, self.modules)}): {error}") from error
            except MALFORMED as error:  # as forward itself would raise it, such as for an item that is not there
                what = f"node {title(node)!r} ({describe(node, self.modules)})"
                raise ConvertError(f"{what}: arguments must be ones that it takes, got {raised(error)}") from error
        found = traced_results(self.values[nodes[-1]])
        return {name: value for name, value in found if not isinstance(value, Given)}

    def evaluate(self, node: fx.Node) -> Any:
        """Return the result of one call."""
        args: Any = fx.node.map_arg(node.args, self.values.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, self.values.__getitem__)
        if node.op == "placeholder":
            return Given() if self.values else self.x
        if node.op == "output":
            return args[0]
        if node.op == "call_module":
            return self.layer(node, *_layer_arguments(self.modules[str(node.target)], args, kwargs))
        if node.target is operator.getitem:
            return self.item(node, *args)
        if node.op == "call_function" and is_dataclass(node.target):
            return dict(kwargs)
        if node.target is getattr:
            return self.attribute(*args)
        if node.target in ("size", "dim"):
            return self.size(str(node.target), *args)
        if node.target in MOVES and not isinstance(args[0], Tensor):
            return args[0]
        table: Mapping[Any, str] = FUNCTIONS if node.op == "call_function" else METHODS
        name = table.get(node.target) if node.op in ("call_function", "call_method") else None
        if name is None:
            what = describe(node, self.modules)
            raise ConvertError(f"call must be one that fastgru imports, got {node.op} {what}")
        return self.call(self.names.free(title(node)), name, *arguments_of(node.target, args, kwargs))

    def call(self, title: str, name: str, args: list[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the result of a function that is an operator of ATen."""
        if name in ("sub", "div") and not isinstance(args[0], Tensor):
            raise ConvertError(f"first argument of {name} must be a tensor, got {args[0]!r}")
        schema = schema_of(name, args, kwargs)
        if schema is None and (kwargs or hasattr(torch.ops.aten, name)):
            raise ConvertError(f"arguments must be those of {name}, got {', '.join([f'{len(args)} of them', *kwargs])}")
        handler = find(f"aten::{name}.{schema.overload_name}" if schema is not None else f"aten::{name}")
        assert handler is not None
        if schema is not None:
            args, kwargs = bound(schema, handler, args, kwargs)
        return self.made(handler, title, *args, **kwargs)

    def made(self, handler: Handler, title: str, *args: Any, **kwargs: Any) -> Any:
        """Return the result of a row of the table for these arguments."""
        for value in leaves([*args, *kwargs.values()]):
            if isinstance(value, Given):
                raise ConvertError("input must be a tensor, got an initial state")
        return handler(Call(title, self.session), *args, **kwargs)

    def layer(self, node: fx.Node, x: Any, hx: Any) -> Any:
        """Return the result of a layer."""
        module, name = self.modules[str(node.target)], self.names.free(str(node.target))
        cls = known_class(module)
        if isinstance(x, tuple):
            raise ConvertError("input must be a tensor, got the tuple that a recurrent layer returns: take its first")
        if cls in RECURRENT:
            return self.recurrent(str(node.target), name, x, hx)
        if hx is not None or cls is None or cls in CELLS:
            raise ConvertError(f"layer must be one of torch.nn's of one input, got {type(module).__name__}")
        if cls in SAME:
            return x
        if cls in DROPOUTS:
            call = Call(name, self.session)
            return call.like(x, call.add(Dropout(module.p), x.value))
        row, x = LAYERS[cls], Call(name, self.session).tensor(x)
        own = [x if a is INPUT else getattr(module, a) if isinstance(a, str) else a for a in row.arguments]
        own = [from_torch(a) if isinstance(a, torch.Tensor) else a for a in own]
        handler = find(f"aten::{row.operator}")
        assert handler is not None
        return self.made(handler, name, *(own if INPUT in row.arguments else [x, *own]))

    def recurrent(self, path: str, name: str, x: Any, hx: Any) -> Any:
        """The outputs and final states of a recurrent layer, as the module returns them."""
        module: Any = self.modules[path]
        cls = known_class(module)
        if not isinstance(x, Tensor) or x.rank != 3 or not x.is_time(1 if module.batch_first else 0):
            raise ConvertError(f"input must be a sequence with batch_first={module.batch_first}, got {x}")
        many = module.num_layers * (1 + module.bidirectional)
        sizes = [module.proj_size or module.hidden_size, *([module.hidden_size] if cls is nn.LSTM else [])]
        given = hx if isinstance(hx, tuple) else [hx] * len(sizes)
        if not all(s is None or isinstance(s, Given) or _is_zero(s, self.session) for s in given):
            raise ConvertError("initial state must be zeros or an argument of forward, got a computed value")
        states = [np.zeros((many, 1, n), np.float32) for n in sizes]
        kind = f"rnn_{module.nonlinearity}" if cls is nn.RNN else RECURRENT[cls]  # type: ignore[index]
        params = [from_torch(weight) for weight in module._flat_weights]
        handler = find(f"fastgru::{kind}")
        assert handler is not None
        y, *finals = handler(
            Call(name, self.session), x, states if cls is nn.LSTM else states[0], params, module.bias,
            module.num_layers, module.dropout, False, module.bidirectional, module.batch_first,
        )  # fmt: skip
        self.layers[y.value] = path
        return y, (tuple(finals) if cls is nn.LSTM else finals[0])

    def item(self, node: fx.Node, value: Any, index: Any) -> Any:
        """An item of a tuple, or elements of a tensor."""
        if not isinstance(value, Tensor):
            if not isinstance(value, tuple | list):
                raise ConvertError(f"input must be a tensor, got {type(value).__name__}")
            return value[index]
        items = list(index) if isinstance(index, tuple) else [index]
        if items.count(...) == 1:
            at = items.index(...)
            items[at : at + 1] = [_ALL] * (value.rank - len(items) + 1)
        if len(items) > value.rank or any(not isinstance(i, int) and i != _ALL for i in items):
            raise ConvertError(f"index must be of single elements or all, got {index!r}")
        for dim, i in reversed([(dim, i) for dim, i in enumerate(items) if isinstance(i, int)]):
            if value.is_time(dim):
                value = self.step(node, value, i)
            elif not over_time(value):  # of a layer's final states
                value = self.call(self.names.free(node.name), "select", [value, dim, i], {})
            else:
                raise ConvertError(f"index of a sequence must be its last step, y[:, -1], got {index!r}")
        return value

    def step(self, node: fx.Node, x: Tensor, index: int) -> Any:
        """The last step of a recurrent layer, or of what follows it step by step.

        It has the name of the layer, and is its last output alone, where nothing else reads that one.
        """
        emit = self.session.emit
        maker = emit.producers.get(x.value)
        if index != -1 or maker is None or not _follows(emit.producers, x.value):
            raise ConvertError("index of a tensor must be the last step of a recurrent layer, y[:, -1]")
        source: Any = node.args[0]
        stem = emit.stems[maker.name]
        if len(source.users) > 1:
            return self.call(self.names.free(stem), "select", [x, _time_of(x), index], {})
        if isinstance(maker.op, Recurrent):
            (value,) = emit.add(maker.op.replace(return_sequences=False), *maker.inputs, name=stem)
            axes = [axis for dim, axis in enumerate(x.axes) if dim != _time_of(x)]
            self.lasts[node] = self.layers[x.value]
            return Call(stem, self.session).result(value, axes)
        return self.call(stem, "select", [x, _time_of(x), index], {})

    def attribute(self, value: Any, name: str) -> Any:
        """An attribute of a tensor: its shape, or where it is."""
        if name not in ("shape", "device", "dtype"):
            raise ConvertError(f"attribute of a tensor must be shape, device or dtype, got {name!r}")
        return self.size("size", value) if name == "shape" else None

    def size(self, method: str, value: Any, dim: int | None = None) -> Any:
        """The sizes of a tensor, or one of them; or how many they are."""
        if not isinstance(value, Tensor):
            raise ConvertError("sizes must be those of a tensor, got others")
        if method == "dim":
            return value.rank
        return value.sizes() if dim is None else value.sizes()[dim]

    def refuse_in_place(self, node: fx.Node) -> None:
        """Raise when a call changes a tensor that something else reads."""
        name = describe(node, self.modules)
        if (
            node.op in ("call_function", "call_method")
            and node.target not in (*METHODS, *MOVES)
            and (name == "setitem" or (name.endswith("_") and not name.endswith("__")))
        ):
            raise ConvertError(f"call must not change a tensor in place, got {name}")
        module = self.modules.get(str(node.target)) if node.op == "call_module" else None
        if not (node.kwargs.get("inplace") or getattr(module, "inplace", False)):
            return
        source: Any = node.args[0]
        while isinstance(source, fx.Node):
            if len(source.users) > 1:
                raise ConvertError(f"inplace must be False, got True on {title(source)!r}, which is read elsewhere too")
            source = source.args[0] if source.args and self.is_view(source) else None

    def is_view(self, node: fx.Node) -> bool:
        """Return True for a call that may return its own input's memory."""
        if node.op == "call_module":
            return isinstance(self.modules[str(node.target)], (*DROPOUTS, *SAME))
        return node.target in VIEWS


def _layer_arguments(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the input and the initial state of a call of a layer, by place or by name."""
    names = list(inspect.signature(module.forward).parameters)
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    first = names[0] if names else ""
    if first not in given or given.keys() - {first, "hx"}:
        got = ", ".join([f"{len(args)} of them", *kwargs])
        raise ConvertError(f"arguments must be those that fastgru imports, got {got}")
    return given[first], given.get("hx")


def _time_of(x: Tensor) -> int:
    return next(dim for dim in range(x.rank) if x.is_time(dim))


def _is_zero(state: Any, session: Session) -> bool:
    """Return True for zeros, of whatever shape."""
    fixed = session.emit.fixed(state.value) if isinstance(state, Tensor) else state
    return isinstance(fixed, np.ndarray) and not fixed.any()


def _follows(producers: Mapping[str, Node], value: str) -> bool:
    """Return True if a value is a forward layer's output, or made of such by ops of single steps."""
    waiting, found = [value], False
    while waiting:
        maker = producers.get(waiting.pop())
        if maker is None or (isinstance(maker.op, Recurrent) and not maker.op.streamable):
            return False
        found |= isinstance(maker.op, Recurrent)
        waiting += () if isinstance(maker.op, Recurrent) else maker.inputs
    return found
