"""What a caller gives, checked and converted."""

cimport numpy as cnp

from .buffers cimport Buffers
from .c cimport fg_rows, idx
from .clocks cimport Clocks
from .plan cimport Plan


cdef class Arguments:
    cdef Plan plan
    cdef Clocks clocks
    cdef object batch
    cdef idx B
    cdef fg_rows *rows
    cdef int in_value, out_value   # the first input and output
    cdef bint several, single      # outputs; whether there is one input
    cdef list copies               # of inputs that an output overlaps
    cdef cnp.ndarray own_frame     # of a step: the one input where it was converted, (*frame) or (B, *frame)
    cdef idx fits(self, int value, x, bint chunk) noexcept
    cdef bint takes(self, x) except -1
    cdef bint all_fit(self, tuple frames) noexcept
    cdef tuple converted(self, x, bint chunk, str title, bint together=*)
    cdef int check_steps(self, list names, tuple arrays, str title, bint together) except -1
    cdef converted_input(self, int value, x, bint chunk, str name)
    cdef idx steps_of(self, tuple arrays)
    cdef list all_outputs(self, out, bint chunk)
    cdef idx steps_due(self, int value) noexcept
    cdef void place_output(self, int value, cnp.ndarray y) noexcept
    cdef int place_input(self, int value, cnp.ndarray x, bint given, cnp.ndarray y, list arrays) except -1
    cdef cnp.ndarray output(self, int value, given, bint chunk, str name)
    cdef int check_output(self, int value) except -1
    cdef typed(self, list arrays)
