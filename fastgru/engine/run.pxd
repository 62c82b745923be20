"""A call as the engine sees it: what bodies of instructions share with the scheduler; see include/fastgru/ops/."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from .c cimport fg_barrier, fg_kernels, fg_narrow, fg_rows, gemm_t, idx
from .codes cimport fg_op_line, fg_op_overlap_add, fg_op_scan, fg_op_wait, fg_op_window, fg_phase, Instruction, Value

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
        void (*edit)(void *, const Instruction *, Run *, idx) noexcept nogil
        void *editor
    ctypedef void (*fg_execute)(const Instruction *, Run *) noexcept nogil
    char *row "fg_row"(const fg_rows *, idx item, idx t, idx b)
    idx slice_rows "fg_slice_rows"(idx work)
    bint look "fg_look"(Run *)
    bint stopped "fg_stopped"(Run *)
    bint stopped_together "fg_stopped_together"(Run *)

cdef extern from "fastgru/ops/due.h" nogil:
    idx held_before "fg_held_before"(const Window *)
    idx sliced_steps "fg_sliced_steps"(const fg_op_window *, idx steps)
    idx fg_scans_together(const fg_op_scan *, idx T, idx B)
    idx windows_due "fg_windows_due"(const fg_op_line *, idx held)
    idx meeting_due "fg_meeting_due"(const fg_op_wait *, const Window *, const idx *steps)
    idx mirror_due "fg_mirror_due"(const fg_op_line *, const Window *, idx steps, bint ends)
    idx overlaps_due "fg_overlaps_due"(const fg_op_overlap_add *, const Window *, idx frames, bint ends, bint rest)


cdef inline idx product_width(const fg_phase *phase, idx lanes) noexcept nogil:
    """Numbers of a row of the products of a phase."""
    return phase.u.panels * phase.u.gates * lanes
