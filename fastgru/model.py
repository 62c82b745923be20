"""Model: what a user holds. Immutable, picklable, shared by threads; streams carry what changes."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import engine, memory
from ._hints import either
from .errors import require
from .files.origin import Origin, reopened
from .graph import Graph, chain, precision_of, tier_of
from .isa import select_isa
from .report.summary import Memory, Summary, summarise
from .running import Running, Signature

if TYPE_CHECKING:
    from .checks.selftest import SelfTest
    from .forecasting import Scheme
    from .inspect.tracing import Trace
    from .lowering.lower import Lowered

DTYPES = ("float32", "float64")
GEMMS = ("packed", "blas")


class Model(Running):
    """A network ready to run.

    Parameters
    ----------
    layers : sequence of layers, or Graph
        Layers of `fastgru.layers` applied one after the other, or a whole graph.
    dtype : {"float32", "float64"}
    isa : str, optional
        Instruction set; see `fastgru.cpu_info`. The environment variable FASTGRU_ISA, else the best one.
    gemm : {"packed", "blas"}, optional
        Who makes the products: the packed kernels, which promise the same bits for any batch and
        chunking (default for float32), or BLAS, which does not (the only choice for float64).
    provenance : mapping, optional
        Where the model came from, kept in its file.
    self_test : SelfTest, optional
        An input and the output expected of it, kept in the model's file.

    Raises
    ------
    GraphError, IsaError, ValueError
    MemoryLimitError
        When the model and a stream of it would need more memory than `fastgru.set_memory_limit` allows.

    Examples
    --------
    >>> from fastgru.layers import GRU, Dense
    >>> rng = np.random.default_rng(0)
    >>> gru = GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))
    >>> model = Model([gru, Dense(rng.normal(size=(2, 4)))])
    >>> model(np.zeros((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(
        self,
        layers: Sequence[Any] | Graph,
        *,
        dtype: str = "float32",
        isa: str | None = None,
        gemm: str | None = None,
        provenance: Mapping[str, str] | None = None,
        self_test: SelfTest | None = None,
    ) -> None:
        check_dtype(dtype)
        gemm = ("packed" if dtype == "float32" else "blas") if gemm is None else gemm
        if not isinstance(gemm, str) or gemm not in GEMMS or (gemm == "packed" and dtype != "float32"):
            allowed = GEMMS if dtype == "float32" else ("blas",)
            raise ValueError(f"gemm must be one of {', '.join(allowed)} for dtype {dtype!r}, got {gemm!r}")
        self._graph = layers if isinstance(layers, Graph) else chain(layers)
        if gemm != "packed":
            from .passes.integers import multiply_floats

            self._graph = multiply_floats(self._graph)
        precisions = {n.name: p for n in self._graph.nodes if (p := precision_of(n.op)) != "float32"}
        reduced = [f"{name!r} is {precision}" for name, precision in precisions.items()]
        if reduced and gemm != "packed":
            raise ValueError(f"layers must be float32 for gemm {gemm!r}, got {', '.join(reduced)}")
        self._forced_isa = isa
        self._gemm = gemm
        self._provenance = _checked_provenance(provenance)
        self._self_test = _checked_self_test(self_test)
        self._origin: Origin | None = None  # what `fastgru.load` read it from
        blas = _blas_functions(f"dtype {dtype!r}" if dtype != "float32" else "gemm 'blas'") if gemm == "blas" else None
        check_items(self._graph, dtype)
        plan = partial(_plan, _lowered(self._graph), select_isa(isa), dtype, blas)
        self._memory = _needs(plan(measure=True))
        memory.check(self._memory.plan + self._memory.stream, "the model and a stream of one row", self._memory.node)
        self._begin(plan(), Signature.of(self._graph, self._provenance.get("lengths")))

    @property
    def graph(self) -> Graph:
        """What the network is."""
        return self._graph

    @property
    def gemm(self) -> str:
        """ "packed" or "blas"."""
        return self._gemm

    @property
    def provenance(self) -> dict[str, str]:
        """Where the model came from (a copy)."""
        return dict(self._provenance)

    @property
    def _untested(self) -> bool:
        """True where no self-test could be made when the model was imported."""
        return self._self_test is None and "unchecked" in self._provenance

    @property
    def self_test(self) -> SelfTest | None:
        """The stored input and expected output, if there are any."""
        return self._self_test

    def quantize(
        self,
        precision: str | Mapping[str, str] | None = None,
        *,
        activations: str | None = None,
        layers: Sequence[str] | None = None,
        calibration: Any = None,
        max_error: float | None = None,
    ) -> Model:
        """This model with smaller weights or faster gates: new model, same layers.

        `fastgru.quantization.report` says what it costs.

        Parameters
        ----------
        precision : {"float16", "bfloat16", "int8", "int8_affine", "float32"} or mapping, optional
            float16: halves, arithmetic in float32. bfloat16: both operands of every product rounded to
            bfloat16, sums in float32. int8: one scale per output row, activations rounded per row and step,
            exact int32 sums. A mapping gives a precision per layer name. float32 rounds nothing any more; what
            was rounded before stays so. As it is when omitted.
        activations : {"fast", "exact"}, optional
            Of the gates of recurrent layers. fast: sigmoid and tanh as quotients of two polynomials, at most 1e-6
            and 2e-6 from the true values; exact, as models are made: at most 1.2e-7. As they are when omitted.
        layers : sequence of str, optional
            Names of the layers to change (see `summary`); all that have weight matrices when omitted.
        calibration : (T, I) or (B, T, I) array; ids: (T,) or (B, T), optional
            Typical input, on which errors are measured. Only with `max_error`. When omitted, they are measured on the
            random input of the self-test, with a `CalibrationWarning`: real data may give far larger ones.
        max_error : float, optional
            Largest absolute error allowed at any output. Layers that break it, worst first, stay as they are; a
            UserWarning says so when that leaves none to change.

        Returns
        -------
        Model
            With a self-test of its own, by the float64 reference; this model's where nothing was to change. With
            `max_error`, ``provenance["max_error"]`` says what it was measured on.

        Raises
        ------
        GraphError
            When a name, precision or tier does not exist, none of the layers has gates of `activations`, or weights
            are out of a precision's range.
        ValueError, TypeError
            When the model computes in float64 or, with another precision, through BLAS; `max_error` is not positive;
            `calibration` does not fit or is given without `max_error`.

        Examples
        --------
        >>> from fastgru.layers import Dense
        >>> model = Model([Dense(np.eye(16))])
        >>> model.summary().totals.bytes, model.quantize("int8").summary().totals.bytes
        (1024, 320)
        """
        from . import quantization

        wanted = quantization.choose(self._graph, precision, layers)
        quantization.check_tier(self._graph, wanted, activations)
        self._check_quantized(wanted, activations)
        measured = ""
        if max_error is not None:
            wanted, measured = self._within(wanted, activations, calibration, max_error)
        elif calibration is not None:
            raise ValueError("calibration only measures errors: give max_error, the largest one allowed, too")
        return self._quantized(wanted, activations, measured)

    def _check_quantized(self, wanted: Mapping[str, str], activations: str | None) -> None:
        """Raise ValueError where this model's arithmetic has no such precisions or gates."""
        if self._gemm != "packed" and set(wanted.values()) - {"float32"}:
            got = f"dtype {self.dtype!r} and gemm {self._gemm!r}"
            told = f"model to quantize must have dtype 'float32' and gemm 'packed', got {got}"
            raise ValueError(
                either(told, f"model to quantize must be float32, got {self.dtype}: convert it as float32")
            )
        if activations == "fast" and self.dtype != "float32":
            raise ValueError(f"model whose gates become fast must have dtype 'float32', got {self.dtype!r}")

    def _quantized(self, wanted: Mapping[str, str], activations: str | None, measured: str = "") -> Model:
        """This model with those precisions; `measured` goes to the provenance of what changes."""
        from . import quantization
        from .checks import selftest

        self._check_quantized(wanted, activations)
        graph, provenance = quantization.apply(self._graph, wanted, activations), self._provenance
        if measured and graph is not self._graph:
            provenance = {**provenance, "max_error": measured}
        unchanged = graph is self._graph and self._self_test is not None
        test = (
            self._self_test if unchanged or self._untested else selftest.make(graph, None, provenance, dtype=self.dtype)
        )
        return Model(
            graph, dtype=self.dtype, isa=self._forced_isa, gemm=self._gemm, provenance=provenance, self_test=test
        )

    def _within(
        self, wanted: dict[str, str], activations: str | None, calibration: Any, max_error: float
    ) -> tuple[dict[str, str], str]:
        """The part of `wanted` that keeps `max_error`, and what it was measured on.

        Warns when that is none of it, and when it was random input.
        """
        from . import quantization

        given = calibration is not None
        if not given and self._self_test is not None:
            calibration = self._self_test.input
        x = quantization.calibration_input(self._graph, calibration)
        kept = quantization.within(self._graph, wanted, x, max_error, activations)
        asked, left = (quantization.changes(self._graph, some, activations) for some in (wanted, kept))
        if asked and not left:
            message = quantization.nothing_changed(self._graph, wanted, x, max_error, activations)
            warnings.warn(message, UserWarning, stacklevel=3)
        elif asked and not given:
            quantization.warn_uncalibrated("max_error", "give typical input as calibration", stacklevel=3)
        return kept, f"{quantization.positive(max_error):g} on {quantization.measured_on(x, given=given)}"

    def with_scaler(self, scaler: Any = None, *, mean: Any = None, scale: Any = None, output: Any = None) -> Model:
        """This model with scalers in its graph: raw inputs in, and raw outputs out where the targets were scaled.

        The model then computes ``output.inverse_transform(model(scaler.transform(x)))``; steps, streams, `quantize`
        and `save` have all of it. The inputs are scaled in a step of its own, ``(x - mean) / scale``, which is never
        folded into weights: large means lose no digits.

        Parameters
        ----------
        scaler : fitted scaler, pair (mean, scale), or mapping of input names to such, optional
            A StandardScaler, MinMaxScaler, RobustScaler or MaxAbsScaler of scikit-learn, or an adapted Normalization
            layer of Keras; anything with their attributes. Numbers for each of the last axis of the input, or for all.
            A mapping where the model has several inputs; those without a scaler stay raw.
        mean, scale : (I,) array or float, optional
            In the place of `scaler`: 0 and 1 when omitted. The standard deviation is a usual scale.
        output : the same, optional
            The scaler of the targets, by the names of the outputs where there are several. Of a single target, also
            where an output holds several steps ahead, or the parameters of its distribution (`with_forecast`): each is
            scaled back as the target's own would be.

        Returns
        -------
        Model
            With the same names of inputs, outputs and states; an output that is an input itself is it as given. Its
            self-test is this model's, scaled; where rounding of its input would show in the output more than an
            import's error may, by the float64 reference.

        Raises
        ------
        ValueError, TypeError
            When a scaler is of no known kind, was not fitted, has other features than the input, or a scale is zero,
            or so small or large that it or its reciprocal is no normal number of float32; when a name does not exist,
            or its values are ids.

        Examples
        --------
        >>> from fastgru.layers import Dense
        >>> model = Model([Dense(np.eye(2))]).with_scaler(mean=[100.0, 0.0], scale=[10.0, 2.0], output=(3.0, 0.5))
        >>> model(np.array([[110.0, 2.0]]))
        array([[3.5, 3.5]], dtype=float32)
        """
        from . import _scaling

        if mean is not None or scale is not None:
            if scaler is not None:
                raise ValueError("mean and scale must be omitted when a scaler is given, got both")
            scaler = (mean, scale)
        graph = self._graph
        inputs = _scaling.by_name(scaler, graph.inputs, "input")
        outputs = _scaling.by_name(output, {name: graph.specs[name] for name in graph.outputs}, "output")
        if not inputs and not outputs:
            raise ValueError("scaler or output must be given, got neither")
        if outputs and "forecast" in self._provenance:
            from .forecasting import scheme as schemes

            outputs = schemes.scalers(self._provenance, outputs, graph.specs)
        scaled = _scaling.scaled(graph, inputs, outputs)
        told = [self._provenance.get("scaler", ""), _scaling.told(inputs, outputs)]
        return Model(
            scaled, dtype=self.dtype, isa=self._forced_isa, gemm=self._gemm,
            provenance={**self._provenance, "scaler": "; ".join(filter(None, told))},
            self_test=_scaling.self_test(self._self_test, scaled, inputs, outputs, self.dtype),
        )  # fmt: skip

    def trace(
        self,
        x: Any,
        points: str | Sequence[str] = "*",
        *,
        steps: int | slice | Sequence[int] | None = None,
        state: Mapping[str, Any] | None = None,
        lengths: Any = None,
        mask: Any = None,
    ) -> tuple[Any, Trace]:
        """Run whole sequences, and show gates, states and outputs of layers at each step.

        They are those of the plan that runs, whatever its precision, and the output has the bits of a call.

        Parameters
        ----------
        points : str or sequence of str
            Names or shell patterns: ``"gru"`` is the output of a layer, by its name in `summary` or its kind,
            ``"gru.update"`` a gate, ``"lstm.*"`` all gates and states, ``"*"`` everything. A GRU has update, reset,
            candidate and hidden (and output where it has that gate), an LSTM input, forget, candidate, output, cell and
            hidden, an RNN hidden. An output that the plan joins with another layer's is an error that says with which.
        steps : int, slice or sequence of int, optional
            Which steps to keep; all when omitted.
        x, state, lengths, mask
            As for a call.

        Returns
        -------
        output, Trace
            The output, and a mapping of names to arrays (B, T, units), or (T, units) for a single sequence.

        Raises
        ------
        ValueError, TypeError
            When a pattern matches nothing, with the nearest names; as a call does.

        Examples
        --------
        >>> from fastgru.layers import GRU
        >>> rng = np.random.default_rng(0)
        >>> model = Model([GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))])
        >>> y, trace = model.trace(np.zeros((2, 5, 3)), ["gru.update", "gru.hidden"])
        >>> trace.names, trace["gru.update"].shape
        (('gru.update', 'gru.hidden'), (2, 5, 4))
        """
        from .inspect import tracing

        return tracing.trace(self, x, points, steps, state, lengths, mask)

    def _plan_of(self, lowered: Lowered) -> engine.Plan:
        """The plan of other instructions, as this model's is."""
        return _plan(lowered, self.isa, self.dtype, _blas_functions("trace") if self._gemm == "blas" else None)

    def with_forecast(self, scheme: Scheme) -> Model:
        """This model with a description of what it reads and gives as a forecaster, which `forecast` follows.

        It is kept in the model's file and in plans made of it.

        Parameters
        ----------
        scheme : fastgru.forecasting.Scheme

        Raises
        ------
        GraphError
            When the inputs and outputs are not of the scheme, naming the shapes; when outputs were scaled back before
            and hold a distribution, whose parameters are not scaled alike.
        TypeError

        Examples
        --------
        >>> from fastgru.forecasting import Scheme
        >>> from fastgru.layers import Dense
        >>> model = Model([Dense([[1.0], [0.0]], bias=[0.0, 0.1])]).with_forecast(Scheme("normal", scaling="mean"))
        >>> model.forecast([4.0, 5.0], 2, samples=100, seed=1).mean.shape
        (2,)
        """
        from .forecasting import scheme as schemes

        schemes.check_given(scheme, self.inputs, self.outputs, self._provenance)
        return Model(
            self._graph, dtype=self.dtype, isa=self._forced_isa, gemm=self._gemm,
            provenance={**self._provenance, schemes.KEY: scheme.text()}, self_test=self._self_test,
        )  # fmt: skip

    def summary(self) -> Summary:
        """Layers, shapes, parameters, bytes and MACs per step; print it."""
        layout, differs = (self._provenance.get(key, "") for key in ("layout", "differs"))
        return summarise(self._graph, self.dtype, self._memory, layout, differs)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``.fgru`` file, whole or not at all.

        A model made by hand gets a self-test from the float64 reference; one that `fastgru.convert` was told to take
        though it cannot be checked has none.

        Raises
        ------
        FileFormatError
            When `path` ends like a file of another framework (``.onnx``, ``.pt``, ``.keras`` and so on).
        OSError
            When the file cannot be written.
        """
        from .checks import selftest
        from .files import fgru

        test = self._self_test
        if test is None and not self._untested:
            test = selftest.make(self._graph, None, self._provenance, dtype=self.dtype)
        fgru.write(path, graph=self._graph, dtype=self.dtype, provenance=self._provenance, self_test=test)

    def compile(self, path: str | os.PathLike[str], isa: str | Sequence[str] | None = None) -> None:
        """Write the plan of this model: instructions and packed weights, which `fastgru.load` maps instead of packing.

        A process is ready in the time that it takes to read the instructions, and processes share one copy of the
        weights. Outputs have the bits of this model. Keep the ``.fgru`` file: a plan runs with the fastgru that made
        it, on machines of its instruction sets, and can't be changed.

        Parameters
        ----------
        path : path
            Of a file named ``.plan``, as a rule; it is written whole or not at all.
        isa : str or sequence of str, optional
            Instruction sets, also of other machines: ``"avx2,avx512"``. That of this model when omitted.

        Raises
        ------
        IsaError
            When an instruction set is unknown.
        ValueError
            When the model computes in float64 or through BLAS.
        OSError
            When the file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> from fastgru import load
        >>> from fastgru.layers import Dense
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Model([Dense(np.ones((2, 3)))]).compile(f"{folder}/sum.plan")
        ...     load(f"{folder}/sum.plan")(np.ones((1, 3)))
        array([[3., 3.]], dtype=float32)
        """
        from .compiled import compile_model

        compile_model(self, path, isa)

    def __copy__(self) -> Model:
        return self  # nothing of it changes

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self._origin is not None:
            return reopened, (*self._origin, self._forced_isa, self._gemm)
        options = {
            "dtype": self.dtype, "isa": self._forced_isa, "gemm": self._gemm, "provenance": self._provenance,
            "self_test": self._self_test,
        }  # fmt: skip
        graph = (self._graph.inputs, self._graph.nodes, self._graph.outputs, self._graph.feedback)
        return _rebuild, (graph, options)

    def __repr__(self) -> str:
        precisions = dict.fromkeys(precision_of(node.op) for node in self._graph.nodes if node.op.matrices)
        tiers = dict.fromkeys(tier for node in self._graph.nodes if (tier := tier_of(node.op)))
        reduced = f" precision={'+'.join(precisions)}" if set(precisions) - {"float32"} else ""
        faster = f" activations={'+'.join(tiers)}" if set(tiers) - {"exact"} else ""
        return f"<fastgru.Model {self._graph!r} dtype={self.dtype} isa={self.isa}{reduced}{faster}>"


def check_items(graph: Graph, dtype: str) -> None:
    """Raise MemoryLimitError where one step of one value alone is too large, before anything is made of it."""
    largest = max(graph.specs, key=lambda value: math.prod(graph.specs[value].shape))
    node = next((n.name for n in graph.nodes if largest in n.outputs), largest)
    needed = math.prod(graph.specs[largest].shape) * np.dtype(dtype).itemsize
    memory.check(needed, f"one step of {largest!r}", node)


def memory_of(graph: Graph, dtype: str) -> Memory:
    """Return what a model of `graph` would need, without making it."""
    return _needs(measured(graph, dtype)[1])


def measured(graph: Graph, dtype: str) -> tuple[Lowered, engine.Plan]:
    """Return `graph` lowered, and a plan of it that only counts the bytes of its weights."""
    check_items(graph, dtype)
    blas = _blas_functions(f"dtype {dtype!r}") if dtype != "float32" else None
    lowered = _lowered(graph)
    return lowered, _plan(lowered, select_isa(None), dtype, blas, measure=True)


def check_dtype(dtype: str) -> None:
    """Raise ValueError unless models compute in `dtype`."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")


def _blas_functions(purpose: str) -> Any:
    """Return the products of SciPy's BLAS as the engine takes them; MissingExtraError without SciPy."""
    require("scipy.linalg.cython_blas", extra="blas", purpose=purpose)
    from .engine import blas  # links to SciPy, which a packed model does not need

    return blas.functions()


def _lowered(graph: Graph) -> Lowered:
    """Lower a graph; what does it is imported with the first model that needs it, which no compiled one does."""
    from .lowering.lower import lower
    from .passes import fused

    return lower(fused(graph))


def _plan(lowered: Lowered, isa: str, dtype: str, gemm: Any, *, measure: bool = False) -> engine.Plan:
    from .lowering.encoding import encode  # which an import of the package need not wait for

    return engine.Plan(encode(lowered), isa=isa, dtype=dtype, gemm=gemm, measure=measure)


def _needs(plan: engine.Plan) -> Memory:
    return Memory(plan.bytes, *engine.stream_bytes(plan))


def _checked_provenance(provenance: Any) -> dict[str, str]:
    if provenance is not None and not isinstance(provenance, Mapping):
        raise TypeError(f"provenance must be a mapping of names to text, got {type(provenance).__name__}")
    return dict(provenance or {})


def _checked_self_test(self_test: Any) -> SelfTest | None:
    from .checks.selftest import SelfTest

    if self_test is not None and not isinstance(self_test, SelfTest):
        raise TypeError(f"self_test must be a SelfTest, got {type(self_test).__name__}")
    return self_test


def _rebuild(graph: tuple[Any, ...], options: dict[str, Any]) -> Model:
    return Model(Graph(*graph), **options)


__all__ = ["Model"]


def __dir__() -> list[str]:
    return __all__
