"""Plans as words, read into structs and checked, as the engine sees it; see include/fastgru/plan/."""

from libc.stdint cimport int64_t, uint8_t

from .c cimport idx
from .codes cimport Instruction, Value, fg_field

cdef extern from "fastgru/plan/check.h":
    enum:
        STATE_AXES "FG_AXES"
        PROBLEMS "FG_PROBLEMS"
        FLOATS "FG_FLOATS"
        INTS "FG_INTS"
        MOST_CODE "FG_OP_COUNT"
    ctypedef struct Shape "fg_shape":
        int rank
        idx dims[16]
    ctypedef struct Reader "fg_reader":
        const int64_t *at
        const int64_t *end
        idx texts, arrays
        void *(*reserve)(void *, size_t) noexcept
        void *owner
        const char *problem
    ctypedef struct Shown "fg_shown":
        int key, name
        int64_t number
        Shape shape
    ctypedef struct Problem "fg_problem":
        int at
        const char *text
    ctypedef struct Needs "fg_needs":
        const char *mnemonic
    ctypedef struct Walk "fg_walk":
        const Value *values
        const Instruction *instructions
        const Shape *shapes
        const Shown *states
        const int *inputs
        const int *outputs
        const int *loop_begin
        const int *loop_end
        const int *loop_clock
        int n_values, n_instructions, n_states, n_inputs, n_outputs, n_loops, clocks, bases
        uint8_t *written
        uint8_t *given
        uint8_t *shown
        int *lines
        int *recurrences
        int *writer
        int *earlier
        char *(*seen)(void *, size_t) noexcept
        void *owner
        Problem *problems
        int n_problems
    const Needs *all_needs "fg_all_needs"
    bint read_fields "fg_read_fields"(Reader *, void *, const fg_field *)
    bint read_instruction "fg_read_instruction"(Reader *, Instruction *)
    bint read_shape "fg_read_shape"(Reader *, const char *, Shape *, int most, int64_t least)
    bint read_within(Reader *, const char *, const char *, int64_t least, int64_t greatest, int64_t *)
    idx elements "fg_elements"(const Shape *)
    void check_plan "fg_check"(Walk *)
