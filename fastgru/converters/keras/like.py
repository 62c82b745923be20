"""A Graph from a file that holds weights and no config: `like` says what the layers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._hints import either, like_item, like_option, named
from ...errors import ConvertError, GraphError, listed
from ...graph import (
    GRU,
    LSTM,
    RNN,
    BatchNorm,
    Bidirectional,
    Conv,
    Dense,
    Embedding,
    Graph,
    LayerNorm,
    Like,
    Op,
    Recurrent,
    TimeConv,
    dialects,
)
from ..assembly import Part, assemble
from ..partial import left_out
from .stored import Stored
from .values import Array

GATES: dict[type[Any], int] = {RNN: 1, GRU: 3, LSTM: 4}
# Class in snake case of a group in a Keras 3 file, for each op; RNN(cell) and TimeDistributed hold others.
STEMS: dict[type[Any], tuple[str, ...]] = {
    RNN: ("simple_rnn", "rnn"),
    GRU: ("gru", "rnn"),
    LSTM: ("lstm", "rnn"),
    Bidirectional: ("bidirectional",),
    Dense: ("dense", "time_distributed"),
    TimeConv: ("conv1d",),
    Conv: ("conv1d", "conv2d", "conv3d"),
    Embedding: ("embedding",),
    LayerNorm: ("layer_normalization",),
    BatchNorm: ("batch_normalization",),
}


def _dense(arrays: list[Array], attributes: Mapping[str, Any]) -> Dense:
    """Also a convolution of kernel size 1, whose kernel is (1, I, O)."""
    kernel, bias = [*arrays, None][:2]
    if kernel is not None and kernel.ndim == 3 and len(kernel) == 1:
        kernel = kernel[0]
    return Dense(dialects.as_2d("kernel", kernel).T, bias, **attributes)


def _conv(op: type[Any], rank: int) -> Callable[[list[Array], Mapping[str, Any]], Op]:
    """A convolution by a kernel (*kernel, I / groups, O); `rank` 0 for any number of axes."""

    def build(arrays: list[Array], attributes: Mapping[str, Any]) -> Op:
        kernel, bias = arrays[0], arrays[1] if len(arrays) > 1 else None
        if kernel.ndim < 3 or (rank and kernel.ndim != rank + 2):
            raise ConvertError(f"kernel must have {rank or 'one or more'} spatial axes and 2 more, got {kernel.shape}")
        made: Op = op(np.moveaxis(kernel, (-1, -2), (0, 1)), bias, **attributes)
        return made

    return build


def _layer_norm(arrays: list[Array], attributes: Mapping[str, Any]) -> LayerNorm:
    return LayerNorm(arrays[0], arrays[1] if len(arrays) > 1 else None, **attributes)


class Form(NamedTuple):
    """The names of a layer's arrays in Keras's order, how many may be missing at the end, and its maker."""

    names: tuple[str, ...]
    optional: int
    build: Callable[[list[Array], Mapping[str, Any]], Any]


FORMS: dict[type[Any], Form] = {
    Dense: Form(("kernel", "bias"), 1, _dense),
    TimeConv: Form(("kernel", "bias"), 1, _conv(TimeConv, 1)),
    Conv: Form(("kernel", "bias"), 1, _conv(Conv, 0)),
    Embedding: Form(("embeddings",), 0, lambda arrays, attributes: Embedding(arrays[0], **attributes)),
    LayerNorm: Form(("gamma", "beta"), 1, _layer_norm),
    BatchNorm: Form(
        ("gamma", "beta", "moving_mean", "moving_variance"), 0,
        lambda a, attributes: BatchNorm(a[2], a[3], scale=a[0], shift=a[1], **attributes),
    ),
}  # fmt: skip


def graph_like(layers: list[Stored], like: Sequence[Like] | None) -> tuple[Graph, dict[str, int]]:
    """The layers in `like` with the file's arrays, each reading the one before it or those it names as `inputs`.

    Returned with them: the file's layers that nothing takes, and how many arrays each has.

    Parameters
    ----------
    layers : list of Stored
        The file's layers; those without arrays are passed over.
    like : sequence of Like or None
        The layers in an order in which they can run. When all that take arrays have names, the rest of the
        file is left alone; one without a name takes the next layer (of its class, where the file has
        only classes and numbers), and then every layer of the file must be taken.

    Raises
    ------
    ConvertError
        When `like` is missing or does not match the file; lists the layers found and what to write.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.layers import Dense, like
    >>> stored = [Stored("fc", {"kernel:0": np.ones((3, 2)), "bias:0": np.ones(2)})]
    >>> graph_like(stored, [like(Dense, activation="sigmoid")])
    (Graph([fc: Dense]), {})
    """
    filled = [layer for layer in layers if layer.arrays]
    if not filled:
        raise ConvertError("file must hold weights of Keras layers, got none")
    if like is None:
        raise ConvertError(
            f"{named('like')} must say what the layers are, for the file holds weights only: which layers in which "
            f"order, their activations, their options. Got none.\n{describe(filled)}"
        )
    chosen, problems = _match(filled, like)
    built: list[Any] = []
    for item, stored in chosen:
        try:
            built.append(_build(item, list(stored.arrays.values()) if stored else []))
        except (ConvertError, GraphError) as error:
            problems.append(f"layer {stored.name if stored else item.op.__name__!r}: {error}")
    if problems:
        raise ConvertError(f"{listed(problems)}\n{describe(filled)}")
    try:
        graph = assemble(
            [
                Part(layer, stored.name if stored else item.name, item.inputs)
                for layer, (item, stored) in zip(built, chosen, strict=True)
            ]
        )
    except GraphError as error:
        raise ConvertError(f"layers of {named('like')} must fit each other: {error}") from error
    taken = [stored.name for _, stored in chosen if stored]
    return graph, {layer.name: len(layer.arrays) for layer in filled if layer.name not in taken}


def describe(layers: list[Stored]) -> str:
    """What a file holds, and the line that would select it."""
    found = "\n".join(f"  {layer}" for layer in layers)
    return f"Layers in the file:\n{found}\nWrite for example {like_option([*map(_guess, layers)])}"


def _match(layers: list[Stored], like: Sequence[Like]) -> tuple[list[tuple[Like, Stored | None]], list[str]]:
    """Each item of `like` with the layer it takes, and what does not match."""
    titles = {item.name for item in like if item.name}
    free = [layer for layer in layers if layer.name not in titles]
    taking = [item for item in like if item.takes_arrays()]
    chosen: list[tuple[Like, Stored | None]] = []
    problems = []
    for item in like:
        if not item.takes_arrays():
            chosen.append((item, None))
            continue
        pool = [x for x in layers if x.name == item.name] if item.name else [x for x in free if _fits(item, x)]
        if len(pool) != 1 and (item.name or not pool):
            what = f"one layer named {item.name!r}" if item.name else f"a layer left for {item}"
            problems.append(f"file must have {what}, got {len(pool)}")
            continue
        chosen.append((item, pool[0]))
        free = [x for x in free if x is not pool[0]]
    twice = sorted({n for n in titles if [i.name for i in taking].count(n) > 1})
    problems += [f"layer of {named('like')} must be named once, got {n!r} more often" for n in twice]
    if free and any(item.name is None for item in taking):
        left = [layer.name for layer in free]
        problems.append(
            f"{named('like')} without names must take every layer of the file, got none for {', '.join(left)}: leave "
            f"them out by {left_out(left)}, or describe them"
        )
    return chosen, problems


def _fits(item: Like, layer: Stored) -> bool:
    """Whether an item without a name may take `layer`: any in a file that keeps the order of layers."""
    return layer.stem is None or layer.stem in STEMS.get(item.op, ())


def _build(item: Like, arrays: list[Array]) -> Any:
    """The layer of one item.

    Raises
    ------
    ConvertError
        When the arrays are not those of such a layer, or more than it has.
    """
    if not item.takes_arrays():
        try:
            return item.op(**item.attributes)
        except TypeError as error:
            raise ConvertError(f"{item} in {named('like')} must say all that the class needs, got {error}") from error
    if item.op is Bidirectional and item.inner is not None:
        if len(arrays) % 2:
            raise ConvertError(f"Bidirectional must have two equal sets of arrays, got {len(arrays)} arrays")
        half = len(arrays) // 2
        ahead, back = (_recurrent(item.inner, part) for part in (arrays[:half], arrays[half:]))
        return Bidirectional(ahead, back, **item.attributes)
    if item.op in GATES:
        return _recurrent(item, arrays)
    form = FORMS.get(item.op)
    if form is None:
        known = ", ".join(op.__name__ for op in (*GATES, Bidirectional, *FORMS))
        raise ConvertError(
            f"class in {named('like')} must be one of {known} or one without arrays, got {item.op.__name__}"
        )
    if not len(form.names) - form.optional <= len(arrays) <= len(form.names):
        raise ConvertError(f"arrays must be {', '.join(form.names)}, got {_shapes(arrays)}")
    if item.op in (LayerNorm, BatchNorm) and "eps" not in item.attributes:
        raise ConvertError(f"{item} in {named('like')} must say eps=..., got none (the default of Keras is 1e-3)")
    if item.layout is not None:
        raise ConvertError(f"layout of {item} must be omitted, got {item.layout!r}")
    return form.build(arrays, item.attributes)


def _recurrent(item: Like, arrays: list[Array]) -> Recurrent:
    cudnn, gates = item.layout == "cudnn", GATES[item.op]
    if not _is_cell(arrays, gates) or (cudnn and (len(arrays) < 3 or gates == 1)):
        expected = f"kernel (I, {gates}*H), recurrent_kernel (H, {gates}*H), bias"
        raise ConvertError(f"arrays of {item} must be {expected}, got {_shapes(arrays)}")
    kernel, recurrent, bias = [*arrays, None][:3]
    layout = either("layout='cudnn'", "layout=cudnn")
    if bias is not None and not cudnn and bias.shape == (2 * gates * len(arrays[1]),):
        raise ConvertError(f"{item} must say {layout}, got a flat bias {bias.shape} of both halves")
    if cudnn:
        kernel, recurrent, bias = dialects.uncudnn(kernel, recurrent, bias, gates=gates)
    attributes = {"mask_output": "carry", **item.attributes}
    op: Recurrent = item.op.from_keras(kernel, recurrent, bias, **attributes)
    return op


def _is_cell(arrays: list[Array], gates: int) -> bool:
    """Whether these are two matrices with `gates` blocks of columns, and maybe a bias."""
    if len(arrays) not in (2, 3) or not arrays[0].ndim == arrays[1].ndim == 2:
        return False
    return bool(arrays[0].shape[1] == arrays[1].shape[1] == gates * arrays[1].shape[0])


def _shapes(arrays: list[Array]) -> str:
    return ", ".join(str(a.shape) for a in arrays) or "none"


def _guess(layer: Stored) -> str:
    """What to write in `like` for a layer, as far as its arrays tell."""
    arrays = list(layer.arrays.values())
    paths = list(layer.arrays)
    name = layer.name
    if any("backward" in path for path in paths):
        half = len(arrays) // 2
        return like_item("Bidirectional", name=name, inner=_guess_cell(arrays[:half]))
    shapes = [a.shape for a in arrays]
    if len(shapes) in (2, 3) and len(shapes[0]) == len(shapes[1]) == 2 and shapes[0][1] == shapes[1][1]:
        return _guess_cell(arrays, name=name)
    dims = tuple(len(s) for s in shapes)
    if dims[:1] in ((3,), (4,), (5,)) and dims[1:] in ((), (1,)):
        return like_item(TimeConv.__name__ if dims[0] == 3 else Conv.__name__, name=name)
    for op, ranks in ((Embedding, (2,)), (Dense, (2, 1)), (LayerNorm, (1, 1)), (BatchNorm, (1, 1, 1, 1))):
        if dims == ranks and not (op is Embedding and not any("embed" in p + (layer.stem or "") for p in paths)):
            eps: dict[str, Any] = {"eps": 1e-3} if len(set(dims)) == 1 and 1 in dims else {}
            return like_item(op.__name__, name=name, **eps)
    return like_item(None, name=name)


def _guess_cell(arrays: list[Array], **said: Any) -> str:
    """A recurrent layer by the number of gates in its recurrent kernel (H, G*H)."""
    shape = arrays[1].shape if len(arrays) > 1 and arrays[1].ndim == 2 else (1, 0)
    op = {gates: op for op, gates in GATES.items()}.get(shape[1] // max(shape[0], 1))
    if op is None:
        return like_item(None, **said)
    bias = arrays[2].shape if len(arrays) > 2 else ()
    if bias == (2 * shape[1],):
        said["layout"] = "cudnn"
    elif op is GRU and bias == (shape[1],):
        said["reset_after"] = False
    return like_item(op.__name__, **said)
