"""A program that torch.export made, live or in a ``.pt2`` file, to a Graph: traced again over any rows and steps.

Such a program has the sizes of its example written into it. Those that stand for the rows and steps of its arguments
are taken from the arguments again; what it then computes for the example must be what the program does.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from ..._hints import either, named, option
from ...errors import ConvertError
from ...graph import Like
from .. import Imported
from ..damage import line_of
from .exported import import_exported
from .graph import CHECKS
from .saved import load

ATEN = torch.ops.aten
FACTORIES = (ATEN.zeros, ATEN.ones, ATEN.full, ATEN.empty, ATEN.new_zeros, ATEN.new_ones, ATEN.new_full, ATEN.new_empty)
VIEWS = (ATEN.view, ATEN.reshape, ATEN._unsafe_view, ATEN.expand)
MOST_APART = 1e-4  # of the largest output: what taking the sizes from the arguments may change


def import_exported_program(
    source: Any,
    like: Sequence[Like] | None = None,
    *,
    example_inputs: Any = None,
    axes: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
) -> Imported:
    """Import an ExportedProgram, or the file that ``torch.export.save`` made of one.

    Parameters
    ----------
    source : path or torch.export.ExportedProgram
        Left as it is.
    like : None
        A program describes itself.
    example_inputs : optional
        Arguments of its sizes, where it holds none.
    axes, states
        As for `import_exported`.

    Raises
    ------
    ConvertError
        As `import_exported`.
    """
    if like is not None:
        raise ConvertError(
            f"{named('like')} must be {either('None', 'omitted')} for an exported program, which describes itself, "
            f"got {len(like)} layers"
        )
    program = source if isinstance(source, torch.export.ExportedProgram) else load(source)
    own = program.module()
    examples = _examples(program) if example_inputs is None else example_inputs
    module = reopened(own)
    if example_inputs is None and _differ(own, module, examples):
        module = reopened(own, opened=False)
    try:
        imported = import_exported(module, examples, axes, states)
    except ConvertError as error:
        raise ConvertError(
            f"{error}\nThe sizes of its example are written into an exported program, which is traced again for any: "
            "if that is what fails, export it with dynamic_shapes, or convert its module itself"
        ) from error
    return imported


def _examples(program: Any) -> Any:
    """The arguments that a program was made with."""
    if not program.example_inputs:
        raise ConvertError(f"exported program must hold its example, got one without: give {option('example_inputs')}")
    args, kwargs = program.example_inputs
    if not kwargs:
        return tuple(args)
    names = [
        name for name, _ in zip(program.module_call_graph[0].signature.forward_arg_names or [], args, strict=False)
    ]
    return {**dict(zip(names, args, strict=True)), **kwargs}


def _differ(own: Any, module: Any, examples: Any) -> bool:
    """Return True if two modules compute different results for an example."""
    results = []
    for each in (own, module):
        try:
            with torch.no_grad():
                result = each(**examples) if isinstance(examples, dict) else each(*examples)
        except Exception as error:  # whatever a program may raise
            if each is module:
                return True
            raise ConvertError(f"exported program must run on its example, got {line_of(error)}") from error
        results.append([y for y in torch.utils._pytree.tree_leaves(result) if isinstance(y, torch.Tensor)])
    return any(
        a.shape != b.shape or not torch.allclose(a, b, rtol=MOST_APART, atol=MOST_APART * float(a.abs().max()))
        for a, b in zip(*results, strict=True)
        if a.is_floating_point() and a.numel()
    )


# Recurrent layers as PyTorch's modules call them, which stand-ins keep whole while a module is traced.


def _gru(*args: Any) -> Any:
    return torch._VF.gru(*args)


def _lstm(*args: Any) -> Any:
    return torch._VF.lstm(*args)


def _rnn_tanh(*args: Any) -> Any:
    return torch._VF.rnn_tanh(*args)


def _rnn_relu(*args: Any) -> Any:
    return torch._VF.rnn_relu(*args)


def _max_pool1d(*args: Any) -> Any:
    return torch.max_pool1d(*args)


def _istft(*args: Any, **kwargs: Any) -> Any:
    return torch.istft(*args, **kwargs)


AGAIN = {
    ATEN.gru.input: _gru, ATEN.lstm.input: _lstm, ATEN.rnn_tanh.input: _rnn_tanh, ATEN.rnn_relu.input: _rnn_relu,
    ATEN.max_pool1d.default: _max_pool1d, ATEN.istft.default: _istft,
}  # fmt: skip
Places = dict[tuple[int, int | None], tuple[fx.Node, int]]
BATCH_FIRST = 8  # where the call of a recurrent layer says so


def reopened(own: Any, *, opened: bool = True) -> Any:
    """A program's module without checks of its sizes, which come from its arguments where `opened`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of PyTorch about classes of its own
        graph = copy.deepcopy(own.graph)
    for node in reversed(list(graph.nodes)):
        if _is_check(node) and not node.users:
            graph.erase_node(node)
    places = _places(graph) if opened else {}
    for node in list(graph.nodes) if opened else ():
        _open(graph, node, places)
    for node in graph.nodes:
        if node.op == "call_function" and node.target in AGAIN:
            node.target = AGAIN[node.target]
    module: Any = fx.GraphModule(own, graph)
    module.original_name = "ExportedProgram"
    return module


def _is_check(node: fx.Node) -> bool:
    """Return True if a call only checks sizes."""
    if node.op == "call_module":
        return "guards" in str(node.target)
    packet = getattr(node.target, "_overloadpacket", None)
    return node.op == "call_function" and getattr(packet, "__name__", "") in CHECKS


def _shape(node: Any) -> tuple[Any, ...] | None:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None


def _places(graph: fx.Graph) -> Places:
    """Sizes of arguments and where they are, an argument and an axis: at any place, or at the same one.

    Those that are sizes of weights, too, are meant where they are at the place in a call that they have in an argument.
    """
    weights = {n for node in graph.nodes if node.op == "get_attr" for n in _shape(node) or ()}
    found: Places = {}
    for node in graph.nodes:
        for axis, size in enumerate((_shape(node) or ()) if node.op == "placeholder" else ()):
            if isinstance(size, int) and size > 1:
                found.setdefault((size, axis), (node, axis))
                if size not in weights:
                    found.setdefault((size, None), (node, axis))
    return found


def _open(graph: fx.Graph, node: fx.Node, places: Places) -> None:
    """Take the sizes in a call from arguments, where they are theirs."""
    if node.op != "call_function":
        return
    packet = getattr(node.target, "_overloadpacket", None)
    if packet in VIEWS and isinstance(node.args[1], list | tuple):
        with graph.inserting_before(node):
            node.update_arg(1, _viewed(graph, node.args[0], list(node.args[1]), packet is ATEN.expand, places))
    elif packet in FACTORIES:
        for at, arg in enumerate(node.args):
            if isinstance(arg, list | tuple):
                with graph.inserting_before(node):
                    node.update_arg(at, [_placed(graph, n, i, places) for i, n in enumerate(arg)])
    elif node.target in AGAIN and packet in (ATEN.gru, ATEN.lstm, ATEN.rnn_tanh, ATEN.rnn_relu):
        x, states = node.args[0], node.args[1]
        batch = 0 if node.args[BATCH_FIRST] else 1
        with graph.inserting_before(node):
            many = list(states) if isinstance(states, list | tuple) else [states]
            fresh = [_zeros(graph, x, state, batch) for state in many]
        node.update_arg(1, fresh if isinstance(states, list | tuple) else fresh[0])


def _size(graph: fx.Graph, node: Any, axis: int) -> fx.Node:
    made = graph.call_function(ATEN.sym_size.int, (node, axis))
    made.meta["val"] = (_shape(node) or ())[axis]
    return made


def _placed(graph: fx.Graph, size: Any, at: int, places: Places) -> Any:
    """A size from an argument that has it at the same place, or that alone has it."""
    if not isinstance(size, int):
        return size
    found = places.get((size, at)) or places.get((size, None))
    return _size(graph, *found) if found else size


def _zeros(graph: fx.Graph, x: Any, state: Any, batch: int) -> Any:
    """An initial state of zeros for as many rows as `x` has; any other as it is."""
    shape = _shape(state)
    zero = getattr(state, "target", None) in (ATEN.zeros.default, ATEN.new_zeros.default)
    if not zero or shape is None or len(shape) != 3 or len(_shape(x) or ()) != 3:
        return state
    return graph.call_function(ATEN.new_zeros.default, (x, [shape[0], _size(graph, x, batch), shape[2]]))


def _viewed(graph: fx.Graph, x: Any, sizes: list[Any], expand: bool, places: Places) -> list[Any]:
    """The sizes of a view: those that its first and last axes keep from `x`, the only other one as it comes."""
    old = _shape(x)
    if old is None or any(isinstance(n, fx.Node) for n in sizes):
        return sizes
    if expand:
        lead = len(sizes) - len(old)
        kept = [i >= lead and (n == -1 or old[i - lead] == n) for i, n in enumerate(sizes)]
        return [-1 if kept[i] else _placed(graph, n, i, places) for i, n in enumerate(sizes)]
    first = next((i for i, (a, b) in enumerate(zip(old, sizes, strict=False)) if a != b), min(len(old), len(sizes)))
    room = min(len(old), len(sizes)) - first
    last = next((i for i in range(room) if old[-1 - i] != sizes[-1 - i]), room)
    middle = sizes[first : len(sizes) - last]
    inner: list[Any] = [_placed(graph, n, first + i, places) for i, n in enumerate(middle)]
    fixed = [i for i, n in enumerate(inner) if isinstance(n, int)]
    if len(fixed) == 1:
        inner[fixed[0]] = -1
    ends = [_size(graph, x, len(old) - last + i) for i in range(last)]
    return [*(_size(graph, x, i) for i in range(first)), *inner, *ends]
