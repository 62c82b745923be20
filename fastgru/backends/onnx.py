"""The interface of `onnx.backend.base`: run an ONNX model, or one node, on NumPy arrays.

Examples
--------
>>> import numpy as np
>>> from onnx import TensorProto, helper
>>> info = helper.make_tensor_value_info
>>> x, y = info("x", TensorProto.FLOAT, ["N", 3]), info("y", TensorProto.FLOAT, ["N", 3])
>>> graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "example", [x], [y])
>>> run_model(helper.make_model(graph), [np.array([[-1.0, 0.0, 2.0]], np.float32)])[0]
array([[0., 0., 2.]], dtype=float32)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ConvertError, require

require("onnx", extra="onnx", purpose="the ONNX backend")

# Behind the line above, which says in plain words what to install; what these import needs onnx, too.
from onnx import IR_VERSION, ModelProto, NodeProto, helper  # noqa: E402
from onnx.backend.base import Backend, BackendRep, Device, DeviceType  # noqa: E402

from ..converters.onnx.axes import declared, declared_inputs  # noqa: E402
from ..converters.onnx.call import NotConstant  # noqa: E402
from ..converters.onnx.reading import Source, read  # noqa: E402
from ..converters.onnx.translation import Translation, translate  # noqa: E402
from ..model import Model  # noqa: E402

KINDS = {"float": np.float64, "int": np.int64, "bool": np.bool_}  # of the graph's inputs, exact for ONNX's types
Shape = tuple[int, ...]
Key = tuple[tuple[tuple[str, Shape], ...], tuple[tuple[Shape, bytes], ...]]


def evaluate(graph: Any, feeds: Mapping[str, Any], *, dtype: str) -> tuple[Any, ...]:
    """The graph's outputs for inputs (1, \\*frame), by the engine."""
    outputs = Model(graph, dtype=dtype)(dict(feeds))
    return outputs if isinstance(outputs, tuple) else (outputs,)


class FastGruRep(BackendRep):
    """A prepared model. Sizes that it leaves open are taken from the inputs of each call.

    Parameters
    ----------
    source : Source
    options : dict
        `fix` of `import_onnx`.
    """

    def __init__(self, source: Source, **options: Any) -> None:
        self._source = source
        self._options = options
        self._inputs = declared_inputs(source.proto.graph)
        for name in options.get("fix") or {}:
            self._inputs.pop(name, None)
        self._outputs = [declared(o) for o in source.proto.graph.output]
        self._known: dict[Key, Translation] = {}
        fixed = {n: i.dims for n, i in self._inputs.items() if i.dims is not None}
        shapes = {n: tuple(d for d in dims if isinstance(d, int)) for n, dims in fixed.items()}
        # Inputs that the graph can only have as constants: those without elements, and what translating tells.
        self._constant = frozenset(n for n, shape in shapes.items() if 0 in shape)
        if all(n in shapes and len(shapes[n]) == len(fixed[n]) for n in self._inputs):
            types = {n: helper.tensor_dtype_to_np_dtype(self._inputs[n].elem) for n in self._constant}
            self._translate(shapes, {n: np.zeros(shapes[n], types[n]) for n in self._constant})

    def _translate(self, shapes: Mapping[str, Shape], feeds: Mapping[str, Any]) -> Translation | None:
        """The model for inputs of these shapes, constant for the very values of `feeds` where they must be.

        None when an input must be constant whose values `feeds` lacks.
        """
        while self._constant <= set(feeds):
            fixed = {n: feeds[n] for n in sorted(self._constant)}
            rest = {n: s for n, s in shapes.items() if n not in fixed}
            key = (tuple(rest.items()), tuple((a.shape, a.tobytes()) for a in fixed.values()))
            if key in self._known:
                return self._known[key]
            options = {**self._options, "fix": {**(self._options.get("fix") or {}), **fixed}}
            try:
                self._known[key] = translate(self._source, shapes=rest, states={}, **options)
            except NotConstant as error:
                if error.inputs <= self._constant:
                    raise
                self._constant |= error.inputs
        return None

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The model's outputs, each of the element type that the model declares.

        Parameters
        ----------
        inputs : array, sequence of arrays, or mapping of input name to array
        """
        if kwargs:
            raise ValueError(f"options of a call must be none, got {', '.join(kwargs)}")
        if not isinstance(inputs, Mapping):
            arrays = inputs if isinstance(inputs, list | tuple) else [inputs]
            if len(arrays) != len(self._inputs):
                raise ValueError(f"inputs must be {len(self._inputs)} arrays, got {len(arrays)}")
            inputs = dict(zip(self._inputs, arrays, strict=True))
        feeds = {name: np.asarray(inputs[name]) for name in self._inputs}
        found = self._translate({n: a.shape for n, a in feeds.items()}, feeds)
        assert found is not None
        kinds = {n: KINDS[spec.dtype] for n, spec in found.graph.inputs.items()}
        wide = any(a.dtype == np.float64 for a in feeds.values())  # numbers that float32 may not hold
        given: dict[str, Any] = {n: feeds[n].astype(kind)[None] for n, kind in kinds.items()}
        results = evaluate(found.graph, given, dtype="float64" if wide else "float32")
        outputs = [
            np.asarray(y[0]).astype(helper.tensor_dtype_to_np_dtype(o.elem), copy=False)
            for y, o in zip(results, self._outputs, strict=True)
        ]
        return tuple(outputs)


class FastGruBackend(Backend):
    """Runs models with every size fixed: an ONNX tensor is one frame, and nothing is kept between calls."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be prepared: only known where it fixes all sizes."""
        try:
            cls.prepare(model, device, **kwargs)
        except ConvertError:
            return False
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> FastGruRep:
        """A model ready to run.

        Raises
        ------
        ConvertError
            When it cannot be imported, or leaves sizes open and cannot be for those of a call.
        """
        cls._require(device)
        return FastGruRep(read(model), **kwargs)

    @classmethod
    def run_model(cls, model: ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Prepare and run once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, Any]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Run one node; ``opset_version`` says of which operator set it is (the newest by default).

        Parameters
        ----------
        outputs_info : sequence of (dtype, shape), optional
            Of the outputs; float32 where not given.
        """
        cls._require(device)
        version = kwargs.pop("opset_version", None)
        if kwargs:
            raise ValueError(f"options must be opset_version alone, got {', '.join(kwargs)}")
        names = [n for n in node.input if n]
        given = inputs if isinstance(inputs, Mapping) else dict(zip(names, inputs, strict=True))
        arrays = {n: np.asarray(given[n]) for n in names}
        kinds = (
            [np.dtype(dtype) for dtype, _ in outputs_info] if outputs_info else [np.dtype("float32")] * len(node.output)
        )
        infos = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in arrays.items()
        ]
        results = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(k), None)
            for n, k in zip(node.output, kinds, strict=True) if n
        ]  # fmt: skip
        graph = helper.make_graph([node], "node", infos, results)
        opsets = [helper.make_opsetid(node.domain, version or _newest())]
        return cls.run_model(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether it is the CPU."""
        return bool(Device(device).type == DeviceType.CPU)

    @classmethod
    def _require(cls, device: str) -> None:
        if not cls.supports_device(device):
            raise ValueError(f"device must be 'CPU', got {device!r}")


def _newest() -> int:
    from onnx.defs import onnx_opset_version

    return int(onnx_opset_version())


prepare = FastGruBackend.prepare
run_model = FastGruBackend.run_model
run_node = FastGruBackend.run_node
supports_device = FastGruBackend.supports_device
is_compatible = FastGruBackend.is_compatible
