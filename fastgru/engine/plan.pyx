"""Plan: packed weights and a flat list of instructions, immutable.

The engine knows no graphs and no frameworks: `fastgru.lowering` turns a Graph into instructions, and these into the
words that `Plan` reads.
"""

cimport cython
cimport numpy as cnp
from cpython.mem cimport PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer

import numpy as np

from .c cimport (
    allocate, bytes_of, FG_FLOAT16, fg_isa, fg_matrix, fg_nest, fg_plus, fg_times, FG_TRACED, Gemm, idx)
from .codes cimport (
    ABSENT, ATTEND, CONTRACT, DENSE, fg_field, fg_layer, fg_layer_fields, fg_op_fields, fg_phase, FRAME_PRODUCT,
    GATHER, Instruction, is_frame_rows, is_line, is_nest, is_recurrent, KIND_ARRAY, KIND_BIAS, KIND_FUNCTIONS,
    KIND_GATES, KIND_INNER, KIND_LAYER, KIND_LOOKUP, KIND_MATRIX, KIND_PADDED, KIND_PANELS, KIND_PRECISION, KIND_TABLE,
    MAP, OVERLAP_ADD, SCAN, STORE, TIME_STEP, TOP_K, TRACED)
from .execute cimport find_isa
from .run cimport BLOCK_ROWS, product_width, SLICE_WORK, slice_rows
from .structs cimport read_structs, Structs
from .weights cimport FLOAT32, make_weights

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
    program : Program
        See `fastgru.lowering.encoding`: instructions as words, the texts and arrays that these name by number, and why
        a stream can't run it, by node.
    isa, dtype : str
    gemm : capsule or None
        `fastgru._blas.functions()` to make the products by BLAS.
    measure : bool
        Only count the bytes of the weights: such a plan can't run, and tells `stream_bytes`.
    stored : (uint8 array (N,), list of int) or None
        The weights as `packed` returned them: of the arrays of the instructions, shapes alone are read.
    lanes : int
        Numbers of a vector of an instruction set that is not of this build, for which the plan is only packed.
    check : bool
        The program comes from a file: refuse it unless every access of its instructions lies inside of memory that
        belongs to it (``include/fastgru/plan/check.h``). GraphError lists all that was found.

    Attributes
    ----------
    inputs, outputs : list of int
        Numbers of values.
    states : list of (key, recurrence, name, shape)
        What `Stream.state` shows; recurrence -1 - n stands for the buffer n of a State.
    bases : int
        How many clocks, the first, count those of inputs: inputs of one base have one number of steps.
    latency : int
        Steps of the inputs by which the outputs are late.
    bytes : int
        Memory of the packed weights; at most, where they were only counted and some are sparse.
    packed_bytes : list of int
        The same by instruction; of an array that several share, with the first.
    """

    def __cinit__(self, program, *, str isa, str dtype, gemm=None, bint measure=False, tuple stored=None, int lanes=0,
                  bint check=False):
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
        self.isa, self.dtype = isa, dtype
        self.typenum = cnp.NPY_FLOAT if dtype == "float32" else cnp.NPY_DOUBLE
        self.descr = np.dtype(dtype)
        self.unfused, self.measure = self.blas != NULL, measure
        self.widest = 1
        self.take(read_structs(program, self.kernels.item, check))
        self.blockers = program.blockers
        self.weights = make_weights(
            self.kernels, self.narrow, dtype, self.blas != NULL, measure, stored, self.structs, program.arrays)
        self.finish()
        self.weights.end_all()
        self.bytes = self.weights.bytes
        self.find_moved()
        keys = {state[0] for state in self.states}
        self.steps_key, self.still = unused("steps", keys), []
        if self.n_windows:
            self.still = [(v, unused(f"{self.names[v]}.last", keys)) for v in self.inputs if not self.sizes[v][1]]

    cdef int take(self, Structs structs) except -1:
        """Have what was read in the plan itself, where steps look for it."""
        cdef int i
        self.structs, self.values, self.instructions = structs, structs.values, structs.instructions
        self.n_values, self.n_instructions, self.n_slots = structs.n_values, structs.n_instructions, structs.n_slots
        self.inputs, self.outputs, self.states = structs.inputs, structs.outputs, structs.states
        self.sizes, self.shapes, self.names, self.nodes = structs.sizes, structs.shapes, structs.names, structs.texts
        self.dtypes, self.typed = structs.dtypes, len(structs.dtypes) > 0
        self.macs, self.latency, self.largest = structs.macs, structs.latency, structs.largest
        self.clocks, self.bases, self.n_loops = structs.clocks, structs.bases, structs.n_loops
        for i in range(self.n_loops):
            self.loop_begin[i], self.loop_end[i], self.loop_clock[i] = (
                structs.loop_begin[i], structs.loop_end[i], structs.loop_clock[i])
        return 0

    cdef int finish(self) except -1:
        """Put packed numbers into the instructions, in their order, and work out what follows from their fields."""
        cdef Instruction *ins
        cdef int i, j
        self.packed_bytes = []
        for i in range(self.n_values):
            if self.values[i].initial != NULL:
                self.values[i].initial = self.weights.flat(number_of(self.values[i].initial))
        for i in range(self.n_instructions):
            ins = &self.instructions[i]
            before = self.weights.bytes
            self.place(<char *>ins, fg_op_fields[ins.op], FLOAT32)
            self.packed_bytes.append(self.weights.bytes - before)
            self.note(ins)
            self.values[ins.output].node = ins.node
            for j in range(ins.n_outputs):
                self.values[ins.outputs[j]].node = ins.node
            for j in range(ins.n_held):
                self.values[ins.held[j]].node = ins.node
            self.count_work(ins)
        return 0

    cdef int note(self, Instruction *ins) except -1:
        """Take from an instruction what the plan as a whole keeps."""
        cdef int i
        self.framed = self.framed or ins.op >= MAP
        self.picks = self.picks or ins.op == TIME_STEP
        self.looks_up = self.looks_up or ins.op == GATHER or ins.op == TRACED  # calls that may end with an error
        self.scans = self.scans or ins.op == SCAN
        self.n_windows += is_line(ins)
        if ins.op == OVERLAP_ADD and ins.overlap_add.rest > 0:
            self.loose = True
        elif ins.op == TRACED:
            for i in range(ins.traced.layer.n_phases):
                ins.traced.layer.phases[i].tier += FG_TRACED
        elif ins.op == SCAN:
            ins.scan.layer.node = ins.node
            if ins.scan.operands[2].buffer != ABSENT:
                ins.scan.layer.n_inputs, ins.scan.layer.inputs[1] = 2, 2  # the lengths make a mask
        elif ins.op == DENSE:
            scale_input(&ins.dense.w, ins.dense.input_scale, ins.dense.input_zero)
        elif ins.op == FRAME_PRODUCT:
            scale_input(&ins.frame_product.w, ins.frame_product.input_scale, ins.frame_product.input_zero)
        return 0

    cdef int place(self, char *record, const fg_field *table, int precision) except -1:
        """Put packed numbers in the place of the numbers of arrays; a record may say of which precision."""
        cdef const fg_field *field = table
        cdef char *to
        cdef int i
        while field.name != NULL:
            if field.kind == KIND_PRECISION:
                precision = (<int *>(record + field.at))[0]
            field += 1
        field = table
        while field.name != NULL:
            to = record + field.at
            if field.kind == KIND_MATRIX or field.kind == KIND_PANELS or field.kind == KIND_LOOKUP:
                if (<fg_matrix *>to).data != NULL:
                    self.place_matrix(<fg_matrix *>to, field.kind, number_of((<fg_matrix *>to).data), precision)
            elif field.kind == KIND_LAYER:
                self.place_layer(<fg_layer *>to)
            elif field.kind == KIND_INNER:
                self.place_layer(&(<Instruction **>to)[0].recurrent.layer)
            elif field.fields != NULL:
                if field.most and field.kind != KIND_FUNCTIONS:
                    for i in range((<int *>(record + field.count))[0]):
                        self.place(to + <size_t>i * field.size, field.fields, precision)
            elif is_packed(field.kind) and (<const void **>to)[0] != NULL:
                (<const void **>to)[0] = self.placed(field.kind, number_of((<const void **>to)[0]))
            field += 1
        return 0

    cdef const void *placed(self, int kind, int n) except? NULL:
        """The numbers of an array, packed as its kind says."""
        if kind == KIND_ARRAY or (kind == KIND_BIAS and self.blas != NULL):
            return self.weights.flat(n)
        if kind == KIND_BIAS:
            return self.weights.beside(n)
        if kind == KIND_GATES:
            return self.weights.gates(n)
        if kind == KIND_TABLE:
            return self.weights.table(n)
        if kind == KIND_PADDED:
            return self.weights.padded_rows(n)
        raise SystemError(f"kind of an array must be one that the engine packs, got {kind}")

    cdef int place_matrix(self, fg_matrix *w, int kind, int n, int precision) except -1:
        """A matrix packed as its kind says; BLAS takes one (N, K) as it is."""
        if kind == KIND_MATRIX and self.blas != NULL:
            w.data, w.inner = self.weights.flat(n), self.structs.shapes_of[n].dims[1]
        elif kind == KIND_LOOKUP:
            w[0] = self.weights.lookup(n, precision)
        else:
            w[0] = self.weights.pack(n, precision, kind == KIND_MATRIX)
        return 0

    cdef int place_layer(self, fg_layer *layer) except -1:
        """A recurrence, and its number among those of a stream."""
        cdef const fg_phase *phase
        cdef int i
        self.place(<char *>layer, fg_layer_fields, FLOAT32)
        layer.units_padded, layer.features_padded = (
            self.weights.padded(layer.units), self.weights.padded(layer.features))
        layer.state = self.n_recurrences
        self.n_recurrences += 1
        for i in range(layer.n_phases):
            phase = &layer.phases[i]
            self.unfused = self.unfused or phase.u.format > FG_FLOAT16
            self.widest = max(self.widest, product_width(phase, self.kernels.lanes))
        return 0

    cdef int find_moved(self) except -1:
        """Find the values of every loop of which each step is shown at a place of its own."""
        cdef int loop, i, j
        cdef Instruction *ins
        cdef unsigned char *touched = <unsigned char *>allocate(self.n_values, self.n_loops + 1)
        cdef unsigned char *row
        for loop in range(self.n_loops):
            row = touched + loop * self.n_values
            for i in range(self.loop_begin[loop], self.loop_end[loop]):
                ins = &self.instructions[i]
                row[ins.output] = 1
                for j in range(ins.n_inputs):
                    row[ins.inputs[j]] = 1
                for j in range(ins.n_outputs):
                    row[ins.outputs[j]] = 1
                for j in range(ins.n_held):
                    row[ins.held[j]] = 1
        self.moved = <int *>allocate(self.n_values * max(1, self.n_loops), sizeof(int))
        j = 0
        for loop in range(self.n_loops):
            self.loop_moved[loop] = j
            for i in range(self.n_values):
                if (touched[loop * self.n_values + i] and self.values[i].time
                        and self.values[i].clock == self.loop_clock[loop] and not self.values[i].stays):
                    self.moved[j] = i
                    j += 1
        self.loop_moved[self.n_loops] = j
        PyMem_Free(touched)
        return 0

    def __dealloc__(self):
        PyMem_Free(self.moved)

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


cdef bint is_packed(int kind) noexcept:
    """True of an array that lies in memory as its kind says."""
    return (kind == KIND_ARRAY or kind == KIND_BIAS or kind == KIND_GATES or kind == KIND_TABLE
            or kind == KIND_PADDED)


cdef int number_of(const void *array) noexcept:
    """The number of an array that stands in its place."""
    return <int><size_t>array - 1


cdef void scale_input(fg_matrix *w, double scale, idx zero) noexcept:
    """Say how all rows that a matrix multiplies are made into codes."""
    w.input_scale, w.input_zero = <float>scale, <float>zero


cdef idx matrix_work(const fg_matrix *w, idx lanes) noexcept:
    """Multiply-adds of one row; none of a table."""
    return bytes_of(fg_times(w.panels, lanes), max(1, w.gates), w.inner) if w.panels else 0
