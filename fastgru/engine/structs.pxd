"""The values and instructions of a plan, read from words."""

from libc.stdint cimport int64_t

from .c cimport idx
from .codes cimport Instruction, MAX_LOOPS, Value
from .read cimport Reader, Shape, Shown


cdef class Structs:
    cdef Instruction *instructions
    cdef Value *values
    cdef Shape *shapes_of      # of arrays
    cdef int n_values, n_instructions, n_loops, n_slots, clocks, bases
    cdef idx item, macs, latency
    cdef idx largest           # elements of the largest frame
    cdef int[MAX_LOOPS] loop_begin, loop_end, loop_clock
    cdef object texts          # names of nodes and values, keys of states
    cdef list inputs, outputs, states, sizes, shapes, names
    cdef dict dtypes
    cdef list pieces           # memory of what instructions point to,
    cdef char *pool            # and what is left of the last of it
    cdef idx room
    cdef int read(self, given, bint untrusted) except -1
    cdef int read_clocks(self, const int64_t *heads) except -1
    cdef int read_ends(self, Reader *reader, const int64_t *heads, bint untrusted) except -1
    cdef int read_state(self, Reader *reader, Shown *to) except -1
    cdef int check(self, const int *ends, int n_inputs, int n_outputs, const Shown *shown, int n_states) except -1
    cdef str named(self, int at)
    cdef int tell_values(self) except -1
    cdef void *reserve(self, idx size) except NULL

cdef Structs read_structs(program, idx item, bint untrusted)
