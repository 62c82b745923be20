"""Stream: all that changes while running.

A sequence is a stream processed in one chunk: `Plan` never runs, `Stream.process` is the only way to run, and a step is
a chunk of one.
"""

cimport cython
cimport numpy as cnp
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint8_t  # no-cython-lint

import os
import threading
from collections.abc import Mapping

import numpy as np

from .arguments cimport Arguments, fits, output, place
from .buffers cimport Buffers
from .c cimport fg_times, idx
from .clocks cimport Clocks, MOST_STEPS
from .execute cimport now, run_instructions
from .plan cimport Plan
from .run cimport Watch, WATCH_NS
from .state cimport State
from .threads cimport check_signals, default_threads, PANEL_MACS, Team

cnp.import_array()

cdef enum:
    RELEASE_WORK = 500000    # about 20 us of work: below it, handing over the GIL costs more than it gives
    WATCH_WORK = 1 << 30     # of a call that looks at signals at all: 10 ms and more
    STREAM_FIELDS = 5        # that `make_stream` passes on

cdef unsigned long main_thread = threading.main_thread().ident  # the one that handles signals


def _follow_fork():
    global main_thread
    main_thread = threading.get_ident()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_follow_fork)


@cython.final
cdef class Stream:
    """The mutable side of a model: feed it frames or chunks, it carries the state.

    Made by `Model.stream`. Not shared between threads.

    Attributes
    ----------
    batch : int or None
        Rows stepped together; None for a single row without a batch axis.
    model : object
        What made the stream; keeps it picklable.
    threads : int or None
        How many threads a call may use; None: what `set_num_threads` says then.
    """

    def __cinit__(self, *fields, **named):
        if named or len(fields) != STREAM_FIELDS or type(fields[0]) is not Plan:
            raise TypeError("a stream is made by model.stream(), or model.stream(batch=n) for several rows")
        self.plan, self.batch, self.model, block, self.threads = fields
        self.raised = [None]
        self.buffers = Buffers(self.plan, self.batch, block, False)
        self.clocks = Clocks(self.buffers)
        self.arguments = Arguments(self.buffers, self.clocks)
        self.carried = State(self.buffers, self.clocks, self.arguments)
        self.team = Team(self.buffers)

    cdef inline int claim(self) except -1:
        """Take the stream for a call, which ends with `release`; the GIL is held at both."""
        if self.busy:
            raise RuntimeError("stream is in use: it can serve one call at a time, and another one is running")
        self.busy = True
        return 0

    cdef inline void release(self) noexcept:
        self.busy = False

    def step(self, x, out=None):
        """Run one time step.

        Parameters
        ----------
        x : (I,) or (batch, I) array; ids: scalar or (batch,)
            Of a model with several inputs a tuple of them or a mapping of input name to array; (*frame) or
            (batch, *frame) where an input's frames have several axes.
        out : array, optional
            Where to write the output; must have its exact shape and dtype and be C-contiguous.

        Returns
        -------
        array, or a tuple of arrays when the model has several outputs
            (O,) or (batch, O) in the model's dtype; `out` when given.

        Raises
        ------
        ValueError, TypeError
            When an argument does not fit; the state is then untouched.
        RuntimeError
            When another call is running on this stream.
        """
        self.claim()
        try:
            if self.plan.n_windows:
                self.clocks.check_stepwise()
            if self.arguments.single and fits(self.arguments, self.arguments.in_value, x, False):
                return self.forward(x, 1, out, False, NULL, 0, 0)
            if self.arguments.single and self.arguments.takes(x):
                return self.forward(self.arguments.own_frame, 1, out, False, NULL, 0, 0)
            if type(x) is tuple and len(x) == len(self.plan.inputs) and self.arguments.all_fit(x):
                return self.forward(x, 1, out, False, NULL, 0, 0)
            return self.forward(self.converted(x, False), 1, out, False, NULL, 0, 0)
        finally:
            self.release()

    def process(self, x, out=None):
        """Run a chunk of any length: as many steps at once, with the same bits.

        Parameters
        ----------
        x : (T, I) or (batch, T, I) array; ids: (T,) or (batch, T)
            Of a model with several inputs a tuple of them or a mapping of input name to array.
        out : array, optional
            Where to write the output.

        Returns
        -------
        array, or a tuple of arrays when the model has several outputs
            (T, O) or (batch, T, O); (O,) or (batch, O) where the model returns its last step.

        Raises
        ------
        ValueError, TypeError
            When an argument does not fit; the state is then untouched.
        RuntimeError
            When another call is running on this stream.
        KeyboardInterrupt
            On Ctrl-C. A call that takes 50 ms or more is ended, the stream is then as it was before it, and `out` may
            hold anything. A shorter one comes to its end first: the stream has moved on, and its output is lost
            where `out` does not hold it.
        """
        cdef idx steps
        self.claim()
        try:
            steps = fits(self.arguments, self.arguments.in_value, x, True) if self.arguments.single else 0
            if steps:
                return self.forward(x, steps, out, True, NULL, 0, 0)
            arrays = self.converted(x, True)
            return self.forward(arrays, self.arguments.steps_of(arrays), out, True, NULL, 0, 0)
        finally:
            self.release()

    def flush(self):
        """End the sequence and return the steps that layers which look ahead still owe, as `process` would.

        The stream then is as new. A model of layers that look at past steps alone owes nothing: no steps. Inputs
        without time are those of the last call.

        Returns
        -------
        array, or a tuple of arrays when the model has several outputs
        """
        self.claim()
        try:
            lead = () if self.batch is None else (self.buffers.B,)
            still = self.buffers.still
            empty = tuple([
                still[v] if v in still else np.zeros((*lead, 0, *self.plan.shapes[v]), self.plan.dtype)
                for v in self.plan.inputs
            ])
            result = self.forward(empty, 0, None, True, NULL, 0, 0, True, True)
            self.carried.initialise()
            return result
        finally:
            self.release()

    cdef tuple converted(self, x, bint chunk):
        """The inputs of a call as arrays of the engine's types."""
        own = None if self.model is None else self.model._signature.lengths
        if own is not None:
            self.refuse_lengths(x, own)
        return self.arguments.converted(x, chunk, "x", chunk)

    cdef int refuse_lengths(self, x, str own) except -1:
        """Raise where a stream is given the lengths that a call of its model takes beside the inputs."""
        cdef int count = len(self.plan.inputs)
        if isinstance(x, tuple):
            given = len(x) == count + 1 and np.ndim(x[count]) < np.ndim(x[0])
        else:
            given = isinstance(x, Mapping) and own in x
        if given:
            raise ValueError(
                f"x must come without lengths ({own!r}) in a stream, whose rows have no end of their own: read the "
                "outputs of a row up to its last step, and begin another sequence in it with reset(rows)"
            )
        return 0

    def _convert(self, x, bint chunk, str name="x"):
        """Return the inputs as a tuple of C-contiguous arrays of the engine's types, or raise an error that names what
        is wrong of `name`. For `Model.__call__` and `Model.predict`."""
        return self.arguments.converted(x, chunk, name)

    cdef forward(self, inputs, idx T, out, bint chunk, const uint8_t *mask, idx mask_t, idx mask_b,
                 bint ends=False, bint rest=False):
        """Check or make the outputs, then run T steps in blocks; `ends` closes the sequence, `rest` gives what lies
        behind its end, too. The state is as it was when this raises."""
        cdef Plan plan = self.plan
        cdef list arrays = None
        cdef cnp.ndarray x, y = None
        if self.clocks.steps > MOST_STEPS - T:
            raise ValueError("stream must be reset: it counts at most 2**59 steps")
        cdef int i
        self.clocks.due[0] = T
        if plan.bases > 1:
            self.clocks.count_inputs(inputs, T, chunk)
        if plan.n_windows:
            self.clocks.count_due(ends, rest)
        if plan.picks and ends and T:
            self.clocks.check_picked()
        if self.arguments.several:
            arrays = self.arguments.all_outputs(out, chunk)
            for i in range(len(arrays)):
                place(self.arguments, plan.outputs[i], <cnp.ndarray>arrays[i])
        else:
            y = output(self.arguments, self.arguments.out_value, out, chunk, "out")
            place(self.arguments, self.arguments.out_value, y)
        if type(inputs) is tuple:
            for i in range(len(plan.inputs)):
                x = inputs[i] if out is None else self.arguments.beside(inputs[i], y, arrays)
                place(self.arguments, plan.inputs[i], x)
        else:
            x = inputs if out is None else self.arguments.beside(inputs, y, arrays)
            place(self.arguments, self.arguments.in_value, x)
        self.buffers.run.ends, self.buffers.run.rest = ends, rest
        self.buffers.run.mask, self.buffers.run.mask_t, self.buffers.run.mask_b = mask, mask_t, mask_b
        for i in range(plan.clocks):
            self.buffers.run.done[i] = 0
        if mask != NULL and plan.n_windows:
            self.clocks.check_masked(T)
        result = tuple(arrays) if self.arguments.several else y
        self.run_all(T)
        if out is not None and self.arguments.copies:
            self.arguments.copies.clear()
        if plan.typed:
            try:
                result = self.arguments.typed(arrays if self.arguments.several else [y])
            except BaseException:  # out of memory
                self.buffers.restore()
                raise
        if plan.n_windows:
            self.clocks.count_steps(T, ends)
        if type(inputs) is tuple and not ends and len(self.buffers.still) > 0:
            for v, array in zip(plan.inputs, inputs):
                if v in self.buffers.still:
                    self.buffers.still[v][...] = array
        return result

    cdef int run_all(self, idx T) except -1:
        """Run the instructions over T steps; restore the state where they can't come to their end."""
        cdef Plan plan = self.plan
        cdef int threads = default_threads if self.threads is None else self.threads
        cdef idx work = fg_times(plan.work, fg_times(T, self.buffers.B))
        cdef bint watched = work >= WATCH_WORK, saved = watched or plan.looks_up or plan.typed
        cdef Watch watch
        if saved:
            self.buffers.save()
        if watched:
            watch.stop, watch.next = 0, now() + WATCH_NS
            watch.signals, watch.caller = check_signals, <void *>self.raised
            self.buffers.run.watch, self.buffers.run.listens = &watch, PyThread_get_thread_ident() == main_thread
        try:
            if threads > 1 and fg_times(plan.macs, fg_times(T, self.buffers.B)) >= PANEL_MACS:
                self.team.run_threaded(T, threads)
            elif work < RELEASE_WORK:
                run_instructions(&self.buffers.run, T, self.buffers.block)
            else:
                with nogil:
                    run_instructions(&self.buffers.run, T, self.buffers.block)
        finally:
            self.buffers.run.watch = NULL
        if self.buffers.arena.guard:
            self.team.check_guards()
        if watched and watch.stop:
            self.buffers.restore()
            raised, self.raised[0] = self.raised[0], None
            raise raised
        if self.buffers.run.bad_id:
            self.end_refused()
        if self.buffers.run.misfit:
            self.end_misfit(saved)
        return 0

    cdef int end_refused(self) except -1:
        """Raise of a call in which an edit raised, or ids were out of range; the stream is as it was."""
        self.buffers.run.bad_id = 0
        self.buffers.restore()
        self.carried.raise_edit()
        raise ValueError("ids that the model looks up must lie inside their table, got others")

    cdef int end_misfit(self, bint saved) except -1:
        """Raise of a plan whose lines held other steps than it says; the stream is as it was, or as new."""
        node = self.plan.nodes[self.buffers.run.misfit - 1]
        self.buffers.run.misfit = 0
        if saved:
            self.buffers.restore()
        else:
            self.carried.initialise()
            self.buffers.place_rows()
        raise RuntimeError(
            f"plan is not consistent: steps of node {node!r} do not fit, and the stream is "
            f"{'as it was before the call' if saved else 'as new'}; make the plan anew from its model"
        )

    def _run_again(self, x, out, threads):
        """A whole sequence, or one frame where the model has no time, from the initial state; NotImplemented unless `x`
        is an array that is read in place and a stream made for it would be as this one. For `Model.__call__`."""
        cdef int value = self.arguments.in_value
        cdef bint timed = self.plan.values[value].time
        cdef idx steps = fits(self.arguments, value, x, timed) if self.arguments.single else 0
        cdef idx most = steps if self.plan.blockers else min(steps, self.plan.block(self.buffers.B))
        if steps == 0 or most != self.buffers.block:
            return NotImplemented
        if threads is not self.threads and not (type(threads) is int and threads == self.threads):
            return NotImplemented
        self.carried.initialise()
        return self.forward(x, steps, out, timed, NULL, 0, 0, True)

    def _serves(self, batch, Py_ssize_t block, threads):
        """True if a stream made with these arguments would be as this one. For `Model.__call__`."""
        return self.batch == batch and self.buffers.block == block and self.threads == threads

    def _run_converted(self, tuple inputs, Py_ssize_t T, out, mask, bint chunk=True):
        """A whole sequence, or one step where `chunk` is false, of inputs already converted. For `Model.__call__`.

        `mask` (B, T) bool says which steps count; None: all.
        """
        cdef cnp.ndarray m
        if mask is None:
            return self.forward(inputs, T, out, chunk, NULL, 0, 0, True)
        m = np.ascontiguousarray(mask, dtype=np.uint8)
        return self.forward(inputs, T, out, True, <uint8_t *>m.data, 1, T, True)

    @property
    def latency(self):
        """Steps of the input by which the output is late: how far its layers look ahead."""
        return self.plan.latency

    @property
    def state(self):
        """A copy of the state: ``"<layer>.<h or c>"`` to an array (H,) or (batch, H).

        Layers that look at several steps have ``"<layer>.history"``, the steps that they keep, and
        ``"<layer>.held"``, how many of those there are: the same for all rows. Overlap-adds have ``"<layer>.sums"``,
        the steps not yet complete, and in ``"<layer>.held"`` 1 once they gave any, or minus the steps still to be cut.
        A model with such layers also has ``"steps"``: how many steps the inputs had since the stream was new, from
        which every ``held`` follows; -1 once the sequence has ended. Inputs without time are ``"<input>.last"`` there,
        as the last call had them: what is given when the sequence ends needs them.

        Setting it copies the arrays. A state that does not fit is refused with a ValueError (a TypeError if it is no
        mapping) that lists everything found, and the stream stays as it was.
        """
        self.claim()
        try:
            return self.carried.get()
        finally:
            self.release()

    @state.setter
    def state(self, given):
        self.claim()
        try:
            self.carried.set(given)
        finally:
            self.release()

    def reset(self, rows=None):
        """Return to the initial state: all rows, or those of a list of indices or a boolean mask (batch,)."""
        self.claim()
        try:
            self.carried.reset_rows(rows)
        finally:
            self.release()

    def copy(self):
        """A second stream in the same state, independent from here on."""
        cdef Stream twin = make_stream(
            self.plan, self.batch, model=self.model, block=self.buffers.block, threads=self.threads)
        self.claim()
        try:
            twin._follow(self)
        finally:
            self.release()
        return twin

    def trace(self, x, points="*", *, steps=None):
        """Run a step or a chunk as `step` and `process` do, and return the output and the `Trace` of it.

        `points` and `steps` are as for `Model.trace`; arrays of the trace have an axis of time for a chunk alone.
        """
        from ..inspect import tracing
        return tracing.trace_stream(self, x, points, steps)

    def edit(self, name, change):
        """Change a state or a gate at every step of calls inside of ``with stream.edit("gru.h", change):``.

        `fastgru.inspect.edit` says what can be changed, and when it takes effect.
        """
        from ..inspect import editing
        return editing.edit(self, name, change)

    def _follow(self, Stream other not None):
        """Take over the state of a stream of another plan of the same model."""
        if self.plan.states == other.plan.states and self.buffers.alike(other.buffers):
            self.buffers.copy_state(other.buffers)
            self.clocks.steps = other.clocks.steps
        else:
            self.carried.set(other.carried.get())

    def take(self, rows):
        """A stream of rows (n,) of this one: its row i goes on from row ``rows[i]``, which may occur several times."""
        numbers = self.carried.numbered(rows)
        cdef Stream taken = make_stream(self.plan, len(numbers), model=self.model, threads=self.threads)
        taken._adopt(self, numbers, np.arange(len(numbers)), True)
        return taken

    def reorder(self, rows):
        """Let row i go on from row ``rows[i]``, of (batch,) rows. Those that stay in place are not copied."""
        self.claim()
        try:
            numbers = self.carried.numbered(rows)
            if len(numbers) != self.buffers.B:
                raise ValueError(f"rows must be {self.buffers.B}, one for each row of the stream, got {len(numbers)}")
            self.carried.reorder(numbers)
        finally:
            self.release()

    def _adopt(self, Stream source not None, sources, targets, bint whole):
        """Let rows of this stream, which nobody else has, go on from rows of another one of the plan. False where lines
        hold other numbers of steps; the `whole` stream takes over those, too."""
        source.claim()
        try:
            if not whole and not self.carried.holds_like(source.carried):
                return False
            numbers = [np.ascontiguousarray(rows, np.intp) for rows in (sources, targets)]
            self.carried.adopt(source.carried, numbers[0], numbers[1], whole)
            return True
        finally:
            source.release()

    __copy__ = copy

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        if self.model is None:
            raise TypeError("stream must come from Model.stream to be pickled")
        return _restore, (self.model, self.batch, self.state, self.threads)

    def __sizeof__(self):
        """Bytes of the stream with its buffers, without what threads add."""
        return object.__sizeof__(self) + self.buffers.bytes

    def __repr__(self):
        return f"<fastgru.Stream batch={self.batch} isa={self.plan.isa} dtype={self.plan.dtype}>"


def make_stream(plan, batch=None, *, model=None, block=0, threads=None):
    """Make a stream of a plan; for `Model.stream`, which checks the arguments.

    Parameters
    ----------
    batch, model, threads
        As the attributes of `Stream`.
    block : int
        Steps that run at once; the plan's choice for 0.
    """
    return Stream(plan, batch, model, block, threads)


def _restore(model, batch, state, threads):
    """Unpickle: the model's stream with the state it had."""
    stream = model.stream(batch, threads=threads)
    stream.state = state
    return stream
