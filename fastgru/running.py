"""What runs a plan: whole calls, many sequences, streams. `Model` and `CompiledModel` are what users hold of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from . import engine
from ._arguments import (
    as_state,
    check_alike,
    check_counted,
    counted_steps,
    extent,
    lengths_apart,
    longest,
    one_row,
    several_given,
)
from ._arrays import as_array
from .graph import Graph, Recurrent, Reverse, Spec, TimeAttention, TimeReduce, TimeSoftmax, TimeStep

if TYPE_CHECKING:
    from .engine import Stream

MOST_ROWS = 2**31 - 1  # rows are numbered in 32 bits


class Signature:
    """What a caller of a network has to know of it.

    Attributes
    ----------
    inputs, outputs : dict of str to Spec
        In the order of calls.
    bases : dict of str to int
        Of each input with time: those of one base have one number of steps.
    pads : bool
        Whether steps behind the length of a row change nothing before it.
    whole : tuple of (str, str) or None
        A node that turns round or folds all steps, and what it is: lengths and a mask would change its result.
    lengths : str or None
        What the source of the network called the lengths of a call.
    """

    def __init__(
        self,
        inputs: dict[str, Spec],
        outputs: dict[str, Spec],
        bases: dict[str, int],
        pads: bool,
        whole: tuple[str, str] | None = None,
        lengths: str | None = None,
    ) -> None:
        self.inputs, self.outputs, self.bases = inputs, outputs, bases
        self.pads, self.whole, self.lengths = pads, whole, lengths

    @classmethod
    def of(cls, graph: Graph, lengths: str | None = None) -> Signature:
        """The signature of a graph.

        Examples
        --------
        >>> from fastgru.graph import Dense, TimeConv, chain
        >>> Signature.of(chain([Dense(np.ones((2, 3)))])).pads
        True
        >>> Signature.of(chain([TimeConv(np.ones((2, 3, 5)), before=2, after=2)])).pads
        False
        """
        kinds = Reverse | TimeReduce | TimeSoftmax | TimeAttention
        return cls(
            dict(graph.inputs),
            {name: graph.specs[name] for name in graph.outputs},
            {name: graph.bases[name] for name, spec in graph.inputs.items() if spec.time},
            all(node.op.stepwise or isinstance(node.op, Recurrent | TimeStep) for node in graph.nodes),
            next(((node.name, type(node.op).__name__) for node in graph.nodes if isinstance(node.op, kinds)), None),
            lengths,
        )


class Running:
    """A plan and what its callers know of it: the part of a model that runs."""

    _plan: engine.Plan
    _signature: Signature

    def _begin(self, plan: engine.Plan, signature: Signature) -> None:
        self._plan, self._signature = plan, signature
        self._idle: deque[Stream] = deque(maxlen=1)
        self._only_rows = not any(spec.time for spec in signature.inputs.values())

    @property
    def provenance(self) -> dict[str, str]:
        """Where the model came from."""
        raise NotImplementedError

    @property
    def inputs(self) -> dict[str, Spec]:
        """The shape, time axis and type of each input, by name, in the order in which calls take them.

        >>> from fastgru import Model
        >>> from fastgru.layers import Dense
        >>> model = Model([Dense(np.ones((2, 3)))])
        >>> {name: str(spec) for name, spec in model.inputs.items()}
        {'x': '(B, T, 3) float'}
        """
        return dict(self._signature.inputs)

    @property
    def outputs(self) -> dict[str, Spec]:
        """The same of each output, in the order in which calls return them.

        >>> from fastgru import Model
        >>> from fastgru.layers import Dense
        >>> {name: str(spec) for name, spec in Model([Dense(np.ones((2, 3)))]).outputs.items()}
        {'dense': '(B, T, 2) float'}
        """
        return dict(self._signature.outputs)

    @property
    def dtype(self) -> str:
        """ "float32" or "float64"."""
        return str(self._plan.dtype)

    @property
    def isa(self) -> str:
        """The instruction set the model was packed for."""
        return str(self._plan.isa)

    def __call__(
        self,
        x: Any,
        *others: NoReturn,
        state: Mapping[str, Any] | None = None,
        lengths: Any = None,
        mask: Any = None,
        return_state: bool = False,
        out: Any = None,
        threads: int | None = None,
    ) -> Any:
        """Run whole sequences.

        Parameters
        ----------
        x : (T, I) or (B, T, I) array; ids: (T,) or (B, T)
            float32 and C-contiguous arrays are read in place; others are converted. Of a model with several inputs a
            tuple of arrays in the order of `inputs`, or a mapping of their names to arrays. All have one batch, and
            those with time one number of steps.
        state : mapping, optional
            ``"<layer>.<h or c>"`` to (H,) or (B, H): where to start from, as `Stream.state` returns it.
        lengths : (B,) int array, optional
            Number of steps of each row that count; one number for (T, I). At the others, recurrent layers keep
            their state and output zeros, or their last valid output (``mask_output="carry"``). Layers after them
            run at every step: a Dense layer turns those zeros into its activation of the bias. Ignore the output
            of a row behind its length. An import whose source takes them as an input also finds them in `x`, by its
            name (``provenance["lengths"]``) or as the last of a tuple. Refused where all steps are turned round or
            folded (`Reverse`, `TimeReduce`, `TimeSoftmax`, `TimeAttention`): `predict` takes a list of such sequences.
        mask : (B, T) or (T,) bool array, optional
            The same, step by step. Not together with `lengths`.
        return_state : bool
            Also return the final state.
        out : array or tuple of arrays, optional
            Where to write the output.
        threads : int, optional
            How many threads may work on this call, with the same bits as one: rows of the batch apart, else layers
            and directions side by side, else the units of large layers. `set_num_threads` when omitted.

        Returns
        -------
        (T, O) or (B, T, O) array; (O,) or (B, O) where the model returns its last step; a tuple of
        arrays where it has several outputs. With `return_state`, a pair of that and the state.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was expected and what was given.
        """
        if others:
            raise several_given(1 + len(others), self._signature.inputs)
        if self._signature.lengths is not None:
            x, lengths = lengths_apart(x, lengths, self._signature.lengths, self._signature.inputs)
        if state is None and lengths is None and mask is None and not return_state and self._idle:
            y = self._again(x, out, threads)
            if y is not NotImplemented:
                return y
        batch, steps = extent(self._plan, x, only_rows=self._only_rows)
        if batch == 0 or (steps == 0 and self._only_rows):
            counted_steps(lengths, mask, batch, steps or 0)
            return self._empty(x, state, return_state, out)
        length = 1 if steps is None else steps
        if self._plan.bases > 1:
            length = longest(self._plan, x, batch, length, counts=lengths is not None or mask is not None)
        whole = length if self._plan.blockers else min(length, self._plan.block(batch or 1))
        stream = self._borrow(batch, max(1, whole), None if threads is None else engine.checked_threads(threads))
        counted = counted_steps(lengths, mask, batch, length)
        if counted is not None:
            check_counted(self._signature.whole)
        arrays = stream._convert(x, steps is not None)
        if state is not None:
            stream.state = {**stream.state, **as_state(state)}
        y = stream._run_converted(arrays, length, out, counted, steps is not None)
        result = (y, stream.state) if return_state else y
        self._idle.append(stream)
        return result

    def _again(self, x: Any, out: Any, threads: int | None) -> Any:
        """A call like the last one, in half its time; NotImplemented where it is another."""
        try:
            stream = self._idle.pop()
        except IndexError:
            return NotImplemented
        y = stream._run_again(x, out, threads)
        self._idle.append(stream)
        return y

    def _empty(self, x: Any, state: Any, return_state: bool, out: Any) -> Any:
        """A call without rows: what a row of zeros gives, without that row."""
        try:
            y, final = self(one_row(x), return_state=True)
        except ValueError as error:
            raise ValueError(f"{error} (of one row of zeros, tried in the place of none)") from error
        several = tuple(a[:0] for a in (y if isinstance(y, tuple) else (y,)))
        y = several if isinstance(y, tuple) else several[0]
        none = {key: array[:0] for key, array in final.items()}
        if state is not None:
            check_alike(
                {key: as_array(array, f"state[{key!r}]") for key, array in as_state(state).items()}, none, "state"
            )
        if out is not None:
            given = out if isinstance(out, tuple | list) else (out,)
            check_alike(dict(enumerate(given)), dict(enumerate(several)), "out")
            y = out
        return (y, none) if return_state else y

    def _borrow(self, batch: int | None, block: int, threads: int | None) -> Stream:
        """A stream in its initial state: the one the last call left, where it fits, else a new one.

        Its buffers are then warm: a fresh arena costs a page fault every 4 KiB. Taking it off the list is
        one atomic operation, so threads share the model without locks.
        """
        try:
            stream = self._idle.pop()
        except IndexError:
            pass
        else:
            if stream._serves(batch, block, threads):
                stream.reset()
                return stream
        return engine.make_stream(self._plan, batch, block=block, threads=threads)

    def predict(
        self,
        x: Any,
        *others: NoReturn,
        batch_size: int | None = None,
        lengths: Any = None,
        threads: int | None = None,
        progress: bool = False,
    ) -> Any:
        """Run many sequences: slices of a large array, or a list of sequences of any length.

        The results have the bits of a call of the model on each sequence alone. With ``gemm="blas"`` (float64 among
        it) they may differ from those by rounding, since BLAS sums in an order that depends on the batch.

        Parameters
        ----------
        x : array, or collection of sequences
            (B, T, I), or (B, T) of ids; of a model with several inputs a tuple of arrays or a mapping of names to
            arrays. Only a slice of it is read at a time, so `np.memmap` and datasets of HDF5 may be larger than
            memory. A list, a generator or any other iterable holds a sequence (T, I) or (T,) in each item, of several
            inputs a tuple or mapping of them; its items are taken as they are needed.
        batch_size : int, optional
            Most sequences that run together, and with it how much memory a call needs beside its results. When
            omitted: 32 a thread, fewer where they would take more than 64 MiB.
        lengths : (B,) int array, optional
            For an array: the steps of each row that count, as for a call of the model.
        threads : int, optional
            As for a call of the model.
        progress : bool
            Show a bar on stderr, if that is a terminal, once the work has taken a second (needs rich).

        Returns
        -------
        array, or list of arrays
            Of an array, the output (B, T, O) or (B, O). Of a collection, a list in its order: (T, O) or (O,) for each
            sequence. Tuples in the place of arrays where the model has several outputs.

        Raises
        ------
        ValueError, TypeError
            Naming the argument or the sequence, what was expected and what was given.

        Examples
        --------
        >>> from fastgru import Model
        >>> from fastgru.layers import GRU
        >>> rng = np.random.default_rng(0)
        >>> model = Model([GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))])
        >>> model.predict(np.zeros((1000, 5, 3), np.float32), batch_size=100).shape
        (1000, 5, 4)
        >>> [y.shape for y in model.predict([np.zeros((5, 3)), np.zeros((2, 3))])]
        [(5, 4), (2, 4)]
        """
        from . import _predict

        if others:
            raise several_given(1 + len(others), self._signature.inputs)
        if self._signature.lengths is not None:
            x, lengths = lengths_apart(x, lengths, self._signature.lengths, self._signature.inputs)
        return _predict.predict(
            self, self._plan, x, batch_size=batch_size, lengths=lengths, threads=threads, progress=progress
        )

    def generate(
        self,
        prompt: Any,
        steps: int | None,
        *,
        choose: Any = None,
        stop: Any = None,
        seed: Any = None,
        n: int = 1,
        return_scores: bool = False,
        iterate: bool = False,
        feed: Any = None,
        window: int | None = None,
        pad: Any = None,
        output: str | None = None,
        output_kind: str | None = None,
        encoder: Running | None = None,
        encoder_input: Any = None,
        states: Mapping[str, str] | None = None,
        threads: int | None = None,
    ) -> Any:
        """Go on from a prompt: choose from the output of each step, and feed the choice back.

        Parameters
        ----------
        prompt : (T,) ids or (T, I) inputs, or a list of such
            Sequences of a list may have any lengths. Ids go through `feed` as those that are chosen do.
        steps : int or None
            Most steps of each row; None with `iterate`: without end.
        choose : choice or list, optional
            ``Greedy()``, ``Sample()``, ``Beam()`` or ``Values()`` of `fastgru.generation`, or a list that ends with
            one, behind ``Forbid()``, ``Force()`` or functions ``f(log_p, tokens)`` from logarithms of probabilities
            (R, V) float64 and the ids of each row so far to other scores; -inf forbids. When omitted, ids are chosen
            greedily; the outputs themselves are fed back where the model takes vectors and there is no `feed`.
        stop : int, or list of ints and sequences of ints; a function for Values, optional
            Ids, or sequences of them, that end a row; they are part of it. The others go on without it. Of values,
            ``stop(values)``, (R, ...) to (R,) bool.
        seed : int or list of int, optional
            Of what is drawn: the same one gives the same sequences for any batch and number of threads. A list has one
            for each prompt, which then is as if it were alone. Another one at each call when omitted.
        n : int
            Sequences for each prompt.
        return_scores : bool
            Also return the logarithm of the probability of each id, as the model alone has it.
        iterate : bool
            Return an iterator over the steps instead: an id, or an array (R,), (R, n) with -1 for rows that have ended.
        feed : "one_hot", (V, I) array or callable, optional
            How what is chosen becomes an input, of a model that takes vectors: a vector of each id, or a function of
            ids (R,), or of values (R, ...), to inputs (R, I). A model that takes ids is fed them.
        window : int, optional
            Run the model at each step over so many last steps, without a state. When omitted, a state is carried in a
            stream; a model that needs whole sequences runs over all steps so far.
        pad : int or (I,) array, optional
            A step that fills a window in front; shorter windows when omitted.
        output : str, optional
            The output to choose from, of several.
        output_kind : {"logits", "probabilities", "log_probabilities"}, optional
            What the output holds. When omitted, as the graph ends: with a softmax, its logarithm, or neither.
        encoder : Model, optional
            Whose outputs or final states the model's states start from.
        encoder_input : array, mapping, or list of such, optional
            What the encoder reads, or the model's inputs beside the prompt. One prompt serves all rows of it.
        states : mapping, optional
            State or input of the model to output or state of the encoder, where their shapes do not pair one by one.
        threads : int, optional
            As for a call of the model.

        Returns
        -------
        (S,) int64 array; (S, ...) of values
            What was chosen, without the prompt. A list of arrays for a list of prompts; a list of `n`, or `n_best`, in
            the place of each where that is above 1. With `return_scores`, a pair of that and the same of float64.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what was expected and what was given, before anything runs; while it runs, where the
            scores of a step leave no choice.

        Examples
        --------
        >>> from fastgru import Model
        >>> from fastgru.generation import Sample
        >>> from fastgru.layers import GRU, Dense, Embedding
        >>> rng = np.random.default_rng(0)
        >>> gru = GRU.from_torch(rng.normal(size=(12, 3)), rng.normal(size=(12, 4)))
        >>> model = Model([Embedding(rng.normal(size=(9, 3))), gru, Dense(rng.normal(size=(9, 4)))])
        >>> model.generate([1, 2, 3], 5)
        array([1, 4, 4, 4, 4])
        >>> [len(ids) for ids in model.generate([[1, 2, 3], [4]], 5, choose=Sample(top_k=3), seed=0)]
        [5, 5]
        """
        from .generation.generate import generate

        return generate(
            self, prompt, steps, choose=choose, stop=stop, seed=seed, n=n, return_scores=return_scores, iterate=iterate,
            feed=feed, window=window, pad=pad, output=output, output_kind=output_kind, encoder=encoder,
            encoder_input=encoder_input, states=states, threads=threads,
        )  # fmt: skip

    def forecast(
        self,
        context: Any,
        horizon: int,
        *,
        covariates: Any = None,
        samples: int = 0,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        seed: int | None = None,
        threads: int | None = None,
    ) -> Any:
        """Forecast series: run over what is known of each, then on the model's own output.

        The model's `fastgru.forecasting.Scheme` says what it reads and what its output holds; one whose output is as
        wide as its input, or narrower, needs none: its output is fed back, and further columns of its input are
        covariates of the step that is forecast.

        Parameters
        ----------
        context : (T,) or (B, T) array, list of (T,) arrays, or table
            The values up to now, of one series or of many; (T, D), (B, T, D) or a list of (T, D) where a step has D
            values. A table has the columns ``unique_id`` (which may be missing, of one series), ``ds`` and ``y``, and
            those of the covariates: a dict of columns, or one of pandas, pyarrow or polars.
        horizon : int
            How many steps to forecast.
        covariates : array, list or table, optional
            What the model reads beside the values, in the order of its scheme: (B, T + horizon, C), over context and
            horizon. For a table another one, of ``unique_id``, ``ds`` and the covariates of the steps to come.
        samples : int
            Paths to draw from the distribution that the output holds, each fed back by itself. 0 feeds back the point:
            the mean of the distribution, of quantiles the median.
        quantiles : sequence of float
            Levels of the quantiles of the paths.
        seed : int, optional
            The same seed gives the same paths for any batch and number of threads, to a series of a table whichever
            others are in it; another one each time when omitted.
        threads : int, optional
            How many batches run side by side; `set_num_threads` when omitted.

        Returns
        -------
        array, `fastgru.forecasting.Forecast`, or table
            Without samples, points (B, horizon), or (horizon,) for one series. With samples, a `Forecast` of mean,
            quantiles and paths. For a table, one of its kind: ``unique_id``, ``ds``, ``forecast`` (the points, or the
            mean of the paths), and with samples ``q0.1`` and so on.

        Raises
        ------
        ValueError, TypeError
            When an argument does not fit, naming the series and the place; when values are not finite, or covariates
            end before the horizon. Nothing is computed then.
        GraphError
            When the output cannot be fed back, naming the shapes.

        Examples
        --------
        >>> from fastgru import Model
        >>> from fastgru.layers import Dense
        >>> Model([Dense([[0.5]])]).forecast([8.0, 4.0, 2.0], 3)
        array([1.  , 0.5 , 0.25], dtype=float32)
        """
        from .forecasting import forecasts

        return forecasts.forecast(
            self, self.provenance, context, horizon, covariates=covariates, samples=samples, quantiles=quantiles,
            seed=seed, threads=threads,
        )  # fmt: skip

    def stream(self, batch: int | None = None, *, threads: int | None = None) -> Stream:
        """A fresh stream, to be fed frame by frame or in chunks.

        Parameters
        ----------
        batch : int, optional
            Rows stepped together: frames are (batch, I) instead of (I,).
        threads : int, optional
            How many threads a call may use; what `set_num_threads` says at the time when omitted.

        Raises
        ------
        ValueError
            When a layer needs the whole sequence (bidirectional, reversed, over all steps), naming it and saying why.
        """
        if self._plan.blockers:
            why = ", ".join(f"{name!r}, which {reason}" for name, reason in self._plan.blockers.items())
            raise ValueError(f"layers of a streaming model must all work step by step, got {why}")
        whole = isinstance(batch, int | np.integer) and not isinstance(batch, bool)
        if batch is not None and not (whole and 1 <= batch <= MOST_ROWS):
            raise ValueError(f"batch must be None or an integer from 1 to {MOST_ROWS}, got {batch!r}")
        threads = None if threads is None else engine.checked_threads(threads)
        return engine.make_stream(self._plan, None if batch is None else int(batch), model=self, threads=threads)
