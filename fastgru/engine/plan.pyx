"""Plan: packed weights and a flat list of instructions, immutable.

The engine knows no graphs and no frameworks: `fastgru.lowering` turns a Graph into the instructions that `Plan` packs.
"""

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer

import sys

import numpy as np

from ..errors import GraphError
from .c cimport (
    allocate, bytes_of, fg_act, FG_FLOAT16, fg_isa, fg_matrix, fg_nest, fg_plus, fg_times, FG_TOO_LARGE, FG_TRACED,
    Gemm, idx,
    NO_NODE)
from .codes cimport (
    ABSENT, ATTEND, CONTRACT, DENSE, fg_field, fg_instruction_fields, fg_layer, fg_layer_fields, fg_op_fields,
    fg_phase, fg_value_fields, FRAME_PRODUCT, GATHER, Instruction, is_frame_rows, is_line, is_nest, is_recurrent,
    KIND_ACT, KIND_ACTS, KIND_ARRAY, KIND_BIAS, KIND_BOOL, KIND_BOUNDS, KIND_BUFFERS, KIND_CLOCK, KIND_CODES,
    KIND_DIMS, KIND_FLOAT, KIND_FUNCTIONS, KIND_FURTHER, KIND_GATES, KIND_INDEX, KIND_INNER, KIND_INT, KIND_LAYER,
    KIND_LOOKUP, KIND_MATRIX, KIND_OUTER, KIND_PADDED, KIND_PAIR, KIND_PAIRS, KIND_PANELS, KIND_ROWS, KIND_SHAPE,
    KIND_STR, KIND_STRIDES, KIND_TABLE, MAP, MAX_CLOCKS, MAX_LOOPS, OVERLAP_ADD, RECURRENT, SCAN, STORE, TIME_STEP,
    TOP_K, TRACED, Value)
from .execute cimport find_isa
from .run cimport BLOCK_ROWS, product_width, SLICE_WORK, slice_rows
from .weights cimport make_weights

cnp.import_array()

cdef enum:
    # A block's input products should stay in the L2 cache, which holds 1 MiB on the machines measured; but it has
    # enough rows to fill the register tiles of the product, BLOCK_ROWS.
    BLOCK_BYTES = 262144
    SCANNED = 8              # and frames whose scans run together, which are long
    NUMBER_WORK = 8          # multiply-adds that take the time of one number of an elementwise op
    ATTENDED = 256           # steps that each step attends to: how many a call has is not known when a plan is made


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
        self.widest, self.pieces = 1, []
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
            self.load_value(&self.values[i], v)
            self.values[i].given = i in inputs or i in outputs
        self.packed_bytes = []
        for i, d in enumerate(instructions):
            before = self.weights.bytes
            self.load(&self.instructions[i], d)
            self.packed_bytes.append(self.weights.bytes - before)
            self.instructions[i].node = numbers[d.node]
            if self.instructions[i].op == SCAN:
                self.instructions[i].scan.layer.node = numbers[d.node]
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
        cdef const fg_nest *nest = &ins.nest.nest
        cdef idx work = self.row_work(ins), rows = 1
        cdef int i
        if is_nest(ins):
            work = NUMBER_WORK if ins.op != CONTRACT else 1
            if ins.op == MAP or ins.op == STORE:
                work = fg_times(work, max(1, ins.map.n_program))
            for i in range(nest.rank):
                work = fg_times(work, nest.dims[i])
        elif ins.op == SCAN:
            rows = fg_times(ins.scan.steps, ins.scan.rows)
            work = self.row_work(ins.scan.layer)
            ins.scan.layer.slice = slice_rows(work)
        elif ins.op == OVERLAP_ADD:
            work = fg_times(work, ins.overlap_add.reach)
        elif ins.op == ATTEND:
            work = fg_times(ATTENDED, fg_plus(ins.size, fg_times(ins.attend.heads, ins.attend.width)))
        elif is_frame_rows(ins):
            rows = fg_times(ins.frame_rows.dims[0], ins.frame_rows.dims[1])
            if ins.op == TOP_K:
                work = fg_times(work, max(1, ins.top_k.count))
        ins.slice = max(1, SLICE_WORK // work) if is_nest(ins) else slice_rows(work)
        self.work = fg_plus(self.work, fg_times(work, rows))
        return 0

    cdef idx row_work(self, const Instruction *ins) noexcept:
        """Multiply-adds of an instruction that runs over rows, for one of them."""
        cdef idx work = fg_times(ins.size, NUMBER_WORK), lanes = self.kernels.lanes
        cdef const fg_phase *phase
        cdef int i
        if ins.op == DENSE:
            work = fg_plus(work, matrix_work(&ins.dense.w, lanes))
        elif ins.op == FRAME_PRODUCT:
            work = fg_plus(work, matrix_work(&ins.frame_product.w, lanes))
        elif is_recurrent(ins):
            for i in range(ins.recurrent.layer.n_phases):
                phase = &ins.recurrent.layer.phases[i]
                work = fg_plus(work, fg_plus(matrix_work(&phase.u, lanes), matrix_work(&phase.x, lanes)))
        return work

    # Fields are stored by the tables made of their declaration, a kind of field in one way wherever it stands; what
    # follows from them is worked out behind.

    cdef int load_value(self, Value *v, d) except -1:
        self.store_fields(v, d, fg_value_fields, d)
        v.clock, v.node = max(0, v.time - 1), NO_NODE
        v.item = {"float": self.kernels.item, "int": 8, "bool": 1}[d.kind]
        return 0

    cdef int load(self, Instruction *ins, d) except -1:
        cdef int i
        ins.op, self.loading = d.code, d.node
        self.store_fields(ins, d, fg_instruction_fields, d)
        self.store_fields(ins, d, fg_op_fields[ins.op], d)
        self.framed = self.framed or ins.op >= MAP
        self.picks = self.picks or ins.op == TIME_STEP
        self.looks_up = self.looks_up or ins.op == GATHER or ins.op == TRACED  # calls that may end with an error
        self.scans = self.scans or ins.op == SCAN
        self.n_windows += is_line(ins)
        if ins.op == TRACED:
            for i in range(ins.traced.layer.n_phases):
                ins.traced.layer.phases[i].tier += FG_TRACED
        if ins.op == OVERLAP_ADD and ins.overlap_add.rest > 0:
            self.loose = True
        if ins.op == SCAN and ins.scan.operands[2].buffer != ABSENT:
            ins.scan.layer.n_inputs, ins.scan.layer.inputs[1] = 2, 2  # the lengths make a mask
        return 0

    cdef int store_fields(self, void *record, d, const fg_field *field, beside) except -1:
        """Store the fields of a table, in its order, into a struct; the precision of matrices stands in `beside`."""
        for name in names_of(field):
            if field.most:
                self.store_items(<char *>record, field, getattr(d, name), beside)
            else:
                self.store(<char *>record + field.at, field, getattr(d, name), beside)
            field += 1
        return 0

    cdef int store(self, char *to, const fg_field *field, value, beside) except -1:
        """Store a field that is one value."""
        cdef int i
        if field.kind == KIND_INT:
            (<idx *>to)[0] = value
        elif field.kind == KIND_INDEX:
            (<int *>to)[0] = value
        elif field.kind == KIND_BOOL:
            (<int *>to)[0] = <bint>value
        elif field.kind == KIND_FLOAT:
            (<double *>to)[0] = value
        elif field.kind == KIND_CLOCK:
            (<int *>to)[0] = value - 1
        elif field.kind == KIND_ACT:
            (<fg_act *>to)[0] = act(value)
        elif field.kind == KIND_ACTS:
            for i in range(3):
                (<fg_act *>to)[i] = act(value[i])
        elif field.kind == KIND_OUTER:
            (<fg_nest *>to).outer = value
        elif field.kind == KIND_PAIR:
            (<idx *>to)[0], (<idx *>to)[1] = value
        elif field.kind == KIND_ROWS:
            self.store_fields(to, value, field.fields, beside)
        elif field.kind == KIND_LAYER:
            self.store_layer(<fg_layer *>to, value)
        elif field.kind == KIND_INNER:
            (<Instruction **>to)[0] = self.inner(value)
        elif field.kind != KIND_STR and value is not None:
            self.store_array(to, field, value, beside)
        return 0

    cdef int store_items(self, char *record, const fg_field *field, value, beside) except -1:
        """Store a field that is a tuple, and beside it how many items it has; of bounds, None is no item."""
        cdef char *to = record + field.at
        cdef int i, j, n = self.room(field, () if value is None else value)
        if field.kind == KIND_DIMS or field.kind == KIND_STRIDES:
            self.store_nest(<fg_nest *>to, field, value, n)
            return 0
        (<int *>(record + field.count))[0] = n
        if field.kind == KIND_FUNCTIONS:
            (<void **>to)[0] = self.reserve(n * field.size)
            to = (<char **>to)[0]
        for i in range(n):
            if field.kind == KIND_BUFFERS or field.kind == KIND_FURTHER or field.kind == KIND_CODES:
                (<int *>to)[i] = value[i]
            elif field.kind == KIND_SHAPE:
                (<idx *>to)[i] = value[i]
            elif field.kind == KIND_BOUNDS:
                (<idx *>to)[i] = FG_TOO_LARGE if value[i] is None else value[i]
            elif field.kind == KIND_PAIRS:
                for j in range(2):
                    (<int *>to)[2 * i + j] = value[i][j]
            elif field.fields != NULL:
                self.store_fields(to + i * field.size, value[i], field.fields, beside)
            else:
                raise unknown(field)
        return 0

    cdef int room(self, const fg_field *field, items) except -1:
        """The number of items, if there is room for them."""
        if len(items) > field.most:
            owner = f" of node {self.loading!r}" if self.loading else ""
            raise GraphError(f"{field.items.decode()}{owner} must be at most {field.most}, got {len(items)}")
        return <int>len(items)

    cdef int store_nest(self, fg_nest *nest, const fg_field *field, value, int n) except -1:
        """The dims or the strides of loops; see include/fastgru/ops/frames.h."""
        cdef int i, j
        if field.kind == KIND_DIMS:
            nest.rank = n
            for j in range(n):
                nest.dims[j] = value[j]
            return 0
        nest.operands = n
        for i in range(n):
            strides = value[i]
            for j in range(nest.rank):
                nest.strides[i][j] = strides[j]
        return 0

    cdef int store_array(self, char *to, const fg_field *field, value, beside) except -1:
        """The numbers of an array, packed as its kind says."""
        if field.kind == KIND_ARRAY or (field.kind == KIND_BIAS and self.blas != NULL):
            (<const void **>to)[0] = self.weights.own_once(value)
        elif field.kind == KIND_BIAS:
            (<const void **>to)[0] = self.weights.own_once(value, "rows")
        elif field.kind == KIND_GATES:
            (<const void **>to)[0] = self.weights.own_once(value, "gates")
        elif field.kind == KIND_TABLE:
            (<const void **>to)[0] = self.weights.own_once(value, "table")
        elif field.kind == KIND_PADDED:
            (<const void **>to)[0] = self.weights.own_rows(value)
        elif field.kind == KIND_PANELS:
            (<fg_matrix *>to)[0] = self.weights.pack(value, beside.precision)
        elif field.kind == KIND_LOOKUP:
            (<fg_matrix *>to)[0] = self.weights.table(value, beside.precision)
        elif field.kind == KIND_MATRIX:
            self.store_matrix(<fg_matrix *>to, value, beside)
        else:
            raise unknown(field)
        return 0

    cdef int store_matrix(self, fg_matrix *w, value, beside) except -1:
        """A matrix (N, K); BLAS takes it as it is."""
        if self.blas != NULL:
            w.data, w.inner = self.weights.own_once(value), value.shape[1]
            return 0
        w[0] = self.weights.pack(value, beside.precision, "rows")
        w.input_scale, w.input_zero = beside.input_scale, beside.input_zero
        return 0

    cdef int store_layer(self, fg_layer *layer, value) except -1:
        """A recurrence, and its number among those of a stream."""
        cdef const fg_phase *phase
        cdef int i
        self.store_fields(layer, value, fg_layer_fields, value)
        layer.units_padded, layer.features_padded = (
            self.weights.padded(layer.units), self.weights.padded(layer.features))
        layer.state = self.n_recurrences
        self.n_recurrences += 1
        for i in range(layer.n_phases):
            phase = &layer.phases[i]
            self.unfused = self.unfused or phase.u.format > FG_FLOAT16
            self.widest = max(self.widest, product_width(phase, self.kernels.lanes))
        return 0

    cdef Instruction *inner(self, value) except NULL:
        """A layer as an instruction that reads value 0 and writes value 1."""
        cdef Instruction *made = <Instruction *>self.reserve(sizeof(Instruction))
        made.op, made.output, made.n_inputs = RECURRENT, 1, 1
        self.store_layer(&made.recurrent.layer, value)
        return made

    cdef void *reserve(self, idx size) except NULL:
        """Zeroed memory that lives as long as the plan."""
        cdef cnp.ndarray made = np.zeros(max(1, size), np.uint8)
        self.pieces.append(made)
        return made.data

    def bound(self, str name):
        """Ids that an input looks up lie below it; one far above those of any table where none are looked up."""
        return self.values[<int>next(v for v in self.inputs if self.names[v] == name)].bound

    def block(self, Py_ssize_t batch):
        """Steps run at a time through the whole plan, for a batch of this size."""
        widest = max(self.widest, self.largest)
        least = SCANNED if self.scans else 1 if self.framed else BLOCK_ROWS
        rows = max(least, BLOCK_BYTES // (widest * self.kernels.item))
        return max(1, rows // batch)


cdef str unused(str key, set keys):
    """`key`, or one like it that is not among `keys`."""
    return next(k for k in (key, *[f"{key}.{i}" for i in range(len(keys))]) if k not in keys)


cdef object unknown(const fg_field *field):
    """The error for a kind that has no way to be stored."""
    return SystemError(f"kind of field {field.name.decode()!r} must be one that the engine stores, got {field.kind}")


cdef dict NAMES = {}  # of the fields of a table, by its place


cdef list names_of(const fg_field *table):
    """The names of the fields of a table."""
    cdef const fg_field *field = table
    names = NAMES.get(<size_t>table)
    if names is None:
        names = NAMES[<size_t>table] = []
        while field.name != NULL:
            names.append(sys.intern(field.name.decode()))
            field += 1
    return names


cdef idx matrix_work(const fg_matrix *w, idx lanes) noexcept:
    """Multiply-adds of one row; none of a table."""
    return bytes_of(fg_times(w.panels, lanes), max(1, w.gates), w.inner) if w.panels else 0


cdef fg_act act(tuple t) except *:
    cdef fg_act a
    a.kind, a.alpha, a.beta = t
    return a
