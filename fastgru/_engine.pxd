"""The C side as the engine sees it (include/fastgru/fastgru.h), and the engine's own structs."""

from libc.stdint cimport int32_t, int64_t, uint8_t

ctypedef Py_ssize_t idx

cdef extern from "fastgru/sizes.h" nogil:
    Py_ssize_t FG_TOO_LARGE
    Py_ssize_t fg_plus(Py_ssize_t a, Py_ssize_t b)
    Py_ssize_t fg_times(Py_ssize_t a, Py_ssize_t b)
    Py_ssize_t fg_round_up(Py_ssize_t size, Py_ssize_t unit)

cdef extern from "fastgru/fastgru.h" nogil:
    ctypedef struct fg_act:
        int kind
        double alpha, beta
    ctypedef struct fg_rows:
        void *data
        idx t_stride, b_stride
    ctypedef struct fg_span:
        idx batch, first, count
        const int32_t *index
        int backward
    ctypedef struct fg_matrix:
        const void *data
        idx panels, gates, inner
        int format
        const float *scale
        const int32_t *offset
        idx units
        const int32_t *starts
        const int32_t *blocks
    enum:
        FG_NATIVE, FG_FLOAT16, FG_BFLOAT16, FG_INT8, FG_SPARSE, FG_SPARSE_INT8
        FG_PROJECT, FG_GRU_AFTER_OUT, FG_GRU_GATES_OUT, FG_GRU_CANDIDATE, FG_LSTM, FG_LSTM_COUPLED
    ctypedef struct fg_phase:
        int kind, tier, keep_candidate
        fg_act act[3]
        double clip
        fg_matrix u
        const void *bias
        const void *peephole
    ctypedef struct fg_step:
        fg_span rows
        const void *a
        idx a_stride
        void *x
        const fg_matrix *w
        const void *w_bias
        const void *input
        const void *product
        const void *h
        void *h_new
        void *c
        void *s0
        void *s1
        void *y
        idx stride, count, x_stride, input_stride
        fg_rows out
        idx width
    enum:
        FG_RANK, FG_OPERANDS, FG_PROGRAM
    ctypedef struct fg_nest:
        int rank, outer, steps_and_rows, operands
        idx dims[12]
        idx strides[8][12]
    ctypedef struct fg_micro:
        int function
        int a, b, c
        double alpha, beta
    ctypedef struct fg_kernels:
        const char *isa
        idx lanes, item
        void (*product)(const fg_matrix *, const void *, const fg_act *, const fg_rows *, const fg_rows *, idx,
                        const fg_span *) noexcept nogil
        void (*steps)(const fg_phase *, fg_step *) noexcept nogil
        void (*gates)(const fg_phase *, const fg_step *) noexcept nogil
        void (*activate)(const fg_act *, const void *, const fg_rows *, const fg_rows *, idx,
                         const fg_span *) noexcept nogil
        void (*softmax)(const fg_rows *, const fg_rows *, idx, const fg_span *) noexcept nogil
        void (*layer_norm)(const void *, const void *, double, const fg_rows *, const fg_rows *, idx,
                           const fg_span *) noexcept nogil
        void (*affine)(const void *, const void *, const fg_rows *, const fg_rows *, idx,
                       const fg_span *) noexcept nogil
        void (*add)(const fg_rows *, const fg_rows *, idx, const fg_span *) noexcept nogil
        void (*multiply)(const fg_rows *, const fg_rows *, idx, const fg_span *) noexcept nogil
        void (*map)(const fg_nest *, const fg_micro *, int, void **) noexcept nogil
        void (*reduce)(const fg_nest *, int, void **) noexcept nogil
        void (*contract)(const fg_nest *, const fg_act *, void **) noexcept nogil
        void (*arg_reduce)(const fg_nest *, int, int, void **) noexcept nogil
        int (*gather)(const fg_nest *, idx, idx, void **) noexcept nogil
    ctypedef struct fg_narrow:
        const char *name
        idx (*scratch)(const fg_matrix *) noexcept nogil
        void (*product)(const fg_matrix *, const void *, const fg_act *, const fg_rows *, const fg_rows *, idx,
                        const fg_span *, void *) noexcept nogil
        void (*lookup)(const fg_matrix *, idx, void *) noexcept nogil
    ctypedef struct fg_isa:
        const char *name
        const fg_kernels *f32
        const fg_kernels *f64
        int supported
        const fg_narrow *narrow
    const fg_isa *fg_isas(int *count)

ctypedef void (*work_t)(void *, int) noexcept nogil

cdef extern from "fastgru/pool.h" nogil:
    ctypedef struct fg_barrier:
        pass
    int fg_pool_run(int parts, work_t fn, void *arg)
    int fg_pool_threads()
    void fg_barrier_init(fg_barrier *, int parts)
    void fg_barrier_wait(fg_barrier *)
    int fg_seen(const int *)
    void fg_publish(int *, int)
    bint fg_claim(int *)
    int fg_add(int *counter, int n)
    void fg_yield()
    void fg_sleep(int64_t ns)
    int64_t fg_now()

ctypedef void (*gemm_t)(int, int, int, const void *, int, const void *, int, void *, int) noexcept nogil

cdef struct Gemm:
    gemm_t f32
    gemm_t f64

cdef struct Value:
    idx size          # elements of a frame; 0 for ids and masks
    idx item          # bytes of an element
    bint time         # has a time axis
    int clock         # which steps it has; clocks[0] counts those of the inputs
    bint stays        # shown at the same place at every step of a loop
    int rank          # of an input's or output's frame
    idx[12] dims
    bint line         # its rows are windows over a line of steps
    bint state        # keeps its frames from call to call
    int slot          # memory it shares with values that are not alive at the same time, or -1
    bint given        # lies in a buffer of the caller
    int node          # whose output it is, or NO_NODE
    const void *initial

# One operand of a frame op: where its frame begins in the rows of a value, or numbers of the plan.
cdef struct Operand:
    int value         # CONSTANT, ABSENT or a value
    idx offset
    const void *data

# What an op over frames of any rank adds to its instruction.
cdef struct Frame:
    int kernel
    fg_nest nest
    Operand[8] operands
    int n_program
    fg_micro *program
    int function              # of a reduction; whether the smallest come first
    bint last
    idx count, stride         # of the axis that a gather picks from; how many extremes are wanted
    # Products, softmax, norms and scans: two loops over rows of the operand read and of the one written.
    idx[2] dims
    idx[2] read
    idx[2] write
    idx read_offset, write_offset
    bint over_time            # the nest is folded over all steps
    bint some_steps           # of which there must be one
    # Windows over time: steps of a window and from one to the next, those of `fill` around the sequence.
    int window                # index into the stream's Window array
    idx reach, stride_in_time, before, after, kept
    double fill
    # Overlap-adds: where in the line a frame is added, and steps that only flushing a stream gives.
    idx lead, rest
    # Waits that give as many steps as the fewest of several values have: the windows of all of these, and their clocks.
    int n_meeting
    int[8] meeting, meeting_clocks
    # Scans: a sequence inside the frame.
    idx steps, rows
    int[2] outputs            # final h and c; where extremes are
    Instruction *layer        # the recurrence over values 0 (input), 1 (output) and 2 (mask)

cdef struct Instruction:
    int op
    int node                    # index into the plan's names of nodes
    idx slice                   # rows that may run before signals are looked at
    int clock                   # which steps it runs over
    int n_inputs
    int[8] inputs
    int output
    idx size                    # features written (or, for a mask, compared)
    double number               # eps, mask value
    fg_act act
    bint softmax
    fg_matrix w                 # Dense; Embedding: the table, panels = V
    const void *scale
    const void *shift           # bias, too
    # recurrent only
    int n_phases
    fg_phase[2] phase
    fg_matrix[2] wx
    const void *bx[2]
    const void *table[2]        # (V, panels, G, L): the input part of each id, where ids are the input
    const void *bu[2]           # bias of a recurrent product that is not fused with its gates
    bint reverse
    bint last
    bint carry
    bint gated_output
    idx units, features         # H and R
    idx units_padded, features_padded
    int state                   # index into the stream's Recurrence array
    const void *initial_h
    const void *initial_c
    Frame *frame
