# Stream: recurrent state, scratch and the checks on what a caller gives.

cdef bint is_mapping(x) except -1:
    """True of a dict or any other mapping; the abstract class is asked last, which takes the longest."""
    return isinstance(x, dict) or (not isinstance(x, (cnp.ndarray, tuple, list)) and isinstance(x, Mapping))


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

    cdef Plan plan
    cdef readonly object batch, model
    cdef idx block
    cdef idx bytes             # of its memory, without what threads add
    cdef str largest           # the node that needs most of them, where they are only measured
    cdef idx B
    cdef Layout layout
    cdef Arena arena
    cdef Recurrence *recurrences
    cdef fg_rows *rows
    cdef Run run
    cdef Window *windows
    cdef idx[32] due           # steps of each clock in a call
    cdef Part *parts           # of a call on several threads
    cdef int n_parts
    cdef fg_rows *second       # values of odd blocks, when layers run side by side
    cdef Arena second_arena
    cdef idx *slot_bytes       # of the memory that values share
    cdef char **slot_data
    cdef idx *counts           # of windows, for `counts_at`
    cdef char *saved           # the state before a call that may not come to its end
    cdef readonly object threads
    cdef int busy              # 1: a call uses the stream
    cdef idx steps             # of the inputs since the beginning; ENDED: the sequence has ended
    cdef int in_value, out_value   # the first input and output
    cdef bint several, single      # outputs; whether there is one input
    cdef list copies               # of inputs that an output overlaps
    cdef list raised               # what a handler of a signal raised during a call
    cdef dict still                # the inputs without time of the last call, for `flush`: zeros before one
    cdef cnp.ndarray own_frame     # of a step: the one input where it was converted, (*frame) or (B, *frame)

    def __cinit__(self, *fields, **named):
        if named or len(fields) != STREAM_FIELDS or type(fields[0]) is not Plan:
            raise TypeError("a stream is made by model.stream(), or model.stream(batch=n) for several rows")
        cdef Plan plan = fields[0]
        cdef bint measure
        _, batch, self.model, self.block, self.threads, measure = fields
        self.plan, self.batch = plan, batch
        self.B = 1 if batch is None else batch
        block, self.block = self.block, self.block if self.block > 0 else plan.block(self.B)
        self.copies, self.raised, self.still = [], [None], {}
        self.recurrences = <Recurrence *>allocate(plan.n_recurrences, sizeof(Recurrence))
        self.rows = <fg_rows *>allocate(plan.n_values, sizeof(fg_rows))
        self.windows = <Window *>allocate(plan.n_windows, sizeof(Window))
        self.counts = <idx *>allocate(plan.n_windows, sizeof(idx))
        self.slot_bytes = <idx *>allocate(plan.n_slots, sizeof(idx))
        self.slot_data = <char **>allocate(plan.n_slots, sizeof(char *))
        self.describe()
        self.measure()
        if measure:
            self.find_largest()
            return
        if self.bytes + plan.bytes > memory.get_memory_limit():
            self.find_largest()
            rows = "of one row" if batch is None else f"of {batch} rows"
            steps = "" if block <= 0 else f" and {block} steps"
            memory.check(self.bytes + plan.bytes, f"a stream {rows}{steps}", self.largest)
        self.place_all()
        self.in_value = plan.inputs[0]
        self.out_value, self.several, self.single = plan.outputs[0], len(plan.outputs) > 1, len(plan.inputs) == 1
        lead = () if batch is None else (self.B,)
        ids = plan.values[self.in_value].size == 0
        self.own_frame = np.zeros(lead + plan.shapes[self.in_value], np.int64 if ids else plan.dtype)
        for v in plan.inputs:
            if not plan.sizes[v][1]:
                self.still[v] = np.zeros(lead + plan.shapes[v], plan.dtype if plan.sizes[v][0] else np.int64)
        self.run.kernels, self.run.narrow = plan.kernels, plan.narrow
        self.run.gemm = NULL
        if plan.blas != NULL:
            self.run.gemm = plan.blas.f32 if plan.dtype == "float32" else plan.blas.f64
        self.run.values, self.run.rows, self.run.recurrences = plan.values, self.rows, self.recurrences
        self.run.B = self.B
        self.run.instructions, self.run.n_instructions = plan.instructions, plan.n_instructions
        self.run.n_values, self.run.arena, self.run.arena_bytes = plan.n_values, self.arena.base, self.arena.at
        self.run.part, self.run.parts, self.run.bad_id, self.run.watch = 0, 1, 0, NULL
        self.run.loop_begin, self.run.loop_end, self.run.n_loops = plan.loop_begin, plan.loop_end, plan.n_loops
        self.run.mixed = plan.framed or plan.bases > 1
        self.run.loop_moved, self.run.moved = plan.loop_moved, plan.moved
        self.run.loop_clock, self.run.windows, self.run.clocks = plan.loop_clock, self.windows, plan.clocks
        self.run.due, self.run.bases = self.due, plan.bases
        self.initialise()

    def __dealloc__(self):
        self.free_parts()
        free_arena(&self.second_arena)
        PyMem_Free(self.second)
        free(self.saved)
        free_arena(&self.arena)
        PyMem_Free(self.slot_bytes)
        PyMem_Free(self.slot_data)
        PyMem_Free(self.counts)
        PyMem_Free(self.windows)
        PyMem_Free(self.recurrences)
        PyMem_Free(self.rows)

    cdef void describe(self) noexcept:
        """Say what is to be laid out."""
        cdef Layout *to = &self.layout
        cdef Plan plan = self.plan
        to.instructions, to.n_instructions, to.values, to.n_values = (
            plan.instructions, plan.n_instructions, plan.values, plan.n_values)
        to.n_slots, to.n_recurrences, to.n_windows = plan.n_slots, plan.n_recurrences, plan.n_windows
        to.n_bases = plan.bases
        to.item, to.lanes, to.narrow, to.unfused = plan.kernels.item, plan.kernels.lanes, plan.scratch, plan.unfused
        to.apart, to.B, to.block = GUARDED, self.B, self.block
        to.rows, to.recurrences, to.windows = self.rows, self.recurrences, self.windows
        to.slot_bytes, to.slot_data = self.slot_bytes, self.slot_data

    cdef void measure(self) noexcept:
        """Count the bytes of the stream."""
        cdef Arena arena = empty_arena()
        lay_out(&self.layout, &arena)
        lay_out_scratch(&self.layout, &arena, &self.run)
        self.bytes = arena.at

    cdef int find_largest(self) except -1:
        """Find the node whose buffer is the largest."""
        cdef Arena arena = empty_arena()
        cdef int mark
        arena.marks = <Mark *>allocate(most_marks(&self.layout), sizeof(Mark))
        lay_out(&self.layout, &arena)
        mark = largest_mark(&arena)
        self.largest = None if mark < 0 else self.plan.nodes[arena.marks[mark].node]
        PyMem_Free(arena.marks)
        return 0

    cdef int place_all(self) except -1:
        """Allocate the memory of the stream and place every buffer in it."""
        self.arena = empty_arena()
        fill_arena(&self.arena, self.bytes, most_marks(&self.layout))
        lay_out(&self.layout, &self.arena)
        lay_out_scratch(&self.layout, &self.arena, &self.run)
        return 0

    cdef int check_guards(self) except -1:
        """Raise SystemError if a guard byte of the arenas was written."""
        cdef int i
        self.check_arena(&self.arena)
        for i in range(self.n_parts):
            self.check_arena(&self.parts[i].arena)
        return 0

    cdef int check_arena(self, const Arena *arena) except -1:
        cdef int mark = overwritten(arena)
        if mark >= 0:
            owner = arena.marks[mark].node
            owner = "scratch" if owner == NO_NODE else f"node {self.plan.nodes[owner]!r}"
            raise SystemError(
                f"buffer {mark} of {arena.count} ({owner}, {arena.marks[mark].bytes} bytes) was written behind its end"
            )
        return 0

    cdef void initialise(self) noexcept:
        cdef idx b
        cdef int i
        cdef const Instruction *ins
        self.steps = 0
        for array in self.still.values():
            array.fill(0)
        for b in range(self.B):
            self.initialise_row(b)
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op == OVERLAP_ADD:
                self.windows[ins.frame.window].held, self.windows[ins.frame.window].drop = 0, ins.frame.before

    cdef void initialise_row(self, idx b) noexcept:
        """Row b's state as a fresh stream has it."""
        cdef int i
        cdef const Instruction *ins
        cdef Recurrence *r
        cdef idx item = self.plan.kernels.item
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if is_line(ins):
                self.begin_window(ins, b)
            if ins.op != RECURRENT:
                continue
            r = &self.recurrences[ins.state]
            fill(r.h[r.now] + b * ins.features_padded * item, ins.initial_h, ins.features * item)
            fill(r.c + b * ins.units_padded * item, ins.initial_c, ins.units * item)
            memset(r.last + b * ins.features * item, 0, ins.features * item)
        for i in range(self.plan.n_values):
            if self.plan.values[i].state:
                fill(row(&self.rows[i], item, 0, b), self.plan.values[i].initial, self.plan.values[i].size * item)

    cdef void begin_window(self, const Instruction *ins, idx b) noexcept:
        """A line as it is before the first step: the steps in front of the sequence."""
        cdef const Frame *frame = ins.frame
        cdef Window *w = &self.windows[frame.window]
        cdef idx item = self.plan.kernels.item
        if ins.op == OVERLAP_ADD:
            memset(w.line + b * w.capacity * ins.size * item, 0, w.capacity * ins.size * item)
            return
        if ins.op == MIRROR:
            w.held, w.drop = 0, 0
            return
        w.held, w.drop = max(0, frame.before), max(0, -frame.before)
        fill_steps(ins, &self.run, w.line + b * w.capacity * ins.size * item, w.held)

    # Running -------------------------------------------------------------------------------------

    cdef int claim(self) except -1:
        """Take the stream for a call, which ends with `release`."""
        if not fg_claim(&self.busy):
            raise RuntimeError("stream is in use: it can serve one call at a time, and another one is running")
        return 0

    cdef void release(self) noexcept:
        fg_publish(&self.busy, 0)

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
                self.check_stepwise()
            if self.single and self.fits(self.in_value, x, False):
                return self.forward(x, 1, out, False, NULL, 0, 0)
            if self.single and self.takes(x):
                return self.forward(self.own_frame, 1, out, False, NULL, 0, 0)
            if type(x) is tuple and len(x) == len(self.plan.inputs) and self.all_fit(x):
                return self.forward(x, 1, out, False, NULL, 0, 0)
            return self.forward(self.converted(x, False, "x"), 1, out, False, NULL, 0, 0)
        finally:
            self.release()

    cdef int check_stepwise(self) except -1:
        """Raise unless the next step gives one step of every output."""
        self.count_inputs(None, 1, False)
        self.count_due(False, False)
        for value in self.plan.outputs:
            if self.plan.values[<int>value].time and self.due[self.plan.values[<int>value].clock] != 1:
                got = self.due[self.plan.values[<int>value].clock]
                raise ValueError(
                    f"step must give one step of output {self.plan.names[value]!r}, got {got} due now; "
                    "use process, which gives as many as are due"
                )
        return 0

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
            steps = self.fits(self.in_value, x, True) if self.single else 0
            if steps:
                return self.forward(x, steps, out, True, NULL, 0, 0)
            arrays = self.converted(x, True, "x", together=True)
            return self.forward(arrays, self.steps_of(arrays), out, True, NULL, 0, 0)
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
            shape = (() if self.batch is None else (self.B,))
            empty = tuple([
                self.still[v] if v in self.still else np.zeros((*shape, 0, *self.plan.shapes[v]), self.plan.dtype)
                for v in self.plan.inputs
            ])
            result = self.forward(empty, 0, None, True, NULL, 0, 0, True, True)
            self.initialise()
            return result
        finally:
            self.release()

    cdef int count_inputs(self, inputs, idx T, bint chunk) except -1:
        """The steps of every base in this call: T, or as many as its inputs have where these differ."""
        cdef int i
        cdef const Value *v
        for i in range(self.plan.bases):
            self.due[i] = T
        if self.plan.bases > 1 and chunk:
            for i in range(len(self.plan.inputs)):
                v = &self.plan.values[<int>self.plan.inputs[i]]
                if v.time:
                    self.due[v.clock] = cnp.PyArray_DIM(<cnp.ndarray>inputs[i], 0 if self.batch is None else 1)
        return 0

    cdef int count_due(self, bint ends, bint rest) except -1:
        """The steps that each clock counts in this call."""
        cdef int i, clock
        cdef idx kept
        cdef const Instruction *ins
        cdef const Frame *frame
        cdef const Window *w
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ends and ins.frame != NULL and ins.frame.some_steps and self.due[ins.clock] == 0:
                raise ValueError(f"sequence to fold by node {self.plan.nodes[ins.node]!r} must have at least one step, "
                                 "got none: give a longer one")
            if not is_line(ins):
                continue
            frame, clock = ins.frame, self.plan.values[ins.output].clock
            w = &self.windows[frame.window]
            if ins.op == OVERLAP_ADD:
                self.due[clock] = overlaps_due(frame, w, self.due[ins.clock], ends, rest)
                continue
            kept = fg_plus(held_before(w), self.due[ins.clock])
            if ins.op == MIRROR:
                if ends and 0 < kept < frame.reach:
                    raise ValueError(f"sequence to pad by node {self.node_of(frame.window)!r} must have at least "
                                     f"{frame.reach} steps, got {kept}")
                self.due[clock] = mirror_due(frame, w, self.due[ins.clock], ends)
                continue
            if ins.op == WINDOW:
                kept = sliced_steps(frame, self.due[ins.clock]) if frame.sliced else kept
                self.due[clock] = windows_due(frame, max(0, fg_plus(kept, frame.after if ends else 0)))
                continue
            if frame.n_meeting:
                self.due[clock] = meeting_due(frame, self.windows, self.due)
            if ends and kept != self.due[clock] and not (rest and self.plan.loose):
                raise ValueError(self.wrong_meeting(frame.window, kept - self.due[clock]))
        return 0

    cdef str node_of(self, int window):
        """The name of the node that keeps these steps."""
        keys = [key for key, number, name, _ in self.plan.states if (number, name) == (window, "history")]
        return keys[0].removesuffix(".history")

    cdef str wrong_meeting(self, int window, idx steps):
        """What to say where a value that waits for another has more or fewer steps than that at the end."""
        more = "more" if steps > 0 else "fewer"
        return (f"inputs of node {self.node_of(window)!r} must have one number of steps, "
                f"got {abs(steps)} {more} of one than of the other: give a sequence of another length")

    cdef idx fits(self, int value, x, bint chunk) noexcept:
        """The steps of an array that can be read in place as an input: 1, or as many as a chunk has; 0 of any other
        object."""
        cdef const Value *v = &self.plan.values[value]
        cdef int i, lead = 0 if self.batch is None else 1
        cdef idx steps = 1
        if (not cnp.PyArray_CheckExact(x) or cnp.PyArray_TYPE(x) != (self.plan.typenum if v.size else cnp.NPY_INT64)
                or not cnp.PyArray_ISCARRAY_RO(x)):
            return 0
        if lead and cnp.PyArray_NDIM(x) and cnp.PyArray_DIM(x, 0) != self.B:
            return 0
        if chunk and v.time:
            if cnp.PyArray_NDIM(x) > lead:
                steps = cnp.PyArray_DIM(x, lead)
            lead += 1
        if cnp.PyArray_NDIM(x) != v.rank + lead:
            return 0
        for i in range(v.rank):
            if cnp.PyArray_DIM(x, i + lead) != v.dims[i]:
                return 0
        if v.size == 0 and outside(<int64_t *>cnp.PyArray_DATA(x), self.B * steps, v.bound) >= 0:
            return 0
        return steps

    cdef bint takes(self, x) except -1:
        """True if an object is an id inside the table, or an array of numbers of the frame's shape: it then lies in
        `own_frame`. About five times faster than the generic conversion."""
        cdef idx i
        cdef int number
        if type(x) is int or type(x) is np.int64:
            if self.batch is not None or self.plan.values[self.in_value].size:
                return False
            try:
                (<int64_t *>self.own_frame.data)[0] = x
            except OverflowError:
                return False
            return outside(<int64_t *>self.own_frame.data, 1, self.plan.values[self.in_value].bound) < 0
        if (not cnp.PyArray_CheckExact(x) or self.plan.values[self.in_value].size == 0
                or cnp.PyArray_NDIM(x) != cnp.PyArray_NDIM(self.own_frame)):
            return False
        for i in range(cnp.PyArray_NDIM(x)):
            if cnp.PyArray_DIM(x, i) != cnp.PyArray_DIM(self.own_frame, i):
                return False
        number = cnp.PyArray_TYPE(x)
        if number == cnp.NPY_DOUBLE and self.plan.typenum == cnp.NPY_FLOAT and cnp.PyArray_ISCARRAY_RO(x):
            for i in range(cnp.PyArray_SIZE(x)):  # NumPy would warn of a number beyond float32
                (<float *>cnp.PyArray_DATA(self.own_frame))[i] = <float>(<double *>cnp.PyArray_DATA(x))[i]
            return True
        if not (number == cnp.NPY_FLOAT16 or number == cnp.NPY_FLOAT or cnp.PyTypeNum_ISINTEGER(number)
                or cnp.PyTypeNum_ISBOOL(number)):
            return False
        cnp.PyArray_CopyInto(self.own_frame, x)
        return True

    cdef bint all_fit(self, tuple frames) noexcept:
        cdef int i
        for i in range(len(frames)):
            if not self.fits(self.plan.inputs[i], frames[i], False):
                return False
        return True

    def _convert(self, x, bint chunk, str name="x"):
        """Return the inputs as a tuple of C-contiguous arrays of the engine's types, or raise an error that names what
        is wrong of `name`. For `Model.__call__` and `Model.predict`."""
        return self.converted(x, chunk, name)

    cdef tuple converted(self, x, bint chunk, str title, bint together=False):
        """The inputs as arrays of the engine's types; `title` is what the user calls them. Those of one base must have
        one number of steps, or all where they go `together`, as in a stream."""
        names = [self.plan.names[v] for v in self.plan.inputs]
        given = [x]
        if is_mapping(x):
            if set(x) != set(names):
                raise ValueError(f"{title} must have the inputs {names}, got {list(x)}")
            given = [x[name] for name in names]
        elif len(names) > 1:
            if not isinstance(x, (tuple, list)) or len(x) != len(names):
                got = f"{len(x)}" if isinstance(x, (tuple, list)) else type(x).__name__
                raise ValueError(f"{title} must be a tuple or a mapping of the {len(names)} inputs {names}, got {got}")
            given = x
        arrays = tuple([
            self.converted_input(v, array, chunk, title if len(names) == 1 else f"{title}[{name!r}]")
            for v, name, array in zip(self.plan.inputs, names, given)
        ])
        if chunk and len(arrays) > 1:
            self.check_steps(names, arrays, title, together)
        return arrays

    cdef int check_steps(self, list names, tuple arrays, str title, bint together) except -1:
        """Raise where inputs that must have one number of steps have several."""
        axis = 0 if self.batch is None else 1
        found = {}  # of each base
        for name, array, v in zip(names, arrays, self.plan.inputs):
            if self.plan.sizes[v][1]:
                base = 0 if together else self.plan.values[<int>v].clock
                found.setdefault(base, {})[name] = array.shape[axis]
        for steps in found.values():
            if len(set(steps.values())) > 1:
                of = "" if title == "x" else f" of {title}"
                which = "" if len(steps) == len(self.plan.inputs) else f" {', '.join(steps)}"
                raise ValueError(f"inputs{which}{of} must have the same number of steps, got {steps}")
        return 0

    cdef converted_input(self, int value, x, bint chunk, str name):
        """One input, converted."""
        cdef bint ids = self.plan.values[value].size == 0
        array = as_array(x, name)
        shape = (() if self.batch is None else (self.B,)) + (("T",) if chunk and self.plan.values[value].time else ())
        shape += () if ids else self.plan.shapes[value]
        fits = array.ndim == len(shape) and all(e == "T" or e == a for e, a in zip(shape, array.shape))
        if not fits:
            expected = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
            raise ValueError(f"{name} must have shape {expected}, got {array.shape}")
        if array.size == 0:
            raise ValueError(f"{name} must have at least one step, got shape {array.shape}")
        if ids:
            if array.dtype.kind not in "iu":
                raise TypeError(f"{name} must be integer ids, got {array.dtype}")
            numbers = np.ascontiguousarray(array, dtype=np.int64)  # ids beyond int64 become negative
            bound = self.plan.values[value].bound
            wrong = outside(<int64_t *>cnp.PyArray_DATA(numbers), numbers.size, bound)
            if wrong >= 0:
                raise ValueError(f"{name} must have ids in 0..{bound - 1}, got {array.flat[wrong]}")
            return numbers
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must be real numbers, got {array.dtype}")
        with np.errstate(over="ignore"):  # a number beyond float32 is infinite there
            return np.ascontiguousarray(array, dtype=self.plan.dtype)

    cdef idx steps_of(self, tuple arrays):
        """T of converted inputs: the most that one of them has."""
        axis = 0 if self.batch is None else 1
        return max([a.shape[axis] for a, v in zip(arrays, self.plan.inputs) if self.plan.sizes[v][1]], default=1)

    cdef forward(self, inputs, idx T, out, bint chunk, const uint8_t *mask, idx mask_t, idx mask_b,
                 bint ends=False, bint rest=False):
        """Check or make the outputs, then run T steps in blocks; `ends` closes the sequence, `rest` gives what lies
        behind its end, too. The state is as it was when this raises."""
        cdef Plan plan = self.plan
        cdef list arrays = None
        cdef cnp.ndarray y = None
        if self.steps > MOST_STEPS - T:
            raise ValueError("stream must be reset: it counts at most 2**59 steps")
        cdef int i
        self.due[0] = T
        if plan.bases > 1:
            self.count_inputs(inputs, T, chunk)
        if plan.n_windows:
            self.count_due(ends, rest)
        if plan.picks and ends and T:
            self.check_picked()
        if self.several:
            arrays = self.all_outputs(out, chunk)
            for i in range(len(arrays)):
                self.place_output(plan.outputs[i], <cnp.ndarray>arrays[i])
        else:
            y = self.output(self.out_value, out, chunk, "out")
            self.place_output(self.out_value, y)
        if type(inputs) is tuple:
            for i in range(len(plan.inputs)):
                self.place_input(plan.inputs[i], inputs[i], out is not None, y, arrays)
        else:
            self.place_input(self.in_value, inputs, out is not None, y, arrays)
        self.run.ends, self.run.rest = ends, rest
        self.run.mask, self.run.mask_t, self.run.mask_b = mask, mask_t, mask_b
        memset(self.run.done, 0, plan.clocks * sizeof(idx))
        if mask != NULL and plan.n_windows:
            self.check_masked(T)
        result = tuple(arrays) if self.several else y
        self.run_all(T)
        if out is not None and self.copies:
            self.copies.clear()
        if plan.typed:
            try:
                result = self.typed(arrays if self.several else [y])
            except BaseException:  # out of memory
                self.restore()
                raise
        self.count_steps(T, ends)
        if type(inputs) is tuple and not ends and len(self.still) > 0:
            for v, array in zip(plan.inputs, inputs):
                if v in self.still:
                    self.still[v][...] = array
        return result

    cdef int check_picked(self) except -1:
        """Raise where a whole sequence has too few steps for one that is taken from it."""
        cdef const Instruction *ins
        cdef int i
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op == TIME_STEP and self.due[ins.clock] < ins.frame.fewest:
                raise ValueError(
                    f"sequence of which node {self.plan.nodes[ins.node]!r} takes a step must have at least "
                    f"{ins.frame.fewest}, got {self.due[ins.clock]}: give a longer one"
                )
        return 0

    cdef int check_masked(self, idx T) except -1:
        """Raise where a mask of T steps would meet a layer that runs over another number of steps."""
        cdef const Instruction *ins
        cdef int i
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if (ins.op == RECURRENT or ins.op == STORE or ins.op == TIME_STEP) and self.due[ins.clock] != T:
                raise ValueError(
                    f"lengths and mask must be omitted when a layer has another number of steps than the input: "
                    f"{self.plan.nodes[ins.node]!r} has {self.due[ins.clock]}, x has {T}; "
                    "call the model with rows of one length"
                )
        return 0

    cdef int run_all(self, idx T) except -1:
        """Run the instructions over T steps; restore the state where they can't come to their end."""
        cdef Plan plan = self.plan
        cdef int threads = default_threads if self.threads is None else self.threads
        cdef idx work = fg_times(plan.work, fg_times(T, self.B))
        cdef bint watched = work >= WATCH_WORK
        cdef Watch watch
        if watched or plan.looks_up or plan.typed:
            self.save()
        if watched:
            watch.stop, watch.next = 0, fg_now() + WATCH_NS
            watch.signals, watch.caller = check_signals, <void *>self.raised
            self.run.watch, self.run.listens = &watch, PyThread_get_thread_ident() == main_thread
        try:
            if threads > 1 and fg_times(plan.macs, fg_times(T, self.B)) >= PANEL_MACS:
                self.run_threaded(T, threads)
            elif work < RELEASE_WORK:
                run_instructions(&self.run, T, self.block)
            else:
                with nogil:
                    run_instructions(&self.run, T, self.block)
        finally:
            self.run.watch = NULL
        if GUARDED:
            self.check_guards()
        if watched and watch.stop:
            self.restore()
            raised, self.raised[0] = self.raised[0], None
            raise raised
        if self.run.bad_id:
            self.run.bad_id = 0
            self.restore()
            raise ValueError("ids that the model looks up must lie inside their table, got others")
        return 0

    cdef idx state_bytes(self) noexcept:
        """Bytes of what `save` keeps."""
        return (self.layout.state_bytes + self.plan.n_recurrences * sizeof(Recurrence)
                + self.plan.n_windows * sizeof(Window))

    cdef int save(self) except -1:
        """Keep the state, for `restore`."""
        cdef char *to
        if self.saved == NULL:
            self.saved = <char *>calloc(1, max(1, self.state_bytes()))
            if self.saved == NULL:
                raise MemoryError(f"{self.state_bytes()} bytes to keep the state of a stream could not be allocated")
        to = self.saved
        memcpy(to, self.arena.base, self.layout.state_bytes)
        to += self.layout.state_bytes
        memcpy(to, self.recurrences, self.plan.n_recurrences * sizeof(Recurrence))
        to += self.plan.n_recurrences * sizeof(Recurrence)
        memcpy(to, self.windows, self.plan.n_windows * sizeof(Window))
        return 0

    cdef void restore(self) noexcept:
        """Return to the state that `save` kept, and every buffer to its place."""
        cdef const char *source = self.saved
        memcpy(self.arena.base, source, self.layout.state_bytes)
        source += self.layout.state_bytes
        memcpy(self.recurrences, source, self.plan.n_recurrences * sizeof(Recurrence))
        source += self.plan.n_recurrences * sizeof(Recurrence)
        memcpy(self.windows, source, self.plan.n_windows * sizeof(Window))
        self.place_rows()

    cdef void place_rows(self) noexcept:
        """Let every value in the arena begin where it was placed: a call that ends early leaves some moved on."""
        cdef Arena arena = self.arena
        arena.at, arena.count = 0, 0
        lay_out(&self.layout, &arena)
        lay_out_scratch(&self.layout, &arena, &self.run)

    cdef void count_steps(self, idx T, bint ends) noexcept:
        """Count the steps of a call that has come to its end."""
        if self.plan.n_windows and self.steps != ENDED:
            self.steps += T
            if ends and self.counts_differ(self.steps):
                self.steps = ENDED

    cdef typed(self, list arrays):
        """The outputs, those of integers and truth values as such."""
        cdef dict dtypes = self.plan.dtypes
        with np.errstate(invalid="ignore"):  # what NaN and infinity become is up to the CPU
            arrays = [y.astype(dtypes[v]) if v in dtypes else y for y, v in zip(arrays, self.plan.outputs)]
        return tuple(arrays) if self.several else arrays[0]

    cdef list all_outputs(self, out, bint chunk):
        """The arrays of a model with several outputs, given or made."""
        cdef Plan plan = self.plan
        if out is not None and (not isinstance(out, (tuple, list)) or len(out) != len(plan.outputs)):
            raise ValueError(f"out must be a tuple of {len(plan.outputs)} arrays, got {type(out).__name__}")
        cdef list arrays = [self.output(v, None if out is None else out[i], chunk, f"out[{i}]")
                            for i, v in enumerate(plan.outputs)]
        cdef int j
        for i in range(len(arrays) if out is not None else 0):
            for j in range(i):
                if overlap(<cnp.ndarray>arrays[i], <cnp.ndarray>arrays[j]):
                    raise ValueError(f"out[{i}] must not share memory with out[{j}], got arrays that overlap")
        return arrays

    cdef void place_output(self, int value, cnp.ndarray y) noexcept:
        cdef fg_rows *rows = &self.rows[value]
        rows.data = y.data
        rows.t_stride = self.plan.values[value].size
        rows.b_stride = rows.t_stride * (self.due[self.plan.values[value].clock] if self.plan.values[value].time else 1)

    cdef int place_input(self, int value, cnp.ndarray x, bint given, cnp.ndarray y, list arrays) except -1:
        """Read an input in place; from a copy, kept by the stream, where an output given lies over it."""
        cdef fg_rows *rows = &self.rows[value]
        if given and (overlap(y, x) if arrays is None else overlaps(arrays, x)):
            x = x.copy()
            self.copies.append(x)
        rows.data = x.data
        rows.t_stride = max(1, self.plan.values[value].size)
        rows.b_stride = rows.t_stride * (self.due[self.plan.values[value].clock] if self.plan.values[value].time else 1)
        return 0

    cdef cnp.ndarray output(self, int value, given, bint chunk, str name):
        cdef cnp.npy_intp[32] dims
        cdef int n = 0, i
        cdef cnp.ndarray y
        if self.batch is not None:
            dims[n] = self.B
            n += 1
        if chunk and self.plan.values[value].time:
            dims[n] = self.due[self.plan.values[value].clock]
            n += 1
        for i in range(self.plan.values[value].rank):
            dims[n] = self.plan.values[value].dims[i]
            n += 1
        if chunk and self.plan.n_windows:
            self.check_output(value)
        if given is None:
            Py_INCREF(self.plan.descr)  # the array takes it over; by type number, NumPy would look it up
            return PyArray_NewFromDescr(cnp.ndarray, self.plan.descr, n, dims, NULL, NULL, 0, None)
        cdef bint fits = isinstance(given, cnp.ndarray) and (type(given) is cnp.ndarray or not is_masked(given))
        if fits:
            y = <cnp.ndarray>given
            fits = (cnp.PyArray_TYPE(y) == self.plan.typenum and cnp.PyArray_ISCARRAY(y) and cnp.PyArray_NDIM(y) == n)
            for i in range(n):
                fits = fits and cnp.PyArray_DIM(y, i) == dims[i]
        if not fits:
            shape = tuple([dims[i] for i in range(n)])
            got = f"{given.dtype} of shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
            raise ValueError(
                f"{name} must be a writable C-contiguous {self.plan.dtype} array of shape {shape}, got {got}"
            )
        return y

    cdef int check_output(self, int value) except -1:
        """Raise where layers that give more steps than they take would give too many."""
        cdef const Value *v = &self.plan.values[value]
        cdef idx size = fg_times(bytes_of(self.due[v.clock], self.B, v.size), self.plan.kernels.item)
        if size > memory.get_memory_limit():
            memory.check(size, f"output {self.plan.names[value]!r} of this call", None)
        return 0

    cdef int run_threaded(self, idx T, int threads) except -1:
        """Rows of the batch apart; else layers side by side; else the panels of large recurrences."""
        cdef Plan plan = self.plan
        cdef Job job
        cdef Tasks tasks
        cdef work_t work = run_part
        cdef int i, error, parts = 1
        cdef bint split = fg_times(plan.macs, fg_times(T, self.B)) >= SPLIT_MACS
        cdef bint rows = self.B > 1 and split and not plan.scans
        cdef bint wave = (not rows and split and not self.run.mixed and plan.n_recurrences > 1 and T > 1
                          and plan.n_instructions <= 256)
        job.T, job.block, job.whole, job.first = T, self.block, &self.run, self.rows
        if rows:
            parts = min(threads, self.B)
        elif wave:
            parts = min(threads, plan.n_recurrences)
        elif self.B == 1 and plan.macs >= PANEL_MACS and plan.blas == NULL and not self.run.mixed:
            parts = threads
        if parts == 1:
            with nogil:
                run_instructions(&self.run, T, self.block)
            return 0
        if wave:
            work = run_tasks
            if not plan.blockers:
                job.block = min(self.block, max(4, T // TASK_BLOCKS))
            self.make_second()
            job.second, job.tasks = self.second, &tasks
            memset(&tasks, 0, sizeof(tasks))
        self.make_parts(parts)
        job.parts, job.running = self.parts, parts
        fg_barrier_init(&job.barrier, parts)
        for i in range(parts):
            self.fill_part(&self.parts[i], i, parts, rows, wave)
            self.parts[i].run.barrier = &job.barrier
        with nogil:
            error = fg_pool_run(parts, work, &job)
        if error:
            raise RuntimeError(f"threads could not be started: error {error} on starting {parts - 1}")
        for i in range(parts):
            self.run.bad_id = self.run.bad_id or self.parts[i].run.bad_id
        if not wave:
            for i in range(plan.n_recurrences):
                self.recurrences[i].now = self.parts[0].recurrences[i].now
            for i in range(plan.n_windows):
                self.windows[i].held = self.parts[0].windows[i].held
                self.windows[i].drop = self.parts[0].windows[i].drop
        return 0

    cdef int make_parts(self, int parts) except -1:
        """Make room for so many threads' views, kept from call to call."""
        cdef int i
        cdef Arena size = empty_arena()
        cdef Run scratch
        if parts <= self.n_parts:
            return 0
        self.free_parts()
        self.lay_out_part(&size, &scratch)
        memory.check(fg_plus(fg_plus(self.bytes, self.plan.bytes), fg_times(parts, size.at)),
                     f"a stream on {parts} threads", None)
        self.parts = <Part *>allocate(parts, sizeof(Part))
        self.n_parts = parts
        try:
            for i in range(parts):
                self.parts[i].rows = <fg_rows *>allocate(self.plan.n_values, sizeof(fg_rows))
                self.parts[i].recurrences = <Recurrence *>allocate(self.plan.n_recurrences, sizeof(Recurrence))
                self.parts[i].windows = <Window *>allocate(self.plan.n_windows, sizeof(Window))
                self.parts[i].arena = empty_arena()
                fill_arena(&self.parts[i].arena, size.at, most_marks(&self.layout))
        except MemoryError:
            self.free_parts()
            raise
        return 0

    cdef char *lay_out_part(self, Arena *arena, Run *run) noexcept:
        """Place what a thread needs for itself; returns where its copy of the shared slots begins."""
        lay_out_scratch(&self.layout, arena, run)
        return place(arena, self.layout.slots_bytes, NO_NODE)

    cdef void free_parts(self) noexcept:
        cdef int i
        for i in range(self.n_parts):
            PyMem_Free(self.parts[i].rows)
            PyMem_Free(self.parts[i].recurrences)
            PyMem_Free(self.parts[i].windows)
            free_arena(&self.parts[i].arena)
        PyMem_Free(self.parts)
        self.parts, self.n_parts = NULL, 0

    cdef int make_second(self) except -1:
        """Make a second buffer for every value of the arena, beside the first."""
        cdef int i
        cdef fg_rows *second
        if self.second != NULL:
            return 0
        memory.check(fg_plus(fg_times(2, self.bytes), self.plan.bytes), "a stream on several threads", None)
        second = <fg_rows *>allocate(self.plan.n_values, sizeof(fg_rows))
        try:
            self.second_arena.guard = 0
            fill_arena(&self.second_arena, self.arena.at, 0)
        except MemoryError:
            PyMem_Free(second)
            raise
        for i in range(self.plan.n_values):
            second[i] = self.rows[i]
            if inside(&self.run, &self.rows[i]):
                second[i].data = self.second_arena.base + (<char *>self.rows[i].data - self.arena.base)
        self.second = second
        return 0

    cdef void fill_part(self, Part *part, int i, int parts, bint rows, bint wave) noexcept:
        """Make thread i's view of this call: its rows of every buffer, or all of them with scratch of its own."""
        cdef Plan plan = self.plan
        cdef Arena arena = part.arena
        cdef idx from_row = self.B * i // parts if rows else 0
        cdef idx to_row = self.B * (i + 1) // parts if rows else self.B
        cdef idx item = plan.kernels.item
        cdef int v, p
        cdef const Instruction *ins
        cdef Recurrence *r
        cdef Window *w
        cdef char *slots
        arena.at, arena.count = 0, 0
        part.run = self.run
        part.run.listens = self.run.listens and i == 0
        part.run.rows, part.run.windows = part.rows, part.windows
        memcpy(part.windows, self.windows, plan.n_windows * sizeof(Window))
        part.run.B = to_row - from_row
        part.run.part = 0 if rows or wave else i
        part.run.parts = 1 if rows or wave else parts
        slots = self.lay_out_part(&arena, &part.run)
        part.arena.count, part.arena.at = arena.count, arena.at
        if part.run.mask != NULL:
            part.run.mask += from_row * part.run.mask_b
        for v in range(plan.n_values):
            part.rows[v] = self.rows[v]
            part.rows[v].data = <char *>self.rows[v].data + from_row * self.rows[v].b_stride * plan.values[v].item
        if wave:
            return
        for v in range(plan.n_values):  # threads are not at the same instruction: one would write what another reads
            if plan.values[v].slot >= 0 and not self.layout.apart:
                part.rows[v].data = slots + (<char *>self.rows[v].data - self.arena.base - self.layout.slots_at)
                part.rows[v].t_stride = part.run.B * self.rows[v].b_stride
        part.run.recurrences = part.recurrences
        memcpy(part.recurrences, self.recurrences, plan.n_recurrences * sizeof(Recurrence))
        for v in range(plan.n_instructions):
            ins = &plan.instructions[v]
            if is_line(ins):
                w = &part.windows[ins.frame.window]
                w.line += from_row * w.capacity * ins.size * item
            if ins.op != RECURRENT:
                continue
            r = &part.recurrences[ins.state]
            r.h[0] += from_row * ins.features_padded * item
            r.h[1] += from_row * ins.features_padded * item
            r.c += from_row * ins.units_padded * item
            r.s0 += from_row * ins.units_padded * item
            r.s1 += from_row * ins.units_padded * item
            r.y += from_row * ins.features_padded * item
            r.last += from_row * ins.features * item
            for p in range(ins.n_phases):
                if r.x[p] != NULL:
                    r.x[p] += (self.layout.max_steps[ins.clock] * from_row
                               * product_width(&ins.phase[p], plan.kernels.lanes) * item)

    def _run_again(self, x, out):
        """A whole sequence from the initial state; NotImplemented unless `x` is an array that is read in place and a
        stream made for it would be as this one. For `Model.__call__`."""
        cdef idx steps = self.fits(self.in_value, x, True) if self.single else 0
        cdef idx most = steps if self.plan.blockers else min(steps, self.plan.block(self.B))
        if steps == 0 or most != self.block or self.threads is not None or not self.plan.values[self.in_value].time:
            return NotImplemented
        self.initialise()
        return self.forward(x, steps, out, True, NULL, 0, 0, True)

    def _serves(self, batch, Py_ssize_t block, threads):
        """True if a stream made with these arguments would be as this one. For `Model.__call__`."""
        return self.batch == batch and self.block == block and self.threads == threads

    def _run_converted(self, tuple inputs, Py_ssize_t T, out, mask, bint chunk=True):
        """A whole sequence, or one step where `chunk` is false, of inputs already converted. For `Model.__call__`.

        `mask` (B, T) bool says which steps count; None: all.
        """
        cdef cnp.ndarray m
        if mask is None:
            return self.forward(inputs, T, out, chunk, NULL, 0, 0, True)
        m = np.ascontiguousarray(mask, dtype=np.uint8)
        return self.forward(inputs, T, out, True, <uint8_t *>m.data, 1, T, True)

    # State ---------------------------------------------------------------------------------------

    cdef view(self, int recurrence, str name, tuple shape):
        """A state as an array (B, *shape) over the arena."""
        cdef int i
        cdef const Instruction *ins = NULL
        cdef Recurrence *r
        cdef cnp.npy_intp[2] dims
        cdef void *data
        dims[0] = self.B
        if recurrence < 0:
            i = -1 - recurrence
            dims[1] = self.plan.values[i].size
            data = self.rows[i].data
            return cnp.PyArray_SimpleNewFromData(2, dims, self.plan.typenum, data).reshape((self.B, *shape))
        r = &self.recurrences[recurrence]
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op == RECURRENT and ins.state == recurrence:
                break
        data = r.h[r.now]
        dims[1] = ins.features_padded
        if name == "c":
            data, dims[1] = r.c, ins.units_padded
        elif name == "y":
            data, dims[1] = r.last, ins.features
        return cnp.PyArray_SimpleNewFromData(2, dims, self.plan.typenum, data)[:, :shape[0]]

    cdef lines(self, int window, Py_ssize_t size):
        """The line of a window op as an array (B, capacity, size) over the arena."""
        cdef cnp.npy_intp[3] dims
        dims[0], dims[1], dims[2] = self.B, self.windows[window].capacity, size
        return cnp.PyArray_SimpleNewFromData(3, dims, self.plan.typenum, self.windows[window].line)

    cdef taken(self, int recurrence, str name, tuple shape):
        """A copy of a state, (B, *shape)."""
        cdef Window *w = &self.windows[recurrence]
        if name == "held":
            return np.full(self.B, held_before(w), dtype=np.int64)
        if name == "sums":
            return self.lines(recurrence, math.prod(shape[1:]))[:, :shape[0]].copy().reshape((self.B, *shape))
        if name != "history":
            return self.view(recurrence, name, shape).copy()
        array = np.zeros((self.B, *shape), dtype=self.plan.dtype)
        if held_before(w) > 0:
            flat = array.reshape(self.B, shape[0], math.prod(shape[1:]))
            flat[:, :held_before(w)] = self.lines(recurrence, flat.shape[2])[:, w.drop:w.held]
        return array

    cdef put(self, int recurrence, str name, tuple shape, array):
        """Set a state; of a window op first its history, then how many steps of that there are."""
        cdef Window *w
        cdef idx count
        if name == "history" or name == "sums":
            flat = np.reshape(array, (self.B, shape[0], math.prod(shape[1:])))
            self.lines(recurrence, flat.shape[2])[:, :shape[0]] = flat
        elif name == "held":
            w = &self.windows[recurrence]
            count = np.ravel(array)[0]
            w.held, w.drop = max(0, count), max(0, -count)
        else:
            self.view(recurrence, name, shape)[...] = array

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
            return self.taken_state()
        finally:
            self.release()

    cdef dict taken_state(self):
        """A copy of the state."""
        result = {}
        for key, recurrence, name, shape in self.plan.states:
            array = self.taken(recurrence, name, shape)
            result[key] = array[0] if self.batch is None else array
        if self.plan.n_windows:
            result[self.plan.steps_key] = np.int64(self.steps) if self.batch is None else np.full(self.B, self.steps)
        for v, key in self.plan.still:
            result[key] = self.still[v].copy()
        return result

    @state.setter
    def state(self, given):
        self.claim()
        try:
            arrays = self.checked_state(given)
            self.save()
            try:
                for key, recurrence, name, shape in self.plan.states:
                    self.put(recurrence, name, shape, arrays[key])
                if self.plan.n_windows:
                    self.steps = np.ravel(arrays[self.plan.steps_key])[0]
                for v, key in self.plan.still:
                    self.still[v][...] = arrays[key]
            except BaseException:  # out of memory in the middle
                self.restore()
                raise
        finally:
            self.release()

    cdef dict checked_state(self, given):
        """Copies of the arrays of a state, all of which fit."""
        problems, arrays = [], {}
        try:
            given = dict(given)
        except (TypeError, ValueError):
            raise TypeError(f"state must be a dict of arrays, got {type(given).__name__}") from None
        rows = {key: (shape, name == "held") for key, _, name, shape in self.plan.states}
        inputs = {key: v for v, key in self.plan.still}
        rows.update({key: ((), False) for key in inputs})
        if self.plan.n_windows:
            rows[self.plan.steps_key] = ((), True)
        for key in rows.keys() - given.keys():
            problems.append(f"state must have the key {key!r}, which is missing")
        for key in given.keys() - rows.keys():
            known = f"one of {nearest(key, rows)}" if rows else "none, as the model carries no state"
            problems.append(f"key of state must be {known}, got {key!r}")
        for key in rows.keys() & given.keys():
            if key in inputs:
                arrays[key] = self.checked_input(inputs[key], given[key], key, problems)
                continue
            shape = rows[key][0] if self.batch is None else (self.B, *rows[key][0])
            array = as_array(given[key], f"state[{key!r}]")
            if array.shape != shape or array.dtype.kind not in "fiu":
                got = f"{array.dtype} of shape {array.shape}"
                problems.append(f"state[{key!r}] must be real numbers of shape {shape}, got {got}")
            elif rows[key][1]:
                arrays[key] = self.checked_count(key, array, problems)
            else:
                with np.errstate(over="ignore"):
                    arrays[key] = array.astype(self.plan.dtype)
        if not problems and self.plan.n_windows:
            self.check_counts(arrays, problems)
        if problems:
            raise ValueError("; ".join(sorted(problems)))
        return arrays

    cdef checked_input(self, int value, given, key, list problems):
        """An input without time, converted."""
        try:
            return self.converted_input(value, given, False, f"state[{key!r}]")
        except (TypeError, ValueError) as error:
            problems.append(str(error))
        return None

    cdef checked_count(self, key, array, list problems):
        """A number of steps as int64, the same for all rows."""
        counts = np.unique(array).tolist()
        if len(counts) == 1 and -MOST_STEPS <= counts[0] <= MOST_STEPS and counts[0] == int(counts[0]):
            return array.astype(np.int64)
        got = ", ".join(f"{n:g}" for n in counts[:4]) + (", ..." if len(counts) > 4 else "")
        problems.append(f"state[{key!r}] must be one integer of at most 2**59, got {got}")
        return None

    cdef int check_counts(self, dict arrays, list problems) except -1:
        """Append a problem for every number of steps held that can't be after so many steps of the inputs."""
        cdef idx steps = np.ravel(arrays[self.plan.steps_key])[0]
        if steps < 0:
            got = "that of a sequence that has ended" if steps == ENDED else f"{steps}"
            problems.append(f"state[{self.plan.steps_key!r}] must be the steps of a sequence that goes on, got {got}")
            return 0
        self.counts_at(steps, self.counts)
        for key, window, name, _ in self.plan.states:
            if name == "held" and np.ravel(arrays[key])[0] != self.counts[<int>window]:
                got = np.ravel(arrays[key])[0]
                problems.append(f"state[{key!r}] must be {self.counts[<int>window]} after {steps} steps, got {got}")
        return 0

    cdef bint counts_differ(self, idx steps) noexcept:
        """True unless every layer holds what it holds after so many steps of a sequence that goes on."""
        cdef int i
        cdef bint differ = False
        self.counts_at(steps, self.counts)
        for i in range(self.plan.n_windows):
            differ = differ or held_before(&self.windows[i]) != self.counts[i]
        return differ

    cdef void counts_at(self, idx steps, idx *counts) noexcept:
        """Count the steps that every window, wait and overlap-add holds after so many steps of the inputs."""
        cdef idx[32] totals  # steps that each clock counted
        cdef const Instruction *ins
        cdef const Frame *frame
        cdef int i, j, clock
        cdef idx taken
        for i in range(self.plan.bases):
            totals[i] = steps
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if not is_line(ins):
                continue
            frame, clock, taken = ins.frame, self.plan.values[ins.output].clock, totals[ins.clock]
            if ins.op == WINDOW:
                counts[frame.window] = taken = fg_plus(frame.before, taken)
                if steps > 0:
                    counts[frame.window] -= windows_due(frame, taken) * frame.stride_in_time
                if clock != ins.clock:
                    totals[clock] = windows_due(frame, taken) if steps > 0 else 0
            elif ins.op == MIRROR:
                counts[frame.window] = min(taken, frame.reach)
                totals[clock] = fg_plus(taken, frame.before) if taken >= frame.reach else 0
            elif ins.op == OVERLAP_ADD:
                totals[clock] = max(0, fg_times(taken, frame.stride_in_time) - frame.before)
                counts[frame.window] = (-max(0, frame.before - fg_times(taken, frame.stride_in_time))
                                        or <idx>(taken > 0))
            else:
                if frame.n_meeting:
                    totals[clock] = taken
                    for j in range(frame.n_meeting):
                        totals[clock] = min(totals[clock], totals[frame.meeting_clocks[j]])
                counts[frame.window] = taken - totals[clock]

    def reset(self, rows=None):
        """Return to the initial state: all rows, or those of a list of indices or a boolean mask (batch,)."""
        self.claim()
        try:
            self.reset_rows(rows)
        finally:
            self.release()

    cdef int reset_rows(self, rows) except -1:
        cdef cnp.ndarray numbers
        cdef idx i
        if rows is None:
            self.initialise()
            return 0
        index = as_array(rows, "rows")
        if index.dtype == bool and index.shape == (self.B,):
            index = np.flatnonzero(index)
        index = np.atleast_1d(index)
        if index.size and (index.ndim != 1 or index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= self.B):
            raise ValueError(f"rows must be indices in 0..{self.B - 1} or a mask of shape ({self.B},), got {rows!r}")
        if len(np.unique(index)) == self.B:
            self.initialise()
            return 0
        numbers = np.ascontiguousarray(index, dtype=np.intp)
        self.check_rows_apart()
        self.settle()
        for i in range(numbers.size):
            self.initialise_row((<idx *>cnp.PyArray_DATA(numbers))[i])
        return 0

    cdef void settle(self) noexcept:
        """Move the steps that windows and waits keep to the beginning of their lines, where those of a row that begins
        anew lie."""
        cdef idx b, kept, width, item = self.plan.kernels.item
        cdef int i
        cdef char *line
        cdef const Instruction *ins
        cdef Window *w
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op != WINDOW and ins.op != WAIT:
                continue
            w = &self.windows[ins.frame.window]
            kept, width = max(0, held_before(w)), ins.size * item
            for b in range(self.B if w.drop > 0 and kept > 0 else 0):
                line = w.line + b * w.capacity * width
                memmove(line, line + w.drop * width, kept * width)
            w.held, w.drop = kept, max(0, w.drop - w.held)

    cdef int check_rows_apart(self) except -1:
        """Raise when a row that begins anew would have another number of steps in its windows than the others."""
        cdef int i
        cdef const Instruction *ins
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if is_line(ins) and self.counts_apart(ins):
                raise ValueError(
                    "single rows can be reset only if every layer holds as many steps as a new stream does, "
                    "but one strides over steps or has no padding: reset all rows"
                )
        return 0

    cdef bint counts_apart(self, const Instruction *ins) noexcept:
        """Whether a window, an overlap-add or a wait counts other steps than at the beginning."""
        cdef const Window *w = &self.windows[ins.frame.window]
        if ins.op == OVERLAP_ADD:
            return w.drop != ins.frame.before
        return held_before(w) != (0 if ins.op == MIRROR else ins.frame.before)

    def copy(self):
        """A second stream in the same state, independent from here on."""
        cdef Stream twin = make_stream(
            self.plan, self.batch, model=self.model, block=self.block, threads=self.threads)
        cdef int i
        self.claim()
        try:
            memcpy(twin.arena.base, self.arena.base, self.layout.state_bytes)
            for i in range(self.plan.n_recurrences):
                twin.recurrences[i].now = self.recurrences[i].now
            for i in range(self.plan.n_windows):
                twin.windows[i].held, twin.windows[i].drop = self.windows[i].held, self.windows[i].drop
            twin.steps = self.steps
            for v, array in self.still.items():
                twin.still[v][...] = array
        finally:
            self.release()
        return twin

    __copy__ = copy

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        if self.model is None:
            raise TypeError("stream must come from Model.stream to be pickled")
        return _restore, (self.model, self.batch, self.state, self.threads)

    def __sizeof__(self):
        """Bytes of the stream with its buffers, without what threads add."""
        return object.__sizeof__(self) + self.bytes

    def __repr__(self):
        return f"<fastgru.Stream batch={self.batch} isa={self.plan.isa} dtype={self.plan.dtype}>"


def make_stream(plan, batch=None, *, model=None, block=0, threads=None, measure=False):
    """Make a stream of a plan; for `Model.stream`, which checks the arguments.

    Parameters
    ----------
    batch, model, threads
        As the attributes of `Stream`.
    block : int
        Steps that run at once; the plan's choice for 0.
    measure : bool
        Only count the bytes: such a stream can't run.
    """
    return Stream(plan, batch, model, block, threads, measure)


def _restore(model, batch, state, threads):
    """Unpickle: the model's stream with the state it had."""
    stream = model.stream(batch, threads=threads)
    stream.state = state
    return stream


cdef bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """True if two C-contiguous arrays share memory."""
    return (a.data < b.data + cnp.PyArray_NBYTES(b)) and (b.data < a.data + cnp.PyArray_NBYTES(a))


cdef bint overlaps(list arrays, cnp.ndarray b):
    """True if any of several arrays shares memory with `b`."""
    for a in arrays:
        if overlap(<cnp.ndarray>a, b):
            return True
    return False


cdef void *allocate(idx count, size_t size) except NULL:
    """Zeroed memory for an array, to be freed by PyMem_Free."""
    cdef void *found = PyMem_Calloc(max(1, count), size)
    if found == NULL:
        raise MemoryError(f"{count * size} bytes could not be allocated")
    return found


cdef Arena empty_arena() noexcept:
    """An arena that counts."""
    cdef Arena arena
    memset(&arena, 0, sizeof(Arena))
    arena.guard = GUARD if GUARDED else 0
    return arena


cdef int fill_arena(Arena *arena, idx size, int marks) except -1:
    """Give an empty arena zeroed memory: what pads a buffer must be finite, since it meets zero weights.

    Pages of a large arena are zeroed when they are first used: of 300 MB, at once took 0.3 s that no signal could end.
    """
    if arena.guard:
        arena.marks = <Mark *>allocate(marks, sizeof(Mark))
    arena.block = calloc(1, size + ALIGN)
    if arena.block == NULL:
        raise MemoryError(f"{size} bytes for a stream could not be allocated")
    arena.base = <char *>arena.block + (-<size_t>arena.block) % ALIGN
    return 0


cdef void free_arena(Arena *arena) noexcept:
    free(arena.block)
    PyMem_Free(arena.marks)


cdef void fill(char *to, const void *source, idx size) noexcept:
    if source == NULL:
        memset(to, 0, size)
    else:
        memcpy(to, source, size)


cdef idx outside(const int64_t *ids, idx n, idx bound) noexcept:
    """The first of n ids that is not in 0..bound - 1, or -1."""
    cdef idx i
    for i in range(n):
        if not 0 <= ids[i] < bound:
            return i
    return -1


cdef int check_signals(void *raised) noexcept with gil:
    """Run the handlers of pending signals; 1 if one raised, with what it raised in the list."""
    try:
        PyErr_CheckSignals()
    except BaseException as error:
        (<list>raised)[0] = error
        return 1
    return 0
