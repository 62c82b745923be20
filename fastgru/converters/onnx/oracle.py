"""ONNX Runtime's own outputs for inputs as the imported graph takes them: row by row and step by step where need be."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, helper

from ...errors import OracleError
from .. import LayerOutput
from ..damage import asking, line_of
from ..program.sizes import BATCH, TIME
from ..program.values import Array, Tensor
from .dynamic import NOTE
from .exposed import exposed, reduced
from .reading import Source
from .unsigned import signed, unsigned

if TYPE_CHECKING:
    from .translation import Translation


def oracles(path: str | os.PathLike[str], source: Source, found: Translation) -> tuple[Any, Any, str]:
    """Those of the outputs and of the values inside, or None twice; and why there are none."""
    try:
        model = reduced(source, found.trail.taken)
        if signed(source.proto):
            model = unsigned(model or exposed(source, found.trail.taken, ()))
        own = os.fspath(path) if model is None else serialized(model)
        told: dict[str, Any] = {"precision": source.precision, "together": NOTE in found.emit.notes}
        return OnnxOracle(session(own), found, apart=_apart(source, found), **told), OnnxLayers(source, found), ""
    except OracleError as why:
        return None, None, str(why)


def _apart(source: Source, found: Translation) -> bool:
    """Return True if no two inputs have a size for their steps that the file calls by one name."""
    layouts = {name: layout for name, layout in found.layouts.items() if TIME in layout}
    values = [value for value in source.proto.graph.input if value.name in layouts]
    sizes = [
        value.type.tensor_type.shape.dim[next(i for i, a in enumerate(layouts[value.name]) if a == TIME)].dim_param
        for value in values
        if value.type.tensor_type.HasField("shape")
    ]
    return len(sizes) == len(layouts) == len(set(sizes)) and "" not in sizes


def serialized(model: ModelProto) -> bytes:
    """The bytes of a model.

    Raises
    ------
    OracleError
        When it has more than protobuf takes.
    """
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

    try:
        data: bytes = model.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise OracleError(f"model must be small enough for onnxruntime: {line_of(error)}") from error
    return data


def session(model: str | bytes) -> Any:
    """A session of one thread for a model: a path, or its bytes.

    Raises
    ------
    OracleError
        When onnxruntime is not installed, or does not take the model.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise OracleError("onnxruntime is not installed")
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # No further: beyond the basic level a product with int8 weights takes its other operand as int8, too.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no other base; such as operator sets that it does not know yet
        raise OracleError(f"onnxruntime does not take the model: {line_of(error)[:200]}") from error


class OnnxLayers:
    """Runs a model that returns the values inside, too.

    Parameters
    ----------
    source : Source
    found : Translation
        Which of them the graph has.
    """

    def __init__(self, source: Source, found: Translation) -> None:
        self.source, self.found = source, found

    def __call__(self, x: Any) -> tuple[LayerOutput, ...]:
        new = self.found.rolled.new if self.found.rolled else ()
        seen = {s.output: s for s in self.found.trail.seen if s.tensor.spec.dtype == "float" and s.output not in new}
        model = unsigned(exposed(self.source, self.found.trail.taken, list(seen)))
        oracle = OnnxOracle(session(serialized(model)), self.found, {n: s.tensor for n, s in seen.items()})
        emit = self.found.emit
        told = [(s, emit.told(s.tensor.value, y)) for s, y in zip(seen.values(), oracle(x), strict=True)]
        return tuple(LayerOutput(each.name, each.kind, *found) for each, found in told if found is not None)


class OnnxOracle:
    """Runs a session on inputs (B, [T,] \\*frame), and returns the outputs so.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    found : Translation
        What the graph's inputs, outputs and states are to the model.
    outputs : mapping of str to Tensor, optional
        Other values of the model than the graph's outputs.
    apart : bool
        Whether inputs may have numbers of steps of their own.
    precision : {"float32", "float16", "bfloat16"}
        That the model computes in.
    together : bool
        Whether the model rounds all rows and steps by one scale: rows then go through it one by one.
    """

    def __init__(
        self, session: Any, found: Translation, outputs: Mapping[str, Tensor] | None = None, *, apart: bool = False,
        precision: str = "float32", together: bool = False,
    ) -> None:  # fmt: skip
        self.session, self.apart, self.precision, self.together = session, apart, precision, together
        self.found = found
        self.outputs = found.outputs if outputs is None else outputs
        self.timed = any(TIME in layout for layout in found.layouts.values())
        sizes = {v.name: v.shape for v in session.get_inputs()}
        batches = [sizes[n][layout.index(BATCH)] for n, layout in found.layouts.items() if BATCH in layout]
        self.batched = bool(batches) and not any(isinstance(n, int) for n in batches)
        self.rows = next((n for n in batches if isinstance(n, int)), None)  # that go through the model together
        self.types = {v.name: _dtype(v) for v in session.get_inputs()}

    def __call__(self, x: Any) -> tuple[Array, ...]:
        graph = self.found.graph
        feeds = x if isinstance(x, Mapping) else {next(iter(graph.inputs)): x}
        arrays = {n: np.asarray(feeds[n]) for n in graph.inputs}
        batch = next(iter(arrays.values())).shape[0]
        single = [a for n, a in arrays.items() if BATCH not in self.found.layouts[n]]  # one of them for all rows
        alike = all(np.array_equal(a, a[:1].repeat(batch, 0)) for a in single)
        if self.batched and alike and not self.together:
            return tuple(self._rows(arrays, batch))
        many = self.rows or 1  # of a batch that the file fixes, the last rows may be others again
        if self.together:
            rows = [self._rows({n: a[[i] * many] for n, a in arrays.items()}, many) for i in range(batch)]
            return tuple(np.concatenate([y[:1] for y in parts]) for parts in zip(*rows, strict=True))
        arrays = {n: a[np.arange(-(-batch // many) * many) % batch] for n, a in arrays.items()}
        rows = [self._rows({n: a[i : i + many] for n, a in arrays.items()}, many) for i in range(0, batch, many)]
        return tuple(np.concatenate(parts)[:batch] for parts in zip(*rows, strict=True))

    def _rows(self, arrays: Mapping[str, Array], batch: int) -> list[Array]:
        """The outputs for rows that go through the model together."""
        if not self.found.states or self.timed:
            outputs: list[Array] = self._once(arrays, batch, {})[0]
            return outputs
        states: dict[str, Array] = {}
        steps = []
        for t in range(next(iter(arrays.values())).shape[1]):
            outputs, states = self._once({n: a[:, t] for n, a in arrays.items()}, batch, states)
            steps.append(outputs)
        timed = [y.spec.time for y in self.outputs.values()]
        return [np.stack(y, axis=1) if t else y[0] for t, *y in zip(timed, *steps, strict=True)]

    def _once(self, arrays: Mapping[str, Array], batch: int, states: dict[str, Array]) -> Any:
        """One call of the session: the outputs, and the states for the next one."""
        found, length = self.found, 1
        feeds = dict(found.fixed)
        for name, array in arrays.items():
            layout = found.layouts[name]
            timed = TIME in layout
            length = array.shape[1] if timed else length
            feeds[name] = _to_onnx(array, layout, timed)
        for name, layout in found.layouts.items():
            if name not in feeds:
                lengths = name not in found.states
                shape = [a if isinstance(a, int) else batch for a in layout]
                feeds[name] = states.get(name, np.full(shape, length if lengths else 0))
        feeds = {n: np.ascontiguousarray(a, dtype=self.types[n]) for n, a in feeds.items()}
        with asking("onnxruntime"):
            values = self.session.run(None, feeds)
        results = dict(zip([o.name for o in self.session.get_outputs()], values, strict=True))
        outputs = [_from_onnx(results[n], y, batch) for n, y in self.outputs.items()]
        return outputs, {name: results[output] for name, output in found.states.items()}


def _to_onnx(array: Array, layout: tuple[str | int, ...], timed: bool) -> Array:
    """(B, [T,] \\*frame) in the model's order of axes; without a batch axis there, of the first row."""
    lead = {BATCH: 0, TIME: 1}
    frames = iter(range(1 + timed, array.ndim))
    order = [next(frames) if isinstance(a, int) else lead[str(a)] for a in layout]
    array = array if 0 in order else array[0]
    return array.transpose([i if 0 in order else i - 1 for i in order])


def _from_onnx(array: Array, y: Tensor, batch: int) -> Array:
    """The model's array as (B, [T,] \\*frame); as it is where its size is not that of the graph's value."""
    atoms = [a for axis in y.axes for a in axis]
    sizes = [y.spec.shape[a] if isinstance(a, int) else batch if a == BATCH else -1 for a in atoms]
    try:
        array = array.reshape(sizes)
    except ValueError:
        return array
    keys = [(0, 0) if a == BATCH else (1, 0) if not isinstance(a, int) else (2, a) for a in atoms]
    array = array.transpose(sorted(range(len(keys)), key=keys.__getitem__))
    return array if BATCH in atoms else array[None]


_ELEMENTS = {
    "tensor(float)": 1, "tensor(uint8)": 2, "tensor(int8)": 3, "tensor(uint16)": 4, "tensor(int16)": 5,
    "tensor(int32)": 6, "tensor(int64)": 7, "tensor(bool)": 9, "tensor(float16)": 10, "tensor(double)": 11,
    "tensor(uint32)": 12, "tensor(uint64)": 13,
}  # fmt: skip


def _dtype(value: Any) -> Any:
    """The NumPy type of an input of a session."""
    if value.type not in _ELEMENTS:
        raise OracleError(f"onnxruntime must be given numbers of a type that NumPy has, got {value.type}")
    return helper.tensor_dtype_to_np_dtype(_ELEMENTS[value.type])
