# Stream: recurrent state, scratch and the checks on what a caller gives.

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

    cdef readonly Plan plan
    cdef readonly object batch, model
    cdef readonly Py_ssize_t block
    cdef idx B
    cdef char *arena
    cdef size_t arena_bytes, slots_at, slots_bytes  # the slots that values share lie together
    cdef Recurrence *recurrences
    cdef fg_rows *rows
    cdef Run run
    cdef Window *windows
    cdef idx[32] max_steps     # of each clock in a block
    cdef idx[32] due           # and in a call
    cdef Part *parts           # of a call on several threads
    cdef int n_parts
    cdef fg_rows *second       # values of odd blocks, when layers run side by side
    cdef char *second_arena
    cdef readonly object threads
    cdef bint busy
    cdef idx widest, most_rows
    cdef int in_value, out_value   # the first input and output
    cdef bint several, single      # outputs; whether there is one input
    cdef list copies               # of inputs that an output overlaps
    cdef cnp.ndarray own_frame     # of a step: the one input where it was converted, (*frame) or (B, *frame)

    def __cinit__(self, Plan plan, batch=None, *, model=None, Py_ssize_t block=0, threads=None):
        self.plan, self.model, self.batch, self.threads = plan, model, batch, threads
        self.B = 1 if batch is None else batch
        self.block = block if block > 0 else plan.block(self.B)
        self.in_value = plan.inputs[0]
        self.out_value, self.several, self.single = plan.outputs[0], len(plan.outputs) > 1, len(plan.inputs) == 1
        self.copies = []
        lead = () if batch is None else (self.B,)
        ids = plan.values[self.in_value].size == 0
        self.own_frame = np.zeros(lead + plan.shapes[self.in_value], np.int64 if ids else plan.dtype)
        self.recurrences = <Recurrence *>PyMem_Malloc(max(1, plan.n_recurrences) * sizeof(Recurrence))
        self.rows = <fg_rows *>PyMem_Malloc(plan.n_values * sizeof(fg_rows))
        self.windows = <Window *>PyMem_Malloc(max(1, plan.n_windows) * sizeof(Window))
        if self.recurrences == NULL or self.rows == NULL or self.windows == NULL:
            raise MemoryError
        memset(self.windows, 0, max(1, plan.n_windows) * sizeof(Window))
        memset(self.recurrences, 0, max(1, plan.n_recurrences) * sizeof(Recurrence))
        memset(self.rows, 0, plan.n_values * sizeof(fg_rows))
        cdef size_t total = self.lay_out(NULL)
        self.arena = <char *>aligned_alloc(ALIGN, total)
        if self.arena == NULL:
            raise MemoryError(f"a stream of batch {batch} needs {total} bytes")
        self.arena_bytes = total
        memset(self.arena, 0, total)  # the padding of a state must be finite: it meets zero weights
        self.lay_out(self.arena)
        self.run.kernels, self.run.narrow = plan.kernels, plan.narrow
        self.run.gemm = NULL
        if plan.blas != NULL:
            self.run.gemm = plan.blas.f32 if plan.dtype == "float32" else plan.blas.f64
        self.run.values, self.run.rows, self.run.recurrences = plan.values, self.rows, self.recurrences
        self.run.B = self.B
        self.run.instructions, self.run.n_instructions = plan.instructions, plan.n_instructions
        self.run.n_values, self.run.arena, self.run.arena_bytes = plan.n_values, self.arena, total
        self.run.part, self.run.parts, self.run.bad_id = 0, 1, 0
        self.run.loop_begin, self.run.loop_end, self.run.mixed = plan.loop_begin, plan.loop_end, plan.framed
        self.run.loop_clock, self.run.windows = plan.loop_clock, self.windows
        self.initialise()

    def __dealloc__(self):
        self.free_parts()
        free(self.second_arena)
        PyMem_Free(self.second)
        free(self.arena)
        PyMem_Free(self.windows)
        PyMem_Free(self.recurrences)
        PyMem_Free(self.rows)

    cdef size_t lay_out(self, char *base) noexcept:
        """Place every buffer behind `base` (which may be NULL); returns the bytes needed."""
        cdef size_t at = 0
        cdef int i, slot
        cdef const Instruction *ins
        cdef Plan plan = self.plan
        cdef char *data
        cdef idx rows = self.B, steps = self.block, mask = 0
        for i in range(plan.n_values):
            self.rows[i].b_stride = max(1, plan.values[i].size)
            self.rows[i].t_stride = self.B * self.rows[i].b_stride
        self.max_steps[0] = self.block
        for i in range(plan.n_instructions):
            ins = &plan.instructions[i]
            if WINDOW <= ins.op <= WAIT:
                self.lay_out_window(base, &at, ins)
            elif ins.op == RECURRENT:
                self.lay_out_recurrence(base, &at, ins, self.max_steps[ins.clock], self.B)
            elif ins.op == SCAN:
                self.lay_out_recurrence(base, &at, ins.frame.layer, ins.frame.steps, ins.frame.rows)
                rows = max(rows, ins.frame.rows)
                mask = max(mask, ins.frame.steps * ins.frame.rows)
        for i in range(plan.n_values):
            if plan.values[i].slot < 0 and not plan.values[i].line and i not in plan.outputs and i not in plan.inputs:
                self.rows[i].data = place(base, &at, self.value_bytes(i))
        self.slots_at = at = (at + ALIGN - 1) // ALIGN * ALIGN
        for slot in range(plan.n_slots):
            members = [i for i in range(plan.n_values) if plan.values[i].slot == slot]
            data = place(base, &at, max([self.value_bytes(i) for i in members]))
            for i in members:
                self.rows[i].data = data
        self.slots_bytes = at - self.slots_at
        self.run.index = <int32_t *>place(base, &at, max(self.block * self.B, mask) * 4)
        self.run.active = <int32_t *>place(base, &at, rows * 4)
        self.run.scan_mask = <uint8_t *>place(base, &at, mask)
        self.run.scratch = place(base, &at, plan.scratch)
        self.most_rows = rows
        self.run.product = place(base, &at, self.product_bytes())
        return at

    cdef void lay_out_recurrence(self, char *base, size_t *at, const Instruction *ins, idx T, idx B) noexcept:
        """Room for one recurrence over blocks of T steps and B rows."""
        cdef Recurrence *r = &self.recurrences[ins.state]
        cdef idx item = self.plan.kernels.item, N
        cdef int p
        r.h[0] = place(base, at, B * ins.features_padded * item)
        r.h[1] = place(base, at, B * ins.features_padded * item)
        r.c = place(base, at, B * ins.units_padded * item)
        r.s0 = place(base, at, B * ins.units_padded * item)
        r.s1 = place(base, at, B * ins.units_padded * item)
        r.y = place(base, at, B * ins.features_padded * item)
        r.last = place(base, at, B * ins.features * item)
        for p in range(ins.n_phases):
            N = ins.phase[p].u.panels * ins.phase[p].u.gates * self.plan.kernels.lanes
            self.widest = max(self.widest, N)
            if ins.wx[p].data != NULL or ins.table[p] != NULL:
                r.x[p] = place(base, at, T * B * N * item)

    cdef void lay_out_window(self, char *base, size_t *at, const Instruction *ins) noexcept:
        """A line long enough for a block behind the steps it keeps, and the windows over it as a value's rows."""
        cdef const Frame *frame = ins.frame
        cdef Window *w = &self.windows[frame.window]
        cdef fg_rows *rows = &self.rows[ins.output]
        cdef int clock = self.plan.values[ins.output].clock
        if ins.op == OVERLAP_ADD:
            w.capacity = frame.kept
            w.line = place(base, at, self.B * frame.kept * ins.size * self.plan.kernels.item)
            self.max_steps[clock] = self.max_steps[ins.clock] * frame.stride_in_time + frame.after + frame.rest
            return
        if ins.op == MIRROR:
            w.capacity = frame.kept
            w.line = place(base, at, self.B * frame.kept * ins.size * self.plan.kernels.item)
            self.max_steps[clock] = self.max_steps[ins.clock] + frame.kept + frame.before + frame.after
            return
        w.capacity = frame.kept + self.max_steps[ins.clock] + frame.after
        if ins.op == WINDOW and clock != ins.clock:
            self.max_steps[clock] = max(1, windows_due(frame, w.capacity))
        elif frame.n_meeting:
            self.max_steps[clock] = w.capacity
        w.line = place(base, at, self.B * w.capacity * ins.size * self.plan.kernels.item)
        rows.data, rows.t_stride, rows.b_stride = w.line, frame.stride_in_time * ins.size, w.capacity * ins.size

    cdef idx value_bytes(self, int value) noexcept:
        """Bytes of a value's rows in one block."""
        cdef const Value *v = &self.plan.values[value]
        return (self.max_steps[v.clock] if v.time else 1) * self.B * self.rows[value].b_stride * v.item

    cdef idx product_bytes(self) noexcept:
        return self.most_rows * self.widest * self.plan.kernels.item if self.plan.unfused else 0

    cdef void initialise(self) noexcept:
        cdef idx b
        cdef int i
        cdef const Instruction *ins
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
            if WINDOW <= ins.op <= WAIT:
                self.begin_window(ins, b)
            if ins.op != RECURRENT:
                continue
            r = &self.recurrences[ins.state]
            fill(r.h[r.now] + b * ins.features_padded * item, ins.initial_h, ins.features * item)
            fill(r.c + b * ins.units_padded * item, ins.initial_c, ins.units * item)
            memset(r.last + b * ins.features * item, 0, ins.features * item)
        for i in range(self.plan.n_values):
            if self.plan.values[i].state:
                memcpy(row(&self.rows[i], item, 0, b), self.plan.values[i].initial, self.plan.values[i].size * item)

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
        w.held, w.drop = frame.before, 0
        fill_steps(ins, &self.run, w.line + b * w.capacity * ins.size * item, frame.before)

    # Running -------------------------------------------------------------------------------------

    def step(self, frame, out=None):
        """Run one time step.

        Parameters
        ----------
        frame : (I,) or (batch, I) array; ids: scalar or (batch,)
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
        """
        if self.plan.n_windows:
            self.check_stepwise()
        if self.single and self.fits(self.in_value, frame, False):
            return self.forward(frame, 1, out, False, NULL, 0, 0)
        if self.single and self.takes(frame):
            return self.forward(self.own_frame, 1, out, False, NULL, 0, 0)
        if type(frame) is tuple and len(frame) == len(self.plan.inputs) and self.all_fit(frame):
            return self.forward(frame, 1, out, False, NULL, 0, 0)
        return self.forward(self.convert(frame, False), 1, out, False, NULL, 0, 0)

    cdef int check_stepwise(self) except -1:
        """Raise unless the next step gives one step of every output."""
        self.due[0] = 1
        self.count_due(False, False)
        for value in self.plan.outputs:
            if self.plan.values[<int>value].time and self.due[self.plan.values[<int>value].clock] != 1:
                got = self.due[self.plan.values[<int>value].clock]
                raise ValueError(
                    f"step must give one step of output {self.plan.names[value]!r}, got {got} due now; "
                    "use process, which gives as many as are due"
                )
        return 0

    def process(self, chunk, out=None):
        """Run a chunk of any length: as many steps at once, with the same bits.

        Parameters
        ----------
        chunk : (T, I) or (batch, T, I) array; ids: (T,) or (batch, T)
        out : array, optional
            Where to write the output.

        Returns
        -------
        array, or a tuple of arrays when the model has several outputs
            (T, O) or (batch, T, O); (O,) or (batch, O) where the model returns its last step.
        """
        cdef idx steps = self.fits(self.in_value, chunk, True) if self.single else 0
        if steps:
            return self.forward(chunk, steps, out, True, NULL, 0, 0)
        arrays = self.convert(chunk, True)
        return self.forward(arrays, self.steps_of(arrays), out, True, NULL, 0, 0)

    def flush(self):
        """End the sequence: what layers that look ahead still owe, as `process` would return it.

        The stream then is as new. A model of layers that look at past steps alone owes nothing: no steps.

        Returns
        -------
        array, or a tuple of arrays when the model has several outputs
        """
        shape = (() if self.batch is None else (self.B,))
        empty = tuple([
            np.zeros(shape + ((0,) if self.plan.sizes[v][1] else ()) + self.plan.shapes[v], self.plan.dtype)
            for v in self.plan.inputs
        ])
        result = self.forward(empty, 0, None, True, NULL, 0, 0, True, True)
        self.reset()
        return result

    cdef int count_due(self, bint ends, bint rest) except -1:
        """The steps that each clock counts in this call."""
        cdef int i, clock
        cdef idx kept
        cdef const Instruction *ins
        cdef const Frame *frame
        cdef const Window *w
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if not WINDOW <= ins.op <= WAIT:
                continue
            frame, clock = ins.frame, self.plan.values[ins.output].clock
            w = &self.windows[frame.window]
            if ins.op == OVERLAP_ADD:
                self.due[clock] = overlaps_due(frame, w, self.due[ins.clock], ends, rest)
                continue
            kept = held_before(w) + self.due[ins.clock]
            if ins.op == MIRROR:
                if ends and 0 < kept < frame.reach:
                    raise ValueError(f"sequence to pad by node {self.node_of(frame.window)!r} must have at least "
                                     f"{frame.reach} steps, got {kept}")
                self.due[clock] = mirror_due(frame, w, self.due[ins.clock], ends)
                continue
            if ins.op == WINDOW:
                self.due[clock] = windows_due(frame, max(0, kept + (frame.after if ends else 0)))
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
        if v.size == 0 and outside(<int64_t *>cnp.PyArray_DATA(x), self.B * steps, self.plan.id_bound) >= 0:
            return 0
        return steps

    cdef bint takes(self, x) except -1:
        """Whether an object is an id inside the table, or an array of real numbers of the frame's shape: it then lies
        in `own_frame`. That takes a fifth of what a conversion that knows nothing of either does."""
        cdef int i, number
        if self.busy:
            return False
        if type(x) is int or type(x) is np.int64:
            if self.batch is not None or self.plan.values[self.in_value].size:
                return False
            try:
                (<int64_t *>self.own_frame.data)[0] = x
            except OverflowError:
                return False
            return outside(<int64_t *>self.own_frame.data, 1, self.plan.id_bound) < 0
        if (not cnp.PyArray_CheckExact(x) or self.plan.values[self.in_value].size == 0
                or cnp.PyArray_NDIM(x) != cnp.PyArray_NDIM(self.own_frame)):
            return False
        for i in range(cnp.PyArray_NDIM(x)):
            if cnp.PyArray_DIM(x, i) != cnp.PyArray_DIM(self.own_frame, i):
                return False
        number = cnp.PyArray_TYPE(x)
        if not (cnp.PyTypeNum_ISFLOAT(number) or cnp.PyTypeNum_ISINTEGER(number) or cnp.PyTypeNum_ISBOOL(number)):
            return False
        cnp.PyArray_CopyInto(self.own_frame, x)
        return True

    cdef bint all_fit(self, tuple frames) noexcept:
        cdef int i
        for i in range(len(frames)):
            if not self.fits(self.plan.inputs[i], frames[i], False):
                return False
        return True

    def convert(self, x, bint chunk):
        """The inputs as a tuple of C-contiguous arrays of the engine's types, or an error that names what is wrong."""
        names = [self.plan.names[v] for v in self.plan.inputs]
        given = [x]
        if isinstance(x, dict):
            if x.keys() != set(names):
                raise ValueError(f"inputs must be {names}, got {list(x)}")
            given = [x[name] for name in names]
        elif len(names) > 1:
            if not isinstance(x, (tuple, list)) or len(x) != len(names):
                got = f"{len(x)}" if isinstance(x, (tuple, list)) else type(x).__name__
                raise ValueError(f"inputs must be a tuple or a mapping of {len(names)} arrays {names}, got {got}")
            given = x
        alone = "chunk" if chunk else "frame"
        arrays = tuple([
            self.converted(v, array, chunk, alone if len(names) == 1 else f"input {name!r}")
            for v, name, array in zip(self.plan.inputs, names, given)
        ])
        if chunk and len(arrays) > 1:
            axis = 0 if self.batch is None else 1
            found = {n: a.shape[axis] for n, a, v in zip(names, arrays, self.plan.inputs) if self.plan.sizes[v][1]}
            if len(set(found.values())) > 1:
                raise ValueError(f"inputs must have the same number of steps, got {found}")
        return arrays

    def converted(self, int value, x, bint chunk, str name):
        """One input, converted."""
        cdef bint ids = self.plan.values[value].size == 0
        array = np.asarray(x)
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
            wrong = outside(<int64_t *>cnp.PyArray_DATA(numbers), numbers.size, self.plan.id_bound)
            if wrong >= 0:
                raise ValueError(f"{name} must have ids in 0..{self.plan.id_bound - 1}, got {array.flat[wrong]}")
            return numbers
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must be real numbers, got {array.dtype}")
        return np.ascontiguousarray(array, dtype=self.plan.dtype)

    def steps_of(self, arrays):
        """T of converted inputs."""
        for array, v in zip(arrays, self.plan.inputs):
            if self.plan.values[<int>v].time:
                return array.shape[0 if self.batch is None else 1]
        return 1

    cdef forward(self, inputs, idx T, out, bint chunk, const uint8_t *mask, idx mask_t, idx mask_b,
                 bint ends=False, bint rest=False):
        """Check or make the outputs, then run T steps in blocks; `ends` closes the sequence, `rest` gives what lies
        behind its end, too."""
        if self.busy:
            raise RuntimeError("stream must be used by one thread at a time, got a second call while one is running")
        cdef Plan plan = self.plan
        cdef list arrays = None
        cdef cnp.ndarray y = None
        cdef int i
        self.due[0] = T
        if plan.n_windows:
            self.count_due(ends, rest)
        if self.several:
            arrays = self.all_outputs(out, chunk)
            for i in range(len(arrays)):
                self.place_output(plan.outputs[i], <cnp.ndarray>arrays[i])
        else:
            y = self.output(self.out_value, out, chunk, "out")
            self.place_output(self.out_value, y)
        if type(inputs) is tuple:
            for i in range(len(plan.inputs)):
                self.place_input(plan.inputs[i], inputs[i], T, out is not None, y, arrays)
        else:
            self.place_input(self.in_value, inputs, T, out is not None, y, arrays)
        self.run.ends, self.run.rest = ends, rest
        self.run.mask, self.run.mask_t, self.run.mask_b = mask, mask_t, mask_b
        cdef int threads = default_threads if self.threads is None else self.threads
        if threads > 1 and plan.macs * T * self.B >= PANEL_MACS:
            self.run_threaded(T, threads)
        elif plan.macs * T * self.B < RELEASE_MACS:
            run_instructions(&self.run, T, self.block)
        else:
            self.busy = True
            with nogil:
                run_instructions(&self.run, T, self.block)
            self.busy = False
        if out is not None and self.copies:
            self.copies.clear()
        if self.run.bad_id:
            self.run.bad_id = 0
            raise ValueError("ids that the model looks up must lie inside their table, got others")
        if plan.typed:
            return self.typed(arrays if self.several else [y])
        return tuple(arrays) if self.several else y

    cdef typed(self, list arrays):
        """The outputs, those of integers and truth values as such."""
        cdef dict dtypes = self.plan.dtypes
        arrays = [y.astype(dtypes[v]) if v in dtypes else y for y, v in zip(arrays, self.plan.outputs)]
        return tuple(arrays) if self.several else arrays[0]

    cdef list all_outputs(self, out, bint chunk):
        """The arrays of a model with several outputs, given or made."""
        cdef Plan plan = self.plan
        if out is not None and (not isinstance(out, (tuple, list)) or len(out) != len(plan.outputs)):
            raise ValueError(f"out must be a tuple of {len(plan.outputs)} arrays, got {type(out).__name__}")
        return [self.output(v, None if out is None else out[i], chunk, f"out[{i}]")
                for i, v in enumerate(plan.outputs)]

    cdef void place_output(self, int value, cnp.ndarray y) noexcept:
        cdef fg_rows *rows = &self.rows[value]
        rows.data = y.data
        rows.t_stride = self.plan.values[value].size
        rows.b_stride = rows.t_stride * (self.due[self.plan.values[value].clock] if self.plan.values[value].time else 1)

    cdef int place_input(self, int value, cnp.ndarray x, idx T, bint given, cnp.ndarray y, list arrays) except -1:
        """Read an input in place; from a copy, kept by the stream, where an output given lies over it."""
        cdef fg_rows *rows = &self.rows[value]
        if given and (overlap(y, x) if arrays is None else overlaps(arrays, x)):
            x = x.copy()
            self.copies.append(x)
        rows.data = x.data
        rows.t_stride = max(1, self.plan.values[value].size)
        rows.b_stride = rows.t_stride * (T if self.plan.values[value].time else 1)
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
        if given is None:
            Py_INCREF(self.plan.descr)  # the array takes it over; by type number, NumPy would look it up
            return PyArray_NewFromDescr(cnp.ndarray, self.plan.descr, n, dims, NULL, NULL, 0, None)
        cdef bint fits = isinstance(given, cnp.ndarray)
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

    cdef int run_threaded(self, idx T, int threads) except -1:
        """Rows of the batch apart; else layers side by side; else the panels of large recurrences."""
        cdef Plan plan = self.plan
        cdef Job job
        cdef Tasks tasks
        cdef work_t work = run_part
        cdef int i, parts = 1
        cdef bint split = plan.macs * T * self.B >= SPLIT_MACS
        cdef bint rows = self.B > 1 and split and not plan.scans
        cdef bint wave = (not rows and split and not plan.framed and plan.n_recurrences > 1 and T > 1
                          and plan.n_instructions <= 256)
        job.T, job.block, job.whole, job.first = T, self.block, &self.run, self.rows
        if rows:
            parts = min(threads, self.B)
        elif wave:
            parts = min(threads, plan.n_recurrences)
        elif self.B == 1 and plan.macs >= PANEL_MACS and plan.blas == NULL and not plan.framed:
            parts = threads
        if wave:
            work = run_tasks
            if not plan.blockers:
                job.block = min(self.block, max(4, T // TASK_BLOCKS))
            self.make_second()
            job.second, job.tasks = self.second, &tasks
            memset(&tasks, 0, sizeof(tasks))
        self.make_parts(parts)
        job.parts = self.parts
        fg_barrier_init(&job.barrier, parts)
        for i in range(parts):
            self.fill_part(&self.parts[i], i, parts, rows, wave)
            self.parts[i].run.barrier = &job.barrier
        cdef int error
        self.busy = True
        with nogil:
            error = fg_pool_run(parts, work, &job)
        self.busy = False
        if error:
            raise RuntimeError(f"threads must be startable, got error {error} on starting {parts - 1}")
        if not wave:
            for i in range(plan.n_recurrences):
                self.recurrences[i].now = self.parts[0].recurrences[i].now
            for i in range(plan.n_windows):
                self.windows[i].held = self.parts[0].windows[i].held
                self.windows[i].drop = self.parts[0].windows[i].drop
        return 0

    cdef int make_parts(self, int parts) except -1:
        """Room for so many threads' views, kept from call to call."""
        cdef int i
        cdef idx size = self.plan.scratch + self.product_bytes() + (self.block + 1) * self.B * 4 + 5 * ALIGN
        size += self.slots_bytes
        if parts <= self.n_parts:
            return 0
        self.free_parts()
        self.parts = <Part *>PyMem_Malloc(parts * sizeof(Part))
        if self.parts == NULL:
            raise MemoryError
        memset(self.parts, 0, parts * sizeof(Part))
        self.n_parts = parts
        for i in range(parts):
            self.parts[i].rows = <fg_rows *>PyMem_Malloc(self.plan.n_values * sizeof(fg_rows))
            self.parts[i].recurrences = <Recurrence *>PyMem_Malloc(max(1, self.plan.n_recurrences) * sizeof(Recurrence))
            self.parts[i].arena = <char *>aligned_alloc(ALIGN, (size + ALIGN - 1) // ALIGN * ALIGN)
            self.parts[i].windows = <Window *>PyMem_Malloc(max(1, self.plan.n_windows) * sizeof(Window))
            if (self.parts[i].rows == NULL or self.parts[i].recurrences == NULL or self.parts[i].arena == NULL
                    or self.parts[i].windows == NULL):
                raise MemoryError
        return 0

    cdef void free_parts(self) noexcept:
        cdef int i
        for i in range(self.n_parts):
            PyMem_Free(self.parts[i].rows)
            PyMem_Free(self.parts[i].recurrences)
            PyMem_Free(self.parts[i].windows)
            free(self.parts[i].arena)
        PyMem_Free(self.parts)
        self.parts, self.n_parts = NULL, 0

    cdef int make_second(self) except -1:
        """A second buffer for every value of the arena, beside the first."""
        if self.second != NULL:
            return 0
        self.second_arena = <char *>aligned_alloc(ALIGN, self.arena_bytes)
        self.second = <fg_rows *>PyMem_Malloc(self.plan.n_values * sizeof(fg_rows))
        if self.second_arena == NULL or self.second == NULL:
            raise MemoryError
        cdef int i
        for i in range(self.plan.n_values):
            self.second[i] = self.rows[i]
            if inside(&self.run, &self.rows[i]):
                self.second[i].data = self.second_arena + (<char *>self.rows[i].data - self.arena)
        return 0

    cdef void fill_part(self, Part *part, int i, int parts, bint rows, bint wave) noexcept:
        """Thread i's view of this call: its rows of every buffer, or all of them with scratch of its own."""
        cdef Plan plan = self.plan
        cdef idx from_row = self.B * i // parts if rows else 0
        cdef idx to_row = self.B * (i + 1) // parts if rows else self.B
        cdef idx item = plan.kernels.item, N
        cdef size_t at = 0
        cdef int v, p
        cdef const Instruction *ins
        cdef Recurrence *r
        cdef Window *w
        part.run = self.run
        part.run.rows, part.run.windows = part.rows, part.windows
        memcpy(part.windows, self.windows, plan.n_windows * sizeof(Window))
        part.run.B = to_row - from_row
        part.run.part = 0 if rows or wave else i
        part.run.parts = 1 if rows or wave else parts
        part.run.scratch = place(part.arena, &at, plan.scratch)
        part.run.product = place(part.arena, &at, self.product_bytes())
        part.run.index = <int32_t *>place(part.arena, &at, self.block * self.B * 4)
        part.run.active = <int32_t *>place(part.arena, &at, self.B * 4)
        if part.run.mask != NULL:
            part.run.mask += from_row * part.run.mask_b
        for v in range(plan.n_values):
            part.rows[v] = self.rows[v]
            part.rows[v].data = <char *>self.rows[v].data + from_row * self.rows[v].b_stride * plan.values[v].item
        if wave:
            return
        cdef char *slots = <char *>place(part.arena, &at, self.slots_bytes)
        for v in range(plan.n_values):  # threads are not at the same instruction: one would write what another reads
            if plan.values[v].slot >= 0:
                part.rows[v].data = slots + (<char *>self.rows[v].data - self.arena - self.slots_at)
                part.rows[v].t_stride = part.run.B * self.rows[v].b_stride
        part.run.recurrences = part.recurrences
        memcpy(part.recurrences, self.recurrences, plan.n_recurrences * sizeof(Recurrence))
        for v in range(plan.n_instructions):
            ins = &plan.instructions[v]
            if WINDOW <= ins.op <= WAIT:
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
                    N = ins.phase[p].u.panels * ins.phase[p].u.gates * plan.kernels.lanes
                    r.x[p] += self.max_steps[ins.clock] * from_row * N * item

    def run_again(self, x, out):
        """A whole sequence from the initial state; NotImplemented unless `x` is an array that is read in place and a
        stream made for it would be as this one. For `Model.__call__`."""
        cdef idx steps = self.fits(self.in_value, x, True) if self.single else 0
        cdef idx most = steps if self.plan.blockers else min(steps, self.plan.block(self.B))
        if steps == 0 or most != self.block or self.threads is not None or not self.plan.values[self.in_value].time:
            return NotImplemented
        self.reset()
        return self.forward(x, steps, out, True, NULL, 0, 0, True)

    def run_converted(self, tuple inputs, Py_ssize_t T, out, mask, bint chunk=True):
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
        if name == "sums":
            dims[1], data = math.prod(shape), self.windows[recurrence].line
            return cnp.PyArray_SimpleNewFromData(2, dims, self.plan.typenum, data).reshape((self.B, *shape))
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
            return np.full(self.B, held_before(w), dtype=self.plan.dtype)
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
        if name == "history":
            flat = np.reshape(array, (self.B, shape[0], math.prod(shape[1:])))
            self.lines(recurrence, flat.shape[2])[:, :shape[0]] = flat
        elif name == "held":
            w = &self.windows[recurrence]
            w.held = max(0, int(np.ravel(array)[0]))
            w.drop = max(0, -int(np.ravel(array)[0]))
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
        """
        result = {}
        for key, recurrence, name, shape in self.plan.states:
            array = self.taken(recurrence, name, shape)
            result[key] = array[0] if self.batch is None else array
        return result

    @state.setter
    def state(self, given):
        problems, arrays = [], {}
        try:
            given = dict(given)
        except (TypeError, ValueError):
            raise TypeError(f"state must be a dict of arrays, got {type(given).__name__}") from None
        sizes = {key: shape for key, _, _, shape in self.plan.states}
        for key in sizes.keys() - given.keys():
            problems.append(f"state must have the key {key!r}, got none")
        for key in given.keys() - sizes.keys():
            problems.append(f"key of state must be one of {list(sizes)}, got {key!r}")
        for key in sizes.keys() & given.keys():
            array = np.asarray(given[key])
            shape = sizes[key] if self.batch is None else (self.B, *sizes[key])
            if array.shape != shape or array.dtype.kind not in "fiu":
                got = f"{array.dtype} of shape {array.shape}"
                problems.append(f"state[{key!r}] must be real of shape {shape}, got {got}")
            arrays[key] = array
        if not problems:
            problems = self.wrong_counts(arrays)
        if problems:
            raise ValueError("; ".join(sorted(problems)))
        for key, recurrence, name, shape in self.plan.states:
            self.put(recurrence, name, shape, arrays[key])

    cdef list wrong_counts(self, dict arrays):
        """What is wrong with the numbers of steps that window ops are said to hold."""
        found, most = [], {}
        for key, recurrence, name, shape in self.plan.states:
            if name == "history":
                most[recurrence] = shape[0]
            elif name == "held":
                counts = np.unique(arrays[key])
                if len(counts) != 1 or counts[0] != int(counts[0]) or counts[0] > most.get(recurrence, 1):
                    got = ", ".join(f"{n:g}" for n in counts)
                    found.append(f"state[{key!r}] must be one integer of at most {most.get(recurrence, 1)}, got {got}")
        return found

    def reset(self, rows=None):
        """Return to the initial state: all rows, or those of a list of indices or a boolean mask (batch,)."""
        if rows is None:
            self.initialise()
            return
        index = np.asarray(rows)
        if index.dtype == bool and index.shape == (self.B,):
            index = np.flatnonzero(index)
        index = np.atleast_1d(index)
        if index.size and (index.ndim != 1 or index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= self.B):
            raise ValueError(f"rows must be indices in 0..{self.B - 1} or a mask of shape ({self.B},), got {rows!r}")
        if len(index) < self.B:
            self.check_rows_apart()
        for b in index:
            self.initialise_row(b)

    cdef int check_rows_apart(self) except -1:
        """Raise when a row that begins anew would have another number of steps in its windows than the others."""
        cdef int i
        cdef const Instruction *ins
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if WINDOW <= ins.op <= WAIT and self.counts_apart(ins):
                raise ValueError(
                    "rows can be reset apart only where every layer holds as many steps as at the beginning; "
                    "got one that strides over steps or has no padding: reset all rows"
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
        twin = Stream(self.plan, self.batch, model=self.model, block=self.block, threads=self.threads)
        twin.state = self.state
        return twin

    __copy__ = copy

    def __deepcopy__(self, memo):
        return self.copy()

    def __reduce__(self):
        if self.model is None:
            raise TypeError("stream must come from Model.stream to be pickled")
        return _restore, (self.model, self.batch, self.state, self.threads)

    def __repr__(self):
        return f"<fastgru.Stream batch={self.batch} isa={self.plan.isa} dtype={self.plan.dtype}>"


def _restore(model, batch, state, threads):
    """Unpickle: the model's stream with the state it had."""
    stream = model.stream(batch, threads=threads)
    stream.state = state
    return stream


cdef char *place(char *base, size_t *at, idx size) noexcept:
    """The next `size` bytes of the arena, aligned."""
    cdef char *here = NULL if base == NULL else base + at[0]
    at[0] += (size + ALIGN - 1) // ALIGN * ALIGN
    return here


cdef bint overlap(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two C-contiguous arrays share memory."""
    return (a.data < b.data + cnp.PyArray_NBYTES(b)) and (b.data < a.data + cnp.PyArray_NBYTES(a))


cdef bint overlaps(list arrays, cnp.ndarray b):
    """Whether any of several does."""
    for a in arrays:
        if overlap(<cnp.ndarray>a, b):
            return True
    return False


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
