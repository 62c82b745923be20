"""A live torch.nn.Module to a Graph: its forward is traced by torch.fx and every call looked up in tables."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from ..._hints import named, option
from ...errors import ConvertError, GraphError
from ...graph import Graph, Like, Spec
from .. import Imported
from ..damage import line_of
from ..layouts import Axes, Layouts
from ..program.sizes import BATCH
from . import modules as torch_modules
from .calls import FUNCTIONS, METHODS, VIEWS, apply_module, tensor
from .inside import CellLayers, ModuleLayers, describe, title
from .oracle import CellOracle, ModuleOracle, Path, evaluating, to_tensor
from .precision import told
from .prepared import prepare
from .values import Built, Ignored, States, Value, build_graph, require_layout, run_layers

# Orders of the input's axes that are tried in turn until the layers fit: batch or time first, one row, ids.
LAYOUTS = ("BTF", "TBF", "BF", "BT", "TB")
OUTPUT_LAYOUTS = ("BTF", "TBF", "BF")


def import_module(
    module: nn.Module,
    like: Sequence[Like] | None = None,
    *,
    example_inputs: Any = None,
    axes: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
) -> Imported:
    """Import a live module: what it computes in eval mode.

    Any module that torch.export can trace is imported, see `fastgru.converters.torch_export.exported`: with
    `example_inputs`, or where there is one argument with an example that the module's first layer suggests.

    It is not asked where the forward is a chain or any directed graph of the layers in
    `fastgru.converters.torch.modules` and the calls in `fastgru.converters.torch.calls`: nested modules,
    ``y, h = self.gru(x)``, ``y[:, -1]``, ``h[-1]``, ``torch.cat((h[-2], h[-1]), -1)``, residual sums, products and
    concatenations of features, transposes. Such a forward takes one tensor; further arguments may only be initial
    states, which start from zeros and are then the stream's. States in a returned tuple are left out:
    the engine keeps them. The graph is batch first whatever ``batch_first`` says, and always over time:
    a module that takes rows (B, I) runs on every step. A cell (``nn.GRUCell``) becomes a layer over
    time, and must be the whole module.

    Where both every step and the last one of a recurrent layer are used, the layer is there twice.

    Parameters
    ----------
    module : torch.nn.Module
        Left as it is.
    like : None
        A module describes itself.
    example_inputs, axes, states
        As for `fastgru.converters.torch_export.exported.import_exported`.

    Raises
    ------
    ConvertError
        Naming node, attribute and value of what cannot be imported.

    Examples
    --------
    >>> import numpy as np
    >>> imported = import_module(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.GRU(4, 2, batch_first=True)))
    >>> imported.graph
    Graph([0: Dense, 1: Activate, 2: GRU])
    >>> imported.oracle(np.zeros((1, 5, 3)))[0].shape
    (1, 5, 2)
    """
    if like is not None:
        raise ConvertError(
            f"{named('like')} must be None for a live module, which describes itself, got {len(like)} layers"
        )
    prepared = prepare(module)
    imported = _imported(prepared.module, prepared.examples(example_inputs), axes, states)
    return told(prepared, imported, example_inputs)


def _imported(module: nn.Module, example_inputs: Any, axes: Any, states: Any) -> Imported:
    """Import a module as a chain of layers, or through torch.export."""
    alone = not isinstance(example_inputs, Sequence | Mapping) or len(example_inputs) == 1
    refused: ConvertError | None = None
    if alone and axes is None and states is None:
        try:
            return import_chain(module, example_inputs)
        except ConvertError as error:
            refused = error
    from ..torch_export.exported import import_exported  # takes a second to load: chains of layers need not wait

    if example_inputs is not None:
        return import_exported(module, example_inputs, axes, states)
    example, steps = _example(module, refused)
    try:
        imported = import_exported(module, example, axes, states)
        if axes is None:
            _require_open(imported, steps)
    except ConvertError as error:
        raise ConvertError(
            f"{error}\nIt was traced with an example of shape {tuple(example.shape)}, which its layers suggest: give "
            f"others by {option('example_inputs')}"
        ) from error
    return imported


def _require_open(imported: Imported, steps: int) -> None:
    """Raise if a model is for the number of rows or steps alone that was chosen for its example."""
    for axes in imported.layouts.inputs.values() if imported.layouts else ():
        if axes is not None and (BATCH not in axes.sizes or steps in axes.sizes):
            raise ConvertError(
                f"forward must take any number of rows and steps where {named('example_inputs')} say none, got one "
                f"that can be imported for sizes {axes} alone"
            )


def _example(module: nn.Module, refused: ConvertError | None) -> tuple[torch.Tensor, int]:
    """Return an argument for a module that was given none, and its steps; errors end with why it is no chain."""
    from ..torch_export.examples import example_for

    try:
        return example_for(module)
    except ConvertError as error:
        if refused is None:
            raise
        raise ConvertError(
            f"{error}\nOnly a chain of layers needs no example, and this is none: {refused}"
        ) from refused


def import_chain(module: nn.Module, example_inputs: Any = None) -> Imported:
    """Import a module whose forward is a chain or graph of known layers, and takes the example if there is one."""
    orders = LAYOUTS if example_inputs is None else _fitting(module, example_inputs)
    provenance = {"framework": f"PyTorch {torch.__version__}", "source": type(module).__qualname__}
    name = type(module).__name__.lower()
    torch_modules.refuse_changed_calls(module)
    if torch_modules.known_class(module) in torch_modules.CELLS:
        graph = _cell_graph(module, name)
        layouts = Layouts({"x": _axes("BF", graph.inputs["x"])}, [_axes("BF", graph.specs[v]) for v in graph.outputs])
        return Imported(graph, provenance, CellOracle(module), CellLayers(module, graph), "", layouts=layouts)
    # A single layer is traced inside a chain of one, so that its forward is not looked into.
    root = nn.Sequential(OrderedDict([(name, module)])) if _Tracer().is_leaf_module(module, name) else module
    traced, extra = _trace(root)
    failures: list[tuple[int, ConvertError]] = []
    for layout in orders:
        interpreter = _Interpreter(root, traced, layout)
        try:
            built = interpreter.run()
        except ConvertError as error:
            failures.append((len(interpreter.values), error))
            continue
        oracle = ModuleOracle(root, layout, interpreter.paths, extra)
        layers = ModuleLayers(oracle, traced, interpreter.values, built)
        return Imported(built.graph, provenance, oracle, layers, "", layouts=interpreter.layouts(built.graph))
    raise max(failures, key=lambda failure: failure[0])[1]  # of the order of axes that fitted longest


def _fitting(module: nn.Module, example_inputs: Any) -> tuple[str, ...]:
    """Return the layouts of as many axes as an example, which the module must take."""
    keywords = dict(example_inputs) if isinstance(example_inputs, Mapping) else {}
    given = list(example_inputs) if isinstance(example_inputs, Sequence) else [] if keywords else [example_inputs]
    (example,) = [*given, *keywords.values()]
    if not isinstance(example, torch.Tensor | np.ndarray):
        raise ConvertError(f"{named('example_inputs')} must be a tensor, got {type(example).__name__}")
    x = to_tensor(module, example)
    try:
        with evaluating(module):
            module(*[x for _ in given], **dict.fromkeys(keywords, x))
    except Exception as error:  # whatever a module may raise
        raise ConvertError(
            f"forward of {type(module).__name__} must take the example of shape {tuple(example.shape)}, got "
            f"{type(error).__name__}: {line_of(error)}"
        ) from error
    found = tuple(layout for layout in LAYOUTS if len(layout) == example.ndim)
    if not found:
        raise ConvertError(f"argument of a chain of layers must have 2 or 3 axes, got {example.ndim}")
    return found


def _cell_graph(module: nn.Module, name: str) -> Graph:
    ((_, layer),) = torch_modules.recurrent_layers(module)
    x = Value(None, (), "x", "BTF")
    return build_graph(x, [run_layers([("", layer)], x, name)[0]]).graph


def _axes(layout: str, spec: Spec) -> Axes:
    """Return the axes of a tensor in the order of its letters."""
    return Axes(tuple(spec.shape[-1] if letter == "F" else letter for letter in layout))


def _is_layer(module: nn.Module) -> bool:
    return torch_modules.known_class(module) is not None


class _Tracer(fx.Tracer):
    """Looks into every module but those of torch.nn."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_layer(m) or super().is_leaf_module(m, module_qualified_name)


def _trace(module: nn.Module) -> tuple[fx.Graph, int]:
    """The module's calls in eval mode, and how many arguments beside the first have no default."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    if not parameters or any(p.kind not in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY) for p in parameters):
        raise ConvertError(f"forward of {type(module).__name__} must take positional arguments, got {parameters}")
    defaults = {p.name: p.default for p in parameters[1:] if p.default is not p.empty}
    try:
        with evaluating(module):
            traced = _Tracer().trace(module, concrete_args=defaults)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError, AttributeError, LookupError) as error:
        raise ConvertError(
            f"forward of {type(module).__name__} must be a chain of layers that torch.fx can trace, got {error}"
        ) from error
    return traced, len(parameters) - 1 - len(defaults)


class _Interpreter:
    """Evaluates traced calls on `Value`s instead of tensors, for one order of the input's axes."""

    def __init__(self, module: nn.Module, traced: fx.Graph, layout: str) -> None:
        self.traced = traced
        self.modules = dict(module.named_modules())
        self.root = Value(None, (), "x", layout)
        self.values: dict[fx.Node, Any] = {}
        self.outputs: list[Value] = []
        self.left_out: list[str] = []  # names of results that are states, as `result_names` of an exported module
        self.paths: list[Path] = []

    def run(self) -> Built:
        """The graph and its names; `paths` then says where in what forward returns its outputs are."""
        nodes = list(self.traced.nodes)
        used = _reachable(nodes[-1])
        for node in nodes:
            try:
                self.refuse_in_place(node)
                if node in used:
                    self.values[node] = self.evaluate(node)
            except (ConvertError, GraphError) as error:
                raise ConvertError(f"node {title(node)!r} ({self.describe(node)}): {error}") from error
        if not self.outputs:
            raise ConvertError("forward must return a tensor, got none")
        try:
            return build_graph(self.root, self.outputs)
        except GraphError as error:
            raise ConvertError(f"layers must fit each other: {error}") from error

    def layouts(self, graph: Graph) -> Layouts:
        """Return the axes of the argument and of what forward returns."""
        outputs = [_axes(v.layout, graph.specs[name]) for v, name in zip(self.outputs, graph.outputs, strict=True)]
        states = [str(n.target) for n, v in self.values.items() if n.op == "placeholder" and v is not self.root]
        inputs = {"x": _axes(self.root.layout, graph.inputs["x"]), **dict.fromkeys(states)}
        return Layouts(inputs, outputs, dict.fromkeys(states), dict.fromkeys(self.left_out))

    def describe(self, node: fx.Node) -> str:
        """The class or function of a call, for error messages."""
        return describe(node, self.modules)

    def evaluate(self, node: fx.Node) -> Any:
        """The value of one call."""
        args = fx.node.map_arg(node.args, self.values.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, self.values.__getitem__)
        if node.op == "placeholder":
            return Ignored("an initial state") if self.values else self.root
        if node.op == "output":
            return self.collect(args[0], ())
        if node.op == "call_module":
            return self.call_module(node, *args, **kwargs)
        tables: dict[str, Any] = {"call_function": FUNCTIONS, "call_method": METHODS}
        handler = tables.get(node.op, {}).get(node.target)
        if handler is None:
            raise ConvertError(f"call must be one that fastgru imports, got {node.op} {self.describe(node)}")
        try:
            inspect.signature(handler).bind(title(node), *args, **kwargs)
        except TypeError as error:
            got = ", ".join([f"{len(node.args)} of them", *map(str, node.kwargs)])
            raise ConvertError(f"arguments must be those that fastgru imports, got {got}") from error
        return handler(title(node), *args, **kwargs)

    def call_module(self, node: fx.Node, x: Any, hx: Any = None) -> Any:
        """The output of a layer; of a recurrent one, the pair that PyTorch returns."""
        module, name = self.modules[str(node.target)], str(node.target)
        cls = torch_modules.known_class(module)
        if cls in torch_modules.CELLS:
            raise ConvertError("cell must be the whole module to be run over time, got one inside another module")
        if cls not in torch_modules.RECURRENT:
            if hx is not None:
                raise ConvertError("layer must have one input, got two")
            return apply_module(module, name, x)
        for state in hx if isinstance(hx, tuple) else (hx,):
            if state is not None and not (isinstance(state, Ignored) and state.what in ("zeros", "an initial state")):
                raise ConvertError("initial state must be zeros or an argument of forward, got a computed value")
        value, what = tensor(x), f"the input of a recurrent layer with batch_first={module.batch_first}"
        require_layout(value, ("BTF" if module.batch_first else "TBF",), what)
        output, states = run_layers(torch_modules.recurrent_layers(module), value, name)
        return output, (states, Ignored("a cell state")) if cls is nn.LSTM else states

    def collect(self, value: Any, path: Path) -> None:
        """Note every tensor in what forward returns, and its place; states are left out."""
        if isinstance(value, tuple | list | dict):
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                self.collect(item, (*path, key))
        elif isinstance(value, States) or (isinstance(value, Ignored) and value.what.endswith("state")):
            self.left_out.append(".".join(map(str, path)))
        else:
            output = tensor(value)
            require_layout(output, OUTPUT_LAYOUTS, "an output")
            self.outputs.append(output)
            self.paths.append((output.layout, *path))

    def refuse_in_place(self, node: fx.Node) -> None:
        """Raise when a call changes a tensor that something else reads."""
        name = self.describe(node)
        if (
            node.op in ("call_function", "call_method")
            and node.target not in METHODS
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
        """Whether a call may return its own input's memory."""
        if node.op == "call_module":
            return isinstance(self.modules[str(node.target)], (nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.Identity))
        return node.target in VIEWS


def _reachable(output: fx.Node) -> set[fx.Node]:
    """The nodes that `output` needs."""
    found: set[fx.Node] = set()
    stack = [output]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(node.all_input_nodes)
    return found
