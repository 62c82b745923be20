"""The compiled side of the engine: what runs instructions, alone and on several threads. It alone links C."""

from libc.stdint cimport int64_t

from .c cimport fg_barrier, fg_isa, fg_rows, idx
from .codes cimport Instruction
from .run cimport Recurrence, Run, Window

# A block of memory that is handed out from its beginning, by engine/buffers.pyx.
cdef struct Mark:
    idx begin, bytes    # a buffer
    int node            # and the node it belongs to

cdef struct Arena:
    char *base          # NULL while only sizes are counted
    void *block         # what `base` lies in
    idx at              # bytes handed out; FG_TOO_LARGE: more than can be
    idx guard           # bytes behind every buffer that nothing may write
    Mark *marks         # of every buffer, or NULL
    int count

# One thread's view of a call: rows of its own, or panels, or whatever task comes next.
cdef struct Part:
    Run run
    fg_rows *rows
    Recurrence *recurrences
    Window *windows     # counts of its own, over its rows of each line
    Arena arena         # scratch of its own

cdef enum:
    MOST_TASKS = 256    # instructions of which blocks are handed to threads

cdef struct Tasks:
    int progress[MOST_TASKS]  # blocks that each instruction has finished
    int claimed[MOST_TASKS]

cdef struct Job:
    Part *parts
    idx T
    idx block
    fg_barrier barrier
    Tasks *tasks            # NULL: every part runs all instructions over its rows or panels
    const fg_rows *first    # of the caller and of even blocks
    const fg_rows *second   # of odd blocks
    const Run *whole
    int running             # threads

cdef const fg_isa *find_isa(str isa) except NULL
cdef void run_instructions(Run *run, idx T, idx block) noexcept nogil
cdef int run_together(Job *job, int parts) noexcept nogil
cdef void fill_line(const Instruction *ins, const Run *run, char *to, idx steps) noexcept nogil
cdef int64_t now() noexcept nogil


cdef inline bint inside(const Run *run, const fg_rows *rows) noexcept nogil:
    """Whether a value lies in the stream's arena and not in a buffer of the caller."""
    return <char *>rows.data >= run.arena and <char *>rows.data < run.arena + run.arena_bytes
