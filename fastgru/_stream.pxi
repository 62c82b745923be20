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
    cdef size_t arena_bytes
    cdef Recurrence *recurrences
    cdef fg_rows *rows
    cdef Run run
    cdef Part *parts           # of a call on several threads
    cdef int n_parts
    cdef fg_rows *second       # values of odd blocks, when layers run side by side
    cdef char *second_arena
    cdef readonly object threads
    cdef bint busy
    cdef idx in_size, widest
    cdef int in_value, out_value
    cdef bint in_ids, several

    def __cinit__(self, Plan plan, batch=None, *, model=None, Py_ssize_t block=0, threads=None):
        self.plan, self.model, self.batch, self.threads = plan, model, batch, threads
        self.B = 1 if batch is None else batch
        self.block = block if block > 0 else plan.block(self.B)
        self.in_value = plan.inputs[0]
        self.in_size = plan.values[self.in_value].size
        self.in_ids = self.in_size == 0
        self.out_value, self.several = plan.outputs[0], len(plan.outputs) > 1
        self.recurrences = <Recurrence *>PyMem_Malloc(max(1, plan.n_recurrences) * sizeof(Recurrence))
        self.rows = <fg_rows *>PyMem_Malloc(plan.n_values * sizeof(fg_rows))
        if self.recurrences == NULL or self.rows == NULL:
            raise MemoryError
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
        self.run.part, self.run.parts = 0, 1
        self.initialise()

    def __dealloc__(self):
        self.free_parts()
        free(self.second_arena)
        PyMem_Free(self.second)
        free(self.arena)
        PyMem_Free(self.recurrences)
        PyMem_Free(self.rows)

    cdef size_t lay_out(self, char *base) noexcept:
        """Place every buffer behind `base` (which may be NULL); returns the bytes needed."""
        cdef size_t at = 0
        cdef int i, p
        cdef const Instruction *ins
        cdef Recurrence *r
        cdef idx item = self.plan.kernels.item, lanes = self.plan.kernels.lanes, widest = 0, N
        cdef Plan plan = self.plan
        for i in range(plan.n_instructions):
            ins = &plan.instructions[i]
            if ins.op == RECURRENT:
                r = &self.recurrences[ins.state]
                r.h[0] = place(base, &at, self.B * ins.features_padded * item)
                r.h[1] = place(base, &at, self.B * ins.features_padded * item)
                r.c = place(base, &at, self.B * ins.units_padded * item)
                r.s0 = place(base, &at, self.B * ins.units_padded * item)
                r.s1 = place(base, &at, self.B * ins.units_padded * item)
                r.y = place(base, &at, self.B * ins.features_padded * item)
                r.last = place(base, &at, self.B * ins.features * item)
                for p in range(ins.n_phases):
                    N = ins.phase[p].u.panels * ins.phase[p].u.gates * lanes
                    widest = max(widest, N)
                    if ins.wx[p].data != NULL:
                        r.x[p] = place(base, &at, self.block * self.B * N * item)
            if ins.output not in plan.outputs:
                self.rows[ins.output].b_stride = max(1, plan.values[ins.output].size)
                self.rows[ins.output].t_stride = self.B * self.rows[ins.output].b_stride
                self.rows[ins.output].data = place(base, &at, self.block * self.B * self.rows[ins.output].b_stride
                                                   * plan.values[ins.output].item)
        self.run.index = <int32_t *>place(base, &at, self.block * self.B * 4)
        self.run.active = <int32_t *>place(base, &at, self.B * 4)
        self.run.scratch = place(base, &at, plan.scratch)
        self.widest = widest
        self.run.product = place(base, &at, self.product_bytes())
        return at

    cdef idx product_bytes(self) noexcept:
        return self.B * self.widest * self.plan.kernels.item if self.plan.unfused else 0

    cdef void initialise(self) noexcept:
        cdef idx b
        for b in range(self.B):
            self.initialise_row(b)

    cdef void initialise_row(self, idx b) noexcept:
        """Row b's state as a fresh stream has it."""
        cdef int i
        cdef const Instruction *ins
        cdef Recurrence *r
        cdef idx item = self.plan.kernels.item
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op != RECURRENT:
                continue
            r = &self.recurrences[ins.state]
            fill(r.h[r.now] + b * ins.features_padded * item, ins.initial_h, ins.features * item)
            fill(r.c + b * ins.units_padded * item, ins.initial_c, ins.units * item)
            memset(r.last + b * ins.features * item, 0, ins.features * item)

    # Running -------------------------------------------------------------------------------------

    def step(self, frame, out=None):
        """Run one time step.

        Parameters
        ----------
        frame : (I,) or (batch, I) array; ids: scalar or (batch,)
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
        cdef cnp.ndarray x
        if (cnp.PyArray_CheckExact(frame) and not self.in_ids and cnp.PyArray_TYPE(frame) == self.plan.typenum
                and cnp.PyArray_ISCARRAY_RO(frame) and self.frame_fits(frame)):
            x = <cnp.ndarray>frame
        else:
            x = self.convert(frame, False)
        return self.forward(x, 1, out, False, NULL, 0, 0)

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
        cdef cnp.ndarray x = self.convert(chunk, True)
        cdef idx T = cnp.PyArray_DIM(x, 0 if self.batch is None else 1)
        return self.forward(x, T, out, True, NULL, 0, 0)

    cdef bint frame_fits(self, x) noexcept:
        if self.batch is None:
            return cnp.PyArray_NDIM(x) == 1 and cnp.PyArray_DIM(x, 0) == self.in_size
        return (cnp.PyArray_NDIM(x) == 2 and cnp.PyArray_DIM(x, 0) == self.B
                and cnp.PyArray_DIM(x, 1) == self.in_size)

    def convert(self, x, bint chunk):
        """`x` as a C-contiguous array of the input's dtype, or an error that names what is wrong."""
        name = "chunk" if chunk else "frame"
        array = np.asarray(x)
        shape = (() if self.batch is None else (self.B,)) + (("T",) if chunk else ())
        shape += () if self.in_ids else (self.in_size,)
        fits = array.ndim == len(shape) and all(e == "T" or e == a for e, a in zip(shape, array.shape))
        if not fits:
            expected = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
            raise ValueError(f"{name} must have shape {expected}, got {array.shape}")
        if array.size == 0:
            raise ValueError(f"{name} must have at least one step, got shape {array.shape}")
        if self.in_ids:
            if array.dtype.kind not in "iu":
                raise TypeError(f"{name} must be integer ids, got {array.dtype}")
            low, high = int(array.min()), int(array.max())
            if low < 0 or high >= self.plan.id_bound:
                raise ValueError(f"{name} must have ids in 0..{self.plan.id_bound - 1}, got {low if low < 0 else high}")
            return np.ascontiguousarray(array, dtype=np.int64)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must be real numbers, got {array.dtype}")
        return np.ascontiguousarray(array, dtype=self.plan.dtype)

    cdef forward(self, cnp.ndarray x, idx T, out, bint chunk, const uint8_t *mask, idx mask_t, idx mask_b):
        """Check or make the outputs, then run T steps in blocks."""
        if self.busy:
            raise RuntimeError("stream must be used by one thread at a time, got a second call while one is running")
        cdef Plan plan = self.plan
        cdef list arrays = None
        cdef cnp.ndarray y = None
        cdef int i
        if self.several:
            arrays = self.all_outputs(out, T, chunk)
            for i in range(len(arrays)):
                self.place_output(plan.outputs[i], <cnp.ndarray>arrays[i], T)
                if out is not None and overlap(<cnp.ndarray>arrays[i], x):
                    x = x.copy()  # the output is written while the input is still being read
        else:
            y = self.output(self.out_value, out, T, chunk, "out")
            self.place_output(self.out_value, y, T)
            if out is not None and overlap(y, x):
                x = x.copy()
        cdef fg_rows *rows = &self.rows[self.in_value]
        rows.data = x.data
        rows.t_stride = max(1, self.in_size)
        rows.b_stride = T * rows.t_stride
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
        return tuple(arrays) if self.several else y

    cdef list all_outputs(self, out, idx T, bint chunk):
        """The arrays of a model with several outputs, given or made."""
        cdef Plan plan = self.plan
        if out is not None and (not isinstance(out, (tuple, list)) or len(out) != len(plan.outputs)):
            raise ValueError(f"out must be a tuple of {len(plan.outputs)} arrays, got {type(out).__name__}")
        return [self.output(v, None if out is None else out[i], T, chunk, f"out[{i}]")
                for i, v in enumerate(plan.outputs)]

    cdef void place_output(self, int value, cnp.ndarray y, idx T) noexcept:
        cdef fg_rows *rows = &self.rows[value]
        rows.data = y.data
        rows.t_stride = self.plan.values[value].size
        rows.b_stride = rows.t_stride * (T if self.plan.values[value].time else 1)

    cdef cnp.ndarray output(self, int value, given, idx T, bint chunk, str name):
        cdef cnp.npy_intp[3] dims
        cdef int n = 0, i
        cdef cnp.ndarray y
        if self.batch is not None:
            dims[n] = self.B
            n += 1
        if chunk and self.plan.values[value].time:
            dims[n] = T
            n += 1
        dims[n] = self.plan.values[value].size
        n += 1
        if given is None:
            return cnp.PyArray_SimpleNew(n, dims, self.plan.typenum)
        cdef bint fits = isinstance(given, np.ndarray)
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
        cdef bint rows = self.B > 1 and split
        cdef bint wave = not rows and split and plan.n_recurrences > 1 and T > 1 and plan.n_instructions <= 256
        job.T, job.block, job.whole, job.first = T, self.block, &self.run, self.rows
        if rows:
            parts = min(threads, self.B)
        elif wave:
            parts = min(threads, plan.n_recurrences)
        elif self.B == 1 and plan.macs >= PANEL_MACS and plan.blas == NULL:
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
        return 0

    cdef int make_parts(self, int parts) except -1:
        """Room for so many threads' views, kept from call to call."""
        cdef int i
        cdef idx size = self.plan.scratch + self.product_bytes() + (self.block + 1) * self.B * 4 + 4 * ALIGN
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
            if self.parts[i].rows == NULL or self.parts[i].recurrences == NULL or self.parts[i].arena == NULL:
                raise MemoryError
        return 0

    cdef void free_parts(self) noexcept:
        cdef int i
        for i in range(self.n_parts):
            PyMem_Free(self.parts[i].rows)
            PyMem_Free(self.parts[i].recurrences)
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
        part.run = self.run
        part.run.rows = part.rows
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
        part.run.recurrences = part.recurrences
        memcpy(part.recurrences, self.recurrences, plan.n_recurrences * sizeof(Recurrence))
        for v in range(plan.n_instructions):
            ins = &plan.instructions[v]
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
                    r.x[p] += self.block * from_row * N * item

    def run_masked(self, x, Py_ssize_t T, out, mask):
        """`process` with a mask (B, T) bool; `x` is already converted. For `Model.__call__`."""
        cdef cnp.ndarray m
        if mask is None:
            return self.forward(x, T, out, True, NULL, 0, 0)
        m = np.ascontiguousarray(mask, dtype=np.uint8)
        return self.forward(x, T, out, True, <uint8_t *>m.data, 1, T)

    # State ---------------------------------------------------------------------------------------

    cdef cnp.ndarray view(self, int recurrence, str name, idx size):
        """State `name` of one recurrent instruction as an array (B, padded) over the arena."""
        cdef int i
        cdef const Instruction *ins = NULL
        cdef Recurrence *r = &self.recurrences[recurrence]
        for i in range(self.plan.n_instructions):
            ins = &self.plan.instructions[i]
            if ins.op == RECURRENT and ins.state == recurrence:
                break
        cdef cnp.npy_intp[2] dims
        cdef void *data = r.h[r.now]
        dims[0], dims[1] = self.B, ins.features_padded
        if name == "c":
            data, dims[1] = r.c, ins.units_padded
        elif name == "y":
            data, dims[1] = r.last, ins.features
        return cnp.PyArray_SimpleNewFromData(2, dims, self.plan.typenum, data)

    @property
    def state(self):
        """A copy of the state: ``"<layer>.<h or c>"`` to an array (H,) or (batch, H)."""
        result = {}
        for key, recurrence, name, size in self.plan.states:
            array = self.view(recurrence, name, size)[:, :size].copy()
            result[key] = array[0] if self.batch is None else array
        return result

    @state.setter
    def state(self, given):
        problems, arrays = [], {}
        try:
            given = dict(given)
        except (TypeError, ValueError):
            raise TypeError(f"state must be a dict of arrays, got {type(given).__name__}") from None
        sizes = {key: size for key, _, _, size in self.plan.states}
        for key in sizes.keys() - given.keys():
            problems.append(f"state must have the key {key!r}, got none")
        for key in given.keys() - sizes.keys():
            problems.append(f"key of state must be one of {list(sizes)}, got {key!r}")
        for key in sizes.keys() & given.keys():
            array = np.asarray(given[key])
            shape = (sizes[key],) if self.batch is None else (self.B, sizes[key])
            if array.shape != shape or array.dtype.kind not in "fiu":
                got = f"{array.dtype} of shape {array.shape}"
                problems.append(f"state[{key!r}] must be real of shape {shape}, got {got}")
            arrays[key] = array
        if problems:
            raise ValueError("; ".join(sorted(problems)))
        for key, recurrence, name, size in self.plan.states:
            self.view(recurrence, name, size)[:, :size] = arrays[key]

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
        for b in index:
            self.initialise_row(b)

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


cdef void fill(char *to, const void *source, idx size) noexcept:
    if source == NULL:
        memset(to, 0, size)
    else:
        memcpy(to, source, size)
