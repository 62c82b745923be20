"""The C side as the engine sees it; what its fields mean stands in the headers under include/fastgru/."""

from cpython.mem cimport PyMem_Calloc
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
        const int32_t *sums  # in the place of starts
        const int32_t *zero  # of blocks
        const uint8_t *paired
        float input_scale, input_zero
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
        FG_RANK, FG_OPERANDS, FG_PROGRAM, FG_LINES
    ctypedef struct fg_nest:
        int rank, outer, steps_and_rows, operands
        idx dims[12]
        idx strides[8][12]
    ctypedef struct fg_micro:
        int function
        int a, b, c
        double alpha, beta
    ctypedef struct fg_line:
        const fg_micro *program
        int n, operands
        idx size
        void *at[8]
        idx each[8]
        idx moves[8]
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
        void (*lines)(fg_line *, int, idx) noexcept nogil
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

cdef extern from "fastgru/pool.h" nogil:
    ctypedef struct fg_barrier:
        pass
    int fg_seen(const int *)
    void fg_publish(int *, int)
    bint fg_claim(int *)
    int fg_add(int *counter, int n)

ctypedef void (*gemm_t)(int, int, int, const void *, int, const void *, int, void *, int) noexcept nogil

cdef struct Gemm:
    gemm_t f32
    gemm_t f64

cdef extern from "fastgru/ops/plan.h" nogil:
    enum:
        ABSENT "FG_ABSENT"
        MAX_CLOCKS "FG_MAX_CLOCKS"
        MAX_LOOPS "FG_MAX_LOOPS"
    ctypedef struct Value "fg_value":
        idx size, item, bound
        bint time
        int clock
        bint stays
        int rank
        idx dims[12]
        bint line, state
        int slot
        bint given
        int node
        const void *initial
    ctypedef struct Operand "fg_operand":
        int value
        idx offset
        const void *data
    ctypedef struct Frame "fg_frame":
        fg_nest nest
        Operand operands[8]
        int n_program
        fg_micro *program
        int function
        bint last
        idx fewest, count, stride
        idx dims[2]
        idx read[2]
        idx write[2]
        idx read_offset, write_offset
        bint over_time, some_steps
        int window
        bint sliced
        idx first, end, reach, stride_in_time, before, after, kept
        double fill
        idx lead, rest
        int n_meeting
        int meeting[8]
        int meeting_clocks[8]
        idx steps, rows
        int outputs[2]
        Instruction *layer
    ctypedef struct Instruction "fg_instruction":
        int op, node
        idx slice
        int clock, n_inputs
        int inputs[8]
        int output
        idx size
        double number
        fg_act act
        bint softmax
        fg_matrix w
        const void *scale
        const void *shift
        int n_phases
        fg_phase phase[2]
        fg_matrix wx[2]
        const void *bx[2]
        const void *table[2]
        const void *bu[2]
        bint reverse, last, carry, gated_output
        idx units, features, units_padded, features_padded
        int state
        const void *initial_h
        const void *initial_c
        Frame *frame
    bint is_nest "fg_is_nest"(const Instruction *)
    bint is_line "fg_is_line"(const Instruction *)

cdef extern from "fastgru/ops/run.h" nogil:
    enum:
        WATCH_NS "FG_WATCH_NS"
        SLICE_WORK "FG_SLICE_WORK"
        BLOCK_ROWS "FG_BLOCK_ROWS"
        LOOK_STEPS "FG_LOOK_STEPS"
        LOOK_ELEMENTS "FG_LOOK_ELEMENTS"
    ctypedef struct Recurrence "fg_recurrence":
        char *h[2]
        int now
        char *c
        char *s0
        char *s1
        char *y
        char *last
        char *x[2]
    ctypedef struct Window "fg_window":
        char *line
        idx capacity, held, drop
    ctypedef struct Watch "fg_watch":
        int stop
        int64_t next
        int (*signals)(void *) noexcept nogil
        void *caller
    ctypedef struct Run "fg_run":
        const fg_kernels *kernels
        const fg_narrow *narrow
        void *scratch
        gemm_t gemm
        const Instruction *instructions
        int n_instructions, n_values
        const Value *values
        char *arena
        size_t arena_bytes
        fg_rows *rows
        idx T, B
        const uint8_t *mask
        idx done[32]
        idx mask_t, mask_b
        int32_t *index
        int32_t *active
        Recurrence *recurrences
        char *product
        bint final
        const int *loop_begin
        const int *loop_end
        const int *loop_clock
        const int *loop_moved
        const int *moved
        int n_loops
        const idx *due
        idx steps[32]
        const idx *room
        int clocks, bases
        Window *windows
        bint ends, rest, flush, mixed
        uint8_t *scan_mask
        int bad_id, misfit
        Watch *watch
        int64_t *spent
        bint listens
        int part, parts
        fg_barrier *barrier
    ctypedef void (*fg_execute)(const Instruction *, Run *) noexcept nogil
    char *row "fg_row"(const fg_rows *, idx item, idx t, idx b)
    idx slice_rows "fg_slice_rows"(idx work)
    bint look "fg_look"(Run *)
    bint stopped "fg_stopped"(Run *)
    bint stopped_together "fg_stopped_together"(Run *)

cdef extern from "fastgru/ops/due.h" nogil:
    idx held_before "fg_held_before"(const Window *)
    idx sliced_steps "fg_sliced_steps"(const Frame *, idx steps)
    idx fg_scans_together(const Frame *, idx T, idx B)
    idx windows_due "fg_windows_due"(const Frame *, idx held)
    idx meeting_due "fg_meeting_due"(const Frame *, const Window *, const idx *steps)
    idx mirror_due "fg_mirror_due"(const Frame *, const Window *, idx steps, bint ends)
    idx overlaps_due "fg_overlaps_due"(const Frame *, const Window *, idx frames, bint ends, bint rest)

cdef enum:
    ALIGN = 64
    NO_NODE = -1


cdef inline idx bytes_of(idx count, idx width, idx size) noexcept nogil:
    return fg_times(fg_times(count, width), size)


cdef inline idx product_width(const fg_phase *phase, idx lanes) noexcept nogil:
    """Numbers of a row of the products of a phase."""
    return phase.u.panels * phase.u.gates * lanes


cdef inline void *allocate(idx count, size_t size) except NULL:
    """Zeroed memory for an array, to be freed by PyMem_Free."""
    cdef void *found = PyMem_Calloc(max(1, count), size)
    if found == NULL:
        raise MemoryError(f"{count * size} bytes could not be allocated")
    return found
