"""Plan: packed weights and a flat list of instructions, immutable.

The engine knows no graphs and no frameworks: `fastgru.lowering` turns a Graph into the instructions that `Plan` packs.
"""

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer

import numpy as np

from ..errors import GraphError
from .c cimport (
    ABSENT, allocate, BLOCK_ROWS, bytes_of, fg_act, FG_FLOAT16, fg_isa, fg_matrix, fg_micro,
    fg_nest, FG_OPERANDS, fg_phase, fg_plus, FG_PROGRAM, FG_RANK, fg_times, FG_TOO_LARGE, Frame, Gemm, idx, Instruction,
    is_line, is_nest, MAX_CLOCKS, MAX_LOOPS, NO_NODE, SLICE_WORK, slice_rows, Value)
from .codes cimport (
    ACTIVATE, AFFINE, ARG_REDUCE, AVERAGE, CONTRACT, CONVERT, DENSE, EMBEDDING, FRAME_NORM, FRAME_PRODUCT, GATHER,
    LAYER_NORM, MAP, MASK, OVERLAP_ADD, RECURRENT, REDUCE, SCAN, STORE, TIME_STEP, TOP_K, WAIT, WINDOW)
from .execute cimport find_isa
from .weights cimport make_weights

cnp.import_array()

cdef enum:
    # A block's input products should stay in the L2 cache, which holds 1 MiB on the machines measured; but it has
    # enough rows to fill the register tiles of the product, BLOCK_ROWS.
    BLOCK_BYTES = 262144
    SCANNED = 8              # and frames whose scans run together, which are long
    NUMBER_WORK = 8          # multiply-adds that take the time of one number of an elementwise op

MAX_INPUTS = 8


@cython.final
cdef class Plan:
    """Packed weights and instructions for one instruction set. Immutable and shared.

    Parameters
    ----------
    values : list of Buffer
    instructions : list of Instruction
        See `fastgru.lowering.instructions`.
    inputs, outputs : list of int
        Numbers of values.
    states : list of (key, recurrence, name, shape)
        What `Stream.state` shows; recurrence -1 - n stands for the buffer n of a State.
    loops : tuple of (int, int, int)
        The instructions that run step by step, from one to before another, and their clock; loop after loop.
    clocks, bases : int
        How many clocks count steps, and how many of these, the first, count those of inputs: inputs of one base have
        one number of steps.
    latency : int
        Steps of the inputs by which the outputs are late.
    isa, dtype : str
    gemm : capsule or None
        `fastgru._blas.functions()` to make the products by BLAS.
    measure : bool
        Only count the bytes of the weights: such a plan can't run, and tells `stream_bytes`.
    stored : (uint8 array (N,), list of int) or None
        The weights as `packed` returned them: of the arrays of the instructions, shapes alone are read.
    lanes : int
        Numbers of a vector of an instruction set that is not of this build, for which the plan is only packed.

    Attributes
    ----------
    bytes : int
        Memory of the packed weights; at most, where they were only counted and some are sparse.
    packed_bytes : list of int
        The same by instruction; of an array that several share, with the first.
    """

    def __cinit__(self, list values, list instructions, list inputs, list outputs, list states, dict blockers, *,
                  str isa, str dtype, Py_ssize_t macs, tuple loops=(), int clocks=1, int bases=1,
                  Py_ssize_t latency=0, gemm=None, bint measure=False, tuple stored=None, int lanes=0):
        cdef int i, output
        cdef const fg_isa *found
        if lanes:
            self.elsewhere.lanes, self.elsewhere.item = lanes, 4 if dtype == "float32" else 8
            self.kernels = &self.elsewhere
        else:
            found = find_isa(isa)
            self.kernels, self.narrow = found.f32 if dtype == "float32" else found.f64, found.narrow
        self.blas = NULL if gemm is None else <Gemm *>PyCapsule_GetPointer(gemm, b"fastgru.gemm")
        if self.blas == NULL and dtype != "float32":
            raise ValueError(f"gemm must be 'blas' for dtype {dtype!r}, got 'packed'")
        self.isa, self.dtype, self.macs = isa, dtype, macs
        self.typenum = cnp.NPY_FLOAT if dtype == "float32" else cnp.NPY_DOUBLE
        self.descr = np.dtype(dtype)
        self.inputs, self.outputs, self.states, self.blockers = inputs, outputs, states, blockers
        self.unfused, self.measure = self.blas != NULL, measure
        self.weights = make_weights(self.kernels, self.narrow, dtype, self.blas != NULL, measure, stored)
        self.widest = 1
        self.nodes = list(dict.fromkeys([d.node for d in instructions]))
        numbers = {name: n for n, name in enumerate(self.nodes)}
        self.n_values, self.n_instructions, self.n_recurrences = len(values), len(instructions), 0
        self.sizes = [(v.size, v.time > 0, v.kind) for v in values]
        self.shapes = [v.shape for v in values]
        self.names = [v.name for v in values]
        self.dtypes = {i: v.dtype for i, v in enumerate(values) if v.dtype}
        self.typed = len(self.dtypes) > 0
        keys = {state[0] for state in states}
        self.steps_key = unused("steps", keys)
        self.still = []
        if clocks > MAX_CLOCKS:
            raise GraphError(
                f"layers that change the number of steps, and inputs with their own, must be fewer than {MAX_CLOCKS}, "
                f"got {clocks - 1}"
            )
        if len(loops) > MAX_LOOPS:
            raise GraphError(
                f"loops of states, each of which starts at the end of another, must be at most {MAX_LOOPS}, "
                f"got {len(loops)}"
            )
        self.n_loops = len(loops)
        for i, (begin, end, clock) in enumerate(loops):
            self.loop_begin[i], self.loop_end[i], self.loop_clock[i] = begin, end, clock - 1
        self.clocks, self.bases, self.n_windows, self.latency = clocks, bases, 0, latency
        self.n_slots = max([v.slot for v in values], default=-1) + 1
        self.largest, self.framed, self.scans, self.loose = 1, False, False, False
        self.values = <Value *>allocate(len(values), sizeof(Value))
        self.instructions = <Instruction *>allocate(len(instructions), sizeof(Instruction))
        for i, v in enumerate(values):
            self.values[i].size = v.size
            self.values[i].slot = v.slot
            self.values[i].clock = max(0, v.time - 1)
            self.values[i].line = v.line
            self.values[i].stays = v.stays
            self.values[i].bound = v.bound
            self.values[i].rank = len(self.shapes[i])
            if self.values[i].rank > FG_RANK:
                raise GraphError(f"axes of an item must be at most {FG_RANK}, got shape {self.shapes[i]}")
            for j, n in enumerate(self.shapes[i]):
                self.values[i].dims[j] = n
            self.values[i].state, self.values[i].initial = v.state, self.weights.own_once(v.initial)
            self.values[i].time = v.time > 0
            self.values[i].item = {"float": self.kernels.item, "int": 8, "bool": 1}[v.kind]
            self.values[i].node, self.values[i].given = NO_NODE, i in inputs or i in outputs
        self.packed_bytes = []
        for i, d in enumerate(instructions):
            before = self.weights.bytes
            self.load(&self.instructions[i], d)
            self.packed_bytes.append(self.weights.bytes - before)
            self.instructions[i].node = numbers[d.node]
            if self.instructions[i].frame != NULL and self.instructions[i].frame.layer != NULL:
                self.instructions[i].frame.layer.node = numbers[d.node]
            for output in (*d.written, *d.held):
                self.values[output].node = numbers[d.node]
            self.count_work(&self.instructions[i])
        self.weights.packed, self.bytes = None, self.weights.bytes
        self.weights.check_whole()
        self.find_moved(values, instructions)
        if self.n_windows:
            self.still = [(v, unused(f"{self.names[v]}.last", keys)) for v in inputs if not self.sizes[v][1]]
        self.largest = max([1] + [v.size for v in values])

    cdef int find_moved(self, list values, list instructions) except -1:
        """Find the values of every loop of which each step is shown at a place of its own."""
        cdef int loop, i
        moved = []
        for loop in range(self.n_loops):
            self.loop_moved[loop] = <int>len(moved)
            touched = set()
            for d in instructions[self.loop_begin[loop]:self.loop_end[loop]]:
                touched.update(d.inputs, d.written, d.held)
            for i in sorted(touched):
                if self.values[i].time and self.values[i].clock == self.loop_clock[loop] and not self.values[i].stays:
                    moved.append(i)
        self.loop_moved[self.n_loops] = <int>len(moved)
        self.moved = <int *>allocate(len(moved), sizeof(int))
        for i in range(<int>len(moved)):
            self.moved[i] = moved[i]
        return 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.n_instructions if self.instructions != NULL else 0):
            if self.instructions[i].frame != NULL:
                PyMem_Free(self.instructions[i].frame.program)
                PyMem_Free(self.instructions[i].frame.layer)
                PyMem_Free(self.instructions[i].frame)
        PyMem_Free(self.moved)
        PyMem_Free(self.values)
        PyMem_Free(self.instructions)

    def packed(self):
        """The arrays as kernels read them, in the order in which instructions do, and a list of what the weights of
        each matrix decided."""
        return list(self.weights.kept), list(self.weights.facts)

    @property
    def lanes(self):
        """Elements of one vector."""
        return self.kernels.lanes

    cdef int count_work(self, Instruction *ins) noexcept:
        """Count the work of an instruction for one row and step, and the rows it may run without a look at signals."""
        cdef Frame *frame = ins.frame
        cdef idx work = self.row_work(ins), rows = 1
        cdef int i
        if is_nest(ins):
            work = NUMBER_WORK if ins.op != CONTRACT else 1
            work = fg_times(work, max(1, frame.n_program))
            for i in range(frame.nest.rank):
                work = fg_times(work, frame.nest.dims[i])
        elif ins.op == SCAN:
            rows = fg_times(frame.steps, frame.rows)
            work = self.row_work(frame.layer)
            frame.layer.slice = slice_rows(work)
        elif ins.op == OVERLAP_ADD:
            work = fg_times(work, frame.reach)
        elif FRAME_PRODUCT <= ins.op <= TOP_K:
            rows = fg_times(frame.dims[0], frame.dims[1])
            work = fg_times(work, max(1, frame.count))
        ins.slice = max(1, SLICE_WORK // work) if is_nest(ins) else slice_rows(work)
        self.work = fg_plus(self.work, fg_times(work, rows))
        return 0

    cdef idx row_work(self, const Instruction *ins) noexcept:
        """Multiply-adds of an instruction that runs over rows, for one of them."""
        cdef idx work = fg_plus(fg_times(ins.size, NUMBER_WORK), matrix_work(&ins.w, self.kernels.lanes))
        cdef int i
        for i in range(ins.n_phases):
            work = fg_plus(work, matrix_work(&ins.phase[i].u, self.kernels.lanes))
            work = fg_plus(work, matrix_work(&ins.wx[i], self.kernels.lanes))
        return work

    cdef int load(self, Instruction *ins, d) except -1:
        """Load the fields that all instructions have, then those of its kind."""
        cdef int i
        ins.op = d.code
        ins.n_inputs = len(d.inputs)
        if ins.n_inputs > MAX_INPUTS:
            raise GraphError(f"inputs of node {d.node!r} must be at most {MAX_INPUTS}, got {ins.n_inputs}")
        for i, value in enumerate(d.inputs):
            ins.inputs[i] = value
        ins.output, ins.clock, ins.size = d.output, d.clock - 1, d.size
        self.framed = self.framed or ins.op >= MAP
        if ins.op >= MAP and ins.op != CONVERT:
            ins.frame = <Frame *>allocate(1, sizeof(Frame))
        if ins.op == RECURRENT:
            self.load_recurrent(ins, d.layer)
        elif ins.op == DENSE or ins.op == FRAME_PRODUCT:
            self.load_dense(ins, d)
        elif ins.op == EMBEDDING:
            ins.w = self.weights.table(d.w, d.precision)
        elif ins.op == LAYER_NORM or ins.op == FRAME_NORM:
            ins.scale, ins.shift, ins.number = self.weights.own_once(d.scale), self.weights.own_once(d.shift), d.eps
        elif ins.op == AFFINE:
            ins.scale, ins.shift = self.weights.own_once(d.scale), self.weights.own_once(d.shift)
        elif ins.op == ACTIVATE:
            ins.act, ins.softmax, ins.shift = act(d.act), d.softmax, self.weights.own_once(d.shift)
        elif ins.op == AVERAGE:
            ins.act = act(d.act)
        elif ins.op == MASK:
            ins.number = d.value
        elif is_nest(ins):
            self.load_nest(ins, d)
        elif is_line(ins):
            self.load_line(ins, d)
        elif ins.op == TIME_STEP:
            ins.frame.kept, ins.frame.last, ins.frame.count, ins.frame.fewest = d.kept, d.last, d.count, d.fewest
            self.picks = True
        elif ins.op == SCAN:
            self.load_scan(ins, d)
        if FRAME_PRODUCT <= ins.op <= TOP_K:
            self.load_rows(ins, d)
        return 0

    cdef int load_operands(self, Frame *frame, d) except -1:
        """Load the places where the frames of an instruction begin."""
        cdef const void *numbers
        cdef int i
        self.check_room(d, "operands", len(d.operands), FG_OPERANDS)
        for i, (value, offset, constant) in enumerate(d.operands):
            frame.operands[i].value, frame.operands[i].offset = value, offset
            if constant is not None:
                numbers = self.weights.own_once(constant)
                frame.operands[i].data = <const char *>numbers + <idx>offset * self.kernels.item
        return 0

    cdef int check_room(self, d, what, count, most) except -1:
        if count > most:
            raise GraphError(f"{what} of node {d.node!r} must be at most {most}, got {count}")
        return 0

    cdef int load_nest(self, Instruction *ins, d) except -1:
        """Loops over frames; see include/fastgru/ops/frames.h."""
        cdef Frame *frame = ins.frame
        cdef fg_nest *nest = &frame.nest
        cdef int i, j
        self.check_room(d, "loops", len(d.dims), FG_RANK - 2)  # the executor adds steps and rows
        self.load_operands(frame, d)
        nest.rank, nest.outer, nest.operands = len(d.dims), d.outer, len(d.operands)
        for j, n in enumerate(d.dims):
            nest.dims[j] = n
            for i in range(nest.operands):
                nest.strides[i][j] = d.strides[i][j]
        frame.over_time, frame.some_steps = d.over_time, d.some_steps
        if ins.op == MAP or ins.op == STORE:
            self.load_program(frame, d)
        elif ins.op == REDUCE:
            frame.function = d.function
        elif ins.op == CONTRACT:
            ins.act = act(d.act)
        elif ins.op == ARG_REDUCE:
            frame.function, frame.last = d.smallest, d.last
        elif ins.op == GATHER:
            frame.count, frame.stride, self.looks_up = d.count, d.stride, True
        return 0

    cdef int load_line(self, Instruction *ins, d) except -1:
        """Steps in a line of memory."""
        cdef Frame *frame = ins.frame
        cdef int i
        self.n_windows += 1
        frame.window, frame.kept, frame.fill = d.window, d.kept, d.fill
        frame.reach, frame.stride_in_time, frame.before, frame.after = d.reach, d.stride, d.before, d.after
        if ins.op == WINDOW and d.bounds is not None:
            first, end = d.bounds
            frame.sliced, frame.first, frame.end = True, first, FG_TOO_LARGE if end is None else end
        elif ins.op == OVERLAP_ADD:
            frame.lead, frame.rest = d.lead, d.rest
            self.loose = self.loose or frame.rest > 0
        elif ins.op == WAIT:
            self.check_room(d, "inputs that wait for each other", len(d.meeting), MAX_INPUTS)
            frame.n_meeting = len(d.meeting)
            for i, (window, clock) in enumerate(d.meeting):
                frame.meeting[i], frame.meeting_clocks[i] = window, clock - 1
        return 0

    cdef int load_rows(self, Instruction *ins, d) except -1:
        """Rows of a frame."""
        cdef Frame *frame = ins.frame
        frame.dims[0], frame.dims[1] = d.dims
        (frame.read_offset, frame.read[0], frame.read[1]) = d.read
        (frame.write_offset, frame.write[0], frame.write[1]) = d.write
        if ins.op == TOP_K:
            frame.count, frame.function, frame.outputs[0] = d.count, d.smallest, d.outputs[0]
        return 0

    cdef int load_program(self, Frame *frame, d) except -1:
        cdef int i
        self.check_room(d, "functions", len(d.program), FG_PROGRAM)
        frame.n_program = len(d.program)
        frame.program = <fg_micro *>allocate(len(d.program), sizeof(fg_micro))
        for i, (function, a, b, c, alpha, beta) in enumerate(d.program):
            frame.program[i].function, frame.program[i].alpha, frame.program[i].beta = function, alpha, beta
            frame.program[i].a, frame.program[i].b, frame.program[i].c = a, b, c
        return 0

    cdef int load_scan(self, Instruction *ins, d) except -1:
        """The recurrence of a scan reads value 0, writes value 1 and is masked by value 2."""
        cdef Frame *frame = ins.frame
        self.scans = True
        self.load_operands(frame, d)
        frame.steps, frame.rows = d.steps, d.rows
        (frame.read_offset, frame.read[0], frame.read[1]) = d.read
        frame.write[0], frame.write[1] = d.rows * d.layer.features, d.layer.features
        frame.outputs[0], frame.outputs[1] = (*d.outputs, -1)[:2]
        frame.layer = <Instruction *>allocate(1, sizeof(Instruction))
        frame.layer.op, frame.layer.output, frame.layer.n_inputs = RECURRENT, 1, 1
        if frame.operands[2].value != ABSENT:
            frame.layer.n_inputs, frame.layer.inputs[1] = 2, 2
        self.load_recurrent(frame.layer, d.layer)
        return 0

    cdef int load_dense(self, Instruction *ins, d) except -1:
        ins.act = act(d.act)
        if ins.op == DENSE:
            ins.softmax = d.softmax
        if self.blas == NULL:
            ins.w = self.weights.pack(d.w, d.precision, "rows")
            ins.w.input_scale, ins.w.input_zero = d.input_scale, d.input_zero
            ins.shift = self.weights.own_once(d.bias, "rows")
        else:
            ins.w.data, ins.w.inner = self.weights.own_once(d.w), d.w.shape[1]
            ins.shift = self.weights.own_once(d.bias)
        return 0

    cdef int load_recurrent(self, Instruction *ins, layer) except -1:
        cdef int i, j
        cdef fg_phase *phase
        ins.reverse, ins.last, ins.carry = layer.reverse, layer.last, layer.carry
        ins.gated_output = layer.gated_output
        ins.units, ins.features = layer.units, layer.features
        ins.units_padded, ins.features_padded = self.weights.padded(ins.units), self.weights.padded(ins.features)
        ins.state = self.n_recurrences
        self.n_recurrences += 1
        ins.initial_h, ins.initial_c = self.weights.own_once(layer.initial_h), self.weights.own_once(layer.initial_c)
        ins.n_phases = len(layer.phases)
        for i, p in enumerate(layer.phases):
            phase = &ins.phase[i]
            phase.kind, phase.tier, phase.keep_candidate, phase.clip = p.kind, p.tier, p.keep_candidate, p.clip
            for j in range(3):
                phase.act[j] = act(p.act[j])
            phase.u = self.weights.pack(p.u, layer.precision)
            if phase.u.format <= FG_FLOAT16:
                phase.bias = self.weights.own_once(p.bias_h, "gates")
            else:
                ins.bu[i], self.unfused = self.weights.own_once(p.bias_h, "gates"), True
            if p.peephole is not None:
                phase.peephole = self.weights.own_rows(p.peephole)
            if p.table is not None:
                ins.table[i] = self.weights.own_once(p.table, "table")
            elif p.x is not None:
                ins.wx[i] = self.weights.pack(p.x, layer.precision)
                ins.bx[i] = self.weights.own_once(p.bias_x, "gates")
            self.widest = max(self.widest, phase.u.panels * phase.u.gates * self.kernels.lanes)
        return 0

    def block(self, Py_ssize_t batch):
        """Steps run at a time through the whole plan, for a batch of this size."""
        widest = max(self.widest, self.largest)
        least = SCANNED if self.scans else 1 if self.framed else BLOCK_ROWS
        rows = max(least, BLOCK_BYTES // (widest * self.kernels.item))
        return max(1, rows // batch)


cdef str unused(str key, set keys):
    """`key`, or one like it that is not among `keys`."""
    return next(k for k in (key, *[f"{key}.{i}" for i in range(len(keys))]) if k not in keys)


cdef idx matrix_work(const fg_matrix *w, idx lanes) noexcept:
    """Multiply-adds of one row; none of a table."""
    return bytes_of(fg_times(w.panels, lanes), max(1, w.gates), w.inner) if w.panels else 0


cdef fg_act act(tuple t) except *:
    cdef fg_act a
    a.kind, a.alpha, a.beta = t
    return a
