"""The memory of a stream."""

from .c cimport fg_rows, idx
from .codes cimport fg_layer, Instruction, Value
from .execute cimport Arena, Part
from .plan cimport Plan
from .run cimport Recurrence, Run, Window

# Everything that is placed, and the sizes that placing it gives.
cdef struct Layout:
    const Instruction *instructions
    const Value *values
    int n_instructions, n_values, n_slots, n_recurrences, n_windows, n_bases
    idx item, lanes, narrow   # bytes of a number and of the scratch that low precision needs, numbers of a vector
    bint unfused              # some recurrent product is not made with its gates
    bint apart                # no two values share memory
    idx B, block
    fg_rows *rows
    Recurrence *recurrences
    Window *windows
    idx *slot_bytes           # of each slot
    char **slot_data
    idx[32] max_steps         # of each clock in a block
    idx state_bytes           # of what is carried from call to call: the first of the arena
    idx slots_at, slots_bytes  # of the values that share memory
    idx widest, most_rows     # of the products that are not fused
    idx scan_mask             # steps and rows of the largest recurrence inside an item
    idx index                 # and of the largest recurrence at all


cdef class Buffers:
    cdef Plan plan
    cdef object batch
    cdef idx B, block
    cdef idx bytes             # without what threads add
    cdef str largest           # the node that needs most of them, where they are only measured
    cdef Layout layout
    cdef Arena arena
    cdef Recurrence *recurrences
    cdef fg_rows *rows
    cdef Window *windows
    cdef Run run
    cdef idx *slot_bytes       # of the memory that values share
    cdef char **slot_data
    cdef char *saved           # the state before a call that may not come to its end
    cdef object measured       # the array that `run.spent` lies in, or None
    cdef dict still            # the inputs without time of the last call, for `flush`: zeros before one
    cdef void describe(self) noexcept
    cdef void measure(self) noexcept
    cdef int find_largest(self) except -1
    cdef int place_all(self) except -1
    cdef void begin_run(self) noexcept
    cdef int check_arena(self, const Arena *arena) except -1
    cdef void initialise(self) noexcept
    cdef void initialise_row(self, idx b) noexcept
    cdef void begin_window(self, const Instruction *ins, idx b) noexcept
    cdef idx state_bytes(self) noexcept
    cdef int save(self) except -1
    cdef void restore(self) noexcept
    cdef void place_rows(self) noexcept
    cdef void settle(self) noexcept
    cdef bint alike(self, Buffers other) noexcept
    cdef int copy_state(self, Buffers other) except -1

cdef Arena empty_arena() noexcept
cdef int fill_arena(Arena *arena, idx size, int marks) except -1
cdef void free_arena(Arena *arena) noexcept
cdef int most_marks(const Layout *l) noexcept nogil
cdef char *lay_out_part(const Layout *l, Arena *arena, Run *run) noexcept nogil
