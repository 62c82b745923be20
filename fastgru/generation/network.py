"""What generation has to know of a model: which input is fed back from which output, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_array
from .._hints import either, named
from .._names import nearest
from ..graph import (
    SOFTMAX,
    Activate,
    Dense,
    Dropout,
    Expand,
    Graph,
    Reshape,
    Slice,
    Softmax,
    TimeSlice,
    TimeStep,
    Unary,
)

if TYPE_CHECKING:
    from ..graph import Spec
    from ..running import Running

Array = NDArray[Any]
LOGITS, PROBABILITIES, LOGARITHMS = "logits", "probabilities", "log_probabilities"
KINDS = (LOGITS, PROBABILITIES, LOGARITHMS)
ONE_HOT = "one_hot"
VIEWS = (Dropout, Expand, Reshape, Slice, TimeSlice, TimeStep)  # that leave numbers as they are


class Network:
    """A model, the input that prompts and choices go to, and the output that they come from.

    Attributes
    ----------
    name, spec : str, Spec
        Of the input.
    others : list of str
        The other inputs.
    output : str
    frame : tuple of int
        Of the output.
    ids : bool
        Whether the input takes ids.
    bound : int or None
        The number of ids that it takes; None where it takes none.
    """

    def __init__(self, model: Running, output: str | None, input_name: str | None) -> None:
        self.model, self.plan = model, model._plan
        inputs, outputs = model.inputs, model.outputs
        self.name, self.spec = self._input(inputs, input_name)
        self.others = [name for name in inputs if name != self.name]
        if output is None and len(outputs) > 1:
            several = nearest(None, outputs)
            raise ValueError(
                either(
                    f"output must be one of {several}, the one to feed back, got none",
                    f"model must have one output to feed back, got {several}: generate in Python, where Model.generate "
                    "takes output=",
                )
            )
        if output is not None and output not in outputs:
            raise ValueError(f"output must be one of {nearest(output, outputs)}, got {output!r}")
        self.output = output if output is not None else next(iter(outputs))
        self.place = list(outputs).index(self.output)
        self.several = len(outputs) > 1
        self.frame, self.timed = outputs[self.output].shape, outputs[self.output].time
        self.ids = self.spec.dtype == "int" and self.spec.shape == ()
        self.bound = self.plan.bound(self.name) if self.ids else None

    def _input(self, inputs: dict[str, Spec], name: str | None) -> tuple[str, Spec]:
        """Return the input that is fed: the one named, else the only one, with ids, or with time; of several the last,
        as a decoder's is in most files."""
        if name is not None:
            if name not in inputs:
                raise ValueError(f"input of the prompt must be one of {nearest(name, inputs)}, got {name!r}")
            return name, inputs[name]
        found = list(inputs.items())
        for rule in (lambda spec: spec.dtype == "int" and spec.time, lambda spec: spec.time, lambda spec: True):
            chosen = [(key, spec) for key, spec in found if rule(spec)]
            if chosen:
                return chosen[-1]
        raise ValueError("model must have an input to be fed, got none")

    @property
    def streams(self) -> bool:
        """True if each step needs the step before it alone."""
        return not self.plan.blockers and self.plan.latency == 0 and self.spec.time

    def kind(self, given: str | None) -> str:
        """Return what the output holds: as it is told, else as the graph ends.

        Raises
        ------
        ValueError
            When it is told otherwise than with one of `KINDS`, or not told of a compiled plan, which has no graph.
        """
        if given is not None:
            if given not in KINDS:
                raise ValueError(f"{named('output_kind')} must be one of {', '.join(KINDS)}, got {given!r}")
            return given
        graph = getattr(self.model, "_graph", None)
        if graph is None:
            kinds = ", ".join(KINDS)
            kind = named("output_kind")
            raise ValueError(f"{kind} must be one of {kinds} for a compiled plan, which shows no graph, got none")
        return output_kind(graph, self.output)


def output_kind(graph: Graph, output: str) -> str:
    """Return what an output holds: probabilities behind a softmax, their logarithms behind one of those, else logits.

    Examples
    --------
    >>> from fastgru.graph import Dense, chain
    >>> ends = [Dense(np.eye(2)), Dense(np.eye(2), activation="softmax")]
    >>> [output_kind(graph, graph.outputs[0]) for graph in (chain([end]) for end in ends)]
    ['logits', 'probabilities']
    """
    makers = {value: node for node in graph.nodes for value in node.outputs}
    node, kind = makers.get(output), PROBABILITIES
    while node is not None:
        op = node.op
        if isinstance(op, Unary) and op.function == "log":
            kind = LOGARITHMS
        elif isinstance(op, Softmax):
            return LOGARITHMS if op.log else kind
        elif isinstance(op, Dense | Activate) and op.activation.name == SOFTMAX:
            return kind
        elif not isinstance(op, VIEWS):
            return LOGITS
        node = makers.get(node.inputs[0])
    return LOGITS


class Feed:
    """How what is chosen becomes an input of the model.

    Parameters
    ----------
    network : Network
    given : None, "one_hot", (V, I) array or callable
        As `Model.generate` takes it.
    size : int or None
        V, the number of ids chosen among; None where values are fed back.
    made : bool
        Whether a function makes values of outputs, whose shapes are not known before it runs.
    reach : int or None
        One more than the highest id that may be chosen; `size` when omitted.
    """

    def __init__(
        self, network: Network, given: Any, size: int | None, *, made: bool = False, reach: int | None = None
    ) -> None:
        self.network = network
        self.table: Array | None = None
        self.function: Callable[[Any], Any] | None = None
        self.frame = network.spec.shape if network.spec.time else network.spec.shape[1:]
        if callable(given):
            self.function = given
        elif given is not None:
            self.table = self._table(given, size)
        if not made:
            self.check(size, reach)

    def _table(self, given: Any, size: int | None) -> Array:
        """Return the vector of each id."""
        if size is None or self.network.ids:
            takes = "takes ids" if self.network.ids else "is fed values"
            expected = either("feed must be a function or omitted", "--one-hot must be omitted")
            raise ValueError(f"{expected} for a model that {takes}, got {either(_told(given), 'it')}")
        if isinstance(given, str):
            if given != ONE_HOT:
                raise ValueError(f"feed must be {ONE_HOT!r}, an array (V, I) or a function, got {given!r}")
            table = np.eye(size, dtype=self.network.plan.dtype)
        else:
            table = as_array(given, "feed")
        if table.shape != (size, *self.frame) or table.dtype.kind not in "fiub":
            shape = ", ".join(map(str, (size, *self.frame)))
            vectors = f"a vector of the input's shape {self.frame} for each of {size} ids"
            raise ValueError(
                either(
                    f"feed must give {vectors}, numbers of shape ({shape}), got {table.dtype} of shape {table.shape}",
                    f"--one-hot must give {vectors}, got vectors of {size}",
                )
            )
        return np.ascontiguousarray(table, self.network.plan.dtype)

    def check(self, size: int | None, reach: int | None = None) -> None:
        """Raise ValueError where the output can't be fed back, or one of its ids below `reach`; all when omitted."""
        net = self.network
        if self.function is not None or self.table is not None:
            return
        if size is None:
            if net.ids or net.frame != self.frame:
                takes = "ids" if net.ids else f"frames of shape {self.frame}"
                raise ValueError(
                    f"output {net.output!r} of shape {net.frame} can't be fed back to input {net.name!r}, which takes "
                    f"{takes}: {_with_feed('a function that makes one of the other')}"
                )
        elif not net.ids:
            raise ValueError(
                f"ids chosen from output {net.output!r} can't be fed back to input {net.name!r}, which takes frames of "
                f"shape {self.frame}: {self._vectors(size)}"
            )
        elif net.bound is not None and net.bound < (size if reach is None else reach):
            raise ValueError(
                f"ids chosen from output {net.output!r} lie in 0..{size - 1}, and can't all be fed back to input "
                f"{net.name!r}, which takes ids in 0..{net.bound - 1}: "
                f"{_with_feed('a function from the one to the other')}, or {either('forbid', '--forbid')} the others"
            )

    def _vectors(self, size: int) -> str:
        """Return how ids become frames of the input."""
        shape = ", ".join(map(str, self.frame))
        table = f"an array ({size}, {shape}) with a vector for each id, or a function from ids (R,) to such frames"
        hot = self.frame == (size,)
        return either(
            f"give feed='one_hot', {table}",
            f"{'--one-hot gives vectors of zeros with a one' if hot else _with_feed(table)}",
        )

    @property
    def plain(self) -> bool:
        """True if what is chosen is fed as it is."""
        return self.table is None and self.function is None

    def __call__(self, chosen: Array) -> Array:
        """Return the inputs (R, *frame) of what was chosen, (R,) ids or (R, ...) values."""
        if self.table is not None:
            return self.table[chosen]
        if self.function is None and self.network.ids and chosen.dtype == np.int64:
            return chosen
        made = chosen if self.function is None else as_array(self.function(chosen), "what feed returns")
        expected = (len(chosen), *self.frame)
        if made.shape != expected or made.dtype.kind not in ("iu" if self.network.ids else "fiub"):
            whose = "function of Values" if self.function is None else "feed"
            raise ValueError(
                f"{whose} must return {'ids' if self.network.ids else 'numbers'} of shape {expected} for "
                f"{len(chosen)} rows, got {made.dtype} of shape {made.shape}"
            )
        return np.ascontiguousarray(made, np.int64 if self.network.ids else self.network.plan.dtype)


def _with_feed(made: str) -> str:
    """Return what to do, on the command line as well, where `feed` must be given."""
    return either(f"give {made} as feed", f"generate in Python, where Model.generate takes {made} as feed=")


def _told(given: Any) -> str:
    return repr(given) if isinstance(given, str) else type(given).__name__
